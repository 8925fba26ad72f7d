/* What leaves a mux. Messages wait in their stream's queue; net_mux_produce fills one record after
 * the other:
 *
 *   1. what is short and must not wait: GOAWAY, PING, PONG, RESET, CREDIT
 *   2. streams in turn, each at most NET_MUX_DATA_MAX bytes per turn, so that a bulk stream delays
 *      a small message by one frame per other stream, not by its whole queue
 *
 * OPEN frames leave in the order of their ids because a new stream joins the turns when it is
 * opened, and a turn for which the record has no room is not skipped. */
#include "net/mux.h"

#include <string.h>

#include "base/mem.h"

enum {
	CHUNK_MIN = 1024, /* small messages share a chunk */
	UVARINT_MAX = 9,
	CONTROL_MAX = 32, /* no frame but DATA is longer */
	DATA_HEAD_MAX = 1 + UVARINT_MAX + 3,
	DATA_WORTH = 512 /* room below which a longer run of data waits for the next record */
};

/* A run of bytes of the stream. */
struct chunk {
	struct list node;
	size_t cap, end, begin; /* begin ≤ end ≤ cap */
	uint8_t data[];
};

struct out {
	uint8_t *p, *end;
};

static size_t left(const struct out *o)
{
	return (size_t)(o->end - o->p);
}

static void put(struct out *o, const void *data, size_t len)
{
	memcpy(o->p, data, len);
	o->p += len;
}

