#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "debug_http/traces.h"

/* Roots as they begin, change their stage and complete, as server-sent events (the WHATWG HTML
 * standard, 9.2): "trace" with the root as JSON, "dropped" with a count.
 *
 * The store tells of beginnings and ends (trace_watch); each takes a place in a ring and a number,
 * which is the event's id, so that a client that was cut off goes on where it was (Last-Event-ID).
 * An event is looked at and rendered when its turn comes, from what the store holds then: a slice
 * of time for all subscribers, then the loop goes on. Who falls behind further
 * than the ring reaches loses events and is told how many. Changes of stage are looked for a few
 * times a second in the roots known to be running; they have no number and are not repeated.
 *
 * A number from before this following began ("epoch") means nothing: its client starts anew. */

enum {
	LIVE_SUBSCRIBERS_MAX = 6, /* of HTTP_CONNS_MAX connections */
	LIVE_RING_MAX = 2048,
	LIVE_ACTIVE_MAX = 128,
	LIVE_TICK_MS = 300,
	LIVE_KEEPALIVE_TICKS = 5, /* 1.5 s: who hears nothing for 5 s takes us to hang */
	LIVE_LINGER_TICKS = 200,  /* without subscribers, until the ring is forgotten */
	LIVE_EVENT_MAX = 64 << 10
};

struct event {
	struct root_ref root;
	bool complete;
};

struct running {
	struct root_ref root;
	const char *stage;
};

struct subscriber {
	struct live *live;
	struct http_request *r;	  /* NULL = free */
	struct trace_query query; /* borrows from r */
	struct trace_find find;	  /* in the root of the next event */
	uint64_t next;		  /* number of the event to send next */
	bool is_finding;
	bool is_waiting; /* for the socket to drain */
};

struct live {
	struct http_server *server;
	struct trace *trace;
	struct trace_watch watch;
	struct runner_task task;
	struct runner_timer timer;
	uint64_t epoch, end; /* numbers go from 1; end = the next one */
	struct event ring[LIVE_RING_MAX];
	struct running running[LIVE_ACTIVE_MAX];
	size_t running_count;
	struct subscriber subscribers[LIVE_SUBSCRIBERS_MAX];
	unsigned ticks, lonely_ticks, first; /* who comes first next time */
	struct buf out;
};

/* ---- Rendering ---- */

static void write_segment(struct buf *out, struct palette *p, bool *first, const char *name,
			  uint64_t start_ns, uint64_t ns)
{
	buf_write_str(out, *first ? "{\"name\":" : ",{\"name\":");
	buf_write_json_str(out, name, strlen(name));
	buf_printf(out, ",\"start_ns\":%" PRIu64 ",\"duration_ns\":%" PRIu64 ",\"colour\":%u}",
		   start_ns, ns, palette_colour(p, name));
	*first = false;
}

static void write_segments(struct buf *out, struct live *l, const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	struct palette *p = &l->server->palette;
	struct trace_stage_view stage;
	uint64_t at_ns = 0;
	bool first = true;

	if (s->stage_count <= STAGE_SEGMENTS_MAX && !s->stages_folded) {
		for (uint32_t i = 0; trace_stage_at(l->trace, s, i, &stage); i++)
			write_segment(out, p, &first, stage.name, stage.start_ns,
				      stage.duration_ns);
		return;
	}
	for (size_t i = 0, count = stage_sums(l->trace, s, sums); i < count; i++) {
		write_segment(out, p, &first, sums[i].name, at_ns, sums[i].ns);
		at_ns += sums[i].ns;
	}
}

