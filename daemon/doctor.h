/* What is wrong with this daemon, in plain English, and what to do about it. Pure: facts in,
 * findings out; how the facts are come by is another matter (daemon/doctor_facts.h). */
#pragma once

#include "base/buf.h"

enum {
	DOCTOR_FINDINGS_MAX = 40,
	DOCTOR_TEXT_MAX = 320,
	/* Beyond these a fact is worth a sentence. */
	DOCTOR_LAG_MS = 50,
	DOCTOR_LAG_SHARE = 1000, /* one turn of so many, of as many at least */
	DOCTOR_STALL_MS = 1000,
	DOCTOR_DISK_LOW_BYTES = 1 << 30,
	DOCTOR_DISK_FULL_BYTES = 64 << 20,
	DOCTOR_DISK_NONE_BYTES = 1 << 20,
	DOCTOR_TWIN_S = 600, /* so long a meeting is worth telling of */
	DOCTOR_FD_PERCENT = 80,
	DOCTOR_FD_NEEDED = 640, /* all conns, and what else is open */
	DOCTOR_STORE_STUCK_MS = 5000,
	DOCTOR_MEMORY_PERCENT = 90,
	DOCTOR_QUEUE_DEEP = 1000,
	DOCTOR_TX_SLOW_MS = 500,
	DOCTOR_ERRORS_PERCENT = 50, /* of the latest operations of one kind */
	DOCTOR_ERRORS_MIN = 5
};

enum doctor_severity { DOCTOR_FINE, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_PROBLEM };
/** "fine", "note", "warning", "problem". */
const char *doctor_severity_name(enum doctor_severity s);

/* Is there a daemon, and does it answer? */
enum doctor_state {
	DOCTOR_RUNNING,
	DOCTOR_DOWN,	/* nobody holds the data folder's lock */
	DOCTOR_HUNG,	/* somebody does, and does not answer */
	DOCTOR_STOPPING /* it was told to end */
};

/* Zero, NULL and false mean "not known" or "nothing to say" throughout. */
struct doctor_facts {
	enum doctor_state state;
	/* also without a daemon */
	const char *data;	/* the data folder */
	int pid;		/* of the lock's holder */
	bool is_hidden;		/* no way into the data folder for this user */
	int folder_status;	/* why the data folder cannot be used: an error code */
	const char *config_why; /* what is wrong with the configuration */
	bool disk_known;
	uint64_t disk_free_bytes, disk_inodes_free;
	bool clock_unsynced;
	uint64_t memory_available_bytes;
	/* of a daemon that answers */
	uint64_t uptime_ms;
	/* What counts something counts the last while (daemon/recent.h). */
	uint64_t turns, over_50ms, lag_p99_us;
	uint64_t lag_max_us; /* of the last while; 0 = not known */
	uint64_t stalls;     /* turns of the loop that the watchdog recorded */
	uint64_t memory_bytes, memory_limit_bytes;
	uint64_t fds, fd_limit;
	uint64_t queue_depth, tx_p99_us;
	uint64_t store_stuck_ms; /* it has something to do and finishes nothing */
	const char *store_error; /* the last one; "" = none */
	uint64_t conns, dials, dial_failures;
	const char *network, *network_sentence; /* daemon/diagnosis.h */
	const char *twin; /* the address of somebody else with our key; NULL = nobody was met */
	uint64_t twin_ago_s;
	uint64_t clocks_known, clocks_differ; /* of connected peers; from ours, by a minute */
	int64_t clocks_ahead_s;		      /* the median of those that differ */
	uint64_t refused_limit, refused_connections;
	uint64_t traces_evicted_dropped; /* spans for which there was no room */
	const char *failing;		 /* the kind of operation that fails most; NULL = none */
	uint64_t failing_errors, failing_total;
	uint64_t subscriptions, subscriptions_failed, subscriptions_backing_off;
	uint64_t subscriptions_overdue, subscriptions_overdue_ms; /* no peer confirmed them */
	uint64_t log_suppressed, log_errors;
	bool debugging; /* a part logs at debug */
	/* of the last CPU profile: threads without a timer of their own, which, and why */
	uint64_t untimed;
	bool untimed_sampled; /* by the process's timer */
	const char *untimed_threads, *untimed_why;
};

struct doctor_finding {
	enum doctor_severity severity;
	const char *name;		/* one word for programs; never changes its meaning */
	char sentence[DOCTOR_TEXT_MAX]; /* what is the matter */
	char todo[DOCTOR_TEXT_MAX];	/* what to do; "" = nothing */
	const char *link;		/* the page that shows more; NULL = none */
};

/** Worst first, and at least one: that all is well is a finding. Returns how many. */
size_t doctor_examine(const struct doctor_facts *f, struct doctor_finding ret[DOCTOR_FINDINGS_MAX]);
/** One paragraph per finding. */
void doctor_write_text(struct buf *out, const struct doctor_finding *findings, size_t count);
/** A list, for the inside of a page; links are relative to the debug listener. */
void doctor_write_html(struct buf *out, const struct doctor_finding *findings, size_t count);
/** {"verdict": "warning", "findings": [{"severity", "name", "sentence", "todo", "link"}]} */
void doctor_write_json(struct buf *out, const struct doctor_finding *findings, size_t count);
