/* One node and the packets that reach it: what it answers, what it asks, and what it leaves alone.
 */
#include <stdlib.h>

#include "tests/unit/test_util.h"

#include "discovery/dht/krpc.h"
#include "discovery/dht/limit.h"

enum { PACKETS_MAX = 512 };

struct packet {
	struct dht_address to;
	uint8_t data[DHT_PACKET_MAX + DHT_VALUE_MAX];
	size_t len;
};

/* A core, and a wire that keeps what it sends. */
struct lab {
	struct manual_loop loop;
	struct dht_transport transport;
	struct dht *d;
	struct packet *sent;
	size_t count;
};

static void keep(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
		 size_t len)
{
	struct lab *lab = container_of(t, struct lab, transport);
	struct packet *p = &lab->sent[lab->count % PACKETS_MAX];

	assert_true(len <= sizeof(p->data));
	p->to = *to;
	p->len = len;
	memcpy(p->data, data, len);
	lab->count++;
}

static struct dht_address place(unsigned i)
{
	return (struct dht_address){ .family = 4,
				     .ip = { 20, (uint8_t)(i >> 8), (uint8_t)i, 1 },
				     .port = 1000 };
}

static void lab_init(struct lab *lab, const char *local, enum dht_mode mode)
{
	static const uint8_t seed[DHT_SEED_SIZE] = { 1, 2, 3 };
	struct dht_config config = { .runner = &lab->loop.runner,
				     .transport = &lab->transport,
				     .mode = mode,
				     .seed = seed };

	memset(lab, 0, sizeof(*lab));
	lab->sent = calloc(PACKETS_MAX, sizeof(*lab->sent));
	lab->transport.send = keep;
	manual_loop_init(&lab->loop, 1);
	manual_loop_run(&lab->loop, 1000);
	CHECK_STATUS(0, dht_address_parse(local, strlen(local), &config.local[0]));
	lab->d = dht_new(&config);
	assert_non_null(lab->d);
}

static void lab_fini(struct lab *lab)
{
	if (lab->d != NULL)
		dht_close(lab->d, NULL, NULL);
	manual_loop_turn(&lab->loop);
	manual_loop_turn(&lab->loop);
	manual_loop_fini(&lab->loop);
	free(lab->sent);
}

static void run_ms(struct lab *lab, uint64_t ms)
{
	manual_loop_run(&lab->loop, runner_now_ms(&lab->loop.runner) + ms);
}

static void give(struct lab *lab, const struct dht_address *from, const char *text, size_t len)
{
	dht_receive(lab->d, from, (const uint8_t *)text, len);
}
#define GIVE(lab, from, text) give(lab, from, text, sizeof(text) - 1)

/* The i-th packet from the end. */
static struct packet *last(struct lab *lab, size_t i)
{
	assert_true(lab->count > i);
	return &lab->sent[(lab->count - 1 - i) % PACKETS_MAX];
}

static void read_last(struct lab *lab, struct krpc_message *m)
{
	CHECK_STATUS(0, krpc_parse(last(lab, 0)->data, last(lab, 0)->len, m));
}

static const char ping[] = "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
static const char get_peers[] = "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456"
				"e1:q9:get_peers1:t2:aa1:y1:qe";

static void a_ping_is_answered_with_who_asked(void **state)
{
	struct dht_address from = place(1);
	struct krpc_message m;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	GIVE(&lab, &from, ping);
	assert_int_equal(lab.count, 1);
	read_last(&lab, &m);
	assert_int_equal(m.type, KRPC_REPLY);
	assert_memory_equal(m.tid.p, "aa", 2);
	assert_true(dht_address_eq(&m.seen_as, &from));
	assert_true(dht_address_eq(&last(&lab, 0)->to, &from));
	lab_fini(&lab);
}

static void our_id_fits_our_public_address(void **state)
{
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	dht_stats(lab.d, &s);
	assert_true(id_fits(&s.families[0].id, &s.families[0].external));
	lab_fini(&lab);
}

static void what_is_no_query_is_not_answered(void **state)
{
	static const char *const rows[] = {
		"",
		"x",
		"d1:t2:aa1:y1:qe",
		"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:q",
		"d1:rd2:id20:abcdefghij0123456789e1:t4:aaaa1:y1:re",
		"d1:eli201e1:xe1:t4:aaaa1:y1:ee",
	};
	struct dht_address from = place(1);
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		give(&lab, &from, rows[i], strlen(rows[i]));
	assert_int_equal(lab.count, 0);
	dht_stats(lab.d, &s);
	assert_int_equal(s.dropped_malformed, 4);
	assert_int_equal(s.dropped_stray, 2);
	lab_fini(&lab);
}

