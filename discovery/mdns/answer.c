/* Questions of others (RFC 6762 §6, §7).
 *
 *   to the group   what only we can answer goes at once, what others answer too after a random 20
 * to 120 ms; the same record not twice within a second, except for a host that probes to the asker
 * when it asks for that (QU) and the group heard the record lately, and always when it does not ask
 * from the port of multicast DNS: such a legacy asker gets its id and question back, ttls of 10 s
 * and no flush bits (§6.7) not at all     a record that the asker lists with at least half of its
 * time; when the list continues in the next message (TC), the answer waits for it
 *
 * What can go wrong: being made to talk. Packets are counted per link before they get here, answers
 * to the group are bound by the second per record, those to one asker by a bucket per link. */
#include "discovery/mdns/core.h"

#include <string.h>

enum {
	SHARED_MIN_MS = 20,
	SHARED_MAX_MS = 120,
	MORE_MIN_MS = 400, /* for the rest of a list of known answers */
	MORE_MAX_MS = 500,
	MORE_TOTAL_MS = 2000,
	GAP_MS = 1000,
	PROBE_GAP_MS = 250
};

static bool same_host(const struct mdns_endpoint *a, const struct mdns_endpoint *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0 &&
	       a->port == b->port;
}

/* ---- To the group, in time ---- */

static void arm(struct link *l)
{
	uint64_t due_ms = UINT64_MAX;

	for (unsigned i = 0; i < REC_COUNT; i++) {
		if (l->due_ms[i] != 0)
			due_ms = MIN(due_ms, l->due_ms[i]);
	}
	for (unsigned i = 0; i < ASKERS_MAX; i++) {
		if (l->askers[i].due_ms != 0)
			due_ms = MIN(due_ms, l->askers[i].due_ms);
	}
	if (due_ms != UINT64_MAX)
		runner_timer_start(l->mdns->runner, &l->answer_timer, due_ms);
	else
		runner_timer_stop(l->mdns->runner, &l->answer_timer);
}

void answer_schedule(struct link *l, unsigned set, uint64_t at_ms, unsigned gap_ms)
{
	set &= publish_available(l);
	for (unsigned i = 0; i < REC_COUNT; i++) {
		uint64_t due_ms = at_ms;

		if ((set & REC_BIT(i)) == 0)
			continue;
		if (l->sent[i])
			due_ms = MAX(due_ms, l->sent_ms[i] + gap_ms);
		due_ms = MAX(due_ms, (uint64_t)1);
		if (l->due_ms[i] == 0 || due_ms < l->due_ms[i])
			l->due_ms[i] = due_ms;
	}
	arm(l);
}

void answer_sent(struct link *l, unsigned set)
{
	for (unsigned i = 0; i < REC_COUNT; i++) {
		if ((set & REC_BIT(i)) == 0)
			continue;
		l->sent[i] = true;
		l->sent_ms[i] = mdns_now(l->mdns);
		l->due_ms[i] = 0;
	}
}

static void send_to_group(struct link *l, unsigned set)
{
	unsigned more = publish_additional(l, set);
	struct dns_writer w;

	dns_write_start(&w, &l->mdns->out, 0, DNS_RESPONSE | DNS_AUTHORITATIVE, false);
	publish_write(l, &w, DNS_ANSWER, set, false, false);
	publish_write(l, &w, DNS_ADDITIONAL, more, false, false);
	answer_sent(l, set | more);
	(void)link_send(l, &w, NULL, 0);
}

static void on_answer_timer(struct runner_timer *timer)
{
	struct link *l = container_of(timer, struct link, answer_timer);
	uint64_t now_ms = mdns_now(l->mdns);
	unsigned set = 0;

	for (unsigned i = 0; i < ASKERS_MAX; i++) {
		struct asker *a = &l->askers[i];

		if (a->due_ms == 0 || a->due_ms > now_ms)
			continue;
		a->due_ms = 0;
		answer_schedule(l, a->wanted, now_ms, GAP_MS);
	}
	for (unsigned i = 0; i < REC_COUNT; i++) {
		if (l->due_ms[i] != 0 && l->due_ms[i] <= now_ms)
			set |= REC_BIT(i);
	}
	if (set != 0)
		send_to_group(l, set);
	arm(l);
}

