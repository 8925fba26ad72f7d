/* How fast the store is: puts, loading a set, resolving a large folder. On disk in the working
 * folder, with its real fsyncs. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/manual.h"
#include "base/mem.h"
#include "store/store.h"

enum {
	SMALL_COUNT = 20 * STORE_PUT_MAX,
	LARGE_COUNT = 512,
	COMMITS = 20000,
	FOLDER_BLOBS = 10000,
	RESOLVES = 200
};

struct bench {
	struct manual_loop loop;
	struct op_env env;
	struct store *store;
	struct public_key space, peer;
	uint8_t secret[64];
	bool done;
	int status;
	uint64_t serial;
};

static uint64_t now_ns(void)
{
	return clock_now_ns(&clock_system);
}

static void on_closed(void *data)
{
	((struct bench *)data)->done = true;
}

static void wait_done(struct bench *b)
{
	while (!b->done)
		(void)manual_loop_step(&b->loop);
	if (b->status < 0) {
		(void)fprintf(stderr, "failed: %s\n", err_str(b->status));
		exit(1);
	}
}

#define DONE(type)                                                                                 \
	static void type##_done(struct type *o, int status)                                        \
	{                                                                                          \
		struct bench *b = o->data;                                                         \
		b->done = true;                                                                    \
		b->status = status;                                                                \
	}
DONE(store_put)
DONE(store_items)
DONE(store_resolve)
DONE(store_wants)
DONE(store_publish)
DONE(store_get)

#define RUN(type, o, b, ...)                                                                       \
	do {                                                                                       \
		(o)->data = (b);                                                                   \
		(b)->done = false;                                                                 \
		type##_start((o), &(b)->env, (b)->store, __VA_ARGS__, type##_done);                \
		wait_done(b);                                                                      \
	} while (0)

static void fill(struct bench *b, struct store_blob *blob, size_t len)
{
	*blob = (struct store_blob){ .kind = OBJECT_CHUNK, .data = mem_alloc(len), .len = len };
	for (size_t i = 0; i + 8 <= len; i += 512)
		memcpy(blob->data + i, &b->serial, 8);
	b->serial++;
	blob->hash = hash_of(blob->data, len);
}

static void bench_put(struct bench *b, size_t len, size_t total, size_t batch)
{
	static struct store_blob blobs[STORE_PUT_MAX];
	struct store_stats stats;
	struct store_put put;
	uint64_t ns = 0;

	for (size_t done = 0; done < total; done += batch) {
		uint64_t begun;

		for (size_t i = 0; i < batch; i++)
			fill(b, &blobs[i], len);
		begun = now_ns();
		RUN(store_put, &put, b, blobs, batch, NULL, NULL);
		ns += now_ns() - begun;
		store_put_fini(&put);
	}
	store_stats(b->store, &stats);
	printf("put %7zu B in batches of %4zu: %8.0f/s  %7.1f MB/s\n", len, batch,
	       (double)total * 1e9 / (double)ns, (double)(total * len) * 1e3 / (double)ns);
}

static struct store_blob commit_blob(struct bench *b, const char *path,
				     const struct chunk_ref *root, uint64_t time_s)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_blob blob = { .kind = OBJECT_COMMIT };
	struct buf out;

	c->space = c->author = b->space;
	c->path_len = strlen(path);
	memcpy(c->path, path, c->path_len);
	c->time_s = time_s;
	c->tombstone = root == NULL;
	if (root != NULL) {
		c->root = root->hash;
		c->root_kind = OBJECT_TREE;
	}
	buf_init(&out, OBJECT_COMMIT_MAX);
	if (commit_sign(c, b->secret, &out) < 0)
		exit(1);
	blob.data = buf_take(&out, &blob.len);
	blob.hash = hash_of(blob.data, blob.len);
	mem_free(c);
	return blob;
}

static void bench_items(struct bench *b)
{
	static struct store_blob blobs[STORE_PUT_MAX];
	struct scope scope = { .space = b->space, .kind = SCOPE_RECURSIVE };
	struct store_items items;
	struct store_put put;
	uint64_t ns = 0, begun;
	char path[64];

	for (size_t done = 0; done < COMMITS; done += 1000) {
		for (size_t i = 0; i < 1000; i++) {
			(void)snprintf(path, sizeof(path), "/items/%zu", (done + i) / 10);
			blobs[i] = commit_blob(b, path, NULL, 1000 + (done + i) * 7919 % COMMITS);
		}
		begun = now_ns();
		RUN(store_put, &put, b, blobs, 1000, &b->peer, NULL);
		ns += now_ns() - begun;
		store_put_fini(&put);
	}
	printf("put commits:            %8.0f/s (one signature check each)\n",
	       COMMITS * 1e9 / (double)ns);
	for (int warm = 0; warm < 2; warm++) {
		begun = now_ns();
		RUN(store_items, &items, b, &scope);
		printf("items %s:          %8.0f ns/row (%zu rows of %d objects)\n",
		       warm ? "warm" : "cold",
		       (double)(now_ns() - begun) / (double)MAX(items.count, 1), items.count,
		       COMMITS / 10);
		store_items_fini(&items);
	}
}

static int emit(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		size_t len)
{
	struct bench *b = data;
	struct store_blob one = {
		.kind = kind, .hash = *hash, .data = mem_dup(blob, len), .len = len
	};
	struct store_put put;

	RUN(store_put, &put, b, &one, 1, NULL, NULL);
	store_put_fini(&put);
	return one.status;
}

/* A folder of 10,000 files, one chunk each, put and published. */
static struct chunk_ref make_folder(struct bench *b)
{
	static struct store_blob blobs[STORE_PUT_MAX];
	struct entry *entries = mem_alloc_array(FOLDER_BLOBS, sizeof(*entries));
	struct chunk_ref *refs = mem_alloc_array(FOLDER_BLOBS, sizeof(*refs)), top;
	struct store_put put;

