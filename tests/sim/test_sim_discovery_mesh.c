/* Whole nodes with a DHT node each, on one clock: they know no peers, three DHT contacts each, and
 * find each other's objects. The streams are simnet's, the DHT's packets are delayed and lost here.
 */
#include "tests/sim/world.h"

#include <stdlib.h>

#include "discovery/dht/dht.h"

enum { MEMBERS_MAX = 60, AUTHORS = 10, CONTACTS = 3, DHT_PORT = 6881, UDP_MS = 20 };

static const struct world_file note[] = { { "a.txt", "a note\n", 0 },
					  { "b.bin", "0123456789abcdef", 200000 } };

struct mesh;
struct member {
	struct dht_transport transport;
	struct mesh *mesh;
	struct node *node;
	struct dht *dht;
	struct discovery_source *source;
};

struct mesh {
	struct world w;
	struct member members[MEMBERS_MAX];
	unsigned count, loss_permille;
	uint64_t packets, lost;
};

struct packet {
	struct runner_timer timer;
	struct member *to;
	struct dht_address from;
	size_t len;
	uint8_t data[DHT_PACKET_MAX];
};

static struct dht_address udp_address(const struct member *m)
{
	struct dht_address a = { .family = 4, .port = DHT_PORT };

	memcpy(a.ip, m->node->addr.ip, 4);
	return a;
}

static void on_arrival(struct runner_timer *t)
{
	struct packet *p = container_of(t, struct packet, timer);

	if (p->to->dht != NULL)
		dht_receive(p->to->dht, &p->from, p->data, p->len);
	mem_free(p);
}

static void send_udp(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
		     size_t len)
{
	struct member *m = container_of(t, struct member, transport);
	struct mesh *mesh = m->mesh;
	struct runner *r = &mesh->w.loop.runner;
	struct packet *p;

	mesh->packets++;
	assert_true(len <= DHT_PACKET_MAX);
	if (to->ip[3] == 0 || to->ip[3] > mesh->count ||
	    runner_random_below(r, 1000) < mesh->loss_permille) {
		mesh->lost++;
		return;
	}
	p = mem_alloc(sizeof(*p));
	p->to = &mesh->members[to->ip[3] - 1];
	p->from = udp_address(m);
	p->len = len;
	memcpy(p->data, data, len);
	p->timer.run = on_arrival;
	runner_timer_start(r, &p->timer, runner_now_ms(r) + UDP_MS + runner_random_below(r, 10));
}

static void join(struct mesh *mesh)
{
	struct member *m = &mesh->members[mesh->count];
	struct runner *r = &mesh->w.loop.runner;
	uint64_t seed[DHT_SEED_SIZE / 8];
	struct dht_config config = { .runner = r, .transport = &m->transport };

	for (size_t i = 0; i < ARRAY_SIZE(seed); i++)
		seed[i] = runner_random(r);
	m->mesh = mesh;
	m->node = world_node(&mesh->w);
	m->transport.send = send_udp;
	config.local[0] = udp_address(m);
	config.mode = DHT_MODE_SERVER;
	config.seed = (const uint8_t *)seed;
	m->dht = dht_new(&config);
	m->source = dht_source_new(r, m->dht);
	assert_true(m->dht != NULL && m->source != NULL);
	CHECK_STATUS(0, discovery_add_source(m->node->discovery, m->source));
	for (unsigned i = 0; i < MIN(mesh->count, (unsigned)CONTACTS); i++) {
		struct dht_address a =
			udp_address(&mesh->members[runner_random_below(r, mesh->count)]);

		dht_add_node(m->dht, &a);
	}
	mesh->count++;
	dht_start(m->dht);
}

static struct mesh *mesh_new(uint64_t seed, unsigned count, unsigned loss_permille)
{
	struct mesh *mesh = mem_alloc(sizeof(*mesh));

	world_init(&mesh->w, seed);
	mesh->w.trace_bytes = 1 << 20;
	mesh->loss_permille = loss_permille;
	for (unsigned i = 0; i < count; i++) {
		join(mesh);
		world_run_ms(&mesh->w, 100);
	}
	world_run_ms(&mesh->w, 60000);
	return mesh;
}