/* ---- Questions ---- */

static unsigned wanted_by(const struct link *l, const struct dns_entry *q)
{
	const struct mdns *m = l->mdns;
	bool any = q->type == DNS_ANY;
	unsigned set = 0, none = 0;

	if (q->class != DNS_CLASS_IN && q->class != DNS_CLASS_ANY)
		return 0;
	if (dns_name_eq(&q->name, &m->meta))
		return any || q->type == DNS_PTR ? REC_BIT(REC_META) : 0;
	if (dns_name_eq(&q->name, &m->type))
		return any || q->type == DNS_PTR ? REC_BIT(REC_PTR) : 0;
	if (dns_name_eq(&q->name, &m->instance)) {
		none = REC_BIT(REC_NSEC_INSTANCE);
		set |= any || q->type == DNS_SRV ? REC_BIT(REC_SRV) : 0;
		set |= any || q->type == DNS_TXT ? REC_BIT(REC_TXT) : 0;
	} else if (dns_name_eq(&q->name, &m->host)) {
		none = REC_BIT(REC_NSEC_HOST);
		set |= any || q->type == DNS_A ? REC_BIT(REC_A) : 0;
		set |= any || q->type == DNS_AAAA ? REC_BIT(REC_AAAA) : 0;
	}
	set &= publish_available(l);
	return set != 0 ? set : none & publish_available(l);
}

/* Those of our records that the asker lists with enough time left. */
static unsigned known_by(struct link *l, const struct dns_walk *start)
{
	struct dns_walk w = *start;
	struct dns_entry e;
	unsigned known = 0;

	while (dns_walk_next(&w, &e) > 0) {
		enum rec rec = e.section == DNS_ANSWER ? publish_own(l->mdns, &e) : REC_COUNT;

		/* One address of several says nothing of the others. */
		if (rec != REC_COUNT && (REC_BIT(rec) & REC_ADDRS) == 0 &&
		    (uint64_t)e.ttl_s * 2 >= publish_ttl_s(rec))
			known |= REC_BIT(rec);
	}
	return known;
}

static struct asker *find_asker(struct link *l, const struct mdns_endpoint *from)
{
	for (unsigned i = 0; i < ASKERS_MAX; i++) {
		if (l->askers[i].due_ms != 0 && same_host(&l->askers[i].from, from))
			return &l->askers[i];
	}
	return NULL;
}

/* The list goes on: wait for more of it. Without a free place the answer goes out as it is. */
static bool wait_for_more(struct link *l, const struct mdns_endpoint *from, unsigned wanted)
{
	uint64_t now_ms = mdns_now(l->mdns);
	struct asker *a = find_asker(l, from);

	for (unsigned i = 0; i < ASKERS_MAX && a == NULL; i++) {
		if (l->askers[i].due_ms == 0) {
			a = &l->askers[i];
			*a = (struct asker){ .from = *from, .last_ms = now_ms + MORE_TOTAL_MS };
		}
	}
	if (a == NULL)
		return false;
	a->wanted |= wanted;
	a->due_ms = MIN(mdns_soon(l->mdns, MORE_MIN_MS, MORE_MAX_MS), a->last_ms);
	a->due_ms = MAX(a->due_ms, (uint64_t)1);
	arm(l);
	return true;
}

/* Records that the group has not heard for a quarter of their time had better go to the group. */
static unsigned stale(const struct link *l, unsigned set)
{
	uint64_t now_ms = mdns_now(l->mdns);

	for (unsigned i = 0; i < REC_COUNT; i++) {
		uint64_t quarter_ms = (uint64_t)publish_ttl_s((enum rec)i) * 250;

		if (l->sent[i] && now_ms - l->sent_ms[i] < quarter_ms)
			set &= ~REC_BIT(i);
	}
	return set;
}

