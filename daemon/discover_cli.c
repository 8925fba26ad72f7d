/* discover: find an object and bring it here, with progress; also the first half of get. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/progress.h"
#include "daemon/trace_cli.h"
#include "discovery/discovery.h"

enum { TRACE_TEXT_MAX = 16 << 20, COME_BACK_MAX_MS = 1000, COME_BACK_ATTEMPTS = 10 };

struct following {
	struct progress progress;
	char extra[160];
	char stage[64];
	json_t *result;
};

static bool on_line(void *data, json_t *line)
{
	struct following *f = data;
	const char *event = json_get_text(line, "event");
	uint64_t found = json_get_count(line, "peers_found");

	if (strcmp(event, "result") == 0) {
		f->result = json_incref(line);
		return true;
	}
	if (strcmp(event, "progress") != 0)
		return true;
	snprintf(f->stage, sizeof(f->stage), "%s", json_get_text(line, "stage"));
	snprintf(f->extra, sizeof(f->extra), "%" PRIu64 " %s, %" PRIu64 " ok, %" PRIu64 " failed",
		 found, plural(found, "peer", "peers"), json_get_count(line, "peers_ok"),
		 json_get_count(line, "peers_failed"));
	f->progress.view.bytes = json_get_count(line, "bytes_downloaded");
	f->progress.view.bytes_total = json_get_count(line, "bytes_expected");
	f->progress.view.items = json_get_count(line, "blobs_downloaded");
	f->progress.view.items_total = json_get_count(line, "blobs_discovered");
	progress_tick(&f->progress);
	return true;
}

/* A budget that others have spent is earned again within a moment: told to come back in 0.2 s, we do. */
static bool may_come_back(const json_t *result, unsigned attempts)
{
	uint64_t ms = json_get_count(result, "again_in_ms");
	const struct timespec pause = { .tv_sec = (time_t)(ms / 1000),
					.tv_nsec = (long)(ms % 1000) * 1000000L };

	if (json_integer_value(json_object_get(result, "status")) != ERR_BUSY || ms == 0 ||
	    ms > COME_BACK_MAX_MS || attempts >= COME_BACK_ATTEMPTS || client_interrupted())
		return false;
	nanosleep(&pause, NULL);
	return true;
}

