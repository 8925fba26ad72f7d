/* What is wanted: of a scope, by walking what is incomplete below its commits; and what one put
 * added, from the ids it noted.
 *
 * Priority is worked out when somebody asks, not stored: content that a head leads to is needed
 * now, content that only older commits lead to is history. So nothing has to be lowered when a
 * commit stops being a head. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"

/* ---- What a put made wanted ---- */

/* Content of commits that are not heads can wait. Unknown counts as needed: the walk is bounded. */
static int walk_to_head(struct db *db, int64_t source, bool *ret)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_NODE_UNDER_HEAD,
				   ARGS(arg_int(source), arg_int(STORE_HISTORY_WALK_MAX)));
	int rc = db_row(db, q);

	*ret = rc > 0 && (sqlite3_column_int64(q, 0) != 0 ||
			  sqlite3_column_int64(q, 1) >= STORE_HISTORY_WALK_MAX);
	return MIN(rc, 0);
}

/* Nothing links to a commit: of one, its own row says it. */
static int leads_to_head(struct db *db, int64_t source, bool *ret)
{
	int64_t head;
	int rc = db_int(db, SQL_COMMIT_IS_HEAD, ARGS(arg_int(source)), &head);

	if (rc == 0)
		return walk_to_head(db, source, ret);
	*ret = rc > 0 && head != 0;
	return MIN(rc, 0);
}

uint8_t store_want_priority(enum object_kind kind, uint32_t size)
{
	switch (kind) {
	case OBJECT_COMMIT:
	case OBJECT_CAPABILITY: return STORE_WANT_COMMIT;
	case OBJECT_TREE:
	case OBJECT_FILE: return STORE_WANT_TREE;
	case OBJECT_CHUNK: break;
	}
	return size <= STORE_SMALL_MAX ? STORE_WANT_SMALL : STORE_WANT_BULK;
}

/* 1 = it is still wanted, 0 = it came meanwhile or is known to be bad. */
static int want_of_node(struct db *db, int64_t id, bool history, struct store_want *ret)
{
	int rc, refused;

	{
		CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_NODE_GET, ARGS(arg_int(id)));

		rc = db_row(db, q);
		if (rc <= 0 || (sqlite3_column_int64(q, 0) & NODE_WANTED) == 0)
			return MIN(rc, 0);
		ret->kind = (enum object_kind)sqlite3_column_int64(q, 2);
		ret->size = (uint32_t)sqlite3_column_int64(q, 4);
		rc = db_column_hash(db, q, 3, &ret->hash);
	}
	ret->priority = history ? STORE_WANT_HISTORY : store_want_priority(ret->kind, ret->size);
	if (rc == 0)
		rc = refused_find(db, &ret->hash, ret->kind, &refused);
	if (rc < 0)
		return rc;
	return refused == 0;
}

struct want_list {
	struct store_want *list;
	size_t count, cap;
};

static int want_add(struct want_list *l, const struct store_want *want)
{
	if (l->count == l->cap) {
		size_t cap = l->cap > 0 ? l->cap * 2 : 64;
		struct store_want *list = mem_realloc(l->list, cap * sizeof(*list));

		if (list == NULL)
			return UV_ENOMEM;
		l->list = list;
		l->cap = cap;
	}
	l->list[l->count++] = *want;
	return 0;
}

static int want_cmp(const void *a, const void *b)
{
	const struct store_want *x = a, *y = b;

	return hash_cmp(&x->hash, &y->hash);
}

/* Several commits of a batch tend to wait for the same one. */
static void want_dedup(struct want_list *l)
{
	size_t kept = 0;

	if (l->count > 1)
		qsort(l->list, l->count, sizeof(*l->list), want_cmp);
	for (size_t i = 0; i < l->count; i++)
		if (i == 0 || !hash_eq(&l->list[kept - 1].hash, &l->list[i].hash))
			l->list[kept++] = l->list[i];
	l->count = kept;
}

static int wants_of_let_go(struct want_list *l, const struct store_blob *b)
{
	int rc = 0;

	for (size_t i = 0; i < b->need_count && rc == 0 && l->count < STORE_PUT_WANTS_MAX; i++) {
		struct store_want want = { .hash = b->needs[i].hash,
					   .kind = b->needs[i].kind,
					   .priority = STORE_WANT_COMMIT };

		rc = want_add(l, &want);
	}
	return rc;
}

