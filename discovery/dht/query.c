/* Open queries and their two deadlines.
 *
 * soft: what this node's round trips let expect (srtt + 4 rttvar, RFC 6298), or for an unknown node
 *       nine tenths of recent round trips; from then on nobody waits for it.
 * hard: QUERY_HARD_MS; only then the query counts as failed.
 *
 * A reply counts when transaction id, address and port match. Failures are charged to a node only
 * if anybody else answered meanwhile: with our own link down, the table stays as it is. */
#include "discovery/dht/core.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static uint64_t soft_limit(const struct family *f, const struct dht_address *to)
{
	const struct table_node *n = table_find(&f->table, to);
	uint64_t ms = f->rtt_p90_ms > 0 ? f->rtt_p90_ms : QUERY_SOFT_MAX_MS;

	if (n != NULL)
		ms = n->srtt_ms + 4u * n->rttvar_ms;
	return MIN(MAX(ms, (uint64_t)QUERY_SOFT_MIN_MS), (uint64_t)QUERY_SOFT_MAX_MS);
}

static struct query *append(struct dht *d)
{
	size_t cap = MIN(MAX(d->query_cap * 2, 8u), (size_t)QUERY_MAX);
	struct query *queries;

	if (d->query_count < d->query_cap)
		return &d->queries[d->query_count++];
	if (d->query_cap == QUERY_MAX)
		return NULL;
	queries = mem_realloc(d->queries, cap * sizeof(*queries));
	if (queries == NULL)
		return NULL;
	d->queries = queries;
	d->query_cap = cap;
	return &d->queries[d->query_count++];
}

static void encode(struct dht *d, struct krpc_query *q, const struct dht_address *to, uint32_t tid)
{
	const struct family *f = &d->families[address_index(to)];

	memcpy(q->tid, &tid, sizeof(tid));
	q->id = &f->table.self;
	q->read_only = reach_read_only(d) && dht_address_is_global(to);
	buf_clear(&d->out);
	krpc_write_query(&d->out, q);
}

int query_send(struct dht *d, struct krpc_query *q, const struct dht_address *to,
	       struct search *search, uint8_t slot)
{
	const struct family *f = &d->families[address_index(to)];
	uint64_t now = dht_now(d);
	struct table_node *n;
	struct query *open;
	uint32_t tid;

	_Static_assert(sizeof(tid) == KRPC_TID_SIZE, "tid");
	if (d->open_count >= QUERY_OPEN_MAX || d->query_count >= QUERY_MAX ||
	    !limit_query(&d->limit, limit_slot_of(&d->limit, to, now), now)) {
		d->stats.queries_held++;
		return ERR_BUSY;
	}
	dht_random(d, &tid, sizeof(tid));
	encode(d, q, to, tid);
	open = buf_err(&d->out) < 0 ? NULL : append(d);
	if (open == NULL)
		return UV_ENOMEM;
	*open = (struct query){ .tid = tid,
				.addr = *to,
				.method = q->method,
				.search = search,
				.slot = slot,
				.sent_ms = now,
				.soft_ms = now + soft_limit(f, to),
				.hard_ms = now + QUERY_HARD_MS };
	d->open_count++;
	d->stats.queries_out++;
	if (d->first_query_ms == 0)
		d->first_query_ms = now;
	n = table_find(&f->table, to);
	if (n != NULL)
		n->asked_ms = now;
	if (search != NULL) {
		search->open++;
		search->outstanding++;
	}
	dht_send(d, to);
	query_rearm(d, false);
	return 0;
}

struct query *query_find(struct dht *d, const uint8_t *tid, size_t len,
			 const struct dht_address *from)
{
	uint32_t want;

	if (len != sizeof(want))
		return NULL;
	memcpy(&want, tid, sizeof(want));
	for (size_t i = 0; i < d->query_count; i++) {
		if (d->queries[i].tid == want && dht_address_eq(&d->queries[i].addr, from))
			return &d->queries[i];
	}
	return NULL;
}

