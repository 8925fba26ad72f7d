/* Random conversations over a bad network: what one side sends on a stream is what the other gets,
 * once, in order, for every seed; and the same seed gives the same run. */
#include "net_fixture.h"

#include "net/conn.h"

enum { TALKS = 24, MESSAGES_MAX = 40, BYTES_BOUND = 64 << 20, RUN_MS = 600000 };

/* One stream and what both ends expect of it. */
struct talk {
	struct flow *flow;
	struct run *run;
	struct node *from;
	unsigned planned, sent, got, echoed;
	uint64_t seed;
	size_t size_max;
	unsigned reset_at; /* messages after which we reset; 0 = never */
	struct runner_timer timer;
};

struct run {
	struct world w;
	struct talk talks[TALKS];
	uint64_t random, digest;
	uint64_t live_max, live_base;
	unsigned served;
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t draw(struct run *r, uint64_t below)
{
	r->random += UINT64_C(0x9e3779b97f4a7c15);
	return mix(r->random) % below;
}

/* Message i of a stream: its length and bytes follow from the stream's seed. */
static size_t message_len(const struct talk *t, unsigned i)
{
	uint64_t z = mix(t->seed + i);

	return 8 + (z % 8 == 0 ? mix(z) % t->size_max : mix(z) % 500);
}

static void message_fill(const struct talk *t, unsigned i, uint8_t *p, size_t len)
{
	uint64_t z = mix(t->seed * 31 + i);

	memcpy(p, &i, sizeof(i));
	memcpy(p + sizeof(i), &t->planned, sizeof(t->planned));
	for (size_t j = 8; j < len; j++)
		p[j] = (uint8_t)(z >> (j % 8 * 8)) ^ (uint8_t)j;
}

static void check_message(struct talk *t, unsigned i, const uint8_t *msg, size_t len)
{
	uint8_t *want = mem_alloc(len + 8);

	assert_int_equal(len, message_len(t, i));
	message_fill(t, i, want, len);
	assert_memory_equal(msg, want, len);
	mem_free(want);
}

static void note(struct run *r, uint64_t what)
{
	struct mem_stats stats;

	r->digest = mix(r->digest ^ what ^ runner_now_ms(&r->w.loop.runner) << 20);
	mem_stats(&stats);
	r->live_max = MAX(r->live_max, stats.live_bytes - r->live_base);
}

static void on_echo(struct flow *f, const uint8_t *msg, size_t len)
{
	struct talk *t = f->data;

	check_message(t, t->got++, msg, len);
	note(t->run, t->seed + t->got);
}

/* Sends while the queue is short; pauses in between, by a timer. */
static void on_talk(struct runner_timer *timer)
{
	struct talk *t = container_of(timer, struct talk, timer);
	struct runner *r = &t->run->w.loop.runner;

	if (!t->flow->live)
		return;
	while (t->sent < t->planned && net_stream_queued(&t->flow->stream) < NET_SEND_QUEUE_HIGH) {
		size_t len = message_len(t, t->sent);
		uint8_t *msg = mem_alloc(len);

		message_fill(t, t->sent, msg, len);
		CHECK_STATUS(0, net_stream_send(&t->flow->stream, msg, len));
		mem_free(msg);
		t->sent++;
		if (draw(t->run, 4) == 0)
			break;
	}
	if (t->reset_at > 0 && t->sent >= t->reset_at)
		net_stream_reset(&t->flow->stream, UV_ECANCELED);
	else if (t->sent == t->planned)
		net_stream_end(&t->flow->stream);
	else
		runner_timer_start(r, timer, runner_now_ms(r) + draw(t->run, 200));
}

static void talk_start(struct run *r, struct talk *t, struct node *from, struct net_conn *c,
		       size_t size_max)
{
	t->run = r;
	t->from = from;
	t->planned = 1 + (unsigned)draw(r, MESSAGES_MAX);
	t->seed = draw(r, UINT64_MAX);
	t->size_max = size_max;
	t->reset_at = draw(r, 5) == 0 ? 1 + (unsigned)draw(r, t->planned) : 0;
	t->flow = flow_open(from, c);
	t->flow->data = t;
	t->flow->pinned = true;
	t->flow->on_message = on_echo;
	t->timer.run = on_talk;
	runner_timer_start(&r->w.loop.runner, &t->timer,
			   runner_now_ms(&r->w.loop.runner) + draw(r, 1000));
}

struct weather {
	struct simnet_path path;
	size_t size_max;
	bool gaps; /* the line is cut now and then, for less than the ping's patience */
};

static const struct weather weathers[] = {
	{ { 0 }, 1 << 20, false },
	{ { .latency_ms = 40, .jitter_ms = 40, .read_max = 3000 }, 1 << 20, false },
	{ { .latency_ms = 100, .jitter_ms = 50, .bandwidth = 400000, .loss_permille = 50 },
	  200000,
	  false },
	{ { .latency_ms = 5, .bandwidth = 2000000, .read_max = 7 }, 20000, false },
	{ { .latency_ms = 30, .jitter_ms = 200, .loss_permille = 200 }, 300000, true },
};

static void run_gaps(struct run *r, const struct weather *weather)
{
	struct simnet_path path = weather->path;

	for (unsigned i = 0; i < 5; i++) {
		world_run(&r->w, 1000);
		path.cut = i % 2 == 0;
		simnet_set_default(r->w.sim, &path);
	}
	path.cut = false;
	simnet_set_default(r->w.sim, &path);
}

static bool all_talked(void *data)
{
	struct run *r = data;

	for (unsigned i = 0; i < TALKS; i++)
		if (r->talks[i].flow->closes == 0)
			return false;
	return true;
}

static void check_talks(struct run *r)
{
	for (unsigned i = 0; i < TALKS; i++) {
		struct talk *t = &r->talks[i];

		assert_int_equal(t->flow->closes, 1);
		if (t->reset_at > 0) {
			CHECK_STATUS(UV_ECANCELED, t->flow->status);
			assert_true(t->got <= t->sent);
		} else {
			CHECK_STATUS(0, t->flow->status);
			assert_int_equal(t->got, t->planned);
		}
	}
	assert_int_equal(r->w.nodes[0].downs + r->w.nodes[1].downs, 0);
}

static uint64_t run_once(uint64_t seed, const struct weather *weather)
{
	struct run *r = mem_alloc(sizeof(*r));
	struct mem_stats stats;
	uint64_t digest;

	world_init(&r->w, seed, 2);
	simnet_set_default(r->w.sim, &weather->path);
	r->random = seed;
	world_connect(&r->w, 0, 1);
	world_run(&r->w, 5000);
	mem_stats(&stats);
	r->live_base = stats.live_bytes;
	for (unsigned i = 0; i < TALKS; i++) {
		struct node *from = &r->w.nodes[i % 2];

		talk_start(r, &r->talks[i], from, from->conn, weather->size_max);
	}
	if (weather->gaps)
		run_gaps(r, weather);
	assert_true(run_until(&r->w.loop, all_talked, r, RUN_MS));
	check_talks(r);
	assert_true(r->live_max < BYTES_BOUND);
	digest = r->digest;
	world_fini(&r->w);
	mem_free(r);
	return digest;
}

static void every_message_arrives_once_and_in_order(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(weathers); i++) {
		for (uint64_t seed = 1; seed <= 4; seed++) {
			print_message("# weather %u seed %llu\n", i, (unsigned long long)seed);
			run_once(seed * 1000 + i, &weathers[i]);
		}
	}
}

