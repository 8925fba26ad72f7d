/* The table, and how a value gets from flag, environment and file into it. */
#include "daemon/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/disk.h"

enum {
	WHERE_MAX = 512,
	NAME_MAX_ = 64,
	LETTER_BASE = 1000,
	TIME_MAX_MS = 86400000,
	CONFIG_BYTES_MAX = 64 << 10
};

#define B(v) VERB_BIT(VERB_##v)
#define SETTING(name_, type_, fallback_, choices_, arg_, min_, max_, help_)                        \
	{                                                                                          \
		.name = name_, .type = type_, .fallback = fallback_, .choices = choices_,          \
		.arg = arg_, .help = help_, .setting = true, .verbs = B(DAEMON), .min = min_,      \
		.max = max_                                                                        \
	}
#define TIME(name_, fallback_, help_)                                                              \
	SETTING(name_, OPTION_TIME, fallback_, NULL, "TIME", 1, TIME_MAX_MS, help_)
#define FLAG(name_, letter_, type_, arg_, verbs_, help_)                                           \
	{                                                                                          \
		.name = name_, .letter = letter_, .type = type_, .arg = arg_, .verbs = verbs_,     \
		.help = help_                                                                      \
	}

/* Verbs that can answer in JSON. */
#define ANSWERS (VERB_ALL & ~(B(DAEMON) | B(HELP)))

