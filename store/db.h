/* One SQLite connection: opening, errors, transactions, and statements prepared once.
 *
 * Every SQL text is a constant (store/sql.h, store/schema.c); values are always bound. Not
 * thread-safe: the connection belongs to the store's thread once that runs. */
#pragma once

#include <sqlite3.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/multiformats.h"
#include "store/sql.h"

enum {
	DB_PAGE_SIZE = 8192,
	DB_CACHE_KIB = 32 << 10,
	DB_WAL_CHECKPOINT_BYTES = 16 << 20, /* checkpoint between requests beyond this */
	DB_WAL_KEEP_BYTES = 32 << 20,	    /* a larger log is cut back after a checkpoint */
	DB_ERROR_TEXT_MAX = 128
};

/* Sums that would cost a scan: kept in memory during a transaction, written with it, read again
 * after a rollback. */
enum db_total {
	TOTAL_BLOBS,
	TOTAL_BLOB_BYTES,
	TOTAL_COMMITS,
	TOTAL_TREES,
	TOTAL_WANTED,
	TOTAL_STASHED,
	TOTAL_STASH_BYTES,
	TOTAL_REFUSED,
	TOTAL_OBJECTS,
	TOTAL_CONFLICTS,
	TOTAL_PEERS,
	TOTAL_SUBSCRIPTIONS,
	TOTAL_COUNT
};
struct db_totals {
	int64_t v[TOTAL_COUNT];
};

struct db {
	sqlite3 *sqlite;
	sqlite3_stmt *stmts[SQL_COUNT];
	struct db_totals totals, written;
	bool in_transaction; /* begun by us, not ended by us */
	uint64_t wal_bytes;
	uint64_t checkpoint_at_bytes;
	int error; /* the last failure, for statistics; what passes by itself is cleared by the
		    * next change that succeeds */
	bool failed_now, wrote; /* error is of the transaction under way; it reached the disk */
	char error_text[DB_ERROR_TEXT_MAX];
};

/** Opens dir/store.db (NULL: in memory), takes the exclusive lock, migrates, empties the log. On
 * failure nothing is left open and ret_why says what to do. ERR_READ_ONLY, ERR_DISK_FULL,
 * ERR_VERSION, ERR_CORRUPT, ERR_LOCKED, ERR_STORE, UV_ENOMEM. */
int db_open(struct db *db, const char *dir, char *ret_why, size_t why_size);
/** Finalizes, checkpoints, closes. */
void db_close(struct db *db);

/** Our code for what SQLite said last; remembers it as db->error. */
int db_fail(struct db *db, int rc);

struct sql_arg {
	enum { SQL_INT, SQL_BYTES, SQL_TEXT } type;
	int64_t i;
	const void *p;
	size_t len;
};
static inline struct sql_arg arg_int(int64_t v)
{
	return (struct sql_arg){ .type = SQL_INT, .i = v };
}
static inline struct sql_arg arg_bytes(const void *p, size_t len)
{
	return (struct sql_arg){ .type = SQL_BYTES, .p = p, .len = len };
}
static inline struct sql_arg arg_hash(const struct hash *h)
{
	return arg_bytes(h->bytes, HASH_SIZE);
}
static inline struct sql_arg arg_key(const struct public_key *k)
{
	return arg_bytes(k->bytes, KEY_SIZE);
}
static inline struct sql_arg arg_text(const char *s, size_t len)
{
	return (struct sql_arg){ .type = SQL_TEXT, .p = s, .len = len };
}
#define ARGS(...)                                                                                  \
	((const struct sql_arg[]){ __VA_ARGS__ }),                                                 \
		ARRAY_SIZE(((const struct sql_arg[]){ __VA_ARGS__ }))

/** A statement ready to be stepped with db_row, or NULL (db->error says why). Borrows the arguments
 * until db_done. The same statement must not be in use already. */
sqlite3_stmt *db_query(struct db *db, enum db_sql sql, const struct sql_arg *args,
		       size_t count) MUST_USE;
/** 1 = a row, 0 = no more, negative = failed. */
int db_row(struct db *db, sqlite3_stmt *q) MUST_USE;
/** For CLEANUP on a statement variable; accepts NULL. */
void db_done(sqlite3_stmt **q);
/** Query without rows. */
int db_run(struct db *db, enum db_sql sql, const struct sql_arg *args, size_t count) MUST_USE;
/** First column of the first row. 1 = found, 0 = no row, negative. */
int db_int(struct db *db, enum db_sql sql, const struct sql_arg *args, size_t count,
	   int64_t *ret) MUST_USE;

/** "Found or not" is success. A function, since MIN would run its argument twice. */
static inline int db_status(int rc)
{
	return rc < 0 ? rc : 0;
}

/** Column of exactly that size; ERR_CORRUPT otherwise. */
int db_column_hash(struct db *db, sqlite3_stmt *q, int column, struct hash *ret);
int db_column_key(struct db *db, sqlite3_stmt *q, int column, struct public_key *ret);

int db_begin(struct db *db) MUST_USE;
/** Writes the totals and commits. On failure everything is rolled back. */
int db_commit(struct db *db) MUST_USE;
/** Ends in autocommit whatever happened before. */
void db_rollback(struct db *db);

/* One level inside a transaction. */
int db_savepoint(struct db *db, struct db_totals *ret_saved) MUST_USE;
int db_release(struct db *db) MUST_USE;
/** Back to the savepoint, which is gone then. */
int db_rollback_to(struct db *db, const struct db_totals *saved) MUST_USE;

static inline void db_add(struct db *db, enum db_total total, int64_t n)
{
	db->totals.v[total] += n;
}

/** Copy the log into the database file when it has grown; failing is harmless and tried again
 * later. */
void db_checkpoint_if_due(struct db *db);
uint64_t db_file_bytes(struct db *db);

/* ---- Schema ---- */

struct schema_step {
	int version; /* of the schema after this step; ascending by one */
	const char *sql;
};
enum { SCHEMA_APPLICATION_ID = 0x70736370 /* "pscp" */ };
/** Which version the file has, without writing to it; 0 = empty. ERR_VERSION when it is newer than
 * the last step, ERR_CORRUPT when it belongs to another program; ret_why says so. */
int schema_check(struct db *db, const struct schema_step *steps, size_t count, int *ret_version,
		 char *ret_why, size_t why_size);
/** Bring the database from `version` to that of the last step, each step in a transaction of its
 * own. */
int schema_migrate(struct db *db, const struct schema_step *steps, size_t count, int version);
/** The steps of this program. */
const struct schema_step *schema_steps(size_t *ret_count);
