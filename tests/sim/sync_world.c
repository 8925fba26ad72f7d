#include "tests/sim/sync_world.h"

#include <sodium.h>

enum { WAIT_MAX_MS = 3600000 };

void sync_world_key(uint8_t tag, size_t number, uint8_t secret[64], struct public_key *ret)
{
	uint8_t seed[32] = { tag, (uint8_t)number, (uint8_t)(number >> 8) };

	crypto_sign_seed_keypair(ret->bytes, secret, seed);
}

void sync_world_init(struct sync_world *w, uint64_t seed)
{
	struct mem_stats mem;

	memset(w, 0, sizeof(*w));
	mem_stats(&mem);
	w->live_before = mem.live_count;
	manual_loop_init(&w->loop, seed);
	w->simnet = simnet_new(&w->loop.runner, seed);
	w->trace = trace_new(&(struct trace_config){ 0 }, w->loop.runner.clock);
	assert_non_null(w->simnet);
	assert_non_null(w->trace);
	trace_observe(w->trace, &w->loop.runner);
	simnet_set_default(w->simnet, &(struct simnet_path){ .latency_ms = SYNC_WORLD_LATENCY_MS });
	sync_world_key(9, 9, w->space_secret, &w->space);
}

/* ---- Hosts ---- */

static void on_commits(void *data, const struct store_new_commit *commits, size_t count,
		       const struct public_key *from)
{
	struct host *h = data;

	(void)commits;
	h->commits_heard += from != NULL ? (unsigned)count : 0;
}

static void on_announced(void *data, const struct public_key *peer, const struct scope *scope)
{
	struct host *h = data;

	(void)peer;
	(void)scope;
	h->announced++;
}

static const struct sync_listener listener = { .on_commits = on_commits,
					       .on_announced = on_announced };

static struct host *host_new(struct sync_world *w, const struct net_service *service, void *data)
{
	struct host *h = &w->hosts[w->count];
	struct runner *r = &w->loop.runner;
	char why[256] = "";

	assert_true(w->count < SYNC_WORLD_HOSTS_MAX);
	w->count++;
	h->world = w;
	sync_world_key(1, w->count, h->secret, &h->peer);
	h->addr = (struct multiaddr){ .family = 4,
				      .ip = { 10, 0, 0, (uint8_t)w->count },
				      .port = SYNC_WORLD_PORT };
	if (w->networks) {
		h->addr.ip[1] = (uint8_t)(1 + (w->count >> 8));
		h->addr.ip[2] = (uint8_t)w->count;
		h->addr.ip[3] = 1;
	}
	snprintf(h->ip, sizeof(h->ip), "10.%u.%u.%u", h->addr.ip[1], h->addr.ip[2], h->addr.ip[3]);
	CHECK_STATUS(
		0,
		store_open(&(struct store_config){ .runner = r, .dir = w->dir, .inline_io = true },
			   &h->store, why, sizeof(why)));
	h->net = net_new(&(struct net_config){ .runner = r,
					       .transport = simnet_host(w->simnet, h->ip),
					       .secret_key = h->secret,
					       .agent = "sim",
					       .service = service,
					       .service_data = data });
	assert_non_null(h->net);
	CHECK_STATUS(0, net_listen(h->net, &h->addr));
	return h;
}

struct host *sync_world_host(struct sync_world *w)
{
	struct host *h = host_new(w, NULL, NULL);

	h->sync = sync_new(&(struct sync_config){ .runner = &w->loop.runner,
						  .net = h->net,
						  .store = h->store,
						  .trace = w->trace,
						  .listener = &listener,
						  .listener_data = h });
	assert_non_null(h->sync);
	return h;
}

struct host *sync_world_raw_host(struct sync_world *w, const struct net_service *service,
				 void *data)
{
	return host_new(w, service, data);
}

void sync_world_run_ms(struct sync_world *w, uint64_t ms)
{
	manual_loop_run(&w->loop, runner_now_ms(&w->loop.runner) + ms);
}

static bool is_set(void *data)
{
	return *(bool *)data;
}

static void wait_for(struct sync_world *w, bool *flag)
{
	assert_true(
		run_until(&w->loop, is_set, flag, runner_now_ms(&w->loop.runner) + WAIT_MAX_MS));
}

