/* Commits that wait for others, and hashes that turned out bad.
 *
 * stash_need has a row per (missing thing, waiting commit), so an arrival finds who waits by one
 * range of an index. A commit whose last need came is "ready"; ready ones are retried a bounded
 * number per transaction, and each that is accepted may make others ready: a worklist in the table
 * instead of recursion.
 *
 * When there is no room, what comes is turned away, not what waits: who brought it is told what it
 * needs, and brings it again once that is here (sync/fetch_defer.c). So any number of commits in
 * any order come in whole, and the stash only spares some of them a second journey. What has waited
 * too long is dropped. Both are counted. */
#include "store/internal.h"

#include "base/mem.h"

int stash_has(struct db *db, const struct hash *hash, bool *ret)
{
	int64_t id;
	int rc = 0;

	if (db->totals.v[TOTAL_STASHED] > 0)
		rc = db_int(db, SQL_STASH_FIND, ARGS(arg_hash(hash)), &id);
	*ret = rc > 0;
	return MIN(rc, 0);
}

int stash_needs(struct db *db, const struct hash *hash, enum object_kind kind, bool *ret)
{
	int64_t one;
	int rc = db_int(db, SQL_STASH_NEEDED, ARGS(arg_hash(hash), arg_int(kind)), &one);

	*ret = rc > 0;
	return MIN(rc, 0);
}

static int remove_row(struct db *db, int64_t id)
{
	int64_t size = 0;
	int rc = db_int(db, SQL_STASH_DELETE, ARGS(arg_int(id)), &size);

	if (rc < 0)
		return rc;
	if (rc > 0) {
		db_add(db, TOTAL_STASHED, -1);
		db_add(db, TOTAL_STASH_BYTES, -size);
	}
	return db_run(db, SQL_STASH_NEEDS_DELETE, ARGS(arg_int(id)));
}

/* 1 = dropped one, 0 = there is none, negative. */
static int drop_first(struct write *w, enum db_sql which, const struct sql_arg *args, size_t count)
{
	int64_t id;
	int rc = db_int(w->db, which, args, count, &id);

	if (rc <= 0)
		return rc;
	w->s->stash_dropped++;
	rc = remove_row(w->db, id);
	return rc < 0 ? rc : 1;
}

int stash_expire(struct write *w)
{
	int64_t now_s = (int64_t)w->wall_s;
	int rc = 1;

	/* Times ahead of now come from a clock that was set back since. */
	while (rc > 0 && w->db->totals.v[TOTAL_STASHED] > 0)
		rc = drop_first(w, SQL_STASH_EXPIRED,
				ARGS(arg_int(now_s - STORE_STASH_AGE_MAX_S),
				     arg_int(now_s + STORE_STASH_AGE_MAX_S)));
	return MIN(rc, 0);
}

static int has_room(struct write *w, size_t size, const struct public_key *from, bool *ret)
{
	const int64_t *v = w->db->totals.v;
	int64_t of_peer = 0;
	int rc = db_status(db_int(w->db, SQL_STASH_PEER_COUNT, ARGS(arg_key(from)), &of_peer));

	*ret = of_peer < STORE_STASH_PER_PEER_MAX && v[TOTAL_STASHED] < STORE_STASH_COUNT_MAX &&
	       v[TOTAL_STASH_BYTES] + (int64_t)size <= STORE_STASH_BYTES_MAX;
	return rc;
}