static void write_root(struct buf *out, struct live *l, const struct trace_span_view *s)
{
	struct trace_stage_view now;

	buf_write_str(out, "{\"id\":\"");
	page_write_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, "\",\"span\":\"");
	page_write_hex(out, s->span_id, sizeof(s->span_id));
	buf_write_str(out, "\",\"category\":");
	buf_write_json_str(out, s->category, strlen(s->category));
	buf_write_str(out, ",\"title\":");
	buf_write_json_str(out, s->title, s->title_len);
	buf_printf(out,
		   ",\"started_ms\":%" PRIu64 ",\"duration_ns\":%" PRIu64
		   ",\"finished\":%s,\"errored\":%s,\"outcome\":",
		   (uint64_t)(s->start_wall_ns / NS_PER_MS), s->duration_ns,
		   s->finished ? "true" : "false",
		   s->finished && s->status != 0 ? "true" : "false");
	buf_write_json_str(out, s->outcome, strlen(s->outcome));
	if (!s->finished && s->stage_count > 0 &&
	    trace_stage_at(l->trace, s, s->stage_count - 1, &now)) {
		buf_write_str(out, ",\"stage\":");
		buf_write_json_str(out, now.name, strlen(now.name));
		buf_printf(out, ",\"stage_ns\":%" PRIu64, now.duration_ns);
	}
	buf_write_str(out, ",\"stages\":[");
	write_segments(out, l, s);
	buf_write_str(out, "]}");
}

/* ---- Sending ---- */

static void submit(struct subscriber *u, struct buf *out)
{
	if (buf_err(out) == 0 && http_reply_write(u->r, out->data, out->len))
		u->is_waiting = true;
}

static void send_root(struct subscriber *u, const struct trace_span_view *s, uint64_t number)
{
	struct live *l = u->live;

	buf_clear(&l->out);
	if (number > 0)
		buf_printf(&l->out, "id: %" PRIx64 "-%" PRIu64 "\n", l->epoch, number);
	buf_write_str(&l->out, "event: trace\ndata: ");
	write_root(&l->out, l, s);
	buf_write_str(&l->out, "\n\n");
	submit(u, &l->out);
}

static void send_text(struct subscriber *u, const char *text)
{
	buf_clear(&u->live->out);
	buf_write_str(&u->live->out, text);
	submit(u, &u->live->out);
}

static void tell_dropped(struct subscriber *u, uint64_t count)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "event: dropped\ndata: {\"count\":%" PRIu64 "}\n\n",
		       count);
	send_text(u, text);
}

static void skip_lost(struct subscriber *u)
{
	struct live *l = u->live;

	if (l->end - u->next <= LIVE_RING_MAX)
		return;
	tell_dropped(u, l->end - u->next - LIVE_RING_MAX);
	u->next = l->end - LIVE_RING_MAX;
	u->is_finding = false;
}

/* A step with the next event. One that has finished since is told of once, by its end. */
static void take_next(struct subscriber *u)
{
	struct live *l = u->live;
	const struct event *e = &l->ring[u->next % LIVE_RING_MAX];
	struct trace_span_view s;

	if (!u->is_finding)
		trace_find_one(&u->find, l->trace, &u->query, e->root.slot, e->root.span_id);
	u->is_finding = !trace_find_step(&u->find);
	if (u->is_finding)
		return;
	if (u->find.matched > 0 && trace_look(l->trace, e->root.slot, e->root.span_id, &s) &&
	    (e->complete || !s.finished))
		send_root(u, &s, u->next);
	u->next++;
}

/* True when there is more to do now. */
static bool catch_up(struct subscriber *u, uint64_t until_ns)
{
	skip_lost(u);
	while (u->next < u->live->end && !u->is_waiting && clock_now_ns(&clock_system) < until_ns)
		take_next(u);
	return u->next < u->live->end && !u->is_waiting;
}

static void on_task(struct runner_task *task)
{
	struct live *l = container_of(task, struct live, task);
	uint64_t until_ns = clock_now_ns(&clock_system) + TRACES_SLICE_NS;
	bool more = false;

	for (size_t i = 0; i < LIVE_SUBSCRIBERS_MAX; i++) {
		struct subscriber *u = &l->subscribers[(l->first + i) % LIVE_SUBSCRIBERS_MAX];

		if (u->r != NULL && !u->is_waiting)
			more |= catch_up(u, until_ns);
	}
	l->first++;
	if (more)
		runner_defer(&l->server->loop->runner, &l->task);
}

