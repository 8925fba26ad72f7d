#include "profiler_fixture.h"

#include <dlfcn.h>
#include <malloc.h>
#include <math.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "profiler/heap.h"
#include "profiler/symbols.h"
#include "profiler/thread.h"

/* This executable has the sampling allocation functions. */

enum { FINE_RATE = 4096, SMALL_SIZE = 100, SMALL = 200000, MIDDLE_SIZE = 10240, MIDDLE = 2000 };
enum {
	BIG_SIZE = 1 << 20,
	BIG = 20,
	MIXED = 1000000,
	THREADS = 4,
	CHURN = 200000,
	HELD = 64,
	FRAMES_SEEN = 24
};

enum { ALLOC_OBJECTS, ALLOC_BYTES, USED_OBJECTS, USED_BYTES, RAW = STACK_RAW };

#define SKIP_WITHOUT_SAMPLING()                                                                    \
	do {                                                                                       \
		if (heap_note(PROFILER_HEAP) != NULL)                                              \
			SKIP_TEST(heap_note(PROFILER_HEAP));                                       \
	} while (0)

/* The countdown under way ends, so that the next begins under this rate. */
static void set_rate(int64_t rate)
{
	void *(*volatile allocate)(size_t) = malloc;

	heap_rate_set(PROFILER_HEAP, rate);
	for (unsigned i = 0; i < 2; i++)
		free(allocate((size_t)64 << 20));
}

static bool stack_has(const struct stack *k, uintptr_t function)
{
	for (unsigned i = 0; i < k->n && i < FRAMES_SEEN; i++)
		if (cfi_function_start(k->pcs[i]) == function)
			return true;
	return false;
}

struct sums {
	int64_t values[STACK_VALUES_MAX];
	unsigned stacks;
};

/* What the profile has below a function. */
static struct sums seen_under(const void *function)
{
	struct sums sums = { 0 };
	struct stacks s;

	stacks_init(&s);
	CHECK_STATUS(0, heap_count(PROFILER_HEAP, &s, 1));
	for (const struct stack *k = s.first; k != NULL; k = k->next) {
		if (!stack_has(k, (uintptr_t)function))
			continue;
		sums.stacks++;
		for (unsigned i = 0; i < STACK_VALUES_MAX; i++)
			sums.values[i] += k->values[i];
	}
	stacks_fini(&s);
	return sums;
}

static void check_near(int64_t actual, double expected, double tolerance)
{
	if (fabs((double)actual - expected) > tolerance)
		fail_msg("%lld is not within %.0f of %.0f", (long long)actual, tolerance, expected);
}

/* ---- What is counted ---- */

WHOLE static void *allocate_small(void)
{
	return malloc(SMALL_SIZE);
}

WHOLE static void *allocate_middle(void)
{
	return calloc(MIDDLE_SIZE / 16, 16);
}

WHOLE static void *allocate_big(void)
{
	return malloc(BIG_SIZE);
}

static void churn(void *(*allocate)(void), unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		void *p = allocate();

		__asm__ volatile("" : : "r"(p) : "memory");
		free(p);
	}
}

/* A block of S bytes is a sample with p = 1 - exp(-S/R): the variance of the estimate of n blocks
 * is n (1 - p) / p. */
static double four_sigma(double n, double size)
{
	double p = -expm1(-size / FINE_RATE);

	return 4 * sqrt(n * (1 - p) / p) + 2;
}

static void estimates_are_unbiased_for_every_size(void **state)
{
	static const struct {
		void *(*allocate)(void);
		double size;
		unsigned count;
	} cases[] = { { allocate_small, SMALL_SIZE, SMALL },
		      { allocate_middle, MIDDLE_SIZE, MIDDLE },
		      { allocate_big, BIG_SIZE, BIG } };

	SKIP_WITHOUT_SAMPLING();
	set_rate(FINE_RATE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		double sigma = four_sigma(cases[i].count, cases[i].size);
		struct sums sums;

		churn(cases[i].allocate, cases[i].count);
		sums = seen_under((void *)cases[i].allocate);
		check_near(sums.values[ALLOC_OBJECTS], cases[i].count, sigma);
		check_near(sums.values[ALLOC_BYTES], cases[i].count * cases[i].size,
			   sigma * cases[i].size + sums.stacks * 2);
		assert_int_equal(sums.values[USED_OBJECTS], 0);
		assert_int_equal(sums.values[USED_BYTES], 0);
		assert_int_equal(sums.values[RAW + USED_BYTES], 0);
		assert_true(sums.values[RAW + ALLOC_OBJECTS] > 0);
	}
	set_rate(HEAP_RATE_DEFAULT);
}