static void set(void *data)
{
	*(bool *)data = true;
}

static void host_close(struct host *h)
{
	if (h->sync != NULL) {
		sync_close(h->sync, set, &h->sync_closed);
		wait_for(h->world, &h->sync_closed);
	}
	net_close(h->net, set, &h->net_closed);
	wait_for(h->world, &h->net_closed);
	sync_free(h->sync);
	net_free(h->net);
	store_close(h->store, set, &h->store_closed);
	wait_for(h->world, &h->store_closed);
}

/* ---- Traces ---- */

static bool check_stages(void *data, const struct trace_span_view *s)
{
	struct sync_world *w = data;
	struct trace_stage_view stage;
	uint64_t sum = 0;

	if (strncmp(s->category, "sync.", 5) == 0)
		assert_true(s->finished);
	for (uint32_t i = 0; trace_stage_at(w->trace, s, i, &stage); i++) {
		assert_int_equal(stage.start_ns, sum);
		sum += stage.duration_ns;
	}
	if (s->stage_count > 0)
		assert_int_equal(sum, s->duration_ns);
	if (strcmp(s->category, "sync.peer") == 0 && s->duration_ns > 0)
		assert_true(s->stage_count > 0);
	return true;
}

void sync_world_walk(struct sync_world *w,
		     bool (*visit)(void *data, const struct trace_span_view *s), void *data)
{
	struct trace_query q = { .limit = 250 };
	uint32_t roots[250];
	uint64_t matched, total;
	size_t count = trace_search(w->trace, &q, roots, ARRAY_SIZE(roots), &matched, &total);

	for (size_t i = 0; i < count; i++)
		trace_walk(w->trace, roots[i], visit, data);
}

struct search {
	struct sync_world *world;
	const char *category, *text;
	size_t spans;
	int64_t ms;
	bool found;
};

static bool search_span(void *data, const struct trace_span_view *s)
{
	struct search *q = data;
	struct trace_stage_view stage;
	struct trace_mark_view mark;

	if (strcmp(s->category, q->category) != 0)
		return true;
	q->spans++;
	for (uint32_t i = 0; trace_stage_at(q->world->trace, s, i, &stage); i++)
		if (q->text != NULL && strcmp(stage.name, q->text) == 0)
			q->ms = MAX(q->ms, (int64_t)0) + (int64_t)(stage.duration_ns / NS_PER_MS);
	for (uint32_t i = 0; i < s->mark_count; i++) {
		struct buf text;

		buf_init(&text, 4096);
		if (q->text != NULL && trace_mark_at(q->world->trace, s, i, &mark, &text) &&
		    text.data != NULL)
			q->found = q->found || strstr((char *)text.data, q->text) != NULL;
		buf_fini(&text);
	}
	return true;
}

static struct search search(struct sync_world *w, const char *category, const char *text)
{
	struct search q = { .world = w, .category = category, .text = text, .ms = -1 };

	sync_world_walk(w, search_span, &q);
	return q;
}

bool sync_world_marked(struct sync_world *w, const char *category, const char *text)
{
	return search(w, category, text).found;
}

int64_t sync_world_stage_ms(struct sync_world *w, const char *category, const char *stage)
{
	return search(w, category, stage).ms;
}

size_t sync_world_spans(struct sync_world *w, const char *category)
{
	return search(w, category, NULL).spans;
}

void sync_world_fini(struct sync_world *w)
{
	struct mem_stats mem;

	for (size_t i = 0; i < w->count; i++)
		host_close(&w->hosts[i]);
	sync_world_walk(w, check_stages, w);
	simnet_free(w->simnet);
	manual_loop_fini(&w->loop);
	trace_free(w->trace);
	mem_stats(&mem);
	assert_int_equal(mem.live_count, w->live_before);
}

/* ---- Content ---- */

static void piece_take(struct piece *p, enum object_kind kind, struct buf *bytes)
{
	p->kind = kind;
	p->data = buf_take(bytes, &p->len);
	assert_non_null(p->data);
	p->hash = hash_of(p->data, p->len);
}