static const struct option_def table[OPT_COUNT] = {
	[OPT_DATA] = { .name = "data",
		       .type = OPTION_TEXT,
		       .arg = "DIR",
		       .setting = true,
		       .verbs = VERB_ALL,
		       .help = "data folder ($STATE_DIRECTORY, $XDG_STATE_HOME/peerscope, "
			       "~/.local/state/peerscope)" },
	[OPT_CONFIG] = FLAG("config", 0, OPTION_TEXT, "FILE", VERB_ALL, "configuration file"),
	[OPT_LISTEN] = SETTING(
		"listen", OPTION_ADDRESS, "[::]:0", NULL, "ADDR:PORT", 0, 0,
		"where peers connect, over IPv4 too if [::]; port 0: one is chosen and kept"),
	[OPT_DEBUG_LISTEN] = SETTING(
		"debug-listen", OPTION_ADDRESS, "127.0.0.1:56001", "unix", "ADDR:PORT|unix:PATH", 0,
		0, "debug pages; loopback or a unix socket only; port 0: any free one"),
	[OPT_DHT] = SETTING("dht", OPTION_CHOICE, "on", "on|off|private", "on|off|private", 0, 0,
			    "find peers in the DHT"),
	[OPT_DHT_ROUTER] = SETTING(
		"dht-router", OPTION_HOSTS,
		"dht.libtorrent.org:25401,dht.transmissionbt.com:6881,router.bittorrent.com:6881",
		NULL, "HOST:PORT,...", 0, 0,
		"whom to ask while no node of the DHT is known; may be repeated. A private DHT has "
		"only what is given here"),
	[OPT_LAN] = SETTING("lan", OPTION_CHOICE, "on", "on|off", "on|off", 0, 0,
			    "find peers in the local network"),
	[OPT_NAT] = SETTING("nat", OPTION_CHOICE, "off", "on|off", "on|off", 0, 0,
			    "ask the router, by NAT-PMP or UPnP, to let peers in"),
	[OPT_LOG_LEVEL] = SETTING("log-level", OPTION_LEVELS, "info", NULL, "LEVEL[,PART=LEVEL]", 0,
				  0, "error, warn, info or debug, also per part: info,store=debug"),
	[OPT_TRACE_BUDGET] = SETTING("trace-budget", OPTION_SIZE, "16MiB", NULL, "SIZE", 128 << 10,
				     1 << 30, "memory for traces, taken at the start"),
	[OPT_OTLP_ENDPOINT] = SETTING(
		"otlp-endpoint", OPTION_TEXT, NULL, NULL, "URL", 0, 0,
		"send finished traces to this collector (OTLP over HTTP), http://127.0.0.1:4318"),
	[OPT_OTLP_HEADERS_FILE] =
		SETTING("otlp-headers-file", OPTION_TEXT, NULL, NULL, "FILE", 0, 0,
			"headers to send with them, \"Name: value\" a line; or the text in "
			"$PEERSCOPE_OTLP_HEADERS"),
	[OPT_OTLP_CA_FILE] = SETTING("otlp-ca-file", OPTION_TEXT, NULL, NULL, "FILE", 0, 0,
				     "certificates to trust there instead of the system's (PEM)"),
	[OPT_OTLP_NAMES] = SETTING("otlp-names", OPTION_CHOICE, "pseudonyms", "pseudonyms|raw",
				   "pseudonyms|raw", 0, 0,
				   "whether IRIs, peer ids and addresses in them are replaced"),
	[OPT_PUSH_PROFILES_FILE] =
		SETTING("push-profiles-file", OPTION_TEXT, NULL, NULL, "FILE", 0, 0,
			"send profiles of CPU and memory to the server whose connection string, "
			"TOKEN@https://HOST/, is in this file; or in $PEERSCOPE_PUSH_PROFILES"),
	[OPT_PUSH_REPORTS_FILE] =
		SETTING("push-reports-file", OPTION_TEXT, NULL, NULL, "FILE", 0, 0,
			"report discoveries to the server whose connection string is in this file, "
			"with pseudonyms; or in $PEERSCOPE_PUSH_REPORTS"),
	[OPT_PUSH_FORMAT] = SETTING("push-format", OPTION_CHOICE, "traceway",
				    "traceway|pyroscope|pyroscope-push",
				    "traceway|pyroscope|pyroscope-push", 0, 0,
				    "what kind of server takes the profiles"),
	[OPT_PUSH_INTERVAL] =
		SETTING("push-interval", OPTION_TIME, "60s", NULL, "TIME", 2000, TIME_MAX_MS,
			"how often profiles are sent; half of it, at most 30 s, is measured"),
	[OPT_PUSH_SERVICE] = SETTING("push-service", OPTION_TEXT, NULL, NULL, "NAME", 0, 0,
				     "name of the service there (default: the program's)"),
	[OPT_PUSH_SERVER] = SETTING("push-server", OPTION_TEXT, NULL, NULL, "NAME", 0, 0,
				    "name of this machine there (default: the host's, short)"),
	[OPT_PUSH_CA_FILE] = SETTING("push-ca-file", OPTION_TEXT, NULL, NULL, "FILE", 0, 0,
				     "certificates to trust there instead of the system's (PEM)"),
	[OPT_DISCOVERY_TIMEOUT] = TIME("discovery-timeout", "600s", "one discovery in all"),
	[OPT_LOCAL_TIMEOUT] =
		TIME("local-timeout", "400s", "its part with hinted, known and local peers"),
	[OPT_DHT_TIMEOUT] = TIME("dht-timeout", "200s", "its part in the DHT"),
	[OPT_PEER_TIMEOUT] = TIME("peer-timeout", "120s", "one sync with one peer"),
	[OPT_ROUND_TIMEOUT] = TIME("round-timeout", "15s", "one reconcile round"),
	[OPT_FETCH_IDLE_TIMEOUT] =
		TIME("fetch-idle-timeout", "10s", "a peer that sends nothing for so long is cut"),
	[OPT_SUBSCRIPTION_INTERVAL] =
		TIME("subscription-interval", "60s", "how often subscriptions are looked after"),
	[OPT_CHECK_CONFIG] = FLAG("check-config", 0, OPTION_SWITCH, NULL, B(DAEMON),
				  "print the settings and their origin, start nothing"),
	[OPT_JSON] = FLAG("json", 'j', OPTION_SWITCH, NULL, ANSWERS, "answer in JSON"),
	[OPT_QUIET] =
		FLAG("quiet", 'q', OPTION_SWITCH, NULL, ANSWERS, "no progress on the terminal"),
	[OPT_AS] = FLAG("as", 0, OPTION_TEXT, "/PATH", B(PUBLISH),
			"path of the object in the space (default: /NAME of what is published)"),
	[OPT_DELETE] =
		FLAG("delete", 0, OPTION_SWITCH, NULL, B(PUBLISH) | B(GET),
		     "publish: the object of --as is deleted; get: remove what is there and not "
		     "part of the object, after naming it"),
	[OPT_PARENT] = FLAG(
		"parent", 0, OPTION_TEXT, "VERSION", B(PUBLISH),
		"the version this one follows (default: the present one; several make a merge)"),
	[OPT_OVER] = FLAG("over", 0, OPTION_SWITCH, NULL, B(PUBLISH),
			  "whatever the object holds now: joins several heads, undoes what this "
			  "folder has not seen"),
	[OPT_SKIP_UNREADABLE] =
		FLAG("skip-unreadable", 0, OPTION_SWITCH, NULL, B(PUBLISH),
		     "leave out what cannot be read, or held by a tree (exit code 4)"),
	[OPT_OUTPUT] = FLAG("output", 'o', OPTION_TEXT, "PATH", B(GET) | B(DIAG),
			    "where to write (default: the last segment of the IRI, or a name with "
			    "the time); - for stdout"),
	[OPT_FORCE] = FLAG("force", 'f', OPTION_SWITCH, NULL, B(GET),
			   "move what differs and is in the way aside, to NAME.replaced-TIME"),
	[OPT_OFFLINE] =
		FLAG("offline", 0, OPTION_SWITCH, NULL, B(GET), "only what is here: ask no peer"),
	[OPT_FRESH] = FLAG("fresh", 0, OPTION_SWITCH, NULL, B(DISCOVER) | B(GET),
			   "search even if nobody had it a minute ago"),
	[OPT_REQUIRE_FRESH] = FLAG("require-fresh", 0, OPTION_SWITCH, NULL, B(DISCOVER) | B(GET),
				   "fail unless peers confirm that nothing newer is to be had"),
	[OPT_HISTORY] = FLAG("history", 0, OPTION_SWITCH, NULL, B(DISCOVER) | B(GET) | B(SUBSCRIBE),
			     "fetch the content of older versions too, in the background"),
	[OPT_RECURSIVE] = FLAG("recursive", 'r', OPTION_SWITCH, NULL,
			       B(DISCOVER) | B(SUBSCRIBE) | B(UNSUBSCRIBE) | B(OBJECTS),
			       "the object and everything below it"),
	[OPT_CHILDREN] = FLAG("children", 0, OPTION_SWITCH, NULL,
			      B(DISCOVER) | B(SUBSCRIBE) | B(UNSUBSCRIBE) | B(OBJECTS),
			      "the object and those one segment below"),
	[OPT_TIMEOUT] = { .name = "timeout",
			  .letter = 't',
			  .type = OPTION_TIME,
			  .arg = "TIME",
			  .verbs = B(DISCOVER) | B(GET) | B(PEERS),
			  .min = 1,
			  .max = TIME_MAX_MS,
			  .help = "give up after" },
	[OPT_TRACE] = FLAG("trace", 0, OPTION_SWITCH, NULL, B(DISCOVER) | B(GET),
			   "end with the trace: where the time went"),
	[OPT_LIMIT] = { .name = "limit",
			.letter = 'n',
			.type = OPTION_NUMBER,
			.arg = "N",
			.verbs = B(LOG) | B(OBJECTS) | B(TRACE) | B(DIAG),
			.min = 1,
			.max = 10000,
			.help = "at most so many" },
	[OPT_FORMAT] = { .name = "format",
			 .type = OPTION_CHOICE,
			 .choices = "chrome|jaeger|otlp|otlp-protobuf|json|text",
			 .arg = "chrome|jaeger|otlp|otlp-protobuf|json|text",
			 .verbs = B(TRACE),
			 .help = "of an export: for Perfetto (default), Jaeger, OpenTelemetry" },
	[OPT_FROM] =
		FLAG("from", 0, OPTION_DIRS, "DIR|URL", B(TRACE),
		     "show or export also what this daemon recorded of the trace: its data folder, "
		     "or where its debug pages are; may be repeated"),
	[OPT_READY] = { .name = "ready",
			.type = OPTION_TIME,
			.arg = "TIME",
			.verbs = B(WAIT),
			.min = 1,
			.max = TIME_MAX_MS,
			.help = "how long to wait for the daemon (default 10s)" },
	[OPT_SECONDS] = { .name = "seconds",
			  .letter = 's',
			  .type = OPTION_NUMBER,
			  .arg = "N",
			  .verbs = B(DIAG),
			  .max = 300,
			  .help = "how long profiles look (default 30); 0: a bundle without them" },
	[OPT_RAW] = FLAG("raw", 0, OPTION_SWITCH, NULL, B(DIAG),
			 "a bundle with names as they are, not with codes for them"),
	[OPT_NO_BINARY] = FLAG("no-binary", 0, OPTION_SWITCH, NULL, B(DIAG),
			       "a bundle without the program itself"),
	[OPT_LIST] = FLAG("list", 0, OPTION_SWITCH, NULL, B(DIAG),
			  "what a bundle consists of; collects nothing"),
	[OPT_LEVEL] = FLAG("level", 0, OPTION_TEXT, "LEVEL", B(DIAG) | B(LOG),
			   "only log lines of this level and worse: error, warn, info, debug"),
	[OPT_PART] = FLAG("part", 0, OPTION_TEXT, "PART", B(DIAG) | B(LOG),
			  "only log lines of this part, e.g. store"),
	[OPT_FOR] = { .name = "for",
		      .type = OPTION_TIME,
		      .arg = "TIME",
		      .verbs = B(LOG),
		      .min = 1000,
		      .max = TIME_MAX_MS,
		      .help = "until a log level goes back by itself (default 10m)" },
	[OPT_ORIGIN] =
		FLAG("origin", 0, OPTION_SWITCH, NULL, B(CONFIG), "where each value comes from"),
	[OPT_VERSION] =
		FLAG("version", 'V', OPTION_SWITCH, NULL, VERB_ALL, "version of this program"),
	[OPT_HELP] = FLAG("help", 'h', OPTION_SWITCH, NULL, VERB_ALL, "this text"),
};

