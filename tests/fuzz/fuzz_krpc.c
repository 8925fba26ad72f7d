/* A node that takes datagrams from strangers, split out of the input (length:u8 times two, bytes):
 * it never answers what is no query, and never with more than it may. */
#include <string.h>

#include "base/manual.h"
#include "discovery/dht/krpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct wire {
	struct dht_transport transport;
	size_t asked; /* bytes of the packet being answered; 0 = none */
};

static void on_send(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
		    size_t len)
{
	struct wire *w = container_of(t, struct wire, transport);
	struct krpc_message m;

	REQUIRE(krpc_parse(data, len, &m) == 0);
	REQUIRE(len <= DHT_PACKET_MAX);
	if (m.type != KRPC_QUERY)
		REQUIRE(w->asked > 0 && len <= MAX(w->asked * DHT_AMPLIFICATION, (size_t)200));
}

static void feed(struct dht *d, struct wire *w, const uint8_t *data, size_t size)
{
	struct dht_address from = { .family = 4, .ip = { 20, 1, 1, 1 }, .port = 6881 };
	struct krpc_message m;

	if (krpc_parse(data, size, &m) == 0)
		w->asked = m.type == KRPC_QUERY ? size : 0;
	dht_receive(d, &from, data, size);
	w->asked = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[DHT_SEED_SIZE] = { 1 };
	struct wire w = { .transport.send = on_send };
	struct manual_loop loop;
	struct dht_config config = { .transport = &w.transport, .seed = seed };
	struct dht *d;

	manual_loop_init(&loop, 1);
	config.runner = &loop.runner;
	config.local[0] = (struct dht_address){ .family = 4, .ip = { 30, 1, 1, 1 }, .port = 1 };
	d = dht_new(&config);
	REQUIRE(d != NULL);
	dht_start(d);
	feed(d, &w, data, size);
	while (size > 2) {
		size_t len = MIN((size_t)data[0] << 8 | data[1], size - 2);

		feed(d, &w, data + 2, len);
		manual_loop_run(&loop, runner_now_ms(&loop.runner) + 200);
		data += 2 + len;
		size -= 2 + len;
	}
	dht_close(d, NULL, NULL);
	while (manual_loop_turn(&loop) > 0)
		;
	manual_loop_fini(&loop);
	return 0;
}
