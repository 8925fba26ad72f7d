/* Which objects a scope has, in SQL, and the operations that list them: items, objects, log.
 *
 * Paths sort so that everything below "/a" lies between "/a" and "/a0" ('0' follows '/'); within
 * that range also lie siblings like "/a-b", which the condition drops. No path contains bytes below
 * 0x20, so "/a" + 0x01 ends the range of "/a" alone. */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int64_t characters(const char *s, size_t len)
{
	int64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((uint8_t)s[i] & 0xc0) != 0x80;
	return n;
}

void scope_args(const struct scope *scope, struct scope_args *ret)
{
	size_t len = scope->path_len;
	bool children = scope->kind == SCOPE_CHILDREN;

	REQUIRE(len <= OBJECT_PATH_MAX);
	memcpy(ret->path_slash, scope->path, len);
	ret->path_slash[len] = '/';
	memcpy(ret->path_end, scope->path, len);
	ret->path_end[len] = scope->kind == SCOPE_EXACT ? '\x01' : '0';
	ret->list[0] = arg_key(&scope->space);
	ret->list[1] = arg_text(scope->path, len);
	ret->list[2] = arg_text(ret->path_end, len + 1);
	ret->list[3] = arg_text(ret->path_slash, len + 1);
	ret->list[4] = arg_int(children ? characters(scope->path, len) + 2 : 0);
	ret->list[5] = arg_int(0);
}

int scope_sum(struct db *db, struct scope_args *a, struct scope_sum *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_SCOPE_SUM, a->list, 5);
	int rc = db_row(db, q);

	if (rc <= 0)
		return rc < 0 ? rc : ERR_STORE;
	ret->objects = sqlite3_column_int64(q, 0);
	ret->commits = sqlite3_column_int64(q, 1);
	ret->open_heads = sqlite3_column_int64(q, 2);
	return 0;
}

int missing_count(struct db *db, uint64_t *ret)
{
	int64_t n = 0;
	int rc = db_int(db, SQL_MISSING, NULL, 0, &n);

	*ret = (uint64_t)n;
	return MIN(rc, 0);
}

/* ---- Items ---- */

static int item_cmp(const void *a, const void *b)
{
	const struct store_item *x = a, *y = b;

	if (x->time_s != y->time_s)
		return x->time_s < y->time_s ? -1 : 1;
	return hash_cmp(&x->hash, &y->hash);
}

static int load_items(struct db *db, sqlite3_stmt *q, struct store_items *i, size_t cap)
{
	bool sorted = true;
	int rc;

	while ((rc = db_row(db, q)) > 0) {
		struct store_item *item = &i->items[i->count];

		if (i->count == cap)
			return ERR_CORRUPT; /* the objects' counts and the commits disagree */
		item->time_s = (uint64_t)sqlite3_column_int64(q, 0);
		rc = db_column_hash(db, q, 1, &item->hash);
		if (rc < 0)
			return rc;
		sorted = sorted && (i->count == 0 || item_cmp(item - 1, item) < 0);
		i->count++;
	}
	/* Each object's items come in order; those of several have to be merged. */
	if (rc == 0 && !sorted)
		qsort(i->items, i->count, sizeof(*i->items), item_cmp);
	return rc;
}

static int run_items(struct store *s, struct store_request *r)
{
	struct store_items *i = container_of(r, struct store_items, request);
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	struct object_row object = { 0 };
	struct scope_args a;
	struct scope_sum sum;
	int rc;

	scope_args(&i->scope, &a);
	rc = scope_sum(&s->db, &a, &sum);
	if (rc == 0 && i->scope.kind == SCOPE_EXACT)
		rc = object_find(&s->db, &i->scope.space, i->scope.path, i->scope.path_len,
				 &object);
	if (rc < 0)
		return rc;
	if (sum.commits > STORE_ITEMS_MAX)
		return ERR_LIMIT;
	i->unchanged = i->known > 0 && (uint64_t)sum.commits == i->known;
	if (i->unchanged)
		return 0;
	i->items = mem_alloc_array((size_t)MAX(sum.commits, 1), sizeof(*i->items));
	if (i->items == NULL)
		return UV_ENOMEM;
	if (i->scope.kind == SCOPE_EXACT)
		q = db_query(&s->db, SQL_ITEMS_EXACT, ARGS(arg_int(object.id)));
	else
		q = db_query(&s->db, SQL_ITEMS, a.list, 5);
	return load_items(&s->db, q, i, (size_t)sum.commits);
}

