/* Answers in pieces. */
#include "trace/writer.h"

#include "base/err.h"

struct trace_writer *trace_writer_new(struct trace *t, enum trace_format format,
				      const struct trace_query *q)
{
	static const struct format *const formats[] = {
		[TRACE_FORMAT_JSON] = &format_json,
		[TRACE_FORMAT_CHROME] = &format_chrome,
		[TRACE_FORMAT_JAEGER] = &format_jaeger,
		[TRACE_FORMAT_OTLP_JSON] = &format_otlp_json,
		[TRACE_FORMAT_OTLP] = &format_otlp,
		[TRACE_FORMAT_TEXT] = &format_text,
		[TRACE_FORMAT_LIST] = &format_list,
	};
	struct trace_writer *w = mem_alloc(sizeof(*w));

	if (w == NULL)
		return NULL;
	w->t = t;
	w->format = formats[format];
	w->now_ns = trace_now_ns(t);
	trace_find_begin(&w->find, t, q);
	return w;
}

struct trace_writer *trace_writer_new_root(struct trace *t, const struct trace_root_ref *root,
					   const struct trace_export *how)
{
	struct trace_writer *w = mem_alloc(sizeof(*w));
	const struct node *n = view_root(t, root->slot);

	if (w == NULL)
		return NULL;
	w->t = t;
	w->format = &format_otlp;
	w->now_ns = trace_now_ns(t);
	w->how = *how;
	w->phase = WRITER_HEAD;
	if (n != NULL && memcmp(&n->span_id, root->span_id, sizeof(n->span_id)) == 0)
		w->find.found[w->find.count++] =
			(struct trace_found){ .slot = root->slot, .generation = n->generation };
	return w;
}

uint64_t trace_writer_spans(const struct trace_writer *w)
{
	return w->spans_written;
}

struct trace_writer *trace_writer_new_diff(struct trace *t, uint32_t first, uint32_t then,
					   bool json)
{
	const struct node *a = view_root(t, first), *b = view_root(t, then);
	struct trace_writer *w = mem_alloc(sizeof(*w));

	if (w == NULL)
		return NULL;
	w->t = t;
	w->phase = WRITER_DIFF;
	if (a == NULL || b == NULL) {
		w->err = ERR_NOT_FOUND;
		return w;
	}
	w->diff = diff_new(t, node_handle(t, a), node_handle(t, b), json);
	return w->diff != NULL ? w : trace_writer_free(w);
}

struct trace_writer *trace_writer_free(struct trace_writer *w)
{
	if (w == NULL)
		return NULL;
	mem_free(w->lanes.heap);
	mem_free(w->waterfall);
	mem_free(w->diff);
	arena_fini(&w->arena);
	return mem_free(w);
}

static struct node *found(const struct trace_writer *w, uint32_t i)
{
	const struct trace_found *r = &w->find.found[i];

	return node_find_kept((struct span){ w->t, r->slot, r->generation });
}

static void write_head(struct trace_writer *w, struct buf *out)
{
	w->base_ns = UINT64_MAX;
	for (uint32_t i = 0; i < w->find.count; i++) {
		const struct node *root = found(w, i);
		if (root != NULL)
			w->base_ns = MIN(w->base_ns, root->start_ns);
	}
	w->format->head(w, out);
	w->phase = WRITER_ROOT;
}

static void next_root(struct trace_writer *w)
{
	const struct node *root = NULL;

	while (w->next < w->find.count && root == NULL)
		root = found(w, w->next++);
	if (root == NULL) {
		w->phase = WRITER_TAIL;
		return;
	}
	w->root = node_handle(w->t, root);
	w->node = w->root.slot;
	w->spans = 0;
	w->cut = false;
	w->phase = w->format->analyze ? WRITER_ANALYZE : WRITER_SPANS;
}

static void end_root(struct trace_writer *w, struct buf *out)
{
	if (w->spans > 0) {
		w->format->root_end(w, out);
		w->written++;
	}
	w->phase = WRITER_ROOT;
}

static void write_spans(struct trace_writer *w, struct buf *out)
{
	const struct node *root = node_find_kept(w->root), *n;
	size_t end = out->len + PIECE_BYTES;
	struct trace_span_view v;

	if (root == NULL) {
		w->cut = true;
		end_root(w, out);
		return;
	}
	if (w->spans == 0) {
		view_fill(w->t, root, w->now_ns, &w->root_view);
		w->format->root_begin(w, out);
	}
	n = w->format->roots_only ? NULL : node_at(w->t, w->node);
	w->spans += n == NULL;
	for (uint32_t i = 0; n != NULL && i < PIECE_SPANS && out->len < end && w->err == 0; i++) {
		view_fill(w->t, n, w->now_ns, &v);
		w->format->span(w, &v, out);
		w->spans++;
		w->spans_written++;
		n = tree_next(w->t, n);
		if (n != NULL)
			w->node = node_slot(w->t, n);
	}
	if (n == NULL)
		end_root(w, out);
	else if (w->format->analyze)
		w->phase = WRITER_ANALYZE; /* another reader may have looked at another tree */
}

static void write_diff(struct trace_writer *w, struct buf *out)
{
	int rc = diff_step(w->diff, out);

	if (rc < 0)
		w->err = rc;
	else if (rc == 0)
		w->phase = WRITER_DONE;
}

static void write_piece(struct trace_writer *w, struct buf *out)
{
	switch (w->phase) {
	case WRITER_FIND:
		if (trace_find_step(&w->find))
			w->phase = WRITER_HEAD;
		break;
	case WRITER_HEAD: write_head(w, out); break;
	case WRITER_ROOT: next_root(w); break;
	case WRITER_ANALYZE:
		if (node_find_kept(w->root) == NULL || trace_analyze(w->t, w->root.slot))
			w->phase = WRITER_SPANS;
		break;
	case WRITER_SPANS: write_spans(w, out); break;
	case WRITER_TAIL:
		w->format->tail(w, out);
		w->phase = WRITER_DONE;
		break;
	case WRITER_DIFF: write_diff(w, out); break;
	case WRITER_DONE: break;
	}
}

static bool is_large(const struct trace_writer *w)
{
	const struct node *root = node_find_kept(w->root);

	return root != NULL && root->tree.node_count > PIECE_SPANS;
}

/* Small traces are gathered until a piece has some size. */
int trace_writer_next(struct trace_writer *w, struct buf *out)
{
	size_t end = out->len + PIECE_BYTES / 2;

	if (w->err != 0)
		return w->err;
	do {
		bool slow = w->phase == WRITER_FIND || w->phase == WRITER_HEAD ||
			    w->phase == WRITER_DIFF || (w->phase == WRITER_ANALYZE && is_large(w));
		write_piece(w, out);
		if (slow)
			break;
	} while (w->phase != WRITER_DONE && w->err == 0 && buf_err(out) == 0 && out->len < end);
	if (w->err != 0 || buf_err(out) != 0)
		return w->err != 0 ? w->err : buf_err(out);
	return w->phase != WRITER_DONE;
}

int trace_render(struct trace *t, enum trace_format format, const struct trace_query *q,
		 struct buf *out)
{
	struct trace_writer *w = trace_writer_new(t, format, q);
	int rc = UV_ENOMEM;

	if (w == NULL)
		return rc;
	while ((rc = trace_writer_next(w, out)) > 0)
		;
	trace_writer_free(w);
	return rc;
}
