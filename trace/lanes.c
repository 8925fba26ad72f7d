/* Lanes for viewers that draw slices of one thread as a stack: whatever is on a lane must nest.
 *
 * A span is put on its parent's lane if it lies inside it and behind its siblings there; otherwise
 * on the lane that has been free longest, or a new one. Spans come parents first, siblings by
 * start, and what is put on a lane by itself ends before the next one there begins. An open span
 * never ends. */
#include "trace/writer.h"

#include "base/err.h"

static void swap(struct lane *a, struct lane *b)
{
	struct lane c = *a;

	*a = *b;
	*b = c;
}

static void sift_up(struct lanes *l, uint32_t i)
{
	for (; i > 0 && l->heap[i].end_ns < l->heap[(i - 1) / 2].end_ns; i = (i - 1) / 2)
		swap(&l->heap[i], &l->heap[(i - 1) / 2]);
}

static void sift_down(struct lanes *l, uint32_t i)
{
	for (;;) {
		uint32_t least = i;
		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < l->heap_count;
		     child++)
			if (l->heap[child].end_ns < l->heap[least].end_ns)
				least = child;
		if (least == i)
			return;
		swap(&l->heap[i], &l->heap[least]);
		i = least;
	}
}

void lanes_reset(struct lanes *l)
{
	l->count = l->heap_count = 0;
}

int lanes_alone(struct lanes *l, uint64_t start_ns, uint64_t end_ns, uint32_t *ret_lane)
{
	if (l->heap_count > 0 && l->heap[0].end_ns <= start_ns) {
		*ret_lane = l->heap[0].id;
		l->heap[0].end_ns = end_ns;
		sift_down(l, 0);
		return 0;
	}
	if (l->heap_count == l->heap_cap) {
		size_t cap = l->heap_cap == 0 ? 16 : l->heap_cap * 2;
		struct lane *heap = mem_realloc(l->heap, cap * sizeof(*heap));
		if (heap == NULL)
			return UV_ENOMEM;
		l->heap = heap;
		l->heap_cap = cap;
	}
	*ret_lane = ++l->count;
	l->heap[l->heap_count] = (struct lane){ end_ns, l->count };
	sift_up(l, l->heap_count++);
	return 0;
}

int lanes_place(struct lanes *l, uint32_t depth, uint64_t start_ns, uint64_t end_ns,
		uint32_t *ret_lane)
{
	uint32_t lane;
	int rc = 0;

	if (depth > 0 && start_ns >= l->stack[depth - 1].cursor_ns &&
	    end_ns <= l->stack[depth - 1].end_ns) {
		lane = l->stack[depth - 1].lane;
		l->stack[depth - 1].cursor_ns = end_ns;
	} else {
		rc = lanes_alone(l, start_ns, end_ns, &lane);
	}
	if (rc != 0)
		return rc;
	l->stack[depth].lane = *ret_lane = lane;
	l->stack[depth].cursor_ns = start_ns;
	l->stack[depth].end_ns = end_ns;
	return 0;
}
