#include "profiler/pages.h"

#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* A first touch costs a handler a microsecond and more; in a daemon of some megabytes of unwind
 * tables most samples would pay for one. */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096 };

void pages_populate(const void *p, size_t size, bool write)
{
	uintptr_t start = (uintptr_t)p & ~(uintptr_t)(PAGE - 1), end = (uintptr_t)p + size;

	(void)madvise((void *)start, end - start, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* The header with its table, and the entries, which linkers put behind it; up to the segment's end.
 */
static int populate_module(struct dl_phdr_info *info, size_t size, void *data)
{
	const ElfW(Phdr) *table = NULL;

	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
			table = &info->dlpi_phdr[i];
	for (unsigned i = 0; table != NULL && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && table->p_vaddr - ph->p_vaddr < ph->p_memsz)
			pages_populate((const void *)(info->dlpi_addr + table->p_vaddr),
				       ph->p_memsz - (table->p_vaddr - ph->p_vaddr), false);
	}
	return 0;
}

void pages_populate_tables(void)
{
	dl_iterate_phdr(populate_module, NULL);
}