/* Many small, some middle and few big blocks, from one stack: no average would do. */
WHOLE static void *allocate_of(size_t size)
{
	return malloc(size);
}

WHOLE static void allocate_mixture(void)
{
	for (unsigned i = 0; i < MIXED; i++) {
		size_t size = i % 10000 == 0 ? BIG_SIZE : i % 100 == 0 ? MIDDLE_SIZE : SMALL_SIZE;
		void *p = allocate_of(size);

		__asm__ volatile("" : : "r"(p) : "memory");
		free(p);
	}
}

static void a_stack_of_mixed_sizes_is_told_within_two_percent(void **state)
{
	const double big = MIXED / 10000, middle = MIXED / 100 - big, small = MIXED - big - middle;
	const double bytes = big * BIG_SIZE + middle * MIDDLE_SIZE + small * SMALL_SIZE;
	struct sums sums;

	SKIP_WITHOUT_SAMPLING();
	set_rate(FINE_RATE);
	allocate_mixture();
	set_rate(HEAP_RATE_DEFAULT);
	sums = seen_under((void *)allocate_mixture);
	check_near(sums.values[ALLOC_BYTES], bytes, bytes / 50);
	check_near(sums.values[ALLOC_OBJECTS], MIXED, four_sigma(small, SMALL_SIZE));
	assert_int_equal(sums.values[USED_BYTES], 0);
}

WHOLE static void *allocate_kept(void)
{
	return malloc(SMALL_SIZE);
}

static void what_is_not_freed_is_in_use(void **state)
{
	struct sums sums;
	void **kept;

	SKIP_WITHOUT_SAMPLING();
	kept = mem_alloc_array(SMALL, sizeof(*kept));
	set_rate(FINE_RATE);
	for (unsigned i = 0; i < SMALL; i++)
		kept[i] = allocate_kept();
	sums = seen_under((void *)allocate_kept);
	check_near(sums.values[USED_BYTES], (double)SMALL * SMALL_SIZE,
		   four_sigma(SMALL, SMALL_SIZE) * SMALL_SIZE);
	for (unsigned i = 0; i < SMALL; i++)
		free(kept[i]);
	sums = seen_under((void *)allocate_kept);
	assert_int_equal(sums.values[USED_OBJECTS], 0);
	assert_true(sums.values[ALLOC_OBJECTS] > 0);
	set_rate(HEAP_RATE_DEFAULT);
	mem_free(kept);
}

/* At rate 1 every block is a sample and counts as itself. */
WHOLE static void use_every_function(void)
{
	void *p[10] = { malloc(10), calloc(2, 10), memalign(64, 10), aligned_alloc(64, 64),
			valloc(10), pvalloc(10),   strdup("heap"),   reallocarray(NULL, 3, 10) };

	assert_int_equal(posix_memalign(&p[8], 64, 10), 0);
	p[9] = realloc(malloc(10), 5000);
	for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
		assert_non_null(p[i]);
		free(p[i]);
	}
}

static void every_function_is_sampled_and_forgotten(void **state)
{
	struct sums sums;

	SKIP_WITHOUT_SAMPLING();
	set_rate(1);
	use_every_function();
	heap_rate_set(PROFILER_HEAP, HEAP_RATE_DEFAULT);
	sums = seen_under((void *)use_every_function);
	assert_int_equal(sums.values[ALLOC_OBJECTS], 11);
	assert_int_equal(sums.values[RAW + ALLOC_OBJECTS], 11);
	assert_int_equal(sums.values[USED_OBJECTS], 0);
	assert_int_equal(sums.values[ALLOC_BYTES],
			 10 + 20 + 10 + 64 + 10 + 10 + 5 + 30 + 10 + 10 + 5000);
}

