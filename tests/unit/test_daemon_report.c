/* Discoveries as tasks, and the queue of those to be reported. */
#include "test_util.h"

#include <jansson.h>

#include "base/base.h"
#include "base/loop.h"
#include "daemon/report.h"
#include "daemon/report_json.h"

struct world {
	struct loop loop;
	struct trace *trace;
	struct report *report;
	struct report_names names;
	struct trace_watch watch;
	struct trace_root_ref last; /* that began or ended */
	bool closed;
};

static void on_root(struct trace_watch *watch, uint32_t slot, const uint8_t span_id[8],
		    bool complete)
{
	struct world *w = container_of(watch, struct world, watch);

	w->last.slot = slot;
	memcpy(w->last.span_id, span_id, sizeof(w->last.span_id));
}

static const struct push_connection nobody = { .origin = (char *)(uintptr_t) "http://127.0.0.1:1",
					       .path = (char *)(uintptr_t) "" };

static int setup(void **state)
{
	struct world *w = mem_alloc(sizeof(*w));

	assert_non_null(w);
	CHECK_STATUS(0, loop_init(&w->loop));
	w->trace = trace_new(NULL, &clock_system);
	w->names = (struct report_names){ .server = "s\"", .version = "1", .key = { 7 } };
	/* Nobody listens there. */
	w->report = report_new(&(struct report_config){ .loop = &w->loop,
							.trace = w->trace,
							.to = &nobody,
							.server = "s",
							.version = "1" });
	assert_non_null(w->report);
	w->watch.on_root = on_root;
	trace_watch(w->trace, &w->watch);
	*state = w;
	return 0;
}

static void on_closed(void *data)
{
	((struct world *)data)->closed = true;
}

static int teardown(void **state)
{
	struct world *w = *state;

	report_close(w->report, on_closed, w);
	while (!w->closed)
		uv_run(&w->loop.uv, UV_RUN_ONCE);
	loop_fini(&w->loop);
	trace_free(w->trace);
	mem_free(w);
	return 0;
}

static struct trace_root_ref add(struct world *w, const char *category)
{
	static const char title[] = "hm://z6MkTitle/notes";
	struct span span = trace_root(w->trace, category, title, strlen(title), NULL);

	trace_attr_str(span, "peer", "12D3KooWPeer", 12);
	trace_attr_int(span, "depth", -3);
	trace_stage(span, "entry");
	trace_stage(span, "local");
	trace_finish(span, 0, "found");
	return w->last;
}

static json_t *task_of(struct world *w, const struct trace_root_ref *ref)
{
	struct buf out;
	json_t *o;

	buf_init(&out, 1 << 20);
	report_write_begin(&out, &w->names);
	assert_true(report_write_task(&out, w->trace, ref, &w->names, true));
	assert_true(report_write_task(&out, w->trace, ref, &w->names, false));
	report_write_end(&out);
	assert_int_equal(0, buf_err(&out));
	assert_null(strstr((const char *)out.data, "Title"));
	assert_null(strstr((const char *)out.data, "12D3KooW"));
	o = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	buf_fini(&out);
	return o;
}

static void a_discovery_is_a_task_without_names(void **state)
{
	struct world *w = *state;
	struct trace_root_ref ref = add(w, REPORT_CATEGORY);
	json_t *o = task_of(w, &ref),
	       *frame = json_array_get(json_object_get(o, "collectionFrames"), 0);
	json_t *task = json_array_get(json_object_get(frame, "traces"), 1);
	json_t *attributes = json_object_get(task, "attributes");

	assert_string_equal("s\"", json_string_value(json_object_get(o, "serverName")));
	assert_true(json_is_true(json_object_get(task, "isTask")));
	assert_string_equal("sync.discover", json_string_value(json_object_get(task, "endpoint")));
	assert_string_equal("found", json_string_value(json_object_get(attributes, "outcome")));
	assert_string_equal("-3", json_string_value(json_object_get(attributes, "depth")));
	assert_int_equal('~', *json_string_value(json_object_get(attributes, "peer")));
	json_decref(o);
}

static void spans_follow_each_other_within_the_task(void **state)
{
	struct world *w = *state;
	struct trace_root_ref ref = add(w, REPORT_CATEGORY);
	json_t *o = task_of(w, &ref), *span;
	json_t *frame = json_array_get(json_object_get(o, "collectionFrames"), 0);
	json_t *task = json_array_get(json_object_get(frame, "traces"), 0);
	const char *before = "";
	json_int_t sum = 0;
	size_t i;

	assert_true(json_array_size(json_object_get(task, "spans")) >= 2);
	json_array_foreach(json_object_get(task, "spans"), i, span) {
		const char *start = json_string_value(json_object_get(span, "startTime"));

		assert_true(strcmp(before, start) <= 0);
		before = start;
		sum += json_integer_value(json_object_get(span, "duration"));
	}
	assert_true(sum <= json_integer_value(json_object_get(task, "duration")));
	json_decref(o);
}

static void what_is_no_discovery_or_gone_is_not_written(void **state)
{
	struct world *w = *state;
	struct trace_root_ref other = add(w, "http"), gone = other;
	struct buf out;

	gone.span_id[0] ^= 1;
	buf_init(&out, 4096);
	assert_false(report_write_task(&out, w->trace, &other, &w->names, true));
	assert_false(report_write_task(&out, w->trace, &gone, &w->names, true));
	gone.slot = UINT32_MAX;
	assert_false(report_write_task(&out, w->trace, &gone, &w->names, true));
	assert_int_equal(0, out.len);
	buf_fini(&out);
}

static void only_discoveries_queue_and_the_oldest_goes_first(void **state)
{
	struct world *w = *state;
	struct report_figures f;

	for (unsigned i = 0; i < REPORT_QUEUE_MAX + 5; i++) {
		(void)add(w, "http");
		(void)add(w, REPORT_CATEGORY);
		uv_run(&w->loop.uv, UV_RUN_NOWAIT);
	}
	report_figures(w->report, &f);
	assert_int_equal(REPORT_QUEUE_MAX, f.queued);
	assert_int_equal(5, f.dropped_queue);
}

static void too_many_in_one_turn_are_counted(void **state)
{
	struct world *w = *state;
	struct report_figures f;

	for (unsigned i = 0; i < REPORT_QUEUE_MAX + 3; i++)
		(void)add(w, REPORT_CATEGORY);
	uv_run(&w->loop.uv, UV_RUN_NOWAIT);
	report_figures(w->report, &f);
	assert_int_equal(REPORT_QUEUE_MAX, f.queued);
	assert_int_equal(3, f.dropped_queue);
}

static void making_one_survives_oom_at_every_allocation(void **state)
{
	struct world *w = *state, other = { 0 };

	FAULT_SWEEP({
		struct report *r = report_new(&(struct report_config){ .loop = &w->loop,
								       .trace = w->trace,
								       .to = &nobody,
								       .server = "s",
								       .version = "1" });

		assert_true(r != NULL || mem_fault_hits() > 0);
		other.closed = r == NULL;
		if (r != NULL)
			report_close(r, on_closed, &other);
		while (!other.closed)
			uv_run(&w->loop.uv, UV_RUN_ONCE);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_discovery_is_a_task_without_names, setup,
						teardown),
		cmocka_unit_test_setup_teardown(spans_follow_each_other_within_the_task, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_no_discovery_or_gone_is_not_written, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_discoveries_queue_and_the_oldest_goes_first,
						setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_in_one_turn_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(making_one_survives_oom_at_every_allocation, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
