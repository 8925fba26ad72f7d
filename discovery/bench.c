#include "discovery/bench.h"

#include "base/mem.h"

struct bench_entry {
	struct public_key peer;
	struct sync_backoff backoff;
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

void bench_failed(struct bench *b, const struct public_key *peer, struct runner *r)
{
	struct bench_entry *e = get(b, peer);

	if (e == NULL) {
		make_room(b);
		e = mem_alloc(sizeof(*e));
		if (e == NULL)
			return;
		e->peer = *peer;
		if (map_put(&b->peers, peer->bytes, sizeof(peer->bytes), e) < 0) {
			mem_free(e);
			return;
		}
	}
	sync_backoff_failed(&e->backoff, runner_now_ms(r), runner_random(r));
}

void bench_ok(struct bench *b, const struct public_key *peer)
{
	remove_entry(b, peer);
}

bool bench_eligible(const struct bench *b, const struct public_key *peer, uint64_t now_ms)
{
	const struct bench_entry *e = get(b, peer);

	return e == NULL || sync_backoff_eligible(&e->backoff, now_ms);
}
