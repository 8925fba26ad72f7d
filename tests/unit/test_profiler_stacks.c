#include "profiler_fixture.h"
#include "profiler_signals.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "profiler/goroutine.h"
#include "profiler/thread.h"

/* Threads that wait in known ways and operations in known states, as the goroutine profile shows
 * them, held against what readers of Go's texts expect. */

enum { WAITERS = 7, TASKS = 13, MANY = 10000, SAMPLING = 2 /* profiler/capture.c */ };

static int pair[2];
static sem_t sem;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static _Atomic bool stop;
static _Atomic unsigned ready;
static _Thread_local volatile uint64_t sink;

static void arrive(const char *name)
{
	pthread_setname_np(pthread_self(), name);
	atomic_fetch_add(&ready, 1);
}

WHOLE static void *wait_recv(void *arg)
{
	char c;

	arrive("t_recv");
	while (!atomic_load(&stop))
		sink += (uint64_t)recv(pair[0], &c, 1, 0);
	return arg;
}

WHOLE static void *wait_sem(void *arg)
{
	arrive("t_sem");
	while (!atomic_load(&stop))
		sink += (uint64_t)sem_wait(&sem);
	return arg;
}

WHOLE static void *wait_cond(void *arg)
{
	arrive("t_cond");
	pthread_mutex_lock(&mutex);
	while (!atomic_load(&stop))
		sink += (uint64_t)pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	return arg;
}

WHOLE static void *wait_sleep(void *arg)
{
	struct timespec t = { 0, 50000000 };

	arrive("t_sleep");
	while (!atomic_load(&stop))
		sink += (uint64_t)nanosleep(&t, NULL);
	return arg;
}

WHOLE static void *wait_busy(void *arg)
{
	arrive("t_busy");
	while (!atomic_load(&stop))
		sink++;
	return arg;
}

/* Two frames: the walk from outside has to find the outer one. */
WHOLE static void block_in_recv(void)
{
	char c;

	while (!atomic_load(&stop))
		sink += (uint64_t)recv(pair[0], &c, 1, 0);
}

WHOLE static void *wait_deaf(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	arrive("t_deaf");
	block_in_recv();
	sink++;
	return arg;
}

WHOLE static void *wait_read(void *arg)
{
	char c;

	arrive("t_read");
	while (!atomic_load(&stop))
		sink += (uint64_t)read(pair[0], &c, 1);
	return arg;
}

static pthread_t threads[WAITERS];

WHOLE static void spawn_waiters(void)
{
	void *(*const fns[WAITERS])(void *) = { wait_recv, wait_sem,  wait_cond, wait_sleep,
						wait_busy, wait_deaf, wait_read };
	struct timespec moment = { 0, 20000000 };

	atomic_store(&stop, false);
	atomic_store(&ready, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(sem_init(&sem, 0, 0), 0);
	for (unsigned i = 0; i < WAITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], NULL), 0);
	while (atomic_load(&ready) < WAITERS)
		nanosleep(&moment, NULL);
	nanosleep(&moment, NULL);
}

static void join_waiters(void)
{
	atomic_store(&stop, true);
	shutdown(pair[0], SHUT_RDWR);
	sem_post(&sem);
	pthread_mutex_lock(&mutex);
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	for (unsigned i = 0; i < WAITERS; i++)
		pthread_join(threads[i], NULL);
	close(pair[0]);
	close(pair[1]);
	sem_destroy(&sem);
}

/* ---- Operations ---- */

enum { ACTIVE, DONE };

static const struct op_state states[] = {
	[ACTIVE] = { "handshake", TO(DONE) },
	[DONE] = { "done", 0 },
};

WHOLE static void peer_tick(struct op *op)
{
	if (!op_stopping(op))
		return;
	op_move(op, DONE);
	(void)op_finish(op);
	sink++;
}

static const struct op_kind peer_kind = { "sync.peer", states, ARRAY_SIZE(states), peer_tick };

static const struct op_kind serve_kind = { "sync.serve", states, ARRAY_SIZE(states), peer_tick };