static void incomplete_and_unknown_questions_get_the_right_error(void **state)
{
	struct dht_address from = place(1);
	struct krpc_message m;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	GIVE(&lab, &from, "d1:ade1:q4:ping1:t2:aa1:y1:qe");
	read_last(&lab, &m);
	assert_int_equal(m.error, KRPC_ERROR_PROTOCOL);
	GIVE(&lab, &from, "d1:ad2:id20:abcdefghij0123456789e1:q4:what1:t2:aa1:y1:qe");
	read_last(&lab, &m);
	assert_int_equal(m.error, KRPC_ERROR_METHOD);
	GIVE(&lab, &from,
	     "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456"
	     "e1:q4:what1:t2:aa1:y1:qe");
	read_last(&lab, &m);
	assert_int_equal(m.type, KRPC_REPLY);
	assert_non_null(m.nodes[0].p);
	lab_fini(&lab);
}

/* get_peers for a token, then announce_peer with it. */
static void announce(struct lab *lab, const struct dht_address *from, const char *port)
{
	struct krpc_message m;
	char text[512];
	int len;

	GIVE(lab, from, get_peers);
	read_last(lab, &m);
	assert_int_equal(m.token.len, 8);
	len = snprintf(text, sizeof(text),
		       "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456"
		       "%s5:token8:",
		       port);
	memcpy(text + len, m.token.p, 8);
	len += 8 + snprintf(text + len + 8, sizeof(text) - (size_t)len - 8,
			    "e1:q13:announce_peer1:t2:aa1:y1:qe");
	give(lab, from, text, (size_t)len);
}

static void an_announced_peer_is_found(void **state)
{
	struct dht_address from = place(1), asker = place(2);
	struct krpc_message m;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	announce(&lab, &from, "4:porti4001e");
	read_last(&lab, &m);
	assert_int_equal(m.type, KRPC_REPLY);
	GIVE(&lab, &asker, get_peers);
	read_last(&lab, &m);
	assert_int_equal(m.value_count, 1);
	assert_int_equal(m.values[0].port, 4001);
	assert_true(address_same_ip(&m.values[0], &from));
	lab_fini(&lab);
}

