/* Whom to ask, how many, when to go on and when to stop waiting: pure functions, so that every rule
 * is a table in a test. */
#include "discovery/discovery.h"

const char *discovery_outcome_name(enum discovery_outcome o)
{
	static const char *const names[] = {
		[DISCOVERY_CACHED] = "cached",	 [DISCOVERY_LOCAL] = "local",
		[DISCOVERY_DHT] = "dht",	 [DISCOVERY_NOT_FOUND] = "notfound",
		[DISCOVERY_TIMEOUT] = "timeout", [DISCOVERY_CANCELLED] = "cancelled",
		[DISCOVERY_ERROR] = "error",
	};

	return names[o];
}

/* A lower tier is asked only when those above did not answer it. */
unsigned discovery_width(bool user, bool have_locally, bool authority_known, bool exhaustive)
{
	if (user || exhaustive || !authority_known)
		return DISCOVERY_WIDTH_FULL;
	return have_locally ? DISCOVERY_WIDTH_NONE : DISCOVERY_WIDTH_NARROW;
}

bool discovery_exhaustive(bool recursive, bool user_interest, uint64_t now_ms, uint64_t last_ms,
			  uint64_t last_user_ms)
{
	if (user_interest &&
	    (last_user_ms == 0 || now_ms - last_user_ms >= DISCOVERY_EXHAUSTIVE_USER_MS))
		return true;
	return recursive && (last_ms == 0 || now_ms - last_ms >= DISCOVERY_EXHAUSTIVE_MS);
}

/* An idle node that dials for every look at what it holds dials all day, for nothing: the connected
 * authority tells of news by itself. */
enum discovery_dial discovery_dials(bool user, bool have_locally, bool exhaustive,
				    bool authority_known, bool authority_connected,
				    bool anybody_connected)
{
	if (user || !have_locally)
		return DISCOVERY_DIAL_ANYBODY;
	if (authority_connected)
		return DISCOVERY_DIAL_NOBODY;
	if (exhaustive)
		return DISCOVERY_DIAL_ANYBODY;
	if (authority_known)
		return DISCOVERY_DIAL_AUTHORITIES;
	return anybody_connected ? DISCOVERY_DIAL_NOBODY : DISCOVERY_DIAL_ANYBODY;
}

bool discovery_asks_benched(bool user, bool have_locally)
{
	return user || !have_locally;
}

bool discovery_dht_due(bool user, bool have_locally, uint64_t now_ms, uint64_t last_ms)
{
	return user || !have_locally || last_ms == 0 || now_ms - last_ms >= DISCOVERY_EXHAUSTIVE_MS;
}

bool discovery_hedge(bool answered, uint64_t peers_ok, uint64_t since_ms)
{
	return !answered && peers_ok == 0 && since_ms >= DISCOVERY_DHT_HEDGE_MS;
}

/* Nobody answered looks like "nothing is owed": without a success there is no satisfaction. */
bool discovery_escalate(uint64_t peers_ok, uint64_t outstanding, bool resolved, bool exhaustive)
{
	return exhaustive || peers_ok == 0 || outstanding > 0 || !resolved;
}

bool discovery_cut_stragglers(uint64_t peers_ok, uint64_t outstanding, bool resolved, bool pinned,
			      bool talking, uint64_t idle_ms)
{
	if (resolved && pinned)
		return true;
	if (peers_ok == 0 || outstanding > 0)
		return false;
	/* Who is there and has not said what it has may have something newer. */
	return idle_ms >= (resolved && !talking ? DISCOVERY_GRACE_MS : DISCOVERY_STRAGGLER_MS);
}

size_t discovery_draw(struct runner *r, size_t count, size_t width, size_t *ret_picks)
{
	size_t picked = 0;

	/* Selection sampling (Knuth 3.4.2 S): each candidate with the same chance, one pass, no
	 * memory. */
	for (size_t i = 0; i < count && picked < width; i++) {
		if (runner_random_below(r, count - i) < width - picked)
			ret_picks[picked++] = i;
	}
	return picked;
}
