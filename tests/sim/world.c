#include "tests/sim/world.h"

#include <sodium.h>
#include <stdlib.h>

enum { STEPS_MAX = 50000000, CHUNK_BYTES = 100000 };

void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	print_message("# seed %llu\n", (unsigned long long)seed);
	manual_loop_init(&w->loop, seed);
	w->simnet = simnet_new(&w->loop.runner, seed);
	assert_non_null(w->simnet);
	simnet_set_default(w->simnet, &(struct simnet_path){ .latency_ms = 5 });
}

struct op_env world_env(struct node *n, uint64_t timeout_ms)
{
	struct runner *r = &n->world->loop.runner;

	return (struct op_env){ .runner = r, .deadline_ms = runner_now_ms(r) + timeout_ms };
}

/* Keys from the node's number, so that a run repeats. */
static void make_key(uint8_t tag, size_t number, uint8_t secret[64], struct public_key *ret)
{
	uint8_t seed[32] = { tag, (uint8_t)number };

	crypto_sign_seed_keypair(ret->bytes, secret, seed);
}

static void start_layers(struct node *n)
{
	struct runner *r = &n->world->loop.runner;
	char why[256] = "";

	n->trace = trace_new(&(struct trace_config){ .budget_bytes = n->world->trace_bytes },
			     r->clock);
	assert_non_null(n->trace);
	trace_observe(n->trace, r);
	CHECK_STATUS(0, store_open(&(struct store_config){ .runner = r, .inline_io = true },
				   &n->store, why, sizeof(why)));
	n->net = net_new(&(struct net_config){ .runner = r,
					       .transport = simnet_host(n->world->simnet, n->ip),
					       .secret_key = n->node_secret,
					       .agent = "sim" });
	assert_non_null(n->net);
	n->sync = sync_new(&(struct sync_config){ .runner = r,
						  .net = n->net,
						  .store = n->store,
						  .trace = n->trace,
						  .peer_timeout_ms = n->world->peer_timeout_ms });
	assert_non_null(n->sync);
	n->discovery =
		discovery_new(&(struct discovery_config){ .runner = r,
							  .net = n->net,
							  .store = n->store,
							  .sync = n->sync,
							  .trace = n->trace,
							  .timeout_ms = n->world->timeout_ms });
	assert_non_null(n->discovery);
	sync_set_listener(n->sync, discovery_sync_listener(), n->discovery);
}

struct node *world_node(struct world *w)
{
	struct node *n = &w->nodes[w->count];

	assert_true(w->count < WORLD_NODES_MAX);
	n->world = w;
	snprintf(n->ip, sizeof(n->ip), "10.0.0.%zu", ++w->count);
	make_key(1, w->count, n->node_secret, &n->peer);
	make_key(2, w->count, n->space_secret, &n->space);
	n->addr = (struct multiaddr){ .family = 4,
				      .ip = { 10, 0, 0, (uint8_t)w->count },
				      .port = WORLD_PORT,
				      .has_peer = true,
				      .peer = n->peer };
	start_layers(n);
	CHECK_STATUS(0, net_listen(n->net, &n->addr));
	discovery_start_subscriptions(n->discovery);
	n->up = true;
	return n;
}

void world_run_ms(struct world *w, uint64_t ms)
{
	manual_loop_run(&w->loop, runner_now_ms(&w->loop.runner) + ms);
}

bool world_run_until(struct world *w, bool (*pred)(void *data), void *data, uint64_t limit_ms)
{
	return run_until(&w->loop, pred, data, runner_now_ms(&w->loop.runner) + limit_ms);
}

/* ---- Ending ---- */

static void on_closed(void *data)
{
	((struct node *)data)->closing--;
}

static bool closed(void *data)
{
	return ((struct node *)data)->closing == 0;
}

#define CLOSE_LAYER(n, close, object)                                                              \
	do {                                                                                       \
		(n)->closing = 1;                                                                  \
		close((n)->object, on_closed, n);                                                  \
		assert_true(world_run_until((n)->world, closed, n, 300000));                       \
	} while (0)

