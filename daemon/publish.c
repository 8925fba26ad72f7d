/* publish: reads files in this process, with the user's rights, and gives the daemon only what it
 * lacks. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/origin.h"
#include "daemon/progress.h"
#include "daemon/upload.h"
#include "daemon/walk.h"

enum { WARNINGS_MAX = 20 };

struct publishing {
	struct cli *cli;
	struct upload upload;
	struct progress progress;
	uint64_t warnings;
};

static int on_blob(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		   size_t len)
{
	struct publishing *p = data;

	if (client_interrupted())
		return UV_ECANCELED;
	return upload_add(&p->upload, kind, hash, blob, len);
}

static void on_skipped(void *data, const char *path, const char *why)
{
	struct publishing *p = data;

	progress_end(&p->progress);
	if (p->warnings++ < WARNINGS_MAX)
		cli_warn("left out: %s (%s)", path, why);
}

static void on_progress(void *data, const struct walk *w)
{
	struct publishing *p = data;

	p->progress.view.bytes = w->counts.bytes;
	p->progress.view.items = w->counts.blobs;
	progress_tick(&p->progress);
}

/* "/<basename>", of the real folder when PATH is "." or "/". */
static int default_path(const char *path, struct buf *out)
{
	CLEANUP(mem_freep) char *copy = mem_strdup(path);
	char real[PATH_MAX];
	size_t len = strlen(path);
	const char *base;

	if (copy == NULL)
		return UV_ENOMEM;
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	base = strrchr(copy, '/') != NULL ? strrchr(copy, '/') + 1 : copy;
	if ((strcmp(base, ".") == 0 || strcmp(base, "..") == 0) && realpath(path, real) != NULL)
		base = strrchr(real, '/') + 1;
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return ERR_MALFORMED;
	buf_printf(out, "/%s", base);
	return buf_err(out);
}

static int check_path(struct cli *c, const char *given, char *ret)
{
	struct buf path;
	char why[256];
	size_t len;
	int rc = 0;

	buf_init(&path, OBJECT_PATH_MAX * 4);
	if (options_text(c->options, OPT_AS) != NULL)
		buf_write_str(&path, options_text(c->options, OPT_AS));
	else
		rc = default_path(given, &path);
	if (rc == 0)
		rc = iri_path_normalize((const char *)path.data, path.len, ret, &len, why,
					sizeof(why));
	else
		snprintf(why, sizeof(why), "%s", "it has no name of its own");
	if (rc < 0 && options_text(c->options, OPT_AS) != NULL)
		rc = cli_usage("publish", why);
	else if (rc < 0)
		rc = cli_fail(EXIT_USAGE,
			      "no path can be made of \"%s\" (%s): give one with --as /path", given,
			      why);
	buf_fini(&path);
	return rc;
}

/* --parent A.B as the list of CIDs that the daemon takes. */
static int add_parents(struct cli *c, json_t *request)
{
	const char *text = options_text(c->options, OPT_PARENT);
	struct hash heads[OBJECT_PARENTS_MAX];
	size_t count = 0;

	if (text == NULL)
		return 0;
	if (version_parse(text, strlen(text), heads, ARRAY_SIZE(heads), &count) < 0 || count == 0)
		return cli_fail(EXIT_USAGE,
				"--parent: \"%s\" is not a version as `peerscope log` prints it",
				text);
	json_object_set_new(request, "parents", json_cids(heads, count));
	return 0;
}

/* `given` is what was read, NULL for a tombstone. */
static void add_origin(struct cli *c, json_t *request, const char *given)
{
	CLEANUP(mem_freep) char *folder = given != NULL ? origin_folder(given) : NULL;

	json_object_set_new(request, "named",
			    json_boolean(options_text(c->options, OPT_AS) != NULL));
	json_object_set_new(request, "over", json_boolean(options_on(c->options, OPT_OVER)));
	if (folder != NULL)
		json_object_set_new(request, "folder", json_string(folder));
}

static int publish_root(struct cli *c, json_t *request, const char *given, json_t **ret)
{
	int code = request != NULL ? add_parents(c, request) : 0;
	int rc = UV_ENOMEM;

	if (code != 0) {
		json_decref(request);
		return code;
	}
	if (request != NULL) {
		add_origin(c, request, given);
		rc = client_json(c->client, "POST", "/v1/publish", request, ret);
	}
	json_decref(request);
	if (rc == ERR_CONFLICT)
		return origin_explain(client_refusal(c->client),
				      given != NULL ? given : "--delete");
	return rc < 0 ? cli_client_failed(c, rc) : 0;
}