static void ports_are_the_senders_when_implied_and_never_0_or_1(void **state)
{
	static const struct {
		const char *text;
		uint16_t port; /* 0: refused */
	} rows[] = {
		{ "12:implied_porti1e", 1000 },
		{ "12:implied_porti1e4:porti77e", 1000 },
		{ "4:porti0e", 0 },
		{ "4:porti1e", 0 },
		{ "4:porti99999e", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct dht_address from = place(1);
		struct krpc_message m;
		struct lab lab;

		lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
		announce(&lab, &from, rows[i].text);
		read_last(&lab, &m);
		assert_int_equal(m.type, rows[i].port != 0 ? KRPC_REPLY : KRPC_ERROR);
		GIVE(&lab, &from, get_peers);
		read_last(&lab, &m);
		assert_int_equal(m.value_count, rows[i].port != 0 ? 1 : 0);
		if (rows[i].port != 0)
			assert_int_equal(m.values[0].port, rows[i].port);
		lab_fini(&lab);
	}
}

static void a_token_of_another_address_is_refused(void **state)
{
	struct dht_address from = place(1), thief = place(2);
	struct krpc_message m;
	uint8_t token[8];
	char text[256];
	int len;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	GIVE(&lab, &from, get_peers);
	read_last(&lab, &m);
	memcpy(token, m.token.p, 8);
	len = snprintf(
		text, sizeof(text),
		"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti4001e"
		"5:token8:");
	memcpy(text + len, token, 8);
	len += 8 + snprintf(text + len + 8, 64, "e1:q13:announce_peer1:t2:aa1:y1:qe");
	give(&lab, &thief, text, (size_t)len);
	read_last(&lab, &m);
	assert_int_equal(m.error, KRPC_ERROR_PROTOCOL);
	lab_fini(&lab);
}

static void strangers_get_at_most_four_times_what_they_sent(void **state)
{
	struct dht_address stranger = place(1000), proven = place(1); /* returned a token */
	struct krpc_message m;
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	for (unsigned i = 0; i < 100; i++) { /* something to tell */
		struct dht_address peer = place(i);

		announce(&lab, &peer, "4:porti4001e");
		run_ms(&lab, 100);
	}
	GIVE(&lab, &stranger, get_peers);
	read_last(&lab, &m);
	assert_true(last(&lab, 0)->len <= DHT_AMPLIFICATION * (sizeof(get_peers) - 1));
	assert_true(m.value_count >= 8);
	GIVE(&lab, &proven, get_peers);
	read_last(&lab, &m);
	assert_int_equal(m.value_count, 50);
	assert_true(last(&lab, 0)->len <= DHT_PACKET_MAX);
	dht_stats(lab.d, &s);
	assert_int_equal(s.stored_peers, 100);
	lab_fini(&lab);
}

static void floods_are_dropped_and_counted(void **state)
{
	struct dht_address from = place(1), other = place(2);
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	for (unsigned i = 0; i < 300; i++)
		GIVE(&lab, &from, ping);
	assert_int_equal(lab.count, LIMIT_IN_BURST);
	GIVE(&lab, &other, ping);
	assert_int_equal(lab.count, LIMIT_IN_BURST + 1);
	for (unsigned i = 0; i < 5000; i++) { /* forged sources */
		struct dht_address forged = place(100 + i);

		GIVE(&lab, &forged, get_peers);
	}
	dht_stats(lab.d, &s);
	assert_true(s.dropped_limit >= 270);
	assert_true(s.dropped_budget > 0);
	assert_true(s.bytes_out <= LIMIT_REPLY_BYTES_BURST);
	lab_fini(&lab);
}

static void a_read_only_node_asks_and_does_not_answer(void **state)
{
	struct dht_address from = place(1),
			   neighbour = { .family = 4, .ip = { 192, 168, 0, 9 }, .port = 9 };
	struct krpc_message m;
	struct lab lab;

	lab_init(&lab, "192.168.0.2:6881", DHT_MODE_AUTO);
	GIVE(&lab, &from, ping);
	assert_int_equal(lab.count, 0);
	GIVE(&lab, &neighbour, ping);
	assert_int_equal(lab.count, 1);
	dht_add_node(lab.d, &from);
	dht_start(lab.d);
	run_ms(&lab, 10);
	for (size_t i = 1; i < lab.count;
	     i++) { /* to strangers it says so, to neighbours it is none */
		CHECK_STATUS(0, krpc_parse(lab.sent[i].data, lab.sent[i].len, &m));
		assert_int_equal(m.type, KRPC_QUERY);
		assert_int_equal(m.read_only, dht_address_eq(&lab.sent[i].to, &from));
	}
	assert_true(lab.count > 2);
	dht_set_reachable(lab.d, true);
	GIVE(&lab, &from, ping);
	read_last(&lab, &m);
	assert_int_equal(m.type, KRPC_REPLY);
	lab_fini(&lab);
}

static void strangers_prove_that_we_are_reachable(void **state)
{
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "192.168.0.2:6881", DHT_MODE_AUTO);
	dht_start(lab.d);
	run_ms(&lab, 31 * 60000); /* a trial has begun */
	for (unsigned i = 0; i < 3; i++) {
		struct dht_address from = place(i);

		GIVE(&lab, &from, ping);
		GIVE(&lab, &from, ping); /* one address, one stranger */
	}
	run_ms(&lab, 11 * 60000);
	dht_stats(lab.d, &s);
	assert_false(s.read_only);
	lab_fini(&lab);
}

/* Answer the query that was sent last, as node `index`. */
static void reply_to(struct lab *lab, const struct packet *p, const char *extra, size_t extra_len)
{
	struct krpc_message m;
	uint8_t text[8192];
	struct buf out;

	CHECK_STATUS(0, krpc_parse(p->data, p->len, &m));
	assert_int_equal(m.tid.len, KRPC_TID_SIZE);
	buf_init(&out, sizeof(text));
	buf_printf(&out, "d1:rd2:id20:node%c%c%c%cnode%c%c%c%cxxxx", p->to.ip[1] + 1,
		   p->to.ip[2] + 1, 1, 1, 1, 1, 1, 1);
	buf_write(&out, extra, extra_len);
	buf_write_str(&out, "e1:t4:");
	buf_write(&out, m.tid.p, 4);
	buf_write_str(&out, "1:y1:re");
	dht_receive(lab->d, &p->to, out.data, out.len);
	buf_fini(&out);
}