/* ---- The property that every scenario holds: stages sum to wall time ---- */

static bool check_stages(void *data, const struct trace_span_view *s)
{
	struct node *n = data;
	struct trace_stage_view stage;
	uint64_t sum = 0;

	if (!s->finished)
		return true;
	for (uint32_t i = 0; trace_stage_at(n->trace, s, i, &stage); i++) {
		assert_int_equal(stage.start_ns, sum);
		sum += stage.duration_ns;
	}
	if (s->stage_count > 0)
		assert_int_equal(sum, s->duration_ns);
	return true;
}

static void check_traces(struct node *n)
{
	struct trace_query q = { .limit = 250 };
	uint32_t roots[250];
	uint64_t matched, total;
	size_t count = trace_search(n->trace, &q, roots, ARRAY_SIZE(roots), &matched, &total);

	for (size_t i = 0; i < count; i++)
		trace_walk(n->trace, roots[i], check_stages, n);
}

/* The observer serves the operations of every node; it lives in one node's trace store. */
static void observe(struct world *w)
{
	w->loop.runner.observer = NULL;
	for (size_t i = 0; i < w->count; i++) {
		if (w->nodes[i].up)
			trace_observe(w->nodes[i].trace, &w->loop.runner);
	}
}

void world_stop(struct node *n)
{
	n->up = false;
	CLOSE_LAYER(n, discovery_close, discovery);
	n->discovery = discovery_free(n->discovery);
	CLOSE_LAYER(n, sync_close, sync);
	CLOSE_LAYER(n, net_close, net);
	n->sync = sync_free(n->sync);
	n->net = net_free(n->net);
	CLOSE_LAYER(n, store_close, store);
	check_traces(n);
	observe(n->world);
	n->trace = trace_free(n->trace);
}

void world_fini(struct world *w)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->nodes[i].up)
			world_stop(&w->nodes[i]);
	}
	simnet_free(w->simnet);
	manual_loop_fini(&w->loop);
}

/* ---- Publishing ---- */

struct wait {
	bool done;
	int status;
};

static bool is_done(void *data)
{
	return ((struct wait *)data)->done;
}

static void wait_for(struct node *n, struct wait *wait)
{
	assert_true(world_run_until(n->world, is_done, wait, 3600000));
}

static void on_put(struct store_put *p, int status)
{
	*(struct wait *)p->data = (struct wait){ true, status };
}

static void put_blob(struct node *n, enum object_kind kind, const struct hash *hash,
		     const void *data, size_t len)
{
	struct op_env env = world_env(n, 60000);
	struct store_blob blob = { .hash = *hash, .kind = kind, .len = len };
	struct wait wait = { 0 };
	struct store_put put = { .data = &wait };

	blob.data = mem_dup(data, len);
	store_put_start(&put, &env, n->store, &blob, 1, NULL, NULL, on_put);
	put.data = &wait;
	wait_for(n, &wait);
	CHECK_STATUS(0, wait.status);
	CHECK_STATUS(0, blob.status);
	store_put_fini(&put);
}

static int on_emit(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		   size_t len)
{
	put_blob(data, kind, hash, blob, len);
	return 0;
}

/* Content of a test file: its text over and over. */
static uint8_t *content(const struct world_file *f, size_t *ret_size)
{
	size_t text = strlen(f->text), size = f->size > 0 ? f->size : text;
	uint8_t *bytes = mem_alloc(size);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)((size_t)(uint8_t)f->text[i % text] + i / 50000);
	*ret_size = size;
	return bytes;
}

static void add_file(struct node *n, const struct world_file *f, struct entry *ret)
{
	size_t size, at = 0;
	uint8_t *bytes = content(f, &size);
	struct chunk_ref *chunks = mem_alloc_array(size / CHUNK_BYTES + 1, sizeof(*chunks));

	*ret = (struct entry){ .name = f->name,
			       .name_len = strlen(f->name),
			       .mode = 0644,
			       .size = size,
			       .kind = ENTRY_FILE,
			       .chunks = chunks };
	for (; at < size; at += chunks[ret->chunk_count++].size) {
		struct chunk_ref *c = &chunks[ret->chunk_count];

		c->size = (uint32_t)MIN(size - at, (size_t)CHUNK_BYTES);
		c->hash = hash_of(bytes + at, c->size);
		put_blob(n, OBJECT_CHUNK, &c->hash, bytes + at, c->size);
	}
	mem_free(bytes);
}