static void requests_that_cannot_be_met_are_refused_as_by_libc(void **state)
{
	void *(*volatile resize)(void *, size_t) = realloc;
	void *(*volatile many)(size_t, size_t) = calloc;
	volatile size_t huge = SIZE_MAX - 4096, half = SIZE_MAX / 2 + 9; /* twice: 16 */
	void *p, *q = &p;

	SKIP_WITHOUT_SAMPLING();
	p = malloc(100);
	set_rate(1);
	assert_null(malloc(huge));
	assert_null(many(half, 2));
	assert_null(reallocarray(p, half, 2));
	assert_null(resize(p, huge));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(posix_memalign(&q, 3, 10), EINVAL);
	assert_int_equal(posix_memalign(&q, 64, huge), ENOMEM);
	assert_ptr_equal(q, &p);
	assert_true(malloc_usable_size(p) >= 100);
	free(p);
	free(NULL);
	set_rate(HEAP_RATE_DEFAULT);
}

WHOLE static void *begin_block(size_t size)
{
	return malloc(size);
}

WHOLE static void *change_block(void *p, size_t size)
{
	void *(*volatile resize)(void *, size_t) = realloc;
	void *q = resize(p, size);

	__asm__ volatile("" : : "r"(q) : "memory");
	return q;
}

/* In place or elsewhere: one block ends and another begins. */
static void check_changed(size_t size, unsigned times)
{
	struct sums begun = seen_under((void *)begin_block),
		    changed = seen_under((void *)change_block);

	assert_int_equal(begun.values[USED_OBJECTS], 0);
	assert_int_equal(begun.values[ALLOC_BYTES], 2000);
	assert_int_equal(changed.values[ALLOC_OBJECTS], times);
	assert_int_equal(changed.values[USED_OBJECTS], size > 0 ? 1 : 0);
	assert_int_equal(changed.values[USED_BYTES], size);
}

static void realloc_ends_a_block_and_begins_another_wherever_it_is(void **state)
{
	void *p, *q, *wall;

	SKIP_WITHOUT_SAMPLING();
	set_rate(1);
	p = begin_block(2000);
	q = change_block(p, 1900);
	assert_ptr_equal(q, p);
	check_changed(1900, 1);
	wall = malloc(2000); /* at the top of the heap or in the way */
	p = change_block(q, 300000);
	assert_ptr_not_equal(p, q);
	check_changed(300000, 2);
	assert_null(change_block(p, SIZE_MAX - 4096));
	check_changed(300000, 2);
	assert_null(change_block(p, 0));
	check_changed(0, 2);
	free(wall);
	set_rate(HEAP_RATE_DEFAULT);
}

/* ---- The walk ---- */

WHOLE static void compare_walks(void)
{
	uintptr_t careful[64], quick[64];
	unsigned n = unwind_here(thread_stack_end(), careful, ARRAY_SIZE(careful));
	unsigned m = unwind_callers(__builtin_frame_address(0), thread_stack_end(), quick,
				    ARRAY_SIZE(quick));

	assert_true(n > 3);
	assert_int_equal(m, n - 1);
	assert_memory_equal(quick, careful + 1, m * sizeof(*quick));
	assert_int_equal(unwind_callers(__builtin_frame_address(0), thread_stack_end(), quick, 2),
			 2);
	assert_memory_equal(quick, careful + 1, 2 * sizeof(*quick));
	assert_int_equal(unwind_callers(__builtin_frame_address(0), 0, quick, 64), 1);
}

static int compare_in_qsort(const void *a, const void *b)
{
	compare_walks();
	return *(const int *)a - *(const int *)b;
}

