#include "profiler_signals.h"
#include "test_util.h"

#include <errno.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <zlib.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>
#endif

#include "profiler/unwind.h"

/* Every workload runs below `DEPTH` frames of a recursion while a timer interrupts it; the stack
 * seen from the handler must hold them all and end at the program's entry. libunwind walks the same
 * context as a second opinion. */

enum { DEPTH = 10, SAMPLES = 400, TICKS_MAX = 60000 };

/* A function that stays one: not inlined, cloned or analysed by its callers. */
#if __has_attribute(noipa)
#define WHOLE __attribute__((noipa))
#else
#define WHOLE __attribute__((noinline))
#endif

extern void *__libc_stack_end;
extern char _start[];

static volatile sig_atomic_t watching;
static unsigned taken, complete, agreed, compared;
static uint64_t sink;

static unsigned walk_libunwind(ucontext_t *uc, uintptr_t *pcs, unsigned max)
{
	unw_cursor_t cursor;
	unsigned n = 0;
	bool exact = true;

	if (unw_init_local2(&cursor, uc, UNW_INIT_SIGNAL_FRAME) != 0)
		return 0;
	do {
		unw_word_t ip;

		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		if (ip == 0)
			break;
		pcs[n++] = exact ? ip : ip - 1;
		exact = unw_is_signal_frame(&cursor) > 0;
	} while (n < max && unw_step(&cursor) > 0);
	return n;
}

WHOLE static uint64_t recurse(unsigned depth, uint64_t (*work)(void))
{
	uint64_t v = depth > 1 ? recurse(depth - 1, work) : work();

	return v + depth; /* no tail call */
}

static bool is_whole(const uintptr_t *pcs, unsigned n)
{
	unsigned frames = 0;

	for (unsigned i = 0; i < n; i++)
		frames += cfi_function_start(pcs[i]) == (uintptr_t)recurse;
	return frames == DEPTH && cfi_function_start(pcs[n - 1]) == (uintptr_t)_start;
}

static void on_tick(int signo, siginfo_t *si, void *context)
{
	uintptr_t ours[UNWIND_FRAMES_MAX], theirs[UNWIND_FRAMES_MAX];
	struct unwind u;
	unsigned n, m;
	int saved = errno;
	bool cut;

	if (watching && taken < SAMPLES) {
		unwind_init(&u, context, (uintptr_t)__libc_stack_end);
		n = unwind_walk(&u, ours, UNWIND_FRAMES_MAX, &cut);
		m = walk_libunwind(context, theirs, UNWIND_FRAMES_MAX);
		taken++;
		complete += is_whole(ours, n);
		if (is_whole(theirs, m)) {
			compared++;
			agreed += n == m && memcmp(ours, theirs, n * sizeof(*ours)) == 0;
		}
	}
	errno = saved;
}

static void start_ticking(timer_t *ret)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerspec every = { { 0, 200000 }, { 0, 200000 } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2 };

	sigfillset(&sa.sa_mask);
	sigaction(SIGUSR2, &sa, NULL);
	event._sigev_un._tid = gettid();
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, ret), 0);
	timer_settime(*ret, 0, &every, NULL);
}

static void check_workload(uint64_t (*work)(void))
{
	NEEDS_PROMPT_SIGNALS();
	timer_t timer;

	taken = complete = agreed = compared = 0;
	start_ticking(&timer);
	for (unsigned i = 0; taken < SAMPLES && i < TICKS_MAX; i++)
		sink += recurse(DEPTH, work);
	timer_delete(timer);
	print_message("# %u samples, %u whole, libunwind whole in %u, the same in %u\n", taken,
		      complete, compared, agreed);
	assert_int_equal(taken, SAMPLES);
	assert_true(complete * 100 >= taken * 99);
	assert_true(agreed * 100 >= compared * 99);
}

/* ---- Workloads: each sets `watching` around the code in question ---- */

WHOLE static uint64_t spin(uint64_t x)
{
	for (unsigned i = 0; i < 20000; i++)
		x = x * 6364136223846793005u + (x >> 7);
	return x;
}

static uint64_t work_own(void)
{
	uint64_t v;

	watching = 1;
	v = spin(sink);
	watching = 0;
	return v;
}

static sqlite3 *db;

static uint64_t work_sqlite(void)
{
	watching = 1;
	sqlite3_exec(db,
		     "insert into t(a, b) values(abs(random()) % 1000, hex(randomblob(20)));"
		     "select count(*), a % 7 from t where b like '%A%' group by 2;"
		     "delete from t where rowid % 3 = 0;",
		     NULL, NULL, NULL);
	watching = 0;
	return 1;
}

