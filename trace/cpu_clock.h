/* Exact CPU time of one thread, cheaply. Private to trace/. */
#pragma once

#include "trace/trace.h"

struct cpu_clock {
	enum trace_cpu kind;
	/* private; of the thread that started it */
	uint64_t (*read)(struct cpu_clock *c); /* NULL while it is off */
	uint64_t base_ns, base_ticks;
	uint64_t last_ns;
	uint64_t ns_per_tick_32; /* 32 bits of fraction */
	uint64_t resyncs;
	void *rseq;
};

/** Find the best way that works here, and test it. Takes some ms. */
enum trace_cpu cpu_clock_start(struct cpu_clock *c);
/** ns of CPU time of the thread since some moment. Never goes back. Only on the thread that started
 *  the clock. */
static inline uint64_t cpu_clock_now_ns(struct cpu_clock *c)
{
	return c->read(c);
}
/** The same by a system call, for who wants to check. */
uint64_t cpu_clock_exact_ns(void);
