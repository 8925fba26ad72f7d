/* LAN and DHT between the options, the data folder and the discovery.
 *
 * The DHT's socket has the number of the port where peers connect, when that can be had: one hole
 * in a firewall serves both. A private DHT and the LAN leave each other alone: a neighbour may be a
 * node of the public one. */
#include "daemon/sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/announcer.h"
#include "daemon/disk.h"
#include "daemon/saver.h"

enum { WHY_MAX = 128, NODES_AGAIN_MS = 15000, LAN_NODES_MAX = 16 };

struct sources {
	struct daemon *daemon;
	struct multiaddr listen; /* with the real port */
	bool dht_private;
	struct mdns_source *lan;
	struct dht_udp *dht;
	struct discovery_source *dht_source;
	struct announcer *announcer;
	struct reach *reach;
	struct moves *moves;
	struct portmap *portmap;
	struct saver saver;
	char dht_why[WHY_MAX];
	char *router_text;
	const char *routers[DHT_ROUTERS_MAX + 1];
	struct dht_address nodes[DHT_ROUTERS_MAX]; /* of a private DHT */
	size_t node_count;
	struct runner_timer nodes_timer;
	unsigned closing;
	void (*closed)(void *data);
	void *closed_data;
	struct runner_task closed_task;
};

/* ---- Closing ---- */

static void one_closed(void *data)
{
	struct sources *s = data;

	if (--s->closing == 0)
		s->closed(s->closed_data);
}

static void run_closed(struct runner_task *task)
{
	one_closed(container_of(task, struct sources, closed_task));
}

static void on_lan_closed(void *data)
{
	struct sources *s = data;

	s->lan = mdns_source_free(s->lan);
	one_closed(s);
}

static void on_dht_closed(void *data)
{
	struct sources *s = data;

	saver_close(&s->saver, one_closed, s);
}

static void close_dht(void *data)
{
	struct sources *s = data;
	struct dht_udp *dht = s->dht;

	s->dht = NULL;
	dht_source_set(s->dht_source, NULL);
	dht_udp_close(dht, on_dht_closed, s); /* saves */
}

void sources_close(struct sources *s, void (*closed)(void *data), void *data)
{
	struct announcer *announcer = s->announcer;

	s->closed = closed;
	s->closed_data = data;
	s->closing = 1;
	s->closed_task.run = run_closed;
	runner_defer(&s->daemon->loop.runner, &s->closed_task);
	if (s->lan != NULL) {
		s->closing++;
		mdns_source_close(s->lan, on_lan_closed, s);
	}
	if (s->moves != NULL) {
		s->closing++;
		moves_close(TAKE_PTR(s->moves), one_closed, s);
	}
	if (s->reach != NULL) {
		s->closing++;
		reach_close(TAKE_PTR(s->reach), one_closed, s);
	}
	if (s->portmap != NULL) {
		s->closing++;
		portmap_close(TAKE_PTR(s->portmap), one_closed, s);
	}
	s->announcer = NULL;
	runner_timer_stop(&s->daemon->loop.runner, &s->nodes_timer);
	if (s->dht == NULL)
		return;
	s->closing++;
	if (announcer != NULL)
		announcer_close(announcer, close_dht, s);
	else
		close_dht(s);
}

struct sources *sources_free(struct sources *s)
{
	if (s == NULL)
		return NULL;
	REQUIRE(s->lan == NULL && s->dht == NULL && s->reach == NULL && s->portmap == NULL);
	dht_source_free(s->dht_source);
	saver_fini(&s->saver);
	mem_free(s->router_text);
	return mem_free(s);
}

/* ---- DHT ---- */

static void load_state(void *data, struct dht_udp *dht)
{
	struct sources *s = data;
	CLEANUP(buf_fini) struct buf state = { 0 };
	int rc;

	buf_init(&state, DHT_STATE_MAX + 1);
	rc = disk_read(s->daemon->dir, SOURCES_STATE_FILE, DHT_STATE_MAX, &state, NULL, NULL);
	if (rc < 0 && rc != UV_ENOENT)
		log_warn(LOG_DAEMON, "msg=\"the saved DHT nodes cannot be read\" err=%s",
			 err_name(rc));
	dht_udp_loaded(dht, state.data, rc == 0 ? state.len : 0);
}