/* Rows unknown first, then as words; through a library without frame pointers. */
static void the_quick_walk_sees_what_the_careful_one_sees(void **state)
{
	int list[] = { 3, 1, 2 };

	threads_init();
	unwind_new_generation();
	for (unsigned i = 0; i < 3; i++)
		compare_walks();
	qsort(list, ARRAY_SIZE(list), sizeof(*list), compare_in_qsort);
	assert_int_equal(list[0], 1);
}

/* ---- Libraries ---- */

WHOLE static void use_sqlite(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "create table t(a); insert into t values (1)", NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
}

WHOLE static void use_zlib(void)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit(&z, 1), Z_OK);
	deflateEnd(&z);
}

WHOLE static void use_sodium(void)
{
	uint8_t out[32], salt[crypto_pwhash_SALTBYTES] = { 0 };

	assert_int_equal(crypto_pwhash(out, sizeof(out), "password", 8, salt,
				       crypto_pwhash_OPSLIMIT_MIN, crypto_pwhash_MEMLIMIT_MIN,
				       crypto_pwhash_ALG_ARGON2ID13),
			 0);
}

WHOLE static void use_uv(void)
{
	uv_interface_address_t *list;
	int count;

	assert_int_equal(uv_interface_addresses(&list, &count), 0);
	uv_free_interface_addresses(list, count);
}

WHOLE static void use_crypto(void)
{
	void *lib = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
	void *(*new_context)(void) = NULL;
	void (*free_context)(void *) = NULL;

	if (lib == NULL)
		return;
	*(void **)&new_context = dlsym(lib, "EVP_MD_CTX_new");
	*(void **)&free_context = dlsym(lib, "EVP_MD_CTX_free");
	free_context(new_context());
}

static void allocations_inside_libraries_are_seen(void **state)
{
	void (*const uses[])(void) = { use_sqlite, use_zlib, use_sodium, use_uv, use_crypto };

	SKIP_WITHOUT_SAMPLING();
	set_rate(1);
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
		uses[i]();
		if (seen_under((void *)uses[i]).values[ALLOC_OBJECTS] == 0)
			fail_msg("nothing of the %zu-th library", i);
	}
	set_rate(HEAP_RATE_DEFAULT);
}

/* ---- Threads, fork ---- */

static pthread_key_t key;

WHOLE static void free_at_exit(void *p)
{
	free(p);
	free(malloc(300));
}

WHOLE static void *churn_held(void *arg)
{
	void *held[HELD] = { NULL };
	unsigned r = (unsigned)(uintptr_t)arg;

	pthread_setspecific(key, malloc(200));
	for (unsigned i = 0; i < CHURN; i++) {
		r = r * 1103515245 + 12345;
		unsigned at = r >> 16 & (HELD - 1);

		free(held[at]);
		held[at] = r & 1 ? malloc(r >> 20) : realloc(NULL, r >> 20);
	}
	for (unsigned i = 0; i < HELD; i++)
		free(held[i]);
	return NULL;
}

static void threads_leave_nothing_behind(void **state)
{
	pthread_t threads[THREADS];
	struct sums sums;

	SKIP_WITHOUT_SAMPLING();
	assert_int_equal(pthread_key_create(&key, free_at_exit), 0);
	set_rate(FINE_RATE);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn_held, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	set_rate(HEAP_RATE_DEFAULT);
	sums = seen_under((void *)churn_held);
	assert_true(sums.values[RAW + ALLOC_OBJECTS] > 1000);
	assert_int_equal(sums.values[USED_BYTES], 0);
	assert_int_equal(sums.values[USED_OBJECTS], 0);
	pthread_key_delete(key);
}

static void a_child_of_fork_allocates_on(void **state)
{
	pthread_t thread;
	int status;

	SKIP_WITHOUT_SAMPLING();
	set_rate(1);
	assert_int_equal(pthread_create(&thread, NULL, churn_held, (void *)7), 0);
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			use_every_function();
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	pthread_join(thread, NULL);
	set_rate(HEAP_RATE_DEFAULT);
}

WHOLE static void *allocate_tiny(void)
{
	return malloc(1);
}

