/* One connection: records over a link, before and after the handshake, and its end.
 *
 *   connecting ──on_open──> handshaking ──last message──> up
 *        └───────────────────────┴────── conn_fail ────────┴──> torn down by the task, then freed
 *
 * On the wire everything is a record: two bytes of length, big-endian, and so many bytes. In the
 * handshake a record is a Noise message, afterwards one sealed record of a mux. A first record is
 * 32 bytes long and nothing else, so that whoever speaks HTTP, TLS or BitTorrent to us is dropped
 * at its first two bytes.
 *
 * Nothing is torn down inside an event of the link or a call of a user: conn_fail records and
 * defers. The task tells the streams, then the service, closes the link and frees the conn; the
 * link's own end is not waited for. */
#include "net/conn.h"

#include <string.h>

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
	c->timer.run = liveness_tick;
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
	noise_handshake_fini(&c->handshake);
	mem_free(c->record);
	mem_free(c);
	net_check_closed(n);
}

int conn_dial(struct net *n, struct net_dial *d, const struct multiaddr *addr)
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

/* One IPv4 address, or the /56 that a provider gives to one customer. */
static bool same_origin(const struct multiaddr *a, const struct multiaddr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 7) == 0;
}

static unsigned count_origin(const struct net *n, const struct multiaddr *addr)
{
	unsigned count = 0;

	list_for_each(node, &n->conns) {
		const struct net_conn *c = list_entry(node, struct net_conn, node);

		count += c->inbound && !c->failed && same_origin(&c->remote, addr);
	}
	return count;
}

/* The oldest that has not finished its handshake makes room: silence must not keep others out. */
static void evict_pending(struct net *n)
{
	list_for_each(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c->inbound && c->state == CONN_HANDSHAKING && !c->failed) {
			conn_fail(c, ERR_LIMIT);
			return;
		}
	}
}

void conn_accept(void *data, struct net_link *l)
{
	struct net *n = data;
	struct net_conn *c;

	if (n->closing || n->inbound - n->pending >= NET_INBOUND_MAX ||
	    (!multiaddr_is_loopback(&l->remote) &&
	     count_origin(n, &l->remote) >= NET_CONNS_PER_IP_MAX)) {
		n->stats.refused_limit++;
		return;
	}
	if (n->pending >= NET_PENDING_MAX) {
		n->stats.refused_limit++;
		evict_pending(n);
	}
	c = conn_new(n, &l->remote, true);
	if (c == NULL)
		return;
	c->link = l;
	l->events = &link_events;
	l->data = c;
	n->pending++;
	n->stats.accepted++;
	handshake_begin(c);
}

/* ---- Reading ---- */

static int handle_record(struct net_conn *c, const uint8_t *p, size_t len)
{
	int err;

	if (c->state != CONN_UP)
		return handshake_message(c, p, len);
	err = noise_decrypt(&c->receive_cipher, NULL, 0, p, len, c->net->scratch);
	if (err)
		return err;
	return mux_receive(&c->mux, c->net->scratch, len - NOISE_TAG_SIZE);
}

static bool record_possible(const struct net_conn *c, size_t len)
{
	return c->state == CONN_UP ? len > NOISE_TAG_SIZE : handshake_expects(c, len);
}

/* Consumes at least one byte or fails. Records that lie in `r` as a whole are not copied. */
static int feed(struct net_conn *c, struct buf_reader *r)
{
	size_t n;
	int err;

	if (c->head_have < sizeof(c->head)) {
		c->head[c->head_have++] = *r->p++;
		if (c->head_have < sizeof(c->head))
			return 0;
		c->record_len = (size_t)c->head[0] << 8 | c->head[1];
		if (!record_possible(c, c->record_len))
			return ERR_PROTOCOL;
		return 0;
	}
	if (c->record == NULL && buf_left(r) >= c->record_len) {
		const uint8_t *p = r->p;

		r->p += c->record_len;
		c->head_have = 0;
		return handle_record(c, p, c->record_len);
	}
	if (c->record == NULL) {
		c->record = mem_realloc(NULL, c->record_len);
		if (c->record == NULL)
			return UV_ENOMEM;
	}
	n = MIN(buf_left(r), c->record_len - c->record_have);
	memcpy(c->record + c->record_have, r->p, n);
	r->p += n;
	c->record_have += n;
	if (c->record_have < c->record_len)
		return 0;
	err = handle_record(c, c->record, c->record_len);
	c->record = mem_free(c->record);
	c->record_have = c->head_have = 0;
	return err;
}

