/* Nodes, links, and what is complete.
 *
 * A public node counts in `pending` the link targets that are not complete. When that becomes 0,
 * every public source counts one less, and so on upwards: each link is counted down once in its
 * life, so being asked "is all of it here?" costs one look. Links cannot form cycles, since a
 * blob's hash covers the hashes it lists.
 *
 * A private node (put here by the user, not published) is wanted like an absent one when something
 * public from a peer links to it, and becomes public only when somebody brings its bytes or the
 * user publishes it: knowing a hash must not be enough to be given what it names. */
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/internal.h"

int id_list_add(struct id_list *l, int64_t id)
{
	if (l->count == l->cap) {
		size_t cap = l->cap > 0 ? l->cap * 2 : 64;
		int64_t *ids = mem_realloc(l->ids, cap * sizeof(*ids));

		if (ids == NULL)
			return UV_ENOMEM;
		l->ids = ids;
		l->cap = cap;
	}
	l->ids[l->count++] = id;
	return 0;
}

void id_list_fini(struct id_list *l)
{
	mem_free(l->ids);
	*l = (struct id_list){ 0 };
}

int node_find(struct db *db, const struct hash *hash, enum object_kind kind, struct node *ret)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_NODE_FIND, ARGS(arg_hash(hash), arg_int(kind)));
	int rc = db_row(db, q);

	*ret = (struct node){ .pending = -1 };
	if (rc > 0) {
		ret->id = sqlite3_column_int64(q, 0);
		ret->state = (unsigned)sqlite3_column_int64(q, 1);
		ret->pending = sqlite3_column_int64(q, 2);
	}
	return MIN(rc, 0);
}

int node_find_bytes(struct db *db, const struct hash *hash, bool public_only, struct node *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_NODE_TWINS, ARGS(arg_hash(hash)));
	int rc;

	*ret = (struct node){ .pending = -1 };
	while ((rc = db_row(db, q)) > 0) {
		unsigned state = (unsigned)sqlite3_column_int64(q, 1);

		if ((state & NODE_STORED) == 0 || (public_only && (state & NODE_PUBLIC) == 0))
			continue;
		ret->id = sqlite3_column_int64(q, 0);
		ret->state = state;
		break;
	}
	return MIN(rc, 0);
}

int node_intern(struct db *db, const struct hash *hash, enum object_kind kind, uint32_t size,
		struct node *ret)
{
	int rc = node_find(db, hash, kind, ret);

	if (rc < 0 || ret->id != 0)
		return rc;
	rc = db_run(db, SQL_NODE_INSERT, ARGS(arg_hash(hash), arg_int(kind), arg_int(size)));
	if (rc == 0)
		ret->id = sqlite3_last_insert_rowid(db->sqlite);
	return rc;
}

int node_link(struct write *w, int64_t source, int64_t target)
{
	w->links++;
	return db_run(w->db, SQL_LINK_INSERT, ARGS(arg_int(source), arg_int(target)));
}

int node_store_bytes(struct write *w, struct node *n, enum object_kind kind, const void *bytes,
		     size_t len)
{
	int rc = db_run(w->db, SQL_CONTENT_INSERT,
			ARGS(arg_int(n->id), arg_bytes(len > 0 ? bytes : "", len)));

	if (rc == 0)
		rc = db_run(w->db, SQL_NODE_STORED, ARGS(arg_int(n->id), arg_int((int64_t)len)));
	if (rc < 0)
		return rc;
	n->state |= NODE_STORED;
	db_add(w->db, TOTAL_BLOBS, 1);
	db_add(w->db, TOTAL_BLOB_BYTES, (int64_t)len);
	if (kind == OBJECT_TREE)
		db_add(w->db, TOTAL_TREES, 1);
	return 0;
}

struct link_visit {
	struct write *w;
	int64_t source;
	int rc;
};

