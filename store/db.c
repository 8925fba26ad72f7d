/* SQLite in WAL mode with synchronous=FULL: a commit that returned survives power loss. The lock is
 * exclusive for as long as the store is open, which keeps a second daemon out and the wal-index out
 * of shared memory. The log is checkpointed here and not by SQLite, between requests, so that no
 * request pays for it.
 *
 * After SQLITE_FULL, IOERR, NOMEM SQLite may have rolled back by itself; db_rollback copes with
 * both. */
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define X(name, text) [name] = text,
static const char *const sql_texts[SQL_COUNT] = { SQL_MAP(X) };
#undef X

/* What the last failed call on a file of the database set errno to. */
static int last_errno(sqlite3 *sqlite, int which_file)
{
	sqlite3_file *f = NULL;
	int e = 0;

	if (sqlite3_file_control(sqlite, "main", which_file, &f) != SQLITE_OK || f == NULL ||
	    f->pMethods == NULL || f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &e) != 0)
		return 0;
	return e;
}

/* SQLite calls only ENOSPC a full disk. Of the others its own sqlite3_system_errno knows no more
 * than errno by the time the statement has been undone; the files remember. */
static int map_ioerr(struct db *db, int rc)
{
	const int errnos[] = { last_errno(db->sqlite, SQLITE_FCNTL_JOURNAL_POINTER),
			       last_errno(db->sqlite, SQLITE_FCNTL_FILE_POINTER),
			       sqlite3_system_errno(db->sqlite) };

	if (rc == SQLITE_IOERR_READ || rc == SQLITE_IOERR_SHORT_READ)
		return ERR_STORE; /* what a write failed with before is another matter */
	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++) {
		if (errnos[i] == ENOSPC || errnos[i] == EDQUOT || errnos[i] == EFBIG)
			return ERR_DISK_FULL;
		if (errnos[i] == EROFS)
			return ERR_READ_ONLY;
	}
	return ERR_STORE;
}

static int map_code(struct db *db, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL: return ERR_DISK_FULL;
	case SQLITE_IOERR: return (rc == SQLITE_IOERR_NOMEM) ? UV_ENOMEM : map_ioerr(db, rc);
	case SQLITE_NOMEM: return UV_ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM: return ERR_READ_ONLY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return ERR_CORRUPT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return ERR_LOCKED;
	case SQLITE_TOOBIG: return ERR_LIMIT;
	default: return ERR_STORE;
	}
}

int db_fail(struct db *db, int rc)
{
	int extended = db->sqlite != NULL ? sqlite3_extended_errcode(db->sqlite) : rc;

	if ((extended & 0xff) != (rc & 0xff))
		extended = rc;
	db->error = map_code(db, extended);
	db->failed_now = true;
	(void)snprintf(db->error_text, sizeof(db->error_text), "%s (SQLite %d)",
		       db->sqlite != NULL ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(rc),
		       extended);
	return db->error;
}

static int set_error(struct db *db, int code, const char *text)
{
	db->error = code;
	db->failed_now = true;
	(void)snprintf(db->error_text, sizeof(db->error_text), "%s", text);
	return code;
}

/* ---- Statements ---- */

static int bind_arg(sqlite3_stmt *q, int at, const struct sql_arg *a)
{
	/* A NULL pointer would bind NULL; nothing here ever means that but a missing root. */
	switch (a->type) {
	case SQL_INT: return sqlite3_bind_int64(q, at, a->i);
	case SQL_BYTES: return sqlite3_bind_blob64(q, at, a->p, a->len, SQLITE_STATIC);
	case SQL_TEXT:
		return sqlite3_bind_text64(q, at, a->len > 0 ? a->p : "", a->len, SQLITE_STATIC,
					   SQLITE_UTF8);
	}
	return SQLITE_MISUSE;
}

/* All of them at once: rolling back must not depend on memory that is lacking just then. */
static int prepare_all(struct db *db)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < SQL_COUNT && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v3(db->sqlite, sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					&db->stmts[i], NULL);
	return rc == SQLITE_OK ? 0 : db_fail(db, rc);
}

