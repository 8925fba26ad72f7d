/* Reading blobs, and asking which are here. The one place where bytes leave the store: a peer sees
 * public ones only. */
#include <stdio.h>

#include "base/mem.h"
#include "store/internal.h"

static int read_item(struct store *s, struct store_get_item *item, bool public_only)
{
	struct node n;
	int rc = node_find_bytes(&s->db, &item->hash, public_only, &n);

	if (rc < 0 || n.id == 0)
		return rc;
	rc = node_read(s, n.id, &item->hash, &item->data, &item->len);
	/* Bytes that rotted on the disk: nobody gets them, the rest is served. */
	return rc == ERR_VERIFY ? 0 : rc;
}

static int run_get(struct store *s, struct store_request *r)
{
	struct store_get *g = container_of(r, struct store_get, request);
	size_t bytes = 0;
	int rc = 0;

	for (size_t i = 0; i < g->count; i++) {
		g->items[i].data = NULL;
		g->items[i].len = SIZE_MAX;
	}
	for (size_t i = 0; i < g->count && rc == 0; i++) {
		struct store_get_item *item = &g->items[i];

		item->len = 0;
		rc = read_item(s, item, g->reader.is_peer);
		bytes += item->len;
		if (rc == 0 && i > 0 && bytes > g->max_bytes) {
			item->data = mem_free(item->data);
			item->len = SIZE_MAX;
			break;
		}
	}
	return rc;
}

static void get_tick(struct op *op)
{
	struct store_get *g = container_of(op, struct store_get, op);

	if (request_tick(op, &g->request))
		g->cb(g, op_status(op));
}

static const struct op_kind get_kind = { "store.get", request_read_states, REQUEST_STATE_COUNT,
					 get_tick };

void store_get_start(struct store_get *g, const struct op_env *env, struct store *s,
		     struct store_get_item *items, size_t count, const struct store_reader *reader,
		     size_t max_bytes, store_get_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(count <= STORE_GET_MAX);
	*g = (struct store_get){
		.data = g->data, .items = items, .count = count, .cb = cb, .max_bytes = max_bytes
	};
	if (reader != NULL)
		g->reader = *reader;
	for (size_t i = 0; i < count; i++) {
		items[i].data = NULL;
		items[i].len = 0;
	}
	request_start(&g->request, &g->op, &get_kind, &copy, s, false, run_get);
}

void store_get_fini(struct store_get *g)
{
	for (size_t i = 0; i < g->count; i++)
		g->items[i].data = mem_free(g->items[i].data);
}

/* ---- Has ---- */

static int is_present(struct db *db, const struct hash *hash, bool or_refused, bool *ret)
{
	bool stored = false, wanted = false;
	int64_t one;
	int rc;

	{
		CLEANUP(db_done)
		sqlite3_stmt *q = db_query(db, SQL_NODE_TWINS, ARGS(arg_hash(hash)));

		while ((rc = db_row(db, q)) > 0) {
			unsigned state = (unsigned)sqlite3_column_int64(q, 1);

			stored |= (state & NODE_STORED) != 0;
			wanted |= (state & NODE_WANTED) != 0;
		}
	}
	*ret = stored && !wanted;
	if (rc == 0 && !*ret && or_refused && db->totals.v[TOTAL_REFUSED] > 0) {
		rc = db_int(db, SQL_REFUSED_ANY, ARGS(arg_hash(hash)), &one);
		*ret = rc > 0;
	}
	return MIN(rc, 0);
}

static int run_has(struct store *s, struct store_request *r)
{
	struct store_has *h = container_of(r, struct store_has, request);
	int rc = 0;

	h->present = mem_alloc_array(MAX(h->count, 1), sizeof(*h->present));
	if (h->present == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < h->count && rc == 0; i++)
		rc = is_present(&s->db, &h->hashes[i], h->or_refused, &h->present[i]);
	return rc;
}

static void has_tick(struct op *op)
{
	struct store_has *h = container_of(op, struct store_has, op);

	if (request_tick(op, &h->request))
		h->cb(h, op_status(op));
}

static const struct op_kind has_kind = { "store.has", request_read_states, REQUEST_STATE_COUNT,
					 has_tick };

void store_has_start(struct store_has *h, const struct op_env *env, struct store *s,
		     const struct hash *hashes, size_t count, bool or_refused, store_has_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(count <= STORE_HAS_MAX);
	*h = (struct store_has){ .data = h->data,
				 .hashes = hashes,
				 .count = count,
				 .cb = cb,
				 .or_refused = or_refused };
	request_start(&h->request, &h->op, &has_kind, &copy, s, false, run_has);
}

void store_has_fini(struct store_has *h)
{
	h->present = mem_free(h->present);
}
