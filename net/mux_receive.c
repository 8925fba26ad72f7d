/* What arrives at a mux: frames, messages put together from them, and the credit given for more.
 *
 * Everything here comes from the peer. A frame that breaks the rules ends the connection
 * (ERR_PROTOCOL); a message that is too big, or for which there is no memory, ends its stream.
 *
 * Receive budget. What a stream may cost is its unfinished message plus the credit the peer still
 * has. Up to NET_MUX_WINDOW_BASE of that is free; beyond, streams are charged to
 * NET_MUX_SHARED_MAX. When that is used up a stream waits in `starved`. So that unfinished messages
 * cannot wait for each other for ever, one starved stream at a time, the finisher, gets the rest of
 * its message without being charged. */
#include "net/mux.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static bool message_begun(const struct net_stream *s)
{
	return s->message_have > 0 || s->message_len > 0;
}

/* ---- Credit ---- */

static void recharge(struct net_stream *s)
{
	size_t committed = s->receive_credit + s->message_have;
	size_t charge = 0;

	if (s != s->mux->finisher && committed > NET_MUX_WINDOW_BASE)
		charge = committed - NET_MUX_WINDOW_BASE;
	s->mux->shared_used = s->mux->shared_used - s->charged + charge;
	s->charged = charge;
}

static void give_credit(struct net_stream *s, size_t bytes)
{
	s->receive_credit += bytes;
	s->credit_due += bytes;
	recharge(s);
	if (!list_linked(&s->due))
		list_push_back(&s->mux->dues, &s->due);
	s->mux->events->on_pending(s->mux);
}

static size_t room_for(const struct net_stream *s)
{
	const struct net_mux *m = s->mux;
	size_t committed = s->receive_credit + s->message_have;
	size_t room = m->shared_used < NET_MUX_SHARED_MAX ? NET_MUX_SHARED_MAX - m->shared_used : 0;

	return room + (committed < NET_MUX_WINDOW_BASE ? NET_MUX_WINDOW_BASE - committed : 0);
}

static void choose_finisher(struct net_mux *m)
{
	list_for_each(node, &m->starved) {
		struct net_stream *s = list_entry(node, struct net_stream, starved);
		size_t rest = s->message_len - s->message_have;

		if (m->finisher != NULL)
			return;
		if (!message_begun(s) || rest <= s->receive_credit)
			continue;
		m->finisher = s;
		give_credit(s, rest - s->receive_credit);
	}
}

void net_mux_stream_replenish(struct net_stream *s)
{
	size_t want, give;

	list_remove(&s->starved);
	if (s->closed || s->peer_ended || s->paused || s == s->mux->finisher ||
	    s->receive_credit >= s->window / 2)
		return;
	want = s->window - s->receive_credit;
	give = MIN(want, room_for(s));
	if (give < MIN(want, (size_t)NET_MUX_WINDOW_BASE / 2)) {
		list_push_back(&s->mux->starved, &s->starved);
		choose_finisher(s->mux);
		return;
	}
	give_credit(s, give);
}

/* Room came free: the longest-waiting first. */
static void regrant(struct net_mux *m)
{
	struct list waiting;

	if (m->stopped || list_empty(&m->starved))
		return;
	list_init(&waiting);
	list_splice_back(&waiting, &m->starved);
	while (!list_empty(&waiting))
		net_mux_stream_replenish(list_entry(waiting.next, struct net_stream, starved));
}

void net_mux_stream_forget_receive(struct net_stream *s)
{
	struct net_mux *m = s->mux;

	m->held -= s->message_cap;
	s->message = mem_free(s->message);
	s->message_have = s->message_len = s->message_cap = s->receive_credit = 0;
	s->header_have = 0;
	if (m->finisher == s)
		m->finisher = NULL;
	list_remove(&s->starved);
	recharge(s);
	regrant(m);
}

/* A stream that uses half its window gets a larger one; a long message tells at once how much it
 * will use. */
static void widen(struct net_stream *s)
{
	size_t window = s->window;

	if (s->receive_credit < window / 2)
		window *= 2;
	if (message_begun(s))
		window = MAX(window, s->message_len + NET_MUX_WINDOW_BASE);
	s->window = MIN(window, (size_t)NET_STREAM_WINDOW);
}

/* ---- Messages ---- */

