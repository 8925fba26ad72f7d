/* Our reconciliation, spoken over the line protocol of the Negentropy reference's test suite, so that
 * it can be played against any other implementation of protocol version 1:
 *
 *	negentropy_line [reference | frugal]
 *
 * reference splits exactly as the reference does, byte for byte; frugal as our sessions do.
 *
 *   in                          out
 *   item,<time>,<64 hex>
 *   seal                        (environment FRAMESIZELIMIT: bytes, absent or 0 = none)
 *   initiate                    msg,<hex>
 *   msg,<hex>                   the responder: msg,<hex>
 *                               the initiator: have,<hex> …, need,<hex> …, then msg,<hex> or done
 *
 * Anything else, and anything that is wrong, ends it with a message and 1. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "sync/reconcile.h"

struct side {
	struct reconcile_item *items;
	size_t count, cap;
	struct reconcile_set set;
	struct reconcile session;
	size_t frame_limit;
	enum reconcile_policy policy;
	bool sealed, initiator;
};

static _Noreturn void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void take_hex(const char *text, struct buf *out)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i += 2) {
		int high = nibble(text[i]), low = i + 1 < len ? nibble(text[i + 1]) : -1;

		if (high < 0 || low < 0)
			fail("no hex: %.40s", text);
		buf_write_u8(out, (uint8_t)(high << 4 | low));
	}
}

static void say_hex(const char *word, const uint8_t *p, size_t len)
{
	printf("%s,", word);
	for (size_t i = 0; i < len; i++)
		printf("%02x", p[i]);
	putchar('\n');
}

static void take_item(struct side *s, const char *text)
{
	struct reconcile_item item;
	char *end;

	item.time = strtoull(text, &end, 10);
	if (s->sealed || *end != ',' || hash_from_hex(end + 1, strlen(end + 1), &item.id) < 0)
		fail("no item: %s", text);
	if (s->count == s->cap) {
		s->cap = MAX(2 * s->cap, (size_t)1024);
		s->items = mem_realloc(s->items, s->cap * sizeof(*s->items));
		if (s->items == NULL)
			fail("out of memory");
	}
	s->items[s->count++] = item;
}

static void seal(struct side *s)
{
	const char *limit = getenv("FRAMESIZELIMIT");
	int err;

	s->frame_limit = limit != NULL ? strtoul(limit, NULL, 10) : 0;
	err = reconcile_set_init(&s->set, s->items, s->count);
	if (err == 0)
		err = reconcile_init(&s->session, &s->set, s->frame_limit, s->policy);
	if (err < 0)
		fail("seal: %s", err_str(err));
	s->sealed = true;
}

static bool say_have(void *data, const struct reconcile_item *item)
{
	say_hex("have", item->id.bytes, HASH_SIZE);
	return true;
}

/* After the haves. */
static bool keep_need(void *data, const struct hash *id)
{
	buf_write(data, id->bytes, HASH_SIZE);
	return true;
}

static void say_needs(const struct buf *needs)
{
	for (size_t i = 0; i < needs->len; i += HASH_SIZE)
		say_hex("need", needs->data + i, HASH_SIZE);
}

static void take_message(struct side *s, const char *text)
{
	struct buf in, out, needs;
	bool done = false;
	int err;

	buf_init(&in, SIZE_MAX / 2);
	buf_init(&out, SIZE_MAX / 2);
	buf_init(&needs, SIZE_MAX / 2);
	take_hex(text, &in);
	if (s->initiator)
		err = reconcile_continue(&s->session, in.data, in.len,
					 &(struct reconcile_sink){ say_have, keep_need, &needs },
					 &out, &done);
	else
		err = reconcile_respond(&s->session, in.data, in.len, &out);
	if (err == 0)
		err = MIN(buf_err(&out), buf_err(&needs));
	if (err < 0)
		fail("msg: %s", err_str(err));
	if (s->frame_limit > 0 && out.len > s->frame_limit)
		fail("a message of %zu bytes is over the limit of %zu", out.len, s->frame_limit);
	say_needs(&needs);
	if (done)
		puts("done");
	else
		say_hex("msg", out.data, out.len);
	buf_fini(&in);
	buf_fini(&out);
	buf_fini(&needs);
}

static void initiate(struct side *s)
{
	struct buf out;
	int err;

	buf_init(&out, SIZE_MAX / 2);
	err = reconcile_initiate(&s->session, &out);
	if (err < 0)
		fail("initiate: %s", err_str(err));
	s->initiator = true;
	say_hex("msg", out.data, out.len);
	buf_fini(&out);
}

static void take_line(struct side *s, const char *line)
{
	if (*line == '\0')
		return;
	if (strncmp(line, "item,", 5) == 0)
		take_item(s, line + 5);
	else if (strcmp(line, "seal") == 0 && !s->sealed)
		seal(s);
	else if (strcmp(line, "initiate") == 0 && s->sealed && !s->initiator)
		initiate(s);
	else if (strncmp(line, "msg,", 4) == 0 && s->sealed)
		take_message(s, line + 4);
	else
		fail("no such command here: %.40s", line);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct side s = { .policy = RECONCILE_REFERENCE };
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	if (argc > 1 && strcmp(argv[1], "frugal") == 0)
		s.policy = RECONCILE_FRUGAL;
	else if (argc > 1 && strcmp(argv[1], "reference") != 0)
		fail("usage: negentropy_line [reference | frugal]");
	if (base_init() < 0)
		fail("no random numbers");
	while ((len = getline(&line, &cap, stdin)) >= 0) {
		if (len > 0 && line[len - 1] == '\n')
			line[len - 1] = '\0';
		take_line(&s, line);
	}
	free(line);
	reconcile_set_fini(&s.set);
	mem_free(s.items);
	return 0;
}
