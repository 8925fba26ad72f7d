#include "profiler/ring.h"

#include <stdatomic.h>

#include "profiler/pages.h"

/* A bounded queue of many producers and one consumer. Each slot's `turn` says whose it is: position
 * = free for the producer of that position, position + 1 = filled. A producer takes a position with
 * one compare-and-swap and never waits; one that is descheduled between claim and publish holds the
 * consumer back, not the others. All zero at start, so the turn is kept relative to the slot. */

struct slot {
	_Atomic uint64_t turn; /* position - index, rounds of RING_SLOTS; +1 when filled */
	struct sample sample;
};

static struct slot slots[RING_SLOTS];
static _Atomic uint64_t head;
static uint64_t tail;

void ring_populate(void)
{
	pages_populate(slots, sizeof(slots), true);
}

struct sample *ring_claim(void)
{
	uint64_t pos = atomic_load_explicit(&head, memory_order_relaxed);

	for (;;) {
		struct slot *s = &slots[pos % RING_SLOTS];
		uint64_t turn = atomic_load_explicit(&s->turn, memory_order_acquire);
		uint64_t want = pos - pos % RING_SLOTS;

		if (turn == want) {
			if (atomic_compare_exchange_weak_explicit(&head, &pos, pos + 1,
								  memory_order_relaxed,
								  memory_order_relaxed))
				return &s->sample;
		} else if (turn < want) {
			return NULL;
		} else {
			pos = atomic_load_explicit(&head, memory_order_relaxed);
		}
	}
}

void ring_publish(struct sample *sample)
{
	struct slot *s = container_of(sample, struct slot, sample);

	atomic_fetch_add_explicit(&s->turn, 1, memory_order_release);
}

const struct sample *ring_peek(void)
{
	struct slot *s = &slots[tail % RING_SLOTS];

	if (atomic_load_explicit(&s->turn, memory_order_acquire) != tail - tail % RING_SLOTS + 1)
		return NULL;
	return &s->sample;
}

void ring_release(void)
{
	struct slot *s = &slots[tail % RING_SLOTS];

	tail++;
	atomic_fetch_add_explicit(&s->turn, RING_SLOTS - 1, memory_order_release);
}
