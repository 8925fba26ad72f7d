#include "daemon/completion.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/exit.h"
#include "daemon/options.h"

/* Words that may follow a verb are those of its `args` that are written in small letters. */
static bool next_word(const char **at, const char **ret, size_t *ret_len)
{
	const char *p = *at;

	while (*p != '\0') {
		size_t n = 0;

		while (islower((unsigned char)p[n]) || p[n] == '-')
			n++;
		if (n > 1 && p[0] != '-' && (p == *at || !isalpha((unsigned char)p[-1]))) {
			*ret = p;
			*ret_len = n;
			*at = p + n;
			return true;
		}
		p += MAX(n, (size_t)1);
	}
	return false;
}

/* `diag` and `trace` name in their text what their args only begin to. A line of `more` begins with
 * such words until two spaces. */
static void write_words(struct buf *out, const struct verb_help *v)
{
	const char *at = v->args, *line = v->more, *word;
	size_t len;

	if (strstr(v->args, "…") == NULL) {
		while (next_word(&at, &word, &len))
			buf_printf(out, "%.*s ", (int)len, word);
		return;
	}
	while (line != NULL && *line != '\0') {
		size_t end = strcspn(line, "\n"), words = 0;

		while (islower((unsigned char)line[words]) || line[words] == ',' ||
		       (line[words] == ' ' && words > 0 && line[words - 1] == ','))
			words++;
		if (words > 1 && (line[words] == ' ' || words == end))
			for (size_t i = 0; i <= words; i++)
				buf_write_u8(out,
					     i == words || line[i] == ',' ? ' ' : (uint8_t)line[i]);
		line += end + (line[end] == '\n');
	}
}

static bool takes(const struct option_def *d, const struct verb_help *v)
{
	return (d->verbs & v->bit) != 0;
}

static const struct option_def *def(unsigned i)
{
	return option_def((enum option_id)i);
}

/* ---- bash ---- */

static void write_values(struct buf *out, const struct option_def *d)
{
	if (d->choices != NULL && d->type == OPTION_CHOICE)
		for (const char *p = d->choices; *p != '\0'; p++)
			buf_write_u8(out, *p == '|' ? ' ' : (uint8_t)*p);
}

static void write_bash(struct buf *out, const struct verb_help *verbs, size_t count)
{
	buf_write_str(out,
		      "# bash completion for peerscope\n"
		      "_peerscope()\n{\n"
		      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		      "\tlocal verb= i words=\n"
		      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		      "\t\tcase ${COMP_WORDS[i]} in -*) ;; *) verb=${COMP_WORDS[i]}; break;; "
		      "esac\n\tdone\n"
		      "\tcase $prev in\n");
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (def(i)->type == OPTION_CHOICE) {
			buf_printf(out, "\t--%s) COMPREPLY=($(compgen -W '", def(i)->name);
			write_values(out, def(i));
			buf_write_str(out, "' -- \"$cur\")); return;;\n");
		}
	buf_write_str(out, "\tesac\n\tcase $verb in\n");
	for (size_t v = 0; v < count; v++) {
		buf_printf(out, "\t%s) words='", verbs[v].name);
		write_words(out, &verbs[v]);
		for (unsigned i = 0; i < OPT_COUNT; i++)
			if (takes(def(i), &verbs[v]))
				buf_printf(out, "--%s ", def(i)->name);
		buf_write_str(out, "';;\n");
	}
	buf_write_str(out, "\t'') words='");
	for (size_t v = 0; v < count; v++)
		if (!verbs[v].hidden)
			buf_printf(out, "%s ", verbs[v].name);
	buf_write_str(out, "';;\n\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
			   "complete -o bashdefault -o default -F _peerscope peerscope\n");
}

/* ---- zsh ---- */

/* Inside '…' of zsh and fish. */
static void write_quoted(struct buf *out, const char *text, const char *escaped)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'') {
			buf_write_str(out, "'\\''");
			continue;
		}
		if (strchr(escaped, *text) != NULL)
			buf_write_u8(out, '\\');
		buf_write_u8(out, (uint8_t)*text);
	}
}

