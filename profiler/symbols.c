#include "profiler/symbols.h"

#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "profiler/cfi.h"
#include "profiler/stacks.h"
#include "profiler/symbols_helper.h"

/* One session at a time has a helper (symbols_helper.h), or libdw in this process, started at its
 * first unknown address and ended at its end. Cached symbols are keyed by what the file is (path,
 * build id) and the address in it, and so outlive unloading and moving. What was not found for want
 * of memory, or because the helper died, is told by the function's start and kept for the session
 * only.
 *
 * In front of it lies a small table of the session's addresses: the same few stand in most stacks
 * of a profile, and to find a key takes longer than to look it up.
 *
 * Threads share one cache. Lock: taken by symbols_begin, released by symbols_end. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *helper_verb; /* NULL: names are looked for in this process */
static const struct modules *modules;
static struct helper helper = HELPER_INIT;
static struct dwarf_names *dwarf;
static bool dwarf_failed, cache_ready;
static pid_t process;				 /* whose addresses they are; 0 = our own */
static uintptr_t (*process_start)(uintptr_t pc); /* of another process's functions */
static struct map cache;
static struct arena memory;
static struct map guesses; /* of the session: pc → symbol */
static struct arena session_memory;
static unsigned guessed;

enum { RECENT = 1 << 10, PREFETCH_MAX = 1 << 14 };
static struct {
	uintptr_t pc;
	const struct symbol *symbol; /* NULL: free */
} recent[RECENT];

struct key {
	uint64_t file;
	uint64_t address;
};

void symbols_set_helper(const char *verb)
{
	pthread_mutex_lock(&lock);
	helper_stop(&helper, 0);
	helper_verb = verb;
	pthread_mutex_unlock(&lock);
}

/* ---- Without a name ---- */

/* While the callback runs nothing is unloaded. */
static int read_start(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t *pc = data;

	*pc = cfi_function_start(*pc);
	return 1;
}

static void name_by_start(const struct module *m, uintptr_t pc, struct arena *text,
			  struct symbol_found *f)
{
	struct symbol_line *l = &f->lines[0];
	const char *base = module_basename(m);
	char name[MODULE_PATH_MAX + 32];
	uintptr_t start = pc;

	if (process == 0)
		dl_iterate_phdr(read_start, &start);
	else
		start = process_start(pc);
	*l = (struct symbol_line){ .file = "" };
	f->n = 1;
	f->start = start;
	f->from_dwarf = false;
	if (start >= m->start && start <= pc) {
		size_t bracket = base[0] == '[';

		/* without brackets, which demanglers eat */
		snprintf(name, sizeof(name), "%.*s!0x%" PRIxPTR, (int)(strlen(base) - 2 * bracket),
			 base + bracket, start - m->bias);
		l->name = l->system_name = symbol_text(text, name, strlen(name));
		return;
	}
	f->start = 0;
	snprintf(name, sizeof(name), "[%s]", base);
	l->name = symbol_text(text, name, strlen(name));
	/* differs, so that no demangler eats the brackets */
	l->system_name = symbol_text(text, base, strlen(base));
}

/* ---- Keeping ---- */

static const struct symbol *pack(struct arena *a, const struct symbol_found *f)
{
	struct symbol *s = arena_alloc(a, sizeof(*s) + f->n * sizeof(*f->lines));

	if (s == NULL)
		return NULL;
	s->start = f->start;
	s->from_dwarf = f->from_dwarf;
	s->n = f->n;
	memcpy(s->lines, f->lines, f->n * sizeof(*f->lines));
	return s;
}

static uint64_t file_hash(const struct module *m)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *p = m->path; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	for (const char *p = m->build_id; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	return h;
}

static struct key key_of(const struct module *m, uintptr_t pc)
{
	return (struct key){ file_hash(m), pc - m->bias };
}

/* For good, or for the session. */
static void keep(void *data, uintptr_t pc, const struct symbol_found *found, bool whole)
{
	const struct module *m = modules_find(modules, pc);
	struct key key = key_of(m, pc);
	struct symbol_found named = *found;
	const struct symbol *s;

	if (named.n == 0)
		name_by_start(m, pc, whole ? &memory : &session_memory, &named);
	s = pack(whole ? &memory : &session_memory, &named);
	guessed += !whole;
	if (s != NULL && whole)
		(void)map_put(&cache, &key, sizeof(key), (void *)(uintptr_t)s);
	else if (s != NULL)
		(void)map_put(&guesses, &pc, sizeof(pc), (void *)(uintptr_t)s);
}

static const struct symbol *known(const struct module *m, uintptr_t pc)
{
	struct key key = key_of(m, pc);
	const struct symbol *s = map_get(&cache, &key, sizeof(key));

	return s != NULL ? s : map_get(&guesses, &pc, sizeof(pc));
}

static void guess(uintptr_t pc)
{
	keep(NULL, pc, &(const struct symbol_found){ .n = 0 }, false);
}

/* ---- Finding ---- */

