#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "profiler/exectrace.h"
#include "profiler/folded.h"
#include "profiler/goroutine.h"
#include "profiler/pprof.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"
#include "profiler/totals.h"
#include "profiler/watchdog.h"

/* From what was captured to the file: on a worker. */

enum { COMMENT_MAX = 256, LIST_MAX = 1 << 20 };

struct goroutine_work {
	struct tasks tasks;
	struct stacks stacks;
};

struct capture_work *capture_work_new(const struct profiler *p, const struct profiler_request *r)
{
	struct capture_work *w = mem_alloc(sizeof(*w));

	if (w == NULL)
		return NULL;
	w->profiler = p;
	w->request = *r;
	stacks_init(&w->reader.stacks);
	stacks_init(&w->totals);
	if (r->kind == PROFILER_GOROUTINE || r->kind == PROFILER_THREADCREATE) {
		w->goroutine = mem_alloc(sizeof(*w->goroutine));
		if (w->goroutine == NULL)
			return capture_work_free(w);
		stacks_init(&w->goroutine->stacks);
	}
	if (r->addresses_len > 0) {
		w->addresses = mem_strndup(r->addresses, r->addresses_len);
		if (w->addresses == NULL)
			return capture_work_free(w);
	}
	return w;
}

struct capture_work *capture_work_free(struct capture_work *w)
{
	if (w == NULL)
		return NULL;
	reader_fini(&w->reader);
	stacks_fini(&w->totals);
	exectrace_free(w->trace);
	if (w->goroutine != NULL) {
		tasks_fini(&w->goroutine->tasks);
		stacks_fini(&w->goroutine->stacks);
		mem_free(w->goroutine);
	}
	mem_free(w->addresses);
	return mem_free(w);
}

/* ---- CPU ---- */

static void write_untimed(const struct sampler_untimed *u, char ret[COMMENT_MAX])
{
	ret[0] = '\0';
	if (u->threads > 0)
		(void)snprintf(ret, COMMENT_MAX,
			       u->is_shared ?
				       "%u threads had no timer of their own (%s) and were sampled "
				       "by the process's: %s" :
				       "%u threads had no timer (%s) and were NOT sampled: %s",
			       u->threads, err_str(-u->error), u->names);
}

static int write_cpu(struct capture_work *w, struct buf *out)
{
	struct reader *r = &w->reader;
	char comment[COMMENT_MAX], timers[COMMENT_MAX];
	struct pprof p = {
		.values = { { "samples", "count" }, { "cpu", "nanoseconds" } },
		.value_count = 2,
		.period_type = { "cpu", "nanoseconds" },
		.period = (int64_t)r->period_ns,
		.time_ns = (int64_t)w->start_wall_ns,
		.duration_ns = (int64_t)MAX(w->duration_ns, UINT64_C(1)),
		.what_key = "category",
	};

	r->stacks.lost[0] = (int64_t)r->lost;
	r->stacks.lost[1] = (int64_t)(r->lost * r->period_ns);
	for (struct stack *k = r->stacks.first; k != NULL; k = k->next)
		k->values[1] = k->values[0] * (int64_t)r->period_ns;
	snprintf(comment, sizeof(comment),
		 "lost=%" PRIu64 " overruns=%" PRIu64 " cut=%" PRIu64 " samples=%" PRIu64, r->lost,
		 r->overruns, r->cut, r->samples);
	p.comments[p.comment_count++] = w->profiler->version;
	p.comments[p.comment_count++] = comment;
	write_untimed(&r->untimed, timers);
	if (timers[0] != '\0')
		p.comments[p.comment_count++] = timers;
	return w->request.folding != PROFILER_NOT_FOLDED ?
		       folded_write(out, &p, &r->stacks, &r->modules, w->request.folding,
				    w->request.value) :
		       pprof_write(out, &p, &r->stacks, &r->modules);
}

/* ---- Symbols ---- */

