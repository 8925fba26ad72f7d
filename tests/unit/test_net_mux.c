#include "test_util.h"

#include <sodium.h>

#include "net/mux.h"

enum { FLOWS_MAX = 300, WIRE_MAX = 64 << 10 };

struct side;

struct flow {
	struct net_stream stream;
	unsigned messages, closes, drains;
	uint64_t bytes, sum;
	int status;
};

/* A mux with the streams that the other side opens. */
struct side {
	struct net_mux mux;
	struct flow flows[FLOWS_MAX];
	unsigned flow_count, pongs;
	int refusal, goaway;
	bool keep; /* closed streams are not released */
};

static void on_message(struct net_stream *s, const uint8_t *msg, size_t len)
{
	struct flow *f = s->data;

	f->messages++;
	f->bytes += len;
	for (size_t i = 0; i < len; i++)
		f->sum = f->sum * 31 + msg[i];
}

static void on_drain(struct net_stream *s)
{
	((struct flow *)s->data)->drains++;
}

static void on_close(struct net_stream *s, int status)
{
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static struct flow *flow_init(struct flow *f)
{
	*f = (struct flow){ .status = 1 };
	f->stream.events = &events;
	f->stream.data = f;
	return f;
}

static struct net_stream *mux_on_open(struct net_mux *m, int *ret_refusal)
{
	struct side *s = container_of(m, struct side, mux);

	if (s->refusal != 0) {
		*ret_refusal = s->refusal;
		return NULL;
	}
	assert_true(s->flow_count < FLOWS_MAX);
	return &flow_init(&s->flows[s->flow_count++])->stream;
}

static void mux_on_closed(struct net_stream *st)
{
	struct side *s = container_of(st->mux, struct side, mux);
	struct flow *f = st->data;

	f->closes++;
	f->status = st->close_status;
	if (!s->keep)
		net_mux_stream_released(&s->mux, st);
}

static void mux_on_pending(struct net_mux *m)
{
}

static void mux_on_pong(struct net_mux *m, uint64_t token)
{
	container_of(m, struct side, mux)->pongs += token == 77;
}

static void mux_on_goaway(struct net_mux *m, int status)
{
	container_of(m, struct side, mux)->goaway = status == 0 ? 1 : status;
}

static const struct net_mux_events net_mux_events = { mux_on_open, mux_on_closed, mux_on_pending,
						      mux_on_pong, mux_on_goaway };

struct wire {
	struct side a, b; /* initiator, responder */
	struct flow out[FLOWS_MAX];
	uint8_t record[WIRE_MAX];
	size_t held_max;
};

static struct wire *wire_new(void)
{
	struct wire *w = mem_alloc(sizeof(*w));

	assert_non_null(w);
	net_mux_init(&w->a.mux, true, &net_mux_events);
	net_mux_init(&w->b.mux, false, &net_mux_events);
	return w;
}

static void wire_free(struct wire *w)
{
	net_mux_stop(&w->a.mux, ERR_CLOSED);
	net_mux_stop(&w->b.mux, ERR_CLOSED);
	mem_free(w);
}

/* One record from one side to the other. */
static size_t carry(struct wire *w, struct side *from, struct side *to)
{
	size_t len = net_mux_pending(&from->mux) > 0 ?
			     net_mux_produce(&from->mux, w->record, WIRE_MAX) :
			     0;

	assert_true(len <= WIRE_MAX);
	CHECK_STATUS(0, net_mux_receive(&to->mux, w->record, len));
	w->held_max = MAX(w->held_max, MAX(w->a.mux.held, w->b.mux.held));
	return len;
}

/* Until nobody has anything to say. Returns the number of bytes. */
static size_t settle(struct wire *w)
{
	size_t total = 0, n;

	do {
		n = carry(w, &w->a, &w->b) + carry(w, &w->b, &w->a);
		total += n;
	} while (n > 0);
	return total;
}

static struct flow *open_flow(struct wire *w, unsigned i)
{
	CHECK_STATUS(0, net_mux_stream_open(&w->a.mux, &flow_init(&w->out[i])->stream));
	return &w->out[i];
}

static void send_sized(struct flow *f, size_t len)
{
	uint8_t *msg = mem_alloc(len);

	CHECK_STATUS(0, net_mux_stream_send(&f->stream, msg, len));
	mem_free(msg);
}

/* ---- Streams ---- */

static void messages_of_every_size_arrive_whole(void **state)
{
	static const size_t sizes[] = { 0,     1,     127,   128,     16383,   16384,  16385,
					65535, 65536, 65537, 1 << 20, 2097151, 2097152 };
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);
	uint64_t total = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		send_sized(f, sizes[i]);
		settle(w);
		total += sizes[i];
		assert_int_equal(w->b.flows[0].messages, i + 1);
		assert_int_equal(w->b.flows[0].bytes, total);
	}
	assert_int_equal(w->b.mux.held, 0);
	wire_free(w);
}

