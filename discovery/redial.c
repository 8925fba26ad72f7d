/* One timer for all of them: it starts the dials that are due, and is set to the next.
 *
 * Waiting a share of the time away bounds both: what an outage is prolonged by, and how often a peer
 * that is gone for good is dialed (some 130 times in the first half hour, then once a minute).
 * What can go wrong: a peer without an address (it has to come by itself), peers that nobody looks
 * to any more (dropped when they are due), too many at once (the rest waits for a dial to end). */
#include "discovery/redial.h"

#include <string.h>

#include "base/mem.h"
#include "discovery/service.h"

struct redial_peer {
	struct redial *redial;
	struct sync_target target;
	uint64_t lost_ms, due_ms;
	bool lost, was_up, dialing, dropped;
	struct net_dial dial;
};

static uint64_t now_ms(const struct redial *r)
{
	return runner_now_ms(r->service->runner);
}

uint64_t redial_delay_ms(uint64_t away_ms)
{
	return MIN(MAX(away_ms / REDIAL_SHARE, (uint64_t)REDIAL_MIN_MS), (uint64_t)REDIAL_MAX_MS);
}

void redial_init(struct redial *r, struct discovery *service)
{
	*r = (struct redial){ .service = service };
	map_init(&r->peers, REDIAL_PEERS_MAX);
}

void redial_fini(struct redial *r)
{
	for (struct map_iter it = map_first(&r->peers); it.value != NULL; map_next(&it))
		mem_free(it.value);
	map_fini(&r->peers);
}

static struct redial_peer *find(const struct redial *r, const struct public_key *peer)
{
	return map_get(&r->peers, peer->bytes, KEY_SIZE);
}

static void drop(struct redial_peer *p)
{
	struct redial *r = p->redial;

	p->dropped = true;
	if (p->dialing) {
		op_cancel(&p->dial.op);
		return;
	}
	r->stats.lost -= p->lost;
	(void)map_del(&r->peers, p->target.peer.bytes, KEY_SIZE);
	mem_free(p);
}

/* ---- Dials ---- */

static void work(struct redial *r);

static void on_dialed(struct net_dial *dial, int status)
{
	struct redial_peer *p = container_of(dial, struct redial_peer, dial);
	struct redial *r = p->redial;
	uint64_t delay_ms = redial_delay_ms(now_ms(r) - p->lost_ms);

	r->dialing--;
	r->stats.reached += status == 0;
	p->dialing = false;
	p->due_ms = now_ms(r) + delay_ms - delay_ms / 8 +
		    runner_random_below(r->service->runner, delay_ms / 4 + 1);
	if (p->dropped)
		drop(p);
	work(r);
	service_ended(r->service);
}

static void dial(struct redial_peer *p)
{
	struct redial *r = p->redial;
	struct op_env env = service_env(r->service, REDIAL_DIAL_MS);

	p->dialing = true;
	r->dialing++;
	r->stats.dials++;
	net_dial_start(&p->dial, &env, r->service->net, &p->target.peer, p->target.addrs,
		       p->target.addr_count, on_dialed);
}

static bool is_given_up(const struct redial_peer *p)
{
	return (!p->was_up && now_ms(p->redial) - p->lost_ms > REDIAL_STRANGER_MS) ||
	       !subscriptions_look_to(p->redial->service, &p->target.peer);
}

static bool is_waiting(const struct redial_peer *p)
{
	return p->lost && !p->dialing && !p->dropped && p->target.addr_count > 0;
}

static void on_timer(struct runner_timer *t)
{
	work(container_of(t, struct redial, timer));
}

static void work(struct redial *r)
{
	uint64_t now = now_ms(r), next_ms = UINT64_MAX;

	if (r->service->closing)
		return;
	for (struct map_iter it = map_first(&r->peers); it.value != NULL; map_next(&it)) {
		struct redial_peer *p = it.value;

		if (!is_waiting(p))
			continue;
		if (p->due_ms > now)
			next_ms = MIN(next_ms, p->due_ms);
		else if (is_given_up(p))
			drop(p);
		else if (r->dialing < REDIAL_AT_ONCE_MAX)
			dial(p);
	}
	r->timer.run = on_timer;
	if (next_ms != UINT64_MAX)
		runner_timer_start(r->service->runner, &r->timer, next_ms);
}

/* ---- Who is kept ---- */

static void merge(struct sync_target *to, const struct sync_target *from)
{
	for (size_t i = 0; i < from->addr_count; i++) {
		bool known = false;

		for (size_t j = 0; j < to->addr_count && !known; j++)
			known = multiaddr_eq(&to->addrs[j], &from->addrs[i]);
		if (known)
			continue;
		if (to->addr_count == SYNC_TARGET_ADDRS_MAX) /* the oldest makes room */
			memmove(&to->addrs[0], &to->addrs[1],
				--to->addr_count * sizeof(to->addrs[0]));
		to->addrs[to->addr_count++] = from->addrs[i];
	}
}

static void make_room(struct redial *r)
{
	for (struct map_iter it = map_first(&r->peers); it.value != NULL; map_next(&it)) {
		struct redial_peer *p = it.value;

		if (p->lost || p->dialing)
			continue;
		drop(p);
		return;
	}
}

static struct redial_peer *insert(struct redial *r, const struct sync_target *target)
{
	struct redial_peer *p;

	if (map_count(&r->peers) == REDIAL_PEERS_MAX)
		make_room(r);
	p = mem_alloc(sizeof(*p));
	if (p == NULL)
		return NULL;
	p->redial = r;
	p->target.peer = target->peer;
	if (map_put(&r->peers, p->target.peer.bytes, KEY_SIZE, p) < 0) {
		r->stats.no_room++;
		return mem_free(p);
	}
	return p;
}

static void lose(struct redial_peer *p)
{
	struct redial *r = p->redial;

	if (p->lost)
		return;
	p->lost = true;
	r->stats.lost++;
	p->lost_ms = now_ms(r);
	p->due_ms = p->lost_ms + REDIAL_FIRST_MS +
		    runner_random_below(r->service->runner, REDIAL_FIRST_MS);
	work(r);
}

void redial_keep(struct redial *r, const struct sync_target *target)
{
	struct redial_peer *p = find(r, &target->peer);

	if (p == NULL)
		p = insert(r, target);
	if (p == NULL)
		return;
	p->dropped = false;
	merge(&p->target, target);
	if (net_find(r->service->net, &target->peer) == NULL)
		lose(p);
	else
		p->was_up = true;
}

void redial_lost(struct redial *r, const struct public_key *peer)
{
	struct redial_peer *p = find(r, peer);

	if (p != NULL && !p->dropped)
		lose(p);
}

bool redial_found(struct redial *r, const struct public_key *peer)
{
	struct redial_peer *p = find(r, peer);

	if (p == NULL || !p->lost)
		return false;
	p->lost = false;
	p->was_up = true;
	r->stats.lost--;
	r->stats.came_back++;
	return true;
}

void redial_seen(struct redial *r, const struct sync_target *target)
{
	struct redial_peer *p = find(r, &target->peer);

	if (p == NULL || !p->lost)
		return;
	merge(&p->target, target);
	p->due_ms = now_ms(r);
	work(r);
}

void redial_close(struct redial *r)
{
	runner_timer_stop(r->service->runner, &r->timer);
	for (struct map_iter it = map_first(&r->peers); it.value != NULL; map_next(&it)) {
		struct redial_peer *p = it.value;

		if (p->dialing)
			op_cancel(&p->dial.op);
	}
}

bool redial_idle(const struct redial *r)
{
	return r->dialing == 0;
}
