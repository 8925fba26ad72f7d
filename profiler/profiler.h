/* Profiles of the running process, in the formats and with the words of Go's runtime/pprof.
 *
 *   profile       CPU: where threads spend their time, sampled
 *   goroutine     what every thread and every operation in flight is doing now
 *   threadcreate  where threads were created
 *   heap, allocs  where memory was allocated: what is in use, and all since the start; sampled
 *   mutex, block  who held what others waited for, and who waited; sampled
 *   trace         what operations and threads did, moment by moment, while it was recorded
 *
 * One struct profiler per process. Captures are operations (base/op.h) of the runner they are
 * given; all that blocks runs in its jobs. Beside captures there are three threads at most: the
 * watchdog, and, while a CPU capture runs, the collector of its samples.
 *
 * The program's threads are known from birth because this folder defines pthread_create. */
#pragma once

#include "base/buf.h"
#include "base/op.h"

enum {
	PROFILER_HZ_DEFAULT = 100,
	PROFILER_HZ_MAX = 1000,
	PROFILER_SECONDS_DEFAULT = 30,
	PROFILER_SECONDS_MAX = 3600,
	PROFILER_CPU_CAPTURES_MAX = 8,
	PROFILER_OUTPUT_MAX = 64 << 20, /* bytes of one profile */
	PROFILER_ADDRESSES_MAX = 65536, /* looked up at once */
	PROFILER_TRACE_MS_DEFAULT = 1000,
	PROFILER_STALL_MS = 50,
	PROFILER_TIMERS_TEXT = 160
};

struct profiler;

/* What an operation waits for in a state, as far as an execution trace tells it apart. */
enum profiler_wait {
	PROFILER_WAIT_OTHER,
	PROFILER_WAIT_NET,  /* peers */
	PROFILER_WAIT_DISK, /* the store */
	PROFILER_WAIT_TURN, /* others of its kind */
	PROFILER_WAIT_TIME
};

struct profiler_config {
	struct runner *runner; /* borrowed: whose operations the goroutine profile lists */
	const char *version;   /* copied; shown as a comment of each profile */
	/* Names a span's category for the sample's label: a static string, or NULL. Called in a
	 * signal handler on the thread that owns the span: no lock, no allocation. May be NULL. */
	const char *(*span_category)(struct span span);
	/* The id of a span's trace, as 16 bytes; false = it is gone. On the loop. May be NULL. */
	bool (*span_trace_id)(struct span span, uint8_t ret[16]);
	/* Both are names out of an operation's table. On a worker. May be NULL. */
	enum profiler_wait (*wait_of)(const char *kind, const char *state);
	/* Names are looked up in a process of its own, which is this program with this one argument
	 * (static); its main then returns profiler_symbols_main(). NULL: in this process, which
	 * libdw ends where memory is refused. */
	const char *symbols_verb;
};
/** NULL when out of memory. On the main thread, before other threads are created if possible. */
struct profiler *profiler_new(const struct profiler_config *config);
/** See symbols_verb. Returns an exit code. */
int profiler_symbols_main(void);
/** No capture may be in flight. Returns NULL. */
struct profiler *profiler_free(struct profiler *p);

/** Watch the calling thread, which is to run the loop: a turn longer than stall_ms (at most 1000)
 * is recorded with the stack that held it up. Also answers SIGQUIT, if asked, with the stacks of
 * all threads on stderr, whatever the loop does. Ends with profiler_free, on the same thread. One
 *  thread of the process can be watched: UV_EALREADY. */
int profiler_watch_loop(struct profiler *p, unsigned stall_ms, bool answer_sigquit) MUST_USE;

/* A turn of the watched loop that lasted too long. */
struct profiler_stall {
	uint64_t number;      /* 1, 2, 3… */
	uint64_t wall_ns;     /* when it was noticed */
	uint64_t duration_ns; /* 0 = it lasts */
	const char *task;     /* kind of the operation that ran; static; NULL = none */
	struct span span;     /* of that operation; zero = none */
};
/** The latest, newest first; returns how many. Their stacks: PROFILER_STALLS. Does not block for
 * longer than another thread's answer takes (DUMP_WAIT_MS). */
unsigned profiler_stalls(const struct profiler *p, struct profiler_stall *ret, unsigned cap);

enum profiler_kind {
	PROFILER_CPU,
	PROFILER_GOROUTINE,
	PROFILER_THREADCREATE,
	PROFILER_SYMBOL, /* names of addresses, as text */
	PROFILER_STALLS, /* the latest turns of the loop that were too long, as text */
	PROFILER_HEAP,
	PROFILER_ALLOCS, /* the same samples, allocations shown first */
	PROFILER_MUTEX,
	PROFILER_BLOCK,
	PROFILER_TRACE /* execution trace, version 1.19 of Go's format */
};

/* Stacks as text, for flame graphs; the functions are named (profiler/folded.c has the grammar). */
enum profiler_folding {
	PROFILER_NOT_FOLDED,
	PROFILER_FOLDED, /* "root;…;leaf VALUE" lines, as flamegraph.pl and speedscope read them */
	PROFILER_LABELLED /* with categories, tasks and threads, and whose code each function is */
};