int stash_add(struct write *w, const struct commit *c, const struct hash *hash, const void *bytes,
	      size_t len, const struct public_key *from, const struct commit_missing *missing,
	      bool *ret_kept)
{
	int rc = has_room(w, len, from, ret_kept);
	int64_t id;

	if (rc == 0 && !*ret_kept) {
		w->s->stash_dropped++;
		return 0;
	}
	if (rc == 0)
		rc = db_run(w->db, SQL_STASH_INSERT,
			    ARGS(arg_hash(hash), arg_bytes(bytes, len), arg_int((int64_t)len),
				 arg_key(from), arg_int((int64_t)w->wall_s), arg_key(&c->space),
				 arg_text(c->path, c->path_len), arg_int((int64_t)missing->count)));
	if (rc < 0)
		return rc;
	id = sqlite3_last_insert_rowid(w->db->sqlite);
	db_add(w->db, TOTAL_STASHED, 1);
	db_add(w->db, TOTAL_STASH_BYTES, (int64_t)len);
	for (size_t i = 0; i < missing->count && rc == 0; i++)
		rc = db_run(w->db, SQL_STASH_NEED_INSERT,
			    ARGS(arg_hash(&missing->list[i].hash), arg_int(missing->list[i].kind),
				 arg_int(id)));
	return rc;
}

int stash_arrived(struct db *db, const struct hash *hash, enum object_kind kind)
{
	int rc;

	if (db->totals.v[TOTAL_STASHED] == 0)
		return 0;
	rc = db_run(db, SQL_STASH_ARRIVED, ARGS(arg_hash(hash), arg_int(kind)));
	return rc == 0 ? db_run(db, SQL_STASH_NEED_DELETE, ARGS(arg_hash(hash), arg_int(kind))) :
			 rc;
}

/* ---- Retry ---- */

struct ready {
	int64_t id;
	struct hash hash;
	uint8_t *bytes;
	size_t len;
};

/* 1 = one, 0 = none. The caller frees bytes. */
static int next_ready(struct db *db, struct ready *ret)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_STASH_READY, NULL, 0);
	int rc = db_row(db, q);

	if (rc <= 0)
		return rc;
	ret->id = sqlite3_column_int64(q, 0);
	ret->len = (size_t)sqlite3_column_bytes(q, 2);
	rc = db_column_hash(db, q, 1, &ret->hash);
	if (rc < 0)
		return rc;
	if (sqlite3_column_blob(q, 2) == NULL)
		return UV_ENOMEM;
	ret->bytes = mem_dup(sqlite3_column_blob(q, 2), ret->len);
	return ret->bytes == NULL ? UV_ENOMEM : 1;
}

static int retry(struct write *w, const struct ready *r)
{
	struct commit_missing missing;
	struct commit c;
	int verdict = 0;
	int rc = remove_row(w->db, r->id);

	if (rc < 0)
		return rc;
	rc = commit_decode(r->bytes, r->len, &c);
	if (rc < 0)
		return rc == UV_ENOMEM ? rc : ERR_CORRUPT; /* it decoded when it was stashed */
	rc = commit_check(w->s, &c, &missing, &verdict);
	if (rc < 0 || verdict == ERR_MISSING)
		return rc;
	if (verdict < 0)
		return refused_add(w, &r->hash, OBJECT_COMMIT, verdict);
	rc = commit_accept(w, &c, &r->hash, r->bytes, r->len);
	if (rc == 0)
		rc = write_settle_twins(w);
	return rc == 0 ? stash_arrived(w->db, &r->hash, OBJECT_COMMIT) : rc;
}

int stash_retry(struct write *w, unsigned limit)
{
	unsigned n = 0;
	int rc = 0;

	while (n < limit && w->db->totals.v[TOTAL_STASHED] > 0) {
		struct ready r = { 0 };

		rc = next_ready(w->db, &r);
		if (rc > 0) {
			n++;
			rc = retry(w, &r);
			mem_free(r.bytes);
			if (rc == 0)
				continue;
		}
		break;
	}
	return rc < 0 ? rc : (int)n;
}

/* ---- Refused ---- */

int refused_find(struct db *db, const struct hash *hash, enum object_kind kind, int *ret_status)
{
	int64_t status = 0;
	int rc;

	*ret_status = 0;
	if (db->totals.v[TOTAL_REFUSED] == 0)
		return 0;
	rc = db_int(db, SQL_REFUSED_FIND, ARGS(arg_hash(hash), arg_int(kind)), &status);
	if (rc > 0)
		*ret_status = (int)status;
	return MIN(rc, 0);
}

