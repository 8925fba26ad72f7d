/* plan (only reads) → say what will be deleted → make everything new aside, checked → move and
 * remove → report. Until the fourth step nothing that was there has changed. */
#include "daemon/delivery_work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

/* What the file system said is about a path of the user's; ENOENT is not "no such object". */
static enum exit_code exit_of_disk(int rc)
{
	if (rc == UV_ENOENT || rc == UV_EPIPE)
		return EXIT_FAILED;
	if (rc == ERR_LIMIT || rc == ERR_MALFORMED || rc == ERR_TRUNCATED || rc == ERR_TOO_BIG)
		return EXIT_DAMAGED;
	return (enum exit_code)exit_of(rc);
}

static int place_failed(int rc, const char *why)
{
	if (rc == UV_EINVAL || rc == UV_ENAMETOOLONG || rc == UV_ENOENT || rc == UV_ENOTDIR)
		return cli_fail(EXIT_USAGE, "%s", why);
	return cli_fail(exit_of_disk(rc), "%s", why);
}

int delivery_check(const char *target)
{
	struct place p;
	char why[1024];
	int rc = place_open(&p, target, why, sizeof(why));

	place_close(&p);
	return rc < 0 ? place_failed(rc, why) : 0;
}

static int extract_failed(const struct delivery *d, const struct extract *x, int rc,
			  const char *nothing)
{
	d->on_text(d->data);
	if (rc == UV_ECANCELED)
		return cli_fail(EXIT_CANCELLED, "cancelled. %s", nothing);
	if (client_unreachable(d->cli->client))
		return cli_client_failed(d->cli, rc);
	return cli_fail(exit_of_disk(rc), "%s. %s", x->why[0] != '\0' ? x->why : err_str(rc),
			nothing);
}

/* ---- Versions ---- */

/* The object as one entry. */
static int entry_of(struct extract *x, enum object_kind kind, const struct hash *root,
		    uint32_t mode, struct entry *ret)
{
	if (kind == OBJECT_FILE)
		return extract_top(x, root, ret);
	*ret = (struct entry){
		.kind = ENTRY_DIRECTORY, .mode = mode, .has_target = true, .target = { *root, 0 }
	};
	return 0;
}

/* A version that is not here, or cannot be read, is not known. */
static void add_old(struct delivery_work *w, const struct hash *hash)
{
	struct entry *e = &w->olds[w->versions.count];
	CLEANUP(mem_freep) struct commit *c = mem_alloc(sizeof(*c));
	CLEANUP(mem_freep) uint8_t *blob = NULL;
	size_t len = 0;

	if (c == NULL)
		return;
	if (extract_blob(&w->x, hash, "", &blob, &len) == 0 && commit_decode(blob, len, c) == 0 &&
	    !c->tombstone && entry_of(&w->x, c->root_kind, &c->root, commit_root_mode(c), e) == 0)
		w->versions.olds[w->versions.count++] = e;
	w->x.why[0] = '\0';
}

enum { VERSIONS_LISTED_MAX = 10000 }; /* commits looked through for them */

/* Newest first, and only those whose content is here: of most older ones there is nothing but the
 * commit. Without them (a failure included) everything that is not as the version says counts
 * as somebody's work: nothing is lost by that. */
static void load_olds(struct delivery_work *w)
{
	const struct commit *commit = w->d->commit;
	CLEANUP(buf_fini) struct buf iri = { 0 };
	CLEANUP(mem_freep) char *escaped = NULL, *path = NULL;
	struct hash hashes[PLAN_VERSIONS_MAX];
	size_t count = 0, i;
	json_t *log = NULL, *entry;

	buf_init(&iri, IRI_TEXT_MAX);
	iri_format_object(&commit->space, commit->path, commit->path_len, &iri);
	escaped = buf_err(&iri) == 0 ? client_escape((const char *)iri.data) : NULL;
	if (escaped != NULL)
		path = mem_printf("/v1/log?limit=%d&iri=%s", VERSIONS_LISTED_MAX, escaped);
	if (path == NULL || client_json(w->d->cli->client, "GET", path, NULL, &log) < 0)
		return;
	json_array_foreach(json_object_get(log, "versions"), i, entry) {
		const char *text = json_get_text(entry, "version");

		if (count < PLAN_VERSIONS_MAX && json_is_true(json_object_get(entry, "complete")) &&
		    !json_is_true(json_object_get(entry, "tombstone")) &&
		    cid_parse(text, strlen(text), &hashes[count]) == 0 &&
		    !hash_eq(&hashes[count], w->d->head))
			count++;
	}
	json_decref(log);
	if (count > 1 && w->d->source->prefetch != NULL)
		w->d->source->prefetch(w->d->data, hashes, count);
	for (i = 0; i < count; i++)
		add_old(w, &hashes[i]);
}