static int compare_rtt(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void note_rtt(struct family *f, uint64_t rtt_ms)
{
	uint16_t sorted[RTT_SAMPLES];
	unsigned n;

	f->rtts[f->rtt_count++ % RTT_SAMPLES] = (uint16_t)MIN(rtt_ms, (uint64_t)QUERY_HARD_MS);
	if (f->rtt_count % 4 != 0)
		return;
	n = MIN(f->rtt_count, (unsigned)RTT_SAMPLES);
	memcpy(sorted, f->rtts, sizeof(sorted));
	qsort(sorted, n, sizeof(sorted[0]), compare_rtt);
	f->rtt_p90_ms = MAX(sorted[n * 9 / 10], 1u);
}

/* Take it out of the list; what it reported to goes on without it. */
static struct query end(struct dht *d, struct query *q)
{
	struct query ended = *q;

	if (!q->late)
		d->open_count--;
	if (q->search != NULL) {
		q->search->open--;
		q->search->outstanding -= q->late ? 0 : 1;
	}
	*q = d->queries[--d->query_count];
	return ended;
}

static bool is_store(const struct query *q)
{
	return q->method == KRPC_ANNOUNCE_PEER || q->method == KRPC_PUT;
}

void query_answered(struct dht *d, struct query *q, const struct krpc_message *m)
{
	struct family *f = &d->families[address_index(&q->addr)];
	uint64_t now = dht_now(d), rtt = now - q->sent_ms;
	struct query ended = end(d, q);

	d->last_reply_ms = now;
	note_rtt(f, rtt);
	if (m->type == KRPC_REPLY && m->has_id && !dht_is_router(d, &ended.addr)) {
		table_answered(&f->table, &m->id, &ended.addr, rtt, now);
		contact_remove(f, &ended.addr);
	}
	if (ended.search == NULL)
		return;
	if (m->type == KRPC_REPLY && m->has_id)
		search_reply(ended.search, ended.slot, m, is_store(&ended));
	else
		search_failed(ended.search, ended.slot, is_store(&ended), ended.late);
}

static void fail(struct dht *d, struct query *q, bool charge)
{
	struct family *f = &d->families[address_index(&q->addr)];
	struct query ended = end(d, q);

	if (charge)
		table_failed(&f->table, &ended.addr);
	if (ended.search != NULL)
		search_failed(ended.search, ended.slot, is_store(&ended), ended.late);
}

void query_unreachable(struct dht *d, const struct dht_address *to)
{
	for (size_t i = 0; i < d->query_count; i++) {
		if (!dht_address_eq(&d->queries[i].addr, to))
			continue;
		d->stats.unreachable++;
		fail(d, &d->queries[i], true);
		return;
	}
}

void query_forget_search(struct dht *d, const struct search *s)
{
	for (size_t i = 0; i < d->query_count; i++) {
		if (d->queries[i].search == s)
			d->queries[i].search = NULL;
	}
}

/* What one deadline does may change the whole list: one at a time. */
static bool pass_one(struct dht *d, uint64_t now)
{
	for (size_t i = 0; i < d->query_count; i++) {
		struct query *q = &d->queries[i];

		if (!q->late && q->soft_ms <= now) {
			struct search *s = q->search;

			q->late = true;
			d->open_count--;
			if (s != NULL) {
				s->outstanding--;
				search_late(s, q->slot, is_store(q));
			}
			return true;
		}
		if (q->hard_ms <= now) {
			d->stats.timeouts++;
			fail(d, q, d->last_reply_ms >= q->sent_ms);
			return true;
		}
	}
	return false;
}

static void on_query_timer(struct runner_timer *t)
{
	struct dht *d = container_of(t, struct dht, query_timer);
	uint64_t now = dht_now(d);

	while (pass_one(d, now))
		;
	list_for_each_safe(node, &d->searches) {
		struct search *s = list_entry(node, struct search, node);

		if (s->held)
			search_pump(s);
	}
	query_rearm(d, false);
}

void query_rearm(struct dht *d, bool held)
{
	uint64_t due = UINT64_MAX;

	for (size_t i = 0; i < d->query_count; i++) {
		const struct query *q = &d->queries[i];

		due = MIN(due, q->late ? q->hard_ms : q->soft_ms);
	}
	list_for_each(node, &d->searches)
		held = held || list_entry(node, struct search, node)->held;
	if (held)
		due = MIN(due, dht_now(d) + QUERY_HELD_MS);
	d->query_timer.run = on_query_timer;
	if (due == UINT64_MAX)
		runner_timer_stop(d->runner, &d->query_timer);
	else
		runner_timer_start(d->runner, &d->query_timer, due);
}