static void too_big_and_too_much_are_refused(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);
	uint8_t *msg = mem_alloc(NET_MESSAGE_MAX + 1);
	size_t queued;

	CHECK_STATUS(ERR_TOO_BIG, net_mux_stream_send(&f->stream, msg, NET_MESSAGE_MAX + 1));
	for (unsigned i = 0; i < 3; i++)
		CHECK_STATUS(0, net_mux_stream_send(&f->stream, msg, NET_MESSAGE_MAX));
	queued = f->stream.send_queued;
	CHECK_STATUS(ERR_BUSY, net_mux_stream_send(&f->stream, msg, NET_MESSAGE_MAX));
	assert_int_equal(f->stream.send_queued, queued);
	net_mux_stream_end(&f->stream);
	CHECK_STATUS(ERR_CLOSED, net_mux_stream_send(&f->stream, msg, 1));
	mem_free(msg);
	wire_free(w);
}

static void a_conn_queues_no_more_than_its_limit(void **state)
{
	struct wire *w = wire_new();
	uint8_t *msg = mem_alloc(NET_MESSAGE_MAX);
	unsigned i = 0;
	int err = 0;

	for (; err == 0; i++)
		err = net_mux_stream_send(&open_flow(w, i)->stream, msg, NET_MESSAGE_MAX);
	CHECK_STATUS(ERR_BUSY, err);
	assert_true(i <= NET_CONN_SEND_MAX / NET_MESSAGE_MAX);
	assert_true(w->a.mux.send_queued <= NET_CONN_SEND_MAX);
	mem_free(msg);
	wire_free(w);
}

static void ends_close_in_order(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);

	send_sized(f, 10);
	net_mux_stream_end(&f->stream);
	settle(w);
	assert_int_equal(f->closes, 1);
	CHECK_STATUS(0, f->status);
	CHECK_STATUS(0, w->b.flows[0].status);
	assert_int_equal(w->b.flows[0].messages, 1);
	wire_free(w);
}

static void a_reset_tells_the_reason(void **state)
{
	static const int codes[] = { UV_ECANCELED, ERR_REFUSED,	  ERR_BUSY,	ERR_TOO_BIG,
				     ERR_PROTOCOL, ERR_NOT_FOUND, UV_ETIMEDOUT, UV_EIO };
	static const int seen[] = { UV_ECANCELED, ERR_REFUSED,	 ERR_BUSY,     ERR_TOO_BIG,
				    ERR_PROTOCOL, ERR_NOT_FOUND, UV_ECANCELED, UV_EREMOTEIO };
	struct wire *w = wire_new();

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct flow *f = open_flow(w, i);

		settle(w);
		net_mux_stream_reset(&f->stream, codes[i]);
		CHECK_STATUS(codes[i], f->status);
		settle(w);
		CHECK_STATUS(seen[i], w->b.flows[i].status);
	}
	assert_int_equal(w->a.mux.our_streams + w->b.mux.peer_streams, 0);
	wire_free(w);
}

static void a_stream_reset_before_it_was_sent_leaves_no_trace(void **state)
{
	struct wire *w = wire_new();

	net_mux_stream_reset(&open_flow(w, 0)->stream, UV_ECANCELED);
	assert_int_equal(settle(w), 0);
	send_sized(open_flow(w, 1), 3);
	settle(w);
	assert_int_equal(w->b.flow_count, 1);
	wire_free(w);
}

