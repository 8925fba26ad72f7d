#include "debug_http/flame.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "debug_http/page.h"
#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* A profile as a picture, for who has no Go: taken when the page is asked for, shown, and gone.
 *
 *   the head of the page, at once ──► the capture ──► a worker draws ──► the rest, in pieces
 *
 * A browser shows the first part while the rest is awaited; once it comes, the stylesheet hides the
 * words about waiting. The labelled stacks stand in the page too, for the script that zooms,
 * searches and filters; without it the page is complete. */

enum {
	SECONDS_DEFAULT = 5,
	SECONDS_MAX = 600,
	PAGE_MAX = 16 << 20,
	DATA_MAX = 4 << 20, /* more is left to the static picture */
	PIECE = 64 << 10,
	GRACE_MS = 120000
};

struct flame_page {
	struct http_request *request;
	const struct pprof_drawn *drawn;
	struct profiler_capture capture;
	struct runner_job job;
	struct buf rest;
	size_t sent;
	struct flame_filter filter;
	char labels[FLAME_LABEL_KINDS][PPROF_PARAM_MAX];
	int status;
};

/* ---- The form ---- */

static void write_profiles(struct buf *out, const struct pprof_drawn *chosen)
{
	buf_write_str(out, "<label><span>What</span> <select name=\"profile\">");
	for (size_t i = 0; i < pprof_drawn_count; i++) {
		buf_printf(out, "<option value=\"%s\"%s>", pprof_drawn[i].name,
			   chosen == &pprof_drawn[i] ? " selected=\"selected\"" : "");
		page_write_text(out, pprof_drawn[i].title);
		buf_write_str(out, "</option>");
	}
	buf_write_str(out, "</select></label>\n");
}

static void write_samples(struct buf *out, const struct pprof_drawn *drawn, const char *chosen)
{
	buf_write_str(out, "<label><span>Counted</span> <select name=\"sample\">");
	for (size_t i = 0; i < PPROF_SAMPLES_MAX && drawn->samples[i] != NULL; i++)
		buf_printf(out, "<option%s>%s</option>",
			   drawn->samples[i] == chosen ? " selected=\"selected\"" : "",
			   drawn->samples[i]);
	buf_write_str(out, "</select></label>\n");
}

static void write_form(struct buf *out, struct http_request *r, const struct pprof_drawn *drawn,
		       unsigned seconds)
{
	buf_write_str(out,
		      "<form class=\"panel filter\" id=\"capture\" action=\"/debug/flame\">\n");
	write_profiles(out, drawn);
	buf_printf(out,
		   "<label><span>Seconds</span> <input type=\"number\" name=\"seconds\" min=\"0\" "
		   "max=\"%d\" value=\"%u\"/></label>\n",
		   SECONDS_MAX, seconds);
	if (drawn != NULL)
		write_samples(out, drawn, pprof_sample_type(r, drawn));
	buf_write_str(out, "<button>Draw</button>\n</form>\n");
}

static void write_intro(struct buf *out)
{
	buf_write_str(out,
		      "<p class=\"hint\">Each box is a function. Its width is its share of the "
		      "whole; below it stand the functions that it called. Nothing is kept: the "
		      "profile is taken for this page and gone with it. With 0 seconds, everything "
		      "but CPU shows the totals since the start; with more, what came in that "
		      "time.</p>\n");
}

static void write_head(struct buf *out, struct http_request *r, const struct pprof_drawn *drawn,
		       unsigned seconds)
{
	http_page_begin(r, out, "Flame graph");
	buf_write_str(out, "<h1>Flame graph");
	if (drawn != NULL) {
		buf_write_str(out, ": <b>");
		page_write_text(out, drawn->title);
		buf_write_str(out, "</b>");
	}
	buf_write_str(out, "</h1>\n");
	write_form(out, r, drawn, seconds);
	write_intro(out);
	if (drawn == NULL)
		return;
	buf_write_str(out, "<script src=\"/debug/assets/flame.js\" async=\"async\"></script>\n");
	if (seconds > 0)
		buf_printf(out,
			   "<p class=\"waiting\" role=\"status\" data-seconds=\"%u\">Taking a "
			   "profile of the next %u seconds. The picture appears here by "
			   "itself.</p>\n",
			   seconds, seconds);
}

