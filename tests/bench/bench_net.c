/* Two nets in one process over TCP loopback: throughput of large messages, round trips of small
 * ones. Both ends share one core and one loop, so that a byte is sealed and opened on it; two
 * machines do better. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/loop.h"
#include "base/mem.h"
#include "net/net.h"

enum {
	BULK_MESSAGE = 1 << 20,
	BULK_COUNT = 1024,
	BULK_AHEAD = 4 << 20,
	TRIPS = 20000,
	SMALL = 64,
	STREAMS = 64
};

struct end {
	struct net *net;
	struct net_transport *transport;
	struct net_stream streams[STREAMS];
	unsigned opened, messages;
	uint64_t bytes;
	bool echo, closed;
};

static struct {
	struct loop loop;
	struct end a, b;
	struct net_dial dial;
	bool dialed;
	uint8_t message[BULK_MESSAGE];
} bench;

static void on_message(struct net_stream *s, const uint8_t *msg, size_t len)
{
	struct end *e = s->data;

	e->messages++;
	e->bytes += len;
	if (e->echo)
		REQUIRE(net_stream_send(s, msg, len) == 0);
}

static void on_drain(struct net_stream *s)
{
}

static void on_close(struct net_stream *s, int status)
{
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static struct net_stream *stream_of(struct end *e)
{
	struct net_stream *s = &e->streams[e->opened++ % STREAMS];

	s->events = &events;
	s->data = e;
	return s;
}

static struct net_stream *on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	return stream_of(data);
}

static const struct net_service service = { .on_stream = on_stream };

static void end_init(struct end *e, uint8_t number)
{
	uint8_t seed[32] = { number }, public[32], secret[64];

	crypto_sign_seed_keypair(public, secret, seed);
	e->transport = net_tcp_new(&bench.loop);
	e->net = net_new(&(struct net_config){ .runner = &bench.loop.runner,
					       .transport = e->transport,
					       .secret_key = secret,
					       .agent = "bench",
					       .service = &service,
					       .service_data = e });
	REQUIRE(e->net != NULL);
}

static void on_dialed(struct net_dial *d, int status)
{
	REQUIRE(status == 0);
	bench.dialed = true;
}

static void turn(void)
{
	uv_run(&bench.loop.uv, UV_RUN_ONCE);
}

static void connect_ends(void)
{
	struct op_env env = { .runner = &bench.loop.runner, .deadline_ms = UINT64_MAX };
	struct multiaddr addr = { .family = 4, .ip = { 127, 0, 0, 1 } };

	end_init(&bench.a, 1);
	end_init(&bench.b, 2);
	REQUIRE(net_listen(bench.b.net, &addr) == 0);
	net_addrs(bench.b.net, &addr, 1);
	net_dial_start(&bench.dial, &env, bench.a.net, net_self(bench.b.net), &addr, 1, on_dialed);
	while (!bench.dialed)
		turn();
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_now_ns(&clock_system) - start_ns) / (double)NS_PER_SEC;
}

static void bulk(unsigned streams)
{
	uint64_t start_ns = clock_now_ns(&clock_system);
	struct net_stream *s[STREAMS];
	unsigned sent = 0;

	bench.b.messages = 0;
	bench.b.echo = false;
	for (unsigned i = 0; i < streams; i++) {
		s[i] = stream_of(&bench.a);
		REQUIRE(net_stream_open(s[i], bench.dial.conn) == 0);
	}
	while (bench.b.messages < BULK_COUNT) {
		for (unsigned i = 0; i < streams; i++) {
			while (sent < BULK_COUNT &&
			       net_stream_queued(s[i]) < BULK_AHEAD / streams) {
				REQUIRE(net_stream_send(s[i], bench.message, BULK_MESSAGE) == 0);
				sent++;
			}
		}
		turn();
	}
	printf("bulk, %2u streams         %8.0f MiB/s\n", streams,
	       (double)BULK_COUNT * BULK_MESSAGE / (1 << 20) / seconds_since(start_ns));
	for (unsigned i = 0; i < streams; i++)
		net_stream_reset(s[i], UV_ECANCELED);
	for (unsigned i = 0; i < 100; i++)
		uv_run(&bench.loop.uv, UV_RUN_NOWAIT);
}

static void trips(void)
{
	uint64_t start_ns = clock_now_ns(&clock_system);
	struct net_stream *s = stream_of(&bench.a);

	bench.a.messages = 0;
	bench.b.echo = true;
	REQUIRE(net_stream_open(s, bench.dial.conn) == 0);
	for (unsigned i = 0; i < TRIPS; i++) {
		REQUIRE(net_stream_send(s, bench.message, SMALL) == 0);
		while (bench.a.messages <= i)
			turn();
	}
	printf("round trips, %u bytes    %8.0f /s\n", SMALL, TRIPS / seconds_since(start_ns));
}

static void many_small(void)
{
	uint64_t start_ns = clock_now_ns(&clock_system);
	struct net_stream *s = stream_of(&bench.a);
	unsigned sent = 0, count = 50 * TRIPS;

	bench.b.messages = 0;
	bench.b.echo = false;
	REQUIRE(net_stream_open(s, bench.dial.conn) == 0);
	while (bench.b.messages < count) {
		while (sent < count && net_stream_queued(s) < NET_SEND_QUEUE_HIGH) {
			REQUIRE(net_stream_send(s, bench.message, SMALL) == 0);
			sent++;
		}
		turn();
	}
	printf("one way, %u bytes        %8.0f /s\n", SMALL, count / seconds_since(start_ns));
}

static void on_closed(void *data)
{
	((struct end *)data)->closed = true;
}

int main(void)
{
	REQUIRE(base_init() >= 0);
	REQUIRE(loop_init(&bench.loop) == 0);
	connect_ends();
	bulk(1);
	bulk(16);
	trips();
	many_small();
	net_close(bench.a.net, on_closed, &bench.a);
	net_close(bench.b.net, on_closed, &bench.b);
	while (!bench.a.closed || !bench.b.closed)
		turn();
	net_free(bench.a.net);
	net_free(bench.b.net);
	net_tcp_free(bench.a.transport);
	net_tcp_free(bench.b.transport);
	loop_fini(&bench.loop);
	return 0;
}
