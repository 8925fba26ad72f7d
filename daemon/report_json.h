/* Discoveries as Traceway's report format has them (its protocol specification, "/api/report"): a
 * frame of tasks, whose spans are the stages. Pure but for the trace that it reads. */
#pragma once

#include "base/buf.h"
#include "trace/trace.h"

#define REPORT_CATEGORY "sync.discover"

struct report_names {
	const char *server, *version; /* borrowed */
	uint8_t key[32];	      /* of the pseudonyms: trace_disguise() */
};

/** Appends the task of one root; `first` = without a comma before it. Names of objects and peers
 * are replaced by pseudonyms. False, with nothing written, when it is gone or no discovery. */
bool report_write_task(struct buf *out, struct trace *t, const struct trace_root_ref *root,
		       const struct report_names *names, bool first);
void report_write_begin(struct buf *out, const struct report_names *names);
void report_write_end(struct buf *out);
