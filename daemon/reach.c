/* Every REACH_LOOK_MS somebody is chosen among those connected who has not been asked for
 * REACH_AGAIN_MS; peers beyond the private networks come first. What counts as outside is the
 * address under which we know the peer, not what it says of ours. A peer can lie about its attempt;
 * it takes half of the latest five to change the verdict, and all that follows from one is where we
 * are announced and what the status page says. */
#include "daemon/reach.h"

#include <string.h>

#include "base/mem.h"
#include "discovery/dht/dht.h"

/* Words about one side of the world. */
struct words {
	struct reach_word list[REACH_WORDS_MAX]; /* latest first */
	size_t count;
};

struct asked {
	struct public_key peer;
	uint64_t again_ms; /* not before */
};

struct reach {
	struct reach_config config;
	struct words outside, near;
	struct asked asked[REACH_ASKED_MAX]; /* a ring */
	unsigned asked_count, asked_next;
	struct sync_dialback dialback;
	bool asking, asking_outside;
	struct runner_timer timer;
	struct reach_state state;
	void (*closed)(void *data); /* set = closing */
	void *closed_data;
	struct runner_task closed_task;
};

/* ---- Words ---- */

enum outside reach_verdict(const struct reach_word *words, size_t count, uint64_t now_ms,
			   unsigned *ret_count)
{
	unsigned valid = 0, reached = 0;

	for (size_t i = 0; i < count; i++) {
		if (now_ms - words[i].said_ms > REACH_VALID_MS)
			continue;
		valid++;
		reached += words[i].reached;
	}
	if (ret_count != NULL)
		*ret_count = valid;
	if (valid == 0)
		return OUTSIDE_UNKNOWN;
	return 2 * reached >= valid ? OUTSIDE_YES : OUTSIDE_NO;
}

static void add_word(struct words *w, const struct public_key *peer, bool reached, uint64_t now_ms)
{
	size_t at = 0;

	while (at < w->count && !key_eq(&w->list[at].peer, peer))
		at++;
	if (at == w->count && w->count < REACH_WORDS_MAX)
		w->count++;
	at = MIN(at, (size_t)REACH_WORDS_MAX - 1);
	memmove(&w->list[1], &w->list[0], at * sizeof(w->list[0]));
	w->list[0] = (struct reach_word){ .peer = *peer, .reached = reached, .said_ms = now_ms };
}

static void conclude(struct reach *r)
{
	uint64_t now_ms = runner_now_ms(r->config.runner);
	enum outside before = r->state.outside;

	r->state.outside =
		reach_verdict(r->outside.list, r->outside.count, now_ms, &r->state.asked);
	r->state.near = reach_verdict(r->near.list, r->near.count, now_ms, NULL);
	r->state.reached = 0;
	for (size_t i = 0; i < r->outside.count; i++)
		r->state.reached += r->outside.list[i].reached &&
				    now_ms - r->outside.list[i].said_ms <= REACH_VALID_MS;
	if (r->state.outside != before && r->config.on_verdict != NULL)
		r->config.on_verdict(r->config.data, r->state.outside);
}

/* ---- Asking ---- */

static bool is_outside(const struct multiaddr *a)
{
	struct dht_address addr = { .family = a->family, .port = a->port };

	memcpy(addr.ip, a->ip, a->family == 4 ? 4 : 16);
	return dht_address_is_global(&addr);
}

static bool is_ours(const struct reach *r, const struct multiaddr *a)
{
	struct multiaddr ours[NET_ADDRS_MAX];
	size_t n = net_addrs(r->config.net, ours, ARRAY_SIZE(ours));

	for (size_t i = 0; i < n; i++) {
		if (ours[i].family == a->family &&
		    memcmp(ours[i].ip, a->ip, a->family == 4 ? 4 : 16) == 0)
			return true;
	}
	return false;
}

static bool asked_lately(const struct reach *r, const struct public_key *peer)
{
	uint64_t now_ms = runner_now_ms(r->config.runner);

	for (unsigned i = 0; i < r->asked_count; i++) {
		if (key_eq(&r->asked[i].peer, peer) && now_ms < r->asked[i].again_ms)
			return true;
	}
	return false;
}