static void on_drain(void *data, struct http_request *r)
{
	struct subscriber *u = data;

	u->is_waiting = false;
	runner_defer(&u->live->server->loop->runner, &u->live->task);
}

/* ---- What happens ---- */

static void forget_running(struct live *l, size_t i)
{
	l->running[i] = l->running[--l->running_count];
}

static void add_running(struct live *l, uint32_t slot, const uint8_t span_id[8])
{
	struct running *new = &l->running[l->running_count];

	if (l->running_count == LIVE_ACTIVE_MAX)
		return; /* its end is told all the same */
	*new = (struct running){ .root.slot = slot };
	memcpy(new->root.span_id, span_id, 8);
	l->running_count++;
}

/* Called from inside the store: takes a note only. */
static void on_root(struct trace_watch *w, uint32_t slot, const uint8_t span_id[8], bool complete)
{
	struct live *l = container_of(w, struct live, watch);
	struct event *e = &l->ring[l->end++ % LIVE_RING_MAX];

	*e = (struct event){ .root.slot = slot, .complete = complete };
	memcpy(e->root.span_id, span_id, 8);
	if (!complete)
		add_running(l, slot, span_id);
	runner_defer(&l->server->loop->runner, &l->task);
}

static bool wants(struct subscriber *u, const struct trace_span_view *s)
{
	return trace_matches(u->live->trace, &u->query, s->slot, s->span_id);
}

/* Those that are in another stage than before. */
static void tell_stages(struct live *l)
{
	for (size_t i = 0; i < l->running_count;) {
		struct running *known = &l->running[i];
		struct trace_stage_view now;
		struct trace_span_view s;

		if (!trace_look(l->trace, known->root.slot, known->root.span_id, &s) ||
		    s.finished) {
			forget_running(l, i);
			continue;
		}
		i++;
		if (s.stage_count == 0 || !trace_stage_at(l->trace, &s, s.stage_count - 1, &now) ||
		    now.name == known->stage)
			continue;
		known->stage = now.name;
		for (size_t k = 0; k < LIVE_SUBSCRIBERS_MAX; k++)
			if (l->subscribers[k].r != NULL && !l->subscribers[k].is_waiting &&
			    wants(&l->subscribers[k], &s))
				send_root(&l->subscribers[k], &s, 0);
	}
}

static bool has_subscribers(const struct live *l)
{
	for (size_t i = 0; i < LIVE_SUBSCRIBERS_MAX; i++)
		if (l->subscribers[i].r != NULL)
			return true;
	return false;
}

static void arm(struct live *l)
{
	struct runner *runner = &l->server->loop->runner;

	runner_timer_start(runner, &l->timer, runner_now_ms(runner) + LIVE_TICK_MS);
}

static void on_timer(struct runner_timer *timer)
{
	struct live *l = container_of(timer, struct live, timer);

	l->lonely_ticks = has_subscribers(l) ? 0 : l->lonely_ticks + 1;
	if (l->lonely_ticks > LIVE_LINGER_TICKS) {
		live_stop(l->server);
		return;
	}
	tell_stages(l);
	if (++l->ticks % LIVE_KEEPALIVE_TICKS == 0)
		for (size_t i = 0; i < LIVE_SUBSCRIBERS_MAX; i++)
			if (l->subscribers[i].r != NULL && !l->subscribers[i].is_waiting)
				send_text(&l->subscribers[i], ": still here\n\n");
	arm(l);
}

/* ---- Subscribers ---- */

static void on_close(void *data, struct http_request *r)
{
	struct subscriber *u = data;

	u->r = NULL;
	http_reply_end(r);
}