static void leave_dht(struct member *m)
{
	if (m->dht == NULL)
		return;
	dht_source_set(m->source, NULL);
	dht_close(m->dht, NULL, NULL);
	m->dht = NULL;
}

static void mesh_free(struct mesh *mesh)
{
	for (unsigned i = 0; i < mesh->count; i++)
		leave_dht(&mesh->members[i]);
	world_run_ms(&mesh->w, 2000);
	world_fini(&mesh->w);
	for (unsigned i = 0; i < mesh->count; i++)
		dht_source_free(mesh->members[i].source);
	mem_free(mesh);
}

static void announce(struct member *m, const struct iri *iri)
{
	struct dht_id keys[2];
	size_t count = dht_keys_of_iri(iri, keys);

	assert_int_equal(count, 2);
	for (size_t i = 0; i < count; i++)
		CHECK_STATUS(0, dht_announce(m->dht, &keys[i], WORLD_PORT));
}

static struct iri publish(struct member *m)
{
	struct iri iri = world_iri(m->node, "/notes", false);

	world_publish(m->node, "/notes", note, ARRAY_SIZE(note));
	announce(m, &iri);
	return iri;
}

/* ---- Many at once ---- */

struct reader {
	struct discover d;
	struct mesh *mesh;
	int status;
	bool done;
	uint64_t since_ms, took_ms;
};

static void on_read(struct discover *d, int status)
{
	struct reader *r = d->data;

	r->done = true;
	r->status = status;
	r->took_ms = runner_now_ms(&r->mesh->w.loop.runner) - r->since_ms;
}

struct readers {
	struct reader list[MEMBERS_MAX];
	unsigned count;
};

static bool all_done(void *data)
{
	struct readers *all = data;

	for (unsigned i = 0; i < all->count; i++) {
		if (!all->list[i].done)
			return false;
	}
	return true;
}

static void start_reader(struct readers *all, struct member *m, const struct iri *iri)
{
	struct reader *r = &all->list[all->count++];
	struct op_env env = world_env(m->node, 600000);

	r->mesh = m->mesh;
	r->since_ms = runner_now_ms(&m->mesh->w.loop.runner);
	r->d.data = r;
	discover_start(&r->d, &env, m->node->discovery, iri, SCOPE_EXACT, on_read);
}

static int by_time(const void *a, const void *b)
{
	const struct reader *x = a, *y = b;

	return x->took_ms < y->took_ms ? -1 : x->took_ms > y->took_ms;
}

/* That every trace's stages sum to its wall time is checked when the world ends. */
static void fifty_nodes_find_what_ten_others_have_through_the_dht(void **state)
{
	struct mesh *mesh = mesh_new(1, MEMBERS_MAX, 10);
	struct readers *all = mem_alloc(sizeof(*all));
	struct iri iris[AUTHORS];

	for (unsigned i = 0; i < AUTHORS; i++)
		iris[i] = publish(&mesh->members[i]);
	world_run_ms(&mesh->w, 60000);
	for (unsigned i = AUTHORS; i < mesh->count; i++)
		start_reader(all, &mesh->members[i], &iris[i % AUTHORS]);
	assert_true(world_run_until(&mesh->w, all_done, all, 600000));
	qsort(all->list, all->count, sizeof(all->list[0]), by_time);
	for (unsigned i = 0; i < all->count; i++) {
		CHECK_STATUS(0, all->list[i].status);
		assert_int_equal(all->list[i].d.outcome, DISCOVERY_DHT);
	}
	print_message(
		"# %u discoveries: median %llu ms, slowest %llu ms; %llu packets, %llu lost\n",
		all->count, (unsigned long long)all->list[all->count / 2].took_ms,
		(unsigned long long)all->list[all->count - 1].took_ms,
		(unsigned long long)mesh->packets, (unsigned long long)mesh->lost);
	assert_true(all->list[all->count - 1].took_ms < 10000);
	mem_free(all);
	mesh_free(mesh);
}

