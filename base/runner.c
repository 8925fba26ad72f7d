/* Task queue and timers.
 *
 * Timers are a pairing heap threaded through the timers themselves: `child` is the first child,
 * `next` the right sibling, `prev` the left sibling or, for a first child, the parent. Starting is
 * O(1), stopping and taking the earliest O(log n) amortised. The order is (due_ms, seq), so equal
 * times fire as they were started.
 *
 * What can go wrong: a task or timer whose memory is freed while it is queued. Owners undefer and
 * stop first. */
#include "base/runner.h"

#include "base/err.h"

void runner_init(struct runner *r, const struct clock *clock, const struct runner_driver *driver,
		 uint64_t seed)
{
	*r = (struct runner){ .clock = clock,
			      .driver = driver,
			      .owner = pthread_self(),
			      .stack_top = (uintptr_t)__builtin_frame_address(0) };
	list_init(&r->ops);
	list_init(&r->walks);
	list_init(&r->tasks);
	/* splitmix64, as the generator's authors advise: close seeds give unrelated states, never
	 * all zero. */
	for (size_t i = 0; i < ARRAY_SIZE(r->random_state); i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		r->random_state[i] = z ^ z >> 31;
	}
}

bool runner_on_loop(const struct runner *r)
{
	return pthread_equal(pthread_self(), r->owner) != 0;
}

static bool task_queued(const struct runner_task *task)
{
	return task->node.next != NULL && list_linked(&task->node);
}

void runner_defer(struct runner *r, struct runner_task *task)
{
	bool first = list_empty(&r->tasks);

	REQUIRE(runner_on_loop(r));
	if (task_queued(task))
		return;
	list_push_back(&r->tasks, &task->node);
	if (first)
		r->driver->wake(r);
}

void runner_undefer(struct runner_task *task)
{
	if (task_queued(task))
		list_remove(&task->node);
}

static bool timer_before(const struct runner_timer *a, const struct runner_timer *b)
{
	return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

/* Both are roots without siblings, or NULL. */
static struct runner_timer *meld(struct runner_timer *a, struct runner_timer *b)
{
	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (timer_before(b, a)) {
		struct runner_timer *t = a;

		a = b;
		b = t;
	}
	b->next = a->child;
	b->prev = a;
	if (a->child != NULL)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Two passes: meld neighbours left to right, stacking the pairs through `next`, then all of them
 * right to left. */
static struct runner_timer *meld_siblings(struct runner_timer *first)
{
	struct runner_timer *pairs = NULL, *root = NULL;

	while (first != NULL) {
		struct runner_timer *a = first, *b = a->next;

		first = b != NULL ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b != NULL)
			b->next = b->prev = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs != NULL) {
		struct runner_timer *a = pairs;

		pairs = a->next;
		a->next = NULL;
		root = meld(root, a);
	}
	return root;
}

static void unlink_timer(struct runner *r, struct runner_timer *t)
{
	struct runner_timer *rest;

	if (!t->armed)
		return;
	rest = meld_siblings(t->child);
	if (t == r->timers) {
		r->timers = rest;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->next;
		else
			t->prev->next = t->next;
		if (t->next != NULL)
			t->next->prev = t->prev;
		r->timers = meld(r->timers, rest);
	}
	t->child = t->next = t->prev = NULL;
	t->armed = false;
}

/* Only the last timer's end is told: an earlier wake-up than needed does no harm, but one that is
 * not needed at all would keep a loop alive that has nothing left to do. */
void runner_timer_stop(struct runner *r, struct runner_timer *t)
{
	bool was_armed = t->armed;

	REQUIRE(runner_on_loop(r));
	unlink_timer(r, t);
	if (was_armed && r->timers == NULL)
		r->driver->wake(r);
}

/* A past due time is lifted to now: else a timer that restarts itself for the past would stay the
 * earliest and starve the others, since one turn runs no timer twice. */
void runner_timer_start(struct runner *r, struct runner_timer *t, uint64_t due_ms)
{
	REQUIRE(runner_on_loop(r));
	unlink_timer(r, t);
	t->due_ms = MAX(due_ms, runner_now_ms(r));
	t->seq = r->timer_seq++;
	t->armed = true;
	r->timers = meld(r->timers, t);
	if (r->timers == t)
		r->driver->wake(r);
}

int runner_submit(struct runner *r, struct runner_job *job)
{
	REQUIRE(runner_on_loop(r));
	job->runner = r;
	job->submitted_ns = clock_now_ns(r->clock);
	return r->driver->submit(r, job);
}

void runner_job_run(struct runner_job *job)
{
	job->started_ns = clock_now_ns(job->runner->clock);
	job->run(job);
	job->ended_ns = clock_now_ns(job->runner->clock);
}

void runner_job_done(struct runner_job *job)
{
	const struct runner *r = job->runner;
	struct runner_observer *o = r->observer;

	if (runner_watches_queue(r) && job->span.trace != NULL) {
		o->on_queued(o, job->span, job->submitted_ns, job->started_ns);
		o->on_queued(o, job->span, job->ended_ns, clock_now_ns(r->clock));
	}
	job->done(job);
}

static uint64_t rotate_left(uint64_t v, int bits)
{
	return v << bits | v >> (64 - bits);
}

uint64_t runner_random(struct runner *r)
{
	uint64_t *s = r->random_state;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t runner_random_below(struct runner *r, uint64_t n)
{
	uint64_t v, skip;

	REQUIRE(n > 0);
	skip = -n % n; /* 2^64 mod n: what would make the low results more likely */
	do
		v = runner_random(r);
	while (v < skip);
	return v % n;
}

static unsigned run_tasks(struct runner *r)
{
	uint64_t until_ns = clock_now_ns(r->clock) + RUNNER_SLICE_NS;
	struct list now;
	struct list *node;
	unsigned ran = 0;

	list_init(&now);
	list_splice_back(&now, &r->tasks);
	while ((node = list_pop_front(&now)) != NULL) {
		struct runner_task *task = list_entry(node, struct runner_task, node);

		task->run(task);
		ran++;
		if (clock_now_ns(r->clock) >= until_ns)
			break;
	}
	/* Those left over come first in the next turn. */
	list_splice_back(&now, &r->tasks);
	list_splice_back(&r->tasks, &now);
	return ran;
}

static unsigned run_timers(struct runner *r)
{
	uint64_t now_ms = runner_now_ms(r), first_new = r->timer_seq;
	unsigned ran = 0;

	while (r->timers != NULL && r->timers->due_ms <= now_ms && r->timers->seq < first_new) {
		struct runner_timer *t = r->timers;

		unlink_timer(r, t);
		t->run(t);
		ran++;
	}
	return ran;
}

unsigned runner_turn(struct runner *r)
{
	unsigned ran;

	REQUIRE(runner_on_loop(r));
	ran = run_tasks(r);
	return ran + run_timers(r);
}

uint64_t runner_next_due_ms(const struct runner *r)
{
	if (!list_empty(&r->tasks))
		return 0;
	return r->timers != NULL ? r->timers->due_ms : UINT64_MAX;
}
