#include "tests/unit/test_util.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"

static struct clock_manual manual;
static char lines[8192];
static unsigned line_count;

static bool collect(void *data, enum log_level level, const char *line)
{
	size_t used = strlen(lines);

	line_count++;
	assert_true(used + strlen(line) + 2 < sizeof(lines));
	(void)snprintf(lines + used, sizeof(lines) - used, "%s\n", line);
	return true;
}

static int setup(void **state)
{
	lines[0] = '\0';
	line_count = 0;
	clock_manual_init(&manual, UINT64_C(1795226400) * NS_PER_SEC); /* 2026-11-21T02:00:00Z */
	clock_manual_advance(&manual, 123 * NS_PER_MS);
	log_set_clock(&manual.clock);
	log_set_sink(collect, NULL);
	return 0;
}

static int teardown(void **state)
{
	log_set_sink(NULL, NULL);
	log_set_clock(NULL);
	log_set_level(LOG_STORE, LOG_INFO);
	return 0;
}

static void a_line_has_level_subsystem_and_text(void **state)
{
	log_info(LOG_STORE, "msg=\"opened\" blobs=%d", 3);
	log_error(LOG_HTTP, "x=1");
	assert_string_equal(
		lines, "level=info sub=store msg=\"opened\" blobs=3\nlevel=error sub=http x=1\n");
}

static void lines_above_the_level_are_dropped(void **state)
{
	log_debug(LOG_STORE, "no");
	log_set_level(LOG_STORE, LOG_DEBUG);
	log_debug(LOG_STORE, "yes");
	log_debug(LOG_NET, "no");
	log_set_level(LOG_STORE, LOG_ERROR);
	log_warn(LOG_STORE, "no");
	assert_int_equal(log_get_level(LOG_STORE), LOG_ERROR);
	assert_string_equal(lines, "level=debug sub=store yes\n");
}

static void control_and_ill_formed_bytes_are_escaped(void **state)
{
	log_info(LOG_STORE, "%s", "a\nlevel=error\x1b[31m\x7f\t");
	log_info(LOG_STORE, "%s", "gr\xc3\xbc\xc3\x9f \xff \xc2\x9b \xe2\x82");
	assert_string_equal(lines,
			    "level=info sub=store a\\x0alevel=error\\x1b[31m\\x7f\\x09\n"
			    "level=info sub=store gr\xc3\xbc\xc3\x9f \\xff \\u009b \\xe2\\x82\n");
}

static void a_long_text_is_cut_and_says_so(void **state)
{
	char text[3000];

	memset(text, '\x01', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info(LOG_STORE, "%s", text);
	assert_int_equal(strlen(lines),
			 strlen("level=info sub=store  truncated=true\n") + 4 * 1023);
	assert_non_null(strstr(lines, "\\x01 truncated=true\n"));
}

static void repeat(int n)
{
	for (int i = 0; i < n; i++)
		log_info(LOG_STORE, "i=%d", i);
}

static void repeats_of_one_site_are_limited_and_counted(void **state)
{
	uint64_t before = log_suppressed();

	repeat(25);
	assert_int_equal(line_count, 10);
	log_info(LOG_STORE, "another site");
	assert_int_equal(line_count, 11);
	clock_manual_advance(&manual, 4999 * NS_PER_MS);
	repeat(1);
	assert_int_equal(line_count, 11);
	lines[0] = '\0';
	clock_manual_advance(&manual, 1 * NS_PER_MS);
	repeat(1);
	assert_int_equal(line_count, 13);
	assert_int_equal(log_suppressed() - before, 16);
	assert_non_null(
		strstr(lines, "level=info sub=store msg=\"repeats left out\" count=16 at="));
	assert_non_null(strstr(lines, "level=info sub=store i=0\n"));
	clock_manual_advance(&manual, 5000 * NS_PER_MS);
	repeat(1);
	assert_int_equal(line_count, 14);
}

static void names_are_parsed_back(void **state)
{
	for (int i = 0; i < LOG_SUB_COUNT; i++) {
		enum log_sub sub = LOG_SUB_COUNT;

		CHECK_STATUS(0, log_sub_parse(log_sub_name((enum log_sub)i), &sub));
		assert_int_equal(sub, i);
	}
	for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
		enum log_level level = LOG_ERROR;

		CHECK_STATUS(0, log_level_parse(log_level_name((enum log_level)i), &level));
		assert_int_equal(level, i);
	}
}

static void unknown_names_are_not_found(void **state)
{
	enum log_level level = LOG_WARN;
	enum log_sub sub = LOG_NET;

	CHECK_STATUS(ERR_NOT_FOUND, log_sub_parse("nothing", &sub));
	CHECK_STATUS(ERR_NOT_FOUND, log_level_parse("", &level));
	assert_true(level == LOG_WARN && sub == LOG_NET);
	assert_null(log_sub_name(LOG_SUB_COUNT));
	assert_null(log_level_name((enum log_level)4));
}

/* Writes one line with stderr going to a file, JOURNAL_STREAM naming that file or another. */
static void log_to_file(bool journal, char *ret, size_t cap)
{
	FILE *f = tmpfile();
	int kept = dup(STDERR_FILENO);
	char stream[64];
	struct stat st;
	size_t n;

	assert_non_null(f);
	fstat(fileno(f), &st);
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino + (journal ? 0 : 1));
	setenv("JOURNAL_STREAM", stream, 1);
	dup2(fileno(f), STDERR_FILENO);
	log_set_sink(NULL, NULL);
	log_init();
	log_info(LOG_STORE, "hello");
	dup2(kept, STDERR_FILENO);
	close(kept);
	unsetenv("JOURNAL_STREAM");
	log_init();
	rewind(f);
	n = fread(ret, 1, cap - 1, f);
	ret[n] = '\0';
	fclose(f);
}

static void a_terminal_gets_the_time_and_the_journal_a_priority(void **state)
{
	char text[256];

	log_to_file(false, text, sizeof(text));
	assert_string_equal(text, "time=2026-11-21T02:00:00.123Z level=info sub=store hello\n");
	log_to_file(true, text, sizeof(text));
	assert_string_equal(text, "<6>sub=store hello\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_has_level_subsystem_and_text, setup,
						teardown),
		cmocka_unit_test_setup_teardown(lines_above_the_level_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(control_and_ill_formed_bytes_are_escaped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_long_text_is_cut_and_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(repeats_of_one_site_are_limited_and_counted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(names_are_parsed_back, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_names_are_not_found, setup, teardown),
		cmocka_unit_test_setup_teardown(a_terminal_gets_the_time_and_the_journal_a_priority,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
