/* Each end of a link has its own timer for what arrives at it and for what departs from it. A piece
 * is what one write handed over, or less where the window cuts it:
 *
 *   unsent ──window, bandwidth──> wire (due_ms) ──read on──> reader
 *
 * A piece counts against the window from its departure until it was read, so a reader that stops
 * reading stops the writer, as TCP does. */
#include "tests/sim/simnet.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	PIECE_MAX = 16 << 10,
	RETRANSMIT_MS = 200,
	PORT_FIRST = 40000,
	LISTENERS_MAX = 8,
	LOSS_PERMILLE_MAX = 900
};

struct piece {
	struct list node;
	uint64_t due_ms;
	uint8_t *bytes; /* owned */
	size_t len, begin;
};

struct listener {
	uint16_t port;
	void (*on_accept)(void *data, struct net_link *l);
	void *data;
};

struct host {
	struct net_transport transport;
	struct simnet *sim;
	struct list node;
	struct multiaddr addr;
	struct listener listeners[LISTENERS_MAX];
	size_t listener_count;
	uint16_t next_port;
	bool shut;
	struct runner_task shut_task;
	void (*closed)(void *data);
	void *closed_data;
};

struct path {
	struct list node;
	struct multiaddr a, b;
	struct simnet_path path;
};

/* One end of a link. */
struct end {
	struct net_link link;
	struct list node; /* of the simnet */
	struct host *host;
	struct end *other; /* NULL before the connection and once the other end was freed */
	bool connecting, reading, drain_due, closing;
	bool fin_queued, fin_seen; /* the other end closed; after what is on the wire */
	int close_status;
	uint64_t connect_ms;
	struct list unsent; /* pieces */
	size_t unsent_bytes;
	struct list wire; /* pieces on their way to this end */
	size_t wire_bytes;
	uint64_t last_due_ms, free_at_ns; /* of the direction to the other end */
	struct runner_timer timer;
};

struct simnet {
	struct runner *runner;
	uint64_t random;
	struct list hosts, paths, ends;
	struct simnet_path fallback;
	struct simnet_stats stats;
};

/* splitmix64 */
static uint64_t draw(struct simnet *s, uint64_t below)
{
	uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return below > 0 ? (z ^ z >> 31) % below : 0;
}

static uint64_t now_ms(const struct simnet *s)
{
	return runner_now_ms(s->runner);
}

