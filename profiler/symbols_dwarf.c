#include "profiler/symbols_dwarf.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/map.h"

/* Functions of one name that several files define are told apart: net/tcp.on_read. Which names
 * those are is found by a walk over the units, once per module, when the first of its functions is
 * named. A function of a header counts once, whatever includes it; one with external linkage keeps
 * its name, which is the program's only one. */

enum { NAMES_MAX = 1 << 18, NAME_PARTS_MAX = 512, VDSO_MAX = 64 << 10 };

struct dwarf_names {
	Dwfl *dwfl;
	pid_t process;
	const struct modules *listed; /* NULL: by /proc */
	struct map definers;	      /* name → the unit that defines it, or `several` */
	Dwfl_Module *walked;	      /* the module whose names those are */
};

static const char several[] = "";

/* ---- Where files are ---- */

/* The program itself may have been replaced on disk; the kernel still has the one that runs. */
static int find_elf(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
		    char **ret_file, Elf **ret_elf)
{
	char exe[MODULE_PATH_MAX], link[32];
	pid_t process = *userdata != NULL ? (pid_t)(intptr_t)*userdata : getpid();
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)process);
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

static const Dwfl_Callbacks callbacks = { .find_elf = find_elf, .find_debuginfo = find_debuginfo };

static struct dwarf_names *begin(pid_t process, const struct modules *listed)
{
	struct dwarf_names *d = mem_alloc(sizeof(*d));

	if (d == NULL)
		return NULL;
	d->process = process;
	d->listed = listed;
	map_init(&d->definers, NAMES_MAX);
	d->dwfl = dwfl_begin(&callbacks);
	return d->dwfl != NULL ? d : dwarf_names_close(d);
}

static int note_process(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
			void *data)
{
	*userdata = data;
	return DWARF_CB_OK;
}

struct dwarf_names *dwarf_names_open(pid_t process)
{
	struct dwarf_names *d = begin(process, NULL);
	pid_t pid = process != 0 ? process : getpid();

	if (d == NULL)
		return NULL;
	if (dwfl_linux_proc_report(d->dwfl, pid) != 0 ||
	    dwfl_report_end(d->dwfl, NULL, NULL) != 0 ||
	    dwfl_getmodules(d->dwfl, note_process, (void *)(intptr_t)process, 0) != 0)
		return dwarf_names_close(d);
	return d;
}

/* It is in no file, but the same in all processes. */
static int open_vdso(void)
{
	const uint8_t *image = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)(uintptr_t)image;
	size_t size;
	int fd;

	if (image == NULL)
		return -1;
	size = head->e_shoff + (size_t)head->e_shnum * head->e_shentsize;
	fd = size <= VDSO_MAX ? memfd_create("vdso", MFD_CLOEXEC) : -1;
	if (fd >= 0 && write(fd, image, size) != (ssize_t)size) {
		close(fd);
		return -1;
	}
	return fd;
}

static void report(struct dwarf_names *d, const struct module *m, bool is_program)
{
	int fd = is_program ? open("/proc/self/exe", O_RDONLY | O_CLOEXEC) :
		 m->is_vdso ? open_vdso() :
			      open(m->path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && dwfl_report_elf(d->dwfl, m->path, m->path, fd, m->bias, true) == NULL)
		close(fd);
}

struct dwarf_names *dwarf_names_open_listed(const struct modules *m)
{
	struct dwarf_names *d = begin(0, m);

	for (unsigned i = 0; d != NULL && i < m->count; i++) {
		bool again = false;

		for (unsigned k = 0; k < i; k++)
			again |= m->list[k].bias == m->list[i].bias;
		if (!again)
			report(d, &m->list[i], m->list[i].bias == m->list[0].bias);
	}
	if (d != NULL && dwfl_report_end(d->dwfl, NULL, NULL) != 0)
		return dwarf_names_close(d);
	return d;
}

