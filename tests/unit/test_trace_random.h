/* Random trees for the tests of trace/. */
#pragma once

#include "test_trace.h"

enum { RANDOM_SPANS_MAX = 120 };

/* Spans that overlap, outlive their parents, are open or of no length, with stages, marks, links.
 */
static inline struct span random_tree(struct fixture *f, uint64_t *seed, size_t count)
{
	static const char *const stages[] = { "dial", "fetch", "verify" };
	struct span s[RANDOM_SPANS_MAX];
	bool open[RANDOM_SPANS_MAX] = { true };
	size_t n = 1;

	s[0] = root_span(f, "root", "hm://\xff<img>\"");
	while (n < count) {
		size_t i = next_random(seed) % n;
		switch (next_random(seed) % 8) {
		case 0:
		case 1:
		case 2:
			if (open[i]) {
				s[n] = child_span(s[i], i % 2 ? "a" : "b", "child");
				open[n] = s[n].trace != NULL;
				n++;
			}
			break;
		case 3:
			if (i > 0 || next_random(seed) % 8 == 0)
				trace_finish(s[i], next_random(seed) % 3 ? 0 : UV_EIO, NULL);
			open[i] = open[i] && i == 0 && next_random(seed) % 8 != 0;
			break;
		case 4: trace_stage(s[i], stages[next_random(seed) % 3]); break;
		case 5: trace_mark(s[i], "mark %d", (int)n); break;
		case 6: trace_link(s[i], s[next_random(seed) % n], "retry of"); break;
		default: clock_manual_advance(&f->clock, next_random(seed) % 5 * 777);
		}
		if (n == 1 && !open[0])
			break;
		bool any = false;
		for (size_t k = 0; k < n; k++)
			any |= open[k];
		if (!any)
			break;
	}
	if (next_random(seed) % 2)
		for (size_t k = 0; k < n; k++)
			trace_finish(s[k], 0, NULL);
	clock_manual_advance(&f->clock, 100);
	return s[0];
}
