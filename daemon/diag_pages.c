/* What reads /proc and asks the file system does so on a worker: a dead network disk must not stop
 * the loop. */
#include "daemon/diag_pages.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/doctor_facts.h"
#include "daemon/json.h"
#include "daemon/pages.h"
#include "daemon/sys.h"

enum { PAGE_MAX = 1 << 20 };

static const char as_html[] = "text/html; charset=utf-8";
static const char as_text[] = "text/plain; charset=utf-8";
static const char as_json[] = "application/json";

/* As for /debug/vars, a program that does not say what it wants gets JSON. */
static enum http_format format_of(struct http_request *r)
{
	enum http_format format = http_request_format(r);

	return format == HTTP_TEXT && http_request_param(r, "text") == NULL ? HTTP_JSON : format;
}

/* Takes the value. */
static void reply_value(struct http_request *r, const char *title, const char *intro, json_t *value)
{
	enum http_format format = format_of(r);
	CLEANUP(buf_fini) struct buf out = { 0 };
	const char *type = as_json;

	buf_init(&out, PAGE_MAX);
	if (format == HTTP_JSON) {
		json_write(&out, value);
		buf_write_u8(&out, '\n');
	} else if (format == HTTP_TEXT) {
		type = as_text;
		pages_write_text(&out, value);
	} else {
		type = as_html;
		http_page_begin(r, &out, title);
		buf_printf(&out, "<h1>%s</h1>\n<p class=\"hint\">%s</p>\n", title, intro);
		buf_write_str(&out, "<div class=\"facts\">\n");
		pages_write_html(&out, value);
		buf_write_str(&out, "</div>\n");
		http_page_end(r, &out);
	}
	json_decref(value);
	http_reply(r, 200, type, &out);
}

/* ---- /debug/sys ---- */

struct sys_job {
	struct runner_job job;
	struct http_request *r;
	const char *data;
	bool with_addresses;
	json_t *value;
};

static void run_sys(struct runner_job *job)
{
	struct sys_job *j = container_of(job, struct sys_job, job);

	j->value = sys_facts(j->data, (int)getpid(), j->with_addresses);
}

static void sys_done(struct runner_job *job)
{
	struct sys_job *j = container_of(job, struct sys_job, job);

	if (j->value == NULL)
		http_reply_error(j->r, 503, "The daemon is out of memory.");
	else
		reply_value(j->r, "System",
			    "The machine, the limits and the program. Also with the daemon down: "
			    "<code>peerscope diag sys</code>.",
			    j->value);
	mem_free(j);
}

static void on_sys(void *data, struct http_request *r)
{
	struct daemon *d = data;
	struct sys_job *j = mem_alloc(sizeof(*j));

	if (j == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	j->job.run = run_sys;
	j->job.done = sys_done;
	j->r = r;
	j->data = d->dir;
	j->with_addresses = http_request_param(r, "addresses") != NULL;
	if (runner_submit(&d->loop.runner, &j->job) < 0) {
		mem_free(j);
		http_reply_error(r, 503, "The daemon is out of memory.");
	}
}

/* ---- /debug/doctor ---- */

struct doctor_job {
	struct runner_job job;
	struct http_request *r;
	struct doctor_facts facts;
	json_t *figures;
};

static void run_doctor(struct runner_job *job)
{
	doctor_facts_slow(&container_of(job, struct doctor_job, job)->facts);
}

static void write_doctor(struct http_request *r, struct buf *out,
			 const struct doctor_finding *findings, size_t count)
{
	switch (http_request_format(r)) {
	case HTTP_JSON: doctor_write_json(out, findings, count); break;
	case HTTP_TEXT: doctor_write_text(out, findings, count); break;
	case HTTP_HTML:
		http_page_begin(r, out, "Doctor");
		buf_write_str(out,
			      "<h1>Doctor</h1>\n<p class=\"hint\">What this daemon knows to be "
			      "wrong with itself, and what to do.</p>\n");
		doctor_write_html(out, findings, count);
		http_page_end(r, out);
		break;
	}
}

static void doctor_done(struct runner_job *job)
{
	static const char *const types[] = {
		[HTTP_TEXT] = as_text, [HTTP_JSON] = as_json, [HTTP_HTML] = as_html
	};
	struct doctor_job *j = container_of(job, struct doctor_job, job);
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	size_t count = doctor_examine(&j->facts, findings);
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, PAGE_MAX);
	write_doctor(j->r, &out, findings, count);
	json_decref(j->figures);
	http_reply(j->r, 200, types[http_request_format(j->r)], &out);
	mem_free(j);
}

static void on_doctor(void *data, struct http_request *r)
{
	struct daemon *d = data;
	struct doctor_job *j = mem_alloc(sizeof(*j));

	if (j == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	j->job.run = run_doctor;
	j->job.done = doctor_done;
	j->r = r;
	doctor_facts_inside(d, &j->facts, &j->figures);
	if (runner_submit(&d->loop.runner, &j->job) < 0) {
		json_decref(j->figures);
		mem_free(j);
		http_reply_error(r, 503, "The daemon is out of memory.");
	}
}

/* ---- /debug/buildinfo, /debug/config ---- */

static void on_buildinfo(void *data, struct http_request *r)
{
	(void)data;
	reply_value(r, "Build", "The program that is running. Profiles name the same build id.",
		    sys_build());
}

static void on_config(void *data, struct http_request *r)
{
	struct daemon *d = data;

	reply_value(r, "Settings", "The settings in force, and where each of them came from.",
		    json_pack("{s:o}", "settings", options_settings_json(d->options)));
}

int diag_pages_attach(struct daemon *d, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/doctor",
			    "something is wrong and you do not know what: findings and advice",
			    on_doctor, d);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/sys",
				"somebody asks what it runs on: machine, limits, disk, libraries",
				on_sys, d);
	if (rc == 0)
		rc = http_route(
			s, HTTP_GET_, "/debug/config",
			"a setting does not work: the values in force and where they came from",
			on_config, d);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/buildinfo",
				"version, build id, compiler and libraries", on_buildinfo, d);
	return rc;
}