static void only_the_asked_address_can_answer(void **state)
{
	struct dht_address node = place(1);
	struct dht_stats s;
	struct packet forged;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	dht_add_node(lab.d, &node);
	dht_start(lab.d);
	run_ms(&lab, 10);
	forged = *last(&lab, 0);
	forged.to.port++;
	reply_to(&lab, &forged, "", 0);
	dht_stats(lab.d, &s);
	assert_int_equal(s.families[0].nodes, 0);
	assert_int_equal(s.dropped_stray, 1);
	reply_to(&lab, last(&lab, 0), "", 0);
	dht_stats(lab.d, &s);
	assert_int_equal(s.families[0].nodes, 1);
	assert_true(s.bootstrapped);
	assert_null(dht_state(lab.d));
	lab_fini(&lab);
}

static void a_reply_full_of_nodes_costs_bounded_work(void **state)
{
	static char nodes[26 * 1000 + 16];
	struct dht_address node = place(1);
	struct dht_stats s;
	struct lab lab;
	int len;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	dht_add_node(lab.d, &node);
	dht_start(lab.d);
	run_ms(&lab, 10);
	len = snprintf(nodes, sizeof(nodes), "5:nodes%d:", 26 * 300);
	for (unsigned i = 0; i < 26 * 300; i++)
		nodes[(unsigned)len + i] = (char)(i * 7 + i / 26);
	/* 7,800 bytes, of which the first KRPC_NODES_MAX nodes are taken */
	reply_to(&lab, last(&lab, 0), nodes, 100); /* too short: malformed, and no harm */
	dht_stats(lab.d, &s);
	assert_int_equal(s.dropped_malformed, 1);
	run_ms(&lab, 100000);
	dht_stats(lab.d, &s);
	assert_true(s.queries_out < 200);
	lab_fini(&lab);
}

static void nobody_there_means_again_later_and_says_so(void **state)
{
	struct dht_address node = place(1);
	struct lab lab;
	size_t first;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	CHECK_STATUS(0, dht_add_router(lab.d, &node));
	assert_string_equal(dht_state(lab.d), "off");
	dht_start(lab.d);
	run_ms(&lab, 5000);
	assert_string_equal(dht_state(lab.d), "bootstrapping");
	first = lab.count;
	assert_true(first > 0);
	run_ms(&lab, 600000);
	assert_true(lab.count > first);
	assert_true(lab.count < 100);
	run_ms(&lab, 3600000);
	assert_string_equal(dht_state(lab.d), "no UDP");
	lab_fini(&lab);
}

static void unreachable_nodes_fail_at_once(void **state)
{
	struct dht_address node = place(1);
	struct dht_stats s;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	dht_add_node(lab.d, &node);
	dht_start(lab.d);
	run_ms(&lab, 1);
	dht_stats(lab.d, &s);
	assert_true(s.open_queries > 0);
	while (s.open_queries > 0) {
		dht_unreachable(lab.d, &node);
		dht_stats(lab.d, &s);
	}
	assert_true(s.unreachable > 0);
	lab_fini(&lab);
}

static void the_state_survives_a_restart(void **state)
{
	struct dht_address node = place(1);
	struct dht_stats before, after;
	struct lab lab, again;
	struct buf saved;

	lab_init(&lab, "192.168.0.2:6881", DHT_MODE_AUTO);
	dht_add_node(lab.d, &node);
	dht_start(lab.d);
	run_ms(&lab, 10);
	reply_to(&lab, last(&lab, 0), "", 0);
	buf_init(&saved, DHT_STATE_MAX);
	dht_export(lab.d, &saved);
	lab_init(&again, "192.168.0.2:6881", DHT_MODE_AUTO);
	CHECK_STATUS(ERR_MALFORMED, dht_import(again.d, saved.data, saved.len - 1));
	CHECK_STATUS(ERR_MALFORMED, dht_import(again.d, (const uint8_t *)"x", 1));
	CHECK_STATUS(0, dht_import(again.d, saved.data, saved.len));
	dht_stats(lab.d, &before);
	dht_stats(again.d, &after);
	assert_true(dht_id_eq(&before.families[0].id, &after.families[0].id));
	dht_start(again.d);
	run_ms(&again, 10);
	assert_true(dht_address_eq(&last(&again, 0)->to, &node));
	buf_fini(&saved);
	lab_fini(&lab);
	lab_fini(&again);
}

static void count_end(struct dht_lookup *l, int status)
{
	*(int *)l->data = status;
}

