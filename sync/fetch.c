/* Wants are grouped by who may provide them: a group is the pair (candidates, failed) of peer sets,
 * and whether its wants are known. A want that gains or loses a provider moves to another group, so
 * that "what can this peer be asked" looks at groups, of which there are few, and not at wants, of
 * which there may be a million. An empty group is freed.
 *
 *   candidates  peers that advertised it (or what led to it) and have not failed at it
 *   failed      peers asked in vain
 *
 * What can go wrong: a peer that advertises odd subsets makes many groups; a scan therefore looks
 * at FETCH_GROUP_SCAN_MAX of them and turns the list, so that each call is bounded and every group
 * has its turn. */
#include "sync/fetch_private.h"

#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"

/* ---- Groups ---- */

static struct fetch_group *group_get(struct fetch_set *s, const struct group_key *key)
{
	struct fetch_group *g = map_get(&s->by_key, key, sizeof(*key));

	if (g != NULL)
		return g;
	g = mem_alloc(sizeof(*g));
	if (g == NULL)
		return NULL;
	g->key = *key;
	for (int i = 0; i < FETCH_PRIORITIES; i++) {
		list_init(&g->queue[i]);
		list_init(&g->flight[i]);
	}
	if (map_put(&s->by_key, key, sizeof(*key), g) < 0)
		return mem_free(g);
	list_push_back(&s->groups, &g->node);
	s->group_count++;
	return g;
}

static void group_put(struct fetch_set *s, struct fetch_group *g)
{
	if (g->wants > 0)
		return;
	(void)map_del(&s->by_key, &g->key, sizeof(g->key));
	list_remove(&g->node);
	s->group_count--;
	mem_free(g);
}

static bool is_unsettled(unsigned state)
{
	return state == FETCH_CHECKING || state == FETCH_WANTED || state == FETCH_IN_FLIGHT;
}

static bool is_behind(const struct fetch_want *w)
{
	return w->kind == OBJECT_COMMIT && w->state != FETCH_STORED && w->state != FETCH_REFUSED;
}

static void want_out(struct fetch_set *s, struct fetch_want *w)
{
	struct fetch_group *g = w->group;

	list_remove(&w->node);
	s->counts.state[w->state]--;
	s->counts.commits_behind -= is_behind(w) ? 1 : 0;
	s->counts.stored_bytes -= w->state == FETCH_STORED ? w->size : 0;
	if (is_unsettled(w->state))
		s->counts.unsettled[w->priority]--;
	if (g == NULL)
		return;
	g->count[w->state]--;
	if (w->state == FETCH_WANTED)
		g->queued[w->priority]--;
	g->wants--;
	w->group = NULL;
}

static void want_in(struct fetch_set *s, struct fetch_want *w, struct fetch_group *g,
		    unsigned state)
{
	w->state = (uint8_t)state;
	w->here = w->here && state == FETCH_IN_FLIGHT;
	if (state != FETCH_DEFERRED)
		list_remove(&w->defer_node);
	s->counts.state[state]++;
	s->counts.commits_behind += is_behind(w) ? 1 : 0;
	s->counts.stored_bytes += state == FETCH_STORED ? w->size : 0;
	if (is_unsettled(state))
		s->counts.unsettled[w->priority]++;
	w->group = g;
	if (g == NULL)
		return;
	w->known = g->key.known != 0;
	g->wants++;
	g->count[state]++;
	if (state == FETCH_WANTED) {
		w->asker_count = 0; /* who still answers has answered an earlier question */
		g->queued[w->priority]++;
		list_push_back(&g->queue[w->priority], &w->node);
	} else if (state == FETCH_IN_FLIGHT) {
		list_push_back(&g->flight[w->priority], &w->node);
	}
}

/* To another state, in a group that exists. Stored and refused ones need none. */
static void want_set(struct fetch_set *s, struct fetch_want *w, struct fetch_group *g,
		     unsigned state, uint8_t priority)
{
	struct fetch_group *old = w->group;

	want_out(s, w);
	w->priority = priority;
	want_in(s, w, state == FETCH_STORED || state == FETCH_REFUSED ? NULL : g, state);
	if (old != NULL && old != w->group)
		group_put(s, old);
	if (w->group == NULL)
		fetch_wake_dependents(s, w);
}

void fetch_want_move(struct fetch_set *s, struct fetch_want *w, struct fetch_group *g,
		     unsigned state)
{
	want_set(s, w, g, state, w->priority);
}

/* Can anybody be asked for it, now or later? */
static bool has_provider(const struct fetch_set *s, const struct group_key *key)
{
	return key->known != 0 || peers_common(&key->candidates, &s->alive) > 0;
}

unsigned fetch_wanted_or_failed(const struct fetch_set *s, const struct group_key *key)
{
	return has_provider(s, key) ? FETCH_WANTED : FETCH_FAILED;
}

