/* Statistics for readers, worked out from what figures.c keeps: at most TRACE_SAMPLE_MAX durations
 * per category, of which the wanted ranks are selected, not sorted. Some 10 µs for a category. */
#include "base/err.h"
#include "trace/store.h"

static const unsigned percents[] = { 10, 50, 90, 99 };

static void window_quantiles(uint64_t *v, size_t count, struct trace_stats *ret)
{
	uint64_t *const result[] = { &ret->p10_ns, &ret->p50_ns, &ret->p90_ns, &ret->p99_ns };
	size_t low = 0;

	ret->sample_count = count;
	for (size_t i = 0; i < ARRAY_SIZE(percents) && count > 0; i++) {
		size_t rank = nearest_rank(count, percents[i]);
		*result[i] = select_rank(v, low, count - 1, rank);
		low = rank; /* all before are smaller */
	}
	for (size_t i = low; i < count; i++)
		ret->max_ns = MAX(ret->max_ns, v[i]);
}

static void lifetime_quantiles(const struct figures *f, struct trace_lifetime *ret)
{
	uint64_t *const result[] = { &ret->p10_ns, &ret->p50_ns, &ret->p90_ns, &ret->p99_ns };
	uint64_t total = 0, below = 0;
	uint32_t bucket = 0;

	for (uint32_t i = 0; i < BUCKETS; i++)
		total += f->buckets[i];
	for (size_t i = 0; i < ARRAY_SIZE(percents) && total > 0; i++) {
		size_t rank = nearest_rank(total, percents[i]);
		while (below + f->buckets[bucket] <= rank)
			below += f->buckets[bucket++];
		*result[i] = MIN(bucket_middle_ns(bucket), f->of[SAMPLE_OK].max_ns);
	}
	ret->succeeded = f->of[SAMPLE_OK].count;
	ret->errored = f->of[SAMPLE_ERRORED].count;
	ret->cancelled = f->of[SAMPLE_CANCELLED].count;
	ret->max_ns = f->of[SAMPLE_OK].max_ns;
	ret->sum_ns = f->of[SAMPLE_OK].sum_ns;
}

/* The durations of those that failed, with one place for each at the end of the scratch words. */
static void errored_quantiles(uint64_t *v, size_t count, struct trace_stats *ret)
{
	ret->sample_errored = count;
	if (count == 0)
		return;
	ret->errored_p50_ns = select_rank(v, 0, count - 1, nearest_rank(count, 50));
	ret->errored_max_ns = select_rank(v, 0, count - 1, count - 1);
}

/* Sort the samples since then into those that succeeded, from the front of the scratch words, and
 * those that failed, from their end. */
static void take_samples(struct trace *t, const struct figures *f, uint64_t since_ns,
			 struct trace_stats *ret)
{
	uint64_t oldest = UINT64_MAX, newest = 0, start = UINT64_MAX, now = trace_now_ns(t);
	size_t ok = 0, failed = TRACE_SAMPLE_MAX;

	for (uint32_t i = 0; i < MIN(f->next, f->capacity); i++) {
		const struct sample *s = &f->samples[i];
		uint64_t ns = s->word >> 2;
		if (s->end_ns < since_ns)
			continue;
		oldest = MIN(oldest, s->end_ns);
		newest = MAX(newest, s->end_ns);
		start = MIN(start, s->end_ns - ns);
		switch ((enum sample_class)(s->word & 3)) {
		case SAMPLE_OK: t->scratch[ok++] = ns; break;
		case SAMPLE_CANCELLED: ret->sample_cancelled++; break;
		case SAMPLE_ERRORED:
		case SAMPLE_CLASSES: t->scratch[--failed] = ns; break;
		}
	}
	errored_quantiles(t->scratch + failed, TRACE_SAMPLE_MAX - failed, ret);
	window_quantiles(t->scratch, ok, ret);
	if (start == UINT64_MAX)
		return;
	uint64_t wall = clock_wall_ns(t->clock);
	ret->window_ns = now - MIN(start, now);
	ret->oldest_wall_ns = wall - (now - MIN(oldest, now));
	ret->newest_wall_ns = wall - (now - MIN(newest, now));
}

static void fill(struct trace *t, const struct figures *f, uint64_t since_ns,
		 const struct trace_thresholds *thresholds, struct trace_stats *ret)
{
	uint64_t now = trace_now_ns(t);

	if (f == NULL)
		return;
	take_samples(t, f, since_ns, ret);
	uint64_t over_ns = since_ns > 0 ? now - since_ns : ret->window_ns;
	uint64_t spans = ret->sample_count + ret->sample_errored + ret->sample_cancelled;
	if (over_ns > 0)
		ret->rate_per_s = (double)spans * 1e9 / (double)over_ns;
	lifetime_quantiles(f, &ret->lifetime);
	ret->p50_over = thresholds->p50_ns != 0 && ret->p50_ns > thresholds->p50_ns;
	ret->p90_over = thresholds->p90_ns != 0 && ret->p90_ns > thresholds->p90_ns;
	ret->p99_over = thresholds->p99_ns != 0 && ret->p99_ns > thresholds->p99_ns;
}