static void lookups_end_whatever_happens(void **state)
{
	struct dht_lookup lookup = { 0 }, late = { 0 };
	struct dht_id key = { { 1 } };
	struct op_env env;
	int status = 1, late_status = 1;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	env = (struct op_env){ .runner = &lab.loop.runner, .deadline_ms = UINT64_MAX };
	lookup.data = &status;
	dht_lookup_start(&lookup, &env, lab.d, &key, DHT_LOOKUP_PEERS, count_end);
	run_ms(&lab, 1000);
	CHECK_STATUS(ERR_NOT_FOUND, status); /* nobody to ask */
	dht_add_node(lab.d, &(struct dht_address){ .family = 4, .ip = { 20, 1, 1, 1 }, .port = 5 });
	late.data = &late_status;
	dht_lookup_start(&late, &env, lab.d, &key, DHT_LOOKUP_PEERS, count_end);
	manual_loop_turn(&lab.loop);
	dht_close(lab.d, NULL, NULL); /* cancels */
	lab.d = NULL;
	run_ms(&lab, 1);
	CHECK_STATUS(UV_ECANCELED, late_status);
	lab_fini(&lab);
}

static void one_lookup_too_many_is_refused(void **state)
{
	static struct dht_lookup lookups[DHT_LOOKUPS_MAX + 1];
	static int status[DHT_LOOKUPS_MAX + 1];
	struct dht_id key = { { 1 } };
	struct op_env env;
	struct lab lab;

	lab_init(&lab, "30.0.0.1:6881", DHT_MODE_AUTO);
	env = (struct op_env){ .runner = &lab.loop.runner, .deadline_ms = UINT64_MAX };
	for (unsigned i = 0; i <= DHT_LOOKUPS_MAX; i++) {
		lookups[i].data = &status[i];
		dht_lookup_start(&lookups[i], &env, lab.d, &key, DHT_LOOKUP_PEERS, count_end);
	}
	run_ms(&lab, 1000);
	CHECK_STATUS(ERR_BUSY, status[DHT_LOOKUPS_MAX]);
	CHECK_STATUS(ERR_NOT_FOUND, status[DHT_LOOKUPS_MAX - 1]);
	lab_fini(&lab);
}

static void the_core_survives_no_memory(void **state)
{
	struct dht_address from = place(1);

	FAULT_SWEEP({
		struct dht_config config = { .seed = (const uint8_t *)get_peers };
		struct dht_lookup lookup = { 0 };
		struct dht_id key = { { 1 } };
		struct op_env env;
		struct lab lab = { 0 };
		int status = 1;

		lab.sent = calloc(PACKETS_MAX, sizeof(*lab.sent));
		lab.transport.send = keep;
		manual_loop_init(&lab.loop, 1);
		config.runner = &lab.loop.runner;
		config.transport = &lab.transport;
		config.local[0] = place(7);
		lab.d = dht_new(&config);
		if (lab.d != NULL) {
			env = (struct op_env){ .runner = &lab.loop.runner, .deadline_ms = 20000 };
			dht_add_node(lab.d, &from);
			dht_start(lab.d);
			GIVE(&lab, &from, get_peers);
			lookup.data = &status;
			dht_lookup_start(&lookup, &env, lab.d, &key, DHT_LOOKUP_PEERS, count_end);
			(void)dht_announce(lab.d, &key, 4001);
			run_ms(&lab, 30000);
			assert_true(status <= 0);
		}
		lab_fini(&lab);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ping_is_answered_with_who_asked),
		cmocka_unit_test(our_id_fits_our_public_address),
		cmocka_unit_test(what_is_no_query_is_not_answered),
		cmocka_unit_test(incomplete_and_unknown_questions_get_the_right_error),
		cmocka_unit_test(an_announced_peer_is_found),
		cmocka_unit_test(ports_are_the_senders_when_implied_and_never_0_or_1),
		cmocka_unit_test(a_token_of_another_address_is_refused),
		cmocka_unit_test(strangers_get_at_most_four_times_what_they_sent),
		cmocka_unit_test(floods_are_dropped_and_counted),
		cmocka_unit_test(a_read_only_node_asks_and_does_not_answer),
		cmocka_unit_test(strangers_prove_that_we_are_reachable),
		cmocka_unit_test(only_the_asked_address_can_answer),
		cmocka_unit_test(a_reply_full_of_nodes_costs_bounded_work),
		cmocka_unit_test(nobody_there_means_again_later_and_says_so),
		cmocka_unit_test(unreachable_nodes_fail_at_once),
		cmocka_unit_test(the_state_survives_a_restart),
		cmocka_unit_test(lookups_end_whatever_happens),
		cmocka_unit_test(one_lookup_too_many_is_refused),
		cmocka_unit_test(the_core_survives_no_memory),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
