/* Putting: judge each blob, in a savepoint of its own where it needs one, commit in bounded
 * transactions.
 *
 * A turn of the request is one transaction: as many blobs as the limits allow, each followed by the
 * stashed commits it made ready. What a transaction found (wants, commits) joins the operation's
 * results after its commit, never before.
 *
 * Two kinds of failure must not be mixed up. A verdict is about the blob: its savepoint is undone,
 * the rest of the batch goes on. A failure of our own (disk, memory) undoes the whole transaction.
 */
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"
#include "store/vouch.h"

struct judge {
	struct write *w;
	const struct store_put *p;
	struct store_blob *b;
	int verdict;
	bool blame_bytes; /* remember the hash as bad */
};

static int refuse(struct judge *j, int verdict, bool blame_bytes)
{
	j->verdict = verdict;
	j->blame_bytes = blame_bytes;
	return 0;
}

/* ---- Content ---- */

static int judge_content(struct judge *j)
{
	struct db *db = j->w->db;
	struct store_blob *b = j->b;
	struct node n, twin;
	int verdict = 0, rc;

	/* The last door: whoever reads files for publishing has looked for keys already. */
	if (j->p->local && b->kind == OBJECT_CHUNK && keyfile_inside(b->data, b->len))
		return refuse(j, ERR_PRIVATE, false);
	rc = node_find(db, &b->hash, b->kind, &n);
	if (rc < 0)
		return rc;
	if ((n.state & NODE_PUBLIC) != 0 || (j->p->local && (n.state & NODE_STORED) != 0)) {
		b->existed = true;
		return 0;
	}
	if (!j->p->local && (n.state & NODE_WANTED) == 0) {
		rc = node_find_bytes(db, &b->hash, true, &twin);
		b->existed = rc == 0 && twin.id != 0;
		return rc < 0 || b->existed ? rc : refuse(j, ERR_PROTOCOL, false);
	}
	if (n.id == 0)
		rc = node_intern(db, &b->hash, b->kind, (uint32_t)b->len, &n);
	if (rc == 0 && (n.state & NODE_STORED) == 0)
		rc = node_store(j->w, &n, b->kind, b->data, b->len, &verdict);
	if (rc < 0 || verdict < 0)
		return rc < 0 ? rc : refuse(j, verdict, true);
	return j->p->local ? 0 : node_make_public(j->w, &n, b->kind);
}

static int judge_capability(struct judge *j)
{
	struct db *db = j->w->db;
	struct store_blob *b = j->b;
	struct capability cap;
	bool needed = true;
	struct node n;
	int rc = node_find(db, &b->hash, OBJECT_CAPABILITY, &n);

	if (rc < 0)
		return rc;
	if ((n.state & NODE_STORED) != 0) {
		b->existed = true;
		return 0;
	}
	if (b->len > OBJECT_COMMIT_MAX)
		return refuse(j, ERR_LIMIT, true);
	rc = capability_decode(b->data, b->len, &cap);
	if (rc < 0)
		return rc == UV_ENOMEM ? rc : refuse(j, rc, true);
	if (!j->p->local && !(j->p->has_scope && key_eq(&cap.space, &j->p->scope.space))) {
		rc = stash_needs(db, &b->hash, OBJECT_CAPABILITY, &needed);
		if (rc < 0 || !needed)
			return rc < 0 ? rc : refuse(j, ERR_PROTOCOL, false);
	}
	rc = node_intern(db, &b->hash, OBJECT_CAPABILITY, (uint32_t)b->len, &n);
	if (rc == 0)
		rc = node_store_bytes(j->w, &n, OBJECT_CAPABILITY, b->data, b->len);
	return rc == 0 ? stash_arrived(db, &b->hash, OBJECT_CAPABILITY) : rc;
}

/* ---- Commits ---- */

