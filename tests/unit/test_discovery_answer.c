/* What sessions say about a question, and what follows from all of them. */
#include "discovery/answer.h"

#include "tests/unit/test_util.h"

static void each_end_of_a_session_counts_once_and_as_what_it_was(void **state)
{
	static const struct {
		int status;
		bool proven;
		enum sync_cut cut;
		uint64_t behind;
		enum answer_peer answer;
	} ends[] = {
		{ 0, true, SYNC_CUT_NONE, 0, ANSWER_HEARD },
		{ ERR_MISSING, true, SYNC_CUT_NONE, 0, ANSWER_PART },
		{ ERR_MISSING, true, SYNC_CUT_NONE, 2, ANSWER_BAD },
		{ UV_ECONNREFUSED, false, SYNC_CUT_NONE, 0, ANSWER_UNREACHABLE },
		{ UV_ETIMEDOUT, false, SYNC_CUT_NONE, 0, ANSWER_UNREACHABLE },
		{ UV_ECANCELED, false, SYNC_CUT_DEADLINE, 0, ANSWER_UNREACHABLE },
		{ UV_ECANCELED, false, SYNC_CUT_RESOLVED, 0, ANSWER_UNHEARD },
		{ ERR_PEER_MISMATCH, false, SYNC_CUT_NONE, 0, ANSWER_UNREACHABLE },
		{ ERR_BUSY, true, SYNC_CUT_NONE, 0, ANSWER_BUSY },
		{ ERR_VERIFY, true, SYNC_CUT_NONE, 0, ANSWER_BAD },
		{ ERR_PROTOCOL, true, SYNC_CUT_NONE, 5, ANSWER_BAD },
		{ UV_ECONNRESET, true, SYNC_CUT_NONE, 5, ANSWER_UNHEARD },
		{ UV_ETIMEDOUT, true, SYNC_CUT_SLOW, 5, ANSWER_UNHEARD },
		{ ERR_REFUSED, true, SYNC_CUT_NONE, 0, ANSWER_UNHEARD },
		{ ERR_DISK_FULL, true, SYNC_CUT_NONE, 0, ANSWER_OURS },
		{ UV_ENOMEM, false, SYNC_CUT_NONE, 0, ANSWER_OURS },
		{ ERR_SELF, false, SYNC_CUT_NONE, 0, ANSWER_NOBODY },
		{ UV_EALREADY, true, SYNC_CUT_NONE, 0, ANSWER_NOBODY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct sync_peer_outcome o = { .status = ends[i].status,
					       .proven = ends[i].proven,
					       .cut = ends[i].cut,
					       .commits_behind = ends[i].behind };
		struct discovery_peers p = { 0 };

		assert_int_equal(answer_of_session(&o), ends[i].answer);
		answer_count(&p, &o);
		assert_int_equal(p.asked, ends[i].answer != ANSWER_NOBODY);
		assert_int_equal(p.asked, p.answered + p.unreachable + p.busy + p.bad + p.unheard);
	}
}

static const struct discovery_peers heard = { .asked = 2, .answered = 1, .unreachable = 1 },
				    gone = { .asked = 1, .unreachable = 1 },
				    lost = { .asked = 1, .unheard = 1, .commits_behind = 3 };

static void every_row_of_the_table_has_its_answer_and_its_status(void **state)
{
	const struct {
		struct answer_facts facts;
		enum discovery_answer answer;
		int status;
	} rows[] = {
		{ { .resolved = true, .known = true, .peers = heard }, DISCOVERY_CONFIRMED, 0 },
		{ { .resolved = true, .known = true, .pinned = true, .peers = gone },
		  DISCOVERY_EXACT,
		  0 },
		{ { .resolved = true, .known = true, .peers = gone }, DISCOVERY_UNCONFIRMED, 0 },
		{ { .resolved = true, .known = true }, DISCOVERY_UNCONFIRMED, 0 },
		{ { .resolved = true, .known = true, .own_space = true, .peers = gone },
		  DISCOVERY_OWN,
		  0 },
		{ { .resolved = true, .known = true, .own_error = ERR_DISK_FULL, .peers = heard },
		  DISCOVERY_BEHIND,
		  ERR_DISK_FULL },
		{ { .resolved = true, .known = true, .peer_error = UV_ECONNRESET, .peers = lost },
		  DISCOVERY_BEHIND,
		  UV_ECONNRESET },
		{ { .known = true, .peer_error = ERR_VERIFY, .peers = heard },
		  DISCOVERY_BEHIND,
		  ERR_VERIFY },
		{ { .known = true, .peers = heard }, DISCOVERY_BEHIND, ERR_MISSING },
		{ { .peers = heard }, DISCOVERY_ABSENT, ERR_NOT_FOUND },
		{ { .peers = gone, .peer_error = UV_ECONNREFUSED },
		  DISCOVERY_UNANSWERED,
		  ERR_NOT_FOUND },
		{ { .own_error = ERR_STORE, .peers = heard }, DISCOVERY_FAULT, ERR_STORE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct answer_verdict v = answer_judge(&rows[i].facts);

		assert_string_equal(discovery_answer_name(v.answer),
				    discovery_answer_name(rows[i].answer));
		CHECK_STATUS(rows[i].status, v.status);
	}
}

static void an_answer_is_sure_only_when_whoever_is_there_was_heard(void **state)
{
	const struct discovery_peers busy = { .asked = 2, .answered = 1, .busy = 1 },
				     cut = { .asked = 2, .answered = 1, .unheard = 1 },
				     liar = { .asked = 2, .answered = 1, .bad = 1 };

	assert_true(discovery_is_sure(DISCOVERY_CONFIRMED, &heard));
	assert_true(discovery_is_sure(DISCOVERY_CONFIRMED, &liar));
	assert_true(discovery_is_sure(DISCOVERY_EXACT, &gone));
	assert_false(discovery_is_sure(DISCOVERY_CONFIRMED, &busy));
	assert_false(discovery_is_sure(DISCOVERY_CONFIRMED, &cut));
	assert_false(discovery_is_sure(DISCOVERY_UNCONFIRMED, &gone));
	assert_false(discovery_is_sure(DISCOVERY_OWN, &gone));
}

static void the_counts_read_as_a_sentence(void **state)
{
	const struct {
		struct discovery_peers peers;
		const char *text;
	} rows[] = {
		{ { 0 }, "no peer is known that could be asked" },
		{ { .asked = 1, .answered = 1 }, "asked 1 peer: 1 answered" },
		{ { .asked = 5, .answered = 1, .unreachable = 2, .busy = 1, .bad = 1 },
		  "asked 5 peers: 1 answered, 2 could not be reached, 1 was busy, 1 sent wrong "
		  "data or lacked what it listed" },
		{ { .asked = 2, .unheard = 2 }, "asked 2 peers: 2 were not heard to the end" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf text;

		buf_init(&text, 512);
		discovery_peers_write(&text, &rows[i].peers);
		assert_int_equal(text.len, strlen(rows[i].text));
		assert_memory_equal(text.data, rows[i].text, text.len);
		buf_fini(&text);
	}
}

static void every_answer_is_one_sentence_that_names_the_cause(void **state)
{
	static const struct {
		struct discovery_report report;
		const char *text;
	} rows[] = {
		{ { DISCOVERY_CONFIRMED, 0, 0, { .asked = 1, .answered = 1 } },
		  "up to date: asked 1 peer: 1 answered" },
		{ { DISCOVERY_CONFIRMED, 0, ERR_BUSY, { .asked = 2, .answered = 1, .busy = 1 } },
		  "up to date: asked 2 peers: 1 answered, 1 was busy (busy, try again later); "
		  "somebody may have something newer" },
		{ { DISCOVERY_UNCONFIRMED, 0, 0, { 0 } },
		  "no peer confirmed that this is the newest version: no peer is known that could "
		  "be asked" },
		{ { DISCOVERY_BEHIND, ERR_DISK_FULL, 0, { .asked = 1, .unheard = 1 } },
		  "a version was found that this daemon could not take in: the disk is full" },
		{ { DISCOVERY_BEHIND, ERR_CLOSED, ERR_CLOSED, { .asked = 1, .unheard = 1 } },
		  "a version is known that could not be had whole from anybody: the other side "
		  "closed the connection; asked 1 peer: 1 was not heard to the end" },
		{ { DISCOVERY_ABSENT, ERR_NOT_FOUND, 0, { .asked = 1, .answered = 1 } },
		  "nobody who answered has it: asked 1 peer: 1 answered" },
		{ { DISCOVERY_FAULT, ERR_STORE, 0, { 0 } },
		  "this daemon failed: the store failed" },
		{ { DISCOVERY_ANSWER_NONE, UV_ECANCELED, 0, { 0 } }, "operation canceled" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf text;

		buf_init(&text, 512);
		discovery_explain(&text, &rows[i].report);
		buf_write_u8(&text, 0);
		assert_string_equal((const char *)text.data, rows[i].text);
		buf_fini(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_of_a_session_counts_once_and_as_what_it_was),
		cmocka_unit_test(every_row_of_the_table_has_its_answer_and_its_status),
		cmocka_unit_test(an_answer_is_sure_only_when_whoever_is_there_was_heard),
		cmocka_unit_test(the_counts_read_as_a_sentence),
		cmocka_unit_test(every_answer_is_one_sentence_that_names_the_cause),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
