/* Who are we, seen from outside, and can strangers reach us?
 *
 * Address: by vote (vote.h), at first the bound one if it is global. The id follows it (BEP 42).
 *
 * Reach (BEP 43): with a global address or a word from a port mapping or dial-back we answer.
 * Otherwise we are read-only toward the public internet, and every REACH_REST_MS try for
 * REACH_TRIAL_MS as if we were not: questions from several addresses that we had not written to
 * prove that we are reachable. Neighbours with private addresses are always answered. */
#include "discovery/dht/core.h"

#include <string.h>

enum { REACH_REST_MS = 1800000, REACH_TRIAL_MS = 600000, REACH_STRANGERS = 3 };

static bool has_global_address(const struct dht *d)
{
	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		if (d->families[i].on && dht_address_is_global(&d->families[i].local))
			return true;
	}
	return false;
}

bool reach_read_only(const struct dht *d)
{
	if (d->mode != DHT_MODE_AUTO)
		return d->mode == DHT_MODE_CLIENT;
	return !d->reachable && !d->confirmed && !d->trial && !has_global_address(d);
}

void reach_tick(struct dht *d)
{
	uint64_t now = dht_now(d);

	if (d->mode != DHT_MODE_AUTO || d->confirmed)
		return;
	if (now - d->trial_ms < (d->trial ? REACH_TRIAL_MS : REACH_REST_MS))
		return;
	d->trial = !d->trial;
	d->trial_ms = now;
	d->strangers = 0;
}

void reach_stranger(struct dht *d)
{
	if (d->trial && ++d->strangers >= REACH_STRANGERS)
		d->confirmed = true;
}

void reach_set_external(struct dht *d, unsigned family, const struct dht_address *external)
{
	struct family *f = &d->families[family];
	struct dht_id id;

	f->external = *external;
	if (id_fits(&f->table.self, external))
		return;
	dht_random(d, &id, sizeof(id));
	id_bind(&id, external);
	table_rebase(&f->table, &id, dht_now(d));
	d->stats.id_changes++;
	f->self_search_ms = f->self_interval_ms = 0;
}

void reach_seen_as(struct dht *d, const struct dht_address *voter, const struct dht_address *seen)
{
	struct family *f = &d->families[address_index(voter)];

	if (vote_count(&f->vote, voter, seen))
		reach_set_external(d, address_index(voter), &f->vote.winner);
}

void dht_set_reachable(struct dht *d, bool reachable)
{
	d->reachable = reachable;
}