static void on_publish(struct store_publish *p, int status)
{
	*(struct wait *)p->data = (struct wait){ true, status };
}

struct hash world_publish(struct node *n, const char *path, const struct world_file *files,
			  size_t count)
{
	struct op_env env = world_env(n, 60000);
	struct commit commit = { .space = n->space, .author = n->space, .root_kind = OBJECT_TREE };
	struct entry *entries = mem_alloc_array(count, sizeof(*entries));
	struct store_new_commit news = { .space = n->space };
	struct store_publish publish = { 0 };
	struct store_origin over = { .over = true };
	struct wait wait = { 0 };
	struct chunk_ref top;
	struct hash hash;

	for (size_t i = 0; i < count; i++)
		add_file(n, &files[i], &entries[i]);
	CHECK_STATUS(0, tree_write(entries, count, on_emit, n, &top));
	for (size_t i = 0; i < count; i++)
		mem_free(entries[i].chunks);
	mem_free(entries);
	commit.root = top.hash;
	commit.path_len = strlen(path);
	memcpy(commit.path, path, commit.path_len);
	store_publish_start(&publish, &env, n->store, &commit, n->space_secret, &over, on_publish);
	publish.data = &wait;
	wait_for(n, &wait);
	CHECK_STATUS(0, wait.status);
	hash = publish.hash;
	news.path = mem_strdup(path);
	news.hash = hash;
	news.time_s = publish.time_s;
	sync_published(n->sync, &news, 1);
	mem_free(news.path);
	store_publish_fini(&publish);
	return hash;
}

/* ---- Asking ---- */

struct iri world_iri(const struct node *n, const char *path, bool hinted)
{
	struct iri iri = { .space = n->space, .path_len = strlen(path) };

	memcpy(iri.path, path, iri.path_len);
	if (hinted)
		iri.hints[iri.hint_count++] = n->addr;
	return iri;
}

static void on_discovered(struct discover *d, int status)
{
	*(struct wait *)d->data = (struct wait){ true, status };
}

static int discover_with(struct node *n, const struct iri *iri, enum scope_kind kind, bool fresh,
			 bool history, struct discover *ret)
{
	struct op_env env = world_env(n, 24 * 3600000);
	struct wait wait = { 0 };

	memset(ret, 0, sizeof(*ret));
	ret->data = &wait;
	ret->fresh = fresh;
	ret->history = history;
	discover_start(ret, &env, n->discovery, iri, kind, on_discovered);
	wait_for(n, &wait);
	return wait.status;
}

int world_discover(struct node *n, const struct iri *iri, enum scope_kind kind,
		   struct discover *ret)
{
	return discover_with(n, iri, kind, false, false, ret);
}

int world_discover_fresh(struct node *n, const struct iri *iri, enum scope_kind kind, bool fresh,
			 struct discover *ret)
{
	return discover_with(n, iri, kind, fresh, false, ret);
}

int world_discover_history(struct node *n, const struct iri *iri, enum scope_kind kind,
			   struct discover *ret)
{
	return discover_with(n, iri, kind, false, true, ret);
}

static void on_resolved(struct store_resolve *r, int status)
{
	*(struct wait *)r->data = (struct wait){ true, status };
}

bool world_resolves(struct node *n, const struct iri *iri, enum scope_kind kind)
{
	struct op_env env = world_env(n, 60000);
	struct store_resolve resolve = { 0 };
	struct wait wait = { 0 };
	bool resolved;

	store_resolve_start(&resolve, &env, n->store, iri, kind, on_resolved);
	resolve.data = &wait;
	wait_for(n, &wait);
	CHECK_STATUS(0, wait.status);
	resolved = resolve.resolved;
	store_resolve_fini(&resolve);
	return resolved;
}