static void start_tasks(struct fixture *f, struct op *ops, unsigned n)
{
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };

	for (unsigned i = 0; i < n; i++)
		op_init(&ops[i], &peer_kind, &env, UINT64_MAX);
}

static void end_tasks(struct fixture *f, struct op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		op_cancel(&ops[i]);
	while (f->loop.runner.op_count > 0)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

/* ---- Reading ---- */

static const char *line_end(const char *p)
{
	return p + strcspn(p, "\n");
}

static bool starts(const char *p, const char *with)
{
	return strncmp(p, with, strlen(with)) == 0;
}

/* A function line: a name without what parsers stumble over, then "(...)". */
static bool is_function(const char *p)
{
	const char *end = line_end(p), *open = memchr(p, '(', (size_t)(end - p));

	return open != NULL && open > p && end - open == 5 && starts(open, "(...)") &&
	       strcspn(p, "% \t:") >= (size_t)(open - p);
}

static bool is_file(const char *p)
{
	const char *end = line_end(p), *colon;

	if (*p++ != '\t')
		return false;
	colon = memchr(p, ':', (size_t)(end - p));
	if (colon == NULL || memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
		return false;
	return starts(colon - 2, "??") ||
	       (p[0] == '/' && (starts(colon - 2, ".c") || starts(colon - 2, ".s")));
}

/* "goroutine 17 [IO wait, 3 minutes]:" */
static bool is_header(const char *p)
{
	char state[64];
	unsigned long id;
	int n = 0;

	return sscanf(p, "goroutine %lu [%63[a-zA-Z. ,0-9]]:%n", &id, state, &n) == 2 && n > 0 &&
	       p[n] == '\n';
}

/* The grammar of debug=2; returns the number of blocks. */
static unsigned check_blocks(const char *p)
{
	unsigned blocks = 0;

	while (*p != '\0') {
		if (blocks++ > 0)
			assert_true(*p++ == '\n');
		assert_true(is_header(p));
		p = line_end(p) + 1;
		while (*p != '\0' && *p != '\n') {
			assert_true(is_function(p) || starts(p, "created by "));
			p = line_end(p) + 1;
			assert_true(is_file(p));
			p = line_end(p) + 1;
		}
	}
	return blocks;
}

/* Within the block that holds `function`: does its header have the state, and does `also` occur? */
static void check_block(const char *text, const char *function, const char *state, const char *also)
{
	const char *at = strstr(text, function), *head = at, *end;
	char block[20000];

	if (at == NULL)
		fail_msg("no %s in:\n%s", function, text);
	while (head > text && !(head[0] == 'g' && starts(head, "goroutine ") && head[-1] == '\n'))
		head--;
	end = strstr(head, "\n\n");
	snprintf(block, sizeof(block), "%.*s", (int)(end != NULL ? end - head : (long)strlen(head)),
		 head);
	snprintf(block + strlen(block), 2, "\n");
	if (strstr(block, state) == NULL || strstr(block, also) == NULL)
		fail_msg("expected %s and %s in:\n%s", state, also, block);
}

static const char *text_of(const struct buf *b)
{
	return (const char *)b->data;
}

/* ---- Tests ---- */

static void threads_are_shown_with_state_stack_and_origin(void **state)
{
	struct fixture *f = *state;
	const char *text;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	spawn_waiters();
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 }));
	join_waiters();
	assert_true(check_blocks(text) >= WAITERS + 1);
	assert_true(starts(text, "goroutine 1 ["));
	check_block(text, "wait_recv(...)", "[IO wait]", "created by spawn_waiters");
	check_block(text, "wait_sem(...)", "[semacquire]", "created by spawn_waiters");
	check_block(text, "wait_cond(...)", "[sync.Cond.Wait]", "created by spawn_waiters");
	check_block(text, "wait_sleep(...)", "[sleep]", "test_profiler_stacks.c:");
	check_block(text, "wait_busy(...)", "[running]", "created by spawn_waiters");
	check_block(text, "wait_read(...)", "[syscall]", "created by spawn_waiters");
	assert_null(strstr(text, "thread_main"));
}

