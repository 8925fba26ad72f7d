/* Getting a conn to a peer.
 *
 *   start ──> waiting ──> check <──> dial <──> handshake
 *     └──────────┴──────────┴─────────┴────────────┴──> closing ──> done
 *
 * Suspends in waiting (another dial to the same peer is under way, and has taken over the addresses
 * of this one), check (there is a conn, which is asked whether it is alive: doubt.c), dial (no
 * address has answered yet) and handshake (one has). A conn that is asked has a head start; a short
 * one when it leads to none of the addresses, since then the peer has probably moved.
 *
 * Addresses are tried in order; the next one starts when one fails, or has not led to a conn within
 * STAGGER_MS. The first handshake that completes wins, the other attempts are dropped. A conn that
 * comes up by other means, the peer's own dial for one, is as good. Attempts are conns:
 * they outlive the dial by the time their link takes to close.
 *
 * A probe shares nothing with other dials, and its attempts never become conns that are up. */
#include "net/conn.h"
#include "trace/trace.h"

enum { STAGGER_MS = 300, HEAD_START_MS = 100 };

enum { START, WAITING, CHECKING, DIALING, HANDSHAKE, CLOSING, DONE };

static const struct op_state states[] = {
	[START] = { "start", TO(WAITING) | TO(CHECKING) | TO(DIALING) | TO(CLOSING) },
	[WAITING] = { "waiting", TO(CHECKING) | TO(DIALING) | TO(CLOSING) },
	[CHECKING] = { "check", TO(DIALING) | TO(HANDSHAKE) | TO(CLOSING) },
	[DIALING] = { "dial", TO(CHECKING) | TO(HANDSHAKE) | TO(CLOSING) },
	[HANDSHAKE] = { "handshake", TO(CHECKING) | TO(DIALING) | TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};

static void dial_tick(struct op *op);

static const struct op_kind kind = { "net.dial", states, ARRAY_SIZE(states), dial_tick };

static struct net_dial *dial_of(struct list *node)
{
	return list_entry(node, struct net_dial, node);
}

static bool same_peer(const struct net_dial *d, const struct net_dial *other)
{
	return d != other && !d->any_peer && !other->any_peer && !d->probe && !other->probe &&
	       key_eq(&d->peer, &other->peer);
}

static bool under_way(const struct net_dial *d)
{
	return d->op.state == CHECKING || d->op.state == DIALING || d->op.state == HANDSHAKE;
}

static struct net_dial *leader_of(struct net_dial *d)
{
	list_for_each(node, &d->net->dials)
		if (same_peer(d, dial_of(node)) && under_way(dial_of(node)))
			return dial_of(node);
	return NULL;
}

static bool knows(const struct net_dial *d, size_t count, const struct multiaddr *addr)
{
	for (size_t i = 0; i < count; i++)
		if (multiaddr_eq(&d->addrs[i], addr))
			return true;
	return false;
}

/* What somebody asks for now is likelier than what the other one has been trying. */
static void lend_addrs(struct net_dial *leader, const struct net_dial *d)
{
	for (size_t i = 0; i < d->addr_count; i++) {
		if (leader->addr_count == NET_ADDRS_MAX ||
		    knows(leader, leader->addr_count, &d->addrs[i]))
			continue;
		leader->addrs[leader->addr_count++] = d->addrs[i];
		leader->next_due = true;
		op_defer(&leader->op);
	}
}

static enum op_step to(struct net_dial *d, unsigned state)
{
	op_move(&d->op, state);
	return OP_NEXT;
}

static enum op_step end(struct net_dial *d, int status)
{
	op_result(&d->op, status);
	return to(d, CLOSING);
}

/* ---- Attempts ---- */

static bool any_handshaking(const struct net_dial *d)
{
	list_for_each(node, &d->attempts)
		if (list_entry(node, struct net_conn, attempt)->state != NET_CONN_CONNECTING)
			return true;
	return false;
}

static void on_stagger(struct runner_timer *timer)
{
	struct net_dial *d = container_of(timer, struct net_dial, stagger);

	d->next_due = true;
	op_defer(&d->op);
}

/* Marks on the span of whoever asked: which address cost the time. */
static void mark(struct net_dial *d, const char *what, const struct multiaddr *addr)
{
	char text[MULTIADDR_TEXT_SIZE];

	multiaddr_format(addr, text);
	trace_mark(d->op.env.span, "%s %s", what, text);
}

static void next_attempt(struct net_dial *d)
{
	struct runner *r = d->op.env.runner;
	const struct multiaddr *addr = &d->addrs[d->addr_next++];
	int err = net_conn_dial(d->net, d, addr);

	mark(d, "dial", addr);
	d->next_due = false;
	if (err) {
		d->last_error = err;
		d->net->stats.dial_failures++;
	}
	if (d->addr_next < d->addr_count)
		runner_timer_start(r, &d->stagger, runner_now_ms(r) + STAGGER_MS);
}

static void drop_attempts(struct net_dial *d)
{
	struct list *node;

	while ((node = list_pop_front(&d->attempts)) != NULL) {
		struct net_conn *c = list_entry(node, struct net_conn, attempt);

		c->dial = NULL;
		net_conn_fail(c, UV_ECANCELED);
	}
}

/* ---- Told by connections ---- */

void net_dial_connected(struct net_conn *c)
{
	struct net_dial *d = c->dial;

	mark(d, "connected to", &c->remote);
	d->connected = true;
	if (d->on_connected != NULL)
		d->on_connected(d);
	op_defer(&d->op);
}

void net_dial_attempt_failed(struct net_dial *d, struct net_conn *c, int status)
{
	char text[MULTIADDR_TEXT_SIZE];

	multiaddr_format(&c->remote, text);
	trace_errorf(d->op.env.span, "%s: %s", text, err_str(status));
	list_remove(&c->attempt);
	c->dial = NULL;
	d->last_error = status;
	d->net->stats.dial_failures++;
	op_defer(&d->op);
}

void net_dial_settle(struct net_conn *c, struct net_conn *existing)
{
	struct net_dial *d = c->dial;

	list_remove(&c->attempt);
	c->dial = NULL;
	d->conn = existing;
	d->reused = true;
	op_defer(&d->op);
}

void net_dial_probed(struct net_conn *c)
{
	struct net_dial *d = c->dial;

	list_remove(&c->attempt);
	c->dial = NULL;
	d->probed = true;
	op_defer(&d->op);
}

/* Whether the older conn is of use is known now, or there is another one. */
static void release_held(struct net *n, const struct public_key *peer)
{
	list_for_each_safe(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c->held && !c->failed && c->dial != NULL && key_eq(&c->peer, peer))
			net_handshake_release(c);
	}
}

