/* The small verbs: ask the daemon one thing, print the answer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/progress.h"

enum { TEXT_MAX = 64 << 20, WAIT_STEP_MS = 50, WAIT_DEFAULT_MS = 10000 };

/* GET with the IRI and the kind as query; 0 or an exit code. */
static int ask(struct cli *c, const char *method, const char *route, const char *iri,
	       bool with_kind, json_t **ret)
{
	CLEANUP(mem_freep) char *escaped = iri != NULL ? client_escape(iri) : mem_strdup("");
	CLEANUP(mem_freep) char *path = NULL;
	int rc;

	if (escaped != NULL)
		path = mem_printf("%s?%s%s%s%s%s&limit=%" PRIu64, route, iri != NULL ? "iri=" : "",
				  escaped, with_kind ? "&kind=" : "", with_kind ? cli_kind(c) : "",
				  options_on(c->options, OPT_HISTORY) ? "&history=1" : "",
				  options_text(c->options, OPT_LIMIT) != NULL ?
					  options_number(c->options, OPT_LIMIT) :
					  100);
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	rc = client_json(c->client, method, path, NULL, ret);
	return rc < 0 ? cli_client_failed(c, rc) : 0;
}

static void print(struct buf *text)
{
	output_text(text);
	buf_fini(text);
}

/* ---- log, objects ---- */

static void write_version(struct buf *text, const json_t *v)
{
	buf_printf(text, "%s  %s%s%s", json_get_text(v, "version"), json_get_text(v, "time"),
		   json_is_true(json_object_get(v, "head")) ? "  head" : "",
		   json_is_true(json_object_get(v, "tombstone")) ? "  deleted" : "");
	if (!json_is_true(json_object_get(v, "tombstone"))) {
		buf_write_str(text, "  ");
		progress_write_bytes(text, json_get_count(v, "bytes"));
	}
	if (json_is_false(json_object_get(v, "complete")))
		buf_write_str(text, "  not all here");
	buf_write_u8(text, '\n');
}

/* An IRI begins with hm://, so `level` and `tail` cannot be meant as one. */
int cli_log(struct cli *c)
{
	bool is_lines = c->argc > 0 &&
			(strcmp(c->argv[0], "level") == 0 || strcmp(c->argv[0], "tail") == 0);
	struct iri *iri = is_lines ? NULL : mem_alloc(sizeof(*iri));
	json_t *log = NULL, *v;
	struct buf text;
	size_t i, heads = 0, bare = 0;
	int code;

	if (is_lines)
		return cli_log_lines(c);
	if (c->argc != 1 || iri == NULL) {
		mem_free(iri);
		return cli_usage("log", "one IRI is needed, or `level` or `tail`");
	}
	code = cli_iri(c, c->argv[0], iri);
	mem_free(iri);
	if (code == 0)
		code = ask(c, "GET", "/v1/log", c->argv[0], false, &log);
	if (code != 0)
		return code;
	if (c->json) {
		cli_print_json(log);
		return EXIT_DONE;
	}
	buf_init(&text, TEXT_MAX);
	json_array_foreach(json_object_get(log, "versions"), i, v) {
		write_version(&text, v);
		heads += json_is_true(json_object_get(v, "head"));
		bare += json_is_false(json_object_get(v, "head")) &&
			json_is_false(json_object_get(v, "complete"));
	}
	if (heads > 1)
		buf_printf(&text,
			   "conflict: %zu heads, made without knowledge of each other; `peerscope "
			   "publish --parent A.B` joins them, --over too\n",
			   heads);
	if (bare > 0)
		buf_printf(&text,
			   "of %zu of the older versions not all content is here: `peerscope get "
			   "IRI?v=VERSION` fetches one, `peerscope discover IRI --history` all\n",
			   bare);
	if (json_get_count(log, "total") > json_array_size(json_object_get(log, "versions")))
		buf_printf(&text, "… %" PRIu64 " versions in all; --limit shows more\n",
			   json_get_count(log, "total"));
	print(&text);
	json_decref(log);
	return EXIT_DONE;
}

int cli_objects(struct cli *c)
{
	json_t *answer = NULL, *o;
	struct buf text;
	uint64_t n;
	size_t i;
	int code;

	if (c->argc > 1)
		return cli_usage("objects", "at most one IRI");
	code = ask(c, "GET", "/v1/objects", c->argc == 1 ? c->argv[0] : NULL, c->argc == 1,
		   &answer);
	if (code != 0)
		return code;
	if (c->json) {
		cli_print_json(answer);
		return EXIT_DONE;
	}
	buf_init(&text, TEXT_MAX);
	json_array_foreach(json_object_get(answer, "objects"), i, o) {
		n = json_get_count(o, "commits");
		buf_printf(&text, "%s  %s  %" PRIu64 " %s", json_get_text(o, "iri"),
			   json_get_text(o, "time"), n, plural(n, "version", "versions"));
		if (json_is_true(json_object_get(o, "tombstone")))
			buf_write_str(&text, "  deleted");
		if (json_get_count(o, "heads") > 1)
			buf_printf(&text, "  %" PRIu64 " heads", json_get_count(o, "heads"));
		n = json_get_count(o, "missing");
		if (n > 0)
			buf_printf(&text, "  %" PRIu64 " %s missing", n,
				   plural(n, "blob", "blobs"));
		buf_write_u8(&text, '\n');
	}
	print(&text);
	json_decref(answer);
	return EXIT_DONE;
}

