#include "tests/sim/disk.h"

#include "store/internal.h"

void disk_set_full(struct store *s, bool full)
{
	const char *sql = full	? "PRAGMA max_page_count = 1" : /* the number there is, at least */
				  "PRAGMA max_page_count = 1073741823";

	REQUIRE(s->inline_io && sqlite3_exec(s->db.sqlite, sql, NULL, NULL, NULL) == SQLITE_OK);
}
