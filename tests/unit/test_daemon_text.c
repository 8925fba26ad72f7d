/* What people and scripts see: exit codes, the progress line, text from elsewhere. */
#include <errno.h>

#include "test_util.h"

#include "base/base.h"
#include "daemon/cli.h"
#include "daemon/exit.h"
#include "daemon/progress.h"

static void outcomes_map_to_their_exit_codes(void **state)
{
	static const struct {
		int status, code;
	} cases[] = {
		{ 0, 0 },
		{ ERR_STORE, 1 },
		{ UV_ENOMEM, 1 },
		{ UV_EEXIST, 1 },
		{ ERR_NOT_FOUND, 5 },
		{ ERR_MISSING, 5 },
		{ UV_ETIMEDOUT, 6 },
		{ ERR_BUSY, 7 },
		{ ERR_CONFLICT, 8 },
		{ ERR_DISK_FULL, 9 },
		{ UV_ENOSPC, 9 },
		{ ERR_READ_ONLY, 10 },
		{ UV_EACCES, 10 },
		{ UV_ECONNREFUSED, 11 },
		{ ERR_PEER_MISMATCH, 11 },
		{ ERR_VERIFY, 12 },
		{ ERR_CORRUPT, 12 },
		{ UV_ECANCELED, 130 },
		{ ERR_LOCKED, 3 },
		{ -29999, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(exit_of(cases[i].status), cases[i].code);
}

static void every_exit_code_has_one_meaning_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < a; b++)
			if (exit_text(a) != NULL && exit_text(b) != NULL)
				assert_string_not_equal(exit_text(a), exit_text(b));
	assert_null(exit_text(13));
}

static void check_line(const struct progress_view *v, unsigned columns, const char *expected)
{
	struct buf out;

	buf_init(&out, 1024);
	progress_render(v, columns, &out);
	assert_string_equal((char *)out.data, expected);
	buf_fini(&out);
}

static void the_progress_line_says_how_far_it_is(void **state)
{
	struct progress_view v = { .label = "get",
				   .item_name = "blobs",
				   .bytes = 3 << 20,
				   .bytes_total = 4 << 20,
				   .items = 30,
				   .items_total = 40 };

	(void)state;
	check_line(&v, 200,
		   "get  [###############.....]  75 %  3.0 MiB of 4.0 MiB  30 of 40 blobs");
	v.elapsed_ms = 2000;
	v.extra = "2 peers, 1 ok";
	check_line(&v, 200,
		   "get  [###############.....]  75 %  3.0 MiB of 4.0 MiB  30 of 40 blobs  2 "
		   "peers, 1 ok  1.5 MiB/s");
	check_line(&v, 20, "get  [##############");
}

static void an_unknown_total_has_no_bar_and_too_much_is_all(void **state)
{
	struct progress_view v = {
		.label = "publish", .item_name = "blobs", .bytes = 1023, .items = 7
	};

	(void)state;
	check_line(&v, 200, "publish  1023 B  7 blobs");
	v.bytes_total = 10;
	check_line(&v, 200, "publish  [####################] 100 %  1023 B of 10 B  7 blobs");
	v = (struct progress_view){ .label = "x", .item_name = "y", .items_total = 2 };
	check_line(&v, 200, "x  [....................]   0 %  0 B  0 of 2 y");
}

static void bytes_are_written_for_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0 B" },	      { 1023, "1023 B" },	 { 1024, "1.0 KiB" },
		      { 1536, "1.5 KiB" },    { 1048524, "1023.9 KiB" }, { 1048575, "1.0 MiB" },
		      { 1 << 30, "1.0 GiB" }, { UINT64_MAX, "16.0 EiB" } };
	struct buf out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		buf_init(&out, 64);
		progress_write_bytes(&out, cases[i].bytes);
		assert_string_equal((char *)out.data, cases[i].text);
		buf_fini(&out);
	}
}

static void nothing_is_drawn_without_a_terminal(void **state)
{
	struct progress p;

	(void)state;
	progress_start(&p, "x", "y", true);
	progress_tick(&p);
	assert_false(p.drawn);
	progress_end(&p);
}

static void foreign_text_cannot_drive_the_terminal(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	cli_write_safe(&out, "a\x1b[2Jb\xff\xc2\x9b"
			     "c\nü");
	assert_null(memchr(out.data, 0x1b, out.len));
	assert_null(strstr((char *)out.data, "\xc2\x9b"));
	assert_non_null(strstr((char *)out.data, "[2Jb"));
	assert_non_null(strstr((char *)out.data, "ü"));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outcomes_map_to_their_exit_codes),
		cmocka_unit_test(every_exit_code_has_one_meaning_of_its_own),
		cmocka_unit_test(the_progress_line_says_how_far_it_is),
		cmocka_unit_test(an_unknown_total_has_no_bar_and_too_much_is_all),
		cmocka_unit_test(bytes_are_written_for_people),
		cmocka_unit_test(nothing_is_drawn_without_a_terminal),
		cmocka_unit_test(foreign_text_cannot_drive_the_terminal),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
