#include "daemon/waits.h"

#include <string.h>

#include "trace/trace.h"

/* By the names of states, which are the stages of traces; whatever a request to the store is at, it
 * waits for the disk. */
static const struct {
	const char *state;
	enum profiler_wait wait;
} table[] = {
	{ "ask", PROFILER_WAIT_NET },		{ "dht", PROFILER_WAIT_NET },
	{ "dial", PROFILER_WAIT_NET },		{ "fetch commits", PROFILER_WAIT_NET },
	{ "fetch content", PROFILER_WAIT_NET }, { "handshake", PROFILER_WAIT_NET },
	{ "neighbours", PROFILER_WAIT_NET },	{ "local_sync", PROFILER_WAIT_NET },
	{ "look", PROFILER_WAIT_NET },		{ "look up", PROFILER_WAIT_NET },
	{ "read", PROFILER_WAIT_NET },		{ "reading", PROFILER_WAIT_NET },
	{ "reconcile", PROFILER_WAIT_NET },	{ "request", PROFILER_WAIT_NET },
	{ "send", PROFILER_WAIT_NET },		{ "sending", PROFILER_WAIT_NET },
	{ "confirm", PROFILER_WAIT_DISK },	{ "load", PROFILER_WAIT_DISK },
	{ "local", PROFILER_WAIT_DISK },	{ "store", PROFILER_WAIT_DISK },
	{ "queued", PROFILER_WAIT_TURN },	{ "wait", PROFILER_WAIT_TURN },
	{ "waiting", PROFILER_WAIT_TURN },	{ "sampling", PROFILER_WAIT_TIME },
};

enum profiler_wait waits_of(const char *kind, const char *state)
{
	static const char store[] = "store.";

	if (strncmp(kind, store, sizeof(store) - 1) == 0)
		return PROFILER_WAIT_DISK;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strcmp(state, table[i].state) == 0)
			return table[i].wait;
	return PROFILER_WAIT_OTHER;
}

bool waits_trace_id(struct span span, uint8_t ret[16])
{
	struct trace_context context;

	if (!trace_context_of(span, &context))
		return false;
	memcpy(ret, context.trace_id, sizeof(context.trace_id));
	return true;
}
