/* What one transaction collects besides rows, and how a part of it is undone. */
#include "base/mem.h"
#include "store/internal.h"

void write_init(struct write *w, struct store *s, uint64_t wall_s)
{
	*w = (struct write){ .s = s, .db = &s->db, .wall_s = wall_s };
}

static void drop_commits(struct write *w, size_t keep)
{
	while (w->commit_count > keep)
		mem_free(w->commits[--w->commit_count].path);
}

void write_fini(struct write *w)
{
	id_list_fini(&w->wanted);
	id_list_fini(&w->twins);
	drop_commits(w, 0);
	w->commits = mem_free(w->commits);
}

int write_savepoint(struct write *w, struct write_mark *ret)
{
	ret->wanted = w->wanted.count;
	ret->twins = w->twins.count;
	ret->commits = w->commit_count;
	return db_savepoint(w->db, &ret->totals);
}

int write_rollback(struct write *w, const struct write_mark *mark)
{
	w->wanted.count = mark->wanted;
	w->twins.count = mark->twins;
	drop_commits(w, mark->commits);
	return db_rollback_to(w->db, &mark->totals);
}

int write_release(struct write *w)
{
	return db_release(w->db);
}

static int node_load(struct db *db, int64_t id, struct node *ret, struct hash *ret_hash,
		     enum object_kind *ret_kind)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_NODE_GET, ARGS(arg_int(id)));
	int rc = db_row(db, q);

	if (rc <= 0)
		return rc < 0 ? rc : ERR_CORRUPT;
	*ret = (struct node){ .id = id,
			      .state = (unsigned)sqlite3_column_int64(q, 0),
			      .pending = sqlite3_column_int64(q, 1) };
	*ret_kind = (enum object_kind)sqlite3_column_int64(q, 2);
	return db_column_hash(db, q, 3, ret_hash);
}

static int settle(struct write *w, int64_t id, int64_t twin)
{
	CLEANUP(mem_freep) uint8_t *bytes = NULL;
	enum object_kind kind;
	struct write_mark mark;
	struct hash hash;
	struct node n;
	size_t len;
	int verdict = 0;
	int rc = node_load(w->db, id, &n, &hash, &kind);

	if (rc < 0 || (n.state & NODE_STORED) != 0)
		return rc;
	rc = node_read(w->s, twin, &hash, &bytes, &len);
	if (rc == ERR_VERIFY)
		return 0; /* damaged: it stays wanted */
	if (rc == 0)
		rc = write_savepoint(w, &mark);
	if (rc == 0)
		rc = node_store(w, &n, kind, bytes, len, &verdict);
	if (rc < 0)
		return rc;
	if (verdict < 0) {
		rc = write_rollback(w, &mark);
		return rc == 0 ? refused_add(w, &hash, kind, verdict) : rc;
	}
	rc = node_make_public(w, &n, kind);
	return rc == 0 ? write_release(w) : rc;
}

int write_settle_twins(struct write *w)
{
	int rc = 0;

	while (w->twins.count > 0 && rc == 0) {
		int64_t twin = w->twins.ids[--w->twins.count];
		int64_t id = w->twins.ids[--w->twins.count];

		rc = settle(w, id, twin);
	}
	return rc;
}
