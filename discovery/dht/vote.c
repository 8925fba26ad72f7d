/* A change needs two thirds of at least VOTE_MIN votes, or to lead after VOTE_VOTERS_MAX of them.
 * A liar needs as many addresses as there are honest nodes that we ask. */
#include "discovery/dht/vote.h"

#include <string.h>

static uint64_t voter_key(const struct dht_address *a)
{
	uint8_t text[DHT_COMPACT_MAX] = { 0 };
	uint64_t key = 0;
	size_t len = address_charge_key(a, text);

	/* IP, and for addresses that are no identity the port: at most 18 bytes. */
	for (size_t i = 0; i < len; i++)
		key = key * 257 + text[i] + 1;
	return key;
}

static void new_round(struct vote *v)
{
	v->voter_count = 0;
	v->choice_count = 0;
}

static struct vote_choice *choose(struct vote *v, const struct dht_address *seen)
{
	struct vote_choice *c;

	for (unsigned i = 0; i < v->choice_count; i++) {
		if (address_same_ip(&v->choices[i].addr, seen))
			return &v->choices[i];
	}
	if (v->choice_count == VOTE_CHOICES_MAX)
		return NULL;
	c = &v->choices[v->choice_count++];
	*c = (struct vote_choice){ .addr = *seen };
	return c;
}

static bool decide(struct vote *v)
{
	const struct vote_choice *best = &v->choices[0];
	bool full = v->voter_count == VOTE_VOTERS_MAX, changed;

	for (unsigned i = 1; i < v->choice_count; i++) {
		if (v->choices[i].votes > best->votes)
			best = &v->choices[i];
	}
	if (v->choice_count == 0 || v->voter_count < VOTE_MIN)
		return false;
	if (best->votes * 3 <= v->voter_count * 2 && !full)
		return false;
	changed = v->winner.family == 0 || !address_same_ip(&v->winner, &best->addr);
	v->winner = best->addr;
	if (best->votes >= VOTE_PORTS_MIN)
		v->symmetric = best->ports_differ;
	if (full || changed)
		new_round(v);
	return changed;
}

bool vote_count(struct vote *v, const struct dht_address *voter, const struct dht_address *seen)
{
	uint64_t key = voter_key(voter);
	struct vote_choice *c;

	/* A neighbour behind the same NAT tells the truth, and not what we want to know. */
	if (seen->family != voter->family || seen->port == 0 || !dht_address_is_global(seen) ||
	    !dht_address_is_global(voter))
		return false;
	for (unsigned i = 0; i < v->voter_count; i++) {
		if (v->voters[i] == key)
			return false;
	}
	if (v->voter_count == VOTE_VOTERS_MAX)
		new_round(v);
	v->voters[v->voter_count++] = key;
	c = choose(v, seen);
	if (c != NULL) {
		c->ports_differ = c->ports_differ || c->addr.port != seen->port;
		c->votes++;
	}
	return decide(v);
}