static void equal_seeds_give_equal_runs(void **state)
{
	for (unsigned i = 1; i < ARRAY_SIZE(weathers); i += 3)
		assert_true(run_once(7, &weathers[i]) == run_once(7, &weathers[i]));
	assert_true(run_once(7, &weathers[1]) != run_once(8, &weathers[1]));
}

/* ---- The network itself ---- */

struct probe {
	struct net_link *link, *peer;
	uint64_t opened_ms, read_ms, bytes;
	int open_status, close_status;
	unsigned drains;
	struct runner *runner;
};

static void probe_open(struct net_link *l, int status)
{
	struct probe *p = l->data;

	p->open_status = status;
	p->opened_ms = runner_now_ms(p->runner);
}

static void probe_read(struct net_link *l, const uint8_t *data, size_t len)
{
	struct probe *p = l->data;

	p->bytes += len;
	p->read_ms = runner_now_ms(p->runner);
}

static void probe_drain(struct net_link *l)
{
	((struct probe *)l->data)->drains++;
}

static void probe_close(struct net_link *l, int status)
{
	struct probe *p = l->data;

	p->close_status = status;
	if (p->link == l)
		p->link = NULL;
	else
		p->peer = NULL;
}

static const struct net_link_events probe_events = { probe_open, probe_read, probe_drain,
						     probe_close };

static void probe_accept(void *data, struct net_link *l)
{
	l->events = &probe_events;
	l->data = data;
	((struct probe *)data)->peer = l;
}

struct lab {
	struct manual_loop loop;
	struct simnet *sim;
	struct net_transport *a, *b;
	struct probe probe;
};

static void lab_init(struct lab *l, const struct simnet_path *path)
{
	struct multiaddr addr = fixture_addr("10.0.0.2:9"), bound;

	memset(l, 0, sizeof(*l));
	manual_loop_init(&l->loop, 1);
	l->sim = simnet_new(&l->loop.runner, 1);
	simnet_set_default(l->sim, path);
	l->a = simnet_host(l->sim, "10.0.0.1");
	l->b = simnet_host(l->sim, "10.0.0.2");
	l->probe = (struct probe){ .runner = &l->loop.runner, .open_status = 1 };
	CHECK_STATUS(0, l->b->listen(l->b, &addr, &bound, probe_accept, &l->probe));
	l->probe.link = l->a->dial(l->a, &addr, &probe_events, &l->probe);
	manual_loop_run(&l->loop, 1000);
}

