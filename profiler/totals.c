#include "profiler/totals.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "profiler/contention.h"
#include "profiler/folded.h"
#include "profiler/goroutine.h"
#include "profiler/heap.h"
#include "profiler/memstats.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"

/* A difference is one table: the totals are subtracted at its start and added at its end. */

#define HEAP_VALUES                                                                                \
	{                                                                                          \
		{ "alloc_objects", "count" }, { "alloc_space", "bytes" },                          \
			{ "inuse_objects", "count" }, { "inuse_space", "bytes" },                  \
	}
#define HEAP_FUNCTIONS                                                                             \
	.count = heap_count, .buckets = heap_buckets, .lost = heap_lost, .note = heap_note,        \
	.rate = heap_rate, .rate_set = heap_rate_set, .write_text = heap_text_write
#define CONTENTION_VALUES                                                                          \
	{                                                                                          \
		{ "contentions", "count" },                                                        \
		{                                                                                  \
			"delay", "nanoseconds"                                                     \
		}                                                                                  \
	}
#define CONTENTION_FUNCTIONS                                                                       \
	.count = contention_count, .buckets = contention_buckets, .lost = contention_lost,         \
	.note = contention_note, .rate = contention_rate, .rate_set = contention_rate_set

static const struct totals table[] = {
	{ .kind = PROFILER_HEAP,
	  .name = "heap",
	  .values = HEAP_VALUES,
	  .value_count = 4,
	  .monotonic = 2,
	  .period_type = { "space", "bytes" },
	  .block_sizes = true,
	  .period_is_rate = true,
	  HEAP_FUNCTIONS },
	{ .kind = PROFILER_ALLOCS,
	  .name = "allocs",
	  .values = HEAP_VALUES,
	  .value_count = 4,
	  .monotonic = 2,
	  .period_type = { "space", "bytes" },
	  .default_type = "alloc_space",
	  .block_sizes = true,
	  .period_is_rate = true,
	  HEAP_FUNCTIONS },
	{ .kind = PROFILER_MUTEX,
	  .name = "mutex",
	  .values = CONTENTION_VALUES,
	  .value_count = 2,
	  .monotonic = 2,
	  .period_type = { "contentions", "count" },
	  .write_text = mutex_text_write,
	  CONTENTION_FUNCTIONS },
	{ .kind = PROFILER_BLOCK,
	  .name = "block",
	  .values = CONTENTION_VALUES,
	  .value_count = 2,
	  .monotonic = 2,
	  .period_type = { "contentions", "count" },
	  .write_text = block_text_write,
	  CONTENTION_FUNCTIONS },
};

const struct totals *totals_of(enum profiler_kind kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].kind == kind)
			return &table[i];
	return NULL;
}

/* Go runs a garbage collection here, so that the heap that is shown is the live one. Ours always
 * is; what the allocator keeps can go back to the kernel. */
static void collect_garbage(const struct capture_work *w)
{
	if (w->request.gc)
		memstats_trim();
}

int totals_first(struct capture_work *w)
{
	const struct totals *t = totals_of(w->request.kind);
	int rc;

	collect_garbage(w);
	rc = t->count(t->kind, &w->totals, -1);
	if (!w->request.delta_alloc)
		return rc;
	for (struct stack *k = w->totals.first; k != NULL; k = k->next)
		for (unsigned i = t->monotonic; i < t->value_count; i++)
			k->values[i] = 0;
	for (unsigned i = t->monotonic; i < t->value_count; i++)
		w->totals.lost[i] = 0;
	return rc;
}

static const char *note_of(const struct totals *t)
{
	return t->note != NULL ? t->note(t->kind) : NULL;
}

static int write_proto(struct capture_work *w, const struct totals *t,
		       const struct modules *modules, struct buf *out)
{
	int64_t rate = t->rate(t->kind);
	char comment[96];
	struct pprof p = {
		.value_count = t->value_count,
		.default_type = t->default_type,
		.period_type = t->period_type,
		.period = t->period_is_rate && rate > 0 ? rate : 1,
		.time_ns = (int64_t)clock_wall_ns(w->profiler->runner->clock),
		.duration_ns = w->request.seconds > 0 ? (int64_t)MAX(w->duration_ns, UINT64_C(1)) :
							0,
		.what_key = "state",
		.block_sizes = t->block_sizes,
		.comments = { w->profiler->version, comment, note_of(t) },
		.comment_count = note_of(t) != NULL ? 3 : 2,
	};

	for (unsigned i = 0; i < t->value_count; i++)
		p.values[i] = t->values[i];
	snprintf(comment, sizeof(comment), "rate=%" PRId64 " lost=%" PRIu64, rate,
		 t->lost(t->kind));
	return w->request.folding != PROFILER_NOT_FOLDED ?
		       folded_write(out, &p, &w->totals, modules, w->request.folding,
				    w->request.value) :
		       pprof_write(out, &p, &w->totals, modules);
}

static void write_text(struct capture_work *w, const struct totals *t,
		       const struct modules *modules, struct buf *out)
{
	symbols_begin(modules);
	if (!w->request.legacy)
		symbols_prefetch(&w->totals);
	t->write_text(out, &w->totals, t->rate(t->kind), w->request.legacy);
	symbols_end();
	if (note_of(t) != NULL)
		buf_printf(out, "# %s\n", note_of(t));
	memory_map_write(out);
}

int totals_write(struct capture_work *w, struct buf *out)
{
	const struct totals *t = totals_of(w->request.kind);
	struct modules modules = { 0 };
	int rc;

	collect_garbage(w);
	rc = t->count(t->kind, &w->totals, 1);
	if (rc == 0)
		rc = modules_add(&modules);
	if (rc == 0 && w->request.debug > 0)
		write_text(w, t, &modules, out);
	else if (rc == 0)
		rc = write_proto(w, t, &modules, out);
	modules_fini(&modules);
	return rc != 0 ? rc : buf_err(out);
}

/* ---- Rates ---- */

int64_t profiler_rate(enum profiler_kind kind)
{
	const struct totals *t = totals_of(kind);

	return t != NULL ? t->rate(kind) : 0;
}

int64_t profiler_rate_set(enum profiler_kind kind, int64_t rate)
{
	const struct totals *t = totals_of(kind);
	int64_t was = profiler_rate(kind);

	if (t != NULL)
		t->rate_set(kind, rate);
	return was;
}

unsigned profiler_buckets(enum profiler_kind kind)
{
	const struct totals *t = totals_of(kind);

	return t != NULL ? t->buckets(kind) : 0;
}
