/* Exports, read by readers that are not ours: jansson and protobuf-c. */
#include <jansson.h>

#include "test_trace_random.h"

#include "trace/otlp.pb-c.h"

static void render(struct fixture *f, enum trace_format format, struct buf *out)
{
	buf_init(out, 16 << 20);
	CHECK_STATUS(0, trace_render(f->t, format, &(struct trace_query){ .limit = 250 }, out));
}

static json_t *parse(struct fixture *f, enum trace_format format)
{
	struct buf out;
	json_error_t error;

	render(f, format, &out);
	json_t *json = json_loadb((const char *)out.data, out.len, 0, &error);
	if (json == NULL)
		fail_msg("not JSON at %d: %s", error.position, error.text);
	buf_fini(&out);
	return json;
}

static const char *str(json_t *json, const char *key)
{
	const char *value = json_string_value(json_object_get(json, key));

	if (value == NULL)
		fail_msg("%s is no string", key);
	return value;
}

static json_int_t number(json_t *json, const char *key)
{
	if (!json_is_integer(json_object_get(json, key)))
		fail_msg("%s is no integer", key);
	return json_integer_value(json_object_get(json, key));
}

/* ---- Chrome ---- */

/* ns of a time in µs with three decimals, which a double holds exactly enough. */
static uint64_t ns_of(json_t *event, const char *key)
{
	double us = json_number_value(json_object_get(event, key));

	assert_true(json_is_number(json_object_get(event, key)));
	return (uint64_t)(us * 1000 + 0.5);
}

struct slice {
	uint64_t start, end;
	json_int_t pid, tid;
};

static size_t slices_of(json_t *events, struct slice *ret, size_t cap)
{
	size_t count = 0, i;
	json_t *e;

	json_array_foreach(events, i, e) {
		const char *ph = str(e, "ph");
		number(e, "pid");
		number(e, "tid");
		str(e, "name");
		if (strcmp(ph, "X") != 0 && strcmp(ph, "B") != 0)
			continue;
		assert_true(count < cap);
		ret[count] = (struct slice){ ns_of(e, "ts"), UINT64_MAX, number(e, "pid"),
					     number(e, "tid") };
		if (*ph == 'X')
			ret[count].end = ret[count].start + ns_of(e, "dur");
		count++;
	}
	return count;
}

static bool nest(const struct slice *a, const struct slice *b)
{
	bool apart = a->end <= b->start || b->end <= a->start;
	bool inside = (a->start <= b->start && b->end <= a->end) ||
		      (b->start <= a->start && a->end <= b->end);

	return a->pid != b->pid || a->tid != b->tid || apart || inside;
}

static void slices_of_random_trees_nest_on_every_lane(void **state)
{
	static struct slice slices[4000];
	uint64_t seed = 31;

	for (int i = 0; i < 150; i++) {
		struct fixture *f;
		setup((void **)&f);
		for (int k = 0; k < 3; k++)
			random_tree(f, &seed, 2 + (size_t)(i * 7 + k) % 110);
		json_t *json = parse(f, TRACE_FORMAT_CHROME);
		size_t count =
			slices_of(json_object_get(json, "traceEvents"), slices, ARRAY_SIZE(slices));
		assert_true(count >= 3);
		for (size_t a = 0; a < count; a++)
			for (size_t b = 0; b < a; b++)
				if (!nest(&slices[a], &slices[b]))
					fail_msg("slices %zu and %zu overlap", a, b);
		json_decref(json);
		teardown((void **)&f);
	}
}

static void a_sequence_of_children_stays_on_its_parents_lane(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");
	static struct slice slices[100];

	for (int i = 0; i < 10; i++) {
		struct span s = child_span(root, "b", "c");
		trace_stage(s, "dial");
		clock_manual_advance(&f->clock, 1500);
		trace_finish(s, 0, NULL);
	}
	trace_finish(root, 0, NULL);
	json_t *json = parse(f, TRACE_FORMAT_CHROME);
	assert_int_equal(slices_of(json_object_get(json, "traceEvents"), slices, 100), 21);
	for (int i = 0; i < 21; i++)
		assert_int_equal(slices[i].tid, 1);
	assert_int_equal(slices[20].end, 15000);
	assert_string_equal(str(json_object_get(json, "otherData"), "epoch_ns"),
			    "1767225601000000000");
	json_decref(json);
}

