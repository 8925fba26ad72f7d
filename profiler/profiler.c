#include "profiler/profiler.h"

#include <string.h>

#include "base/mem.h"
#include "profiler/contention.h"
#include "profiler/dump.h"
#include "profiler/memstats.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"
#include "profiler/symbols_helper.h"
#include "profiler/watchdog.h"

struct profiler *profiler_new(const struct profiler_config *config)
{
	struct profiler *p = mem_alloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	threads_init();
	sampler_guard();
	dump_guard();
	p->runner = config->runner;
	p->span_category = config->span_category;
	p->span_trace_id = config->span_trace_id;
	p->wait_of = config->wait_of;
	p->version = mem_strdup(config->version != NULL ? config->version : "");
	list_init(&p->queue);
	if (p->version == NULL)
		return profiler_free(p);
	sampler_set_category(config->span_category);
	symbols_set_helper(config->symbols_verb);
	op_set_wait_fn(contention_operation);
	return p;
}

struct profiler *profiler_free(struct profiler *p)
{
	if (p == NULL)
		return NULL;
	REQUIRE(p->in_flight == 0);
	if (p->watching)
		watchdog_stop();
	op_set_wait_fn(NULL);
	sampler_set_category(NULL);
	symbols_forget();
	symbols_set_helper(NULL);
	mem_free(p->version);
	return mem_free(p);
}

void profiler_stats(const struct profiler *p, struct profiler_stats *ret)
{
	struct watchdog_stats w;
	struct sampler_stats s;
	struct helper_stats h;
	uint64_t waits, waits_ns;

	sampler_stats(&s);
	watchdog_stats(&w);
	helper_stats(&h);
	waits = contention_recorded(&waits_ns);
	*ret = (struct profiler_stats){
		.cpu_captures = s.readers,
		.timers = s.timers,
		.threads = threads_count(),
		.threads_created = threads_created(),
		.samples = s.samples,
		.overruns = s.overruns,
		.lost = s.lost,
		.handler_ns = s.handler_ns,
		.captures = p->captures,
		.failed = p->failed,
		.untimed = s.untimed.threads,
		.timers_refused = s.unarmed,
		.untimed_error = -s.untimed.error,
		.untimed_sampled = s.untimed.is_shared,
		.loop_turns = w.turns,
		.loop_busy_ns = w.busy_ns,
		.loop_longest_ns = w.longest_ns,
		.loop_stalls = w.stalls,
		.waits = waits,
		.waits_lost = contention_lost(PROFILER_MUTEX) + contention_lost(PROFILER_BLOCK),
		.waits_ns = waits_ns,
		.helpers = h.started,
		.helpers_died = h.died,
		.names_missing = h.unanswered,
	};
	memcpy(ret->untimed_names, s.untimed.names, sizeof(ret->untimed_names));
}

void profiler_memstats(struct memstats *ret)
{
	memstats_read(ret);
}

int profiler_watch_loop(struct profiler *p, unsigned stall_ms, bool answer_sigquit)
{
	int rc = watchdog_start(stall_ms, answer_sigquit);

	p->watching |= rc == 0;
	return rc;
}

unsigned profiler_stalls(const struct profiler *p, struct profiler_stall *ret, unsigned cap)
{
	struct stall stalls[WATCHDOG_STALLS_MAX];
	unsigned n = watchdog_stalls(stalls, MIN(cap, (unsigned)WATCHDOG_STALLS_MAX));

	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct profiler_stall){ .number = stalls[i].number,
						  .wall_ns = stalls[i].wall_ns,
						  .duration_ns = stalls[i].duration_ns,
						  .task = stalls[i].task,
						  .span = stalls[i].span };
	return n;
}
