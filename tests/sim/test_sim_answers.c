/* What an answer says when peers are busy, gone in the middle, or this node cannot store: each is told
 * apart, blamed on whose fault it is, and not remembered when it is over. */
#include "sync/internal.h"
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

static const struct world_file note[] = { { "a.txt", "a note\n", 0 } };
static const struct world_file edit[] = { { "a.txt", "a note, edited\n", 0 } };

struct question {
	struct discover d;
	bool done;
	int status;
};

static void on_answer(struct discover *d, int status)
{
	struct question *q = container_of(d, struct question, d);

	q->done = true;
	q->status = status;
}

/* What the follower may still ask of the author is spent. */
static void spend_all(struct world *w)
{
	struct sync *author = w->nodes[0].sync;

	for (int i = 0; i < SYNC_SERVE_BURST / SYNC_CHARGE; i++)
		sync_peer_charge(author, &w->nodes[1].peer);
}

/* The author is busy for so long. */
static void ask(struct world *w, const struct iri *iri, uint64_t busy_ms, struct question *q)
{
	struct op_env env = world_env(&w->nodes[1], 600000);

	q->d.fresh = true;
	discover_start(&q->d, &env, w->nodes[1].discovery, iri, SCOPE_EXACT, on_answer);
	for (uint64_t ms = 0; !q->done; ms++) {
		if (ms < busy_ms)
			spend_all(w);
		world_run_ms(w, 1);
		assert_true(ms < 600000);
	}
}

static struct iri two_nodes(struct world *w, uint64_t seed)
{
	struct discover d;
	struct iri iri;

	world_init(w, seed);
	world_node(w);
	world_node(w);
	world_publish(&w->nodes[0], "/notes", note, 1);
	iri = world_iri(&w->nodes[0], "/notes", true);
	CHECK_STATUS(0, world_discover(&w->nodes[1], &iri, SCOPE_EXACT, &d));
	world_publish(&w->nodes[0], "/notes", edit, 1);
	return iri;
}

static size_t benched(const struct node *n)
{
	struct discovery_stats stats;

	discovery_stats(n->discovery, &stats);
	return stats.benched;
}

static void who_is_busy_for_a_moment_is_asked_again_while_the_user_waits(void **state)
{
	struct question q = { 0 };
	struct world w;
	struct iri iri = two_nodes(&w, 1);

	ask(&w, &iri, 30, &q);
	CHECK_STATUS(0, q.status);
	assert_int_equal(q.d.answer, DISCOVERY_CONFIRMED);
	assert_int_equal(q.d.peers.asked, 1);
	assert_int_equal(q.d.peers.busy, 0);
	assert_int_equal(q.d.progress.peers_found, 1);
	assert_int_equal(q.d.progress.peers_failed, 0);
	assert_true(q.d.progress.blobs_downloaded > 0);
	assert_true(world_staged(&w.nodes[1], "retry") || world_staged(&w.nodes[1], "busy"));
	assert_int_equal(benched(&w.nodes[1]), 0);
	world_fini(&w);
}

static void what_is_here_is_not_confirmed_by_a_busy_peer(void **state)
{
	struct question q = { 0 };
	struct world w;
	struct iri iri = two_nodes(&w, 2);

	ask(&w, &iri, UINT64_MAX, &q);
	CHECK_STATUS(0, q.status);
	assert_int_equal(q.d.answer, DISCOVERY_UNCONFIRMED);
	assert_int_equal(q.d.peers.busy, 1);
	assert_int_equal(q.d.last_error, ERR_BUSY);
	assert_true(q.d.retry_in_ms > 0);
	assert_int_equal(benched(&w.nodes[1]), 0);
	world_fini(&w);
}

static void what_only_a_busy_peer_has_is_not_remembered_as_missing(void **state)
{
	struct question q = { 0 };
	struct discover d;
	struct world w;
	struct iri iri;

	two_nodes(&w, 3);
	world_publish(&w.nodes[0], "/other", note, 1);
	iri = world_iri(&w.nodes[0], "/other", true);
	ask(&w, &iri, UINT64_MAX, &q);
	CHECK_STATUS(ERR_NOT_FOUND, q.status);
	assert_int_equal(q.d.answer, DISCOVERY_UNANSWERED);
	assert_int_equal(q.d.peers.busy, 1);
	world_run_ms(&w, 1000);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	world_fini(&w);
}

