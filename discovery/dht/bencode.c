#include "discovery/dht/bencode.h"

#include <string.h>

void bencode_init(struct bencode *b, const uint8_t *data, size_t len)
{
	*b = (struct bencode){ .in = buf_reader(data, len) };
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* i<n>e, in the one spelling of each number. */
static int read_int(struct bencode *b, int64_t *ret)
{
	const uint8_t *p = b->in.p;
	bool negative = false;
	uint64_t n = 0;

	if (p < b->in.end && *p == '-') {
		negative = true;
		p++;
	}
	if (p < b->in.end && *p == '0' && (negative || (p + 1 < b->in.end && p[1] != 'e')))
		return ERR_MALFORMED;
	if (p < b->in.end && !is_digit(*p))
		return ERR_MALFORMED;
	for (; p < b->in.end && is_digit(*p); p++) {
		if (n > (INT64_MAX - 9) / 10)
			return ERR_LIMIT;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	if (p == b->in.end)
		return ERR_TRUNCATED;
	if (*p != 'e')
		return ERR_MALFORMED;
	b->in.p = p + 1;
	*ret = negative ? -(int64_t)n : (int64_t)n;
	return 0;
}

/* <length>:<bytes>. Deployed nodes accept leading zeros. */
static int read_string(struct bencode *b, struct bencode_token *t)
{
	const uint8_t *p = b->in.p;
	unsigned digits = 0;
	size_t len = 0;

	for (; p < b->in.end && is_digit(*p); p++) {
		if (++digits > BENCODE_LENGTH_DIGITS_MAX)
			return ERR_LIMIT;
		len = len * 10 + (size_t)(*p - '0');
	}
	if (p == b->in.end)
		return ERR_TRUNCATED;
	if (*p != ':')
		return ERR_MALFORMED;
	p++;
	if (len > (size_t)(b->in.end - p))
		return ERR_TRUNCATED;
	t->type = BENCODE_STRING;
	t->p = p;
	t->len = len;
	b->in.p = p + len;
	return 0;
}

static int open_container(struct bencode *b, bool dict)
{
	if (b->depth == BENCODE_DEPTH_MAX)
		return ERR_LIMIT;
	b->is_dict[b->depth] = dict;
	b->wants_key[b->depth] = dict;
	b->depth++;
	return 0;
}

static int read_value(struct bencode *b, uint8_t c, struct bencode_token *t)
{
	switch (c) {
	case 'i':
		b->in.p++;
		t->type = BENCODE_INT;
		return read_int(b, &t->n);
	case 'l':
	case 'd':
		b->in.p++;
		t->type = c == 'd' ? BENCODE_DICT : BENCODE_LIST;
		return open_container(b, c == 'd');
	default: return is_digit(c) ? read_string(b, t) : ERR_MALFORMED;
	}
}

int bencode_next(struct bencode *b, struct bencode_token *ret)
{
	unsigned in = b->depth - 1; /* the container that this token is in, if depth > 0 */
	struct bencode_token t = { 0 };
	int rc;

	if (b->in.p == b->in.end)
		return ERR_TRUNCATED;
	if (*b->in.p == 'e') {
		if (b->depth == 0 || (b->is_dict[in] && !b->wants_key[in]))
			return ERR_MALFORMED;
		b->in.p++;
		b->depth--;
		*ret = (struct bencode_token){ .type = BENCODE_END };
		return 0;
	}
	if (b->depth > 0 && b->is_dict[in]) {
		if (b->wants_key[in] && !is_digit(*b->in.p))
			return ERR_MALFORMED;
		b->wants_key[in] = !b->wants_key[in];
	}
	rc = read_value(b, *b->in.p, &t);
	if (rc == 0)
		*ret = t;
	return rc;
}

int bencode_key(struct bencode *b, struct bencode_token *ret)
{
	int rc = bencode_next(b, ret);

	if (rc < 0)
		return rc;
	return ret->type == BENCODE_STRING ? 1 : 0;
}

int bencode_skip(struct bencode *b, const struct bencode_token *first)
{
	unsigned open = first->type == BENCODE_LIST || first->type == BENCODE_DICT ? 1 : 0;

	while (open > 0) {
		struct bencode_token t;
		int rc = bencode_next(b, &t);

		if (rc < 0)
			return rc;
		if (t.type == BENCODE_LIST || t.type == BENCODE_DICT)
			open++;
		else if (t.type == BENCODE_END)
			open--;
	}
	return 0;
}

void bencode_write_string(struct buf *out, const void *data, size_t len)
{
	buf_printf(out, "%zu:", len);
	buf_write(out, data, len);
}

void bencode_write_text(struct buf *out, const char *s)
{
	bencode_write_string(out, s, strlen(s));
}

void bencode_write_int(struct buf *out, int64_t n)
{
	buf_printf(out, "i%llde", (long long)n);
}