static void lab_fini(struct lab *l)
{
	simnet_free(l->sim);
	manual_loop_fini(&l->loop);
}

static void write_bytes(struct lab *l, struct net_link *link, size_t len)
{
	CHECK_STATUS(0, l->a->write(link, mem_alloc(len), len));
}

static void latency_and_bandwidth_take_their_time(void **state)
{
	struct lab l;

	lab_init(&l, &(struct simnet_path){ .latency_ms = 30, .bandwidth = 100000 });
	assert_int_equal(l.probe.opened_ms, 60);
	write_bytes(&l, l.probe.link, 50000);
	manual_loop_run(&l.loop, 10000);
	assert_int_equal(l.probe.bytes, 50000);
	assert_int_equal(l.probe.read_ms, 1000 + 500 + 30);
	lab_fini(&l);
}

static void a_reader_that_stops_stops_the_writer(void **state)
{
	struct lab l;

	lab_init(&l, &(struct simnet_path){ .latency_ms = 1 });
	l.b->read(l.probe.peer, false);
	write_bytes(&l, l.probe.link, 3 * SIMNET_WINDOW);
	manual_loop_run(&l.loop, 10000);
	assert_int_equal(l.a->queued(l.probe.link), 2 * SIMNET_WINDOW);
	assert_int_equal(l.probe.drains + l.probe.bytes, 0);
	l.b->read(l.probe.peer, true);
	manual_loop_run(&l.loop, 20000);
	assert_int_equal(l.probe.bytes, 3 * SIMNET_WINDOW);
	assert_int_equal(l.probe.drains, 1);
	lab_fini(&l);
}

static void what_was_written_before_a_close_arrives(void **state)
{
	struct lab l;

	lab_init(&l, &(struct simnet_path){ .latency_ms = 10, .bandwidth = 10000 });
	write_bytes(&l, l.probe.link, 5000);
	l.a->close(l.probe.link, UV_ECANCELED);
	manual_loop_run(&l.loop, 1020);
	assert_null(l.probe.link);
	CHECK_STATUS(UV_ECANCELED, l.probe.close_status);
	manual_loop_run(&l.loop, 10000);
	assert_int_equal(l.probe.bytes, 5000);
	assert_null(l.probe.peer);
	CHECK_STATUS(ERR_CLOSED, l.probe.close_status);
	lab_fini(&l);
}

static void a_cut_line_is_silent_and_heals(void **state)
{
	struct lab l;

	lab_init(&l, &(struct simnet_path){ .latency_ms = 10 });
	simnet_set_default(l.sim, &(struct simnet_path){ .latency_ms = 10, .cut = true });
	write_bytes(&l, l.probe.link, 5000);
	manual_loop_run(&l.loop, 60000);
	assert_int_equal(l.probe.bytes, 0);
	simnet_set_default(l.sim, &(struct simnet_path){ .latency_ms = 10 });
	manual_loop_run(&l.loop, 61000);
	assert_int_equal(l.probe.bytes, 5000);
	lab_fini(&l);
}

static void refusal_silence_and_reset_look_as_they_should(void **state)
{
	struct lab l;

	lab_init(&l, &(struct simnet_path){ .refuse = true });
	CHECK_STATUS(UV_ECONNREFUSED, l.probe.open_status);
	lab_fini(&l);
	lab_init(&l, &(struct simnet_path){ .cut = true });
	CHECK_STATUS(1, l.probe.open_status);
	manual_loop_run(&l.loop, SIMNET_CONNECT_TIMEOUT_MS + 10);
	CHECK_STATUS(UV_ETIMEDOUT, l.probe.open_status);
	lab_fini(&l);
	lab_init(&l, &(struct simnet_path){ .latency_ms = 1 });
	simnet_reset(l.sim, "10.0.0.2", "10.0.0.1");
	manual_loop_run(&l.loop, 1010);
	CHECK_STATUS(UV_ECONNRESET, l.probe.close_status);
	assert_true(l.probe.link == NULL && l.probe.peer == NULL);
	lab_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(latency_and_bandwidth_take_their_time),
		cmocka_unit_test(a_reader_that_stops_stops_the_writer),
		cmocka_unit_test(what_was_written_before_a_close_arrives),
		cmocka_unit_test(a_cut_line_is_silent_and_heals),
		cmocka_unit_test(refusal_silence_and_reset_look_as_they_should),
		cmocka_unit_test(every_message_arrives_once_and_in_order),
		cmocka_unit_test(equal_seeds_give_equal_runs),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