static void data_for_a_stream_we_reset_is_dropped(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);

	settle(w);
	send_sized(f, 1000);
	net_mux_stream_reset(&w->b.flows[0].stream, ERR_REFUSED);
	carry(w, &w->a, &w->b);
	settle(w);
	CHECK_STATUS(ERR_REFUSED, f->status);
	assert_int_equal(w->b.flows[0].messages, 0);
	wire_free(w);
}

static void the_stream_beyond_the_limit_is_ours_to_refuse(void **state)
{
	struct wire *w = wire_new();

	for (unsigned i = 0; i < NET_STREAMS_MAX; i++)
		open_flow(w, i);
	CHECK_STATUS(ERR_LIMIT,
		     net_mux_stream_open(&w->a.mux, &flow_init(&w->out[NET_STREAMS_MAX])->stream));
	settle(w);
	assert_int_equal(w->b.flow_count, NET_STREAMS_MAX);
	net_mux_stream_reset(&w->out[0].stream, UV_ECANCELED);
	open_flow(w, NET_STREAMS_MAX);
	settle(w);
	assert_int_equal(w->b.flow_count, NET_STREAMS_MAX + 1);
	wire_free(w);
}

static void a_refused_stream_learns_why(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);

	w->b.refusal = ERR_BUSY;
	settle(w);
	CHECK_STATUS(ERR_BUSY, f->status);
	assert_int_equal(w->b.mux.refused, 1);
	wire_free(w);
}

/* ---- Sharing ---- */

static void a_bulk_stream_does_not_starve_a_small_message(void **state)
{
	struct wire *w = wire_new();
	struct flow *bulk = open_flow(w, 0), *small = open_flow(w, 1);
	size_t ahead = 0;

	for (unsigned i = 0; i < 3; i++)
		send_sized(bulk, NET_MESSAGE_MAX);
	for (unsigned i = 0; i < 8; i++) /* let the bulk stream get a wide window */
		(void)(carry(w, &w->a, &w->b) + carry(w, &w->b, &w->a));
	send_sized(small, 100);
	while (w->b.flows[1].messages == 0) {
		ahead += carry(w, &w->a, &w->b);
		carry(w, &w->b, &w->a);
	}
	assert_true(ahead <= 2 * WIRE_MAX);
	settle(w);
	assert_int_equal(w->b.flows[0].messages, 3);
	wire_free(w);
}

static void streams_with_equal_load_advance_together(void **state)
{
	struct wire *w = wire_new();
	uint64_t least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < 16; i++) {
		struct flow *f = open_flow(w, i);

		for (unsigned j = 0; j < 16; j++)
			send_sized(f, 16000);
	}
	for (unsigned i = 0; i < 24; i++)
		(void)(carry(w, &w->a, &w->b) + carry(w, &w->b, &w->a));
	for (unsigned i = 0; i < 16; i++) {
		least = MIN(least, w->b.flows[i].bytes);
		most = MAX(most, w->b.flows[i].bytes);
	}
	assert_true(least > 0 && most - least <= 3 * NET_MUX_DATA_MAX);
	wire_free(w);
}

static void drain_comes_once_the_queue_is_half_empty(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);

	send_sized(f, NET_SEND_QUEUE_HIGH + 1);
	assert_int_equal(f->drains, 0);
	settle(w);
	assert_int_equal(f->drains, 1);
	send_sized(f, NET_SEND_QUEUE_HIGH / 2);
	settle(w);
	assert_int_equal(f->drains, 1);
	wire_free(w);
}

static void a_paused_reader_stops_the_writer(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0), *got = &w->b.flows[0];

	send_sized(f, 1);
	settle(w);
	net_mux_stream_pause(&got->stream, true);
	for (unsigned i = 0; i < 100; i++)
		send_sized(f, 10000);
	settle(w);
	assert_true(got->bytes <= NET_MUX_WINDOW_BASE);
	assert_true(f->stream.send_queued > 900000);
	net_mux_stream_pause(&got->stream, false);
	settle(w);
	assert_int_equal(got->messages, 101);
	wire_free(w);
}