/* ---- The picture, on a worker ---- */

static void write_filter(struct buf *out, const struct flame_filter *filter)
{
	for (int i = 0; i < FLAME_LABEL_KINDS; i++) {
		const char *label = filter->labels[i];

		if (label == NULL)
			continue;
		buf_printf(out, "<p class=\"hint\">Only %s <b>",
			   flame_label_name((enum flame_label_kind)i));
		page_write_foreign(out, label, strlen(label));
		buf_write_str(out, label[0] == '\0' ? "none</b>.</p>\n" : "</b>.</p>\n");
	}
}

static void write_links(struct buf *out, const struct flame_page *p)
{
	const char *name = p->drawn->name;
	unsigned seconds = p->capture.request.seconds;

	buf_printf(out,
		   "<p class=\"hint\">The same, taken anew: <a "
		   "href=\"/debug/pprof/%s?seconds=%u&amp;download=1\">as a file for go tool "
		   "pprof</a>, <a href=\"/debug/pprof/%s?seconds=%u&amp;format=folded\">as folded "
		   "stacks for other tools</a>.</p>\n",
		   name, seconds, name, seconds);
}

static void run_draw(struct runner_job *job)
{
	struct flame_page *p = container_of(job, struct flame_page, job);
	const struct buf *text = &p->capture.out;
	struct flame flame;

	p->status = flame_parse(&flame, (const char *)text->data, text->len, &p->filter);
	if (p->status < 0)
		return;
	write_filter(&p->rest, &p->filter);
	if (flame.total > 0)
		flame_draw(&p->rest, &flame);
	else
		buf_write_str(&p->rest, "<p class=\"empty\">Nothing was recorded: nobody did "
					"anything of the kind meanwhile.</p>\n");
	if (flame.total > 0 && text->len <= DATA_MAX) {
		buf_write_str(&p->rest, "<pre id=\"flame-data\" hidden=\"hidden\">");
		page_write_foreign(&p->rest, (const char *)text->data, text->len);
		buf_write_str(&p->rest, "</pre>\n");
	}
	write_links(&p->rest, p);
	flame_fini(&flame);
	p->status = buf_err(&p->rest);
}

/* ---- The answer ---- */

static void finish(struct flame_page *p)
{
	struct http_request *r = p->request;

	buf_fini(&p->rest);
	buf_fini(&p->capture.out);
	mem_free(p);
	http_reply_end(r);
}

static void send_rest(void *data, struct http_request *r)
{
	struct flame_page *p = data;

	while (p->sent < p->rest.len && !http_request_gone(r)) {
		size_t n = MIN(p->rest.len - p->sent, (size_t)PIECE);
		bool wait = http_reply_write(r, p->rest.data + p->sent, n);

		p->sent += n;
		if (wait)
			return;
	}
	finish(p);
}

static const char *failure(const struct flame_page *p)
{
	if (p->status == UV_EBUSY)
		return "As many profiles as there may be are being taken. Try again in a moment.";
	if (p->status == ERR_LIMIT)
		return "The profile is too large to be drawn. Take it as a file instead.";
	return "The profile could not be taken: the daemon is out of memory.";
}

static void send_all(struct flame_page *p)
{
	if (p->status < 0) {
		buf_clear(&p->rest);
		buf_write_str(&p->rest, "<p class=\"error\" role=\"alert\">");
		page_write_text(&p->rest, failure(p));
		buf_write_str(&p->rest, "</p>\n");
	}
	http_page_end(p->request, &p->rest);
	http_request_on_drain(p->request, send_rest, p);
	send_rest(p, p->request);
}

static void draw_done(struct runner_job *job)
{
	send_all(container_of(job, struct flame_page, job));
}

