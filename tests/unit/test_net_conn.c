#include "net_fixture.h"

static bool echoed(void *data)
{
	return ((struct flow *)data)->messages > 0;
}

static bool flow_is_closed(void *data)
{
	return ((struct flow *)data)->closes > 0;
}

static void a_message_comes_back_and_the_stream_ends(void **state)
{
	struct world w;
	struct flow *f;

	world_init(&w, 1, 2);
	f = flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	CHECK_STATUS(0, net_stream_send(&f->stream, "hello", 5));
	assert_true(run_until(&w.loop, echoed, f, 1000));
	assert_int_equal(f->last_len, 5);
	assert_memory_equal(f->last, "hello", 5);
	net_stream_end(&f->stream);
	assert_true(run_until(&w.loop, flow_is_closed, f, 1000));
	CHECK_STATUS(0, f->status);
	CHECK_STATUS(0, w.nodes[1].flows[0].status);
	assert_int_equal(w.nodes[1].flows[0].closes, 1);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_comes_back_and_the_stream_ends),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
