/* Exact CPU time of one thread for the price of a time stamp.
 *
 * Asking the kernel costs a system call, half a microsecond. In between, a thread's CPU time runs
 * like the time stamp counter as long as the thread is not switched out, and restartable sequences
 * tell whether it was: whenever the kernel preempts the thread or delivers a signal to it, it
 * clears the pointer to the current critical section, if the thread was outside of it. So the
 * pointer is set to a section that is never entered; while it is still set, the CPU time is the
 * last one asked for plus the ticks since. Otherwise the kernel is asked again.
 *
 * What can go wrong: no restartable sequences (another libc, an old kernel, a sandbox), a counter
 * that is not invariant, a kernel that leaves the pointer alone. A test at the start finds out.
 * Other users of sequences in the thread only cause more questions to the kernel. The ticks'
 * conversion is measured over a few ms, which is off by 1e-5 at worst; each question to the kernel
 * sets that right, and as readings must not go back, at most one is held at its predecessor. */
#include "trace/cpu_clock.h"

#include <string.h>
#include <time.h>

#if defined(__x86_64__) && defined(__GLIBC__) && __has_include(<sys/rseq.h>)
#include <cpuid.h>
#include <sys/rseq.h>
#include <x86intrin.h>
#define HAVE_RSEQ_CLOCK 1
#else
#define HAVE_RSEQ_CLOCK 0
#endif

enum {
	CALIBRATION_NS = 4000000,
	CHEAP_NS =
		150, /* a reading of the thread's clock that is worth it at every change of span */
	CHEAP_ROUNDS = 200,
	ARM_TRIES = 100
};

uint64_t cpu_clock_exact_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t read_kernel(struct cpu_clock *c)
{
	return cpu_clock_exact_ns();
}

#if HAVE_RSEQ_CLOCK

/* A section of one instruction that nobody jumps to. The kernel wants the signature before the
 * abort handler. */
__asm__(".pushsection .text.trace_cpu_clock, \"ax\", @progbits\n"
	".local trace_cpu_section\n"
	".local trace_cpu_abort\n"
	"trace_cpu_section:\n"
	"	nop\n"
	"	nop\n"
	"	.long 0x53053053\n"
	"trace_cpu_abort:\n"
	"	ud2\n"
	".popsection\n");
extern char trace_cpu_section[], trace_cpu_abort[];
static struct rseq_cs section __attribute__((aligned(32)));

static volatile uint64_t *section_pointer(const struct cpu_clock *c)
{
	return (volatile uint64_t *)(void *)&((struct rseq *)c->rseq)->rseq_cs;
}

static bool is_armed(const struct cpu_clock *c)
{
	return *section_pointer(c) == (uint64_t)(uintptr_t)&section;
}

/* Ask the kernel, and read the counter at the same time: that is, without a switch in between. */
static bool resync(struct cpu_clock *c)
{
	for (int i = 0; i < ARM_TRIES; i++) {
		*section_pointer(c) = (uint64_t)(uintptr_t)&section;
		__asm__ volatile("" ::: "memory");
		uint64_t ns = cpu_clock_exact_ns(), ticks = __rdtsc();
		__asm__ volatile("" ::: "memory");
		c->base_ns = ns;
		c->base_ticks = ticks;
		c->resyncs++;
		if (is_armed(c))
			return true;
	}
	return false;
}

static __attribute__((noinline)) uint64_t read_slowly(struct cpu_clock *c)
{
	(void)resync(c);
	c->last_ns = MAX(c->last_ns, c->base_ns);
	return c->last_ns;
}

static uint64_t read_ticks(struct cpu_clock *c)
{
	uint64_t ticks = __rdtsc();

	__asm__ volatile("" ::: "memory");
	if (__builtin_expect(!is_armed(c), 0))
		return read_slowly(c);
	uint64_t ns =
		c->base_ns +
		(uint64_t)((unsigned __int128)(ticks - c->base_ticks) * c->ns_per_tick_32 >> 32);
	c->last_ns = MAX(c->last_ns, ns);
	return c->last_ns;
}

static bool counter_is_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8) != 0;
}

static uint64_t monotonic_ns(void)
{
	return clock_now_ns(&clock_system);
}

static void calibrate(struct cpu_clock *c)
{
	uint64_t ns = monotonic_ns(), ticks = __rdtsc(), now;

	while ((now = monotonic_ns()) - ns < CALIBRATION_NS)
		;
	ticks = __rdtsc() - ticks;
	c->ns_per_tick_32 = ((now - ns) << 32) / MAX(ticks, UINT64_C(1));
}

/* The pointer must stay while the thread runs, and be gone after it slept. */
static bool switches_are_seen(struct cpu_clock *c)
{
	const struct timespec moment = { 0, 1000 };

	if (!resync(c))
		return false;
	nanosleep(&moment, NULL);
	return !is_armed(c);
}

static bool start_ticks(struct cpu_clock *c)
{
	if (__rseq_size == 0 || !counter_is_invariant())
		return false;
	c->rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
	section.start_ip = (uint64_t)(uintptr_t)trace_cpu_section;
	section.post_commit_offset = 1;
	section.abort_ip = (uint64_t)(uintptr_t)trace_cpu_abort;
	if (!switches_are_seen(c)) {
		*section_pointer(c) = 0;
		return false;
	}
	calibrate(c);
	c->read = read_ticks;
	return resync(c);
}

#else

static bool start_ticks(struct cpu_clock *c)
{
	return false;
}

#endif

static bool kernel_is_cheap(void)
{
	uint64_t start = clock_now_ns(&clock_system);

	for (int i = 0; i < CHEAP_ROUNDS; i++)
		(void)cpu_clock_exact_ns();
	return clock_now_ns(&clock_system) - start < (uint64_t)CHEAP_ROUNDS * CHEAP_NS;
}

enum trace_cpu cpu_clock_start(struct cpu_clock *c)
{
	*c = (struct cpu_clock){ .kind = TRACE_CPU_OFF };
	if (start_ticks(c)) {
		c->kind = TRACE_CPU_EXACT;
	} else if (kernel_is_cheap()) {
		c->kind = TRACE_CPU_CLOCK;
		c->read = read_kernel;
	} else {
		c->read = NULL;
	}
	return c->kind;
}
