#include "discovery/bench.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct bench_entry {
	struct public_key peer;
	struct sync_backoff backoff;
	uint32_t offences;
	uint64_t wasted_ms, wasted_bytes;
	char why[SYNC_WHY_SIZE];
};

void bench_init(struct bench *b)
{
	map_init(&b->peers, DISCOVERY_BENCH_MAX);
}

void bench_fini(struct bench *b)
{
	for (struct map_iter it = map_first(&b->peers); it.value != NULL; map_next(&it))
		mem_free(it.value);
	map_fini(&b->peers);
}

size_t bench_count(const struct bench *b)
{
	return map_count(&b->peers);
}

static struct bench_entry *get(const struct bench *b, const struct public_key *peer)
{
	return map_get(&b->peers, peer->bytes, sizeof(peer->bytes));
}

static void remove_entry(struct bench *b, const struct public_key *peer)
{
	mem_free(map_del(&b->peers, peer->bytes, sizeof(peer->bytes)));
}

static void make_room(struct bench *b)
{
	const struct bench_entry *oldest = NULL;

	if (map_count(&b->peers) < DISCOVERY_BENCH_MAX)
		return;
	for (struct map_iter it = map_first(&b->peers); it.value != NULL; map_next(&it)) {
		const struct bench_entry *e = it.value;

		if (oldest == NULL || e->backoff.last_failure_ms < oldest->backoff.last_failure_ms)
			oldest = e;
	}
	if (oldest != NULL) {
		struct public_key peer = oldest->peer;

		remove_entry(b, &peer);
	}
}

static struct bench_entry *get_or_add(struct bench *b, const struct public_key *peer)
{
	struct bench_entry *e = get(b, peer);

	if (e != NULL)
		return e;
	make_room(b);
	e = mem_alloc(sizeof(*e));
	if (e == NULL)
		return NULL;
	e->peer = *peer;
	if (map_put(&b->peers, peer->bytes, sizeof(peer->bytes), e) < 0)
		return mem_free(e);
	return e;
}

void bench_failed(struct bench *b, const struct sync_peer_outcome *o, struct runner *r)
{
	struct bench_entry *e = get_or_add(b, &o->target.peer);

	if (e == NULL)
		return;
	sync_backoff_failed(&e->backoff, runner_now_ms(r), runner_random(r));
	e->offences += o->offended ? 1 : 0;
	e->wasted_ms += o->wasted_ms;
	e->wasted_bytes += o->wasted_bytes;
	snprintf(e->why, sizeof(e->why), "%s", o->why[0] != '\0' ? o->why : err_str(o->status));
}

void bench_ok(struct bench *b, const struct sync_peer_outcome *o, uint64_t now_ms)
{
	const struct bench_entry *e = get(b, &o->target.peer);

	if (e != NULL &&
	    (e->offences == 0 || (o->blobs > 0 && sync_backoff_eligible(&e->backoff, now_ms))))
		remove_entry(b, &o->target.peer);
}

static struct discovery_benched describe(const struct bench_entry *e, uint64_t now_ms)
{
	struct discovery_benched d = { .peer = e->peer,
				       .failures = e->backoff.failures,
				       .offences = e->offences,
				       .wasted_ms = e->wasted_ms,
				       .wasted_bytes = e->wasted_bytes };

	d.ago_ms = now_ms - e->backoff.last_failure_ms;
	d.for_ms = e->backoff.until_ms > now_ms ? e->backoff.until_ms - now_ms : 0;
	memcpy(d.why, e->why, sizeof(d.why));
	return d;
}

bool bench_find(const struct bench *b, const struct public_key *peer, uint64_t now_ms,
		struct discovery_benched *ret)
{
	const struct bench_entry *e = get(b, peer);

	if (e != NULL)
		*ret = describe(e, now_ms);
	return e != NULL;
}

void bench_each(const struct bench *b, uint64_t now_ms,
		bool (*visit)(void *data, const struct discovery_benched *b), void *data)
{
	for (struct map_iter it = map_first(&b->peers); it.value != NULL; map_next(&it)) {
		struct discovery_benched d = describe(it.value, now_ms);

		if (!visit(data, &d))
			return;
	}
}

bool bench_eligible(const struct bench *b, const struct public_key *peer, uint64_t now_ms)
{
	const struct bench_entry *e = get(b, peer);

	return e == NULL || sync_backoff_eligible(&e->backoff, now_ms);
}