/* gperftools' tools are told what is inlined there too, callers first. */
static void write_names(struct buf *out, const struct symbol *s, bool inlined)
{
	for (unsigned i = s->n; i-- > 0 && (inlined || i + 1 == s->n);)
		buf_printf(out, i + 1 == s->n ? "%s" : "--%s", s->lines[i].name);
}

static int write_symbols(struct capture_work *w, struct buf *out)
{
	struct modules modules = { 0 };
	const char *p = w->addresses;
	unsigned count = 0;
	int rc = modules_add(&modules);

	buf_write_str(out, "num_symbols: 1\n");
	symbols_begin(&modules);
	while (rc == 0 && p != NULL && *p != '\0' && count++ < PROFILER_ADDRESSES_MAX) {
		char *end;
		uintptr_t pc = strtoull(p, &end, 0);
		size_t n = strcspn(p, "+");

		if (pc != 0 && end == p + n && modules_from_written(&modules, pc) != 0) {
			buf_printf(out, "%#" PRIxPTR " ", pc);
			write_names(out, symbols_get(modules_from_written(&modules, pc)),
				    w->request.legacy);
			buf_write_str(out, "\n");
		}
		p += n + (p[n] == '+');
	}
	symbols_end();
	modules_fini(&modules);
	return rc != 0 ? rc : buf_err(out);
}

/* ---- Stalls ---- */

static void write_stall(struct buf *out, const struct stall *s)
{
	buf_printf(out, "stall %" PRIu64 " at %" PRIu64 ".%03u, ", s->number,
		   (uint64_t)(s->wall_ns / NS_PER_SEC), (unsigned)(s->wall_ns / NS_PER_MS % 1000));
	if (s->duration_ns > 0)
		buf_printf(out, "%.1f ms", (double)s->duration_ns / 1e6);
	else
		buf_write_str(out, "still lasting");
	buf_printf(out, ", operation %s:\n", s->task != NULL ? s->task : "none");
	frames_write(out, s->pcs, s->n);
}

static int write_stalls(struct buf *out)
{
	struct stall *stalls = mem_alloc_array(WATCHDOG_STALLS_MAX, sizeof(*stalls));
	struct modules modules = { 0 };
	struct watchdog_stats stats;
	int rc = stalls != NULL ? modules_add(&modules) : UV_ENOMEM;
	unsigned n = rc == 0 ? watchdog_stalls(stalls, WATCHDOG_STALLS_MAX) : 0;

	watchdog_stats(&stats);
	buf_printf(out, "%" PRIu64 " turns, %.3f s busy, longest %.1f ms, %" PRIu64 " stalls\n",
		   stats.turns, (double)stats.busy_ns / 1e9, (double)stats.longest_ns / 1e6,
		   stats.stalls);
	symbols_begin(&modules);
	for (unsigned i = 0; i < n; i++) {
		buf_write_str(out, "\n");
		write_stall(out, &stalls[i]);
	}
	symbols_end();
	modules_fini(&modules);
	mem_free(stalls);
	return rc != 0 ? rc : buf_err(out);
}

/* ---- Goroutine, threadcreate ---- */

int capture_snapshot(struct capture_work *w, struct runner *r)
{
	int rc;

	if (w->request.kind != PROFILER_GOROUTINE)
		return 0;
	if (!w->looking)
		tasks_fini(&w->goroutine->tasks);
	w->looking = true;
	rc = tasks_snapshot(&w->goroutine->tasks, r);
	w->looking = rc > 0;
	return rc;
}

static int count_now(struct capture_work *w, const struct dump *d, int sign)
{
	struct goroutine_work *g = w->goroutine;

	if (w->request.kind == PROFILER_GOROUTINE)
		return snapshot_count(&g->stacks, d, &g->tasks, sign);
	threadcreate_count(&g->stacks, sign);
	return g->stacks.dropped > 0 ? UV_ENOMEM : 0;
}

