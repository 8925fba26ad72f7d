/* What the store's tests share: a store on a virtual clock, keys, blobs, and operations run to
 * their end. */
#pragma once

#include "test_util.h"

#include <dirent.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "store/internal.h"
#include "store/store.h"

struct key {
	struct public_key pub;
	uint8_t secret[64];
};

static inline struct key key_of(uint8_t n)
{
	uint8_t seed[32] = { n };
	struct key k;

	(void)crypto_sign_seed_keypair(k.pub.bytes, k.secret, seed);
	return k;
}

struct fixture {
	struct manual_loop loop;
	struct op_env env;
	struct store *store;
	char dir[64]; /* "" = in memory */
	struct key owner, guest, peer;
	bool done;
	int status;
};

static inline bool fixture_done(void *data)
{
	return ((struct fixture *)data)->done;
}

static inline void fixture_closed(void *data)
{
	((struct fixture *)data)->done = true;
}

static inline int fixture_try_open(struct fixture *f, char *why, size_t why_size)
{
	struct store_config config = { .runner = &f->loop.runner,
				       .dir = f->dir[0] != '\0' ? f->dir : NULL,
				       .inline_io = true };

	return store_open(&config, &f->store, why, why_size);
}

static inline void fixture_open(struct fixture *f)
{
	char why[512];
	int rc = fixture_try_open(f, why, sizeof(why));

	if (rc < 0)
		fail_msg("%s: %s", err_name(rc), why);
}

static inline void fixture_close(struct fixture *f)
{
	f->done = false;
	store_close(f->store, fixture_closed, f);
	assert_true(run_until(&f->loop, fixture_done, f, UINT64_MAX - 1));
	f->store = NULL;
}

static inline void fixture_reopen(struct fixture *f)
{
	fixture_close(f);
	fixture_open(f);
}

static inline void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	char path[512];

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		(void)unlink(path);
	}
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(dir);
}

static inline void fixture_init(struct fixture *f, bool on_disk)
{
	assert_int_equal(base_init(), 0);
	*f = (struct fixture){ .owner = key_of(1), .guest = key_of(2), .peer = key_of(3) };
	manual_loop_init(&f->loop, 1);
	f->env = (struct op_env){ .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	if (on_disk) {
		(void)strcpy(f->dir, "/tmp/store-test-XXXXXX");
		assert_non_null(mkdtemp(f->dir));
	}
	fixture_open(f);
}

static inline void fixture_fini(struct fixture *f)
{
	if (f->store != NULL)
		fixture_close(f);
	manual_loop_fini(&f->loop);
	if (f->dir[0] != '\0')
		remove_dir(f->dir);
}

/* ---- Running operations to their end ---- */

#define STORE_DONE(type)                                                                           \
	static inline void type##_done(struct type *o, int status)                                 \
	{                                                                                          \
		struct fixture *f = o->data;                                                       \
		f->done = true;                                                                    \
		f->status = status;                                                                \
	}
STORE_DONE(store_put)
STORE_DONE(store_get)
STORE_DONE(store_has)
STORE_DONE(store_items)
STORE_DONE(store_resolve)
STORE_DONE(store_wants)
STORE_DONE(store_log)
STORE_DONE(store_objects)
STORE_DONE(store_publish)
STORE_DONE(store_seen)
STORE_DONE(store_peers)
STORE_DONE(store_peer_set)
STORE_DONE(store_subscriptions)
STORE_DONE(store_subscription_set)

static inline int fixture_wait(struct fixture *f)
{
	assert_true(run_until(&f->loop, fixture_done, f, UINT64_MAX - 1));
	return f->status;
}

/* RUN(store_items, &items, f, &scope): starts with the right callback and waits. Evaluates to the
 * status. */
#define RUN(type, o, f, ...)                                                                       \
	({                                                                                         \
		(o)->data = (f);                                                                   \
		(f)->done = false;                                                                 \
		type##_start((o), &(f)->env, (f)->store, ##__VA_ARGS__, type##_done);              \
		fixture_wait(f);                                                                   \
	})

/* ---- Blobs ---- */

struct blob {
	enum object_kind kind;
	struct hash hash;
	uint8_t *data;
	size_t len;
};

static inline struct blob blob_of(enum object_kind kind, const void *data, size_t len)
{
	struct blob b = {
		.kind = kind, .hash = hash_of(data, len), .data = mem_dup(data, len), .len = len
	};

	assert_non_null(b.data);
	return b;
}

static inline struct blob chunk_of(const char *text)
{
	return blob_of(OBJECT_CHUNK, text, strlen(text));
}

static inline void blob_fini(struct blob *b)
{
	b->data = mem_free(b->data);
}

/* A directory with one file per chunk, named a, b, … */
static inline struct blob tree_of(const struct blob *chunks, size_t count)
{
	struct chunk_ref refs[26];
	struct entry entries[26] = { 0 };
	char names[26][2];
	struct buf out;
	struct blob b;

	assert_true(count <= 26);
	buf_init(&out, OBJECT_BLOB_MAX);
	for (size_t i = 0; i < count; i++) {
		names[i][0] = (char)('a' + i);
		names[i][1] = '\0';
		refs[i] = (struct chunk_ref){ .hash = chunks[i].hash,
					      .size = (uint32_t)chunks[i].len };
		entries[i] = (struct entry){ .name = names[i],
					     .name_len = 1,
					     .mode = 0644,
					     .size = chunks[i].len,
					     .kind = ENTRY_FILE,
					     .chunks = &refs[i],
					     .chunk_count = 1 };
	}
	CHECK_STATUS(0,
		     tree_encode(&(struct tree){ .entries = entries, .entry_count = count }, &out));
	b = blob_of(OBJECT_TREE, out.data, out.len);
	buf_fini(&out);
	return b;
}

static inline struct blob blob_take(enum object_kind kind, struct buf *out)
{
	struct blob b = blob_of(kind, out->data, out->len);

	buf_fini(out);
	return b;
}

/* root NULL = tombstone. */
static inline struct blob commit_of(const struct key *author, const struct public_key *space,
				    const char *path, const struct blob *root, uint64_t time_s,
				    const struct hash *parents, size_t parent_count,
				    const struct hash *capability)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct buf out;

	assert_non_null(c);
	c->space = *space;
	c->author = author->pub;
	c->path_len = strlen(path);
	memcpy(c->path, path, c->path_len);
	c->time_s = time_s;
	c->tombstone = root == NULL;
	c->root_kind = OBJECT_TREE;
	if (root != NULL)
		c->root = root->hash;
	for (size_t i = 0; i < parent_count; i++)
		c->parents[i] = parents[i];
	c->parent_count = parent_count;
	c->has_capability = capability != NULL;
	if (capability != NULL)
		c->capability = *capability;
	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, author->secret, &out));
	mem_free(c);
	return blob_take(OBJECT_COMMIT, &out);
}