/* ---- peers ---- */

static void write_peer(struct buf *text, const json_t *p)
{
	json_t *address;
	uint64_t n;
	size_t i;

	buf_printf(text, "%s  ", json_get_text(p, "peer"));
	if (json_is_true(json_object_get(p, "connected"))) {
		buf_printf(text, "connected (%s, ", json_get_text(p, "direction"));
		cli_write_safe(text, json_get_text(p, "agent"));
		if (json_is_number(json_object_get(p, "rtt_ms")))
			buf_printf(text, ", %.1f ms",
				   json_number_value(json_object_get(p, "rtt_ms")));
		buf_write_str(text, ")");
	} else {
		buf_printf(text, "not connected");
		n = json_get_count(p, "failures");
		if (n > 0)
			buf_printf(text, ", %" PRIu64 " %s", n, plural(n, "failure", "failures"));
	}
	buf_printf(text, "%s\n", json_is_true(json_object_get(p, "added")) ? ", added by you" : "");
	json_array_foreach(json_object_get(p, "addresses"), i, address)
		buf_printf(text, "  %s\n", json_string_value(address));
}

static int list_peers(struct cli *c)
{
	json_t *answer = NULL, *p;
	struct buf text;
	size_t i;
	int code = ask(c, "GET", "/v1/peers", NULL, false, &answer);

	if (code != 0)
		return code;
	if (c->json) {
		cli_print_json(answer);
		return EXIT_DONE;
	}
	buf_init(&text, TEXT_MAX);
	json_array_foreach(json_object_get(answer, "peers"), i, p)
		write_peer(&text, p);
	if (text.len == 0 && !c->quiet)
		fprintf(stderr, "no peer is known; add one: peerscope peers add "
				"/ip4/ADDRESS/tcp/PORT/p2p/PEER\n");
	print(&text);
	json_decref(answer);
	return EXIT_DONE;
}

static int add_peer(struct cli *c, const char *address)
{
	json_t *question, *answer = NULL;
	struct multiaddr addr;
	int rc = multiaddr_parse(address, strlen(address), &addr);

	if (rc < 0)
		return cli_fail(EXIT_USAGE,
				"\"%s\" is not an address (%s): /ip4/ADDRESS/tcp/PORT/p2p/PEER, as "
				"`peerscope status` prints it "
				"at the other end",
				address, err_str(rc));
	question = json_pack("{s:s}", "address", address);
	if (options_text(c->options, OPT_TIMEOUT) != NULL)
		json_object_set_new(
			question, "timeout_ms",
			json_integer((json_int_t)options_number(c->options, OPT_TIMEOUT)));
	rc = client_json(c->client, "POST", "/v1/peers", question, &answer);
	json_decref(question);
	if (rc < 0)
		return cli_client_failed(c, rc);
	if (!json_is_true(json_object_get(answer, "connected"))) {
		rc = cli_fail(EXIT_PEER,
			      "%s was added, but cannot be reached now (%s); it is tried again "
			      "when something is looked for",
			      json_get_text(answer, "peer"), json_get_text(answer, "error"));
	} else if (!c->json) {
		output_printf("%s\n", json_get_text(answer, "peer"));
	}
	if (c->json)
		cli_print_json(json_incref(answer));
	json_decref(answer);
	return rc;
}

static int remove_peer(struct cli *c, const char *text)
{
	CLEANUP(mem_freep) char *escaped = NULL, *path = NULL;
	const char *slash = strrchr(text, '/'); /* an address with /p2p names the peer too */
	struct public_key key;
	int rc;

	if (slash != NULL)
		text = slash + 1;
	if (peer_id_parse(text, strlen(text), &key) < 0)
		return cli_fail(
			EXIT_USAGE,
			"\"%s\" is not a peer id: 12D3KooW…, as `peerscope peers` prints it", text);
	escaped = client_escape(text);
	path = escaped != NULL ? mem_printf("/v1/peers?peer=%s", escaped) : NULL;
	rc = path != NULL ? client_json(c->client, "DELETE", path, NULL, NULL) : UV_ENOMEM;
	return rc < 0 ? cli_client_failed(c, rc) : EXIT_DONE;
}

