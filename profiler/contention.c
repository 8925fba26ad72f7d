#include "profiler/contention.h"

#include <string.h>
#include <uv.h>

#include "profiler/buckets.h"
#include "profiler/waits.h"

/* Which events are recorded, and with what weight, so that the sums stay right on average:
 *
 *   block   a delay of d ns at rate r: d >= r always; a shorter one with probability d / r, as a
 *           delay of r and r / d contentions
 *   mutex   one event of `rate` at random, counted `rate` times; but all that kept waiters for
 *           rate * MUTEX_LONG_NS or more: long holds are few, and a tenth of few tells little
 *
 * Idle is not blocked. A wait for a condition or a semaphore that a thread's start routine makes
 * itself, by libuv's function for it or not, is a worker's wait for work: so libuv's pool, the
 * store's thread and the like stay out. A wait further down the stack is inside some work and
 * counts. The main thread, and one whose start is not known, have no such routine. An operation is
 * idle in states of certain names: it waits for something to do, and nobody for it. */

enum { MUTEX_RATE = 10, BLOCK_RATE_NS = 10000, MUTEX_LONG_NS = 100000, MUTEX_RATE_MAX = 1000000 };
#define BLOCK_RATE_MAX_NS INT64_C(3600000000000)
#define OWN_KIND	  "profiler."
enum { OWN_FRAMES = 8, FRAMES_MAX = BUCKET_FRAMES_MAX + OWN_FRAMES };

static struct buckets mutex_buckets, block_buckets;
static _Atomic int64_t mutex_rate = MUTEX_RATE, block_rate = BLOCK_RATE_NS;

static _Atomic uint64_t recorded, recorded_ns;

static struct buckets *buckets_of(enum profiler_kind kind)
{
	return kind == PROFILER_MUTEX ? &mutex_buckets : &block_buckets;
}

/* ---- Reading ---- */

/* What a reader that multiplies by the rate is to be given. Sums of all events that were recorded
 * so far, of whatever rate. */
static void set_raw(enum profiler_kind kind, struct stack *k)
{
	int64_t rate = kind == PROFILER_MUTEX ? contention_rate(kind) : 1;

	rate = MAX(rate, INT64_C(1));
	k->values[STACK_RAW] = (k->values[0] + rate - 1) / rate;
	k->values[STACK_RAW + 1] = k->values[1] / rate;
}

int contention_count(enum profiler_kind kind, struct stacks *out, int sign)
{
	int rc = buckets_count(buckets_of(kind), out, sign);

	for (struct stack *k = out->first; k != NULL; k = k->next)
		set_raw(kind, k);
	return rc;
}

unsigned contention_buckets(enum profiler_kind kind)
{
	return buckets_used(buckets_of(kind));
}

uint64_t contention_lost(enum profiler_kind kind)
{
	return buckets_lost(buckets_of(kind));
}

uint64_t contention_recorded(uint64_t *ret_ns)
{
	*ret_ns = atomic_load_explicit(&recorded_ns, memory_order_relaxed);
	return atomic_load_explicit(&recorded, memory_order_relaxed);
}

const char *contention_note(enum profiler_kind kind)
{
	return waits_enabled() ? NULL :
				 "locks and conditions are not watched: built with a sanitizer, or "
				 "without the program's own lock functions";
}

int64_t contention_rate(enum profiler_kind kind)
{
	return atomic_load_explicit(kind == PROFILER_MUTEX ? &mutex_rate : &block_rate,
				    memory_order_relaxed);
}

/* The limits keep the weights from overflowing. */
void contention_rate_set(enum profiler_kind kind, int64_t rate)
{
	if (kind == PROFILER_MUTEX)
		atomic_store(&mutex_rate, MIN(rate, (int64_t)MUTEX_RATE_MAX));
	else
		atomic_store(&block_rate, MIN(rate, BLOCK_RATE_MAX_NS));
}

/* ---- Choosing ---- */

/* splitmix64; seeded by where and when. */
static uint64_t random_below(uint64_t n)
{
	static _Thread_local uint64_t state;
	uint64_t z;

	if (state == 0)
		state = (uintptr_t)&state ^ __builtin_ia32_rdtsc();
	z = state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint64_t)((unsigned __int128)(z ^ z >> 31) * n >> 64);
}

/* a / b, made whole by chance so that it is right on average. */
static int64_t whole(uint64_t a, uint64_t b)
{
	return (int64_t)(a / b + (random_below(b) < a % b));
}

/* False: not this one. */
static bool choose(enum profiler_kind kind, uint64_t delay_ns, int64_t values[2])
{
	uint64_t rate = (uint64_t)contention_rate(kind);
	uint64_t delay = MAX(delay_ns, UINT64_C(1));

	values[0] = 1;
	values[1] = (int64_t)delay;
	if (rate == 0)
		return false;
	if (kind == PROFILER_MUTEX && delay / MUTEX_LONG_NS < rate) {
		values[0] = (int64_t)rate;
		values[1] = (int64_t)(delay * rate);
		return random_below(rate) == 0;
	}
	if (kind == PROFILER_BLOCK && delay < rate) {
		if (random_below(rate) >= delay)
			return false;
		values[0] = whole(rate, delay);
		values[1] = (int64_t)rate;
	}
	return true;
}

