#include "tests/unit/test_util.h"

#include "base/buf.h"

#define U_FFFD "\xef\xbf\xbd"

static void check_html(const char *in, size_t len, const char *expected)
{
	CLEANUP(buf_fini) struct buf b = { 0 };

	buf_init(&b, 1000);
	buf_write_html(&b, in, len);
	CHECK_STATUS(0, buf_err(&b));
	assert_string_equal(b.data != NULL ? (char *)b.data : "", expected);
}

static void check_json(const char *in, size_t len, const char *expected)
{
	CLEANUP(buf_fini) struct buf b = { 0 };

	buf_init(&b, 1000);
	buf_write_json_str(&b, in, len);
	CHECK_STATUS(0, buf_err(&b));
	assert_string_equal((char *)b.data, expected);
}

static void html_cannot_be_broken_out_of(void **state)
{
	check_html("", 0, "");
	check_html("<a href='x' b=\"&\">", 18, "&lt;a href=&#39;x&#39; b=&quot;&amp;&quot;&gt;");
	check_html("a\tb\nc\x01\x7f\r", 8, "a\tb\nc\\x01\\x7f\\x0d");
	check_html("\xc2\x9b", 2, "\\u009b");
	check_html("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f");
	check_html("a\0b", 3,
		   "a\\x00"
		   "b");
}

static void json_strings_are_escaped(void **state)
{
	check_json("", 0, "\"\"");
	check_json("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
	check_json("\b\f\n\r\t\x01\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"");
	check_json("\xc2\x85", 2, "\"\\u0085\"");
	check_json("a\0b", 3, "\"a\\u0000b\"");
	check_json("\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\"");
}

static void ill_formed_bytes_become_replacement_characters(void **state)
{
	check_json("a\xff"
		   "b",
		   3, "\"a" U_FFFD "b\"");
	check_html("\xe2\x82", 2, "\\xe2\\x82");
	check_json("\xc0\xaf", 2, "\"" U_FFFD U_FFFD "\"");
}

static void what_a_reader_would_not_see_is_written_out(void **state)
{
	static const struct {
		const char *given, *shown;
	} cases[] = {
		{ "gr\u00fc\u00df \u65e5\u672c \U0001f600",
		  "gr\u00fc\u00df \u65e5\u672c \U0001f600" },
		{ "a\u202egpj.exe", "a\\u202egpj.exe" },
		{ "\u2066x\u2069", "\\u2066x\\u2069" },
		{ "pay\u200bpal", "pay\\u200bpal" },
		{ "\ufeff\u00ad\u2060\u3164", "\\ufeff\\u00ad\\u2060\\u3164" },
		{ "\U000e0041", "\\U000e0041" },
		{ "\x1b[2J\r\n\t", "\\x1b[2J\\x0d\\x0a\\x09" },
		{ "\xc2\x9b", "\\u009b" },
		{ "\xff\xfe", "\\xff\\xfe" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(buf_fini) struct buf b = { 0 };

		buf_init(&b, 1000);
		buf_write_shown(&b, cases[i].given, strlen(cases[i].given));
		CHECK_STATUS(0, buf_err(&b));
		assert_string_equal((char *)b.data, cases[i].shown);
	}
	check_html("<\u202e>", 5, "&lt;\\u202e&gt;");
}

static void json_means_the_same_with_what_is_hidden_escaped(void **state)
{
	static const char text[] = "{\"a\u202e\":\"\u65e5\U000e0041\x7f\"}";
	CLEANUP(buf_fini) struct buf b = { 0 };

	check_json("\u202e", 3, "\"\\u202e\"");
	check_json("\U000e0041", 4, "\"\\udb40\\udc41\"");
	buf_init(&b, 1000);
	buf_write_json_text(&b, text, strlen(text));
	assert_string_equal((char *)b.data, "{\"a\\u202e\":\"\u65e5\\udb40\\udc41\\u007f\"}");
}

/* Table 3-7 of the Unicode standard: the first and last sequence of each row, and what lies just
 * outside. */
static void utf8_is_decoded_strictly(void **state)
{
	static const struct {
		const char *s;
		size_t len;
		size_t expected;
		uint32_t code;
	} cases[] = {
		{ "", 0, 0, 0 },
		{ "A", 1, 1, 'A' },
		{ "\x7f", 1, 1, 0x7f },
		{ "\x80", 1, 0, 0 },
		{ "\xc1\xbf", 2, 0, 0 },
		{ "\xc2\x80", 2, 2, 0x80 },
		{ "\xdf\xbf", 2, 2, 0x7ff },
		{ "\xdf\xc0", 2, 0, 0 },
		{ "\xe0\x9f\xbf", 3, 0, 0 },
		{ "\xe0\xa0\x80", 3, 3, 0x800 },
		{ "\xed\x9f\xbf", 3, 3, 0xd7ff },
		{ "\xed\xa0\x80", 3, 0, 0 },
		{ "\xee\x80\x80", 3, 3, 0xe000 },
		{ "\xef\xbf\xbf", 3, 3, 0xffff },
		{ "\xf0\x8f\xbf\xbf", 4, 0, 0 },
		{ "\xf0\x90\x80\x80", 4, 4, 0x10000 },
		{ "\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff },
		{ "\xf4\x90\x80\x80", 4, 0, 0 },
		{ "\xf5\x80\x80\x80", 4, 0, 0 },
		{ "\xe2\x82\x28", 3, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t code = 0;

		assert_int_equal(utf8_decode(cases[i].s, cases[i].len, &code), cases[i].expected);
		assert_int_equal(code, cases[i].code);
	}
}

static void utf8_that_is_cut_off_is_not_decoded(void **state)
{
	uint32_t code = 5;

	for (size_t len = 0; len < 4; len++)
		assert_int_equal(utf8_decode("\xf0\x9f\x98\x80", len, &code), 0);
	assert_int_equal(code, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(html_cannot_be_broken_out_of),
		cmocka_unit_test(json_strings_are_escaped),
		cmocka_unit_test(ill_formed_bytes_become_replacement_characters),
		cmocka_unit_test(what_a_reader_would_not_see_is_written_out),
		cmocka_unit_test(json_means_the_same_with_what_is_hidden_escaped),
		cmocka_unit_test(utf8_is_decoded_strictly),
		cmocka_unit_test(utf8_that_is_cut_off_is_not_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