static void a_copy_is_found_when_its_author_has_gone(void **state)
{
	struct mesh *mesh = mesh_new(2, 20, 10);
	struct iri iri = publish(&mesh->members[0]);
	struct discover d;

	world_run_ms(&mesh->w, 30000);
	CHECK_STATUS(0, world_discover(mesh->members[5].node, &iri, SCOPE_EXACT, &d));
	announce(&mesh->members[5], &iri);
	world_run_ms(&mesh->w, 30000);
	leave_dht(&mesh->members[0]);
	world_stop(mesh->members[0].node);
	CHECK_STATUS(0, world_discover(mesh->members[9].node, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_DHT);
	assert_true(world_resolves(mesh->members[9].node, &iri, SCOPE_EXACT));
	mesh_free(mesh);
}

/* Ten that announced it are silent by now; whoever lives is asked beside them, not after. */
static void silent_providers_do_not_hold_up_the_one_that_lives(void **state)
{
	struct mesh *mesh = mesh_new(5, 30, 10);
	struct iri iri = publish(&mesh->members[0]);
	struct node *n = mesh->members[20].node;
	uint64_t since;
	struct discover d;

	for (unsigned i = 1; i <= 10; i++) {
		announce(&mesh->members[i], &iri);
		CHECK_STATUS(0, simnet_set_path(mesh->w.simnet, n->ip, mesh->members[i].node->ip,
						&(struct simnet_path){ .cut = true }));
	}
	world_run_ms(&mesh->w, 60000);
	since = runner_now_ms(&mesh->w.loop.runner);
	CHECK_STATUS(0, world_discover(n, &iri, SCOPE_EXACT, &d));
	assert_in_range(runner_now_ms(&mesh->w.loop.runner) - since, 20, 4000);
	assert_true(d.peers_known > 3);
	mesh_free(mesh);
}

static void what_nobody_announced_ends_soon_and_is_not_asked_again(void **state)
{
	struct mesh *mesh = mesh_new(3, 20, 10);
	struct iri iri = world_iri(mesh->members[0].node, "/nothing", false);
	struct node *n = mesh->members[7].node;
	uint64_t since = runner_now_ms(&mesh->w.loop.runner), packets;
	struct discover d;

	CHECK_STATUS(ERR_NOT_FOUND, world_discover(n, &iri, SCOPE_EXACT, &d));
	assert_in_range(runner_now_ms(&mesh->w.loop.runner) - since, 20, 10000);
	assert_false(d.remembered);
	packets = mesh->packets;
	for (int i = 0; i < 50; i++)
		CHECK_STATUS(ERR_NOT_FOUND, world_discover(n, &iri, SCOPE_EXACT, &d));
	assert_true(d.remembered);
	assert_true(mesh->packets - packets < 10); /* upkeep at most */
	mesh_free(mesh);
}

/* Found once, in sync ever after: the DHT names the author, the author tells of the edit. */
static void a_scope_found_by_the_dht_is_kept_in_sync_without_it(void **state)
{
	static const struct world_file edit[] = { { "a.txt", "edited\n", 0 } };
	struct mesh *mesh = mesh_new(4, 20, 0);
	struct iri iri = publish(&mesh->members[0]);
	struct node *n = mesh->members[3].node;
	struct dht_stats before, after;

	world_run_ms(&mesh->w, 30000);
	world_subscribe(n, &iri, SCOPE_EXACT);
	world_run_ms(&mesh->w, 20000);
	assert_true(world_resolves(n, &iri, SCOPE_EXACT));
	dht_stats(mesh->members[3].dht, &before);
	iri.heads[iri.head_count++] =
		world_publish(mesh->members[0].node, "/notes", edit, ARRAY_SIZE(edit));
	world_run_ms(&mesh->w, 1000);
	assert_true(world_resolves(n, &iri, SCOPE_EXACT));
	world_run_ms(&mesh->w, 1800000);
	dht_stats(mesh->members[3].dht, &after);
	assert_int_equal(after.lookups, before.lookups);
	mesh_free(mesh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fifty_nodes_find_what_ten_others_have_through_the_dht),
		cmocka_unit_test(a_copy_is_found_when_its_author_has_gone),
		cmocka_unit_test(silent_providers_do_not_hold_up_the_one_that_lives),
		cmocka_unit_test(what_nobody_announced_ends_soon_and_is_not_asked_again),
		cmocka_unit_test(a_scope_found_by_the_dht_is_kept_in_sync_without_it),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