/* What waits for something that is known to be bad is bad. */
static int missing_is_refused(struct db *db, const struct commit_missing *m, bool *ret)
{
	int status = 0, rc = 0;

	for (size_t i = 0; i < m->count && rc == 0 && status == 0; i++)
		rc = refused_find(db, &m->list[i].hash, m->list[i].kind, &status);
	*ret = status != 0;
	return rc;
}

static int accept_commit(struct judge *j, const struct commit *c)
{
	struct commit_missing missing;
	struct store_blob *b = j->b;
	bool hopeless, kept;
	int verdict;
	int rc = commit_check(j->w->s, c, &missing, &verdict);

	if (rc == 0 && verdict == 0)
		rc = commit_accept(j->w, c, &b->hash, b->data, b->len);
	if (rc == 0 && verdict == 0)
		return stash_arrived(j->w->db, &b->hash, OBJECT_COMMIT);
	if (rc < 0 || verdict != ERR_MISSING)
		return rc < 0 ? rc : refuse(j, verdict, true);
	rc = missing_is_refused(j->w->db, &missing, &hopeless);
	if (rc < 0 || hopeless)
		return rc < 0 ? rc : refuse(j, ERR_UNAUTHORIZED, true);
	j->verdict = ERR_MISSING;
	rc = stash_add(j->w, c, &b->hash, b->data, b->len, &j->p->from, &missing, &kept);
	if (rc < 0 || kept)
		return rc;
	b->let_go = true;
	b->need_count = (uint8_t)MIN(missing.count, (size_t)STORE_NEEDS_MAX);
	for (size_t i = 0; i < b->need_count; i++)
		b->needs[i] = (struct store_need){ missing.list[i].hash, missing.list[i].kind };
	return 0;
}

static int judge_commit(struct judge *j)
{
	struct store_blob *b = j->b;
	struct commit_row known;
	struct commit c;
	bool stashed;
	int rc = commit_find(j->w->db, &b->hash, &known);

	if (rc < 0)
		return rc;
	if (known.id != 0) {
		b->existed = true;
		return 0;
	}
	if (j->p->local)
		return refuse(j, ERR_PROTOCOL, false);
	rc = stash_has(j->w->db, &b->hash, &stashed);
	if (rc < 0)
		return rc;
	if (stashed) {
		j->verdict = ERR_MISSING;
		return 0;
	}
	if (b->len > OBJECT_COMMIT_MAX)
		return refuse(j, ERR_LIMIT, true);
	rc = vouch_is_good(j->w->s->vouch, b) ? commit_decode_checked(b->data, b->len, &c) :
						commit_decode(b->data, b->len, &c);
	if (rc < 0)
		return rc == UV_ENOMEM ? rc : refuse(j, rc, true);
	if (c.time_s > INT64_MAX)
		return refuse(j, ERR_LIMIT, true);
	if (b->time_s != 0 && b->time_s != c.time_s)
		return refuse(j, ERR_PROTOCOL, false);
	if (j->p->has_scope && !scope_contains(&j->p->scope, &c.space, c.path, c.path_len))
		return refuse(j, ERR_PROTOCOL, false);
	return accept_commit(j, &c);
}

/* ---- One blob ---- */

static int judge(struct judge *j)
{
	struct store_blob *b = j->b;
	struct hash is;
	int known, rc;

	if ((unsigned)b->kind > OBJECT_FILE)
		return refuse(j, ERR_MALFORMED, false);
	is = hash_of(b->data, b->len);
	if (!hash_eq(&is, &b->hash))
		return refuse(j, ERR_VERIFY, false);
	rc = refused_find(j->w->db, &b->hash, b->kind, &known);
	if (rc < 0 || known != 0)
		return rc < 0 ? rc : refuse(j, known, false);
	if (b->len > OBJECT_BLOB_MAX)
		return refuse(j, ERR_LIMIT, true);
	switch (b->kind) {
	case OBJECT_COMMIT: return judge_commit(j);
	case OBJECT_CAPABILITY: return judge_capability(j);
	case OBJECT_CHUNK:
	case OBJECT_TREE:
	case OBJECT_FILE: return judge_content(j);
	}
	return ERR_STORE;
}

