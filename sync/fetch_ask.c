/* What a peer is asked next, and what may still come to it. Looks at groups (fetch.c), and at single
 * wants only where one peer overtakes another, in bounded numbers. */
#include "sync/fetch_private.h"

/* May this peer be asked for the wants of the group? 2: it advertised them; 1: it may help; 0: no.
 */
static int may_ask(const struct fetch_set *s, const struct fetch_group *g, unsigned peer,
		   uint64_t queued)
{
	if (peers_has(&g->key.candidates, peer))
		return 2;
	if (g->key.known == 0 || !peers_has(&s->possible, peer) || peers_has(&g->key.failed, peer))
		return 0;
	if (peers_common(&g->key.candidates, &s->alive) == 0)
		return 1;
	return queued >= FETCH_SHARE_MIN && s->misses[peer] < FETCH_MISSES_MAX ? 1 : 0;
}

struct choice {
	struct fetch_group *group;
	unsigned priority;
	int may;
	unsigned providers;
	uint64_t rank;
};

/* Commits before it in the order in which they should come; what is wanted by other commits, and
 * was never listed, is before them all. */
static uint64_t first_rank(const struct fetch_group *g)
{
	return list_entry(g->queue[STORE_WANT_COMMIT].next, struct fetch_want, node)->rank;
}

static bool better(const struct choice *a, const struct choice *b)
{
	if (b->group == NULL || a->priority != b->priority)
		return b->group == NULL || a->priority < b->priority;
	if (a->may != b->may)
		return a->may > b->may;
	if (a->priority == STORE_WANT_COMMIT)
		return a->rank < b->rank;
	return a->providers < b->providers;
}

/* Turn the list behind the last group looked at, when it was not looked at whole. */
static void turn(struct fetch_set *s, struct list *last)
{
	if (last == &s->groups)
		return;
	list_remove(&s->groups);
	list_insert(last, last->next, &s->groups);
}

static struct choice choose(struct fetch_set *s, unsigned peer)
{
	struct choice best = { 0 };
	struct list *last = &s->groups;
	unsigned seen = 0;

	list_for_each(node, &s->groups) {
		struct fetch_group *g = list_entry(node, struct fetch_group, node);
		struct choice c = { .group = g };

		if (seen++ == FETCH_GROUP_SCAN_MAX)
			break;
		last = node;
		while (c.priority < FETCH_PRIORITIES && g->queued[c.priority] == 0)
			c.priority++;
		if (c.priority == FETCH_PRIORITIES ||
		    (c.priority > STORE_WANT_COMMIT && peers_has(&s->held, peer)))
			continue;
		c.rank = c.priority == STORE_WANT_COMMIT ? first_rank(g) : 0;
		c.may = may_ask(s, g, peer, g->queued[c.priority]);
		c.providers = peers_common(&g->key.candidates, &s->alive);
		if (c.may > 0 && better(&c, &best))
			best = c;
	}
	if (s->group_count > FETCH_GROUP_SCAN_MAX)
		turn(s, last);
	return best;
}

size_t fetch_set_take(struct fetch_set *s, unsigned peer, struct fetch_want **ret, size_t cap,
		      uint64_t max_bytes)
{
	struct choice c = { 0 };
	uint64_t bytes = 0;
	size_t n = 0;

	while (n < cap && bytes < max_bytes) {
		struct fetch_want *w;

		if (c.group == NULL || c.group->queued[c.priority] == 0)
			c = choose(s, peer);
		if (c.group == NULL)
			break;
		w = list_entry(c.group->queue[c.priority].next, struct fetch_want, node);
		fetch_want_move(s, w, c.group, FETCH_IN_FLIGHT);
		w->holder = (uint16_t)peer;
		w->askers[0] = (uint16_t)peer;
		w->asker_count = 1;
		bytes += fetch_want_cost(w);
		ret[n++] = w;
	}
	return n;
}

/* ---- Overtaking ---- */

struct overtaking {
	struct fetch_set *set;
	unsigned peer;
	bool (*worth)(void *data, const struct fetch_want *w);
	void *data;
	struct fetch_want **ret;
	size_t cap, count;
	uint64_t max_bytes, bytes;
	unsigned seen;
};

static bool is_enough(const struct overtaking *o)
{
	return o->count == o->cap || o->bytes >= o->max_bytes || o->seen >= FETCH_OVERTAKE_SCAN_MAX;
}

static void overtake_want(struct overtaking *o, struct fetch_want *w)
{
	if (w->here || w->asker_count == FETCH_ASKERS_MAX || fetch_want_asked_from(w, o->peer) ||
	    !o->worth(o->data, w))
		return;
	if (w->state == FETCH_WANTED)
		fetch_want_move(o->set, w, w->group, FETCH_IN_FLIGHT);
	w->askers[w->asker_count++] = (uint16_t)o->peer;
	w->holder = (uint16_t)o->peer;
	o->bytes += fetch_want_cost(w);
	o->ret[o->count++] = w;
}

/* From the end: what is first is sent first. */
static void overtake_list(struct overtaking *o, struct list *list)
{
	for (struct list *node = list->prev, *prev; node != list && !is_enough(o); node = prev) {
		prev = node->prev;
		o->seen++;
		overtake_want(o, list_entry(node, struct fetch_want, node));
	}
}