/* Every stream in the middle of the longest message: more than the budget, so they must take turns,
 * and none may wait for ever. */
static void long_messages_on_all_streams_finish_within_the_budget(void **state)
{
	struct wire *w = wire_new();
	unsigned sent[NET_STREAMS_MAX] = { 0 };
	uint8_t *msg = mem_alloc(NET_MESSAGE_MAX);
	unsigned rounds = 0;
	bool more = true;

	for (unsigned i = 0; i < NET_STREAMS_MAX; i++)
		open_flow(w, i);
	while (more) {
		assert_true(rounds++ < 100000);
		more = false;
		for (unsigned i = 0; i < NET_STREAMS_MAX; i++) {
			if (sent[i] < 2 &&
			    net_mux_stream_send(&w->out[i].stream, msg, NET_MESSAGE_MAX) == 0)
				sent[i]++;
			more = more || sent[i] < 2;
		}
		(void)(carry(w, &w->a, &w->b) + carry(w, &w->b, &w->a));
	}
	settle(w);
	for (unsigned i = 0; i < NET_STREAMS_MAX; i++)
		assert_int_equal(w->b.flows[i].messages, 2);
	assert_true(w->held_max > NET_MUX_SHARED_MAX / 2);
	assert_true(w->held_max <= NET_CONN_RECEIVE_MAX);
	mem_free(msg);
	wire_free(w);
}

static void many_small_messages_cost_little_memory(void **state)
{
	struct wire *w = wire_new();
	struct flow *f = open_flow(w, 0);
	struct mem_stats before, after;

	mem_stats(&before);
	for (unsigned i = 0; i < 100000; i++)
		CHECK_STATUS(0, net_mux_stream_send(&f->stream, "abcdefghi", 9));
	mem_stats(&after);
	assert_true(after.live_bytes - before.live_bytes < 1300000);
	settle(w);
	assert_int_equal(w->b.flows[0].messages, 100000);
	wire_free(w);
}

static void a_ping_is_answered_and_a_farewell_understood(void **state)
{
	struct wire *w = wire_new();

	net_mux_ping(&w->a.mux, 77);
	settle(w);
	assert_int_equal(w->a.pongs, 1);
	net_mux_goaway(&w->a.mux, 0);
	net_mux_goaway(&w->b.mux, ERR_BUSY);
	settle(w);
	assert_int_equal(w->b.goaway, 1);
	CHECK_STATUS(ERR_BUSY, w->a.goaway);
	wire_free(w);
}

/* ---- What a hostile peer may send ---- */

struct bytes {
	const char *what;
	uint8_t p[64];
	size_t len;
};
#define BYTES(what, ...)                                                                           \
	{                                                                                          \
		what, { __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ })                          \
	}

/* Sent to a responder that has stream 1 of the peer and stream 2 of its own (whose OPEN has left).
 */
