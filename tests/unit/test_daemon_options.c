/* Which value wins, what is refused, and what the refusal says. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test_util.h"

#include "base/base.h"
#include "daemon/options.h"

enum { ENV_MAX = 8, WHY = 512 };

static const char *env[ENV_MAX][2];
static char dir[] = "/tmp/peerscope-options-XXXXXX";

static const char *fake_env(const char *name)
{
	for (size_t i = 0; i < ENV_MAX; i++)
		if (env[i][0] != NULL && strcmp(env[i][0], name) == 0)
			return env[i][1];
	return NULL;
}

static void set_env(const char *name, const char *value)
{
	for (size_t i = 0; i < ENV_MAX; i++) {
		if (env[i][0] == NULL || strcmp(env[i][0], name) == 0) {
			env[i][0] = name;
			env[i][1] = value;
			return;
		}
	}
	fail();
}

static char *write_file(const char *text)
{
	static char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/x.conf", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return path;
}

static int parse_flags(struct options *o, char *why, const char *a, const char *b)
{
	char program[] = "peerscope", first[64], second[64];
	char *argv[] = { program, first, second, NULL };
	int at = 0;

	snprintf(first, sizeof(first), "%s", a);
	snprintf(second, sizeof(second), "%s", b != NULL ? b : "");
	return options_parse_flags(o, b != NULL ? 3 : 2, argv, &at, why, WHY);
}

static int setup(void **state)
{
	struct options *o = mem_alloc(sizeof(*o));

	memset(env, 0, sizeof(env));
	set_env("HOME", "/home/u");
	CHECK_STATUS(0, options_init(o, fake_env));
	*state = o;
	return 0;
}

static int teardown(void **state)
{
	options_fini(*state);
	mem_free(*state);
	return 0;
}

/* Every subset of {file, environment, flag}, in both orders of reading. */
static void the_stronger_origin_wins_in_any_order(void **state)
{
	static const char *const values[] = { "1s", "2s", "3s", "4s" };
	char why[WHY];

	(void)state;
	for (unsigned set = 0; set < 16; set++) {
		bool backwards = (set & 8) != 0;
		struct options o;
		enum option_origin expected = (set & 4) != 0 ? ORIGIN_FLAG :
					      (set & 2) != 0 ? ORIGIN_ENV :
					      (set & 1) != 0 ? ORIGIN_FILE :
							       ORIGIN_DEFAULT;

		set_env("PEERSCOPE_PEER_TIMEOUT", (set & 2) != 0 ? values[2] : NULL);
		CHECK_STATUS(0, options_init(&o, fake_env));
		for (unsigned step = 0; step < 3; step++) {
			unsigned which = backwards ? 2 - step : step;

			if (which == 0 && (set & 1) != 0)
				CHECK_STATUS(
					0, options_parse_file(&o, write_file("peer-timeout = 2s\n"),
							      why, WHY));
			if (which == 1)
				CHECK_STATUS(0, options_parse_env(&o, fake_env, why, WHY));
			if (which == 2 && (set & 4) != 0)
				CHECK_STATUS(0, parse_flags(&o, why, "--peer-timeout", "4s"));
		}
		assert_int_equal(options_origin(&o, OPT_PEER_TIMEOUT), expected);
		assert_int_equal(options_number(&o, OPT_PEER_TIMEOUT),
				 expected == ORIGIN_DEFAULT ? 120000 :
				 expected == ORIGIN_FILE    ? 2000 :
				 expected == ORIGIN_ENV	    ? 3000 :
							      4000);
		options_fini(&o);
	}
}

static void a_bad_value_names_where_it_stands(void **state)
{
	struct options *o = *state;
	char why[WHY];

	CHECK_STATUS(ERR_MALFORMED, parse_flags(o, why, "--trace-budget", "lots"));
	assert_non_null(strstr(why, "--trace-budget"));
	set_env("PEERSCOPE_LISTEN", "example.org:80");
	CHECK_STATUS(ERR_MALFORMED, options_parse_env(o, fake_env, why, WHY));
	assert_non_null(strstr(why, "PEERSCOPE_LISTEN"));
	assert_non_null(strstr(why, "example.org:80"));
	CHECK_STATUS(ERR_MALFORMED,
		     options_parse_file(o, write_file("# x\n\nlan = maybe\n"), why, WHY));
	assert_non_null(strstr(why, "x.conf:3"));
	assert_non_null(strstr(why, "on|off"));
	assert_string_equal(options_text(o, OPT_LISTEN), "[::]:0");
}

static void a_bad_value_is_refused_even_where_a_stronger_one_wins(void **state)
{
	struct options *o = *state;
	char why[WHY];

	CHECK_STATUS(0, parse_flags(o, why, "--lan", "off"));
	CHECK_STATUS(ERR_MALFORMED, options_parse_file(o, write_file("lan = maybe\n"), why, WHY));
}

