#include <time.h>

#include "base/clock.h"
#include "profiler/thread.h"

/* Since when a thread waits. The kernel does not tell, but a thread that waits uses no CPU time, so
 * the watchdog compares it every second, and a wait is known to as much. It is compared with what it
 * was up to THREAD_STILL_MS ago, so that neither what a dump takes ends a wait, nor the little that
 * a thread takes which wakes up now and then is none. */

enum { CPU_CLOCK_OF_THREAD = 6 };

uint64_t thread_cpu_ns(pid_t tid)
{
	struct timespec used;

	if (clock_gettime((clockid_t)((~(unsigned)tid << 3) | CPU_CLOCK_OF_THREAD), &used) != 0)
		return 0;
	return (uint64_t)used.tv_sec * NS_PER_SEC + (uint64_t)used.tv_nsec;
}

uint64_t thread_still_ms(struct thread *t, uint64_t now_ns, uint64_t cpu_ns)
{
	bool first = t->still_since_ns == 0, moved = cpu_ns - t->still_cpu_ns > THREAD_STILL_CPU_NS;

	if (first || moved)
		t->still_since_ns = first && !moved ? t->started_ns : now_ns;
	if (first || moved || now_ns - t->still_from_ns >= THREAD_STILL_MS * NS_PER_MS) {
		t->still_cpu_ns = cpu_ns;
		t->still_from_ns = now_ns;
	}
	return (now_ns - MIN(t->still_since_ns, now_ns)) / NS_PER_MS;
}

void threads_watch_stillness(uint64_t now_ns)
{
	threads_lock();
	list_for_each(node, threads_all()) {
		struct thread *t = list_entry(node, struct thread, node);

		(void)thread_still_ms(t, now_ns, thread_cpu_ns(t->tid));
	}
	threads_unlock();
}
