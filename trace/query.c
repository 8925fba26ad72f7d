/* Query parameters. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "trace/store.h"
#include "trace/text.h"

enum { LIMIT_MAX = 250, TEXT_MAX = 255, YEAR_MIN = 1970, YEAR_MAX = 2200 };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static int refuse(char *ret_why, size_t why_size, const char *why)
{
	if (why_size > 0)
		snprintf(ret_why, why_size, "%s", why);
	return ERR_MALFORMED;
}

static int set_bool(bool *ret, const char *value, char *ret_why, size_t why_size)
{
	static const char *const yes[] = { "", "1", "true", "yes", "on" };
	static const char *const no[] = { "0", "false", "no", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		if (strcmp(value, yes[i]) == 0) {
			*ret = true;
			return 0;
		}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		if (strcmp(value, no[i]) == 0) {
			*ret = false;
			return 0;
		}
	return refuse(ret_why, why_size,
		      "active, finished, errored, cancelled and success take true or false");
}

static const char *duration_unit(const char *p, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "ns", 1 },
		      { "us", 1000 },
		      { "µs", 1000 },
		      { "μs", 1000 },
		      { "ms", NS_PER_MS },
		      { "s", NS_PER_SEC },
		      { "m", 60 * NS_PER_SEC },
		      { "h", 3600 * NS_PER_SEC } };

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i].name);
		if (strncmp(p, units[i].name, len) == 0) {
			*ret_ns = units[i].ns;
			return p + len;
		}
	}
	return NULL;
}

/* One number with its unit, as in Go: "1.5s", "300ms". NULL when malformed or too large. */
static const char *duration_term(const char *p, uint64_t *sum_ns)
{
	uint64_t whole = 0, fraction = 0, scale = 1, unit, term;
	bool any = false;

	for (; *p >= '0' && *p <= '9'; p++, any = true)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return NULL;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++, any = true)
			if (scale < 1000000) {
				fraction = fraction * 10 + (uint64_t)(*p - '0');
				scale *= 10;
			}
	p = any ? duration_unit(p, &unit) : NULL;
	if (p == NULL || __builtin_mul_overflow(whole, unit, &term) ||
	    __builtin_add_overflow(*sum_ns, term, sum_ns) ||
	    __builtin_add_overflow(*sum_ns, fraction * unit / scale, sum_ns))
		return NULL;
	return p;
}

static int set_duration(uint64_t *ret, const char *value, char *ret_why, size_t why_size)
{
	uint64_t sum = 0;

	for (const char *p = value; *p != '\0';) {
		p = duration_term(p, &sum);
		if (p == NULL)
			return refuse(ret_why, why_size,
				      "min and max take a duration such as 250ms, 1.5s or 2m30s");
	}
	*ret = sum;
	return 0;
}

/* Nothing is 0. */
static bool read_number(uint32_t *ret, const char *value, uint32_t least, uint32_t most)
{
	uint32_t n = 0;
	const char *p = value;

	for (; *p >= '0' && *p <= '9' && n <= most; p++)
		n = n * 10 + (uint32_t)(*p - '0');
	if (*p != '\0' || (*value != '\0' && (n < least || n > most)))
		return false;
	*ret = n;
	return true;
}

static int set_limit(uint32_t *ret, const char *value, char *ret_why, size_t why_size)
{
	return read_number(ret, value, 1, LIMIT_MAX) ?
		       0 :
		       refuse(ret_why, why_size, "n takes a number from 1 to 250");
}

static int set_columns(uint32_t *ret, const char *value, char *ret_why, size_t why_size)
{
	if (strcmp(value, "whole") == 0) {
		*ret = TEXT_COLUMNS_WHOLE;
		return 0;
	}
	return read_number(ret, value, TRACE_TEXT_COLUMNS, TRACE_TEXT_COLUMNS_MAX) ?
		       0 :
		       refuse(ret_why, why_size, "columns takes a number from 80 to 400, or whole");
}

/* Several are alternatives. */
static int set_id(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	char digits[TRACE_ID_HEX_SIZE];
	uint8_t id[sizeof(q->id)];

	if (*value == '\0') {
		q->has_id = false;
		q->more_id_count = 0;
		return 0;
	}
	size_t len = strnlen(value, sizeof(digits));
	for (size_t i = 0; i < len && i < sizeof(digits); i++)
		digits[i] = lower(value[i]);
	if (len != TRACE_ID_HEX_SIZE - 1 || !hex_read(digits, id, sizeof(id)))
		return refuse(ret_why, why_size,
			      "id takes the 32 hexadecimal digits of a trace id");
	if (q->has_id && q->more_id_count == ARRAY_SIZE(q->more_ids))
		return refuse(ret_why, why_size, "at most 16 ids");
	memcpy(q->has_id ? q->more_ids[q->more_id_count++] : q->id, id, sizeof(id));
	q->has_id = true;
	return 0;
}

