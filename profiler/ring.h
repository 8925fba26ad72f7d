/* Samples on their way from the signal handlers of all threads to the collector. Private to
 * profiler/. */
#pragma once

#include "profiler/thread.h"

enum { RING_SLOTS = 2048 };

struct sample {
	uint64_t period_ns; /* of the sampler when it was taken */
	uint32_t weight;    /* periods it stands for: 1 + timer overruns */
	uint16_t n;
	bool cut;
	const char *task;     /* static strings; NULL = none */
	const char *category; /* … */
	char thread[THREAD_NAME_SIZE];
	uintptr_t pcs[UNWIND_FRAMES_MAX];
};

/** Have its memory in place. */
void ring_populate(void);

/** Producers, in signal handlers: a slot to fill, then ring_publish. NULL: the ring is full. */
struct sample *ring_claim(void);
void ring_publish(struct sample *s);

/** The one consumer: the oldest sample, valid until ring_release; NULL when there is none. */
const struct sample *ring_peek(void);
void ring_release(void);
