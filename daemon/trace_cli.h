/* What the parts of `peerscope trace` share. */
#pragma once

#include "daemon/cli.h"

enum { TRACE_CLI_SOURCES_MAX = 64 };

/** /debug/traces with a format ("text", "format=chrome"), n and one more parameter (value may be
 * NULL). mem_free; NULL when out of memory. */
char *trace_cli_path(const char *format, const char *key, const char *value, uint64_t n) MUST_USE;
/** How wide a waterfall on stdout may be: the terminal's width, 80 elsewhere. */
unsigned trace_cli_columns(void);
/** Says why the daemon refused. Returns the exit code. */
int trace_cli_refused(const struct client_reply *reply) MUST_USE;
/** Writes a page to stdout. 0 or an exit code. */
int trace_cli_show_page(struct cli *c, const char *path, bool as_it_is) MUST_USE;
/** What --limit says. */
uint64_t trace_cli_limit(const struct cli *c, uint64_t otherwise);

/** Ask this daemon, then those of --from. `add` gets each answer and its number; those that do not
 * have the trace are left out, as is this daemon when only the others answer. 0 or an exit code;
 * EXIT_NOT_FOUND with a printed error when none has it. */
int trace_cli_ask_all(struct cli *c, const char *path,
		      int (*add)(void *data, unsigned number, const char *where, struct buf *body),
		      void *data) MUST_USE;

/** id NULL: the newest. The format of --format, or `format` if that is not given. */
int trace_cli_export(struct cli *c, const char *id, const char *format) MUST_USE;
int trace_cli_tail(struct cli *c, const char *text) MUST_USE;
struct trace_cli_answer {
	json_t *json; /* to /debug/traces?json&id=… */
	char *where;  /* who answered */
};
/** What several daemons recorded of one trace, put together, as one waterfall of text. They may say
 *  anything. 0, UV_ENOMEM, or the error of `out`. */
int trace_cli_join(const char *id, const struct trace_cli_answer *answers, size_t count,
		   struct buf *out) MUST_USE;
/** The same for those of --from, printed. */
int trace_cli_show_joined(struct cli *c, const char *id) MUST_USE;