void net_dial_conn_up(struct net *n, struct net_conn *c)
{
	struct net_dial *own = c->dial;
	struct net_conn *best = net_find(n, &c->peer);

	list_remove(&c->attempt);
	c->dial = NULL;
	list_for_each(node, &n->dials) {
		struct net_dial *d = dial_of(node);

		if (d->conn != NULL || d->probe ||
		    (d != own && (d->any_peer || !key_eq(&d->peer, &c->peer))))
			continue;
		d->conn = best != NULL ? best : c;
		d->reused = d != own || d->conn != c;
		op_defer(&d->op);
	}
	release_held(n, &c->peer);
}

void net_dial_conn_down(struct net *n, struct net_conn *c, int status)
{
	list_for_each(node, &n->dials) {
		struct net_dial *d = dial_of(node);

		if (!d->any_peer && !d->probe && under_way(d) && key_eq(&d->peer, &c->peer))
			op_defer(&d->op); /* it may have waited for this one */
		if (d->conn != c)
			continue;
		d->conn = NULL;
		d->reused = false;
		d->last_error = status;
		op_defer(&d->op);
	}
	release_held(n, &c->peer);
}

void net_dial_checked(struct net *n, struct net_conn *c)
{
	struct net_conn *alive = net_conn_trusted(c) ? c : NULL;

	list_for_each(node, &n->dials) {
		struct net_dial *d = dial_of(node);

		if (d->probe || d->any_peer || !under_way(d) || !key_eq(&d->peer, &c->peer))
			continue;
		if (alive != NULL && d->conn == NULL) {
			d->conn = alive;
			d->reused = true;
		}
		op_defer(&d->op);
	}
	release_held(n, &c->peer);
}

/* ---- States ---- */

static struct net_conn *existing_conn(const struct net_dial *d)
{
	return d->any_peer || d->probe ? NULL : net_find(d->net, &d->peer);
}

/* It would be known elsewhere by now had it not moved. */
static bool leads_elsewhere(const struct net_dial *d, const struct net_conn *c)
{
	for (size_t i = 0; i < d->addr_count; i++)
		if (net_conn_leads_to(c, &d->addrs[i]))
			return false;
	return d->addr_count > 0;
}

static enum op_step look_for_conn(struct net_dial *d)
{
	struct net_conn *c = existing_conn(d);

	if (c == NULL || !net_conn_trusted(c) || leads_elsewhere(d, c))
		return OP_WAIT;
	d->conn = c;
	d->reused = true;
	return end(d, 0);
}

static enum op_step check(struct net_dial *d, struct net_conn *c)
{
	struct runner *r = d->op.env.runner;
	bool elsewhere = leads_elsewhere(d, c);

	trace_mark(d->op.env.span,
		   elsewhere ? "is the conn that leads elsewhere alive?" : "is the conn alive?");
	c->doubted = c->doubted || elsewhere;
	if (!c->doubtful)
		net_conn_check(c);
	d->head_start_ms = runner_now_ms(r);
	if (!c->doubtful)
		d->head_start_ms += elsewhere ? HEAD_START_MS : NET_CHECK_MAX_MS;
	runner_timer_start(r, &d->stagger, d->head_start_ms);
	return to(d, CHECKING);
}

