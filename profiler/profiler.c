#include "profiler/profiler.h"

#include "base/mem.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"

struct profiler *profiler_new(const struct profiler_config *config)
{
	struct profiler *p = mem_alloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	threads_init();
	p->runner = config->runner;
	p->version = mem_strdup(config->version != NULL ? config->version : "");
	list_init(&p->queue);
	if (p->version == NULL)
		return profiler_free(p);
	sampler_set_category(config->span_category);
	return p;
}

struct profiler *profiler_free(struct profiler *p)
{
	if (p == NULL)
		return NULL;
	REQUIRE(p->in_flight == 0);
	sampler_set_category(NULL);
	symbols_forget();
	mem_free(p->version);
	return mem_free(p);
}

void profiler_stats(const struct profiler *p, struct profiler_stats *ret)
{
	struct sampler_stats s;

	sampler_stats(&s);
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
	};
}
