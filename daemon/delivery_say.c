/* What a delivery did, on stderr as it happens and on stdout as the answer. */
#include "daemon/delivery_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/progress.h"

/* Names on a disk may be anything. */
static void write_name(struct buf *out, const char *text)
{
	buf_write_shown(out, text, strlen(text));
}

/* A path of the plan, as the user would name it. mem_free. */
static char *path_text(const struct delivery_work *w, const char *path)
{
	struct buf text;
	size_t len = strlen(w->d->target);

	while (len > 1 && w->d->target[len - 1] == '/')
		len--;
	buf_init(&text, 4 * (len + strlen(path)) + 64);
	buf_write(&text, w->d->target, len);
	if (w->root >= 0 && path[0] != '\0') {
		buf_write_str(&text, w->d->target[len - 1] == '/' ? "" : "/");
		write_name(&text, path);
	} else if (w->root < 0 && strchr(path, '/') != NULL) {
		write_name(&text, strchr(path, '/'));
	}
	return (char *)buf_take(&text, &(size_t){ 0 });
}

/* The name beside it. mem_free. */
static char *aside_text(const struct delivery_work *w, const struct change *c)
{
	char *path = path_text(w, c->path), *slash = path != NULL ? strrchr(path, '/') : NULL;
	struct buf text;

	buf_init(&text, 4096 + (path != NULL ? strlen(path) : 0));
	if (slash != NULL)
		buf_write(&text, path, (size_t)(slash + 1 - path));
	write_name(&text, c->to);
	mem_free(path);
	return (char *)buf_take(&text, &(size_t){ 0 });
}

static void say(const struct delivery_work *w, const char *what, const char *path, const char *why)
{
	CLEANUP(mem_freep) char *text = path_text(w, path);

	cli_warn("%s: %s%s%s%s", what, text != NULL ? text : "?", why != NULL ? " (" : "",
		 why != NULL ? why : "", why != NULL ? ")" : "");
}

/* Before it happens. */
void delivery_say_deletions(const struct delivery_work *w)
{
	for (size_t i = 0; i < w->plan.count; i++) {
		const struct change *c = &w->plan.changes[i];

		if (c->is_named && (c->kind == CHANGE_REMOVE || c->kind == CHANGE_REMOVE_FOLDER))
			say(w, "deleting", c->path, "it is not part of the object");
	}
}

void delivery_say_kept(const struct delivery_work *w)
{
	for (size_t i = 0; i < w->plan.kept_count; i++)
		say(w, "kept", w->plan.kept[i].path, kept_text(w->plan.kept[i].why));
	if (w->plan.kept_count > 0)
		cli_warn("%zu kept: --force moves aside what is in the way, --delete removes what "
			 "is not part of the object",
			 w->plan.kept_count);
	if (w->plan.not_compared > 0)
		cli_warn("older versions were too large to be compared in %" PRIu64 " folders",
			 w->plan.not_compared);
}

void delivery_say_moved(const struct delivery_work *w)
{
	for (size_t i = 0; i < w->plan.count; i++) {
		const struct change *c = &w->plan.changes[i];
		CLEANUP(mem_freep) char *to = NULL;

		if (!c->is_named || !c->is_done)
			continue;
		if (c->kind == CHANGE_ASIDE && (to = aside_text(w, c)) != NULL)
			say(w, "moved aside", c->path, to);
		else if (c->kind == CHANGE_MODE)
			say(w, "mode set", c->path, "it was none that it was published with");
	}
}

void delivery_say_failures(const struct delivery_work *w)
{
	for (size_t i = 0; i < w->apply.failure_count; i++) {
		const struct failure *f = &w->apply.failures[i];
		CLEANUP(mem_freep) char *text = path_text(w, f->path);

		cli_warn("%s: %s: %s", text != NULL ? text : "?", f->what, err_str(f->rc));
	}
}