static int set_begins(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	char digits[TRACE_ID_HEX_SIZE] = "00000000000000000000000000000000";
	size_t len = strnlen(value, TRACE_ID_HEX_SIZE);
	uint8_t id[sizeof(q->begins)];

	for (size_t i = 0; i < len && i < sizeof(digits) - 1; i++)
		digits[i] = lower(value[i]);
	if (len >= TRACE_ID_HEX_SIZE || !hex_read(digits, id, sizeof(id)))
		return refuse(ret_why, why_size,
			      "begins takes the first of the 32 hexadecimal digits of a trace id");
	memcpy(q->begins, id, sizeof(id));
	q->begins_digits = (uint32_t)len;
	return 0;
}

/* Fixed-width decimal digits; -1 if there are others. */
static int digits(const char *p, int count)
{
	int v = 0;

	for (; count > 0; count--, p++) {
		if (*p < '0' || *p > '9')
			return -1;
		v = v * 10 + (*p - '0');
	}
	return v;
}

/* What follows the seconds of a time: a fraction, then Z or an offset. */
static bool parse_zone(const char *p, uint64_t *ret_fraction_ns, int64_t *ret_offset_s)
{
	uint64_t unit = NS_PER_SEC;

	*ret_fraction_ns = 0;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++) {
			unit /= 10;
			*ret_fraction_ns += (uint64_t)(*p - '0') * unit;
		}
	if ((*p == 'Z' || *p == 'z') && p[1] == '\0') {
		*ret_offset_s = 0;
		return true;
	}
	/* A plus sign may have become a space in a URL. */
	if (strnlen(p, 7) != 6 || (*p != '+' && *p != '-' && *p != ' ') || p[3] != ':')
		return false;
	int hours = digits(p + 1, 2), minutes = digits(p + 4, 2);
	*ret_offset_s = (hours * 60 + minutes) * (*p == '-' ? -60 : 60);
	return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/* RFC 3339. */
static bool parse_time(const char *p, uint64_t *ret_ns)
{
	uint64_t fraction_ns;
	int64_t offset_s;

	if (strnlen(p, 20) < 20 || p[4] != '-' || p[7] != '-' ||
	    (p[10] != 'T' && p[10] != 't' && p[10] != ' ') || p[13] != ':' || p[16] != ':')
		return false;
	struct tm tm = { .tm_year = digits(p, 4) - 1900,
			 .tm_mon = digits(p + 5, 2) - 1,
			 .tm_mday = digits(p + 8, 2),
			 .tm_hour = digits(p + 11, 2),
			 .tm_min = digits(p + 14, 2),
			 .tm_sec = digits(p + 17, 2) };
	if (tm.tm_year < YEAR_MIN - 1900 || tm.tm_year > YEAR_MAX - 1900 || tm.tm_mon < 0 ||
	    tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0 ||
	    tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return false;
	if (!parse_zone(p + 19, &fraction_ns, &offset_s))
		return false;
	int64_t seconds = timegm(&tm) - offset_s;
	*ret_ns = seconds < 0 ? 1 : (uint64_t)seconds * NS_PER_SEC + fraction_ns;
	return true;
}

static int set_time(uint64_t *ret_wall_ns, uint64_t *ret_ago_ns, const char *value, char *ret_why,
		    size_t why_size)
{
	uint64_t wall_ns = 0, ago_ns = 0;

	if (*value != '\0' && !parse_time(value, &wall_ns) &&
	    (set_duration(&ago_ns, value, NULL, 0) != 0 || ago_ns == 0))
		return refuse(ret_why, why_size,
			      "since and until take a duration back from now such as 15m, or a "
			      "time such as 2026-01-31T12:00:00Z");
	*ret_wall_ns = wall_ns;
	*ret_ago_ns = ago_ns;
	return 0;
}

static int set_attr(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	if (*value == '\0') {
		q->attr_count = 0;
		return 0;
	}
	if (*value == ':' || strnlen(value, TEXT_MAX + 1) > TEXT_MAX)
		return refuse(ret_why, why_size,
			      "attr takes key or key:value of at most 255 bytes");
	if (q->attr_count == TRACE_QUERY_ATTRS_MAX)
		return refuse(ret_why, why_size, "at most 4 attributes");
	q->attrs[q->attr_count++] = value;
	return 0;
}

static int set_stage(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	const char *colon = strchr(value, ':');
	uint64_t min_ns = 0;

	if (*value == '\0') {
		q->stage_count = 0;
		return 0;
	}
	if (*value == ':' || strnlen(value, TEXT_MAX + 1) > TEXT_MAX ||
	    (colon != NULL && (colon[1] == '\0' || set_duration(&min_ns, colon + 1, NULL, 0) != 0)))
		return refuse(ret_why, why_size,
			      "stage takes a name, or a name and a duration such as dial:250ms");
	if (q->stage_count == TRACE_QUERY_STAGES_MAX)
		return refuse(ret_why, why_size, "at most 4 stages");
	q->stages[q->stage_count].name = value;
	q->stages[q->stage_count].name_len = colon != NULL ? (size_t)(colon - value) :
							     strlen(value);
	q->stages[q->stage_count++].min_ns = min_ns;
	return 0;
}

static int set_cursor(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	struct trace_cursor c = { 0 };
	const char *sorts = "nso", *sort = *value != '\0' ? strchr(sorts, *value) : NULL;
	uint64_t *const words[] = { &c.as_of_ns, &c.key, &c.tie };
	uint8_t bytes[8];

	if (*value == '\0') {
		q->has_cursor = false;
		return 0;
	}
	if (sort == NULL || strnlen(value, TRACE_CURSOR_SIZE) != 49)
		return refuse(ret_why, why_size,
			      "cursor takes what an earlier answer gave as next");
	c.sort = (enum trace_sort)(sort - sorts);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!hex_read(value + 1 + 16 * i, bytes, sizeof(bytes)))
			return refuse(ret_why, why_size,
				      "cursor takes what an earlier answer gave as next");
		for (size_t k = 0; k < sizeof(bytes); k++)
			*words[i] = *words[i] << 8 | bytes[k];
	}
	q->cursor = c;
	q->has_cursor = true;
	return 0;
}

