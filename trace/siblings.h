/* What a reader of a tree wants to know of the children of one span. Private to trace/. */
#pragma once

#include "trace/store.h"

enum {
	GROUP_MIN = 3,	     /* similar siblings that are drawn as one row … */
	GROUP_SHOWN_MAX = 3, /* … and the longest of them */
	GROUPS_MAX = 4	     /* per parent; siblings of further categories are all drawn */
};

struct sibling_group {
	const char *category;
	uint32_t count, failed, open;
	uint64_t p50_ns, max_ns;
	uint64_t shown_from_ns; /* duration of the shortest one that is drawn */
	uint32_t shown;
	bool told;
};
struct siblings {
	uint64_t covered_ns; /* until when the parent's time is covered by children seen so far */
	uint64_t end_ns;     /* of the parent */
	uint32_t seen, group_count;
	struct sibling_group group[GROUPS_MAX];
};
/** Look through the children of a span. Linear in their number. */
void siblings_init(struct siblings *g, struct trace *t, const struct trace_span_view *parent,
		   uint64_t now_ns);
/** The group a child belongs to, or NULL. */
struct sibling_group *siblings_group(struct siblings *g, const struct trace_span_view *child);
