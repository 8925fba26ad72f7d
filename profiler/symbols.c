#include "profiler/symbols.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "profiler/cfi.h"

/* libdw is not thread-safe and takes 20 MB for a large program, so one session at a time has a
 * Dwfl, opened at its first unknown address and closed at its end. Cached symbols are keyed by what
 * the file is (path, build id) and the address in it, and so outlive unloading and moving.
 *
 * In front of it lies a small table of the session's addresses: the same few stand in most stacks
 * of a profile, and to find a key takes longer than to look it up.
 *
 * Threads share one cache. Lock: taken by symbols_begin, released by symbols_end. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct modules *modules;
static Dwfl *dwfl;
static bool dwfl_failed, cache_ready;
static pid_t process;				 /* whose addresses they are; 0 = our own */
static uintptr_t (*process_start)(uintptr_t pc); /* of another process's functions */
static struct map cache;
static struct arena memory;

enum { RECENT = 1 << 10 };
static struct {
	uintptr_t pc;
	const struct symbol *symbol; /* NULL: free */
} recent[RECENT];

struct key {
	uint64_t file;
	uint64_t address;
};

/* ---- Where files are ---- */

/* The program itself may have been replaced on disk; the kernel still has the one that runs. */
static int find_elf(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
		    char **ret_file, Elf **ret_elf)
{
	char exe[MODULE_PATH_MAX], link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)(process != 0 ? process : getpid()));
	n = readlink(link, exe, sizeof(exe) - 1);
	if (n > 0) {
		exe[n] = '\0';
		if (strcmp(name, exe) == 0)
			return open(link, O_RDONLY | O_CLOEXEC);
	}
	return dwfl_linux_proc_find_elf(mod, userdata, name, base, ret_file, ret_elf);
}

static int find_debuginfo(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **ret_file)
{
	char path[160] = "/usr/lib/debug/.build-id/";
	const unsigned char *id;
	size_t at = strlen(path);
	GElf_Addr vaddr;
	int n = dwfl_module_build_id(mod, &id, &vaddr);

	if (n < 2 || n > 32)
		return -1;
	for (int i = 0; i < n; i++)
		at += (size_t)snprintf(path + at, sizeof(path) - at, i == 1 ? "/%02x" : "%02x",
				       id[i]);
	snprintf(path + at, sizeof(path) - at, ".debug");
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void open_dwfl(void)
{
	static const Dwfl_Callbacks callbacks = { .find_elf = find_elf,
						  .find_debuginfo = find_debuginfo };

	if (dwfl != NULL || dwfl_failed)
		return;
	dwfl = dwfl_begin(&callbacks);
	if (dwfl != NULL && dwfl_linux_proc_report(dwfl, process != 0 ? process : getpid()) == 0 &&
	    dwfl_report_end(dwfl, NULL, NULL) == 0)
		return;
	dwfl_end(dwfl);
	dwfl = NULL;
	dwfl_failed = true;
}

/* ---- Text ---- */

/* Absolute and without "." and ".." parts, so that the file can be opened from anywhere. */
static const char *clean_path(const char *dir, const char *file)
{
	char out[1024];
	size_t len = 0;
	char *joined;

	if (file == NULL)
		return "";
	if (file[0] == '/' || dir == NULL)
		dir = "";
	joined = mem_printf("%s/%s", dir, file);
	if (joined == NULL)
		return "";
	for (const char *p = joined; *p != '\0';) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && p[0] == '.') && len + n + 1 < sizeof(out)) {
			out[len++] = '/';
			memcpy(out + len, p, n);
			len += n;
		}
		p += n + (p[n] == '/');
	}
	mem_free(joined);
	/* A relative folder of the build stays relative: there is no file to open. */
	joined = arena_strndup(&memory, out + (dir[0] != '\0' && dir[0] != '/' && len > 0),
			       len - (dir[0] != '\0' && dir[0] != '/' && len > 0));
	return joined != NULL ? joined : "";
}

