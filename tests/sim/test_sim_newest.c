/* One sentence, held against random publishes, gets, cuts, slow lines and full disks: whatever a
 * discovery calls newest was the newest version that any reachable peer had when it was asked, or
 * the answer said that it was not sure. */
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

enum { NODES = 5, SEEDS = 10, STEPS = 60, VERSIONS_MAX = STEPS + 1, NO_VERSION = -1 };

struct play {
	struct world w;
	struct hash versions[VERSIONS_MAX];
	int count;
	bool cut[NODES][NODES], full[NODES];
	bool touched[NODES][NODES]; /* since the present question began: not what it was asked in */
	unsigned confirmed, sure, unconfirmed, behind, absent, unanswered;
};

static uint64_t below(struct play *p, uint64_t n)
{
	return runner_random_below(&p->w.loop.runner, n);
}

static void publish(struct play *p)
{
	char text[32];
	const struct world_file files[] = { { "big", text, 60000 }, { "note", text, 0 } };

	if (p->count == VERSIONS_MAX)
		return;
	snprintf(text, sizeof(text), "version %d\n", p->count);
	p->versions[p->count++] = world_publish(&p->w.nodes[0], "/notes", files, 2);
}

/* ---- Trouble ---- */

static void set_path(struct play *p, size_t a, size_t b, bool cut)
{
	const struct simnet_path path = { .latency_ms = below(p, 4) == 0 ? below(p, 900) : 5,
					  .bandwidth = below(p, 3) == 0 ? 20000 : 0,
					  .cut = cut };

	p->cut[a][b] = p->cut[b][a] = cut;
	p->touched[a][b] = p->touched[b][a] = true;
	CHECK_STATUS(0, simnet_set_path(p->w.simnet, p->w.nodes[a].ip, p->w.nodes[b].ip, &path));
}

static void disturb(struct play *p)
{
	size_t a = below(p, NODES), b = (a + 1 + below(p, NODES - 1)) % NODES;

	if (below(p, 5) == 0) {
		for (size_t i = 0; i < NODES; i++) /* all alone */
			if (i != a)
				set_path(p, a, i, true);
	} else if (below(p, 3) == 0) {
		p->touched[a][b] = p->touched[b][a] = true;
		simnet_reset(p->w.simnet, p->w.nodes[a].ip, p->w.nodes[b].ip);
	} else {
		set_path(p, a, b, !p->cut[a][b]);
	}
}

/* The author's never is: it could not publish. */
static void set_full(struct play *p, size_t node, bool full)
{
	p->full[node] = full;
	disk_set_full(p->w.nodes[node].store, full);
}

/* ---- Questions ---- */

/* The newest version that is all here. */
static int version_at(struct play *p, size_t node)
{
	struct iri iri = world_iri(&p->w.nodes[0], "/notes", false);

	iri.head_count = 1;
	for (int v = p->count - 1; v >= 0; v--) {
		iri.heads[0] = p->versions[v];
		if (world_resolves(&p->w.nodes[node], &iri, SCOPE_EXACT))
			return v;
	}
	return NO_VERSION;
}

static int version_of(const struct play *p, const struct hash *h)
{
	for (int v = p->count - 1; v >= 0; v--)
		if (hash_eq(&p->versions[v], h))
			return v;
	return NO_VERSION;
}

struct question {
	struct discover d;
	bool done;
	int status;
	int had[NODES]; /* by whoever could be asked */
};

static void on_answer(struct discover *d, int status)
{
	struct question *q = container_of(d, struct question, d);

	q->done = true;
	q->status = status;
}

static void ask(struct play *p, size_t node, struct question *q)
{
	struct op_env env = world_env(&p->w.nodes[node], 3600000);
	struct iri iri = world_iri(&p->w.nodes[0], "/notes", false);

	memset(p->touched, 0, sizeof(p->touched));
	for (size_t i = 0; i < NODES; i++) {
		q->had[i] = version_at(p, i);
		if (i != node)
			iri.hints[iri.hint_count++] = p->w.nodes[i].addr;
	}
	q->d.fresh = true;
	discover_start(&q->d, &env, p->w.nodes[node].discovery, &iri, SCOPE_EXACT, on_answer);
	while (!q->done) {
		world_run_ms(&p->w, 1 + below(p, 300));
		if (!q->done && below(p, 25) == 0)
			disturb(p);
	}
}

/* The newest that was within reach from the beginning to the end. */
static int newest_in_reach(const struct play *p, size_t node, const struct question *q)
{
	int newest = NO_VERSION;

	for (size_t i = 0; i < NODES; i++)
		if (i != node && !p->cut[node][i] && !p->touched[node][i])
			newest = MAX(newest, q->had[i]);
	return newest;
}