/* ---- Planning ---- */

/* Paths of the plan are those in the folder that the target is in. */
static int name_beside(struct delivery_work *w)
{
	const char *target = w->d->target, *slash;
	size_t len = strlen(target);

	while (len > 1 && target[len - 1] == '/')
		len--;
	slash = memrchr(target, '/', len);
	len = slash == NULL ? 0 : MAX((size_t)(slash - target), (size_t)1);
	w->beside = mem_free(w->beside);
	w->beside = mem_strndup(target, len);
	w->x.above = w->beside;
	return w->beside != NULL ? 0 : UV_ENOMEM;
}

static int plan(struct delivery_work *w)
{
	struct plan *p = &w->plan;
	struct beneath_removal swept = { 0 };

	p->force = options_on(w->d->cli->options, OPT_FORCE);
	p->delete = options_on(w->d->cli->options, OPT_DELETE);
	p->suffix = w->suffix;
	private_own_load(&p->own, w->d->cli->data);
	if (!w->place.is_there || !S_ISDIR(w->place.st.st_mode) || w->now.kind != ENTRY_DIRECTORY) {
		int rc = name_beside(w);

		return rc < 0 ? rc : plan_entry(p, w->place.parent, w->place.name, &w->versions);
	}
	w->root = openat(w->place.parent, w->place.name,
			 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (w->root < 0)
		return extract_fail(&w->x, "", "cannot open the folder", -errno);
	staging_sweep(w->root, &swept);
	return plan_folder(p, w->root, &w->versions);
}

/* Nothing in it shows that it ever was this object; to delete in it, more has to. */
static bool is_unrelated(const struct delivery_work *w)
{
	const struct plan *p = &w->plan;

	if (w->root < 0 || p->unknown == 0)
		return false;
	return p->known == 0 || (p->delete &&p->equal == 0);
}

static int plan_again(struct delivery_work *w)
{
	int rc = name_beside(w);

	if (rc < 0)
		return rc;
	plan_fini(&w->plan);
	plan_init(&w->plan, &w->x);
	w->plan.suffix = w->suffix;
	private_own_load(&w->plan.own, w->d->cli->data);
	close(w->root);
	w->root = -1;
	return plan_replace(&w->plan, w->place.parent, w->place.name, &w->versions);
}

/* ---- Doing it ---- */

/* What failed has been named, path by path. */
static int changes_failed(const struct delivery_work *w, int rc)
{
	uint64_t done = w->apply.done;
	size_t count = w->plan.count;

	if (done == count)
		return cli_fail(exit_of_disk(rc),
				"%s is what was asked for, but what comes after the last change "
				"failed (%s): it may not outlive a power cut, or something is "
				"left beside it, as named above",
				w->d->target, err_str(rc));
	return cli_fail(exit_of_disk(rc),
			"%" PRIu64 " of %zu %s made to %s, something failed (%s): "
			"the same `get` again does the rest",
			done, count, count == 1 ? "change was" : "changes were", w->d->target,
			err_str(rc));
}

static int carry_out(struct delivery_work *w)
{
	struct apply *a = &w->apply;
	int where = w->root >= 0 ? w->root : w->place.parent, rc, closed;

	rc = apply_prepare(a, where);
	if (rc < 0) {
		closed = apply_close(a);
		if (closed < 0)
			delivery_say_failures(w);
		return extract_failed(w->d, &w->x, rc, "Nothing was changed");
	}
	w->d->on_text(w->d->data);
	w->has_run = true;
	rc = apply_run(a);
	closed = apply_close(a);
	rc = rc < 0 ? rc : closed;
	delivery_say_moved(w);
	delivery_say_kept(w);
	delivery_say_failures(w);
	if (rc == UV_ECANCELED)
		return cli_fail(EXIT_CANCELLED,
				"cancelled after %" PRIu64
				" of %zu changes: each file is the old or "
				"the new one, and the same `get` again does the rest",
				a->done, w->plan.count);
	if (rc < 0)
		return changes_failed(w, rc);
	return w->plan.kept_count > 0 ? EXIT_PARTIAL : EXIT_DONE;
}

static int update(struct delivery_work *w)
{
	int rc = plan(w), code;

	if (rc == 0 && is_unrelated(w)) {
		w->d->on_text(w->d->data);
		if (!w->plan.force)
			return cli_fail(
				EXIT_FAILED,
				"%s exists already, and nothing in it shows that it is a "
				"version of this object. Nothing was changed: choose another "
				"place with -o, or move it aside with --force",
				w->d->target);
		rc = plan_again(w);
	}
	if (rc < 0)
		return extract_failed(w->d, &w->x, rc, "Nothing was changed");
	apply_init(&w->apply, &w->plan, w->root >= 0 ? w->root : w->place.parent);
	w->apply.cancelled = client_interrupted;
	w->is_ready = true;
	w->d->on_text(w->d->data);
	delivery_say_deletions(w);
	code = carry_out(w);
	if (w->has_run && w->d->cli->json)
		delivery_print_json(w);
	else if (code == EXIT_DONE || code == EXIT_PARTIAL)
		delivery_print_text(w);
	return code;
}

static mode_t current_mask(void)
{
	mode_t mask = umask(077);

	umask(mask);
	return mask;
}

static void name_suffix(struct delivery_work *w)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(w->suffix, sizeof(w->suffix), ".replaced-%Y%m%dT%H%M%SZ", &tm);
}

