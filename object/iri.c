/* IRIs: hm://<space>[/<path>][?v=<head>.<head>][&peer=<multiaddr>]...
 *
 * What a person may paste is taken (a trailing slash, heads in any order, hints for transports
 * unknown here, which are left out); what is written is canonical: two IRIs of one object and
 * version have one text, apart from the hints. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "object/object.h"

static const char scheme[] = "hm://";

/* The text being parsed, and where to say what is wrong with it. */
struct iri_text {
	const char *s;
	size_t len;
	char *why;
	size_t why_size;
};

static PRINTF_LIKE(3, 4) int refuse(const struct iri_text *t, int code, const char *fmt, ...)
{
	va_list args;

	if (t->why == NULL)
		return code;
	va_start(args, fmt);
	(void)vsnprintf(t->why, t->why_size, fmt, args);
	va_end(args);
	return code;
}

/* Offset of the first of the characters in [from, to), or to. */
static size_t find_any(const struct iri_text *t, size_t from, size_t to, const char *characters)
{
	while (from < to && (t->s[from] == '\0' || strchr(characters, t->s[from]) == NULL))
		from++;
	return from;
}

static int read_space(const struct iri_text *t, size_t *at, struct iri *ret)
{
	size_t end = find_any(t, *at, t->len, "/?#&");
	int rc = space_parse(t->s + *at, end - *at, &ret->space);

	if (rc < 0)
		return refuse(t, rc, "the space at byte %zu is not an Ed25519 key spelt z6Mk...",
			      *at);
	*at = end;
	return 0;
}

static int read_path(const struct iri_text *t, size_t *at, struct iri *ret)
{
	size_t end = find_any(t, *at, t->len, "?#&");
	char why[96] = "";
	int rc = iri_path_normalize(t->s + *at, end - *at, ret->path, &ret->path_len, why,
				    sizeof(why));

	if (rc < 0)
		return refuse(t, rc, "%s of the path, which begins at byte %zu", why, *at);
	*at = end;
	return 0;
}

static int read_version(const struct iri_text *t, size_t from, size_t to, struct iri *ret)
{
	int rc;

	if (ret->head_count > 0)
		return refuse(t, ERR_MALFORMED, "a second version at byte %zu", from);
	if (from == to)
		return refuse(t, ERR_MALFORMED, "empty version at byte %zu", from);
	rc = version_parse(t->s + from, to - from, ret->heads, IRI_HEADS_MAX, &ret->head_count);
	if (rc == ERR_LIMIT)
		return refuse(t, rc, "more than %d heads in the version at byte %zu", IRI_HEADS_MAX,
			      from);
	return rc < 0 ?
		       refuse(t, rc, "the version at byte %zu is not heads joined with '.'", from) :
		       0;
}

static int read_hint(const struct iri_text *t, size_t from, size_t to, struct iri *ret)
{
	struct multiaddr addr;
	int rc = multiaddr_parse(t->s + from, to - from, &addr);

	if (rc == ERR_UNSUPPORTED)
		return 0;
	if (rc < 0)
		return refuse(t, rc,
			      "the peer at byte %zu is not an address like /ip4/1.2.3.4/tcp/4001",
			      from);
	if (ret->hint_count == IRI_HINTS_MAX)
		return refuse(t, ERR_LIMIT, "more than %d peers, at byte %zu", IRI_HINTS_MAX, from);
	ret->hints[ret->hint_count++] = addr;
	return 0;
}

static bool begins_with(const struct iri_text *t, size_t at, size_t to, const char *word)
{
	size_t len = strlen(word);

	return to - at >= len && memcmp(t->s + at, word, len) == 0;
}