int cli_run_discovery(struct cli *c, const char *iri, const char *kind, struct discover_answer *ret)
{
	struct following f = { .stage = "discover" };
	unsigned attempts = 0;
	json_t *question = json_pack("{s:s, s:s}", "iri", iri, "kind", kind);
	int rc;

	if (question == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	if (options_text(c->options, OPT_TIMEOUT) != NULL)
		json_object_set_new(
			question, "timeout_ms",
			json_integer((json_int_t)options_number(c->options, OPT_TIMEOUT)));
	if (options_on(c->options, OPT_FRESH))
		json_object_set_new(question, "fresh", json_true());
	if (options_on(c->options, OPT_HISTORY))
		json_object_set_new(question, "history", json_true());
	progress_start(&f.progress, f.stage, "blobs", c->quiet || c->json);
	f.progress.view.extra = f.extra;
	do {
		json_decref(f.result);
		f.result = NULL;
		rc = client_stream(c->client, "/v1/discover", question, on_line, &f);
	} while (rc == 0 && may_come_back(f.result, attempts++));
	progress_end(&f.progress);
	json_decref(question);
	if (rc < 0) {
		json_decref(f.result);
		return cli_client_failed(c, rc);
	}
	if (f.result == NULL)
		return cli_fail(
			EXIT_UNREACHABLE,
			"the daemon ended the discovery without a result: is it shutting down?");
	ret->result = f.result;
	ret->status = (int)json_integer_value(json_object_get(f.result, "status"));
	return 0;
}

static double seconds(const json_t *result, const char *key)
{
	return (double)json_get_count(result, key) / 1000;
}

/* Nobody answered: whose fault is it? What can be done about it comes first. */
static enum exit_code code_of_silence(const json_t *result)
{
	if (json_get_count(result, "peers_asked") == 0)
		return EXIT_NOT_FOUND;
	if (json_get_count(result, "peers_busy") > 0)
		return EXIT_BUSY;
	if (json_get_count(result, "peers_unreachable") + json_get_count(result, "peers_unheard") >
	    0)
		return EXIT_PEER;
	return json_get_count(result, "peers_bad") > 0 ? EXIT_DAMAGED : EXIT_NOT_FOUND;
}

static bool answer_is(const json_t *result, enum discovery_answer answer)
{
	return strcmp(json_get_text(result, "answer"), discovery_answer_name(answer)) == 0;
}

static int explain_not_found(const char *iri, const json_t *result)
{
	enum exit_code code = answer_is(result, DISCOVERY_UNANSWERED) ? code_of_silence(result) :
									EXIT_NOT_FOUND;

	if (json_is_true(json_object_get(result, "remembered")))
		return cli_fail(
			code,
			"%s: asked %.0f s ago: not found, %s; again in %.0f s. --fresh asks now",
			iri, seconds(result, "asked_ago_ms"), json_get_text(result, "explanation"),
			seconds(result, "again_in_ms"));
	if (json_get_count(result, "peers_known") == 0)
		return cli_fail(EXIT_NOT_FOUND,
				"%s was not found: no peer is known that could be asked. Add one "
				"with `peerscope peers add "
				"/ip4/ADDRESS/tcp/PORT/p2p/PEER`, or give its address in the IRI: "
				"\"%s?peer=/ip4/…\"",
				iri, iri);
	if (code == EXIT_PEER)
		return cli_fail(
			code,
			"%s was not found: %s. Are they running, and is their address right? "
			"`peerscope peers` lists them",
			iri, json_get_text(result, "explanation"));
	if (code == EXIT_BUSY)
		return cli_fail(code, "%s was not found: %s. Try again in %.0f s", iri,
				json_get_text(result, "explanation"),
				MAX(seconds(result, "retry_in_ms"), 1.0));
	return cli_fail(
		code,
		"%s was not found: %s, of %" PRIu64 " that are known. --trace shows who said what",
		iri, json_get_text(result, "explanation"), json_get_count(result, "peers_known"));
}

/* What peers sent that is no use to anybody is damage, whatever exactly was wrong with it. */
static enum exit_code code_of_behind(const struct discover_answer *a)
{
	enum exit_code code = (enum exit_code)exit_of(a->status);
	bool ours = strcmp(json_get_text(a->result, "fault"), "here") == 0;

	return code == EXIT_FAILED && !ours && json_get_count(a->result, "peers_bad") > 0 ?
		       EXIT_DAMAGED :
		       code;
}

int cli_explain_unsure(struct cli *c, const char *iri, const struct discover_answer *a)
{
	bool sure = json_is_true(json_object_get(a->result, "sure"));
	bool required = options_on(c->options, OPT_REQUIRE_FRESH);
	const char *why = json_get_text(a->result, "explanation");

	if (required && !sure) {
		enum exit_code code = code_of_silence(a->result);

		return cli_fail(code == EXIT_NOT_FOUND ? EXIT_PEER : code,
				"%s: it is not sure that the version here is the newest, as "
				"--require-fresh demands: %s",
				iri, why);
	}
	if (answer_is(a->result, DISCOVERY_UNCONFIRMED))
		return EXIT_PARTIAL;
	if (answer_is(a->result, DISCOVERY_CONFIRMED) && !sure && !c->quiet)
		cli_warn("%s: %s", iri, why);
	return EXIT_DONE;
}

int cli_warn_unconfirmed(const char *iri, const json_t *result)
{
	cli_warn("%s: %s. What is here may be old", iri, json_get_text(result, "explanation"));
	return EXIT_PARTIAL;
}

int cli_explain_discovery(const char *iri, const struct discover_answer *a)
{
	const char *stage = json_get_text(a->result, "timeout_stage");

	if (a->status == 0)
		return EXIT_DONE;
	if (a->status == ERR_NOT_FOUND)
		return explain_not_found(iri, a->result);
	if (answer_is(a->result, DISCOVERY_BEHIND) || answer_is(a->result, DISCOVERY_FAULT))
		return cli_fail(code_of_behind(a), "%s: %s", iri,
				json_get_text(a->result, "explanation"));
	if (a->status == UV_ETIMEDOUT)
		return cli_fail(EXIT_TIMEOUT,
				"%s: time ran out in stage %s after %.1f s. --trace shows where it "
				"went, --timeout gives more",
				iri, stage[0] != '\0' ? stage : "?",
				(double)json_get_count(a->result, "elapsed_ms") / 1000);
	if (a->status == UV_ECANCELED && !client_interrupted())
		return cli_fail(EXIT_UNREACHABLE,
				"%s: the daemon ended the search because it is shutting down", iri);
	if (a->status == UV_ECANCELED)
		return cli_fail(EXIT_CANCELLED, "cancelled");
	if (a->status == ERR_BUSY && json_get_count(a->result, "again_in_ms") > 0)
		return cli_fail(EXIT_BUSY,
				"%s: too many unknown objects were asked for lately; again in %.1f "
				"s. --fresh asks now",
				iri, seconds(a->result, "again_in_ms"));
	if (a->status == ERR_BUSY)
		return cli_fail(EXIT_BUSY,
				"the daemon runs too many discoveries already: try again later");
	return cli_fail((enum exit_code)exit_of(a->status), "%s: %s", iri, err_str(a->status));
}

void cli_print_trace(struct cli *c, const json_t *result)
{
	CLEANUP(mem_freep)
	char *path = mem_printf("/debug/traces?text&columns=%u&id=%s", trace_cli_columns(),
				json_get_text(result, "trace_id"));
	struct client_reply reply;

	if (path == NULL || json_get_text(result, "trace_id")[0] == '\0') {
		cli_warn("this discovery was not traced");
		return;
	}
	if (client_request(c->client, "GET", path, NULL, NULL, 0, &reply) == 0 &&
	    reply.http_status == 200) {
		output_text(&reply.body);
		if (json_get_text(result, "trace_url")[0] != '\0')
			output_printf("%s\n", json_get_text(result, "trace_url"));
	} else {
		cli_warn("the trace is gone: it made room for newer ones");
	}
	buf_fini(&reply.body);
}

static void print_outcome(const json_t *r)
{
	struct buf text;

	buf_init(&text, 16 << 10);
	buf_printf(&text, "outcome  %s", json_get_text(r, "outcome"));
	if (json_is_true(json_object_get(r, "tombstone")))
		buf_write_str(&text, " (deleted by its author)");
	buf_write_u8(&text, '\n');
	buf_printf(&text, "answer   %s: %s\n", json_get_text(r, "answer"),
		   json_get_text(r, "explanation"));
	if (json_get_text(r, "version")[0] != '\0')
		buf_printf(&text, "version  %s\n", json_get_text(r, "version"));
	if (json_array_size(json_object_get(r, "heads")) > 1)
		buf_printf(&text, "conflict %zu versions side by side: see `peerscope log`\n",
			   json_array_size(json_object_get(r, "heads")));
	buf_printf(&text,
		   "peers    %" PRIu64 " known, %" PRIu64 " ok, %" PRIu64 " failed, %" PRIu64
		   " cut\n",
		   json_get_count(r, "peers_known"), json_get_count(r, "peers_ok"),
		   json_get_count(r, "peers_failed"), json_get_count(r, "peers_cut"));
	buf_printf(&text, "blobs    %" PRIu64 " (", json_get_count(r, "blobs_downloaded"));
	progress_write_bytes(&text, json_get_count(r, "bytes_downloaded"));
	buf_printf(&text, ")\ntook     %.3f s\n", (double)json_get_count(r, "elapsed_ms") / 1000);
	if (json_get_text(r, "trace_url")[0] != '\0')
		buf_printf(&text, "trace    %s\n", json_get_text(r, "trace_url"));
	output_text(&text);
	buf_fini(&text);
}

int cli_discover(struct cli *c)
{
	struct discover_answer answer = { 0 };
	struct iri *iri;
	int code;

	if (c->argc != 1)
		return cli_usage("discover", "one IRI is needed");
	client_catch_interrupt();
	iri = mem_alloc(sizeof(*iri));
	if (iri == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	code = cli_iri(c, c->argv[0], iri);
	mem_free(iri);
	if (code == 0)
		code = cli_run_discovery(c, c->argv[0], cli_kind(c), &answer);
	if (code != 0)
		return code;
	if (c->json)
		cli_print_json(json_incref(answer.result));
	else
		print_outcome(answer.result);
	code = cli_explain_discovery(c->argv[0], &answer);
	if (code == EXIT_DONE)
		code = cli_explain_unsure(c, c->argv[0], &answer);
	if (code == EXIT_PARTIAL)
		code = cli_warn_unconfirmed(c->argv[0], answer.result);
	if (options_on(c->options, OPT_TRACE) && !c->json)
		cli_print_trace(c, answer.result);
	json_decref(answer.result);
	return code;
}
