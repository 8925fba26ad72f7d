#include "daemon/origin.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"

static bool is_utf8(const char *s)
{
	size_t len = strlen(s), n = 1;
	uint32_t c;

	for (; len > 0 && n > 0; s += n, len -= n)
		n = utf8_decode(s, len, &c);
	return n > 0;
}

char *origin_folder(const char *path)
{
	char real[PATH_MAX];
	size_t len = strlen(path);
	CLEANUP(mem_freep) char *bare = NULL;
	char *text;

	while (len > 1 && path[len - 1] == '/') /* of a file, too, as where it is got to */
		len--;
	bare = mem_strndup(path, len);
	if (bare == NULL || realpath(bare, real) == NULL)
		return NULL;
	text = is_utf8(real) ? mem_strdup(real) : client_escape(real);
	if (text != NULL && strlen(text) > STORE_FOLDER_MAX)
		text = mem_free(text);
	return text;
}

void origin_seen(struct cli *c, const char *iri, const char *path, const struct hash *version)
{
	CLEANUP(mem_freep) char *folder = origin_folder(path);
	json_t *body = folder == NULL ? NULL :
					json_pack("{s:s, s:s, s:o}", "iri", iri, "folder", folder,
						  "version", json_cid(version));
	int rc = body == NULL ? UV_ENOMEM : client_json(c->client, "POST", "/v1/seen", body, NULL);

	json_decref(body);
	if (rc < 0)
		cli_warn("the daemon does not know that %s holds this version now (%s): publishing "
			 "it will ask for --over",
			 path, err_str(rc));
}

static const char *head_of(const json_t *conflict)
{
	const char *text = json_string_value(json_array_get(json_object_get(conflict, "heads"), 0));

	return text != NULL ? text : "";
}

int origin_explain(const json_t *conflict, const char *path)
{
	const char *iri = json_get_text(conflict, "iri"),
		   *kind = json_get_text(conflict, "conflict");

	if (strcmp(kind, "heads") == 0)
		return cli_fail(
			EXIT_CONFLICT,
			"%s has %zu versions side by side, made without knowledge of each "
			"other. Nothing was published. `peerscope log %s` lists them; "
			"--parent A.B says that this one joins them, --over replaces all of "
			"them",
			iri, json_array_size(json_object_get(conflict, "heads")), iri);
	if (strcmp(kind, "folder") == 0)
		return cli_fail(EXIT_CONFLICT,
				"%s was published from %s, not from this folder. Nothing was "
				"published. --as /OTHER publishes this beside it; --over makes "
				"this its next version",
				iri, json_get_text(conflict, "folder"));
	return cli_fail(EXIT_CONFLICT,
			"%s has a version of %s that %s has not seen: this would undo what it "
			"changed. Nothing was published. `peerscope get %s -o %s` brings it in; "
			"--over publishes nevertheless (the version is %s)",
			iri, json_get_text(conflict, "time"), path, iri, path, head_of(conflict));
}