static int set_text(const char **ret, const char *value, char *ret_why, size_t why_size)
{
	if (strnlen(value, TEXT_MAX + 1) > TEXT_MAX)
		return refuse(ret_why, why_size, "category and q take at most 255 bytes");
	*ret = *value != '\0' ? value : NULL;
	return 0;
}

static int set_sort(enum trace_sort *ret, const char *value, char *ret_why, size_t why_size)
{
	if (strcmp(value, "slowest") == 0)
		*ret = TRACE_SORT_SLOWEST;
	else if (strcmp(value, "oldest") == 0)
		*ret = TRACE_SORT_OLDEST;
	else if (strcmp(value, "newest") == 0 || *value == '\0')
		*ret = TRACE_SORT_NEWEST;
	else
		return refuse(ret_why, why_size, "sort takes newest, slowest or oldest");
	return 0;
}

static int set_flag(struct trace_query *q, const char *key, const char *value, char *ret_why,
		    size_t why_size)
{
	const struct {
		const char *key;
		bool *flag;
	} flags[] = { { "active", &q->active },
		      { "finished", &q->finished },
		      { "errored", &q->errored },
		      { "cancelled", &q->cancelled },
		      { "success", &q->success } };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strcmp(key, flags[i].key) == 0)
			return set_bool(flags[i].flag, value, ret_why, why_size);
	return ERR_NOT_FOUND;
}

int trace_query_set(struct trace_query *q, const char *key, const char *value, char *ret_why,
		    size_t why_size)
{
	if (strcmp(key, "category") == 0)
		return set_text(&q->category, value, ret_why, why_size);
	if (strcmp(key, "q") == 0 || strcmp(key, "text") == 0)
		return set_text(&q->text, value, ret_why, why_size);
	if (strcmp(key, "id") == 0)
		return set_id(q, value, ret_why, why_size);
	if (strcmp(key, "begins") == 0)
		return set_begins(q, value, ret_why, why_size);
	if (strcmp(key, "min") == 0)
		return set_duration(&q->min_ns, value, ret_why, why_size);
	if (strcmp(key, "max") == 0)
		return set_duration(&q->max_ns, value, ret_why, why_size);
	if (strcmp(key, "since") == 0)
		return set_time(&q->since_wall_ns, &q->since_ago_ns, value, ret_why, why_size);
	if (strcmp(key, "until") == 0)
		return set_time(&q->until_wall_ns, &q->until_ago_ns, value, ret_why, why_size);
	if (strcmp(key, "attr") == 0)
		return set_attr(q, value, ret_why, why_size);
	if (strcmp(key, "stage") == 0)
		return set_stage(q, value, ret_why, why_size);
	if (strcmp(key, "n") == 0 || strcmp(key, "limit") == 0)
		return set_limit(&q->limit, value, ret_why, why_size);
	if (strcmp(key, "columns") == 0)
		return set_columns(&q->columns, value, ret_why, why_size);
	if (strcmp(key, "sort") == 0)
		return set_sort(&q->sort, value, ret_why, why_size);
	if (strcmp(key, "cursor") == 0)
		return set_cursor(q, value, ret_why, why_size);
	return set_flag(q, key, value, ret_why, why_size);
}
