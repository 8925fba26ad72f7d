/* IRIs: hm://<space>[/<path>][?v=<head>.<head>][&peer=<multiaddr>]...
 *
 * What a person may paste is taken (blanks around it, names that are not percent-encoded, a
 * trailing slash, heads in any order, hints for transports unknown here, which are left out); what
 * is written is canonical: two IRIs of one object and version have one text, apart from the hints.
 *
 * Names are decoded once and from then on compared byte for byte, without any Unicode normalization
 * (RFC 3987, 5.3.2.2: IRIs are taken to be normalized already). A '%' that two hexadecimal digits do
 * not follow stands for itself. What can go wrong is that an escape makes a separator: %2F is
 * refused, and "." and ".." are looked for after decoding. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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

static bool begins_with(const struct iri_text *t, size_t at, size_t to, const char *word)
{
	size_t len = strlen(word);

	return to - at >= len && memcmp(t->s + at, word, len) == 0;
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

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that an escape at `at` stands for, or -1 when there is none. */
static int escaped_byte(const struct iri_text *t, size_t at, size_t to)
{
	int high, low;

	if (t->s[at] != '%' || to - at < 3)
		return -1;
	high = hex_digit(t->s[at + 1]);
	low = hex_digit(t->s[at + 2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Returns the length, or an error. ret has room for to - from bytes. */
static int decode(const struct iri_text *t, size_t from, size_t to, bool is_path, char *ret)
{
	int len = 0;

	for (size_t at = from; at < to; at++) {
		int byte = escaped_byte(t, at, to);

		if (is_path && byte == '/')
			return refuse(t, ERR_MALFORMED,
				      "a name cannot contain '/' (%%2F), at byte %zu", at);
		ret[len++] = byte >= 0 ? (char)byte : t->s[at];
		at += byte >= 0 ? 2 : 0;
	}
	return len;
}

/* "/a&peer=…": whoever forgot the '?' does not mean a name. */
static int check_ampersands(const struct iri_text *t, size_t from, size_t to)
{
	for (size_t at = from; (at = find_any(t, at, to, "&")) < to; at++)
		if (begins_with(t, at, to, "&v=") || begins_with(t, at, to, "&peer="))
			return refuse(
				t, ERR_MALFORMED,
				"the first parameter begins with '?', not '&', at byte %zu (a "
				"'&' in a name is written %%26)",
				at);
	return 0;
}

static int read_path(const struct iri_text *t, size_t *at, struct iri *ret)
{
	size_t end = find_any(t, *at, t->len, "?#");
	char why[96] = "", path[IRI_TEXT_MAX];
	int rc = check_ampersands(t, *at, end);

	if (rc < 0)
		return rc;
	if (end < t->len && t->s[end] == '#')
		return refuse(t, ERR_MALFORMED,
			      "'#' at byte %zu: in a name it is written %%23, and there are no "
			      "fragments",
			      end);
	if (end > *at && t->s[*at] != '/')
		return refuse(t, ERR_MALFORMED, "unexpected character at byte %zu", *at);
	rc = decode(t, *at, end, true, path);
	if (rc < 0)
		return rc;
	rc = iri_path_normalize(path, (size_t)rc, ret->path, &ret->path_len, why, sizeof(why));
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
	char text[IRI_TEXT_MAX];
	struct multiaddr addr;
	int rc = decode(t, from, to, false, text);

	if (rc >= 0)
		rc = multiaddr_parse(text, (size_t)rc, &addr);
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

/* From the '?' on. */
static int read_query(const struct iri_text *t, size_t at, struct iri *ret)
{
	while (at < t->len) {
		size_t from = at + 1, to = find_any(t, from, t->len, "&");
		int rc;

		if (begins_with(t, from, to, "v="))
			rc = read_version(t, from + 2, to, ret);
		else if (begins_with(t, from, to, "peer="))
			rc = read_hint(t, from + 5, to, ret);
		else
			rc = refuse(t, ERR_MALFORMED,
				    "unknown parameter at byte %zu (a '?' in a name is written "
				    "%%3F)",
				    from);
		if (rc < 0)
			return rc;
		at = to;
	}
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool has_scheme(const struct iri_text *t, size_t at)
{
	size_t len = strlen(scheme);

	return t->len - at >= len && strncasecmp(t->s + at, scheme, len) == 0;
}

int iri_parse(const char *s, size_t len, struct iri *ret, char *ret_why, size_t why_size)
{
	struct iri_text t = { s, len, ret_why, why_size };
	struct iri iri = { .path_len = 0 };
	size_t at = 0;
	int rc;

	if (len > IRI_TEXT_MAX)
		return refuse(&t, ERR_LIMIT, "longer than %d bytes", IRI_TEXT_MAX);
	while (t.len > 0 && is_blank(s[t.len - 1]))
		t.len--;
	while (at < t.len && is_blank(s[at]))
		at++;
	if (!has_scheme(&t, at))
		return refuse(&t, ERR_MALFORMED, "does not begin with %s", scheme);
	at += strlen(scheme);
	rc = read_space(&t, &at, &iri);
	if (rc == 0)
		rc = read_path(&t, &at, &iri);
	if (rc == 0 && at < t.len)
		rc = read_query(&t, at, &iri);
	if (rc == 0)
		*ret = iri;
	return rc;
}

/* ---- As text ---- */

/* RFC 3987, 2.2: iunreserved, and of what else a segment may hold (sub-delims, ':', '@') that which
 * no shell takes for its own. Beyond ASCII: ucschar, but for white space, what is hidden, and what
 * Unicode normalization would join with its neighbours (combining marks, Hangul's letters): whoever
 * copies it would get other bytes. */
static bool is_plain(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} no[] = {
		{ 0x80, 0xa0 },	    { 0x300, 0x36f },	{ 0x1100, 0x11ff }, { 0x1680, 0x1680 },
		{ 0x2000, 0x200a }, { 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 },
		{ 0x3099, 0x309a }, { 0xe000, 0xf8ff }, { 0xfdd0, 0xfdef }, { 0xf0000, 0x10ffff }
	};

	if (c < 0x80)
		return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		       (c > 0 && strchr("-._~/:@+,=", (int)c) != NULL);
	if ((c & 0xfffe) == 0xfffe || utf8_is_hidden(c))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		if (c >= no[i].first && c <= no[i].last)
			return false;
	return true;
}

static void write_encoded(struct buf *out, const char *s, size_t len)
{
	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, len, &c);
		bool plain = n > 0 && is_plain(c);

		n = MAX(n, (size_t)1);
		if (plain)
			buf_write(out, s, n);
		for (size_t i = 0; !plain && i < n; i++)
			buf_printf(out, "%%%02X", (unsigned)(uint8_t)s[i]);
		s += n;
		len -= n;
	}
}

static void write_space(const struct public_key *key, struct buf *out)
{
	char space[KEY_TEXT_SIZE];

	space_format(key, space);
	buf_write_str(out, scheme);
	buf_write_str(out, space);
}

void iri_format_object(const struct public_key *space, const char *path, size_t path_len,
		       struct buf *out)
{
	write_space(space, out);
	write_encoded(out, path, path_len);
}

void iri_write_name(const struct public_key *space, const char *path, size_t path_len,
		    struct buf *out)
{
	write_space(space, out);
	buf_write(out, path, path_len);
}

void iri_format(const struct iri *iri, struct buf *out)
{
	iri_format_object(&iri->space, iri->path, iri->path_len, out);
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
