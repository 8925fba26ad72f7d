#include <string.h>

#include "base/err.h"
#include "profiler/goroutine.h"
#include "profiler/pprof.h"

/* gperftools' binary CPU profile (docs/cpuprofile-fileformat.adoc of that project): words of eight
 * bytes, little-endian:
 *
 *   0 3 0 PERIOD_US 0
 *   { COUNT NPCS pc… }*      leaf as interrupted, then return addresses
 *   0 1 0
 *   the text of /proc/self/maps
 *
 * What can go wrong: readers take a second frame that (nearly) all stacks have for the signal
 * handler's and delete it, up to twice, since gperftools' own stacks begin like that. So two frames
 * that are always the same stand behind each leaf, for them to delete. */

__attribute__((noinline)) static void handler_frame(void)
{
	__asm__ volatile("nop");
}

static void write_word(struct buf *out, uint64_t v)
{
	buf_write(out, &v, sizeof(v));
}

static void write_stack(struct buf *out, const struct stack *k)
{
	uintptr_t frame = (uintptr_t)handler_frame;

	write_word(out, (uint64_t)k->values[0]);
	write_word(out, k->n + 2);
	write_word(out, k->pcs[0]);
	write_word(out, frame + 1);
	write_word(out, frame + 2);
	for (unsigned i = 1; i < k->n; i++)
		write_word(out, k->pcs[i] + 1);
}

int gperftools_write(struct buf *out, const struct stacks *stacks, uint64_t period_ns)
{
	const uint64_t head[] = { 0, 3, 0, period_ns / 1000, 0 };
	const uint64_t tail[] = { 0, 1, 0 };

	for (size_t i = 0; i < ARRAY_SIZE(head); i++)
		write_word(out, head[i]);
	for (const struct stack *k = stacks->first; k != NULL; k = k->next)
		if (k->values[0] > 0)
			write_stack(out, k);
	for (size_t i = 0; i < ARRAY_SIZE(tail); i++)
		write_word(out, tail[i]);
	executable_maps_write(out);
	return buf_err(out);
}