static bool resolves(void *data)
{
	struct world *w = data;
	struct iri iri = world_iri(&w->nodes[0], "/other", false);

	return world_resolves(&w->nodes[1], &iri, SCOPE_EXACT);
}

static void a_subscription_comes_again_when_the_busy_peer_wanted(void **state)
{
	struct world w;
	struct iri iri;

	two_nodes(&w, 4);
	world_add_peer(&w.nodes[1], &w.nodes[0]);
	world_publish(&w.nodes[0], "/other", note, 1);
	iri = world_iri(&w.nodes[0], "/other", false);
	world_subscribe(&w.nodes[1], &iri, SCOPE_EXACT);
	for (int ms = 0; ms < 500; ms++) {
		spend_all(&w);
		world_run_ms(&w, 1);
	}
	assert_false(resolves(&w));
	assert_true(world_run_until(&w, resolves, &w, 3000)); /* the interval is a minute */
	world_fini(&w);
}

/* ---- Something newer that cannot come ---- */

static const struct world_file big[] = { { "big.bin", "0123456789abcdef", 700000 } };

static void a_line_that_breaks_in_the_middle_is_no_success_with_the_old(void **state)
{
	const struct simnet_path slow = { .latency_ms = 5, .bandwidth = 50000 };
	const struct simnet_path gone = { .latency_ms = 5, .refuse = true };
	struct question q = { 0 };
	struct op_env env;
	struct world w;
	struct iri iri = two_nodes(&w, 5);

	world_publish(&w.nodes[0], "/notes", big, 1);
	CHECK_STATUS(0, simnet_set_path(w.simnet, w.nodes[0].ip, w.nodes[1].ip, &slow));
	env = world_env(&w.nodes[1], 600000);
	discover_start(&q.d, &env, w.nodes[1].discovery, &iri, SCOPE_EXACT, on_answer);
	world_run_ms(&w, 4000);
	assert_false(q.done);
	CHECK_STATUS(0, simnet_set_path(w.simnet, w.nodes[0].ip, w.nodes[1].ip, &gone));
	simnet_reset(w.simnet, w.nodes[0].ip, w.nodes[1].ip);
	world_run_ms(&w, 60000);
	assert_true(q.done);
	assert_int_equal(q.d.answer, DISCOVERY_BEHIND);
	assert_true(q.status < 0 && q.status != ERR_NOT_FOUND && !discovery_is_ours(q.status));
	assert_int_equal(q.d.peers.answered, 0);
	assert_true(q.d.blobs_missing > 0);
	world_fini(&w);
}

static void a_full_disk_is_nobodys_fault_but_ours_and_heals(void **state)
{
	struct discover d;
	struct world w;
	struct iri iri = two_nodes(&w, 6);

	world_publish(&w.nodes[0], "/notes", big, 1);
	disk_set_full(w.nodes[1].store, true);
	CHECK_STATUS(ERR_DISK_FULL, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.answer, DISCOVERY_BEHIND);
	assert_true(discovery_is_ours(ERR_DISK_FULL));
	assert_int_equal(d.peers.unreachable + d.peers.bad, 0);
	assert_int_equal(benched(&w.nodes[1]), 0);
	disk_set_full(w.nodes[1].store, false);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.answer, DISCOVERY_CONFIRMED);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_busy_for_a_moment_is_asked_again_while_the_user_waits),
		cmocka_unit_test(what_is_here_is_not_confirmed_by_a_busy_peer),
		cmocka_unit_test(what_only_a_busy_peer_has_is_not_remembered_as_missing),
		cmocka_unit_test(a_line_that_breaks_in_the_middle_is_no_success_with_the_old),
		cmocka_unit_test(a_full_disk_is_nobodys_fault_but_ours_and_heals),
		cmocka_unit_test(a_subscription_comes_again_when_the_busy_peer_wanted),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