	for (size_t done = 0; done < FOLDER_BLOBS; done += 1000) {
		for (size_t i = 0; i < 1000; i++) {
			size_t n = done + i;

			fill(b, &blobs[i], 1024);
			refs[n] = (struct chunk_ref){ .hash = blobs[i].hash, .size = 1024 };
			entries[n] = (struct entry){ .name = mem_printf("%06zu", n),
						     .name_len = 6,
						     .mode = 0644,
						     .size = 1024,
						     .kind = ENTRY_FILE,
						     .chunks = &refs[n],
						     .chunk_count = 1 };
		}
		RUN(store_put, &put, b, blobs, 1000, NULL, NULL);
		store_put_fini(&put);
	}
	if (tree_write(entries, FOLDER_BLOBS, emit, b, &top) < 0)
		exit(1);
	for (size_t i = 0; i < FOLDER_BLOBS; i++)
		mem_free((void *)(uintptr_t)entries[i].name);
	mem_free(entries);
	mem_free(refs);
	return top;
}

static void time_resolve(struct bench *b, const char *what, const char *path)
{
	struct iri iri = { .space = b->space, .path_len = strlen(path) };
	struct store_resolve r;
	uint64_t begun = now_ns();

	memcpy(iri.path, path, iri.path_len);
	for (int i = 0; i < RESOLVES; i++)
		RUN(store_resolve, &r, b, &iri, SCOPE_EXACT);
	printf("resolve %-15s %8.1f us (resolved %d, missing %llu)\n", what,
	       (double)(now_ns() - begun) / 1e3 / RESOLVES, r.resolved,
	       (unsigned long long)r.missing);
}

static void publish(struct bench *b, const struct chunk_ref *top)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_publish p;
	struct store_origin over = { .over = true };
	uint64_t begun = now_ns();

	c->space = c->author = b->space;
	memcpy(c->path, "/folder", 7);
	c->path_len = 7;
	c->root = top->hash;
	c->root_kind = OBJECT_TREE;
	RUN(store_publish, &p, b, c, b->secret, &over);
	printf("publish %d blobs:    %8.1f ms\n", FOLDER_BLOBS, (double)(now_ns() - begun) / 1e6);
	store_publish_fini(&p);
	mem_free(c);
}

/* Another's folder of the same size of which the trees have come and no chunk. */
static int put_theirs(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		      size_t len)
{
	struct bench *b = data;
	struct store_blob one = {
		.kind = kind, .hash = *hash, .data = mem_dup(blob, len), .len = len
	};
	struct store_put put;

	RUN(store_put, &put, b, &one, 1, &b->peer, NULL);
	store_put_fini(&put);
	return one.status == ERR_PROTOCOL ?
		       0 :
		       one.status; /* not wanted yet: a later round brings it */
}