static bool visit_link(void *data, const struct object_link *l)
{
	struct link_visit *v = data;
	struct node target;

	v->rc = node_intern(v->w->db, &l->target, l->kind, l->size, &target);
	if (v->rc == 0)
		v->rc = node_link(v->w, v->source, target.id);
	return v->rc == 0;
}

int node_store(struct write *w, struct node *n, enum object_kind kind, const void *bytes,
	       size_t len, int *ret_verdict)
{
	struct link_visit visit = { .w = w, .source = n->id };
	int rc;

	*ret_verdict = 0;
	if (kind != OBJECT_CHUNK) {
		rc = object_links(kind, bytes, len, visit_link, &visit);
		if (visit.rc < 0)
			return visit.rc;
		if (rc == UV_ENOMEM)
			return rc;
		if (rc < 0) {
			*ret_verdict = rc;
			return 0;
		}
	}
	return node_store_bytes(w, n, kind, bytes, len);
}

/* ---- Completeness ---- */

static int sources_done(struct db *db, int64_t id, struct id_list *complete)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_NODE_SOURCES_DONE, ARGS(arg_int(id)));
	int rc, failed = 0;

	while ((rc = db_row(db, q)) > 0) {
		if (sqlite3_column_int64(q, 1) > 0)
			continue;
		failed = id_list_add(complete, sqlite3_column_int64(q, 0));
		if (failed == 0)
			failed = id_list_add(complete, sqlite3_column_int64(q, 2));
		if (failed < 0)
			return failed;
	}
	return rc;
}

/* The list holds pairs: id, kind. */
static int propagate(struct db *db, struct id_list *complete)
{
	int rc = 0;

	while (complete->count > 0 && rc == 0) {
		int64_t kind = complete->ids[--complete->count];
		int64_t id = complete->ids[--complete->count];

		rc = kind == OBJECT_COMMIT ? commit_completed(db, id) :
					     sources_done(db, id, complete);
	}
	return rc;
}

int node_completed(struct db *db, int64_t id, enum object_kind kind)
{
	CLEANUP(id_list_fini) struct id_list complete = { 0 };
	int rc = id_list_add(&complete, id);

	if (rc == 0)
		rc = id_list_add(&complete, kind);
	return rc == 0 ? propagate(db, &complete) : rc;
}

/* ---- Becoming public ---- */

static int note_wanted(struct write *w, int64_t id, int64_t source)
{
	int rc = id_list_add(&w->wanted, id);

	db_add(w->db, TOTAL_WANTED, 1);
	return rc == 0 ? id_list_add(&w->wanted, source) : rc;
}

static int want_targets(struct write *w, int64_t source)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(w->db, SQL_NODE_WANT_TARGETS, ARGS(arg_int(source)));
	int rc, failed;

	while ((rc = db_row(w->db, q)) > 0) {
		failed = note_wanted(w, sqlite3_column_int64(q, 0), source);
		if (failed < 0)
			return failed;
	}
	return rc;
}

/* A new want may be here under another kind. "Has" goes by hash, so nobody would ever ask for it.
 */
static int note_twins(struct write *w, int64_t source)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(w->db, SQL_NODE_TWIN_TARGETS, ARGS(arg_int(source)));
	int rc, failed;

	while ((rc = db_row(w->db, q)) > 0) {
		failed = id_list_add(&w->twins, sqlite3_column_int64(q, 0));
		if (failed == 0)
			failed = id_list_add(&w->twins, sqlite3_column_int64(q, 1));
		if (failed < 0)
			return failed;
	}
	return rc;
}

