#include <sodium.h>

#include "sync/wire_pb.h"
#include "tests/unit/test_util.h"

static struct scope scope_at(const char *path)
{
	struct public_key space = { { 1, 2, 3 } };
	struct scope s;

	CHECK_STATUS(0, scope_make(&space, path, strlen(path), SCOPE_RECURSIVE, &s));
	return s;
}

static struct buf encode_request(const struct wire_request *r)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_request_encode(r, &out));
	return out;
}

static struct buf encode_reply(const struct wire_reply *r)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_reply_encode(r, &out));
	return out;
}

static struct buf pack(const void *message)
{
	const ProtobufCMessage *m = message;
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	buf_advance(&out, protobuf_c_message_pack(
				  m, buf_reserve(&out, protobuf_c_message_get_packed_size(m))));
	return out;
}

/* Decoders for one status; what they make is released. */
static int request_status(const struct buf *b)
{
	struct wire_request r;
	struct arena a;
	int rc;

	wire_arena_init(&a, b->len);
	rc = wire_request_decode(b->data, b->len, &a, &r);
	arena_fini(&a);
	return rc;
}

static int more_status(const struct buf *b)
{
	struct wire_more m;
	struct arena a;
	int rc;

	wire_arena_init(&a, b->len);
	rc = wire_more_decode(b->data, b->len, &a, &m);
	arena_fini(&a);
	return rc;
}

static int reply_status(const struct buf *b)
{
	struct wire_reply r;
	struct arena a;
	int rc;

	wire_arena_init(&a, b->len);
	rc = wire_reply_decode(b->data, b->len, &a, &r);
	arena_fini(&a);
	return rc;
}

static void a_request_comes_back_as_it_was(void **state)
{
	struct wire_request r = { .kind = WIRE_RECONCILE, .traced = true, .timeout_ms = 77 }, got;
	struct arena a;
	struct buf out;

	(void)state;
	r.scope = scope_at("/a/b");
	r.trace = (struct trace_context){ { 1 }, { 2 }, 1 };
	r.bytes = (struct wire_bytes){ (const uint8_t *)"abc", 3 };
	out = encode_request(&r);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_request_decode(out.data, out.len, &a, &got));
	assert_int_equal(got.kind, WIRE_RECONCILE);
	assert_int_equal(got.timeout_ms, 77);
	assert_true(got.traced);
	assert_memory_equal(&got.trace, &r.trace, sizeof(r.trace));
	assert_string_equal(got.scope.path, "/a/b");
	assert_int_equal(got.scope.kind, SCOPE_RECURSIVE);
	assert_memory_equal(got.bytes.data, "abc", 3);
	arena_fini(&a);
	buf_fini(&out);
}

static void every_kind_of_request_decodes(void **state)
{
	(void)state;
	for (int kind = WIRE_RECONCILE; kind <= WIRE_DIAL_BACK; kind++) {
		struct wire_request r = { .kind = (enum wire_request_kind)kind, .port = 4001 };
		struct buf out;

		r.scope = scope_at("");
		out = encode_request(&r);
		CHECK_STATUS(0, request_status(&out));
		buf_fini(&out);
	}
}

static void an_unknown_kind_of_request_is_unsupported(void **state)
{
	static const uint8_t newer[] = { 0xfa, 0x01, 0x00 }; /* field 31, empty */
	struct buf b = { .data = (uint8_t *)(uintptr_t)newer, .len = sizeof(newer) };

	(void)state;
	CHECK_STATUS(ERR_UNSUPPORTED, request_status(&b));
	b.len = 0;
	CHECK_STATUS(ERR_UNSUPPORTED, request_status(&b));
	CHECK_STATUS(ERR_MALFORMED, more_status(&b));
	CHECK_STATUS(ERR_MALFORMED, reply_status(&b));
}

static void hashes_come_back_in_order(void **state)
{
	struct wire_more m = { .kind = WIRE_MORE_FETCH, .hash_count = SYNC_FETCH_BATCH_MAX }, got;
	struct arena a;
	struct buf out;

	(void)state;
	for (uint64_t i = 0; i < m.hash_count; i++)
		m.hashes[i] = hash_of(&i, sizeof(i));
	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_more_encode(&m, &out));
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_more_decode(out.data, out.len, &a, &got));
	assert_int_equal(got.hash_count, m.hash_count);
	assert_memory_equal(got.hashes, m.hashes, sizeof(m.hashes));
	arena_fini(&a);
	buf_fini(&out);
}

