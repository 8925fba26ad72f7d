#include "profiler/modules.h"

#include <link.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

/* dl_iterate_phdr holds the loader's lock, so what its callback reads stays mapped. */

enum { PAGE = 4096, NOTE_BUILD_ID = 3 };

struct adding {
	struct modules *modules;
	bool first, failed;
};

static void format_hex(const uint8_t *bytes, size_t n, char ret[BUILD_ID_HEX_MAX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n && 2 * i + 2 < BUILD_ID_HEX_MAX; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
		ret[2 * i + 2] = '\0';
	}
}

/* Notes (gABI): namesz, descsz, type, name, desc, the latter two padded to 4. */
static void read_build_id(const struct dl_phdr_info *info, char ret[BUILD_ID_HEX_MAX])
{
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const uint8_t *p = (const uint8_t *)(info->dlpi_addr + ph->p_vaddr);
		size_t left = ph->p_memsz;

		if (ph->p_type != PT_NOTE || ph->p_align > 8)
			continue;
		while (left >= 12) {
			uint32_t head[3];
			size_t name, desc;

			memcpy(head, p, sizeof(head));
			name = ((size_t)head[0] + 3) & ~(size_t)3;
			desc = ((size_t)head[1] + 3) & ~(size_t)3;
			if (name > left - 12 || desc > left - 12 - name)
				break;
			if (head[2] == NOTE_BUILD_ID && head[0] == 4 &&
			    memcmp(p + 12, "GNU", 4) == 0) {
				format_hex(p + 12 + name, head[1], ret);
				return;
			}
			p += 12 + name + desc;
			left -= 12 + name + desc;
		}
	}
}

static void read_path(const struct dl_phdr_info *info, bool first, char ret[MODULE_PATH_MAX])
{
	static const char deleted[] = " (deleted)";
	size_t len;

	if (!first) {
		len = strnlen(info->dlpi_name, MODULE_PATH_MAX - 1);
		memcpy(ret, info->dlpi_name, len);
	} else {
		ssize_t n = readlink("/proc/self/exe", ret, MODULE_PATH_MAX - 1);

		len = n > 0 ? (size_t)n : 0;
	}
	ret[len] = '\0';
	if (len >= sizeof(deleted) && strcmp(ret + len - (sizeof(deleted) - 1), deleted) == 0)
		ret[len - (sizeof(deleted) - 1)] = '\0';
}

static bool overlaps(const struct modules *m, uintptr_t start, uintptr_t limit)
{
	for (unsigned i = 0; i < m->count; i++)
		if (start < m->list[i].limit && m->list[i].start < limit)
			return true;
	return false;
}

static void add_segment(struct adding *a, const struct dl_phdr_info *info, const ElfW(Phdr) * ph)
{
	uintptr_t at = info->dlpi_addr + ph->p_vaddr;
	uintptr_t start = at & ~(uintptr_t)(PAGE - 1);
	uintptr_t limit = (at + ph->p_memsz + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	struct module *list, *m;

	if (a->modules->count >= MODULES_MAX || overlaps(a->modules, start, limit))
		return;
	list = mem_realloc(a->modules->list, (a->modules->count + 1) * sizeof(*list));
	if (list == NULL) {
		a->failed = true;
		return;
	}
	a->modules->list = list;
	m = &list[a->modules->count++];
	memset(m, 0, sizeof(*m));
	m->start = start;
	m->limit = limit;
	m->offset = ph->p_offset & ~(uint64_t)(PAGE - 1);
	m->bias = info->dlpi_addr;
	read_path(info, a->first, m->path);
	read_build_id(info, m->build_id);
	m->is_vdso = strncmp(m->path, "linux-vdso", 10) == 0 ||
		     strncmp(m->path, "linux-gate", 10) == 0;
	if (m->is_vdso)
		memcpy(m->path, "[vdso]", sizeof("[vdso]"));
}

static int add_module(struct dl_phdr_info *info, size_t size, void *data)
{
	struct adding *a = data;

	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X)
			add_segment(a, info, &info->dlpi_phdr[i]);
	a->first = false;
	return a->failed;
}

int modules_add(struct modules *m)
{
	struct adding a = { .modules = m, .first = true };

	dl_iterate_phdr(add_module, &a);
	return a.failed ? UV_ENOMEM : 0;
}

void modules_fini(struct modules *m)
{
	m->list = mem_free(m->list);
	m->count = 0;
}

const struct module *modules_find(const struct modules *m, uintptr_t pc)
{
	for (unsigned i = 0; i < m->count; i++)
		if (pc >= m->list[i].start && pc < m->list[i].limit)
			return &m->list[i];
	return NULL;
}

uintptr_t module_written_bias(const struct modules *m, const struct module *module)
{
	return module->bias == m->list[0].bias ? module->bias : 0;
}

uintptr_t modules_from_written(const struct modules *m, uintptr_t pc)
{
	if (modules_find(m, pc) != NULL)
		return pc;
	for (unsigned i = 0; i < m->count && module_written_bias(m, &m->list[i]) != 0; i++)
		if (pc + m->list[i].bias >= m->list[i].start &&
		    pc + m->list[i].bias < m->list[i].limit)
			return pc + m->list[i].bias;
	return 0;
}

const char *module_basename(const struct module *m)
{
	const char *slash = strrchr(m->path, '/');

	return slash != NULL ? slash + 1 : m->path;
}

static int read_epoch(struct dl_phdr_info *info, size_t size, void *data)
{
	*(uint64_t *)data = info->dlpi_adds + info->dlpi_subs;
	return 1;
}

uint64_t modules_epoch(void)
{
	uint64_t epoch = 0;

	dl_iterate_phdr(read_epoch, &epoch);
	return epoch;
}