static void on_read(struct net_link *l, const uint8_t *data, size_t len)
{
	struct net_conn *c = l->data;
	struct buf_reader r = buf_reader(data, len);

	c->received_bytes += len;
	c->net->stats.received_bytes += len;
	c->received_ms = c->mux.now_ms = runner_now_ms(c->net->runner);
	while (!c->failed && buf_left(&r) > 0) {
		int err = feed(c, &r);

		if (err)
			conn_fail(c, err);
	}
}

/* ---- Writing ---- */

static int write_bytes(struct net_conn *c, uint8_t *bytes, size_t len)
{
	c->sent_bytes += len;
	c->net->stats.sent_bytes += len;
	return c->net->transport->write(c->link, bytes, len);
}

int conn_write(struct net_conn *c, struct buf *record)
{
	uint8_t *bytes;
	size_t len;

	if (buf_err(record) != 0 || record->len == 0)
		return buf_err(record);
	bytes = buf_take(record, &len);
	return write_bytes(c, bytes, len);
}

/* One record at dst; returns its size, 0 when there is nothing to send. */
static size_t seal_record(struct net_conn *c, uint8_t *dst)
{
	size_t len = mux_produce(&c->mux, c->net->scratch, CONN_RECORD_PLAIN);
	size_t sealed = len + NOISE_TAG_SIZE;

	if (len == 0)
		return 0;
	if (noise_encrypt(&c->send_cipher, NULL, 0, c->net->scratch, len, dst + 2) != 0) {
		conn_fail(c, ERR_LIMIT);
		return 0;
	}
	dst[0] = (uint8_t)(sealed >> 8);
	dst[1] = (uint8_t)sealed;
	return sealed + 2;
}

/* The record is padded to this while it is made; what is left over goes back to the allocator. */
enum { SEALED_MAX = 2 + CONN_RECORD_PLAIN + NOISE_TAG_SIZE };

static int flush_once(struct net_conn *c, size_t pending)
{
	size_t records = MIN(pending / MUX_DATA_MAX + 1, (size_t)CONN_WRITE_RECORDS);
	uint8_t *bytes = mem_realloc(NULL, records * SEALED_MAX);
	size_t len = 0;

	if (bytes == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < records; i++) {
		size_t n = seal_record(c, bytes + len);

		if (n == 0)
			break;
		len += n;
	}
	if (len == 0) {
		mem_free(bytes);
		return 0;
	}
	return write_bytes(c, bytes, len);
}

static void flush(struct net_conn *c)
{
	size_t pending;

	while (c->link != NULL && !c->failed &&
	       c->net->transport->queued(c->link) < CONN_TRANSPORT_HIGH &&
	       (pending = mux_pending(&c->mux)) > 0) {
		int err = flush_once(c, pending);

		if (err)
			conn_fail(c, err);
	}
}

/* ---- Events of the link and of the mux ---- */

static void on_open(struct net_link *l, int status)
{
	struct net_conn *c = l->data;

	if (status != 0) {
		c->link = NULL;
		conn_fail(c, status);
		return;
	}
	if (c->failed)
		return;
	if (c->dial != NULL)
		dial_connected(c->dial);
	handshake_begin(c);
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
	conn_fail(c, status != 0 ? status : ERR_CLOSED);
}

static struct net_conn *conn_of(struct mux *m)
{
	return container_of(m, struct net_conn, mux);
}

static struct net_stream *on_mux_open(struct mux *m, int *ret_refusal)
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

static void on_mux_pending(struct mux *m)
{
	struct net_conn *c = conn_of(m);

	if (c->link != NULL)
		runner_defer(c->net->runner, &c->task);
}

static void on_mux_pong(struct mux *m, uint64_t token)
{
	liveness_pong(conn_of(m), token);
}

static void on_mux_goaway(struct mux *m, int status)
{
	if (status == 0)
		conn_drain(conn_of(m));
	else
		conn_fail(conn_of(m), status == ERR_PROTOCOL ? ERR_CLOSED : status);
}

static const struct mux_events mux_events = {
	on_mux_open, on_mux_closed, on_mux_pending, on_mux_pong, on_mux_goaway,
};

/* ---- Life ---- */

