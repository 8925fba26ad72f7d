#include "daemon/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

enum { PAUSES = 256 };

/* ---- Reading ---- */

static char *read_cmdline(size_t *ret_len)
{
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	char *text = fd >= 0 ? mem_alloc(PROCESS_CMDLINE_MAX) : NULL;
	size_t len = 0;
	ssize_t n = 0;

	while (text != NULL && len < PROCESS_CMDLINE_MAX - 1 &&
	       (n = read(fd, text + len, PROCESS_CMDLINE_MAX - 1 - len)) > 0)
		len += (size_t)n;
	if (fd >= 0)
		close(fd);
	*ret_len = text != NULL ? len : 0;
	return text;
}

static void read_statm(struct process *p)
{
	FILE *f = fopen("/proc/self/statm", "re");
	uint64_t pages[2], page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (f == NULL)
		return;
	if (fscanf(f, "%" SCNu64 " %" SCNu64, &pages[0], &pages[1]) == 2) {
		p->virtual_bytes = pages[0] * page;
		p->resident_bytes = pages[1] * page;
	}
	fclose(f);
}

static uint64_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (dir == NULL)
		return 0;
	for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		count += e->d_name[0] != '.';
	closedir(dir);
	return count - (count > 0); /* less the one that looks */
}

void process_read(struct process *ret)
{
	struct rusage usage;
	struct rlimit limit;

	*ret = (struct process){ 0 };
	profiler_memstats(&ret->memory);
	read_statm(ret);
	ret->open_fds = count_fds();
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		ret->max_fds = limit.rlim_cur;
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		ret->cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	ret->cmdline = read_cmdline(&ret->cmdline_len);
}

void process_fini(struct process *p)
{
	p->cmdline = mem_free(p->cmdline);
}

/* ---- As JSON ---- */

/* "token@http://host", "http://user:password@host": stars up to the '@'. A peer's address has none.
 */
static void hide_secrets(char *arg)
{
	char *at = strrchr(arg, '@'), *from = arg, *value = strchr(arg, '='), *scheme;

	if (at == NULL)
		return;
	if (arg[0] == '-' && value != NULL && value < at)
		from = value + 1;
	scheme = strstr(from, "://");
	if (scheme != NULL && scheme < strchr(from, '@'))
		from = scheme + 3;
	memset(from, '*', (size_t)(at - from));
}

json_t *process_cmdline(const struct process *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->cmdline_len; i += strlen(p->cmdline + i) + 1) {
		CLEANUP(mem_freep) char *arg = mem_strdup(p->cmdline + i);

		if (arg == NULL)
			continue;
		hide_secrets(arg);
		if (json_array_append_new(list, json_string(arg)) != 0)
			(void)json_array_append_new(list, json_string("?")); /* no UTF-8 */
	}
	return list;
}

static void set(json_t *o, const char *key, uint64_t value)
{
	(void)json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void set_zeros(json_t *o, const char *key)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < PAUSES; i++)
		(void)json_array_append_new(list, json_integer(0));
	(void)json_object_set_new(o, key, list);
}

static void set_heap(json_t *o, const struct memstats *m)
{
	set(o, "Alloc", m->alloc);
	set(o, "TotalAlloc", m->total_alloc);
	set(o, "Sys", m->sys);
	set(o, "Lookups", 0);
	set(o, "Mallocs", m->mallocs);
	set(o, "Frees", m->frees);
	set(o, "HeapAlloc", m->alloc);
	set(o, "HeapSys", m->heap_sys);
	set(o, "HeapIdle", m->heap_idle);
	set(o, "HeapInuse", m->heap_inuse);
	set(o, "HeapReleased", m->heap_released);
	set(o, "HeapObjects", m->heap_objects);
	set(o, "StackInuse", m->stack_inuse);
	set(o, "StackSys", m->stack_sys);
}

json_t *process_memstats(const struct process *p)
{
	static const char *const none[] = { "MSpanInuse", "MSpanSys", "MCacheInuse", "MCacheSys" };
	const struct memstats *m = &p->memory;
	json_t *o = json_object();

	set_heap(o, m);
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		set(o, none[i], 0);
	set(o, "BuckHashSys", m->buck_hash_sys);
	set(o, "GCSys", 0);
	set(o, "OtherSys", m->other_sys);
	set(o, "NextGC", 0);
	set(o, "LastGC", 0);
	set(o, "PauseTotalNs", 0);
	set_zeros(o, "PauseNs");
	set_zeros(o, "PauseEnd");
	set(o, "NumGC", 0);
	set(o, "NumForcedGC", m->num_forced_gc);
	set(o, "GCCPUFraction", 0);
	(void)json_object_set_new(o, "EnableGC", json_false());
	(void)json_object_set_new(o, "DebugGC", json_false());
	(void)json_object_set_new(o, "BySize", json_array());
	return o;
}

json_t *process_memstats_source(void)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s}", "Alloc",
		"mallinfo2: bytes in use, mapped ones too", "TotalAlloc",
		"estimated from sampled allocations, as are Mallocs, Frees and HeapObjects; 0 when "
		"nothing is sampled",
		"Sys", "VmData and VmStk of /proc/self/status", "HeapSys",
		"mallinfo2: what the allocator has from the kernel; HeapIdle of it is free",
		"StackInuse", "VmStk: the main thread's; StackSys: reserved for all threads",
		"NumForcedGC",
		"calls of malloc_trim by heap?gc=1; what tells of a garbage collector is 0, for "
		"there "
		"is none");
}
