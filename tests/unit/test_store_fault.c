/* Disk and memory that fail at the n-th use. */
#include "store_util.h"

/* ---- A file system that fails ---- */

static struct {
	uint64_t countdown; /* the n-th write, sync or truncate from now; 0 = never */
	bool sticky;
	int code;
	uint64_t hits;
} disk;

static void disk_fault(uint64_t n, bool sticky, int code)
{
	disk.countdown = n;
	disk.sticky = sticky;
	disk.code = code;
	disk.hits = 0;
}

static bool disk_fails(void)
{
	if (disk.countdown == 0)
		return false;
	if (disk.countdown > 1) {
		disk.countdown--;
		return false;
	}
	if (!disk.sticky)
		disk.countdown = 0;
	disk.hits++;
	return true;
}

struct shim_file {
	sqlite3_file base;
	sqlite3_file *real;
};

#define REAL(file) (((struct shim_file *)(file))->real)
#define FORWARD(name, params, ...)                                                                 \
	static int shim_##name params                                                              \
	{                                                                                          \
		return REAL(file)->pMethods->name(REAL(file), ##__VA_ARGS__);                      \
	}
#define FAILING(name, params, ...)                                                                 \
	static int shim_##name params                                                              \
	{                                                                                          \
		if (disk_fails())                                                                  \
			return disk.code;                                                          \
		return REAL(file)->pMethods->name(REAL(file), ##__VA_ARGS__);                      \
	}
FORWARD(xClose, (sqlite3_file * file))
FORWARD(xRead, (sqlite3_file * file, void *p, int n, sqlite3_int64 at), p, n, at)
FAILING(xWrite, (sqlite3_file * file, const void *p, int n, sqlite3_int64 at), p, n, at)
FAILING(xTruncate, (sqlite3_file * file, sqlite3_int64 size), size)
FAILING(xSync, (sqlite3_file * file, int flags), flags)
FORWARD(xFileSize, (sqlite3_file * file, sqlite3_int64 *size), size)
FORWARD(xLock, (sqlite3_file * file, int level), level)
FORWARD(xUnlock, (sqlite3_file * file, int level), level)
FORWARD(xCheckReservedLock, (sqlite3_file * file, int *out), out)
FORWARD(xFileControl, (sqlite3_file * file, int op, void *arg), op, arg)
FORWARD(xSectorSize, (sqlite3_file * file))
FORWARD(xDeviceCharacteristics, (sqlite3_file * file))

static const sqlite3_io_methods shim_methods = {
	.iVersion = 1,
	.xClose = shim_xClose,
	.xRead = shim_xRead,
	.xWrite = shim_xWrite,
	.xTruncate = shim_xTruncate,
	.xSync = shim_xSync,
	.xFileSize = shim_xFileSize,
	.xLock = shim_xLock,
	.xUnlock = shim_xUnlock,
	.xCheckReservedLock = shim_xCheckReservedLock,
	.xFileControl = shim_xFileControl,
	.xSectorSize = shim_xSectorSize,
	.xDeviceCharacteristics = shim_xDeviceCharacteristics,
};

static sqlite3_vfs *real_vfs, shim_vfs;

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
		     int *out)
{
	struct shim_file *shim = (struct shim_file *)file;
	int rc;

	(void)vfs;
	shim->real = (sqlite3_file *)(shim + 1);
	shim->base.pMethods = NULL;
	rc = real_vfs->xOpen(real_vfs, name, shim->real, flags, out);
	if (shim->real->pMethods != NULL)
		shim->base.pMethods = &shim_methods;
	return rc;
}

static void shim_install(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	shim_vfs = *real_vfs;
	shim_vfs.zName = "failing";
	shim_vfs.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
	shim_vfs.xOpen = shim_open;
	assert_int_equal(sqlite3_vfs_register(&shim_vfs, 1), SQLITE_OK);
}

/* ---- Memory of SQLite that fails ---- */

static struct {
	sqlite3_mem_methods real;
	uint64_t countdown;
	bool sticky;
	uint64_t hits;
} heap;

static void heap_fault(uint64_t n, bool sticky)
{
	heap.countdown = n;
	heap.sticky = sticky;
	heap.hits = 0;
}

static bool heap_fails(void)
{
	if (heap.countdown == 0)
		return false;
	if (heap.countdown > 1) {
		heap.countdown--;
		return false;
	}
	if (!heap.sticky)
		heap.countdown = 0;
	heap.hits++;
	return true;
}

static void *heap_malloc(int n)
{
	return heap_fails() ? NULL : heap.real.xMalloc(n);
}

static void *heap_realloc(void *p, int n)
{
	return heap_fails() ? NULL : heap.real.xRealloc(p, n);
}

static void heap_install(void)
{
	sqlite3_mem_methods shim;

	(void)sqlite3_config(SQLITE_CONFIG_GETMALLOC, &heap.real);
	shim = heap.real;
	shim.xMalloc = heap_malloc;
	shim.xRealloc = heap_realloc;
	(void)sqlite3_config(SQLITE_CONFIG_MALLOC, &shim);
	(void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
}

/* ---- The story that is told under faults ---- */

struct story {
	struct fixture *f;
	struct blob mine, mine_tree, theirs, theirs_tree, commit, child;
	bool acknowledged[7];
};

static void story_init(struct story *s, struct fixture *f)
{
	*s = (struct story){ .f = f, .mine = chunk_of("mine"), .theirs = chunk_of("theirs") };
	s->mine_tree = tree_of(&s->mine, 1);
	s->theirs_tree = tree_of(&s->theirs, 1);
	s->commit = commit_of(&f->guest, &f->guest.pub, "/t", &s->theirs_tree, 100, NULL, 0, NULL);
	s->child = commit_of(&f->guest, &f->guest.pub, "/t", &s->theirs_tree, 101, &s->commit.hash,
			     1, NULL);
}

static void story_fini(struct story *s)
{
	blob_fini(&s->mine);
	blob_fini(&s->mine_tree);
	blob_fini(&s->theirs);
	blob_fini(&s->theirs_tree);
	blob_fini(&s->commit);
	blob_fini(&s->child);
}

/* Runs each step; returns the first failure of our own (verdicts about blobs that follow from it
 * are none). */
static int story_run(struct story *s)
{
	const struct blob *blobs[] = { &s->mine,   &s->mine_tree,   &s->child,
				       &s->commit, &s->theirs_tree, &s->theirs };
	int first = 0, rc;

	for (size_t i = 0; i < ARRAY_SIZE(blobs); i++) {
		rc = put_one(s->f, blobs[i], i < 2 ? NULL : &s->f->peer.pub);
		s->acknowledged[i] |= rc == 0;
		if (rc < 0 && rc != ERR_MISSING && rc != ERR_PROTOCOL && first == 0)
			first = rc;
	}
	rc = publish(s->f, "/m", &s->mine_tree, NULL);
	s->acknowledged[6] |= rc == 0;
	return first != 0 ? first : rc == ERR_MISSING ? 0 : rc;
}

static void story_check(struct story *s, bool all)
{
	const struct blob *blobs[] = { &s->mine,   &s->mine_tree,   &s->child,
				       &s->commit, &s->theirs_tree, &s->theirs };

	check_invariants(s->f);
	for (size_t i = 0; i < ARRAY_SIZE(blobs); i++)
		if ((s->acknowledged[i] || all) && !readable(s->f, &blobs[i]->hash, i >= 2))
			fail_msg("acknowledged blob %zu is gone", i);
	if (s->acknowledged[6] || all)
		assert_true(resolve(s->f, &s->f->owner.pub, "/m", SCOPE_EXACT).resolved);
	if (all)
		assert_true(resolve(s->f, &s->f->guest.pub, "/t", SCOPE_EXACT).resolved);
}

/* One run with a fault; true if it was met. */
static bool story_with_disk_fault(uint64_t n, bool sticky, int code, int expected)
{
	struct fixture f;
	struct story s;
	uint64_t hits;
	int rc;

	fixture_init(&f, true);
	story_init(&s, &f);
	disk_fault(n, sticky, code);
	rc = story_run(&s);
	hits = disk.hits;
	disk_fault(0, false, 0);
	CHECK_STATUS(hits > 0 ? expected : 0, rc);
	story_check(&s, false);
	fixture_reopen(&f);
	story_check(&s, false);
	CHECK_STATUS(0, story_run(&s));
	story_check(&s, true);
	story_fini(&s);
	fixture_fini(&f);
	return hits > 0;
}

static void a_failing_write_or_sync_loses_nothing_acknowledged(void **state)
{
	(void)state;
	for (uint64_t n = 1; story_with_disk_fault(n, false, SQLITE_IOERR_WRITE, ERR_STORE); n++)
		assert_true(n < 1000);
}

static void a_disk_that_fails_for_good_loses_nothing_acknowledged(void **state)
{
	(void)state;
	for (uint64_t n = 1; story_with_disk_fault(n, true, SQLITE_IOERR_FSYNC, ERR_STORE); n += 3)
		assert_true(n < 1000);
}

static void a_full_disk_is_named_and_work_goes_on_when_there_is_room(void **state)
{
	(void)state;
	for (uint64_t n = 1; story_with_disk_fault(n, true, SQLITE_FULL, ERR_DISK_FULL); n += 3)
		assert_true(n < 1000);
}

/* What passes by itself is not told for ever; damage is. */
static void an_error_is_forgotten_when_a_change_succeeds(void **state)
{
	struct fixture f;
	struct story s;
	struct store_stats stats;

	(void)state;
	fixture_init(&f, true);
	story_init(&s, &f);
	disk_fault(1, true, SQLITE_FULL);
	CHECK_STATUS(ERR_DISK_FULL, story_run(&s));
	store_stats(f.store, &stats);
	assert_int_equal(stats.last_error, ERR_DISK_FULL);
	assert_true(strlen(stats.last_error_text) > 0);
	disk_fault(0, false, 0);
	CHECK_STATUS(0, story_run(&s));
	store_stats(f.store, &stats);
	assert_int_equal(stats.last_error, 0);
	assert_string_equal(stats.last_error_text, "");
	story_fini(&s);
	fixture_fini(&f);
}

static void opening_on_a_failing_disk_fails_cleanly(void **state)
{
	struct fixture f;
	char why[512];
	bool met = true;

	(void)state;
	fixture_init(&f, true);
	fixture_close(&f);
	for (uint64_t n = 1; met; n++) {
		int rc;

		remove_dir(f.dir);
		assert_int_equal(mkdir(f.dir, 0755), 0);
		disk_fault(n, true, SQLITE_FULL);
		rc = fixture_try_open(&f, why, sizeof(why));
		met = disk.hits > 0;
		/* The checkpoint at the end may wait for room: what is here can be read. */
		if (!met || rc != 0)
			CHECK_STATUS(met ? ERR_DISK_FULL : 0, rc);
		disk_fault(0, false, 0);
		if (rc == 0)
			fixture_close(&f);
		fixture_open(&f);
		check_invariants(&f);
		fixture_close(&f);
	}
	fixture_fini(&f);
}

static bool story_with_heap_fault(uint64_t n, bool sticky)
{
	struct fixture f;
	struct story s;
	uint64_t hits;
	int rc;

	fixture_init(&f, false);
	story_init(&s, &f);
	heap_fault(n, sticky);
	rc = story_run(&s);
	hits = heap.hits;
	heap_fault(0, false);
	/* SQLite copes without some of what it asks for. */
	if (rc != 0)
		CHECK_STATUS(UV_ENOMEM, rc);
	story_check(&s, false);
	CHECK_STATUS(0, story_run(&s));
	story_check(&s, true);
	story_fini(&s);
	fixture_fini(&f);
	return hits > 0;
}

static void sqlite_without_memory_fails_cleanly(void **state)
{
	(void)state;
	for (uint64_t n = 1; story_with_heap_fault(n, false); n += 1 + n / 50)
		assert_true(n < 100000);
	for (uint64_t n = 1; story_with_heap_fault(n, true); n += 1 + n / 20)
		assert_true(n < 100000);
}

/* ---- Our own memory ---- */

static int put_under_fault(struct fixture *f, const struct blob *const *list, size_t count,
			   const struct public_key *from, uint64_t n, bool *ret_met)
{
	struct put_result r;
	int rc;

	put_fill(&r, list, count);
	mem_fault_after(n, false);
	rc = RUN(store_put, &r.put, f, r.blobs, count, from, NULL);
	*ret_met = mem_fault_hits() > 0;
	mem_fault_after(0, false);
	if (*ret_met)
		CHECK_STATUS(UV_ENOMEM, rc);
	for (size_t i = 0; i < count; i++)
		assert_null(r.blobs[i].data);
	store_put_fini(&r.put);
	return rc;
}

static void a_put_survives_oom_at_every_allocation(void **state)
{
	struct mem_stats before, after;
	struct fixture f;
	struct story s;
	bool met = true;

	(void)state;
	fixture_init(&f, false);
	story_init(&s, &f);
	mem_stats(&before);
	for (uint64_t n = 1; met; n++) {
		const struct blob *list[] = { &s.child, &s.commit, &s.theirs_tree, &s.theirs };

		(void)put_under_fault(&f, list, 4, &f.peer.pub, n, &met);
		check_invariants(&f);
		assert_true(n < 1000);
	}
	mem_stats(&after);
	assert_int_equal(before.live_count, after.live_count);
	assert_true(resolve(&f, &f.guest.pub, "/t", SCOPE_EXACT).resolved);
	story_fini(&s);
	fixture_fini(&f);
}

static int read_everything(struct fixture *f, const struct story *s)
{
	struct scope scope = scope_of(&f->guest.pub, "", SCOPE_RECURSIVE);
	struct iri iri = iri_of(&f->guest.pub, "/t");
	struct store_get_item item = { .hash = s->commit.hash };
	struct store_items items;
	struct store_objects objects;
	struct store_wants wants;
	struct store_peers peers;
	struct store_subscriptions subs;
	struct store_has has;
	struct store_get get;
	struct store_log log;
	int rc = 0, first = 0;

#define STEP(type, o, ...)                                                                         \
	rc = RUN(type, o, f, ##__VA_ARGS__);                                                       \
	type##_fini(o);                                                                            \
	first = first != 0 ? first : rc
	STEP(store_items, &items, &scope);
	STEP(store_objects, &objects, NULL, 10);
	STEP(store_wants, &wants, &scope, STORE_WANT_HISTORY, 10);
	STEP(store_peers, &peers, &f->guest.pub, 10);
	STEP(store_subscriptions, &subs);
	STEP(store_has, &has, &item.hash, 1, true);
	STEP(store_get, &get, &item, 1, &(struct store_reader){ 0 }, 100);
	STEP(store_log, &log, &iri, 10);
#undef STEP
	return first;
}

static void every_read_survives_oom_at_every_allocation(void **state)
{
	struct fixture f;
	struct story s;
	int rc;

	(void)state;
	fixture_init(&f, false);
	story_init(&s, &f);
	CHECK_STATUS(0, put_one(&f, &s.commit, &f.peer.pub));
	CHECK_STATUS(0, put_one(&f, &s.theirs_tree, &f.peer.pub));
	CHECK_STATUS(ERR_MISSING, publish(&f, "/m", &s.mine_tree, NULL));
	FAULT_SWEEP({
		rc = read_everything(&f, &s);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
	story_fini(&s);
	fixture_fini(&f);
}

static void opening_survives_oom_at_every_allocation(void **state)
{
	struct fixture f = { 0 };
	char why[256];
	int rc;

	(void)state;
	manual_loop_init(&f.loop, 1);
	FAULT_SWEEP({
		rc = fixture_try_open(&f, why, sizeof(why));
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		if (rc == 0)
			fixture_close(&f);
	});
	manual_loop_fini(&f.loop);
}

/* ---- Being stopped ---- */

static void a_put_can_be_stopped_at_any_turn(void **state)
{
	struct mem_stats before, after;
	struct fixture f;
	struct story s;
	bool met = true;

	(void)state;
	fixture_init(&f, false);
	story_init(&s, &f);
	mem_stats(&before);
	for (unsigned turns = 0; met; turns++) {
		const struct blob *list[] = { &s.mine, &s.mine_tree };
		struct put_result r;

		put_fill(&r, list, 2);
		r.put.data = &f;
		f.done = false;
		store_put_start(&r.put, &f.env, f.store, r.blobs, 2, NULL, NULL, store_put_done);
		for (unsigned i = 0; i < turns && !f.done; i++)
			(void)manual_loop_turn(&f.loop);
		met = !f.done;
		if (met)
			op_cancel(&r.put.op);
		CHECK_STATUS(met ? UV_ECANCELED : 0, fixture_wait(&f));
		assert_null(r.blobs[0].data);
		store_put_fini(&r.put);
		check_invariants(&f);
	}
	mem_stats(&after);
	assert_int_equal(before.live_count, after.live_count);
	story_fini(&s);
	fixture_fini(&f);
}

static void a_put_stopped_between_transactions_reports_what_was_committed(void **state)
{
	enum { COUNT = 4 * STORE_TX_BLOBS_MAX };
	struct blob *blobs = mem_alloc_array(COUNT, sizeof(*blobs));
	const struct blob *list[COUNT];
	struct put_result r;
	struct fixture f;

	(void)state;
	fixture_init(&f, false);
	for (size_t i = 0; i < COUNT; i++) {
		blobs[i] = blob_of(OBJECT_CHUNK, &i, sizeof(i));
		list[i] = &blobs[i];
	}
	put_fill(&r, list, COUNT);
	r.put.data = &f;
	f.done = false;
	store_put_start(&r.put, &f.env, f.store, r.blobs, COUNT, NULL, NULL, store_put_done);
	(void)manual_loop_turn(&f.loop);
	op_cancel(&r.put.op);
	CHECK_STATUS(UV_ECANCELED, fixture_wait(&f));
	assert_true(r.put.stored >= STORE_TX_BLOBS_MAX && r.put.stored < COUNT);
	CHECK_STATUS(0, r.blobs[r.put.stored - 1].status);
	CHECK_STATUS(UV_ECANCELED, r.blobs[COUNT - 1].status);
	assert_true(readable(&f, &blobs[0].hash, false));
	assert_false(readable(&f, &blobs[COUNT - 1].hash, false));
	store_put_fini(&r.put);
	for (size_t i = 0; i < COUNT; i++)
		blob_fini(&blobs[i]);
	mem_free(blobs);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_write_or_sync_loses_nothing_acknowledged),
		cmocka_unit_test(a_disk_that_fails_for_good_loses_nothing_acknowledged),
		cmocka_unit_test(a_full_disk_is_named_and_work_goes_on_when_there_is_room),
		cmocka_unit_test(an_error_is_forgotten_when_a_change_succeeds),
		cmocka_unit_test(opening_on_a_failing_disk_fails_cleanly),
		cmocka_unit_test(sqlite_without_memory_fails_cleanly),
		cmocka_unit_test(a_put_survives_oom_at_every_allocation),
		cmocka_unit_test(every_read_survives_oom_at_every_allocation),
		cmocka_unit_test(opening_survives_oom_at_every_allocation),
		cmocka_unit_test(a_put_can_be_stopped_at_any_turn),
		cmocka_unit_test(a_put_stopped_between_transactions_reports_what_was_committed),
	};

	heap_install();
	shim_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
