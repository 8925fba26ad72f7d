#include "sync/claims.h"

#include "base/err.h"
#include "base/mem.h"

struct claim {
	unsigned holders;
	struct list waiters;
};

void claims_init(struct claims *c)
{
	*c = (struct claims){ 0 };
	map_init(&c->map, SYNC_CLAIMS_MAX);
}

void claims_fini(struct claims *c)
{
	REQUIRE(map_count(&c->map) == 0);
	map_fini(&c->map);
}

size_t claims_count(const struct claims *c)
{
	return map_count(&c->map);
}

int claims_take(struct claims *c, const struct hash *h, struct claim_waiter *w)
{
	struct claim *claim = map_get(&c->map, h->bytes, HASH_SIZE);
	int err;

	if (claim != NULL) {
		if (w != NULL) {
			list_push_back(&claim->waiters, &w->node);
			c->waited++;
		}
		return ERR_BUSY;
	}
	claim = mem_alloc(sizeof(*claim));
	if (claim == NULL)
		return UV_ENOMEM;
	claim->holders = 1;
	list_init(&claim->waiters);
	err = map_put(&c->map, h->bytes, HASH_SIZE, claim);
	if (err < 0)
		mem_free(claim);
	else
		c->taken++;
	return err;
}

int claims_join(struct claims *c, const struct hash *h)
{
	struct claim *claim = map_get(&c->map, h->bytes, HASH_SIZE);

	if (claim == NULL)
		return claims_take(c, h, NULL);
	claim->holders++;
	c->joined++;
	return 0;
}

void claims_release(struct claims *c, const struct hash *h, bool stored)
{
	struct claim *claim = map_get(&c->map, h->bytes, HASH_SIZE);
	struct list waiters, *node;

	REQUIRE(claim != NULL && claim->holders > 0);
	claim->holders--;
	if (claim->holders > 0 && !stored)
		return;
	list_init(&waiters);
	while ((node = list_pop_front(&claim->waiters)) != NULL)
		list_push_back(&waiters, node);
	if (claim->holders == 0)
		mem_free(map_del(&c->map, h->bytes, HASH_SIZE));
	while ((node = list_pop_front(&waiters)) != NULL) {
		struct claim_waiter *w = list_entry(node, struct claim_waiter, node);

		w->on_release(w, stored);
	}
}

void claim_waiter_init(struct claim_waiter *w,
		       void (*on_release)(struct claim_waiter *w, bool stored))
{
	w->on_release = on_release;
	list_init(&w->node);
}

void claim_waiter_cancel(struct claim_waiter *w)
{
	list_remove(&w->node);
}

bool claim_waiter_waits(const struct claim_waiter *w)
{
	return list_linked(&w->node);
}