struct profiler_request {
	enum profiler_kind kind;
	/* CPU: how long, default PROFILER_SECONDS_DEFAULT. The others: 0 = a snapshot, else the
	 * difference over that time. At most PROFILER_SECONDS_MAX. */
	unsigned seconds;
	unsigned ms; /* TRACE: how long, instead of seconds, which is no less; 0 =
			PROFILER_TRACE_MS_DEFAULT */
	bool chrome; /* TRACE: as JSON for Perfetto */
	unsigned hz; /* CPU: 0 = PROFILER_HZ_DEFAULT; at most PROFILER_HZ_MAX */
	/* CPU: nobody waits for it; in a place of its own beside PROFILER_CPU_CAPTURES_MAX, so that
	 * it never takes that of one that somebody waits for. */
	bool background;
	unsigned debug; /* 0 = gzipped profile.proto, 1, 2, 3 = Go's texts */
	/* HEAP, ALLOCS: give the allocator's spare memory back to the kernel first. */
	bool gc;
	/* HEAP, ALLOCS with seconds: what is in use is told as it stands at the end. */
	bool delta_alloc;
	/* CPU, SYMBOL, and HEAP, ALLOCS, BLOCK with debug=1: as gperftools' tools read it. */
	bool legacy;
	/* CPU, HEAP, ALLOCS, MUTEX, BLOCK: instead of the file. Of the sample types `value`
	 * (static), NULL or unknown = what pprof shows first. */
	enum profiler_folding folding;
	const char *value;
	/* SYMBOL: words like 0x1234 joined by '+'. Copied. */
	const char *addresses;
	size_t addresses_len;
};

/* The process's memory, in the words of Go's runtime.MemStats. Bytes and counts. What Go has and is
 * not here is 0 in this program: there is no collector, and the allocator's own books are part of
 * the heap. */
struct memstats {
	uint64_t alloc;			       /* in use: Alloc, HeapAlloc */
	uint64_t total_alloc;		       /* ever allocated, an estimate from the samples… */
	uint64_t mallocs, frees, heap_objects; /* … as these are */
	uint64_t sys;			       /* private writable memory, reserved or touched */
	uint64_t heap_sys;		       /* what the allocator has from the kernel */
	uint64_t heap_idle;		       /* of that, free */
	uint64_t heap_inuse;
	uint64_t heap_released; /* by the last memstats_trim */
	uint64_t stack_inuse;	/* of the main thread */
	uint64_t stack_sys;	/* reserved for all threads */
	uint64_t buck_hash_sys; /* the heap profile's tables */
	uint64_t other_sys;
	uint64_t num_forced_gc; /* calls of memstats_trim */
	uint64_t max_rss;
	uint64_t rss;
};
/** Reads /proc, waits for the allocator's locks: some 50 µs. Any thread. */
void profiler_memstats(struct memstats *ret);

/** How finely HEAP and ALLOCS (one sample per so many bytes), MUTEX (one event of so many) and
 * BLOCK (every event of so many nanoseconds, shorter ones in proportion) are sampled, in this
 * process; 0 = not. The others: 0. Any thread. */
int64_t profiler_rate(enum profiler_kind kind);
/** Change it, to at least 0, for what happens from now on. Returns what it was. */
int64_t profiler_rate_set(enum profiler_kind kind, int64_t rate);
/** Different stacks that were sampled so far; the same four kinds. */
unsigned profiler_buckets(enum profiler_kind kind);

struct profiler_capture;
typedef void (*profiler_capture_cb)(struct profiler_capture *c, int status);

struct profiler_capture {
	struct op op;
	struct buf out; /* the result; the caller's from the callback on: buf_fini */
	/* private */
	struct profiler *profiler;
	struct profiler_request request;
	struct capture_work *work;
	struct runner_job job;
	struct runner_timer timer;
	struct list queued;
	profiler_capture_cb cb;
};

/** Take a profile.
 *  `cb` runs once, from env's loop, never inside this call, with
 *    0             c->out holds the file
 *    UV_EBUSY      CPU: PROFILER_CPU_CAPTURES_MAX (in the background: one) run already, or
 *                  somebody else handles SIGPROF. TRACE: one runs already
 *    UV_ECANCELED  op_cancel; a CPU capture's place is free at most a job later
 *    ERR_UNSUPPORTED  CPU: no timer can be had; profiler_stats says why
 *    UV_ETIMEDOUT, UV_ENOMEM, ERR_LIMIT
 *  The work after the sampling happens one capture at a time. */
void profiler_capture_start(struct profiler_capture *c, struct profiler *p,
			    const struct op_env *env, const struct profiler_request *request,
			    profiler_capture_cb cb);

struct profiler_stats {
	unsigned cpu_captures; /* sampling now */
	unsigned timers;       /* armed now */
	unsigned threads;      /* listed now */
	uint64_t threads_created;
	uint64_t samples;    /* signals handled */
	uint64_t overruns;   /* periods that the kernel folded into another signal */
	uint64_t lost;	     /* periods that found no room */
	uint64_t handler_ns; /* CPU time spent in the handler */
	uint64_t captures, failed;
	/* Threads that have, in the present CPU capture, or had in the last one, no timer of their
	 * own; all captures together. A timer of the process stands in where it can be had. */
	unsigned untimed;
	uint64_t timers_refused;
	int untimed_error;    /* why, a libuv code */
	bool untimed_sampled; /* by the process's timer; else not at all */
	char untimed_names[PROFILER_TIMERS_TEXT];
	/* Of the watched loop; 0 when there is none. */
	uint64_t loop_turns;
	uint64_t loop_busy_ns;	  /* from wake-up to sleep, all turns */
	uint64_t loop_longest_ns; /* the longest turn */
	uint64_t loop_stalls;
	/* Of the mutex and block profiles. */
	uint64_t waits;	     /* recorded */
	uint64_t waits_lost; /* found no room */
	uint64_t waits_ns;   /* spent in recording, on the threads that waited or held */
	/* Processes that looked up names: started, those that died, addresses left without. */
	uint64_t helpers, helpers_died, names_missing;
};
void profiler_stats(const struct profiler *p, struct profiler_stats *ret);
