#include "profiler_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "profiler/stacks.h"
#include "profiler/symbols.h"
#include "profiler/symbols_helper.h"
#include "profiler/symbols_wire.h"

/* The helper is this very program, with one of these arguments. */
#define ANSWERS	  "(answers)"
#define DIES	  "(dies)"
#define BABBLES	  "(babbles)"
#define DIES_LATE "(dies late)"

/* Of which other files have one, too: symbols_answer.c. */
WHOLE static void write_all(void)
{
	__asm__ volatile("nop" : : : "memory");
}

WHOLE static void alone(void)
{
	__asm__ volatile("nop" : : : "memory");
}

static uintptr_t in(void (*fn)(void))
{
	return (uintptr_t)fn + 1;
}

struct told {
	char name[64], system_name[64], file[256], trouble[256];
};

/* What is said of an address by that kind of helper; NULL = by none. */
static struct told look_up(const char *verb, uintptr_t pc)
{
	struct modules modules = { 0 };
	struct told told = { 0 };
	const struct symbol *s;

	CHECK_STATUS(0, modules_add(&modules));
	symbols_forget();
	symbols_set_helper(verb);
	symbols_begin(&modules);
	s = symbols_get(pc);
	(void)snprintf(told.name, sizeof(told.name), "%s", s->lines[0].name);
	(void)snprintf(told.system_name, sizeof(told.system_name), "%s", s->lines[0].system_name);
	(void)snprintf(told.file, sizeof(told.file), "%s", s->lines[0].file);
	symbols_trouble(told.trouble, sizeof(told.trouble));
	symbols_end();
	symbols_set_helper(NULL);
	symbols_forget();
	modules_fini(&modules);
	return told;
}

static void another_process_finds_the_same_names(void **state)
{
	void (*const functions[])(void) = { write_all, alone, (void (*)(void))strtoul,
					    (void (*)(void))look_up };

	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		struct told here = look_up(NULL, in(functions[i]));
		struct told there = look_up(ANSWERS, in(functions[i]));

		assert_string_equal(there.name, here.name);
		assert_string_equal(there.system_name, here.system_name);
		assert_string_equal(there.file, here.file);
		assert_string_equal(there.trouble, "");
	}
}

static void functions_of_one_name_are_told_apart(void **state)
{
	struct told several = look_up(NULL, in(write_all)), one = look_up(NULL, in(alone));

	assert_string_equal(several.name, "unit/test_profiler_symbols.write_all");
	assert_string_equal(several.system_name, "write_all");
	assert_string_equal(one.name, "alone");
}

static void a_helper_that_dies_costs_its_names_and_nothing_else(void **state)
{
	struct told dies = look_up(DIES, in(alone)), babbles = look_up(BABBLES, in(alone));

	assert_non_null(strstr(dies.name, "!0x"));
	assert_non_null(strstr(dies.trouble, "was ended by signal 6"));
	assert_non_null(strstr(babbles.name, "!0x"));
	assert_non_null(strstr(babbles.trouble, "names are missing: 1 "));
	assert_string_equal(look_up(ANSWERS, in(alone)).name, "alone");
}

struct answers {
	uintptr_t pcs[8];
	unsigned n;
};

static void on_found(void *data, uintptr_t pc, const struct symbol_found *found, bool whole)
{
	struct answers *a = data;

	assert_true(a->n < ARRAY_SIZE(a->pcs));
	a->pcs[a->n++] = pc;
}

/* It dies at every second address, and the others are asked of the next one. */
static void what_a_dying_helper_owes_is_asked_of_another(void **state)
{
	const uintptr_t pcs[] = { in(alone), 2, in(write_all), 4, in(alone) };
	struct modules modules = { 0 };
	struct answers answers = { 0 };
	struct helper helper = HELPER_INIT;
	struct arena text;

	CHECK_STATUS(0, modules_add(&modules));
	arena_init(&text, 1 << 20);
	helper_begin(&helper, &modules, DIES_LATE);
	helper_ask(&helper, pcs, ARRAY_SIZE(pcs), &text, on_found, &answers);
	assert_int_equal(answers.n, 3);
	assert_int_equal(answers.pcs[1], pcs[2]);
	assert_int_equal(answers.pcs[2], pcs[4]);
	assert_int_equal(helper.started, SYMBOLS_HELPERS_MAX);
	helper_end(&helper);
	helper_stop(&helper, 0);
	arena_fini(&text);
	modules_fini(&modules);
}

static void thousands_of_addresses_are_asked_at_once(void **state)
{
	struct modules modules = { 0 };
	struct helper_stats before, after;
	struct stacks stacks;

	CHECK_STATUS(0, modules_add(&modules));
	stacks_init(&stacks);
	for (uintptr_t i = 0; i < 6000; i++)
		stacks_add(&stacks, &(uintptr_t){ (uintptr_t)look_up + i % 3000 }, 1, NULL, NULL,
			   "", 1);
	helper_stats(&before);
	symbols_set_helper(ANSWERS);
	symbols_begin(&modules);
	symbols_prefetch(&stacks);
	assert_string_equal(symbols_get(in((void (*)(void))look_up))->lines[0].name, "look_up");
	symbols_end();
	symbols_set_helper(NULL);
	symbols_forget();
	helper_stats(&after);
	assert_int_equal(after.started - before.started, 1);
	assert_int_equal(after.unanswered, before.unanswered);
	stacks_fini(&stacks);
	modules_fini(&modules);
}

