/* CPU time per span: whom it is charged to, on a clock that the test owns; and the real clock. */
#include "base/op.h"
#include "test_trace.h"
#include "trace/store.h"

static uint64_t cpu_ns;

static uint64_t read_test_clock(struct cpu_clock *c)
{
	return cpu_ns;
}

static void use_test_clock(struct fixture *f)
{
	f->t->cpu = (struct cpu_clock){ .kind = TRACE_CPU_CLOCK, .read = read_test_clock };
	f->t->busy_since_ns = cpu_ns;
}

static void work(struct fixture *f, uint64_t ns)
{
	cpu_ns += ns;
	clock_manual_advance(&f->clock, ns);
}

static void work_is_charged_to_the_span_and_its_stage(void **state)
{
	struct fixture *f = *state;
	struct span a = root_span(f, "a", "r"), b = child_span(a, "b", "c"), before;
	struct trace_stage_view stage;

	use_test_clock(f);
	work(f, 1000); /* for nobody */
	before = trace_work(f->t, a);
	assert_null(before.trace);
	trace_stage(a, "one");
	work(f, 10);
	trace_stage(a, "two");
	work(f, 20);
	before = trace_work(f->t, b);
	assert_int_equal(before.slot, a.slot);
	work(f, 40);
	trace_work(f->t, before);
	work(f, 80);
	trace_finish(a, 0, NULL);
	work(f, 160); /* after its end */
	trace_work(f->t, (struct span){ 0 });
	struct trace_span_view v = see_one(f, a);
	assert_int_equal(v.busy_ns, 110);
	assert_true(trace_stage_at(f->t, &v, v.stage_count - 2, &stage));
	assert_string_equal(stage.name, "one");
	assert_int_equal(stage.busy_ns, 10);
	assert_true(trace_stage_at(f->t, &v, v.stage_count - 1, &stage));
	assert_int_equal(stage.busy_ns, 100);
	assert_int_equal(see_one(f, b).busy_ns, 40);
	assert_int_equal(counts_of(f).late_calls, 0);
}

static void busy_time_of_stages_sums_to_that_of_the_span(void **state)
{
	static const char *const names[] = { "a", "b", "c" };
	uint64_t seed = 4;

	for (int i = 0; i < 200; i++) {
		struct fixture *f;
		struct trace_stage_view stage;
		uint64_t sum = 0, wall = 0;
		setup((void **)&f);
		use_test_clock(f);
		struct span s = root_span(f, "a", "r");
		trace_work(f->t, s);
		for (uint32_t k = next_random(&seed) % 50; k > 0; k--) {
			trace_stage(s, names[next_random(&seed) % 3]);
			if (next_random(&seed) % 2)
				work(f, next_random(&seed) % 3);
			else
				clock_manual_advance(&f->clock, 1);
		}
		trace_stage(s, "a");
		clock_manual_advance(&f->clock, 1);
		trace_finish(s, 0, NULL);
		struct trace_span_view v = see_one(f, s);
		for (uint32_t k = 0; trace_stage_at(f->t, &v, k, &stage); k++) {
			sum += stage.busy_ns;
			wall += stage.duration_ns;
			assert_true(stage.busy_ns <= stage.duration_ns);
		}
		assert_int_equal(sum, v.busy_ns);
		assert_int_equal(wall, v.duration_ns);
		teardown((void **)&f);
	}
}

/* ---- Operations ---- */

static const struct op_state states[] = { { "working", TO(1) }, { "done", 0 } };

struct job {
	struct op op;
	struct fixture *f;
	struct job *inner;
	uint64_t ns;
};

static void job_tick(struct op *op)
{
	struct job *j = container_of(op, struct job, op);

	work(j->f, j->ns);
	if (j->inner != NULL)
		op_tick(&j->inner->op);
	work(j->f, j->ns);
	op_move(op, 1);
	assert_true(op_finish(op));
}

static const struct op_kind kind = { "test.job", states, ARRAY_SIZE(states), job_tick };

static void ticks_are_charged_to_the_operations_span(void **state)
{
	struct fixture *f = *state;
	struct manual_loop loop;
	struct job inner = { .f = f, .ns = 7 }, outer = { .f = f, .inner = &inner, .ns = 100 };
	struct span a = root_span(f, "a", "outer"), b = root_span(f, "b", "inner");

	manual_loop_init(&loop, 1);
	trace_observe(f->t, &loop.runner);
	use_test_clock(f);
	op_init(&inner.op, &kind, &(struct op_env){ &loop.runner, UINT64_MAX, b }, UINT64_MAX);
	op_init(&outer.op, &kind, &(struct op_env){ &loop.runner, UINT64_MAX, a }, UINT64_MAX);
	op_tick(&outer.op);
	work(f, 5000);
	assert_int_equal(see_one(f, a).busy_ns, 200);
	assert_int_equal(see_one(f, b).busy_ns, 14);
	assert_null(f->t->busy.trace);
	manual_loop_fini(&loop);
}

/* ---- The real clock ---- */

static volatile uint64_t sink;

static void burn(uint64_t ns)
{
	uint64_t until = cpu_clock_exact_ns() + ns;

	while (cpu_clock_exact_ns() < until)
		sink++;
}

/* Not about speed: about agreeing with the kernel, whatever the machine does in between. */
static void the_clock_agrees_with_the_kernel_and_never_goes_back(void **state)
{
	struct cpu_clock c;
	const struct timespec moment = { 0, 100000 };

	if (cpu_clock_start(&c) == TRACE_CPU_OFF)
		SKIP_TEST("no CPU clock that is exact and cheap here");
	uint64_t first = cpu_clock_now_ns(&c), kernel_first = cpu_clock_exact_ns(), last = first;
	for (int i = 0; i < 300; i++) {
		burn(50000);
		if (i % 4 == 0)
			nanosleep(&moment, NULL);
		uint64_t now = cpu_clock_now_ns(&c);
		assert_true(now >= last);
		last = now;
	}
	uint64_t took = last - first, kernel = cpu_clock_exact_ns() - kernel_first;
	assert_true(took <= kernel + 200000 && kernel <= took + 200000 + kernel / 100);
}

static void sleeping_costs_no_cpu_time(void **state)
{
	struct cpu_clock c;
	const struct timespec long_time = { 0, 50000000 };

	if (cpu_clock_start(&c) == TRACE_CPU_OFF)
		SKIP_TEST("no CPU clock that is exact and cheap here");
	uint64_t before = cpu_clock_now_ns(&c);
	nanosleep(&long_time, NULL);
	assert_true(cpu_clock_now_ns(&c) - before < 25000000);
}

static void without_a_clock_nothing_is_charged(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	assert_int_equal(trace_cpu(f->t), TRACE_CPU_OFF);
	assert_null(trace_work(f->t, s).trace);
	assert_null(trace_work(NULL, s).trace);
	trace_finish(s, 0, NULL);
	assert_int_equal(see_one(f, s).busy_ns, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(work_is_charged_to_the_span_and_its_stage),
		cmocka_unit_test(busy_time_of_stages_sums_to_that_of_the_span),
		TEST(ticks_are_charged_to_the_operations_span),
		cmocka_unit_test(the_clock_agrees_with_the_kernel_and_never_goes_back),
		cmocka_unit_test(sleeping_costs_no_cpu_time),
		TEST(without_a_clock_nothing_is_charged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
