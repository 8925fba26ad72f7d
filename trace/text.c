/* Text for people at a terminal. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "trace/text.h"

static unsigned duration_below_minute(char ret[TEXT_DURATION_SIZE], uint64_t ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
		bool tenths; /* from 10 on */
	} units[] = { { "µs", 1000, false },
		      { "ms", NS_PER_MS, false },
		      { "s", NS_PER_SEC, true } };

	if (ns < 1000)
		return (unsigned)snprintf(ret, TEXT_DURATION_SIZE, "%u ns", (unsigned)ns);
	for (size_t i = 0;; i++) {
		uint64_t unit = units[i].ns;
		uint64_t hundredths = (ns * 100 + unit / 2) / unit;
		uint64_t tenths = (ns * 10 + unit / 2) / unit, whole = (ns + unit / 2) / unit;

		if (whole >= 1000 && i + 1 < ARRAY_SIZE(units))
			continue;
		int n;
		if (hundredths < 1000)
			n = snprintf(ret, TEXT_DURATION_SIZE, "%u.%02u %s",
				     (unsigned)(hundredths / 100), (unsigned)(hundredths % 100),
				     units[i].name);
		else if (units[i].tenths)
			n = snprintf(ret, TEXT_DURATION_SIZE, "%u.%u %s", (unsigned)(tenths / 10),
				     (unsigned)(tenths % 10), units[i].name);
		else
			n = snprintf(ret, TEXT_DURATION_SIZE, "%u %s", (unsigned)whole,
				     units[i].name);
		return (unsigned)n - (i == 0); /* µ is two bytes */
	}
}

unsigned text_duration(char ret[TEXT_DURATION_SIZE], uint64_t ns)
{
	uint64_t seconds = ns / NS_PER_SEC + (ns % NS_PER_SEC >= NS_PER_SEC / 2);
	int n;

	if (ns < 59950 * NS_PER_MS)
		return duration_below_minute(ret, ns);
	if (seconds < 3600)
		n = snprintf(ret, TEXT_DURATION_SIZE, "%um%02us", (unsigned)(seconds / 60),
			     (unsigned)(seconds % 60));
	else if (seconds < 100 * 3600)
		n = snprintf(ret, TEXT_DURATION_SIZE, "%uh%02um", (unsigned)(seconds / 3600),
			     (unsigned)(seconds / 60 % 60));
	else
		n = snprintf(ret, TEXT_DURATION_SIZE, "%" PRIu64 "d", seconds / 86400);
	return (unsigned)n;
}

void text_time(char ret[TEXT_TIME_SIZE], uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_SEC);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	snprintf(ret, TEXT_TIME_SIZE, "%04d-%02u-%02uT%02u:%02u:%02u.%09uZ", tm.tm_year + 1900,
		 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
		 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
		 (unsigned)(wall_ns % NS_PER_SEC));
}

void text_bytes(char ret[TEXT_DURATION_SIZE], uint64_t bytes)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes / 1000;
	size_t unit = 0;

	if (bytes < 1000) {
		snprintf(ret, TEXT_DURATION_SIZE, "%u B", (unsigned)bytes);
		return;
	}
	for (; value >= 999.95 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1000;
	snprintf(ret, TEXT_DURATION_SIZE, "%.1f %s", value, units[unit]);
}

/* Columns of a character on a terminal: the blocks that terminals agree on. */
static unsigned char_columns(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} none[] = { { 0x300, 0x36f },	 { 0x483, 0x489 },   { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff },
		     { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f } },
	  wide[] = { { 0x1100, 0x115f },   { 0x2e80, 0x303e },	{ 0x3041, 0xa4cf },
		     { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },	{ 0xfe30, 0xfe6f },
		     { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },	{ 0x1f300, 0x1f64f },
		     { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd } };

	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		if (c >= none[i].first && c <= none[i].last)
			return 0;
	for (size_t i = 0; i < ARRAY_SIZE(wide); i++)
		if (c >= wide[i].first && c <= wide[i].last)
			return 2;
	return 1;
}

