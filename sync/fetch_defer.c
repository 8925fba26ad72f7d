/* Commits that came before what they depend on, and that the store had no room to keep.
 *
 * Times are the authors' word, so parents may be listed after their children, a hundred thousand of
 * them the wrong way round. Such a commit hangs on one thing that it lacks (a list in that want).
 * When that is here, it hangs on the next; when there is none, it is asked for again, and right
 * behind it what hangs on it in turn: parents first, without a round trip for each. What another peer
 * holds up by then comes too early again, and hangs on what it lacks then.
 *
 * It ends: every wake follows a commit that was settled, which happens once to each. In one order,
 * from one peer, a commit of up to STORE_NEEDS_MAX parents is fetched twice at most. A hash covers
 * the hashes it names, so that nothing hangs on itself. */
#include "sync/fetch_private.h"

#include "base/err.h"
#include "base/mem.h"

/* The first thing that it still has to wait for. What is asked for again comes before it. */
static struct fetch_want *still_needs(struct fetch_set *s, const struct fetch_want *w)
{
	for (size_t i = 0; i < w->need_count; i++) {
		struct fetch_want *need = fetch_set_find(s, &w->needs[i]);

		if (need != NULL && need->group != NULL && !need->woken)
			return need;
	}
	return NULL;
}

static bool is_hopeless(struct fetch_set *s, const struct store_need *needs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fetch_set_find(s, &needs[i].hash) == NULL)
			return true;
	return false;
}

static bool note_needs(struct fetch_want *w, const struct store_need *needs, size_t count)
{
	if (w->needs == NULL)
		w->needs = mem_alloc_array(STORE_NEEDS_MAX, sizeof(*w->needs));
	if (w->needs == NULL)
		return false;
	w->need_count = (uint8_t)MIN(count, (size_t)STORE_NEEDS_MAX);
	for (size_t i = 0; i < w->need_count; i++)
		w->needs[i] = needs[i].hash;
	return true;
}

/* A need that was woken itself, and is under way, is waited for like any other by who was too early
 * for it. */
static struct fetch_want *first_unsettled(struct fetch_set *s, const struct fetch_want *w)
{
	for (size_t i = 0; i < w->need_count; i++) {
		struct fetch_want *need = fetch_set_find(s, &w->needs[i]);

		if (need->group != NULL)
			return need;
	}
	return NULL;
}

void fetch_set_defer(struct fetch_set *s, struct fetch_want *w, const struct store_need *needs,
		     size_t count)
{
	struct fetch_want *parent;

	REQUIRE(w->state == FETCH_IN_FLIGHT);
	w->woken = w->here = false;
	/* No room for what it needs: not in this wave. */
	if (is_hopeless(s, needs, count) || !note_needs(w, needs, count)) {
		claim_waiter_cancel(&w->waiter);
		w->holder = FETCH_ELSEWHERE;
		fetch_want_move(s, w, w->group, FETCH_FAILED);
		return;
	}
	parent = first_unsettled(s, w);
	if (parent == NULL) { /* all came meanwhile */
		fetch_set_release(s, w, false);
		return;
	}
	claim_waiter_cancel(&w->waiter);
	w->holder = FETCH_ELSEWHERE;
	fetch_want_move(s, w, w->group, FETCH_DEFERRED);
	list_push_back(&parent->dependents, &w->defer_node);
}

void fetch_wake_dependents(struct fetch_set *s, struct fetch_want *w)
{
	struct list ready = LIST_INIT(ready);
	struct list *node;

	w->needs = mem_free(w->needs);
	w->need_count = 0;
	list_splice_back(&ready, &w->dependents);
	while ((node = list_pop_front(&ready)) != NULL) {
		struct fetch_want *child = list_entry(node, struct fetch_want, defer_node);
		struct fetch_want *need = still_needs(s, child);

		if (need != NULL) {
			list_push_back(&need->dependents, &child->defer_node);
			continue;
		}
		child->woken = true;
		fetch_want_move(s, child, child->group,
				fetch_wanted_or_failed(s, &child->group->key));
		list_splice_back(&ready, &child->dependents);
	}
}
