/* Go's execution trace, version 1.19, as internal/trace reads it:
 *
 *   header   "go 1.19 trace", filled with NULs to 16 bytes
 *   event    a byte: type, and in its two upper bits the number of arguments less one. Up to three
 *            arguments follow; else (3) their length in bytes, then they. All are LEB128
 *   Batch    processor, time: the events behind it are that processor's; the first argument of an
 *            event is the time since the one before it
 *   String   number, length, bytes
 *   Stack    number, count, then for each frame its address, function, file (both as numbers of
 *            strings) and line
 *   UserLog  its text stands behind the arguments: length, bytes
 *
 * What can go wrong: a reader refuses strings and stacks of no or too great a length, and time that
 * runs backwards; a thread's events come with growing times, equal ones included. */
#include "profiler/exectrace_wire.h"

#include <string.h>

enum { TEXT_MAX = 512 };

/* base/buf.h writes numbers of at most 9 bytes; addresses of the upper half need 10. */
static void put_uvarint(struct buf *b, uint64_t v)
{
	uint8_t bytes[10];
	unsigned n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	buf_write(b, bytes, n);
}

static unsigned uvarint_len(uint64_t v)
{
	unsigned n = 1;

	while ((v >>= 7) != 0)
		n++;
	return n;
}

static void put_event(struct buf *b, enum go_event type, const uint64_t *args, unsigned n)
{
	unsigned len = 0;

	if (n < 4) {
		buf_write_u8(b, (uint8_t)((unsigned)type | (n - 1) << 6));
	} else {
		for (unsigned i = 0; i < n; i++)
			len += uvarint_len(args[i]);
		buf_write_u8(b, (uint8_t)((unsigned)type | 3u << 6));
		put_uvarint(b, len);
	}
	for (unsigned i = 0; i < n; i++)
		put_uvarint(b, args[i]);
}

static void put_text(struct buf *b, const char *s)
{
	size_t len = strnlen(s, TEXT_MAX);

	put_uvarint(b, len);
	buf_write(b, s, len);
}

/* ---- Lanes ---- */

void go_lane_init(struct go_lane *l)
{
	*l = (struct go_lane){ 0 };
	buf_init(&l->events, PROFILER_OUTPUT_MAX);
}

void go_lane_fini(struct go_lane *l)
{
	buf_fini(&l->events);
}

void go_event(struct go_lane *l, unsigned lane, enum go_event type, uint64_t ns,
	      const uint64_t *args, unsigned n)
{
	uint64_t all[GO_WORDS_MAX + 1];

	if (!l->begun)
		put_event(&l->events, GO_BATCH, (const uint64_t[]){ lane, ns }, 2);
	all[0] = l->begun && ns > l->last_ns ? ns - l->last_ns : 0;
	l->last_ns = l->begun ? MAX(l->last_ns, ns) : ns;
	l->begun = true;
	REQUIRE(n <= GO_WORDS_MAX);
	if (n > 0)
		memcpy(all + 1, args, n * sizeof(*all));
	put_event(&l->events, type, all, n + 1);
}

void go_log(struct go_lane *l, unsigned lane, uint64_t ns, uint64_t task, uint64_t key,
	    const char *text)
{
	GO_EVENT(l, lane, GO_USER_LOG, ns, task, key, 0);
	put_text(&l->events, text);
}

/* ---- Tables ---- */

void go_table_init(struct go_table *t)
{
	*t = (struct go_table){ 0 };
	buf_init(&t->out, PROFILER_OUTPUT_MAX);
	map_init(&t->strings, GO_STRINGS_MAX);
	map_init(&t->stacks, GO_STRINGS_MAX);
}

void go_table_fini(struct go_table *t)
{
	buf_fini(&t->out);
	map_fini(&t->strings);
	map_fini(&t->stacks);
}

/* A number once given is kept; it is not given when it cannot be remembered, lest it be twice. */
static uint64_t number(struct go_table *t, struct map *m, const void *key, size_t len,
		       uint64_t *count)
{
	int rc = map_put(m, key, len, (void *)(uintptr_t)(*count + 1));

	if (rc == 0)
		return ++*count;
	if (rc != ERR_LIMIT)
		t->err = rc;
	return 0;
}

uint64_t go_string(struct go_table *t, const char *s)
{
	size_t len = strnlen(s, TEXT_MAX);
	uint64_t id = (uintptr_t)map_get(&t->strings, s, len);

	if (id != 0 || len == 0)
		return id;
	id = number(t, &t->strings, s, len, &t->string_count);
	if (id == 0)
		return 0;
	buf_write_u8(&t->out, GO_STRING);
	put_uvarint(&t->out, id);
	put_text(&t->out, s);
	return id;
}

uint64_t go_stack_find(const struct go_table *t, const uint64_t key[GO_KEY_WORDS])
{
	return (uintptr_t)map_get(&t->stacks, key, GO_KEY_WORDS * sizeof(*key));
}

uint64_t go_stack_add(struct go_table *t, const uint64_t key[GO_KEY_WORDS],
		      const struct go_frame *frames, unsigned n)
{
	uint64_t args[2 + 4 * GO_FRAMES_MAX], id;

	if (n == 0)
		return 0;
	id = number(t, &t->stacks, key, GO_KEY_WORDS * sizeof(*key), &t->stack_count);
	if (id == 0)
		return 0;
	n = MIN(n, (unsigned)GO_FRAMES_MAX);
	args[0] = id;
	args[1] = n;
	for (unsigned i = 0; i < n; i++) {
		args[2 + 4 * i] = frames[i].pc;
		args[3 + 4 * i] = go_string(t, frames[i].function);
		args[4 + 4 * i] = go_string(t, frames[i].file);
		args[5 + 4 * i] = (uint64_t)MAX(frames[i].line, 0);
	}
	put_event(&t->out, GO_STACK, args, 2 + 4 * n);
	return id;
}

/* ---- The file ---- */

int go_write(struct buf *out, const struct go_lane *lanes, unsigned lane_count,
	     const struct go_table *t)
{
	static const char header[16] = "go 1.19 trace";

	buf_write(out, header, sizeof(header));
	for (unsigned i = 0; i < lane_count; i++) {
		if (buf_err(&lanes[i].events) != 0)
			return buf_err(&lanes[i].events);
		buf_write(out, lanes[i].events.data, lanes[i].events.len);
	}
	/* Times are nanoseconds. */
	put_event(out, GO_FREQUENCY, (const uint64_t[]){ NS_PER_SEC }, 1);
	buf_write(out, t->out.data, t->out.len);
	if (t->err != 0)
		return t->err;
	return buf_err(&t->out) != 0 ? buf_err(&t->out) : buf_err(out);
}
