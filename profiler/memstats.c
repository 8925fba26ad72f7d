#include "profiler/memstats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "profiler/heap.h"
#include "profiler/thread.h"

enum { STATUS_MAX = 8192, PAUSES = 256 };

static _Atomic uint64_t trims, released;

/* ---- /proc/self/status: "VmRSS:\t   1234 kB" ---- */

struct status {
	char text[STATUS_MAX];
};

static void read_status(struct status *s)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, s->text, sizeof(s->text) - 1) : -1;

	s->text[MAX(n, (ssize_t)0)] = '\0';
	if (fd >= 0)
		close(fd);
}

static uint64_t status_bytes(const struct status *s, const char *name)
{
	const char *at = strstr(s->text, name);

	return at != NULL ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

void memstats_trim(void)
{
	struct status s;
	uint64_t before, after;

	read_status(&s);
	before = status_bytes(&s, "\nVmRSS:");
	(void)malloc_trim(0);
	read_status(&s);
	after = status_bytes(&s, "\nVmRSS:");
	atomic_store(&released, before > after ? before - after : 0);
	atomic_fetch_add(&trims, 1);
}

static uint64_t thread_stack_size(void)
{
	pthread_attr_t attr;
	size_t size = 0;

	if (pthread_getattr_default_np(&attr) == 0) {
		(void)pthread_attr_getstacksize(&attr, &size);
		pthread_attr_destroy(&attr);
	}
	return size;
}

static void read_heap(struct memstats *m)
{
	struct mallinfo2 info = mallinfo2();
	struct heap_sums sums;

	m->alloc = info.uordblks + info.hblkhd;
	m->heap_sys = info.arena + info.hblkhd;
	m->heap_idle = info.fordblks;
	m->heap_inuse = m->heap_sys - MIN(m->heap_idle, m->heap_sys);
	heap_sums(&sums);
	m->total_alloc = sums.bytes;
	m->mallocs = sums.objects;
	m->heap_objects = sums.objects_in_use;
	m->frees = m->mallocs - MIN(m->heap_objects, m->mallocs);
	m->buck_hash_sys = sums.table_bytes;
}

void memstats_read(struct memstats *ret)
{
	struct memstats m = { .heap_released = atomic_load(&released),
			      .num_forced_gc = atomic_load(&trims) };
	struct rusage usage;
	struct status s;
	uint64_t known;

	read_heap(&m);
	read_status(&s);
	m.rss = status_bytes(&s, "\nVmRSS:");
	m.stack_inuse = status_bytes(&s, "\nVmStk:");
	m.stack_sys = m.stack_inuse + (MAX(threads_count(), 1u) - 1) * thread_stack_size();
	m.sys = status_bytes(&s, "\nVmData:") + m.stack_inuse;
	known = m.heap_sys + m.stack_sys + m.buck_hash_sys;
	m.other_sys = m.sys - MIN(known, m.sys);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		m.max_rss = (uint64_t)usage.ru_maxrss * 1024;
	*ret = m;
}

static void write_line(struct buf *out, const char *name, uint64_t value)
{
	buf_printf(out, "# %s = %" PRIu64 "\n", name, value);
}

static void write_zeros(struct buf *out, const char *name)
{
	buf_printf(out, "# %s = [0", name);
	for (unsigned i = 1; i < PAUSES; i++)
		buf_write_str(out, " 0");
	buf_write_str(out, "]\n");
}

void memstats_write(struct buf *out)
{
	struct memstats m;

	memstats_read(&m);
	buf_write_str(out, "\n# runtime.MemStats\n");
	write_line(out, "Alloc", m.alloc);
	write_line(out, "TotalAlloc", m.total_alloc);
	write_line(out, "Sys", m.sys);
	write_line(out, "Lookups", 0);
	write_line(out, "Mallocs", m.mallocs);
	write_line(out, "Frees", m.frees);
	write_line(out, "HeapAlloc", m.alloc);
	write_line(out, "HeapSys", m.heap_sys);
	write_line(out, "HeapIdle", m.heap_idle);
	write_line(out, "HeapInuse", m.heap_inuse);
	write_line(out, "HeapReleased", m.heap_released);
	write_line(out, "HeapObjects", m.heap_objects);
	buf_printf(out, "# Stack = %" PRIu64 " / %" PRIu64 "\n", m.stack_inuse, m.stack_sys);
	buf_write_str(out, "# MSpan = 0 / 0\n# MCache = 0 / 0\n");
	write_line(out, "BuckHashSys", m.buck_hash_sys);
	write_line(out, "GCSys", 0);
	write_line(out, "OtherSys", m.other_sys);
	write_line(out, "NextGC", 0);
	write_line(out, "LastGC", 0);
	write_zeros(out, "PauseNs");
	write_zeros(out, "PauseEnd");
	write_line(out, "NumGC", 0);
	write_line(out, "NumForcedGC", m.num_forced_gc);
	buf_write_str(out, "# GCCPUFraction = 0\n# DebugGC = false\n");
	write_line(out, "MaxRSS", m.max_rss);
}
