/* diag: what is wrong, and files for those who help. Each works as far as it can without a daemon
 * that answers, and says so. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/bundle.h"
#include "daemon/cli.h"
#include "daemon/diag_cli.h"
#include "daemon/doctor_facts.h"
#include "daemon/sys.h"

enum {
	PROBE_MS = 5000, /* a daemon that needs longer for its status hangs */
	ANSWER_MS = 30000,
	ANSWER_MAX = 64 << 20,
	FILE_TRIES_MAX = 100,
	PATH_SIZE = 512
};

/* ---- Is there somebody? ---- */

enum presence { ANSWERS, HANGS, ABSENT };

/* With a connection for the caller when it answers. */
static enum presence probe(struct cli *c, int *ret_pid)
{
	int pid = lock_holder(c->data), rc;

	*ret_pid = pid;
	c->client = client_new(c->data);
	if (c->client == NULL)
		return pid > 0 ? HANGS : ABSENT;
	client_set_limits(c->client, PROBE_MS, ANSWER_MAX, NULL, NULL);
	rc = client_json(c->client, "GET", "/v1/status", NULL, NULL);
	client_set_limits(c->client, ANSWER_MS, ANSWER_MAX, NULL, NULL);
	if (rc != UV_ETIMEDOUT && !client_unreachable(c->client))
		return ANSWERS; /* if only with an error: the request proper will tell */
	return rc == UV_ETIMEDOUT || pid > 0 ? HANGS : ABSENT;
}

static int say_absent(struct cli *c, enum presence p, int pid)
{
	char who[24] = "";

	if (pid > 0)
		(void)snprintf(who, sizeof(who), ", pid %d,", pid);
	if (p == HANGS)
		return cli_fail(EXIT_UNREACHABLE,
				"the daemon%s does not answer: it is stopped, or hangs. `peerscope "
				"diag stacks` shows what it does, `peerscope diag bundle` collects "
				"what can be had. What to do:\npeerscope diag doctor --data %s",
				who, c->data);
	if (c->client != NULL && client_denied(c->client))
		return cli_fail(EXIT_DENIED, "%s", client_why(c->client));
	return cli_fail(EXIT_UNREACHABLE,
			"no daemon is running with %s: start one with `peerscope daemon --data %s`",
			c->data, c->data);
}

/* ---- Pages as they are ---- */

/* 0 with the reply, or an exit code that was explained. */
static int fetch(struct cli *c, const char *path, struct client_reply *reply)
{
	int rc = client_request(c->client, "GET", path, NULL, NULL, 0, reply);

	if (rc == 0 && reply->http_status == 200)
		return 0;
	rc = rc == 0 ? client_error_of(c->client, reply) : rc;
	buf_fini(&reply->body);
	if (reply->http_status == 404)
		return cli_fail(EXIT_NOT_FOUND, "this daemon does not offer that");
	return cli_client_failed(c, rc);
}

static int show_page(struct cli *c, const char *path, bool may_be_empty)
{
	struct client_reply reply;
	enum presence p;
	int pid, rc;

	p = probe(c, &pid);
	if (p != ANSWERS)
		return say_absent(c, p, pid);
	rc = fetch(c, path, &reply);
	if (rc != 0)
		return rc;
	rc = may_be_empty ? EXIT_DONE : cli_check_content(&reply);
	output_text(&reply.body);
	buf_fini(&reply.body);
	return rc;
}

static int diag_vars(struct cli *c)
{
	return show_page(c, "/debug/vars?json", false);
}

static int diag_traces(struct cli *c)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/debug/traces?%s&sort=newest&n=%" PRIu64,
		       c->json ? "json" : "text",
		       options_text(c->options, OPT_LIMIT) != NULL ?
			       options_number(c->options, OPT_LIMIT) :
			       50);
	return show_page(c, path, false);
}

static int diag_log(struct cli *c)
{
	CLEANUP(mem_freep) char *filter = log_cli_filter(c);
	CLEANUP(mem_freep) char *path = NULL;

	if (filter != NULL)
		path = mem_printf("/debug/logs?%s&n=%" PRIu64 "%s", c->json ? "json" : "text",
				  options_text(c->options, OPT_LIMIT) != NULL ?
					  options_number(c->options, OPT_LIMIT) :
					  200,
				  filter);
	return path != NULL ? show_page(c, path, true) : cli_fail(EXIT_FAILED, "out of memory");
}

/* ---- Profiles, as files ---- */

static const struct profile {
	const char *name, *page;
	bool over_time; /* it takes seconds; the others, only when asked to compare two moments */
} profiles[] = {
	{ "cpu", "profile", true },
	{ "heap", "heap", false },
	{ "allocs", "allocs", false },
	{ "goroutine", "goroutine", false },
	{ "mutex", "mutex", false },
	{ "block", "block", false },
	{ "threadcreate", "threadcreate", false },
};