static void overtake_group(struct overtaking *o, struct fetch_group *g, unsigned priority)
{
	int may = may_ask(o->set, g, o->peer, FETCH_SHARE_MIN);

	if (may > 0)
		overtake_list(o, &g->flight[priority]);
	if (may == 1) /* what it advertised it is asked for anyway */
		overtake_list(o, &g->queue[priority]);
}

size_t fetch_set_overtake(struct fetch_set *s, unsigned peer,
			  bool (*worth)(void *data, const struct fetch_want *w), void *data,
			  struct fetch_want **ret, size_t cap, uint64_t max_bytes)
{
	struct overtaking o = { .set = s,
				.peer = peer,
				.worth = worth,
				.data = data,
				.ret = ret,
				.cap = cap,
				.max_bytes = max_bytes };

	for (unsigned priority = 0; priority <= s->max_priority && !is_enough(&o); priority++) {
		unsigned groups = 0;

		if (priority > STORE_WANT_COMMIT && peers_has(&s->held, peer))
			break;
		list_for_each(node, &s->groups) {
			struct fetch_group *g = list_entry(node, struct fetch_group, node);

			if (groups++ == FETCH_GROUP_SCAN_MAX || is_enough(&o))
				break;
			overtake_group(&o, g, priority);
		}
	}
	return o.count;
}

/* ---- What may still come ---- */

void fetch_set_hold(struct fetch_set *s, unsigned peer, bool held)
{
	if (held)
		peers_add(&s->held, peer);
	else
		peers_del(&s->held, peer);
}

bool fetch_set_commits_open(const struct fetch_set *s, unsigned peer)
{
	unsigned seen = 0;

	list_for_each(node, &s->groups) {
		const struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (seen++ == FETCH_GROUP_SCAN_MAX)
			break;
		if (g->key.known == 0 && peers_has(&g->key.candidates, peer) &&
		    g->count[FETCH_CHECKING] + g->count[FETCH_WANTED] > 0)
			return true;
	}
	return false;
}

/* What is known and wanted counts too, though another peer is to be asked for it: that one may
 * fail. */
static uint64_t may_come_back(const struct fetch_group *g)
{
	uint64_t n = g->count[FETCH_IN_FLIGHT] + g->count[FETCH_CHECKING];

	return g->key.known != 0 ? n + g->count[FETCH_WANTED] : n;
}

bool fetch_set_waits(struct fetch_set *s, unsigned peer)
{
	bool possible = peers_has(&s->possible, peer);
	unsigned seen = 0;

	list_for_each(node, &s->groups) {
		struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (seen++ == FETCH_GROUP_SCAN_MAX)
			break;
		if (may_come_back(g) == 0 || peers_has(&g->key.failed, peer))
			continue;
		if (peers_has(&g->key.candidates, peer) || (g->key.known != 0 && possible))
			return true;
	}
	return false;
}

/* Known wants stay wanted as long as the wave lasts; stuck are those that nobody now in the wave
 * could provide. */
static bool is_stuck(const struct fetch_set *s, const struct fetch_group *g)
{
	return g->key.known != 0 && peers_common(&g->key.candidates, &s->alive) == 0 &&
	       !peers_beyond(&s->alive, &g->key.failed);
}

uint64_t fetch_set_owed(struct fetch_set *s, unsigned peer)
{
	uint64_t n = 0;

	list_for_each(node, &s->groups) {
		const struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (!peers_has(&g->key.candidates, peer) && !peers_has(&g->key.failed, peer))
			continue;
		n += g->count[FETCH_FAILED] + g->count[FETCH_STASHED] + g->count[FETCH_DEFERRED];
		if (is_stuck(s, g))
			n += g->count[FETCH_WANTED];
	}
	return n;
}

/* A capability among them counts too: without it commits are not here either. */
uint64_t fetch_set_behind(struct fetch_set *s, unsigned peer)
{
	uint64_t n = 0;

	list_for_each(node, &s->groups) {
		const struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (g->key.known != 0 ||
		    (!peers_has(&g->key.candidates, peer) && !peers_has(&g->key.failed, peer)))
			continue;
		n += g->wants - g->count[FETCH_STORED] - g->count[FETCH_REFUSED];
	}
	return n;
}

/* Listed by peers that have not made good on it, and by nobody else. */
static bool is_doubtful(const struct fetch_set *s, const struct fetch_group *g)
{
	struct peers asked = g->key.candidates;

	for (int i = 0; i < WORDS; i++)
		asked.w[i] &= s->alive.w[i];
	return g->key.known == 0 && peers_common(&asked, &asked) > 0 &&
	       !peers_beyond(&asked, &s->doubted);
}

uint64_t fetch_set_doubtful(const struct fetch_set *s)
{
	uint64_t n = 0;
	unsigned seen = 0;

	list_for_each(node, &s->groups) {
		const struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (seen++ == FETCH_GROUP_SCAN_MAX)
			break;
		if (is_doubtful(s, g))
			n += g->count[FETCH_CHECKING] + g->count[FETCH_WANTED] +
			     g->count[FETCH_IN_FLIGHT] + g->count[FETCH_STASHED] +
			     g->count[FETCH_DEFERRED];
	}
	return n;
}
