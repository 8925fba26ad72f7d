/* The one program: `peerscope VERB`. The verb table is all there is to it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/completion.h"
#include "daemon/daemon.h"

/* A verb that reads what strangers made needs a bound, too; far above what honest objects need. */
enum { CLI_MEMORY_MAX = INT32_MAX };

struct verb_def {
	const char *name;
	int (*run)(struct cli *c);
	const char *args;
	const char *help;
	const char *more;
	bool needs_daemon, hidden;
};

static int cli_completion(struct cli *c);
static int cli_man(struct cli *c);
static int cli_version(struct cli *c);
static int cli_help(struct cli *c);

static const struct verb_def verbs[VERB_COUNT] = {
	[VERB_DAEMON] = { "daemon", cli_daemon, "", "run the daemon, in the foreground",
			  "Settings come from flags, PEERSCOPE_… variables and a configuration "
			  "file, in this order.\n"
			  "SIGTERM or Ctrl-C once: end orderly, at most 25 s; twice: at once.",
			  false },
	[VERB_PUBLISH] = { "publish", cli_publish, "PATH",
			   "publish a file or folder as a new version of an object",
			   "Prints the IRI and the version. The same content again changes "
			   "nothing.",
			   true },
	[VERB_GET] = { "get", cli_get, "IRI", "bring an object here and write it to disk",
		       "Nothing is written unless everything is here and checked. With ?v= in the "
		       "IRI: that version.",
		       true },
	[VERB_DISCOVER] = { "discover", cli_discover, "IRI",
			    "find an object and bring it here, without writing files",
			    "Says how it was found; --trace shows where the time went.", true },
	[VERB_LOG] = { "log", cli_log, "IRI | level [PART [LEVEL]] | tail",
		       "versions of an object, newest first; or what the daemon logs",
		       "IRI                   its versions\n"
		       "level                 how much each part logs\n"
		       "level PART LEVEL      change it (PART all: everywhere); goes back after "
		       "--for\n"
		       "tail                  log lines from now on, until Ctrl-C",
		       true },
	[VERB_OBJECTS] = { "objects", cli_objects, "[IRI]", "objects that are here", NULL, true },
	[VERB_PEERS] = { "peers", cli_peers, "[add ADDRESS | rm PEER]", "known peers",
			 "ADDRESS is a line of `listen` from the other end's status: "
			 "/ip4/…/tcp/…/p2p/12D3KooW…",
			 true },
	[VERB_SUBSCRIBE] = { "subscribe", cli_subscribe, "IRI",
			     "keep an object in sync from now on", NULL, true },
	[VERB_UNSUBSCRIBE] = { "unsubscribe", cli_unsubscribe, "IRI", "stop that", NULL, true },
	[VERB_SUBSCRIPTIONS] = { "subscriptions", cli_subscriptions, "", "what is kept in sync",
				 NULL, true },
	[VERB_STATUS] = { "status", cli_status, "", "how the daemon is doing", NULL, true },
	[VERB_TRACE] = { "trace", cli_trace, "list|show|tail|export|…",
			 "where time went: traces as text, or as files for other viewers",
			 "list [TEXT]      the newest; TEXT is looked for in titles, marks and "
			 "outcomes, e.g. an IRI\n"
			 "show ID          one trace, as a waterfall\n"
			 "tail [TEXT]      those that end from now on, until Ctrl-C\n"
			 "export [ID]      one trace, or the newest, as a file on stdout\n"
			 "diff ID ID       what took longer in the second one\n"
			 "pin ID           keep it, whatever else comes; unpin ID lets it go\n"
			 "The first digits of an ID are enough.",
			 true },
	[VERB_WAIT] = { "wait", cli_wait, "[--ready TIME]", "wait until the daemon answers", NULL,
			true },
	[VERB_DIAG] = { "diag", cli_diag, "bundle|doctor|cpu|heap|…",
			"find out what is wrong, or collect what helps somebody else to",
			"doctor           what is wrong, in plain words; also without a daemon\n"
			"bundle           everything in one zip file; also when the daemon hangs\n"
			"cpu, heap, allocs, goroutine, mutex, block\n"
			"                 one profile for `go tool pprof`, as a file\n"
			"stacks           what every thread and task is doing; also when it hangs\n"
			"sys              machine, limits, libraries; also without a daemon\n"
			"vars             all figures\n"
			"traces           the latest traces as text\n"
			"log              the latest log lines\n"
			"healthy          nothing but an exit code: 0 or 1\n"
			"Profiles and stacks are technical: contents are technical — no document "
			"content is included.",
			false },
	[VERB_CONFIG] = { "config", cli_config, "show", "the settings as they would be used now",
			  NULL, false },
	[VERB_PATHS] = { "paths", cli_paths, "", "where everything is kept", NULL, false },
	[VERB_VERSION] = { "version", cli_version, "", "version of this program", NULL, false },
	[VERB_HELP] = { "help", cli_help, "[VERB]", "this list, or one verb", NULL, false },
	[VERB_COMPLETION] = { "completion", cli_completion, "bash|zsh|fish",
			      "completion for a shell", NULL, false, true },
	[VERB_MAN] = { "man", cli_man, "", "the manual page", NULL, false, true },
};

