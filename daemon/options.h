/* Everything that can be set, in one table: it feeds flags, environment, configuration file and
 * help.
 *
 *   setting   has a flag (--debug-listen), an environment variable (PEERSCOPE_DEBUG_LISTEN) and a
 * key in the file (debug-listen) flag      exists on the command line only (--json) origin    where
 * a value came from; the stronger one wins: flag > environment > file > default */
#pragma once

#include <jansson.h>

#include "base/buf.h"

enum verb {
	VERB_DAEMON,
	VERB_PUBLISH,
	VERB_GET,
	VERB_DISCOVER,
	VERB_LOG,
	VERB_OBJECTS,
	VERB_PEERS,
	VERB_SUBSCRIBE,
	VERB_UNSUBSCRIBE,
	VERB_SUBSCRIPTIONS,
	VERB_STATUS,
	VERB_TRACE,
	VERB_WAIT,
	VERB_DIAG,
	VERB_CONFIG,
	VERB_PATHS,
	VERB_VERSION,
	VERB_HELP,
	VERB_COMPLETION,
	VERB_MAN,
	VERB_COUNT
};
#define VERB_BIT(v) (UINT32_C(1) << (v))
#define VERB_ALL    (VERB_BIT(VERB_COUNT) - 1)

enum option_id {
	OPT_DATA,
	OPT_CONFIG,
	/* daemon */
	OPT_LISTEN,
	OPT_DEBUG_LISTEN,
	OPT_DHT,
	OPT_DHT_ROUTER,
	OPT_LAN,
	OPT_NAT,
	OPT_LOG_LEVEL,
	OPT_TRACE_BUDGET,
	OPT_OTLP_ENDPOINT,
	OPT_OTLP_HEADERS_FILE,
	OPT_OTLP_CA_FILE,
	OPT_OTLP_NAMES,
	OPT_PUSH_PROFILES_FILE,
	OPT_PUSH_REPORTS_FILE,
	OPT_PUSH_FORMAT,
	OPT_PUSH_INTERVAL,
	OPT_PUSH_SERVICE,
	OPT_PUSH_SERVER,
	OPT_PUSH_CA_FILE,
	OPT_DISCOVERY_TIMEOUT,
	OPT_LOCAL_TIMEOUT,
	OPT_DHT_TIMEOUT,
	OPT_PEER_TIMEOUT,
	OPT_ROUND_TIMEOUT,
	OPT_FETCH_IDLE_TIMEOUT,
	OPT_SUBSCRIPTION_INTERVAL,
	OPT_CHECK_CONFIG,
	/* verbs */
	OPT_JSON,
	OPT_QUIET,
	OPT_AS,
	OPT_DELETE,
	OPT_PARENT,
	OPT_OVER,
	OPT_SKIP_UNREADABLE,
	OPT_OUTPUT,
	OPT_FORCE,
	OPT_OFFLINE,
	OPT_FRESH,
	OPT_REQUIRE_FRESH,
	OPT_HISTORY,
	OPT_RECURSIVE,
	OPT_CHILDREN,
	OPT_TIMEOUT,
	OPT_TRACE,
	OPT_LIMIT,
	OPT_FORMAT,
	OPT_FROM,
	OPT_READY,
	OPT_SECONDS,
	OPT_RAW,
	OPT_NO_BINARY,
	OPT_LIST,
	OPT_LEVEL,
	OPT_PART,
	OPT_FOR,
	OPT_ORIGIN,
	OPT_VERSION,
	OPT_HELP,
	OPT_COUNT
};

enum option_type {
	OPTION_TEXT,
	OPTION_SWITCH, /* takes no value */
	OPTION_CHOICE, /* one of `choices`, separated by '|' */
	OPTION_TIME,   /* "90", "90s", "500ms", "10m"; number() is in ms */
	OPTION_SIZE,   /* "4096", "16MiB"; number() is in bytes */
	OPTION_NUMBER,
	OPTION_ADDRESS, /* "127.0.0.1:80", "[::1]:0"; with `choices` "unix" also unix:PATH */
	OPTION_HOSTS,	/* "HOST:PORT,HOST:PORT", or given several times; may be empty */
	OPTION_DIRS,	/* may be given several times; one per line */
	OPTION_LEVELS	/* "info", "info,store=debug" */
};

