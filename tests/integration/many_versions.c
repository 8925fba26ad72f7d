/* Fills the store of a data folder with one object of many versions, for tests and measurements: a
 * daemon would take a transaction with its fsync for each.
 *
 *   many_versions DIR COUNT [reversed]
 *
 * Prints the IRI. Version i (from 1) is a file that holds the number i and a newline. With
 * "reversed" the commits' times run backwards. The same arguments give the same commits, and fewer
 * are the first ones of more (unless reversed). The daemon of DIR must not run; the space is not that
 * daemon's own. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/manual.h"
#include "base/mem.h"
#include "store/store.h"

enum { VERSION_BLOBS = 3, BATCH = STORE_PUT_MAX / VERSION_BLOBS * VERSION_BLOBS };

struct maker {
	struct manual_loop loop;
	struct store *store;
	struct public_key space, peer;
	uint8_t secret[64];
	struct hash parent;
	struct store_blob batch[BATCH];
	size_t count;
	bool done, reversed;
	uint64_t total;
	int status;
};

static void fail(const char *what, int status)
{
	(void)fprintf(stderr, "many_versions: %s: %s\n", what, err_str(status));
	exit(1);
}

static void add(struct maker *m, enum object_kind kind, struct buf *bytes, struct hash *ret)
{
	struct store_blob *b = &m->batch[m->count++];

	if (buf_err(bytes) < 0)
		fail("a blob", buf_err(bytes));
	*b = (struct store_blob){ .kind = kind };
	b->data = buf_take(bytes, &b->len);
	b->hash = *ret = hash_of(b->data, b->len);
}

/* The commit first: content is taken only when something refers to it. */
static void add_version(struct maker *m, struct commit *c, uint64_t number)
{
	struct chunk_ref chunk = { 0 };
	struct file file = { .mode = 0644, .chunks = &chunk, .chunk_count = 1 };
	struct buf text, encoded, signed_;
	int status;

	buf_init(&text, 64);
	buf_init(&encoded, OBJECT_BLOB_MAX);
	buf_init(&signed_, OBJECT_COMMIT_MAX);
	buf_printf(&text, "%llu\n", (unsigned long long)number);
	chunk.hash = hash_of(text.data, text.len);
	chunk.size = (uint32_t)text.len;
	file.size = text.len;
	status = file_encode(&file, &encoded);
	if (status < 0)
		fail("a file", status);
	c->root = hash_of(encoded.data, encoded.len);
	c->time_s = 1600000000 + (m->reversed ? m->total - number : number);
	c->content_bytes = text.len;
	c->content_blobs = 2;
	c->parent_count = number > 1 ? 1 : 0;
	c->parents[0] = m->parent;
	status = commit_sign(c, m->secret, &signed_);
	if (status < 0)
		fail("signing", status);
	add(m, OBJECT_COMMIT, &signed_, &m->parent);
	add(m, OBJECT_FILE, &encoded, &c->root);
	add(m, OBJECT_CHUNK, &text, &chunk.hash);
}

static void on_put(struct store_put *p, int status)
{
	struct maker *m = p->data;

	m->done = true;
	m->status = status;
	if (status == 0 && p->refused + p->stashed > 0)
		m->status = ERR_PROTOCOL;
}

static void wait_done(struct maker *m, const char *what)
{
	while (!m->done)
		(void)manual_loop_step(&m->loop);
	m->done = false;
	if (m->status < 0)
		fail(what, m->status);
}

static void flush(struct maker *m)
{
	struct op_env env = { .runner = &m->loop.runner, .deadline_ms = UINT64_MAX };
	struct store_put put = { .data = m };

	store_put_start(&put, &env, m->store, m->batch, m->count, &m->peer, NULL, on_put);
	put.data = m;
	wait_done(m, "storing");
	store_put_fini(&put);
	m->count = 0;
}

static void on_closed(void *data)
{
	((struct maker *)data)->done = true;
}

static void make(struct maker *m)
{
	struct commit *c = mem_alloc(sizeof(*c));

	if (c == NULL)
		fail("a commit", UV_ENOMEM);
	c->space = c->author = m->space;
	memcpy(c->path, "/many", 5);
	c->path_len = 5;
	c->root_kind = OBJECT_FILE;
	for (uint64_t i = 1; i <= m->total; i++) {
		add_version(m, c, i);
		if (m->count + VERSION_BLOBS > BATCH || i == m->total)
			flush(m);
	}
	mem_free(c);
}

int main(int argc, char **argv)
{
	static struct maker m;
	struct store_config config = { .runner = &m.loop.runner, .inline_io = true };
	char why[256] = "", text[KEY_TEXT_SIZE];
	int status;

	if (argc < 3 || base_init() < 0) {
		(void)fprintf(stderr, "usage: many_versions DIR COUNT [reversed]\n");
		return 2;
	}
	m.total = strtoull(argv[2], NULL, 10);
	m.reversed = argc > 3 && strcmp(argv[3], "reversed") == 0;
	config.dir = argv[1];
	manual_loop_init(&m.loop, 1);
	crypto_sign_seed_keypair(m.space.bytes, m.secret,
				 (const uint8_t[crypto_sign_SEEDBYTES]){ 77 });
	status = store_open(&config, &m.store, why, sizeof(why));
	if (status < 0) {
		(void)fprintf(stderr, "many_versions: %s: %s\n", argv[1], why);
		return 1;
	}
	make(&m);
	store_close(m.store, on_closed, &m);
	wait_done(&m, "closing");
	manual_loop_fini(&m.loop);
	space_format(&m.space, text);
	printf("hm://%s/many\n", text);
	return 0;
}