static size_t put_uvarint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	while (v > 0x7f) {
		p[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (uint8_t)v;
	return n;
}

static void put_frame(struct out *o, enum net_mux_frame type, uint64_t id)
{
	*o->p++ = (uint8_t)type;
	o->p += put_uvarint(o->p, id);
}

static void put_frame_arg(struct out *o, enum net_mux_frame type, uint64_t id, uint64_t arg)
{
	put_frame(o, type, id);
	o->p += put_uvarint(o->p, arg);
}

/* ---- Queues ---- */

static bool has_turn(const struct net_stream *s)
{
	return !s->open_sent || (s->send_queued > 0 && s->send_credit > 0) ||
	       (s->we_ended && !s->end_sent && s->send_queued == 0);
}

void net_mux_stream_want_turn(struct net_stream *s)
{
	if (s->closed || list_linked(&s->turn) || !has_turn(s))
		return;
	list_push_back(&s->mux->turns, &s->turn);
	s->mux->events->on_pending(s->mux);
}

void net_mux_stream_drop_queue(struct net_stream *s)
{
	struct list *node;

	while ((node = list_pop_front(&s->send_queue)) != NULL)
		mem_free(list_entry(node, struct chunk, node));
	s->mux->send_queued -= s->send_queued;
	s->send_queued = 0;
}

static struct chunk *chunk_with_room(struct net_stream *s, size_t need)
{
	struct chunk *c;

	if (!list_empty(&s->send_queue)) {
		c = list_entry(s->send_queue.prev, struct chunk, node);
		if (c->cap - c->end >= need)
			return c;
	}
	need = MAX(need, (size_t)CHUNK_MIN);
	c = mem_realloc(NULL, sizeof(*c) + need);
	if (c == NULL)
		return NULL;
	c->cap = need;
	c->begin = c->end = 0;
	list_push_back(&s->send_queue, &c->node);
	return c;
}

int net_mux_stream_send(struct net_stream *s, const void *msg, size_t len)
{
	uint8_t head[UVARINT_MAX];
	size_t head_len, need;
	struct chunk *c;

	if (s->closed || s->we_ended)
		return ERR_CLOSED;
	if (len > NET_MESSAGE_MAX)
		return ERR_TOO_BIG;
	head_len = put_uvarint(head, len);
	need = head_len + len;
	if (s->send_queued + need > NET_SEND_QUEUE_MAX ||
	    s->mux->send_queued + need > NET_CONN_SEND_MAX)
		return ERR_BUSY;
	c = chunk_with_room(s, need);
	if (c == NULL)
		return UV_ENOMEM;
	memcpy(c->data + c->end, head, head_len);
	if (len > 0)
		memcpy(c->data + c->end + head_len, msg, len);
	c->end += need;
	s->send_queued += need;
	s->mux->send_queued += need;
	if (s->send_queued > NET_SEND_QUEUE_HIGH)
		s->above_high = true;
	net_mux_stream_want_turn(s);
	return 0;
}

static void take_queued(struct net_stream *s, uint8_t *dst, size_t len)
{
	s->send_queued -= len;
	s->mux->send_queued -= len;
	s->send_credit -= len;
	s->mux->moved_ms = s->mux->now_ms;
	while (len > 0) {
		struct chunk *c = list_entry(s->send_queue.next, struct chunk, node);
		size_t n = MIN(len, c->end - c->begin);

		memcpy(dst, c->data + c->begin, n);
		c->begin += n;
		dst += n;
		len -= n;
		if (c->begin == c->end) {
			list_remove(&c->node);
			mem_free(c);
		}
	}
	if (s->above_high && s->send_queued < NET_SEND_QUEUE_HIGH / 2) {
		s->above_high = false;
		s->drain_due = true;
	}
	if (s->tell_empty && s->send_queued == 0)
		s->drain_due = true;
}

/* ---- Records ---- */

static void produce_control(struct net_mux *m, struct out *o)
{
	if (m->goaway_due) {
		put_frame(o, NET_MUX_GOAWAY, m->goaway_code);
		m->goaway_due = false;
	}
	if (m->ping_due && left(o) >= CONTROL_MAX) {
		*o->p++ = NET_MUX_PING;
		put(o, &m->ping_token, NET_MUX_PONG_SIZE);
		m->ping_due = false;
	}
	while (m->pong_count > 0 && left(o) >= CONTROL_MAX) {
		*o->p++ = NET_MUX_PONG;
		put(o, m->pongs[--m->pong_count], NET_MUX_PONG_SIZE);
	}
	while (m->reset_count > 0 && left(o) >= CONTROL_MAX) {
		const struct net_mux_reset *r = &m->resets[m->reset_first];

		put_frame_arg(o, NET_MUX_RESET, r->id, r->code);
		m->reset_first = (m->reset_first + 1) % NET_MUX_RESETS_MAX;
		m->reset_count--;
	}
	while (!list_empty(&m->dues) && left(o) >= CONTROL_MAX) {
		struct net_stream *s = list_entry(list_pop_front(&m->dues), struct net_stream, due);

		if (!s->peer_ended)
			put_frame_arg(o, NET_MUX_CREDIT, s->id, s->credit_due);
		s->credit_due = 0;
	}
}

/* False when the record is too full for this stream's turn. */
static bool produce_turn(struct net_stream *s, struct out *o)
{
	size_t n = MIN(MIN(s->send_queued, s->send_credit), (size_t)NET_MUX_DATA_MAX);

	if (left(o) < 2 * CONTROL_MAX + DATA_HEAD_MAX)
		return false;
	if (!s->open_sent) {
		put_frame(o, NET_MUX_OPEN, s->id);
		s->open_sent = true;
	}
	if (n > 0) {
		size_t room = left(o) - CONTROL_MAX - DATA_HEAD_MAX;

		if (n > room && room < DATA_WORTH)
			return false;
		n = MIN(n, room);
		put_frame_arg(o, NET_MUX_DATA, s->id, n);
		take_queued(s, o->p, n);
		o->p += n;
	}
	if (s->we_ended && !s->end_sent && s->send_queued == 0) {
		put_frame(o, NET_MUX_END, s->id);
		s->end_sent = true;
	}
	return true;
}

static void call_drains(struct net_mux *m)
{
	struct list *node = m->streams.next;

	while (!m->stopped && node != &m->streams) {
		struct net_stream *s = list_entry(node, struct net_stream, node);

		node = node->next;
		if (!s->drain_due)
			continue;
		s->drain_due = false;
		if (s->events->on_drain != NULL)
			s->events->on_drain(s);
		node = m->streams.next; /* the callback may have closed any of them */
	}
}

size_t net_mux_produce(struct net_mux *m, uint8_t *dst, size_t cap)
{
	struct out o = { dst, dst + cap };

	REQUIRE(cap >= 4 * CONTROL_MAX);
	produce_control(m, &o);
	while (!list_empty(&m->turns)) {
		struct net_stream *s = list_entry(m->turns.next, struct net_stream, turn);

		if (!produce_turn(s, &o))
			break;
		list_remove(&s->turn);
		net_mux_stream_want_turn(s);
		net_mux_stream_settle(s);
	}
	call_drains(m);
	return (size_t)(o.p - dst);
}

size_t net_mux_pending(const struct net_mux *m)
{
	size_t n = (m->ping_due + m->goaway_due + m->pong_count + m->reset_count) *
		   (size_t)CONTROL_MAX;

	list_for_each(node, &m->dues)
		n += CONTROL_MAX;
	list_for_each(node, &m->turns) {
		const struct net_stream *s = list_entry(node, struct net_stream, turn);

		n += 3 * CONTROL_MAX + MIN(s->send_queued, s->send_credit);
	}
	return n;
}
