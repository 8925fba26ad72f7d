/* Figures per category, over every span that is kept. Percentiles are exact: the durations are
 * gathered per category in the store's scratch words, and the wanted ranks are selected, not
 * sorted. */
#include "trace/store.h"

/* Put the rank-th smallest of v[low..high] at its place, smaller ones before it, larger ones
 * behind. */
static uint64_t select_rank(uint64_t *v, size_t low, size_t high, size_t rank)
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

/* Nearest rank: the smallest value with at least p percent of the values at or below it. */
static size_t nearest_rank(size_t count, unsigned percent)
{
	size_t rank = (count * percent + 99) / 100;

	return rank == 0 ? 0 : rank - 1;
}

static void percentiles(uint64_t *v, size_t count, struct trace_stats *ret)
{
	static const unsigned percent[] = { 10, 50, 90, 99, 100 };
	uint64_t *const result[] = { &ret->p10_ns, &ret->p50_ns, &ret->p90_ns, &ret->p99_ns,
				     &ret->max_ns };
	size_t low = 0;

	for (size_t i = 0; i < ARRAY_SIZE(percent) && count > 0; i++) {
		size_t rank = nearest_rank(count, percent[i]);
		*result[i] = select_rank(v, low, count - 1, rank);
		low = rank; /* all before are smaller */
	}
}

static void count_node(struct trace_stats *s, const struct node *n, uint64_t now_ns)
{
	if (n->flags & NODE_OPEN) {
		s->active++;
		return;
	}
	s->finished++;
	if (n->status != 0) {
		s->errored++;
		return;
	}
	s->sample_count++;
	s->window_ns = MAX(s->window_ns, now_ns - n->start_ns);
}

static bool in_sample(const struct node *n)
{
	return !(n->flags & NODE_OPEN) && n->status == 0;
}

size_t trace_stats_all(struct trace *t, struct trace_stats *ret, size_t cap)
{
	struct trace_stats all[TRACE_CATEGORIES_MAX] = { 0 };
	size_t next[TRACE_CATEGORIES_MAX], count = 0, base = 0;
	uint64_t now = clock_now_ns(t->clock);

	for (uint32_t i = 1; i < t->cell_high; i++)
		if (t->cells[i].generation & 1)
			count_node(&all[t->cells[i].node.category], &t->cells[i].node, now);
	for (uint32_t c = 0; c < t->categories.count; c++) {
		next[c] = base;
		base += all[c].sample_count;
	}
	for (uint32_t i = 1; i < t->cell_high; i++) {
		const struct node *n = &t->cells[i].node;
		if ((n->generation & 1) && in_sample(n))
			t->scratch[next[n->category]++] = n->end_ns - n->start_ns;
	}
	for (uint32_t c = 0; c < t->categories.count; c++) {
		struct trace_stats *s = &all[c];
		s->category = t->categories.text[c];
		percentiles(t->scratch + next[c] - s->sample_count, s->sample_count, s);
		if (s->active + s->finished == 0)
			continue;
		size_t k = MIN(count, cap);
		for (; k > 0 && strcmp(s->category, ret[k - 1].category) < 0; k--)
			if (k < cap)
				ret[k] = ret[k - 1];
		if (k < cap)
			ret[k] = *s;
		count = MIN(count + 1, cap);
	}
	return count;
}