static void make_chunk(struct piece *p, const char *path, size_t number, size_t bytes)
{
	uint8_t seed[randombytes_SEEDBYTES] = { (uint8_t)number, (uint8_t)(number >> 8) };
	struct hash h = hash_of(path, strlen(path));

	memcpy(seed + 2, h.bytes, 16);
	p->kind = OBJECT_CHUNK;
	p->len = bytes;
	p->data = mem_alloc(bytes);
	assert_non_null(p->data);
	randombytes_buf_deterministic(p->data, bytes, seed);
	p->hash = hash_of(p->data, bytes);
}

static void make_file(struct thing *t)
{
	struct chunk_ref refs[THING_CHUNKS_MAX];
	struct file f = { .mode = 0644, .chunks = refs, .chunk_count = t->chunk_count };
	struct buf out;

	for (size_t i = 0; i < t->chunk_count; i++) {
		refs[i] = (struct chunk_ref){ t->chunks[i].hash, (uint32_t)t->chunks[i].len };
		f.size += t->chunks[i].len;
	}
	buf_init(&out, OBJECT_BLOB_MAX);
	CHECK_STATUS(0, file_encode(&f, &out));
	piece_take(&t->file, OBJECT_FILE, &out);
}

void thing_init(struct thing *t, const struct sync_world *w, const char *path, uint64_t time_s,
		size_t chunk_count, size_t chunk_bytes, const struct hash *parent)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct buf out;

	memset(t, 0, sizeof(*t));
	assert_non_null(c);
	t->chunk_count = chunk_count;
	for (size_t i = 0; i < chunk_count; i++)
		make_chunk(&t->chunks[i], path, i, chunk_bytes);
	c->space = c->author = w->space;
	c->path_len = strlen(path);
	memcpy(c->path, path, c->path_len);
	c->time_s = time_s;
	c->tombstone = chunk_count == 0;
	if (parent != NULL)
		c->parents[c->parent_count++] = *parent;
	if (chunk_count > 0) {
		make_file(t);
		c->root = t->file.hash;
		c->root_kind = OBJECT_FILE;
	}
	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, w->space_secret, &out));
	piece_take(&t->commit, OBJECT_COMMIT, &out);
	mem_free(c);
}

void thing_fini(struct thing *t)
{
	mem_free(t->commit.data);
	mem_free(t->file.data);
	for (size_t i = 0; i < t->chunk_count; i++)
		mem_free(t->chunks[i].data);
}

struct put_wait {
	bool done;
	int status;
};

static void on_put(struct store_put *p, int status)
{
	*(struct put_wait *)p->data = (struct put_wait){ true, status };
}

static struct op_env host_env(struct host *h)
{
	struct runner *r = &h->world->loop.runner;

	return (struct op_env){ .runner = r, .deadline_ms = runner_now_ms(r) + WAIT_MAX_MS };
}

static void put(struct host *h, const struct piece *p, const struct public_key *from)
{
	struct op_env env = host_env(h);
	struct store_blob blob = { .hash = p->hash, .kind = p->kind, .len = p->len };
	struct put_wait wait = { 0 };
	struct store_put put = { 0 };

	blob.data = mem_dup(p->data, p->len);
	assert_non_null(blob.data);
	store_put_start(&put, &env, h->store, &blob, 1, from, NULL, on_put);
	put.data = &wait;
	wait_for(h->world, &wait.done);
	store_put_fini(&put);
	CHECK_STATUS(0, wait.status);
	if (blob.status != ERR_MISSING)
		CHECK_STATUS(0, blob.status);
}

void host_put(struct host *h, const struct piece *p)
{
	const struct public_key from = { { 7 } };

	put(h, p, &from);
}

void host_put_private(struct host *h, const struct piece *p)
{
	put(h, p, NULL);
}

void host_put_part(struct host *h, const struct thing *t, size_t first, size_t count)
{
	host_put(h, &t->commit);
	if (t->chunk_count > 0)
		host_put(h, &t->file);
	for (size_t i = first; i < first + count; i++)
		host_put(h, &t->chunks[i]);
}

void host_put_thing(struct host *h, const struct thing *t)
{
	host_put_part(h, t, 0, t->chunk_count);
}

struct has_wait {
	bool done, present;
};

static void on_has(struct store_has *has, int status)
{
	CHECK_STATUS(0, status);
	*(struct has_wait *)has->data = (struct has_wait){ true, has->present[0] };
}

