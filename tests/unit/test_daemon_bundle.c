#include "tests/unit/test_util.h"

#include <archive.h>
#include <archive_entry.h>
#include <sodium.h>

#include "base/err.h"
#include "daemon/bundle.h"
#include "daemon/bundle_hide.h"
#include "daemon/bundle_zip.h"

/* ---- Codes for names ---- */

static struct bundle_hide hide;

static int setup(void **state)
{
	bundle_hide_init_with(&hide, "anna-laptop", "/h/anna", "/h/anna/.local/state/peerscope");
	return 0;
}

static void rewrite(struct buf *out, const char *text)
{
	buf_init(out, 1 << 20);
	bundle_hide_write(&hide, out, text, strlen(text));
	assert_int_equal(buf_err(out), 0);
	buf_write_str(out, "");
}

static void assert_gone(const char *text, const char *secret)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	rewrite(&out, text);
	if (out.data != NULL && strstr((char *)out.data, secret) != NULL)
		fail_msg("\"%s\" became \"%s\"", text, (char *)out.data);
}

static void assert_kept(const char *text)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	rewrite(&out, text);
	assert_string_equal((char *)out.data, text);
}

static void names_are_replaced_wherever_they_stand(void **state)
{
	static const struct {
		const char *text, *secret;
	} rows[] = {
		{ "get hm://z6MkAbc/secret-plan/page now", "secret-plan" },
		{ "get hm://z6MkAbc/secret-plan/page now", "z6MkAbc" },
		{ "{\"iri\":\"hm://z6MkAbc/secret\"}", "secret" },
		{ "{\"iri\":\"hm://z6MkAbc/caf\\u00e9secret\"}", "secret" },
		{ "iri=hm://z6MkAbc/caf\\xc3\\xa9secret x", "secret" },
		{ "/debug/traces?q=hm%3A%2F%2Fz6MkAbc%2Fsecret&n=3", "secret" },
		{ "HM://z6MkAbc/secret", "secret" },
		{ "msg=published path=\"/a/secret\" n=1", "secret" },
		{ "{\"path\":\"/secret\"}", "secret" },
		{ "{\"text\":\"msg=x path=\\\"/secret\\\"\"}", "secret" },
		{ "path=/secret", "secret" },
		{ "peer=12D3KooWJejJWDJ14WM1uFPEBFwqxd", "JejJWDJ" },
		{ "peer 12D3KooWJejJ… failed", "JejJ" },
		{ "space z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", "haXgBZD" },
		{ "v=bafkreigh2akiscaildcqabsyg3dfr6chu3", "igh2aki" },
		{ "hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "89ab" },
		{ "/ip4/203.0.113.7/tcp/56000/p2p/12D3KooWAbcdef", "203.0" },
		{ "from 203.0.113.7:56000.", "203.0" },
		{ "at 203.0.113.7.", "113" },
		{ "/ip6/2001:db8::7/tcp/1", "db8" },
		{ "[2001:db8::7]:80", "db8" },
		{ "data=/h/anna/.local/state/peerscope/x", "anna" },
		{ "opening /h/anna/Documents/x", "anna" },
		{ "\"file:///h/anna\"", "anna" },
		{ "host=anna-laptop", "anna" },
		{ "otlp-endpoint https://api.example.org/v1?token=hunter2&x=1", "hunter2" },
		{ "https://api.example.org/v1", "example" },
		{ "path=\"/a/my secret plan\" n=1", "secret" },
		{ "{\"text\":\"path=\\\"/R&D/what's secret?\\\"\"}", "secret" },
		{ "{\"path\":\"/it's #1 <secret>\"}", "secret" },
		{ "GET /secret?n=3", "secret" },
		{ "GET /debug/traces?n=3&q=secret&sort=newest", "secret" },
		{ "GET /v1/objects?iri=hm%3A%2F%2Fz6MkA%2Fsecret", "secret" },
		{ "\"--config\",\"/tmp/secret/x.conf\",\"--listen\"", "secret" },
		{ "\"--data\", \"secret\"", "secret" },
		{ "{\"PEERSCOPE_DATA\":\"secret\"}", "secret" },
		{ "\"where\":\"/srv/secret/x.conf:1: listen\"", "secret" },
		{ "cannot open /srv/secret: No such file", "secret" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_gone(rows[i].text, rows[i].secret);
}

static void what_names_nobody_is_kept(void **state)
{
	static const char *const rows[] = {
		"time=2026-11-21T02:00:00.123Z level=info sub=store msg=\"a: b\" ms=3.5",
		"listening on 127.0.0.1:56001, [::1]:0 and 0.0.0.0:0",
		"{\"trace_id\":\"0123456789abcdef0123456789abcdef\",\"n\":[1,2,3]}",
		"goroutine 1 [IO wait, 3 minutes]:\nmain(0x7fff)\n\tdaemon/main.c:12 +0x1f",
		"http://127.0.0.1:56001/debug/traces?id=12 http://localhost:1/x",
		"::, 1.2.3, deadbeef, baf, z6M, hm:/x, dead:beef and ab:cd:ef are no addresses",
		"version 0.1.0, build 89abcdef",
		"h/annabel/x and anna-laptops",
		"{\"name\":\"data\",\"origin\":\"flag\",\"where\":\"--data\"}",
		"main(...)\n\t/build/peerscope/daemon/main.c:12 +0x1f",
		"/debug/pprof/heap /ip4/127.0.0.1/tcp/56000 /usr/lib/x and/or 3 B/s, /",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_kept(rows[i]);
}

static void a_name_has_one_code_per_bundle(void **state)
{
	CLEANUP(buf_fini) struct buf first = { 0 }, again = { 0 }, other = { 0 }, salted = { 0 };

	rewrite(&first, "12D3KooWSame");
	rewrite(&again, "12D3KooWSame");
	rewrite(&other, "12D3KooWOther");
	hide.key[0] ^= 1;
	rewrite(&salted, "12D3KooWSame");
	hide.key[0] ^= 1;
	assert_string_equal((char *)first.data, (char *)again.data);
	assert_string_not_equal((char *)first.data, (char *)other.data);
	assert_string_not_equal((char *)first.data, (char *)salted.data);
	assert_memory_equal(first.data, "peer-", 5);
}

static void paths_keep_their_shape(void **state)
{
	CLEANUP(buf_fini) struct buf page = { 0 }, below = { 0 };

	rewrite(&page, "hm://z6MkA/a");
	rewrite(&below, "hm://z6MkA/a/b?v=x");
	assert_memory_equal(page.data, below.data, page.len);
	assert_int_equal(below.data[page.len], '/');
	assert_non_null(strstr((char *)below.data, "?v=x"));
}

static void any_bytes_are_taken(void **state)
{
	uint8_t bytes[512];

	for (unsigned round = 0; round < 200; round++) {
		CLEANUP(buf_fini) struct buf out = { 0 };

		randombytes_buf(bytes, sizeof(bytes));
		memcpy(bytes + 100, "hm://", 5);
		memcpy(bytes + 300, "12D3KooW", 8);
		memcpy(bytes + sizeof(bytes) - 5, "hm://", 5);
		buf_init(&out, 1 << 20);
		bundle_hide_write(&hide, &out, (char *)bytes, sizeof(bytes));
		assert_int_equal(buf_err(&out), 0);
	}
}

/* ---- The file ---- */

struct file {
	struct buf bytes;
	size_t fail_after; /* 0 = never */
};

static int append(void *data, const void *bytes, size_t len)
{
	struct file *f = data;

	if (f->fail_after > 0 && f->bytes.len + len > f->fail_after)
		return UV_ENOSPC;
	buf_write(&f->bytes, bytes, len);
	return buf_err(&f->bytes);
}

static int write_two_members(struct file *f, uint8_t hash[2][BUNDLE_HASH_SIZE])
{
	struct bundle_zip *z = bundle_zip_new(append, f);
	int rc = z != NULL ? bundle_zip_begin(z, "a.txt", 5, false) : UV_ENOMEM;

	if (rc == 0)
		rc = bundle_zip_write(z, "hello", 5);
	if (rc == 0)
		rc = bundle_zip_end(z, hash[0]);
	if (rc == 0)
		rc = bundle_zip_begin(z, "bin/x", 8, true);
	if (rc == 0)
		rc = bundle_zip_write(z, "short", 5);
	if (rc == 0)
		rc = bundle_zip_end(z, hash[1]);
	if (rc == 0)
		rc = bundle_zip_close(z);
	bundle_zip_free(z);
	return rc;
}

static void members_come_back_as_they_went_in(void **state)
{
	struct file f = { 0 };
	uint8_t hash[2][BUNDLE_HASH_SIZE], expected[crypto_hash_sha256_BYTES];
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	char text[16] = "";

	buf_init(&f.bytes, 1 << 20);
	assert_int_equal(write_two_members(&f, hash), 0);
	crypto_hash_sha256(expected, (const uint8_t *)"hello", 5);
	assert_memory_equal(hash[0], expected, sizeof(expected));
	archive_read_support_format_zip(a);
	assert_int_equal(archive_read_open_memory(a, f.bytes.data, f.bytes.len), ARCHIVE_OK);
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(e), "a.txt");
	assert_int_equal(archive_read_data(a, text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(e), "bin/x");
	assert_int_equal(archive_read_data(a, text, sizeof(text)), 8);
	assert_memory_equal(text, "short\0\0\0", 8);
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
	archive_read_free(a);
	buf_fini(&f.bytes);
}

static void a_full_disk_ends_it_wherever_it_happens(void **state)
{
	uint8_t hash[2][BUNDLE_HASH_SIZE];
	struct file whole = { 0 };

	buf_init(&whole.bytes, 1 << 20);
	assert_int_equal(write_two_members(&whole, hash), 0);
	for (size_t at = 1; at < whole.bytes.len; at += 7) {
		struct file f = { .fail_after = at };

		buf_init(&f.bytes, 1 << 20);
		assert_int_equal(write_two_members(&f, hash), UV_ENOSPC);
		assert_true(f.bytes.len <= at);
		buf_fini(&f.bytes);
	}
	buf_fini(&whole.bytes);
}

static void out_of_memory_leaves_nothing(void **state)
{
	uint8_t hash[2][BUNDLE_HASH_SIZE];
	struct file f = { 0 };

	buf_init(&f.bytes, 1 << 20);
	mem_fault_after(1, false);
	assert_int_equal(write_two_members(&f, hash), UV_ENOMEM);
	mem_fault_after(0, false);
	buf_fini(&f.bytes);
}

/* Whether a bundle of at most `bytes_max` bytes has the program that runs. */
static bool has_program(uint64_t bytes_max, struct bundle_result *ret)
{
	struct file f = { 0 };
	struct bundle_config config = { .data = "/nowhere",
					.offline = true,
					.binary = true,
					.no_fork = true,
					.bytes_max = bytes_max,
					.write = append,
					.user = &f };
	bool found;

	buf_init(&f.bytes, BUNDLE_BYTES_MAX);
	assert_int_equal(bundle_run(&config, ret), 0);
	assert_int_equal(ret->bytes, f.bytes.len);
	assert_true(bytes_max == 0 || ret->bytes <= bytes_max);
	/* Names stand in the table at the end. */
	found = memmem(f.bytes.data, f.bytes.len, "bin/peerscope", 13) != NULL;
	assert_non_null(memmem(f.bytes.data, f.bytes.len, "MANIFEST.json", 13));
	buf_fini(&f.bytes);
	return found;
}

static void what_would_make_it_too_large_is_left_out(void **state)
{
	struct bundle_result large, small;

	assert_true(has_program(0, &large));
	assert_false(has_program(768 << 10, &small));
	assert_int_equal(small.parts, large.parts - 1);
	assert_int_equal(small.skipped, large.skipped + 1);
	assert_int_equal(small.failed, large.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_replaced_wherever_they_stand),
		cmocka_unit_test(what_names_nobody_is_kept),
		cmocka_unit_test(a_name_has_one_code_per_bundle),
		cmocka_unit_test(paths_keep_their_shape),
		cmocka_unit_test(any_bytes_are_taken),
		cmocka_unit_test(members_come_back_as_they_went_in),
		cmocka_unit_test(a_full_disk_ends_it_wherever_it_happens),
		cmocka_unit_test(out_of_memory_leaves_nothing),
		cmocka_unit_test(what_would_make_it_too_large_is_left_out),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