static void fill_category(struct trace *t, uint32_t id, uint64_t since_ns, struct trace_stats *ret)
{
	const struct category *c = &t->category[id];

	*ret = (struct trace_stats){
		.category = t->categories.text[id],
		.active = c->active,
		.finished = c->finished,
		.errored = c->errored,
		.cancelled = c->cancelled,
		.recent_roots = c->group[KEEP_RECENT].count,
		.slow_roots = c->slow.count + c->ever.count,
		.errored_roots = c->group[KEEP_ERRORED].count,
		.active_roots = c->group[KEEP_ACTIVE].count,
		.pinned_roots = c->group[KEEP_PINNED].count,
		.kept_bytes = (c->recent_cells + c->protected_cells) * CELL_SIZE,
		.limits = c->limits,
		.thresholds = c->thresholds,
	};
	fill(t, c->figures, since_ns, &c->thresholds, ret);
}

static size_t stats_since(struct trace *t, uint64_t since_ns, struct trace_stats *ret, size_t cap)
{
	uint8_t order[TRACE_CATEGORIES_MAX];
	size_t count = 0;

	for (uint32_t id = 0; id < t->categories.count; id++) {
		const struct category *c = &t->category[id];
		const char *name = t->categories.text[id];
		if (c->active + c->finished == 0 && c->figures == NULL)
			continue;
		size_t k = count++;
		for (; k > 0 && strcmp(name, t->categories.text[order[k - 1]]) < 0; k--)
			order[k] = order[k - 1];
		order[k] = (uint8_t)id;
	}
	count = MIN(count, cap);
	for (size_t i = 0; i < count; i++)
		fill_category(t, order[i], since_ns, &ret[i]);
	return count;
}

size_t trace_stats_all(struct trace *t, struct trace_stats *ret, size_t cap)
{
	return stats_since(t, 0, ret, cap);
}

size_t trace_stats_recent(struct trace *t, uint64_t window_ns, struct trace_stats *ret, size_t cap)
{
	uint64_t now = trace_now_ns(t);

	return stats_since(t, MAX(now - MIN(window_ns, now), UINT64_C(1)), ret, cap);
}

size_t trace_stats_stages(struct trace *t, const char *category, struct trace_stats *ret,
			  size_t cap)
{
	const struct figures *sorted[TRACE_STAGES_MAX];
	uint8_t stage[TRACE_STAGES_MAX];
	uint32_t id = 0;
	size_t count = 0;

	while (id < t->categories.count && strcmp(t->categories.text[id], category) != 0)
		id++;
	for (uint32_t s = 0; id < t->categories.count && s < t->stages.count; s++) {
		const struct figures *f = figures_of_stage(t, id, s);
		if (f == NULL)
			continue;
		size_t k = count++;
		for (; k > 0 && f->of[SAMPLE_OK].sum_ns > sorted[k - 1]->of[SAMPLE_OK].sum_ns;
		     k--) {
			sorted[k] = sorted[k - 1];
			stage[k] = stage[k - 1];
		}
		sorted[k] = f;
		stage[k] = (uint8_t)s;
	}
	count = MIN(count, cap);
	for (size_t i = 0; i < count; i++) {
		ret[i] = (struct trace_stats){ .category = t->categories.text[id],
					       .stage = t->stages.text[stage[i]] };
		fill(t, sorted[i], 0, &ret[i].thresholds, &ret[i]);
	}
	return count;
}

/* Id of a category that may not have been used yet; -1 when there are too many. */
static int category_id(struct trace *t, const char *category)
{
	uint8_t id = name_find(&t->categories, category);

	return id != 0 || strcmp(category, t->categories.text[0]) == 0 ? id : -1;
}

int trace_thresholds_set(struct trace *t, const char *category,
			 const struct trace_thresholds *thresholds)
{
	int id = category_id(t, category);

	if (id < 0)
		return ERR_LIMIT;
	t->category[id].thresholds = *thresholds;
	return 0;
}

int trace_limits_set(struct trace *t, const char *category, const struct trace_limits *limits)
{
	if (limits->slow_max > TRACE_SLOW_MAX || limits->errored_max > TRACE_LIMIT_MAX)
		return ERR_MALFORMED;
	int id = category_id(t, category);
	if (id < 0)
		return ERR_LIMIT;
	t->category[id].limits = *limits;
	retain_limit(t, (uint32_t)id);
	return 0;
}

static const struct figures *figures_named(const struct trace *t, const char *category)
{
	for (uint32_t id = 0; id < t->categories.count; id++)
		if (strcmp(t->categories.text[id], category) == 0)
			return t->category[id].figures;
	return NULL;
}

bool trace_stats_within(struct trace *t, const char *category, const uint64_t *bounds_ns, size_t n,
			uint64_t *ret)
{
	const struct figures *f = figures_named(t, category);

	if (f == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint32_t end = bucket_of(bounds_ns[i]);

		ret[i] = 0;
		for (uint32_t k = 0; k < end; k++)
			ret[i] += f->buckets[k];
	}
	return true;
}

bool trace_stats_history(struct trace *t, const char *category, uint64_t window_ns,
			 struct trace_history *ret, size_t count)
{
	uint64_t now = trace_now_ns(t);
	uint64_t stretch = MAX(window_ns / MAX(count, (size_t)1), UINT64_C(1));
	const struct figures *f = figures_named(t, category);

	if (f == NULL)
		return false;
	memset(ret, 0, count * sizeof(*ret));
	for (uint32_t i = 0; i < MIN(f->next, f->capacity); i++) {
		const struct sample *s = &f->samples[i];
		uint64_t ago = (now - MIN(s->end_ns, now)) / stretch;

		if (ago >= count)
			continue;
		size_t k = count - 1 - (size_t)ago;
		if ((s->word & 3) == SAMPLE_OK)
			ret[k].succeeded++;
		else
			ret[k].failed++;
		ret[k].max_ns = MAX(ret[k].max_ns, s->word >> 2);
	}
	return true;
}