static int report(struct cli *c, json_t *answer, const struct publishing *p, const struct walk *w)
{
	bool unchanged = json_is_true(json_object_get(answer, "unchanged"));
	struct buf text;

	if (w != NULL) {
		json_object_set_new(answer, "files", json_integer((json_int_t)w->counts.files));
		json_object_set_new(answer, "directories",
				    json_integer((json_int_t)w->counts.directories));
		json_object_set_new(answer, "symlinks",
				    json_integer((json_int_t)w->counts.symlinks));
		json_object_set_new(
			answer, "skipped",
			json_integer((json_int_t)(w->counts.skipped + w->counts.unreadable)));
		json_object_set_new(answer, "bytes", json_integer((json_int_t)w->counts.bytes));
		json_object_set_new(answer, "new_blobs",
				    json_integer((json_int_t)p->upload.new_blobs));
		json_object_set_new(answer, "new_bytes",
				    json_integer((json_int_t)p->upload.new_bytes));
	}
	if (c->json) {
		cli_print_json(json_incref(answer));
		return w != NULL && w->counts.unreadable > 0 ? EXIT_PARTIAL : EXIT_DONE;
	}
	output_printf("%s\n%s\n", json_get_text(answer, "iri"), json_get_text(answer, "version"));
	output_flush();
	buf_init(&text, 1024);
	if (w != NULL) {
		buf_printf(&text, "%" PRIu64 " %s, ", w->counts.files,
			   plural(w->counts.files, "file", "files"));
		progress_write_bytes(&text, w->counts.bytes);
		buf_printf(&text, "; %" PRIu64 " of %" PRIu64 " %s %s new (", p->upload.new_blobs,
			   p->upload.blobs, plural(p->upload.blobs, "blob", "blobs"),
			   plural(p->upload.new_blobs, "was", "were"));
		progress_write_bytes(&text, p->upload.new_bytes);
		buf_write_str(&text, ")");
	}
	if (!c->quiet)
		fprintf(stderr, "%s%s%s\n",
			unchanged ? "unchanged" :
			w != NULL ? "published" :
				    "published: deleted",
			text.len > 0 ? ": " : "", text.len > 0 ? (char *)text.data : "");
	buf_fini(&text);
	return w != NULL && w->counts.unreadable > 0 ? EXIT_PARTIAL : EXIT_DONE;
}

static const char *advice_on(int rc)
{
	switch (rc) {
	case ERR_PRIVATE:
		return ". Whoever has the keys can write in your space: publish another folder";
	case ERR_CHANGED: return ", each time that was tried: publish when nobody writes to it";
	case UV_EACCES:
	case UV_EPERM:
	case ERR_MALFORMED:
	case ERR_LIMIT:
	case ERR_UNSUPPORTED: return "; --skip-unreadable leaves out what cannot be published";
	default: return "";
	}
}

static int walk_failed(struct publishing *p, const struct walk *w, int rc)
{
	progress_end(&p->progress);
	if (rc == UV_ECANCELED)
		return cli_fail(EXIT_CANCELLED, "cancelled; what was handed over already is kept, "
						"so the next run is shorter");
	if (w->why[0] == '\0')
		return cli_client_failed(p->cli, rc);
	return cli_fail(rc == UV_ENOENT ? EXIT_FAILED : (enum exit_code)exit_of(rc),
			"%s. Nothing was published%s", w->why, advice_on(rc));
}

static int publish_content(struct cli *c, const char *given, const char *path)
{
	static const struct walk_events events = { on_blob, on_skipped, on_progress };
	struct publishing p = { .cli = c };
	struct walk w = { .skip_unreadable = options_on(c->options, OPT_SKIP_UNREADABLE),
			  .data_folder = c->data,
			  .events = &events,
			  .data = &p };
	json_t *answer = NULL;
	int rc, code;

	if (upload_init(&p.upload, c->client) < 0)
		return cli_fail(EXIT_FAILED, "out of memory");
	progress_start(&p.progress, "publish", "blobs", c->quiet || c->json);
	rc = walk_run(&w, given);
	if (rc == 0)
		rc = upload_flush(&p.upload);
	if (rc < 0) {
		code = walk_failed(&p, &w, rc);
		upload_fini(&p.upload);
		return code;
	}
	progress_end(&p.progress);
	if (p.warnings > WARNINGS_MAX)
		cli_warn("%" PRIu64 " entries were left out in all", p.warnings);
	code = publish_root(c,
			    json_pack("{s:s, s:o, s:s, s:I, s:I, s:I}", "path", path, "root",
				      json_cid(&w.root), "root_kind", object_kind_name(w.root_kind),
				      "root_mode", (json_int_t)w.root_mode, "content_bytes",
				      (json_int_t)w.counts.bytes, "content_blobs",
				      (json_int_t)w.counts.blobs),
			    given, &answer);
	if (code == 0)
		code = report(c, answer, &p, &w);
	json_decref(answer);
	upload_fini(&p.upload);
	return code;
}

int cli_publish(struct cli *c)
{
	char path[OBJECT_PATH_MAX + 1];
	json_t *answer = NULL;
	bool tombstone = options_on(c->options, OPT_DELETE);
	int code;

	if (tombstone && (c->argc != 0 || options_text(c->options, OPT_AS) == NULL))
		return cli_usage("publish", "--delete takes --as /PATH and no file");
	if (!tombstone && c->argc != 1)
		return cli_usage("publish", "one file or folder is needed");
	client_catch_interrupt();
	if ((code = check_path(c, tombstone ? "" : c->argv[0], path)) != 0)
		return code;
	if (!tombstone)
		return publish_content(c, c->argv[0], path);
	code = publish_root(c, json_pack("{s:s, s:b}", "path", path, "tombstone", 1), NULL,
			    &answer);
	if (code == 0)
		code = report(c, answer, NULL, NULL);
	json_decref(answer);
	return code;
}
