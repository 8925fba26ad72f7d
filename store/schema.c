/* What the tables are. Migration: `user_version` says which steps a file has seen; a step and its
 * number are committed together.
 *
 *   blob      a node: every (hash, kind) that is stored or linked to. The kind is part of the
 * identity because it follows from the link: the same bytes may be a chunk of one file and the tree
 * of another object. state    1 stored, 2 wanted (something public links to it, and nobody has
 * brought its bytes yet), 4 public pending  of public ones: how many link targets are not complete;
 * 0 = this and all below is here. -1 otherwise. Wanted is kept here rather than in a table of its
 * own: the row has to exist for the link anyhow. content   bytes of stored nodes, apart so that
 * walks over blob touch few pages link      node → node: commit → root, capability; tree, file →
 * what they list. Parents are not links. object    an IRI, with counts that spare scans: open_heads
 * = heads that are not complete commits   the one definition of membership: the set of a scope is
 * its rows here parent    commit → commit authority what the commits of a space's root vouch for
 *   origin    which version a folder of this machine has seen
 *   stash     commits that wait; needs = how many (hash, kind) of stash_need have not come; 0 = to
 * be retried total     sums by enum db_total */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "store/db.h"
#include "store/store.h"

static const char version_1[] =
	"CREATE TABLE blob (id INTEGER PRIMARY KEY, hash BLOB NOT NULL, kind INTEGER NOT NULL,"
	" size INTEGER NOT NULL, state INTEGER NOT NULL, pending INTEGER NOT NULL, UNIQUE (hash, "
	"kind)) STRICT;"
	"CREATE TABLE content (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;"
	"CREATE TABLE link (source INTEGER NOT NULL, target INTEGER NOT NULL,"
	" PRIMARY KEY (source, target)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX link_target ON link (target, source);"

	"CREATE TABLE object (id INTEGER PRIMARY KEY, space BLOB NOT NULL, path TEXT NOT NULL,"
	" commits INTEGER NOT NULL, heads INTEGER NOT NULL, open_heads INTEGER NOT NULL,"
	" newest_s INTEGER NOT NULL, UNIQUE (space, path)) STRICT;"
	"CREATE INDEX object_newest ON object (newest_s);"
	"CREATE TABLE commits (id INTEGER PRIMARY KEY, object INTEGER NOT NULL, time_s INTEGER NOT "
	"NULL,"
	" hash BLOB NOT NULL, author BLOB NOT NULL, root BLOB, root_kind INTEGER NOT NULL,"
	" head INTEGER NOT NULL, complete INTEGER NOT NULL, content_bytes INTEGER NOT NULL,"
	" content_blobs INTEGER NOT NULL) STRICT;"
	"CREATE UNIQUE INDEX commits_item ON commits (object, time_s, hash);"
	"CREATE INDEX commits_head ON commits (object, hash) WHERE head = 1;"
	"CREATE INDEX commits_open ON commits (object, head) WHERE complete = 0;"
	"CREATE TABLE parent (child INTEGER NOT NULL, parent INTEGER NOT NULL,"
	" PRIMARY KEY (child, parent)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE authority (commit_id INTEGER NOT NULL, peer BLOB NOT NULL, addrs TEXT NOT "
	"NULL,"
	" PRIMARY KEY (commit_id, peer)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE stash (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, bytes BLOB NOT "
	"NULL,"
	" size INTEGER NOT NULL, peer BLOB NOT NULL, time_s INTEGER NOT NULL, space BLOB NOT NULL,"
	" path TEXT NOT NULL, needs INTEGER NOT NULL) STRICT;"
	"CREATE INDEX stash_ready ON stash (id) WHERE needs = 0;"
	"CREATE INDEX stash_age ON stash (time_s);"
	"CREATE INDEX stash_peer ON stash (peer, id);"
	"CREATE INDEX stash_object ON stash (space, path);"
	"CREATE TABLE stash_need (hash BLOB NOT NULL, kind INTEGER NOT NULL, stash INTEGER NOT "
	"NULL,"
	" PRIMARY KEY (hash, kind, stash)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX stash_need_of ON stash_need (stash);"
	"CREATE TABLE refused (hash BLOB NOT NULL, kind INTEGER NOT NULL, status INTEGER NOT NULL,"
	" time_s INTEGER NOT NULL, PRIMARY KEY (hash, kind)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX refused_age ON refused (time_s);"

	"CREATE TABLE peer (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, addrs TEXT NOT NULL,"
	" by_user INTEGER NOT NULL, seen_s INTEGER NOT NULL, last_ok_s INTEGER NOT NULL,"
	" last_fail_s INTEGER NOT NULL, failures INTEGER NOT NULL) STRICT;"
	"CREATE INDEX peer_rank ON peer (by_user, last_ok_s, seen_s);"
	"CREATE TABLE peer_space (space BLOB NOT NULL, peer INTEGER NOT NULL, time_s INTEGER NOT "
	"NULL,"
	" PRIMARY KEY (space, peer)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX peer_space_peer ON peer_space (peer);"
	"CREATE TABLE subscription (space BLOB NOT NULL, path TEXT NOT NULL, kind INTEGER NOT NULL,"
	" added_s INTEGER NOT NULL, last_ok_s INTEGER NOT NULL,"
	" PRIMARY KEY (space, path, kind)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE total (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;";