static void events_have_what_the_format_asks_for(void **state)
{
	struct fixture *f = *state;
	size_t i, flows = 0, marks = 0;
	uint64_t seed = 5;
	json_t *e;

	random_tree(f, &seed, 100);
	json_t *json = parse(f, TRACE_FORMAT_CHROME);
	json_array_foreach(json_object_get(json, "traceEvents"), i, e) {
		char ph = *str(e, "ph");
		if (ph == 'i') {
			assert_string_equal(str(e, "s"), "t");
			ns_of(e, "ts");
			marks++;
		} else if (ph == 's' || ph == 'f') {
			number(e, "id");
			ns_of(e, "ts");
			assert_true(ph == 's' || strcmp(str(e, "bp"), "e") == 0);
			flows++;
		} else if (ph == 'M') {
			str(json_object_get(e, "args"), "name");
		}
	}
	assert_true(flows > 0 && flows % 2 == 0 && marks > 0);
	json_decref(json);
}

/* ---- Jaeger ---- */

static void jaeger_has_its_required_fields(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 6;
	size_t i, k, spans = 0;
	json_t *trace, *span, *ref;

	for (int n = 0; n < 5; n++)
		random_tree(f, &seed, 60);
	json_t *json = parse(f, TRACE_FORMAT_JAEGER);
	json_array_foreach(json_object_get(json, "data"), i, trace) {
		assert_string_equal(str(json_object_get(json_object_get(trace, "processes"), "p1"),
					"serviceName"),
				    "peerscope");
		json_array_foreach(json_object_get(trace, "spans"), k, span) {
			assert_string_equal(str(span, "traceID"), str(trace, "traceID"));
			assert_int_equal(strlen(str(span, "spanID")), 16);
			assert_true(number(span, "startTime") > 0 && number(span, "duration") >= 0);
			assert_string_equal(str(span, "processID"), "p1");
			str(span, "operationName");
			ref = json_array_get(json_object_get(span, "references"), 0);
			assert_true(k == 0 || strcmp(str(ref, "refType"), "CHILD_OF") == 0);
			assert_true(json_is_array(json_object_get(span, "tags")));
			assert_true(json_is_array(json_object_get(span, "logs")));
			spans++;
		}
	}
	assert_int_equal(json_array_size(json_object_get(json, "data")), 5);
	assert_int_equal(spans, counts_of(f).created_spans);
	json_decref(json);
}

/* ---- OTLP ---- */

static void worked_example(struct fixture *f)
{
	struct trace_context c;

	CHECK_STATUS(0, trace_context_parse(
				"00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01", 55, &c));
	struct span root = trace_root(f->t, "sync.serve", "hm://a", 6, &c),
		    child = child_span(root, "sync.peer",
				       "\xff"
				       "p");
	trace_stage(child, "dial");
	trace_attr_int(child, "rounds", -7);
	trace_attr_bool(child, "recursive", true);
	clock_manual_advance(&f->clock, 5000);
	trace_mark(child, "try %d", 1);
	trace_link(child, root, "joined");
	trace_finish(child, UV_ETIMEDOUT, "timeout");
}

static void otlp_json_says_what_happened(void **state)
{
	struct fixture *f = *state;

	worked_example(f);
	json_t *json = parse(f, TRACE_FORMAT_OTLP_JSON);
	json_t *scope = json_array_get(
		json_object_get(json_array_get(json_object_get(json, "resourceSpans"), 0),
				"scopeSpans"),
		0);
	json_t *spans = json_object_get(scope, "spans"), *root = json_array_get(spans, 0),
	       *child = json_array_get(spans, 1);
	assert_string_equal(str(root, "traceId"), "0102030405060708090a0b0c0d0e0f10");
	assert_string_equal(str(root, "parentSpanId"), "1112131415161718");
	assert_int_equal(number(root, "kind"), 2);
	assert_string_equal(str(root, "startTimeUnixNano"), "1767225601000000000");
	assert_string_equal(str(root, "endTimeUnixNano"), "1767225601000005000");
	assert_string_equal(str(child, "parentSpanId"), str(root, "spanId"));
	assert_int_equal(number(child, "kind"), 1);
	assert_int_equal(number(json_object_get(child, "status"), "code"), 2);
	assert_string_equal(str(json_object_get(child, "status"), "message"), "timeout");
	json_t *mark = json_array_get(json_object_get(child, "events"), 1);
	assert_string_equal(str(mark, "name"), "try 1");
	json_t *rounds = json_array_get(json_object_get(child, "attributes"), 2);
	assert_string_equal(str(rounds, "key"), "rounds");
	assert_string_equal(str(json_object_get(rounds, "value"), "intValue"), "-7");
	json_decref(json);
}

