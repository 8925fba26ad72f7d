/* The thread: on a real loop, and under kill -9. */
#include "store_util.h"

#include <poll.h>
#include <signal.h>

#include "base/loop.h"

struct threaded {
	struct loop loop;
	struct op_env env;
	struct store *store;
	char dir[64];
	unsigned done;
	bool closed;
};

static void threaded_open(struct threaded *t)
{
	struct store_config config = { .runner = &t->loop.runner,
				       .dir = t->dir,
				       .uv = &t->loop.uv };
	char why[512];

	CHECK_STATUS(0, store_open(&config, &t->store, why, sizeof(why)));
}

static int setup(void **state)
{
	static struct threaded t;

	assert_int_equal(base_init(), 0);
	t = (struct threaded){ .dir = "/tmp/store-test-XXXXXX" };
	assert_non_null(mkdtemp(t.dir));
	assert_int_equal(loop_init(&t.loop), 0);
	t.env = (struct op_env){ .runner = &t.loop.runner, .deadline_ms = UINT64_MAX };
	threaded_open(&t);
	*state = &t;
	return 0;
}

static void on_closed(void *data)
{
	((struct threaded *)data)->closed = true;
}

static int teardown(void **state)
{
	struct threaded *t = *state;

	store_close(t->store, on_closed, t);
	(void)loop_run(&t->loop);
	assert_true(t->closed);
	loop_fini(&t->loop);
	remove_dir(t->dir);
	return 0;
}

struct one_put {
	struct store_put put;
	struct store_blob blob;
	struct threaded *t;
	int status;
};

static void on_put(struct store_put *p, int status)
{
	struct one_put *o = container_of(p, struct one_put, put);

	o->status = status;
	o->t->done++;
	store_put_fini(p);
}

static void start_put(struct threaded *t, struct one_put *o, uint64_t n)
{
	o->t = t;
	o->blob = (struct store_blob){ .kind = OBJECT_CHUNK,
				       .hash = hash_of(&n, sizeof(n)),
				       .data = mem_dup(&n, sizeof(n)),
				       .len = sizeof(n) };
	store_put_start(&o->put, &t->env, t->store, &o->blob, 1, NULL, NULL, on_put);
}

struct one_get {
	struct store_get get;
	struct store_get_item item;
	struct threaded *t;
	int status;
	bool found;
	unsigned order;
};

static void on_get(struct store_get *g, int status)
{
	struct one_get *o = container_of(g, struct one_get, get);

	o->status = status;
	o->found = o->item.data != NULL;
	o->order = o->t->done++;
	store_get_fini(g);
}

static void start_get(struct threaded *t, struct one_get *o, uint64_t n)
{
	struct store_reader user = { 0 };

	o->t = t;
	o->item = (struct store_get_item){ .hash = hash_of(&n, sizeof(n)) };
	store_get_start(&o->get, &t->env, t->store, &o->item, 1, &user, 1 << 20, on_get);
}

static void the_loop_ends_when_nothing_is_left_to_do(void **state)
{
	struct threaded *t = *state;
	struct one_put put;
	struct one_get get;

	start_put(t, &put, 1);
	assert_int_equal(loop_run(&t->loop), 0);
	assert_int_equal(t->done, 1);
	CHECK_STATUS(0, put.status);
	start_get(t, &get, 1);
	assert_int_equal(loop_run(&t->loop), 0);
	CHECK_STATUS(0, get.status);
	assert_true(get.found);
}

static void many_puts_and_gets_all_come_back_once(void **state)
{
	enum { COUNT = 300 };
	struct threaded *t = *state;
	struct one_put *puts = mem_alloc_array(COUNT, sizeof(*puts));
	struct one_get *gets = mem_alloc_array(COUNT, sizeof(*gets));
	struct store_stats stats;

	for (uint64_t i = 0; i < COUNT; i++) {
		start_put(t, &puts[i], i);
		start_get(t, &gets[i], i);
		if (i % 7 == 0)
			op_cancel(&gets[i].get.op);
		store_stats(t->store, &stats);
	}
	(void)loop_run(&t->loop);
	assert_int_equal(t->done, 2 * COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		CHECK_STATUS(0, puts[i].status);
		CHECK_STATUS(i % 7 == 0 ? UV_ECANCELED : 0, gets[i].status);
	}
	store_stats(t->store, &stats);
	assert_int_equal(stats.blobs, COUNT);
	assert_int_equal(stats.transactions, COUNT);
	assert_int_equal(stats.queue_depth, 0);
	assert_true(stats.tx_p50_us <= stats.tx_p99_us && stats.tx_p99_us <= stats.tx_max_us);
	mem_free(puts);
	mem_free(gets);
}