/* Every block is a sample: more than the table has places for. */
static void blocks_without_a_place_are_lost_and_counted(void **state)
{
	uint64_t lost = heap_lost(PROFILER_HEAP);
	struct sums sums;
	void **kept;

	SKIP_WITHOUT_SAMPLING();
	kept = mem_alloc_array(2 * HEAP_LIVE_MAX, sizeof(*kept));
	assert_non_null(kept);
	set_rate(1);
	for (unsigned i = 0; i < 2 * HEAP_LIVE_MAX; i++)
		kept[i] = allocate_tiny();
	set_rate(HEAP_RATE_DEFAULT);
	lost = heap_lost(PROFILER_HEAP) - lost;
	sums = seen_under((void *)allocate_tiny);
	assert_int_equal(sums.values[ALLOC_OBJECTS], 2 * HEAP_LIVE_MAX);
	assert_in_range(sums.values[USED_OBJECTS], HEAP_LIVE_MAX * 9 / 10, HEAP_LIVE_MAX);
	assert_true(lost >= 2 * HEAP_LIVE_MAX - (uint64_t)sums.values[USED_OBJECTS]);
	for (unsigned i = 0; i < 2 * HEAP_LIVE_MAX; i++)
		free(kept[i]);
	sums = seen_under((void *)allocate_tiny);
	assert_int_equal(sums.values[USED_OBJECTS], 0);
	mem_free(kept);
}

static void off_means_nothing_is_recorded(void **state)
{
	struct sums before, after;

	SKIP_WITHOUT_SAMPLING();
	set_rate(0);
	before = seen_under((void *)allocate_big);
	churn(allocate_big, BIG);
	after = seen_under((void *)allocate_big);
	assert_memory_equal(&before, &after, sizeof(before));
	set_rate(1);
	churn(allocate_big, 3);
	after = seen_under((void *)allocate_big);
	assert_int_equal(after.values[ALLOC_OBJECTS], before.values[ALLOC_OBJECTS] + 3);
	set_rate(HEAP_RATE_DEFAULT);
}

/* ---- The text ---- */

/* runtime/pprof of go1.19: names and order of the lines. */
static void the_text_ends_with_gos_memory_statistics(void **state)
{
	static const char *const names[] = {
		"Alloc",	"TotalAlloc",  "Sys",	   "Lookups",	  "Mallocs",
		"Frees",	"HeapAlloc",   "HeapSys",  "HeapIdle",	  "HeapInuse",
		"HeapReleased", "HeapObjects", "Stack",	   "MSpan",	  "MCache",
		"BuckHashSys",	"GCSys",       "OtherSys", "NextGC",	  "LastGC",
		"PauseNs",	"PauseEnd",    "NumGC",	   "NumForcedGC", "GCCPUFraction",
		"DebugGC",	"MaxRSS"
	};
	struct fixture *f = *state;
	const struct buf *out;
	char line[64];
	const char *at;

	out = fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_HEAP, .debug = 1, .gc = true });
	at = strstr((const char *)out->data, "\n\n# runtime.MemStats\n");
	assert_non_null(at);
	at = strchr(at + 2, '\n');
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(line, sizeof(line), "\n# %s = ", names[i]);
		if (strncmp(at, line, strlen(line)) != 0)
			fail_msg("expected%s at%.40s", line, at);
		at = strchr(at + 1, '\n');
	}
	assert_non_null(strstr(at, "\n--- Memory map: ---\n"));
	assert_true(strstr((const char *)out->data, "# NumForcedGC = 0\n") == NULL);
}

static void the_first_line_has_the_sums_and_twice_the_rate(void **state)
{
	struct fixture *f = *state;
	const struct buf *out = fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_ALLOCS, .debug = 1 });
	long used[2], all[2], rate;
	char line[64];

	assert_int_equal(sscanf((const char *)out->data,
				"heap profile: %ld: %ld [%ld: %ld] @ heap/%ld\n", &used[0],
				&used[1], &all[0], &all[1], &rate),
			 5);
	assert_int_equal(rate, heap_rate_was_changed() ? 2 : 2 * HEAP_RATE_DEFAULT);
	assert_true(used[0] <= all[0] && used[1] <= all[1]);
	out = fixture_capture(
		f, &(struct profiler_request){ .kind = PROFILER_HEAP, .debug = 1, .legacy = true });
	snprintf(line, sizeof(line), " @ heap_v2/%d\n",
		 heap_rate_was_changed() ? 1 : HEAP_RATE_DEFAULT);
	assert_non_null(memmem(out->data, MIN(out->len, (size_t)200), line, strlen(line)));
	assert_null(strstr((const char *)out->data, "\n#\t"));
}

