/* The answer to a query as text: the category table and a line per trace. */
#include <inttypes.h>

#include "trace/text.h"
#include "trace/writer.h"

enum { DURATION_COLUMNS = 9, CATEGORY_COLUMNS = 20, OUTCOME_COLUMNS = 9, SHORT_ID_BYTES = 4 };

static void write_duration(struct buf *out, uint64_t ns, bool known)
{
	char text[TEXT_DURATION_SIZE];

	text_duration(text, ns);
	text_right(out, known ? text : "-", DURATION_COLUMNS);
}

static void write_categories(struct trace *t, struct buf *out)
{
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	size_t count = trace_stats_all(t, stats, ARRAY_SIZE(stats));

	text_cell(out, "CATEGORY", 8, CATEGORY_COLUMNS);
	buf_printf(out, "%7s%9s%8s%9s%9s%9s%9s\n", "ACTIVE", "FINISHED", "FAILED", "P50", "P90",
		   "P99", "MAX");
	for (size_t i = 0; i < count; i++) {
		const struct trace_stats *s = &stats[i];
		text_cell(out, s->category, strlen(s->category), CATEGORY_COLUMNS);
		buf_printf(out, "%7" PRIu64 "%9" PRIu64 "%8" PRIu64, s->active, s->finished,
			   s->errored);
		write_duration(out, s->p50_ns, s->sample_count > 0);
		write_duration(out, s->p90_ns, s->sample_count > 0);
		write_duration(out, s->p99_ns, s->sample_count > 0);
		write_duration(out, s->max_ns, s->sample_count > 0);
		buf_write_u8(out, '\n');
	}
}

/* "f8a51e3c*   2m05s  6.91 s timeout   sync.discover hm://… 71 % dht": the first digits of the id,
 * and whether it is pinned. */
static void write_line(struct trace *t, const struct trace_span_view *v, uint64_t now_ns,
		       unsigned columns, struct buf *out)
{
	struct stage_total totals[TOTALS_MAX];
	struct buf stage;

	buf_init(&stage, 128);
	if (stage_totals(t, v, totals) > 0)
		buf_printf(&stage, " %u %% %s", percent_of(totals[0].ns, v->duration_ns),
			   totals[0].name);
	for (size_t i = 0; i < SHORT_ID_BYTES; i++)
		buf_printf(out, "%02x", v->trace_id[i]);
	buf_write_u8(out, v->pinned ? '*' : ' ');
	write_duration(out, now_ns - v->start_ns, true);
	write_duration(out, v->duration_ns, true);
	buf_write_u8(out, ' ');
	const char *outcome = v->finished ? v->outcome : "active";
	text_cell(out, outcome, strlen(outcome), OUTCOME_COLUMNS);
	buf_printf(out, " %s ", v->category);
	unsigned used = 2 * SHORT_ID_BYTES + 2 * DURATION_COLUMNS + OUTCOME_COLUMNS + 4 +
			(unsigned)strlen(v->category);
	unsigned rest = MAX(columns, used + 12) - used;
	unsigned tail = MIN((unsigned)stage.len, rest - 8);
	text_pad(out, rest - tail - text_safe_middle(out, v->title, v->title_len, rest - tail));
	text_safe(out, stage.data != NULL ? (const char *)stage.data : "", stage.len, tail);
	buf_write_u8(out, '\n');
	buf_fini(&stage);
}

static void write_store(struct trace *t, struct buf *out)
{
	char used[TEXT_DURATION_SIZE], budget[TEXT_DURATION_SIZE];
	struct trace_counts c;

	trace_counts(t, &c);
	text_bytes(used, c.used_bytes);
	text_bytes(budget, c.budget_bytes);
	buf_printf(out,
		   "%" PRIu64 " %s recorded, %" PRIu64 " active, %" PRIu64 " kept, %" PRIu64
		   " evicted; %s of %s\n",
		   c.created, plural(c.created, "trace", "traces"), c.active_roots, c.kept_roots,
		   c.evicted, used, budget);
	if (c.dropped_spans + c.dropped_marks + c.dropped_parts > 0)
		buf_printf(out, "not recorded: %" PRIu64 " %s, %" PRIu64 " %s, %" PRIu64 " %s\n",
			   c.dropped_spans, plural(c.dropped_spans, "span", "spans"),
			   c.dropped_marks, plural(c.dropped_marks, "mark", "marks"),
			   c.dropped_parts, plural(c.dropped_parts, "detail", "details"));
}

static void list_head(struct trace_writer *w, struct buf *out)
{
	const struct trace_query *q = &w->find.q;
	static const char *const orders[] = { [TRACE_SORT_NEWEST] = "newest",
					      [TRACE_SORT_SLOWEST] = "slowest",
					      [TRACE_SORT_OLDEST] = "oldest" };

	write_store(w->t, out);
	buf_write_u8(out, '\n');
	write_categories(w->t, out);
	buf_printf(out, "\n%" PRIu32 " of %" PRIu64 " matching traces, %s first\n", w->find.count,
		   w->find.matched, orders[q->sort]);
	text_cell(out, "ID", 2, 2 * SHORT_ID_BYTES + 1);
	text_right(out, "AGE", DURATION_COLUMNS);
	text_right(out, "TIME", DURATION_COLUMNS);
	buf_write_str(out, " OUTCOME   WHAT\n");
}

static void list_root(struct trace_writer *w, struct buf *out)
{
	write_line(w->t, &w->root_view, w->now_ns, text_columns(&w->find.q), out);
}

static void list_nothing(struct trace_writer *w, struct buf *out)
{
}

const struct format format_list = { .roots_only = true,
				    .head = list_head,
				    .root_begin = list_root,
				    .root_end = list_nothing,
				    .tail = list_nothing };