static void save_state(void *data, const uint8_t *state, size_t len)
{
	struct sources *s = data;

	saver_write(&s->saver, state, len);
}

/* A neighbour may be a node. */
static void add_lan_node(struct sources *s, const struct mdns_peer *peer)
{
	bool node_there = s->dht != NULL && !s->dht_private && peer->dht_port > 0;

	for (size_t i = 0; node_there && i < peer->addr_count; i++) {
		struct dht_address node = { .family = peer->addrs[i].family,
					    .port = peer->dht_port };

		if (peer->addrs[i].zone != 0)
			continue; /* the DHT knows no interfaces */
		memcpy(node.ip, peer->addrs[i].ip, sizeof(node.ip));
		dht_add_node(dht_udp_core(s->dht), &node);
	}
}

static void on_lan_peer(void *data, const struct mdns_peer *peer)
{
	struct sources *s = data;
	struct sync_target seen = { .peer = peer->peer };

	while (seen.addr_count < MIN(peer->addr_count, (size_t)SYNC_TARGET_ADDRS_MAX)) {
		seen.addrs[seen.addr_count] = peer->addrs[seen.addr_count];
		seen.addr_count++;
	}
	discovery_peer_seen(s->daemon->discovery, &seen);
	add_lan_node(s, peer);
	if (s->moves != NULL)
		moves_neighbour(s->moves, &peer->peer, peer->addrs, peer->addr_count);
}

static void on_lan_twin(void *data, const struct mdns_peer *peer)
{
	struct sources *s = data;

	if (s->moves != NULL)
		moves_twin(s->moves, peer->addrs, peer->addr_count);
}

/* The nodes of a private DHT are those it begins with, while public routers must not be burdened
 * with being nodes. Any of them may come up later than we do. */
static void add_nodes(struct sources *s)
{
	for (size_t i = 0; i < s->node_count; i++)
		dht_add_node(dht_udp_core(s->dht), &s->nodes[i]);
}

/* Again, since what was first heard of them need not have been all. */
static void add_lan_nodes(struct sources *s)
{
	struct mdns_peer peers[LAN_NODES_MAX];
	size_t n = s->lan != NULL ? mdns_peers(mdns_source_core(s->lan), peers, LAN_NODES_MAX) : 0;

	for (size_t i = 0; i < n; i++)
		add_lan_node(s, &peers[i]);
}

static void on_nodes_timer(struct runner_timer *timer)
{
	struct sources *s = container_of(timer, struct sources, nodes_timer);
	struct runner *r = &s->daemon->loop.runner;

	if (dht_state(dht_udp_core(s->dht)) != NULL) {
		add_nodes(s);
		add_lan_nodes(s);
	}
	runner_timer_start(r, timer, runner_now_ms(r) + NODES_AGAIN_MS);
}

static void take_router(struct sources *s, const char *text, size_t *routers)
{
	struct dht_address addr;

	if (s->dht_private && dht_address_parse(text, strlen(text), &addr) == 0)
		s->nodes[s->node_count++] = addr;
	else
		s->routers[(*routers)++] = text;
}

/* The list, split in place. The default ones belong to the public DHT. */
static int take_routers(struct sources *s)
{
	const struct options *o = s->daemon->options;
	bool none = s->dht_private && options_origin(o, OPT_DHT_ROUTER) == ORIGIN_DEFAULT;
	size_t count = 0, routers = 0;
	char *p;

	s->router_text = mem_strdup(none ? "" : options_text(o, OPT_DHT_ROUTER));
	if (s->router_text == NULL)
		return UV_ENOMEM;
	for (p = s->router_text; *p != '\0' && count < DHT_ROUTERS_MAX; count++) {
		size_t len = strcspn(p, ",");
		bool more = p[len] == ',';

		p[len] = '\0';
		take_router(s, p, &routers);
		p += len + (more ? 1 : 0);
	}
	return 0;
}

static void fill_listen(const struct sources *s, uint16_t port, struct dht_udp_config *ret)
{
	static const uint8_t unspecified[16];
	unsigned index = s->listen.family == 4 ? 0 : 1;

	ret->listen[index] = (struct dht_address){ .family = s->listen.family, .port = port };
	memcpy(ret->listen[index].ip, s->listen.ip, sizeof(s->listen.ip));
	/* [::] takes connections over IPv4, too. */
	if (index == 1 && memcmp(s->listen.ip, unspecified, sizeof(unspecified)) == 0)
		ret->listen[0] = (struct dht_address){ .family = 4, .port = port };
}