static int remember(struct write *w, const struct hash *hash, enum object_kind kind, int status)
{
	int known, rc = refused_find(w->db, hash, kind, &known);

	if (rc < 0 || known != 0)
		return rc;
	if (w->db->totals.v[TOTAL_REFUSED] >= STORE_REFUSED_MAX) {
		rc = db_run(w->db, SQL_REFUSED_DROP_OLDEST, NULL, 0);
		db_add(w->db, TOTAL_REFUSED, -sqlite3_changes64(w->db->sqlite));
		w->s->refused_dropped++;
	}
	if (rc == 0)
		rc = db_run(w->db, SQL_REFUSED_INSERT,
			    ARGS(arg_hash(hash), arg_int(kind), arg_int(status),
				 arg_int((int64_t)w->wall_s)));
	if (rc == 0)
		db_add(w->db, TOTAL_REFUSED, 1);
	return rc;
}

/* 1 = took one that waits for it out of the stash. */
static int take_dependent(struct db *db, const struct hash *hash, enum object_kind kind,
			  struct hash *ret)
{
	int64_t id;
	int rc;

	{
		CLEANUP(db_done)
		sqlite3_stmt *q =
			db_query(db, SQL_STASH_DEPENDENT, ARGS(arg_hash(hash), arg_int(kind)));

		rc = db_row(db, q);
		if (rc <= 0)
			return rc;
		id = sqlite3_column_int64(q, 0);
		rc = db_column_hash(db, q, 1, ret);
	}
	if (rc == 0)
		rc = remove_row(db, id);
	return rc < 0 ? rc : 1;
}

struct hash_stack {
	struct hash *list;
	size_t count, cap;
};

static int push(struct hash_stack *s, const struct hash *h)
{
	if (s->count == s->cap) {
		size_t cap = s->cap > 0 ? s->cap * 2 : 16;
		struct hash *list = mem_realloc(s->list, cap * sizeof(*list));

		if (list == NULL)
			return UV_ENOMEM;
		s->list = list;
		s->cap = cap;
	}
	s->list[s->count++] = *h;
	return 0;
}

int refused_add(struct write *w, const struct hash *hash, enum object_kind kind, int status)
{
	struct hash_stack stack = { 0 };
	struct hash dependent;
	int rc = remember(w, hash, kind, status);

	if (rc < 0 || w->db->totals.v[TOTAL_STASHED] == 0)
		return rc;
	/* A capability that is bad makes its commit one without authority; a bad parent makes a bad
	 * child. */
	rc = push(&stack, hash);
	while (rc == 0 && stack.count > 0) {
		struct hash bad = stack.list[--stack.count];

		while ((rc = take_dependent(w->db, &bad, kind, &dependent)) > 0) {
			rc = remember(w, &dependent, OBJECT_COMMIT, ERR_UNAUTHORIZED);
			if (rc == 0)
				rc = push(&stack, &dependent);
			if (rc < 0)
				break;
		}
		kind = OBJECT_COMMIT;
	}
	mem_free(stack.list);
	return rc;
}

int refused_expire(struct write *w)
{
	int64_t now_s = (int64_t)w->wall_s;
	int rc;

	if (w->db->totals.v[TOTAL_REFUSED] == 0)
		return 0;
	rc = db_run(w->db, SQL_REFUSED_EXPIRE,
		    ARGS(arg_int(now_s - STORE_REFUSED_AGE_MAX_S),
			 arg_int(now_s + STORE_REFUSED_AGE_MAX_S)));
	if (rc == 0)
		db_add(w->db, TOTAL_REFUSED, -sqlite3_changes64(w->db->sqlite));
	return rc;
}