const struct option_def *option_def(enum option_id id)
{
	return &table[id];
}

const char *option_origin_name(enum option_origin o)
{
	static const char *const names[] = { "default", "file", "environment", "flag" };

	return names[o];
}

static void value_clear(struct option_value *v)
{
	v->text = mem_free(v->text);
	v->where = mem_free(v->where);
}

void options_fini(struct options *o)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		value_clear(&o->values[i]);
}

/* In whatever order the origins are read. */
int options_set(struct options *o, enum option_id id, const char *text, enum option_origin origin,
		const char *where, char *ret_why, size_t why_size)
{
	struct option_value *v = &o->values[id], fresh = { .origin = origin };
	char why[WHERE_MAX];

	if (option_check(&table[id], text, &fresh.number, why, sizeof(why)) < 0) {
		snprintf(ret_why, why_size, "%s: %s", where, why);
		return ERR_MALFORMED;
	}
	if (v->text != NULL && v->origin > origin)
		return 0;
	/* Given several times in one place: all of them. */
	if ((table[id].type == OPTION_HOSTS || table[id].type == OPTION_DIRS) && v->text != NULL &&
	    v->origin == origin && v->text[0] != '\0' && text[0] != '\0')
		fresh.text = mem_printf("%s%s%s", v->text,
					table[id].type == OPTION_HOSTS ? "," : "\n", text);
	else
		fresh.text = mem_strdup(text);
	fresh.where = mem_strdup(where);
	if (fresh.text == NULL || fresh.where == NULL) {
		value_clear(&fresh);
		snprintf(ret_why, why_size, "out of memory");
		return UV_ENOMEM;
	}
	value_clear(v);
	*v = fresh;
	return 0;
}