/* An object for each. The signature comes last in a signed blob. */
static void fill_signed(struct store_blob *blobs, size_t count, uint64_t time_s)
{
	struct key author = key_of(1);

	for (size_t i = 0; i < count; i++) {
		struct blob b;
		char path[16];

		(void)snprintf(path, sizeof(path), "/%zu", i);
		b = commit_of(&author, &author.pub, path, NULL, time_s, NULL, 0, NULL);
		if (i % 7 == 3)
			b.data[b.len - 1] ^= 1;
		blobs[i] = (struct store_blob){ .kind = OBJECT_COMMIT,
						.hash = hash_of(b.data, b.len),
						.data = b.data,
						.len = b.len };
	}
}

static void on_signed_put(struct store_put *p, int status)
{
	struct threaded *t = p->data;

	CHECK_STATUS(0, status);
	t->done++;
	store_put_fini(p);
}

static void signatures_checked_ahead_let_no_forgery_in(void **state)
{
	enum { COUNT = 600, ROUNDS = 3 };
	struct threaded *t = *state;
	struct store_blob *blobs = mem_alloc_array(COUNT, sizeof(*blobs));
	struct public_key peer = key_of(2).pub;
	struct store_stats stats;
	unsigned good = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct store_put put = { .data = t };

		fill_signed(blobs, COUNT, 100 + round);
		store_put_start(&put, &t->env, t->store, blobs, COUNT, &peer, NULL, on_signed_put);
		(void)loop_run(&t->loop);
		for (size_t i = 0; i < COUNT; i++) {
			CHECK_STATUS(i % 7 == 3 ? ERR_VERIFY : 0, blobs[i].status);
			good += blobs[i].status == 0 ? 1 : 0;
		}
	}
	assert_int_equal(t->done, ROUNDS);
	store_stats(t->store, &stats);
	assert_int_equal(stats.commits, good);
	mem_free(blobs);
}

static void a_full_queue_says_busy(void **state)
{
	enum { COUNT = STORE_QUEUE_MAX + 200 };
	struct threaded *t = *state;
	struct one_get *gets = mem_alloc_array(COUNT, sizeof(*gets));
	struct store_stats stats;
	unsigned busy = 0;

	pthread_mutex_lock(&t->store->mutex);
	t->store->queued += STORE_QUEUE_MAX - 10;
	pthread_mutex_unlock(&t->store->mutex);
	for (uint64_t i = 0; i < COUNT; i++)
		start_get(t, &gets[i], i);
	(void)loop_run(&t->loop);
	pthread_mutex_lock(&t->store->mutex);
	t->store->queued -= STORE_QUEUE_MAX - 10;
	pthread_mutex_unlock(&t->store->mutex);
	for (size_t i = 0; i < COUNT; i++) {
		assert_true(gets[i].status == 0 || gets[i].status == ERR_BUSY);
		busy += gets[i].status == ERR_BUSY;
	}
	assert_true(busy > 0 && busy < COUNT);
	store_stats(t->store, &stats);
	assert_int_equal(stats.busy, busy);
	assert_int_equal(t->done, COUNT);
	mem_free(gets);
}

static void what_was_queued_is_finished_before_closing(void **state)
{
	struct threaded *t = *state;
	struct one_put puts[20];
	struct one_get get;

	for (uint64_t i = 0; i < 20; i++)
		start_put(t, &puts[i], i);
	store_close(t->store, on_closed, t);
	(void)loop_run(&t->loop);
	assert_true(t->closed);
	assert_int_equal(t->done, 20);
	for (size_t i = 0; i < 20; i++)
		CHECK_STATUS(0, puts[i].status);
	threaded_open(t);
	start_get(t, &get, 19);
	(void)loop_run(&t->loop);
	assert_true(get.found);
}

static void a_deadline_ends_what_waits_in_the_queue(void **state)
{
	struct threaded *t = *state;
	struct one_get get;

	t->env.deadline_ms = 0;
	start_get(t, &get, 1);
	(void)loop_run(&t->loop);
	CHECK_STATUS(UV_ETIMEDOUT, get.status);
}

/* ---- Reads and writes in turn (inline, where the order is exact) ---- */

struct turn {
	struct store_put put;
	struct store_get get;
	struct store_blob blob;
	struct store_get_item item;
	unsigned *clock, at;
};

static void turn_put(struct store_put *p, int status)
{
	struct turn *t = container_of(p, struct turn, put);

	CHECK_STATUS(0, status);
	t->at = (*t->clock)++;
	store_put_fini(p);
}

static void turn_get(struct store_get *g, int status)
{
	struct turn *t = container_of(g, struct turn, get);

	CHECK_STATUS(0, status);
	t->at = (*t->clock)++;
	store_get_fini(g);
}