static uint64_t helpers(void)
{
	struct helper_stats stats;

	helper_stats(&stats);
	return stats.started;
}

static const char *name_in_session(struct modules *m, uintptr_t pc, char ret[64])
{
	symbols_forget();
	symbols_begin(m);
	(void)snprintf(ret, 64, "%s", symbols_get(pc)->lines[0].name);
	symbols_end();
	return ret;
}

static void one_helper_serves_profiles_that_follow_each_other(void **state)
{
	struct modules modules = { 0 };
	uint64_t before = helpers();
	char name[64];

	CHECK_STATUS(0, modules_add(&modules));
	symbols_set_helper(ANSWERS);
	symbols_warm();
	assert_int_equal(helpers(), before + 1);
	assert_string_equal(name_in_session(&modules, in(alone), name), "alone");
	symbols_tidy(); /* it is not idle for long */
	assert_string_equal(name_in_session(&modules, in((void (*)(void))look_up), name),
			    "look_up");
	assert_int_equal(helpers(), before + 1);
	modules.list[1].bias += 4096; /* something was loaded or moved */
	assert_string_equal(name_in_session(&modules, in(alone), name), "alone");
	assert_int_equal(helpers(), before + 2);
	symbols_set_helper(NULL);
	symbols_forget();
	modules_fini(&modules);
}

/* Nobody knows when. */
static void a_kept_helper_that_has_died_is_replaced(void **state)
{
	struct modules modules = { 0 };
	char name[64];

	CHECK_STATUS(0, modules_add(&modules));
	symbols_set_helper(DIES);
	symbols_warm();
	symbols_begin(&modules);
	(void)symbols_get(in(alone));
	symbols_end();
	symbols_set_helper(ANSWERS);
	assert_string_equal(name_in_session(&modules, in(alone), name), "alone");
	symbols_set_helper(NULL);
	symbols_forget();
	modules_fini(&modules);
}

static void answers_are_read_as_they_were_written_or_not_at_all(void **state)
{
	struct symbol_found found = { .n = 1, .start = 7, .from_dwarf = true }, read;
	struct arena text;
	struct buf out;
	bool whole;

	found.lines[0] = (struct symbol_line){ "name", "system", "/file.c", 5, 4 };
	arena_init(&text, 1 << 20);
	buf_init(&out, SYMBOLS_ANSWER_MAX);
	wire_write_answer(&out, &found, true);
	for (size_t len = 0; len < out.len; len++) {
		struct buf_reader r = buf_reader(out.data, len);

		assert_int_equal(wire_read_answer(&r, &text, &read, &whole), ERR_TRUNCATED);
	}
	for (size_t i = 4; i < out.len; i++) { /* whatever it says then, it is read within bounds */
		struct buf_reader r = buf_reader(out.data, out.len);

		out.data[i] ^= 0xff;
		(void)wire_read_answer(&r, &text, &read, &whole);
		out.data[i] ^= 0xff;
	}
	CHECK_STATUS(0, wire_read_answer(&(struct buf_reader){ out.data, out.data + out.len },
					 &text, &read, &whole));
	assert_string_equal(read.lines[0].file, "/file.c");
	assert_int_equal(read.lines[0].start_line, 4);
	assert_true(whole && read.from_dwarf && read.start == 7);
	buf_fini(&out);
	arena_fini(&text);
}

/* ---- The helpers ---- */

static int die_late(void)
{
	struct wire_head head;
	struct module module;
	uintptr_t pc;

	(void)recv(STDIN_FILENO, &head, sizeof(head), MSG_WAITALL);
	for (unsigned i = 0; i < head.modules; i++)
		(void)recv(STDIN_FILENO, &module, sizeof(module), MSG_WAITALL);
	while (recv(STDIN_FILENO, &pc, sizeof(pc), MSG_WAITALL) == sizeof(pc)) {
		struct symbol_found found = { .n = 0 };
		struct buf out;

		if (pc < 4096)
			abort();
		buf_init(&out, SYMBOLS_ANSWER_MAX);
		wire_write_answer(&out, &found, true);
		(void)send(STDIN_FILENO, out.data, out.len, 0);
		buf_fini(&out);
	}
	return EXIT_SUCCESS;
}

static int help(const char *verb)
{
	if (strcmp(verb, ANSWERS) == 0)
		return profiler_symbols_main();
	if (strcmp(verb, DIES_LATE) == 0)
		return die_late();
	if (strcmp(verb, BABBLES) == 0)
		(void)send(STDIN_FILENO, "what was the question, please?", 30, 0);
	if (strcmp(verb, DIES) == 0)
		abort();
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_process_finds_the_same_names),
		cmocka_unit_test(functions_of_one_name_are_told_apart),
		cmocka_unit_test(a_helper_that_dies_costs_its_names_and_nothing_else),
		cmocka_unit_test(what_a_dying_helper_owes_is_asked_of_another),
		cmocka_unit_test(thousands_of_addresses_are_asked_at_once),
		cmocka_unit_test(one_helper_serves_profiles_that_follow_each_other),
		cmocka_unit_test(a_kept_helper_that_has_died_is_replaced),
		cmocka_unit_test(answers_are_read_as_they_were_written_or_not_at_all),
	};

	(void)fixture_setup;
	if (argc == 2 && argv[1][0] == '(')
		return help(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
