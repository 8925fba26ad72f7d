/* What leaves the machine, and what comes back. */
#include "otlp.pb-c.h"
#include "test_trace.h"

static const struct trace_export raw = { .instance = "me" };
static const struct trace_export disguised = { .disguise = true, .key = { 1, 2, 3 } };

/* One root as it would be sent. */
static Otlp__ExportTraceServiceRequest *sent(struct fixture *f, struct span s,
					     const struct trace_export *how)
{
	struct trace_root_ref ref = { .slot = s.slot };
	struct trace_writer *w;
	struct buf out;
	int rc;

	memcpy(ref.span_id, see_one(f, s).span_id, sizeof(ref.span_id));
	w = trace_writer_new_root(f->t, &ref, how);
	assert_non_null(w);
	buf_init(&out, 1 << 20);
	while ((rc = trace_writer_next(w, &out)) > 0)
		;
	CHECK_STATUS(0, rc);
	assert_int_equal(trace_writer_spans(w), 2);
	Otlp__ExportTraceServiceRequest *r =
		otlp__export_trace_service_request__unpack(NULL, out.len, out.data);
	assert_non_null(r);
	trace_writer_free(w);
	buf_fini(&out);
	return r;
}

static struct span secretive(struct fixture *f)
{
	struct span s = root_span(f, "sync.discover", "hm://z6MkSecret/notes");

	trace_stage(s, "dial");
	trace_attr_str(s, "peer", "12D3KooWSecret", 14);
	trace_attr_int(s, "port", 56000);
	trace_mark(s, "dial %s:%d: %s", "/ip4/10.0.0.1", 4, err_str(UV_ETIMEDOUT));
	clock_manual_advance(&f->clock, 1000);
	trace_finish(child_span(s, "sync.peer", "12D3KooWSecret"), UV_ECONNREFUSED, NULL);
	trace_finish(s, 0, "local");
	return s;
}

static const Otlp__Span *span_of(const Otlp__ExportTraceServiceRequest *r, size_t i)
{
	assert_int_equal(r->n_resource_spans, 2);
	return r->resource_spans[i]->scope_spans[0]->spans[0];
}

static const char *attr_of(const Otlp__Span *s, const char *key)
{
	for (size_t i = 0; i < s->n_attributes; i++)
		if (strcmp(s->attributes[i]->key, key) == 0)
			return s->attributes[i]->value->string_value;
	fail_msg("no attribute %s", key);
	return NULL;
}

static bool is_pseudonym(const char *s)
{
	return s[0] == '~' && strspn(s + 1, "0123456789abcdef") == 16 && s[17] == '\0';
}

static void texts_are_sent_as_pseudonyms_and_the_rest_as_it_is(void **state)
{
	struct fixture *f = *state;
	Otlp__ExportTraceServiceRequest *r = sent(f, secretive(f), &disguised);
	const Otlp__Span *root = span_of(r, 0), *child = span_of(r, 1);

	assert_true(is_pseudonym(attr_of(root, "title")));
	assert_true(is_pseudonym(attr_of(root, "peer")));
	assert_string_equal(attr_of(root, "peer"), attr_of(child, "title"));
	assert_string_not_equal(attr_of(root, "peer"), attr_of(root, "title"));
	assert_string_equal(attr_of(root, "outcome"), "local");
	assert_string_equal(root->name, "sync.discover");
	assert_string_equal(root->events[0]->name, "dial");
	const char *mark = root->events[1]->name;
	assert_memory_equal(mark, "dial ~", 6);
	assert_string_equal(mark + 5 + 17, ":4: connection timed out");
	otlp__export_trace_service_request__free_unpacked(r, NULL);
}