static bool same_ip(const struct multiaddr *a, const struct multiaddr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

static struct multiaddr parse_ip(const char *ip)
{
	char text[80];
	struct multiaddr a;

	snprintf(text, sizeof(text), "/%s/%s/tcp/1", strchr(ip, ':') != NULL ? "ip6" : "ip4", ip);
	REQUIRE(multiaddr_parse(text, strlen(text), &a) == 0);
	a.port = 0;
	return a;
}

static struct path *find_path(struct simnet *s, const struct multiaddr *a,
			      const struct multiaddr *b)
{
	list_for_each(node, &s->paths) {
		struct path *p = list_entry(node, struct path, node);

		if ((same_ip(&p->a, a) && same_ip(&p->b, b)) ||
		    (same_ip(&p->a, b) && same_ip(&p->b, a)))
			return p;
	}
	return NULL;
}

static const struct simnet_path *path_between(struct simnet *s, const struct multiaddr *a,
					      const struct multiaddr *b)
{
	struct path *p = find_path(s, a, b);

	return p != NULL ? &p->path : &s->fallback;
}

static const struct simnet_path *path_of(struct end *e)
{
	return path_between(e->host->sim, &e->host->addr, &e->link.remote);
}

static struct host *find_host(struct simnet *s, const struct multiaddr *addr)
{
	list_for_each(node, &s->hosts) {
		struct host *h = list_entry(node, struct host, node);

		if (same_ip(&h->addr, addr))
			return h;
	}
	return NULL;
}

/* ---- Ends ---- */

static void end_run(struct runner_timer *timer);

static struct end *end_of(const struct net_link *l)
{
	return container_of(l, struct end, link);
}

static struct end *end_new(struct host *h, const struct multiaddr *remote)
{
	struct end *e = mem_alloc(sizeof(*e));

	if (e == NULL)
		return NULL;
	e->host = h;
	e->link.remote = *remote;
	e->reading = true;
	e->timer.run = end_run;
	list_init(&e->unsent);
	list_init(&e->wire);
	list_push_back(&h->sim->ends, &e->node);
	return e;
}

static void free_pieces(struct list *pieces)
{
	struct list *node;

	while ((node = list_pop_front(pieces)) != NULL) {
		struct piece *p = list_entry(node, struct piece, node);

		mem_free(p->bytes);
		mem_free(p);
	}
}

static void end_free(struct end *e)
{
	runner_timer_stop(e->host->sim->runner, &e->timer);
	if (e->other != NULL)
		e->other->other = NULL;
	free_pieces(&e->unsent);
	free_pieces(&e->wire);
	list_remove(&e->node);
	mem_free(e);
}

static void poke(struct end *e, uint64_t at_ms)
{
	if (!e->timer.armed || e->timer.due_ms > at_ms)
		runner_timer_start(e->host->sim->runner, &e->timer, at_ms);
}

static void poke_now(struct end *e)
{
	poke(e, now_ms(e->host->sim));
}

/* ---- Departure ---- */

static uint64_t arrival_ms(struct end *e, size_t len)
{
	struct simnet *s = e->host->sim;
	const struct simnet_path *path = path_of(e);
	uint64_t now_ns = clock_now_ns(s->runner->clock), due;

	e->free_at_ns = MAX(e->free_at_ns, now_ns);
	if (path->bandwidth > 0)
		e->free_at_ns += len * NS_PER_SEC / path->bandwidth;
	due = (e->free_at_ns + NS_PER_MS - 1) / NS_PER_MS + path->latency_ms +
	      draw(s, path->jitter_ms + 1);
	while (draw(s, 1000) < MIN(path->loss_permille, (unsigned)LOSS_PERMILLE_MAX))
		due += RETRANSMIT_MS + 2 * path->latency_ms;
	e->last_due_ms = MAX(e->last_due_ms, due);
	return e->last_due_ms;
}

/* What the window lets go, goes; bandwidth is in the time of arrival. */
static void depart(struct end *e)
{
	struct end *to = e->other;

	while (to != NULL && !list_empty(&e->unsent) && !path_of(e)->cut) {
		struct piece *p = list_entry(e->unsent.next, struct piece, node);

		if (to->wire_bytes + p->len > SIMNET_WINDOW)
			return;
		list_remove(&p->node);
		e->unsent_bytes -= p->len;
		p->due_ms = arrival_ms(e, p->len);
		to->wire_bytes += p->len;
		list_push_back(&to->wire, &p->node);
		poke(to, p->due_ms);
	}
	if (e->unsent_bytes == 0 && e->drain_due)
		poke_now(e);
}

static int link_write(struct net_link *l, uint8_t *bytes, size_t len)
{
	struct end *e = end_of(l);
	int err = 0;

	for (size_t at = 0; at < len && !e->closing && e->other != NULL; at += PIECE_MAX) {
		struct piece *p = mem_alloc(sizeof(*p));

		if (p != NULL)
			p->bytes = mem_dup(bytes + at, MIN(len - at, (size_t)PIECE_MAX));
		if (p == NULL || p->bytes == NULL) {
			mem_free(p);
			err = UV_ENOMEM;
			break;
		}
		p->len = MIN(len - at, (size_t)PIECE_MAX);
		list_push_back(&e->unsent, &p->node);
		e->unsent_bytes += p->len;
	}
	mem_free(bytes);
	e->drain_due = true;
	depart(e);
	return err;
}

static size_t link_queued(const struct net_link *l)
{
	return end_of(l)->unsent_bytes;
}

static void link_read(struct net_link *l, bool on)
{
	struct end *e = end_of(l);

	e->reading = on;
	if (on)
		poke_now(e);
}

/* ---- Arrival ---- */

/* Reading may stop at any moment, and the end may be closed, though not freed, by its user. */
static void read_piece(struct end *e, struct piece *p)
{
	struct simnet *s = e->host->sim;

	while (p->begin < p->len && e->reading && !e->closing) {
		size_t max = path_of(e)->read_max;
		size_t n = p->len - p->begin;
		const uint8_t *at = p->bytes + p->begin;

		if (max > 0) {
			size_t some = 1 + draw(s, max);

			n = MIN(n, some);
		}
		p->begin += n;
		s->stats.bytes += n;
		e->link.events->on_read(&e->link, at, n);
	}
}

static void arrive(struct end *e)
{
	while (e->reading && !e->closing && !list_empty(&e->wire) && !path_of(e)->cut) {
		struct piece *p = list_entry(e->wire.next, struct piece, node);

		if (p->due_ms > now_ms(e->host->sim)) {
			poke(e, p->due_ms);
			return;
		}
		read_piece(e, p);
		if (p->begin < p->len)
			return;
		list_remove(&p->node);
		e->wire_bytes -= p->len;
		mem_free(p->bytes);
		mem_free(p);
		if (e->other != NULL)
			depart(e->other);
	}
	if (e->fin_queued && list_empty(&e->wire) && !path_of(e)->cut)
		e->fin_seen = true;
}

static void finish_close(struct end *e, int status)
{
	e->host->sim->stats.open--;
	e->link.events->on_close(&e->link, status);
	end_free(e);
}

static struct listener *find_listener(struct host *h, uint16_t port)
{
	for (size_t i = 0; i < h->listener_count; i++)
		if (h->listeners[i].port == port)
			return &h->listeners[i];
	return NULL;
}

static void fail_connect(struct end *e, int status)
{
	e->host->sim->stats.open--;
	e->link.events->on_open(&e->link, status);
	end_free(e);
}

static void connect_end(struct end *e)
{
	struct simnet *s = e->host->sim;
	struct host *h = find_host(s, &e->link.remote);
	struct listener *l = h != NULL && !h->shut ? find_listener(h, e->link.remote.port) : NULL;
	struct multiaddr from = e->host->addr;
	struct end *other;

	if (path_of(e)->cut || h == NULL) {
		if (now_ms(s) >= e->connect_ms + SIMNET_CONNECT_TIMEOUT_MS)
			fail_connect(e, UV_ETIMEDOUT);
		else
			poke(e, e->connect_ms + SIMNET_CONNECT_TIMEOUT_MS);
		return;
	}
	from.port = e->host->next_port++;
	other = l != NULL && !path_of(e)->refuse ? end_new(h, &from) : NULL;
	if (other == NULL) {
		fail_connect(e, UV_ECONNREFUSED);
		return;
	}
	e->connecting = false;
	e->other = other;
	other->other = e;
	s->stats.links++;
	l->on_accept(l->data, &other->link);
	if (other->link.events == NULL) {
		end_free(other);
		e->fin_queued = true;
	} else {
		s->stats.open++;
	}
	e->link.events->on_open(&e->link, 0);
	poke_now(e);
}

/* The other end learns of a close after everything that was written before. */
static void close_end(struct end *e)
{
	if (e->other != NULL) {
		struct end *other = e->other;

		list_splice_back(&other->wire, &e->unsent);
		list_for_each(node, &other->wire) {
			struct piece *p = list_entry(node, struct piece, node);

			if (p->due_ms == 0) {
				p->due_ms = arrival_ms(e, p->len);
				other->wire_bytes += p->len;
			}
		}
		other->fin_queued = true;
		poke(other, arrival_ms(e, 0));
		poke_now(other);
	}
	finish_close(e, e->close_status);
}

static void end_run(struct runner_timer *timer)
{
	struct end *e = container_of(timer, struct end, timer);

	if (e->closing) {
		close_end(e);
		return;
	}
	if (e->connecting) {
		connect_end(e);
		return;
	}
	arrive(e);
	if (e->closing) {
		poke_now(e);
		return;
	}
	if (e->fin_seen) {
		finish_close(e, ERR_CLOSED);
		return;
	}
	if (e->drain_due && e->unsent_bytes == 0) {
		e->drain_due = false;
		e->link.events->on_drain(&e->link);
	}
	depart(e);
}

/* ---- The transport ---- */

static struct host *host_of(struct net_transport *t)
{
	return container_of(t, struct host, transport);
}

static struct net_link *host_dial(struct net_transport *t, const struct multiaddr *addr,
				  const struct net_link_events *events, void *data)
{
	struct host *h = host_of(t);
	struct end *e = end_new(h, addr);
	const struct simnet_path *path;

	if (e == NULL)
		return NULL;
	path = path_of(e);
	e->link.events = events;
	e->link.data = data;
	e->connecting = true;
	e->connect_ms = now_ms(h->sim);
	h->sim->stats.open++;
	poke(e, e->connect_ms + 2 * path->latency_ms + draw(h->sim, path->jitter_ms + 1));
	return &e->link;
}

static int host_listen(struct net_transport *t, const struct multiaddr *addr,
		       struct multiaddr *ret_bound,
		       void (*on_accept)(void *data, struct net_link *l), void *data)
{
	struct host *h = host_of(t);
	uint16_t port = addr->port != 0 ? addr->port : h->next_port++;

	if (find_listener(h, port) != NULL)
		return UV_EADDRINUSE;
	if (h->listener_count == LISTENERS_MAX)
		return UV_EMFILE;
	h->listeners[h->listener_count++] = (struct listener){ port, on_accept, data };
	*ret_bound = *addr;
	ret_bound->port = port;
	return 0;
}

static void link_close(struct net_link *l, int status)
{
	struct end *e = end_of(l);

	if (e->closing)
		return;
	e->closing = true;
	e->close_status = status;
	poke_now(e);
}

static size_t host_local_addrs(struct net_transport *t, struct multiaddr *ret, size_t cap)
{
	if (cap == 0)
		return 0;
	ret[0] = host_of(t)->addr;
	return 1;
}

static void run_shut(struct runner_task *task)
{
	struct host *h = container_of(task, struct host, shut_task);

	list_for_each(node, &h->sim->ends) {
		if (list_entry(node, struct end, node)->host == h) {
			runner_defer(h->sim->runner, task);
			return;
		}
	}
	h->shut = false; /* the host may come back with another transport user */
	h->closed(h->closed_data);
}

static void host_shutdown(struct net_transport *t, void (*closed)(void *data), void *data)
{
	struct host *h = host_of(t);

	h->shut = true;
	h->listener_count = 0;
	h->closed = closed;
	h->closed_data = data;
	list_for_each(node, &h->sim->ends) {
		struct end *e = list_entry(node, struct end, node);

		if (e->host == h)
			link_close(&e->link, ERR_CLOSED);
	}
	runner_defer(h->sim->runner, &h->shut_task);
}

static const struct net_transport transport = {
	.dial = host_dial,
	.listen = host_listen,
	.write = link_write,
	.queued = link_queued,
	.read = link_read,
	.close = link_close,
	.local_addrs = host_local_addrs,
	.shutdown = host_shutdown,
};

struct net_transport *simnet_host(struct simnet *s, const char *ip)
{
	struct multiaddr addr = parse_ip(ip);
	struct host *h = find_host(s, &addr);

	if (h != NULL)
		return &h->transport;
	h = mem_alloc(sizeof(*h));
	if (h == NULL)
		return NULL;
	h->transport = transport;
	h->sim = s;
	h->addr = addr;
	h->next_port = PORT_FIRST;
	h->shut_task.run = run_shut;
	list_push_back(&s->hosts, &h->node);
	return &h->transport;
}

/* ---- The network ---- */

struct simnet *simnet_new(struct runner *r, uint64_t seed)
{
	struct simnet *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	s->runner = r;
	s->random = seed;
	list_init(&s->hosts);
	list_init(&s->paths);
	list_init(&s->ends);
	return s;
}

struct simnet *simnet_free(struct simnet *s)
{
	struct list *node;

	if (s == NULL)
		return NULL;
	while (!list_empty(&s->ends))
		end_free(list_entry(s->ends.next, struct end, node));
	while ((node = list_pop_front(&s->paths)) != NULL)
		mem_free(list_entry(node, struct path, node));
	while ((node = list_pop_front(&s->hosts)) != NULL) {
		struct host *h = list_entry(node, struct host, node);

		runner_undefer(&h->shut_task);
		mem_free(h);
	}
	return mem_free(s);
}

/* A path that is whole again lets go what waited. */
static void poke_all(struct simnet *s)
{
	list_for_each(node, &s->ends)
		poke_now(list_entry(node, struct end, node));
}

void simnet_set_default(struct simnet *s, const struct simnet_path *path)
{
	s->fallback = *path;
	poke_all(s);
}

int simnet_set_path(struct simnet *s, const char *ip_a, const char *ip_b,
		    const struct simnet_path *path)
{
	struct multiaddr a = parse_ip(ip_a), b = parse_ip(ip_b);
	struct path *p = find_path(s, &a, &b);

	if (p == NULL) {
		p = mem_alloc(sizeof(*p));
		if (p == NULL)
			return UV_ENOMEM;
		p->a = a;
		p->b = b;
		list_push_back(&s->paths, &p->node);
	}
	p->path = *path;
	poke_all(s);
	return 0;
}

void simnet_reset(struct simnet *s, const char *ip_a, const char *ip_b)
{
	struct multiaddr a = parse_ip(ip_a), b = parse_ip(ip_b);

	list_for_each(node, &s->ends) {
		struct end *e = list_entry(node, struct end, node);
		bool forth = same_ip(&e->host->addr, &a) && same_ip(&e->link.remote, &b);
		bool back = same_ip(&e->host->addr, &b) && same_ip(&e->link.remote, &a);

		if (e->connecting || !(forth || back))
			continue;
		if (e->other != NULL)
			e->other->other = NULL;
		e->other = NULL;
		link_close(&e->link, UV_ECONNRESET);
	}
}

void simnet_stats(const struct simnet *s, struct simnet_stats *ret)
{
	*ret = s->stats;
}
