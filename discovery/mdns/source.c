/* The core on sockets, as a source of peers.
 *
 * The links are looked at again when the kernel tells of a change (gathered for CHANGE_MS, since
 * they come in bursts) and every RESCAN_MS, which also is when a port that was taken is tried
 * again. */
#include <string.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/netwatch.h"
#include "discovery/discovery.h"
#include "discovery/mdns/interfaces.h"
#include "discovery/mdns/mdns.h"
#include "discovery/mdns/socket.h"

enum {
	CHANGE_MS = 200,
	RESCAN_MS = 30000,
	SETTLE_MS = 1500, /* two questions (RFC 6762, 5.2), and the answers to them */
	PEERS_MAX = 32
};

struct mdns_source {
	struct discovery_source base;
	struct mdns_source_config config;
	struct runner *runner;
	struct mdns *core;
	struct mdns_transport transport;
	struct list sockets;
	struct runner_timer scan;
	struct netwatch news;
	uint64_t settles_ms;
	bool has_news;	  /* or else only RESCAN_MS counts */
	unsigned handles; /* open or closing */
	bool scanned, publishes, closing, closed;
	void (*on_closed)(void *data);
	void *closed_data;
	struct runner_task closed_task;
};

static struct mdns_socket *find_socket(struct mdns_source *s, uint32_t link_id)
{
	list_for_each(node, &s->sockets) {
		struct mdns_socket *k = list_entry(node, struct mdns_socket, node);

		if (k->link_id == link_id)
			return k;
	}
	return NULL;
}

static int transport_send(struct mdns_transport *t, uint32_t link_id,
			  const struct mdns_endpoint *to, const uint8_t *data, size_t len)
{
	struct mdns_source *s = container_of(t, struct mdns_source, transport);
	struct mdns_socket *k = find_socket(s, link_id);

	return k != NULL ? mdns_socket_send(k, to, data, len) : UV_ENODEV;
}

static void on_read(void *data, struct mdns_socket *k, const struct mdns_endpoint *from,
		    const uint8_t *bytes, size_t len)
{
	struct mdns_source *s = data;

	mdns_receive(s->core, k->link_id, from, !k->ask_only, bytes, len);
}

/* ---- Closing ---- */

static void run_closed(struct runner_task *task)
{
	struct mdns_source *s = container_of(task, struct mdns_source, closed_task);

	s->closed = true;
	s->on_closed(s->closed_data);
}

static void handle_closed(void *data)
{
	struct mdns_source *s = data;

	s->handles--;
	if (s->closing && s->handles == 0)
		runner_defer(s->runner, &s->closed_task);
}

static void drop_socket(struct mdns_socket *k)
{
	list_remove(&k->node);
	mdns_socket_close(k);
}

void mdns_source_close(struct mdns_source *s, void (*closed)(void *data), void *data)
{
	REQUIRE(!s->closing);
	s->closing = true;
	s->on_closed = closed;
	s->closed_data = data;
	s->closed_task.run = run_closed;
	runner_timer_stop(s->runner, &s->scan);
	mdns_stop(s->core);
	list_for_each_safe(node, &s->sockets)
		drop_socket(list_entry(node, struct mdns_socket, node));
	if (s->has_news)
		netwatch_close(&s->news, handle_closed);
	if (s->handles == 0)
		runner_defer(s->runner, &s->closed_task);
}

/* ---- Links ---- */

static const struct mdns_socket_events socket_events = { on_read, handle_closed };

static struct mdns_socket *open_socket(struct mdns_source *s, uint32_t link_id, bool ask_only)
{
	struct mdns_socket *k;

	if (mdns_socket_open(&k, &s->config.loop->uv, link_id, ask_only, &socket_events, s) < 0)
		return NULL;
	s->handles++;
	list_push_back(&s->sockets, &k->node);
	return k;
}

/* The socket of a link, best as it can be had now; NULL = none. */
static struct mdns_socket *socket_for(struct mdns_source *s, uint32_t link_id)
{
	struct mdns_socket *k = find_socket(s, link_id), *better;

	if (k != NULL && !k->ask_only)
		return k;
	better = open_socket(s, link_id, false);
	if (better != NULL && k != NULL)
		drop_socket(k);
	if (better == NULL && k == NULL)
		better = open_socket(s, link_id, true);
	return better != NULL ? better : k;
}

static bool anything_to_publish(const struct mdns_link_config *l)
{
	for (size_t i = 0; i < l->addr_count; i++) {
		if (l->addrs[i].publish)
			return true;
	}
	return false;
}

static void scan_links(struct mdns_source *s)
{
	struct mdns_link_config links[MDNS_LINKS_MAX];
	int found = interfaces_scan(&s->config.listen, links, ARRAY_SIZE(links));
	size_t count = 0;

	if (found < 0)
		return; /* of no use to forget what works */
	list_for_each(node, &s->sockets)
		list_entry(node, struct mdns_socket, node)->keep = false;
	s->publishes = false;
	for (int i = 0; i < found; i++) {
		struct mdns_socket *k = socket_for(s, links[i].id);

		if (k == NULL)
			continue;
		k->keep = true;
		links[i].ask_only = k->ask_only;
		s->publishes = s->publishes || anything_to_publish(&links[i]);
		links[count++] = links[i];
	}
	(void)mdns_set_links(s->core, links, count);
	list_for_each_safe(node, &s->sockets) {
		struct mdns_socket *k = list_entry(node, struct mdns_socket, node);

		if (!k->keep)
			drop_socket(k);
	}
	s->scanned = true;
}

