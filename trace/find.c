/* Finding roots.
 *
 * A search goes once over the cells and looks at every root: first at what is in its node, then,
 * where the query asks for it, at all that its spans were told. It can be left after any span and
 * be gone on with later, since it goes by cell numbers: those neither move nor vanish, and a root
 * whose cell was taken by another one meanwhile is younger than the search, or known by its
 * generation.
 *
 * Text is found in the formatted marks, so that a match may span literal and argument; marks
 * without arguments are searched in place. The needle falls back in itself (Knuth, Morris, Pratt),
 * so every byte is looked at a bounded number of times, whatever the needle. */
#include <inttypes.h>
#include <stdio.h>

#include "trace/store.h"

enum {
	LIMIT_DEFAULT = 20,
	/* What a step may cost, in units of about 10 ns. */
	STEP_COST = 35000,
	COST_ROOT = 1,
	COST_SPAN = 8,
	COST_PART = 3,
	COST_FORMAT = 10,
	BYTES_PER_COST = 8,
	STAGE_UNKNOWN = 0xff
};

/* Conditions that only the parts of the spans can tell. */
enum { UNMET_TEXT = 1, UNMET_ATTR = 2, UNMET_STAGE = UNMET_ATTR << TRACE_QUERY_ATTRS_MAX };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* ---- The text ---- */

static void needle_init(struct trace_find *f, const char *text)
{
	size_t len = text == NULL ? 0 : strnlen(text, sizeof(f->needle.text) - 1);

	f->needle.len = len;
	for (size_t i = 0; i < len; i++)
		f->needle.text[i] = lower(text[i]);
	/* fallback[i]: how much of the needle's front its first i + 1 bytes end with. */
	f->needle.fallback[0] = 0;
	for (size_t i = 1, k = 0; i < len; i++) {
		while (k > 0 && f->needle.text[i] != f->needle.text[k])
			k = f->needle.fallback[k - 1];
		k += f->needle.text[i] == f->needle.text[k];
		f->needle.fallback[i] = (uint8_t)k;
	}
}

static bool contains(const struct trace_find *f, const char *s, size_t len)
{
	const char *needle = f->needle.text;
	char first = needle[0];
	size_t matched = 0, last = f->needle.len;

	for (size_t i = 0; i < len; i++) {
		char c = lower(s[i]);
		if (matched == 0) {
			if (c != first)
				continue;
			matched = 1;
		} else {
			while (matched > 0 && c != needle[matched])
				matched = f->needle.fallback[matched - 1];
			matched += c == needle[matched];
		}
		if (matched == last)
			return true;
	}
	return false;
}

static bool attr_contains(const struct trace_find *f, const struct attr_part *a)
{
	char number[24];

	if (contains(f, a->key, strlen(a->key)))
		return true;
	if (a->part.type == PART_ATTR_STR)
		return contains(f, (const char *)a + ATTR_TEXT_OFFSET, a->part.value);
	return a->part.type == PART_ATTR_INT &&
	       contains(f, number, (size_t)snprintf(number, sizeof(number), "%" PRId64, a->num));
}

static bool mark_contains(const struct trace_find *f, const struct mark_part *m, int64_t *left)
{
	UNINITIALIZED char text[MARK_FORMATTED_MAX];
	size_t len;

	if (mark_is_literal(f->t, m)) {
		len = strlen(m->fmt);
		*left -= (int64_t)len / BYTES_PER_COST;
		return contains(f, m->fmt, len);
	}
	len = mark_format(f->t, m, text, sizeof(text));
	*left -= COST_FORMAT + (int64_t)len / BYTES_PER_COST;
	return contains(f, text, len);
}

/* ---- Attributes and stages ---- */

static bool attr_matches(const char *wanted, const struct attr_part *a)
{
	const char *colon = strchr(wanted, ':');
	size_t key_len = colon != NULL ? (size_t)(colon - wanted) : strlen(wanted);
	char number[24];

	if (strlen(a->key) != key_len || memcmp(a->key, wanted, key_len) != 0)
		return false;
	if (colon == NULL)
		return true;
	if (a->part.type == PART_ATTR_STR)
		return strlen(colon + 1) == a->part.value &&
		       memcmp(colon + 1, (const char *)a + ATTR_TEXT_OFFSET, a->part.value) == 0;
	if (a->part.type == PART_ATTR_BOOL)
		return strcmp(colon + 1, a->num ? "true" : "false") == 0;
	(void)snprintf(number, sizeof(number), "%" PRId64, a->num);
	return strcmp(colon + 1, number) == 0;
}

