/* Our questions (RFC 6762 §5.2, §7.1): who is there, at first after up to 120 ms, then 1, 3, 9 … s
 * and in the end 60 min apart; what has lived for 80, 85, 90 and 95 % of its time, again; and what
 * is missing of a new instance.
 *
 * The question lists who is known already, ourselves first, so that a quiet network stays quiet;
 * the list may continue in further messages. All questions are for the group: of several sockets on
 * the port only one gets an answer meant for the asker, and it may be another program's. A link
 * that may only ask keeps asking every minute, since its answers are meant for now. */
#include "discovery/mdns/core.h"

enum {
	FIRST_MIN_MS = 20,
	FIRST_MAX_MS = 120,
	INTERVAL_MIN_MS = 1000,
	INTERVAL_FACTOR = 3,
	ASK_ONLY_MAX_MS = 60000,
	REFRESHES = 4
};

static void start(struct link *l, struct dns_writer *w)
{
	dns_write_start(w, &l->mdns->out, 0, 0, false);
}

static void ask(struct link *l, struct dns_writer *w, const struct dns_name *name, uint16_t type)
{
	if (dns_write_question(w, name, type))
		return;
	(void)link_send(l, w, NULL, 0);
	start(l, w);
	(void)dns_write_question(w, name, type);
}

/* Is it time to refresh this? Then the next time is set. */
static bool refresh(struct heard *h, uint64_t now_ms)
{
	uint64_t ttl_ms = h->until_ms - h->since_ms;

	if (!heard_valid(h) || h->ask_ms > now_ms)
		return false;
	h->asked++;
	h->ask_ms = h->asked < REFRESHES ? h->since_ms + ttl_ms * (80 + 5 * h->asked) / 100 :
					   UINT64_MAX;
	return true;
}

static bool try_again(struct instance *i, uint64_t now_ms)
{
	if (i->try_ms == 0 || i->try_ms > now_ms)
		return false;
	i->tries++;
	i->try_ms = i->tries < RESOLVE_TRIES ? now_ms + (UINT64_C(1000) << i->tries) : UINT64_MAX;
	return true;
}

static void ask_instance(struct link *l, struct dns_writer *w, struct instance *i)
{
	uint64_t now_ms = mdns_now(l->mdns);
	bool again = try_again(i, now_ms);
	bool foreign = heard_valid(&i->txt) && !i->ours;
	bool srv = refresh(&i->srv, now_ms) || (again && !heard_valid(&i->srv));
	bool txt = refresh(&i->txt, now_ms) || (again && !heard_valid(&i->txt));

	if (srv && !foreign)
		ask(l, w, &i->name, DNS_SRV);
	if (txt)
		ask(l, w, &i->name, DNS_TXT);
	if ((srv || (again && i->addr_count == 0)) && heard_valid(&i->srv) && !foreign) {
		ask(l, w, &i->host, DNS_A);
		ask(l, w, &i->host, DNS_AAAA);
	}
}

static void know(struct link *l, struct dns_writer *w, const struct dns_name *instance,
		 uint64_t left_s)
{
	struct dns_record r = { .name = &l->mdns->type,
				.type = DNS_PTR,
				.ttl_s = (uint32_t)left_s,
				.target = instance };

	if (dns_write_record(w, DNS_ANSWER, &r))
		return;
	(void)link_send(l, w, NULL, DNS_TRUNCATED);
	start(l, w);
	(void)dns_write_record(w, DNS_ANSWER, &r);
}

static void ask_who_is_there(struct link *l, struct dns_writer *w)
{
	struct mdns *m = l->mdns;
	uint64_t now_ms = mdns_now(m);

	ask(l, w, &m->type, DNS_PTR);
	if (publish_available(l) & REC_BIT(REC_PTR))
		know(l, w, &m->instance, TTL_OTHER_S);
	list_for_each(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);
		uint64_t ttl_ms = i->ptr.until_ms - i->ptr.since_ms;
		uint64_t left_ms = i->ptr.until_ms - MIN(now_ms, i->ptr.until_ms);

		if (i->link == l && left_ms > ttl_ms / 2)
			know(l, w, &i->name, left_ms / 1000);
	}
}

static bool refresh_pointers(struct link *l)
{
	bool due = false;

	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l)
			due = refresh(&i->ptr, mdns_now(l->mdns)) || due;
	}
	return due;
}

static void ask_all(struct link *l)
{
	uint64_t now_ms = mdns_now(l->mdns);
	uint64_t most_ms = l->config.ask_only ? ASK_ONLY_MAX_MS : MDNS_ASK_MAX_MS;
	bool scheduled = l->ask_ms <= now_ms, pointers = refresh_pointers(l);
	struct dns_writer w;
	int rc;

	start(l, &w);
	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l)
			ask_instance(l, &w, i);
	}
	if (scheduled || pointers)
		ask_who_is_there(l, &w);
	rc = link_send(l, &w, NULL, 0);
	if (!scheduled)
		return;
	if (rc < 0) {
		l->ask_ms = now_ms + RETRY_MS;
		return;
	}
	l->ask_ms = now_ms + l->interval_ms;
	l->interval_ms = MIN(l->interval_ms * INTERVAL_FACTOR, most_ms);
}

static void on_browse_timer(struct runner_timer *timer)
{
	struct link *l = container_of(timer, struct link, browse_timer);

	instances_expire(l);
	ask_all(l);
	browse_arm(l);
}

void browse_arm(struct link *l)
{
	uint64_t due_ms = l->ask_ms;

	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l)
			due_ms = MIN(due_ms, instance_due_ms(i));
	}
	runner_timer_start(l->mdns->runner, &l->browse_timer, due_ms);
}

void browse_start(struct link *l)
{
	l->ask_ms = mdns_soon(l->mdns, FIRST_MIN_MS, FIRST_MAX_MS);
	l->interval_ms = INTERVAL_MIN_MS;
	browse_arm(l);
}

void browse_init(struct link *l)
{
	l->browse_timer.run = on_browse_timer;
}
