/* Finding roots.
 *
 * A search looks at every root once: first at what is in its node, then, for a text, at all that
 * its spans were told. The text is found in the formatted marks, so that a match may span literal
 * and argument; marks without arguments are searched in place. The cost is linear in what is
 * stored, whatever the pattern: there are no patterns. */
#include <limits.h>
#include <stdio.h>

#include "base/err.h"
#include "trace/store.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 250, NEEDLE_MAX = 256 };

struct needle {
	char text[NEEDLE_MAX]; /* lower case */
	size_t len;
};

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool contains(const struct needle *needle, const char *s, size_t len)
{
	char first = needle->text[0];

	for (size_t i = 0; i + needle->len <= len; i++) {
		size_t k = 1;
		if (lower(s[i]) != first)
			continue;
		while (k < needle->len && lower(s[i + k]) == needle->text[k])
			k++;
		if (k == needle->len)
			return true;
	}
	return false;
}

static bool contains_number(const struct needle *needle, int64_t v)
{
	char text[24];

	return contains(needle, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v));
}

static bool part_matches(struct trace *t, const struct needle *needle, const struct part *p)
{
	const struct mark_part *m = (const void *)p;
	const struct attr_part *a = (const void *)p;
	UNINITIALIZED char text[MARK_FORMATTED_MAX];

	switch ((enum part_type)p->type) {
	case PART_MARK:
	case PART_ERROR_MARK:
		if (mark_is_literal(t, m))
			return contains(needle, m->fmt, strlen(m->fmt));
		return contains(needle, text, mark_format(t, m, text, sizeof(text)));
	case PART_ATTR_STR:
		return contains(needle, (const char *)a + ATTR_TEXT_OFFSET, p->value) ||
		       contains(needle, a->key, strlen(a->key));
	case PART_ATTR_INT:
		return contains_number(needle, a->num) || contains(needle, a->key, strlen(a->key));
	case PART_ATTR_BOOL: return contains(needle, a->key, strlen(a->key));
	case PART_END:
	case PART_DEAD:
	case PART_TITLE:
	case PART_STAGE:
	case PART_LINK: break;
	}
	return false;
}

static bool tree_contains(struct trace *t, const struct node *root, const struct needle *needle)
{
	const struct part *p;
	UNINITIALIZED struct part_iter it;

	for (const struct node *n = root; n != NULL; n = tree_next(t, n)) {
		if (contains(needle, node_title(t, n), n->title_len) ||
		    contains(needle, n->outcome, strlen(n->outcome)))
			return true;
		part_iter_init(&it, t, n);
		while ((p = part_next(&it)) != NULL)
			if (part_matches(t, needle, p))
				return true;
	}
	return false;
}

struct search {
	struct trace *t;
	const struct trace_query *q;
	struct needle needle;
	uint64_t now_ns;
	uint64_t category_mask;
	uint32_t *roots; /* best first */
	size_t count, cap;
	uint64_t matched, total;
};

/* Cheap conditions first: the text is looked for last. */
static bool matches(struct search *s, const struct node *root)
{
	const struct trace_query *q = s->q;
	bool active = root->tree.open_count > 0;
	bool errored = root->status != 0;
	uint64_t duration = node_duration_ns(root, s->now_ns);

	if (!(root->tree.category_mask & s->category_mask))
		return false;
	if ((q->active && !active) || (q->finished && active) || (q->errored && !errored) ||
	    (q->success && errored))
		return false;
	if (duration < q->min_ns || (q->max_ns != 0 && duration > q->max_ns))
		return false;
	if (q->has_id && memcmp(q->id, root->tree.trace_id, sizeof(q->id)) != 0)
		return false;
	return s->needle.len == 0 || tree_contains(s->t, root, &s->needle);
}

