/* What can go wrong: sets in use beyond the limit. They are bounded by the sessions that use them;
 * the limit is about what is kept for later. */
#include "sync/hot.h"

#include "base/err.h"
#include "base/mem.h"

static size_t bytes_of(const struct hot_set *set)
{
	return sizeof(*set) + set->set.count * HOT_ITEM_BYTES;
}

static void free_if_unused(struct hot_set *set)
{
	if (set->users > 0 || set->kept)
		return;
	reconcile_set_fini(&set->set);
	mem_free(set->items);
	mem_free(set);
}

static void drop(struct hot_sets *h, struct hot_set *set)
{
	(void)map_del(&h->by_scope, set->key.bytes, HASH_SIZE);
	list_remove(&set->node);
	h->bytes -= bytes_of(set);
	set->kept = false;
	free_if_unused(set);
}

void hot_init(struct hot_sets *h)
{
	*h = (struct hot_sets){ 0 };
	map_init(&h->by_scope, HOT_SETS_MAX);
	list_init(&h->order);
}

void hot_fini(struct hot_sets *h)
{
	while (!list_empty(&h->order))
		drop(h, list_entry(h->order.next, struct hot_set, node));
	map_fini(&h->by_scope);
}

struct hot_set *hot_find(struct hot_sets *h, const struct hash *key)
{
	struct hot_set *set = map_get(&h->by_scope, key->bytes, HASH_SIZE);

	if (set == NULL)
		return NULL;
	set->users++;
	list_remove(&set->node);
	list_push_back(&h->order, &set->node);
	return set;
}

int hot_set_make(const struct hash *key, struct reconcile_item *items, size_t count,
		 struct hot_set **ret)
{
	struct hot_set *set = mem_alloc(sizeof(*set));
	int err = set == NULL ? UV_ENOMEM : reconcile_set_init(&set->set, items, count);

	if (err < 0) {
		mem_free(items);
		mem_free(set);
		return err;
	}
	set->key = *key;
	set->items = items;
	set->users = 1;
	*ret = set;
	return 0;
}

void hot_keep(struct hot_sets *h, struct hot_set *set)
{
	struct hot_set *old = map_get(&h->by_scope, set->key.bytes, HASH_SIZE);

	if (set->set.count == 0 || bytes_of(set) > HOT_BYTES_MAX || set->kept)
		return;
	if (old != NULL)
		drop(h, old);
	while (map_count(&h->by_scope) >= HOT_SETS_MAX ||
	       h->bytes + bytes_of(set) > HOT_BYTES_MAX) {
		drop(h, list_entry(h->order.next, struct hot_set, node));
		h->dropped++;
	}
	if (map_put(&h->by_scope, set->key.bytes, HASH_SIZE, set) < 0)
		return; /* the next session reads it again */
	set->kept = true;
	h->bytes += bytes_of(set);
	list_push_back(&h->order, &set->node);
}

struct hot_set *hot_release(struct hot_set *set)
{
	if (set != NULL) {
		set->users--;
		free_if_unused(set);
	}
	return NULL;
}
