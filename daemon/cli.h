/* What the verbs share. A verb prints its answer on stdout, progress and errors on stderr, and
 * returns the exit code. */
#pragma once

#include "daemon/client.h"
#include "daemon/exit.h"
#include "daemon/json.h"
#include "daemon/options.h"
#include "daemon/output.h"
#include "object/object.h"

struct cli {
	const struct options *options;
	const char *data; /* the data folder */
	int argc;	  /* arguments behind the verb */
	char **argv;
	bool json, quiet;
	const char *config_why;	 /* the configuration is wrong (diag alone runs nevertheless) */
	const char *config_file; /* where it is, or would be; may be NULL */
	struct client *client;	 /* NULL for verbs that need no daemon */
};

int cli_daemon(struct cli *c);
int cli_publish(struct cli *c);
int cli_get(struct cli *c);
int cli_discover(struct cli *c);
int cli_log(struct cli *c);
int cli_objects(struct cli *c);
int cli_peers(struct cli *c);
int cli_subscribe(struct cli *c);
int cli_unsubscribe(struct cli *c);
int cli_subscriptions(struct cli *c);
int cli_status(struct cli *c);
int cli_trace(struct cli *c);
int cli_wait(struct cli *c);
int cli_diag(struct cli *c);
int cli_config(struct cli *c);
int cli_paths(struct cli *c);
/** `log level …` and `log tail`. */
int cli_log_lines(struct cli *c);

/** Prints `peerscope: …` and returns the code. */
int cli_fail(enum exit_code code, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_USE;
void cli_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** For what a client_… call returned. */
int cli_client_failed(struct cli *c, int rc) MUST_USE;
/** An answer of 200 without content where there always is some: says so. 0 or an exit code. */
int cli_check_content(const struct client_reply *reply) MUST_USE;
/** Takes the value, prints it as one line. */
void cli_print_json(json_t *value);
/** Text from elsewhere, in one line, safe for a terminal (buf_write_shown). */
void cli_write_safe(struct buf *out, const char *text);
/** The only argument as an IRI; prints what is wrong and where. 0 or an exit code. */
int cli_iri(struct cli *c, const char *text, struct iri *ret) MUST_USE;
/** "exact", "children" or "recursive", as the flags say. */
const char *cli_kind(const struct cli *c);
/** `peerscope VERB --help`, after a usage error. */
int cli_usage(const char *verb, const char *what) MUST_USE;

struct discover_answer {
	int status;	/* of the discovery */
	json_t *result; /* its "result" line; json_decref */
};
/** Run a discovery in the daemon, with progress. 0 with *ret, or an exit code after a printed
 * error. */
int cli_run_discovery(struct cli *c, const char *iri, const char *kind,
		      struct discover_answer *ret) MUST_USE;
/** Why a discovery did not bring the object, on stderr. Returns the exit code. */
int cli_explain_discovery(const char *iri, const struct discover_answer *a);
/** It ended well; is it sure, too? EXIT_PARTIAL, unsaid, when no peer confirmed it; an error, said,
 * when --require-fresh demands more than there is; EXIT_DONE otherwise, with a warning where it may
 * be old. */
int cli_explain_unsure(struct cli *c, const char *iri, const struct discover_answer *a) MUST_USE;
/** Says that what is here may be old. EXIT_PARTIAL. */
int cli_warn_unconfirmed(const char *iri, const json_t *result);
/** The waterfall of the discovery's trace, and where to see it in a browser. */
void cli_print_trace(struct cli *c, const json_t *result);