enum option_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_FLAG };
const char *option_origin_name(enum option_origin o);

struct option_def {
	const char *name;
	char letter; /* short flag, 0 = none */
	enum option_type type;
	const char *fallback; /* NULL = none */
	const char *choices;
	const char *arg; /* how the help calls the value */
	const char *help;
	bool setting;
	uint32_t verbs;	   /* where the flag is allowed */
	uint64_t min, max; /* of numbers, times (ms) and sizes */
};
const struct option_def *option_def(enum option_id id);

struct option_value {
	char *text; /* NULL = not set */
	uint64_t number;
	enum option_origin origin;
	char *where; /* "--listen", "PEERSCOPE_LISTEN", "/etc/x.conf:3" */
};
struct options {
	struct option_value values[OPT_COUNT];
};

/** Every value at its default. UV_ENOMEM. `getenv_fn` supplies the environment for the default data
 * folder. */
typedef const char *(*options_getenv_fn)(const char *name);
int options_init(struct options *o, options_getenv_fn getenv_fn);
void options_fini(struct options *o);

/** Give one option a value, checked, unless it has one from a stronger origin. `where` names the
 * place for messages. UV_ENOMEM, ERR_MALFORMED. */
int options_set(struct options *o, enum option_id id, const char *text, enum option_origin origin,
		const char *where, char *ret_why, size_t why_size);

/* The three below check values as they take them: ERR_MALFORMED with what, where, and what would be
 * right, in ret_why. */

/** argv as main gets it. Reorders it; ret_first = index of the first argument that is not a flag.
 */
int options_parse_flags(struct options *o, int argc, char **argv, int *ret_first, char *ret_why,
			size_t why_size);
int options_parse_env(struct options *o, options_getenv_fn getenv_fn, char *ret_why,
		      size_t why_size);
/** libconfuse syntax: `key = value`, # comments. UV_ENOENT and others when it cannot be read. */
int options_parse_file(struct options *o, const char *path, char *ret_why, size_t why_size);
/** The file to read: --config, else $CONFIGURATION_DIRECTORY/peerscope.conf,
 * $XDG_CONFIG_HOME/peerscope/peerscope.conf or
 *  ~/.config/peerscope/peerscope.conf. mem_free it; NULL when there is no home. ret_explicit: it
 * was asked for. */
char *options_file(const struct options *o, options_getenv_fn getenv_fn, bool *ret_explicit);
/** A flag that the verb does not take: ERR_MALFORMED. */
int options_check_verb(const struct options *o, enum verb v, const char *verb_name, char *ret_why,
		       size_t why_size);

const char *options_text(const struct options *o, enum option_id id);
uint64_t options_number(const struct options *o, enum option_id id);
bool options_on(const struct options *o, enum option_id id); /* switch given, or choice "on" */
enum option_origin options_origin(const struct options *o, enum option_id id);

/** Check one value as the table wants it. ret_number for numbers, times and sizes. */
int option_check(const struct option_def *d, const char *text, uint64_t *ret_number, char *ret_why,
		 size_t why_size);
/** Apply "info,store=debug" to the log. Only after option_check. */
void option_apply_levels(const char *text);
/** Of the words (NULL-terminated) the one that `word` was probably meant to be; NULL if none is
 * near. */
const char *option_nearest(const char *word, const char *const *words);

/** Help lines of the options of a verb; settings = only those, with environment names. */
void options_help(struct buf *out, uint32_t verbs, bool with_env);
/** `name = value` of every setting, as the file takes it; with its origin as a comment. */
void options_write_settings(const struct options *o, struct buf *out, bool with_origin);
/** The same as [{"name", "value", "origin", "where"}]; the caller's. */
json_t *options_settings_json(const struct options *o);