static void send_to_asker(struct link *l, const struct mdns_endpoint *to,
			  const struct dns_walk *start, unsigned set)
{
	bool legacy = to->port != MDNS_PORT;
	struct dns_walk w = *start;
	struct dns_writer out;
	struct dns_entry q;

	if (!bucket_take(&l->unicast, mdns_now(l->mdns), UNICAST_RATE)) {
		l->mdns->stats.dropped_rate++;
		return;
	}
	dns_write_start(&out, &l->mdns->out, legacy ? start->id : 0,
			DNS_RESPONSE | DNS_AUTHORITATIVE, legacy);
	while (legacy && dns_walk_next(&w, &q) > 0 && q.section == DNS_QUESTION) {
		if (wanted_by(l, &q) != 0)
			dns_write_question(&out, &q.name, q.type);
	}
	publish_write(l, &out, DNS_ANSWER, set, legacy, false);
	publish_write(l, &out, DNS_ADDITIONAL, publish_additional(l, set), legacy, false);
	(void)link_send(l, &out, to, 0);
}

struct asked {
	unsigned group, unicast; /* sets of our records */
	bool questions, probe;
};

static struct asked read_questions(struct link *l, const struct dns_walk *start)
{
	struct dns_walk w = *start;
	struct asked asked = { 0 };
	struct dns_entry e;

	while (dns_walk_next(&w, &e) > 0) {
		if (e.section == DNS_AUTHORITY)
			asked.probe = true;
		if (e.section != DNS_QUESTION)
			continue;
		asked.questions = true;
		*(e.top_bit ? &asked.unicast : &asked.group) |= wanted_by(l, &e);
	}
	return asked;
}

void answer_query(struct link *l, const struct mdns_endpoint *from, bool multicast,
		  const struct dns_walk *w)
{
	struct asked asked = read_questions(l, w);
	unsigned known = known_by(l, w), stale_set;
	struct asker *waiting = find_asker(l, from);
	uint64_t at_ms = mdns_now(l->mdns);

	if (waiting != NULL)
		waiting->wanted &= ~known;
	l->mdns->stats.known_answers +=
		(unsigned)__builtin_popcount((asked.group | asked.unicast) & known);
	asked.group &= ~known;
	asked.unicast &= ~known;
	if (from->port != MDNS_PORT || !multicast) {
		if ((asked.group | asked.unicast) != 0)
			send_to_asker(l, from, w, asked.group | asked.unicast);
		return;
	}
	stale_set = stale(l, asked.unicast);
	asked.group |= stale_set;
	asked.unicast &= ~stale_set;
	if (asked.unicast != 0)
		send_to_asker(l, from, w, asked.unicast);
	if ((w->flags & DNS_TRUNCATED) != 0 && (asked.group != 0 || waiting != NULL) &&
	    wait_for_more(l, from, asked.group))
		return;
	if ((asked.group & REC_SHARED) != 0)
		at_ms = mdns_soon(l->mdns, SHARED_MIN_MS, SHARED_MAX_MS);
	answer_schedule(l, asked.group, at_ms, asked.probe ? PROBE_GAP_MS : GAP_MS);
}

/* Another responder spoke of a record of ours (§7.4, §6.6): what it has just told need not be told
 * again, what it lets expire is told at once. */
void answer_hears(struct link *l, const struct dns_entry *e)
{
	enum rec rec = publish_own(l->mdns, e);

	if (rec == REC_COUNT || (publish_available(l) & REC_BIT(rec)) == 0)
		return;
	if ((uint64_t)e->ttl_s * 2 < publish_ttl_s(rec)) {
		answer_schedule(l, REC_BIT(rec), mdns_soon(l->mdns, SHARED_MIN_MS, SHARED_MAX_MS),
				GAP_MS);
	} else if (rec == REC_META) {
		l->due_ms[rec] = 0;
		arm(l);
	}
}

void answer_forget(struct link *l)
{
	memset(l->due_ms, 0, sizeof(l->due_ms));
	memset(l->sent, 0, sizeof(l->sent));
	memset(l->askers, 0, sizeof(l->askers));
	runner_timer_stop(l->mdns->runner, &l->answer_timer);
}

void answer_init(struct link *l)
{
	l->answer_timer.run = on_answer_timer;
}
