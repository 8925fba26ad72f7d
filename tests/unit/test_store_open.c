#include "store_util.h"

#include <fcntl.h>

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, true);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	return 0;
}

static void write_file(struct fixture *f, const char *name, const void *data, size_t len)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	(void)close(fd);
}

static void sql(struct fixture *f, const char *text)
{
	char path[128];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/store.db", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void expect_open(struct fixture *f, int status, const char *needle)
{
	char why[512] = "";

	CHECK_STATUS(status, fixture_try_open(f, why, sizeof(why)));
	if (strstr(why, needle) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why, needle);
}

static void a_second_daemon_is_kept_out(void **state)
{
	struct fixture *f = *state;
	struct store *mine = f->store;

	expect_open(f, ERR_LOCKED, "another daemon");
	f->store = mine;
}

static void a_newer_format_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	char back[64];
	size_t steps;

	(void)schema_steps(&steps);
	(void)snprintf(back, sizeof(back), "PRAGMA user_version = %zu", steps);
	fixture_close(f);
	sql(f, "PRAGMA user_version = 99");
	expect_open(f, ERR_VERSION, "newer peerscope (format 99");
	sql(f, back);
	fixture_open(f);
}

/* What lies in a store of the first format counts as seen by every folder; two heads do not. */
static void a_store_of_the_first_format_is_migrated(void **state)
{
	struct fixture *f = *state;
	struct store_origin folder = { .folder = "/home/a" };
	struct blob root = tree_of(NULL, 0), other;
	struct blob chunk = chunk_of("x");

	other = tree_of(&chunk, 1);
	CHECK_STATUS(0, put_one(f, &root, NULL));
	CHECK_STATUS(0, put_one(f, &chunk, NULL));
	CHECK_STATUS(0, put_one(f, &other, NULL));
	CHECK_STATUS(0, publish(f, "/a", &root, NULL));
	fixture_close(f);
	sql(f, "DROP TABLE origin; ALTER TABLE subscription DROP COLUMN history;"
	       "PRAGMA user_version = 1");
	fixture_open(f);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM origin"), 1);
	CHECK_STATUS(0, publish_from(f, "/a", &other, &folder, NULL, NULL));
	blob_fini(&root);
	blob_fini(&other);
	blob_fini(&chunk);
}

static void the_database_of_another_program_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	char path[128];

	fixture_close(f);
	(void)snprintf(path, sizeof(path), "%s/store.db", f->dir);
	(void)unlink(path);
	sql(f, "CREATE TABLE theirs (x); PRAGMA user_version = 3");
	expect_open(f, ERR_CORRUPT, "another program");
	sql(f, "INSERT INTO theirs VALUES (1)");
}

static void garbage_is_called_damaged(void **state)
{
	struct fixture *f = *state;
	char garbage[4096];

	fixture_close(f);
	memset(garbage, 'x', sizeof(garbage));
	write_file(f, "store.db", garbage, sizeof(garbage));
	expect_open(f, ERR_CORRUPT, "damaged");
}

static void a_missing_folder_is_named(void **state)
{
	struct fixture *f = *state;
	char dir[sizeof(f->dir)];

	fixture_close(f);
	memcpy(dir, f->dir, sizeof(dir));
	(void)strcat(f->dir, "x");
	expect_open(f, ERR_STORE, f->dir);
	memcpy(f->dir, dir, sizeof(dir));
}

/* Root may write anywhere, so a child without privileges tries. */
static int open_as_nobody(struct fixture *f)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		char why[512] = "";

		if (getuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
			_exit(3);
		if (fixture_try_open(f, why, sizeof(why)) != ERR_READ_ONLY)
			_exit(1);
		_exit(strstr(why, "make both writable") != NULL ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_read_only_folder_is_named_as_such(void **state)
{
	struct fixture *f = *state;
	char path[128];

	fixture_close(f);
	assert_int_equal(chmod(f->dir, 0555), 0);
	assert_int_equal(open_as_nobody(f), 0);
	(void)snprintf(path, sizeof(path), "%s/store.db", f->dir);
	(void)unlink(path);
	assert_int_equal(open_as_nobody(f), 0);
	assert_int_equal(chmod(f->dir, 0755), 0);
}

static void steps_are_applied_once_and_in_order(void **state)
{
	static const struct schema_step steps[] = {
		{ 1, "CREATE TABLE one (x)" },
		{ 2, "ALTER TABLE one ADD COLUMN y; INSERT INTO one VALUES (1, 2)" },
		{ 3, "CREATE TABLE three AS SELECT y FROM one" },
	};
	struct db db = { 0 };
	char why[128];
	int version = -1;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &db.sqlite), SQLITE_OK);
	CHECK_STATUS(0, schema_check(&db, steps, 2, &version, why, sizeof(why)));
	assert_int_equal(version, 0);
	CHECK_STATUS(0, schema_migrate(&db, steps, 2, version));
	CHECK_STATUS(0, schema_check(&db, steps, 3, &version, why, sizeof(why)));
	assert_int_equal(version, 2);
	CHECK_STATUS(0, schema_migrate(&db, steps, 3, version));
	CHECK_STATUS(0, schema_check(&db, steps, 3, &version, why, sizeof(why)));
	assert_int_equal(version, 3);
	CHECK_STATUS(ERR_VERSION, schema_check(&db, steps, 2, &version, why, sizeof(why)));
	db_close(&db);
}

