/* One pass over the text. Where a word begins, the forms below are tried in turn; the first that
 * fits is replaced, else one byte is copied.
 *
 *   hm://SPACE/a/b   space and every segment of the path get a code of their own
 *   path=/a/b        as segments of an IRI, also as "path":"/a/b"; to the closing quote if there is
 *                    one, with whatever blanks and signs
 *   ?q=a&peer=b      what somebody looked for: the values of such parameters
 *   --data a         files that are named on a command line, in the environment
 *   /srv/a/b.conf    other files: a code for each part, but for those of the system and of sources
 *   hm%3A%2F%2F…     an IRI, encoded for a query: one code
 *   12D3KooW…        peer id          z6Mk…  space         baf…  CID        64 hex digits  hash
 *   http://HOST/…    unless it is this machine: a code for all of it, for it may hold a token
 *   1.2.3.4, fe80::1 addresses, but for loopback and "any", which say nothing about anybody
 *   data folder, home folder, host name
 *
 * Names may have been cut by whoever wrote them: a beginning counts as much as the whole. What was
 * left out of the middle leaves an end that nobody knows: parts are asked for whole. In JSON
 * and in log lines bytes of a name may be escaped (\u00e9, \xc3): such escapes belong to the name,
 * every other backslash ends it. */
#include "daemon/bundle_hide.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CODE_BYTES = 5, ADDRESS_MAX = 45, HASH_DIGITS = 64, CID_MIN = 16, NAME_MIN = 3 };

struct scan {
	const struct bundle_hide *hide;
	struct buf *out;
	const char *p, *end;
};

void bundle_hide_init_with(struct bundle_hide *h, const char *host, const char *home,
			   const char *data)
{
	*h = (struct bundle_hide){ 0 };
	(void)snprintf(h->host, sizeof(h->host), "%s", host != NULL ? host : "");
	(void)snprintf(h->home, sizeof(h->home), "%s", home != NULL ? home : "");
	(void)snprintf(h->data, sizeof(h->data), "%s", data != NULL ? data : "");
}

void bundle_hide_init(struct bundle_hide *h, const char *data, bool off)
{
	char host[256] = "", whole[PATH_MAX];

	if (data != NULL && realpath(data, whole) != NULL)
		data = whole;
	if (gethostname(host, sizeof(host) - 1) < 0 || strcmp(host, "localhost") == 0)
		host[0] = '\0';
	bundle_hide_init_with(h, host, getenv("HOME"), data);
	if (strcmp(h->home, "/") == 0)
		h->home[0] = '\0';
	h->off = off;
	randombytes_buf(h->key, sizeof(h->key));
}

static size_t left(const struct scan *s)
{
	return (size_t)(s->end - s->p);
}

static void write_code(struct scan *s, const char *kind, const char *name, size_t len)
{
	uint8_t hash[crypto_generichash_BYTES_MIN];

	(void)crypto_generichash(hash, sizeof(hash), (const uint8_t *)name, len, s->hide->key,
				 sizeof(s->hide->key));
	buf_printf(s->out, "%s-", kind);
	for (size_t i = 0; i < CODE_BYTES; i++)
		buf_printf(s->out, "%02x", hash[i]);
}

static bool starts(const struct scan *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return left(s) >= n && strncasecmp(s->p, prefix, n) == 0;
}

static size_t span(const char *p, const char *end, int (*fits)(int c))
{
	size_t n = 0;

	while (p + n < end && fits((unsigned char)p[n]))
		n++;
	return n;
}

static int in_query_value(int c)
{
	return c > 0x20 && c != 0x7f && strchr("\"'`\\&<>", c) == NULL;
}

static bool hide_encoded(struct scan *s);
static bool hide_id(struct scan *s);
static bool hide_address(struct scan *s);
static bool hide_known_place(struct scan *s);

/* ---- Names of objects ---- */

/* What an IRI's path may hold (object/object.h), except '/'. */
static int in_segment(int c)
{
	return c > 0x20 && c != 0x7f && strchr("\"'`\\?#&/<>", c) == NULL;
}