/* Both sides dialed at once: both must come to the same answer, and the one dialed by the smaller
 * key stays. Dialed by the same side: it would not have dialed again had the first been of use to
 * it. */
static bool replaces(const struct net_conn *c, const struct net_conn *other)
{
	bool we_are_smaller = key_cmp(&c->net->self, &c->peer) < 0;

	if (c->inbound == other->inbound)
		return true;
	return c->inbound != we_are_smaller;
}

static void resolve_duplicates(struct net_conn *c)
{
	struct net_conn *draining = NULL;

	list_for_each(node, &c->net->conns) {
		struct net_conn *other = list_entry(node, struct net_conn, node);

		if (other == c || other->state != CONN_UP || other->failed ||
		    !key_eq(&other->peer, &c->peer))
			continue;
		if (conn_usable(other)) {
			conn_drain(replaces(c, other) ? other : c);
		} else if (draining == NULL) {
			draining = other;
		} else {
			conn_fail(draining, ERR_CLOSED);
			draining = other;
		}
	}
}

void conn_up(struct net_conn *c)
{
	struct net *n = c->net;

	noise_handshake_split(&c->handshake, &c->send_cipher, &c->receive_cipher);
	noise_handshake_fini(&c->handshake);
	n->pending -= c->inbound;
	n->up++;
	c->state = CONN_UP;
	c->since_ms = runner_now_ms(n->runner);
	mux_init(&c->mux, !c->inbound, &mux_events);
	c->mux.now_ms = c->since_ms;
	resolve_duplicates(c);
	liveness_begin(c);
	if (n->service != NULL && n->service->on_conn_up != NULL)
		n->service->on_conn_up(n->service_data, c);
	dial_conn_up(n, c);
}

bool conn_usable(const struct net_conn *c)
{
	return c->state == CONN_UP && !c->failed && !c->draining && !c->mux.peer_leaving;
}

void conn_drain(struct net_conn *c)
{
	if (c->draining || c->failed)
		return;
	c->draining = true;
	c->drain_ms = runner_now_ms(c->net->runner);
	mux_goaway(&c->mux, 0);
	liveness_rearm(c);
}

void conn_fail(struct net_conn *c, int status)
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

		mux_stream_released(&c->mux, s);
		c->quiet_ms = runner_now_ms(c->net->runner);
		s->events->on_close(s, s->close_status);
	}
}

/* The peer is told why, if the transport takes it. */
static void say_goodbye(struct net_conn *c)
{
	uint8_t *bytes;
	size_t len;

	if (c->close_status != ERR_CLOSED && c->close_status != UV_ECANCELED && !c->mux.goaway_due)
		mux_goaway(&c->mux, c->close_status);
	if (mux_pending(&c->mux) == 0 || (bytes = mem_realloc(NULL, SEALED_MAX)) == NULL)
		return;
	len = seal_record(c, bytes);
	if (len > 0)
		(void)write_bytes(c, bytes, len);
	else
		mem_free(bytes);
}

static void tear_down_streams(struct net_conn *c)
{
	struct net *n = c->net;

	n->up--;
	mux_stop(&c->mux, ERR_CLOSED);
	while (!list_empty(&c->closed))
		tell_closed_streams(c);
	if (c->link != NULL)
		say_goodbye(c);
	dial_conn_down(n, c, c->close_status);
	if (n->service != NULL && n->service->on_conn_down != NULL)
		n->service->on_conn_down(n->service_data, c, c->close_status);
}

static void tear_down(struct net_conn *c)
{
	struct net *n = c->net;

	if (c->close_status == ERR_PROTOCOL)
		n->stats.protocol_errors++;
	if (c->state == CONN_UP) {
		tear_down_streams(c);
	} else if (c->inbound) {
		n->pending--;
		n->stats.handshake_failures++;
	}
	if (c->dial != NULL)
		dial_attempt_failed(c->dial, c, c->close_status);
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
	       list_empty(&c->closed) && mux_pending(&c->mux) == 0 &&
	       (c->link == NULL || c->net->transport->queued(c->link) == 0);
}

static void conn_task(struct runner_task *task)
{
	struct net_conn *c = container_of(task, struct net_conn, task);

	if (c->state == CONN_UP && !c->failed) {
		tell_closed_streams(c);
		flush(c);
		if (drained(c))
			conn_fail(c, ERR_CLOSED);
		else
			liveness_rearm(c);
	}
	if (c->failed)
		tear_down(c);
}
