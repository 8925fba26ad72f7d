/* What a stranger may send before it has proven anything. The first byte chooses where the rest
 * goes:
 *
 *   0  the Hello decoder
 *   1  the first Noise message, to a responder that then answers
 *   2  the second Noise message, to an initiator
 *   3  the third Noise message, to a responder
 *   4  a link of a listening net: records of the handshake, cut as they are */
#include <sodium.h>
#include <string.h>

#include "base/manual.h"
#include "base/mem.h"
#include "net/hello.h"
#include "net/noise.h"
#include "tests/sim/simnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secrets[2][NET_NOISE_KEY_SIZE] = { { 1 }, { 2 } };

static void fuzz_hello(const uint8_t *data, size_t size)
{
	struct net_hello h, again;
	struct buf b;

	if (net_hello_decode(data, size, &h) != 0)
		return;
	REQUIRE(h.version_min <= h.version_max);
	for (size_t i = 0; h.agent[i] != '\0'; i++)
		REQUIRE(i < NET_AGENT_MAX && h.agent[i] > ' ' && h.agent[i] <= '~');
	buf_init(&b, NET_HELLO_SIZE_MAX);
	REQUIRE(net_hello_encode(&h, &b) == 0);
	REQUIRE(net_hello_decode(b.data, b.len, &again) == 0);
	REQUIRE(key_eq(&h.key, &again.key) && h.capabilities == again.capabilities);
	REQUIRE(strcmp(h.agent, again.agent) == 0 && h.listen_port == again.listen_port);
	buf_fini(&b);
}

/* Both sides honest up to message `turn`, which is replaced by the input. */
static void fuzz_message(unsigned turn, const uint8_t *data, size_t size)
{
	struct net_noise_handshake sides[2];
	struct buf msg, payload;
	int err;

	for (unsigned i = 0; i < 2; i++) {
		net_noise_handshake_init(&sides[i], i == 0, secrets[i], "p", 1);
		net_noise_handshake_set_ephemeral(&sides[i], secrets[1 - i]);
	}
	buf_init(&msg, 1024);
	buf_init(&payload, NET_NOISE_MESSAGE_MAX);
	for (unsigned i = 0; i < turn; i++) {
		buf_clear(&msg);
		REQUIRE(net_noise_handshake_write(&sides[i % 2], "x", 1, &msg) == 0);
		REQUIRE(net_noise_handshake_read(&sides[1 - i % 2], msg.data, msg.len, &payload) ==
			0);
	}
	buf_clear(&payload);
	buf_clear(&msg);
	err = net_noise_handshake_read(&sides[1 - turn % 2], data, size, &payload);
	REQUIRE(err == 0 || err == ERR_PROTOCOL);
	REQUIRE(err == 0 || payload.len == 0);
	REQUIRE(turn == 0 || err == ERR_PROTOCOL); /* nobody guesses a tag */
	if (err == 0)
		(void)net_noise_handshake_write(&sides[1], "y", 1, &msg);
	buf_fini(&msg);
	buf_fini(&payload);
}

static void link_status(struct net_link *l, int status)
{
}

static void link_read(struct net_link *l, const uint8_t *data, size_t len)
{
}

static void link_drain(struct net_link *l)
{
}

static void closed(void *data)
{
}

static void fuzz_link(const uint8_t *data, size_t size)
{
	static const struct net_link_events events = { link_status, link_read, link_drain,
						       link_status };
	uint8_t secret[64] = { 1 }, public[32];
	struct multiaddr addr = { .family = 4, .ip = { 10, 0, 0, 1 }, .port = 9 };
	struct manual_loop loop;
	struct simnet *sim;
	struct net_transport *peer;
	struct net_stats stats;
	struct net_link *l;
	struct net *n;

	crypto_sign_seed_keypair(public, secret, secret);
	manual_loop_init(&loop, 1);
	sim = simnet_new(&loop.runner, 1);
	n = net_new(&(struct net_config){ .runner = &loop.runner,
					  .transport = simnet_host(sim, "10.0.0.1"),
					  .secret_key = secret,
					  .agent = "fuzz" });
	REQUIRE(net_listen(n, &addr) == 0);
	peer = simnet_host(sim, "10.0.0.2");
	simnet_set_default(sim, &(struct simnet_path){ .read_max = 50 });
	l = peer->dial(peer, &addr, &events, NULL);
	manual_loop_run(&loop, 10);
	if (size > 0)
		REQUIRE(peer->write(l, mem_dup(data, size), size) == 0);
	manual_loop_run(&loop, 20);
	net_stats(n, &stats);
	REQUIRE(stats.conns == 0);
	net_close(n, closed, NULL);
	manual_loop_run(&loop, 30000);
	net_free(n);
	simnet_free(sim);
	manual_loop_fini(&loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 5) {
	case 0: fuzz_hello(data + 1, size - 1); break;
	case 4: fuzz_link(data + 1, size - 1); break;
	default: fuzz_message(data[0] % 5 - 1, data + 1, size - 1);
	}
	return 0;
}