/* ---- Defaults ---- */

/* Under systemd, $STATE_DIRECTORY may list several folders: the first is meant. */
static char *dir_from(options_getenv_fn getenv_fn, const char *systemd, const char *xdg,
		      const char *home_below)
{
	const char *dir = getenv_fn(systemd), *base = getenv_fn(xdg), *home = getenv_fn("HOME");

	if (dir != NULL && dir[0] == '/')
		return mem_strndup(dir, strcspn(dir, ":"));
	if (base != NULL && base[0] == '/')
		return mem_printf("%s/peerscope", base);
	if (home != NULL && home[0] == '/')
		return mem_printf("%s/%s/peerscope", home, home_below);
	return NULL;
}

int options_init(struct options *o, options_getenv_fn getenv_fn)
{
	CLEANUP(mem_freep)
	char *data = dir_from(getenv_fn, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state");
	char why[WHERE_MAX];
	int rc = 0;

	*o = (struct options){ 0 };
	for (size_t i = 0; i < OPT_COUNT && rc == 0; i++) {
		const char *text = i == OPT_DATA ? data : table[i].fallback;

		if (text != NULL)
			rc = options_set(o, (enum option_id)i, text, ORIGIN_DEFAULT, "default", why,
					 sizeof(why));
	}
	if (rc < 0)
		options_fini(o);
	return rc;
}

char *options_file(const struct options *o, options_getenv_fn getenv_fn, bool *ret_explicit)
{
	CLEANUP(mem_freep) char *dir = NULL;

	*ret_explicit = options_text(o, OPT_CONFIG) != NULL;
	if (*ret_explicit)
		return mem_strdup(options_text(o, OPT_CONFIG));
	dir = dir_from(getenv_fn, "CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME", ".config");
	return dir != NULL ? disk_path(dir, "peerscope.conf") : NULL;
}

/* ---- Flags ---- */

static void fill_getopt(struct option *longs, char *shorts)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		bool has_arg = table[i].type != OPTION_SWITCH;

		longs[i] = (struct option){ table[i].name,
					    has_arg ? required_argument : no_argument, NULL,
					    LETTER_BASE + (int)i };
		if (table[i].letter == 0)
			continue;
		*shorts++ = table[i].letter;
		if (has_arg)
			*shorts++ = ':';
	}
	longs[OPT_COUNT] = (struct option){ 0 };
	*shorts = '\0';
}

