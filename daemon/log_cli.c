/* log level, log tail; config show; paths. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "daemon/diag_cli.h"
#include "daemon/disk.h"

enum { TEXT_MAX = 1 << 20 };

char *log_cli_filter(const struct cli *c)
{
	const char *level = options_text(c->options, OPT_LEVEL);
	const char *part = options_text(c->options, OPT_PART);
	CLEANUP(mem_freep) char *level_text = client_escape(level != NULL ? level : "");
	CLEANUP(mem_freep) char *part_text = client_escape(part != NULL ? part : "");

	if (level_text == NULL || part_text == NULL)
		return NULL;
	return mem_printf("&level=%s&part=%s", level_text, part_text);
}

/* ---- level ---- */

static int send_level(struct cli *c, const char *method, const char *path)
{
	struct client_reply reply;
	int rc = client_request(c->client, method, path, NULL, NULL, 0, &reply);

	if (rc < 0)
		rc = cli_client_failed(c, rc);
	else if (reply.http_status != 200) {
		(void)client_error_of(c->client, &reply);
		rc = cli_fail(EXIT_USAGE, "%s", client_why(c->client));
	} else {
		rc = cli_check_content(&reply);
		output_text(&reply.body);
	}
	buf_fini(&reply.body);
	return rc;
}

static int log_level(struct cli *c)
{
	CLEANUP(mem_freep) char *part = c->argc > 1 ? client_escape(c->argv[1]) : NULL;
	CLEANUP(mem_freep) char *level = c->argc > 2 ? client_escape(c->argv[2]) : NULL;
	CLEANUP(mem_freep) char *path = NULL;
	char limit[40] = "";

	if (c->argc == 1)
		return send_level(c, "GET",
				  c->json ? "/debug/logs/levels?json" : "/debug/logs/levels?text");
	if (options_text(c->options, OPT_FOR) != NULL)
		(void)snprintf(limit, sizeof(limit), "&seconds=%" PRIu64,
			       options_number(c->options, OPT_FOR) / 1000);
	if (part != NULL && level != NULL)
		path = mem_printf("/debug/logs/level?part=%s&level=%s%s&%s", part, level, limit,
				  c->json ? "json" : "text");
	return path != NULL ? send_level(c, "POST", path) : cli_fail(EXIT_FAILED, "out of memory");
}

/* ---- tail ---- */

/* "data: {…}" of each event is a line. */
static bool print_event(void *data, const char *line, size_t len)
{
	const struct cli *c = data;
	CLEANUP(buf_fini) struct buf out = { 0 };
	json_t *o;

	if (len < 6 || strncmp(line, "data: ", 6) != 0)
		return true;
	if (c->json) {
		output_bytes(line + 6, len - 6);
		output_bytes("\n", 1);
		output_flush();
		return output_err() == 0;
	}
	o = json_loadb(line + 6, len - 6, 0, NULL);
	buf_init(&out, TEXT_MAX);
	buf_printf(&out, "time=%s level=%s sub=%s ", json_get_text(o, "time"),
		   json_get_text(o, "level"), json_get_text(o, "part"));
	cli_write_safe(&out, json_get_text(o, "text"));
	buf_write_u8(&out, '\n');
	output_text(&out);
	output_flush();
	json_decref(o);
	return output_err() == 0;
}

static int log_tail(struct cli *c)
{
	CLEANUP(mem_freep) char *filter = log_cli_filter(c);
	CLEANUP(mem_freep) char *path = NULL;
	int rc;

	if (filter != NULL)
		path = mem_printf("/debug/logs/live?%s", filter + 1);
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	client_catch_interrupt();
	rc = client_lines(c->client, path, NULL, print_event, c);
	if (rc == UV_ECANCELED || output_err() < 0)
		return EXIT_DONE; /* Ctrl-C is how it ends */
	if (rc == 0)
		return cli_fail(EXIT_UNREACHABLE, "the daemon ended the log: it is shutting down");
	return cli_client_failed(c, rc);
}

int cli_log_lines(struct cli *c)
{
	if (strcmp(c->argv[0], "level") == 0 && (c->argc == 1 || c->argc == 3))
		return log_level(c);
	if (strcmp(c->argv[0], "tail") == 0 && c->argc == 1)
		return log_tail(c);
	return cli_usage("log", "it is `log level`, `log level PART LEVEL` or `log tail`");
}

/* ---- config, paths ---- */

int cli_config(struct cli *c)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	if (c->argc != 1 || strcmp(c->argv[0], "show") != 0)
		return cli_usage("config", "it is `config show`");
	if (c->json) {
		cli_print_json(json_pack("{s:o}", "settings", options_settings_json(c->options)));
		return EXIT_DONE;
	}
	buf_init(&out, TEXT_MAX);
	options_write_settings(c->options, &out, options_on(c->options, OPT_ORIGIN));
	output_text(&out);
	return EXIT_DONE;
}

static const struct {
	const char *name, *file, *what;
} files[] = {
	{ "lock", "lock", "held while a daemon runs" },
	{ "control", DAEMON_SOCKET_FILE, "how this command line reaches it" },
	{ "debug", DAEMON_ADDRESS_FILE, "the address of its debug pages" },
	{ "node key", "node.key", "who this node is: keep it secret" },
	{ "space key", "space.key", "signs what you publish: keep it secret, and a copy" },
};

int cli_paths(struct cli *c)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	json_t *o = json_object();

	if (c->argc != 0 || c->data == NULL) {
		json_decref(o);
		return cli_usage("paths", c->argc != 0 ? "it takes no argument" : "no data folder");
	}
	buf_init(&out, TEXT_MAX);
	(void)json_object_set_new(o, "data", json_string(c->data));
	(void)json_object_set_new(o, "config",
				  json_string(c->config_file != NULL ? c->config_file : ""));
	buf_printf(&out, "%-10s %s\n%-10s %s%s\n", "data", c->data, "config",
		   c->config_file != NULL ? c->config_file : "",
		   c->config_file != NULL && access(c->config_file, F_OK) < 0 ? " (not there)" :
										"");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		CLEANUP(mem_freep) char *path = disk_path(c->data, files[i].file);

		(void)json_object_set_new(o, files[i].name, json_string(path != NULL ? path : ""));
		buf_printf(&out, "%-10s %s (%s)\n", files[i].name, path != NULL ? path : "",
			   files[i].what);
	}
	if (c->json)
		cli_print_json(o);
	else
		json_decref(o);
	if (!c->json)
		output_text(&out);
	return EXIT_DONE;
}
