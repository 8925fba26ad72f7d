/* Bytes held for peers: what is queued for them and what is being read from the store to be queued.
 * Nothing is read before there is room for it.
 *
 * All strangers share SERVE_STRANGERS_BYTES_MAX, with a cap per network, address and key. Who holds
 * nothing may have one blob; who holds something may have more as long as that is less than half of
 * what is free (dynamic thresholds, Choudhury and Hahne 1998): few readers get deep queues, many
 * get shallow ones, and nobody has to be told which. Who has not shown that it reads gets one blob
 * at a time.
 *
 * When there is no room, who has not taken SERVE_TAKE_MIN bytes in SHARE_IDLE_MS loses what is
 * queued for it, and its stream; else the asker waits in `thirsty`, those that are known to read
 * first.
 *
 * Known peers have a budget of their own. */
#include "base/mem.h"
#include "sync/serve.h"

enum {
	POLL_MS = 250,
	EVICTIONS_MAX = 64, /* for one asker */
	WAKE_MAX = 8 /* askers that look again when something came free; all do at the poll */
};

struct sums {
	size_t all, known, own[SHARE_LEVELS];
};

size_t serve_held(const struct serve *v)
{
	size_t queued = v->open ? net_stream_queued(&v->stream) : 0;

	return v->reserved + queued + v->message.len;
}

static struct sums sum(struct serve *v)
{
	struct sums s = { 0 };

	list_for_each(node, &v->sync->serves) {
		struct serve *other = list_entry(node, struct serve, node);
		size_t bytes = serve_held(other);
		unsigned common;

		if (bytes == 0)
			continue;
		if (sync_rank(v->sync, &other->peer) == SHARE_KNOWN) {
			s.known += bytes;
			continue;
		}
		s.all += bytes;
		common = share_common(&v->from, &other->from);
		for (unsigned level = 0; level < common; level++)
			s.own[level] += bytes;
	}
	v->sync->stats.held_bytes = s.all + s.known;
	v->sync->stats.held_peak_bytes = MAX(v->sync->stats.held_peak_bytes, s.all + s.known);
	return s;
}

static size_t room(size_t limit, size_t used)
{
	return limit > used ? limit - used : 0;
}

/* How many bytes v may have beside what it holds. *ret_common: the narrowest group that is short
 * of them, as for share_common. */
static size_t allowed(const struct sums *s, unsigned *ret_common)
{
	static const size_t caps[SHARE_LEVELS] = { SERVE_NETWORK_BYTES_MAX, SERVE_ADDRESS_BYTES_MAX,
						   SERVE_PEER_BYTES_MAX };
	size_t free = room(SERVE_STRANGERS_BYTES_MAX, s->all);
	size_t bytes = s->own[SHARE_LEVELS - 1] == 0 ? free :
						       room(free / 2, s->own[SHARE_LEVELS - 1]);

	*ret_common = 0;
	for (unsigned level = 0; level < SHARE_LEVELS; level++) {
		size_t left = room(caps[level], s->own[level]);

		if (left >= bytes)
			continue;
		bytes = left;
		*ret_common = level + 1;
	}
	return bytes;
}

/* Who does not read, in the group that is short of room. */
static struct serve *who_does_not_read(struct serve *v, unsigned common)
{
	struct share *list = mem_alloc_array(SYNC_SERVE_MAX, sizeof(*list));
	struct share newcomer = serve_share(v, 0);
	struct serve *victim = NULL;
	size_t n = 0;

	if (list == NULL)
		return NULL;
	list_for_each(node, &v->sync->serves) {
		struct serve *other = list_entry(node, struct serve, node);

		if (other == v || n == SYNC_SERVE_MAX || !other->open || serve_held(other) == 0 ||
		    serve_idle_ms(other) < SHARE_IDLE_MS ||
		    share_common(&v->from, &other->from) < common)
			continue;
		list[n] = serve_share(other, serve_held(other));
		if (list[n].rank != SHARE_KNOWN)
			n++;
	}
	newcomer.rank = SHARE_KNOWN; /* whatever they are: they do not read */
	if (n > 0)
		victim = share_giving_way(list, n, &newcomer);
	mem_free(list);
	return victim;
}

size_t serve_room(struct serve *v, size_t least)
{
	struct sums s = sum(v);
	unsigned common;
	size_t bytes;

	if (sync_rank(v->sync, &v->peer) == SHARE_KNOWN)
		return room(SERVE_KNOWN_BYTES_MAX, s.known);
	bytes = allowed(&s, &common);
	for (unsigned i = 0; bytes < least && i < EVICTIONS_MAX; i++) {
		struct serve *victim = who_does_not_read(v, common);

		if (victim == NULL)
			break;
		v->sync->stats.unread++;
		serve_give_way(victim);
		s = sum(v);
		bytes = allowed(&s, &common);
	}
	return bytes;
}

/* ---- Waiting ---- */

static void wake(struct sync *s, size_t max)
{
	size_t n = 0;

	list_for_each(node, &s->thirsty) {
		if (n++ == max)
			return;
		op_defer(&list_entry(node, struct serve, waiting)->op);
	}
}

static void on_poll(struct runner_timer *timer)
{
	wake(container_of(timer, struct sync, room_timer), SIZE_MAX);
}

void serve_thirst(struct serve *v)
{
	struct sync *s = v->sync;
	struct runner *r = s->config.runner;

	if (!list_linked(&v->waiting)) {
		s->stats.room_waits++;
		if (serve_proven(v))
			list_push_front(&s->thirsty, &v->waiting);
		else
			list_push_back(&s->thirsty, &v->waiting);
	}
	s->room_timer.run = on_poll;
	if (!s->room_timer.armed)
		runner_timer_start(r, &s->room_timer, runner_now_ms(r) + POLL_MS);
}

void serve_quench(struct serve *v)
{
	list_remove(&v->waiting);
}

void serve_freed(struct sync *s)
{
	wake(s, WAKE_MAX);
}

bool serve_proven(struct serve *v)
{
	return serve_taken(v) >= SERVE_PROVEN_BYTES || sync_rank(v->sync, &v->peer) == SHARE_KNOWN;
}

/* ---- For people ---- */

void sync_usage(struct sync *s, const struct public_key *peer, struct sync_usage *ret)
{
	static const char *const ranks[] = { [SHARE_STRANGER] = "stranger",
					     [SHARE_STANDING] = "standing",
					     [SHARE_KNOWN] = "known" };
	const struct sync_peer *p = map_get(&s->peers, peer->bytes, KEY_SIZE);

	*ret = (struct sync_usage){ .rank = ranks[sync_rank(s, peer)], .idle_ms = UINT64_MAX };
	if (p != NULL) {
		ret->hearing = p->subscribed;
		ret->scopes = p->hears;
	}
	list_for_each(node, &s->serves) {
		struct serve *v = list_entry(node, struct serve, node);

		if (!key_eq(&v->peer, peer) || v->subscribed)
			continue;
		ret->serving += v->counted;
		ret->waiting += list_linked(&v->waiting);
		ret->held_bytes += serve_held(v);
		ret->idle_ms = MIN(ret->idle_ms, serve_idle_ms(v));
	}
	if (ret->idle_ms == UINT64_MAX)
		ret->idle_ms = 0;
}