static void on_subscribed(struct store_subscription_set *s, int status)
{
	*(struct wait *)s->data = (struct wait){ true, status };
}

static void set_subscription(struct node *n, enum store_subscription_change change,
			     const struct iri *iri, enum scope_kind kind)
{
	struct op_env env = world_env(n, 60000);
	struct store_subscription_set set = { 0 };
	struct wait wait = { 0 };
	struct scope scope;

	scope_of_iri(iri, kind, &scope);
	store_subscription_set_start(&set, &env, n->store, change, &scope, on_subscribed);
	set.data = &wait;
	wait_for(n, &wait);
	CHECK_STATUS(0, wait.status);
	store_subscription_set_fini(&set);
	if (change == STORE_UNSUBSCRIBE)
		discovery_subscription_removed(n->discovery, &scope);
	else
		discovery_subscription_added(n->discovery, &scope,
					     change == STORE_SUBSCRIBE_HISTORY);
}

void world_subscribe(struct node *n, const struct iri *iri, enum scope_kind kind)
{
	set_subscription(n, STORE_SUBSCRIBE, iri, kind);
}

void world_unsubscribe(struct node *n, const struct iri *iri, enum scope_kind kind)
{
	set_subscription(n, STORE_UNSUBSCRIBE, iri, kind);
}

static void on_peer_set(struct store_peer_set *s, int status)
{
	*(struct wait *)s->data = (struct wait){ true, status };
}

void world_add_peer(struct node *n, const struct node *peer)
{
	struct op_env env = world_env(n, 60000);
	struct store_peer row = { .key = peer->peer, .addr_count = 1 };
	struct store_peer_set set = { 0 };
	struct wait wait = { 0 };

	row.addrs[0] = peer->addr;
	store_peer_set_start(&set, &env, n->store, STORE_PEER_ADD, &row, NULL, on_peer_set);
	set.data = &wait;
	wait_for(n, &wait);
	CHECK_STATUS(0, wait.status);
	store_peer_set_fini(&set);
}

/* ---- Looking at traces ---- */

struct counting {
	struct node *node;
	const char *category;
	const char *text;
	const char *stage;
	size_t spans;
	bool marked, staged;
};

static bool has_stage(struct node *n, const struct trace_span_view *s, const char *name)
{
	struct trace_stage_view stage;

	for (uint32_t i = 0; trace_stage_at(n->trace, s, i, &stage); i++) {
		if (strcmp(stage.name, name) == 0)
			return true;
	}
	return false;
}

static bool count_span(void *data, const struct trace_span_view *s)
{
	struct counting *c = data;

	if (c->category != NULL && s->finished && strcmp(s->category, c->category) == 0)
		c->spans++;
	if (c->stage != NULL)
		c->staged = c->staged || has_stage(c->node, s, c->stage);
	for (uint32_t i = 0; c->text != NULL; i++) {
		struct trace_mark_view mark;
		struct buf text;

		buf_init(&text, 4096);
		if (!trace_mark_at(c->node->trace, s, i, &mark, &text)) {
			buf_fini(&text);
			break;
		}
		buf_write_u8(&text, 0);
		c->marked = c->marked || strstr((const char *)text.data, c->text) != NULL;
		buf_fini(&text);
	}
	return true;
}

static void walk_all(struct counting *c)
{
	struct trace_query q = { .limit = 250 };
	uint32_t roots[250];
	uint64_t matched, total;
	size_t count = trace_search(c->node->trace, &q, roots, ARRAY_SIZE(roots), &matched, &total);

	for (size_t i = 0; i < count; i++)
		trace_walk(c->node->trace, roots[i], count_span, c);
}

size_t world_spans(struct node *n, const char *category)
{
	struct counting c = { .node = n, .category = category };

	walk_all(&c);
	return c.spans;
}

bool world_staged(struct node *n, const char *stage)
{
	struct counting c = { .node = n, .stage = stage };

	walk_all(&c);
	return c.staged;
}

bool world_marked(struct node *n, const char *text)
{
	struct counting c = { .node = n, .text = text };

	walk_all(&c);
	return c.marked;
}
