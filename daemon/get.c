/* get: brings an object up to date, then writes it to disk. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/delivery.h"
#include "daemon/fetcher.h"
#include "daemon/origin.h"
#include "daemon/progress.h"

struct getting {
	struct cli *cli;
	struct iri iri;
	struct fetcher fetcher;
	struct progress progress;
	struct hash head;
	struct commit *commit;
	struct discover_answer found; /* result NULL: nobody was asked (--offline) */
	bool unconfirmed;
};

static int on_blob(void *data, const struct hash *hash, uint8_t **ret, size_t *ret_len)
{
	struct getting *g = data;

	return fetcher_get(&g->fetcher, hash, ret, ret_len);
}

static void on_prefetch(void *data, const struct hash *hashes, size_t count)
{
	struct getting *g = data;

	fetcher_prefetch(&g->fetcher, hashes, count);
}

static bool on_progress(void *data, uint64_t bytes, uint64_t files)
{
	struct getting *g = data;

	g->progress.view.bytes = bytes;
	g->progress.view.items = files;
	progress_tick(&g->progress);
	return !client_interrupted();
}

static void on_text(void *data)
{
	struct getting *g = data;

	progress_end(&g->progress);
}

/* ---- Which version ---- */

static char *query_of(const char *route, const char *iri)
{
	CLEANUP(mem_freep) char *escaped = client_escape(iri);

	return escaped != NULL ? mem_printf("%s?iri=%s", route, escaped) : NULL;
}

static const char *date_of(const json_t *log, const char *head)
{
	size_t i;
	json_t *entry;

	json_array_foreach(json_object_get(log, "versions"), i, entry)
		if (strcmp(json_get_text(entry, "version"), head) == 0)
			return json_get_text(entry, "time");
	return "date unknown";
}

static int explain_conflict(struct cli *c, const char *iri, const json_t *heads)
{
	CLEANUP(mem_freep) char *path = query_of("/v1/log", iri);
	json_t *log = NULL, *head;
	struct buf text;
	size_t i;
	int code;

	if (path != NULL)
		(void)client_json(c->client, "GET", path, NULL, &log);
	buf_init(&text, 64 << 10);
	json_array_foreach(heads, i, head)
		buf_printf(&text, "\n  %s  %s?v=%s", date_of(log, json_string_value(head)), iri,
			   json_string_value(head));
	code = cli_fail(EXIT_CONFLICT,
			"%s has %zu versions side by side, made without knowledge of each other. "
			"Nothing was written; "
			"get one of them by its own IRI:%s",
			iri, json_array_size(heads), (char *)text.data);
	buf_fini(&text);
	json_decref(log);
	return code;
}

static int choose_head(struct getting *g, const char *iri, const json_t *resolved)
{
	const json_t *heads = json_object_get(resolved, "asked");
	const char *text;

	if (json_array_size(heads) == 0)
		return cli_fail(EXIT_NOT_FOUND, "%s is not known here%s", iri,
				options_on(g->cli->options, OPT_OFFLINE) ?
					": without --offline, peers are asked for it" :
					"");
	if (json_array_size(heads) > 1)
		return explain_conflict(g->cli, iri, heads);
	text = json_string_value(json_array_get(heads, 0));
	if (text == NULL || cid_parse(text, strlen(text), &g->head) < 0)
		return cli_fail(EXIT_FAILED, "the daemon named a version that cannot be read");
	if (!json_is_true(json_object_get(resolved, "resolved")))
		return cli_fail(EXIT_NOT_FOUND, "%s is not all here: %" PRIu64 " %s missing%s", iri,
				json_get_count(resolved, "missing"),
				plural(json_get_count(resolved, "missing"), "blob is", "blobs are"),
				options_on(g->cli->options, OPT_OFFLINE) ?
					". Without --offline, peers are asked for them" :
					"");
	return 0;
}

static int resolve(struct getting *g, const char *given)
{
	CLEANUP(mem_freep) char *path = query_of("/v1/resolve", given);
	json_t *resolved = NULL;
	struct buf iri;
	int rc, code;

	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	rc = client_json(g->cli->client, "GET", path, NULL, &resolved);
	if (rc < 0)
		return cli_client_failed(g->cli, rc);
	buf_init(&iri, IRI_TEXT_MAX);
	iri_format(&g->iri, &iri);
	code = buf_err(&iri) < 0 ? cli_fail(EXIT_FAILED, "out of memory") :
				   choose_head(g, (char *)iri.data, resolved);
	buf_fini(&iri);
	json_decref(resolved);
	return code;
}

static int discover(struct getting *g, const char *given)
{
	struct cli *c = g->cli;
	int code = cli_run_discovery(c, given, "exact", &g->found);

	if (code == 0)
		code = cli_explain_discovery(given, &g->found);
	if (code == 0)
		code = cli_explain_unsure(c, given, &g->found);
	if (g->found.result != NULL && options_on(c->options, OPT_TRACE))
		cli_print_trace(c, g->found.result);
	g->unconfirmed = code == EXIT_PARTIAL;
	return g->unconfirmed ? EXIT_DONE : code;
}