static void a_thread_that_blocks_signals_is_walked_from_outside(void **state)
{
	struct fixture *f = *state;
	const char *text;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	spawn_waiters();
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 3 }));
	join_waiters();
	check_block(text, "block_in_recv(...)", "[IO wait]", "did not answer: seen from outside");
	check_block(text, "block_in_recv(...)", "t_deaf", "created by spawn_waiters");
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

WHOLE static void *hold(void *arg)
{
	pthread_mutex_lock(&held);
	arrive("t_hold");
	sem_wait(&sem);
	pthread_mutex_unlock(&held);
	return arg;
}

WHOLE static void *want(void *arg)
{
	arrive("t_want");
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	return arg;
}

/* The thread counts as waiting when it is in the kernel for it. */
static void a_waiter_for_a_mutex_is_shown_with_its_holder(void **state)
{
	struct fixture *f = *state;
	const char *text, *block;
	pthread_t holder, waiter;
	unsigned long id = 0;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	sem_init(&sem, 0, 0);
	atomic_store(&ready, 0);
	assert_int_equal(pthread_create(&holder, NULL, hold, NULL), 0);
	while (atomic_load(&ready) < 1)
		sched_yield();
	assert_int_equal(pthread_create(&waiter, NULL, want, NULL), 0);
	do {
		text = text_of(fixture_capture(
			f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 }));
		block = strstr(text, "mutex.held_by_goroutine_");
	} while (block == NULL);
	sem_post(&sem);
	pthread_join(holder, NULL);
	pthread_join(waiter, NULL);
	check_blocks(text);
	check_block(text, "mutex.held_by", "[semacquire]", "want(...)");
	assert_int_equal(sscanf(block, "mutex.held_by_goroutine_%lu(...)", &id), 1);
	block = strstr(text, "hold(...)");
	while (!starts(block, "goroutine "))
		block--;
	assert_int_equal(strtoul(block + strlen("goroutine "), NULL, 10), id);
}

static void set_still_since(uint64_t since_ns)
{
	threads_lock();
	list_for_each(node, threads_all()) {
		struct thread *t = list_entry(node, struct thread, node);

		t->still_since_ns = since_ns;
	}
	threads_unlock();
}

static void a_thread_that_stands_still_is_shown_with_the_minutes(void **state)
{
	const struct profiler_request request = { .kind = PROFILER_GOROUTINE, .debug = 2 };
	uint64_t now_ns = clock_now_ns(&clock_system);
	struct fixture *f = *state;
	const char *text;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	if (now_ns < 300 * NS_PER_SEC)
		SKIP_TEST("the machine has just come up");
	spawn_waiters();
	threads_watch_stillness(now_ns);
	set_still_since(now_ns - 200 * NS_PER_SEC);
	text = text_of(fixture_capture(f, &request));
	join_waiters();
	check_blocks(text);
	check_block(text, "wait_sem(...)", "[semacquire, 3 minutes]", "wait_sem");
	check_block(text, "wait_busy(...)", "[running]", "wait_busy");
}

/* The thread has used this much so far, and is looked at every second. */
static uint64_t still_after(struct thread *t, uint64_t from_s, uint64_t to_s, uint64_t cpu_ns,
			    uint64_t each_ns)
{
	uint64_t still_ms = 0;

	for (uint64_t s = from_s; s <= to_s; s++)
		still_ms = thread_still_ms(t, s * NS_PER_SEC, cpu_ns += each_ns);
	return still_ms;
}

static void a_wait_is_known_to_a_second(void **state)
{
	struct thread sleeps = { .started_ns = NS_PER_SEC }, works = sleeps, ticks = sleeps;

	assert_int_equal(still_after(&sleeps, 2, 61, 1000, 0), 60000);
	assert_int_equal(still_after(&works, 2, 9, 0, NS_PER_MS), 0);
	assert_int_equal(still_after(&works, 10, 70, 8 * NS_PER_MS, 0), 61000);
	/* Three dumps, of which each takes a little. */
	assert_int_equal(still_after(&sleeps, 62, 64, 1000, 15000), 63000);
	/* It wakes up every second for a little. */
	assert_true(still_after(&ticks, 2, 100, 0, 15000) < 10000);
}