static bool goes_before(const struct search *s, const struct node *a, const struct node *b)
{
	/* Roots of one trace: in the order things happened, the one that asked before the one that
	 * served. */
	if (s->q->has_id && a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns;
	if (s->q->has_id)
		return (a->flags & NODE_REMOTE_PARENT) < (b->flags & NODE_REMOTE_PARENT);
	uint64_t a_key = a->start_ns, b_key = b->start_ns;
	if (s->q->sort == TRACE_SORT_SLOWEST) {
		a_key = node_duration_ns(a, s->now_ns);
		b_key = node_duration_ns(b, s->now_ns);
	}
	return a_key != b_key ? a_key > b_key : a->span_id < b->span_id;
}

static void consider(void *data, struct node *root)
{
	struct search *s = data;

	s->total++;
	if (!matches(s, root))
		return;
	s->matched++;
	size_t i = s->count;
	while (i > 0 && goes_before(s, root, node_at(s->t, s->roots[i - 1])))
		i--;
	if (i == s->cap)
		return;
	if (s->count < s->cap)
		s->count++;
	memmove(&s->roots[i + 1], &s->roots[i], (s->count - i - 1) * sizeof(*s->roots));
	s->roots[i] = node_slot(s->t, root);
}

static uint64_t category_mask(struct trace *t, const char *category)
{
	if (category == NULL)
		return UINT64_MAX;
	for (uint32_t i = 0; i < t->categories.count; i++)
		if (strcmp(t->categories.text[i], category) == 0)
			return UINT64_C(1) << i;
	return 0;
}

size_t trace_search(struct trace *t, const struct trace_query *q, uint32_t *ret_roots, size_t cap,
		    uint64_t *ret_matched, uint64_t *ret_total)
{
	struct search s = { .t = t, .q = q, .roots = ret_roots };

	s.now_ns = clock_now_ns(t->clock);
	s.cap = MIN(cap, q->limit == 0 ? LIMIT_DEFAULT : MIN(q->limit, (uint32_t)LIMIT_MAX));
	s.category_mask = category_mask(t, q->category);
	if (q->text != NULL) {
		s.needle.len = strnlen(q->text, NEEDLE_MAX);
		for (size_t i = 0; i < s.needle.len; i++)
			s.needle.text[i] = lower(q->text[i]);
	}
	retain_each(t, consider, &s);
	if (ret_matched != NULL)
		*ret_matched = s.matched;
	if (ret_total != NULL)
		*ret_total = s.total;
	return s.count;
}

/* ---- Parameters ---- */

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
		      "active, finished, errored and success take true or false");
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

static int set_limit(uint32_t *ret, const char *value, char *ret_why, size_t why_size)
{
	uint32_t n = 0;
	const char *p = value;

	for (; *p >= '0' && *p <= '9' && n <= LIMIT_MAX; p++)
		n = n * 10 + (uint32_t)(*p - '0');
	if (*p != '\0' || (*value != '\0' && n == 0) || n > LIMIT_MAX)
		return refuse(ret_why, why_size, "n takes a number from 1 to 250");
	*ret = n;
	return 0;
}

static int set_id(struct trace_query *q, const char *value, char *ret_why, size_t why_size)
{
	char digits[TRACE_ID_HEX_SIZE];
	uint8_t id[sizeof(q->id)];

	if (*value == '\0') {
		q->has_id = false;
		return 0;
	}
	size_t len = strnlen(value, sizeof(digits));
	for (size_t i = 0; i < len && i < sizeof(digits); i++)
		digits[i] = lower(value[i]);
	if (len != TRACE_ID_HEX_SIZE - 1 || !hex_read(digits, id, sizeof(id)))
		return refuse(ret_why, why_size,
			      "id takes the 32 hexadecimal digits of a trace id");
	memcpy(q->id, id, sizeof(id));
	q->has_id = true;
	return 0;
}

static int set_text(const char **ret, const char *value, char *ret_why, size_t why_size)
{
	if (strnlen(value, NEEDLE_MAX + 1) > NEEDLE_MAX)
		return refuse(ret_why, why_size, "category and q take at most 256 bytes");
	*ret = *value != '\0' ? value : NULL;
	return 0;
}

static int set_sort(enum trace_sort *ret, const char *value, char *ret_why, size_t why_size)
{
	if (strcmp(value, "slowest") == 0)
		*ret = TRACE_SORT_SLOWEST;
	else if (strcmp(value, "newest") == 0 || *value == '\0')
		*ret = TRACE_SORT_NEWEST;
	else
		return refuse(ret_why, why_size, "sort takes newest or slowest");
	return 0;
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
	if (strcmp(key, "active") == 0)
		return set_bool(&q->active, value, ret_why, why_size);
	if (strcmp(key, "finished") == 0)
		return set_bool(&q->finished, value, ret_why, why_size);
	if (strcmp(key, "errored") == 0)
		return set_bool(&q->errored, value, ret_why, why_size);
	if (strcmp(key, "success") == 0)
		return set_bool(&q->success, value, ret_why, why_size);
	if (strcmp(key, "min") == 0)
		return set_duration(&q->min_ns, value, ret_why, why_size);
	if (strcmp(key, "max") == 0)
		return set_duration(&q->max_ns, value, ret_why, why_size);
	if (strcmp(key, "n") == 0 || strcmp(key, "limit") == 0)
		return set_limit(&q->limit, value, ret_why, why_size);
	if (strcmp(key, "sort") == 0)
		return set_sort(&q->sort, value, ret_why, why_size);
	return ERR_NOT_FOUND;
}
