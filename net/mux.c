/* Streams of a mux from opening to closing. What arrives is in net_mux_receive.c, what leaves in
 * mux_send.c.
 *
 * A stream is live from open until both sides ended, one reset it, or the mux stopped. Then it
 * leaves every list, on_closed is called once, and the struct waits for its owner to be told;
 * frames that still arrive for its id are recognised by the number and dropped. */
#include "net/mux.h"

#include <string.h>

#include "base/mem.h"

static const struct {
	enum net_mux_code code;
	int err;
} codes[] = {
	{ NET_MUX_CODE_CANCELLED, UV_ECANCELED }, { NET_MUX_CODE_REFUSED, ERR_REFUSED },
	{ NET_MUX_CODE_BUSY, ERR_BUSY },	  { NET_MUX_CODE_TOO_BIG, ERR_TOO_BIG },
	{ NET_MUX_CODE_PROTOCOL, ERR_PROTOCOL },  { NET_MUX_CODE_NOT_FOUND, ERR_NOT_FOUND },
	{ NET_MUX_CODE_CANCELLED, UV_ETIMEDOUT },
};

enum net_mux_code net_mux_code_of(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].err == err)
			return codes[i].code;
	return NET_MUX_CODE_INTERNAL;
}

int net_mux_code_err(uint64_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return codes[i].err;
	return UV_EREMOTEIO;
}

void net_mux_init(struct net_mux *m, bool initiator, const struct net_mux_events *events)
{
	memset(m, 0, sizeof(*m));
	m->events = events;
	m->initiator = initiator;
	m->next_id = initiator ? 1 : 2;
	list_init(&m->streams);
	list_init(&m->turns);
	list_init(&m->dues);
	list_init(&m->starved);
}

void net_mux_stop(struct net_mux *m, int status)
{
	m->stopped = true;
	while (!list_empty(&m->streams))
		net_mux_stream_close(list_entry(m->streams.next, struct net_stream, node), status);
}

void net_mux_ping(struct net_mux *m, uint64_t token)
{
	m->ping_due = true;
	m->ping_token = token;
	m->events->on_pending(m);
}

void net_mux_goaway(struct net_mux *m, int status)
{
	m->goaway_due = true;
	m->goaway_code = status == 0 ? NET_MUX_CODE_NONE : net_mux_code_of(status);
	m->events->on_pending(m);
}

void net_mux_stream_init(struct net_mux *m, struct net_stream *s, uint64_t id, bool ours)
{
	const struct net_stream_events *events = s->events;
	void *data = s->data;
	bool tell_empty = s->tell_empty;

	REQUIRE(events != NULL);
	*s = (struct net_stream){ .events = events,
				  .data = data,
				  .tell_empty = tell_empty,
				  .mux = m,
				  .id = id,
				  .ours = ours };
	s->open_sent = !ours;
	s->send_credit = s->receive_credit = s->window = NET_MUX_WINDOW_BASE;
	list_init(&s->turn);
	list_init(&s->due);
	list_init(&s->starved);
	list_init(&s->send_queue);
	list_push_back(&m->streams, &s->node);
	m->our_streams += ours;
	m->peer_streams += !ours;
	m->opened++;
}

int net_mux_stream_open(struct net_mux *m, struct net_stream *s)
{
	if (m->our_streams >= NET_STREAMS_MAX || m->unreleased >= NET_MUX_UNRELEASED_MAX)
		return ERR_LIMIT;
	net_mux_stream_init(m, s, m->next_id, true);
	m->next_id += 2;
	net_mux_stream_want_turn(s);
	return 0;
}

void net_mux_stream_close(struct net_stream *s, int status)
{
	struct net_mux *m = s->mux;

	REQUIRE(!s->closed);
	s->closed = true;
	s->close_status = status;
	net_mux_stream_drop_queue(s);
	list_remove(&s->node);
	list_remove(&s->turn);
	list_remove(&s->due);
	m->our_streams -= s->ours;
	m->peer_streams -= !s->ours;
	m->unreleased++;
	net_mux_stream_forget_receive(s);
	m->events->on_closed(s);
}

void net_mux_stream_released(struct net_mux *m, struct net_stream *s)
{
	REQUIRE(s->closed && m->unreleased > 0);
	m->unreleased--;
	s->mux = NULL;
}

void net_mux_stream_settle(struct net_stream *s)
{
	if (!s->closed && s->peer_ended && s->end_sent)
		net_mux_stream_close(s, 0);
}

void net_mux_stream_end(struct net_stream *s)
{
	if (s->closed || s->we_ended)
		return;
	s->we_ended = true;
	net_mux_stream_want_turn(s);
}

void net_mux_queue_reset(struct net_mux *m, uint64_t id, enum net_mux_code code)
{
	if (m->reset_count == NET_MUX_RESETS_MAX) {
		m->broken = true;
		return;
	}
	m->resets[(m->reset_first + m->reset_count++) % NET_MUX_RESETS_MAX] =
		(struct net_mux_reset){ id, code };
	m->events->on_pending(m);
}

void net_mux_stream_reset(struct net_stream *s, int code)
{
	REQUIRE(code < 0);
	if (s->closed)
		return;
	if (s->open_sent)
		net_mux_queue_reset(s->mux, s->id, net_mux_code_of(code));
	net_mux_stream_close(s, code);
}

void net_mux_stream_pause(struct net_stream *s, bool paused)
{
	if (s->closed || s->paused == paused)
		return;
	s->paused = paused;
	net_mux_stream_replenish(s);
}