/* ---- The set ---- */

struct fetch_set *fetch_set_new(uint8_t max_priority, size_t max, void *owner)
{
	struct fetch_set *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	map_init(&s->wants, max);
	map_init(&s->by_key, max);
	list_init(&s->groups);
	s->max_priority = max_priority;
	s->owner = owner;
	return s;
}

struct fetch_set *fetch_set_free(struct fetch_set *s)
{
	if (s == NULL)
		return NULL;
	for (struct map_iter it = map_first(&s->wants); it.value != NULL; map_next(&it)) {
		struct fetch_want *w = it.value;

		claim_waiter_cancel(&w->waiter);
		mem_free(w->needs);
		mem_free(w);
	}
	map_fini(&s->wants);
	list_for_each_safe(node, &s->groups)
		mem_free(list_entry(node, struct fetch_group, node));
	map_fini(&s->by_key);
	return mem_free(s);
}

void *fetch_want_owner(const struct fetch_want *w)
{
	return w->set->owner;
}

bool fetch_want_same_origin(const struct fetch_want *a, const struct fetch_want *b)
{
	return a->group == b->group;
}

const struct fetch_counts *fetch_set_counts(const struct fetch_set *s)
{
	return &s->counts;
}

uint64_t fetch_set_outstanding(const struct fetch_set *s)
{
	const uint64_t *n = s->counts.state;

	return n[FETCH_CHECKING] + n[FETCH_WANTED] + n[FETCH_IN_FLIGHT] + n[FETCH_STASHED] +
	       n[FETCH_DEFERRED];
}

int fetch_set_settled(const struct fetch_set *s)
{
	int level = -1;

	while (level < s->max_priority && s->counts.unsettled[level + 1] == 0)
		level++;
	return level;
}

struct fetch_want *fetch_set_find(const struct fetch_set *s, const struct hash *h)
{
	return map_get(&s->wants, h->bytes, HASH_SIZE);
}

/* ---- Peers ---- */

void fetch_set_join(struct fetch_set *s, unsigned peer)
{
	REQUIRE(peer < FETCH_PEERS_MAX);
	peers_add(&s->alive, peer);
}

void fetch_set_possible(struct fetch_set *s, unsigned peer)
{
	peers_add(&s->possible, peer);
}

static void group_fail(struct fetch_set *s, struct fetch_group *g)
{
	for (int i = 0; i < FETCH_PRIORITIES; i++)
		list_for_each_safe(node, &g->queue[i])
			fetch_want_move(s, list_entry(node, struct fetch_want, node), g,
					FETCH_FAILED);
}

void fetch_set_doubt(struct fetch_set *s, unsigned peer, bool doubted)
{
	if (doubted)
		peers_add(&s->doubted, peer);
	else
		peers_del(&s->doubted, peer);
}

void fetch_set_leave(struct fetch_set *s, unsigned peer)
{
	peers_del(&s->alive, peer);
	peers_del(&s->possible, peer);
	list_for_each_safe(node, &s->groups) {
		struct fetch_group *g = list_entry(node, struct fetch_group, node);

		if (peers_has(&g->key.candidates, peer) && !has_provider(s, &g->key))
			group_fail(s, g);
	}
}

/* ---- Wants ---- */

static struct fetch_want *want_new(struct fetch_set *s, const struct hash *h, int *ret_err)
{
	struct fetch_want *w = mem_alloc(sizeof(*w));

	*ret_err = UV_ENOMEM;
	if (w == NULL)
		return NULL;
	w->hash = *h;
	w->set = s;
	w->holder = FETCH_ELSEWHERE;
	list_init(&w->node);
	list_init(&w->dependents);
	list_init(&w->defer_node);
	claim_waiter_init(&w->waiter, NULL);
	*ret_err = map_put(&s->wants, h->bytes, HASH_SIZE, w);
	if (*ret_err < 0)
		return mem_free(w);
	return w;
}

static void want_forget(struct fetch_set *s, struct fetch_want *w)
{
	(void)map_del(&s->wants, w->hash.bytes, HASH_SIZE);
	mem_free(w);
}

static int add_advertiser(struct fetch_set *s, struct fetch_want *w, unsigned peer)
{
	struct group_key key;
	struct fetch_group *g;

	if (w->group == NULL)
		return FETCH_NEED_KNOWN;
	if (peers_has(&w->group->key.candidates, peer) || peers_has(&w->group->key.failed, peer))
		return FETCH_NEED_REPEATED;
	key = w->group->key;
	peers_add(&key.candidates, peer);
	g = group_get(s, &key);
	if (g == NULL)
		return UV_ENOMEM;
	fetch_want_move(s, w, g, w->state == FETCH_FAILED ? (unsigned)FETCH_WANTED : w->state);
	return FETCH_NEED_KNOWN;
}