static void an_unknown_key_names_file_line_and_the_nearest(void **state)
{
	char why[WHY];

	CHECK_STATUS(
		ERR_MALFORMED,
		options_parse_file(*state,
				   write_file("# one\n# two\nlan = on\nlisen = \"127.0.0.1:0\"\n"),
				   why, WHY));
	assert_non_null(strstr(why, "x.conf:4:"));
	assert_non_null(strstr(why, "\"lisen\""));
	assert_non_null(strstr(why, "did you mean \"listen\""));
	CHECK_STATUS(ERR_MALFORMED,
		     options_parse_file(*state, write_file("json = on\n"), why, WHY));
}

static void an_unknown_flag_names_the_nearest(void **state)
{
	char why[WHY];

	CHECK_STATUS(ERR_MALFORMED, parse_flags(*state, why, "--debug-lisen=x", NULL));
	assert_non_null(strstr(why, "did you mean --debug-listen"));
	CHECK_STATUS(ERR_MALFORMED, parse_flags(*state, why, "--listen", NULL));
	assert_non_null(strstr(why, "needs a value"));
	CHECK_STATUS(ERR_MALFORMED, parse_flags(*state, why, "-Z", NULL));
	assert_non_null(strstr(why, "-Z"));
}

static void a_flag_of_another_verb_is_refused(void **state)
{
	char why[WHY];

	CHECK_STATUS(0, parse_flags(*state, why, "--force", NULL));
	CHECK_STATUS(0, options_check_verb(*state, VERB_GET, "get", why, WHY));
	CHECK_STATUS(ERR_MALFORMED, options_check_verb(*state, VERB_PUBLISH, "publish", why, WHY));
	assert_non_null(strstr(why, "--force"));
}

static void a_missing_file_is_told_apart(void **state)
{
	char why[WHY];

	CHECK_STATUS(UV_ENOENT, options_parse_file(*state, "/nonexistent/x.conf", why, WHY));
	assert_non_null(strstr(why, "/nonexistent/x.conf"));
	CHECK_STATUS(0, options_parse_file(*state, write_file(""), why, WHY));
}

static void the_data_folder_follows_systemd_then_xdg_then_home(void **state)
{
	struct options o;

	assert_string_equal(options_text(*state, OPT_DATA), "/home/u/.local/state/peerscope");
	set_env("XDG_STATE_HOME", "/x");
	CHECK_STATUS(0, options_init(&o, fake_env));
	assert_string_equal(options_text(&o, OPT_DATA), "/x/peerscope");
	options_fini(&o);
	set_env("STATE_DIRECTORY", "/var/lib/peerscope:/var/lib/other");
	CHECK_STATUS(0, options_init(&o, fake_env));
	assert_string_equal(options_text(&o, OPT_DATA), "/var/lib/peerscope");
	options_fini(&o);
	memset(env, 0, sizeof(env));
	CHECK_STATUS(0, options_init(&o, fake_env));
	assert_null(options_text(&o, OPT_DATA));
	options_fini(&o);
}

static void values_are_checked_by_type(void **state)
{
	static const struct {
		enum option_id id;
		const char *text;
		int status;
		uint64_t number;
	} cases[] = {
		{ OPT_PEER_TIMEOUT, "90", 0, 90000 },
		{ OPT_PEER_TIMEOUT, "500ms", 0, 500 },
		{ OPT_PEER_TIMEOUT, "2m", 0, 120000 },
		{ OPT_PEER_TIMEOUT, "24h", 0, 86400000 },
		{ OPT_PEER_TIMEOUT, "25h", ERR_MALFORMED, 0 },
		{ OPT_PEER_TIMEOUT, "0", ERR_MALFORMED, 0 },
		{ OPT_PEER_TIMEOUT, "-1", ERR_MALFORMED, 0 },
		{ OPT_PEER_TIMEOUT, "", ERR_MALFORMED, 0 },
		{ OPT_PEER_TIMEOUT, "99999999999999999999s", ERR_MALFORMED, 0 },
		{ OPT_TRACE_BUDGET, "16MiB", 0, 16 << 20 },
		{ OPT_TRACE_BUDGET, "128k", 0, 128 << 10 },
		{ OPT_TRACE_BUDGET, "1k", ERR_MALFORMED, 0 },
		{ OPT_TRACE_BUDGET, "2GiB", ERR_MALFORMED, 0 },
		{ OPT_LISTEN, "[::1]:0", 0, 0 },
		{ OPT_LISTEN, "unix:/x", ERR_MALFORMED, 0 },
		{ OPT_DEBUG_LISTEN, "unix:/x", 0, 0 },
		{ OPT_DEBUG_LISTEN, "unix:", ERR_MALFORMED, 0 },
		{ OPT_DHT, "private", 0, 0 },
		{ OPT_DHT, "priv", ERR_MALFORMED, 0 },
		{ OPT_LOG_LEVEL, "warn,store=debug", 0, 0 },
		{ OPT_LOG_LEVEL, "loud", ERR_MALFORMED, 0 },
		{ OPT_LOG_LEVEL, "store=", ERR_MALFORMED, 0 },
		{ OPT_LOG_LEVEL, "shop=debug", ERR_MALFORMED, 0 },
	};
	char why[WHY];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t n = 0;

		CHECK_STATUS(cases[i].status,
			     option_check(option_def(cases[i].id), cases[i].text, &n, why, WHY));
		assert_int_equal(n, cases[i].number);
	}
}

