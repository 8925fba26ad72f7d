/* One connection, from its link to its end.
 *
 *   connecting ──on_open──> handshaking ──last message──> up
 *        └───────────────────────┴──────────fail──────────┴──> torn down by the task, then freed
 *
 * Nothing is torn down inside an event of the link or a call of a user: net_conn_fail records and
 * defers. The task tells the streams, then the service, closes the link and frees the conn; the
 * link's own end is not waited for. */
#include "net/conn.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static void on_open(struct net_link *l, int status);
static void on_read(struct net_link *l, const uint8_t *data, size_t len);
static void on_drain(struct net_link *l);
static void on_link_close(struct net_link *l, int status);
static void conn_task(struct runner_task *task);

static const struct net_link_events link_events = { on_open, on_read, on_drain, on_link_close };

static void orphan_status(struct net_link *l, int status)
{
}
static void orphan_read(struct net_link *l, const uint8_t *data, size_t len)
{
}
static void orphan_drain(struct net_link *l)
{
}
/* For a link whose conn is gone. */
static const struct net_link_events orphan_events = { orphan_status, orphan_read, orphan_drain,
						      orphan_status };

static struct net_conn *conn_new(struct net *n, const struct multiaddr *remote, bool inbound)
{
	struct net_conn *c = mem_alloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->net = n;
	c->remote = *remote;
	c->inbound = inbound;
	c->task.run = conn_task;
	c->timer.run = net_liveness_tick;
	c->since_ms = runner_now_ms(n->runner);
	list_init(&c->attempt);
	list_init(&c->closed);
	list_push_back(&n->conns, &c->node);
	n->inbound += inbound;
	return c;
}

static void conn_free(struct net_conn *c)
{
	struct net *n = c->net;

	runner_undefer(&c->task);
	runner_timer_stop(n->runner, &c->timer);
	list_remove(&c->node);
	n->inbound -= c->inbound;
	net_admit_forget(c);
	net_noise_handshake_fini(&c->handshake);
	mem_free(c->record);
	mem_free(c);
	net_check_closed(n);
}

int net_conn_dial(struct net *n, struct net_dial *d, const struct multiaddr *addr)
{
	struct net_conn *c = conn_new(n, addr, false);

	if (c == NULL)
		return UV_ENOMEM;
	c->link = n->transport->dial(n->transport, addr, &link_events, c);
	if (c->link == NULL) {
		conn_free(c);
		return UV_ENOMEM;
	}
	c->dial = d;
	list_push_back(&d->attempts, &c->attempt);
	n->stats.dials++;
	return 0;
}

/* ---- Accepting ---- */

void net_conn_accept(void *data, struct net_link *l)
{
	struct net *n = data;
	struct net_conn *c;

	if (n->closing || !net_admit_link(n, &l->remote))
		return;
	c = conn_new(n, &l->remote, true);
	if (c == NULL)
		return;
	c->link = l;
	l->events = &link_events;
	l->data = c;
	n->pending++;
	n->stats.accepted++;
	net_handshake_begin(c);
}

/* ---- Events of the link and of the mux ---- */

static void on_open(struct net_link *l, int status)
{
	struct net_conn *c = l->data;

	if (status != 0) {
		c->link = NULL;
		net_conn_fail(c, status);
		return;
	}
	if (c->failed)
		return;
	if (c->dial != NULL)
		net_dial_connected(c);
	net_handshake_begin(c);
}

static void on_read(struct net_link *l, const uint8_t *data, size_t len)
{
	struct net_conn *c = l->data;

	c->received_bytes += len;
	c->net->stats.received_bytes += len;
	c->received_ms = c->mux.now_ms = runner_now_ms(c->net->runner);
	net_conn_heard(c);
	net_record_read(c, data, len);
	net_admit_count(c);
}

static void on_drain(struct net_link *l)
{
	struct net_conn *c = l->data;

	runner_defer(c->net->runner, &c->task);
}

