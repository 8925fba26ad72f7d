/* Streams of a mux from opening to closing. What arrives is in mux_receive.c, what leaves in
 * mux_send.c.
 *
 * A stream is live from open until both sides ended, one reset it, or the mux stopped. Then it
 * leaves every list, on_closed is called once, and the struct waits for its owner to be told;
 * frames that still arrive for its id are recognised by the number and dropped. */
#include "net/mux.h"

#include <string.h>

#include "base/mem.h"

static const struct {
	enum mux_code code;
	int err;
} codes[] = {
	{ MUX_CODE_CANCELLED, UV_ECANCELED }, { MUX_CODE_REFUSED, ERR_REFUSED },
	{ MUX_CODE_BUSY, ERR_BUSY },	      { MUX_CODE_TOO_BIG, ERR_TOO_BIG },
	{ MUX_CODE_PROTOCOL, ERR_PROTOCOL },  { MUX_CODE_NOT_FOUND, ERR_NOT_FOUND },
	{ MUX_CODE_CANCELLED, UV_ETIMEDOUT },
};

enum mux_code mux_code_of(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].err == err)
			return codes[i].code;
	return MUX_CODE_INTERNAL;
}

int mux_code_err(uint64_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return codes[i].err;
	return UV_EREMOTEIO;
}

void mux_init(struct mux *m, bool initiator, const struct mux_events *events)
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

void mux_stop(struct mux *m, int status)
{
	m->stopped = true;
	while (!list_empty(&m->streams))
		mux_stream_close(list_entry(m->streams.next, struct net_stream, node), status);
}

void mux_ping(struct mux *m, uint64_t token)
{
	m->ping_due = true;
	m->ping_token = token;
	m->events->on_pending(m);
}

void mux_goaway(struct mux *m, int status)
{
	m->goaway_due = true;
	m->goaway_code = status == 0 ? MUX_CODE_NONE : mux_code_of(status);
	m->events->on_pending(m);
}

void mux_stream_init(struct mux *m, struct net_stream *s, uint64_t id, bool ours)
{
	const struct net_stream_events *events = s->events;
	void *data = s->data;

	REQUIRE(events != NULL);
	*s = (struct net_stream){
		.events = events, .data = data, .mux = m, .id = id, .ours = ours
	};
	s->open_sent = !ours;
	s->send_credit = s->receive_credit = s->window = MUX_WINDOW_BASE;
	list_init(&s->turn);
	list_init(&s->due);
	list_init(&s->starved);
	list_init(&s->send_queue);
	list_push_back(&m->streams, &s->node);
	m->our_streams += ours;
	m->peer_streams += !ours;
	m->opened++;
}

int mux_stream_open(struct mux *m, struct net_stream *s)
{
	if (m->our_streams >= NET_STREAMS_MAX || m->unreleased >= MUX_UNRELEASED_MAX)
		return ERR_LIMIT;
	mux_stream_init(m, s, m->next_id, true);
	m->next_id += 2;
	mux_stream_want_turn(s);
	return 0;
}

void mux_stream_close(struct net_stream *s, int status)
{
	struct mux *m = s->mux;

	REQUIRE(!s->closed);
	s->closed = true;
	s->close_status = status;
	mux_stream_drop_queue(s);
	list_remove(&s->node);
	list_remove(&s->turn);
	list_remove(&s->due);
	m->our_streams -= s->ours;
	m->peer_streams -= !s->ours;
	m->unreleased++;
	mux_stream_forget_receive(s);
	m->events->on_closed(s);
}

void mux_stream_released(struct mux *m, struct net_stream *s)
{
	REQUIRE(s->closed && m->unreleased > 0);
	m->unreleased--;
	s->mux = NULL;
}

void mux_stream_settle(struct net_stream *s)
{
	if (!s->closed && s->peer_ended && s->end_sent)
		mux_stream_close(s, 0);
}

void mux_stream_end(struct net_stream *s)
{
	if (s->closed || s->we_ended)
		return;
	s->we_ended = true;
	mux_stream_want_turn(s);
}

void mux_queue_reset(struct mux *m, uint64_t id, enum mux_code code)
{
	if (m->reset_count == MUX_RESETS_MAX) {
		m->broken = true;
		return;
	}
	m->resets[(m->reset_first + m->reset_count++) % MUX_RESETS_MAX] =
		(struct mux_reset){ id, code };
	m->events->on_pending(m);
}

void mux_stream_reset(struct net_stream *s, int code)
{
	REQUIRE(code < 0);
	if (s->closed)
		return;
	if (s->open_sent)
		mux_queue_reset(s->mux, s->id, mux_code_of(code));
	mux_stream_close(s, code);
}

void mux_stream_pause(struct net_stream *s, bool paused)
{
	if (s->closed || s->paused == paused)
		return;
	s->paused = paused;
	mux_stream_replenish(s);
}
