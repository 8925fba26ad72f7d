/* One mDNS source on a loop of its own, for tests in network namespaces:
 *
 *	lan_node <seed byte> <listening address, as 0.0.0.0:4001> [network tag]
 *
 * Prints a JSON line for every new peer, and for every change of state, and `{"closed": …}` when a
 * SIGTERM has ended it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "discovery/discovery.h"
#include "discovery/mdns/mdns.h"

enum { WATCH_MS = 50 };

struct node {
	struct loop loop;
	struct mdns_source *source;
	uv_signal_t term;
	struct runner_timer watch;
	const char *state;
	bool told;
	unsigned peers;
};

static void print_peer(const struct mdns_peer *peer)
{
	char id[PEER_ID_TEXT_SIZE], address[MULTIADDR_TEXT_SIZE];

	peer_id_format(&peer->peer, id);
	printf("{\"peer\": \"%s\", \"dht\": %u, \"addrs\": [", id, peer->dht_port);
	for (size_t i = 0; i < peer->addr_count; i++) {
		multiaddr_format(&peer->addrs[i], address);
		printf("%s\"%s\"", i > 0 ? ", " : "", address);
	}
	printf("]}\n");
}

static void on_peer(void *data, const struct mdns_peer *peer)
{
	print_peer(peer);
}

static void on_watch(struct runner_timer *timer)
{
	struct node *n = container_of(timer, struct node, watch);
	struct discovery_source *base = mdns_source_base(n->source);
	const char *state = base->state(base);
	struct sync_target targets[32];
	unsigned peers = (unsigned)base->peers(base, targets, ARRAY_SIZE(targets));

	if (!n->told || state != n->state || peers != n->peers)
		printf("{\"state\": \"%s\", \"label\": \"%s\", \"peers\": %u}\n",
		       state != NULL ? state : "", mdns_label(mdns_source_core(n->source)), peers);
	n->told = true;
	n->state = state;
	n->peers = peers;
	runner_timer_start(&n->loop.runner, timer, runner_now_ms(&n->loop.runner) + WATCH_MS);
}

static void on_closed(void *data)
{
	struct node *n = data;
	struct mdns_stats s;

	mdns_stats(mdns_source_core(n->source), &s);
	printf("{\"closed\": true, \"in\": %" PRIu64 ", \"out\": %" PRIu64
	       ", \"malformed\": %" PRIu64 ", \"conflicts\": %" PRIu64 "}\n",
	       s.packets_in, s.packets_out, s.dropped_malformed, s.conflicts);
	n->source = mdns_source_free(n->source);
}

static void on_term(uv_signal_t *handle, int signum)
{
	struct node *n = handle->data;

	runner_timer_stop(&n->loop.runner, &n->watch);
	uv_close((uv_handle_t *)handle, NULL);
	mdns_source_close(n->source, on_closed, n);
}

int main(int argc, char **argv)
{
	static struct node n;
	struct public_key self;
	struct mdns_source_config config = { .loop = &n.loop, .self = &self, .on_peer = on_peer };

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || base_init() < 0 || loop_init(&n.loop) < 0)
		return 2;
	memset(self.bytes, (int)strtol(argv[1], NULL, 10), sizeof(self.bytes));
	if (multiaddr_parse_hostport(argv[2], strlen(argv[2]), &config.listen) < 0)
		return 2;
	config.dht_port = config.listen.port;
	config.network = argc > 3 ? argv[3] : NULL;
	n.source = mdns_source_new(&config);
	if (n.source == NULL)
		return 2;
	uv_signal_init(&n.loop.uv, &n.term);
	n.term.data = &n;
	uv_signal_start(&n.term, on_term, SIGTERM);
	n.watch.run = on_watch;
	on_watch(&n.watch);
	(void)loop_run(&n.loop);
	loop_fini(&n.loop);
	return 0;
}