static inline struct blob capability_of(const struct key *space, const struct public_key *grantee,
					const char *prefix)
{
	struct capability c = { .space = space->pub,
				.grantee = *grantee,
				.path_prefix_len = strlen(prefix) };
	struct buf out;

	memcpy(c.path_prefix, prefix, c.path_prefix_len);
	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, capability_sign(&c, space->secret, &out));
	return blob_take(OBJECT_CAPABILITY, &out);
}

/* ---- Shortcuts ---- */

enum { PUT_MAX = 1024 };

struct put_result {
	struct store_put put;
	struct store_blob blobs[PUT_MAX];
};

static inline void put_fill(struct put_result *r, const struct blob *const *list, size_t count)
{
	assert_true(count <= PUT_MAX);
	for (size_t i = 0; i < count; i++) {
		r->blobs[i] = (struct store_blob){ .hash = list[i]->hash,
						   .kind = list[i]->kind,
						   .data = mem_dup(list[i]->data, list[i]->len),
						   .len = list[i]->len };
	}
}

/* The caller ends with store_put_fini(&r->put). */
static inline int put_many(struct fixture *f, struct put_result *r, const struct blob *const *list,
			   size_t count, const struct public_key *from, const struct scope *scope)
{
	put_fill(r, list, count);
	return RUN(store_put, &r->put, f, r->blobs, count, from, scope);
}

/* One blob; the blob's own status, or the operation's when that failed. */
static inline int put_one(struct fixture *f, const struct blob *b, const struct public_key *from)
{
	struct put_result r;
	int rc = put_many(f, &r, &b, 1, from, NULL);

	store_put_fini(&r.put);
	return rc < 0 ? rc : r.blobs[0].status;
}

static inline struct scope scope_of(const struct public_key *space, const char *path,
				    enum scope_kind kind)
{
	struct scope s;

	CHECK_STATUS(0, scope_make(space, path, strlen(path), kind, &s));
	return s;
}

static inline struct iri iri_of(const struct public_key *space, const char *path)
{
	struct iri iri = { .space = *space, .path_len = strlen(path) };

	memcpy(iri.path, path, iri.path_len);
	return iri;
}

static inline struct store_resolve resolve(struct fixture *f, const struct public_key *space,
					   const char *path, enum scope_kind kind)
{
	struct iri iri = iri_of(space, path);
	struct store_resolve r;

	CHECK_STATUS(0, RUN(store_resolve, &r, f, &iri, kind));
	store_resolve_fini(&r);
	return r;
}

/* Can the reader have it? */
static inline bool readable(struct fixture *f, const struct hash *hash, bool is_peer)
{
	struct store_get_item item = { .hash = *hash };
	struct store_reader reader = { .is_peer = is_peer };
	struct store_get g;
	bool found;

	CHECK_STATUS(0, RUN(store_get, &g, f, &item, 1, &reader, 1 << 20));
	found = item.data != NULL;
	store_get_fini(&g);
	return found;
}