static const char *keep(const char *s, size_t len)
{
	char *copy = arena_strndup(&memory, s, len);

	return copy != NULL ? copy : "?";
}

/* The compiler's clones go by the name of what they were cloned from. */
static size_t plain_length(const char *name)
{
	static const char *const suffixes[] = { ".constprop.", ".part.", ".isra.", ".cold",
						".lto_priv." };
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		const char *at = strstr(name, suffixes[i]);

		if (at != NULL && at != name)
			len = MIN(len, (size_t)(at - name));
	}
	return len;
}

/* ---- DWARF ---- */

struct found {
	struct symbol_line lines[SYMBOL_LINES_MAX];
	unsigned n;
	uintptr_t start;
	bool from_dwarf;
};

static const char *comp_dir(Dwarf_Die *cu)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr));
}

/* Where the inlined function was called, which is the place in the next outer one. */
static void read_call_site(Dwarf_Die *cu, Dwarf_Die *die, const char **ret_file, int *ret_line)
{
	Dwarf_Attribute attr;
	Dwarf_Files *files;
	Dwarf_Word v;
	size_t n;

	*ret_file = "";
	*ret_line = 0;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attr), &v) == 0)
		*ret_line = (int)v;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attr), &v) == 0 &&
	    dwarf_getsrcfiles(cu, &files, &n) == 0)
		*ret_file = clean_path(comp_dir(cu), dwarf_filesrc(files, v, NULL, NULL));
}

static void read_scopes(Dwarf_Die *cu, Dwarf_Die *scopes, int count, const char *file, int line,
			struct found *f)
{
	for (int i = 0; i < count && f->n < SYMBOL_LINES_MAX; i++) {
		int tag = dwarf_tag(&scopes[i]);
		struct symbol_line *l = &f->lines[f->n];
		const char *name;

		if (tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine)
			continue;
		name = dwarf_diename(&scopes[i]);
		if (name == NULL)
			return;
		*l = (struct symbol_line){ .file = file, .line = line };
		l->name = l->system_name = keep(name, strlen(name));
		(void)dwarf_decl_line(&scopes[i], &l->start_line);
		f->n++;
		f->from_dwarf = true;
		if (tag == DW_TAG_subprogram)
			return;
		read_call_site(cu, &scopes[i], &file, &line);
	}
}

/* clang writes no .debug_aranges, without which libdw finds no unit by address. */
static Dwarf_Die *find_unit(Dwfl_Module *mod, uintptr_t pc, Dwarf_Addr *ret_bias)
{
	Dwarf_Die *cu = dwfl_module_addrdie(mod, pc, ret_bias);

	if (cu != NULL)
		return cu;
	while ((cu = dwfl_module_nextcu(mod, cu, ret_bias)) != NULL)
		if (dwarf_haspc(cu, pc - *ret_bias) > 0)
			return cu;
	return NULL;
}

static void read_dwarf(Dwfl_Module *mod, uintptr_t pc, struct found *f)
{
	Dwarf_Line *at;
	Dwarf_Die *cu, *inner = NULL, *chain = NULL;
	const char *file = NULL;
	Dwarf_Addr bias;
	int line = 0, n;

	cu = find_unit(mod, pc, &bias);
	if (cu == NULL)
		return;
	at = dwarf_getsrc_die(cu, pc - bias);
	if (at != NULL && dwarf_lineno(at, &line) == 0)
		file = dwarf_linesrc(at, NULL, NULL);
	file = clean_path(comp_dir(cu), file);
	n = dwarf_getscopes(cu, pc - bias, &inner);
	if (n > 0)
		n = dwarf_getscopes_die(&inner[0], &chain);
	if (n > 0)
		read_scopes(cu, chain, n, file, line, f);
	(free)(chain); /* libdw's memory */
	(free)(inner);
}

/* ---- Symbol table, unwind entries ---- */