static int by_letter(int letter)
{
	for (int i = 0; i < OPT_COUNT; i++)
		if (table[i].letter != 0 && table[i].letter == letter)
			return i;
	return -1;
}

static void say_unknown(const char *given, bool missing, char *ret_why, size_t why_size)
{
	const char *words[OPT_COUNT + 1] = { 0 }, *near;
	char name[NAME_MAX_];

	if (missing) {
		snprintf(ret_why, why_size, "%.64s needs a value", given);
		return;
	}
	for (size_t i = 0; i < OPT_COUNT; i++)
		words[i] = table[i].name;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(given + strspn(given, "-"), "="),
		 given + strspn(given, "-"));
	near = option_nearest(name, words);
	if (near != NULL && strncmp(given, "--", 2) == 0)
		snprintf(ret_why, why_size, "there is no flag %.64s; did you mean --%s?", given,
			 near);
	else
		snprintf(ret_why, why_size, "there is no flag %.64s; `peerscope help` lists them",
			 given);
}

int options_parse_flags(struct options *o, int argc, char **argv, int *ret_first, char *ret_why,
			size_t why_size)
{
	struct option longs[OPT_COUNT + 1];
	char shorts[2 * OPT_COUNT + 2], where[NAME_MAX_];
	int c, rc = 0;

	shorts[0] = ':';
	fill_getopt(longs, shorts + 1);
	optind = 0; /* glibc: forget an earlier run */
	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int id = c >= LETTER_BASE ? c - LETTER_BASE : by_letter(c);

		if (c == '?' || c == ':' || id < 0) {
			char letter[3] = { '-', (char)optopt, '\0' };
			bool is_long = optopt == 0 || optopt >= LETTER_BASE;

			say_unknown(is_long ? argv[optind - 1] : letter, c == ':', ret_why,
				    why_size);
			return ERR_MALFORMED;
		}
		snprintf(where, sizeof(where), "--%s", table[id].name);
		rc = options_set(o, (enum option_id)id, optarg != NULL ? optarg : "on", ORIGIN_FLAG,
				 where, ret_why, why_size);
	}
	*ret_first = optind;
	return rc;
}

