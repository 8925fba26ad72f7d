/* Who is served when there are more who ask than places: shares by network, address and key
 * (base/shares.h). A stream that does nothing, or that nobody reads, makes room for whoever waits;
 * who has to wait is told when to come again.
 *
 *   admitted     has a place
 *   turned away  told "busy" and when to come again; ends at once
 *   gave way     lost its place; told the same where it reads, reset where it does not
 *
 * What can go wrong: one machine with many keys (its address and network have caps), many networks
 * that only pretend (they lose their places when idle, and otherwise in turns), a crowd that comes
 * back at the same moment (the times told are spread, and grow with the crowd). */
#include <string.h>

#include "base/mem.h"
#include "sync/serve.h"

struct group {
	struct share list[SYNC_SERVE_MAX];
	size_t count;
};

static bool works(const struct serve *v)
{
	return v->reading || v->loading || v->looking || v->dialing;
}

uint64_t serve_taken(const struct serve *v)
{
	uint64_t queued = v->open ? net_stream_queued(&v->stream) : 0;

	return v->sent_bytes - MIN(queued, v->sent_bytes);
}

/* Looked at only when others wait, so the first look may be the one that sees it read. */
static uint64_t unread_ms(struct serve *v, uint64_t now_ms)
{
	uint64_t taken = serve_taken(v);

	if (taken >= v->mark_bytes + SERVE_TAKE_MIN) {
		v->mark_bytes = taken;
		v->mark_ms = now_ms;
	}
	return now_ms - MIN(MAX(v->mark_ms, v->moved_ms), now_ms);
}

uint64_t serve_idle_ms(struct serve *v)
{
	uint64_t now_ms = runner_now_ms(v->op.env.runner);

	if (works(v) || list_linked(&v->waiting))
		return 0;
	if (v->open && net_stream_queued(&v->stream) > 0)
		return unread_ms(v, now_ms);
	return now_ms - MIN(v->moved_ms, now_ms);
}

struct share serve_share(struct serve *v, size_t weight)
{
	uint64_t age_ms = runner_now_ms(v->op.env.runner) - v->started_ms;

	return (struct share){ .from = v->from,
			       .rank = sync_rank(v->sync, &v->peer),
			       .weight = weight,
			       .idle_ms = serve_idle_ms(v),
			       .age_ms = age_ms,
			       .rate = v->moved_bytes * 1000 / (age_ms + 1000),
			       .holder = v };
}

static void collect(struct sync *s, struct group *g)
{
	g->count = 0;
	list_for_each(node, &s->serves) {
		struct serve *v = list_entry(node, struct serve, node);

		if (v->counted && g->count < ARRAY_SIZE(g->list))
			g->list[g->count++] = serve_share(v, 1);
	}
}

/* Leaves those with so many levels in common. */
static void narrow(struct group *g, const struct share_origin *from, unsigned common)
{
	size_t n = 0;

	for (size_t i = 0; i < g->count; i++)
		if (share_common(&g->list[i].from, from) >= common)
			g->list[n++] = g->list[i];
	g->count = n;
}

static size_t strangers(const struct group *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->count; i++)
		n += g->list[i].rank != SHARE_KNOWN;
	return n;
}

/* The narrowest group of the newcomer's that is full: 3 its own key, 2 its address, 1 its network,
 * 0 everybody; -1 there is room. */
static int full_group(const struct group *g, const struct share *newcomer)
{
	size_t own[SHARE_LEVELS];

	share_totals(g->list, g->count, &newcomer->from, own);
	if (own[2] >= SYNC_SERVE_PER_PEER_MAX)
		return 3;
	if (newcomer->rank != SHARE_KNOWN && own[1] >= SYNC_SERVE_PER_ADDRESS_MAX)
		return 2;
	if (newcomer->rank != SHARE_KNOWN && own[0] >= SYNC_SERVE_PER_NETWORK_MAX)
		return 1;
	if (g->count >= SYNC_SERVE_MAX ||
	    (newcomer->rank != SHARE_KNOWN && strangers(g) >= SYNC_SERVE_STRANGERS_MAX))
		return 0;
	return -1;
}

static void uncount(struct serve *v)
{
	struct sync_peer *p = sync_peer_get(v->sync, &v->peer);

	if (!v->counted)
		return;
	v->counted = false;
	v->sync->stats.active_serves--;
	if (p != NULL)
		p->serving--;
}

void serve_give_way(struct serve *v)
{
	struct sync *s = v->sync;

	s->stats.gave_way++;
	trace_errorf(v->op.env.span, "gave way: %llu ms without anything, and others wait",
		     (unsigned long long)serve_idle_ms(v));
	uncount(v);
	if (!v->open || net_stream_queued(&v->stream) > 0 || v->we_ended || !serve_leave(v)) {
		if (v->open)
			net_stream_reset(&v->stream, ERR_BUSY);
		serve_abort(v, ERR_BUSY);
	}
}

bool serve_has_place(struct sync *s, const struct share *newcomer)
{
	struct group *g = mem_alloc(sizeof(*g));
	struct serve *victim;
	int full;

	if (g == NULL)
		return false;
	collect(s, g);
	full = full_group(g, newcomer);
	if (full > 0)
		narrow(g, &newcomer->from, (unsigned)full);
	victim = full >= 0 ? share_giving_way(g->list, g->count, newcomer) : NULL;
	mem_free(g);
	if (victim != NULL)
		serve_give_way(victim);
	return full < 0 || victim != NULL;
}

/* The longer the more were turned away lately; with jitter, so that they do not all come at once.
 */
uint32_t serve_retry_ms(struct sync *s)
{
	uint64_t now_ms = runner_now_ms(s->config.runner);
	uint64_t ms = SHARE_IDLE_MS / 2;

	if (now_ms >= s->turned_ms + SERVE_CROWD_MS) {
		s->turned_ms = now_ms;
		s->turned = 0;
	}
	s->turned++;
	ms += ms * s->turned / SYNC_SERVE_MAX;
	ms += runner_random_below(s->config.runner, ms);
	return (uint32_t)MIN(ms, (uint64_t)SERVE_RETRY_MAX_MS);
}
