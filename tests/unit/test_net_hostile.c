/* A net against a peer that is a script: raw bytes, or a proper handshake followed by whatever a
 * record may hold. */
#include "net_fixture.h"

#include "net/hello.h"
#include "net/mux.h"
#include "net/noise.h"

enum { NODE = 0, WAIT_MS = 100 };

struct raw {
	struct net_transport *transport;
	struct net_link *link;
	bool open, closed, deaf;
	struct buf got;
	struct net_noise_handshake handshake;
	struct net_noise_cipher send, receive;
	uint8_t secret[64];
	struct net_hello hello;
};

static void raw_open(struct net_link *l, int status)
{
	struct raw *r = l->data;

	r->open = status == 0;
	if (status != 0)
		r->link = NULL;
}

static void raw_read(struct net_link *l, const uint8_t *data, size_t len)
{
	struct raw *r = l->data;

	if (r->deaf)
		return;
	buf_write(&r->got, data, len);
	assert_int_equal(buf_err(&r->got), 0);
}

static void raw_drain(struct net_link *l)
{
}

static void raw_close(struct net_link *l, int status)
{
	struct raw *r = l->data;

	r->closed = true;
	r->link = NULL;
}

static const struct net_link_events raw_events = { raw_open, raw_read, raw_drain, raw_close };

static void raw_init(struct raw *r, struct world *w, const char *ip)
{
	uint8_t seed[32] = { 99 };

	*r = (struct raw){ .transport = simnet_host(w->sim, ip) };
	buf_init(&r->got, 64 << 20);
	crypto_sign_seed_keypair(r->hello.key.bytes, r->secret, seed);
	r->hello.version_min = r->hello.version_max = 1;
	r->link = r->transport->dial(r->transport, &w->nodes[NODE].addr, &raw_events, r);
	world_run(w, WAIT_MS);
	assert_true(r->open);
}

static void raw_fini(struct raw *r, struct world *w)
{
	if (r->link != NULL)
		r->transport->close(r->link, ERR_CLOSED);
	world_run(w, WAIT_MS);
	buf_fini(&r->got);
}

static void raw_write(struct raw *r, struct world *w, const void *data, size_t len)
{
	if (r->link != NULL)
		CHECK_STATUS(0, r->transport->write(r->link, mem_dup(data, len), len));
	world_run(w, WAIT_MS);
}

/* The next record that came, without its length. Borrowed until the next call. */
static size_t raw_record(struct raw *r, const uint8_t **ret)
{
	size_t len;

	if (r->got.len < 2)
		return 0;
	len = (size_t)r->got.data[0] << 8 | r->got.data[1];
	if (r->got.len < 2 + len)
		return 0;
	*ret = r->got.data + 2;
	return len;
}

static void raw_write_message(struct raw *r, struct world *w, bool with_hello)
{
	struct buf hello, msg;

	buf_init(&hello, 2 * NET_HELLO_SIZE_MAX);
	buf_init(&msg, 4 * NET_HELLO_SIZE_MAX);
	if (with_hello)
		CHECK_STATUS(0, net_hello_encode(&r->hello, &hello));
	buf_write_u16be(&msg, 0);
	CHECK_STATUS(0, net_noise_handshake_write(&r->handshake, hello.data, hello.len, &msg));
	msg.data[0] = (uint8_t)((msg.len - 2) >> 8);
	msg.data[1] = (uint8_t)(msg.len - 2);
	raw_write(r, w, msg.data, msg.len);
	buf_fini(&hello);
	buf_fini(&msg);
}

