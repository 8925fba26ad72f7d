/* Bencode (BEP 3), read by pulling one token after the other: no tree, no recursion, no allocation.
 *
 * Structure is checked on the way: nesting, string keys, a value for every key. Keys in any order
 * and repeated keys are passed on; bytes behind the outermost value are left alone. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum {
	BENCODE_DEPTH_MAX = 10,
	BENCODE_LENGTH_DIGITS_MAX = 7 /* of a string's length; longer than any packet anyway */
};

enum bencode_type { BENCODE_INT, BENCODE_STRING, BENCODE_LIST, BENCODE_DICT, BENCODE_END };

struct bencode_token {
	enum bencode_type type;
	const uint8_t *p; /* BENCODE_STRING: borrowed from the input */
	size_t len;
	int64_t n; /* BENCODE_INT */
};

struct bencode {
	struct buf_reader in;
	/* private */
	unsigned depth;
	bool is_dict[BENCODE_DEPTH_MAX], wants_key[BENCODE_DEPTH_MAX];
};

/** Borrows the bytes. */
void bencode_init(struct bencode *b, const uint8_t *data, size_t len);
/** The next token. BENCODE_LIST and BENCODE_DICT open a container that BENCODE_END closes. 0,
 * ERR_TRUNCATED, ERR_MALFORMED, ERR_LIMIT (too deep). After an error the reader is of no use. */
int bencode_next(struct bencode *b, struct bencode_token *ret);
/** Inside a dictionary: 1 and a key, 0 when it has ended, or an error. */
int bencode_key(struct bencode *b, struct bencode_token *ret);
/** Read the rest of a value whose first token was `first`. */
int bencode_skip(struct bencode *b, const struct bencode_token *first);

/* Writers. The order of keys is the caller's care. */
void bencode_write_string(struct buf *out, const void *data, size_t len);
void bencode_write_text(struct buf *out, const char *s);
void bencode_write_int(struct buf *out, int64_t n);