static void read_symtab(Dwfl_Module *mod, uintptr_t pc, struct found *f)
{
	struct symbol_line *last;
	const char *name;
	GElf_Off off;
	GElf_Sym sym;

	name = dwfl_module_addrinfo(mod, pc, &off, &sym, NULL, NULL, NULL);
	if (name == NULL || (sym.st_size != 0 && off >= sym.st_size))
		return;
	f->start = pc - off;
	if (f->n == 0)
		f->lines[f->n++] =
			(struct symbol_line){ .name = keep(name, plain_length(name)), .file = "" };
	last = &f->lines[f->n - 1];
	last->system_name = strcmp(last->name, name) == 0 ? last->name : keep(name, strlen(name));
}

/* While the callback runs nothing is unloaded. */
static int read_start(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t *pc = data;

	*pc = cfi_function_start(*pc);
	return 1;
}

static void name_by_start(const struct module *m, uintptr_t pc, struct found *f)
{
	struct symbol_line *l = &f->lines[0];
	const char *base = module_basename(m);
	char text[MODULE_PATH_MAX + 32];
	uintptr_t start = pc;

	if (process == 0)
		dl_iterate_phdr(read_start, &start);
	else
		start = process_start(pc);
	*l = (struct symbol_line){ .file = "" };
	f->n = 1;
	f->start = start;
	if (start >= m->start && start <= pc) {
		snprintf(text, sizeof(text), "%s!0x%" PRIxPTR, base, start - m->bias);
		l->name = l->system_name = keep(text, strlen(text));
		return;
	}
	f->start = 0;
	snprintf(text, sizeof(text), "[%s]", base);
	l->name = keep(text, strlen(text));
	l->system_name =
		keep(base, strlen(base)); /* differs, so that no demangler eats the brackets */
}

/* ---- Sessions ---- */

static const struct symbol *pack(const struct found *f)
{
	struct symbol *s = arena_alloc(&memory, sizeof(*s) + f->n * sizeof(*f->lines));

	if (s == NULL)
		return NULL;
	s->start = f->start;
	s->from_dwarf = f->from_dwarf;
	s->n = f->n;
	memcpy(s->lines, f->lines, f->n * sizeof(*f->lines));
	return s;
}

static const struct symbol *resolve(const struct module *m, uintptr_t pc)
{
	struct found f = { .n = 0 };
	Dwfl_Module *mod;

	open_dwfl();
	mod = dwfl != NULL ? dwfl_addrmodule(dwfl, pc) : NULL;
	if (mod != NULL) {
		read_dwarf(mod, pc, &f);
		read_symtab(mod, pc, &f);
	}
	if (f.n == 0)
		name_by_start(m, pc, &f);
	return pack(&f);
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
	modules = m;
	dwfl_failed = false;
	memset(recent, 0, sizeof(recent));
}

void symbols_begin_process(const struct modules *m, pid_t pid, uintptr_t (*start_of)(uintptr_t pc))
{
	symbols_begin(m);
	process = pid;
	process_start = start_of;
}

static const struct symbol *find(uintptr_t pc)
{
	static const struct symbol unknown = { .n = 1,
					       .lines = { { "[unknown]", "unknown", "", 0, 0 } } };
	const struct module *m = modules_find(modules, pc);
	const struct symbol *s;
	struct key key;

	if (m == NULL)
		return &unknown;
	key = (struct key){ file_hash(m), pc - m->bias };
	s = map_get(&cache, &key, sizeof(key));
	if (s == NULL) {
		s = resolve(m, pc);
		if (s == NULL)
			return &unknown;
		(void)map_put(&cache, &key, sizeof(key), (void *)s);
	}
	return s;
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

void symbols_end(void)
{
	dwfl_end(dwfl);
	dwfl = NULL;
	modules = NULL;
	process = 0;
	pthread_mutex_unlock(&lock);
}

void symbols_forget(void)
{
	pthread_mutex_lock(&lock);
	if (cache_ready)
		forget();
	pthread_mutex_unlock(&lock);
}