sqlite3_stmt *db_query(struct db *db, enum db_sql sql, const struct sql_arg *args, size_t count)
{
	sqlite3_stmt *q = db->stmts[sql];
	int rc = SQLITE_OK;

	REQUIRE(q != NULL && !sqlite3_stmt_busy(q));
	if (db->in_transaction && sqlite3_get_autocommit(db->sqlite)) {
		/* SQLite has rolled back on its own; from here on each statement would commit by
		 * itself. */
		set_error(db, ERR_STORE, "the transaction was rolled back");
		return NULL;
	}
	for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
		rc = bind_arg(q, (int)i + 1, &args[i]);
	if (rc == SQLITE_OK)
		return q;
	(void)db_fail(db, rc);
	db_done(&q);
	return NULL;
}

int db_row(struct db *db, sqlite3_stmt *q)
{
	int rc;

	if (q == NULL)
		return db->error;
	rc = sqlite3_step(q);
	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : db_fail(db, rc);
}

void db_done(sqlite3_stmt **q)
{
	if (*q == NULL)
		return;
	(void)sqlite3_reset(*q); /* repeats the error of the last step */
	(void)sqlite3_clear_bindings(*q);
	*q = NULL;
}

int db_run(struct db *db, enum db_sql sql, const struct sql_arg *args, size_t count)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, sql, args, count);
	int rc = db_row(db, q);

	return MIN(rc, 0);
}

int db_int(struct db *db, enum db_sql sql, const struct sql_arg *args, size_t count, int64_t *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, sql, args, count);
	int rc = db_row(db, q);

	if (rc <= 0)
		return rc;
	*ret = sqlite3_column_int64(q, 0);
	/* To its end: a change with RETURNING may fail there. */
	rc = db_row(db, q);
	return rc < 0 ? rc : 1;
}

static int column_bytes(struct db *db, sqlite3_stmt *q, int column, void *ret, size_t size)
{
	const void *p = sqlite3_column_blob(q, column);

	if (p == NULL || (size_t)sqlite3_column_bytes(q, column) != size) {
		return set_error(db, ERR_CORRUPT, "a hash or key has the wrong size");
	}
	memcpy(ret, p, size);
	return 0;
}

int db_column_hash(struct db *db, sqlite3_stmt *q, int column, struct hash *ret)
{
	return column_bytes(db, q, column, ret->bytes, HASH_SIZE);
}

int db_column_key(struct db *db, sqlite3_stmt *q, int column, struct public_key *ret)
{
	return column_bytes(db, q, column, ret->bytes, KEY_SIZE);
}

/* ---- Transactions ---- */

static int totals_read(struct db *db)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_TOTALS, NULL, 0);
	struct db_totals read = { 0 };
	int rc;

	while ((rc = db_row(db, q)) > 0) {
		int64_t id = sqlite3_column_int64(q, 0);

		if (id >= 0 && id < TOTAL_COUNT)
			read.v[id] = sqlite3_column_int64(q, 1);
	}
	if (rc == 0)
		db->totals = db->written = read;
	return rc;
}

static int totals_write(struct db *db)
{
	int rc = 0;

	for (int i = 0; i < TOTAL_COUNT && rc == 0; i++)
		if (db->totals.v[i] != db->written.v[i])
			rc = db_run(db, SQL_TOTAL_SET, ARGS(arg_int(i), arg_int(db->totals.v[i])));
	return rc;
}

int db_begin(struct db *db)
{
	int rc;

	db->failed_now = db->wrote = false;
	rc = db_run(db, SQL_BEGIN, NULL, 0);
	db->in_transaction = rc == 0;
	return rc;
}

/* A change has just been written: there is room again, and nobody forbids it. Damage stays. */
static void forget_error(struct db *db)
{
	if (!db->wrote || db->failed_now || db->error == ERR_CORRUPT)
		return;
	db->error = 0;
	db->error_text[0] = '\0';
}