/* From the '?' on. */
static int read_query(const struct iri_text *t, size_t at, struct iri *ret)
{
	if (t->s[at] != '?')
		return refuse(t, ERR_MALFORMED, "unexpected character at byte %zu", at);
	while (at < t->len) {
		size_t from = at + 1, to = find_any(t, from, t->len, "&");
		int rc;

		if (begins_with(t, from, to, "v="))
			rc = read_version(t, from + 2, to, ret);
		else if (begins_with(t, from, to, "peer="))
			rc = read_hint(t, from + 5, to, ret);
		else
			rc = refuse(t, ERR_MALFORMED, "unknown parameter at byte %zu", from);
		if (rc < 0)
			return rc;
		at = to;
	}
	return 0;
}

int iri_parse(const char *s, size_t len, struct iri *ret, char *ret_why, size_t why_size)
{
	struct iri_text t = { s, len, ret_why, why_size };
	struct iri iri = { .path_len = 0 };
	size_t at = strlen(scheme);
	int rc;

	if (len > IRI_TEXT_MAX)
		return refuse(&t, ERR_LIMIT, "longer than %d bytes", IRI_TEXT_MAX);
	if (!begins_with(&t, 0, len, scheme))
		return refuse(&t, ERR_MALFORMED, "does not begin with %s", scheme);
	rc = read_space(&t, &at, &iri);
	if (rc == 0)
		rc = read_path(&t, &at, &iri);
	if (rc == 0 && at < len)
		rc = read_query(&t, at, &iri);
	if (rc == 0)
		*ret = iri;
	return rc;
}

void iri_format(const struct iri *iri, struct buf *out)
{
	char space[KEY_TEXT_SIZE];

	space_format(&iri->space, space);
	buf_write_str(out, scheme);
	buf_write_str(out, space);
	buf_write(out, iri->path, iri->path_len);
}

void iri_format_full(const struct iri *iri, struct buf *out)
{
	char separator = '?';

	iri_format(iri, out);
	if (iri->head_count > 0) {
		buf_write_str(out, "?v=");
		version_format(iri->heads, iri->head_count, out);
		separator = '&';
	}
	for (size_t i = 0; i < iri->hint_count; i++) {
		char addr[MULTIADDR_TEXT_SIZE];

		multiaddr_format(&iri->hints[i], addr);
		buf_printf(out, "%cpeer=%s", separator, addr);
		separator = '&';
	}
}

bool iri_same_object(const struct iri *a, const struct iri *b)
{
	return key_eq(&a->space, &b->space) && a->path_len == b->path_len &&
	       memcmp(a->path, b->path, a->path_len) == 0;
}

/* ---- Versions ---- */

void version_format(const struct hash *heads, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		char cid[CID_TEXT_SIZE];

		cid_format(&heads[i], cid);
		buf_printf(out, "%s%s", i == 0 ? "" : ".", cid);
	}
}

/* Into its place among `count` ascending ones; false if it is there already. */
static bool insert_sorted(struct hash *heads, size_t count, const struct hash *head)
{
	size_t at = count;

	while (at > 0 && hash_cmp(&heads[at - 1], head) > 0)
		at--;
	if (at > 0 && hash_eq(&heads[at - 1], head))
		return false;
	memmove(&heads[at + 1], &heads[at], (count - at) * sizeof(*heads));
	heads[at] = *head;
	return true;
}

int version_parse(const char *s, size_t len, struct hash *ret, size_t cap, size_t *ret_count)
{
	struct hash heads[IRI_HEADS_MAX];
	size_t count = 0, room = MIN(cap, (size_t)IRI_HEADS_MAX);

	for (size_t from = 0; len > 0 && from <= len;) {
		const char *dot = memchr(s + from, '.', len - from);
		size_t to = dot != NULL ? (size_t)(dot - s) : len;
		struct hash head;
		int rc = cid_parse(s + from, to - from, &head);

		if (rc < 0)
			return rc;
		if (count == room)
			return ERR_LIMIT;
		if (!insert_sorted(heads, count, &head))
			return ERR_MALFORMED;
		count++;
		from = to + 1;
	}
	if (count > 0)
		memcpy(ret, heads, count * sizeof(*heads));
	*ret_count = count;
	return 0;
}
