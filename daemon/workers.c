#include "daemon/workers.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/exit.h"

/* libuv makes its threads at the first job and aborts when one cannot be made. So as many, with
 * stacks as large, are tried first; nobody else allocates yet. Where address space is limited,
 * malloc's arenas, which reserve 64 MiB for each thread and twice that for a moment, would use it
 * up without holding anything: then there is one for all. */

enum {
	WORKERS_DEFAULT = 4,
	WORKERS_MAX = 1024, /* libuv's own limits */
	STACK_BYTES = 8 << 20,
	ARENAS_WHEN_LIMITED = 1
};

static unsigned count_workers(void)
{
	const char *text = getenv("UV_THREADPOOL_SIZE");
	long n = text != NULL ? strtol(text, NULL, 10) : WORKERS_DEFAULT;

	return (unsigned)MIN(MAX(n, 1L), (long)WORKERS_MAX);
}

static void wait_for_others(void *barrier)
{
	uv_sem_wait(barrier);
}

/* How many threads there can be, `want` at most, and why no more. */
static unsigned try_threads(unsigned want, int *ret_why)
{
	uv_thread_options_t options = { .flags = UV_THREAD_HAS_STACK_SIZE,
					.stack_size = STACK_BYTES };
	uv_thread_t *threads = mem_alloc_array(want, sizeof(*threads));
	unsigned n = 0;
	uv_sem_t go;

	*ret_why = UV_ENOMEM;
	if (threads == NULL || uv_sem_init(&go, 0) != 0) {
		mem_free(threads);
		return 0;
	}
	for (; n < want; n++) {
		*ret_why = uv_thread_create_ex(&threads[n], &options, wait_for_others, &go);
		if (*ret_why != 0)
			break;
	}
	for (unsigned i = 0; i < n; i++)
		uv_sem_post(&go);
	for (unsigned i = 0; i < n; i++)
		uv_thread_join(&threads[i]);
	uv_sem_destroy(&go);
	mem_free(threads);
	return n;
}

static void nothing(struct runner_job *job)
{
	(void)job;
}

static void done(struct runner_job *job)
{
	mem_free(job);
}

int workers_start(struct daemon *d)
{
	unsigned want = count_workers(), got;
	struct runner_job *job;
	struct rlimit limit;
	int rc;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		(void)mallopt(M_ARENA_MAX, ARENAS_WHEN_LIMITED);
	got = try_threads(want, &rc);
	if (got < want)
		return daemon_fail(EXIT_FAILED,
				   "only %u of %u worker threads can be started: %s. Allow more "
				   "memory (ulimit -v) or more processes (ulimit -u)",
				   got, want, err_str(rc));
	job = mem_alloc(sizeof(*job));
	rc = UV_ENOMEM;
	if (job != NULL) {
		job->run = nothing;
		job->done = done;
		rc = runner_submit(&d->loop.runner, job);
	}
	if (rc == 0)
		return 0;
	mem_free(job);
	return daemon_fail(EXIT_FAILED, "no worker threads: %s", err_str(rc));
}
