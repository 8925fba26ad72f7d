#include "sync/claims.h"
#include "tests/unit/test_util.h"

struct waiter {
	struct claim_waiter waiter;
	unsigned told;
	bool stored;
	struct claims *take_again;
	struct hash hash;
};

static void on_release(struct claim_waiter *w, bool stored)
{
	struct waiter *t = container_of(w, struct waiter, waiter);

	t->told++;
	t->stored = stored;
	if (t->take_again != NULL)
		CHECK_STATUS(0, claims_take(t->take_again, &t->hash, w));
}

static struct hash hash_number(uint64_t n)
{
	return hash_of(&n, sizeof(n));
}

static void a_hash_is_claimed_once(void **state)
{
	struct hash h = hash_number(1), other = hash_number(2);
	struct claims c;

	(void)state;
	claims_init(&c);
	CHECK_STATUS(0, claims_take(&c, &h, NULL));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, NULL));
	CHECK_STATUS(0, claims_take(&c, &other, NULL));
	assert_int_equal(claims_count(&c), 2);
	claims_release(&c, &h, true);
	CHECK_STATUS(0, claims_take(&c, &h, NULL));
	claims_release(&c, &h, false);
	claims_release(&c, &other, false);
	claims_fini(&c);
}

static void waiters_hear_how_it_ended(void **state)
{
	struct hash h = hash_number(1);
	struct waiter a = { 0 }, b = { 0 };
	struct claims c;

	(void)state;
	claims_init(&c);
	claim_waiter_init(&a.waiter, on_release);
	claim_waiter_init(&b.waiter, on_release);
	CHECK_STATUS(0, claims_take(&c, &h, &a.waiter));
	assert_false(claim_waiter_waits(&a.waiter));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, &a.waiter));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, &b.waiter));
	assert_true(claim_waiter_waits(&b.waiter));
	claims_release(&c, &h, true);
	assert_true(a.told == 1 && a.stored && b.told == 1 && b.stored);
	assert_false(claim_waiter_waits(&a.waiter));
	assert_int_equal(c.waited, 2);
	claims_fini(&c);
}

static void a_cancelled_waiter_hears_nothing(void **state)
{
	struct hash h = hash_number(1);
	struct waiter a = { 0 };
	struct claims c;

	(void)state;
	claims_init(&c);
	claim_waiter_init(&a.waiter, on_release);
	CHECK_STATUS(0, claims_take(&c, &h, NULL));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, &a.waiter));
	claim_waiter_cancel(&a.waiter);
	claim_waiter_cancel(&a.waiter);
	claims_release(&c, &h, false);
	assert_int_equal(a.told, 0);
	claims_fini(&c);
}

static void a_waiter_may_claim_at_once(void **state)
{
	struct hash h = hash_number(1);
	struct waiter a = { .hash = h };
	struct claims c;

	(void)state;
	claims_init(&c);
	a.take_again = &c;
	claim_waiter_init(&a.waiter, on_release);
	CHECK_STATUS(0, claims_take(&c, &h, NULL));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, &a.waiter));
	claims_release(&c, &h, false);
	assert_int_equal(claims_count(&c), 1);
	claims_release(&c, &h, false);
	claims_fini(&c);
}

/* Two hold it: the first to store it frees those who wait, the first to give up does not. */
static void a_claim_may_be_joined(void **state)
{
	struct hash h = hash_number(1);
	struct waiter a = { 0 };
	struct claims c;

	(void)state;
	claims_init(&c);
	claim_waiter_init(&a.waiter, on_release);
	CHECK_STATUS(0, claims_join(&c, &h));
	CHECK_STATUS(0, claims_join(&c, &h));
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, &a.waiter));
	claims_release(&c, &h, false);
	assert_int_equal(a.told, 0);
	CHECK_STATUS(0, claims_join(&c, &h));
	claims_release(&c, &h, true);
	assert_true(a.told == 1 && a.stored);
	CHECK_STATUS(ERR_BUSY, claims_take(&c, &h, NULL));
	claims_release(&c, &h, false);
	assert_int_equal(claims_count(&c), 0);
	assert_int_equal(c.joined, 2);
	claims_fini(&c);
}

static void claims_survive_oom(void **state)
{
	struct hash h = hash_number(1);

	(void)state;
	FAULT_SWEEP({
		struct claims c;
		int rc;

		claims_init(&c);
		rc = claims_take(&c, &h, NULL);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		assert_int_equal(claims_count(&c), rc == 0 ? 1 : 0);
		if (rc == 0)
			claims_release(&c, &h, false);
		claims_fini(&c);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hash_is_claimed_once),
		cmocka_unit_test(waiters_hear_how_it_ended),
		cmocka_unit_test(a_cancelled_waiter_hears_nothing),
		cmocka_unit_test(a_waiter_may_claim_at_once),
		cmocka_unit_test(a_claim_may_be_joined),
		cmocka_unit_test(claims_survive_oom),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
