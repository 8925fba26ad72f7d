/* The configuration file: libconfuse's syntax, keys and values checked by the option table. */
#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/options.h"

enum { WHERE_MAX = 512, CONFIG_BYTES_MAX = 64 << 10 };

/* libconfuse calls back without a pointer of ours; the file is read once, before there are threads.
 */
static struct file_parse {
	struct options *options;
	const char *path;
	char *why;
	size_t why_size;
	bool failed;
} parse;

static void say_unknown_key(const char *key)
{
	const char *words[OPT_COUNT + 1] = { 0 }, *near;
	size_t n = 0, len = strlen(parse.why);

	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_def((enum option_id)i)->setting)
			words[n++] = option_def((enum option_id)i)->name;
	near = option_nearest(key, words);
	if (near != NULL)
		snprintf(parse.why + len, parse.why_size - len,
			 "there is no setting \"%.64s\"; did you mean \"%s\"?", key, near);
	else
		snprintf(parse.why + len, parse.why_size - len, "there is no setting \"%.64s\"",
			 key);
}

static void on_file_error(cfg_t *cfg, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

static void on_file_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	static const char unknown[] = "no such option '";
	char text[WHERE_MAX], *key;

	if (parse.failed) /* the first one tells */
		return;
	parse.failed = true;
	vsnprintf(text, sizeof(text), fmt, ap);
	snprintf(parse.why, parse.why_size, "%s:%d: ", parse.path, cfg != NULL ? cfg->line : 0);
	key = strstr(text, unknown);
	if (key != NULL) {
		key += sizeof(unknown) - 1;
		key[strcspn(key, "'")] = '\0';
		say_unknown_key(key);
		return;
	}
	snprintf(parse.why + strlen(parse.why), parse.why_size - strlen(parse.why), "%s", text);
}

static int on_file_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	char where[WHERE_MAX], why[WHERE_MAX];

	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (!option_def((enum option_id)i)->setting ||
		    strcmp(option_def((enum option_id)i)->name, opt->name) != 0)
			continue;
		snprintf(where, sizeof(where), "%s:%d: %s", parse.path, cfg->line, opt->name);
		if (options_set(parse.options, (enum option_id)i, text != NULL ? text : "",
				ORIGIN_FILE, where, why, sizeof(why)) == 0)
			return 0;
		parse.failed = true;
		snprintf(parse.why, parse.why_size, "%s", why);
		return -1;
	}
	return 0;
}

/* The whole file, comments blanked: libconfuse 3.3 counts each of them as three lines. */
static int read_config(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	bool quoted = false, comment = false;
	int c, before = 0;

	if (f == NULL)
		return -errno;
	while ((c = getc(f)) != EOF) {
		if (c == '\n')
			comment = false;
		else if (c == '"' && before != '\\' && !comment)
			quoted = !quoted;
		else if (c == '#' && !quoted)
			comment = true;
		buf_write_u8(out, comment ? ' ' : (uint8_t)c);
		before = c;
	}
	c = ferror(f) != 0 ? UV_EIO : buf_err(out);
	fclose(f);
	return c;
}

static int parse_text(struct options *o, const char *path, const char *text, char *ret_why,
		      size_t why_size)
{
	cfg_opt_t opts[OPT_COUNT + 1];
	size_t n = 0;
	cfg_t *cfg;
	int rc;

	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_def((enum option_id)i)->setting)
			opts[n++] = (cfg_opt_t)CFG_STR(option_def((enum option_id)i)->name, NULL,
						       CFGF_NONE);
	opts[n] = (cfg_opt_t)CFG_END();
	cfg = cfg_init(opts, CFGF_NONE);
	if (cfg == NULL)
		return UV_ENOMEM;
	parse = (struct file_parse){
		.options = o, .path = path, .why = ret_why, .why_size = why_size
	};
	cfg_set_error_function(cfg, on_file_error);
	for (size_t i = 0; i < n; i++)
		cfg_set_validate_func(cfg, opts[i].name, on_file_value);
	rc = cfg_parse_buf(cfg, text) == CFG_SUCCESS && !parse.failed ? 0 : ERR_MALFORMED;
	if (rc < 0 && !parse.failed)
		snprintf(ret_why, why_size, "%s: cannot be parsed", path);
	cfg_free(cfg);
	return rc;
}

int options_parse_file(struct options *o, const char *path, char *ret_why, size_t why_size)
{
	CLEANUP(buf_fini) struct buf text = { 0 };
	int rc;

	buf_init(&text, CONFIG_BYTES_MAX);
	rc = read_config(path, &text);
	if (rc < 0) {
		snprintf(ret_why, why_size, "cannot read the configuration file %s: %s", path,
			 err_str(rc));
		return rc;
	}
	return text.len > 0 ? parse_text(o, path, (const char *)text.data, ret_why, why_size) : 0;
}