int node_make_public(struct write *w, struct node *n, enum object_kind kind)
{
	int64_t pending = 0;
	int rc = 0;

	REQUIRE((n->state & NODE_STORED) != 0 && (n->state & NODE_PUBLIC) == 0);
	if (kind != OBJECT_CHUNK) {
		rc = want_targets(w, n->id);
		if (rc == 0)
			rc = note_twins(w, n->id);
		if (rc == 0)
			rc = db_status(
				db_int(w->db, SQL_NODE_PENDING, ARGS(arg_int(n->id)), &pending));
	}
	if (rc == 0)
		rc = db_run(w->db, SQL_NODE_PUBLIC, ARGS(arg_int(n->id), arg_int(pending)));
	if (rc < 0)
		return rc;
	if ((n->state & NODE_WANTED) != 0)
		db_add(w->db, TOTAL_WANTED, -1);
	n->state = NODE_STORED | NODE_PUBLIC;
	n->pending = pending;
	return pending == 0 ? node_completed(w->db, n->id, kind) : 0;
}

int node_insert_public(struct write *w, const struct hash *hash, enum object_kind kind,
		       const void *bytes, size_t len, int64_t pending, int64_t *ret_id)
{
	int rc = db_run(
		w->db, SQL_NODE_INSERT_PUBLIC,
		ARGS(arg_hash(hash), arg_int(kind), arg_int((int64_t)len), arg_int(pending)));

	if (rc < 0)
		return rc;
	*ret_id = sqlite3_last_insert_rowid(w->db->sqlite);
	rc = db_run(w->db, SQL_CONTENT_INSERT,
		    ARGS(arg_int(*ret_id), arg_bytes(len > 0 ? bytes : "", len)));
	if (rc < 0)
		return rc;
	db_add(w->db, TOTAL_BLOBS, 1);
	db_add(w->db, TOTAL_BLOB_BYTES, (int64_t)len);
	return 0;
}

int node_find_target(struct db *db, const struct hash *hash, enum object_kind kind,
		     struct node_target *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_NODE_TWINS, ARGS(arg_hash(hash)));
	int rc;

	*ret = (struct node_target){ .node.pending = -1 };
	while ((rc = db_row(db, q)) > 0) {
		int64_t id = sqlite3_column_int64(q, 0);
		unsigned state = (unsigned)sqlite3_column_int64(q, 1);

		if (sqlite3_column_int64(q, 2) == (int64_t)kind)
			ret->node = (struct node){ id, state, sqlite3_column_int64(q, 3) };
		else if (state == (NODE_STORED | NODE_PUBLIC))
			ret->twin = id;
	}
	return rc;
}

static int want_target(struct write *w, int64_t source, const struct hash *hash,
		       enum object_kind kind, struct node *n)
{
	int rc;

	if ((n->state & (NODE_WANTED | NODE_PUBLIC)) != 0)
		return 0;
	if (n->id != 0)
		rc = db_run(w->db, SQL_NODE_WANTED, ARGS(arg_int(n->id)));
	else
		rc = db_run(w->db, SQL_NODE_INSERT_WANTED, ARGS(arg_hash(hash), arg_int(kind)));
	if (rc < 0)
		return rc;
	if (n->id == 0)
		n->id = sqlite3_last_insert_rowid(w->db->sqlite);
	n->state |= NODE_WANTED;
	return note_wanted(w, n->id, source);
}

int node_link_target(struct write *w, int64_t source, const struct hash *hash,
		     enum object_kind kind, struct node_target *t)
{
	int rc = want_target(w, source, hash, kind, &t->node);

	if (rc == 0 && t->node.state == NODE_WANTED && t->twin != 0) {
		rc = id_list_add(&w->twins, t->node.id);
		if (rc == 0)
			rc = id_list_add(&w->twins, t->twin);
	}
	return rc == 0 ? node_link(w, source, t->node.id) : rc;
}

struct publish_walk {
	struct write *w;
	struct id_list stack; /* to be descended into */
	struct id_list were_wanted;
	struct map seen; /* public ones that are not complete, by id */
};

/* One node of the closure: 0, or ERR_MISSING. Private ones are marked at once, public incomplete
 * ones remembered, so that each is descended into once. */