/* Nothing is written before the verdict on a commit or a capability: there is nothing to undo, and a
 * savepoint costs a tenth of what a commit does. */
static bool writes_before_verdict(const struct store_blob *b)
{
	return b->kind != OBJECT_COMMIT && b->kind != OBJECT_CAPABILITY;
}

static int put_blob(struct write *w, struct store_put *p, struct store_blob *b)
{
	struct judge j = { .w = w, .p = p, .b = b };
	bool guarded = writes_before_verdict(b);
	struct write_mark mark;
	int rc = guarded ? write_savepoint(w, &mark) : 0;

	if (rc < 0)
		return rc;
	b->existed = b->let_go = false;
	rc = judge(&j);
	if (rc == 0 && j.verdict == 0)
		rc = write_settle_twins(w);
	if (rc < 0)
		return rc;
	b->status = j.verdict;
	if (j.verdict == 0 || j.verdict == ERR_MISSING)
		return guarded ? write_release(w) : 0;
	rc = guarded ? write_rollback(w, &mark) : 0;
	return rc == 0 && j.blame_bytes ? refused_add(w, &b->hash, b->kind, j.verdict) : rc;
}

/* ---- One transaction ---- */

struct slice {
	size_t end; /* blobs before it were judged */
	size_t bytes;
	unsigned retries;
	bool more_ready;
};

static int retry(struct write *w, struct slice *t)
{
	int rc = stash_retry(w, STORE_TX_RETRIES_MAX - t->retries);

	if (rc < 0)
		return rc;
	t->retries += (unsigned)rc;
	t->more_ready = t->retries >= STORE_TX_RETRIES_MAX;
	return 0;
}

static bool has_room(const struct write *w, const struct store_put *p, const struct slice *t)
{
	/* A blob larger than what is left of the budget begins the next transaction. */
	return t->end - p->next < STORE_TX_BLOBS_MAX && w->links < STORE_TX_LINKS_MAX &&
	       !t->more_ready &&
	       (t->bytes == 0 || t->bytes + p->blobs[t->end].len <= STORE_TX_BYTES_MAX);
}

static int fill(struct write *w, struct store_put *p, struct slice *t)
{
	int rc = retry(w, t); /* what the last transaction left */

	while (rc == 0 && t->end < p->count && has_room(w, p, t)) {
		struct store_blob *b = &p->blobs[t->end];

		rc = put_blob(w, p, b);
		if (rc < 0)
			return rc;
		t->end++;
		t->bytes += b->len;
		rc = retry(w, t);
	}
	return rc;
}

static void count_results(struct store_put *p, size_t end)
{
	for (; p->next < end; p->next++) {
		struct store_blob *b = &p->blobs[p->next];

		if (b->status == ERR_MISSING && b->let_go)
			p->let_go++;
		else if (b->status == ERR_MISSING)
			p->stashed++;
		else if (b->status < 0)
			p->refused++;
		else if (b->existed)
			p->existed++;
		else
			p->stored++;
		if (b->status == 0 && !b->existed)
			p->stored_bytes += b->len;
		b->data = mem_free(b->data);
	}
}

/* Before the commit: afterwards nothing may fail. */
static int reserve_results(struct store_put *p, const struct write *w)
{
	struct store_put_progress *g = p->progress;
	size_t commits = p->commit_count + w->commit_count;
	struct store_new_commit *list;
	int rc = 0;

	for (size_t i = 0; i < w->wanted.count && rc == 0; i += 2) {
		if (g->wanted.count >= (size_t)STORE_PUT_WANTS_MAX * 2) {
			g->wants_dropped++;
			continue;
		}
		rc = id_list_add(&g->wanted, w->wanted.ids[i]);
		if (rc == 0)
			rc = id_list_add(&g->wanted, w->wanted.ids[i + 1]);
	}
	if (rc < 0 || commits <= g->commit_cap)
		return rc;
	list = mem_realloc(p->commits, commits * sizeof(*list));
	if (list == NULL)
		return UV_ENOMEM;
	p->commits = list;
	g->commit_cap = commits;
	return 0;
}