static size_t segment_len(const char *p, const char *end)
{
	size_t n = 0;

	for (;;) {
		n += span(p + n, end, in_segment);
		if (end - p - (ptrdiff_t)n < 2 || p[n] != '\\' ||
		    (p[n + 1] != 'u' && p[n + 1] != 'x'))
			return n;
		n += 2;
	}
}

/* quoted: until the end of the text, at the closing quote. */
static void hide_segments(struct scan *s, const char *first_kind, bool quoted)
{
	const char *kind = first_kind;

	for (;;) {
		const char *slash = quoted ? memchr(s->p, '/', left(s)) : NULL;
		size_t n = !quoted	 ? segment_len(s->p, s->end) :
			   slash != NULL ? (size_t)(slash - s->p) :
					   left(s);

		if (n > 0)
			write_code(s, kind, s->p, n);
		s->p += n;
		if (left(s) == 0 || *s->p != '/')
			return;
		buf_write_u8(s->out, '/');
		s->p++;
		kind = "name";
	}
}

static bool hide_iri(struct scan *s)
{
	if (!starts(s, "hm://"))
		return false;
	buf_write_str(s->out, "hm://");
	s->p += strlen("hm://");
	hide_segments(s, "space", false);
	return true;
}

/* Up to the quote that closes what the one before s->p has opened, which may be an escaped one;
 * NULL = there is none. */
static const char *closing_quote(const struct scan *s, const char *begin)
{
	bool escaped = s->p - begin >= 2 && s->p[-2] == '\\';

	if (s->p == begin || s->p[-1] != '"')
		return NULL;
	for (const char *p = s->p; p < s->end; p++) {
		if (*p == '\n')
			return NULL;
		if (*p == '"' && (p > s->p && p[-1] == '\\') == escaped)
			return escaped ? p - 1 : p;
	}
	return NULL;
}

static void hide_path_at(struct scan *s, const char *begin)
{
	const char *quote = closing_quote(s, begin), *end = s->end;

	if (quote != NULL)
		s->end = quote;
	hide_segments(s, "name", quote != NULL);
	s->end = end;
}

/* A path without its space is known by its key alone: path=…, "path":"…", path="…". */
static bool hide_path(struct scan *s)
{
	const char *begin = s->p;
	size_t n = strlen("path");

	if (!starts(s, "path"))
		return false;
	while (n < left(s) && strchr("\"\\", s->p[n]) != NULL && s->p[n] != '\0')
		n++;
	if (n == left(s) || (s->p[n] != '=' && s->p[n] != ':'))
		return false;
	while (n < left(s) && s->p[n] != '\0' && strchr("=:\"\\ ", s->p[n]) != NULL)
		n++;
	if (n == left(s) || s->p[n] != '/')
		return false;
	buf_write(s->out, s->p, n);
	s->p += n;
	hide_path_at(s, begin);
	return true;
}

/* ---- Files ---- */

static int in_key_end(int c)
{
	return c != 0 && strchr("\"\\=:, ", c) != NULL;
}

static int not_colon(int c)
{
	return c != ':';
}

static int in_value(int c)
{
	return c > 0x20 && c != 0x7f && strchr("\"'`\\,<>", c) == NULL;
}

/* What stands behind such a word is a file, whatever it looks like. */
static bool hide_named_file(struct scan *s)
{
	static const char *const words[] = { "--data", "--config", "PEERSCOPE_DATA",
					     "PEERSCOPE_CONFIG" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = strlen(words[i]), gap;

		if (!starts(s, words[i]))
			continue;
		gap = span(s->p + n, s->end, in_key_end);
		if (gap == 0 || s->p[n] == '\\')
			return false;
		n += gap;
		/* "--data"}: it names the option */
		if (n == left(s) || !in_value((unsigned char)s->p[n]) ||
		    strchr("}]{[-", s->p[n]) != NULL)
			return false;
		buf_write(s->out, s->p, n);
		s->p += n;
		if (hide_known_place(s))
			return true;
		n = span(s->p, s->end, in_value);
		if (n < NAME_MIN) /* the end of a sentence */
			return true;
		write_code(s, "file", s->p, n);
		s->p += n;
		return true;
	}
	return false;
}

