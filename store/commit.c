/* Commits, objects, heads.
 *
 * A commit is accepted only when all its parents are commits of the same object. Hence it is a head
 * when it comes, and its parents are none from then on: heads need no search. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/internal.h"

int object_find(struct db *db, const struct public_key *space, const char *path, size_t path_len,
		struct object_row *ret)
{
	CLEANUP(db_done)
	sqlite3_stmt *q =
		db_query(db, SQL_OBJECT_FIND, ARGS(arg_key(space), arg_text(path, path_len)));
	int rc = db_row(db, q);

	*ret = (struct object_row){ 0 };
	if (rc > 0) {
		ret->id = sqlite3_column_int64(q, 0);
		ret->commits = sqlite3_column_int64(q, 1);
		ret->heads = sqlite3_column_int64(q, 2);
		ret->open_heads = sqlite3_column_int64(q, 3);
		ret->newest_s = sqlite3_column_int64(q, 4);
	}
	return MIN(rc, 0);
}

int commit_find(struct db *db, const struct hash *hash, struct commit_row *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_COMMIT_FIND, ARGS(arg_hash(hash)));
	int rc = db_row(db, q);

	*ret = (struct commit_row){ 0 };
	if (rc > 0) {
		ret->id = sqlite3_column_int64(q, 0);
		ret->object = sqlite3_column_int64(q, 1);
		ret->time_s = (uint64_t)sqlite3_column_int64(q, 2);
		ret->head = sqlite3_column_int64(q, 3) != 0;
		ret->complete = sqlite3_column_int64(q, 4) != 0;
	}
	return MIN(rc, 0);
}

/* ---- Check ---- */

static void add_missing(struct commit_missing *m, const struct hash *hash, enum object_kind kind)
{
	REQUIRE(m->count < ARRAY_SIZE(m->list));
	m->list[m->count].hash = *hash;
	m->list[m->count++].kind = kind;
}

static int check_capability(struct store *s, const struct commit *c, struct commit_missing *missing,
			    int *ret_verdict)
{
	CLEANUP(mem_freep) uint8_t *bytes = NULL;
	struct capability cap;
	struct node n;
	size_t len;
	int rc = node_find(&s->db, &c->capability, OBJECT_CAPABILITY, &n);

	if (rc < 0)
		return rc;
	if ((n.state & NODE_STORED) == 0) {
		add_missing(missing, &c->capability, OBJECT_CAPABILITY);
		return 0;
	}
	rc = node_read(s, n.id, &c->capability, &bytes, &len);
	if (rc < 0)
		return rc == ERR_VERIFY ? ERR_CORRUPT : rc;
	rc = capability_decode(bytes, len, &cap);
	if (rc == UV_ENOMEM)
		return rc;
	*ret_verdict = rc < 0 ? ERR_UNAUTHORIZED : capability_allows(&cap, c);
	return 0;
}

int commit_check(struct store *s, const struct commit *c, struct commit_missing *ret_missing,
		 int *ret_verdict)
{
	struct object_row object;
	struct commit_row parent;
	int rc = 0;

	ret_missing->count = 0;
	*ret_verdict = 0;
	if (c->has_capability)
		rc = check_capability(s, c, ret_missing, ret_verdict);
	if (rc == 0)
		rc = object_find(&s->db, &c->space, c->path, c->path_len, &object);
	for (size_t i = 0; i < c->parent_count && rc == 0 && *ret_verdict == 0; i++) {
		rc = commit_find(&s->db, &c->parents[i], &parent);
		if (rc == 0 && parent.id == 0)
			add_missing(ret_missing, &c->parents[i], OBJECT_COMMIT);
		else if (rc == 0 && parent.object != object.id)
			*ret_verdict = ERR_MALFORMED;
	}
	if (rc == 0 && *ret_verdict == 0 && ret_missing->count > 0)
		*ret_verdict = ERR_MISSING;
	return rc;
}

/* ---- Accept ---- */

static int object_intern(struct db *db, const struct commit *c, struct object_row *ret)
{
	int rc = object_find(db, &c->space, c->path, c->path_len, ret);

	if (rc < 0 || ret->id != 0)
		return rc;
	rc = db_run(db, SQL_OBJECT_INSERT,
		    ARGS(arg_key(&c->space), arg_text(c->path, c->path_len)));
	if (rc == 0) {
		ret->id = sqlite3_last_insert_rowid(db->sqlite);
		db_add(db, TOTAL_OBJECTS, 1);
	}
	return rc;
}

static int add_parents(struct db *db, const struct commit *c, int64_t id, struct object_row *object)
{
	struct commit_row parent;
	int rc = 0;

	for (size_t i = 0; i < c->parent_count && rc == 0; i++) {
		rc = commit_find(db, &c->parents[i], &parent);
		if (rc < 0)
			return rc;
		REQUIRE(parent.id != 0);
		rc = db_run(db, SQL_PARENT_INSERT, ARGS(arg_int(id), arg_int(parent.id)));
		if (rc < 0 || !parent.head)
			continue;
		rc = db_run(db, SQL_COMMIT_UNHEAD, ARGS(arg_int(parent.id)));
		object->heads--;
		if (!parent.complete)
			object->open_heads--;
	}
	return rc;
}

