/* Serving subscriptions: the stream's first scope comes with the request, further ones in messages
 * of their own if the asker wanted that. What there is no room for is refused by name; the rest
 * stands. From the first one on, the stream counts as a subscriber's, and not as one being served.
 */
#include "base/mem.h"
#include "sync/serve.h"

static bool is_full(const struct share *list, size_t count, const struct share *newcomer,
		    const struct sync *s, size_t streams, unsigned *ret_common)
{
	size_t own[SHARE_LEVELS];

	share_totals(list, count, &newcomer->from, own);
	*ret_common = 0;
	if (newcomer->rank != SHARE_KNOWN &&
	    own[1] + newcomer->weight > SYNC_SUBSCRIBERS_PER_ADDRESS_MAX)
		*ret_common = 2;
	else if (newcomer->rank != SHARE_KNOWN &&
		 own[0] + newcomer->weight > SYNC_SUBSCRIBERS_PER_NETWORK_MAX)
		*ret_common = 1;
	return *ret_common > 0 || s->stats.hearers + streams > SYNC_HEARERS_MAX ||
	       s->stats.subscribers + newcomer->weight > SYNC_SUBSCRIBERS_MAX;
}

/* To hear of nothing for long is no fault: only how much a party has counts here. */
static size_t collect(struct serve *v, struct share *list)
{
	size_t count = 0;

	list_for_each(node, &v->sync->serves) {
		struct serve *other = list_entry(node, struct serve, node);

		if (!other->subscribed || other == v || op_stopping(&other->op) ||
		    other->we_ended || count == SYNC_HEARERS_MAX)
			continue;
		list[count] = serve_share(other, MAX(other->hearer.scopes, (size_t)1));
		list[count].idle_ms = list[count].age_ms = 0;
		count++;
	}
	return count;
}

bool serve_subscribe_room(struct serve *v, size_t scopes)
{
	struct share *list = mem_alloc_array(SYNC_HEARERS_MAX + 1, sizeof(*list));
	struct share newcomer = serve_share(v, scopes);
	struct serve *victim = NULL;
	unsigned common;
	size_t count;
	bool full;

	if (list == NULL)
		return false;
	count = collect(v, list);
	if (v->subscribed) { /* its own are its party's too */
		list[count] = newcomer;
		list[count].weight = v->hearer.scopes;
		list[count].rank = SHARE_KNOWN; /* and stay */
	}
	full = is_full(list, count + v->subscribed, &newcomer, v->sync, !v->subscribed, &common);
	for (size_t i = count; full && i-- > 0;)
		if (share_common(&list[i].from, &v->from) < common)
			list[i] = list[--count];
	if (full)
		victim = share_giving_way(list, count, &newcomer);
	mem_free(list);
	if (victim != NULL)
		serve_give_way(victim);
	return !full || victim != NULL;
}

/* `p` is the peer's: valid until another is looked up. */
static int subscribe(struct serve *v, struct sync_peer *p, const struct scope *scope)
{
	int err;

	if (p->hears >= SERVE_SCOPES_PER_PEER_MAX)
		return ERR_LIMIT;
	err = announce_subscribe(v->sync, &v->hearer, scope);
	if (err == 0)
		p->hears++;
	return err == UV_EALREADY ? 0 : err;
}

void serve_subscribe_begin(struct serve *v, bool many)
{
	struct sync_peer *p = sync_peer_get(v->sync, &v->peer);
	int err = p == NULL ? UV_ENOMEM : 0;

	if (p != NULL &&
	    (p->subscribed >= SERVE_SUBSCRIBED_PER_PEER_MAX || !serve_subscribe_room(v, 1)))
		err = ERR_LIMIT;
	announce_init(&v->hearer, &v->peer, &v->stream, many);
	if (err == 0)
		err = subscribe(v, p, &v->scope);
	if (err < 0) {
		serve_refuse(v, ERR_BUSY, SYNC_RETRY_AFTER_MS, 0,
			     "no room for another subscription");
		return;
	}
	v->subscribed = true;
	v->sync->stats.hearers++;
	p->serving--;
	ranks_subscribed(v->sync, p);
	v->counted = false;
	v->sync->stats.active_serves--;
	runner_timer_stop(v->op.env.runner, &v->timer);
	(void)serve_send(v, &(struct wire_reply){ .kind = WIRE_REPLY_SUBSCRIBED, .many = many });
}

/* Dropping is free: it only gives room. */
void serve_subscribe_take(struct serve *v, const struct wire_more *more)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_SUBSCRIBED, .many = true };
	uint64_t wait_ms = more->scope_count > 0 ? sync_peer_spend(v->sync, &v->peer) : 0;
	struct sync_peer *p = sync_peer_get(v->sync, &v->peer);
	struct hash refused[WIRE_FOLLOW_MAX];
	bool room;

	if (wait_ms > 0 || p == NULL) {
		serve_refuse(v, ERR_BUSY, (uint32_t)MIN(wait_ms, (uint64_t)WIRE_RETRY_MAX_MS), 0,
			     "too many requests");
		return;
	}
	for (size_t i = 0; i < more->hash_count; i++)
		if (announce_unsubscribe(v->sync, &v->hearer, &more->hashes[i]) && p->hears > 0)
			p->hears--;
	room = more->scope_count == 0 || serve_subscribe_room(v, more->scope_count);
	for (size_t i = 0; i < more->scope_count; i++) {
		if (room && subscribe(v, p, &more->scopes[i]) == 0)
			continue;
		refused[reply.refused_count++] = scope_key(&more->scopes[i]);
		v->sync->stats.follows_refused++;
	}
	reply.refused = refused;
	(void)serve_send(v, &reply);
}

void serve_subscribe_end(struct serve *v)
{
	struct sync_peer *p = sync_peer_get(v->sync, &v->peer);
	size_t count;

	if (!v->subscribed)
		return;
	count = announce_leave(v->sync, &v->hearer);
	if (p != NULL)
		p->hears -= (unsigned)MIN(count, (size_t)p->hears);
}