static void stamp(char ret[32])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	(void)strftime(ret, 32, "%Y%m%dT%H%M%SZ", &tm);
}

/* A file of this name that did not exist, or with -1, -2… before its ending. An explicit name is
 * taken as it is and never replaced. */
static int create_file(const struct cli *c, const char *stem, const char *ending,
		       char ret_path[PATH_SIZE])
{
	const char *wanted = options_text(c->options, OPT_OUTPUT);

	for (unsigned i = 0; i < FILE_TRIES_MAX; i++) {
		char number[16] = "";
		int fd;

		if (i > 0)
			(void)snprintf(number, sizeof(number), "-%u", i);
		if (wanted != NULL)
			(void)snprintf(ret_path, PATH_SIZE, "%s", wanted);
		else
			(void)snprintf(ret_path, PATH_SIZE, "%s%s.%s", stem, number, ending);
		fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0 || errno != EEXIST || wanted != NULL)
			return fd >= 0 ? fd : -errno;
	}
	return UV_EEXIST;
}

static bool to_stdout(const struct cli *c)
{
	const char *wanted = options_text(c->options, OPT_OUTPUT);

	return wanted != NULL && strcmp(wanted, "-") == 0;
}

static int write_all(int fd, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int keep(struct cli *c, const char *name, const struct buf *content)
{
	char path[PATH_SIZE], stem[128], when[32];
	int fd, rc;

	if (to_stdout(c)) {
		output_bytes(content->data, content->len);
		return EXIT_DONE;
	}
	stamp(when);
	(void)snprintf(stem, sizeof(stem), "peerscope-%s-%s", name, when);
	fd = create_file(c, stem, "pprof", path);
	if (fd < 0)
		return cli_fail((enum exit_code)exit_of(fd), "cannot create %s: %s", path,
				err_str(fd));
	rc = write_all(fd, content->data, content->len);
	if (rc == 0 && fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(path);
		return cli_fail((enum exit_code)exit_of(rc), "cannot write %s: %s", path,
				err_str(rc));
	}
	output_path(path);
	if (!c->quiet)
		fprintf(stderr, "%zu bytes. Look at it: go tool pprof -http=:8080 %s\n",
			content->len, path);
	return EXIT_DONE;
}

static int diag_profile(struct cli *c, const struct profile *p)
{
	bool asked = options_text(c->options, OPT_SECONDS) != NULL;
	uint64_t seconds = asked ? options_number(c->options, OPT_SECONDS) : 30;
	struct client_reply reply;
	char path[128];
	enum presence presence;
	int pid, rc;

	if (asked && seconds == 0)
		return cli_fail(EXIT_USAGE, "--seconds: a profile over time takes 1 s or more");
	presence = probe(c, &pid);
	if (presence != ANSWERS)
		return say_absent(c, presence, pid);
	(void)snprintf(path, sizeof(path), "/debug/pprof/%s", p->page);
	if (p->over_time || asked)
		(void)snprintf(path, sizeof(path), "/debug/pprof/%s?seconds=%" PRIu64, p->page,
			       seconds);
	if (!c->quiet && (p->over_time || asked))
		fprintf(stderr, "Looking for %" PRIu64 " s. Ctrl-C ends it.\n", seconds);
	client_catch_interrupt();
	client_set_limits(c->client, ANSWER_MS + seconds * 1000, ANSWER_MAX, NULL, NULL);
	rc = client_request(c->client, "GET", path, NULL, NULL, 0, &reply);
	if (rc == UV_ECANCELED) {
		buf_fini(&reply.body);
		return cli_fail(EXIT_CANCELLED, "cancelled, nothing saved");
	}
	if (rc == 0 && reply.http_status == 200) {
		rc = cli_check_content(&reply);
		rc = rc == 0 ? keep(c, p->name, &reply.body) : rc;
	} else if (rc == 0 && reply.http_status == 404) {
		rc = cli_fail(EXIT_NOT_FOUND, "this daemon does not offer that profile");
	} else if (rc == 0) {
		(void)client_error_of(c->client, &reply);
		rc = cli_fail(reply.http_status == 409 ? EXIT_BUSY : EXIT_FAILED, "%s",
			      client_why(c->client));
	} else {
		rc = cli_client_failed(c, rc);
	}
	buf_fini(&reply.body);
	return rc;
}

/* ---- stacks ---- */

static int diag_stacks(struct cli *c)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	char why[512] = "";
	enum presence p;
	int pid, rc;

	p = probe(c, &pid);
	if (p == ABSENT || (p == HANGS && pid <= 0))
		return say_absent(c, p, pid);
	if (p == ANSWERS) {
		struct client_reply reply;

		rc = fetch(c, "/debug/pprof/goroutine?debug=2", &reply);
		if (rc != 0)
			return rc;
		rc = cli_check_content(&reply);
		output_text(&reply.body);
		buf_fini(&reply.body);
		return rc;
	}
	if (!c->quiet)
		fprintf(stderr, "The daemon, pid %d, does not answer; looking from outside.\n",
			pid);
	buf_init(&out, ANSWER_MAX);
	rc = bundle_stacks(pid, &out, why, sizeof(why));
	if (rc < 0)
		return cli_fail((enum exit_code)exit_of(rc), "%s",
				why[0] != '\0' ? why : err_str(rc));
	output_text(&out);
	return EXIT_DONE;
}