static const struct bytes hostile[] = {
	BYTES("unknown type", 0),
	BYTES("unknown type", 9),
	BYTES("unknown type", 255, 1),
	BYTES("open without id", NET_MUX_OPEN),
	BYTES("open of our parity", NET_MUX_OPEN, 4),
	BYTES("open of stream 0", NET_MUX_OPEN, 0),
	BYTES("open again", NET_MUX_OPEN, 1),
	BYTES("id not minimal", NET_MUX_OPEN, 0x83, 0x00),
	BYTES("id too long", NET_MUX_OPEN, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	      0x01),
	BYTES("data without length", NET_MUX_DATA, 1),
	BYTES("data of nothing", NET_MUX_DATA, 1, 0),
	BYTES("data cut", NET_MUX_DATA, 1, 5, 1, 2, 3, 4),
	BYTES("data longer than a frame may be", NET_MUX_DATA, 1, 0x81, 0x80, 0x01, 1, 2, 3),
	BYTES("data of a stream never opened", NET_MUX_DATA, 3, 1, 0),
	BYTES("data of a stream we never opened", NET_MUX_DATA, 4, 1, 0),
	BYTES("message length too long", NET_MUX_DATA, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x01),
	BYTES("message length not minimal", NET_MUX_DATA, 1, 2, 0x80, 0x00),
	BYTES("end twice", NET_MUX_END, 1, NET_MUX_END, 1),
	BYTES("data after the end", NET_MUX_END, 2, NET_MUX_DATA, 2, 1, 0),
	BYTES("end of a stream never opened", NET_MUX_END, 5),
	BYTES("reset without code", NET_MUX_RESET, 1),
	BYTES("credit of nothing", NET_MUX_CREDIT, 2, 0),
	BYTES("credit too high", NET_MUX_CREDIT, 2, 0x80, 0x80, 0x80, 0x80, 0x10),
	BYTES("credit adding up too high", NET_MUX_CREDIT, 2, 0xff, 0xff, 0xff, 0xff, 0x03,
	      NET_MUX_CREDIT, 2, 0xff, 0xff, 0xff, 0xff, 0x03),
	BYTES("ping cut", NET_MUX_PING, 1, 2, 3),
	BYTES("farewell without code", NET_MUX_GOAWAY),
	BYTES("farewell twice", NET_MUX_GOAWAY, 0, NET_MUX_GOAWAY, 0),
	BYTES("open after the farewell", NET_MUX_GOAWAY, 0, NET_MUX_OPEN, 3),
};

static void broken_rules_end_the_connection(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		static const uint8_t open[] = { NET_MUX_OPEN, 1 };
		struct wire *w = wire_new();
		int err;

		w->b.keep = true; /* an end that ends ours too would close stream 1 */
		CHECK_STATUS(0, net_mux_receive(&w->b.mux, open, sizeof(open)));
		CHECK_STATUS(0, net_mux_stream_open(&w->b.mux, &flow_init(&w->out[0])->stream));
		net_mux_produce(&w->b.mux, w->record, WIRE_MAX);
		err = net_mux_receive(&w->b.mux, hostile[i].p, hostile[i].len);
		if (err != ERR_PROTOCOL)
			fail_msg("%s: %s", hostile[i].what, err_name(err));
		wire_free(w);
	}
}