/* ---- A leak ---- */

WHOLE static void *leak_blocks(void)
{
	return malloc(SMALL_SIZE);
}

WHOLE static void *keep_blocks(void)
{
	return malloc(MIDDLE_SIZE);
}

static void save_heap(struct fixture *f, const char *path)
{
	const struct buf *out =
		fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_HEAP });
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(out->data, 1, out->len, file), out->len);
	fclose(file);
}

/* The first row below the header of `go tool pprof -top -base`. */
static bool first_leaking_function(const char *folder, char *ret, size_t cap)
{
	char command[512], line[1024];
	bool header = false, found = false;
	FILE *go;

	snprintf(command, sizeof(command),
		 "cd %s && HOME=%s go tool pprof -top -base before after 2>/dev/null", folder,
		 folder);
	go = popen(command, "r");
	while (go != NULL && fgets(line, sizeof(line), go) != NULL) {
		if (header && !found) {
			snprintf(ret, cap, "%s", line);
			found = true;
		}
		header |= strstr(line, "flat%") != NULL;
	}
	return go != NULL && pclose(go) == 0 && found;
}

static void a_planted_leak_is_the_first_row_of_the_difference(void **state)
{
	char folder[] = "/tmp/peerscope-heap-XXXXXX", path[64], row[1024];
	struct fixture *f = *state;
	void *kept[200];

	SKIP_WITHOUT_SAMPLING();
	if (system("command -v go >/dev/null 2>&1") != 0)
		SKIP_TEST("needs Go");
	assert_non_null(mkdtemp(folder));
	set_rate(FINE_RATE);
	for (unsigned i = 0; i < ARRAY_SIZE(kept); i++)
		kept[i] = keep_blocks();
	snprintf(path, sizeof(path), "%s/before", folder);
	save_heap(f, path);
	for (unsigned i = 0; i < SMALL; i++)
		__asm__ volatile("" : : "r"(leak_blocks()) : "memory");
	snprintf(path, sizeof(path), "%s/after", folder);
	save_heap(f, path);
	assert_true(first_leaking_function(folder, row, sizeof(row)));
	if (strstr(row, "leak_blocks") == NULL)
		fail_msg("the first row is %s", row);
	set_rate(HEAP_RATE_DEFAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(kept); i++)
		free(kept[i]);
	snprintf(path, sizeof(path), "rm -r %s", folder);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(estimates_are_unbiased_for_every_size),
		cmocka_unit_test(a_stack_of_mixed_sizes_is_told_within_two_percent),
		cmocka_unit_test(what_is_not_freed_is_in_use),
		cmocka_unit_test(every_function_is_sampled_and_forgotten),
		cmocka_unit_test(realloc_ends_a_block_and_begins_another_wherever_it_is),
		cmocka_unit_test(requests_that_cannot_be_met_are_refused_as_by_libc),
		cmocka_unit_test(the_quick_walk_sees_what_the_careful_one_sees),
		cmocka_unit_test(allocations_inside_libraries_are_seen),
		cmocka_unit_test(threads_leave_nothing_behind),
		cmocka_unit_test(a_child_of_fork_allocates_on),
		cmocka_unit_test(blocks_without_a_place_are_lost_and_counted),
		cmocka_unit_test(off_means_nothing_is_recorded),
		profiler_test(the_text_ends_with_gos_memory_statistics),
		profiler_test(the_first_line_has_the_sums_and_twice_the_rate),
		profiler_test(a_planted_leak_is_the_first_row_of_the_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