static int add_authorities(struct db *db, const struct commit *c, int64_t id)
{
	CLEANUP(buf_fini) struct buf text = { 0 };
	char addr[MULTIADDR_TEXT_SIZE];
	int rc = 0;

	buf_init(&text, OBJECT_AUTHORITY_ADDRS_MAX * (MULTIADDR_TEXT_SIZE + 1));
	for (size_t i = 0; i < c->authority_count && rc == 0; i++) {
		const struct authority *a = &c->authorities[i];

		buf_clear(&text);
		for (size_t k = 0; k < a->addr_count; k++) {
			multiaddr_format(&a->addrs[k], addr);
			buf_printf(&text, "%s%s", k > 0 ? " " : "", addr);
		}
		rc = buf_err(&text);
		if (rc == 0)
			rc = db_run(db, SQL_AUTHORITY_INSERT,
				    ARGS(arg_int(id), arg_key(&a->peer),
					 arg_text((char *)text.data, text.len)));
	}
	return rc;
}

static int add_commit_row(struct db *db, const struct commit *c, const struct hash *hash,
			  int64_t id, int64_t object)
{
	return db_run(db, SQL_COMMIT_INSERT,
		      ARGS(arg_int(id), arg_int(object), arg_int((int64_t)c->time_s),
			   arg_hash(hash), arg_key(&c->author),
			   arg_bytes(c->tombstone ? NULL : c->root.bytes, HASH_SIZE),
			   arg_int(c->tombstone ? 0 : c->root_kind),
			   arg_int((int64_t)MIN(c->content_bytes, (uint64_t)INT64_MAX)),
			   arg_int((int64_t)MIN(c->content_blobs, (uint64_t)INT64_MAX))));
}

/* What a commit links to: looked up before its node is made, so that this is written once. */
struct commit_targets {
	struct node capability;
	struct node_target root;
	int64_t pending;
};

static int find_targets(struct write *w, const struct commit *c, struct commit_targets *ret)
{
	int rc = 0;

	*ret = (struct commit_targets){ 0 };
	if (c->has_capability) {
		rc = node_find(w->db, &c->capability, OBJECT_CAPABILITY, &ret->capability);
		if (rc == 0 && (ret->capability.state & NODE_PUBLIC) == 0)
			rc = node_make_public(w, &ret->capability, OBJECT_CAPABILITY);
		ret->pending += ret->capability.pending != 0;
	}
	if (rc == 0 && !c->tombstone) {
		rc = node_find_target(w->db, &c->root, c->root_kind, &ret->root);
		ret->pending += ret->root.node.pending != 0;
	}
	return rc;
}

static int link_targets(struct write *w, const struct commit *c, int64_t id,
			struct commit_targets *t)
{
	int rc = c->has_capability ? node_link(w, id, t->capability.id) : 0;

	if (rc == 0 && !c->tombstone)
		rc = node_link_target(w, id, &c->root, c->root_kind, &t->root);
	return rc == 0 && t->pending == 0 ? node_completed(w->db, id, OBJECT_COMMIT) : rc;
}

static int report(struct write *w, const struct commit *c, const struct hash *hash)
{
	if (w->commit_count == w->commit_cap) {
		size_t cap = w->commit_cap > 0 ? w->commit_cap * 2 : 16;
		struct store_new_commit *list = mem_realloc(w->commits, cap * sizeof(*list));

		if (list == NULL)
			return UV_ENOMEM;
		w->commits = list;
		w->commit_cap = cap;
	}
	w->commits[w->commit_count] = (struct store_new_commit){
		.space = c->space,
		.path = mem_strndup(c->path, c->path_len),
		.hash = *hash,
		.time_s = c->time_s,
	};
	if (w->commits[w->commit_count].path == NULL)
		return UV_ENOMEM;
	w->commit_count++;
	return 0;
}

static int update_object(struct db *db, const struct object_row *o, int64_t heads_before)
{
	if (heads_before <= 1 && o->heads > 1)
		db_add(db, TOTAL_CONFLICTS, 1);
	else if (heads_before > 1 && o->heads <= 1)
		db_add(db, TOTAL_CONFLICTS, -1);
	return db_run(db, SQL_OBJECT_UPDATE,
		      ARGS(arg_int(o->id), arg_int(o->commits), arg_int(o->heads),
			   arg_int(o->open_heads), arg_int(o->newest_s)));
}

int commit_accept(struct write *w, const struct commit *c, const struct hash *hash,
		  const void *bytes, size_t len)
{
	struct commit_targets targets;
	struct object_row object;
	int64_t heads_before, id = 0;
	int rc = find_targets(w, c, &targets);

	if (rc == 0)
		rc = object_intern(w->db, c, &object);
	if (rc == 0)
		rc = node_insert_public(w, hash, OBJECT_COMMIT, bytes, len, targets.pending, &id);
	if (rc < 0)
		return rc;
	heads_before = object.heads;
	rc = add_parents(w->db, c, id, &object);
	if (rc == 0)
		rc = add_commit_row(w->db, c, hash, id, object.id);
	if (rc == 0)
		rc = add_authorities(w->db, c, id);
	if (rc < 0)
		return rc;
	object.commits++;
	object.heads++;
	object.open_heads++;
	object.newest_s = MAX(object.newest_s, (int64_t)c->time_s);
	db_add(w->db, TOTAL_COMMITS, 1);
	rc = update_object(w->db, &object, heads_before);
	if (rc == 0)
		rc = link_targets(w, c, id, &targets);
	return rc == 0 ? report(w, c, hash) : rc;
}

int commit_completed(struct db *db, int64_t id)
{
	int64_t object = 0, head = 0;
	int rc;

	{
		CLEANUP(db_done)
		sqlite3_stmt *q = db_query(db, SQL_COMMIT_COMPLETE, ARGS(arg_int(id)));

		while ((rc = db_row(db, q)) > 0) {
			object = sqlite3_column_int64(q, 0);
			head = sqlite3_column_int64(q, 1);
		}
	}
	if (rc < 0 || head == 0)
		return rc;
	return db_run(db, SQL_OBJECT_HEAD_COMPLETE, ARGS(arg_int(object)));
}