int fetch_set_need(struct fetch_set *s, unsigned peer, const struct hash *h)
{
	struct fetch_want *w = fetch_set_find(s, h);
	struct group_key key = { 0 };
	struct fetch_group *g;
	int err;

	if (w != NULL)
		return add_advertiser(s, w, peer);
	w = want_new(s, h, &err);
	if (w == NULL)
		return err;
	w->kind = OBJECT_COMMIT;
	w->priority = STORE_WANT_COMMIT;
	peers_add(&key.candidates, peer);
	g = group_get(s, &key);
	if (g == NULL) {
		want_forget(s, w);
		return UV_ENOMEM;
	}
	want_in(s, w, g, FETCH_CHECKING);
	return FETCH_NEED_NEW;
}

void fetch_set_checked(struct fetch_set *s, const struct hash *h, bool present)
{
	struct fetch_want *w = fetch_set_find(s, h);

	if (w == NULL || w->state != FETCH_CHECKING)
		return;
	if (present) {
		s->counts.already++;
		fetch_want_move(s, w, NULL, FETCH_STORED);
		return;
	}
	s->counts.discovered++;
	w->rank = ++s->ranks;
	fetch_want_move(s, w, w->group, fetch_wanted_or_failed(s, &w->group->key));
}

/* Commits and capabilities are wanted by stashed commits only, which nobody has vouched for yet. */
static bool is_content(const struct store_want *want)
{
	return want->kind != OBJECT_COMMIT && want->kind != OBJECT_CAPABILITY;
}

/* Who has what led here has this too; of those, who failed at this before stays out. */
static void inherit(struct group_key *key, const struct store_want *want,
		    const struct fetch_want *parent)
{
	if (is_content(want))
		key->known = 1;
	if (parent == NULL || parent->group == NULL)
		return;
	for (int i = 0; i < WORDS; i++)
		key->candidates.w[i] |= parent->group->key.candidates.w[i];
	if (parent->holder < FETCH_PEERS_MAX)
		peers_add(&key->candidates, parent->holder);
	for (int i = 0; i < WORDS; i++)
		key->candidates.w[i] &= ~key->failed.w[i];
}

static int add_again(struct fetch_set *s, struct fetch_want *w, const struct store_want *want,
		     const struct fetch_want *parent)
{
	struct group_key key;
	struct fetch_group *g;
	unsigned state = w->state;

	if (w->group == NULL)
		return 0; /* settled; what says otherwise is older than that */
	key = w->group->key;
	inherit(&key, want, parent);
	g = group_get(s, &key);
	if (g == NULL)
		return UV_ENOMEM;
	if (state == FETCH_CHECKING)
		s->counts.discovered++;
	if (state == FETCH_CHECKING || state == FETCH_FAILED)
		state = fetch_wanted_or_failed(s, &key);
	if (w->size == 0) {
		w->size = want->size;
		s->counts.expected_bytes += want->size;
	}
	w->reading = s->readings;
	want_set(s, w, g, state, MIN(w->priority, want->priority));
	/* What others wait for comes first. */
	if (state == FETCH_WANTED && !is_content(want)) {
		list_remove(&w->node);
		list_push_front(&g->queue[w->priority], &w->node);
	}
	return 0;
}

int fetch_set_add(struct fetch_set *s, const struct store_want *want,
		  const struct fetch_want *parent)
{
	struct fetch_want *w = fetch_set_find(s, &want->hash);
	struct group_key key = { 0 };
	struct fetch_group *g;
	int err;

	if (want->priority > s->max_priority || (parent == NULL && !is_content(want)))
		return 0;
	if (w != NULL)
		return add_again(s, w, want, parent);
	w = want_new(s, &want->hash, &err);
	if (w == NULL)
		return err;
	w->kind = (uint8_t)want->kind;
	w->size = want->size;
	w->priority = want->priority;
	w->reading = s->readings;
	inherit(&key, want, parent);
	g = group_get(s, &key);
	if (g == NULL) {
		want_forget(s, w);
		return UV_ENOMEM;
	}
	s->counts.discovered++;
	s->counts.expected_bytes += want->size;
	want_in(s, w, g, FETCH_WANTED);
	return 0;
}

/* ---- Content of versions that were superseded ---- */

void fetch_set_recount(struct fetch_set *s)
{
	s->readings++;
}

static void forget_queued(struct fetch_set *s, struct fetch_want *w)
{
	s->counts.discovered--;
	s->counts.expected_bytes -= w->size;
	want_out(s, w);
	want_forget(s, w);
}

