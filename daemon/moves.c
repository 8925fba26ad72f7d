/* News of the kernel are many and mostly about something else (lifetimes, statistics): only a
 * different set of addresses counts. Everything here works without news, then less promptly: a conn
 * that is dead is found out by whoever uses it next. */
#include "daemon/moves.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "base/netwatch.h"

struct move {
	struct moves *moves;
	struct net_dial dial;
	bool busy;
};

struct moves {
	struct loop *loop;
	struct net *net;
	void (*changed)(void *data);
	void *data;
	struct netwatch watch;
	bool watching;
	struct runner_timer timer;
	bool again;
	uint8_t addresses[crypto_generichash_BYTES]; /* of their set */
	uint64_t second;			     /* and neighbours looked at in it */
	unsigned neighbours;
	struct move dials[MOVES_DIALS_MAX];
	struct moves_stats stats;
	unsigned closing;
	void (*closed)(void *data);
	void *closed_data;
	struct runner_task closed_task;
};

static struct runner *runner(const struct moves *m)
{
	return &m->loop->runner;
}

/* ---- Dials ---- */

static void one_closed(void *data)
{
	struct moves *m = data;

	if (m->closed != NULL && --m->closing == 0)
		runner_defer(runner(m), &m->closed_task);
}

static void on_dialed(struct net_dial *d, int status)
{
	struct move *move = d->data;
	struct moves *m = move->moves;

	m->stats.replaced += status == 0 && !d->reused;
	move->busy = false;
	if (m->closed != NULL)
		one_closed(m);
}

static void dial(struct moves *m, const struct public_key *peer, const struct multiaddr *addrs,
		 size_t count)
{
	struct op_env env = { .runner = runner(m), .deadline_ms = UINT64_MAX };

	for (size_t i = 0; i < MOVES_DIALS_MAX; i++) {
		struct move *move = &m->dials[i];

		if (move->busy)
			continue;
		move->busy = true;
		move->moves = m;
		move->dial = (struct net_dial){ .data = move };
		m->stats.dials++;
		net_dial_start(&move->dial, &env, m->net, peer, addrs, count, on_dialed);
		return;
	}
	m->stats.dropped++;
}

static bool under_way(const struct moves *m, const struct public_key *peer)
{
	for (size_t i = 0; i < MOVES_DIALS_MAX; i++)
		if (m->dials[i].busy && key_eq(&m->dials[i].dial.peer, peer))
			return true;
	return false;
}

static bool has_budget(struct moves *m)
{
	uint64_t second = runner_now_ms(runner(m)) / 1000;

	if (second != m->second)
		m->neighbours = 0;
	m->second = second;
	return m->neighbours++ < MOVES_NEIGHBOURS_PER_S;
}

void moves_neighbour(struct moves *m, const struct public_key *peer, const struct multiaddr *addrs,
		     size_t count)
{
	if (m->closed != NULL || net_find(m->net, peer) == NULL)
		return;
	if (!has_budget(m)) {
		m->stats.dropped++;
		return;
	}
	net_doubt(m->net, peer);
	dial(m, peer, addrs, count);
}

void moves_twin(struct moves *m, const struct multiaddr *addrs, size_t count)
{
	if (m->closed == NULL && has_budget(m))
		dial(m, NULL, addrs, count);
}

static bool redial(void *data, struct net_conn *conn)
{
	struct moves *m = data;
	struct net_conn_info info;

	net_conn_info(conn, &info);
	if (!multiaddr_is_loopback(&info.remote) && !under_way(m, &info.peer))
		dial(m, &info.peer, &info.dial_addr, info.dial_addr.port != 0);
	return true;
}

/* ---- This machine ---- */

static void hash_address(const uv_interface_address_t *a, uint8_t *ret)
{
	crypto_generichash_state state;
	struct multiaddr addr = { 0 };

	(void)multiaddr_from_sockaddr((const struct sockaddr *)&a->address, &addr);
	crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
	crypto_generichash_update(&state, (const uint8_t *)a->name, strlen(a->name));
	crypto_generichash_update(&state, addr.ip, sizeof(addr.ip));
	crypto_generichash_final(&state, ret, crypto_generichash_BYTES);
}

/* In no particular order, therefore the sum of their hashes. False: not known. */
static bool hash_addresses(uint8_t ret[crypto_generichash_BYTES])
{
	uint8_t hash[crypto_generichash_BYTES];
	uv_interface_address_t *all;
	int n;

	if (uv_interface_addresses(&all, &n) != 0)
		return false;
	memset(ret, 0, crypto_generichash_BYTES);
	for (int i = 0; i < n; i++) {
		hash_address(&all[i], hash);
		sodium_add(ret, hash, crypto_generichash_BYTES);
	}
	uv_free_interface_addresses(all, n);
	return true;
}

static void doubt_all(struct moves *m)
{
	net_doubt(m->net, NULL);
	net_each_conn(m->net, redial, m);
}

static void on_timer(struct runner_timer *timer)
{
	struct moves *m = container_of(timer, struct moves, timer);
	uint8_t now[crypto_generichash_BYTES];
	bool changed = hash_addresses(now) && memcmp(now, m->addresses, sizeof(now)) != 0;

	if (changed) {
		memcpy(m->addresses, now, sizeof(now));
		m->stats.changes++;
		if (m->changed != NULL)
			m->changed(m->data);
	}
	if (changed || m->again)
		doubt_all(m);
	m->again = changed;
	if (changed)
		runner_timer_start(runner(m), timer, runner_now_ms(runner(m)) + MOVES_AGAIN_MS);
}

static void on_news(void *data)
{
	struct moves *m = data;
	uint64_t due_ms = runner_now_ms(runner(m)) + MOVES_SETTLE_MS;

	if (m->closed == NULL && (!m->timer.armed || m->timer.due_ms > due_ms))
		runner_timer_start(runner(m), &m->timer, due_ms);
}

/* ---- Life ---- */

struct moves *moves_new(struct loop *l, struct net *n, void (*changed)(void *data), void *data)
{
	struct moves *m = mem_alloc(sizeof(*m));

	if (m == NULL)
		return NULL;
	m->loop = l;
	m->net = n;
	m->changed = changed;
	m->data = data;
	m->timer.run = on_timer;
	(void)hash_addresses(m->addresses);
	m->watching = netwatch_start(&m->watch, l, on_news, m);
	return m;
}

static void run_closed(struct runner_task *task)
{
	struct moves *m = container_of(task, struct moves, closed_task);
	void (*closed)(void *data) = m->closed;
	void *data = m->closed_data;

	mem_free(m);
	closed(data);
}

void moves_close(struct moves *m, void (*closed)(void *data), void *data)
{
	m->closed = closed;
	m->closed_data = data;
	m->closed_task.run = run_closed;
	m->closing = 1;
	runner_timer_stop(runner(m), &m->timer);
	if (m->watching) {
		m->closing++;
		netwatch_close(&m->watch, one_closed);
	}
	for (size_t i = 0; i < MOVES_DIALS_MAX; i++) {
		if (!m->dials[i].busy)
			continue;
		m->closing++;
		op_cancel(&m->dials[i].dial.op);
	}
	one_closed(m);
}

void moves_stats(const struct moves *m, struct moves_stats *ret)
{
	*ret = m->stats;
}