static void scopes_to_follow_and_to_drop_come_back(void **state)
{
	struct scope scopes[WIRE_FOLLOW_MAX];
	struct wire_more m = { .kind = WIRE_MORE_FOLLOW,
			       .scopes = scopes,
			       .scope_count = WIRE_FOLLOW_MAX,
			       .hash_count = WIRE_FOLLOW_MAX },
			 got;
	char path[OBJECT_PATH_MAX + 1];
	struct arena a;
	struct buf out;

	(void)state;
	memset(path, 'x', OBJECT_PATH_MAX);
	path[0] = '/';
	path[OBJECT_PATH_MAX] = '\0';
	for (uint64_t i = 0; i < WIRE_FOLLOW_MAX; i++) {
		scopes[i] = scope_at(i == 3 ? "/short" : path);
		m.hashes[i] = hash_of(&i, sizeof(i));
	}
	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_more_encode(&m, &out));
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_more_decode(out.data, out.len, &a, &got));
	assert_int_equal(got.kind, WIRE_MORE_FOLLOW);
	assert_int_equal(got.scope_count, WIRE_FOLLOW_MAX);
	assert_string_equal(got.scopes[3].path, "/short");
	assert_int_equal(got.hash_count, WIRE_FOLLOW_MAX);
	assert_memory_equal(got.hashes, m.hashes, WIRE_FOLLOW_MAX * HASH_SIZE);
	arena_fini(&a);
	buf_fini(&out);
}

static int follow_of(size_t add, size_t drop, size_t key_len)
{
	Sync__Wire__More more = SYNC__WIRE__MORE__INIT;
	Sync__Wire__Follow follow = SYNC__WIRE__FOLLOW__INIT;
	Sync__Wire__Scope scope, *pointers[WIRE_FOLLOW_MAX + 1];
	ProtobufCBinaryData keys[WIRE_FOLLOW_MAX + 1];
	static uint8_t bytes[64];
	struct scope of = scope_at("/a");
	struct buf out;
	int rc;

	wire_scope_out(&of, &scope);
	for (size_t i = 0; i <= WIRE_FOLLOW_MAX; i++) {
		pointers[i] = &scope;
		keys[i] = (ProtobufCBinaryData){ key_len, bytes };
	}
	follow.n_add = add;
	follow.add = pointers;
	follow.n_drop = drop;
	follow.drop = keys;
	more.kind_case = SYNC__WIRE__MORE__KIND_FOLLOW;
	more.follow = &follow;
	out = pack(&more);
	rc = more_status(&out);
	buf_fini(&out);
	return rc;
}

static void counts_and_keys_of_a_follow_are_checked(void **state)
{
	(void)state;
	CHECK_STATUS(0, follow_of(0, 0, HASH_SIZE));
	CHECK_STATUS(0, follow_of(WIRE_FOLLOW_MAX, WIRE_FOLLOW_MAX, HASH_SIZE));
	CHECK_STATUS(ERR_LIMIT, follow_of(WIRE_FOLLOW_MAX + 1, 0, HASH_SIZE));
	CHECK_STATUS(ERR_LIMIT, follow_of(0, WIRE_FOLLOW_MAX + 1, HASH_SIZE));
	CHECK_STATUS(ERR_MALFORMED, follow_of(1, 1, HASH_SIZE - 1));
}

static void what_was_refused_and_what_was_announced_have_keys(void **state)
{
	struct hash key = { { 9 } };
	struct wire_reply r = { .kind = WIRE_REPLY_SUBSCRIBED,
				.many = true,
				.refused = &key,
				.refused_count = 1 },
			  got;
	struct arena a;
	struct buf out = encode_reply(&r);

	(void)state;
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_true(got.many);
	assert_int_equal(got.refused_count, 1);
	assert_int_equal(got.refused[0].bytes[0], 9);
	buf_fini(&out);
	out = encode_reply(
		&(struct wire_reply){ .kind = WIRE_REPLY_ANNOUNCE, .keyed = true, .hash = key });
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_true(got.keyed);
	assert_int_equal(got.hash.bytes[0], 9);
	arena_fini(&a);
	buf_fini(&out);
}

static int fetch_of(size_t count, size_t hash_len)
{
	Sync__Wire__More more = SYNC__WIRE__MORE__INIT;
	Sync__Wire__Fetch fetch = SYNC__WIRE__FETCH__INIT;
	static uint8_t bytes[64];
	ProtobufCBinaryData *list = mem_alloc_array(count, sizeof(*list));
	struct buf out;
	int rc;

	assert_non_null(list);
	for (size_t i = 0; i < count; i++)
		list[i] = (ProtobufCBinaryData){ hash_len, bytes };
	fetch.n_hash = count;
	fetch.hash = list;
	more.kind_case = SYNC__WIRE__MORE__KIND_FETCH;
	more.fetch = &fetch;
	out = pack(&more);
	rc = more_status(&out);
	buf_fini(&out);
	mem_free(list);
	return rc;
}