struct dwarf_names *dwarf_names_close(struct dwarf_names *d)
{
	if (d == NULL)
		return NULL;
	if (d->dwfl != NULL)
		dwfl_end(d->dwfl);
	map_fini(&d->definers);
	return mem_free(d);
}

/* A library that was replaced on disk since it was loaded tells nothing about the one in memory. */
static bool is_the_loaded_one(const struct dwarf_names *d, Dwfl_Module *mod, uintptr_t pc)
{
	const struct module *m = d->listed != NULL ? modules_find(d->listed, pc) : NULL;
	const unsigned char *id;
	char hex[BUILD_ID_HEX_MAX] = "";
	GElf_Addr vaddr;
	Dwarf_Addr bias;
	int n;

	if (d->listed == NULL)
		return true;
	if (m == NULL || dwfl_module_getelf(mod, &bias) == NULL)
		return false;
	n = dwfl_module_build_id(mod, &id, &vaddr);
	for (int i = 0; i < n && 2 * i + 2 < BUILD_ID_HEX_MAX; i++)
		snprintf(hex + 2 * i, sizeof(hex) - 2 * (size_t)i, "%02x", id[i]);
	return strcmp(hex, m->build_id) == 0;
}

/* ---- Text ---- */

const char *symbol_text(struct arena *text, const char *s, size_t len)
{
	char *copy = arena_strndup(text, s, len);

	return copy != NULL ? copy : "?";
}

/* Absolute and without "." and ".." parts, so that the file can be opened from anywhere. */
static const char *clean_path(struct arena *text, const char *dir, const char *file)
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
	joined = arena_strndup(text, out + (dir[0] != '\0' && dir[0] != '/' && len > 0),
			       len - (dir[0] != '\0' && dir[0] != '/' && len > 0));
	return joined != NULL ? joined : "";
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

/* ---- Names that several files define ---- */

static bool has_flag(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;
	bool v = false;

	return dwarf_formflag(dwarf_attr_integrate(die, name, &attr), &v) == 0 && v;
}

/* Of the unit's own file, not of a header: that is number 1 (gcc) or 0 (clang). */
static bool is_of_unit(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Word file;

	return dwarf_formudata(dwarf_attr(die, DW_AT_decl_file, &attr), &file) == 0 && file <= 1;
}

static void walk_unit(struct dwarf_names *d, Dwarf_Die *unit)
{
	const char *unit_name = dwarf_diename(unit), *name, *definer;
	Dwarf_Die die;

	if (unit_name == NULL || dwarf_child(unit, &die) != 0)
		return;
	do {
		if (dwarf_tag(&die) != DW_TAG_subprogram || !is_of_unit(&die) ||
		    has_flag(&die, DW_AT_declaration) || (name = dwarf_diename(&die)) == NULL)
			continue;
		definer = map_get(&d->definers, name, strlen(name));
		if (definer == NULL)
			(void)map_put(&d->definers, name, strlen(name),
				      (void *)(uintptr_t)unit_name);
		else if (definer != several && strcmp(definer, unit_name) != 0)
			(void)map_put(&d->definers, name, strlen(name), (void *)(uintptr_t)several);
	} while (dwarf_siblingof(&die, &die) == 0);
}

static void walk_module(struct dwarf_names *d, Dwfl_Module *mod)
{
	Dwarf_Die *unit = NULL;
	Dwarf_Addr bias;

	if (d->walked == mod)
		return;
	d->walked = mod;
	map_fini(&d->definers);
	map_init(&d->definers, NAMES_MAX);
	while ((unit = dwfl_module_nextcu(mod, unit, &bias)) != NULL)
		walk_unit(d, unit);
}