static void on_link_close(struct net_link *l, int status)
{
	struct net_conn *c = l->data;

	c->link = NULL;
	net_conn_fail(c, status != 0 ? status : ERR_CLOSED);
}

static struct net_conn *conn_of(struct net_mux *m)
{
	return container_of(m, struct net_conn, mux);
}

static struct net_stream *on_mux_open(struct net_mux *m, int *ret_refusal)
{
	struct net_conn *c = conn_of(m);
	struct net *n = c->net;
	struct net_stream *s = NULL;

	if (n->service != NULL && n->service->on_stream != NULL)
		s = n->service->on_stream(n->service_data, c, ret_refusal);
	if (s == NULL)
		n->stats.streams_refused++;
	return s;
}

static void on_mux_closed(struct net_stream *s)
{
	struct net_conn *c = conn_of(s->mux);

	list_push_back(&c->closed, &s->node);
	runner_defer(c->net->runner, &c->task);
}

static void on_mux_pending(struct net_mux *m)
{
	struct net_conn *c = conn_of(m);

	if (c->link != NULL)
		runner_defer(c->net->runner, &c->task);
}

static void on_mux_pong(struct net_mux *m, uint64_t token)
{
	net_liveness_pong(conn_of(m), token);
}

static void on_mux_goaway(struct net_mux *m, int status)
{
	if (status == 0)
		net_conn_drain(conn_of(m));
	else
		net_conn_fail(conn_of(m), status == ERR_PROTOCOL ? ERR_CLOSED : status);
}

static bool on_mux_hold(struct net_mux *m, size_t bytes)
{
	return net_admit_buffer(conn_of(m), bytes);
}

static const struct net_mux_events net_mux_events = {
	on_mux_open, on_mux_closed, on_mux_pending, on_mux_pong, on_mux_goaway, on_mux_hold,
};

/* ---- Life ---- */

/* One that was dialed since the other did not answer wins. Both sides dialed at once: both must
 * come to the same answer, and the one dialed by the smaller key stays. Dialed by the same side: it
 * would not have dialed again had the first been of use to it. */
static bool replaces(const struct net_conn *c, const struct net_conn *other)
{
	bool we_are_smaller = key_cmp(&c->net->self, &c->peer) < 0;
	uint64_t age_ms = runner_now_ms(c->net->runner) - other->since_ms;
	bool other_renews = other->renews && age_ms < NET_CONN_RENEWING_MS;

	if (c->renews != other_renews)
		return c->renews;
	if (c->inbound == other->inbound)
		return true;
	return c->inbound != we_are_smaller;
}

static void resolve_duplicates(struct net_conn *c)
{
	struct net_conn *draining = NULL;

	list_for_each(node, &c->net->conns) {
		struct net_conn *other = list_entry(node, struct net_conn, node);

		if (other == c || other->state != NET_CONN_UP || other->failed ||
		    !key_eq(&other->peer, &c->peer))
			continue;
		if (net_conn_usable(other)) {
			struct net_conn *loser = replaces(c, other) ? other : c;

			net_conn_drain(loser);
			other->doubted = other->doubted || (loser == other && c->renews);
			if (loser == other && c->renews)
				net_conn_check(other); /* whoever uses it shall not wait long */
		} else if (draining == NULL) {
			draining = other;
		} else {
			net_conn_fail(draining, ERR_CLOSED);
			draining = other;
		}
	}
}

void net_conn_up(struct net_conn *c)
{
	struct net *n = c->net;

	net_noise_handshake_split(&c->handshake, &c->send_cipher, &c->receive_cipher);
	net_noise_handshake_fini(&c->handshake);
	n->pending -= c->inbound;
	n->up++;
	c->state = NET_CONN_UP;
	c->since_ms = runner_now_ms(n->runner);
	net_mux_init(&c->mux, !c->inbound, &net_mux_events);
	c->mux.now_ms = c->since_ms;
	resolve_duplicates(c);
	net_liveness_begin(c);
	if (n->service != NULL && n->service->on_conn_up != NULL)
		n->service->on_conn_up(n->service_data, c);
	net_dial_conn_up(n, c);
}