static void group_forget_old(struct fetch_set *s, struct fetch_group *g)
{
	for (int i = STORE_WANT_COMMIT + 1; i < FETCH_PRIORITIES; i++) {
		list_for_each_safe(node, &g->queue[i]) {
			struct fetch_want *w = list_entry(node, struct fetch_want, node);

			if (w->reading != s->readings && w->asker_count == 0)
				forget_queued(s, w);
		}
	}
}

void fetch_set_forget_old(struct fetch_set *s)
{
	list_for_each_safe(node, &s->groups) {
		struct fetch_group *g = list_entry(node, struct fetch_group, node);

		group_forget_old(s, g);
		group_put(s, g);
	}
}

/* ---- In flight ---- */

bool fetch_want_advertised_by(const struct fetch_want *w, unsigned peer)
{
	return w->group != NULL && peers_has(&w->group->key.candidates, peer);
}

bool fetch_want_asked_from(const struct fetch_want *w, unsigned peer)
{
	for (unsigned i = 0; i < w->asker_count; i++)
		if (w->askers[i] == peer)
			return true;
	return false;
}

static void remove_asker(struct fetch_want *w, unsigned peer)
{
	for (unsigned i = 0; i < w->asker_count; i++) {
		if (w->askers[i] != peer)
			continue;
		w->asker_count--;
		memmove(&w->askers[i], &w->askers[i + 1],
			(w->asker_count - i) * sizeof(w->askers[0]));
		return;
	}
}

void fetch_set_elsewhere(struct fetch_set *s, struct fetch_want *w)
{
	REQUIRE(w->state == FETCH_IN_FLIGHT);
	(void)s;
	w->holder = FETCH_ELSEWHERE;
	w->asker_count = 0;
}

bool fetch_set_here(struct fetch_set *s, struct fetch_want *w, unsigned peer)
{
	(void)s;
	remove_asker(w, peer);
	if (w->state != FETCH_IN_FLIGHT || w->here)
		return false;
	w->holder = (uint16_t)peer;
	w->here = true;
	return true;
}

/* The group of those that this peer failed at; NULL without memory for it. */
static struct fetch_group *group_without(struct fetch_set *s, const struct fetch_want *w,
					 unsigned peer)
{
	struct group_key key = w->group->key;

	if (!peers_has(&key.candidates, peer) && !peers_has(&key.failed, peer))
		s->misses[peer]++;
	peers_del(&key.candidates, peer);
	peers_add(&key.failed, peer);
	return group_get(s, &key);
}

void fetch_set_settle(struct fetch_set *s, struct fetch_want *w, enum fetch_state state)
{
	REQUIRE(w->state == FETCH_IN_FLIGHT);
	REQUIRE(state == FETCH_STORED || state == FETCH_REFUSED || state == FETCH_STASHED);
	claim_waiter_cancel(&w->waiter);
	fetch_want_move(s, w, w->group, state);
}

/* To who was asked before, or to nobody. Without memory for its new group (NULL) it would be asked
 * for in the same place for ever. */
static void hand_back(struct fetch_set *s, struct fetch_want *w, struct fetch_group *g)
{
	unsigned state = FETCH_FAILED;

	w->here = false;
	claim_waiter_cancel(&w->waiter);
	if (w->asker_count > 0) {
		w->holder = w->askers[w->asker_count - 1];
		state = FETCH_IN_FLIGHT;
	} else {
		w->holder = FETCH_ELSEWHERE;
		if (g != NULL)
			state = fetch_wanted_or_failed(s, &g->key);
	}
	fetch_want_move(s, w, g != NULL ? g : w->group, state);
}

void fetch_set_release(struct fetch_set *s, struct fetch_want *w, bool failed)
{
	struct fetch_group *g = w->group;
	unsigned holder = w->holder;

	REQUIRE(w->state == FETCH_IN_FLIGHT);
	if (holder < FETCH_PEERS_MAX) {
		remove_asker(w, holder);
		if (failed)
			g = group_without(s, w, holder);
	}
	hand_back(s, w, g);
}

void fetch_set_unask(struct fetch_set *s, struct fetch_want *w, unsigned peer, bool failed)
{
	struct fetch_group *g;

	if (w->state == FETCH_IN_FLIGHT && w->holder == peer && !w->here) {
		fetch_set_release(s, w, failed);
		return;
	}
	remove_asker(w, peer);
	if (!failed || w->group == NULL)
		return;
	g = group_without(s, w, peer);
	if (g != NULL)
		fetch_want_move(s, w, g, w->state);
}

bool fetch_set_arrived(struct fetch_set *s, const struct hash *h)
{
	struct fetch_want *w = fetch_set_find(s, h);

	if (w == NULL || w->group == NULL || (w->state == FETCH_IN_FLIGHT && w->here))
		return false;
	claim_waiter_cancel(&w->waiter);
	fetch_want_move(s, w, NULL, FETCH_STORED);
	return true;
}