static uint64_t work_sodium(void)
{
	uint8_t pk[32], sk[64], sig[64], out[32], message[2000] = { 1 };

	watching = 1;
	crypto_sign_keypair(pk, sk);
	crypto_sign_detached(sig, NULL, message, sizeof(message), sk);
	crypto_generichash(out, sizeof(out), message, sizeof(message), NULL, 0);
	crypto_scalarmult_base(out, sk);
	watching = 0;
	return out[0];
}

static uint64_t work_zlib(void)
{
	static uint8_t in[60000], out[70000];
	uLongf len = sizeof(out);

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * i >> 5);
	watching = 1;
	compress2(out, &len, in, sizeof(in), 6);
	watching = 0;
	return len;
}

#ifdef HAVE_LIBCRYPTO
static uint64_t work_libcrypto(void)
{
	static uint8_t in[20000], out[20100], digest[64];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned digest_len;
	int len;

	watching = 1;
	EVP_Digest(in, sizeof(in), digest, &digest_len, EVP_sha256(), NULL);
	EVP_Digest(in, sizeof(in), digest, &digest_len, EVP_sha512(), NULL);
	EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, digest, digest);
	EVP_EncryptUpdate(ctx, out, &len, in, sizeof(in));
	EVP_EncryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, digest, digest);
	EVP_EncryptUpdate(ctx, out, &len, in, sizeof(in));
	watching = 0;
	EVP_CIPHER_CTX_free(ctx);
	return digest[0];
}
#endif

static int compare(const void *a, const void *b)
{
	return *(const int *)a < *(const int *)b ? -1 : 1;
}

static uint64_t work_libc(void)
{
	int v[500];
	char text[200];

	for (unsigned i = 0; i < 500; i++)
		v[i] = (int)(i * 7919u % 503u);
	watching = 1;
	qsort(v, 500, sizeof(*v), compare);
	for (unsigned i = 0; i < 50; i++)
		snprintf(text, sizeof(text), "%d %s %.6f", v[i], "text", i / 3.0);
	watching = 0;
	return (uint64_t)text[0];
}

static uint64_t work_vdso(void)
{
	struct timespec t;

	watching = 1;
	for (unsigned i = 0; i < 2000; i++)
		clock_gettime(CLOCK_MONOTONIC, &t);
	watching = 0;
	return (uint64_t)t.tv_nsec;
}

static void stacks_are_whole_in_own_code(void **state)
{
	check_workload(work_own);
}

static void stacks_are_whole_in_sqlite(void **state)
{
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	sqlite3_exec(db, "create table t(a, b)", NULL, NULL, NULL);
	check_workload(work_sqlite);
	sqlite3_close(db);
}

static void stacks_are_whole_in_assembly_without_frame_information(void **state)
{
	assert_true(sodium_init() >= 0);
	check_workload(work_sodium);
}

static void stacks_are_whole_in_libcrypto(void **state)
{
#ifdef HAVE_LIBCRYPTO
	check_workload(work_libcrypto);
#else
	SKIP_TEST("built without libcrypto");
#endif
}

static void stacks_are_whole_in_zlib(void **state)
{
	check_workload(work_zlib);
}

static void stacks_are_whole_in_libc(void **state)
{
	check_workload(work_libc);
}

static void stacks_are_whole_in_the_vdso(void **state)
{
	check_workload(work_vdso);
}

/* ---- Shapes ---- */

static uintptr_t seen[UNWIND_FRAMES_MAX];
static unsigned seen_count;

static void on_signal_inside(int signo, siginfo_t *si, void *context)
{
	struct unwind u;
	bool cut;

	unwind_init(&u, context, (uintptr_t)__libc_stack_end);
	seen_count = unwind_walk(&u, seen, UNWIND_FRAMES_MAX, &cut);
}

WHOLE static void on_signal_outside(int signo)
{
	sink += (uint64_t)raise(SIGUSR2);
}

static void a_signal_inside_a_signal_handler_is_walked_through(void **state)
{
	struct sigaction inner = { .sa_sigaction = on_signal_inside, .sa_flags = SA_SIGINFO };
	struct sigaction outer = { .sa_handler = on_signal_outside };
	bool through = false;

	NEEDS_PROMPT_SIGNALS();
	sigaction(SIGUSR2, &inner, NULL);
	sigaction(SIGUSR1, &outer, NULL);
	raise(SIGUSR1);
	for (unsigned i = 0; i < seen_count; i++)
		through |= cfi_function_start(seen[i]) == (uintptr_t)on_signal_outside;
	assert_true(through);
	assert_ptr_equal(cfi_function_start(seen[seen_count - 1]), _start);
}

