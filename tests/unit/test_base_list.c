#include "tests/unit/test_util.h"

#include "base/list.h"

struct item {
	int value;
	struct list node;
};

static struct item items[6];
static struct list head, other;

static int setup(void **state)
{
	list_init(&head);
	list_init(&other);
	for (int i = 0; i < 6; i++) {
		items[i].value = i;
		list_init(&items[i].node);
	}
	return 0;
}

/* Both directions, as decimal digits. */
static void check_list(const struct list *list, const char *expected)
{
	size_t len = strlen(expected), i = 0;

	list_for_each(node, (struct list *)list) {
		assert_true(i < len);
		assert_int_equal(list_entry(node, struct item, node)->value, expected[i++] - '0');
	}
	assert_int_equal(i, len);
	for (struct list *node = list->prev; node != list; node = node->prev)
		assert_int_equal(list_entry(node, struct item, node)->value, expected[--i] - '0');
	assert_int_equal(list_empty(list), len == 0);
}

static void pushes_go_to_both_ends(void **state)
{
	check_list(&head, "");
	list_push_back(&head, &items[1].node);
	list_push_back(&head, &items[2].node);
	list_push_front(&head, &items[0].node);
	check_list(&head, "012");
}

static void removing_twice_is_harmless(void **state)
{
	list_push_back(&head, &items[1].node);
	list_push_back(&head, &items[2].node);
	assert_true(list_linked(&items[1].node));
	list_remove(&items[1].node);
	list_remove(&items[1].node);
	assert_false(list_linked(&items[1].node));
	check_list(&head, "2");
}

static void popping_takes_from_the_front_until_empty(void **state)
{
	list_push_back(&head, &items[1].node);
	list_push_back(&head, &items[2].node);
	assert_ptr_equal(list_pop_front(&head), &items[1].node);
	assert_false(list_linked(&items[1].node));
	assert_ptr_equal(list_pop_front(&head), &items[2].node);
	assert_null(list_pop_front(&head));
}

static void splicing_moves_all_to_the_end(void **state)
{
	list_push_back(&head, &items[0].node);
	list_splice_back(&head, &other);
	check_list(&head, "0");
	list_push_back(&other, &items[1].node);
	list_push_back(&other, &items[2].node);
	list_splice_back(&head, &other);
	check_list(&head, "012");
	check_list(&other, "");
	list_splice_back(&other, &head);
	check_list(&other, "012");
}

static void the_current_node_may_be_removed_while_walking(void **state)
{
	for (int i = 0; i < 6; i++)
		list_push_back(&head, &items[i].node);
	list_for_each_safe(node, &head)
		if (list_entry(node, struct item, node)->value % 2 == 0)
			list_remove(node);
	check_list(&head, "135");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pushes_go_to_both_ends, setup),
		cmocka_unit_test_setup(removing_twice_is_harmless, setup),
		cmocka_unit_test_setup(popping_takes_from_the_front_until_empty, setup),
		cmocka_unit_test_setup(splicing_moves_all_to_the_end, setup),
		cmocka_unit_test_setup(the_current_node_may_be_removed_while_walking, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