static int wants_of_stash(struct db *db, const struct store_put *p, struct want_list *l)
{
	int rc = 0;

	for (size_t i = 0; i < p->next && rc == 0 && p->stashed + p->let_go > 0; i++) {
		CLEANUP(db_done) sqlite3_stmt *q = NULL;

		if (p->blobs[i].status != ERR_MISSING)
			continue;
		if (p->blobs[i].let_go) {
			rc = wants_of_let_go(l, &p->blobs[i]);
			continue;
		}
		q = db_query(db, SQL_STASH_NEEDS, ARGS(arg_hash(&p->blobs[i].hash)));
		while (rc == 0 && l->count < STORE_PUT_WANTS_MAX && (rc = db_row(db, q)) > 0) {
			struct store_want want = { .priority = STORE_WANT_COMMIT };

			want.kind = (enum object_kind)sqlite3_column_int64(q, 1);
			rc = db_column_hash(db, q, 0, &want.hash);
			if (rc == 0)
				rc = want_add(l, &want);
		}
	}
	want_dedup(l);
	return rc;
}

static int wants_of_nodes(struct db *db, const struct store_put_progress *g, struct want_list *l)
{
	struct store_want want;
	int64_t source = 0;
	bool head = true;
	int rc = 0;

	for (size_t i = 0; i < g->wanted.count && rc >= 0; i += 2) {
		if (g->wanted.ids[i + 1] != source) {
			source = g->wanted.ids[i + 1];
			rc = leads_to_head(db, source, &head);
			if (rc < 0)
				break;
		}
		rc = want_of_node(db, g->wanted.ids[i], !head, &want);
		if (rc > 0)
			rc = want_add(l, &want);
	}
	return MIN(rc, 0);
}

/* By priority; within one, the order of the links. */
static int sort_wants(const struct want_list *l, struct store_put *p)
{
	struct store_want *sorted = mem_alloc_array(MAX(l->count, 1), sizeof(*sorted));
	size_t n = 0;

	if (sorted == NULL)
		return UV_ENOMEM;
	for (unsigned priority = STORE_WANT_COMMIT; priority <= STORE_WANT_HISTORY; priority++)
		for (size_t i = 0; i < l->count; i++)
			if (l->list[i].priority == priority)
				sorted[n++] = l->list[i];
	p->wants = sorted;
	p->want_count = n;
	return 0;
}

int put_report_wants(struct store *s, struct store_put *p)
{
	struct want_list l = { 0 };
	int rc = wants_of_stash(&s->db, p, &l);

	if (rc == 0)
		rc = wants_of_nodes(&s->db, p->progress, &l);
	if (rc == 0)
		rc = sort_wants(&l, p);
	p->wants_total = p->want_count + p->progress->wants_dropped;
	mem_free(l.list);
	return rc;
}

/* ---- What a scope wants ---- */

static int add_want(struct store_wants *w, size_t *cap, const struct store_want *want)
{
	w->total++;
	if (w->count >= w->limit)
		return 0;
	if (w->count == *cap) {
		size_t more = *cap > 0 ? MIN(*cap * 2, w->limit) : MIN((size_t)256, w->limit);
		struct store_want *list = mem_realloc(w->wants, more * sizeof(*list));

		if (list == NULL)
			return UV_ENOMEM;
		w->wants = list;
		*cap = more;
	}
	w->wants[w->count++] = *want;
	return 0;
}