/* Feeds `count` copies of a frame, `len` bytes each. */
static int flood(struct wire *w, const uint8_t *frame, size_t len, unsigned count)
{
	int err = 0;

	for (unsigned i = 0; i < count && err == 0; i++)
		err = net_mux_receive(&w->b.mux, frame, len);
	return err;
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v > 0x7f; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

/* Opens stream after stream, each followed by `tail`. */
static int flood_opens(struct wire *w, unsigned count, uint8_t tail)
{
	int err = 0;

	for (uint64_t id = 1; id < 2 * (uint64_t)count && err == 0; id += 2) {
		uint8_t frame[32] = { NET_MUX_OPEN };
		size_t len = 1 + put_varint(frame + 1, id);

		if (tail != 0) {
			frame[len++] = tail;
			len += put_varint(frame + len, id);
			frame[len++] = NET_MUX_CODE_CANCELLED;
		}
		err = net_mux_receive(&w->b.mux, frame, len);
	}
	return err;
}

static void more_data_than_credit_ends_the_connection(void **state)
{
	static const uint8_t open[] = { NET_MUX_OPEN, 1 };
	/* 16383 bytes each, of a message of 2 MiB that thus never completes */
	static uint8_t frame[4 + 16383] = { NET_MUX_DATA, 1, 0xff, 0x7f, 0x80, 0x80, 0x80, 0x01 };
	struct wire *w = wire_new();

	CHECK_STATUS(0, net_mux_receive(&w->b.mux, open, sizeof(open)));
	CHECK_STATUS(0, flood(w, frame, sizeof(frame), 4));
	net_mux_stream_pause(&w->b.flows[0].stream, true);
	CHECK_STATUS(ERR_PROTOCOL, flood(w, frame, sizeof(frame), 1000));
	assert_true(w->b.mux.held <= NET_MESSAGE_MAX);
	wire_free(w);
}

static void a_message_too_big_ends_its_stream_only(void **state)
{
	static const uint8_t bad[] = {
		NET_MUX_OPEN, 1, NET_MUX_DATA, 1, 4, 0x81, 0x80, 0x80, 0x01
	};
	static const uint8_t good[] = { NET_MUX_OPEN, 3, NET_MUX_DATA, 3, 2, 1, 'x' };
	struct wire *w = wire_new();

	CHECK_STATUS(0, net_mux_receive(&w->b.mux, bad, sizeof(bad)));
	CHECK_STATUS(ERR_TOO_BIG, w->b.flows[0].status);
	CHECK_STATUS(0, net_mux_receive(&w->b.mux, good, sizeof(good)));
	assert_int_equal(w->b.flows[1].messages, 1);
	wire_free(w);
}

static void an_end_inside_a_message_ends_its_stream_only(void **state)
{
	static const uint8_t bad[] = {
		NET_MUX_OPEN, 1, NET_MUX_DATA, 1, 2, 5, 'x', NET_MUX_END, 1
	};
	struct wire *w = wire_new();

	CHECK_STATUS(0, net_mux_receive(&w->b.mux, bad, sizeof(bad)));
	CHECK_STATUS(ERR_PROTOCOL, w->b.flows[0].status);
	assert_int_equal(w->b.mux.held, 0);
	wire_free(w);
}

static void a_length_alone_buys_no_memory(void **state)
{
	struct wire *w = wire_new();
	struct mem_stats before, after;

	mem_stats(&before);
	for (uint8_t id = 1; id < 128; id += 2) {
		uint8_t frame[] = { NET_MUX_OPEN, id,	NET_MUX_DATA, id,   5,
				    0x80,	  0x80, 0x80,	      0x01, 'x' };

		CHECK_STATUS(0, net_mux_receive(&w->b.mux, frame, sizeof(frame)));
	}
	mem_stats(&after);
	assert_true(after.live_bytes - before.live_bytes <= NET_CONN_RECEIVE_MAX);
	assert_true(w->b.mux.shared_used <= NET_MUX_SHARED_MAX);
	wire_free(w);
}

static void the_65th_stream_is_refused(void **state)
{
	struct wire *w = wire_new();

	CHECK_STATUS(0, flood_opens(w, NET_STREAMS_MAX + 1, 0));
	assert_int_equal(w->b.flow_count, NET_STREAMS_MAX);
	assert_int_equal(w->b.mux.refused, 1);
	assert_int_equal(net_mux_produce(&w->b.mux, w->record, WIRE_MAX), 4);
	assert_memory_equal(w->record,
			    ((uint8_t[]){ NET_MUX_RESET, 0x81, 0x01, NET_MUX_CODE_BUSY }), 4);
	wire_free(w);
}

static void refused_streams_without_end_end_the_connection(void **state)
{
	struct wire *w = wire_new();

	CHECK_STATUS(ERR_PROTOCOL, flood_opens(w, 100000, 0));
	assert_true(w->b.mux.refused <= NET_MUX_STRIKES_MAX + 1);
	wire_free(w);
}

static void resets_without_end_end_the_connection(void **state)
{
	struct wire *w = wire_new();

	CHECK_STATUS(ERR_PROTOCOL, flood_opens(w, 100000, NET_MUX_RESET));
	assert_true(w->b.flow_count <= NET_MUX_STRIKES_MAX + 1);
	wire_free(w);
}

static void resets_now_and_then_are_forgiven(void **state)
{
	struct wire *w = wire_new();

	for (unsigned i = 0; i < 250; i++) {
		struct flow *f = open_flow(w, i);

		settle(w);
		net_mux_stream_reset(&f->stream, UV_ECANCELED);
		settle(w);
		w->b.mux.now_ms += 100;
	}
	assert_true(w->b.mux.strikes < 10);
	wire_free(w);
}

static void structs_not_given_back_yet_count(void **state)
{
	struct wire *w = wire_new();

	w->b.keep = true;
	CHECK_STATUS(0, flood_opens(w, 200, NET_MUX_RESET));
	assert_int_equal(w->b.flow_count, NET_MUX_UNRELEASED_MAX);
	wire_free(w);
}

static void pings_that_are_not_fetched_end_the_connection(void **state)
{
	static const uint8_t ping[] = { NET_MUX_PING, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct wire *w = wire_new();

	CHECK_STATUS(0, flood(w, ping, sizeof(ping), NET_MUX_PONGS_MAX));
	CHECK_STATUS(ERR_PROTOCOL, flood(w, ping, sizeof(ping), 1));
	wire_free(w);
}

static void frames_of_one_byte_cost_no_memory(void **state)
{
	static const uint8_t open[] = { NET_MUX_OPEN, 1 },
			     head[] = { NET_MUX_DATA, 1, 3, 0xe0, 0xd4, 0x03 };
	static const uint8_t byte[] = { NET_MUX_DATA, 1, 1, 'x' };
	struct wire *w = wire_new();
	struct mem_stats before, after;

	CHECK_STATUS(0, net_mux_receive(&w->b.mux, open, sizeof(open)));
	mem_stats(&before);
	CHECK_STATUS(0, net_mux_receive(&w->b.mux, head, sizeof(head))); /* 60000 bytes */
	CHECK_STATUS(0, flood(w, byte, sizeof(byte), 59999));
	mem_stats(&after);
	assert_true(after.live_bytes - before.live_bytes < 2 * NET_MUX_WINDOW_BASE);
	CHECK_STATUS(0, flood(w, byte, sizeof(byte), 1));
	assert_int_equal(w->b.flows[0].messages, 1);
	wire_free(w);
}

static void no_memory_for_a_message_ends_its_stream_only(void **state)
{
	static const uint8_t part[] = { NET_MUX_OPEN, 1, NET_MUX_DATA, 1, 2, 9, 'x' };
	struct wire *w = wire_new();

	mem_fault_after(1, false);
	CHECK_STATUS(0, net_mux_receive(&w->b.mux, part, sizeof(part)));
	mem_fault_after(0, false);
	CHECK_STATUS(UV_ENOMEM, w->b.flows[0].status);
	wire_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_every_size_arrive_whole),
		cmocka_unit_test(too_big_and_too_much_are_refused),
		cmocka_unit_test(a_conn_queues_no_more_than_its_limit),
		cmocka_unit_test(ends_close_in_order),
		cmocka_unit_test(a_reset_tells_the_reason),
		cmocka_unit_test(a_stream_reset_before_it_was_sent_leaves_no_trace),
		cmocka_unit_test(data_for_a_stream_we_reset_is_dropped),
		cmocka_unit_test(the_stream_beyond_the_limit_is_ours_to_refuse),
		cmocka_unit_test(a_refused_stream_learns_why),
		cmocka_unit_test(a_bulk_stream_does_not_starve_a_small_message),
		cmocka_unit_test(streams_with_equal_load_advance_together),
		cmocka_unit_test(drain_comes_once_the_queue_is_half_empty),
		cmocka_unit_test(a_paused_reader_stops_the_writer),
		cmocka_unit_test(long_messages_on_all_streams_finish_within_the_budget),
		cmocka_unit_test(many_small_messages_cost_little_memory),
		cmocka_unit_test(a_ping_is_answered_and_a_farewell_understood),
		cmocka_unit_test(broken_rules_end_the_connection),
		cmocka_unit_test(more_data_than_credit_ends_the_connection),
		cmocka_unit_test(a_message_too_big_ends_its_stream_only),
		cmocka_unit_test(an_end_inside_a_message_ends_its_stream_only),
		cmocka_unit_test(a_length_alone_buys_no_memory),
		cmocka_unit_test(the_65th_stream_is_refused),
		cmocka_unit_test(refused_streams_without_end_end_the_connection),
		cmocka_unit_test(resets_without_end_end_the_connection),
		cmocka_unit_test(resets_now_and_then_are_forgiven),
		cmocka_unit_test(structs_not_given_back_yet_count),
		cmocka_unit_test(pings_that_are_not_fetched_end_the_connection),
		cmocka_unit_test(frames_of_one_byte_cost_no_memory),
		cmocka_unit_test(no_memory_for_a_message_ends_its_stream_only),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
