/* Which version a folder on this machine has seen.
 *
 * A folder that is published becomes the content of the object's next version, whatever that held
 * before. So it may follow only a version that it has seen: the one that was made from it last, or
 * the one that was last written into it. Rows say that, by object and folder; the folder "" stands
 * for all of them (versions made without a folder, and those from before there were such rows). */
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"

/* 1 = `head` was seen in this folder, 0 = not, negative. */
static int has_seen(struct db *db, int64_t object, const char *folder, const struct hash *head)
{
	CLEANUP(db_done)
	sqlite3_stmt *q =
		db_query(db, SQL_ORIGIN_SEEN,
			 ARGS(arg_int(object), arg_text(folder, strlen(folder)), arg_hash(head)));

	return db_row(db, q);
}

/* The folder that was published last, unless it is this one. */
static int find_other(struct db *db, int64_t object, const char *folder, struct store_conflict *ret)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_ORIGIN_OTHER,
				   ARGS(arg_int(object), arg_text(folder, strlen(folder))));
	const char *text;
	int rc = db_row(db, q);

	if (rc <= 0)
		return rc;
	text = (const char *)sqlite3_column_text(q, 0);
	if (text == NULL)
		return UV_ENOMEM;
	snprintf(ret->folder, sizeof(ret->folder), "%s", text);
	return 1;
}

static int was_published_here(struct db *db, int64_t object, const struct hash *head)
{
	int64_t found;

	return db_int(db, SQL_ORIGIN_PUBLISHED, ARGS(arg_int(object), arg_hash(head)), &found);
}

int origin_check(struct db *db, int64_t object, const struct store_origin *o,
		 const struct hash *head, struct store_conflict *ret)
{
	int rc;

	if (o->folder[0] == '\0')
		return 0;
	rc = has_seen(db, object, o->folder, head);
	if (rc == 0)
		rc = has_seen(db, object, "", head);
	if (rc != 0)
		return MIN(rc, 0);
	rc = find_other(db, object, o->folder, ret);
	if (rc < 0)
		return rc;
	if (rc > 0 && !o->named) {
		ret->kind = STORE_CONFLICT_FOLDER;
		return ERR_CONFLICT;
	}
	if (rc > 0 && (rc = was_published_here(db, object, head)) != 0)
		return MIN(rc, 0);
	ret->kind = STORE_CONFLICT_UNSEEN;
	return ERR_CONFLICT;
}

int origin_note(struct db *db, int64_t object, const char *folder, const struct hash *head,
		bool published, uint64_t now_s)
{
	int rc = db_run(db, SQL_ORIGIN_SET,
			ARGS(arg_int(object), arg_text(folder, strlen(folder)), arg_hash(head),
			     arg_int(published), arg_int((int64_t)now_s)));

	return rc == 0 ? db_run(db, SQL_ORIGIN_TRIM,
				ARGS(arg_int(object), arg_int(STORE_ORIGINS_MAX))) :
			 rc;
}

/* ---- A version was written into a folder ---- */

static int note_seen(struct store *s, struct store_seen *p)
{
	struct commit_row row;
	struct object_row object;
	int rc = object_find(&s->db, &p->scope.space, p->scope.path, p->scope.path_len, &object);

	if (rc == 0 && object.id != 0)
		rc = commit_find(&s->db, &p->version, &row);
	if (rc < 0)
		return rc;
	if (object.id == 0 || row.id == 0 || row.object != object.id)
		return ERR_NOT_FOUND;
	return origin_note(&s->db, object.id, p->folder, &p->version, false, p->request.wall_s);
}

static int run_seen(struct store *s, struct store_request *r)
{
	struct store_seen *p = container_of(r, struct store_seen, request);
	int rc = tx_begin(s);

	if (rc < 0)
		return rc;
	rc = note_seen(s, p);
	if (rc == 0)
		return tx_commit(s);
	tx_rollback(s);
	return rc;
}

static void seen_tick(struct op *op)
{
	struct store_seen *p = container_of(op, struct store_seen, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind seen_kind = { "store.seen", request_write_states, REQUEST_STATE_COUNT,
					  seen_tick };

void store_seen_start(struct store_seen *p, const struct op_env *env, struct store *s,
		      const struct scope *object, const char *folder, const struct hash *version,
		      store_seen_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(strlen(folder) <= STORE_FOLDER_MAX);
	*p = (struct store_seen){
		.data = p->data, .cb = cb, .scope = *object, .version = *version
	};
	memcpy(p->folder, folder, strlen(folder) + 1);
	request_start(&p->request, &p->op, &seen_kind, &copy, s, true, run_seen);
}