static int publish_one(struct publish_walk *p, int64_t id, unsigned state, int64_t pending)
{
	struct write *w = p->w;
	int rc;

	if (pending == 0 || map_get(&p->seen, &id, sizeof(id)) != NULL)
		return 0;
	if ((state & NODE_STORED) == 0)
		return ERR_MISSING;
	rc = id_list_add(&p->stack, id);
	if (rc == 0 && (state & NODE_PUBLIC) != 0)
		return map_put(&p->seen, &id, sizeof(id), w);
	if (rc == 0)
		rc = db_run(w->db, SQL_NODE_PUBLIC, ARGS(arg_int(id), arg_int(0)));
	if (rc == 0 && (state & NODE_WANTED) != 0) {
		db_add(w->db, TOTAL_WANTED, -1);
		rc = id_list_add(&p->were_wanted, id);
	}
	return rc;
}

/* Marking changes the rows that a query would be reading, so the targets are listed first. */
static int publish_targets(struct publish_walk *p, int64_t source)
{
	CLEANUP(id_list_fini) struct id_list targets = { 0 };
	int rc = 0, failed = 0;

	{
		CLEANUP(db_done)
		sqlite3_stmt *q = db_query(p->w->db, SQL_LINK_TARGETS, ARGS(arg_int(source)));

		while (failed == 0 && (rc = db_row(p->w->db, q)) > 0)
			for (int i = 0; i < 3 && failed == 0; i++)
				failed = id_list_add(&targets, sqlite3_column_int64(q, i));
	}
	if (failed == 0)
		failed = rc;
	for (size_t i = 0; i < targets.count && failed == 0; i += 3)
		failed = publish_one(p, targets.ids[i], (unsigned)targets.ids[i + 1],
				     targets.ids[i + 2]);
	return failed;
}

static int publish_walk(struct publish_walk *p, int64_t id)
{
	int64_t state = 0, pending = 0;
	int rc;

	{
		CLEANUP(db_done)
		sqlite3_stmt *q = db_query(p->w->db, SQL_NODE_GET, ARGS(arg_int(id)));

		rc = db_row(p->w->db, q);
		if (rc > 0) {
			state = sqlite3_column_int64(q, 0);
			pending = sqlite3_column_int64(q, 1);
		}
	}
	rc = rc > 0 ? publish_one(p, id, (unsigned)state, pending) : rc == 0 ? ERR_MISSING : rc;
	while (rc == 0 && p->stack.count > 0)
		rc = publish_targets(p, p->stack.ids[--p->stack.count]);
	/* Sources outside the closure, and the public ones in it, were counting these. */
	for (size_t i = 0; i < p->were_wanted.count && rc == 0; i++)
		rc = node_completed(p->w->db, p->were_wanted.ids[i], OBJECT_TREE);
	return rc;
}

int node_publish_closure(struct write *w, int64_t id)
{
	struct publish_walk p = { .w = w };
	int rc;

	map_init(&p.seen, STORE_WALK_MAX);
	rc = publish_walk(&p, id);
	map_fini(&p.seen);
	id_list_fini(&p.stack);
	id_list_fini(&p.were_wanted);
	return rc;
}

/* ---- Reading ---- */

int node_read(struct store *s, int64_t id, const struct hash *hash, uint8_t **ret, size_t *ret_len)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(&s->db, SQL_CONTENT_GET, ARGS(arg_int(id)));
	int rc = db_row(&s->db, q);
	const void *bytes;
	struct hash is;
	size_t len;

	if (rc < 0)
		return rc;
	bytes = rc > 0 ? sqlite3_column_blob(q, 0) : NULL;
	len = rc > 0 ? (size_t)sqlite3_column_bytes(q, 0) : 0;
	if (bytes == NULL && len > 0)
		return UV_ENOMEM;
	is = hash_of(bytes != NULL ? bytes : "", len);
	if (rc == 0 || !hash_eq(&is, hash)) {
		s->damaged++;
		return ERR_VERIFY;
	}
	*ret = mem_dup(bytes != NULL ? bytes : "", len);
	*ret_len = len;
	return *ret == NULL ? UV_ENOMEM : 0;
}