int options_check_verb(const struct options *o, enum verb v, const char *verb_name, char *ret_why,
		       size_t why_size)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (o->values[i].origin != ORIGIN_FLAG || (table[i].verbs & VERB_BIT(v)) != 0)
			continue;
		snprintf(ret_why, why_size,
			 "`%s` does not take --%s; `peerscope help %s` lists what it takes",
			 verb_name, table[i].name, verb_name);
		return ERR_MALFORMED;
	}
	return 0;
}

/* ---- Environment ---- */

static void env_name(const struct option_def *d, char ret[NAME_MAX_])
{
	size_t n = (size_t)snprintf(ret, NAME_MAX_, "PEERSCOPE_%s", d->name);

	for (size_t i = 0; i < n; i++)
		ret[i] = ret[i] == '-' ? '_' : (char)toupper((unsigned char)ret[i]);
}

int options_parse_env(struct options *o, options_getenv_fn getenv_fn, char *ret_why,
		      size_t why_size)
{
	char name[NAME_MAX_];
	const char *text;
	int rc = 0;

	for (size_t i = 0; i < OPT_COUNT && rc == 0; i++) {
		if (!table[i].setting)
			continue;
		env_name(&table[i], name);
		text = getenv_fn(name);
		if (text != NULL && text[0] != '\0')
			rc = options_set(o, (enum option_id)i, text, ORIGIN_ENV, name, ret_why,
					 why_size);
	}
	return rc;
}

/* ---- Reading ---- */

const char *options_text(const struct options *o, enum option_id id)
{
	return o->values[id].text;
}

uint64_t options_number(const struct options *o, enum option_id id)
{
	return o->values[id].number;
}

bool options_on(const struct options *o, enum option_id id)
{
	return o->values[id].text != NULL && strcmp(o->values[id].text, "on") == 0;
}

enum option_origin options_origin(const struct options *o, enum option_id id)
{
	return o->values[id].origin;
}

void options_help(struct buf *out, uint32_t verbs, bool with_env)
{
	char left[128], name[NAME_MAX_];

	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_def *d = &table[i];
		int n = 0;

		if ((d->verbs & verbs) == 0)
			continue;
		if (d->letter != 0)
			n = snprintf(left, sizeof(left), "-%c, ", d->letter);
		snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", d->name,
			 d->arg != NULL ? " " : "", d->arg != NULL ? d->arg : "");
		buf_printf(out, "  %-38s %s", left, d->help);
		if (d->fallback != NULL)
			buf_printf(out, " [%s]", d->fallback);
		if (with_env && d->setting) {
			env_name(d, name);
			buf_printf(out, "\n  %-38s %s", "", name);
		}
		buf_write_u8(out, '\n');
	}
}

/* What follows the path of a URL may be a token. */
static int shown_len(const struct option_value *v)
{
	bool is_url = strncmp(v->text, "http://", 7) == 0 || strncmp(v->text, "https://", 8) == 0;

	return (int)(is_url ? strcspn(v->text, "?#") : strlen(v->text));
}

void options_write_settings(const struct options *o, struct buf *out, bool with_origin)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_value *v = &o->values[i];

		if (!table[i].setting || v->text == NULL)
			continue;
		buf_printf(out, "%s = \"%.*s\"", table[i].name, shown_len(v), v->text);
		if (with_origin)
			buf_printf(out, " # %s",
				   v->origin == ORIGIN_DEFAULT ? "default" : v->where);
		buf_write_u8(out, '\n');
	}
}

json_t *options_settings_json(const struct options *o)
{
	json_t *list = json_array();

	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_value *v = &o->values[i];

		if (table[i].setting && v->text != NULL)
			(void)json_array_append_new(
				list, json_pack("{s:s, s:s%, s:s, s:s}", "name", table[i].name,
						"value", v->text, (size_t)shown_len(v), "origin",
						option_origin_name(v->origin), "where",
						v->origin == ORIGIN_DEFAULT ? "" : v->where));
	}
	return list;
}
