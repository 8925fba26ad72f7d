/* Values of options: what each type accepts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/multiformats.h"
#include "daemon/options.h"

enum { WORD_MAX = 64, HOST_PORT_MAX = 260 };

struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit times[] = {
	{ "ms", 1 }, { "s", 1000 }, { "", 1000 }, { "m", 60000 }, { "h", 3600000 }
};
static const struct unit sizes[] = {
	{ "", 1 },	    { "k", 1 << 10 },	 { "KiB", 1 << 10 },   { "M", 1 << 20 },
	{ "MiB", 1 << 20 }, { "G", 1ull << 30 }, { "GiB", 1ull << 30 }
};
static const struct unit plain[] = { { "", 1 } };

static int check_number(const struct option_def *d, const char *text, const struct unit *units,
			size_t count, const char *example, uint64_t *ret, char *ret_why,
			size_t why_size)
{
	unsigned long long n = 0, value;
	char *end = NULL;

	if (text[0] >= '0' && text[0] <= '9')
		n = strtoull(text, &end, 10);
	for (size_t i = 0; end != NULL && i < count; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(n, units[i].factor, &value) || value < d->min ||
		    value > d->max) {
			snprintf(ret_why, why_size, "\"%.64s\" is out of range (%llu to %llu %s)",
				 text, (unsigned long long)d->min, (unsigned long long)d->max,
				 d->type == OPTION_TIME ? "ms" :
				 d->type == OPTION_SIZE ? "bytes" :
							  "");
			return ERR_MALFORMED;
		}
		*ret = value;
		return 0;
	}
	snprintf(ret_why, why_size, "\"%.64s\" is not a %s", text, example);
	return ERR_MALFORMED;
}

static int check_choice(const char *choices, const char *text, char *ret_why, size_t why_size)
{
	size_t len = strlen(text);

	for (const char *p = choices; *p != '\0'; p += strcspn(p, "|"), p += *p == '|')
		if (strcspn(p, "|") == len && memcmp(p, text, len) == 0)
			return 0;
	snprintf(ret_why, why_size, "\"%.64s\" is not one of %s", text, choices);
	return ERR_MALFORMED;
}

static int check_address(const struct option_def *d, const char *text, char *ret_why,
			 size_t why_size)
{
	struct multiaddr addr;

	if (d->choices != NULL && strncmp(text, "unix:", 5) == 0) {
		if (text[5] != '\0')
			return 0;
		snprintf(ret_why, why_size, "\"unix:\" needs a path behind it");
		return ERR_MALFORMED;
	}
	if (multiaddr_parse_hostport(text, strlen(text), &addr) == 0)
		return 0;
	snprintf(ret_why, why_size,
		 "\"%.128s\" is not an address like 127.0.0.1:4001 or [::1]:0%s (numbers only, no "
		 "names)",
		 text, d->choices != NULL ? ", or unix:/path" : "");
	return ERR_MALFORMED;
}

/* One item of "info,store=debug". */
static int level_item(const char *item, size_t len, bool apply)
{
	char word[WORD_MAX];
	const char *eq = memchr(item, '=', len);
	enum log_sub sub = LOG_SUB_COUNT;
	enum log_level level;
	size_t name_len = eq != NULL ? (size_t)(eq - item) : 0;

	if (len >= sizeof(word))
		return ERR_MALFORMED;
	if (eq != NULL) {
		snprintf(word, sizeof(word), "%.*s", (int)name_len, item);
		if (log_sub_parse(word, &sub) < 0)
			return ERR_MALFORMED;
		name_len++;
	}
	snprintf(word, sizeof(word), "%.*s", (int)(len - name_len), item + name_len);
	if (log_level_parse(word, &level) < 0)
		return ERR_MALFORMED;
	for (int i = 0; apply && i < LOG_SUB_COUNT; i++)
		if (sub == LOG_SUB_COUNT || (int)sub == i)
			log_set_level((enum log_sub)i, level);
	return 0;
}

static int each_level(const char *text, bool apply)
{
	for (;;) {
		size_t len = strcspn(text, ",");

		if (level_item(text, len, apply) < 0)
			return ERR_MALFORMED;
		if (text[len] == '\0')
			return 0;
		text += len + 1;
	}
}

void option_apply_levels(const char *text)
{
	(void)each_level(text, true);
}

static int check_levels(const char *text, char *ret_why, size_t why_size)
{
	if (each_level(text, false) == 0)
		return 0;
	snprintf(ret_why, why_size,
		 "\"%.64s\" is not a log level: error, warn, info or debug, also per part, as in "
		 "info,store=debug",
		 text);
	return ERR_MALFORMED;
}

static bool is_host_port(const char *s, size_t len)
{
	const char *colon = memrchr(s, ':', len);
	char *end;
	long port;

	if (colon == NULL || colon == s || len > HOST_PORT_MAX || s[len - 1] == ':' ||
	    colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtol(colon + 1, &end, 10);
	return end == s + len && port > 0 && port < 65536 && memchr(s, ' ', len) == NULL;
}

static int check_hosts(const char *text, char *ret_why, size_t why_size)
{
	while (*text != '\0') {
		size_t len = strcspn(text, ",");

		if (!is_host_port(text, len)) {
			snprintf(ret_why, why_size,
				 "\"%.128s\" is not HOST:PORT, or several with commas between them",
				 text);
			return ERR_MALFORMED;
		}
		text += len + (text[len] == ',' ? 1 : 0);
	}
	return 0;
}

int option_check(const struct option_def *d, const char *text, uint64_t *ret_number, char *ret_why,
		 size_t why_size)
{
	switch (d->type) {
	case OPTION_TIME:
		return check_number(d, text, times, ARRAY_SIZE(times),
				    "time like 500ms, 30s or 10m", ret_number, ret_why, why_size);
	case OPTION_SIZE:
		return check_number(d, text, sizes, ARRAY_SIZE(sizes),
				    "size like 4096, 512KiB or 16MiB", ret_number, ret_why,
				    why_size);
	case OPTION_NUMBER:
		return check_number(d, text, plain, ARRAY_SIZE(plain), "number", ret_number,
				    ret_why, why_size);
	case OPTION_CHOICE: return check_choice(d->choices, text, ret_why, why_size);
	case OPTION_ADDRESS: return check_address(d, text, ret_why, why_size);
	case OPTION_HOSTS: return check_hosts(text, ret_why, why_size);
	case OPTION_LEVELS: return check_levels(text, ret_why, why_size);
	case OPTION_DIRS:
	case OPTION_TEXT:
	case OPTION_SWITCH: break;
	}
	if (text[0] != '\0')
		return 0;
	snprintf(ret_why, why_size, "is empty");
	return ERR_MALFORMED;
}

/* Levenshtein over two short words, one row at a time. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], a_len = strlen(a), b_len = strlen(b);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_len];
}

const char *option_nearest(const char *word, const char *const *words)
{
	size_t best = MAX(strlen(word) / 3, (size_t)2) + 1;
	const char *nearest = NULL;

	for (; *words != NULL; words++) {
		size_t d = distance(word, *words);

		if (d < best && d < strlen(*words)) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}