/* "…/net/tcp.c" and "on_read": "net/tcp.on_read". */
static const char *with_file(struct arena *text, const char *file, const char *name)
{
	const char *end = strrchr(file, '/'), *dot, *begin = end;
	char both[NAME_PARTS_MAX];

	while (begin != NULL && begin > file && begin[-1] != '/')
		begin--;
	begin = begin != NULL ? begin : file;
	dot = strrchr(end != NULL ? end : file, '.');
	(void)snprintf(both, sizeof(both), "%.*s.%s",
		       (int)(dot != NULL ? (size_t)(dot - begin) : strlen(begin)), begin, name);
	return symbol_text(text, both, strlen(both));
}

static const char *told_apart(struct dwarf_names *d, Dwarf_Die *die, struct arena *text,
			      const char *name)
{
	const char *file;

	if (map_get(&d->definers, name, strlen(name)) != several || has_flag(die, DW_AT_external) ||
	    (file = dwarf_decl_file(die)) == NULL)
		return NULL;
	return with_file(text, file, name);
}

/* ---- DWARF ---- */

static const char *comp_dir(Dwarf_Die *cu)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr));
}

/* Where the inlined function was called, which is the place in the next outer one. */
static void read_call_site(Dwarf_Die *cu, Dwarf_Die *die, struct arena *text, const char **ret_file,
			   int *ret_line)
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
		*ret_file = clean_path(text, comp_dir(cu), dwarf_filesrc(files, v, NULL, NULL));
}

struct place {
	Dwarf_Die *cu;
	const char *file;
	int line;
};

static void read_scopes(struct dwarf_names *d, struct place at, Dwarf_Die *scopes, int count,
			struct arena *text, struct symbol_found *f)
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
		*l = (struct symbol_line){ .file = at.file, .line = at.line };
		l->system_name = symbol_text(text, name, strlen(name));
		l->name = told_apart(d, &scopes[i], text, name);
		if (l->name == NULL)
			l->name = l->system_name;
		(void)dwarf_decl_line(&scopes[i], &l->start_line);
		f->n++;
		f->from_dwarf = true;
		if (tag == DW_TAG_subprogram)
			return;
		read_call_site(at.cu, &scopes[i], text, &at.file, &at.line);
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

static void read_dwarf(struct dwarf_names *d, Dwfl_Module *mod, uintptr_t pc, struct arena *text,
		       struct symbol_found *f)
{
	Dwarf_Die *inner = NULL, *chain = NULL;
	struct place place = { 0 };
	const char *file = NULL;
	Dwarf_Line *at;
	Dwarf_Addr bias;
	int n;

	place.cu = find_unit(mod, pc, &bias);
	if (place.cu == NULL)
		return;
	walk_module(d, mod);
	at = dwarf_getsrc_die(place.cu, pc - bias);
	if (at != NULL && dwarf_lineno(at, &place.line) == 0)
		file = dwarf_linesrc(at, NULL, NULL);
	place.file = clean_path(text, comp_dir(place.cu), file);
	n = dwarf_getscopes(place.cu, pc - bias, &inner);
	if (n > 0)
		n = dwarf_getscopes_die(&inner[0], &chain);
	if (n > 0)
		read_scopes(d, place, chain, n, text, f);
	(free)(chain); /* libdw's memory */
	(free)(inner);
}

/* ---- Symbol table ---- */

static void read_symtab(Dwfl_Module *mod, uintptr_t pc, struct arena *text, struct symbol_found *f)
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
			(struct symbol_line){ .name = symbol_text(text, name, plain_length(name)),
					      .file = "" };
	last = &f->lines[f->n - 1];
	last->system_name = strcmp(last->name, name) == 0 ? last->name :
							    symbol_text(text, name, strlen(name));
}

void dwarf_names_find(struct dwarf_names *d, uintptr_t pc, struct arena *text,
		      struct symbol_found *ret)
{
	Dwfl_Module *mod = dwfl_addrmodule(d->dwfl, pc);

	ret->n = 0;
	ret->start = 0;
	ret->from_dwarf = false;
	if (mod == NULL || !is_the_loaded_one(d, mod, pc))
		return;
	read_dwarf(d, mod, pc, text, ret);
	read_symtab(mod, pc, text, ret);
}
