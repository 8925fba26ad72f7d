#include "base/loop.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/op.h"

/* Deadlines are the runner's, on its own clock; the uv timer is only a wake-up. When it comes
 * early, the turn finds nothing due and arms it again. */

struct work {
	uv_work_t req;
	struct runner_job *job;
	struct loop *loop;
	struct op_label label; /* of who submitted it */
};

static void on_idle(uv_idle_t *idle);
static void on_timer(uv_timer_t *timer);

static void arm(struct loop *l)
{
	uint64_t due_ms = runner_next_due_ms(&l->runner);
	uint64_t now_ms;

	if (due_ms == 0) {
		if (!uv_is_active((uv_handle_t *)&l->idle))
			uv_idle_start(&l->idle, on_idle);
		return;
	}
	uv_idle_stop(&l->idle);
	if (due_ms == l->timer_due_ms)
		return;
	l->timer_due_ms = due_ms;
	if (due_ms == UINT64_MAX) {
		uv_timer_stop(&l->timer);
		return;
	}
	/* uv counts from its cached time, which a long callback leaves behind. */
	uv_update_time(&l->uv);
	now_ms = runner_now_ms(&l->runner);
	uv_timer_start(&l->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void turn(struct loop *l)
{
	l->turning = true;
	runner_turn(&l->runner);
	l->turning = false;
	arm(l);
}

static void on_idle(uv_idle_t *idle)
{
	turn(idle->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct loop *l = timer->data;

	l->timer_due_ms = UINT64_MAX;
	turn(l);
}

static void wake(struct runner *r)
{
	struct loop *l = container_of(r, struct loop, runner);

	if (!l->turning && !uv_is_closing((uv_handle_t *)&l->idle))
		arm(l);
}

static void on_work(uv_work_t *req)
{
	struct work *w = container_of(req, struct work, req);

	op_label_set(w->label.task, w->label.span, w->label.id);
	runner_job_run(w->job);
	op_label_set(NULL, (struct span){ 0 }, 0);
}

static void on_worked(uv_work_t *req, int status)
{
	struct work *w = container_of(req, struct work, req);
	struct runner_job *job = w->job;

	w->loop->job_count--;
	mem_free(w);
	job->driver_data = NULL;
	runner_job_done(job);
}

static int submit(struct runner *r, struct runner_job *job)
{
	struct loop *l = container_of(r, struct loop, runner);
	struct work *w = mem_alloc(sizeof(*w));
	int rc;

	if (w == NULL)
		return UV_ENOMEM;
	w->job = job;
	w->loop = l;
	w->label = *op_label();
	rc = uv_queue_work(&l->uv, &w->req, on_work, on_worked);
	if (rc < 0) {
		mem_free(w);
		return rc;
	}
	job->driver_data = w;
	l->job_count++;
	return 0;
}

static const struct runner_driver driver = { wake, submit };

/* ---- Lag ---- */

static size_t lag_bucket(uint64_t us)
{
	unsigned exponent;

	if (us < 4)
		return us;
	exponent = 63 - (unsigned)__builtin_clzll(us);
	return MIN((size_t)(exponent - 1) * 4 + (us >> (exponent - 2) & 3), LOOP_LAG_BUCKETS - 1);
}

/* First value beyond the bucket. */
static uint64_t lag_bound(size_t bucket)
{
	size_t next = bucket + 1;

	return next < 4 ? next : (4 + next % 4) << (next / 4 - 1);
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void count_cpu(struct loop *l)
{
	uint64_t now_ns = thread_cpu_ns(), us = (now_ns - l->turn_cpu_ns) / 1000;

	l->turn_cpu_ns = now_ns;
	l->lag.cpu_max_us = MAX(l->lag.cpu_max_us, us);
	l->lag.cpu_over_1ms += us > 1000;
	l->cpu_buckets[lag_bucket(us)]++;
}

/* Right before each poll: what passed since the last one, less the time spent in it, was work. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct loop *l = prepare->data;
	uint64_t now_ns = uv_hrtime(), idle_ns = uv_metrics_idle_time(&l->uv);
	uint64_t us = (now_ns - l->turn_since_ns - (idle_ns - l->turn_idle_ns)) / 1000;

	l->turn_since_ns = now_ns;
	l->turn_idle_ns = idle_ns;
	count_cpu(l);
	l->lag.turns++;
	l->lag.busy_us += us;
	l->lag.max_us = MAX(l->lag.max_us, us);
	l->lag.over_1ms += us > 1000;
	l->lag.over_10ms += us > 10000;
	l->lag.over_50ms += us > 50000;
	l->lag_buckets[lag_bucket(us)]++;
}

bool loop_slice_spent(const struct loop *l)
{
	uint64_t idle_ns = uv_metrics_idle_time((uv_loop_t *)&l->uv) - l->turn_idle_ns;

	return uv_hrtime() - l->turn_since_ns > idle_ns + RUNNER_SLICE_NS;
}

static uint64_t lag_quantile(const uint64_t *buckets, uint64_t turns, uint64_t permille,
			     uint64_t max_us)
{
	uint64_t rank = (turns * permille + 999) / 1000, seen = 0;

	for (size_t i = 0; i < LOOP_LAG_BUCKETS; i++) {
		seen += buckets[i];
		if (seen >= rank && seen > 0)
			return MIN(lag_bound(i), max_us);
	}
	return 0;
}

void loop_lag(const struct loop *l, struct loop_lag *ret)
{
	*ret = l->lag;
	ret->p50_us = lag_quantile(l->lag_buckets, l->lag.turns, 500, l->lag.max_us);
	ret->p99_us = lag_quantile(l->lag_buckets, l->lag.turns, 990, l->lag.max_us);
	ret->cpu_p99_us = lag_quantile(l->cpu_buckets, l->lag.turns, 990, l->lag.cpu_max_us);
}

void loop_lag_within(const struct loop *l, const uint64_t *bounds_us, size_t n, uint64_t *ret)
{
	for (size_t i = 0; i < n; i++) {
		size_t end = lag_bucket(bounds_us[i]);

		ret[i] = 0;
		for (size_t k = 0; k < end; k++)
			ret[i] += l->lag_buckets[k];
	}
}

void loop_lag_reset(struct loop *l)
{
	l->lag = (struct loop_lag){ 0 };
	memset(l->lag_buckets, 0, sizeof(l->lag_buckets));
	memset(l->cpu_buckets, 0, sizeof(l->cpu_buckets));
}

int loop_init(struct loop *l)
{
	uint64_t seed;
	int rc;

	*l = (struct loop){ .timer_due_ms = UINT64_MAX };
	rc = uv_loop_init(&l->uv);
	if (rc < 0)
		return rc;
	randombytes_buf(&seed, sizeof(seed));
	runner_init(&l->runner, &clock_system, &driver, seed);
	uv_idle_init(&l->uv, &l->idle);
	uv_timer_init(&l->uv, &l->timer);
	l->idle.data = l;
	l->timer.data = l;
	/* Without it the lag counts waiting as work; nothing else depends on it. */
	(void)uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME);
	uv_prepare_init(&l->uv, &l->prepare);
	l->prepare.data = l;
	l->turn_since_ns = uv_hrtime();
	uv_prepare_start(&l->prepare, on_prepare);
	uv_unref((uv_handle_t *)&l->prepare);
	return 0;
}

int loop_run(struct loop *l)
{
	/* What came before, a daemon's start above all, kept nobody waiting. */
	l->turn_since_ns = uv_hrtime();
	l->turn_cpu_ns = thread_cpu_ns();
	return uv_run(&l->uv, UV_RUN_DEFAULT) != 0 ? 1 : 0;
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

static void count_closing(uv_handle_t *handle, void *data)
{
	unsigned *count = data;

	if (uv_is_closing(handle))
		(*count)++;
}

static void name_open(uv_handle_t *handle, void *data)
{
	unsigned *count = data;

	if (uv_is_closing(handle))
		return;
	(*count)++;
	dprintf(STDERR_FILENO, "handle left open: %s, %s\n", uv_handle_type_name(handle->type),
		uv_is_active(handle) ? "active" : "not active");
}

/* Close callbacks, jobs and tasks on their way still come: they may be what closes a handle. */
static bool settled(struct loop *l)
{
	unsigned closing = 0;

	uv_walk(&l->uv, count_closing, &closing);
	return closing == 0 && l->job_count == 0 && list_empty(&l->runner.tasks);
}

void loop_fini(struct loop *l)
{
	unsigned open = 0;

	while (!settled(l))
		uv_run(&l->uv, UV_RUN_ONCE);
	op_print_all(&l->runner, STDERR_FILENO);
	REQUIRE(list_empty(&l->runner.ops));
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_walk(&l->uv, name_open, &open);
	REQUIRE(open == 0);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	REQUIRE(uv_loop_close(&l->uv) == 0);
}