bool host_has(struct host *h, const struct hash *hash)
{
	struct op_env env = host_env(h);
	struct has_wait wait = { 0 };
	struct store_has has = { .data = &wait };

	store_has_start(&has, &env, h->store, hash, 1, false, on_has);
	has.data = &wait;
	wait_for(h->world, &wait.done);
	store_has_fini(&has);
	return wait.present;
}

bool host_has_thing(struct host *h, const struct thing *t)
{
	bool all = host_has(h, &t->commit.hash) &&
		   (t->chunk_count == 0 || host_has(h, &t->file.hash));

	for (size_t i = 0; i < t->chunk_count && all; i++)
		all = host_has(h, &t->chunks[i].hash);
	return all;
}

struct items_wait {
	bool done;
	size_t count;
	struct hash digest;
};

static void on_items(struct store_items *i, int status)
{
	struct items_wait *w = i->data;

	CHECK_STATUS(0, status);
	*w = (struct items_wait){ true, i->count,
				  hash_of(i->items, i->count * sizeof(i->items[0])) };
}

size_t host_items(struct host *h, const struct scope *scope, struct hash *ret_digest)
{
	struct op_env env = host_env(h);
	struct items_wait wait = { 0 };
	struct store_items items = { .data = &wait };

	store_items_start(&items, &env, h->store, scope, on_items);
	items.data = &wait;
	wait_for(h->world, &wait.done);
	store_items_fini(&items);
	*ret_digest = wait.digest;
	return wait.count;
}

struct scope sync_world_scope(const struct sync_world *w, const char *path, enum scope_kind kind)
{
	struct scope s;

	CHECK_STATUS(0, scope_make(&w->space, path, strlen(path), kind, &s));
	return s;
}

/* ---- Waves ---- */

static void on_peer(struct sync_wave *w, const struct sync_peer_outcome *o)
{
	struct run *r = w->data;

	assert_true(r->outcome_count < RUN_OUTCOMES_MAX);
	r->outcomes[r->outcome_count++] = *o;
}

static void on_settled(struct sync_wave *w, uint8_t priority)
{
	struct run *r = w->data;

	r->settled = MAX(r->settled, (int)priority);
	r->settled_count++;
}

static void on_progress(struct sync_wave *w)
{
	((struct run *)w->data)->progress_count++;
}

static const struct sync_wave_events wave_events = { on_peer, on_settled, on_progress };

static void on_wave(struct sync_wave *w, int status)
{
	struct run *r = w->data;

	assert_false(r->done);
	r->done = true;
	r->status = status;
	r->progress = w->progress;
	trace_finish(r->span, status, NULL);
}

void run_start(struct run *r, struct host *h, const struct scope *scope, uint8_t max_priority,
	       struct host *const *peers, size_t count, uint64_t timeout_ms)
{
	struct op_env env = host_env(h);

	memset(r, 0, sizeof(*r));
	r->host = h;
	r->settled = -1;
	r->span = trace_root(h->world->trace, "test.wave", "wave", 4, NULL);
	env.span = r->span;
	env.deadline_ms = runner_now_ms(env.runner) + timeout_ms;
	r->wave.data = r;
	sync_wave_start(&r->wave, &env, h->sync, scope, max_priority, &wave_events, on_wave);
	for (size_t i = 0; i < count; i++) {
		struct sync_target t = { .peer = peers[i]->peer,
					 .addrs = { peers[i]->addr },
					 .addr_count = 1 };
		int err = sync_wave_add(&r->wave, &t);

		if (mem_fault_hits() == 0)
			CHECK_STATUS(0, err);
	}
	sync_wave_seal(&r->wave);
}

void run_wait(struct run *r)
{
	wait_for(r->host->world, &r->done);
}

int run_sync(struct run *r, struct host *h, const struct scope *scope, struct host *const *peers,
	     size_t count)
{
	run_start(r, h, scope, STORE_WANT_HISTORY, peers, count, 600000);
	run_wait(r);
	return r->status;
}

const struct sync_peer_outcome *run_outcome(const struct run *r, const struct host *peer)
{
	for (size_t i = 0; i < r->outcome_count; i++)
		if (key_eq(&r->outcomes[i].target.peer, &peer->peer))
			return &r->outcomes[i];
	return NULL;
}
