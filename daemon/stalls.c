#include "daemon/stalls.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* A trace's times are those of its writing, so the trace of a stall has its length as an attribute,
 * not as its duration; the title says it too. */
enum { TITLE_MAX = 128 };

static void tell(struct stalls *s, const struct profiler_stall *stall)
{
	const char *task = stall->task != NULL ? stall->task : "no operation";
	const char *category = trace_span_category(stall->span);
	double ms = (double)stall->duration_ns / (double)NS_PER_MS;
	char title[TITLE_MAX];
	int len = snprintf(title, sizeof(title), "stood still for %.1f ms: %s", ms, task);
	struct span span = trace_root(s->trace, "loop.stall", title,
				      MIN((size_t)len, sizeof(title) - 1), NULL);

	trace_attr_str(span, "task", task, strlen(task));
	if (category != NULL)
		trace_attr_str(span, "category", category, strlen(category));
	trace_attr_int(span, "stall_us", (int64_t)(stall->duration_ns / 1000));
	trace_attr_int(span, "number", (int64_t)stall->number);
	trace_mark(span, "the loop stood still for %.1f ms; its stack: /debug/pprof/stalls", ms);
	if (category != NULL) {
		trace_link(span, stall->span, "held up by");
		trace_mark(stall->span, "held up the loop for %.1f ms", ms);
	}
	trace_finish(span, 0, NULL);
}

/* Newest first in the list; one that still lasts is told when it is over. */
void stalls_look(struct stalls *s)
{
	struct profiler_stall list[STALLS_SEEN_MAX];
	unsigned n = profiler_stalls(s->profiler, list, STALLS_SEEN_MAX);

	while (n-- > 0) {
		if (list[n].number <= s->told || list[n].duration_ns == 0)
			continue;
		tell(s, &list[n]);
		s->told = list[n].number;
	}
}

static void on_timer(struct runner_timer *timer)
{
	struct stalls *s = container_of(timer, struct stalls, timer);

	stalls_look(s);
	runner_timer_start(s->runner, timer, runner_now_ms(s->runner) + STALLS_LOOK_MS);
}

void stalls_start(struct stalls *s, struct runner *runner, struct profiler *profiler,
		  struct trace *trace)
{
	*s = (struct stalls){ .runner = runner, .profiler = profiler, .trace = trace };
	s->timer.run = on_timer;
	runner_timer_start(runner, &s->timer, runner_now_ms(runner) + STALLS_LOOK_MS);
}

void stalls_stop(struct stalls *s)
{
	if (s->runner != NULL)
		runner_timer_stop(s->runner, &s->timer);
	s->runner = NULL;
}
