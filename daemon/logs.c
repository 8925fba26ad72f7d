#include "daemon/logs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log_ring.h"
#include "base/mem.h"

/* The page writes at most so much; a line of the ring may be longer than it looks, escaped. */
enum {
	PAGE_MAX = 24 << 20,
	TICK_MS = 250,
	KEEPALIVE_TICKS = 6, /* 1.5 s: who hears nothing for 5 s takes us to hang */
	TICK_LINES_MAX = 200,
	EVENT_MAX = 64 << 10
};

struct filter {
	enum log_level level;
	bool any_part;
	enum log_sub part;
	const char *q;
};

struct subscriber {
	struct logs *logs;
	struct http_request *r; /* NULL = free */
	struct filter filter;	/* borrows from r */
	uint64_t after;
	bool is_waiting;
};

struct logs {
	struct daemon *daemon;
	struct runner_timer tick, revert;
	struct subscriber subscribers[LOGS_SUBSCRIBERS_MAX];
	unsigned ticks;
	/* of the levels that are to go back */
	uint64_t until_ms[LOG_SUB_COUNT]; /* 0 = it stays */
	enum log_level before[LOG_SUB_COUNT];
	struct log_record record; /* under the reader's eyes */
	struct buf out;
};

/* ---- Filter ---- */

/* False: replied with an error. */
static bool read_filter(struct http_request *r, struct filter *f)
{
	const char *level = http_request_param(r, "level"), *part = http_request_param(r, "part");
	const char *q = http_request_param(r, "q");

	*f = (struct filter){ .level = LOG_DEBUG, .any_part = true };
	f->q = q != NULL && q[0] != '\0' ? q : NULL;
	if (level != NULL && level[0] != '\0' && log_level_parse(level, &f->level) < 0) {
		http_reply_error(r, 400, "level is error, warn, info or debug.");
		return false;
	}
	if (part == NULL || part[0] == '\0' || strcmp(part, "all") == 0)
		return true;
	f->any_part = false;
	if (log_sub_parse(part, &f->part) == 0)
		return true;
	http_reply_error(r, 400, "There is no such part; /debug/logs/levels lists them.");
	return false;
}

static bool fits(const struct filter *f, const struct log_record *line)
{
	return line->level <= f->level && (f->any_part || line->sub == f->part) &&
	       (f->q == NULL || strstr(line->text, f->q) != NULL);
}

/* ---- Forms of a line ---- */

static void write_json(struct buf *out, const struct log_record *line)
{
	char time[LOG_TIME_SIZE];

	log_time(time, line->wall_ns);
	buf_printf(out,
		   "{\"number\":%" PRIu64
		   ",\"time\":\"%s\",\"level\":\"%s\",\"part\":\"%s\",\"text\":",
		   line->number, time, log_level_name(line->level), log_sub_name(line->sub));
	buf_write_json_str(out, line->text, line->len);
	buf_write_u8(out, '}');
}

static void write_text(struct buf *out, const struct log_record *line)
{
	char time[LOG_TIME_SIZE];

	log_time(time, line->wall_ns);
	buf_printf(out, "time=%s level=%s sub=%s %s\n", time, log_level_name(line->level),
		   log_sub_name(line->sub), line->text);
}

static void write_row(struct buf *out, const struct log_record *line)
{
	char time[LOG_TIME_SIZE];

	log_time(time, line->wall_ns);
	buf_printf(out, "<tr class=\"at-%s\"><td>%s</td><td>%s</td><td>%s</td><td><bdi>",
		   log_level_name(line->level), time, log_level_name(line->level),
		   log_sub_name(line->sub));
	buf_write_html(out, line->text, line->len);
	buf_write_str(out, "</bdi></td></tr>\n");
}

/* ---- The page ---- */

static void write_options(struct buf *out, const char *(*name)(unsigned i), unsigned count,
			  const char *chosen)
{
	for (unsigned i = 0; i < count; i++)
		buf_printf(out, "<option%s>%s</option>",
			   chosen != NULL && strcmp(chosen, name(i)) == 0 ? " selected" : "",
			   name(i));
}

static const char *level_name(unsigned i)
{
	return log_level_name((enum log_level)i);
}

static const char *part_name(unsigned i)
{
	return i == 0 ? "all" : log_sub_name((enum log_sub)(i - 1));
}

