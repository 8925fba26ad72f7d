#include "daemon/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { MESSAGE_MAX = 4096, JSON_MAX = 64 << 20 };

void cli_write_safe(struct buf *out, const char *text)
{
	buf_write_shown(out, text, strlen(text));
}

static void print_message(const char *kind, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* Lines after the first are indented: whatever is quoted, it cannot begin a message of its own. */
static void print_message(const char *kind, const char *fmt, va_list ap)
{
	char text[MESSAGE_MAX], *rest = text, *line_text;
	struct buf line;

	vsnprintf(text, sizeof(text), fmt, ap);
	buf_init(&line, MESSAGE_MAX * 4);
	buf_printf(&line, "peerscope: %s", kind);
	while ((line_text = strsep(&rest, "\n")) != NULL) {
		if (line_text > text && *line_text != '\0')
			buf_write_str(&line, "\n  ");
		cli_write_safe(&line, line_text);
	}
	buf_write_u8(&line, '\n');
	output_flush();
	(void)!write(STDERR_FILENO, line.data, line.len);
	buf_fini(&line);
}

int cli_fail(enum exit_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_message("", fmt, ap);
	va_end(ap);
	return (int)code;
}

void cli_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_message("warning: ", fmt, ap);
	va_end(ap);
}

int cli_client_failed(struct cli *c, int rc)
{
	const char *why;

	if (rc == UV_ECANCELED)
		return cli_fail(EXIT_CANCELLED, "cancelled");
	if (client_unreachable(c->client))
		return cli_fail(client_denied(c->client) ? EXIT_DENIED : EXIT_UNREACHABLE, "%s",
				client_why(c->client));
	/* The client had no part in it when it tells nothing. */
	why = client_why(c->client)[0] != '\0' ? client_why(c->client) : err_str(rc);
	return cli_fail((enum exit_code)exit_of(rc), "%s", rc == UV_ENOMEM ? "out of memory" : why);
}

int cli_check_content(const struct client_reply *reply)
{
	return reply->body.len > 0 ? 0 :
				     cli_fail(EXIT_FAILED, "the daemon's answer is empty: is it of "
							   "another version?");
}

void cli_print_json(json_t *value)
{
	struct buf text;

	buf_init(&text, JSON_MAX);
	json_write(&text, value);
	buf_write_u8(&text, '\n');
	if (value == NULL)
		output_failed(UV_ENOMEM);
	else if (buf_err(&text) < 0)
		output_failed(buf_err(&text));
	else
		output_bytes(text.data, text.len);
	buf_fini(&text);
	json_decref(value);
}

int cli_iri(struct cli *c, const char *text, struct iri *ret)
{
	char why[256];
	int rc = iri_parse(text, strlen(text), ret, why, sizeof(why));

	(void)c;
	if (rc == 0)
		return 0;
	return cli_fail(
		EXIT_USAGE,
		"not an IRI: %s\n%.1100s\nAn IRI reads hm://z6Mk…/path, with ?v=VERSION for "
		"one version",
		why, text);
}

const char *cli_kind(const struct cli *c)
{
	if (options_on(c->options, OPT_RECURSIVE))
		return "recursive";
	return options_on(c->options, OPT_CHILDREN) ? "children" : "exact";
}

int cli_usage(const char *verb, const char *what)
{
	return cli_fail(EXIT_USAGE, "%s: %s. `peerscope help %s` tells how it is used", verb, what,
			verb);
}