/* What stashed commits wait for comes first: nothing of their content is known without it. */
static int load_stash_wants(struct db *db, struct scope_args *a, struct store_wants *w, size_t *cap)
{
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	int rc;

	if (db->totals.v[TOTAL_STASHED] == 0)
		return 0;
	q = db_query(db, SQL_STASH_WANTS, a->list, 5);
	while ((rc = db_row(db, q)) > 0) {
		struct store_want want = { .priority = STORE_WANT_COMMIT };
		int status = 0;

		want.kind = (enum object_kind)sqlite3_column_int64(q, 1);
		rc = db_column_hash(db, q, 0, &want.hash);
		if (rc == 0)
			rc = refused_find(db, &want.hash, want.kind, &status);
		if (rc == 0 && status == 0)
			rc = add_want(w, cap, &want);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int load_wants(struct db *db, struct store_wants *w, size_t *cap)
{
	CLEANUP(db_done)
	sqlite3_stmt *q =
		db_query(db, SQL_WANTS, ARGS(arg_int(STORE_SMALL_MAX), arg_int(w->max_priority)));
	int rc;

	while ((rc = db_row(db, q)) > 0) {
		struct store_want want;

		want.kind = (enum object_kind)sqlite3_column_int64(q, 1);
		want.size = (uint32_t)sqlite3_column_int64(q, 2);
		want.priority = (uint8_t)sqlite3_column_int64(q, 3);
		rc = db_column_hash(db, q, 0, &want.hash);
		if (rc == 0)
			rc = add_want(w, cap, &want);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int start_pinned(struct db *db, const struct store_wants *w)
{
	struct object_row object;
	struct commit_row c;
	int rc = object_find(db, &w->scope.space, w->scope.path, w->scope.path_len, &object);

	for (size_t i = 0; i < w->pinned_count && rc == 0; i++) {
		rc = commit_find(db, &w->pinned[i], &c);
		if (rc == 0 && c.id != 0 && c.object == object.id && !c.complete)
			rc = db_run(db, SQL_START_ADD, ARGS(arg_int(c.id)));
	}
	return rc;
}

static int start_scope(struct db *db, struct scope_args *a, const struct store_wants *w)
{
	int rc = db_run(db, SQL_START_HEADS, a->list, 6);

	if (rc == 0 && w->max_priority >= STORE_WANT_HISTORY)
		rc = db_run(db, SQL_START_HISTORY, a->list, 5);
	return rc;
}

static int run_wants(struct store *s, struct store_request *r)
{
	struct store_wants *w = container_of(r, struct store_wants, request);
	struct scope_args a;
	size_t cap = 0;
	int rc;

	scope_args(&w->scope, &a);
	rc = load_stash_wants(&s->db, &a, w, &cap);
	if (rc < 0 || s->db.totals.v[TOTAL_WANTED] == 0)
		return rc;
	rc = db_run(&s->db, SQL_START_CLEAR, NULL, 0);
	if (rc == 0)
		rc = w->pinned_count > 0 ? start_pinned(&s->db, w) : start_scope(&s->db, &a, w);
	return rc == 0 ? load_wants(&s->db, w, &cap) : rc;
}

static void wants_tick(struct op *op)
{
	struct store_wants *w = container_of(op, struct store_wants, op);

	if (request_tick(op, &w->request))
		w->cb(w, op_status(op));
}

static const struct op_kind wants_kind = { "store.wants", request_read_states, REQUEST_STATE_COUNT,
					   wants_tick };

/* Once it is in the queue it is the thread's: all of it has to be there before. */
static void start_wants(struct store_wants *w, const struct op_env *env, struct store *s,
			const struct scope *scope, uint8_t max_priority, const struct hash *pinned,
			size_t pinned_count, size_t limit, store_wants_cb cb)
{
	struct op_env copy = *env;
	struct hash heads[IRI_HEADS_MAX];

	REQUIRE(pinned_count <= IRI_HEADS_MAX);
	memcpy(heads, pinned, pinned_count * sizeof(*pinned));
	*w = (struct store_wants){ .data = w->data,
				   .cb = cb,
				   .scope = *scope,
				   .pinned_count = pinned_count,
				   .limit = limit,
				   .max_priority = max_priority };
	memcpy(w->pinned, heads, pinned_count * sizeof(*heads));
	request_start(&w->request, &w->op, &wants_kind, &copy, s, false, run_wants);
}

void store_wants_start(struct store_wants *w, const struct op_env *env, struct store *s,
		       const struct scope *scope, uint8_t max_priority, size_t limit,
		       store_wants_cb cb)
{
	static const struct hash none;

	start_wants(w, env, s, scope, max_priority, &none, 0, limit, cb);
}

void store_wants_pinned_start(struct store_wants *w, const struct op_env *env, struct store *s,
			      const struct scope *scope, const struct hash *heads, size_t count,
			      size_t limit, store_wants_cb cb)
{
	start_wants(w, env, s, scope, STORE_WANT_BULK, heads, count, limit, cb);
}

void store_wants_fini(struct store_wants *w)
{
	w->wants = mem_free(w->wants);
	w->count = 0;
}