static void routers_given_several_times_are_all_taken(void **state)
{
	struct options *o = *state;
	char why[WHY] = "";

	set_env("PEERSCOPE_DHT_ROUTER", "weaker:1");
	CHECK_STATUS(0, parse_flags(o, why, "--dht-router=a:1,b:2", "--dht-router=[::1]:3"));
	CHECK_STATUS(0, options_parse_env(o, fake_env, why, WHY));
	assert_string_equal(options_text(o, OPT_DHT_ROUTER), "a:1,b:2,[::1]:3");
	CHECK_STATUS(ERR_MALFORMED, parse_flags(o, why, "--dht-router=a:1,:2", NULL));
	assert_string_equal(options_text(o, OPT_DHT_ROUTER), "a:1,b:2,[::1]:3");
}

static void every_option_has_help_and_a_unique_name(void **state)
{
	struct buf out;

	(void)state;
	for (int i = 0; i < OPT_COUNT; i++) {
		assert_non_null(option_def((enum option_id)i)->name);
		assert_non_null(option_def((enum option_id)i)->help);
		for (int k = 0; k < i; k++) {
			const struct option_def *a = option_def((enum option_id)i),
						*b = option_def((enum option_id)k);

			assert_string_not_equal(a->name, b->name);
			assert_true(a->letter == 0 || a->letter != b->letter);
		}
	}
	buf_init(&out, 1 << 16);
	options_help(&out, VERB_BIT(VERB_DAEMON), true);
	assert_non_null(strstr((char *)out.data, "PEERSCOPE_DEBUG_LISTEN"));
	assert_null(strstr((char *)out.data, "--force"));
	buf_fini(&out);
}

static void init_and_environment_survive_oom_at_every_allocation(void **state)
{
	char why[WHY];

	(void)state;
	set_env("PEERSCOPE_LAN", "off");
	FAULT_SWEEP({
		struct options o;
		int rc = options_init(&o, fake_env);

		if (rc == 0) {
			rc = options_parse_env(&o, fake_env, why, WHY);
			options_fini(&o);
		}
		CHECK_STATUS(mem_fault_hits() > 0 && rc != 0 ? UV_ENOMEM : 0, rc);
	});
}

static void words_find_their_nearest(void **state)
{
	static const char *const words[] = { "publish",	  "peers",	   "get",
					     "subscribe", "subscriptions", NULL };

	(void)state;
	assert_string_equal(option_nearest("publsh", words), "publish");
	assert_string_equal(option_nearest("gte", words), "get");
	assert_string_equal(option_nearest("subscripe", words), "subscribe");
	assert_null(option_nearest("xyzzy", words));
	assert_null(option_nearest("", words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_stronger_origin_wins_in_any_order, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_bad_value_names_where_it_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_bad_value_is_refused_even_where_a_stronger_one_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(an_unknown_key_names_file_line_and_the_nearest,
						setup, teardown),
		cmocka_unit_test_setup_teardown(an_unknown_flag_names_the_nearest, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flag_of_another_verb_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_missing_file_is_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(the_data_folder_follows_systemd_then_xdg_then_home,
						setup, teardown),
		cmocka_unit_test_setup_teardown(values_are_checked_by_type, setup, teardown),
		cmocka_unit_test_setup_teardown(routers_given_several_times_are_all_taken, setup,
						teardown),
		cmocka_unit_test_setup_teardown(every_option_has_help_and_a_unique_name, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			init_and_environment_survive_oom_at_every_allocation, setup, teardown),
		cmocka_unit_test_setup_teardown(words_find_their_nearest, setup, teardown),
	};
	char path[64];
	int rc;

	if (base_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(path, sizeof(path), "%s/x.conf", dir);
	unlink(path);
	rmdir(dir);
	return rc;
}