static void ask_sooner(struct reach *r, const struct public_key *peer)
{
	for (unsigned i = 0; i < r->asked_count; i++) {
		if (key_eq(&r->asked[i].peer, peer))
			r->asked[i].again_ms = runner_now_ms(r->config.runner) + REACH_BUSY_MS;
	}
}

struct choice {
	struct reach *reach;
	struct net_conn *conn;
	bool outside;
};

static bool consider(void *data, struct net_conn *conn)
{
	struct choice *c = data;
	struct net_conn_info info;
	bool outside;

	net_conn_info(conn, &info);
	outside = is_outside(&info.remote);
	if (multiaddr_is_loopback(&info.remote) || asked_lately(c->reach, &info.peer) ||
	    net_find(c->reach->config.net, &info.peer) != conn)
		return true;
	if (c->conn == NULL || (outside && !c->outside)) {
		c->conn = conn;
		c->outside = outside;
	}
	return !c->outside;
}

static void on_answer(struct sync_dialback *d, int status)
{
	struct reach *r = d->data;

	r->asking = false;
	if (r->closed != NULL) {
		runner_defer(r->config.runner, &r->closed_task);
		return;
	}
	if (status < 0) {
		r->state.failures++;
		if (status == ERR_BUSY)
			ask_sooner(r, &d->peer);
		return;
	}
	/* The port was another one when it was asked. */
	if (d->port != r->config.port)
		return;
	add_word(r->asking_outside ? &r->outside : &r->near, &d->peer, d->reached,
		 runner_now_ms(r->config.runner));
	if (r->asking_outside) {
		r->state.has_seen = true;
		r->state.seen = d->seen;
		r->state.translated = !is_ours(r, &d->seen);
	}
	conclude(r);
}

static void ask(struct reach *r, struct net_conn *conn, bool outside)
{
	struct op_env env = { .runner = r->config.runner, .deadline_ms = UINT64_MAX };
	struct asked *slot = &r->asked[r->asked_next];

	slot->peer = *net_conn_peer(conn);
	slot->again_ms = runner_now_ms(r->config.runner) + REACH_AGAIN_MS;
	r->asked_next = (r->asked_next + 1) % REACH_ASKED_MAX;
	r->asked_count = MIN(r->asked_count + 1, (unsigned)REACH_ASKED_MAX);
	r->asking = true;
	r->asking_outside = outside;
	r->state.asks++;
	r->dialback.data = r;
	sync_dialback_start(&r->dialback, &env, r->config.sync, &slot->peer, r->config.port,
			    on_answer);
}

static void on_timer(struct runner_timer *timer)
{
	struct reach *r = container_of(timer, struct reach, timer);
	struct choice c = { .reach = r };

	conclude(r);
	if (!r->asking && r->config.port != 0) {
		net_each_conn(r->config.net, consider, &c);
		if (c.conn != NULL)
			ask(r, c.conn, c.outside);
	}
	runner_timer_start(r->config.runner, timer,
			   runner_now_ms(r->config.runner) + REACH_LOOK_MS);
}

/* ---- Life ---- */

static void run_closed(struct runner_task *task)
{
	struct reach *r = container_of(task, struct reach, closed_task);
	void (*closed)(void *data) = r->closed;
	void *data = r->closed_data;

	mem_free(r);
	closed(data);
}

struct reach *reach_new(const struct reach_config *config)
{
	struct reach *r = mem_alloc(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->config = *config;
	r->timer.run = on_timer;
	r->closed_task.run = run_closed;
	runner_timer_start(config->runner, &r->timer,
			   runner_now_ms(config->runner) + REACH_LOOK_MS);
	return r;
}

void reach_set_port(struct reach *r, uint16_t port)
{
	r->config.port = port;
	r->asked_count = r->asked_next = 0;
	r->outside.count = r->near.count = 0;
	conclude(r);
}

void reach_forget(struct reach *r)
{
	reach_set_port(r, r->config.port);
}

void reach_close(struct reach *r, void (*closed)(void *data), void *data)
{
	r->closed = closed;
	r->closed_data = data;
	runner_timer_stop(r->config.runner, &r->timer);
	if (r->asking)
		op_cancel(&r->dialback.op);
	else
		runner_defer(r->config.runner, &r->closed_task);
}

void reach_state(const struct reach *r, struct reach_state *ret)
{
	*ret = r->state;
}
