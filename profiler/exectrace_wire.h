/* The bytes of Go's execution traces. Private to profiler/exectrace*.c. */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "profiler/exectrace.h"

/* Numbers of the format. */
enum go_event {
	GO_BATCH = 1,
	GO_FREQUENCY = 2,
	GO_STACK = 3,
	GO_GOMAXPROCS = 4,
	GO_PROC_START = 5,
	GO_PROC_STOP = 6,
	GO_CREATE = 13,
	GO_END = 15,
	GO_SCHED = 17,
	GO_SLEEP = 19,
	GO_BLOCK_SEND = 22,
	GO_BLOCK_SELECT = 24,
	GO_BLOCK_SYNC = 25,
	GO_BLOCK_NET = 27,
	GO_SYSCALL = 28,
	GO_SYS_EXIT = 29,
	GO_SYS_BLOCK = 30,
	GO_WAITING = 31,
	GO_HEAP_ALLOC = 33,
	GO_STRING = 37,
	GO_START_LOCAL = 38,
	GO_UNBLOCK_LOCAL = 39,
	GO_USER_TASK_CREATE = 45,
	GO_USER_TASK_END = 46,
	GO_USER_REGION = 47,
	GO_USER_LOG = 48
};

enum { GO_WORDS_MAX = 6, GO_KEY_WORDS = 6, GO_STRINGS_MAX = 1 << 18, GO_FRAMES_MAX = 8 };

/* A processor in the words of the format: here, a thread. Its events, in order. */
struct go_lane {
	struct buf events;
	uint64_t last_ns;
	bool begun;
};

struct go_frame {
	uint64_t pc;
	const char *function, *file; /* borrowed; never NULL */
	int line;
};

/* What is referred to by number. */
struct go_table {
	struct buf out; /* String and Stack events */
	struct map strings, stacks;
	uint64_t string_count, stack_count;
	int err;
};

void go_lane_init(struct go_lane *l);
void go_lane_fini(struct go_lane *l);
/** Append an event with its time and `n` more arguments. `lane` is its number; the first event
 * names it. */
void go_event(struct go_lane *l, unsigned lane, enum go_event type, uint64_t ns,
	      const uint64_t *args, unsigned n);
#define GO_EVENT(l, lane, type, ns, ...)                                                           \
	go_event(l, lane, type, ns, (const uint64_t[]){ __VA_ARGS__ },                             \
		 sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))
/** A user log; the text stands behind it. */
void go_log(struct go_lane *l, unsigned lane, uint64_t ns, uint64_t task, uint64_t key,
	    const char *text);

void go_table_init(struct go_table *t);
void go_table_fini(struct go_table *t);
uint64_t go_string(struct go_table *t, const char *s);
/** The stack that was numbered under this key; 0 = none yet. */
uint64_t go_stack_find(const struct go_table *t, const uint64_t key[GO_KEY_WORDS]);
uint64_t go_stack_add(struct go_table *t, const uint64_t key[GO_KEY_WORDS],
		      const struct go_frame *frames, unsigned n);

/** Header, lanes, tables. */
int go_write(struct buf *out, const struct go_lane *lanes, unsigned lane_count,
	     const struct go_table *t);