static void write_zsh(struct buf *out, const struct verb_help *verbs, size_t count)
{
	buf_write_str(out, "#compdef peerscope\n# zsh completion for peerscope\n_peerscope()\n{\n"
			   "\tlocal -a verbs\n\tlocal verb= w\n"
			   "\tfor w in \"${(@)words[2,CURRENT-1]}\"; do\n"
			   "\t\t[[ $w == -* ]] || { verb=$w; break }\n\tdone\n\tverbs=(\n");
	for (size_t v = 0; v < count; v++) {
		if (verbs[v].hidden)
			continue;
		buf_printf(out, "\t\t'%s:", verbs[v].name);
		write_quoted(out, verbs[v].help, ":");
		buf_write_str(out, "'\n");
	}
	buf_write_str(out, "\t)\n\tcase $verb in\n");
	for (size_t v = 0; v < count; v++) {
		buf_printf(out, "\t%s) compadd -- ", verbs[v].name);
		write_words(out, &verbs[v]);
		for (unsigned i = 0; i < OPT_COUNT; i++)
			if (takes(def(i), &verbs[v]))
				buf_printf(out, "--%s ", def(i)->name);
		buf_write_str(out, "; _files;;\n");
	}
	buf_write_str(out, "\t'') _describe verb verbs;;\n\tesac\n}\n_peerscope \"$@\"\n");
}

/* ---- fish ---- */

static void write_fish(struct buf *out, const struct verb_help *verbs, size_t count)
{
	buf_write_str(out, "# fish completion for peerscope\n");
	for (size_t v = 0; v < count; v++) {
		if (verbs[v].hidden)
			continue;
		buf_printf(out, "complete -c peerscope -n __fish_use_subcommand -f -a %s -d '",
			   verbs[v].name);
		write_quoted(out, verbs[v].help, "\\");
		buf_printf(out, "'\ncomplete -c peerscope -n '__fish_seen_subcommand_from %s' -a '",
			   verbs[v].name);
		write_words(out, &verbs[v]);
		buf_write_str(out, "'\n");
	}
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		buf_write_str(out, "complete -c peerscope -n '__fish_seen_subcommand_from");
		for (size_t v = 0; v < count; v++)
			if (takes(def(i), &verbs[v]))
				buf_printf(out, " %s", verbs[v].name);
		buf_printf(out, "' -l %s", def(i)->name);
		if (def(i)->letter != 0)
			buf_printf(out, " -s %c", def(i)->letter);
		if (def(i)->type == OPTION_CHOICE) {
			buf_write_str(out, " -x -a '");
			write_values(out, def(i));
			buf_write_str(out, "'");
		} else if (def(i)->type != OPTION_SWITCH) {
			buf_write_str(out, " -r");
		}
		buf_write_str(out, " -d '");
		write_quoted(out, def(i)->help, "\\");
		buf_write_str(out, "'\n");
	}
}

bool completion_write(struct buf *out, const char *shell, const struct verb_help *verbs,
		      size_t count)
{
	if (strcmp(shell, "bash") == 0)
		write_bash(out, verbs, count);
	else if (strcmp(shell, "zsh") == 0)
		write_zsh(out, verbs, count);
	else if (strcmp(shell, "fish") == 0)
		write_fish(out, verbs, count);
	else
		return false;
	return true;
}

/* ---- man(7) ---- */

/* A backslash and a leading dot or quote would be taken for commands; '-' for a hyphen. */
static void write_roff(struct buf *out, const char *text)
{
	bool at_start = true;

	for (; *text != '\0'; text++) {
		if (at_start && (*text == '.' || *text == '\''))
			buf_write_str(out, "\\&");
		if (*text == '\\')
			buf_write_str(out, "\\e");
		else if (*text == '-')
			buf_write_str(out, "\\-");
		else
			buf_write_u8(out, (uint8_t)*text);
		at_start = *text == '\n';
	}
}

