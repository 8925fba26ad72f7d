/* What is remembered of spans beyond their own life: per category, and per stage in it, the latest
 * durations as they were (for exact percentiles) and all of them in a histogram.
 *
 * Each has its place in a block of the budget set aside for that, taken when it is first needed and
 * never given back. When the block is full, further categories and stages go without figures, which
 * is counted. */
#include "base/err.h"
#include "trace/store.h"

enum sample_class status_class(int status)
{
	if (status == 0)
		return SAMPLE_OK;
	return status == UV_ECANCELED ? SAMPLE_CANCELLED : SAMPLE_ERRORED;
}

uint64_t bucket_middle_ns(uint32_t bucket)
{
	uint32_t shift = bucket >> BUCKET_BITS;

	/* The first two ranges are exact; later ones begin at 32 << shift. */
	if (shift <= 1)
		return bucket;
	shift--;
	uint64_t low = ((uint64_t)bucket - ((uint64_t)shift << BUCKET_BITS)) << shift;
	return low + (UINT64_C(1) << shift) / 2;
}

static struct figures *figures_new(struct trace *t, uint32_t samples)
{
	size_t size = sizeof(struct figures) + samples * sizeof(struct sample);
	size_t whole = (size + BUCKETS * sizeof(uint32_t) + 63) & ~(size_t)63;

	if (whole > t->stats_size - t->stats_used) {
		t->counts.dropped_figures++;
		return NULL;
	}
	struct figures *f = (void *)(t->stats + t->stats_used);
	t->stats_used += (uint32_t)whole;
	f->capacity = samples;
	f->buckets = (uint32_t *)(void *)((uint8_t *)f + size);
	return f;
}

static inline void figures_add(struct figures *f, uint64_t end_ns, uint64_t ns,
			       enum sample_class class)
{
	struct sample *s = &f->samples[f->next++ & (f->capacity - 1)];

	s->end_ns = end_ns;
	s->word = ns << 2 | class;
	f->of[class].count++;
	f->of[class].sum_ns += ns;
	f->of[class].max_ns = MAX(f->of[class].max_ns, ns);
	if (class == SAMPLE_OK) {
		uint32_t *count = &f->buckets[bucket_of(ns)];
		*count += *count != UINT32_MAX;
	}
}

const struct figures *figures_of_stage(struct trace *t, uint32_t category, uint32_t stage)
{
	uint32_t place = t->stage_figures[category][stage];

	if (place == 0 || place == UINT16_MAX)
		return NULL;
	return (const void *)(t->stats + (size_t)(place - 1) * 64);
}

static void add_stage(struct trace *t, const struct node *n, uint32_t stage, uint64_t ns,
		      enum sample_class class)
{
	uint16_t *place = &t->stage_figures[n->category][stage];

	if (*place == 0) {
		const struct figures *f = figures_new(t, t->samples / STAGE_SAMPLES_SHARE);
		size_t at = f == NULL ? UINT16_MAX :
					(size_t)((const uint8_t *)f - t->stats) / 64 + 1;
		*place = (uint16_t)at;
	}
	if (*place != UINT16_MAX)
		figures_add((struct figures *)(void *)(t->stats + (size_t)(*place - 1) * 64),
			    n->end_ns, ns, class);
}

/* A stage that a span was in several times counts once, with its sum. */
static void add_stages(struct trace *t, const struct node *n, enum sample_class class)
{
	uint64_t sum[TRACE_STAGES_MAX] = { 0 };
	UNINITIALIZED struct part_iter it;
	uint32_t left = n->stage_count;
	const struct part *p;

	part_iter_init(&it, t, n);
	while (left > 0 && (p = part_next(&it)) != NULL)
		if (p->type == PART_STAGE) {
			sum[p->id] += ((const struct stage_part *)(const void *)p)->duration_ns;
			left--;
		}
	/* A stage that goes on is in the parts too, with its time so far; the node has all of it.
	 */
	if (n->end_ns > n->stage_since_ns)
		sum[n->stage] += n->end_ns - n->stage_since_ns;
	for (uint32_t id = 0; id < t->stages.count; id++) {
		sum[id] += stage_folded_ns(t, n, id);
		if (sum[id] > 0)
			add_stage(t, n, id, sum[id], class);
	}
}

void figures_add_span(struct trace *t, const struct node *n)
{
	struct category *c = &t->category[n->category];
	enum sample_class class = status_class(n->status);

	c->active--;
	c->finished++;
	if (__builtin_expect(class != SAMPLE_OK, 0)) {
		c->errored++;
		c->cancelled += class == SAMPLE_CANCELLED;
	}
	if (__builtin_expect(c->figures == NULL, 0)) {
		if (!c->figures_tried)
			c->figures = figures_new(t, t->samples);
		c->figures_tried = true;
		if (c->figures == NULL)
			return;
	}
	figures_add(c->figures, n->end_ns, n->end_ns - n->start_ns, class);
	if (__builtin_expect(n->stage != STAGE_NONE, 0))
		add_stages(t, n, class);
}

uint64_t select_rank(uint64_t *v, size_t low, size_t high, size_t rank)
{
	while (low < high) {
		uint64_t a = v[low], b = v[low + (high - low) / 2], c = v[high];
		uint64_t pivot = MAX(MIN(a, b), MIN(MAX(a, b), c));
		size_t i = low, j = high;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i > j)
				break;
			uint64_t swap = v[i];
			v[i++] = v[j];
			v[j] = swap;
			if (j == 0)
				break;
			j--;
		}
		if (rank <= j)
			high = j;
		else if (rank >= i)
			low = i;
		else
			break;
	}
	return v[rank];
}

size_t nearest_rank(size_t count, unsigned percent)
{
	size_t rank = (count * percent + 99) / 100;

	return rank == 0 ? 0 : rank - 1;
}
