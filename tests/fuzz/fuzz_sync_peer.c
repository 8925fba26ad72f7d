/* A whole host against a peer that says anything. First byte: 0 = the peer asks (the serving side
 * reads), 1 = the peer answers (a session reads). Then messages, each two bytes of length, big
 * endian, and so many bytes.
 *
 * The host lives through all inputs; after each, no operation may be left but what waits for time
 * to pass. */
#include <sodium.h>
#include <stdlib.h>

#include "base/manual.h"
#include "base/mem.h"
#include "sync/sync.h"
#include "tests/sim/simnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES_MAX = 64, STREAMS = 4, SETTLE_MS = 2000000 };

static struct world {
	struct manual_loop loop;
	struct simnet *simnet;
	struct net *net, *peer;
	struct store *store;
	struct sync *sync;
	struct public_key host_key, peer_key;
	struct multiaddr host_addr, peer_addr;
	bool ready;
} w;

static struct buf_reader input;

struct any_stream {
	struct net_stream stream;
	bool open;
};
static struct any_stream streams[STREAMS];

static void say_next(struct net_stream *s)
{
	const uint8_t *msg;
	uint16_t len;

	if (buf_read_u16be(&input, &len) < 0)
		return;
	if (buf_read_bytes(&input, MIN((size_t)len, buf_left(&input)), &msg) == 0)
		(void)net_stream_send(s, msg, MIN((size_t)len, (size_t)(input.p - msg)));
}

static void on_message(struct net_stream *s, const uint8_t *msg, size_t len)
{
	say_next(s);
}

static void on_drain(struct net_stream *s)
{
}

static void on_close(struct net_stream *s, int status)
{
	((struct any_stream *)s->data)->open = false;
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static struct any_stream *free_stream(void)
{
	for (size_t i = 0; i < STREAMS; i++) {
		if (streams[i].open)
			continue;
		streams[i] = (struct any_stream){ .open = true };
		streams[i].stream = (struct net_stream){ .events = &events, .data = &streams[i] };
		return &streams[i];
	}
	return NULL;
}

static struct net_stream *on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	struct any_stream *s = free_stream();

	*ret_refusal = ERR_BUSY;
	return s != NULL ? &s->stream : NULL;
}

static void on_up(void *data, struct net_conn *c)
{
}

static void on_down(void *data, struct net_conn *c, int status)
{
}

static const struct net_service service = { on_stream, on_up, on_down };

static struct net *start_net(uint8_t number, const char *ip, struct public_key *key,
			     struct multiaddr *addr)
{
	uint8_t seed[32] = { number }, secret[64];
	struct net *n;

	*addr = (struct multiaddr){ .family = 4, .ip = { 10, 0, 0, number }, .port = 4001 };
	crypto_sign_seed_keypair(key->bytes, secret, seed);
	n = net_new(&(struct net_config){ .runner = &w.loop.runner,
					  .transport = simnet_host(w.simnet, ip),
					  .secret_key = secret,
					  .agent = "fuzz" });
	if (n == NULL || net_listen(n, addr) < 0)
		abort();
	return n;
}

static void start(void)
{
	char why[256];

	if (base_init() < 0)
		abort();
	manual_loop_init(&w.loop, 1);
	w.simnet = simnet_new(&w.loop.runner, 1);
	w.net = start_net(1, "10.0.0.1", &w.host_key, &w.host_addr);
	w.peer = start_net(2, "10.0.0.2", &w.peer_key, &w.peer_addr);
	net_set_service(w.peer, &service, NULL);
	if (store_open(&(struct store_config){ .runner = &w.loop.runner, .inline_io = true },
		       &w.store, why, sizeof(why)) < 0)
		abort();
	w.sync = sync_new(
		&(struct sync_config){ .runner = &w.loop.runner, .net = w.net, .store = w.store });
	if (w.sync == NULL)
		abort();
	w.ready = true;
}

static void run_ms(uint64_t ms)
{
	manual_loop_run(&w.loop, runner_now_ms(&w.loop.runner) + ms);
}

static void on_dialed(struct net_dial *d, int status)
{
}

static void ask(void)
{
	static struct net_dial dial;
	struct op_env env = { .runner = &w.loop.runner,
			      .deadline_ms = runner_now_ms(&w.loop.runner) + 10000 };
	struct any_stream *s = free_stream();
	struct net_conn *c;

	net_dial_start(&dial, &env, w.peer, &w.host_key, &w.host_addr, 1, on_dialed);
	run_ms(1000);
	c = net_find(w.peer, &w.host_key);
	if (s == NULL || c == NULL || net_stream_open(&s->stream, c) < 0)
		abort();
	for (unsigned i = 0; i < MESSAGES_MAX && s->open && buf_left(&input) > 0; i++)
		say_next(&s->stream);
	run_ms(1000);
	if (s->open)
		net_stream_reset(&s->stream, UV_ECANCELED);
}

static bool wave_done;

static void on_wave(struct sync_wave *wave, int status)
{
	wave_done = true;
}

static void answer(void)
{
	static struct sync_wave wave;
	struct op_env env = { .runner = &w.loop.runner,
			      .deadline_ms = runner_now_ms(&w.loop.runner) + 60000 };
	struct sync_target t = { .peer = w.peer_key, .addrs = { w.peer_addr }, .addr_count = 1 };
	struct scope scope;

	if (scope_make(&w.host_key, "", 0, SCOPE_RECURSIVE, &scope) < 0)
		abort();
	wave_done = false;
	sync_wave_start(&wave, &env, w.sync, &scope, STORE_WANT_HISTORY, NULL, on_wave);
	if (sync_wave_add(&wave, &t) < 0)
		abort();
	sync_wave_seal(&wave);
	run_ms(100000);
	if (!wave_done)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (!w.ready)
		start();
	input = buf_reader(data + 1, size - 1);
	if (data[0] & 1)
		answer();
	else
		ask();
	run_ms(SETTLE_MS); /* idle connections go, everything times out */
	if (w.loop.runner.op_count != 0)
		abort();
	return 0;
}