/* A proper handshake, up to and including the third message. */
static void raw_handshake(struct raw *r, struct world *w)
{
	uint8_t secret[NET_NOISE_KEY_SIZE];
	const uint8_t *msg;
	struct buf payload;
	size_t len;

	crypto_sign_ed25519_sk_to_curve25519(secret, r->secret);
	net_noise_handshake_init(&r->handshake, true, secret, "peerscope/1", 11);
	raw_write_message(r, w, false);
	len = raw_record(r, &msg);
	buf_init(&payload, NET_HELLO_SIZE_MAX);
	CHECK_STATUS(0, net_noise_handshake_read(&r->handshake, msg, len, &payload));
	buf_fini(&payload);
	buf_consume(&r->got, 2 + len);
	raw_write_message(r, w, true);
	net_noise_handshake_split(&r->handshake, &r->send, &r->receive);
}

static void raw_write_record(struct raw *r, struct world *w, const uint8_t *plain, size_t len)
{
	uint8_t *record = mem_alloc(2 + len + NET_NOISE_TAG_SIZE);

	CHECK_STATUS(0, net_noise_encrypt(&r->send, NULL, 0, plain, len, record + 2));
	record[0] = (uint8_t)((len + NET_NOISE_TAG_SIZE) >> 8);
	record[1] = (uint8_t)(len + NET_NOISE_TAG_SIZE);
	raw_write(r, w, record, 2 + len + NET_NOISE_TAG_SIZE);
	mem_free(record);
}

/* True when the node has closed the link within the time that writing took. */
static bool dropped_at_once(const void *data, size_t len)
{
	struct world w;
	struct raw r;
	bool dropped;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_write(&r, &w, data, len);
	dropped = r.closed;
	assert_int_equal(w.nodes[NODE].ups, 0);
	raw_fini(&r, &w);
	world_fini(&w);
	return dropped;
}

static void other_protocols_are_dropped_at_their_first_bytes(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
			  torrent[] = "\x13"
				      "BitTorrent protocol";
	static const char tls[] = "\x16\x03\x01\x02\x00", ssh[] = "SSH-2.0-x\r\n";

	assert_true(dropped_at_once(http, 2));
	assert_true(dropped_at_once(http, sizeof(http) - 1));
	assert_true(dropped_at_once(torrent, 2));
	assert_true(dropped_at_once(tls, 2));
	assert_true(dropped_at_once(ssh, 2));
	assert_true(dropped_at_once("\0\0", 2));
	assert_true(dropped_at_once("\0\41", 2));
	assert_false(dropped_at_once("\0\40", 2));
}

static void silence_in_the_handshake_ends_at_its_deadline(void **state)
{
	struct net_stats stats;
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_write(&r, &w, "\0\40abc", 5);
	world_run(&w, NET_HANDSHAKE_TIMEOUT_MS - 3 * WAIT_MS);
	assert_false(r.closed);
	world_run(&w, 3 * WAIT_MS);
	assert_true(r.closed);
	net_stats(w.nodes[NODE].net, &stats);
	assert_int_equal(stats.handshake_failures, 1);
	raw_fini(&r, &w);
	world_fini(&w);
}

/* One byte each half second: the deadline is for the whole handshake. */
static void dripping_does_not_stretch_the_deadline(void **state)
{
	uint8_t byte[34] = { 0, 32, 9 };
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	for (unsigned i = 0; i < 12 && !r.closed; i++) {
		raw_write(&r, &w, byte + i, 1);
		world_run(&w, 500);
	}
	assert_true(r.closed);
	raw_fini(&r, &w);
	world_fini(&w);
}

static void the_script_can_behave(void **state)
{
	static const uint8_t hello[] = { NET_MUX_OPEN, 1, NET_MUX_DATA, 1, 3, 2, 'h', 'i' };
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	raw_write_record(&r, &w, hello, sizeof(hello));
	assert_false(r.closed);
	assert_int_equal(w.nodes[NODE].ups, 1);
	assert_int_equal(w.nodes[NODE].flows[0].messages, 1);
	raw_fini(&r, &w);
	world_fini(&w);
}