static void take_commits(struct store_put *p, struct write *w)
{
	if (w->commit_count == 0)
		return;
	memcpy(p->commits + p->commit_count, w->commits, w->commit_count * sizeof(*w->commits));
	p->commit_count += w->commit_count;
	w->commit_count = 0;
}

static int put_slice(struct store *s, struct store_put *p, struct slice *t)
{
	struct store_put_progress *g = p->progress;
	size_t wanted = g->wanted.count, dropped = g->wants_dropped;
	struct write w;
	int rc = tx_begin(s);

	if (rc < 0)
		return rc;
	write_init(&w, s, p->request.wall_s);
	if (!g->expired) {
		rc = stash_expire(&w);
		if (rc == 0)
			rc = refused_expire(&w);
	}
	if (rc == 0 && !s->inline_io)
		vouch_begin(&s->vouch, p->blobs, p->next, p->count);
	if (rc == 0)
		rc = fill(&w, p, t);
	vouch_end(s->vouch);
	if (rc == 0)
		rc = reserve_results(p, &w);
	if (rc == 0)
		rc = tx_commit(s);
	if (rc == 0) {
		g->expired = true;
		take_commits(p, &w);
	} else {
		tx_rollback(s);
		g->wanted.count = wanted;
		g->wants_dropped = dropped;
	}
	write_fini(&w);
	return rc;
}

/* ---- The operation ---- */

static int run_put(struct store *s, struct store_request *r)
{
	struct store_put *p = container_of(r, struct store_put, request);
	struct slice t = { .end = p->next };
	int rc = 0, failed;

	if (p->progress == NULL)
		p->progress = mem_alloc(sizeof(*p->progress));
	if (p->progress == NULL)
		return UV_ENOMEM;
	if (request_abandoned(s, r))
		rc = UV_ECANCELED; /* the operation knows better why */
	else
		rc = put_slice(s, p, &t);
	if (rc == 0) {
		count_results(p, t.end);
		if (p->next < p->count || t.more_ready)
			return 1;
	}
	failed = put_report_wants(s, p);
	return rc < 0 ? rc : failed;
}

static void put_tick(struct op *op)
{
	struct store_put *p = container_of(op, struct store_put, op);

	if (!request_tick(op, &p->request))
		return;
	for (size_t i = p->next; i < p->count; i++) {
		p->blobs[i].status = op_status(op);
		p->blobs[i].data = mem_free(p->blobs[i].data);
	}
	p->cb(p, op_status(op));
}

static const struct op_kind put_kind = { "store.put", request_write_states, REQUEST_STATE_COUNT,
					 put_tick };

void store_put_start(struct store_put *p, const struct op_env *env, struct store *s,
		     struct store_blob *blobs, size_t count, const struct public_key *from,
		     const struct scope *scope, store_put_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(count <= STORE_PUT_MAX);
	*p = (struct store_put){
		.data = p->data,
		.blobs = blobs,
		.count = count,
		.cb = cb,
		.local = from == NULL,
		.has_scope = scope != NULL,
	};
	if (from != NULL)
		p->from = *from;
	if (scope != NULL)
		p->scope = *scope;
	request_start(&p->request, &p->op, &put_kind, &copy, s, true, run_put);
}

void store_put_fini(struct store_put *p)
{
	if (p->progress != NULL)
		id_list_fini(&p->progress->wanted);
	p->progress = mem_free(p->progress);
	for (size_t i = 0; i < p->commit_count; i++)
		mem_free(p->commits[i].path);
	p->commits = mem_free(p->commits);
	p->commit_count = 0;
	p->wants = mem_free(p->wants);
	p->want_count = 0;
}