static void counts_and_lengths_of_a_fetch_are_checked(void **state)
{
	(void)state;
	CHECK_STATUS(0, fetch_of(SYNC_FETCH_BATCH_MAX, HASH_SIZE));
	CHECK_STATUS(ERR_LIMIT, fetch_of(SYNC_FETCH_BATCH_MAX + 1, HASH_SIZE));
	CHECK_STATUS(ERR_MALFORMED, fetch_of(1, HASH_SIZE - 1));
	CHECK_STATUS(ERR_MALFORMED, fetch_of(1, HASH_SIZE + 1));
}

/* Two bytes each on the wire, many times that in memory: the allocator says no. */
static void a_message_cannot_blow_up_in_memory(void **state)
{
	struct mem_stats before, after;

	(void)state;
	mem_stats(&before);
	CHECK_STATUS(ERR_LIMIT, fetch_of(500000, 0));
	mem_stats(&after);
	assert_int_equal(before.live_count, after.live_count);
}

static void refusals_map_to_codes_both_ways(void **state)
{
	static const int codes[] = { ERR_BUSY, ERR_TOO_BIG, ERR_REFUSED, ERR_NOT_FOUND,
				     ERR_UNSUPPORTED };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		struct wire_reply r = { .kind = WIRE_REPLY_REFUSAL }, got;
		struct arena a;
		struct buf out;

		r.refusal = (struct wire_refusal){
			.code = codes[i], .retry_after_ms = 1500, .cap = 9, .text = "no"
		};
		out = encode_reply(&r);
		wire_arena_init(&a, out.len);
		CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
		CHECK_STATUS(codes[i], got.refusal.code);
		assert_int_equal(got.refusal.retry_after_ms, 1500);
		assert_int_equal(got.refusal.cap, 9);
		assert_string_equal(got.refusal.text, "no");
		arena_fini(&a);
		buf_fini(&out);
	}
}

static void check_refusal(uint32_t code, uint32_t retry_ms, const char *text, int expected,
			  const char *kept)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Refusal refusal = SYNC__WIRE__REFUSAL__INIT;
	struct wire_reply got;
	struct arena a;
	struct buf out;

	refusal.code = code;
	refusal.retry_after_ms = retry_ms;
	refusal.text = wire_bytes_out(text, strlen(text));
	reply.kind_case = SYNC__WIRE__REPLY__KIND_REFUSAL;
	reply.refusal = &refusal;
	out = pack(&reply);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	CHECK_STATUS(expected, got.refusal.code);
	assert_true(got.refusal.retry_after_ms <= WIRE_RETRY_MAX_MS);
	assert_string_equal(got.refusal.text, kept);
	arena_fini(&a);
	buf_fini(&out);
}

static void a_strange_refusal_is_still_a_refusal(void **state)
{
	char longer[400], cut[WIRE_TEXT_MAX + 1];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	memset(cut, 'x', WIRE_TEXT_MAX);
	cut[WIRE_TEXT_MAX] = '\0';
	check_refusal(4000000000u, UINT32_MAX, "fine", ERR_REFUSED, "fine");
	check_refusal(1, 0, "\033[31mred", ERR_BUSY, "");
	check_refusal(1, 0, "\xff\xfe", ERR_BUSY, "");
	check_refusal(1, 0, longer, ERR_BUSY, cut);
}

static void blobs_are_bounded_and_never_both(void **state)
{
	uint8_t *data = mem_alloc(OBJECT_BLOB_MAX + 1);
	struct wire_reply r = { .kind = WIRE_REPLY_BLOB, .bytes = { data, OBJECT_BLOB_MAX } };
	struct buf out = encode_reply(&r);

	(void)state;
	CHECK_STATUS(0, reply_status(&out));
	buf_fini(&out);
	r.bytes.len++;
	out = encode_reply(&r);
	CHECK_STATUS(ERR_LIMIT, reply_status(&out));
	buf_fini(&out);
	r.bytes.len = 1;
	r.missing = true;
	out = encode_reply(&r);
	CHECK_STATUS(ERR_MALFORMED, reply_status(&out));
	buf_fini(&out);
	mem_free(data);
}

