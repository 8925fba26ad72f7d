#include "base/manual.h"

#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/op.h"

#define WALL_START_NS (UINT64_C(1767225600) * NS_PER_SEC)

static void wake(struct runner *r)
{
}

/* Allocates as the libuv driver does, so that a sweep over allocation failures meets a failed
 * submit. */
static int submit(struct runner *r, struct runner_job *job)
{
	struct manual_loop *l = container_of(r, struct manual_loop, runner);

	job->driver_data = mem_alloc(1);
	if (job->driver_data == NULL)
		return UV_ENOMEM;
	list_push_back(&l->jobs, &job->node);
	return 0;
}

static const struct runner_driver driver = { wake, submit };

void manual_loop_init(struct manual_loop *l, uint64_t seed)
{
	clock_manual_init(&l->clock, WALL_START_NS);
	runner_init(&l->runner, &l->clock.clock, &driver, seed);
	list_init(&l->jobs);
}

void manual_loop_fini(struct manual_loop *l)
{
	op_print_all(&l->runner, STDERR_FILENO);
	REQUIRE(list_empty(&l->runner.ops));
	REQUIRE(list_empty(&l->jobs));
}

static unsigned run_jobs(struct manual_loop *l)
{
	struct list now;
	struct list *node;
	unsigned ran = 0;

	list_init(&now);
	list_splice_back(&now, &l->jobs);
	while ((node = list_pop_front(&now)) != NULL) {
		struct runner_job *job = list_entry(node, struct runner_job, node);

		runner_job_run(job);
		job->driver_data = mem_free(job->driver_data);
		runner_job_done(job);
		ran++;
	}
	return ran;
}

unsigned manual_loop_turn(struct manual_loop *l)
{
	unsigned ran = run_jobs(l);

	return ran + runner_turn(&l->runner);
}

uint64_t manual_loop_next_due_ms(const struct manual_loop *l)
{
	return list_empty(&l->jobs) ? runner_next_due_ms(&l->runner) : 0;
}

static void advance_to(struct manual_loop *l, uint64_t ms)
{
	uint64_t now_ms = runner_now_ms(&l->runner);

	if (ms > now_ms)
		clock_manual_advance(&l->clock, (ms - now_ms) * NS_PER_MS);
}

bool manual_loop_step(struct manual_loop *l)
{
	uint64_t due_ms = manual_loop_next_due_ms(l);

	if (due_ms == UINT64_MAX)
		return false;
	advance_to(l, due_ms);
	manual_loop_turn(l);
	return true;
}

void manual_loop_run(struct manual_loop *l, uint64_t until_ms)
{
	while (manual_loop_next_due_ms(l) <= MAX(until_ms, runner_now_ms(&l->runner)) &&
	       manual_loop_step(l))
		;
	advance_to(l, until_ms);
}
