#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "profiler/pprof.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"

/* From what was captured to the file: on a worker. */

enum { COMMENT_MAX = 256 };

struct capture_work *capture_work_new(const struct profiler *p, const struct profiler_request *r)
{
	struct capture_work *w = mem_alloc(sizeof(*w));

	if (w == NULL)
		return NULL;
	w->profiler = p;
	w->request = *r;
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
	mem_free(w->addresses);
	return mem_free(w);
}

/* ---- CPU ---- */

static int write_cpu(struct capture_work *w, struct buf *out)
{
	const struct reader *r = &w->reader;
	char comment[COMMENT_MAX];
	struct pprof p = {
		.values = { { "samples", "count" }, { "cpu", "nanoseconds" } },
		.factors = { 1, (int64_t)r->period_ns },
		.value_count = 2,
		.period_type = { "cpu", "nanoseconds" },
		.period = (int64_t)r->period_ns,
		.time_ns = (int64_t)w->start_wall_ns,
		.duration_ns = (int64_t)MAX(w->duration_ns, UINT64_C(1)),
		.what_key = "category",
		.lost = r->lost,
	};

	snprintf(comment, sizeof(comment),
		 "lost=%" PRIu64 " overruns=%" PRIu64 " cut=%" PRIu64 " samples=%" PRIu64, r->lost,
		 r->overruns, r->cut, r->samples);
	p.comments[p.comment_count++] = w->profiler->version;
	p.comments[p.comment_count++] = comment;
	return pprof_write(out, &p, &r->stacks, &r->modules);
}

/* ---- Symbols ---- */

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

		if (pc != 0 && end == p + n && modules_find(&modules, pc) != NULL) {
			const struct symbol *s = symbols_get(pc);

			buf_printf(out, "%#" PRIxPTR " %s\n", pc, s->lines[s->n - 1].name);
		}
		p += n + (p[n] == '+');
	}
	symbols_end();
	modules_fini(&modules);
	return rc != 0 ? rc : buf_err(out);
}

int capture_write(struct capture_work *w, struct buf *out)
{
	switch (w->request.kind) {
	case PROFILER_CPU: return write_cpu(w, out);
	case PROFILER_SYMBOL: return write_symbols(w, out);
	case PROFILER_GOROUTINE:
	case PROFILER_THREADCREATE:
	default: return ERR_UNSUPPORTED;
	}
}