static bool stage_matches(const struct trace_find *f, const struct node *n, uint32_t i,
			  uint64_t listed_ns)
{
	uint8_t id = f->stage_ids[i];
	uint64_t ns = listed_ns, until = n->start_ns + node_duration_ns(n, f->as_of_ns);

	if (id == STAGE_UNKNOWN)
		return false;
	ns += stage_folded_ns(f->t, n, id);
	if (n->stage == id && until > n->stage_since_ns)
		ns += until - n->stage_since_ns;
	return ns > 0 && ns >= f->q.stages[i].min_ns;
}

/* ---- One span ---- */

static void look_at_part(struct trace_find *f, const struct part *p, int64_t *left)
{
	const struct attr_part *a = (const void *)p;

	switch ((enum part_type)p->type) {
	case PART_MARK:
	case PART_ERROR_MARK:
		if ((f->unmet & UNMET_TEXT) && mark_contains(f, (const void *)p, left))
			f->unmet &= ~(uint32_t)UNMET_TEXT;
		break;
	case PART_ATTR_STR:
	case PART_ATTR_INT:
	case PART_ATTR_BOOL:
		if ((f->unmet & UNMET_TEXT) && attr_contains(f, a))
			f->unmet &= ~(uint32_t)UNMET_TEXT;
		for (uint32_t i = 0; i < f->q.attr_count; i++)
			if (attr_matches(f->q.attrs[i], a))
				f->unmet &= ~((uint32_t)UNMET_ATTR << i);
		break;
	case PART_END:
	case PART_DEAD:
	case PART_TITLE:
	case PART_STAGE:
	case PART_LINK: break;
	}
}

static void look_at_span(struct trace_find *f, const struct node *n, int64_t *left)
{
	uint64_t stage_ns[TRACE_QUERY_STAGES_MAX] = { 0 };
	UNINITIALIZED struct part_iter it;
	uint32_t listed = n->stage_count;
	const struct part *p;

	*left -= COST_SPAN;
	if ((f->unmet & UNMET_TEXT) && (contains(f, node_title(f->t, n), n->title_len) ||
					contains(f, n->outcome, strlen(n->outcome))))
		f->unmet &= ~(uint32_t)UNMET_TEXT;
	part_iter_init(&it, f->t, n);
	while (f->unmet != 0 && (p = part_next(&it)) != NULL) {
		*left -= COST_PART;
		if (p->type != PART_STAGE) {
			look_at_part(f, p, left);
			continue;
		}
		/* The last one may go on as the current one, which knows all of its time. */
		if (listed == 0)
			continue;
		listed--;
		const struct stage_part *stage = (const void *)p;
		for (uint32_t i = 0; i < f->q.stage_count; i++)
			if (p->id == f->stage_ids[i])
				stage_ns[i] += stage->duration_ns;
	}
	for (uint32_t i = 0; i < f->q.stage_count; i++)
		if (stage_matches(f, n, i, stage_ns[i]))
			f->unmet &= ~((uint32_t)UNMET_STAGE << i);
}

/* ---- One root ---- */

static uint64_t duration_as_of(const struct trace_find *f, const struct node *root)
{
	bool ended = !(root->flags & NODE_OPEN) && root->end_ns <= f->as_of_ns;

	return (ended ? root->end_ns : MAX(f->as_of_ns, root->start_ns)) - root->start_ns;
}

static bool id_matches(const struct trace_query *q, const struct node *root)
{
	if (memcmp(q->id, root->tree.trace_id, sizeof(q->id)) == 0)
		return true;
	for (uint32_t i = 0; i < q->more_id_count; i++)
		if (memcmp(q->more_ids[i], root->tree.trace_id, sizeof(q->id)) == 0)
			return true;
	return false;
}

static bool id_begins(const struct trace_query *q, const struct node *root)
{
	const uint8_t *id = (const uint8_t *)root->tree.trace_id;
	uint32_t whole = q->begins_digits / 2;

	return memcmp(id, q->begins, whole) == 0 &&
	       (q->begins_digits % 2 == 0 || ((id[whole] ^ q->begins[whole]) & 0xf0) == 0);
}