static void judge(struct play *p, size_t node, const struct question *q)
{
	const struct discover *d = &q->d;
	int newest = newest_in_reach(p, node, q);
	bool sure = discovery_is_sure(d->answer, &d->peers);

	p->sure += sure;
	switch (d->answer) {
	case DISCOVERY_CONFIRMED:
		p->confirmed++;
		CHECK_STATUS(0, q->status);
		assert_true(d->head_count == 1 && d->peers.answered > 0);
		assert_true(version_at(p, node) >= version_of(p, &d->heads[0]));
		if (sure)
			assert_true(version_of(p, &d->heads[0]) >= newest);
		break;
	case DISCOVERY_UNCONFIRMED:
		p->unconfirmed++;
		CHECK_STATUS(0, q->status);
		assert_true(q->had[node] != NO_VERSION && d->peers.answered == 0);
		break;
	case DISCOVERY_ABSENT:
		p->absent++;
		CHECK_STATUS(ERR_NOT_FOUND, q->status);
		if (d->peers.unheard == 0)
			assert_int_equal(newest, NO_VERSION);
		break;
	case DISCOVERY_UNANSWERED:
		p->unanswered++;
		CHECK_STATUS(ERR_NOT_FOUND, q->status);
		assert_true(d->peers.answered == 0 && q->had[node] == NO_VERSION);
		break;
	case DISCOVERY_BEHIND:
	case DISCOVERY_FAULT:
		p->behind++;
		assert_true(q->status < 0 && q->status != ERR_NOT_FOUND);
		if (q->status == ERR_DISK_FULL)
			assert_true(p->full[node]);
		break;
	case DISCOVERY_ANSWER_NONE:
	case DISCOVERY_EXACT:
	case DISCOVERY_OWN: fail();
	}
}

static void step(struct play *p)
{
	struct question q = { 0 };
	size_t node = 1 + below(p, NODES - 1);

	switch (below(p, 10)) {
	case 0:
	case 1: publish(p); break;
	case 2:
	case 3: disturb(p); break;
	case 4: set_full(p, node, !p->full[node]); break;
	case 5: world_run_ms(&p->w, below(p, 90000)); break;
	default:
		ask(p, node, &q);
		judge(p, node, &q);
		break;
	}
}

static void mend(struct play *p)
{
	for (size_t a = 0; a < NODES; a++) {
		for (size_t b = a + 1; b < NODES; b++) {
			p->cut[a][b] = p->cut[b][a] = false;
			CHECK_STATUS(0, simnet_set_path(p->w.simnet, p->w.nodes[a].ip,
							p->w.nodes[b].ip,
							&(struct simnet_path){ .latency_ms = 5 }));
		}
		if (a > 0)
			set_full(p, a, false);
	}
	world_run_ms(&p->w, 120000);
}

/* Nothing of all the trouble is left: everybody gets the newest, and is sure of it. */
static void check_healed(struct play *p)
{
	mend(p);
	publish(p);
	for (size_t node = 1; node < NODES; node++) {
		struct iri iri = world_iri(&p->w.nodes[0], "/notes", true);
		struct discover d;

		CHECK_STATUS(0,
			     world_discover_fresh(&p->w.nodes[node], &iri, SCOPE_EXACT, true, &d));
		assert_int_equal(version_of(p, &d.heads[0]), p->count - 1);
		assert_true(discovery_is_sure(d.answer, &d.peers));
	}
}

static void what_is_called_newest_is_newest_or_said_to_be_unsure(void **state)
{
	unsigned confirmed = 0, sure = 0, unconfirmed = 0, behind = 0, absent = 0, unanswered = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct play *p = mem_alloc(sizeof(*p));

		world_init(&p->w, seed);
		for (size_t i = 0; i < NODES; i++)
			world_node(&p->w);
		for (int i = 0; i < STEPS; i++)
			step(p);
		check_healed(p);
		print_message("# %u confirmed, %u sure, %u unconfirmed, %u behind, %u absent, %u "
			      "unanswered\n",
			      p->confirmed, p->sure, p->unconfirmed, p->behind, p->absent,
			      p->unanswered);
		confirmed += p->confirmed;
		sure += p->sure;
		unconfirmed += p->unconfirmed;
		behind += p->behind;
		absent += p->absent;
		unanswered += p->unanswered;
		world_fini(&p->w);
		mem_free(p);
	}
	assert_true(confirmed > 0 && unconfirmed > 0 && behind > 0 && absent > 0 && unanswered > 0);
	assert_true(10 * sure > confirmed); /* or else being unsure would be no news */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_called_newest_is_newest_or_said_to_be_unsure),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