/* origin: which version a folder of this machine has seen (origin.c). What was here before there
 * were such rows counts as seen by every folder. */
static const char version_2[] =
	"CREATE TABLE origin (object INTEGER NOT NULL, folder TEXT NOT NULL, seen BLOB NOT NULL,"
	" published INTEGER NOT NULL, time_s INTEGER NOT NULL, PRIMARY KEY (object, folder))"
	" STRICT, WITHOUT ROWID;"
	"INSERT INTO origin SELECT object, '', hash, 1, time_s FROM commits WHERE head = 1"
	" GROUP BY object HAVING count(*) = 1;";

static const char version_3[] =
	"ALTER TABLE subscription ADD COLUMN history INTEGER NOT NULL DEFAULT 0;";

static const struct schema_step steps[] = {
	{ 1, version_1 },
	{ 2, version_2 },
	{ 3, version_3 },
};

const struct schema_step *schema_steps(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(steps);
	return steps;
}

/* https://www.sqlite.org/fileformat.html: 16 bytes of magic; the application id at 68, big endian. */
bool store_is_database(const void *head, size_t len)
{
	static const char magic[16] = "SQLite format 3";
	const uint8_t *p = head;
	uint32_t id;

	if (len < 72 || memcmp(p, magic, sizeof(magic)) != 0)
		return false;
	memcpy(&id, p + 68, sizeof(id));
	return be32toh(id) == SCHEMA_APPLICATION_ID;
}

static int read_pragma(struct db *db, const char *sql, int *ret)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &q, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return rc == SQLITE_ROW ? 0 : db_fail(db, rc);
}

static int exec(struct db *db, const char *sql)
{
	int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_fail(db, rc);
}

static int apply(struct db *db, const struct schema_step *step)
{
	char number[96];
	int rc = exec(db, "BEGIN IMMEDIATE");

	if (rc < 0)
		return rc;
	(void)snprintf(number, sizeof(number),
		       "PRAGMA application_id = %d; PRAGMA user_version = %d",
		       (int)SCHEMA_APPLICATION_ID, step->version);
	rc = exec(db, step->sql);
	if (rc == 0)
		rc = exec(db, number);
	if (rc == 0)
		rc = exec(db, "COMMIT");
	if (rc < 0)
		db_rollback(db);
	return rc;
}

int schema_check(struct db *db, const struct schema_step *list, size_t count, int *ret_version,
		 char *ret_why, size_t why_size)
{
	int newest = list[count - 1].version;
	int application_id = 0, version = 0, tables = 0, rc;

	rc = read_pragma(db, "PRAGMA application_id", &application_id);
	if (rc == 0)
		rc = read_pragma(db, "PRAGMA user_version", &version);
	if (rc == 0)
		rc = read_pragma(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (rc < 0)
		return rc;
	if (application_id != SCHEMA_APPLICATION_ID &&
	    (application_id != 0 || version != 0 || tables != 0)) {
		(void)snprintf(ret_why, why_size,
			       "it is a database of another program; move it away");
		return ERR_CORRUPT;
	}
	if (version > newest) {
		(void)snprintf(ret_why, why_size,
			       "it was written by a newer peerscope (format %d, this one knows "
			       "%d); start that one",
			       version, newest);
		return ERR_VERSION;
	}
	*ret_version = version;
	return 0;
}

int schema_migrate(struct db *db, const struct schema_step *list, size_t count, int version)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		if (list[i].version > version)
			rc = apply(db, &list[i]);
	return rc;
}
