/* Files of secret keys: written, read, and recognized wherever they are. */
#include <string.h>

#include "test_util.h"

#include "object/object.h"

static void make(char text[KEYFILE_TEXT_SIZE + 1])
{
	uint8_t seed[KEYFILE_SEED_SIZE];

	memset(seed, 0xa5, sizeof(seed));
	keyfile_write(seed, text);
}

static void what_is_written_can_be_read(void **state)
{
	char text[KEYFILE_TEXT_SIZE + 1];
	uint8_t seed[KEYFILE_SEED_SIZE];

	make(text);
	assert_int_equal(strlen(text), KEYFILE_TEXT_SIZE);
	CHECK_STATUS(0, keyfile_parse(text, KEYFILE_TEXT_SIZE, seed));
	assert_int_equal(seed[0], 0xa5);
	assert_int_equal(seed[31], 0xa5);
	CHECK_STATUS(0, keyfile_parse(text, KEYFILE_TEXT_SIZE - 1, seed));
	CHECK_STATUS(ERR_MALFORMED, keyfile_parse(text, KEYFILE_TEXT_SIZE - 2, seed));
	text[30] = 'g';
	CHECK_STATUS(ERR_MALFORMED, keyfile_parse(text, KEYFILE_TEXT_SIZE, seed));
	CHECK_STATUS(ERR_MALFORMED, keyfile_parse("", 0, seed));
}

static void a_key_is_found_at_any_place_of_a_small_file(void **state)
{
	char text[KEYFILE_TEXT_SIZE + 1], file[KEYFILE_SEARCH_MAX + 1];
	const size_t last = KEYFILE_SEARCH_MAX - (KEYFILE_TEXT_SIZE - 1);
	const size_t places[] = { 0, 1, 23, 1000, last };

	make(text);
	assert_true(keyfile_inside(text, KEYFILE_TEXT_SIZE));
	assert_true(keyfile_inside(text, KEYFILE_TEXT_SIZE - 1));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		memset(file, 'p', sizeof(file));
		memcpy(file + places[i], text, KEYFILE_TEXT_SIZE - 1);
		assert_true(keyfile_inside(file, KEYFILE_SEARCH_MAX));
		assert_false(keyfile_inside(file, KEYFILE_SEARCH_MAX + 1));
	}
}

static void what_only_looks_like_a_key_is_none(void **state)
{
	char text[2 * KEYFILE_TEXT_SIZE + 2];

	make(text);
	assert_false(keyfile_inside(text, KEYFILE_TEXT_SIZE - 2));
	assert_false(keyfile_inside(text + 1, KEYFILE_TEXT_SIZE - 1));
	assert_false(keyfile_inside("peerscope-ed25519-seed:", 23));
	assert_false(keyfile_inside("", 0));
	text[40] = 'x';
	assert_false(keyfile_inside(text, KEYFILE_TEXT_SIZE));
	/* a real one behind it is found nevertheless */
	make(text + KEYFILE_TEXT_SIZE);
	assert_true(keyfile_inside(text, 2 * KEYFILE_TEXT_SIZE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(a_key_is_found_at_any_place_of_a_small_file),
		cmocka_unit_test(what_only_looks_like_a_key_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