/* Consumes the message's length, which may arrive in pieces. True when it is known. */
static bool take_header(struct net_stream *s, struct buf_reader *data, int *ret_err)
{
	while (buf_left(data) > 0) {
		struct buf_reader r;
		uint64_t len;
		int err;

		s->header[s->header_have++] = *data->p++;
		r = buf_reader(s->header, s->header_have);
		err = buf_read_uvarint(&r, &len);
		if (err == 0) {
			s->header_have = 0;
			if (len > NET_MESSAGE_MAX) {
				net_mux_stream_reset(s, ERR_TOO_BIG);
				return false;
			}
			s->message_len = len;
			return true;
		}
		if (err != ERR_TRUNCATED || s->header_have == sizeof(s->header)) {
			*ret_err = ERR_PROTOCOL;
			return false;
		}
	}
	return false;
}

/* Room for what is on its way; doubling otherwise, so that a length alone buys no memory. */
static int grow_message(struct net_stream *s, size_t need)
{
	struct net_mux *m = s->mux;
	size_t cap = MAX(s->message_cap * 2, need);
	uint8_t *p;

	if (need <= s->message_cap)
		return 0;
	cap = MIN(MAX(cap, s->message_have + s->receive_credit), s->message_len);
	if (!s->ours && m->events->on_hold != NULL && !m->events->on_hold(m, cap - s->message_cap))
		return ERR_BUSY;
	p = mem_realloc(s->message, cap);
	if (p == NULL)
		return UV_ENOMEM;
	m->held += cap - s->message_cap;
	s->message = p;
	s->message_cap = cap;
	return 0;
}

/* The struct may be closed, or the mux stopped, afterwards. */
static void deliver(struct net_stream *s, const uint8_t *msg, size_t len)
{
	struct net_mux *m = s->mux;
	uint8_t *owned = TAKE_PTR(s->message);

	m->held -= s->message_cap;
	s->message_len = s->message_have = s->message_cap = 0;
	if (m->finisher == s)
		m->finisher = NULL;
	recharge(s);
	s->events->on_message(s, msg, len);
	mem_free(owned);
	regrant(m);
}

static void append(struct net_stream *s, struct buf_reader *data)
{
	size_t n = MIN(buf_left(data), s->message_len - s->message_have);

	int err = grow_message(s, s->message_have + n);

	if (err) {
		net_mux_stream_reset(s, err);
		return;
	}
	memcpy(s->message + s->message_have, data->p, n);
	data->p += n;
	s->message_have += n;
	if (s->message_have == s->message_len)
		deliver(s, s->message, s->message_len);
}

static int receive_data(struct net_stream *s, struct buf_reader *data)
{
	struct net_mux *m = s->mux;
	int err = 0;

	if (s->peer_ended || buf_left(data) > s->receive_credit)
		return ERR_PROTOCOL;
	s->receive_credit -= buf_left(data);
	m->moved_ms = m->now_ms;
	while (buf_left(data) > 0 && !s->closed && !m->stopped) {
		if (!message_begun(s) && !take_header(s, data, &err))
			break;
		if (s->message_have == 0 && buf_left(data) >= s->message_len) {
			const uint8_t *msg = data->p;

			data->p += s->message_len;
			deliver(s, msg, s->message_len);
		} else if (buf_left(data) > 0) {
			append(s, data);
		}
	}
	if (!err && !s->closed) {
		recharge(s);
		widen(s);
		net_mux_stream_replenish(s);
	}
	return err;
}

/* ---- Frames ---- */

/* *ret is NULL for a stream that is over. */
static int find_stream(struct net_mux *m, uint64_t id, struct net_stream **ret)
{
	bool ours = (id % 2 == 1) == m->initiator;

	*ret = NULL;
	if (id == 0 || (ours ? id >= m->next_id : id > m->last_peer_id))
		return ERR_PROTOCOL;
	list_for_each(node, &m->streams) {
		struct net_stream *s = list_entry(node, struct net_stream, node);

		if (s->id != id)
			continue;
		if (!s->open_sent)
			return ERR_PROTOCOL;
		*ret = s;
		return 0;
	}
	return 0;
}

/* Streams that came to nothing are work for nothing; a peer may do it now and then, not for a
 * living. */
static int strike(struct net_mux *m)
{
	uint64_t forgotten = (m->now_ms - m->strikes_ms) * NET_MUX_STRIKES_PER_S / 1000;

	if (forgotten > 0) {
		m->strikes -= (unsigned)MIN(forgotten, (uint64_t)m->strikes);
		m->strikes_ms = m->now_ms;
	}
	return ++m->strikes > NET_MUX_STRIKES_MAX ? ERR_PROTOCOL : 0;
}