/* After the handshake: what ends the connection, and is counted as a broken protocol. */
static bool cut_off_for(const uint8_t *plain, size_t len, bool sealed)
{
	struct net_stats stats;
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	if (sealed)
		raw_write_record(&r, &w, plain, len);
	else
		raw_write(&r, &w, plain, len);
	net_stats(w.nodes[NODE].net, &stats);
	assert_int_equal(stats.protocol_errors, r.closed);
	if (r.closed)
		CHECK_STATUS(ERR_PROTOCOL, w.nodes[NODE].down_status);
	assert_int_equal(w.nodes[NODE].ups, 1);
	raw_fini(&r, &w);
	world_fini(&w);
	return stats.protocol_errors == 1;
}

static void bad_records_end_the_connection(void **state)
{
	static const uint8_t forged[30] = { 0, 28, 1, 2, 3 }, empty[] = { 0, 16 },
			     short_[] = { 0, 5 };
	static const uint8_t fine[] = { NET_MUX_PING, 1, 2, 3, 4, 5, 6, 7, 8 };

	assert_true(cut_off_for(forged, sizeof(forged), false));
	assert_true(cut_off_for(empty, sizeof(empty), false));
	assert_true(cut_off_for(short_, sizeof(short_), false));
	assert_true(cut_off_for(fine, sizeof(fine) - 1, true));
	assert_false(cut_off_for(fine, sizeof(fine), true));
}

static void oversized_frames_end_the_connection(void **state)
{
	static uint8_t frame[20000] = { NET_MUX_OPEN, 1, NET_MUX_DATA, 1, 0x81, 0x80, 0x01 };

	assert_true(cut_off_for(frame, sizeof(frame), true));
}

