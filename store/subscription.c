/* Scopes to be kept in sync. */
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"

static int load_row(struct db *db, sqlite3_stmt *q, struct store_subscription *ret)
{
	struct public_key space;
	const char *path = (const char *)sqlite3_column_text(q, 1);
	int rc = db_column_key(db, q, 0, &space);

	if (rc < 0)
		return rc;
	if (path == NULL)
		return UV_ENOMEM;
	ret->added_s = (uint64_t)sqlite3_column_int64(q, 3);
	ret->last_ok_s = (uint64_t)sqlite3_column_int64(q, 4);
	ret->history = sqlite3_column_int64(q, 5) != 0;
	rc = scope_make(&space, path, (size_t)sqlite3_column_bytes(q, 1),
			(uint32_t)sqlite3_column_int64(q, 2), &ret->scope);
	return rc < 0 ? ERR_CORRUPT : 0;
}

static int run_subscriptions(struct store *s, struct store_request *r)
{
	struct store_subscriptions *p = container_of(r, struct store_subscriptions, request);
	CLEANUP(db_done) sqlite3_stmt *q = NULL;
	size_t cap = (size_t)s->db.totals.v[TOTAL_SUBSCRIPTIONS];
	int rc = 0;

	p->list = mem_alloc_array(MAX(cap, 1), sizeof(*p->list));
	if (p->list == NULL)
		return UV_ENOMEM;
	q = db_query(&s->db, SQL_SUBSCRIPTIONS, NULL, 0);
	while (p->count < cap && (rc = db_row(&s->db, q)) > 0) {
		rc = load_row(&s->db, q, &p->list[p->count]);
		if (rc < 0)
			break;
		p->count++;
	}
	return MIN(rc, 0);
}

static void subscriptions_tick(struct op *op)
{
	struct store_subscriptions *p = container_of(op, struct store_subscriptions, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind subscriptions_kind = { "store.subscriptions", request_read_states,
						   REQUEST_STATE_COUNT, subscriptions_tick };

void store_subscriptions_start(struct store_subscriptions *p, const struct op_env *env,
			       struct store *s, store_subscriptions_cb cb)
{
	struct op_env copy = *env;

	*p = (struct store_subscriptions){ .data = p->data, .cb = cb };
	request_start(&p->request, &p->op, &subscriptions_kind, &copy, s, false, run_subscriptions);
}

void store_subscriptions_fini(struct store_subscriptions *p)
{
	p->list = mem_free(p->list);
	p->count = 0;
}

/* ---- Change ---- */

static int changes(struct db *db, int rc)
{
	return rc < 0 ? rc : (int)sqlite3_changes64(db->sqlite);
}

/* How many rows it changed. */
static int subscribe(struct db *db, const struct sql_arg args[5], bool history)
{
	int rc;

	if (db->totals.v[TOTAL_SUBSCRIPTIONS] >= STORE_SUBSCRIPTIONS_MAX)
		return ERR_LIMIT;
	rc = changes(db, db_run(db, SQL_SUBSCRIPTION_INSERT, args, 5));
	if (rc > 0)
		db_add(db, TOTAL_SUBSCRIPTIONS, 1);
	if (rc == 0 && history)
		rc = changes(db, db_run(db, SQL_SUBSCRIPTION_HISTORY, args, 3));
	return rc;
}

static int change(struct db *db, struct store_subscription_set *p)
{
	const struct scope *c = &p->scope;
	const struct sql_arg args[] = {
		arg_key(&c->space),
		arg_text(c->path, c->path_len),
		arg_int(c->kind),
		arg_int((int64_t)p->request.wall_s),
		arg_int(p->change == STORE_SUBSCRIBE_HISTORY ? 1 : 0),
	};
	int rc = 0;

	switch (p->change) {
	case STORE_SUBSCRIBE: rc = subscribe(db, args, false); break;
	case STORE_SUBSCRIBE_HISTORY: rc = subscribe(db, args, true); break;
	case STORE_SUBSCRIPTION_OK:
		rc = changes(db, db_run(db, SQL_SUBSCRIPTION_OK, args, 4));
		break;
	case STORE_UNSUBSCRIBE:
		rc = changes(db, db_run(db, SQL_SUBSCRIPTION_DELETE, args, 3));
		if (rc > 0)
			db_add(db, TOTAL_SUBSCRIPTIONS, -1);
		break;
	}
	p->changed = rc > 0;
	return MIN(rc, 0);
}

static int run_subscription_set(struct store *s, struct store_request *r)
{
	struct store_subscription_set *p = container_of(r, struct store_subscription_set, request);
	int rc = tx_begin(s);

	if (rc < 0)
		return rc;
	rc = change(&s->db, p);
	if (rc == 0)
		rc = tx_commit(s);
	else
		tx_rollback(s);
	p->changed = p->changed && rc == 0;
	return rc;
}

static void subscription_set_tick(struct op *op)
{
	struct store_subscription_set *p = container_of(op, struct store_subscription_set, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind subscription_set_kind = { "store.subscription_set",
						      request_write_states, REQUEST_STATE_COUNT,
						      subscription_set_tick };

void store_subscription_set_start(struct store_subscription_set *p, const struct op_env *env,
				  struct store *s, enum store_subscription_change change_,
				  const struct scope *scope, store_subscription_set_cb cb)
{
	struct op_env copy = *env;

	*p = (struct store_subscription_set){
		.data = p->data, .cb = cb, .change = change_, .scope = *scope
	};
	request_start(&p->request, &p->op, &subscription_set_kind, &copy, s, true,
		      run_subscription_set);
}

void store_subscription_set_fini(struct store_subscription_set *p)
{
	(void)p;
}
