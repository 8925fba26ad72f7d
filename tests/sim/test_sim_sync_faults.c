/* Sweeps: a sync that is cancelled, times out, or runs out of memory at any moment ends once, with
 * a fitting status, leaves nothing behind (sync_world_fini), and the next one completes. */
#include "sync/session.h"
#include "tests/sim/sync_world.h"

enum { CHUNKS = 6, TICKS_MAX = 2000, ALLOCATIONS_MAX = 20000 };

struct scene {
	struct sync_world w;
	struct host *a, *b;
	struct thing t;
	struct scope scope;
	struct run r;
};

static void scene_init(struct scene *s)
{
	sync_world_init(&s->w, 1);
	thing_init(&s->t, &s->w, "/doc", 1000, CHUNKS, 20000, NULL);
	s->a = sync_world_host(&s->w);
	s->b = sync_world_host(&s->w);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
	host_put_thing(s->a, &s->t);
}

static void scene_fini(struct scene *s)
{
	thing_fini(&s->t);
	sync_world_fini(&s->w);
}

static void then_it_completes(struct scene *s)
{
	sync_world_run_ms(&s->w, 60000);
	CHECK_STATUS(0, run_sync(&s->r, s->b, &s->scope, &s->a, 1));
	assert_true(host_has_thing(s->b, &s->t));
}

static void cancelled_at_any_tick_it_ends_cleanly(void **state)
{
	bool all = false;

	(void)state;
	for (unsigned tick = 0; !all; tick++) {
		struct scene s;

		assert_true(tick < TICKS_MAX);
		scene_init(&s);
		run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
		for (unsigned i = 0; i < tick && !s.r.done; i++)
			manual_loop_step(&s.w.loop);
		all = s.r.done;
		if (!all)
			op_cancel(&s.r.wave.op);
		run_wait(&s.r);
		if (s.r.status != 0)
			CHECK_STATUS(UV_ECANCELED, s.r.status);
		then_it_completes(&s);
		scene_fini(&s);
	}
}

static void timed_out_at_any_moment_it_ends_cleanly(void **state)
{
	int status = UV_ETIMEDOUT;

	(void)state;
	for (uint64_t ms = 0; status != 0; ms++) {
		struct scene s;

		assert_true(ms < TICKS_MAX);
		scene_init(&s);
		run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, ms);
		run_wait(&s.r);
		status = s.r.status;
		/* what had arrived was stored all the same */
		assert_false(sync_world_marked(&s.w, "sync.peer", "storing"));
		if (status != 0)
			CHECK_STATUS(UV_ETIMEDOUT, status);
		then_it_completes(&s);
		scene_fini(&s);
	}
}

static bool blob_arrived(void *data)
{
	struct scene *s = data;

	list_for_each(node, &s->r.wave.sessions)
		if (list_entry(node, struct session, node)->arrived_count > 0)
			return true;
	return false;
}

/* The defect of storing under the deadline of the sync: time runs out between a blob's arrival and
 * its storing. */
static void what_arrived_in_time_is_stored_though_time_is_over(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s);
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 5000);
	assert_true(run_until(&s.w.loop, blob_arrived, &s, 4000));
	clock_manual_advance(&s.w.loop.clock, 10000 * NS_PER_MS);
	run_wait(&s.r);
	CHECK_STATUS(UV_ETIMEDOUT, s.r.status);
	assert_false(sync_world_marked(&s.w, "sync.peer", "storing"));
	assert_true(host_has(s.b, &s.t.commit.hash));
	then_it_completes(&s);
	scene_fini(&s);
}

static void cut_at_any_tick_it_ends_cleanly(void **state)
{
	bool all = false;

	(void)state;
	for (unsigned tick = 0; !all; tick += 3) {
		struct scene s;

		assert_true(tick < TICKS_MAX);
		scene_init(&s);
		run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
		for (unsigned i = 0; i < tick && !s.r.done; i++)
			manual_loop_step(&s.w.loop);
		all = s.r.done;
		if (!all)
			sync_wave_cut(&s.r.wave, SYNC_CUT_RESOLVED);
		run_wait(&s.r);
		then_it_completes(&s);
		scene_fini(&s);
	}
}

static void without_memory_at_any_allocation_it_ends_cleanly(void **state)
{
	uint64_t hits = 1;

	(void)state;
	for (uint64_t n = 1; hits > 0; n++) {
		struct scene s;

		assert_true(n < ALLOCATIONS_MAX);
		scene_init(&s);
		mem_fault_after(n, false);
		run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
		run_wait(&s.r);
		hits = mem_fault_hits();
		mem_fault_after(0, false);
		if (hits == 0)
			CHECK_STATUS(0, s.r.status);
		then_it_completes(&s);
		scene_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancelled_at_any_tick_it_ends_cleanly),
		cmocka_unit_test(timed_out_at_any_moment_it_ends_cleanly),
		cmocka_unit_test(what_arrived_in_time_is_stored_though_time_is_over),
		cmocka_unit_test(cut_at_any_tick_it_ends_cleanly),
		cmocka_unit_test(without_memory_at_any_allocation_it_ends_cleanly),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