/* ---- Recording ---- */

static uint64_t now(void)
{
	return clock_now_ns(&clock_system);
}

static void add(enum profiler_kind kind, const uintptr_t *pcs, unsigned n, const char *task,
		const char *state, const int64_t values[2])
{
	struct buckets *b = buckets_of(kind);
	struct bucket *k = buckets_find(b, pcs, n, task, state);

	buckets_add(b, k, 0, values[0]);
	buckets_add(b, k, 1, values[1]);
}

static void count_cost(uint64_t since_ns)
{
	atomic_fetch_add_explicit(&recorded, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&recorded_ns, now() - since_ns, memory_order_relaxed);
}

static bool is_uv_lock(uintptr_t pc)
{
	uintptr_t fn = cfi_function_start(pc);

	return fn == (uintptr_t)uv_mutex_unlock || fn == (uintptr_t)uv_rwlock_rdunlock ||
	       fn == (uintptr_t)uv_rwlock_wrunlock || fn == (uintptr_t)uv_cond_wait ||
	       fn == (uintptr_t)uv_cond_timedwait || fn == (uintptr_t)uv_sem_wait;
}

/* The stack from `caller` on; pcs has room for one more before it. *ret_thread: it begins with a
 * thread's start routine, which is its last frame. */
static unsigned capture(uintptr_t *pcs, uintptr_t caller, bool *ret_thread)
{
	unsigned n = unwind_here(thread_stack_end(), pcs, FRAMES_MAX), i = 0, trimmed;

	while (i < n && pcs[i] != caller - 1)
		i++;
	if (i == n) { /* the stack's end is not known, or the walk did not get so far */
		pcs[0] = caller - 1;
		*ret_thread = false;
		return 1;
	}
	n = MIN(n - i, (unsigned)BUCKET_FRAMES_MAX - 1);
	memmove(pcs, pcs + i, n * sizeof(*pcs));
	trimmed = thread_trim(pcs, n);
	*ret_thread = trimmed < n;
	return trimmed;
}

bool contention_record(const struct contention_event *e)
{
	uintptr_t room[1 + FRAMES_MAX], *pcs = room + 1;
	int64_t values[2];
	uint64_t since_ns;
	bool thread;
	unsigned n;

	if (!choose(e->kind, e->delay_ns, values))
		return true;
	since_ns = now();
	n = capture(pcs, e->caller, &thread);
	if (e->may_idle && thread && (n == 1 || (n == 2 && is_uv_lock(pcs[0]))))
		return false;
	if (e->kind == PROFILER_MUTEX && n > 1 && is_uv_lock(pcs[0])) {
		pcs++;
		n--;
	}
	if (e->function != NULL) {
		*--pcs = (uintptr_t)e->function;
		n++;
	}
	add(e->kind, pcs, n, op_label()->task, e->state, values);
	count_cost(since_ns);
	return true;
}

static bool is_idle(const char *state)
{
	static const char *const names[] = { "idle", "resting", "subscribed" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(state, names[i]) == 0)
			return true;
	return false;
}

/* Its function, and who started it: honest, though never a stack of its own. Taking profiles is
 * left out of profiles. */
void contention_operation(const struct op *op, unsigned state, uint64_t waited_ms)
{
	uintptr_t pcs[1 + OP_CREATED_FRAMES];
	unsigned n = 1, i;
	int64_t values[2];
	uint64_t since_ns;

	if (waited_ms == 0 || strncmp(op->kind->name, OWN_KIND, strlen(OWN_KIND)) == 0 ||
	    is_idle(op_state_name(op, state)) ||
	    !choose(PROFILER_BLOCK, waited_ms * NS_PER_MS, values))
		return;
	since_ns = now();
	pcs[0] = (uintptr_t)op->kind->tick;
	for (i = 0; i < OP_CREATED_FRAMES && op->created_by[i] != 0; i++) {
		uintptr_t fn = cfi_function_start(op->created_by[i] - 1);

		if (fn == 0 || fn == (uintptr_t)op_tick)
			break;
		pcs[n++] = op->created_by[i] - 1;
	}
	add(PROFILER_BLOCK, pcs, n, op->kind->name, op_state_name(op, state), values);
	count_cost(since_ns);
}

void contention_stall(const uintptr_t *pcs, unsigned n, const char *task, uint64_t duration_ns)
{
	int64_t values[2] = { 1, (int64_t)duration_ns };

	if (contention_rate(PROFILER_BLOCK) > 0)
		add(PROFILER_BLOCK, pcs, n, task, "loop_stall", values);
}