/* ---- sys, doctor, healthy ---- */

static int diag_sys(struct cli *c)
{
	int pid = lock_holder(c->data);
	json_t *facts =
		sys_facts(c->data, pid > 0 ? pid : (int)getpid(), options_on(c->options, OPT_RAW));
	char *text;

	if (facts == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	text = json_dumps(facts, c->json ? JSON_COMPACT : JSON_INDENT(2));
	if (text != NULL)
		output_printf("%s\n", text);
	else
		output_failed(UV_ENOMEM);
	mem_free(text);
	json_decref(facts);
	return EXIT_DONE;
}

static int verdict_code(enum doctor_severity worst)
{
	return worst == DOCTOR_PROBLEM ? EXIT_FAILED : EXIT_DONE;
}

static int doctor_outside(struct cli *c)
{
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	CLEANUP(buf_fini) struct buf out = { 0 };
	struct doctor_facts facts;
	size_t count;

	doctor_facts_outside(c->data, &facts);
	facts.config_why = c->config_why;
	count = doctor_examine(&facts, findings);
	buf_init(&out, 1 << 20);
	if (c->json)
		doctor_write_json(&out, findings, count);
	else
		doctor_write_text(&out, findings, count);
	output_text(&out);
	return verdict_code(findings[0].severity);
}

static int diag_doctor(struct cli *c)
{
	struct client_reply reply;
	bool is_bad;
	int pid, rc;

	if (c->config_why != NULL || probe(c, &pid) != ANSWERS)
		return doctor_outside(c);
	rc = fetch(c, c->json ? "/debug/doctor?json" : "/debug/doctor?text", &reply);
	if (rc != 0)
		return rc;
	buf_write_u8(&reply.body, '\0'); /* what is looked through below ends */
	if (buf_err(&reply.body) < 0 || reply.body.len == 1) {
		rc = cli_fail(EXIT_FAILED, "the daemon's answer is %s",
			      buf_err(&reply.body) < 0 ? "too long" : "empty");
		buf_fini(&reply.body);
		return rc;
	}
	reply.body.len--;
	output_text(&reply.body);
	is_bad = strncmp((char *)reply.body.data, "problem", 7) == 0 ||
		 strstr((char *)reply.body.data, "\"verdict\":\"problem\"") != NULL;
	buf_fini(&reply.body);
	return is_bad ? EXIT_FAILED : EXIT_DONE;
}

/* For probes of a service manager or a container: an answer, and not one that says goodbye. */
static int diag_healthy(struct cli *c)
{
	json_t *status = NULL;
	bool is_ready;
	int pid;

	if (probe(c, &pid) != ANSWERS ||
	    client_json(c->client, "GET", "/v1/status", NULL, &status) < 0)
		return EXIT_FAILED;
	is_ready = strcmp(json_get_text(status, "state"), "ready") == 0;
	json_decref(status);
	return is_ready ? EXIT_DONE : EXIT_FAILED;
}

/* ---- bundle ---- */

struct sink {
	struct cli *cli;
	int fd;
	bool is_tty;
};

static int on_write(void *data, const void *bytes, size_t len)
{
	return write_all(((struct sink *)data)->fd, bytes, len);
}

/* Said before the step: when one hangs, its name stands there. */
static void on_progress(void *data, const struct bundle_progress *p)
{
	const struct sink *s = data;

	if (!s->cli->quiet && (s->is_tty || p->step == 1))
		fprintf(stderr, s->is_tty ? "[%u/%u] %s\n" : "collecting: %u of %u, %s …\n",
			p->step, p->steps, p->name);
}

static bool on_cancelled(void *data)
{
	(void)data;
	return client_interrupted();
}

static int tell_bundle(struct cli *c, const char *path, const struct bundle_result *r,
		       enum presence p)
{
	if (c->json)
		cli_print_json(json_pack("{s:s, s:I, s:i, s:i, s:i, s:b}", "path", path, "bytes",
					 (json_int_t)r->bytes, "parts", (int)r->parts, "failed",
					 (int)r->failed, "skipped", (int)r->skipped, "cancelled",
					 r->cancelled));
	else if (!to_stdout(c))
		output_path(path);
	if (!c->quiet && !c->json) {
		fprintf(stderr, "%u %s, %u not available, %u failed, %" PRIu64 " KiB%s.\n",
			r->parts, plural(r->parts, "part", "parts"), r->skipped, r->failed,
			r->bytes / 1024, r->cancelled ? "; ended early" : "");
		if (p != ANSWERS)
			fprintf(stderr, "The daemon %s: this is what can be had without it.\n",
				p == HANGS ? "does not answer" : "is not running");
		fprintf(stderr, "Look through the text files before you send it to somebody.\n");
	}
	return r->failed > 0 || r->cancelled || p == HANGS ? EXIT_PARTIAL : EXIT_DONE;
}

/* Into a file of another name first: what has the right name is complete. */
static int collect(struct cli *c, struct bundle_config *config, struct sink *sink, enum presence p)
{
	char name[BUNDLE_NAME_SIZE], path[PATH_SIZE] = "-", part[PATH_SIZE + 8];
	struct bundle_result result;
	int rc;

	bundle_name(name);
	name[strlen(name) - strlen(".zip")] = '\0';
	sink->fd = to_stdout(c) ? STDOUT_FILENO : create_file(c, name, "zip", path);
	if (sink->fd < 0)
		return cli_fail((enum exit_code)exit_of(sink->fd), "cannot create %s: %s", path,
				err_str(sink->fd));
	(void)snprintf(part, sizeof(part), "%s.part", path);
	if (!to_stdout(c))
		(void)rename(path, part);
	client_catch_interrupt();
	rc = bundle_run(config, &result);
	if (to_stdout(c))
		return rc == 0 ? tell_bundle(c, path, &result, p) :
				 cli_fail((enum exit_code)exit_of(rc),
					  "the bundle could not be written to standard output: %s",
					  err_str(rc));
	if (rc == 0 && fsync(sink->fd) < 0 && errno != EINVAL && errno != EROFS)
		rc = -errno;
	if (close(sink->fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(part, path) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(part);
		return cli_fail((enum exit_code)exit_of(rc), "cannot write %s: %s", path,
				err_str(rc));
	}
	return tell_bundle(c, path, &result, p);
}

static int list_parts(void)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, 64 << 10);
	bundle_list(&out);
	buf_printf(&out, "\n%s", bundle_notice());
	output_text(&out);
	return EXIT_DONE;
}

