/* trace tail: traces as they end, from the daemon's stream of server-sent events (WHATWG
 * HTML, 9.2).
 *
 * What is lost is asked for again: the stream's events have ids, and who comes back with the last
 * one it saw is told what it missed, or how much of it is gone. Events of roots that run are passed
 * over. An event is an "event:" line, a "data:" line with JSON, maybe an "id:" line, in any order,
 * then an empty one; unknown lines are ignored. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/trace_cli.h"

enum {
	EVENT_ID_MAX = 64,
	COLUMNS_DEFAULT = 80,
	COLUMNS_MIN = 60,
	COLUMNS_MAX = 1000,
	AGAIN_MIN_MS = 500,
	AGAIN_MAX_MS = 8000,
	LINE_BYTES_MAX = 16384,
	ID_SHOWN = 8
};

struct tail {
	struct cli *c;
	unsigned columns;
	char last_id[EVENT_ID_MAX];
	char id[EVENT_ID_MAX]; /* of the event that is coming in */
	enum { EVENT_OTHER, EVENT_TRACE, EVENT_DROPPED } event;
	json_t *data;
	bool heard; /* something, on this connection */
};

/* ---- A line per trace ---- */

/* As wide as the terminal; in a pipe, as wide as $COLUMNS says, or 80. */
static unsigned columns(void)
{
	const char *said = getenv("COLUMNS");
	struct winsize size = { 0 };
	long n = said != NULL ? strtol(said, NULL, 10) : 0;

	if (n <= 0 && isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		n = size.ws_col;
	return n <= 0 ? COLUMNS_DEFAULT : (unsigned)MIN(MAX(n, (long)COLUMNS_MIN), COLUMNS_MAX);
}

/* Safe text in at most `most` columns, counting a character as one; of what is wider (CJK) less is
 * shown than there is room for. Returns the columns taken. */
static unsigned write_cut(struct buf *out, const char *text, unsigned most)
{
	CLEANUP(buf_fini) struct buf safe = { 0 };
	unsigned used = 0;
	size_t at = 0;

	buf_init(&safe, LINE_BYTES_MAX);
	cli_write_safe(&safe, text);
	while (at < safe.len) {
		uint32_t c = 0;
		size_t n = MAX(utf8_decode((char *)safe.data + at, safe.len - at, &c), (size_t)1);
		unsigned width = c >= 0x1100 ? 2 : 1;

		if (used + width + (at + n < safe.len ? 1 : 0) > most) {
			buf_write_str(out, "…");
			return used + 1;
		}
		buf_write(out, safe.data + at, n);
		used += width;
		at += n;
	}
	return used;
}

static void write_cell(struct buf *out, const char *text, unsigned width)
{
	for (unsigned used = write_cut(out, text, width); used < width; used++)
		buf_write_u8(out, ' ');
}

static void write_time(struct buf *out, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm = { 0 };

	localtime_r(&seconds, &tm);
	buf_printf(out, "%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void write_duration(struct buf *out, uint64_t ns)
{
	char text[32];

	if (ns < NS_PER_MS)
		snprintf(text, sizeof(text), "%.0f us", (double)ns / 1e3);
	else if (ns < 100 * NS_PER_SEC)
		snprintf(text, sizeof(text), ns < NS_PER_SEC ? "%.1f ms" : "%.2f s",
			 ns < NS_PER_SEC ? (double)ns / 1e6 : (double)ns / 1e9);
	else
		snprintf(text, sizeof(text), "%" PRIu64 "m%02us", (uint64_t)(ns / NS_PER_SEC / 60),
			 (unsigned)(ns / NS_PER_SEC % 60));
	buf_printf(out, "%9s", text);
}

/* "71 % dht" */
static void format_longest(const json_t *trace, char ret[80])
{
	uint64_t whole = MAX(json_get_count(trace, "duration_ns"), UINT64_C(1)), most = 0;
	const char *name = "";
	json_t *stage, *other;
	size_t i, k;

	json_array_foreach(json_object_get(trace, "stages"), i, stage) {
		uint64_t sum = 0;

		json_array_foreach(json_object_get(trace, "stages"), k, other) {
			if (strcmp(json_get_text(other, "name"), json_get_text(stage, "name")) == 0)
				sum += json_get_count(other, "duration_ns");
		}
		if (sum > most) {
			most = sum;
			name = json_get_text(stage, "name");
		}
	}
	ret[0] = '\0';
	if (most > 0)
		snprintf(ret, 80, "%.0f %% %.64s", (double)most * 100 / (double)whole, name);
}

/* "05:11:05 f8a51e3c   6.00 ms local      sync.discover 97 % local_sync hm://…": the id is short
 * enough to be typed, and long enough for `trace show`. */
static void print_trace(const struct tail *t, const json_t *trace)
{
	char longest[80];
	struct buf line;
	unsigned used;

	if (t->c->json) {
		cli_print_json(json_deep_copy(trace));
		return;
	}
	buf_init(&line, LINE_BYTES_MAX);
	write_time(&line, json_get_count(trace, "started_ms"));
	buf_printf(&line, " %.*s ", ID_SHOWN, json_get_text(trace, "id"));
	write_duration(&line, json_get_count(trace, "duration_ns"));
	used = 8 + 1 + ID_SHOWN + 1 + 9;
	buf_write_u8(&line, ' ');
	write_cell(&line, json_get_text(trace, "outcome"), 10);
	buf_write_u8(&line, ' ');
	used += 12 + write_cut(&line, json_get_text(trace, "category"), 20) + 1;
	buf_write_u8(&line, ' ');
	format_longest(trace, longest);
	if (longest[0] != '\0') {
		used += write_cut(&line, longest, 20) + 1;
		buf_write_u8(&line, ' ');
	}
	buf_write_u8(&line, ' ');
	if (t->columns > used + 3)
		(void)write_cut(&line, json_get_text(trace, "title"), t->columns - used - 2);
	buf_write_u8(&line, '\n');
	output_text(&line);
	buf_fini(&line);
}

/* ---- Events ---- */

static void end_of_event(struct tail *t)
{
	if (t->event == EVENT_TRACE && json_is_true(json_object_get(t->data, "finished")))
		print_trace(t, t->data);
	else if (t->event == EVENT_DROPPED)
		cli_warn("%" PRIu64 " %s lost: the daemon did not wait for us",
			 json_get_count(t->data, "count"),
			 plural(json_get_count(t->data, "count"), "event was", "events were"));
	if (t->id[0] != '\0')
		snprintf(t->last_id, sizeof(t->last_id), "%s", t->id);
	json_decref(t->data);
	t->data = NULL;
	t->id[0] = '\0';
	t->event = EVENT_OTHER;
	output_flush();
}

static bool is_field(const char *line, size_t len, const char *name, const char **ret,
		     size_t *ret_len)
{
	size_t n = strlen(name);

	if (len < n || memcmp(line, name, n) != 0)
		return false;
	n += n < len && line[n] == ' ';
	*ret = line + n;
	*ret_len = len - n;
	return true;
}

static bool on_line(void *data, const char *line, size_t len)
{
	struct tail *t = data;
	const char *value;
	size_t n;

	t->heard = true;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len == 0) {
		end_of_event(t);
	} else if (is_field(line, len, "event:", &value, &n)) {
		t->event = n == 5 && memcmp(value, "trace", n) == 0   ? EVENT_TRACE :
			   n == 7 && memcmp(value, "dropped", n) == 0 ? EVENT_DROPPED :
									EVENT_OTHER;
	} else if (is_field(line, len, "id:", &value, &n) && n < sizeof(t->id)) {
		memcpy(t->id, value, n);
		t->id[n] = '\0';
	} else if (is_field(line, len, "data:", &value, &n)) {
		json_decref(t->data);
		t->data = json_loadb(value, n, 0, NULL);
	}
	return !client_interrupted() && output_err() == 0;
}

/* ---- The connection, and the next one ---- */

static void wait_ms(unsigned ms)
{
	const struct timespec step = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&step, NULL);
}

/* Returns when the daemon refuses, was never there, or somebody presses Ctrl-C. */
static int follow(struct tail *t, const char *path)
{
	unsigned again_ms = AGAIN_MIN_MS;
	bool was_heard = false, is_lost = false;

	for (;;) {
		int rc;

		t->heard = false;
		rc = client_lines(t->c->client, path, t->last_id[0] != '\0' ? t->last_id : NULL,
				  on_line, t);
		if (client_interrupted() || rc == UV_ECANCELED)
			return EXIT_CANCELLED;
		if (output_err() < 0)
			return EXIT_DONE; /* the exit code is made of it */
		was_heard |= t->heard;
		/* One that hangs is not waited for: it may do so for ever. */
		if (rc == UV_ETIMEDOUT ||
		    (rc < 0 && (!was_heard || !client_unreachable(t->c->client))))
			return cli_client_failed(t->c, rc);
		if (rc == 0 && !was_heard)
			return cli_fail(EXIT_FAILED, "the daemon's answer is empty: is it of "
						     "another version?");
		if (t->heard) {
			again_ms = AGAIN_MIN_MS;
			is_lost = false;
		}
		if (!is_lost)
			cli_warn("the daemon went away: trying again until it is back");
		is_lost = true;
		wait_ms(again_ms);
		again_ms = MIN(again_ms * 2, (unsigned)AGAIN_MAX_MS);
	}
}

int trace_cli_tail(struct cli *c, const char *text)
{
	CLEANUP(mem_freep) char *escaped = client_escape(text != NULL ? text : "");
	CLEANUP(mem_freep) char *path = NULL;
	struct tail t = { .c = c, .columns = columns() };
	int rc;

	if (escaped != NULL)
		path = mem_printf("/debug/traces?stream&finished&q=%s", escaped);
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	client_catch_interrupt();
	rc = follow(&t, path);
	json_decref(t.data);
	return rc;
}