int capture_first(struct capture_work *w)
{
	struct modules modules = { 0 };
	struct dump d = { 0 };
	int rc;

	if (totals_of(w->request.kind) != NULL)
		return totals_first(w);
	rc = w->request.kind == PROFILER_GOROUTINE ? dump_threads(&d) : 0;
	if (rc == 0)
		rc = modules_add(&modules);
	if (rc == 0) {
		tasks_trim(&w->goroutine->tasks, &modules);
		symbols_begin(&modules);
		rc = count_now(w, &d, -1);
		symbols_end();
	}
	dump_fini(&d);
	modules_fini(&modules);
	return rc;
}

static const char *profile_name(const struct capture_work *w)
{
	return w->request.kind == PROFILER_GOROUTINE ? "goroutine" : "threadcreate";
}

static bool blocks_only(const struct capture_work *w)
{
	return w->request.kind == PROFILER_GOROUTINE && w->request.debug >= 2;
}

static void write_text(struct capture_work *w, const struct dump *d, struct buf *out)
{
	const struct goroutine_work *g = w->goroutine;
	bool goroutine = w->request.kind == PROFILER_GOROUTINE;

	if (blocks_only(w)) {
		snapshot_write_blocks(out, d, &g->tasks, w->request.debug > 2);
		return;
	}
	count_profile_write(out, profile_name(w), "state", &g->stacks);
	if (goroutine) {
		buf_write_str(out, "--- goroutines ---\n");
		snapshot_write_blocks(out, d, &g->tasks, false);
		buf_write_str(out, "\n");
	}
	memory_map_write(out);
}

static int write_count_proto(struct capture_work *w, const struct modules *modules,
			     const char *list, struct buf *out)
{
	const char *name = profile_name(w);
	struct pprof p = {
		.values = { { name, "count" } },
		.value_count = 1,
		.period_type = { name, "count" },
		.period = 1,
		.time_ns = (int64_t)clock_wall_ns(w->profiler->runner->clock),
		.duration_ns = w->request.seconds > 0 ? (int64_t)w->duration_ns : 0,
		.what_key = "state",
		.comments = { w->profiler->version, list },
		.comment_count = list[0] != '\0' ? 2 : 1,
	};

	return pprof_write(out, &p, &w->goroutine->stacks, modules);
}

static int write_count(struct capture_work *w, struct buf *out)
{
	struct modules modules = { 0 };
	struct dump d = { 0 };
	struct buf list;
	int rc = w->request.kind == PROFILER_GOROUTINE ? dump_threads(&d) : 0;

	buf_init(&list, LIST_MAX);
	if (rc == 0)
		rc = modules_add(&modules);
	if (rc == 0) {
		tasks_trim(&w->goroutine->tasks, &modules);
		symbols_begin(&modules);
		if (!blocks_only(w))
			rc = count_now(w, &d, 1);
		if (rc == 0 && w->request.debug > 0)
			write_text(w, &d, out);
		else if (rc == 0 && w->request.kind == PROFILER_GOROUTINE &&
			 w->request.seconds == 0)
			snapshot_write_list(&list, &d, &w->goroutine->tasks);
		symbols_end();
	}
	if (rc == 0 && w->request.debug == 0)
		rc = write_count_proto(w, &modules,
				       list.data != NULL ? (const char *)list.data : "", out);
	dump_fini(&d);
	modules_fini(&modules);
	buf_fini(&list);
	return rc != 0 ? rc : buf_err(out);
}

int capture_write(struct capture_work *w, struct buf *out)
{
	switch (w->request.kind) {
	case PROFILER_CPU:
		return w->request.legacy ?
			       gperftools_write(out, &w->reader.stacks, w->reader.period_ns) :
			       write_cpu(w, out);
	case PROFILER_TRACE:
		return w->request.chrome ? exectrace_write_chrome(w->trace, out) :
					   exectrace_write_go(w->trace, out);
	case PROFILER_SYMBOL: return write_symbols(w, out);
	case PROFILER_STALLS: return write_stalls(out);
	case PROFILER_GOROUTINE:
	case PROFILER_THREADCREATE: return write_count(w, out);
	case PROFILER_HEAP:
	case PROFILER_ALLOCS:
	case PROFILER_MUTEX:
	case PROFILER_BLOCK: return totals_write(w, out);
	default: return ERR_UNSUPPORTED;
	}
}