static void operations_are_shown_with_kind_and_state(void **state)
{
	struct fixture *f = *state;
	struct op ops[TASKS];
	const char *text;

	start_tasks(f, ops, TASKS);
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 }));
	check_block(text, "sync.peer.handshake(...)", "[", "peer_tick(...)");
	assert_true(check_blocks(text) >= TASKS + 1);
	end_tasks(f, ops, TASKS);
}

WHOLE static void peer_start(struct op *op, const struct op_env *env)
{
	op_init(op, &peer_kind, env, UINT64_MAX);
	sink++;
}

static struct op serving, served;

WHOLE static void serve_tick(struct op *op)
{
	if (!op_stopping(op)) {
		peer_start(&served, &op->env);
		sink++;
		return;
	}
	op_move(op, DONE);
	(void)op_finish(op);
}

static void operations_are_shown_with_who_started_them(void **state)
{
	static const struct op_kind starter = { "sync.serve", states, ARRAY_SIZE(states),
						serve_tick };
	struct fixture *f = *state;
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	char parent[64];
	const char *text;

	op_init(&serving, &starter, &env, UINT64_MAX);
	while (f->loop.runner.op_count < 2)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	serving.state = ACTIVE;
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 3 }));
	snprintf(parent, sizeof(parent), "# started by operation %llu, sync.serve\n",
		 (unsigned long long)serving.id);
	check_block(text, "sync.peer.handshake(...)", "created by serve_tick", parent);
	assert_null(strstr(text, "created by op_tick"));
	op_cancel(&serving);
	op_cancel(&served);
	end_tasks(f, NULL, 0);
}

static unsigned count_lines(const char *text, const char *with)
{
	unsigned n = 0;

	for (const char *p = text; *p != '\0'; p = line_end(p) + (*line_end(p) != '\0'))
		n += starts(p, with);
	return n;
}

/* Sum of the records that carry a label: compilers may unroll the loop that started them, so that
 * they come from several places. */
static unsigned count_labelled(const char *text, const char *label)
{
	unsigned total = 0, n;

	for (const char *p = text; *p != '\0'; p = line_end(p) + (*line_end(p) != '\0')) {
		const char *next = line_end(p) + 1, *at = strstr(next, label);

		if (sscanf(p, "%u @ 0x", &n) == 1 && at != NULL && at < line_end(next))
			total += n;
	}
	return total;
}

/* The commands of guides: grep "^goroutine" | wc -l, and grep -c '^goroutine [0-9]'. */
static void the_text_with_counts_has_a_header_records_blocks_and_a_map(void **state)
{
	struct fixture *f = *state;
	struct op ops[TASKS];
	unsigned total = 0;
	const char *text;

	start_tasks(f, ops, TASKS);
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 1 }));
	assert_int_equal(sscanf(text, "goroutine profile: total %u\n", &total), 1);
	assert_int_equal(count_lines(text, "goroutine "), total + 1);
	assert_int_equal(count_labelled(text, "\"task\":\"sync.peer\"}"), TASKS);
	assert_non_null(
		strstr(text, "# labels: {\"state\":\"handshake\", \"task\":\"sync.peer\"}\n#\t0x"));
	assert_non_null(strstr(text, "\n--- goroutines ---\ngoroutine 1 ["));
	assert_non_null(strstr(text, "\n\n--- Memory map: ---\n"));
	assert_null(strstr(text, " @\n"));
	end_tasks(f, ops, TASKS);
}

