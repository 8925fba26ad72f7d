#include "daemon/vars_page.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "debug_http/debug_http.h"

/* The name of a figure ends in its unit; the number itself stands beside what is shown, for the
 * script (assets/vars.js) that counts how fast it grows. Names of groups within groups are written
 * in front of the figure: "outcomes.cached". */

enum { NAME_MAX_TEXT = 128, DEPTH_MAX = 3 };

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* "1 234 567": digits in threes, which a person can read. */
static void write_count(struct buf *out, int64_t v)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRId64, v);

	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
			buf_write_str(out, "\u202f");
		buf_write_u8(out, (uint8_t)digits[i]);
	}
}

static void write_number(struct buf *out, const char *name, int64_t v)
{
	static const struct {
		const char *end;
		uint64_t ns;
	} units[] = { { "_ns", 1 }, { "_us", 1000 }, { "_ms", NS_PER_MS }, { "_s", NS_PER_SEC } };

	for (size_t i = 0; i < ARRAY_SIZE(units) && v >= 0; i++) {
		if (ends_with(name, units[i].end) && (uint64_t)v <= UINT64_MAX / units[i].ns) {
			http_page_write_duration(out, (uint64_t)v * units[i].ns);
			return;
		}
	}
	if (v >= 0 && ends_with(name, "bytes"))
		http_page_write_bytes(out, (uint64_t)v);
	else if (strcmp(name, "pid") == 0)
		buf_printf(out, "%" PRId64, v);
	else
		write_count(out, v);
}

static void write_string(struct buf *out, const char *s)
{
	buf_write_str(out, "<bdi>");
	buf_write_html(out, s, strlen(s));
	buf_write_str(out, "</bdi>");
}

static void write_value(struct buf *out, const char *name, const json_t *value)
{
	const json_t *item;
	size_t i;

	if (json_is_integer(value)) {
		write_number(out, name, json_integer_value(value));
	} else if (json_is_string(value)) {
		write_string(out, json_string_value(value));
	} else if (json_is_array(value)) {
		json_array_foreach((json_t *)(uintptr_t)value, i, item) {
			buf_write_str(out, i > 0 ? "<br/>" : "");
			write_string(out,
				     json_is_string(item) ? json_string_value(item) : "\u2026");
		}
	} else if (json_is_real(value)) {
		buf_printf(out, "%g", json_real_value(value));
	} else if (!json_is_null(value)) {
		buf_write_str(out, json_is_true(value) ? "yes" : "no");
	}
}

static void write_row(struct buf *out, const char *name, const json_t *value)
{
	buf_write_str(out, "<tr><th scope=\"row\">");
	buf_write_html(out, name, strlen(name));
	if (json_is_integer(value))
		buf_printf(out, "</th><td class=\"n\" data-raw=\"%" JSON_INTEGER_FORMAT "\">",
			   json_integer_value(value));
	else
		buf_write_str(out, "</th><td class=\"text\" colspan=\"2\">");
	write_value(out, name, value);
	buf_write_str(out, json_is_integer(value) ? "</td><td class=\"n change\"></td></tr>\n" :
						    "</td></tr>\n");
}

static void write_rows(struct buf *out, const char *prefix, const json_t *object, unsigned depth)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		char name[NAME_MAX_TEXT];

		(void)snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "",
			       key);
		if (!json_is_object(value))
			write_row(out, name, value);
		else if (depth < DEPTH_MAX)
			write_rows(out, name, value, depth + 1);
	}
}

static void begin_group(struct buf *out, const char *name)
{
	buf_write_str(out, "<section id=\"");
	buf_write_html(out, name, strlen(name));
	buf_write_str(out, "\"><h2>");
	buf_write_html(out, name, strlen(name));
	buf_write_str(out, "</h2>\n<table><tbody>\n");
}

static void end_group(struct buf *out)
{
	buf_write_str(out, "</tbody></table></section>\n");
}

void vars_write_groups(struct buf *out, const json_t *figures)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)figures, key, value) {
		if (!json_is_object(value))
			continue;
		begin_group(out, key);
		write_rows(out, "", value, 0);
		end_group(out);
	}
}

void vars_write_html(struct buf *out, const json_t *figures)
{
	const char *key;
	json_t *value;

	buf_write_str(out, "<script src=\"/debug/assets/vars.js\" defer=\"defer\"></script>\n"
			   "<p class=\"hint\">Times and sizes are rounded; <a "
			   "href=\"/debug/vars?json\">the numbers themselves</a> are for programs."
			   "</p>\n<div class=\"figures\">\n");
	begin_group(out, "daemon");
	json_object_foreach((json_t *)(uintptr_t)figures, key, value)
		if (!json_is_object(value))
			write_row(out, key, value);
	end_group(out);
	vars_write_groups(out, figures);
	buf_write_str(out, "</div>\n");
}
