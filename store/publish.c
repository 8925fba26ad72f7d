/* Making a version: one transaction reads the heads, signs, makes the closure of the root public
 * and accepts the commit, so that no other version can come between. The commit goes through the
 * same checks as one from a peer. */
#include <sodium.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/internal.h"

struct present {
	int64_t object; /* 0 = unknown */
	int64_t ids[OBJECT_PARENTS_MAX];
	struct hash heads[OBJECT_PARENTS_MAX];
	size_t count;
	uint64_t newest_s;
	bool same_root; /* of the last head read */
};

static bool has_same_root(sqlite3_stmt *q, const struct commit *c)
{
	const void *root = sqlite3_column_blob(q, 4);

	if (c->tombstone || root == NULL)
		return c->tombstone && root == NULL;
	return sqlite3_column_bytes(q, 4) == HASH_SIZE &&
	       memcmp(root, c->root.bytes, HASH_SIZE) == 0 &&
	       sqlite3_column_int64(q, 5) == (int64_t)c->root_kind;
}

static int load_present(struct db *db, const struct commit *c, struct present *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	struct object_row object;
	int rc = object_find(db, &c->space, c->path, c->path_len, &object);

	*ret = (struct present){ 0 };
	if (rc < 0 || object.id == 0)
		return rc;
	ret->object = object.id;
	q = db_query(db, SQL_HEADS, ARGS(arg_int(object.id), arg_int(OBJECT_PARENTS_MAX)));
	while (ret->count < OBJECT_PARENTS_MAX && (rc = db_row(db, q)) > 0) {
		ret->ids[ret->count] = sqlite3_column_int64(q, 0);
		rc = db_column_hash(db, q, 1, &ret->heads[ret->count]);
		if (rc < 0)
			return rc;
		ret->newest_s = MAX(ret->newest_s, (uint64_t)sqlite3_column_int64(q, 3));
		ret->same_root = has_same_root(q, c);
		ret->count++;
	}
	return MIN(rc, 0);
}

static bool same_authorities(const struct commit *a, const struct commit *b)
{
	if (a->authority_count != b->authority_count)
		return false;
	for (size_t i = 0; i < a->authority_count; i++) {
		const struct authority *x = &a->authorities[i], *y = &b->authorities[i];

		if (!key_eq(&x->peer, &y->peer) || x->addr_count != y->addr_count)
			return false;
		for (size_t k = 0; k < x->addr_count; k++)
			if (!multiaddr_eq(&x->addrs[k], &y->addrs[k]))
				return false;
	}
	return true;
}

/* Nothing to say that the single head does not say. */
static int check_unchanged(struct store *s, struct store_publish *p, const struct present *h)
{
	CLEANUP(mem_freep) uint8_t *bytes = NULL;
	struct commit head;
	size_t len;
	int rc;

	if (h->count != 1 || !h->same_root || p->commit.parent_count > 0)
		return 0;
	rc = node_read(s, h->ids[0], &h->heads[0], &bytes, &len);
	if (rc == 0)
		rc = commit_decode(bytes, len, &head);
	if (rc < 0)
		return rc == UV_ENOMEM ? rc : ERR_CORRUPT;
	if (same_authorities(&p->commit, &head) &&
	    commit_root_mode(&p->commit) == commit_root_mode(&head)) {
		p->unchanged = true;
		p->hash = h->heads[0];
		p->time_s = head.time_s;
	}
	return 0;
}

/* What nobody who publishes has seen must not be joined or undone without a word. */
static int check_conflict(struct db *db, struct store_publish *p, const struct present *h)
{
	struct store_conflict *c = &p->conflict;
	int rc = 0;

	/* A slip of the pen: what was never there is not gone, and a statement stays for ever. */
	if (h->count == 0 && p->commit.tombstone && p->commit.parent_count == 0 && !p->origin.over)
		return ERR_NOT_FOUND;
	if (h->count == 0 || p->commit.parent_count > 0 || p->origin.over)
		return 0;
	if (h->count > 1) {
		c->kind = STORE_CONFLICT_HEADS;
		rc = ERR_CONFLICT;
	} else {
		rc = origin_check(db, h->object, &p->origin, &h->heads[0], c);
	}
	if (rc == ERR_CONFLICT) {
		memcpy(c->heads, h->heads, h->count * sizeof(*h->heads));
		c->head_count = h->count;
		c->newest_s = h->newest_s;
	}
	return rc;
}

static int note_origin(struct db *db, const struct store_publish *p)
{
	struct object_row object;
	int rc = object_find(db, &p->commit.space, p->commit.path, p->commit.path_len, &object);

	if (rc == 0)
		rc = origin_note(db, object.id, p->origin.folder, &p->hash, true,
				 p->request.wall_s);
	return rc;
}

