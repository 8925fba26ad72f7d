/* The settings of pushing traces. Headers may hold a secret: they come from a file or from the
 * environment, which other users cannot read, and never from the command line. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/disk.h"
#include "daemon/exit.h"
#include "daemon/otlp_push.h"
#include "daemon/post.h"

enum { HEADERS_BYTES_MAX = 64 << 10 };
_Static_assert((int)PEER_ID_TEXT_SIZE <= (int)TRACE_DISGUISED_MAX, "either fits");

static const char headers_variable[] = "PEERSCOPE_OTLP_HEADERS";

/* A code for exiting, said already; *ret_text is what the headers point into. */
static int read_headers(struct daemon *d, struct buf *text, const char **list, size_t *ret_count)
{
	const char *path = options_text(d->options, OPT_OTLP_HEADERS_FILE);
	const char *env = getenv(headers_variable), *from = path != NULL ? path : headers_variable;
	unsigned line = 0;
	int rc = 0;

	if (path != NULL)
		rc = disk_read_secret(path, HEADERS_BYTES_MAX, text);
	else if (env != NULL)
		buf_write_str(text, env);
	if (rc == UV_EPERM)
		return daemon_fail(EXIT_DENIED,
				   "%s: others may read or change it, and it may hold a secret. "
				   "chmod 600 helps",
				   from);
	if (rc < 0 || buf_err(text) < 0)
		return daemon_fail(EXIT_FAILED, "cannot read the headers of %s: %s", from,
				   err_str(rc < 0 ? rc : buf_err(text)));
	if (text->len == 0)
		return 0;
	rc = otlp_push_headers((char *)text->data, list, POST_HEADERS_MAX, &line);
	if (rc < 0)
		return daemon_fail(EXIT_USAGE, "%s: line %u is not a header \"Name: value\"%s",
				   from, line, rc == ERR_LIMIT ? " that there is room for" : "");
	*ret_count = (size_t)rc;
	return 0;
}

/* What a collector gathered before a restart goes together with what comes after. */
void daemon_pseudonym_key(const struct daemon *d, uint8_t ret_key[32])
{
	static const char purpose[] = "peerscope pseudonyms of traces";

	crypto_generichash(ret_key, 32, (const uint8_t *)purpose, sizeof(purpose), d->node.secret,
			   crypto_generichash_KEYBYTES);
}

static void set_disguise(struct daemon *d, struct trace_export *how, char *instance)
{
	char id[PEER_ID_TEXT_SIZE];

	how->disguise = strcmp(options_text(d->options, OPT_OTLP_NAMES), "pseudonyms") == 0;
	daemon_pseudonym_key(d, how->key);
	peer_id_format(&d->node.public, id);
	if (how->disguise)
		trace_disguise(d->trace, how->key, id, strlen(id), instance);
	else
		memcpy(instance, id, strlen(id) + 1);
	how->instance = instance;
}

int daemon_start_otlp(struct daemon *d)
{
	const char *endpoint = options_text(d->options, OPT_OTLP_ENDPOINT);
	const char *headers[POST_HEADERS_MAX];
	char why[DAEMON_WHY_MAX] = "", instance[TRACE_DISGUISED_MAX];
	struct otlp_push_config config = { .loop = &d->loop, .trace = d->trace };
	CLEANUP(buf_fini) struct buf text = { 0 };
	int code;

	if (endpoint == NULL || *endpoint == '\0')
		return 0;
	if (post_url_check(endpoint, why, sizeof(why)) < 0 || strchr(endpoint, '?') != NULL)
		return daemon_fail(EXIT_USAGE,
				   "otlp-endpoint \"%s\": %s. Like http://127.0.0.1:4318", endpoint,
				   why[0] != '\0' ? why : "it must not have a ?query");
	buf_init(&text, HEADERS_BYTES_MAX + 1);
	code = read_headers(d, &text, headers, &config.header_count);
	if (code != 0)
		return code;
	config.endpoint = endpoint;
	config.headers = headers;
	config.ca_file = options_text(d->options, OPT_OTLP_CA_FILE);
	set_disguise(d, &config.how, instance);
	d->otlp = otlp_push_new(&config);
	if (d->otlp == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	d->step = STEP_OTLP;
	log_info(LOG_DAEMON, "msg=\"traces go to a collector\" endpoint=%s names=%s", endpoint,
		 options_text(d->options, OPT_OTLP_NAMES));
	return 0;
}