static void without_disguise_everything_is_sent(void **state)
{
	struct fixture *f = *state;
	Otlp__ExportTraceServiceRequest *r = sent(f, secretive(f), &raw);
	const Otlp__Span *root = span_of(r, 0);

	assert_string_equal(attr_of(root, "title"), "hm://z6MkSecret/notes");
	assert_string_equal(attr_of(root, "peer"), "12D3KooWSecret");
	assert_string_equal(root->events[1]->name, "dial /ip4/10.0.0.1:4: connection timed out");
	const Otlp__Resource *resource = r->resource_spans[0]->resource;
	assert_string_equal(resource->attributes[1]->key, "service.instance.id");
	assert_string_equal(resource->attributes[1]->value->string_value, "me");
	otlp__export_trace_service_request__free_unpacked(r, NULL);
}

static void a_pseudonym_depends_on_text_and_key(void **state)
{
	struct fixture *f = *state;
	char a[TRACE_DISGUISED_MAX], b[TRACE_DISGUISED_MAX];
	uint8_t key[32] = { 0 }, other[32] = { 9 };

	assert_int_equal(trace_disguise(f->t, key, "x", 1, a), 17);
	trace_disguise(f->t, key, "x", 1, b);
	assert_string_equal(a, b);
	trace_disguise(f->t, key, "y", 1, b);
	assert_string_not_equal(a, b);
	trace_disguise(f->t, other, "x", 1, b);
	assert_string_not_equal(a, b);
	trace_disguise(f->t, key, err_str(ERR_VERIFY), strlen(err_str(ERR_VERIFY)), b);
	assert_string_equal(b, err_str(ERR_VERIFY));
}

static void of_a_root_that_is_gone_nothing_is_sent(void **state)
{
	struct fixture *f = *state;
	struct trace_root_ref ref = { .slot = secretive(f).slot };
	struct trace_writer *w = trace_writer_new_root(f->t, &ref, &raw);
	struct buf out;
	int rc;

	buf_init(&out, 1000);
	while ((rc = trace_writer_next(w, &out)) > 0)
		;
	CHECK_STATUS(0, rc);
	assert_int_equal(out.len + trace_writer_spans(w), 0);
	trace_writer_free(w);
}

static void answers_of_collectors_are_read(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t refused;
		const char *message;
	} good[] = {
		{ "", 0, 0, "" },
		{ "\x0a\x00", 2, 0, "" },
		{ "\x0a\x0b\x08\x05\x12\x07too old", 13, 5, "too old" },
		{ "\x0a\x04\x08\xac\x82\x00", 6, 300, "" },
		{ "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, 0, "" },
		{ "\x15\x01\x02\x03\x04\x0a\x02\x08\x01", 9, 1, "" },
	};
	struct trace_otlp_reply r;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_STATUS(0, trace_otlp_reply_read(good[i].bytes, good[i].len, &r));
		assert_int_equal(r.refused, good[i].refused);
		assert_int_equal(r.message_len, strlen(good[i].message));
		assert_memory_equal(r.message, good[i].message, r.message_len);
	}
}

static void malformed_answers_of_collectors_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x0a", 1 },
		{ "\x0a\x05\x08", 3 },
		{ "\x0a\x01\x08", 3 },
		{ "\x00\x00", 2 },
		{ "\x0b\x00", 2 },
		{ "<html>", 6 },
		{ "\x0d\x01\x02", 3 },
		{ "\x0a\x02\x12\x7f", 4 },
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 },
	};
	struct trace_otlp_reply r = { .refused = 77 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_STATUS(ERR_MALFORMED, trace_otlp_reply_read(bad[i].bytes, bad[i].len, &r));
	assert_int_equal(r.refused, 77);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(texts_are_sent_as_pseudonyms_and_the_rest_as_it_is),
		TEST(without_disguise_everything_is_sent),
		TEST(a_pseudonym_depends_on_text_and_key),
		TEST(of_a_root_that_is_gone_nothing_is_sent),
		cmocka_unit_test(answers_of_collectors_are_read),
		cmocka_unit_test(malformed_answers_of_collectors_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