static void write_search(struct buf *out, struct http_request *r)
{
	const char *q = http_request_param(r, "q"), *level = http_request_param(r, "level");

	buf_write_str(out, "<form class=\"filter\" role=\"search\" method=\"get\" "
			   "action=\"/debug/logs\">\n<label>level <select name=\"level\">");
	write_options(out, level_name, LOG_DEBUG + 1, level != NULL ? level : "debug");
	buf_write_str(out, "</select></label> <label>part <select name=\"part\">");
	write_options(out, part_name, LOG_SUB_COUNT + 1, http_request_param(r, "part"));
	buf_write_str(out,
		      "</select></label> <label>text <input type=\"search\" name=\"q\" value=\"");
	if (q != NULL)
		buf_write_html(out, q, strlen(q));
	buf_write_str(out, "\"></label> <button type=\"submit\">Show</button></form>\n");
}

/* A browser's form sends its fields as a body; one button per level keeps them in the address. */
static void write_levels(struct buf *out, const struct logs *l, uint64_t now_ms)
{
	buf_write_str(out, "<details><summary>How much each part logs</summary>\n<table><tbody>\n");
	for (unsigned i = 0; i < LOG_SUB_COUNT; i++) {
		enum log_level now = log_get_level((enum log_sub)i);

		buf_printf(out, "<tr><th>%s</th><td>", log_sub_name((enum log_sub)i));
		for (unsigned level = 0; level <= LOG_DEBUG; level++)
			buf_printf(
				out,
				"<form class=\"level\" method=\"post\" action=\"/debug/logs/level?"
				"part=%s&amp;level=%s\"><button "
				"type=\"submit\"%s>%s</button></form> ",
				log_sub_name((enum log_sub)i), level_name(level),
				level == now ? " disabled" : "", level_name(level));
		if (l->until_ms[i] > now_ms)
			buf_printf(out, "back to %s in %" PRIu64 " s", log_level_name(l->before[i]),
				   (l->until_ms[i] - now_ms) / 1000);
		buf_write_str(out, "</td></tr>\n");
	}
	buf_printf(
		out,
		"</tbody></table>\n<p class=\"hint\">A level goes back by itself after %d minutes."
		"</p></details>\n",
		LOGS_LEVEL_DEFAULT_S / 60);
}

static void write_head(struct logs *l, struct http_request *r)
{
	struct buf *out = &l->out;

	http_page_begin(r, out, "Log");
	buf_write_str(out, "<script src=\"/debug/assets/logs.js\" defer></script>\n<h1>Log</h1>\n");
	write_search(out, r);
	write_levels(out, l, runner_now_ms(&l->daemon->loop.runner));
	buf_write_str(out, "<table class=\"log\" id=\"log\"><thead><tr><th>time</th><th>level</th>"
			   "<th>part</th><th>line</th></tr></thead><tbody>\n");
}

/* The number from which on the wanted count of lines fits the filter. */
static uint64_t find_start(struct logs *l, const struct filter *f, size_t wanted)
{
	size_t found = 0, skip;

	for (uint64_t at = 0; log_ring_next(at, &l->record); at = l->record.number)
		found += fits(f, &l->record);
	skip = found > wanted ? found - wanted : 0;
	for (uint64_t at = 0; skip > 0 && log_ring_next(at, &l->record); at = l->record.number) {
		skip -= fits(f, &l->record);
		if (skip == 0)
			return l->record.number;
	}
	return 0;
}

static uint64_t write_lines(struct logs *l, const struct filter *f, uint64_t after,
			    enum http_format format)
{
	bool first = true;

	for (; log_ring_next(after, &l->record); after = l->record.number) {
		if (!fits(f, &l->record))
			continue;
		if (format == HTTP_JSON && !first)
			buf_write_str(&l->out, ",\n");
		first = false;
		if (format == HTTP_JSON)
			write_json(&l->out, &l->record);
		else if (format == HTTP_HTML)
			write_row(&l->out, &l->record);
		else
			write_text(&l->out, &l->record);
	}
	return after;
}

static size_t wanted_lines(struct http_request *r)
{
	const char *n = http_request_param(r, "n");
	unsigned long value = n != NULL ? strtoul(n, NULL, 10) : 0;

	return value > 0 && value <= LOG_RING_LINES ? value : LOGS_LINES_DEFAULT;
}