static struct live *live_get(struct http_server *s)
{
	struct runner *runner = &s->loop->runner;
	struct live *l = s->live;

	if (l != NULL)
		return l;
	l = mem_alloc(sizeof(*l));
	if (l == NULL)
		return NULL;
	l->server = s;
	l->trace = s->shown_trace;
	l->watch.on_root = on_root;
	l->task.run = on_task;
	l->timer.run = on_timer;
	l->epoch = runner_random(runner) & 0xffffffff;
	l->end = 1;
	buf_init(&l->out, LIVE_EVENT_MAX);
	s->live = l;
	trace_watch(l->trace, &l->watch);
	arm(l);
	return l;
}

void live_stop(struct http_server *s)
{
	struct live *l = s->live;

	if (l == NULL)
		return;
	s->live = NULL;
	trace_unwatch(l->trace, &l->watch);
	runner_undefer(&l->task);
	runner_timer_stop(&s->loop->runner, &l->timer);
	for (size_t i = 0; i < LIVE_SUBSCRIBERS_MAX; i++)
		if (l->subscribers[i].r != NULL)
			http_reply_end(l->subscribers[i].r);
	buf_fini(&l->out);
	mem_free(l);
}

/* The number behind the last event that the client has seen; 0 when that is not known here. */
static uint64_t resume_at(const struct live *l, const struct http_request *r)
{
	const char *last = http_request_header(r, "last-event-id");
	char *end;

	if (last == NULL || strtoull(last, &end, 16) != l->epoch || *end != '-')
		return 0;
	uint64_t number = strtoull(end + 1, &end, 10);
	return *end == '\0' && number > 0 && number < l->end ? number + 1 : 0;
}

static bool take_root(void *data, const struct trace_span_view *s)
{
	*(struct trace_span_view *)data = *s;
	return false;
}

/* What is running already, for a client that starts anew. */
static void send_running(struct subscriber *u)
{
	struct trace_query q = { .active = true,
				 .limit = LIVE_ACTIVE_MAX,
				 .sort = TRACE_SORT_NEWEST };
	uint32_t slots[LIVE_ACTIVE_MAX];
	struct live *l = u->live;
	bool is_first = l->running_count == 0;
	size_t count = trace_search(l->trace, &q, slots, ARRAY_SIZE(slots), NULL, NULL);

	while (count-- > 0) {
		struct trace_span_view s;

		trace_walk(l->trace, slots[count], take_root, &s);
		if (is_first)
			add_running(l, s.slot, s.span_id);
		if (wants(u, &s))
			send_root(u, &s, 0);
	}
}

static struct subscriber *free_place(struct live *l)
{
	for (size_t i = 0; i < LIVE_SUBSCRIBERS_MAX; i++)
		if (l->subscribers[i].r == NULL)
			return &l->subscribers[i];
	return NULL;
}

void live_reply(struct http_server *s, struct http_request *r, const struct trace_query *q)
{
	struct subscriber *u;
	struct live *l;

	l = s->closing ? NULL : live_get(s);
	u = l != NULL ? free_place(l) : NULL;
	if (u == NULL) {
		http_reply_header(r, "Retry-After", "5");
		http_reply_error(r, 503,
				 l == NULL ? "The daemon is out of memory." :
					     "Too many follow the traces already.");
		return;
	}
	http_reply_begin(r, 200, "text/event-stream; charset=utf-8");
	if (request_is_head(r)) {
		http_reply_end(r);
		return;
	}
	*u = (struct subscriber){ .live = l, .r = r, .query = *q };
	http_request_on_drain(r, on_drain, u);
	http_request_on_close(r, on_close, u);
	u->next = resume_at(l, r);
	send_text(u, "retry: 2000\n\n");
	if (u->next == 0) {
		u->next = l->end;
		send_running(u);
	}
	runner_defer(&s->loop->runner, &l->task);
}