static void reads_go_first_but_do_not_starve_writes(void **state)
{
	enum { READS = 40 };
	struct turn puts[3] = { 0 }, gets[READS] = { 0 };
	struct store_reader user = { 0 };
	unsigned clock = 0;
	struct fixture f;

	(void)state;
	fixture_init(&f, false);
	for (size_t i = 0; i < 3; i++) {
		puts[i].clock = &clock;
		puts[i].blob = (struct store_blob){ .hash = hash_of(&i, sizeof(i)),
						    .data = mem_dup(&i, sizeof(i)),
						    .len = sizeof(i) };
		store_put_start(&puts[i].put, &f.env, f.store, &puts[i].blob, 1, NULL, NULL,
				turn_put);
	}
	for (size_t i = 0; i < READS; i++) {
		gets[i].clock = &clock;
		store_get_start(&gets[i].get, &f.env, f.store, &gets[i].item, 1, &user, 1,
				turn_get);
	}
	manual_loop_run(&f.loop, 1000);
	assert_int_equal(clock, 3 + READS);
	assert_int_equal(puts[0].at, STORE_READS_IN_A_ROW_MAX);
	assert_int_equal(puts[1].at, 2 * STORE_READS_IN_A_ROW_MAX + 1);
	assert_int_equal(puts[2].at, 2 + READS);
	fixture_fini(&f);
}

/* ---- kill -9 ---- */

enum { KILL_ROUNDS = 20 };

/* Puts for ever; says which blob is acknowledged. Every tenth put is large, so that several
 * transactions and a checkpoint may be under way. */
_Noreturn static void put_until_killed(struct fixture *f, int fd, uint64_t from)
{
	uint8_t *big = mem_alloc(200 << 10);

	fixture_open(f);
	for (uint64_t n = from;; n++) {
		struct blob b;

		memcpy(big, &n, sizeof(n));
		b = blob_of(OBJECT_CHUNK, big, n % 10 == 0 ? 200 << 10 : sizeof(n));
		if (put_one(f, &b, NULL) != 0 || write(fd, &n, sizeof(n)) != sizeof(n))
			_exit(1);
		blob_fini(&b);
	}
}

static uint64_t acknowledged(int fd, uint64_t last)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) == sizeof(n))
		last = n;
	return last;
}

static void kill_one(struct fixture *f, uint64_t from, uint64_t *ret_last)
{
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		put_until_killed(f, fds[1], from);
	(void)close(fds[1]);
	(void)poll(&(struct pollfd){ .fd = fds[0], .events = POLLIN }, 1, 5000);
	(void)usleep((useconds_t)runner_random_below(&f->loop.runner, 60000));
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	*ret_last = acknowledged(fds[0], from - 1);
	(void)close(fds[0]);
}

static void what_was_acknowledged_survives_kill_9(void **state)
{
	struct fixture f;
	uint8_t *big = mem_alloc(200 << 10);
	uint64_t next = 1, last;

	(void)state;
	fixture_init(&f, true);
	fixture_close(&f);
	for (int round = 0; round < KILL_ROUNDS; round++) {
		kill_one(&f, next, &last);
		fixture_open(&f);
		check_invariants(&f);
		for (uint64_t n = next; n <= last; n++) {
			struct hash hash;

			memcpy(big, &n, sizeof(n));
			hash = hash_of(big, n % 10 == 0 ? 200 << 10 : sizeof(n));
			if (!readable(&f, &hash, false))
				fail_msg("round %d: blob %llu was acknowledged and is gone", round,
					 (unsigned long long)n);
		}
		next = last + 1;
		fixture_close(&f);
	}
	assert_true(next > KILL_ROUNDS);
	mem_free(big);
	fixture_fini(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void a_disk_that_was_slow_is_forgiven(void **state)
{
	uint64_t period_ns = STORE_TX_PERIOD_S * NS_PER_SEC;
	static struct tx_recent r;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		tx_recent_add(&r, 1000000, period_ns);
	assert_in_range(tx_recent_permille(&r, 990, period_ns + 1), 1000000, 1130000);
	for (unsigned i = 0; i < 10; i++)
		tx_recent_add(&r, 100, 2 * period_ns);
	assert_in_range(tx_recent_permille(&r, 990, 2 * period_ns), 1000000, 1130000);
	assert_in_range(tx_recent_permille(&r, 400, 2 * period_ns), 100, 113);
	assert_in_range(tx_recent_permille(&r, 990, 3 * period_ns), 100, 113);
	/* Nothing was written for long. */
	assert_int_equal(tx_recent_permille(&r, 990, 9 * period_ns), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_loop_ends_when_nothing_is_left_to_do),
		TEST(many_puts_and_gets_all_come_back_once),
		TEST(signatures_checked_ahead_let_no_forgery_in),
		TEST(a_full_queue_says_busy),
		TEST(what_was_queued_is_finished_before_closing),
		TEST(a_deadline_ends_what_waits_in_the_queue),
		cmocka_unit_test(a_disk_that_was_slow_is_forgiven),
		cmocka_unit_test(reads_go_first_but_do_not_starve_writes),
		cmocka_unit_test(what_was_acknowledged_survives_kill_9),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