/* The folders that every system has, and what begins like a file and is none. */
static bool is_common(const char *p, size_t len)
{
	static const char *const names[] = { "usr", "lib",   "lib64", "bin",	 "sbin", "proc",
					     "sys", "dev",   "debug", "v1",	 "ip4",	 "ip6",
					     "tcp", "pprof", "ws",    "metrics", "p2p" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], p, len) == 0)
			return true;
	return false;
}

static bool is_source(const char *p, size_t len)
{
	return len > 2 && p[len - 2] == '.' && strchr("chsS", p[len - 1]) != NULL;
}

/* An absolute name of at least so many parts. */
static bool hide_file(struct scan *s, unsigned parts)
{
	size_t first, len = 0, n;

	if (left(s) < 2 || *s->p != '/')
		return false;
	first = span(s->p + 1, s->end, in_segment);
	if (first == 0 || is_common(s->p + 1, first))
		return false;
	while (len < left(s) && s->p[len] == '/' && (n = segment_len(s->p + len + 1, s->end)) > 0)
		len += 1 + n;
	if ((parts > 1 && len <= first + 1) || is_source(s->p, span(s->p, s->p + len, not_colon)))
		return false;
	buf_write_u8(s->out, '/');
	s->p++;
	hide_segments(s, "dir", false);
	return true;
}

/* ---- What was looked for ---- */

static bool hide_parameter(struct scan *s)
{
	static const char *const keys[] = { "q=",     "iri=",  "peer=",	   "title=", "name=",
					    "space=", "addr=", "address=", "attr=" };
	size_t n;

	if (left(s) < 2 || (*s->p != '?' && *s->p != '&'))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t key = strlen(keys[i]);

		if (left(s) <= key + 1 || memcmp(s->p + 1, keys[i], key) != 0)
			continue;
		buf_write(s->out, s->p, key + 1);
		s->p += key + 1;
		if (hide_iri(s) || hide_encoded(s) || hide_address(s) || hide_id(s))
			return true;
		if (*s->p == '/') /* an address */
			return true;
		n = span(s->p, s->end, in_query_value);
		if (n > 0)
			write_code(s, "text", s->p, n);
		s->p += n;
		return true;
	}
	return false;
}

static bool hide_encoded(struct scan *s)
{
	size_t n;

	if (!starts(s, "hm%3a%2f%2f") && !starts(s, "hm:%2f%2f"))
		return false;
	n = span(s->p, s->end, in_query_value);
	write_code(s, "iri", s->p, n);
	s->p += n;
	return true;
}

static bool hide_url(struct scan *s)
{
	static const char *const here[] = { "localhost", "127.0.0.1", "[::1]" };
	size_t scheme = starts(s, "https://") ? 8 : starts(s, "http://") ? 7 : 0, n;
	struct scan host = { s->hide, s->out, s->p + scheme, s->end };

	if (scheme == 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(here); i++)
		if (starts(&host, here[i]))
			return false;
	for (n = 0; n < left(s) && (in_query_value((unsigned char)s->p[n]) || s->p[n] == '&'); n++)
		continue;
	write_code(s, "url", s->p, n);
	s->p += n;
	return true;
}

static bool hide_id(struct scan *s)
{
	static const struct {
		const char *prefix, *kind;
		size_t min;
	} forms[] = { { "12D3KooW", "peer", 0 },
		      { "z6Mk", "space", 0 },
		      { "bafk", "blob", CID_MIN },
		      { "bafy", "blob", CID_MIN } };
	size_t n = span(s->p, s->end, isalnum);

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (strncmp(s->p, forms[i].prefix, MIN(n, strlen(forms[i].prefix))) != 0 ||
		    n <= strlen(forms[i].prefix) || n < forms[i].min)
			continue;
		write_code(s, forms[i].kind, s->p, n);
		s->p += n;
		return true;
	}
	if (n != HASH_DIGITS || span(s->p, s->end, isxdigit) != n)
		return false;
	write_code(s, "hash", s->p, n);
	s->p += n;
	return true;
}

/* ---- Addresses ---- */

static int in_ipv4(int c)
{
	return isdigit(c) || c == '.';
}

