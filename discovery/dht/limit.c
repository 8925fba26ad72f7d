#include "discovery/dht/limit.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"

enum { MILLI = 1000 };

void limit_bucket_fill(struct limit_bucket *b, uint64_t burst)
{
	b->level = burst * MILLI;
}

static void refill(struct limit_bucket *b, uint64_t rate, uint64_t burst, uint64_t now_ms)
{
	uint64_t passed_ms = MIN(now_ms - b->since_ms, (uint64_t)1 << 32);

	b->since_ms = now_ms;
	b->level = MIN(b->level + passed_ms * rate, burst * MILLI);
}

bool limit_bucket_take(struct limit_bucket *b, uint64_t rate, uint64_t burst, uint64_t n,
		       uint64_t now_ms)
{
	refill(b, rate, burst, now_ms);
	if (b->level < n * MILLI)
		return false;
	b->level -= n * MILLI;
	return true;
}

int limit_init(struct limit *l, const uint8_t hash_key[16], uint64_t now_ms)
{
	*l = (struct limit){ 0 };
	memcpy(l->hash_key, hash_key, sizeof(l->hash_key));
	l->queries.since_ms = l->reply_bytes.since_ms = now_ms;
	limit_bucket_fill(&l->queries, LIMIT_QUERIES_BURST);
	limit_bucket_fill(&l->reply_bytes, LIMIT_REPLY_BYTES_BURST);
	l->slots = mem_alloc_array(LIMIT_SLOTS, sizeof(*l->slots));
	return l->slots == NULL ? UV_ENOMEM : 0;
}

void limit_fini(struct limit *l)
{
	l->slots = mem_free(l->slots);
}

struct limit_slot *limit_slot_of(struct limit *l, const struct dht_address *addr, uint64_t now_ms)
{
	uint8_t text[DHT_COMPACT_MAX];
	size_t len = address_charge_key(addr, text);
	struct limit_slot *set, *oldest;
	uint64_t key;

	_Static_assert(sizeof(l->hash_key) == crypto_shorthash_KEYBYTES, "SipHash key");
	_Static_assert(sizeof(key) == crypto_shorthash_BYTES, "SipHash");
	crypto_shorthash((uint8_t *)&key, text, len, l->hash_key);
	key |= 1;
	set = &l->slots[(key >> 8) % (LIMIT_SLOTS / LIMIT_WAYS) * LIMIT_WAYS];
	oldest = set;
	for (size_t i = 0; i < LIMIT_WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].used_ms < oldest->used_ms || set[i].key == 0)
			oldest = &set[i];
	}
	*oldest = (struct limit_slot){ .key = key, .used_ms = now_ms };
	oldest->in.since_ms = oldest->out.since_ms = now_ms;
	limit_bucket_fill(&oldest->in, LIMIT_IN_BURST);
	limit_bucket_fill(&oldest->out, LIMIT_OUT_BURST);
	return oldest;
}

bool limit_in(struct limit_slot *s, uint64_t now_ms)
{
	s->used_ms = now_ms;
	return limit_bucket_take(&s->in, LIMIT_IN_PER_SEC, LIMIT_IN_BURST, 1, now_ms);
}

bool limit_query(struct limit *l, struct limit_slot *s, uint64_t now_ms)
{
	refill(&l->queries, LIMIT_QUERIES_PER_SEC, LIMIT_QUERIES_BURST, now_ms);
	if (l->queries.level < MILLI ||
	    !limit_bucket_take(&s->out, LIMIT_OUT_PER_SEC, LIMIT_OUT_BURST, 1, now_ms))
		return false;
	l->queries.level -= MILLI;
	s->used_ms = s->sent_ms = now_ms;
	return true;
}

bool limit_reply(struct limit *l, size_t bytes, uint64_t now_ms)
{
	return limit_bucket_take(&l->reply_bytes, LIMIT_REPLY_BYTES_PER_SEC,
				 LIMIT_REPLY_BYTES_BURST, bytes, now_ms);
}