/* The character at s: how it is shown, and how many bytes and columns it takes. */
static size_t safe_char(const char *s, size_t len, char ret_shown[UTF8_SHOWN_MAX],
			size_t *ret_shown_len, unsigned *ret_columns)
{
	uint32_t c;
	size_t used = utf8_show(s, len, ret_shown, ret_shown_len);
	bool is_itself = utf8_decode(s, len, &c) > 0 && !utf8_is_hidden(c);

	*ret_columns = is_itself ? char_columns(c) : (unsigned)*ret_shown_len;
	return used;
}

unsigned text_safe(struct buf *out, const char *s, size_t len, unsigned columns)
{
	size_t pos = 0, fits = 0; /* up to here there is room for the sign of a cut too */
	unsigned used = 0, used_fits = 0, width;
	char shown[UTF8_SHOWN_MAX];
	size_t shown_len;

	while (pos < len) {
		size_t n = safe_char(s + pos, len - pos, shown, &shown_len, &width);
		if (used + width > columns)
			break;
		pos += n;
		used += width;
		if (used < columns) {
			fits = pos;
			used_fits = used;
		}
	}
	bool cut = pos < len;
	size_t end = cut ? fits : len;
	for (pos = 0; pos < end;) {
		pos += safe_char(s + pos, len - pos, shown, &shown_len, &width);
		buf_write(out, shown, shown_len);
	}
	if (!cut)
		return used;
	if (columns > 0)
		buf_write_str(out, "…");
	return columns > 0 ? used_fits + 1 : 0;
}

static unsigned columns_of(const char *s, size_t len)
{
	unsigned columns = 0, width;
	char shown[UTF8_SHOWN_MAX];
	size_t shown_len;

	for (size_t pos = 0; pos < len; columns += width)
		pos += safe_char(s + pos, len - pos, shown, &shown_len, &width);
	return columns;
}

unsigned text_safe_middle(struct buf *out, const char *s, size_t len, unsigned columns)
{
	unsigned left = columns_of(s, len), used, width;
	unsigned tail = columns * 2 / 3;
	char shown[UTF8_SHOWN_MAX];
	size_t shown_len, pos = 0;

	if (left <= columns || tail == 0)
		return text_safe(out, s, len, columns);
	for (; left > tail; left -= width)
		pos += safe_char(s + pos, len - pos, shown, &shown_len, &width);
	used = text_safe(out, s, pos, columns - left);
	return used + text_safe(out, s + pos, len - pos, left);
}

void text_pad(struct buf *out, unsigned columns)
{
	while (columns-- > 0)
		buf_write_u8(out, ' ');
}

void text_cell(struct buf *out, const char *s, size_t len, unsigned columns)
{
	text_pad(out, columns - text_safe(out, s, len, columns));
}

void text_right(struct buf *out, const char *s, unsigned columns)
{
	unsigned width = 0;

	for (const char *p = s; *p != '\0'; p++)
		width += ((unsigned char)*p & 0xc0) != 0x80;
	text_pad(out, columns > width ? columns - width : 0);
	buf_write_str(out, s);
}

unsigned percent_of(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (unsigned)((double)part * 100 / (double)whole + 0.5);
}

size_t stage_totals(struct trace *t, const struct trace_span_view *s,
		    struct stage_total ret[TOTALS_MAX])
{
	struct trace_stage_view stage;
	size_t count = 0;

	for (uint32_t i = 0; trace_stage_at(t, s, i, &stage); i++) {
		size_t k = 0;
		while (k < count && ret[k].name != stage.name)
			k++;
		if (k == count) {
			if (count == TOTALS_MAX)
				continue;
			ret[count++] = (struct stage_total){ stage.name, 0 };
		}
		ret[k].ns += stage.duration_ns;
	}
	for (size_t i = 1; i < count; i++) {
		struct stage_total total = ret[i];
		size_t k = i;
		for (; k > 0 && ret[k - 1].ns < total.ns; k--)
			ret[k] = ret[k - 1];
		ret[k] = total;
	}
	return count;
}