static int open_dht(struct sources *s)
{
	struct daemon *d = s->daemon;
	struct dht_udp_config config = { .loop = &d->loop,
					 .mode = DHT_MODE_AUTO,
					 .routers = s->routers,
					 .trace = d->trace,
					 .load = load_state,
					 .save = save_state,
					 .data = s };
	int rc;

	fill_listen(s, s->listen.port, &config);
	rc = dht_udp_open(&config, &s->dht);
	if (rc == UV_EADDRINUSE) {
		fill_listen(s, 0, &config);
		rc = dht_udp_open(&config, &s->dht);
	}
	if (rc < 0) {
		snprintf(s->dht_why, sizeof(s->dht_why), "off: no UDP: %s", err_str(rc));
		return rc == UV_ENOMEM ? rc : 0;
	}
	dht_source_set(s->dht_source, dht_udp_core(s->dht));
	s->nodes_timer.run = on_nodes_timer;
	on_nodes_timer(&s->nodes_timer);
	s->announcer = announcer_new(d, dht_udp_core(s->dht), s->listen.port);
	return s->announcer != NULL ? 0 : UV_ENOMEM;
}

static int start_dht(struct sources *s)
{
	int rc;

	s->dht_private = strcmp(options_text(s->daemon->options, OPT_DHT), "private") == 0;
	s->dht_source = dht_source_new(&s->daemon->loop.runner, NULL);
	if (s->dht_source == NULL)
		return UV_ENOMEM;
	rc = discovery_add_source(s->daemon->discovery, s->dht_source);
	if (rc == 0)
		rc = take_routers(s);
	return rc == 0 ? open_dht(s) : rc;
}

uint16_t sources_dht_port(const struct sources *s)
{
	for (unsigned i = 0; s->dht != NULL && i < DHT_FAMILIES; i++) {
		struct dht_address local = dht_udp_local(s->dht, i);

		if (local.family != 0)
			return local.port;
	}
	return 0;
}

/* ---- LAN ---- */

static int start_lan(struct sources *s)
{
	struct mdns_source_config config = { .loop = &s->daemon->loop,
					     .self = &s->daemon->node.public,
					     .listen = s->listen,
					     .dht_port = s->dht_private ? 0 : sources_dht_port(s),
					     .on_peer = on_lan_peer,
					     .on_addresses = on_lan_peer,
					     .on_twin = on_lan_twin,
					     .data = s };

	s->lan = mdns_source_new(&config);
	if (s->lan == NULL)
		return UV_ENOMEM;
	return discovery_add_source(s->daemon->discovery, mdns_source_base(s->lan));
}

/* ---- Being reached ---- */

static bool wanted(const struct daemon *d, enum option_id id)
{
	return strcmp(options_text(d->options, id), "off") != 0;
}

/* The port outside that leads here. */
static uint16_t outer_port(const struct sources *s)
{
	const struct portmap_state *map = s->portmap != NULL ? portmap_state(s->portmap) : NULL;

	return map != NULL && map->mapping == MAPPING_DONE ? map->result.external.port :
							     s->listen.port;
}

static void tell_dht(struct sources *s, enum outside outside)
{
	const struct portmap_state *map = s->portmap != NULL ? portmap_state(s->portmap) : NULL;
	bool mapped = map != NULL && map->mapping == MAPPING_DONE && map->result.udp_port != 0;

	if (s->dht != NULL)
		dht_set_reachable(dht_udp_core(s->dht), outside == OUTSIDE_YES || mapped);
}

static void on_verdict(void *data, enum outside outside)
{
	struct sources *s = data;

	log_info(LOG_DAEMON,
		 "msg=\"peers outside were asked whether they can connect\" reachable=%s",
		 outside_name(outside));
	tell_dht(s, outside);
}

static void on_mapping(void *data)
{
	struct sources *s = data;
	const struct portmap_state *map = portmap_state(s->portmap);
	struct reach_state reach;
	char external[MULTIADDR_TEXT_SIZE];

	if (map->mapping == MAPPING_DONE) {
		multiaddr_format(&map->result.external, external);
		log_info(LOG_DAEMON, "msg=\"the router opened a port\" protocol=%s external=%s",
			 map->result.protocol, external);
	}
	if (s->announcer != NULL)
		announcer_set_port(s->announcer, outer_port(s));
	reach_set_port(s->reach, outer_port(s));
	reach_state(s->reach, &reach);
	tell_dht(s, reach.outside);
}