static json_t *json_path(char *text)
{
	json_t *value = json_string(text != NULL ? text : "");

	mem_free(text);
	return value;
}

static json_t *json_kept(const struct delivery_work *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->plan.kept_count; i++) {
		const struct kept *k = &w->plan.kept[i];

		(void)json_array_append_new(
			list, json_pack("{s:o, s:s, s:s}", "path", json_path(path_text(w, k->path)),
					"reason", kept_word(k->why), "why", kept_text(k->why)));
	}
	return list;
}

static json_t *json_moved(const struct delivery_work *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->plan.count; i++) {
		const struct change *c = &w->plan.changes[i];

		if (c->kind == CHANGE_ASIDE && c->is_done)
			(void)json_array_append_new(list,
						    json_pack("{s:o, s:o}", "path",
							      json_path(path_text(w, c->path)),
							      "to", json_path(aside_text(w, c))));
	}
	return list;
}

static json_t *json_deleted(const struct delivery_work *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->plan.count; i++) {
		const struct change *c = &w->plan.changes[i];

		if (c->is_named && c->is_done &&
		    (c->kind == CHANGE_REMOVE || c->kind == CHANGE_REMOVE_FOLDER))
			(void)json_array_append_new(list, json_path(path_text(w, c->path)));
	}
	return list;
}

static json_t *json_failures(const struct delivery_work *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->apply.failure_count; i++) {
		const struct failure *f = &w->apply.failures[i];

		(void)json_array_append_new(
			list, json_pack("{s:o, s:s, s:s}", "path", json_path(path_text(w, f->path)),
					"what", f->what, "error", err_str(f->rc)));
	}
	return list;
}

void delivery_print_json(const struct delivery_work *w)
{
	const struct delivery *d = w->d;
	const struct plan *p = &w->plan;
	json_t *o = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "path",
			      json_path(mem_strdup(d->target)), "iri",
			      json_iri(&d->commit->space, d->commit->path), "version",
			      json_cid(d->head), "files", (json_int_t)(p->files + w->x.files),
			      "directories", (json_int_t)(p->directories + w->x.directories),
			      "symlinks", (json_int_t)(p->symlinks + w->x.symlinks), "bytes",
			      (json_int_t)(p->bytes + w->x.bytes));

	json_object_set_new(o, "written", json_integer((json_int_t)(w->x.files + w->x.symlinks)));
	json_object_set_new(o, "unchanged", json_integer((json_int_t)(p->files + p->symlinks)));
	json_object_set_new(o, "removed", json_integer((json_int_t)w->apply.removed));
	json_object_set_new(o, "kept", json_kept(w));
	json_object_set_new(o, "moved_aside", json_moved(w));
	json_object_set_new(o, "deleted", json_deleted(w));
	json_object_set_new(o, "failed", json_failures(w));
	d->on_json(d->data, o);
	cli_print_json(o);
}

void delivery_print_text(const struct delivery_work *w)
{
	const struct plan *p = &w->plan;
	uint64_t written = w->x.files + w->x.symlinks, same = p->files + p->symlinks;
	struct buf text;

	output_path(w->d->target);
	output_flush();
	if (w->d->cli->quiet)
		return;
	buf_init(&text, 512);
	buf_printf(&text, "%" PRIu64 " %s, ", p->files + w->x.files,
		   plural(p->files + w->x.files, "file", "files"));
	progress_write_bytes(&text, p->bytes + w->x.bytes);
	if (w->place.is_there && w->apply.done == 0)
		buf_write_str(&text, p->kept_count > 0 ? "; nothing was changed" :
							 "; nothing had to be changed");
	else if (w->place.is_there)
		buf_printf(&text,
			   "; %" PRIu64 " written, %" PRIu64 " removed, %" PRIu64
			   " %s as %s should be",
			   written, w->apply.removed, same, plural(same, "was", "were"),
			   plural(same, "it", "they"));
	fprintf(stderr, "%s\n", (char *)text.data);
	buf_fini(&text);
}
