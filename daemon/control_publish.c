/* POST /v1/publish: a new version of an object in this daemon's own space. Its content is here
 * already (POST /v1/blobs). POST /v1/seen: a version was written into a folder. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"
#include "daemon/sources.h"

struct publish_call {
	struct control_call call;
	struct store_publish op;
	struct commit commit;
};

static void reply(struct publish_call *q)
{
	char cid[CID_TEXT_SIZE];
	json_t *o = json_pack("{s:o, s:o, s:o, s:b}", "iri",
			      json_iri(&q->commit.space, q->commit.path), "version",
			      json_cid(&q->op.hash), "time", json_time(q->op.time_s), "unchanged",
			      q->op.unchanged);

	cid_format(&q->op.hash, cid);
	log_info(LOG_DAEMON, "msg=\"%s\" path=\"%s\" version=%s",
		 q->op.unchanged ? "published: unchanged" : "published", q->commit.path, cid);
	control_reply(q->call.request, o);
}

static const char *const conflict_names[] = {
	[STORE_CONFLICT_NONE] = "none",
	[STORE_CONFLICT_HEADS] = "heads",
	[STORE_CONFLICT_UNSEEN] = "unseen",
	[STORE_CONFLICT_FOLDER] = "folder",
};

/* The command line makes sentences of it that name its own flags. */
static void reply_conflict(struct publish_call *q)
{
	static const char *const texts[] = {
		[STORE_CONFLICT_NONE] = "versions conflict",
		[STORE_CONFLICT_HEADS] =
			"there are several heads: name those that this version joins as `parents`, "
			"or say `over`",
		[STORE_CONFLICT_UNSEEN] = "the folder has not seen the present version: this one "
					  "would undo what that changed, unless you say `over`",
		[STORE_CONFLICT_FOLDER] = "it was published from another folder: say `named` or "
					  "`over` if that is meant",
	};
	const struct store_conflict *c = &q->op.conflict;

	control_reply_status(q->call.request, ERR_CONFLICT,
			     json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:s}", "error",
				       texts[c->kind], "name", err_name(ERR_CONFLICT), "status",
				       (int)ERR_CONFLICT, "conflict", conflict_names[c->kind],
				       "iri", json_iri(&q->commit.space, q->commit.path), "heads",
				       json_cids(c->heads, c->head_count), "time",
				       json_time(c->newest_s), "folder", c->folder));
}

static void on_published(struct store_publish *op, int status)
{
	struct publish_call *q = container_of(op, struct publish_call, op);
	struct store_new_commit made = { .space = q->commit.space,
					 .path = q->commit.path,
					 .hash = op->hash,
					 .time_s = op->time_s };

	if (status == 0 && !op->unchanged) {
		sync_published(q->call.daemon->sync, &made, 1);
		sources_changed(q->call.daemon->sources);
	}
	if (status == 0)
		reply(q);
	else if (status == ERR_CONFLICT)
		reply_conflict(q);
	else if (status == ERR_NOT_FOUND)
		control_error(
			q->call.request, status,
			"no version of \"%s\" is here, so there is nothing to delete. Nothing "
			"was published: `peerscope objects` lists the names, written as in an "
			"IRI; --over publishes nevertheless that it is gone",
			q->commit.path);
	else if (status == ERR_MISSING)
		control_error(q->call.request, status,
			      "something that the root refers to is not here: put its blobs first");
	else
		control_failed(q->call.request, status);
	store_publish_fini(op);
	control_call_free(&q->call);
}

static bool read_root(struct http_request *r, const json_t *body, struct commit *ret)
{
	const char *root = json_get_text(body, "root"), *kind = json_get_text(body, "root_kind");

	if (json_is_true(json_object_get(body, "tombstone"))) {
		ret->tombstone = true;
		return true;
	}
	if (cid_parse(root, strlen(root), &ret->root) < 0) {
		control_error(r, ERR_MALFORMED, "root is not the CID of a blob");
		return false;
	}
	ret->root_kind = strcmp(kind, object_kind_name(OBJECT_FILE)) == 0 ? OBJECT_FILE :
									    OBJECT_TREE;
	if (strcmp(kind, object_kind_name(ret->root_kind)) == 0)
		return true;
	control_error(r, ERR_MALFORMED, "root_kind is tree or file");
	return false;
}

/* Optional, and a tree's only: the permission bits of the folder at the top. */
static bool read_mode(struct http_request *r, const json_t *body, struct commit *ret)
{
	const json_t *mode = json_object_get(body, "root_mode");

	if (mode == NULL || ret->root_kind != OBJECT_TREE)
		return true;
	if (!json_is_integer(mode) || json_integer_value(mode) < 0 ||
	    json_integer_value(mode) > OBJECT_MODE_BITS) {
		control_error(r, ERR_MALFORMED, "root_mode is the permission bits, 0 to %d",
			      OBJECT_MODE_BITS);
		return false;
	}
	ret->root_mode = OBJECT_MODE_DIRECTORY | (uint32_t)json_integer_value(mode);
	return true;
}