static void the_binary_form_lists_the_same(void **state)
{
	struct fixture *f = *state;
	struct op ops[TASKS];
	const struct buf *b;

	start_tasks(f, ops, TASKS);
	b = fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE });
	assert_true(fixture_has(b, "peer_tick"));
	assert_true(fixture_has(b, "sync.peer"));
	assert_true(fixture_has(b, "\ngoroutine 1 ["));
	end_tasks(f, ops, TASKS);
}

static void a_difference_holds_only_what_changed(void **state)
{
	struct fixture *f = *state;
	struct op ops[TASKS], other;

	start_tasks(f, ops, TASKS);
	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .seconds = 1 });
	while (f->ended == 0 && f->captures[0].op.state != SAMPLING)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	op_init(&other, &serve_kind, &f->captures[0].op.env, UINT64_MAX);
	fixture_run_until(f, 1);
	CHECK_STATUS(0, f->status[0]);
	assert_false(fixture_has(&f->captures[0].out, "sync.peer"));
	assert_true(fixture_has(&f->captures[0].out, "sync.serve"));
	op_cancel(&other);
	end_tasks(f, ops, TASKS);
}

static void *born(void *arg)
{
	return arg;
}

static void threadcreate_counts_every_thread_by_its_creator(void **state)
{
	const struct profiler_request request = { .kind = PROFILER_THREADCREATE, .debug = 1 };
	struct fixture *f = *state;
	unsigned before = 0, after = 0;
	pthread_t t;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	(void)fixture_capture(f, &request);
	sscanf(text_of(&f->captures[0].out), "threadcreate profile: total %u", &before);
	for (unsigned i = 0; i < 25; i++) {
		assert_int_equal(pthread_create(&t, NULL, born, NULL), 0);
		pthread_join(t, NULL);
	}
	(void)fixture_capture(f, &request);
	sscanf(text_of(&f->captures[0].out), "threadcreate profile: total %u", &after);
	assert_int_equal(after, before + 25);
	assert_int_equal(count_lines(text_of(&f->captures[0].out), "25 @ 0x"), 1);
	assert_non_null(strstr(text_of(&f->captures[0].out), "\tthreadcreate_counts_every_thread"));
	assert_non_null(strstr(text_of(&f->captures[0].out), "\tmain+0x0"));
}

static void ten_thousand_operations_are_shown(void **state)
{
	struct fixture *f = *state;
	struct op *ops = mem_alloc_array(MANY + TASKS, sizeof(*ops));
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	const char *text;

	assert_non_null(ops);
	start_tasks(f, ops, MANY);
	for (unsigned i = MANY; i < MANY + TASKS; i++)
		op_init(&ops[i], &serve_kind, &env, UINT64_MAX);
	text = text_of(fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 }));
	assert_true(check_blocks(text) >= MANY + TASKS + 1);
	assert_int_equal(count_lines(text, "sync.peer.handshake(...)"), MANY);
	assert_int_equal(count_lines(text, "sync.serve."), TASKS);
	end_tasks(f, ops, MANY + TASKS);
	mem_free(ops);
}

static void no_turn_of_the_loop_looks_at_all_of_many_operations(void **state)
{
	struct fixture *f = *state;
	struct op *ops = mem_alloc_array(MANY, sizeof(*ops));
	struct tasks t = { 0 };
	unsigned calls = 0;

	assert_non_null(ops);
	start_tasks(f, ops, MANY);
	for (int rc = 1; rc != 0;) {
		unsigned before = t.count;

		rc = tasks_snapshot(&t, &f->loop.runner);
		assert_true(rc >= 0 && t.count - before <= TASKS_PER_TURN);
		calls++;
	}
	assert_int_equal(t.count, MANY);
	assert_true(calls >= MANY / TASKS_PER_TURN);
	tasks_fini(&t);
	end_tasks(f, ops, MANY);
	mem_free(ops);
}