static void bench_missing(struct bench *b)
{
	struct entry *entries = mem_alloc_array(FOLDER_BLOBS, sizeof(*entries));
	struct chunk_ref *refs = mem_alloc_array(FOLDER_BLOBS, sizeof(*refs)), top = { 0 };
	struct scope scope = { .space = b->space, .path = "/theirs", .path_len = 7 };
	struct store_blob commit;
	struct store_wants w;
	struct store_put put;
	uint64_t begun;

	for (size_t n = 0; n < FOLDER_BLOBS; n++) {
		refs[n] = (struct chunk_ref){ .hash = hash_of(&n, sizeof(n)), .size = 1024 };
		entries[n] = (struct entry){ .name = mem_printf("%06zu", n),
					     .name_len = 6,
					     .mode = 0644,
					     .size = 1024,
					     .kind = ENTRY_FILE,
					     .chunks = &refs[n],
					     .chunk_count = 1 };
	}
	(void)tree_write(entries, FOLDER_BLOBS, put_theirs, b, &top);
	commit = commit_blob(b, "/theirs", &top, 5);
	RUN(store_put, &put, b, &commit, 1, &b->peer, NULL);
	store_put_fini(&put);
	begun = now_ns();
	for (int round = 0; round < 3; round++)
		(void)tree_write(entries, FOLDER_BLOBS, put_theirs, b, &top);
	printf("put trees of %d:     %8.1f ms\n", FOLDER_BLOBS, (double)(now_ns() - begun) / 1e6);
	time_resolve(b, "all missing:", "/theirs");
	begun = now_ns();
	RUN(store_wants, &w, b, &scope, STORE_WANT_HISTORY, 1000);
	printf("wants, first %zu of %llu: %6.1f ms\n", w.count, (unsigned long long)w.total,
	       (double)(now_ns() - begun) / 1e6);
	store_wants_fini(&w);
	for (size_t i = 0; i < FOLDER_BLOBS; i++)
		mem_free((void *)(uintptr_t)entries[i].name);
	mem_free(entries);
	mem_free(refs);
}

static void bench_get(struct bench *b)
{
	struct store_get_item items[64] = { 0 };
	struct store_reader user = { 0 };
	struct store_blob blob;
	struct store_get g;
	uint64_t begun, bytes = 0;

	b->serial = 0;
	for (size_t i = 0; i < 64; i++) {
		fill(b, &blob, 1024);
		items[i].hash = blob.hash;
		mem_free(blob.data);
	}
	begun = now_ns();
	for (int i = 0; i < RESOLVES; i++) {
		RUN(store_get, &g, b, items, 64, &user, 64 << 20);
		bytes += items[0].len;
		store_get_fini(&g);
	}
	printf("get 64 blobs of 1 KiB:  %8.0f/s\n",
	       64.0 * RESOLVES * 1e9 / (double)(now_ns() - begun));
	if (bytes != 1024 * RESOLVES)
		exit(1);
}

int main(void)
{
	struct bench b = { 0 };
	struct store_config config = { .runner = &b.loop.runner, .inline_io = true };
	char dir[] = "bench-store-XXXXXX", command[128], why[256];
	struct chunk_ref top;
	uint8_t seed[32] = { 1 };

	if (base_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	manual_loop_init(&b.loop, 1);
	b.env = (struct op_env){ .runner = &b.loop.runner, .deadline_ms = UINT64_MAX };
	(void)crypto_sign_seed_keypair(b.space.bytes, b.secret, seed);
	config.dir = dir;
	if (store_open(&config, &b.store, why, sizeof(why)) < 0) {
		(void)fprintf(stderr, "%s\n", why);
		return 1;
	}
	bench_put(&b, 1024, SMALL_COUNT, STORE_PUT_MAX);
	bench_put(&b, 1024, 200, 1);
	bench_put(&b, 256 << 10, LARGE_COUNT, 64);
	bench_get(&b);
	b.serial = 1u << 30;
	bench_items(&b);
	top = make_folder(&b);
	publish(&b, &top);
	time_resolve(&b, "all here:", "/folder");
	bench_missing(&b);
	b.done = false;
	b.status = 0;
	store_close(b.store, on_closed, &b);
	wait_done(&b);
	manual_loop_fini(&b.loop);
	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}