WHOLE static uint64_t realigned(unsigned n)
{
	volatile uint8_t *block = __builtin_alloca(n);
	volatile uint64_t wide[8] __attribute__((aligned(64)));

	block[0] = (uint8_t)n;
	wide[0] = n;
	raise(SIGUSR2);
	return wide[0] + block[0];
}

static void frames_of_variable_size_and_alignment_are_walked(void **state)
{
	struct sigaction sa = { .sa_sigaction = on_signal_inside, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR2, &sa, NULL);
	for (unsigned n = 1; n < 3000; n += 97) {
		sink += realigned(n);
		assert_ptr_equal(cfi_function_start(seen[seen_count - 1]), _start);
	}
}

WHOLE static uint64_t dig(unsigned depth)
{
	uint64_t v;

	if (depth > 0)
		v = dig(depth - 1);
	else
		v = (uint64_t)raise(SIGUSR2);
	return v + depth;
}

static void a_deep_stack_is_cut_at_the_limit(void **state)
{
	struct sigaction sa = { .sa_sigaction = on_signal_inside, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR2, &sa, NULL);
	sink += dig(1000);
	assert_int_equal(seen_count, UNWIND_FRAMES_MAX);
}

WHOLE static unsigned capture(uintptr_t *pcs)
{
	unsigned n = unwind_here((uintptr_t)__libc_stack_end, pcs, UNWIND_FRAMES_MAX);

	sink += n; /* no tail call */
	return n;
}

static void a_thread_can_walk_its_own_stack(void **state)
{
	uintptr_t pcs[UNWIND_FRAMES_MAX];
	unsigned n = capture(pcs);

	assert_true(n > 4);
	assert_ptr_equal(cfi_function_start(pcs[0]), capture);
	assert_ptr_equal(cfi_function_start(pcs[n - 1]), _start);
}

/* ---- Hostile contexts ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uintptr_t random_pc(void)
{
	const void *in[] = { (void *)sqlite3_exec, (void *)crypto_sign_detached, (void *)qsort,
			     (void *)inflate, (void *)random_pc };

	return (uintptr_t)in[rnd() % ARRAY_SIZE(in)] + (rnd() & 0x3ffff) - 0x1ffff;
}

static void fill(uintptr_t *stack, size_t words)
{
	for (size_t i = 0; i < words; i++)
		switch (rnd() % 4) {
		case 0: stack[i] = random_pc(); break;
		case 1: stack[i] = (uintptr_t)&stack[rnd() % words]; break;
		case 2: stack[i] = rnd(); break;
		default: stack[i] = rnd() & 0xffff;
		}
}

static void random_contexts_are_walked_without_a_stray_read(void **state)
{
	enum { WORDS = 1024, ROUNDS = 200000 };
	uintptr_t *stack = mem_alloc(WORDS * sizeof(*stack));
	uintptr_t pcs[64];
	uint64_t frames = 0;
	struct unwind u;
	bool cut;

	assert_non_null(stack);
	fill(stack, WORDS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned k = 0; k < CFI_REGS; k++)
			u.reg[k] = rnd() & 1 ? (uintptr_t)&stack[rnd() % WORDS] + (rnd() & 15) :
					       rnd();
		u.ip = random_pc();
		u.reg[CFI_RSP] = (uintptr_t)&stack[rnd() % WORDS];
		u.lo = (uintptr_t)stack;
		u.hi = (uintptr_t)(stack + WORDS);
		u.shift = 0;
		u.known = (uint16_t)(rnd() | rnd());
		u.exact = rnd() & 1;
		frames += unwind_walk(&u, pcs, 64, &cut);
	}
	assert_true(frames > ROUNDS);
	mem_free(stack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stacks_are_whole_in_own_code),
		cmocka_unit_test(stacks_are_whole_in_sqlite),
		cmocka_unit_test(stacks_are_whole_in_assembly_without_frame_information),
		cmocka_unit_test(stacks_are_whole_in_libcrypto),
		cmocka_unit_test(stacks_are_whole_in_zlib),
		cmocka_unit_test(stacks_are_whole_in_libc),
		cmocka_unit_test(stacks_are_whole_in_the_vdso),
		cmocka_unit_test(a_signal_inside_a_signal_handler_is_walked_through),
		cmocka_unit_test(frames_of_variable_size_and_alignment_are_walked),
		cmocka_unit_test(a_deep_stack_is_cut_at_the_limit),
		cmocka_unit_test(a_thread_can_walk_its_own_stack),
		cmocka_unit_test(random_contexts_are_walked_without_a_stray_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