/* A version without content is a tombstone. */
static inline int publish_from(struct fixture *f, const char *path, const struct blob *root,
			       const struct store_origin *origin,
			       struct store_conflict *ret_conflict, struct hash *ret)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_publish p;
	int rc;

	c->space = c->author = f->owner.pub;
	c->path_len = strlen(path);
	memcpy(c->path, path, c->path_len);
	c->tombstone = root == NULL;
	c->root_kind = OBJECT_TREE;
	if (root != NULL)
		c->root = root->hash;
	rc = RUN(store_publish, &p, f, c, f->owner.secret, origin);
	store_publish_fini(&p);
	mem_free(c);
	if (ret != NULL)
		*ret = p.hash;
	if (ret_conflict != NULL)
		*ret_conflict = p.conflict;
	return rc;
}

static inline int publish(struct fixture *f, const char *path, const struct blob *root,
			  struct hash *ret)
{
	struct store_origin over = { .over = true };

	return publish_from(f, path, root, &over, NULL, ret);
}

/* The totals are what counting says; links, pending and heads agree with each other. */
static inline int64_t count_sql(struct fixture *f, const char *sql)
{
	sqlite3_stmt *q = NULL;
	int64_t n = -1;

	assert_int_equal(sqlite3_prepare_v2(f->store->db.sqlite, sql, -1, &q, NULL), SQLITE_OK);
	if (sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int64(q, 0);
	(void)sqlite3_finalize(q);
	return n;
}

static inline void check_invariants(struct fixture *f)
{
	static const char *const zero[] = {
		"SELECT count(*) FROM blob b WHERE (b.state & 4) AND b.pending <> (SELECT count(*) "
		"FROM link l"
		" JOIN blob t ON t.id = l.target WHERE l.source = b.id AND t.pending <> 0)",
		"SELECT count(*) FROM blob WHERE (state & 4) = 0 AND pending <> -1",
		"SELECT count(*) FROM blob b WHERE (b.state & 1) <> EXISTS (SELECT 1 FROM content "
		"c WHERE c.id = b.id)",
		"SELECT count(*) FROM blob t WHERE (t.state & 6) = 0 AND EXISTS (SELECT 1 FROM "
		"link l"
		" JOIN blob s ON s.id = l.source WHERE l.target = t.id AND (s.state & 4))",
		"SELECT count(*) FROM blob t WHERE (t.state & 2) AND NOT EXISTS (SELECT 1 FROM "
		"link l"
		" JOIN blob s ON s.id = l.source WHERE l.target = t.id AND (s.state & 4))",
		"SELECT count(*) FROM commits c JOIN blob b ON b.id = c.id WHERE c.complete <> "
		"(b.pending = 0)",
		"SELECT count(*) FROM commits c WHERE c.head = EXISTS (SELECT 1 FROM parent p "
		"WHERE p.parent = c.id)",
		"SELECT count(*) FROM object o WHERE o.commits <> (SELECT count(*) FROM commits c "
		"WHERE c.object = o.id)"
		" OR o.heads <> (SELECT count(*) FROM commits c WHERE c.object = o.id AND head = 1)"
		" OR o.open_heads <> (SELECT count(*) FROM commits c WHERE c.object = o.id AND "
		"head = 1 AND complete = 0)",
		"SELECT count(*) FROM stash s WHERE s.needs <> (SELECT count(*) FROM stash_need n "
		"WHERE n.stash = s.id)",
		"SELECT count(*) FROM stash_need n WHERE NOT EXISTS (SELECT 1 FROM stash s WHERE "
		"s.id = n.stash)",
	};
	static const char *const totals[TOTAL_COUNT] = {
		[TOTAL_BLOBS] = "SELECT count(*) FROM content",
		[TOTAL_BLOB_BYTES] = "SELECT coalesce(sum(length(bytes)), 0) FROM content",
		[TOTAL_COMMITS] = "SELECT count(*) FROM commits",
		[TOTAL_TREES] = "SELECT count(*) FROM blob WHERE kind = 3 AND (state & 1)",
		[TOTAL_WANTED] = "SELECT count(*) FROM blob WHERE (state & 2)",
		[TOTAL_STASHED] = "SELECT count(*) FROM stash",
		[TOTAL_STASH_BYTES] = "SELECT coalesce(sum(length(bytes)), 0) FROM stash",
		[TOTAL_REFUSED] = "SELECT count(*) FROM refused",
		[TOTAL_OBJECTS] = "SELECT count(*) FROM object",
		[TOTAL_CONFLICTS] = "SELECT count(*) FROM object WHERE heads > 1",
		[TOTAL_PEERS] = "SELECT count(*) FROM peer",
		[TOTAL_SUBSCRIPTIONS] = "SELECT count(*) FROM subscription",
	};

	for (size_t i = 0; i < ARRAY_SIZE(zero); i++)
		if (count_sql(f, zero[i]) != 0)
			fail_msg("invariant broken: %s", zero[i]);
	for (int i = 0; i < TOTAL_COUNT; i++)
		if (count_sql(f, totals[i]) != f->store->db.totals.v[i])
			fail_msg("total %d is %lld: %s", i, (long long)f->store->db.totals.v[i],
				 totals[i]);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM pragma_integrity_check WHERE "
				      "integrity_check <> 'ok'"),
			 0);
}
