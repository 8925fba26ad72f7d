#include "discovery/candidates.h"

#include <string.h>

static struct sync_target *find(struct candidates *c, const struct sync_target *target,
				size_t *ret_index)
{
	for (size_t i = 0; i < c->count; i++) {
		struct sync_target *t = &c->targets[i];
		bool same = t->any_peer == target->any_peer &&
			    (t->any_peer ? target->addr_count > 0 &&
						   multiaddr_eq(&t->addrs[0], &target->addrs[0]) :
					   key_eq(&t->peer, &target->peer));

		if (same) {
			*ret_index = i;
			return t;
		}
	}
	return NULL;
}

static void merge_addrs(struct sync_target *to, const struct sync_target *from)
{
	for (size_t i = 0; i < from->addr_count && to->addr_count < SYNC_TARGET_ADDRS_MAX; i++) {
		bool known = false;

		for (size_t j = 0; j < to->addr_count && !known; j++)
			known = multiaddr_eq(&to->addrs[j], &from->addrs[i]);
		if (!known)
			to->addrs[to->addr_count++] = from->addrs[i];
	}
}

void candidates_add(struct candidates *c, const struct sync_target *target,
		    enum discovery_tier tier)
{
	size_t i;
	struct sync_target *known = find(c, target, &i);

	if (known != NULL) {
		merge_addrs(known, target);
		c->tiers[i] = MIN(c->tiers[i], tier);
	} else if (c->count == DISCOVERY_PEERS_MAX) {
		c->dropped++;
	} else {
		c->targets[c->count] = *target;
		c->tiers[c->count++] = tier;
	}
}

size_t candidates_count(const struct candidates *c, enum discovery_tier tier)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		n += c->tiers[i] == tier;
	return n;
}

/* Marks up to `width` candidates of a tier to keep; returns how many. */
static size_t draw_tier(const struct candidates *c, struct runner *r, enum discovery_tier tier,
			size_t width, bool *keep)
{
	size_t picks[DISCOVERY_WIDTH_FULL], picked, next = 0, nth = 0;

	picked = discovery_draw(r, candidates_count(c, tier), MIN(width, ARRAY_SIZE(picks)), picks);
	for (size_t i = 0; i < c->count && next < picked; i++) {
		if (c->tiers[i] != tier)
			continue;
		if (nth++ == picks[next]) {
			keep[i] = true;
			next++;
		}
	}
	return picked;
}

static void keep_only(struct candidates *c, const bool *keep)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (!keep[i])
			continue;
		if (kept != i) {
			c->targets[kept] = c->targets[i];
			c->tiers[kept] = c->tiers[i];
		}
		kept++;
	}
	c->count = kept;
}

void candidates_drop_dials(struct candidates *c, const bool *connected, enum discovery_dial dial)
{
	bool keep[DISCOVERY_PEERS_MAX];

	for (size_t i = 0; i < c->count; i++)
		keep[i] =
			connected[i] || dial == DISCOVERY_DIAL_ANYBODY ||
			(dial == DISCOVERY_DIAL_AUTHORITIES && c->tiers[i] == DISCOVERY_AUTHORITY);
	keep_only(c, keep);
}

void candidates_narrow(struct candidates *c, struct runner *r, size_t width)
{
	bool keep[DISCOVERY_PEERS_MAX] = { false };

	for (size_t i = 0; i < c->count; i++)
		keep[i] = c->tiers[i] == DISCOVERY_AUTHORITY;
	width -= draw_tier(c, r, DISCOVERY_WARM, width, keep);
	draw_tier(c, r, DISCOVERY_COLD, width, keep);
	keep_only(c, keep);
}