static void the_bytes_of_a_blob_stay_in_the_message(void **state)
{
	struct wire_reply r = { .kind = WIRE_REPLY_BLOB,
				.hash = { { 7 } },
				.bytes = { (const uint8_t *)"abc", 3 } },
			  got;
	struct buf out = encode_reply(&r);
	struct arena a;

	(void)state;
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_ptr_equal(got.bytes.data, out.data + out.len - 3);
	assert_int_equal(got.bytes.len, 3);
	assert_memory_equal(got.hash.bytes, r.hash.bytes, HASH_SIZE);
	assert_int_equal(a.used_bytes, 0);
	arena_fini(&a);
	buf_fini(&out);
}

/* Data before the hash, then a field of a later version: both are right, neither is usual. */
static void a_blob_spelt_in_another_way_is_the_same(void **state)
{
	uint8_t msg[2 + 5 + 34 + 2] = { 0x1a, 41, 0x12, 3, 'a', 'b', 'c', 0x0a, HASH_SIZE, 7 };
	struct wire_reply got;
	struct arena a;

	(void)state;
	msg[41] = 0x20; /* field 4 */
	msg[42] = 1;
	wire_arena_init(&a, sizeof(msg));
	CHECK_STATUS(0, wire_reply_decode(msg, sizeof(msg), &a, &got));
	assert_int_equal(got.kind, WIRE_REPLY_BLOB);
	assert_int_equal(got.hash.bytes[0], 7);
	assert_int_equal(got.bytes.len, 3);
	assert_memory_equal(got.bytes.data, "abc", 3);
	arena_fini(&a);
}

static void announcements_and_peers_come_back(void **state)
{
	struct wire_commit commits[2] = { { { { 1 } }, 5, "/a", 2 }, { { { 2 } }, 6, "", 0 } };
	struct wire_peer peer = { .key = { { 9 } }, .addr_count = 1 };
	struct wire_reply r = { .kind = WIRE_REPLY_ANNOUNCE,
				.commits = commits,
				.commit_count = 2 },
			  got;
	struct arena a;
	struct buf out = encode_reply(&r);

	(void)state;
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_int_equal(got.commit_count, 2);
	assert_int_equal(got.commits[0].path_len, 2);
	assert_memory_equal(got.commits[0].path, "/a", 2);
	assert_int_equal(got.commits[1].time_s, 6);
	arena_fini(&a);
	buf_fini(&out);
	CHECK_STATUS(0, multiaddr_parse("/ip4/10.1.2.3/tcp/99", 20, &peer.addrs[0]));
	r = (struct wire_reply){ .kind = WIRE_REPLY_PEERS, .peers = &peer, .peer_count = 1 };
	out = encode_reply(&r);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_int_equal(got.peer_count, 1);
	assert_true(multiaddr_eq(&got.peers[0].addrs[0], &peer.addrs[0]));
	arena_fini(&a);
	buf_fini(&out);
}

static void a_port_to_dial_back_is_a_port(void **state)
{
	static const uint32_t bad[] = { 0, 65536, UINT32_MAX };
	Sync__Wire__Request request = SYNC__WIRE__REQUEST__INIT;
	Sync__Wire__DialBack dial = SYNC__WIRE__DIAL_BACK__INIT;
	struct wire_reply r = { .kind = WIRE_REPLY_DIALED_BACK, .reached = true }, got;
	struct arena a;
	struct buf out;

	(void)state;
	request.kind_case = SYNC__WIRE__REQUEST__KIND_DIAL_BACK;
	request.dial_back = &dial;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		dial.port = bad[i];
		out = pack(&request);
		CHECK_STATUS(ERR_MALFORMED, request_status(&out));
		buf_fini(&out);
	}
	CHECK_STATUS(0, multiaddr_parse("/ip4/10.1.2.3/tcp/99", 20, &r.dialed));
	out = encode_reply(&r);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_reply_decode(out.data, out.len, &a, &got));
	assert_true(got.reached && multiaddr_eq(&got.dialed, &r.dialed));
	arena_fini(&a);
	buf_fini(&out);
}

static void a_scope_with_a_bad_path_is_malformed(void **state)
{
	Sync__Wire__Request request = SYNC__WIRE__REQUEST__INIT;
	Sync__Wire__FetchOpen fetch = SYNC__WIRE__FETCH_OPEN__INIT;
	Sync__Wire__Scope scope = SYNC__WIRE__SCOPE__INIT;
	uint8_t key[KEY_SIZE] = { 1 };
	static const struct wire_bytes bad[] = {
		{ (const uint8_t *)"a", 1 },	  { (const uint8_t *)"/a/", 3 },
		{ (const uint8_t *)"/../b", 5 },  { (const uint8_t *)"/a//b", 5 },
		{ (const uint8_t *)"/a\xff", 3 }, { (const uint8_t *)"/a\0b", 4 }
	};
	struct buf out;

	(void)state;
	request.kind_case = SYNC__WIRE__REQUEST__KIND_FETCH;
	request.fetch = &fetch;
	out = pack(&request);
	CHECK_STATUS(ERR_MALFORMED, request_status(&out)); /* no scope at all */
	buf_fini(&out);
	fetch.scope = &scope;
	scope.space = (ProtobufCBinaryData){ KEY_SIZE, key };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		scope.path = wire_bytes_out(bad[i].data, bad[i].len);
		out = pack(&request);
		CHECK_STATUS(ERR_MALFORMED, request_status(&out));
		buf_fini(&out);
	}
	scope.path = wire_bytes_out("/a", 2);
	scope.kind = 77;
	out = pack(&request);
	assert_true(request_status(&out) < 0);
	buf_fini(&out);
}