/* What the root's node can tell. */
static bool head_matches(const struct trace_find *f, const struct node *root)
{
	const struct trace_query *q = &f->q;
	bool active = root->tree.open_count > 0, errored = root->status != 0;
	bool failed = errored || (root->flags & NODE_FAILED_BELOW);
	uint64_t duration = duration_as_of(f, root);

	if (!(root->tree.category_mask & f->category_mask))
		return false;
	if ((q->active && !active) || (q->finished && active) || (q->errored && !failed) ||
	    (q->success && errored) ||
	    (q->cancelled && status_class(root->status) != SAMPLE_CANCELLED))
		return false;
	if (duration < q->min_ns || (q->max_ns != 0 && duration > q->max_ns))
		return false;
	if (root->start_ns >= f->until_ns || (!active && root->start_ns + duration < f->since_ns))
		return false;
	return (!q->has_id || id_matches(q, root)) && id_begins(q, root);
}

/* Smaller keys come first. */
static struct trace_found place_of(const struct trace_find *f, const struct node *root)
{
	struct trace_found r = { node_slot(f->t, root), root->generation, root->start_ns,
				 root->span_id };

	if (f->q.has_id && f->q.more_id_count == 0)
		/* The one that asked before the one that served. */
		r.tie = r.tie >> 1 | (uint64_t)((root->flags & NODE_REMOTE_PARENT) != 0) << 63;
	else if (f->q.sort == TRACE_SORT_NEWEST)
		r.key = ~root->start_ns;
	else if (f->q.sort == TRACE_SORT_SLOWEST)
		r.key = ~duration_as_of(f, root);
	return r;
}

static bool goes_before(const struct trace_found *a, uint64_t key, uint64_t tie)
{
	return a->key != key ? a->key < key : a->tie < tie;
}

static void take(struct trace_find *f, const struct node *root, int64_t *left)
{
	struct trace_found r = place_of(f, root);
	const struct trace_cursor *c = &f->q.cursor;
	uint32_t i = f->count;

	f->matched++;
	if (f->q.has_cursor &&
	    (goes_before(&r, c->key, c->tie) || (r.key == c->key && r.tie == c->tie)))
		return;
	f->after_cursor++;
	if (i == f->cap && !goes_before(&r, f->found[i - 1].key, f->found[i - 1].tie))
		return;
	if (f->count < f->cap)
		f->count++;
	else
		i--;
	while (i > 0 && goes_before(&r, f->found[i - 1].key, f->found[i - 1].tie))
		i--;
	memmove(&f->found[i + 1], &f->found[i], (f->count - i - 1) * sizeof(f->found[0]));
	f->found[i] = r;
	*left -= f->count - i;
}

static uint32_t deep_conditions(const struct trace_find *f)
{
	uint32_t unmet = f->needle.len > 0 ? UNMET_TEXT : 0;

	unmet |= ((UINT32_C(1) << f->q.attr_count) - 1) * UNMET_ATTR;
	return unmet | ((UINT32_C(1) << f->q.stage_count) - 1) * UNMET_STAGE;
}

/* ---- Steps ---- */

static uint64_t category_mask(struct trace *t, const char *category)
{
	if (category == NULL)
		return UINT64_MAX;
	for (uint32_t i = 0; i < t->categories.count; i++)
		if (strcmp(t->categories.text[i], category) == 0)
			return UINT64_C(1) << i;
	return 0;
}

static uint8_t stage_id(struct trace *t, const char *name, size_t len)
{
	for (uint32_t i = 0; i < t->stages.count; i++)
		if (strlen(t->stages.text[i]) == len && memcmp(t->stages.text[i], name, len) == 0)
			return (uint8_t)i;
	return STAGE_UNKNOWN;
}

/* A bound on the monotonic clock. */
static uint64_t bound_ns(const struct trace_find *f, uint64_t wall_ns, uint64_t ago_ns,
			 uint64_t none)
{
	if (ago_ns != 0)
		return f->as_of_ns - MIN(ago_ns, f->as_of_ns);
	if (wall_ns == 0)
		return none;
	if (wall_ns >= f->as_of_wall_ns)
		return f->as_of_ns + MIN(wall_ns - f->as_of_wall_ns, UINT64_MAX - f->as_of_ns);
	return f->as_of_ns - MIN(f->as_of_wall_ns - wall_ns, f->as_of_ns);
}