int db_commit(struct db *db)
{
	int rc = totals_write(db);

	if (rc == 0)
		rc = db_run(db, SQL_COMMIT, NULL, 0);
	if (rc < 0) {
		db_rollback(db);
		return rc;
	}
	db->in_transaction = false;
	db->written = db->totals;
	forget_error(db);
	return 0;
}

void db_rollback(struct db *db)
{
	/* After some failures SQLite has done it already. The outcome is what the last line says.
	 */
	if (!sqlite3_get_autocommit(db->sqlite)) {
		sqlite3_stmt *q = db->stmts[SQL_ROLLBACK];

		if (q != NULL) {
			(void)sqlite3_step(q);
			(void)sqlite3_reset(q);
		} else {
			(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
		}
	}
	db->in_transaction = false;
	db->totals = db->written;
	REQUIRE(sqlite3_get_autocommit(db->sqlite));
}

int db_savepoint(struct db *db, struct db_totals *ret_saved)
{
	*ret_saved = db->totals;
	return db_run(db, SQL_SAVEPOINT, NULL, 0);
}

int db_release(struct db *db)
{
	return db_run(db, SQL_RELEASE, NULL, 0);
}

int db_rollback_to(struct db *db, const struct db_totals *saved)
{
	int rc = db_run(db, SQL_ROLLBACK_TO, NULL, 0);

	db->totals = *saved;
	return rc < 0 ? rc : db_release(db);
}

/* ---- Log ---- */

static int on_wal(void *data, sqlite3 *sqlite, const char *name, int pages)
{
	struct db *db = data;

	(void)sqlite;
	(void)name;
	db->wal_bytes = (uint64_t)pages * DB_PAGE_SIZE;
	db->wrote = true;
	return SQLITE_OK;
}

static bool checkpoint(struct db *db, int mode)
{
	int rc = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, NULL, NULL);

	if (rc != SQLITE_OK) {
		(void)db_fail(db, rc);
		return false;
	}
	/* The next commit starts the log over. */
	db->wal_bytes = 0;
	return true;
}

void db_checkpoint_if_due(struct db *db)
{
	if (db->wal_bytes < db->checkpoint_at_bytes)
		return;
	if (checkpoint(db, SQLITE_CHECKPOINT_PASSIVE))
		db->checkpoint_at_bytes = DB_WAL_CHECKPOINT_BYTES;
	else
		db->checkpoint_at_bytes = db->wal_bytes + DB_WAL_CHECKPOINT_BYTES;
}

uint64_t db_file_bytes(struct db *db)
{
	const char *path = sqlite3_db_filename(db->sqlite, NULL);
	struct stat st;

	if (path == NULL || path[0] == '\0' || stat(path, &st) < 0)
		return 0;
	return (uint64_t)st.st_size;
}

/* ---- Open, close ---- */

static int exec(struct db *db, const char *sql)
{
	int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_fail(db, rc);
}

/* Nothing here writes to the file: whose it is has not been looked at yet. */
static int configure(struct db *db)
{
	char sql[256];

	(void)sqlite3_extended_result_codes(db->sqlite, 1);
	(void)sqlite3_limit(db->sqlite, SQLITE_LIMIT_LENGTH, 64 << 20);
	(void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)snprintf(
		sql, sizeof(sql),
		"PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = %d; PRAGMA cache_size = -%d;"
		"PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON",
		(int)DB_PAGE_SIZE, (int)DB_CACHE_KIB);
	return exec(db, sql);
}

static int configure_log(struct db *db)
{
	char sql[256];
	int rc = exec(db, "PRAGMA journal_mode = WAL");

	(void)snprintf(sql, sizeof(sql),
		       "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA "
		       "journal_size_limit = %d;"
		       "CREATE TEMP TABLE start (id INTEGER PRIMARY KEY, history INTEGER NOT NULL)",
		       (int)DB_WAL_KEEP_BYTES);
	return rc == 0 ? exec(db, sql) : rc;
}