static void a_record_replayed_ends_the_connection(void **state)
{
	static const uint8_t ping[] = { NET_MUX_PING, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	raw_write_record(&r, &w, ping, sizeof(ping));
	assert_false(r.closed);
	r.send.nonce--;
	raw_write_record(&r, &w, ping, sizeof(ping));
	assert_true(r.closed);
	raw_fini(&r, &w);
	world_fini(&w);
}

static void raw_accept(void *data, struct net_link *l)
{
	struct raw *r = data;

	l->events = &raw_events;
	l->data = r;
	r->link = l;
	r->open = true;
}

/* At its second address, in answer to a dial: the second message. */
static void raw_respond(struct raw *r, struct world *w)
{
	uint8_t secret[NET_NOISE_KEY_SIZE];
	const uint8_t *msg;
	struct buf payload;
	size_t len;

	crypto_sign_ed25519_sk_to_curve25519(secret, r->secret);
	net_noise_handshake_init(&r->handshake, false, secret, "peerscope/1", 11);
	len = raw_record(r, &msg);
	assert_int_equal(len, NET_NOISE_KEY_SIZE);
	buf_init(&payload, NET_HELLO_SIZE_MAX);
	CHECK_STATUS(0, net_noise_handshake_read(&r->handshake, msg, len, &payload));
	buf_fini(&payload);
	buf_consume(&r->got, 2 + len);
	raw_write_message(r, w, true);
}

/* A handshake that is held, since an older conn of the peer is being asked whether it is alive, is
 * not the peer's turn. */
static void a_record_while_the_handshake_is_held_ends_it(void **state)
{
	static const uint8_t early[2 + 200] = { 0, 200, 1 };
	struct multiaddr second = fixture_addr("10.6.6.7:4001"), bound;
	struct world w;
	struct call c;
	struct raw first, other;

	world_init(&w, 1, 1);
	raw_init(&first, &w, "10.6.6.6");
	raw_handshake(&first, &w);
	world_run(&w, 2 * NET_FRESH_MS);
	other = (struct raw){ .transport = simnet_host(w.sim, "10.6.6.7"), .hello = first.hello };
	memcpy(other.secret, first.secret, sizeof(other.secret));
	buf_init(&other.got, 64 << 20);
	CHECK_STATUS(0,
		     other.transport->listen(other.transport, &second, &bound, raw_accept, &other));
	call_start(&c, &w.loop.runner, w.nodes[NODE].net, &first.hello.key, &second, 1);
	world_run(&w, 2 * WAIT_MS);
	raw_respond(&other, &w);
	assert_false(other.closed);
	raw_write(&other, &w, early, sizeof(early));
	assert_true(other.closed);
	raw_fini(&other, &w);
	raw_fini(&first, &w);
	assert_true(run_until(&w.loop, call_is_done, &c, UINT64_MAX - 1));
	assert_null(c.dial.conn);
	world_fini(&w);
}

/* The peer proves one static key and claims an Ed25519 key that does not belong to it. */
static void a_stolen_identity_is_not_believed(void **state)
{
	uint8_t seed[32] = { 7 }, secret[64];
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	crypto_sign_seed_keypair(r.hello.key.bytes, secret, seed);
	raw_handshake(&r, &w);
	assert_true(r.closed);
	assert_int_equal(w.nodes[NODE].ups, 0);
	raw_fini(&r, &w);
	world_fini(&w);
}

static bool accepted(void (*change)(struct raw *r))
{
	struct world w;
	struct raw r;
	bool up;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	change(&r);
	raw_handshake(&r, &w);
	up = w.nodes[NODE].ups == 1;
	assert_int_equal(up, !r.closed);
	raw_fini(&r, &w);
	world_fini(&w);
	return up;
}

static void change_nothing(struct raw *r)
{
}

static void change_version(struct raw *r)
{
	r->hello.version_min = 2;
	r->hello.version_max = 9;
}

static void change_to_older_and_newer(struct raw *r)
{
	r->hello.version_min = 0;
	r->hello.version_max = 9;
}

static void change_to_zero_key(struct raw *r)
{
	memset(&r->hello.key, 0, sizeof(r->hello.key));
}

static void change_agent(struct raw *r)
{
	memset(r->hello.agent, '\x1b', NET_AGENT_MAX);
}

/* The node's own key: somebody who had it, or the node itself by a detour. */
static void change_to_self(struct raw *r)
{
	uint8_t seed[32] = { NODE + 1 };

	crypto_sign_seed_keypair(r->hello.key.bytes, r->secret, seed);
}

static void hellos_are_checked(void **state)
{
	assert_true(accepted(change_nothing));
	assert_false(accepted(change_version));
	assert_true(accepted(change_to_older_and_newer));
	assert_false(accepted(change_to_zero_key));
	assert_false(accepted(change_to_self));
	assert_true(accepted(change_agent));
}

static void an_agent_cannot_carry_escapes(void **state)
{
	struct net_conn_info info;
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	memcpy(r.hello.agent, "a\x1b[2J\n\x7f.\xc3\xa4", 11);
	raw_handshake(&r, &w);
	net_conn_info(w.nodes[NODE].conn, &info);
	assert_string_equal(info.agent, "a?[2J??.??");
	raw_fini(&r, &w);
	world_fini(&w);
}

static void half_open_links_are_closed(void **state)
{
	static const uint8_t open[] = { NET_MUX_OPEN, 1 };
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	raw_write_record(&r, &w, open, sizeof(open));
	/* it never answers a ping */
	world_run(&w, NET_PING_TIMEOUT_MS + 1000);
	assert_true(r.closed);
	CHECK_STATUS(UV_ETIMEDOUT, w.nodes[NODE].down_status);
	CHECK_STATUS(ERR_CLOSED, w.nodes[NODE].flows[0].status);
	raw_fini(&r, &w);
	world_fini(&w);
}

static uint64_t live_bytes(void)
{
	struct mem_stats stats;

	mem_stats(&stats);
	return stats.live_bytes;
}

/* Echo streams, fed by a peer that reads nothing and grants all the credit there is. */
static void a_peer_that_never_reads_costs_a_bounded_sum(void **state)
{
	static uint8_t frame[8 + 16000] = { NET_MUX_OPEN, 1,	NET_MUX_CREDIT, 1,
					    0xff,	  0xff, 0xff,		0x01 };
	static uint8_t data[6 + 16000] = { NET_MUX_DATA, 1, 0x80, 0x7d, 0xfe, 0x7c };
	uint64_t before;
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	r.transport->read(r.link, false);
	before = live_bytes();
	raw_write_record(&r, &w, frame, 8);
	for (unsigned i = 0; i < 4; i++) /* within the credit it has without reading */
		raw_write_record(&r, &w, data, 4 + 16000);
	assert_false(r.closed);
	for (unsigned i = 0; i < 200; i++)
		(void)net_stream_send(&w.nodes[NODE].flows[0].stream, data, sizeof(data));
	world_run(&w, 1000);
	assert_true(live_bytes() - before < NET_SEND_QUEUE_MAX + (2 << 20));
	world_run(&w, NET_PING_INTERVAL_MS + NET_PING_TIMEOUT_MS);
	CHECK_STATUS(UV_ETIMEDOUT, w.nodes[NODE].down_status);
	raw_fini(&r, &w);
	world_fini(&w);
}

static void ping_floods_without_reading_end_the_connection(void **state)
{
	static const uint8_t ping[] = { NET_MUX_PING, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint64_t before;
	struct world w;
	struct raw r;

	world_init(&w, 1, 1);
	raw_init(&r, &w, "10.6.6.6");
	raw_handshake(&r, &w);
	r.transport->read(r.link, false);
	before = live_bytes();
	for (unsigned i = 0; i < 40000 && !r.closed; i++) {
		uint8_t *record = mem_alloc(2 + sizeof(ping) + NET_NOISE_TAG_SIZE);

		record[1] = sizeof(ping) + NET_NOISE_TAG_SIZE;
		CHECK_STATUS(0,
			     net_noise_encrypt(&r.send, NULL, 0, ping, sizeof(ping), record + 2));
		if (r.link != NULL)
			CHECK_STATUS(0, r.transport->write(r.link, record,
							   2 + sizeof(ping) + NET_NOISE_TAG_SIZE));
		if (i % 4 == 0)
			manual_loop_step(&w.loop);
	}
	assert_true(live_bytes() - before < (4 << 20));
	raw_fini(&r, &w);
	world_fini(&w);
}

/* Garbage of every kind instead of a record's content: no crash, and either nothing happens or the
 * end. */
static void random_records_do_no_harm(void **state)
{
	struct world w;

	world_init(&w, 1, 1);
	for (unsigned round = 0; round < 300; round++) {
		uint8_t plain[200];
		struct raw r;

		raw_init(&r, &w, "10.6.6.6");
		raw_handshake(&r, &w);
		for (unsigned i = 0; i < 4; i++) {
			size_t len = 1 + runner_random_below(&w.loop.runner, sizeof(plain) - 1);

			for (size_t j = 0; j < len; j++)
				plain[j] = (uint8_t)(runner_random(&w.loop.runner) %
						     (j % 2 == 0 ? 9 : 5));
			raw_write_record(&r, &w, plain, len);
		}
		raw_fini(&r, &w);
	}
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_protocols_are_dropped_at_their_first_bytes),
		cmocka_unit_test(silence_in_the_handshake_ends_at_its_deadline),
		cmocka_unit_test(dripping_does_not_stretch_the_deadline),
		cmocka_unit_test(the_script_can_behave),
		cmocka_unit_test(bad_records_end_the_connection),
		cmocka_unit_test(oversized_frames_end_the_connection),
		cmocka_unit_test(a_record_replayed_ends_the_connection),
		cmocka_unit_test(a_record_while_the_handshake_is_held_ends_it),
		cmocka_unit_test(a_stolen_identity_is_not_believed),
		cmocka_unit_test(hellos_are_checked),
		cmocka_unit_test(an_agent_cannot_carry_escapes),
		cmocka_unit_test(half_open_links_are_closed),
		cmocka_unit_test(a_peer_that_never_reads_costs_a_bounded_sum),
		cmocka_unit_test(ping_floods_without_reading_end_the_connection),
		cmocka_unit_test(random_records_do_no_harm),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