bool net_conn_usable(const struct net_conn *c)
{
	return c->state == NET_CONN_UP && !c->failed && !c->draining && !c->mux.peer_leaving;
}

void net_conn_drain(struct net_conn *c)
{
	if (c->draining || c->failed)
		return;
	c->draining = true;
	c->drain_ms = runner_now_ms(c->net->runner);
	net_mux_goaway(&c->mux, 0);
	net_liveness_rearm(c);
}

void net_conn_fail(struct net_conn *c, int status)
{
	REQUIRE(status < 0);
	if (c->failed)
		return;
	c->failed = true;
	c->close_status = status;
	runner_defer(c->net->runner, &c->task);
}

static void tell_closed_streams(struct net_conn *c)
{
	struct list now, *node;

	list_init(&now);
	list_splice_back(&now, &c->closed);
	while ((node = list_pop_front(&now)) != NULL) {
		struct net_stream *s = list_entry(node, struct net_stream, node);

		net_mux_stream_released(&c->mux, s);
		c->quiet_ms = runner_now_ms(c->net->runner);
		s->events->on_close(s, s->close_status);
	}
}

/* The peer is told why, if the transport takes it. */
static void say_farewell(struct net_conn *c)
{
	if (c->close_status != ERR_CLOSED && c->close_status != UV_ECANCELED && !c->mux.goaway_due)
		net_mux_goaway(&c->mux, c->close_status);
	net_record_farewell(c);
}

static void tear_down_streams(struct net_conn *c)
{
	struct net *n = c->net;

	n->up--;
	net_mux_stop(&c->mux, ERR_CLOSED);
	while (!list_empty(&c->closed))
		tell_closed_streams(c);
	if (c->link != NULL)
		say_farewell(c);
	net_dial_conn_down(n, c, c->close_status);
	if (n->service != NULL && n->service->on_conn_down != NULL)
		n->service->on_conn_down(n->service_data, c, c->close_status);
}

static void log_end(const struct net_conn *c)
{
	char remote[MULTIADDR_TEXT_SIZE];

	multiaddr_format(&c->remote, remote);
	log_debug(LOG_NET, "conn ended remote=%s inbound=%d up=%d why=%s", remote, c->inbound,
		  c->state == NET_CONN_UP, err_name(c->close_status));
}

static void tear_down(struct net_conn *c)
{
	struct net *n = c->net;

	log_end(c);
	if (c->close_status == ERR_PROTOCOL)
		n->stats.protocol_errors++;
	if (c->state == NET_CONN_UP) {
		tear_down_streams(c);
	} else if (c->inbound) {
		n->pending--;
		n->stats.handshake_failures++;
	}
	if (c->dial != NULL)
		net_dial_attempt_failed(c->dial, c, c->close_status);
	if (c->link != NULL) {
		c->link->events = &orphan_events;
		c->link->data = NULL;
		n->transport->close(c->link, ERR_CLOSED);
	}
	conn_free(c);
}

static bool drained(const struct net_conn *c)
{
	return c->draining && c->mux.peer_leaving && list_empty(&c->mux.streams) &&
	       list_empty(&c->closed) && net_mux_pending(&c->mux) == 0 &&
	       (c->link == NULL || c->net->transport->queued(c->link) == 0);
}

static void conn_task(struct runner_task *task)
{
	struct net_conn *c = container_of(task, struct net_conn, task);

	if (c->state == NET_CONN_UP && !c->failed) {
		tell_closed_streams(c);
		c->mux.now_ms = runner_now_ms(c->net->runner);
		net_record_flush(c);
		net_admit_count(c);
		if (drained(c))
			net_conn_fail(c, ERR_CLOSED);
		else
			net_liveness_rearm(c);
	}
	if (c->failed)
		tear_down(c);
}