static void on_scan(struct runner_timer *timer)
{
	struct mdns_source *s = container_of(timer, struct mdns_source, scan);

	scan_links(s);
	runner_timer_start(s->runner, timer, runner_now_ms(s->runner) + RESCAN_MS);
}

static void on_news(void *data)
{
	struct mdns_source *s = data;

	if (!s->closing)
		runner_timer_start(s->runner, &s->scan, runner_now_ms(s->runner) + CHANGE_MS);
}

/* ---- The source ---- */

static struct mdns_source *source_of(struct discovery_source *base)
{
	return container_of(base, struct mdns_source, base);
}

static size_t source_peers(struct discovery_source *base, struct sync_target *ret, size_t cap)
{
	struct mdns_source *s = source_of(base);
	struct mdns_peer peers[PEERS_MAX];
	size_t count = s->closing ? 0 : mdns_peers(s->core, peers, MIN(cap, ARRAY_SIZE(peers)));

	for (size_t i = 0; i < count; i++) {
		ret[i] = (struct sync_target){ .peer = peers[i].peer };
		ret[i].addr_count = MIN(peers[i].addr_count, ARRAY_SIZE(ret[i].addrs));
		memcpy(ret[i].addrs, peers[i].addrs, ret[i].addr_count * sizeof(ret[i].addrs[0]));
	}
	return count;
}

static uint64_t source_settles_ms(struct discovery_source *base)
{
	const struct mdns_source *s = source_of(base);

	return s->closing || (s->scanned && list_empty(&s->sockets)) ? 0 : s->settles_ms;
}

static const char *source_state(struct discovery_source *base)
{
	struct mdns_source *s = source_of(base);
	struct mdns_stats stats;
	bool ask_only = true, failed = true;

	if (s->closing)
		return "closed";
	if (!s->scanned)
		return "starting";
	if (list_empty(&s->sockets))
		return "no network with multicast";
	list_for_each(node, &s->sockets) {
		struct mdns_socket *k = list_entry(node, struct mdns_socket, node);

		ask_only = ask_only && k->ask_only;
		failed = failed && k->failed;
	}
	if (failed)
		return "no multicast goes out";
	if (ask_only)
		return "found by nobody: another program keeps port 5353 for itself";
	mdns_stats(s->core, &stats);
	return s->publishes && stats.published == 0 ? "starting" : NULL;
}

struct discovery_source *mdns_source_base(struct mdns_source *s)
{
	return &s->base;
}

const struct mdns *mdns_source_core(const struct mdns_source *s)
{
	return s->core;
}

static void on_peer(void *data, const struct mdns_peer *peer)
{
	struct mdns_source *s = data;

	if (s->config.on_peer != NULL && !s->closing)
		s->config.on_peer(s->config.data, peer);
}

static void on_addresses(void *data, const struct mdns_peer *peer)
{
	struct mdns_source *s = data;

	if (s->config.on_addresses != NULL && !s->closing)
		s->config.on_addresses(s->config.data, peer);
}

static void on_twin(void *data, const struct mdns_peer *peer)
{
	struct mdns_source *s = data;

	if (s->config.on_twin != NULL && !s->closing)
		s->config.on_twin(s->config.data, peer);
}

static const struct mdns_events events = { .on_peer = on_peer,
					   .on_addresses = on_addresses,
					   .on_twin = on_twin };

struct mdns_source *mdns_source_new(const struct mdns_source_config *c)
{
	struct mdns_source *s = mem_alloc(sizeof(*s));
	struct mdns_config core = { .self = c->self,
				    .port = c->listen.port,
				    .dht_port = c->dht_port,
				    .network = c->network,
				    .events = &events,
				    .data = s };

	if (s == NULL)
		return NULL;
	s->base = (struct discovery_source){ .name = "lan",
					     .tier = DISCOVERY_WARM,
					     .peers = source_peers,
					     .state = source_state,
					     .settles_ms = source_settles_ms };
	s->config = *c;
	s->config.self = NULL; /* the core has its copies */
	s->config.network = NULL;
	s->runner = &c->loop->runner;
	s->settles_ms = runner_now_ms(s->runner) + SETTLE_MS;
	s->transport.send = transport_send;
	list_init(&s->sockets);
	core.runner = s->runner;
	core.transport = &s->transport;
	s->core = mdns_new(&core);
	if (s->core == NULL)
		return mem_free(s);
	s->has_news = netwatch_start(&s->news, c->loop, on_news, s);
	s->handles += s->has_news;
	s->scan.run = on_scan;
	runner_timer_start(s->runner, &s->scan, runner_now_ms(s->runner));
	return s;
}

struct mdns_source *mdns_source_free(struct mdns_source *s)
{
	if (s == NULL)
		return NULL;
	REQUIRE(s->closed);
	mdns_free(s->core);
	return mem_free(s);
}