static void on_logs(void *data, struct http_request *r)
{
	static const char *const types[] = { [HTTP_TEXT] = "text/plain; charset=utf-8",
					     [HTTP_JSON] = "application/json",
					     [HTTP_HTML] = "text/html; charset=utf-8" };
	enum http_format format = http_request_format(r);
	struct logs *l = data;
	struct log_ring_stats stats;
	struct filter f;
	uint64_t last;

	if (!read_filter(r, &f))
		return;
	buf_init(&l->out, PAGE_MAX);
	log_ring_stats(&stats);
	if (format == HTTP_HTML)
		write_head(l, r);
	else if (format == HTTP_JSON)
		buf_printf(&l->out,
			   "{\"v\":1,\"written\":%" PRIu64 ",\"dropped\":%" PRIu64
			   ",\"suppressed\":%" PRIu64 ",\"lines\":[",
			   stats.written, stats.dropped, log_suppressed());
	last = write_lines(l, &f, find_start(l, &f, wanted_lines(r)), format);
	if (format == HTTP_JSON)
		buf_write_str(&l->out, "]}\n");
	if (format == HTTP_HTML) {
		buf_printf(
			&l->out,
			"</tbody></table>\n<p class=\"hint\" id=\"logs-more\" data-after=\"%" PRIu64
			"\">%" PRIu64 " lines since the start, %" PRIu64
			" of them no longer here, %" PRIu64 " repeats left out.</p>\n",
			last, stats.written, stats.dropped, log_suppressed());
		http_page_end(r, &l->out);
	}
	http_reply(r, 200, types[format], &l->out);
}

/* ---- As they come ---- */

static bool any_subscriber(const struct logs *l)
{
	for (size_t i = 0; i < LOGS_SUBSCRIBERS_MAX; i++)
		if (l->subscribers[i].r != NULL)
			return true;
	return false;
}

/* One write for all lines of a tick. */
static void send_new(struct subscriber *u)
{
	struct logs *l = u->logs;
	unsigned count = 0;

	buf_init(&l->out, TICK_LINES_MAX * (size_t)EVENT_MAX);
	while (count < TICK_LINES_MAX && log_ring_next(u->after, &l->record)) {
		u->after = l->record.number;
		if (!fits(&u->filter, &l->record))
			continue;
		buf_printf(&l->out, "id: %" PRIu64 "\nevent: line\ndata: ", u->after);
		write_json(&l->out, &l->record);
		buf_write_str(&l->out, "\n\n");
		count++;
	}
	if (l->out.len == 0 && l->ticks % KEEPALIVE_TICKS == 0)
		buf_write_str(&l->out, ": still here\n\n");
	if (buf_err(&l->out) == 0 && l->out.len > 0)
		u->is_waiting = http_reply_write(u->r, l->out.data, l->out.len);
	buf_fini(&l->out);
}

static void on_tick(struct runner_timer *timer)
{
	struct logs *l = container_of(timer, struct logs, tick);
	struct runner *runner = &l->daemon->loop.runner;

	l->ticks++;
	for (size_t i = 0; i < LOGS_SUBSCRIBERS_MAX; i++)
		if (l->subscribers[i].r != NULL && !l->subscribers[i].is_waiting)
			send_new(&l->subscribers[i]);
	if (any_subscriber(l))
		runner_timer_start(runner, timer, runner_now_ms(runner) + TICK_MS);
}

static void on_drain(void *data, struct http_request *r)
{
	struct subscriber *u = data;

	(void)r;
	u->is_waiting = false;
}

static void on_close(void *data, struct http_request *r)
{
	struct subscriber *u = data;

	u->r = NULL;
	http_reply_end(r);
}

static uint64_t number_of(const char *text, uint64_t otherwise)
{
	return text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) :
								  otherwise;
}

static void on_live(void *data, struct http_request *r)
{
	struct logs *l = data;
	struct subscriber *u = NULL;
	struct log_ring_stats stats;
	struct filter f;

	if (!read_filter(r, &f))
		return;
	for (size_t i = 0; i < LOGS_SUBSCRIBERS_MAX && u == NULL; i++)
		if (l->subscribers[i].r == NULL)
			u = &l->subscribers[i];
	if (u == NULL) {
		http_reply_error(r, 503, "%d readers follow the log already.",
				 LOGS_SUBSCRIBERS_MAX);
		return;
	}
	log_ring_stats(&stats);
	*u = (struct subscriber){ .logs = l, .r = r, .filter = f };
	u->after = number_of(http_request_header(r, "last-event-id"),
			     number_of(http_request_param(r, "after"), stats.written));
	u->after = MIN(u->after, stats.written);
	http_request_on_close(r, on_close, u);
	http_request_on_drain(r, on_drain, u);
	http_reply_begin(r, 200, "text/event-stream; charset=utf-8");
	u->is_waiting = http_reply_write(r, "retry: 2000\n\n", strlen("retry: 2000\n\n"));
	l->tick.run = on_tick;
	runner_timer_start(&l->daemon->loop.runner, &l->tick,
			   runner_now_ms(&l->daemon->loop.runner));
}

/* ---- Levels ---- */

static void arm_revert(struct logs *l)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < LOG_SUB_COUNT; i++)
		if (l->until_ms[i] != 0)
			next = MIN(next, l->until_ms[i]);
	if (next == UINT64_MAX)
		runner_timer_stop(&l->daemon->loop.runner, &l->revert);
	else
		runner_timer_start(&l->daemon->loop.runner, &l->revert, next);
}