static void a_bad_traceparent_is_no_trace(void **state)
{
	Sync__Wire__Request request = SYNC__WIRE__REQUEST__INIT;
	Sync__Wire__Ping ping = SYNC__WIRE__PING__INIT;
	struct wire_request got;
	struct arena a;
	struct buf out;

	(void)state;
	request.kind_case = SYNC__WIRE__REQUEST__KIND_PING;
	request.ping = &ping;
	request.traceparent = wire_bytes_out("00-nonsense", 11);
	out = pack(&request);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_request_decode(out.data, out.len, &a, &got));
	assert_false(got.traced);
	arena_fini(&a);
	buf_fini(&out);
	request.traceparent =
		wire_bytes_out("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\0x", 57);
	out = pack(&request);
	wire_arena_init(&a, out.len);
	CHECK_STATUS(0, wire_request_decode(out.data, out.len, &a, &got));
	assert_false(got.traced);
	arena_fini(&a);
	buf_fini(&out);
}

static void cut_or_flipped_messages_never_break_the_decoder(void **state)
{
	struct wire_request r = { .kind = WIRE_RECONCILE, .traced = true };
	struct buf out;

	(void)state;
	r.scope = scope_at("/a/b/c");
	r.bytes = (struct wire_bytes){ (const uint8_t *)"0123456789", 10 };
	out = encode_request(&r);
	for (size_t len = 0; len < out.len; len++) {
		uint8_t *copy = mem_dup(out.data, len); /* so that reading beyond is seen */
		struct buf cut = { .data = copy, .len = len };

		(void)request_status(&cut);
		(void)more_status(&cut);
		(void)reply_status(&cut);
		mem_free(copy);
	}
	for (size_t bit = 0; bit < out.len * 8; bit++) {
		out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		(void)request_status(&out);
		(void)reply_status(&out);
		out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_fini(&out);
}

static void running_out_of_memory_is_not_blamed_on_the_peer(void **state)
{
	struct wire_commit commits[2] = { { { { 1 } }, 5, "/a", 2 }, { { { 2 } }, 6, "/b", 2 } };
	struct wire_reply r = { .kind = WIRE_REPLY_ANNOUNCE,
				.commits = commits,
				.commit_count = 2 };
	struct buf out = encode_reply(&r);

	(void)state;
	FAULT_SWEEP({
		int rc = reply_status(&out);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_comes_back_as_it_was),
		cmocka_unit_test(every_kind_of_request_decodes),
		cmocka_unit_test(an_unknown_kind_of_request_is_unsupported),
		cmocka_unit_test(hashes_come_back_in_order),
		cmocka_unit_test(counts_and_lengths_of_a_fetch_are_checked),
		cmocka_unit_test(scopes_to_follow_and_to_drop_come_back),
		cmocka_unit_test(counts_and_keys_of_a_follow_are_checked),
		cmocka_unit_test(what_was_refused_and_what_was_announced_have_keys),
		cmocka_unit_test(a_message_cannot_blow_up_in_memory),
		cmocka_unit_test(refusals_map_to_codes_both_ways),
		cmocka_unit_test(a_strange_refusal_is_still_a_refusal),
		cmocka_unit_test(blobs_are_bounded_and_never_both),
		cmocka_unit_test(the_bytes_of_a_blob_stay_in_the_message),
		cmocka_unit_test(a_blob_spelt_in_another_way_is_the_same),
		cmocka_unit_test(announcements_and_peers_come_back),
		cmocka_unit_test(a_port_to_dial_back_is_a_port),
		cmocka_unit_test(a_scope_with_a_bad_path_is_malformed),
		cmocka_unit_test(a_bad_traceparent_is_no_trace),
		cmocka_unit_test(cut_or_flipped_messages_never_break_the_decoder),
		cmocka_unit_test(running_out_of_memory_is_not_blamed_on_the_peer),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