static void a_step_that_fails_leaves_the_version_before_it(void **state)
{
	static const struct schema_step steps[] = {
		{ 1, "CREATE TABLE one (x)" },
		{ 2, "CREATE TABLE two (x); CREATE TABLE one (x)" },
	};
	struct db db = { 0 };
	char why[128];
	int version = -1;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &db.sqlite), SQLITE_OK);
	CHECK_STATUS(ERR_STORE, schema_migrate(&db, steps, 2, 0));
	CHECK_STATUS(0, schema_check(&db, steps, 2, &version, why, sizeof(why)));
	assert_int_equal(version, 1);
	assert_int_equal(sqlite3_exec(db.sqlite, "CREATE TABLE two (x)", NULL, NULL, NULL),
			 SQLITE_OK);
	db_close(&db);
}

static void every_statement_compiles(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < SQL_COUNT; i++) {
		CLEANUP(db_done) sqlite3_stmt *q = db_query(&f->store->db, (enum db_sql)i, NULL, 0);

		if (q == NULL)
			fail_msg("statement %d: %s", i, f->store->db.error_text);
	}
}

static bool grows_with_content(const char *table)
{
	static const char *const names[] = { "b",      "l",	  "c",	   "o",	   "p",
					     "t",      "n",	  "blob",  "link", "content",
					     "object", "commits", "parent" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], table) == 0)
			return true;
	return false;
}

/* A statement that scans a table works in tests and fails a large store. */
static void no_statement_scans_what_grows_with_content(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < SQL_COUNT; i++) {
		sqlite3_stmt *q = db_query(&f->store->db, (enum db_sql)i, NULL, 0), *plan = NULL;
		char *text = mem_printf("EXPLAIN QUERY PLAN %s", sqlite3_sql(q));
		char table[64];

		db_done(&q);
		assert_int_equal(sqlite3_prepare_v2(f->store->db.sqlite, text, -1, &plan, NULL),
				 SQLITE_OK);
		while (sqlite3_step(plan) == SQLITE_ROW)
			if (sscanf((const char *)sqlite3_column_text(plan, 3), "SCAN %63s",
				   table) == 1 &&
			    i != SQL_PEER_LIST && i != SQL_OBJECTS_ALL && grows_with_content(table))
				fail_msg("%s scans %s", text, table);
		(void)sqlite3_finalize(plan);
		mem_free(text);
	}
}

static void acknowledged_means_synced_to_the_disk(void **state)
{
	assert_int_equal(count_sql(*state, "PRAGMA synchronous"), 2);
	assert_int_equal(count_sql(*state, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"),
			 1);
}

static void the_log_is_emptied_at_close_and_at_open(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello");
	struct stat st;
	char path[128];

	CHECK_STATUS(0, put_one(f, &chunk, NULL));
	(void)snprintf(path, sizeof(path), "%s/store.db-wal", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 0);
	fixture_close(f);
	assert_true(stat(path, &st) < 0 || st.st_size == 0);
	fixture_open(f);
	assert_true(readable(f, &chunk.hash, false));
	blob_fini(&chunk);
}

static void a_long_log_is_checkpointed_between_requests(void **state)
{
	struct fixture *f = *state;
	size_t len = 1 << 20;
	uint8_t *bytes = mem_alloc(len);
	struct store_stats stats;

	for (uint8_t i = 0; i < 40; i++) {
		struct blob b;

		bytes[0] = i;
		b = blob_of(OBJECT_CHUNK, bytes, len);
		CHECK_STATUS(0, put_one(f, &b, NULL));
		blob_fini(&b);
		store_stats(f->store, &stats);
		assert_true(stats.wal_bytes <= DB_WAL_CHECKPOINT_BYTES + (2 << 20));
	}
	assert_true(stats.db_bytes > 20 << 20);
	mem_free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_second_daemon_is_kept_out),
		TEST(a_newer_format_is_refused_and_left_alone),
		TEST(a_store_of_the_first_format_is_migrated),
		TEST(the_database_of_another_program_is_refused_and_left_alone),
		TEST(garbage_is_called_damaged),
		TEST(a_missing_folder_is_named),
		TEST(a_read_only_folder_is_named_as_such),
		TEST(steps_are_applied_once_and_in_order),
		TEST(a_step_that_fails_leaves_the_version_before_it),
		TEST(every_statement_compiles),
		TEST(no_statement_scans_what_grows_with_content),
		TEST(acknowledged_means_synced_to_the_disk),
		TEST(the_log_is_emptied_at_close_and_at_open),
		TEST(a_long_log_is_checkpointed_between_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