void trace_find_begin(struct trace_find *f, struct trace *t, const struct trace_query *q)
{
	f->t = t;
	f->q = *q;
	f->matched = f->total = f->after_cursor = 0;
	f->as_of_ns = trace_now_ns(t);
	f->as_of_wall_ns = clock_wall_ns(t->clock);
	f->since_ns = bound_ns(f, q->since_wall_ns, q->since_ago_ns, 0);
	f->until_ns = bound_ns(f, q->until_wall_ns, q->until_ago_ns, UINT64_MAX);
	if (q->has_cursor) {
		f->q.sort = q->cursor.sort;
		f->as_of_ns = MIN(q->cursor.as_of_ns, f->as_of_ns);
	}
	f->category_mask = category_mask(t, q->category);
	for (uint32_t i = 0; i < q->stage_count; i++)
		f->stage_ids[i] = stage_id(t, q->stages[i].name, q->stages[i].name_len);
	needle_init(f, q->text);
	f->root = (struct span){ 0 };
	f->count = 0;
	f->cap = q->limit == 0 ? LIMIT_DEFAULT : MIN(q->limit, (uint32_t)ARRAY_SIZE(f->found));
	/* Downwards from the newest root: cells are reused in turn, so that newer roots mostly come
	 * before older ones and few of those found have to move. */
	f->high = t->cell_high;
	f->slot = t->newest != 0 ? t->newest : 1;
	f->slots_left = f->high - 1;
}

void trace_find_one(struct trace_find *f, struct trace *t, const struct trace_query *q,
		    uint32_t slot, const uint8_t span_id[8])
{
	const struct node *root = view_root(t, slot);

	trace_find_begin(f, t, q);
	f->q.has_cursor = false;
	f->slots_left = 0;
	if (root == NULL || memcmp(&root->span_id, span_id, sizeof(root->span_id)) != 0)
		return;
	f->slot = slot;
	f->slots_left = 1;
}

bool trace_matches(struct trace *t, const struct trace_query *q, uint32_t slot,
		   const uint8_t span_id[8])
{
	UNINITIALIZED struct trace_find f;

	trace_find_one(&f, t, q, slot, span_id);
	while (!trace_find_step(&f))
		;
	return f.matched > 0;
}

/* Go on with the root that is being looked through. True when it is done with. */
static bool step_root(struct trace_find *f, int64_t *left)
{
	const struct node *root = node_find_kept(f->root), *n;

	if (root == NULL)
		return true;
	for (n = node_at(f->t, f->node); n != NULL && f->unmet != 0; n = tree_next(f->t, n)) {
		if (*left <= 0) {
			f->node = node_slot(f->t, n);
			return false;
		}
		look_at_span(f, n, left);
	}
	if (f->unmet == 0)
		take(f, root, left);
	return true;
}

bool trace_find_step(struct trace_find *f)
{
	struct trace *t = f->t;
	uint32_t unmet = deep_conditions(f);

	for (int64_t left = STEP_COST; left > 0; left -= COST_ROOT) {
		if (f->root.trace != NULL) {
			if (!step_root(f, &left))
				return false;
			f->root.trace = NULL;
		}
		if (f->slots_left == 0)
			return true;
		f->slots_left--;
		const struct node *n = node_at(t, f->slot);
		f->slot = f->slot > 1 ? f->slot - 1 : f->high - 1;
		if (!(n->generation & 1) || !node_is_root(t, n) || n->keep == KEEP_DYING ||
		    n->start_ns > f->as_of_ns)
			continue;
		f->total++;
		if (!head_matches(f, n))
			continue;
		if (unmet == 0) {
			take(f, n, &left);
			continue;
		}
		f->root = node_handle(t, n);
		f->node = node_slot(t, n);
		f->unmet = unmet;
	}
	return false;
}

size_t trace_find_roots(const struct trace_find *f, uint32_t *ret_roots, size_t cap)
{
	size_t count = 0;

	for (uint32_t i = 0; i < f->count && count < cap; i++) {
		const struct trace_found *r = &f->found[i];
		if (node_find_kept((struct span){ f->t, r->slot, r->generation }) != NULL)
			ret_roots[count++] = r->slot;
	}
	return count;
}

bool trace_find_cursor(const struct trace_find *f, char ret[TRACE_CURSOR_SIZE])
{
	if (f->count == 0 || f->after_cursor <= f->count)
		return false;
	const struct trace_found *last = &f->found[f->count - 1];
	(void)snprintf(ret, TRACE_CURSOR_SIZE, "%c%016" PRIx64 "%016" PRIx64 "%016" PRIx64,
		       "nso"[f->q.sort], f -> as_of_ns, last -> key, last -> tie);
	return true;
}

size_t trace_search(struct trace *t, const struct trace_query *q, uint32_t *ret_roots, size_t cap,
		    uint64_t *ret_matched, uint64_t *ret_total)
{
	UNINITIALIZED struct trace_find f;

	trace_find_begin(&f, t, q);
	while (!trace_find_step(&f))
		;
	if (ret_matched != NULL)
		*ret_matched = f.matched;
	if (ret_total != NULL)
		*ret_total = f.total;
	return trace_find_roots(&f, ret_roots, cap);
}