static void items_tick(struct op *op)
{
	struct store_items *i = container_of(op, struct store_items, op);

	if (request_tick(op, &i->request))
		i->cb(i, op_status(op));
}

static const struct op_kind items_kind = { "store.items", request_read_states, REQUEST_STATE_COUNT,
					   items_tick };

void store_items_again_start(struct store_items *i, const struct op_env *env, struct store *s,
			     const struct scope *scope, size_t known, store_items_cb cb)
{
	struct op_env copy = *env;

	*i = (struct store_items){ .data = i->data, .cb = cb, .scope = *scope, .known = known };
	request_start(&i->request, &i->op, &items_kind, &copy, s, false, run_items);
}

void store_items_start(struct store_items *i, const struct op_env *env, struct store *s,
		       const struct scope *scope, store_items_cb cb)
{
	store_items_again_start(i, env, s, scope, 0, cb);
}

void store_items_fini(struct store_items *i)
{
	i->items = mem_free(i->items);
	i->count = 0;
}

/* ---- Objects ---- */

/* What the heads of one object lack. */
static int object_missing(struct db *db, int64_t id, uint64_t *ret)
{
	int rc = db_run(db, SQL_START_CLEAR, NULL, 0);

	if (rc == 0)
		rc = db_run(db, SQL_START_OBJECT, ARGS(arg_int(id)));
	return rc == 0 ? missing_count(db, ret) : rc;
}

static int object_tombstone(struct db *db, int64_t id, bool *ret)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_HEADS, ARGS(arg_int(id), arg_int(1)));
	int rc = db_row(db, q);

	*ret = rc > 0 && sqlite3_column_type(q, 4) == SQLITE_NULL;
	return MIN(rc, 0);
}

static int load_object(struct db *db, sqlite3_stmt *q, struct store_object *ret)
{
	const char *path = (const char *)sqlite3_column_text(q, 2);
	int rc = db_column_key(db, q, 1, &ret->space);

	if (rc < 0)
		return rc;
	ret->path = mem_strdup(path != NULL ? path : "");
	if (ret->path == NULL)
		return UV_ENOMEM;
	ret->time_s = (uint64_t)sqlite3_column_int64(q, 3);
	ret->commits = (uint64_t)sqlite3_column_int64(q, 4);
	ret->heads = (uint64_t)sqlite3_column_int64(q, 5);
	if (ret->heads == 1)
		rc = object_tombstone(db, sqlite3_column_int64(q, 0), &ret->tombstone);
	if (rc < 0)
		return rc;
	return sqlite3_column_int64(q, 6) > 0 ?
		       object_missing(db, sqlite3_column_int64(q, 0), &ret->missing) :
		       0;
}

static int run_objects(struct store *s, struct store_request *r)
{
	struct store_objects *o = container_of(r, struct store_objects, request);
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	struct scope_sum sum = { .objects = s->db.totals.v[TOTAL_OBJECTS] };
	struct scope_args a;
	int rc = 0;

	if (o->has_scope) {
		scope_args(&o->scope, &a);
		rc = scope_sum(&s->db, &a, &sum);
	}
	if (rc < 0)
		return rc;
	o->total = (uint64_t)sum.objects;
	o->limit = MIN(o->limit, (size_t)sum.objects);
	o->objects = mem_alloc_array(MAX(o->limit, 1), sizeof(*o->objects));
	if (o->objects == NULL)
		return UV_ENOMEM;
	if (o->has_scope) {
		a.list[5] = arg_int((int64_t)o->limit);
		q = db_query(&s->db, SQL_OBJECTS, a.list, 6);
	} else {
		q = db_query(&s->db, SQL_OBJECTS_ALL, ARGS(arg_int((int64_t)o->limit)));
	}
	while (o->count < o->limit && (rc = db_row(&s->db, q)) > 0) {
		rc = load_object(&s->db, q, &o->objects[o->count++]);
		if (rc < 0)
			break;
	}
	return MIN(rc, 0);
}

static void objects_tick(struct op *op)
{
	struct store_objects *o = container_of(op, struct store_objects, op);

	if (request_tick(op, &o->request))
		o->cb(o, op_status(op));
}

static const struct op_kind objects_kind = { "store.objects", request_read_states,
					     REQUEST_STATE_COUNT, objects_tick };

