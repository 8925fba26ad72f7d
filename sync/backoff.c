/* The ladder: the n-th failure in a row benches a peer for a random time in [L/2, L], L = BASE *
 * 2^(n-1) up to MAX. Eligibility never touches the ladder: a peer that is asked again after its
 * bench and fails again is one rung higher. Only success, or quiet time, brings it down: one rung
 * per FORGET_MS since the last failure. */
#include "sync/sync.h"

enum { FAILURES_MAX = 32 };

static void forget(struct sync_backoff *b, uint64_t now_ms)
{
	uint64_t rungs;

	if (now_ms <= b->last_failure_ms)
		return;
	rungs = (now_ms - b->last_failure_ms) / SYNC_BACKOFF_FORGET_MS;
	b->failures -= (uint32_t)MIN((uint64_t)b->failures, rungs);
}

void sync_backoff_failed(struct sync_backoff *b, uint64_t now_ms, uint64_t random)
{
	uint64_t ladder_ms = SYNC_BACKOFF_BASE_MS;

	forget(b, now_ms);
	if (b->failures < FAILURES_MAX)
		b->failures++;
	for (uint32_t n = 1; n < b->failures && ladder_ms < SYNC_BACKOFF_MAX_MS; n++)
		ladder_ms *= 2;
	ladder_ms = MIN(ladder_ms, (uint64_t)SYNC_BACKOFF_MAX_MS);
	b->last_failure_ms = now_ms;
	b->until_ms = now_ms + ladder_ms / 2 + random % (ladder_ms / 2 + 1);
}

void sync_backoff_ok(struct sync_backoff *b)
{
	*b = (struct sync_backoff){ 0 };
}

bool sync_backoff_eligible(const struct sync_backoff *b, uint64_t now_ms)
{
	return now_ms >= b->until_ms;
}