static int begin(struct delivery_work *w)
{
	struct beneath_removal swept = { 0 };
	char why[1024];
	int rc = place_open(&w->place, w->d->target, why, sizeof(why));

	if (rc < 0)
		return place_failed(rc, why);
	staging_sweep(w->place.parent, &swept);
	if (swept.left > 0)
		cli_warn("what an interrupted get left behind could not be removed: %s", swept.why);
	rc = entry_of(&w->x, w->d->commit->root_kind, &w->d->commit->root,
		      commit_root_mode(w->d->commit), &w->now);
	if (rc < 0)
		return extract_failed(w->d, &w->x, rc, "Nothing was changed");
	w->versions.now = &w->now;
	if (w->place.is_there)
		load_olds(w);
	return 0;
}

static bool is_whole(const struct plan *p)
{
	for (size_t i = 0; i < p->kept_count; i++)
		if (p->kept[i].why != KEPT_FOREIGN && p->kept[i].why != KEPT_MODE)
			return false;
	return true;
}

int delivery_run(const struct delivery *d, bool *ret_whole)
{
	struct delivery_work *w = mem_alloc(sizeof(*w));
	int code;

	if (w == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	w->d = d;
	w->root = -1;
	w->x = (struct extract){
		.source = d->source, .data = d->data, .mask = current_mask(), .above = d->target
	};
	name_suffix(w);
	plan_init(&w->plan, &w->x);
	code = begin(w);
	if (code == 0)
		code = update(w);
	*ret_whole = (code == EXIT_DONE || code == EXIT_PARTIAL) && is_whole(&w->plan);
	if (w->is_ready)
		apply_fini(&w->apply);
	plan_fini(&w->plan);
	if (w->root >= 0)
		close(w->root);
	place_close(&w->place);
	mem_free(w->beside);
	mem_free(w);
	return code;
}

int delivery_to_stdout(const struct delivery *d)
{
	struct extract x = { .source = d->source, .data = d->data };
	struct entry e;
	struct stat st;
	int rc;

	if (d->commit->root_kind != OBJECT_FILE)
		return cli_fail(EXIT_USAGE,
				"%s is a folder, and `-o -` writes one file to stdout: give the "
				"name of a folder to write it to",
				d->given);
	rc = extract_top(&x, &d->commit->root, &e);
	if (rc == 0)
		rc = extract_content(&x, STDOUT_FILENO, "stdout", &e);
	/* What a full disk or a server far away says late. */
	if (rc == 0 && fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) &&
	    fsync(STDOUT_FILENO) < 0)
		rc = extract_fail(&x, "stdout", "cannot write", -errno);
	d->on_text(d->data);
	return rc < 0 ? extract_failed(d, &x, rc, "What was written so far is not all of it") : 0;
}