static void find_here(uintptr_t pc)
{
	struct symbol_found found = { .n = 0 };

	if (dwarf == NULL && !dwarf_failed)
		dwarf = dwarf_names_open(process);
	dwarf_failed = dwarf == NULL;
	if (dwarf != NULL)
		dwarf_names_find(dwarf, pc, &memory, &found);
	keep(NULL, pc, &found, dwarf != NULL);
}

/* The addresses are in modules, and none is known. */
static void find_all(const uintptr_t *pcs, unsigned n)
{
	if (helper_verb != NULL && process == 0)
		helper_ask(&helper, pcs, n, &memory, keep, NULL);
	else
		for (unsigned i = 0; i < n; i++)
			find_here(pcs[i]);
	for (unsigned i = 0; i < n; i++)
		if (known(modules_find(modules, pcs[i]), pcs[i]) == NULL)
			guess(pcs[i]);
}

static const struct symbol *find(uintptr_t pc)
{
	static const struct symbol unknown = { .n = 1,
					       .lines = { { "[unknown]", "unknown", "", 0, 0 } } };
	const struct module *m = modules_find(modules, pc);
	const struct symbol *s;

	if (m == NULL)
		return &unknown;
	s = known(m, pc);
	if (s == NULL) {
		find_all(&pc, 1);
		s = known(m, pc);
	}
	return s != NULL ? s : &unknown;
}

const struct symbol *symbols_get(uintptr_t pc)
{
	size_t at = pc * UINT64_C(0x9e3779b97f4a7c15) >> 54; /* RECENT places */

	if (recent[at].symbol == NULL || recent[at].pc != pc) {
		recent[at].symbol = find(pc);
		recent[at].pc = pc;
	}
	return recent[at].symbol;
}

/* All at once: each question by itself waits for its answer. */
void symbols_prefetch(const struct stacks *stacks)
{
	uintptr_t *list = helper_verb != NULL ? mem_alloc_array(PREFETCH_MAX, sizeof(*list)) : NULL;
	struct map listed;
	unsigned n = 0;

	map_init(&listed, PREFETCH_MAX);
	for (const struct stack *k = stacks->first; list != NULL && k != NULL; k = k->next)
		for (unsigned i = 0; i < k->n && n < PREFETCH_MAX; i++) {
			const struct module *m = modules_find(modules, k->pcs[i]);

			if (m == NULL || known(m, k->pcs[i]) != NULL ||
			    map_get(&listed, &k->pcs[i], sizeof(k->pcs[i])) != NULL ||
			    map_put(&listed, &k->pcs[i], sizeof(k->pcs[i]), list) != 0)
				continue;
			list[n++] = k->pcs[i];
		}
	if (n > 0)
		find_all(list, n);
	map_fini(&listed);
	mem_free(list);
}

/* ---- Sessions ---- */

static void forget(void)
{
	map_fini(&cache);
	arena_fini(&memory);
	cache_ready = false;
}

void symbols_begin(const struct modules *m)
{
	pthread_mutex_lock(&lock);
	if (cache_ready && (map_count(&cache) > SYMBOLS_CACHED_MAX / 2 ||
			    memory.used_bytes > SYMBOLS_MEMORY_MAX / 2))
		forget();
	if (!cache_ready) {
		map_init(&cache, SYMBOLS_CACHED_MAX);
		arena_init(&memory, SYMBOLS_MEMORY_MAX);
		cache_ready = true;
	}
	map_init(&guesses, SYMBOLS_CACHED_MAX);
	arena_init(&session_memory, SYMBOLS_MEMORY_MAX);
	guessed = 0;
	modules = m;
	dwarf_failed = false;
	helper_begin(&helper, m, helper_verb);
	memset(recent, 0, sizeof(recent));
}

void symbols_begin_process(const struct modules *m, pid_t pid, uintptr_t (*start_of)(uintptr_t pc))
{
	symbols_begin(m);
	process = pid;
	process_start = start_of;
}

void symbols_trouble(char *ret, size_t size)
{
	ret[0] = '\0';
	if (guessed > 0)
		(void)snprintf(
			ret, size,
			"names are missing: %u addresses were not looked up, for the program "
			"that does so %s",
			guessed, helper.why[0] != '\0' ? helper.why : "was refused memory");
}

void symbols_end(void)
{
	dwarf = dwarf_names_close(dwarf);
	helper_end(&helper);
	map_fini(&guesses);
	arena_fini(&session_memory);
	modules = NULL;
	process = 0;
	pthread_mutex_unlock(&lock);
}

void symbols_warm(void)
{
	struct modules m = { 0 };

	if (pthread_mutex_trylock(&lock) != 0)
		return;
	if (helper_verb != NULL && modules_add(&m) == 0) {
		helper_begin(&helper, &m, helper_verb);
		helper_warm(&helper, (uintptr_t)symbols_warm);
		helper_end(&helper);
	}
	pthread_mutex_unlock(&lock);
	modules_fini(&m);
}

void symbols_tidy(void)
{
	if (pthread_mutex_trylock(&lock) != 0)
		return;
	helper_stop(&helper, HELPER_IDLE_MS);
	pthread_mutex_unlock(&lock);
}

void symbols_forget(void)
{
	pthread_mutex_lock(&lock);
	if (cache_ready)
		forget();
	pthread_mutex_unlock(&lock);
}