/* What a person needs to know: what happened, why, what to do. */
static void explain(const struct db *db, const char *path, int rc, const char *detail, char *ret,
		    size_t size)
{
	const char *help = "";

	if (rc == ERR_READ_ONLY)
		help = ": the folder or the file cannot be written; make both writable for this "
		       "user";
	else if (rc == ERR_DISK_FULL)
		help = ": the disk is full; make room and start again";
	else if (rc == ERR_LOCKED)
		help = ": another daemon uses it; stop that one or choose another data folder";
	else if (rc == ERR_CORRUPT && detail[0] == '\0')
		help = ": it is damaged; move it away and start again, content is fetched anew "
		       "from peers";
	(void)snprintf(ret, size, "cannot open %s%s%s%s [%s]", path, detail[0] != '\0' ? ": " : "",
		       detail, help, db->error != 0 ? db->error_text : err_str(rc));
}

/* SQLite opens a file it may not write without a word, and says only "unable to open" when it
 * cannot create one. */
static int refine_open_error(struct db *db, const char *dir, int rc)
{
	if (rc == ERR_STORE && dir != NULL && sqlite3_errcode(db->sqlite) == SQLITE_CANTOPEN &&
	    access(dir, F_OK) == 0 && access(dir, W_OK) < 0)
		return ERR_READ_ONLY;
	return rc;
}

static int open_steps(struct db *db, const char *dir, const char *path, char *detail,
		      size_t detail_size)
{
	size_t count;
	const struct schema_step *steps = schema_steps(&count);
	int version = 0;
	int rc = sqlite3_open_v2(path, &db->sqlite,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
					 SQLITE_OPEN_EXRESCODE,
				 NULL);

	if (rc != SQLITE_OK)
		return refine_open_error(db, dir, db_fail(db, rc));
	if (sqlite3_db_readonly(db->sqlite, "main") == 1)
		return ERR_READ_ONLY;
	rc = configure(db);
	if (rc == 0)
		rc = schema_check(db, steps, count, &version, detail, detail_size);
	if (rc == 0)
		rc = configure_log(db);
	if (rc < 0)
		return refine_open_error(db, dir, rc);
	(void)sqlite3_wal_hook(db->sqlite, on_wal, db);
	rc = schema_migrate(db, steps, count, version);
	if (rc == 0)
		rc = prepare_all(db);
	if (rc == 0)
		rc = totals_read(db);
	/* On a full disk the log stays as it is: what is here can be read. */
	if (rc == 0 && dir != NULL && !checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE) &&
	    db->error != ERR_DISK_FULL)
		rc = db->error;
	return rc;
}

int db_open(struct db *db, const char *dir, char *ret_why, size_t why_size)
{
	char detail[160] = "";
	char path[4096];
	int rc, n;

	*db = (struct db){ .checkpoint_at_bytes = DB_WAL_CHECKPOINT_BYTES };
	n = snprintf(path, sizeof(path), "%s%s",
		     dir != NULL ? dir : ":memory:", dir != NULL ? "/store.db" : "");
	if (n < 0 || (size_t)n >= sizeof(path)) {
		(void)snprintf(ret_why, why_size, "the path of the data folder is too long");
		return ERR_LIMIT;
	}
	rc = open_steps(db, dir, path, detail, sizeof(detail));
	if (rc == 0)
		return 0;
	explain(db, path, rc, detail, ret_why, why_size);
	db_close(db);
	return rc;
}

void db_close(struct db *db)
{
	int rc;

	for (size_t i = 0; i < SQL_COUNT; i++)
		(void)sqlite3_finalize(db->stmts[i]);
	memset(db->stmts, 0, sizeof(db->stmts));
	if (db->sqlite == NULL)
		return;
	(void)sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	rc = sqlite3_close(db->sqlite);
	REQUIRE(rc == SQLITE_OK);
	db->sqlite = NULL;
}