int cli_peers(struct cli *c)
{
	if (c->argc == 0)
		return list_peers(c);
	if (c->argc == 2 && strcmp(c->argv[0], "add") == 0)
		return add_peer(c, c->argv[1]);
	if (c->argc == 2 && (strcmp(c->argv[0], "rm") == 0 || strcmp(c->argv[0], "remove") == 0))
		return remove_peer(c, c->argv[1]);
	return cli_usage("peers", "it is `peers`, `peers add ADDRESS` or `peers rm PEER`");
}

/* ---- Subscriptions ---- */

static int change_subscription(struct cli *c, const char *verb, const char *method)
{
	struct iri *iri = mem_alloc(sizeof(*iri));
	json_t *answer = NULL;
	bool changed;
	int code;

	if (c->argc != 1 || iri == NULL) {
		mem_free(iri);
		return cli_usage(verb, "one IRI is needed");
	}
	code = cli_iri(c, c->argv[0], iri);
	mem_free(iri);
	if (code == 0)
		code = ask(c, method, "/v1/subscriptions", c->argv[0], true, &answer);
	if (code != 0)
		return code;
	changed = json_is_true(json_object_get(answer, "changed"));
	if (!changed && !c->quiet && !c->json)
		fprintf(stderr, "%s\n",
			strcmp(method, "POST") == 0 ? "it was subscribed to already" :
						      "it was not subscribed to");
	if (c->json)
		cli_print_json(answer);
	else
		json_decref(answer);
	return EXIT_DONE;
}

int cli_subscribe(struct cli *c)
{
	return change_subscription(c, "subscribe", "POST");
}

int cli_unsubscribe(struct cli *c)
{
	return change_subscription(c, "unsubscribe", "DELETE");
}

/* "sleeping, again in 42 s; last run (announced) 18 s ago: local" */
static void print_subscription(struct buf *text, const json_t *s)
{
	const char *state = json_get_text(s, "state");
	bool waits = strcmp(state, "sleeping") == 0 || strcmp(state, "backing off") == 0;

	buf_printf(text, "%s  %s%s  last synced %s\n", json_get_text(s, "iri"),
		   json_get_text(s, "kind"),
		   json_is_true(json_object_get(s, "history")) ? ", with history" : "",
		   json_get_text(s, "last_ok")[0] != '\0' ? json_get_text(s, "last_ok") : "never");
	buf_printf(text, "  %s", state);
	if (waits)
		buf_printf(text, ", again in %.0f s",
			   (double)json_get_count(s, "next_in_ms") / 1000);
	if (json_is_true(json_object_get(s, "ran")))
		buf_printf(text, "; last run (%s) %.0f s ago: %s, %s: %s", json_get_text(s, "why"),
			   (double)json_get_count(s, "last_ago_ms") / 1000,
			   json_get_text(s, "last_outcome"), json_get_text(s, "answer"),
			   json_get_text(s, "explanation"));
	if (json_get_count(s, "failures") > 1)
		buf_printf(text, ", %llu times in a row",
			   (unsigned long long)json_get_count(s, "failures"));
	if (json_get_count(json_object_get(s, "behind"), "missing") > 0)
		buf_printf(text, "; behind by %" PRIu64 " of %" PRIu64 " known commits",
			   json_get_count(json_object_get(s, "behind"), "missing"),
			   json_get_count(json_object_get(s, "behind"), "known"));
	buf_write_u8(text, '\n');
}

int cli_subscriptions(struct cli *c)
{
	json_t *answer = NULL, *s;
	struct buf text;
	size_t i;
	int code;

	if (c->argc != 0)
		return cli_usage("subscriptions", "it takes no argument");
	code = ask(c, "GET", "/v1/subscriptions", NULL, false, &answer);
	if (code != 0)
		return code;
	if (c->json) {
		cli_print_json(answer);
		return EXIT_DONE;
	}
	buf_init(&text, TEXT_MAX);
	json_array_foreach(json_object_get(answer, "subscriptions"), i, s)
		print_subscription(&text, s);
	print(&text);
	json_decref(answer);
	return EXIT_DONE;
}

/* ---- wait ---- */

int cli_wait(struct cli *c)
{
	uint64_t limit = options_text(c->options, OPT_READY) != NULL ?
				 options_number(c->options, OPT_READY) :
				 WAIT_DEFAULT_MS;
	uint64_t end = clock_now_ms(&clock_system) + limit;
	const struct timespec step = { 0, WAIT_STEP_MS * 1000000L };
	json_t *status = NULL;
	int rc;

	client_catch_interrupt();
	client_set_patience(c->client, MAX(limit, UINT64_C(1)));
	while ((rc = client_json(c->client, "GET", "/v1/status", NULL, &status)) < 0) {
		if (rc == UV_ECANCELED)
			return cli_client_failed(c, rc);
		if (clock_now_ms(&clock_system) >= end)
			return cli_fail(EXIT_TIMEOUT, "not ready after %.1f s: %s",
					(double)limit / 1000, client_why(c->client));
		nanosleep(&step, NULL);
	}
	if (c->json)
		cli_print_json(status);
	else
		json_decref(status);
	return EXIT_DONE;
}