static void operations_may_end_while_they_are_looked_at(void **state)
{
	struct fixture *f = *state;
	struct op *ops = mem_alloc_array(MANY, sizeof(*ops));
	const char *text;

	assert_non_null(ops);
	start_tasks(f, ops, MANY);
	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 });
	while (list_empty(&f->loop.runner.walks))
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	for (unsigned i = 0; i < MANY; i++)
		op_cancel(&ops[i]);
	while (f->loop.runner.op_count > 1)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	mem_free(ops);
	fixture_run_until(f, 1);
	CHECK_STATUS(0, f->status[0]);
	text = text_of(&f->captures[0].out);
	check_blocks(text);
	assert_true(count_lines(text, "sync.peer.handshake(...)") < MANY);
	assert_true(list_empty(&f->loop.runner.walks));
}

static void a_capture_may_be_cancelled_while_it_looks(void **state)
{
	struct fixture *f = *state;
	struct op *ops = mem_alloc_array(MANY, sizeof(*ops));

	assert_non_null(ops);
	start_tasks(f, ops, MANY);
	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 });
	while (list_empty(&f->loop.runner.walks))
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	op_cancel(&f->captures[0].op);
	fixture_run_until(f, 1);
	CHECK_STATUS(UV_ECANCELED, f->status[0]);
	assert_true(list_empty(&f->loop.runner.walks));
	(void)fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE });
	end_tasks(f, ops, MANY);
	mem_free(ops);
}

static void *churn(void *arg)
{
	while (!atomic_load(&stop)) {
		pthread_t t;

		if (pthread_create(&t, NULL, born, NULL) == 0)
			pthread_join(t, NULL);
	}
	return arg;
}

static void stacks_can_be_taken_while_threads_come_and_go(void **state)
{
	struct fixture *f = *state;
	pthread_t churners[2];

	atomic_store(&stop, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&churners[i], NULL, churn, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		check_blocks(text_of(fixture_capture(
			f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 })));
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(churners[i], NULL);
}

static void on_swept(struct profiler_capture *c, int status)
{
	*(int *)c->request.addresses = status;
}

/* Jobs run inline here, so that their allocations are swept too. */
static void a_capture_survives_failing_allocations(void **state)
{
	int status = 1;

	FAULT_SWEEP({
		struct profiler_config config = { .version = "v" };
		struct profiler_capture c = { 0 };
		struct manual_loop loop;
		struct profiler *p;

		manual_loop_init(&loop, 1);
		config.runner = &loop.runner;
		p = profiler_new(&config);
		if (p != NULL) {
			struct op_env env = { .runner = &loop.runner, .deadline_ms = UINT64_MAX };
			struct profiler_request request = { .kind = PROFILER_SYMBOL,
							    .addresses = (const char *)&status };

			profiler_capture_start(&c, p, &env, &request, on_swept);
			while (manual_loop_step(&loop))
				;
			assert_true(status == 0 || status == UV_ENOMEM);
			buf_fini(&c.out);
			profiler_free(p);
		}
		manual_loop_fini(&loop);
	});
	CHECK_STATUS(0, status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		profiler_test(threads_are_shown_with_state_stack_and_origin),
		profiler_test(a_thread_that_blocks_signals_is_walked_from_outside),
		profiler_test(a_waiter_for_a_mutex_is_shown_with_its_holder),
		profiler_test(a_thread_that_stands_still_is_shown_with_the_minutes),
		cmocka_unit_test(a_wait_is_known_to_a_second),
		profiler_test(operations_are_shown_with_kind_and_state),
		profiler_test(operations_are_shown_with_who_started_them),
		profiler_test(the_text_with_counts_has_a_header_records_blocks_and_a_map),
		profiler_test(the_binary_form_lists_the_same),
		profiler_test(a_difference_holds_only_what_changed),
		profiler_test(threadcreate_counts_every_thread_by_its_creator),
		profiler_test(ten_thousand_operations_are_shown),
		profiler_test(no_turn_of_the_loop_looks_at_all_of_many_operations),
		profiler_test(operations_may_end_while_they_are_looked_at),
		profiler_test(a_capture_may_be_cancelled_while_it_looks),
		profiler_test(stacks_can_be_taken_while_threads_come_and_go),
		profiler_test(a_capture_survives_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
