/* Who may be asked: authorities always, others as wide as it must be. */
#include <string.h>

#include "discovery/run.h"

static void add_hints(struct discovery_run *run)
{
	for (size_t i = 0; i < run->iri.hint_count; i++) {
		const struct multiaddr *hint = &run->iri.hints[i];
		struct sync_target t = { .any_peer = !hint->has_peer,
					 .peer = hint->peer,
					 .addr_count = 1 };

		t.addrs[0] = *hint;
		if (t.any_peer || !key_eq(&t.peer, net_self(run->service->net)))
			candidates_add(&run->candidates, &t, DISCOVERY_AUTHORITY);
	}
}

/* Benched peers are skipped, unless nobody else is left: the peer set is never empty when any peer
 * is known. */
static bool may_be_asked(const struct discovery_run *run, const struct sync_target *t,
			 enum discovery_tier tier, bool benched)
{
	const struct discovery *d = run->service;
	uint64_t now = runner_now_ms(d->runner);
	struct discovery_benched b;

	if (bench_eligible(&d->bench, &t->peer, now) != benched)
		return true;
	/* Who is likeliest to have the newest may be back: a user's question is not answered by
	 * others as if it were not there. Who did wrong has to wait nevertheless. */
	return !benched && run->user && tier == DISCOVERY_AUTHORITY &&
	       bench_find(&d->bench, &t->peer, now, &b) && b.offences == 0;
}

static void add_if_eligible(struct discovery_run *run, const struct sync_target *t,
			    enum discovery_tier tier, bool benched)
{
	if (!key_eq(&t->peer, net_self(run->service->net)) && may_be_asked(run, t, tier, benched))
		candidates_add(&run->candidates, t, tier);
}

struct adding {
	struct discovery_run *run;
	bool benched;
};

static bool add_conn(void *data, struct net_conn *c)
{
	struct adding *a = data;
	struct sync_target t = { .peer = *net_conn_peer(c) };

	add_if_eligible(a->run, &t, DISCOVERY_WARM, a->benched);
	return true;
}

static void add_stored(struct discovery_run *run, bool benched)
{
	for (size_t i = 0; i < run->peers.count; i++) {
		const struct store_peer *p = &run->peers.peers[i];
		struct sync_target t = { .peer = p->key, .addr_count = p->addr_count };
		bool authority = p->authority || p->served_space;

		memcpy(t.addrs, p->addrs, sizeof(t.addrs));
		enum discovery_tier tier = authority	    ? DISCOVERY_AUTHORITY :
					   p->added_by_user ? DISCOVERY_WARM :
							      DISCOVERY_COLD;

		if (t.addr_count == 0 && net_find(run->service->net, &t.peer) == NULL)
			continue;
		run->heard.left_alone += !benched && !may_be_asked(run, &t, tier, benched);
		add_if_eligible(run, &t, tier, benched);
	}
}

static void add_sources(struct discovery_run *run, bool benched)
{
	const struct discovery *d = run->service;
	struct sync_target found[DISCOVERY_WIDTH_FULL];

	for (size_t i = 0; i < d->source_count; i++) {
		struct discovery_source *s = d->sources[i];
		size_t count = s->peers != NULL ? s->peers(s, found, ARRAY_SIZE(found)) : 0;

		for (size_t j = 0; j < count; j++)
			add_if_eligible(run, &found[j], s->tier, benched);
	}
}

static void add_everybody(struct discovery_run *run, bool benched)
{
	struct adding a = { run, benched };

	add_stored(run, benched);
	net_each_conn(run->service->net, add_conn, &a);
	add_sources(run, benched);
}

static void select_announcer(struct discovery_run *run)
{
	struct sync_target t = { .peer = run->announcer };

	candidates_add(&run->candidates, &t, DISCOVERY_AUTHORITY);
	run->peers_known = 1;
}

static bool is_wide(struct discovery_run *run)
{
	struct discovery *d = run->service;
	struct searched *searched = service_searched(d, &run->scope);
	uint64_t now = runner_now_ms(d->runner);
	bool wide;

	if (searched == NULL)
		return false;
	wide = discovery_exhaustive(run->kind == SCOPE_RECURSIVE, run->user, now, searched->last_ms,
				    searched->last_user_ms);
	if (wide)
		searched->last_ms = now;
	if (wide && run->user)
		searched->last_user_ms = now;
	return wide;
}

/* Drops whom this look may not dial. */
static enum discovery_dial limit_dials(struct discovery_run *run)
{
	struct candidates *c = &run->candidates;
	bool connected[DISCOVERY_PEERS_MAX] = { false }, authority = false, anybody = false;
	enum discovery_dial dial;

	for (size_t i = 0; i < c->count; i++) {
		connected[i] = !c->targets[i].any_peer &&
			       net_find(run->service->net, &c->targets[i].peer) != NULL;
		anybody = anybody || connected[i];
		authority = authority || (connected[i] && c->tiers[i] == DISCOVERY_AUTHORITY);
	}
	dial = discovery_dials(run->user, run->have_locally, run->exhaustive,
			       candidates_count(c, DISCOVERY_AUTHORITY) > 0, authority, anybody);
	candidates_drop_dials(c, connected, dial);
	return dial;
}

static void select_by_rules(struct discovery_run *run)
{
	static const char *const dials[] = { ", dialing nobody", ", dialing authorities", "" };
	struct discovery *d = run->service;
	size_t authorities, known;
	enum discovery_dial dial;
	unsigned width;

	add_hints(run);
	add_everybody(run, false);
	if (run->candidates.count == 0 && discovery_asks_benched(run->user, run->have_locally)) {
		run->heard.left_alone = 0;
		add_everybody(run, true);
	}
	known = run->candidates.count + run->candidates.dropped;
	authorities = candidates_count(&run->candidates, DISCOVERY_AUTHORITY);
	run->exhaustive = is_wide(run);
	dial = limit_dials(run);
	width = discovery_width(run->user, run->have_locally, authorities > 0, run->exhaustive);
	candidates_narrow(&run->candidates, d->runner, width);
	run->peers_known = known;
	trace_mark(run->op.env.span,
		   "peers selected: %zu of %zu known, %zu authorities, width %u%s%s",
		   run->candidates.count, known, authorities, width,
		   run->exhaustive ? ", exhaustive" : "", dials[dial]);
}

void run_select_peers(struct discovery_run *run)
{
	if (run->has_announcer)
		select_announcer(run);
	else
		select_by_rules(run);
}