static void on_revert(struct runner_timer *timer)
{
	struct logs *l = container_of(timer, struct logs, revert);
	uint64_t now = runner_now_ms(&l->daemon->loop.runner);

	for (size_t i = 0; i < LOG_SUB_COUNT; i++) {
		if (l->until_ms[i] == 0 || l->until_ms[i] > now)
			continue;
		l->until_ms[i] = 0;
		log_set_level((enum log_sub)i, l->before[i]);
		log_info(LOG_DAEMON, "msg=\"log level back\" part=%s level=%s",
			 log_sub_name((enum log_sub)i), log_level_name(l->before[i]));
	}
	arm_revert(l);
}

static void set_level(struct logs *l, enum log_sub part, enum log_level level, uint64_t seconds)
{
	uint64_t now = runner_now_ms(&l->daemon->loop.runner);

	if (l->until_ms[part] == 0)
		l->before[part] = log_get_level(part);
	l->until_ms[part] = seconds > 0 && level != l->before[part] ? now + seconds * 1000 : 0;
	log_set_level(part, level);
}

static void reply_levels(struct logs *l, struct http_request *r)
{
	uint64_t now = runner_now_ms(&l->daemon->loop.runner);
	bool is_json = http_request_format(r) == HTTP_JSON;
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, 16 << 10);
	buf_write_str(&out, is_json ? "{" : "");
	for (unsigned i = 0; i < LOG_SUB_COUNT; i++) {
		uint64_t left = l->until_ms[i] > now ? (l->until_ms[i] - now) / 1000 : 0;
		const char *level = log_level_name(log_get_level((enum log_sub)i));
		const char *name = log_sub_name((enum log_sub)i);

		if (is_json)
			buf_printf(&out, "%s\"%s\":{\"level\":\"%s\",\"seconds_left\":%" PRIu64 "}",
				   i > 0 ? "," : "", name, level, left);
		else if (left > 0)
			buf_printf(&out, "%-10s %s, back to %s in %" PRIu64 " s\n", name, level,
				   log_level_name(l->before[i]), left);
		else
			buf_printf(&out, "%-10s %s\n", name, level);
	}
	buf_write_str(&out, is_json ? "}\n" : "");
	http_reply(r, 200, is_json ? "application/json" : "text/plain; charset=utf-8", &out);
}

static void on_levels(void *data, struct http_request *r)
{
	reply_levels(data, r);
}

static void on_level(void *data, struct http_request *r)
{
	const char *level_text = http_request_param(r, "level");
	uint64_t seconds = number_of(http_request_param(r, "seconds"), LOGS_LEVEL_DEFAULT_S);
	struct logs *l = data;
	enum log_level level;
	struct filter f;

	if (!read_filter(r, &f))
		return;
	if (level_text == NULL || log_level_parse(level_text, &level) < 0) {
		http_reply_error(r, 400, "level is missing: error, warn, info or debug.");
		return;
	}
	if (seconds > LOGS_LEVEL_MAX_S) {
		http_reply_error(r, 400, "seconds is at most %d, 0 for good.", LOGS_LEVEL_MAX_S);
		return;
	}
	for (unsigned i = 0; i < LOG_SUB_COUNT; i++)
		if (f.any_part || f.part == i)
			set_level(l, (enum log_sub)i, level, seconds);
	l->revert.run = on_revert;
	arm_revert(l);
	log_info(LOG_DAEMON, "msg=\"log level changed\" part=%s level=%s seconds=%" PRIu64,
		 f.any_part ? "all" : log_sub_name(f.part), level_text, seconds);
	if (http_request_format(r) == HTTP_HTML) {
		http_reply_header(r, "Location", "/debug/logs");
		http_reply(r, 303, NULL, NULL);
	} else {
		reply_levels(l, r);
	}
}

int logs_attach(struct logs *l, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/logs",
			    "what it said lately, as it says it; how much each part logs", on_logs,
			    l);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/logs/live", NULL, on_live, l);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/logs/levels", NULL, on_levels, l);
	if (rc == 0)
		rc = http_route(s, HTTP_POST_, "/debug/logs/level", NULL, on_level, l);
	return rc;
}

struct logs *logs_new(struct daemon *d)
{
	struct logs *l = mem_alloc(sizeof(*l));

	if (l != NULL)
		l->daemon = d;
	return l;
}

struct logs *logs_free(struct logs *l)
{
	if (l == NULL)
		return NULL;
	runner_timer_stop(&l->daemon->loop.runner, &l->tick);
	runner_timer_stop(&l->daemon->loop.runner, &l->revert);
	return mem_free(l);
}
