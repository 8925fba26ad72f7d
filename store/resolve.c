/* Is all of it here, and what is not.
 *
 * Whether something is missing is answered by counts (object.open_heads, commits.complete); only
 * when it is, the walk below the incomplete commits counts what. The walk enters
 * incomplete nodes only, so what is here costs nothing. */
#include "store/internal.h"

/* Present heads of the exact object, and what is to be said of them. */
static int load_heads(struct db *db, const struct object_row *object, struct store_resolve *r)
{
	CLEANUP(db_done)
	sqlite3_stmt *q =
		db_query(db, SQL_HEADS, ARGS(arg_int(object->id), arg_int(STORE_HEADS_MAX)));
	int rc = 0;

	while (r->head_count < STORE_HEADS_MAX && (rc = db_row(db, q)) > 0) {
		rc = db_column_hash(db, q, 1, &r->heads[r->head_count]);
		if (rc < 0)
			return rc;
		r->head_count++;
		r->tombstone = sqlite3_column_type(q, 4) == SQLITE_NULL;
	}
	r->heads_total = (size_t)object->heads;
	r->tombstone = r->tombstone && r->heads_total == 1;
	return MIN(rc, 0);
}

/* Pinned heads: those that are not complete go into start; unknown ones are missing themselves. */
static int start_pinned(struct db *db, const struct object_row *object, struct store_resolve *r,
			uint64_t *ret_open)
{
	struct commit_row c;
	int rc = 0;

	for (size_t i = 0; i < r->pinned_count && rc == 0; i++) {
		rc = commit_find(db, &r->pinned[i], &c);
		if (rc < 0)
			return rc;
		if (c.id == 0 || object->id == 0 || c.object != object->id)
			r->missing++;
		else if (!c.complete)
			rc = db_run(db, SQL_START_ADD, ARGS(arg_int(c.id)));
		else
			continue;
		(*ret_open)++;
	}
	return rc;
}

static int find_open(struct db *db, struct store_resolve *r, const struct object_row *object,
		     uint64_t *ret_open)
{
	struct scope_args a;
	struct scope_sum sum;
	bool pinned = r->pinned_count > 0;
	int64_t open;
	int rc;

	scope_args(&r->scope, &a);
	rc = scope_sum(db, &a, &sum);
	if (rc < 0)
		return rc;
	r->objects = (uint64_t)sum.objects;
	r->commits = (uint64_t)sum.commits;
	open = sum.open_heads - (pinned ? object->open_heads : 0);
	*ret_open = (uint64_t)open;
	if (open > 0 || pinned)
		rc = db_run(db, SQL_START_CLEAR, NULL, 0);
	if (rc == 0 && open > 0) {
		a.list[5] = arg_int(pinned ? object->id : 0);
		rc = db_run(db, SQL_START_HEADS, a.list, 6);
	}
	return rc == 0 && pinned ? start_pinned(db, object, r, ret_open) : rc;
}

static int run_resolve(struct store *s, struct store_request *request)
{
	struct store_resolve *r = container_of(request, struct store_resolve, request);
	struct object_row object;
	uint64_t open = 0, below = 0;
	int rc = object_find(&s->db, &r->scope.space, r->scope.path, r->scope.path_len, &object);

	if (rc == 0 && object.id != 0)
		rc = load_heads(&s->db, &object, r);
	if (rc == 0)
		rc = find_open(&s->db, r, &object, &open);
	if (rc == 0 && open > 0)
		rc = missing_count(&s->db, &below);
	r->missing += below;
	r->resolved = rc == 0 && r->objects > 0 && open == 0;
	return rc;
}

static void resolve_tick(struct op *op)
{
	struct store_resolve *r = container_of(op, struct store_resolve, op);

	if (request_tick(op, &r->request))
		r->cb(r, op_status(op));
}

static const struct op_kind resolve_kind = { "store.resolve", request_read_states,
					     REQUEST_STATE_COUNT, resolve_tick };

void store_resolve_start(struct store_resolve *r, const struct op_env *env, struct store *s,
			 const struct iri *iri, enum scope_kind kind, store_resolve_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(iri->head_count <= IRI_HEADS_MAX);
	*r = (struct store_resolve){ .data = r->data, .cb = cb, .pinned_count = iri->head_count };
	for (size_t i = 0; i < iri->head_count; i++)
		r->pinned[i] = iri->heads[i];
	scope_of_iri(iri, kind, &r->scope);
	request_start(&r->request, &r->op, &resolve_kind, &copy, s, false, run_resolve);
}

void store_resolve_fini(struct store_resolve *r)
{
	(void)r;
}