static int diag_bundle(struct cli *c)
{
	struct sink sink = { .cli = c, .is_tty = isatty(STDERR_FILENO) };
	struct bundle_config config = { .data = c->data,
					.raw = options_on(c->options, OPT_RAW),
					.binary = !options_on(c->options, OPT_NO_BINARY),
					.seconds = BUNDLE_SECONDS_DEFAULT,
					.write = on_write,
					.progress = on_progress,
					.cancelled = on_cancelled,
					.user = &sink };
	enum presence p;

	if (options_on(c->options, OPT_LIST))
		return list_parts();
	if (options_text(c->options, OPT_SECONDS) != NULL)
		config.seconds = (unsigned)options_number(c->options, OPT_SECONDS);
	p = probe(c, &config.pid);
	config.offline = p != ANSWERS;
	if (p != ANSWERS && !c->quiet)
		fprintf(stderr, "The daemon %s; collecting from outside.\n",
			p == HANGS ? "does not answer" : "is not running");
	return collect(c, &config, &sink, p);
}

/* ---- All of them ---- */

static const struct {
	const char *name;
	int (*run)(struct cli *c);
} kinds[] = {
	{ "bundle", diag_bundle }, { "stacks", diag_stacks },	{ "sys", diag_sys },
	{ "vars", diag_vars },	   { "traces", diag_traces },	{ "log", diag_log },
	{ "doctor", diag_doctor }, { "healthy", diag_healthy },
};

static int run_kind(struct cli *c, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return kinds[i].run(c);
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			return diag_profile(c, &profiles[i]);
	return cli_usage("diag",
			 "it is doctor, bundle, cpu, heap, allocs, goroutine, mutex, block, "
			 "stacks, sys, vars, traces, log or healthy");
}

int cli_diag(struct cli *c)
{
	int code;

	if (c->data == NULL)
		return cli_fail(EXIT_USAGE,
				"no data folder: there is no $HOME; give one with --data DIR");
	if (c->config_why != NULL && (c->argc != 1 || strcmp(c->argv[0], "doctor") != 0))
		return cli_fail(EXIT_USAGE, "%s", c->config_why);
	code = run_kind(c, c->argc == 1 ? c->argv[0] : "");
	c->client = client_free(c->client);
	return code;
}