static void on_captured(struct profiler_capture *c, int status)
{
	struct flame_page *p = container_of(c, struct flame_page, capture);

	p->status = status;
	p->job = (struct runner_job){ .run = run_draw, .done = draw_done };
	if (status == 0)
		p->status = runner_submit(c->op.env.runner, &p->job);
	if (p->status < 0)
		send_all(p);
}

static void on_gone(void *data, struct http_request *r)
{
	struct flame_page *p = data;

	(void)r;
	op_cancel(&p->capture.op);
}

/* ---- Requests ---- */

static const struct pprof_drawn *find_drawn(const char *name)
{
	for (size_t i = 0; name != NULL && i < pprof_drawn_count; i++)
		if (strcmp(pprof_drawn[i].name, name) == 0)
			return &pprof_drawn[i];
	return NULL;
}

static bool read_seconds(struct http_request *r, const struct pprof_drawn *drawn, unsigned *ret)
{
	const char *text = http_request_param(r, "seconds");
	long seconds = drawn == NULL || drawn->kind == PROFILER_CPU ? SECONDS_DEFAULT : 0;

	if (text != NULL && text[0] != '\0' &&
	    (!pprof_int(text, &seconds) || seconds < 0 || seconds > SECONDS_MAX))
		return false;
	if (seconds == 0 && drawn != NULL && drawn->kind == PROFILER_CPU)
		seconds = SECONDS_DEFAULT;
	*ret = (unsigned)seconds;
	return true;
}

static void read_filter(struct http_request *r, struct flame_page *p)
{
	for (int i = 0; i < FLAME_LABEL_KINDS; i++)
		if (pprof_param(r, flame_label_name((enum flame_label_kind)i), p->labels[i]))
			p->filter.labels[i] = p->labels[i];
}

static void begin(struct http_request *r, const struct pprof_drawn *drawn, unsigned seconds)
{
	CLEANUP(buf_fini) struct buf head = { 0 };

	buf_init(&head, PAGE_MAX);
	write_head(&head, r, drawn, seconds);
	if (drawn == NULL)
		http_page_end(r, &head);
	if (drawn == NULL) {
		http_reply(r, 200, "text/html; charset=utf-8", &head);
		return;
	}
	http_reply_begin(r, 200, "text/html; charset=utf-8");
	if (request_is_head(r)) {
		http_reply_end(r);
		return;
	}
	(void)http_reply_write(r, head.data, head.len);
}

static void start(struct profiler *profiler, struct http_request *r,
		  const struct pprof_drawn *drawn, unsigned seconds)
{
	struct runner *runner = &r->conn->server->loop->runner;
	struct profiler_request request = { .kind = drawn->kind,
					    .seconds = seconds,
					    .folding = PROFILER_LABELLED,
					    .value = pprof_sample_type(r, drawn) };
	struct op_env env = { .runner = runner,
			      .deadline_ms = runner_now_ms(runner) + seconds * 1000ull + GRACE_MS,
			      .span = r->span };
	struct flame_page *p = mem_alloc(sizeof(*p));

	if (p == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	p->request = r;
	p->drawn = drawn;
	buf_init(&p->rest, PAGE_MAX);
	read_filter(r, p);
	begin(r, drawn, seconds);
	http_request_on_close(r, on_gone, p);
	profiler_capture_start(&p->capture, profiler, &env, &request, on_captured);
}

static void on_flame(void *data, struct http_request *r)
{
	const char *name = http_request_param(r, "profile");
	const struct pprof_drawn *drawn = find_drawn(name);
	unsigned seconds;

	if (name != NULL && drawn == NULL)
		http_reply_error(r, 400, "profile is one of profile, heap, allocs, mutex, block.");
	else if (!read_seconds(r, drawn, &seconds))
		http_reply_error(r, 400, "seconds is a number from 0 to %d.", SECONDS_MAX);
	else if (drawn == NULL || request_is_head(r))
		begin(r, drawn, seconds);
	else
		start(data, r, drawn, seconds);
}

int flame_attach(struct http_server *s, struct profiler *profiler)
{
	return http_route(
		s, HTTP_GET_, "/debug/flame",
		"you want to see where CPU time, memory or waiting goes, without any tool",
		on_flame, profiler);
}