void store_objects_start(struct store_objects *o, const struct op_env *env, struct store *s,
			 const struct scope *scope, size_t limit, store_objects_cb cb)
{
	struct op_env copy = *env;

	*o = (struct store_objects){
		.data = o->data, .cb = cb, .has_scope = scope != NULL, .limit = limit
	};
	if (scope != NULL)
		o->scope = *scope;
	request_start(&o->request, &o->op, &objects_kind, &copy, s, false, run_objects);
}

void store_objects_fini(struct store_objects *o)
{
	for (size_t i = 0; i < o->count; i++)
		mem_free(o->objects[i].path);
	o->objects = mem_free(o->objects);
	o->count = 0;
}

/* ---- Log ---- */

static int load_parents(struct db *db, int64_t id, struct store_log_entry *e)
{
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	int64_t count = 0;
	size_t n = 0;
	int rc = db_status(db_int(db, SQL_PARENT_COUNT, ARGS(arg_int(id)), &count));

	if (rc < 0 || count == 0)
		return rc;
	e->parent_count = (size_t)count;
	q = db_query(db, SQL_PARENTS, ARGS(arg_int(id), arg_int(ARRAY_SIZE(e->parents))));
	while (n < ARRAY_SIZE(e->parents) && (rc = db_row(db, q)) > 0) {
		rc = db_column_hash(db, q, 0, &e->parents[n++]);
		if (rc < 0)
			break;
	}
	return MIN(rc, 0);
}

static int load_entry(struct db *db, sqlite3_stmt *q, struct store_log_entry *e)
{
	int rc = db_column_hash(db, q, 1, &e->hash);

	if (rc == 0)
		rc = db_column_key(db, q, 3, &e->author);
	e->tombstone = sqlite3_column_type(q, 4) == SQLITE_NULL;
	if (rc == 0 && !e->tombstone)
		rc = db_column_hash(db, q, 4, &e->root);
	e->time_s = (uint64_t)sqlite3_column_int64(q, 2);
	e->root_kind = (enum object_kind)sqlite3_column_int64(q, 5);
	e->is_head = sqlite3_column_int64(q, 6) != 0;
	e->complete = sqlite3_column_int64(q, 7) != 0;
	e->content_bytes = (uint64_t)sqlite3_column_int64(q, 8);
	e->content_blobs = (uint64_t)sqlite3_column_int64(q, 9);
	return rc == 0 ? load_parents(db, sqlite3_column_int64(q, 0), e) : rc;
}

static int run_log(struct store *s, struct store_request *r)
{
	struct store_log *l = container_of(r, struct store_log, request);
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	struct object_row object;
	int rc = object_find(&s->db, &l->scope.space, l->scope.path, l->scope.path_len, &object);

	if (rc < 0)
		return rc;
	if (object.id == 0)
		return ERR_NOT_FOUND;
	l->total = (uint64_t)object.commits;
	l->limit = MIN(l->limit, (size_t)object.commits);
	l->entries = mem_alloc_array(MAX(l->limit, 1), sizeof(*l->entries));
	if (l->entries == NULL)
		return UV_ENOMEM;
	q = db_query(&s->db, SQL_LOG, ARGS(arg_int(object.id), arg_int((int64_t)l->limit)));
	while (l->count < l->limit && (rc = db_row(&s->db, q)) > 0) {
		rc = load_entry(&s->db, q, &l->entries[l->count++]);
		if (rc < 0)
			break;
	}
	return MIN(rc, 0);
}

static void log_tick(struct op *op)
{
	struct store_log *l = container_of(op, struct store_log, op);

	if (request_tick(op, &l->request))
		l->cb(l, op_status(op));
}

static const struct op_kind log_kind = { "store.log", request_read_states, REQUEST_STATE_COUNT,
					 log_tick };

void store_log_start(struct store_log *l, const struct op_env *env, struct store *s,
		     const struct iri *iri, size_t limit, store_log_cb cb)
{
	struct op_env copy = *env;

	*l = (struct store_log){ .data = l->data, .cb = cb, .limit = limit };
	scope_of_iri(iri, SCOPE_EXACT, &l->scope);
	request_start(&l->request, &l->op, &log_kind, &copy, s, false, run_log);
}

void store_log_fini(struct store_log *l)
{
	l->entries = mem_free(l->entries);
	l->count = 0;
}
