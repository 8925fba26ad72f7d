/* Durations of transactions: eight linear steps per power of two of microseconds, so at most 12.5 %
 * off. */
#include "store/internal.h"

static unsigned bucket_of(uint64_t us)
{
	unsigned octave;

	if (us < STORE_TX_STEPS)
		return (unsigned)us;
	octave = 63 - (unsigned)__builtin_clzll(us); /* >= 3 */
	if (octave - 2 >= STORE_TX_OCTAVES)
		return STORE_TX_OCTAVES * STORE_TX_STEPS - 1;
	return (octave - 2) * STORE_TX_STEPS +
	       (unsigned)((us >> (octave - 3)) & (STORE_TX_STEPS - 1));
}

static uint64_t bucket_end(unsigned bucket)
{
	unsigned octave = bucket / STORE_TX_STEPS + 2;
	uint64_t step = bucket % STORE_TX_STEPS;

	if (bucket < STORE_TX_STEPS)
		return bucket;
	return ((STORE_TX_STEPS + step + 1) << (octave - 3)) - 1;
}

void tx_histogram_add(struct tx_histogram *h, uint64_t us)
{
	h->buckets[bucket_of(us)]++;
	h->count++;
	h->max_us = MAX(h->max_us, us);
}

uint64_t tx_histogram_permille(const struct tx_histogram *h, unsigned permille)
{
	uint64_t rank = (h->count * permille + 999) / 1000, seen = 0;

	if (h->count == 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(h->buckets); i++) {
		seen += h->buckets[i];
		if (seen >= MAX(rank, 1))
			return MIN(bucket_end(i), h->max_us);
	}
	return h->max_us;
}

static void turn(struct tx_recent *r, uint64_t now_ns)
{
	uint64_t period_ns = STORE_TX_PERIOD_S * NS_PER_SEC;

	if (now_ns < r->since_ns + period_ns)
		return;
	if (now_ns - r->since_ns < 2 * period_ns)
		r->before = r->now;
	else
		r->before = (struct tx_histogram){ 0 };
	r->now = (struct tx_histogram){ 0 };
	r->since_ns = now_ns;
}

void tx_recent_add(struct tx_recent *r, uint64_t us, uint64_t now_ns)
{
	turn(r, now_ns);
	tx_histogram_add(&r->now, us);
}

uint64_t tx_recent_permille(struct tx_recent *r, unsigned permille, uint64_t now_ns)
{
	struct tx_histogram both;

	turn(r, now_ns);
	both = r->before;
	both.count += r->now.count;
	both.max_us = MAX(both.max_us, r->now.max_us);
	for (unsigned i = 0; i < ARRAY_SIZE(both.buckets); i++)
		both.buckets[i] += r->now.buckets[i];
	return tx_histogram_permille(&both, permille);
}

void store_stats(struct store *s, struct store_stats *ret)
{
	uint64_t now_ns = clock_now_ns(s->clock);

	pthread_mutex_lock(&s->mutex);
	*ret = s->stats;
	ret->queue_depth = s->queued;
	if (s->queued > 0 || s->running)
		ret->stuck_ms = (now_ns - MIN(s->progress_ns, now_ns)) / NS_PER_MS;
	ret->transactions = s->tx_count;
	ret->tx_max_us = s->tx_max_us;
	ret->tx_p50_us = tx_recent_permille(&s->tx, 500, now_ns);
	ret->tx_p99_us = tx_recent_permille(&s->tx, 990, now_ns);
	pthread_mutex_unlock(&s->mutex);
}

uint64_t store_commit_count(struct store *s)
{
	uint64_t commits;

	pthread_mutex_lock(&s->mutex);
	commits = s->stats.commits;
	pthread_mutex_unlock(&s->mutex);
	return commits;
}

int tx_begin(struct store *s)
{
	s->tx_begun_ns = clock_now_ns(s->clock);
	return db_begin(&s->db);
}

int tx_commit(struct store *s)
{
	int rc = db_commit(&s->db);
	uint64_t now_ns = clock_now_ns(s->clock), us = (now_ns - s->tx_begun_ns) / 1000;

	if (rc == 0) {
		pthread_mutex_lock(&s->mutex);
		s->tx_count++;
		s->tx_max_us = MAX(s->tx_max_us, us);
		tx_recent_add(&s->tx, us, now_ns);
		pthread_mutex_unlock(&s->mutex);
	}
	return rc;
}

void tx_rollback(struct store *s)
{
	db_rollback(&s->db);
}
