/* The settings of pushing profiles and reports. A connection string holds a secret: it comes from a
 * file that others cannot read or from the environment, and never from the command line. A mistake
 * in it does not keep the daemon from coming up: it is said once, and nothing is pushed. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/disk.h"
#include "daemon/exit.h"
#include "daemon/push.h"
#include "daemon/report.h"

enum { HOST_MAX = 256 };

/* Which of the two, and where its string comes from. */
struct source {
	const char *what; /* for the log */
	enum option_id file;
	const char *variable;
	bool open; /* the token may be empty */
	char *why; /* of the daemon; "" = nothing is wrong */
};

/* ---- Connection strings ---- */

static int complain(const struct source *s, const char *setting, const char *why)
{
	(void)snprintf(s->why, DAEMON_PUSH_WHY_MAX, "%s: %s", setting, why);
	log_error(LOG_DAEMON, "msg=\"%s are not pushed\" setting=%s why=\"%s\"", s->what, setting,
		  why);
	return ERR_MALFORMED;
}

static int parse(const struct source *s, const char *setting, const char *text, size_t len,
		 struct push_connection *ret)
{
	char why[DAEMON_PUSH_WHY_MAX] = "";
	int rc = push_connection_parse(text, len, s->open, ret, why, sizeof(why));

	return rc < 0 ? complain(s, setting, why[0] != '\0' ? why : err_str(rc)) : 1;
}

/* 1, 0 when there is none, or an error that is said already. The file goes first. */
static int read_connection(struct daemon *d, const struct source *s, struct push_connection *ret)
{
	const char *path = options_text(d->options, s->file), *text = getenv(s->variable);
	CLEANUP(buf_fini) struct buf content = { 0 };
	int rc;

	if (path == NULL || *path == '\0')
		return text != NULL ? parse(s, s->variable, text, strlen(text), ret) : 0;
	buf_init(&content, PUSH_STRING_MAX + 1);
	rc = disk_read_secret(path, PUSH_STRING_MAX, &content);
	if (rc == UV_EPERM)
		return complain(s, option_def(s->file)->name,
				"others may read or change the file, and it holds a secret. chmod "
				"600 helps");
	if (rc < 0)
		return complain(s, option_def(s->file)->name, err_str(rc));
	rc = parse(s, option_def(s->file)->name, (const char *)content.data, content.len, ret);
	if (content.len > 0)
		sodium_memzero(content.data, content.len);
	return rc;
}

/* ---- Names ---- */

static const char *service_name(struct daemon *d)
{
	const char *set = options_text(d->options, OPT_PUSH_SERVICE);

	return set != NULL && *set != '\0' ? set : program_invocation_short_name;
}

static void server_name(struct daemon *d, char ret[HOST_MAX])
{
	const char *set = options_text(d->options, OPT_PUSH_SERVER);

	*ret = '\0';
	if (set != NULL && *set != '\0') {
		(void)snprintf(ret, HOST_MAX, "%s", set);
	} else if (gethostname(ret, HOST_MAX) == 0) {
		ret[HOST_MAX - 1] = '\0';
		ret[strcspn(ret, ".")] = '\0';
	}
}

/* ---- Starting ---- */

static int start_profiles(struct daemon *d)
{
	struct source source = { .what = "profiles",
				 .file = OPT_PUSH_PROFILES_FILE,
				 .variable = "PEERSCOPE_PUSH_PROFILES",
				 .why = d->push_why };
	CLEANUP(push_connection_fini) struct push_connection to = { 0 };
	struct push_config config = { .loop = &d->loop, .profiler = d->profiler, .to = &to };
	char server[HOST_MAX];

	config.format = push_format_of(options_text(d->options, OPT_PUSH_FORMAT));
	source.open = config.format != PUSH_TRACEWAY;
	if (read_connection(d, &source, &to) <= 0)
		return 0;
	server_name(d, server);
	config.interval_ms = options_number(d->options, OPT_PUSH_INTERVAL);
	config.service = service_name(d);
	config.server = server;
	config.version = PEERSCOPE_VERSION;
	config.ca_file = options_text(d->options, OPT_PUSH_CA_FILE);
	d->push = push_new(&config);
	if (d->push == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	log_info(LOG_DAEMON, "msg=\"profiles go to a server\" server=%s format=%s interval=%s",
		 to.origin, push_format_name(config.format),
		 options_text(d->options, OPT_PUSH_INTERVAL));
	return 0;
}

static int start_report(struct daemon *d)
{
	const struct source source = { .what = "reports",
				       .file = OPT_PUSH_REPORTS_FILE,
				       .variable = "PEERSCOPE_PUSH_REPORTS",
				       .why = d->report_why };
	CLEANUP(push_connection_fini) struct push_connection to = { 0 };
	struct report_config config = { .loop = &d->loop, .trace = d->trace, .to = &to };
	char server[HOST_MAX];

	if (read_connection(d, &source, &to) <= 0)
		return 0;
	server_name(d, server);
	config.server = server;
	config.version = PEERSCOPE_VERSION;
	config.ca_file = options_text(d->options, OPT_PUSH_CA_FILE);
	daemon_pseudonym_key(d, config.key);
	d->report = report_new(&config);
	if (d->report == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	log_info(LOG_DAEMON, "msg=\"discoveries are reported to a server\" server=%s", to.origin);
	return 0;
}

int daemon_start_push(struct daemon *d)
{
	int code;

	d->step = STEP_HTTP; /* closed together */
	code = start_profiles(d);
	return code == 0 ? start_report(d) : code;
}
