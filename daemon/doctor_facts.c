#include "daemon/doctor_facts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log_ring.h"
#include "daemon/figures.h"
#include "daemon/json.h"
#include "daemon/sys.h"

enum { CATEGORIES_MAX = 32 };

static uint64_t count_of(const json_t *figures, const char *part, const char *name)
{
	return json_get_count(json_object_get(figures, part), name);
}

static const char *text_of(const json_t *figures, const char *part, const char *name)
{
	return json_get_text(json_object_get(figures, part), name);
}

/* The kind of operation of which the largest share failed, those cancelled aside. */
static void find_failing(struct daemon *d, struct doctor_facts *f)
{
	struct trace_stats stats[CATEGORIES_MAX];
	size_t count = trace_stats_all(d->trace, stats, CATEGORIES_MAX);

	for (size_t i = 0; i < count; i++) {
		const struct trace_stats *s = &stats[i];
		uint64_t total = s->sample_count + s->sample_errored;

		if (s->sample_errored < DOCTOR_ERRORS_MIN || total == 0 ||
		    s->sample_errored * MAX(f->failing_total, UINT64_C(1)) <=
			    f->failing_errors * total)
			continue;
		f->failing = s->category;
		f->failing_errors = s->sample_errored;
		f->failing_total = total;
	}
}

static void take_log(struct doctor_facts *f)
{
	f->log_suppressed = log_suppressed();
	for (int i = 0; i < LOG_SUB_COUNT; i++)
		f->debugging = f->debugging || log_get_level((enum log_sub)i) == LOG_DEBUG;
}

static void take_totals(const json_t *all, struct recent_totals *ret)
{
	struct log_ring_stats log;

	log_ring_stats(&log);
	*ret = (struct recent_totals){
		.turns = count_of(all, "loop", "turns"),
		.over_50ms = count_of(all, "loop", "over_50ms"),
		.stalls = count_of(all, "profiler", "loop_stalls"),
		.longest_us = count_of(all, "profiler", "loop_longest_ns") / 1000,
		.dials = count_of(all, "net", "dials"),
		.dial_failures = count_of(all, "net", "dial_failures"),
		.refused_requests = count_of(all, "debug_http", "refused_limit") +
				    count_of(all, "control_http", "refused_limit"),
		.refused_connections = count_of(all, "net", "refused_limit"),
		.dropped_spans = count_of(all, "trace", "dropped_spans"),
		.log_errors = log.by_level[LOG_ERROR],
	};
}

void doctor_facts_remember(struct daemon *d)
{
	json_t *all = figures_all(d);
	struct recent_totals totals;

	if (all == NULL)
		return;
	take_totals(all, &totals);
	recent_add(&d->recent, &totals);
	json_decref(all);
}

static void take_recent(struct daemon *d, const json_t *all, struct doctor_facts *f)
{
	struct recent_totals now, recent;

	take_totals(all, &now);
	recent_since(&d->recent, &now, &recent);
	f->turns = recent.turns;
	f->over_50ms = recent.over_50ms;
	f->stalls = recent.stalls;
	f->lag_max_us = recent.longest_us;
	f->dials = recent.dials;
	f->dial_failures = recent.dial_failures;
	f->refused_limit = recent.refused_requests;
	f->refused_connections = recent.refused_connections;
	f->traces_evicted_dropped = recent.dropped_spans;
	f->log_errors = recent.log_errors;
}

/* What peers are like. */
static void take_peers(const json_t *all, struct doctor_facts *f)
{
	const json_t *network = json_object_get(all, "network");
	const json_t *twin = json_object_get(network, "twin");
	const json_t *clocks = json_object_get(network, "clocks");

	if (json_is_object(twin)) {
		f->twin = json_get_text(twin, "address");
		f->twin_ago_s = json_get_count(twin, "ago_s");
	}
	f->clocks_known = json_get_count(clocks, "known");
	f->clocks_differ = json_get_count(clocks, "differ");
	f->clocks_ahead_s = json_integer_value(json_object_get(clocks, "ahead_s"));
}

void doctor_facts_inside(struct daemon *d, struct doctor_facts *ret, json_t **ret_figures)
{
	json_t *all = figures_all(d);
	struct doctor_facts f = { .state = d->stopping ? DOCTOR_STOPPING : DOCTOR_RUNNING,
				  .data = d->dir,
				  .pid = (int)getpid() };

	f.uptime_ms = json_get_count(all, "uptime_ms");
	f.lag_p99_us = count_of(all, "loop", "p99_us");
	f.queue_depth = count_of(all, "store", "queue_depth");
	f.store_stuck_ms = count_of(all, "store", "stuck_ms");
	f.tx_p99_us = count_of(all, "store", "tx_p99_us");
	f.store_error = text_of(all, "store", "last_error");
	f.conns = count_of(all, "net", "conns");
	take_peers(all, &f);
	f.network = text_of(all, "network", "diagnosis");
	f.network_sentence = text_of(all, "network", "sentence");
	f.subscriptions = count_of(all, "discovery", "subscriptions");
	f.subscriptions_backing_off = count_of(all, "discovery", "sub_backing_off");
	f.subscriptions_overdue = count_of(all, "discovery", "sub_overdue");
	f.subscriptions_overdue_ms = count_of(all, "discovery", "sub_overdue_ms");
	take_recent(d, all, &f);
	f.untimed = count_of(all, "profiler", "untimed");
	f.untimed_threads = text_of(all, "profiler", "untimed_threads");
	f.untimed_why = text_of(all, "profiler", "untimed_why");
	f.untimed_sampled =
		json_is_true(json_object_get(json_object_get(all, "profiler"), "untimed_sampled"));
	find_failing(d, &f);
	take_log(&f);
	*ret = f;
	*ret_figures = all;
}

void doctor_facts_slow(struct doctor_facts *f)
{
	int pid = f->pid > 0 ? f->pid : (int)getpid();

	f->disk_known = sys_disk(f->data, &f->disk_free_bytes, &f->disk_inodes_free);
	f->clock_unsynced = sys_clock_unsynced();
	f->memory_available_bytes = sys_memory_available();
	if (f->state == DOCTOR_DOWN)
		return;
	(void)sys_descriptors(pid, &f->fds, &f->fd_limit);
	(void)sys_memory(pid, &f->memory_bytes, &f->memory_limit_bytes);
}

void doctor_facts_outside(const char *data, struct doctor_facts *ret)
{
	int pid = lock_holder(data);
	struct stat st;

	*ret = (struct doctor_facts){ .state = pid > 0 ? DOCTOR_HUNG : DOCTOR_DOWN,
				      .data = data,
				      .pid = MAX(pid, 0) };
	ret->is_hidden = access(data, X_OK) < 0 && errno == EACCES;
	if (stat(data, &st) < 0)
		ret->folder_status = errno == ENOENT ? 0 : -errno; /* a daemon would create it */
	else if (!S_ISDIR(st.st_mode))
		ret->folder_status = UV_ENOTDIR;
	else if (access(data, R_OK | W_OK | X_OK) < 0)
		ret->folder_status = -errno;
	doctor_facts_slow(ret);
}