/* What the answer was worth, beside what was written. */
static void add_answer(const struct getting *g, json_t *o)
{
	static const char *const names[] = { "answer", "sure", "explanation" };

	if (g->found.result == NULL)
		json_object_set_new(o, "answer", json_string("offline"));
	for (size_t i = 0; i < ARRAY_SIZE(names) && g->found.result != NULL; i++)
		json_object_set(o, names[i], json_object_get(g->found.result, names[i]));
}

/* ---- Writing ---- */

static int load_commit(struct getting *g, const char *given)
{
	uint8_t *blob = NULL;
	size_t len = 0;
	struct hash actual;
	int rc = fetcher_get(&g->fetcher, &g->head, &blob, &len);

	if (rc < 0)
		return cli_client_failed(g->cli, rc);
	actual = hash_of(blob, len);
	rc = hash_eq(&actual, &g->head) ? commit_decode(blob, len, g->commit) : ERR_VERIFY;
	mem_free(blob);
	if (rc < 0)
		return cli_fail(EXIT_DAMAGED, "the commit of %s cannot be trusted: %s", given,
				err_str(rc));
	if (!key_eq(&g->commit->space, &g->iri.space) || strcmp(g->commit->path, g->iri.path) != 0)
		return cli_fail(EXIT_NOT_FOUND, "that version belongs to another object: look at "
						"`peerscope log` of the IRI");
	if (g->commit->tombstone)
		return cli_fail(EXIT_NOT_FOUND,
				"%s was deleted by its author. Older versions: peerscope log %s",
				given, given);
	return 0;
}

static void on_json(void *data, json_t *answer)
{
	add_answer(data, answer);
}

static bool is_stdout(const struct cli *c)
{
	const char *output = options_text(c->options, OPT_OUTPUT);

	return output != NULL && strcmp(output, "-") == 0;
}

/* So that publishing from there knows what it follows. */
static void note_seen(struct getting *g, const char *target)
{
	struct buf iri;

	buf_init(&iri, IRI_TEXT_MAX);
	iri_format(&g->iri, &iri);
	if (buf_err(&iri) == 0)
		origin_seen(g->cli, (char *)iri.data, target, &g->head);
	buf_fini(&iri);
}

static int write_object(struct getting *g, const char *given, const char *target)
{
	static const struct extract_source source = { on_blob, on_prefetch, on_progress };
	struct delivery d = { .cli = g->cli,
			      .source = &source,
			      .data = g,
			      .commit = g->commit,
			      .head = &g->head,
			      .given = given,
			      .target = target,
			      .on_text = on_text,
			      .on_json = on_json };

	bool is_whole = false;
	int code;

	progress_start(&g->progress, "get", "files", g->cli->quiet || g->cli->json);
	g->progress.view.bytes_total = g->commit->content_bytes;
	if (is_stdout(g->cli))
		return delivery_to_stdout(&d);
	code = delivery_run(&d, &is_whole);
	if (is_whole)
		note_seen(g, target);
	return code;
}

/* The last segment of the path, or the space. */
static void default_target(const struct iri *iri, char *ret, size_t size)
{
	char space[KEY_TEXT_SIZE];
	const char *slash = strrchr(iri->path, '/');

	space_format(&iri->space, space);
	snprintf(ret, size, "%s", slash != NULL ? slash + 1 : space);
}

/* What cannot be written to is told before anybody searches for minutes. */
static int choose_target(struct getting *g, char *ret, size_t size)
{
	const char *output = options_text(g->cli->options, OPT_OUTPUT);

	if (is_stdout(g->cli) && g->cli->json)
		return cli_usage("get", "-o - and --json both want stdout");
	if (is_stdout(g->cli))
		return 0;
	if (output != NULL && strlen(output) >= size)
		return cli_usage("get", "the path after -o is too long");
	if (output != NULL)
		snprintf(ret, size, "%s", output);
	else
		default_target(&g->iri, ret, size);
	return delivery_check(ret);
}

int cli_get(struct cli *c)
{
	struct getting *g;
	char target[PATH_MAX] = "";
	int code;

	if (c->argc != 1)
		return cli_usage("get", "one IRI is needed");
	client_catch_interrupt();
	g = mem_alloc(sizeof(*g));
	if (g == NULL || (g->commit = mem_alloc(sizeof(*g->commit))) == NULL) {
		mem_free(g);
		return cli_fail(EXIT_FAILED, "out of memory");
	}
	g->cli = c;
	fetcher_init(&g->fetcher, c->client);
	code = cli_iri(c, c->argv[0], &g->iri);
	if (code == 0)
		code = choose_target(g, target, sizeof(target));
	if (code == 0 && !options_on(c->options, OPT_OFFLINE))
		code = discover(g, c->argv[0]);
	if (code == 0)
		code = resolve(g, c->argv[0]);
	if (code == 0)
		code = load_commit(g, c->argv[0]);
	if (code == 0)
		code = write_object(g, c->argv[0], target);
	if ((code == 0 || code == EXIT_PARTIAL) && g->unconfirmed)
		code = cli_warn_unconfirmed(c->argv[0], g->found.result);
	json_decref(g->found.result);
	fetcher_fini(&g->fetcher);
	mem_free(g->commit);
	mem_free(g);
	return code;
}
