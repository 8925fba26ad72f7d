#include <string.h>

#include "base/err.h"
#include "debug_http/flame.h"

/* From labelled stacks (the grammar stands in profiler/folded.c) to a tree: stacks that begin with
 * the same functions share those nodes. Our own profiler writes the text, yet the names in it are
 * other people's; what does not follow the grammar is refused as a whole. */

enum { FIELDS_MAX = 6, FIRST_CAP = 1024, ORIGINS_SEEN_MAX = 64 };

const char *flame_label_name(enum flame_label_kind kind)
{
	static const char *const names[] = { "category", "task", "thread" };

	return names[kind];
}

static bool text_is(const struct flame_text *t, const char *s)
{
	return strlen(s) == t->len && memcmp(t->p, s, t->len) == 0;
}

static bool texts_equal(const struct flame_text *a, const struct flame_text *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

/* ---- Reading ---- */

/* Digits at the front; false when there are none or the number is beyond max. */
static bool read_number(struct flame_text *t, int64_t max, int64_t *ret)
{
	int64_t v = 0;
	size_t n = 0;

	for (; n < t->len && t->p[n] >= '0' && t->p[n] <= '9'; n++) {
		if (v > (max - (t->p[n] - '0')) / 10)
			return false;
		v = v * 10 + (t->p[n] - '0');
	}
	t->p += n;
	t->len -= n;
	*ret = v;
	return n > 0;
}

/* The fields between tabs; the last one takes the rest. Returns how many. */
static unsigned split(const char *line, size_t len, unsigned max, struct flame_text ret[FIELDS_MAX])
{
	unsigned n = 0;

	for (;;) {
		const char *tab = n + 1 < max ? memchr(line, '\t', len) : NULL;
		size_t part = tab != NULL ? (size_t)(tab - line) : len;

		ret[n++] = (struct flame_text){ line, part };
		if (tab == NULL)
			return n;
		line += part + 1;
		len -= part + 1;
	}
}

/* Room for one more of `size` bytes, zeroed. */
static int grow(void **list, unsigned count, unsigned *cap, unsigned max, size_t size)
{
	unsigned more = *cap > 0 ? MIN(*cap * 2, max) : (unsigned)FIRST_CAP;
	void *grown;

	if (count < *cap)
		return 0;
	if (count == max)
		return ERR_LIMIT;
	grown = mem_realloc(*list, more * size);
	if (grown == NULL)
		return UV_ENOMEM;
	memset((char *)grown + *cap * size, 0, (more - *cap) * size);
	*list = grown;
	*cap = more;
	return 0;
}

static int add_function(struct flame *f, const struct flame_text *fields, unsigned count)
{
	void *list = f->functions;
	int rc = count == 3 ? grow(&list, f->function_count, &f->function_cap, FLAME_FUNCTIONS_MAX,
				   sizeof(*f->functions)) :
			      ERR_MALFORMED;

	f->functions = list;
	if (rc == 0)
		f->functions[f->function_count++] =
			(struct flame_function){ .origin = fields[1], .name = fields[2] };
	return rc;
}

static int take_type(struct flame *f, const struct flame_text *fields, unsigned count)
{
	if (count != 3 || fields[1].len >= sizeof(f->type) || fields[2].len >= sizeof(f->unit))
		return ERR_MALFORMED;
	memcpy(f->type, fields[1].p, fields[1].len);
	memcpy(f->unit, fields[2].p, fields[2].len);
	return 0;
}

/* ---- Labels ---- */

static void count_label(struct flame_labels *labels, const struct flame_text *text, int64_t value)
{
	for (unsigned i = 0; i < labels->count; i++) {
		if (texts_equal(&labels->list[i].text, text)) {
			labels->list[i].value += value;
			return;
		}
	}
	if (labels->count == FLAME_LABELS_MAX)
		labels->others += value;
	else
		labels->list[labels->count++] = (struct flame_label){ *text, value };
}

static bool passes(const struct flame_filter *filter, const struct flame_text *labels)
{
	for (int i = 0; i < FLAME_LABEL_KINDS; i++)
		if (filter->labels[i] != NULL && !text_is(&labels[i], filter->labels[i]))
			return false;
	return true;
}

/* ---- The tree ---- */

/* The child for a function, made where there is none; 0 = no room, or no memory (then *ret_rc). */
static unsigned child_of(struct flame *f, unsigned parent, unsigned function, int *ret_rc)
{
	unsigned i = f->nodes[parent].child;
	void *list = f->nodes;

	for (; i != 0; i = f->nodes[i].next)
		if (f->nodes[i].function == function)
			return i;
	if (f->node_count == FLAME_NODES_MAX)
		return 0;
	*ret_rc = grow(&list, f->node_count, &f->node_cap, FLAME_NODES_MAX, sizeof(*f->nodes));
	f->nodes = list;
	if (*ret_rc < 0)
		return 0;
	f->nodes[f->node_count] =
		(struct flame_node){ .function = function, .next = f->nodes[parent].child };
	f->nodes[parent].child = f->node_count;
	return f->node_count++;
}

static int add_frames(struct flame *f, struct flame_text ids, int64_t value)
{
	unsigned at = 0, depth = 0, number = ++f->stacks;
	struct flame_function *function = NULL;
	bool is_cut = false;
	int rc = 0;

	f->nodes[0].total += value;
	while (ids.len > 0 && rc == 0) {
		int64_t id;
		unsigned below;

		if (!read_number(&ids, INT32_MAX, &id) || id >= f->function_count || ids.len == 0 ||
		    ids.p[0] != ' ')
			return ERR_MALFORMED;
		ids.p++;
		ids.len--;
		function = &f->functions[id];
		function->total += function->seen != number ? value : 0;
		function->seen = number;
		below = !is_cut && depth < FLAME_DEPTH_MAX ? child_of(f, at, (unsigned)id, &rc) : 0;
		is_cut = below == 0;
		if (is_cut)
			continue;
		at = below;
		f->nodes[at].total += value;
		depth++;
	}
	f->nodes[at].self += value;
	f->cut += is_cut ? value : 0;
	f->depth = MAX(f->depth, depth);
	if (function != NULL)
		function->self += value;
	return rc;
}

static int add_stack(struct flame *f, struct flame_text *fields, unsigned count,
		     const struct flame_filter *filter)
{
	int64_t value, room = INT64_MAX / 2 - f->total;

	if (count != FIELDS_MAX || !read_number(&fields[1], INT64_MAX / 4, &value) ||
	    fields[1].len > 0)
		return ERR_MALFORMED;
	if (value > room)
		return ERR_LIMIT;
	for (int i = 0; i < FLAME_LABEL_KINDS; i++)
		count_label(&f->labels[i], &fields[2 + i], value);
	if (!passes(filter, fields + 2))
		return 0;
	f->total += value;
	return add_frames(f, fields[5], value);
}

/* ---- Origins ---- */

static unsigned find_origin(const struct flame_origin *list, unsigned count,
			    const struct flame_text *name)
{
	unsigned i = 0;

	while (i < count && !texts_equal(&list[i].name, name))
		i++;
	return i;
}

static void sort_origins(struct flame_origin *list, unsigned count)
{
	for (unsigned i = 1; i < count; i++) {
		struct flame_origin moved = list[i];
		unsigned at = i;

		for (; at > 0 && list[at - 1].self < moved.self; at--)
			list[at] = list[at - 1];
		list[at] = moved;
	}
}

/* Colours follow the list, so that what did most is told apart best. */
static void colour_functions(struct flame *f)
{
	struct flame_origin all[ORIGINS_SEEN_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < f->function_count; i++) {
		const struct flame_function *function = &f->functions[i];
		unsigned at = find_origin(all, count, &function->origin);

		if (at == ORIGINS_SEEN_MAX)
			continue;
		if (at == count)
			all[count++] = (struct flame_origin){ function->origin, 0 };
		all[at].self += function->self;
	}
	sort_origins(all, count);
	f->origin_count = MIN(count, (unsigned)FLAME_ORIGINS_MAX);
	memcpy(f->origins, all, f->origin_count * sizeof(*all));
	for (unsigned i = 0; i < f->function_count; i++)
		f->functions[i].colour =
			find_origin(f->origins, f->origin_count, &f->functions[i].origin);
}

/* ---- The whole ---- */

static int parse_line(struct flame *f, const char *line, size_t len,
		      const struct flame_filter *filter)
{
	struct flame_text fields[FIELDS_MAX];
	unsigned count;

	if (len < 2 || line[1] != '\t')
		return ERR_MALFORMED;
	count = split(line, len, line[0] == 'S' ? FIELDS_MAX : 3, fields);
	switch (line[0]) {
	case 'V': return take_type(f, fields, count);
	case 'F': return add_function(f, fields, count);
	case 'S': return add_stack(f, fields, count, filter);
	default: return ERR_MALFORMED;
	}
}

int flame_parse(struct flame *f, const char *text, size_t len, const struct flame_filter *filter)
{
	void *list = NULL;
	int rc;

	*f = (struct flame){ 0 };
	rc = grow(&list, 0, &f->node_cap, FLAME_NODES_MAX, sizeof(*f->nodes));
	f->nodes = list;
	f->node_count = 1;
	while (len > 0 && rc == 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end != NULL ? (size_t)(end - text) : len;

		rc = parse_line(f, text, n, filter);
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
	if (rc < 0)
		flame_fini(f);
	else
		colour_functions(f);
	return rc;
}

void flame_fini(struct flame *f)
{
	mem_free(f->functions);
	mem_free(f->nodes);
	*f = (struct flame){ 0 };
}
