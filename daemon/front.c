#include "daemon/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "daemon/daemon.h"
#include "daemon/doctor_facts.h"
#include "daemon/json.h"

/* The figures are those of the status; what the doctor finds and what only /proc knows is looked up
 * on a worker, as for /debug/doctor. */

enum {
	CPU_WINDOW_MIN_MS = 2000,   /* views that follow faster share a window */
	CPU_WINDOW_MAX_MS = 600000, /* beyond it the figure would say nothing about now */
	LAG_BAD_US = 50000,
	CPU_BAD_PERCENT = 90
};

struct front_job {
	struct runner_job job;
	struct front *front;
	struct http_front_look *look;
	struct doctor_facts facts;
	json_t *figures;
};

/* ---- The strip ---- */

static struct http_health *add(struct http_front_look *look, const char *name, const char *href)
{
	struct http_health *h = &look->health[look->health_count++];

	REQUIRE(look->health_count <= HTTP_HEALTH_MAX);
	*h = (struct http_health){ .name = name, .href = href };
	return h;
}

static uint64_t count_of(const json_t *figures, const char *part, const char *name)
{
	return json_get_count(json_object_get(figures, part), name);
}

enum { DURATION_TEXT_MAX = 16 };

static const char *format_us(char ret[DURATION_TEXT_MAX], uint64_t us)
{
	if (us < 1000)
		(void)snprintf(ret, DURATION_TEXT_MAX, "%u \u00b5s", (unsigned)us);
	else
		(void)snprintf(ret, DURATION_TEXT_MAX, us < 10000 ? "%.1f ms" : "%.0f ms",
			       MIN((double)us / 1000, 1e6));
	return ret;
}

static void add_lag(struct http_front_look *look, const struct doctor_facts *f)
{
	struct http_health *h = add(look, "loop lag", "/debug/pprof/stalls");
	char text[DURATION_TEXT_MAX];

	(void)snprintf(h->value, sizeof(h->value), "%s", format_us(text, f->lag_p99_us));
	(void)snprintf(h->note, sizeof(h->note), "p99; longest %s", format_us(text, f->lag_max_us));
	h->is_bad = f->lag_p99_us >= LAG_BAD_US;
}

static uint64_t cpu_us(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) < 0)
		return 0;
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Since the view before, if that says something about now; else since the start. */
static void add_cpu(struct http_front_look *look, struct front *f)
{
	struct http_health *h = add(look, "CPU", "/debug/flame?profile=profile&seconds=5");
	uint64_t now = runner_now_ms(&f->daemon->loop.runner), used = cpu_us(), window;
	double percent;

	if (now - f->looked_ms > CPU_WINDOW_MAX_MS) {
		f->looked_ms = f->daemon->start_ms;
		f->looked_cpu_us = 0;
	}
	window = MAX(now - f->looked_ms, UINT64_C(1));
	percent = (double)(used - f->looked_cpu_us) / 10.0 / (double)window;
	(void)snprintf(h->value, sizeof(h->value), percent < 9.95 ? "%.1f %%" : "%.0f %%", percent);
	(void)snprintf(h->note, sizeof(h->note), "of a core, last %" PRIu64 " s",
		       (window + 500) / 1000);
	h->is_bad = percent >= CPU_BAD_PERCENT;
	if (window >= CPU_WINDOW_MIN_MS) {
		f->looked_ms = now;
		f->looked_cpu_us = used;
	}
}

static void add_memory(struct http_front_look *look, const struct doctor_facts *f)
{
	struct http_health *h = add(look, "memory", "/debug/flame?profile=heap");

	(void)snprintf(h->value, sizeof(h->value), "%.1f MiB", (double)f->memory_bytes / 1048576);
	(void)snprintf(h->note, sizeof(h->note), "resident");
	h->is_bad = f->memory_limit_bytes > 0 &&
		    f->memory_bytes * 100 >= f->memory_limit_bytes * DOCTOR_MEMORY_PERCENT;
}

static void add_files(struct http_front_look *look, const struct doctor_facts *f)
{
	struct http_health *h = add(look, "open files", "/debug/sys");

	(void)snprintf(h->value, sizeof(h->value), "%" PRIu64, f->fds);
	(void)snprintf(h->note, sizeof(h->note), "of %" PRIu64, f->fd_limit);
	h->is_bad = f->fd_limit > 0 && f->fds * 100 >= f->fd_limit * DOCTOR_FD_PERCENT;
}

/* A count with a note that has a count of its own. */
static void add_count(struct http_front_look *look, const char *name, const char *href,
		      uint64_t value, const char *note, uint64_t noted)
{
	struct http_health *h = add(look, name, href);

	(void)snprintf(h->value, sizeof(h->value), "%" PRIu64, value);
	(void)snprintf(h->note, sizeof(h->note), "%" PRIu64 " %s", noted, note);
}

static void fill_strip(struct front_job *j)
{
	struct http_front_look *look = j->look;
	const struct doctor_facts *f = &j->facts;

	add_lag(look, f);
	add_cpu(look, j->front);
	add_memory(look, f);
	add_count(look, "operations", "/debug/pprof/goroutine?debug=2",
		  json_get_count(j->figures, "operations"), "threads",
		  count_of(j->figures, "profiler", "threads"));
	add_files(look, f);
	add_count(look, "peers", "/debug/peers", f->conns, "dialed", f->dials);
	add_count(look, "discoveries", "/debug/traces?category=sync.discover&active=1",
		  count_of(j->figures, "discovery", "active"), "so far",
		  count_of(j->figures, "discovery", "started"));
}

/* ---- Views ---- */

static void run_look(struct runner_job *job)
{
	doctor_facts_slow(&container_of(job, struct front_job, job)->facts);
}

static void write_findings(struct http_front_look *look, const struct doctor_facts *f)
{
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	size_t count = doctor_examine(f, findings);

	switch (look->format) {
	case HTTP_HTML: doctor_write_html(&look->findings, findings, count); break;
	case HTTP_JSON: doctor_write_json(&look->findings, findings, count); break;
	case HTTP_TEXT: doctor_write_text(&look->findings, findings, count); break;
	}
}

static void looked(struct runner_job *job)
{
	struct front_job *j = container_of(job, struct front_job, job);
	struct http_front_look *look = j->look;

	fill_strip(j);
	write_findings(look, &j->facts);
	json_decref(j->figures);
	mem_free(j);
	http_front_ready(look);
}

/* Without memory the page comes without what is said here: it is needed most then. */
static void fill(void *data, struct http_front_look *look)
{
	struct front *f = data;
	struct front_job *j = mem_alloc(sizeof(*j));

	if (j == NULL) {
		http_front_ready(look);
		return;
	}
	j->job.run = run_look;
	j->job.done = looked;
	j->front = f;
	j->look = look;
	doctor_facts_inside(f->daemon, &j->facts, &j->figures);
	if (runner_submit(&f->daemon->loop.runner, &j->job) < 0) {
		json_decref(j->figures);
		mem_free(j);
		http_front_ready(look);
	}
}

void front_attach(struct front *f, struct daemon *d, struct http_server *s)
{
	f->daemon = d;
	f->looked_ms = d->start_ms;
	http_front_set(s, fill, f);
}