static void write_man_option(struct buf *out, const struct option_def *d, bool with_environment)
{
	buf_write_str(out, ".TP\n.B ");
	if (d->letter != 0)
		buf_printf(out, "\\-%c, ", d->letter);
	buf_write_str(out, "\\-\\-");
	write_roff(out, d->name);
	if (d->arg != NULL) {
		buf_write_u8(out, ' ');
		write_roff(out, d->arg);
	}
	buf_write_u8(out, '\n');
	write_roff(out, d->help);
	if (d->fallback != NULL) {
		buf_write_str(out, " (default: ");
		write_roff(out, d->fallback);
		buf_write_u8(out, ')');
	}
	buf_write_str(out, ".\n");
	if (!with_environment)
		return;
	buf_write_str(out, "Environment: PEERSCOPE_");
	for (const char *p = d->name; *p != '\0'; p++)
		buf_write_u8(out, *p == '-' ? '_' : (uint8_t)toupper((unsigned char)*p));
	buf_write_str(out, ".\n");
}

static void write_man_verb(struct buf *out, const struct verb_help *v)
{
	buf_write_str(out, ".SS peerscope ");
	write_roff(out, v->name);
	buf_write_u8(out, ' ');
	write_roff(out, v->args);
	buf_write_u8(out, '\n');
	write_roff(out, v->help);
	buf_write_str(out, ".\n");
	if (v->more != NULL) {
		buf_write_str(out, ".PP\n.nf\n");
		write_roff(out, v->more);
		buf_write_str(out, "\n.fi\n");
	}
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (takes(def(i), v) && def(i)->verbs != VERB_ALL && !def(i)->setting)
			write_man_option(out, def(i), false);
}

static void write_man_examples(struct buf *out)
{
	buf_write_str(out, ".SH EXAMPLES\n.PP\n.nf\n"
			   "peerscope diag doctor\n"
			   "peerscope diag bundle \\-\\-seconds 1 \\-o bundle.zip\n"
			   "peerscope diag cpu \\-\\-seconds 1 \\-o cpu.pprof\n"
			   "peerscope diag stacks\n"
			   "peerscope diag sys\n"
			   "peerscope log level store debug \\-\\-for 1m\n"
			   "peerscope diag log \\-\\-level warn\n"
			   "peerscope config show \\-\\-origin\n"
			   "peerscope status \\-\\-json\n"
			   ".fi\n");
}

void man_write(struct buf *out, const char *version, const struct verb_help *verbs, size_t count)
{
	buf_printf(out, ".TH PEERSCOPE 1 \"\" \"peerscope %s\" \"User commands\"\n", version);
	buf_write_str(out,
		      ".SH NAME\npeerscope \\- keeps signed, versioned objects in sync between "
		      "peers, and says where the time went\n"
		      ".SH SYNOPSIS\n.B peerscope\n.I VERB\n[options] [arguments]\n"
		      ".SH VERBS\n");
	for (size_t v = 0; v < count; v++)
		if (!verbs[v].hidden)
			write_man_verb(out, &verbs[v]);
	buf_write_str(out, ".SH OPTIONS OF EVERY VERB\n");
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (def(i)->verbs == VERB_ALL)
			write_man_option(out, def(i), false);
	buf_write_str(out,
		      ".SH SETTINGS\nOf the daemon; as a flag, in the environment, or as "
		      "\"name = value\" in the configuration file. The first one of these that "
		      "gives a value wins.\n");
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (def(i)->setting)
			write_man_option(out, def(i), true);
	write_man_examples(out);
	buf_write_str(out, ".SH EXIT STATUS\n");
	for (int i = 0; i <= EXIT_CANCELLED; i++) {
		if (exit_text(i) == NULL)
			continue;
		buf_printf(out, ".TP\n.B %d\n", i);
		write_roff(out, exit_text(i));
		buf_write_str(out, ".\n");
	}
}