static int newest_parent(struct db *db, const struct commit *c, uint64_t *newest_s)
{
	struct commit_row row;
	int rc = 0;

	for (size_t i = 0; i < c->parent_count && rc == 0; i++) {
		rc = commit_find(db, &c->parents[i], &row);
		if (rc == 0 && row.id == 0)
			rc = ERR_MISSING;
		*newest_s = MAX(*newest_s, row.time_s);
	}
	return rc;
}

static int fill_in(struct store *s, struct store_publish *p, const struct present *h)
{
	struct commit *c = &p->commit;
	uint64_t newest_s = 0;
	int rc;

	if (c->parent_count == 0) {
		memcpy(c->parents, h->heads, h->count * sizeof(*h->heads));
		c->parent_count = h->count;
	}
	rc = newest_parent(&s->db, c, &newest_s);
	if (rc < 0)
		return rc;
	/* A parent may claim the end of time: its children then share it, and stay publishable. */
	if (c->time_s == 0)
		c->time_s = c->parent_count > 0 ?
				    MIN(MAX(p->request.wall_s, newest_s + 1), (uint64_t)INT64_MAX) :
				    p->request.wall_s;
	return c->time_s > INT64_MAX ? ERR_LIMIT : 0;
}

static int publish_root(struct write *w, const struct commit *c)
{
	struct node root;
	int rc;

	if (c->tombstone)
		return 0;
	rc = node_find(w->db, &c->root, c->root_kind, &root);
	if (rc < 0)
		return rc;
	return root.id != 0 ? node_publish_closure(w, root.id) : ERR_MISSING;
}

static int sign_and_accept(struct write *w, struct store_publish *p)
{
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct commit_missing missing;
	struct commit_row known = { 0 };
	struct commit signed_commit;
	int verdict = 0, rc;

	buf_init(&blob, OBJECT_COMMIT_MAX);
	rc = commit_sign(&p->commit, p->secret, &blob);
	if (rc == 0)
		rc = commit_decode(blob.data, blob.len, &signed_commit);
	if (rc == ERR_VERIFY)
		rc = ERR_UNAUTHORIZED; /* the key is not the author's */
	if (rc == 0)
		rc = commit_check(w->s, &signed_commit, &missing, &verdict);
	if (rc < 0 || verdict < 0)
		return rc < 0 ? rc : verdict;
	p->hash = hash_of(blob.data, blob.len);
	p->time_s = signed_commit.time_s;
	rc = commit_find(w->db, &p->hash, &known);
	if (rc < 0 || known.id != 0) {
		p->unchanged = known.id != 0;
		return rc;
	}
	rc = publish_root(w, &signed_commit);
	if (rc == 0)
		rc = commit_accept(w, &signed_commit, &p->hash, blob.data, blob.len);
	return rc == 0 ? stash_arrived(w->db, &p->hash, OBJECT_COMMIT) : rc;
}

static int publish(struct write *w, struct store_publish *p)
{
	struct present present;
	int rc = load_present(w->db, &p->commit, &present);

	if (rc == 0)
		rc = check_unchanged(w->s, p, &present);
	if (rc == 0 && !p->unchanged)
		rc = check_conflict(w->db, p, &present);
	if (rc == 0 && !p->unchanged)
		rc = fill_in(w->s, p, &present);
	if (rc == 0 && !p->unchanged)
		rc = sign_and_accept(w, p);
	return rc == 0 ? note_origin(w->db, p) : rc;
}

static int run_publish(struct store *s, struct store_request *r)
{
	struct store_publish *p = container_of(r, struct store_publish, request);
	struct write w;
	int rc = tx_begin(s);

	if (rc < 0)
		return rc;
	write_init(&w, s, p->request.wall_s);
	rc = publish(&w, p);
	if (rc == 0)
		rc = tx_commit(s);
	if (rc < 0) {
		tx_rollback(s);
		p->hash = (struct hash){ 0 };
	}
	write_fini(&w);
	return rc;
}

static void publish_tick(struct op *op)
{
	struct store_publish *p = container_of(op, struct store_publish, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind publish_kind = { "store.publish", request_write_states,
					     REQUEST_STATE_COUNT, publish_tick };

void store_publish_start(struct store_publish *p, const struct op_env *env, struct store *s,
			 const struct commit *commit, const uint8_t secret[64],
			 const struct store_origin *origin, store_publish_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(commit->parent_count <= OBJECT_PARENTS_MAX);
	*p = (struct store_publish){
		.data = p->data, .cb = cb, .commit = *commit, .origin = *origin
	};
	memcpy(p->secret, secret, sizeof(p->secret));
	request_start(&p->request, &p->op, &publish_kind, &copy, s, true, run_publish);
}

void store_publish_fini(struct store_publish *p)
{
	sodium_memzero(p->secret, sizeof(p->secret));
}
