/* A mux under a script: what the peer sends, and what we do meanwhile. The input is a sequence of
 *
 *   n > 0, n bytes   the plaintext of a record
 *   0, action        one of ours: open, send, end, reset, pause, produce, ping, release, time
 *
 * Whatever comes: sums agree with what they sum up, budgets hold, and every stream is closed once.
 */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/mux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS = 600, RECORD = 16 << 10 };

struct slot {
	struct net_stream stream;
	bool used, closed, released;
};

struct bench {
	struct net_mux mux;
	struct slot slots[STREAMS];
	unsigned count;
};

static void on_message(struct net_stream *s, const uint8_t *msg, size_t len)
{
	REQUIRE(len <= NET_MESSAGE_MAX && !s->closed);
	if (len > 0 && msg[0] == 'e')
		(void)net_mux_stream_send(s, msg, len);
	if (len > 0 && msg[0] == 'r')
		net_mux_stream_reset(s, ERR_REFUSED);
}

static void on_end(struct net_stream *s)
{
	if (s->id % 3 == 0)
		net_mux_stream_end(s);
}

static void on_close(struct net_stream *s, int status)
{
}

static const struct net_stream_events events = { on_message, NULL, on_close, on_end };

static struct slot *slot_new(struct bench *b)
{
	struct slot *s = b->count < STREAMS ? &b->slots[b->count] : NULL;

	if (s != NULL) {
		b->count++;
		s->stream.events = &events;
		s->used = true;
	}
	return s;
}

static struct net_stream *mux_on_open(struct net_mux *m, int *ret_refusal)
{
	struct slot *s = slot_new(container_of(m, struct bench, mux));

	return s != NULL ? &s->stream : NULL;
}

static void mux_on_closed(struct net_stream *st)
{
	struct slot *s = container_of(st, struct slot, stream);

	REQUIRE(s->used && !s->closed);
	s->closed = true;
}

static void mux_on_pending(struct net_mux *m)
{
}

static void mux_on_pong(struct net_mux *m, uint64_t token)
{
}

static void mux_on_goaway(struct net_mux *m, int status)
{
	REQUIRE(status <= 0);
}

static const struct net_mux_events net_mux_events = { mux_on_open, mux_on_closed, mux_on_pending,
						      mux_on_pong, mux_on_goaway };

static void release_closed(struct bench *b)
{
	for (unsigned i = 0; i < b->count; i++) {
		struct slot *s = &b->slots[i];

		if (s->closed && !s->released)
			net_mux_stream_released(&b->mux, &s->stream);
		s->released = s->closed;
	}
}

static void act(struct bench *b, uint8_t action)
{
	static uint8_t record[RECORD];
	struct slot *s = b->count > 0 ? &b->slots[action / 16 % b->count] : NULL;

	if (action % 16 == 0 && (s = slot_new(b)) != NULL &&
	    net_mux_stream_open(&b->mux, &s->stream) != 0) {
		b->count--;
		s->used = false;
	} else if (action % 16 == 1 && net_mux_pending(&b->mux) > 0) {
		REQUIRE(net_mux_produce(&b->mux, record, sizeof(record)) <= sizeof(record));
	} else if (action % 16 == 2) {
		release_closed(b);
	} else if (action % 16 == 3) {
		net_mux_ping(&b->mux, action);
	} else if (action % 16 == 4) {
		b->mux.now_ms += action;
	} else if (s == NULL || s->released) {
		return;
	} else if (action % 16 < 8) {
		(void)net_mux_stream_send(&s->stream, record, (size_t)1 << action % 16 * 2);
	} else if (action % 16 == 8) {
		net_mux_stream_end(&s->stream);
	} else if (action % 16 == 9) {
		net_mux_stream_reset(&s->stream, ERR_BUSY);
	} else {
		net_mux_stream_pause(&s->stream, action % 2 == 0);
	}
}

static void check(const struct bench *b)
{
	size_t have = 0, held = 0, charged = 0, queued = 0;
	unsigned live = 0;

	list_for_each(node, &b->mux.streams) {
		const struct net_stream *s = list_entry(node, struct net_stream, node);

		have += s->message_have;
		held += s->message_cap;
		charged += s->charged;
		queued += s->send_queued;
		live++;
		/* Grown by doubling at most, never beyond what was announced. */
		REQUIRE(!s->closed && s->message_have <= s->message_cap &&
			s->message_cap <= s->message_len);
	}
	REQUIRE(held == b->mux.held && charged == b->mux.shared_used &&
		queued == b->mux.send_queued);
	REQUIRE(live == b->mux.our_streams + b->mux.peer_streams);
	REQUIRE(have <= NET_CONN_RECEIVE_MAX &&
		b->mux.shared_used <= NET_MUX_SHARED_MAX + NET_STREAM_WINDOW);
	REQUIRE(b->mux.our_streams <= NET_STREAMS_MAX && b->mux.peer_streams <= NET_STREAMS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf_reader r = buf_reader(data, size);
	struct bench *b = mem_alloc(sizeof(*b));
	uint8_t n, action;
	int err = 0;

	if (b == NULL)
		return 0;
	net_mux_init(&b->mux, false, &net_mux_events);
	while (err == 0 && buf_read_u8(&r, &n) == 0) {
		const uint8_t *record;

		if (n > 0 && buf_read_bytes(&r, MIN(n, buf_left(&r)), &record) == 0)
			err = net_mux_receive(&b->mux, record, (size_t)(r.p - record));
		else if (n == 0 && buf_read_u8(&r, &action) == 0)
			act(b, action);
		REQUIRE(err == 0 || err == ERR_PROTOCOL);
		check(b);
	}
	net_mux_stop(&b->mux, ERR_CLOSED);
	release_closed(b);
	for (unsigned i = 0; i < b->count; i++)
		REQUIRE(b->slots[i].closed);
	REQUIRE(b->mux.unreleased == 0 && b->mux.held == 0 && b->mux.shared_used == 0);
	mem_free(b);
	return 0;
}
