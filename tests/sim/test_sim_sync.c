/* Sync between whole hosts: every scenario ends with the sets that it should, no operation and no
 * memory left, and stages that sum (sync_world_fini). */
#include "tests/sim/sync_world.h"

static void two_nodes_full_object(void **state)
{
	struct sync_world w;
	struct host *a, *b;
	struct thing t;
	struct run r;
	struct scope scope;

	(void)state;
	sync_world_init(&w, 1);
	a = sync_world_host(&w);
	b = sync_world_host(&w);
	thing_init(&t, &w, "/doc", 1000, 5, 100000, NULL);
	host_put_thing(a, &t);
	scope = sync_world_scope(&w, "/doc", SCOPE_EXACT);
	CHECK_STATUS(0, run_sync(&r, b, &scope, &a, 1));
	assert_true(host_has_thing(b, &t));
	assert_int_equal(r.progress.outstanding, 0);
	assert_int_equal(r.progress.blobs_downloaded, 7);
	assert_int_equal(r.settled, STORE_WANT_HISTORY);
	assert_true(sync_world_marked(&w, "sync.peer", "dial ok (reused=0)"));
	assert_int_equal(sync_world_spans(&w, "sync.serve"), 2);
	thing_fini(&t);
	sync_world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_full_object),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
