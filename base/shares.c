/* The list is sorted by network, address, key, so that the members of a group stand together and
 * their sums are three passes. With n holders this is O(n log n), done only when there is no room.
 *
 * What can go wrong: everybody is busy and nobody has more than the rest, for the hostile have many
 * networks. Then turns decide: who has held its part for SHARE_TURN_MS and carried least with it
 * makes room for who has nothing, so that pretending to be at work buys ten seconds. */
#include "base/shares.h"

#include <stdlib.h>
#include <string.h>

enum { NETWORK_V4 = 3, NETWORK_V6 = 7, ADDRESS_V4 = 4, ADDRESS_V6 = 8 };

struct share_origin share_origin_of(const struct multiaddr *addr, const struct public_key *key)
{
	struct share_origin o = { .key = *key };
	bool v4 = addr->family == 4;

	o.network[0] = o.address[0] = addr->family;
	memcpy(o.network + 1, addr->ip, v4 ? NETWORK_V4 : NETWORK_V6);
	memcpy(o.address + 1, addr->ip, v4 ? ADDRESS_V4 : ADDRESS_V6);
	return o;
}

unsigned share_common(const struct share_origin *a, const struct share_origin *b)
{
	if (memcmp(a->network, b->network, sizeof(a->network)) != 0)
		return 0;
	if (memcmp(a->address, b->address, sizeof(a->address)) != 0)
		return 1;
	return key_eq(&a->key, &b->key) ? SHARE_LEVELS : 2;
}

static int share_cmp(const void *one, const void *two)
{
	const struct share_origin *a = &((const struct share *)one)->from;
	const struct share_origin *b = &((const struct share *)two)->from;
	int order = memcmp(a->network, b->network, sizeof(a->network));

	if (order == 0)
		order = memcmp(a->address, b->address, sizeof(a->address));
	return order != 0 ? order : key_cmp(&a->key, &b->key);
}

/* Members of a group at this level stand together. */
static void sum_level(struct share *list, size_t count, unsigned level)
{
	for (size_t begin = 0, end = 0; begin < count; begin = end) {
		size_t total = 0;

		for (; end < count && share_common(&list[begin].from, &list[end].from) > level;
		     end++)
			total += list[end].weight;
		for (size_t i = begin; i < end; i++)
			list[i].totals[level] = total;
	}
}

void share_totals(const struct share *list, size_t count, const struct share_origin *from,
		  size_t ret[SHARE_LEVELS])
{
	memset(ret, 0, SHARE_LEVELS * sizeof(*ret));
	for (size_t i = 0; i < count; i++) {
		unsigned common = share_common(&list[i].from, from);

		for (unsigned level = 0; level < common; level++)
			ret[level] += list[i].weight;
	}
}

static bool idle(const struct share *s)
{
	return s->idle_ms >= SHARE_IDLE_MS;
}

/* Its party has more than the newcomer's would have. */
static bool has_more(const struct share *s, const struct share *newcomer,
		     const size_t own[SHARE_LEVELS], unsigned common)
{
	return common < SHARE_LEVELS && s->totals[common] > own[common] + newcomer->weight;
}

static bool may_stay(const struct share *s, const struct share *newcomer,
		     const size_t own[SHARE_LEVELS])
{
	unsigned common = share_common(&s->from, &newcomer->from);

	if (s->rank != newcomer->rank)
		return s->rank > newcomer->rank;
	return !idle(s) && !has_more(s, newcomer, own, common) &&
	       !(own[common < SHARE_LEVELS ? common : SHARE_LEVELS - 1] == 0 &&
		 s->age_ms >= SHARE_TURN_MS);
}

/* Does a rather than b give way? */
static bool rather(const struct share *a, const struct share *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (idle(a) != idle(b))
		return idle(a);
	for (unsigned level = 0; level < SHARE_LEVELS; level++)
		if (a->totals[level] != b->totals[level])
			return a->totals[level] > b->totals[level];
	if (a->idle_ms != b->idle_ms && idle(a))
		return a->idle_ms > b->idle_ms;
	if (a->rate != b->rate)
		return a->rate < b->rate;
	return a->age_ms > b->age_ms;
}

void *share_giving_way(struct share *list, size_t count, const struct share *newcomer)
{
	size_t own[SHARE_LEVELS];
	const struct share *best = NULL;

	qsort(list, count, sizeof(*list), share_cmp);
	for (unsigned level = 0; level < SHARE_LEVELS; level++)
		sum_level(list, count, level);
	share_totals(list, count, &newcomer->from, own);
	for (size_t i = 0; i < count; i++)
		if (!may_stay(&list[i], newcomer, own) && (best == NULL || rather(&list[i], best)))
			best = &list[i];
	return best != NULL ? best->holder : NULL;
}
