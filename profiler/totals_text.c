#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "profiler/goroutine.h"
#include "profiler/heap.h"
#include "profiler/memstats.h"
#include "profiler/totals.h"

/* runtime/pprof's texts (debug=1), and what gperftools' tools read at /pprof/heap and
 * /pprof/contention:
 *
 *   heap        "heap profile: N: B [N: B] @ heap/R", then "n: b [n: b] @ 0x…": in use,
 * [allocated]. As they were sampled: readers scale them. R is twice the rate; heap_v2/R is the rate.
 *   Once the rate was changed they are scaled already, each by its own, and the rate is told as 1
 *   contention  "--- contention:" or "--- mutex:", attributes, then "cycles count @ 0x…". A cycle
 *               is a nanosecond
 *
 * Addresses are return addresses: readers subtract one from each. Readers refuse an attribute they
 * do not know, objects of no bytes' worth of count, an empty stack; lines that begin with '#' are
 * passed over. */

enum { RAW0 = STACK_RAW, RAW1, RAW3 = RAW0 + 3 };

struct record_list {
	const struct stack **list;
	unsigned n;
};

/* Largest `by` first, then by address: the same state gives the same text. */
static int compare(const void *a, const void *b, unsigned by)
{
	const struct stack *x = *(const struct stack *const *)a,
			   *y = *(const struct stack *const *)b;

	if (x->values[by] != y->values[by])
		return x->values[by] > y->values[by] ? -1 : 1;
	for (unsigned i = 0; i < MIN(x->n, y->n); i++)
		if (x->pcs[i] != y->pcs[i])
			return x->pcs[i] < y->pcs[i] ? -1 : 1;
	return (int)x->n - (int)y->n;
}

static int by_bytes_in_use(const void *a, const void *b)
{
	return compare(a, b, RAW3);
}

static int by_delay(const void *a, const void *b)
{
	return compare(a, b, RAW1);
}

static bool sort_records(struct buf *out, struct record_list *ret, const struct stacks *stacks,
			 int (*order)(const void *a, const void *b))
{
	ret->n = 0;
	ret->list = mem_alloc_array(MAX(stacks->count, 1u), sizeof(*ret->list));
	if (ret->list == NULL) {
		(void)buf_reserve(out, SIZE_MAX); /* sticks */
		return false;
	}
	for (const struct stack *k = stacks->first; k != NULL; k = k->next)
		if (k->n > 0 && k->values[RAW0] > 0)
			ret->list[ret->n++] = k;
	qsort(ret->list, ret->n, sizeof(*ret->list), order);
	return true;
}

static void write_stack(struct buf *out, const struct stack *k, bool legacy)
{
	buf_write_str(out, " @");
	for (unsigned i = 0; i < k->n; i++)
		buf_printf(out, " %#" PRIxPTR, k->pcs[i] + 1);
	buf_write_str(out, "\n");
	if (legacy)
		return;
	record_frames_write(out, k);
	buf_write_str(out, "\n");
}

static void write_heap_totals(struct buf *out, const int64_t values[4])
{
	buf_printf(out, "%" PRId64 ": %" PRId64 " [%" PRId64 ": %" PRId64 "]", values[2], values[3],
		   values[0], values[1]);
}

void heap_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy)
{
	unsigned first = heap_rate_was_changed() ? 0 : RAW0;
	int64_t sum[STACK_VALUES_MAX] = { 0 };
	struct record_list r;

	if (!sort_records(out, &r, stacks, by_bytes_in_use))
		return;
	for (unsigned i = 0; i < r.n; i++)
		for (unsigned v = 0; v < STACK_VALUES_MAX; v++)
			sum[v] += r.list[i]->values[v];
	buf_write_str(out, "heap profile: ");
	write_heap_totals(out, sum + first);
	rate = first == 0 ? 1 : MAX(rate, INT64_C(1));
	buf_printf(out, legacy ? " @ heap_v2/%" PRId64 "\n" : " @ heap/%" PRId64 "\n",
		   legacy ? rate : 2 * rate);
	for (unsigned i = 0; i < r.n; i++) {
		write_heap_totals(out, r.list[i]->values + first);
		write_stack(out, r.list[i], legacy);
	}
	if (!legacy)
		memstats_write(out);
	mem_free(r.list);
}

static void write_contention(struct buf *out, const struct stacks *stacks, bool legacy)
{
	struct record_list r;

	if (!sort_records(out, &r, stacks, by_delay))
		return;
	for (unsigned i = 0; i < r.n; i++) {
		buf_printf(out, "%" PRId64 " %" PRId64, r.list[i]->values[RAW1],
			   r.list[i]->values[RAW0]);
		write_stack(out, r.list[i], legacy);
	}
	mem_free(r.list);
}

void block_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy)
{
	buf_write_str(out, "--- contention:\ncycles/second=1000000000\n");
	write_contention(out, stacks, legacy);
}

void mutex_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy)
{
	buf_printf(out, "--- mutex:\ncycles/second=1000000000\nsampling period=%" PRId64 "\n",
		   MAX(rate, INT64_C(1)));
	write_contention(out, stacks, legacy);
}