static void otlp_protobuf_unpacks_to_the_same(void **state)
{
	struct fixture *f = *state;
	struct buf out;

	worked_example(f);
	render(f, TRACE_FORMAT_OTLP, &out);
	Otlp__ExportTraceServiceRequest *r =
		otlp__export_trace_service_request__unpack(NULL, out.len, out.data);
	assert_non_null(r);
	assert_int_equal(r->n_resource_spans, 2);
	Otlp__Span *root = r->resource_spans[0]->scope_spans[0]->spans[0],
		   *child = r->resource_spans[1]->scope_spans[0]->spans[0];
	assert_int_equal(root->trace_id.len, 16);
	assert_int_equal(root->trace_id.data[15], 0x10);
	assert_int_equal(root->parent_span_id.data[0], 0x11);
	assert_int_equal(root->kind, 2);
	assert_memory_equal(child->parent_span_id.data, root->span_id.data, 8);
	assert_int_equal(child->start_time_unix_nano, 1767225601000000000);
	assert_int_equal(child->end_time_unix_nano, 1767225601000005000);
	assert_string_equal(child->name, "sync.peer");
	assert_int_equal(child->status->code, 2);
	assert_string_equal(child->attributes[0]->value->string_value, "\xef\xbf\xbdp");
	assert_string_equal(child->events[1]->name, "try 1");
	assert_memory_equal(child->links[0]->span_id.data, root->span_id.data, 8);
	assert_string_equal(r->resource_spans[0]->resource->attributes[0]->key, "service.name");
	otlp__export_trace_service_request__free_unpacked(r, NULL);
	buf_fini(&out);
}

/* ---- All ---- */

static void every_format_is_whole_when_traces_are_evicted_between_pieces(void **state)
{
	static const struct trace_query q = { .limit = 250 };

	for (int format = TRACE_FORMAT_JSON; format <= TRACE_FORMAT_OTLP; format++) {
		struct fixture *f;
		struct buf out;
		int rc, pieces = 0;
		setup((void **)&f);
		for (int i = 0; i < 100; i++) {
			struct span s = root_span(f, "a", "r");
			for (int k = 0; k < 100; k++)
				trace_mark(s, "mark %d of %s", k, "the whole");
			trace_finish(s, 0, NULL);
		}
		buf_init(&out, 32 << 20);
		struct trace_writer *w = trace_writer_new(f->t, (enum trace_format)format, &q);
		while ((rc = trace_writer_next(w, &out)) > 0)
			for (int i = 0; i < (pieces++ > 3 ? 5000 : 0); i++)
				whole_trace(f, "a", "new", 1, 0);
		CHECK_STATUS(0, rc);
		assert_true(pieces > 4);
		trace_writer_free(w);
		if (format != TRACE_FORMAT_OTLP) {
			json_t *json = json_loadb((const char *)out.data, out.len, 0, NULL);
			assert_non_null(json);
			json_decref(json);
		} else {
			Otlp__ExportTraceServiceRequest *r =
				otlp__export_trace_service_request__unpack(NULL, out.len, out.data);
			assert_non_null(r);
			otlp__export_trace_service_request__free_unpacked(r, NULL);
		}
		buf_fini(&out);
		teardown((void **)&f);
	}
}

static void a_large_tree_comes_in_pieces(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");
	struct buf out;
	int pieces = 0;

	for (int i = 0; i < 5000; i++)
		trace_finish(child_span(root, "b", "c"), 0, NULL);
	struct trace_writer *w =
		trace_writer_new(f->t, TRACE_FORMAT_JSON, &(struct trace_query){ 0 });
	buf_init(&out, 1 << 20);
	for (int rc = 1; rc > 0; pieces++) {
		rc = trace_writer_next(w, &out);
		assert_true(rc >= 0 && out.len < 128 << 10);
		buf_clear(&out);
	}
	assert_true(pieces > 15);
	buf_fini(&out);
	trace_writer_free(w);
}

static void exporting_survives_oom_at_every_allocation(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 9;

	random_tree(f, &seed, 12);
	for (int format = TRACE_FORMAT_JSON; format <= TRACE_FORMAT_OTLP; format++)
		FAULT_SWEEP({
			struct buf out;
			buf_init(&out, 1 << 20);
			int rc = trace_render(f->t, (enum trace_format)format,
					      &(struct trace_query){ 0 }, &out);
			if (mem_fault_hits() == 0)
				CHECK_STATUS(0, rc);
			buf_fini(&out);
		});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_of_random_trees_nest_on_every_lane),
		TEST(a_sequence_of_children_stays_on_its_parents_lane),
		TEST(events_have_what_the_format_asks_for),
		TEST(jaeger_has_its_required_fields),
		TEST(otlp_json_says_what_happened),
		TEST(otlp_protobuf_unpacks_to_the_same),
		cmocka_unit_test(every_format_is_whole_when_traces_are_evicted_between_pieces),
		TEST(a_large_tree_comes_in_pieces),
		TEST(exporting_survives_oom_at_every_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