static enum op_step begin_dialing(struct net_dial *d)
{
	struct net_conn *c = existing_conn(d);

	if (c != NULL)
		return check(d, c);
	if (d->addr_count == 0)
		return end(d, ERR_NOT_FOUND);
	if (d->net->up >= NET_CONNS_MAX)
		return end(d, ERR_LIMIT);
	return to(d, DIALING);
}

static enum op_step do_start(struct net_dial *d)
{
	if (op_stopping(&d->op))
		return to(d, CLOSING);
	if (d->net->closing)
		return end(d, UV_ECANCELED);
	if (!d->any_peer && key_eq(&d->peer, &d->net->self))
		return end(d, ERR_SELF);
	if (look_for_conn(d) == OP_NEXT)
		return OP_NEXT;
	if (leader_of(d) != NULL) {
		lend_addrs(leader_of(d), d);
		return to(d, WAITING);
	}
	return begin_dialing(d);
}

static enum op_step do_waiting(struct net_dial *d)
{
	if (op_has_result(&d->op))
		return to(d, CLOSING);
	if (look_for_conn(d) == OP_NEXT)
		return OP_NEXT;
	if (leader_of(d) != NULL)
		return OP_WAIT;
	return begin_dialing(d);
}

/* The conn that is asked has the time it was given, or has not used it. */
static bool may_attempt(const struct net_dial *d, const struct net_conn *asked)
{
	return asked == NULL || asked->doubtful ||
	       runner_now_ms(d->op.env.runner) >= d->head_start_ms;
}

static enum op_step do_attempts(struct net_dial *d)
{
	struct net_conn *asked = existing_conn(d);
	unsigned state;

	if (op_stopping(&d->op))
		return to(d, CLOSING);
	if (d->conn != NULL || d->probed)
		return end(d, 0);
	while (d->addr_next < d->addr_count && (list_empty(&d->attempts) || d->next_due) &&
	       may_attempt(d, asked))
		next_attempt(d);
	/* What is in doubt may still answer. */
	if (list_empty(&d->attempts) && asked == NULL)
		return end(d, d->last_error);
	state = list_empty(&d->attempts) ? CHECKING : any_handshaking(d) ? HANDSHAKE : DIALING;
	if (state != d->op.state)
		op_move(&d->op, state);
	return OP_WAIT;
}

/* Dials that waited for this one: when it failed, its failure is theirs, unless they know an
 * address it did not. */
static void wake_waiting(struct net_dial *d)
{
	int status = op_status(&d->op);

	list_for_each(node, &d->net->dials) {
		struct net_dial *other = dial_of(node);
		size_t known = 0;

		if (!same_peer(d, other) || other->op.state != WAITING)
			continue;
		while (known < other->addr_count && knows(d, d->addr_next, &other->addrs[known]))
			known++;
		if (status < 0 && !op_stopping(&d->op) && known == other->addr_count)
			op_result(&other->op, status);
		op_defer(&other->op);
	}
}

static enum op_step do_closing(struct net_dial *d)
{
	runner_timer_stop(d->op.env.runner, &d->stagger);
	drop_attempts(d);
	if (op_status(&d->op) != 0)
		d->conn = NULL;
	list_remove(&d->node);
	wake_waiting(d);
	return to(d, DONE);
}

static void do_done(struct net_dial *d)
{
	struct net *n = d->net;

	if (!op_finish(&d->op))
		return;
	d->cb(d, op_status(&d->op));
	net_check_closed(n);
}

static void dial_tick(struct op *op)
{
	struct net_dial *d = container_of(op, struct net_dial, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case START: step = do_start(d); break;
		case WAITING: step = do_waiting(d); break;
		case CHECKING:
		case DIALING:
		case HANDSHAKE: step = do_attempts(d); break;
		case CLOSING: step = do_closing(d); break;
		default: do_done(d); return;
		}
	}
}

void net_dial_start(struct net_dial *d, const struct op_env *env, struct net *n,
		    const struct public_key *peer, const struct multiaddr *addrs, size_t addr_count,
		    net_dial_cb cb)
{
	op_init(&d->op, &kind, env, NET_DIAL_TIMEOUT_MS);
	d->cb = cb;
	d->net = n;
	d->conn = NULL;
	d->reused = d->connected = d->next_due = d->probed = false;
	d->any_peer = peer == NULL;
	if (peer != NULL)
		d->peer = *peer;
	d->addr_count = MIN(addr_count, (size_t)NET_ADDRS_MAX);
	for (size_t i = 0; i < d->addr_count; i++)
		d->addrs[i] = addrs[i];
	d->addr_next = 0;
	d->head_start_ms = 0;
	d->last_error = ERR_NOT_FOUND;
	d->stagger = (struct runner_timer){ .run = on_stagger };
	list_init(&d->attempts);
	list_push_back(&n->dials, &d->node);
}