static bool wants_portmap(const struct sources *s)
{
	return wanted(s->daemon, OPT_NAT) && !multiaddr_is_loopback(&s->listen);
}

/* With a router to be asked for a port, that comes first. */
static int start_reach(struct sources *s)
{
	struct reach_config config = { .runner = &s->daemon->loop.runner,
				       .net = s->daemon->net,
				       .sync = s->daemon->sync,
				       .port = wants_portmap(s) ? 0 : s->listen.port,
				       .on_verdict = on_verdict,
				       .data = s };

	s->reach = reach_new(&config);
	return s->reach != NULL ? 0 : UV_ENOMEM;
}

static int start_portmap(struct sources *s)
{
	struct portmap_config config = { .loop = &s->daemon->loop,
					 .tcp_port = s->listen.port,
					 .udp_port = sources_dht_port(s),
					 .on_change = on_mapping,
					 .data = s };

	s->portmap = portmap_new(&config);
	return s->portmap != NULL ? 0 : UV_ENOMEM;
}

/* What peers said about the old addresses holds no longer. */
static void on_moved(void *data)
{
	struct sources *s = data;

	log_info(LOG_DAEMON, "msg=\"the addresses of this machine have changed\"");
	if (s->reach != NULL)
		reach_forget(s->reach);
}

static int start_moves(struct sources *s)
{
	s->moves = moves_new(&s->daemon->loop, s->daemon->net, on_moved, s);
	return s->moves != NULL ? 0 : UV_ENOMEM;
}

/* ---- All of it ---- */

int sources_start(struct sources *s)
{
	struct daemon *d = s->daemon;
	int rc = 0;

	s->listen = d->listen;
	if (wanted(d, OPT_DHT))
		rc = start_dht(s);
	if (rc == 0 && wanted(d, OPT_LAN))
		rc = start_lan(s);
	if (rc == 0)
		rc = start_reach(s);
	if (rc == 0)
		rc = start_moves(s);
	if (rc == 0 && wants_portmap(s))
		rc = start_portmap(s);
	return rc;
}

struct sources *sources_new(struct daemon *d)
{
	struct sources *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	s->daemon = d;
	saver_init(&s->saver, &d->loop.runner, d->dir, SOURCES_STATE_FILE, DHT_STATE_MAX);
	return s;
}

void sources_changed(struct sources *s)
{
	if (s != NULL && s->announcer != NULL)
		announcer_changed(s->announcer);
}

/* ---- How they are ---- */

const char *sources_lan_state(const struct sources *s)
{
	struct discovery_source *base = s != NULL && s->lan != NULL ? mdns_source_base(s->lan) :
								      NULL;
	const char *why = base != NULL ? base->state(base) : "off";

	return why != NULL ? why : "on";
}

const char *sources_dht_state(const struct sources *s)
{
	const char *why;

	if (s != NULL && s->dht_why[0] != '\0')
		return s->dht_why;
	why = dht_state(sources_dht(s));
	return why != NULL ? why : "on";
}

const struct mdns *sources_lan(const struct sources *s)
{
	return s != NULL && s->lan != NULL ? mdns_source_core(s->lan) : NULL;
}

const struct dht *sources_dht(const struct sources *s)
{
	return s != NULL && s->dht != NULL ? dht_udp_core(s->dht) : NULL;
}

struct multiaddr sources_listen(const struct sources *s)
{
	return s->listen;
}

void sources_reach(const struct sources *s, struct reach_state *ret_reach,
		   struct portmap_state *ret_map)
{
	if (s->reach != NULL)
		reach_state(s->reach, ret_reach);
	if (s->portmap != NULL)
		*ret_map = *portmap_state(s->portmap);
}

void sources_moves(const struct sources *s, struct moves_stats *ret)
{
	if (s->moves != NULL)
		moves_stats(s->moves, ret);
}

uint64_t sources_left_out(const struct sources *s)
{
	return s != NULL && s->announcer != NULL ? announcer_left_out(s->announcer) : 0;
}
