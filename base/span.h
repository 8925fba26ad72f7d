/* A handle on a span of a trace. Only trace/ knows what it means; base/ carries it so that an
 * operation's environment can pass it on. The zero value means "not traced": every trace call on it
 * is a cheap no-op. A handle outlives its span safely: late use is recognised by the generation and
 * counted. */
#pragma once

#include <stdint.h>

struct trace;

struct span {
	struct trace *trace;
	uint32_t slot;
	uint32_t generation;
};