static int in_ipv6(int c)
{
	return isxdigit(c) || c == ':' || c == '.';
}

static bool is_address(const char *p, size_t len, int family, bool *ret_harmless)
{
	char text[ADDRESS_MAX + 1];
	struct in6_addr a;
	uint8_t *b = (uint8_t *)&a;

	if (len > ADDRESS_MAX)
		return false;
	memcpy(text, p, len);
	text[len] = '\0';
	if (inet_pton(family, text, &a) != 1)
		return false;
	if (family == AF_INET)
		*ret_harmless = b[0] == 127 || (b[0] | b[1] | b[2] | b[3]) == 0;
	else
		*ret_harmless = IN6_IS_ADDR_LOOPBACK(&a) || IN6_IS_ADDR_UNSPECIFIED(&a);
	return true;
}

/* A sentence may go on with a full stop or a colon right behind. */
static size_t address_len(const struct scan *s, int family, bool *ret_harmless)
{
	size_t n = span(s->p, s->end, family == AF_INET ? in_ipv4 : in_ipv6);

	if (family == AF_INET6 && memchr(s->p, ':', n) == NULL)
		return 0;
	for (unsigned cut = 0; cut < 2 && n > 1; cut++, n--) {
		if (is_address(s->p, n, family, ret_harmless))
			return n;
		if (s->p[n - 1] != '.' && s->p[n - 1] != ':')
			return 0;
	}
	return 0;
}

static bool hide_address(struct scan *s)
{
	bool harmless = false;
	size_t n = address_len(s, AF_INET, &harmless);

	if (n == 0)
		n = address_len(s, AF_INET6, &harmless);
	if (n == 0)
		return false;
	if (harmless)
		buf_write(s->out, s->p, n);
	else
		write_code(s, "ip", s->p, n);
	s->p += n;
	return true;
}

/* ---- This machine ---- */

static bool hide_place(struct scan *s, const char *path, const char *instead)
{
	size_t n = strlen(path);

	if (n < NAME_MIN || left(s) < n || memcmp(s->p, path, n) != 0 ||
	    (left(s) > n && (isalnum((unsigned char)s->p[n]) || s->p[n] == '-' || s->p[n] == '_')))
		return false;
	buf_write_str(s->out, instead);
	s->p += n;
	return true;
}

/* A slash within a word or behind another is no beginning. */
static bool follows_blank(const struct scan *s, const char *text)
{
	return s->p == text || (strchr("\"' =([,:\t\n", s->p[-1]) != NULL && s->p[-1] != '\0');
}

/* What somebody asked for that is no page. */
static bool follows_method(const struct scan *s, const char *text)
{
	return (s->p - text >= 4 && memcmp(s->p - 4, "GET ", 4) == 0) ||
	       (s->p - text >= 5 &&
		(memcmp(s->p - 5, "POST ", 5) == 0 || memcmp(s->p - 5, "HEAD ", 5) == 0));
}

static bool hide_known_place(struct scan *s)
{
	return hide_place(s, s->hide->data, "$DATA") || hide_place(s, s->hide->home, "~");
}

void bundle_hide_write(const struct bundle_hide *h, struct buf *out, const char *text, size_t len)
{
	struct scan s = { h, out, text, text };
	bool in_word = false;

	if (len == 0)
		return;
	s.end += len;
	if (h->off) {
		buf_write(out, text, len);
		return;
	}
	while (s.p < s.end) {
		if (hide_known_place(&s)) {
			in_word = false;
			continue;
		}
		if (hide_parameter(&s))
			continue;
		if (!in_word &&
		    (hide_iri(&s) || hide_path(&s) || hide_encoded(&s) || hide_url(&s) ||
		     hide_id(&s) || hide_address(&s) || hide_named_file(&s) ||
		     (follows_blank(&s, text) && hide_file(&s, follows_method(&s, text) ? 1 : 2)) ||
		     hide_place(&s, h->host, "host"))) {
			in_word = true;
			continue;
		}
		in_word = isalnum((unsigned char)*s.p) || *s.p == '.';
		buf_write_u8(out, (uint8_t)*s.p++);
	}
}