static int receive_open(struct net_mux *m, uint64_t id)
{
	struct net_stream *s = NULL;
	int refusal = ERR_BUSY;

	if (id <= m->last_peer_id || (id % 2 == 1) == m->initiator || m->peer_leaving)
		return ERR_PROTOCOL;
	m->last_peer_id = id;
	if (m->peer_streams < NET_STREAMS_MAX && m->unreleased < NET_MUX_UNRELEASED_MAX) {
		refusal = ERR_REFUSED;
		s = m->events->on_open(m, &refusal);
	}
	if (s != NULL) {
		net_mux_stream_init(m, s, id, false);
		return 0;
	}
	m->refused++;
	net_mux_queue_reset(m, id, net_mux_code_of(refusal));
	return strike(m);
}

static int receive_end(struct net_stream *s)
{
	if (s->peer_ended)
		return ERR_PROTOCOL;
	if (message_begun(s) || s->header_have > 0) {
		net_mux_stream_reset(s, ERR_PROTOCOL);
		return 0;
	}
	s->peer_ended = true;
	net_mux_stream_forget_receive(s);
	if (s->events->on_end != NULL)
		s->events->on_end(s);
	else
		net_mux_stream_end(s);
	net_mux_stream_settle(s);
	return 0;
}

static int receive_reset(struct net_stream *s, uint64_t code)
{
	struct net_mux *m = s->mux;
	bool ours = s->ours;

	net_mux_stream_close(s, net_mux_code_err(code));
	return ours ? 0 : strike(m);
}

static int receive_credit(struct net_stream *s, uint64_t bytes)
{
	if (bytes == 0 || bytes > NET_MUX_CREDIT_MAX - s->send_credit)
		return ERR_PROTOCOL;
	s->send_credit += bytes;
	net_mux_stream_want_turn(s);
	return 0;
}

static int receive_stream_frame(struct net_mux *m, uint8_t type, struct buf_reader *r)
{
	struct buf_reader data = { 0 };
	struct net_stream *s;
	uint64_t id, arg = 0;
	int err;

	if (buf_read_uvarint(r, &id) != 0)
		return ERR_PROTOCOL;
	if (type == NET_MUX_OPEN)
		return receive_open(m, id);
	if (type != NET_MUX_END && buf_read_uvarint(r, &arg) != 0)
		return ERR_PROTOCOL;
	if (type == NET_MUX_DATA) {
		const uint8_t *p;

		if (arg == 0 || arg > NET_MUX_DATA_MAX || buf_read_bytes(r, arg, &p) != 0)
			return ERR_PROTOCOL;
		data = buf_reader(p, arg);
	}
	err = find_stream(m, id, &s);
	if (err || s == NULL)
		return err;
	if (type == NET_MUX_DATA)
		return receive_data(s, &data);
	if (type == NET_MUX_END)
		return receive_end(s);
	return type == NET_MUX_RESET ? receive_reset(s, arg) : receive_credit(s, arg);
}

static int receive_ping(struct net_mux *m, uint8_t type, struct buf_reader *r)
{
	const uint8_t *p;
	uint64_t token;

	if (buf_read_bytes(r, NET_MUX_PONG_SIZE, &p) != 0)
		return ERR_PROTOCOL;
	if (type == NET_MUX_PONG) {
		memcpy(&token, p, sizeof(token));
		m->events->on_pong(m, token);
		return 0;
	}
	if (m->pong_count == NET_MUX_PONGS_MAX)
		return ERR_PROTOCOL;
	memcpy(m->pongs[m->pong_count++], p, NET_MUX_PONG_SIZE);
	m->events->on_pending(m);
	return 0;
}

static int receive_goaway(struct net_mux *m, struct buf_reader *r)
{
	uint64_t code;

	if (m->peer_leaving || buf_read_uvarint(r, &code) != 0)
		return ERR_PROTOCOL;
	m->peer_leaving = true;
	m->events->on_goaway(m, code == NET_MUX_CODE_NONE ? 0 : net_mux_code_err(code));
	return 0;
}

static int receive_frame(struct net_mux *m, struct buf_reader *r)
{
	uint8_t type;

	if (buf_read_u8(r, &type) != 0)
		return ERR_PROTOCOL;
	switch (type) {
	case NET_MUX_OPEN:
	case NET_MUX_DATA:
	case NET_MUX_END:
	case NET_MUX_RESET:
	case NET_MUX_CREDIT: return receive_stream_frame(m, type, r);
	case NET_MUX_PING:
	case NET_MUX_PONG: return receive_ping(m, type, r);
	case NET_MUX_GOAWAY: return receive_goaway(m, r);
	default: return ERR_PROTOCOL;
	}
}

int net_mux_receive(struct net_mux *m, const uint8_t *data, size_t len)
{
	struct buf_reader r = buf_reader(data, len);
	int err = 0;

	while (!err && !m->stopped && buf_left(&r) > 0) {
		err = receive_frame(m, &r);
		if (m->broken)
			err = ERR_PROTOCOL;
	}
	return err;
}