static int by_hash(const void *a, const void *b)
{
	return hash_cmp(a, b);
}

/* Optional: the versions this one follows; without it, the present heads. */
static bool read_parents(struct http_request *r, const json_t *body, struct commit *ret)
{
	const json_t *parents = json_object_get(body, "parents");

	for (size_t i = 0; i < json_array_size(parents); i++) {
		const char *text = json_string_value(json_array_get(parents, i));

		if (text == NULL || i == OBJECT_PARENTS_MAX ||
		    cid_parse(text, strlen(text), &ret->parents[i]) < 0) {
			control_error(r, ERR_MALFORMED, "parents is a list of at most %d CIDs",
				      OBJECT_PARENTS_MAX);
			return false;
		}
		ret->parent_count++;
	}
	qsort(ret->parents, ret->parent_count, sizeof(ret->parents[0]), by_hash);
	return true;
}

static bool read_commit(struct daemon *d, struct http_request *r, const json_t *body,
			struct commit *ret)
{
	const char *path = json_get_text(body, "path");
	char why[256];

	if (iri_path_normalize(path, strlen(path), ret->path, &ret->path_len, why, sizeof(why)) <
	    0) {
		control_error(r, ERR_MALFORMED, "path: %s", why);
		return false;
	}
	ret->space = d->space.public;
	ret->author = d->space.public;
	ret->content_bytes = json_get_count(body, "content_bytes");
	ret->content_blobs = json_get_count(body, "content_blobs");
	ret->time_s = json_get_count(body, "time_s");
	return read_root(r, body, ret) && read_mode(r, body, ret) && read_parents(r, body, ret);
}

static bool read_folder(struct http_request *r, const json_t *body, char *ret)
{
	const char *folder = json_get_text(body, "folder");

	if (strlen(folder) > STORE_FOLDER_MAX) {
		control_error(r, ERR_LIMIT, "folder has at most %d bytes", STORE_FOLDER_MAX);
		return false;
	}
	memcpy(ret, folder, strlen(folder) + 1);
	return true;
}

static bool read_origin(struct http_request *r, const json_t *body, struct store_origin *ret)
{
	ret->named = json_is_true(json_object_get(body, "named"));
	ret->over = json_is_true(json_object_get(body, "over"));
	return read_folder(r, body, ret->folder);
}

static void post_publish(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
	struct op_env env = control_env(
		d, CONTROL_TIMEOUT_MS * 10); /* making a large closure public takes a while */
	json_t *body = control_body(r);
	struct commit *commit = mem_alloc(sizeof(*commit));
	struct store_origin *origin = mem_alloc(sizeof(*origin));
	struct publish_call *q = NULL;

	if (body != NULL && (commit == NULL || origin == NULL))
		control_failed(r, UV_ENOMEM);
	else if (body != NULL && read_commit(d, r, body, commit) && read_origin(r, body, origin))
		q = control_call_new(data, r, sizeof(*q));
	if (q != NULL) {
		q->commit = *commit;
		q->call.op = &q->op.op;
		store_publish_start(&q->op, &env, d->store, &q->commit, d->space.secret, origin,
				    on_published);
	}
	mem_free(origin);
	mem_free(commit);
	json_decref(body);
}

/* ---- Seen ---- */

struct seen_call {
	struct control_call call;
	struct store_seen op;
};

static void on_seen(struct store_seen *op, int status)
{
	struct seen_call *q = container_of(op, struct seen_call, op);

	if (status < 0)
		control_failed(q->call.request, status);
	else
		control_reply(q->call.request, json_object());
	control_call_free(&q->call);
}

static void post_seen(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
	struct op_env env = control_env(d, CONTROL_TIMEOUT_MS);
	json_t *body = control_body(r);
	char folder[STORE_FOLDER_MAX + 1];
	const char *version = json_get_text(body, "version");
	struct seen_call *q = NULL;
	struct scope scope;
	struct hash hash;
	struct iri iri;

	if (body == NULL)
		return;
	if (control_iri(r, json_string_value(json_object_get(body, "iri")), &iri) &&
	    read_folder(r, body, folder)) {
		if (cid_parse(version, strlen(version), &hash) < 0)
			control_error(r, ERR_MALFORMED, "version is not a CID");
		else
			q = control_call_new(data, r, sizeof(*q));
	}
	if (q != NULL) {
		scope_of_iri(&iri, SCOPE_EXACT, &scope);
		q->call.op = &q->op.op;
		store_seen_start(&q->op, &env, d->store, &scope, folder, &hash, on_seen);
	}
	json_decref(body);
}

int control_publish_routes(struct control *c, struct http_server *s)
{
	int rc = http_route(s, HTTP_POST_, "/v1/publish", NULL, post_publish, c);

	return rc == 0 ? http_route(s, HTTP_POST_, "/v1/seen", NULL, post_seen, c) : rc;
}