static int print_version(bool as_json)
{
	if (as_json)
		cli_print_json(json_pack("{s:s}", "version", PEERSCOPE_VERSION));
	else
		output_printf("peerscope %s\n", PEERSCOPE_VERSION);
	return EXIT_DONE;
}

static int cli_version(struct cli *c)
{
	return print_version(c->json);
}

static int find_verb(const char *name)
{
	for (int i = 0; i < VERB_COUNT; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return i;
	return -1;
}

static int unknown_verb(const char *name)
{
	const char *words[VERB_COUNT + 1] = { 0 }, *near;

	for (int i = 0; i < VERB_COUNT; i++)
		words[i] = verbs[i].name;
	near = option_nearest(name, words);
	if (near != NULL)
		return cli_fail(EXIT_USAGE, "there is no verb \"%s\"; did you mean \"%s\"?", name,
				near);
	return cli_fail(EXIT_USAGE, "there is no verb \"%s\"; `peerscope help` lists them", name);
}

static void write_overview(struct buf *out)
{
	buf_write_str(out, "peerscope keeps signed, versioned objects in sync between peers, and "
			   "can say where the time went.\n\n"
			   "usage: peerscope VERB [options] [arguments]\n\n");
	for (int i = 0; i < VERB_COUNT; i++)
		if (!verbs[i].hidden)
			buf_printf(out, "  %-14s %-24s %s\n", verbs[i].name, verbs[i].args,
				   verbs[i].help);
	buf_write_str(out, "\nEvery verb takes --data DIR, most take --json; `peerscope help VERB` "
			   "lists the options of one.\n\nexit codes:\n");
	for (int i = 0; i <= EXIT_CANCELLED; i++)
		if (exit_text(i) != NULL)
			buf_printf(out, "  %3d  %s\n", i, exit_text(i));
}

static int print_help(int verb)
{
	struct buf out;

	buf_init(&out, 64 << 10);
	if (verb < 0) {
		write_overview(&out);
	} else {
		buf_printf(&out, "usage: peerscope %s [options] %s\n\n%s.\n", verbs[verb].name,
			   verbs[verb].args, verbs[verb].help);
		if (verbs[verb].more != NULL)
			buf_printf(&out, "%s\n", verbs[verb].more);
		buf_write_str(&out, "\noptions:\n");
		options_help(&out, VERB_BIT(verb), verb == VERB_DAEMON);
	}
	output_text(&out);
	buf_fini(&out);
	return EXIT_DONE;
}

static void fill_verbs(struct verb_help ret[VERB_COUNT])
{
	for (unsigned i = 0; i < VERB_COUNT; i++)
		ret[i] = (struct verb_help){ verbs[i].name, verbs[i].args, verbs[i].help,
					     verbs[i].more, VERB_BIT(i),   verbs[i].hidden };
}

static int print_buf(struct buf *out)
{
	output_text(out);
	buf_fini(out);
	return EXIT_DONE;
}

static int cli_completion(struct cli *c)
{
	struct verb_help help[VERB_COUNT];
	struct buf out;

	buf_init(&out, 256 << 10);
	fill_verbs(help);
	if (c->argc == 1 && completion_write(&out, c->argv[0], help, VERB_COUNT))
		return print_buf(&out);
	buf_fini(&out);
	return cli_usage("completion", "it is bash, zsh or fish");
}

static int cli_man(struct cli *c)
{
	struct verb_help help[VERB_COUNT];
	struct buf out;

	(void)c;
	buf_init(&out, 256 << 10);
	fill_verbs(help);
	man_write(&out, PEERSCOPE_VERSION, help, VERB_COUNT);
	return print_buf(&out);
}

static int cli_help(struct cli *c)
{
	int verb = c->argc > 0 ? find_verb(c->argv[0]) : -1;

	if (c->argc > 0 && verb < 0)
		return unknown_verb(c->argv[0]);
	return print_help(verb);
}

static const char *from_environment(const char *name)
{
	return getenv(name);
}

/* Environment and file; flags are in already. */
static int read_settings(struct options *o, char *why, size_t why_size)
{
	bool explicit = false;
	CLEANUP(mem_freep) char *path = NULL;
	int rc = options_parse_env(o, from_environment, why, why_size);

	if (rc < 0)
		return rc;
	path = options_file(o, from_environment, &explicit);
	if (path == NULL)
		return 0;
	/* Nobody asked for it: that it is not there, or its folder is somebody else's, is fine. */
	if (!explicit && access(path, F_OK) < 0)
		return 0;
	return options_parse_file(o, path, why, why_size);
}

static int run_verb(const struct options *o, int verb, int argc, char **argv, const char *why)
{
	bool is_explicit;
	CLEANUP(mem_freep) char *file = options_file(o, from_environment, &is_explicit);
	struct cli c = { .options = o,
			 .argc = argc,
			 .argv = argv,
			 .json = options_on(o, OPT_JSON),
			 .quiet = options_on(o, OPT_QUIET) };
	int code;

	c.data = options_text(o, OPT_DATA);
	c.config_file = file;
	c.config_why = why;
	if (c.data == NULL && (verbs[verb].needs_daemon || verb == VERB_DAEMON))
		return cli_fail(EXIT_USAGE,
				"no data folder: there is no $HOME; give one with --data DIR");
	if (verbs[verb].needs_daemon) {
		mem_set_cap(CLI_MEMORY_MAX);
		c.client = client_new(c.data);
		if (c.client == NULL)
			return cli_fail(EXIT_FAILED, "out of memory");
	}
	code = verbs[verb].run(&c);
	client_free(c.client);
	return code;
}

/* The flags are in; `first` is where the verb stands. */
static int dispatch(struct options *o, int first, int argc, char **argv)
{
	int verb = first < argc ? find_verb(argv[first]) : VERB_HELP, rc;
	char why[1024] = "";

	/* Whatever else is there, and whether or not the settings are right. */
	if (options_on(o, OPT_VERSION))
		return print_version(options_on(o, OPT_JSON));
	if (verb < 0)
		return unknown_verb(argv[first]);
	if (options_on(o, OPT_HELP) || first >= argc) {
		(void)print_help(first < argc ? verb : -1);
		return options_on(o, OPT_HELP) ? EXIT_DONE : EXIT_USAGE;
	}
	if (options_check_verb(o, (enum verb)verb, verbs[verb].name, why, sizeof(why)) < 0)
		return cli_fail(EXIT_USAGE, "%s", why);
	rc = read_settings(o, why, sizeof(why));
	if (rc < 0 && verb != VERB_DIAG) /* the doctor is to say what is wrong with them */
		return cli_fail(EXIT_USAGE, "%s", why);
	return run_verb(o, verb, argc - first - 1, argv + first + 1, rc < 0 ? why : NULL);
}

int main(int argc, char **argv)
{
	struct options o;
	char why[1024] = "";
	int first = 0, code;

	/* Not for people: the daemon starts itself so, to find the names in a profile. */
	if (argc == 2 && strcmp(argv[1], DAEMON_SYMBOLS_VERB) == 0)
		return base_init() < 0 ? EXIT_FAILED : profiler_symbols_main();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
	output_init();
#ifdef PEERSCOPE_TEST_HOOKS
	if (getenv("PEERSCOPE_TEST_REFUSE_MEMORY") != NULL)
		mem_fault_after(strtoull(getenv("PEERSCOPE_TEST_REFUSE_MEMORY"), NULL, 10), false);
#endif
	if (base_init() < 0)
		return cli_fail(EXIT_FAILED, "no source of randomness");
	json_setup();
	if (options_init(&o, from_environment) < 0)
		return cli_fail(EXIT_FAILED, "out of memory");
	if (options_parse_flags(&o, argc, argv, &first, why, sizeof(why)) < 0)
		code = cli_fail(EXIT_USAGE, "%s", why);
	else
		code = dispatch(&o, first, argc, argv);
	options_fini(&o);
	return output_end(code);
}
