/* Negentropy protocol v1.
 *
 *   message   version (0x61) range*
 *   range     bound mode payload         covers from the previous range's bound up to this one,
 * exclusive bound     varint time, varint length, that many bytes of an id prefix (the rest counts
 * as zeros) time is 0 for infinity, else 1 + difference to the previous bound's time in this
 * message mode      0 skip, 1 fingerprint (16 bytes), 2 id list (varint count, 32 bytes each)
 *   varint    base 128, most significant digit first
 *
 * A message ends where the ranges end; what lies beyond the last bound is skipped. Skips are
 * written lazily, so a message of the version byte alone says "nothing left": that, and not "one
 * range", ends a session.
 *
 * What can go wrong: bounds that run backwards, lists longer than the message, a peer that splits
 * for ever. The first two are ERR_MALFORMED; the last is stopped by counting rounds that teach
 * nothing.
 *
 * A set keeps prefix sums of its ids (mod 2^256), so a fingerprint costs one subtraction and one
 * SHA-256. */
#include "sync/reconcile.h"

#include <endian.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { MODE_SKIP = 0, MODE_FINGERPRINT = 1, MODE_LIST = 2 };

enum {
	VERSION_LOW = 0x60,
	VERSION_HIGH = 0x6f,
	VARINT_MAX = 10,
	FRAME_RESERVE = 200, /* room kept for the closing fingerprint of a cut message */
	FRUGAL_LIST_BELOW = 4,
	FRUGAL_PER_FINGERPRINT = 3
};

#define TIME_INFINITY UINT64_MAX

struct sum {
	uint64_t limb[4]; /* little endian order */
};

struct bound {
	uint64_t time;
	uint8_t prefix[HASH_SIZE]; /* zero-padded */
	size_t prefix_len;
};

static const struct bound bound_infinity = { .time = TIME_INFINITY };

/* ---- Sets ---- */

static int item_cmp(const void *a, const void *b)
{
	const struct reconcile_item *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return hash_cmp(&x->id, &y->id);
}

static void sum_add(struct sum *s, const struct hash *id)
{
	unsigned __int128 carry = 0;
	uint64_t limb;

	for (int i = 0; i < 4; i++) {
		memcpy(&limb, id->bytes + 8 * i, sizeof(limb));
		carry += (unsigned __int128)s->limb[i] + le64toh(limb);
		s->limb[i] = (uint64_t)carry;
		carry >>= 64;
	}
}

static struct sum sum_sub(const struct sum *a, const struct sum *b)
{
	struct sum r;
	uint64_t borrow = 0;

	for (int i = 0; i < 4; i++) {
		unsigned __int128 d = (unsigned __int128)a->limb[i] - b->limb[i] - borrow;

		r.limb[i] = (uint64_t)d;
		borrow = (uint64_t)(d >> 64) & 1;
	}
	return r;
}

_Static_assert(sizeof(struct sum) == RECONCILE_SUM_BYTES, "as told to others");

int reconcile_set_init(struct reconcile_set *s, struct reconcile_item *items, size_t count)
{
	struct sum *sums;
	bool sorted = true;

	for (size_t i = 1; i < count && sorted; i++)
		sorted = item_cmp(&items[i - 1], &items[i]) < 0;
	if (!sorted)
		qsort(items, count, sizeof(*items), item_cmp);
	for (size_t i = 1; i < count; i++) {
		if (item_cmp(&items[i - 1], &items[i]) == 0)
			return ERR_MALFORMED;
	}
	sums = mem_alloc_array(count + 1, sizeof(*sums));
	if (sums == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < count; i++) {
		sums[i + 1] = sums[i];
		sum_add(&sums[i + 1], &items[i].id);
	}
	*s = (struct reconcile_set){ .items = items, .count = count, .sums = sums };
	return 0;
}

void reconcile_set_fini(struct reconcile_set *s)
{
	mem_free(s->sums);
	*s = (struct reconcile_set){ 0 };
}

/* First index in [from, count) whose item is not below the bound. */
static size_t set_find(const struct reconcile_set *s, size_t from, const struct bound *b)
{
	size_t low = from, high = s->count;

	if (b->time == TIME_INFINITY)
		return s->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct reconcile_item *item = &s->items[mid];
		bool below = item->time != b->time ?
				     item->time < b->time :
				     memcmp(item->id.bytes, b->prefix, HASH_SIZE) < 0;

		if (below)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- Numbers and bounds ---- */

static size_t varint_encode(uint64_t v, uint8_t dst[VARINT_MAX])
{
	uint8_t digits[VARINT_MAX];
	size_t n = 0;

	do {
		digits[n++] = v & 0x7f;
		v >>= 7;
	} while (v != 0);
	for (size_t i = 0; i < n; i++)
		dst[i] = (uint8_t)(digits[n - 1 - i] | (i + 1 < n ? 0x80 : 0));
	return n;
}

static void write_varint(struct buf *out, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];

	buf_write(out, bytes, varint_encode(v, bytes));
}

static int read_varint(struct buf_reader *in, uint64_t *ret)
{
	uint64_t v = 0;
	uint8_t byte;

	do {
		if (v > UINT64_MAX >> 7)
			return ERR_MALFORMED;
		if (buf_read_u8(in, &byte) < 0)
			return ERR_MALFORMED;
		v = v << 7 | (byte & 0x7f);
	} while (byte & 0x80);
	*ret = v;
	return 0;
}

static void write_bound(struct reconcile *r, struct buf *out, const struct bound *b)
{
	if (b->time == TIME_INFINITY) {
		r->last_time_out = TIME_INFINITY;
		write_varint(out, 0);
	} else {
		write_varint(out, b->time - r->last_time_out + 1);
		r->last_time_out = b->time;
	}
	write_varint(out, b->prefix_len);
	buf_write(out, b->prefix, b->prefix_len);
}

static int read_bound(struct reconcile *r, struct buf_reader *in, struct bound *ret)
{
	struct bound b = { 0 };
	uint64_t time, len;

	if (read_varint(in, &time) < 0 || read_varint(in, &len) < 0 || len > HASH_SIZE)
		return ERR_MALFORMED;
	if (buf_read_copy(in, b.prefix, len) < 0)
		return ERR_MALFORMED;
	b.prefix_len = len;
	b.time = time == 0 ? TIME_INFINITY : time - 1;
	if (__builtin_add_overflow(b.time, r->last_time_in, &b.time))
		b.time = TIME_INFINITY;
	r->last_time_in = b.time;
	*ret = b;
	return 0;
}

static int bound_cmp(const struct bound *a, const struct bound *b)
{
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return memcmp(a->prefix, b->prefix, HASH_SIZE);
}

static struct bound bound_at(const struct reconcile_item *item)
{
	struct bound b = { .time = item->time, .prefix_len = HASH_SIZE };

	memcpy(b.prefix, item->id.bytes, HASH_SIZE);
	return b;
}

/* Shortest bound that lies above prev and not above curr. */
static struct bound bound_between(const struct reconcile_item *prev,
				  const struct reconcile_item *curr)
{
	struct bound b = { .time = curr->time };

	if (curr->time != prev->time)
		return b;
	while (prev->id.bytes[b.prefix_len] == curr->id.bytes[b.prefix_len])
		b.prefix_len++;
	b.prefix_len++;
	memcpy(b.prefix, curr->id.bytes, b.prefix_len);
	return b;
}

/* ---- Ranges ---- */

void reconcile_fingerprint(const struct reconcile_set *s, size_t begin, size_t end,
			   uint8_t ret[RECONCILE_FINGERPRINT_SIZE])
{
	const struct sum *sums = s->sums;
	struct sum sum = sum_sub(&sums[end], &sums[begin]);
	uint8_t input[HASH_SIZE + VARINT_MAX], digest[crypto_hash_sha256_BYTES];
	size_t len;

	for (int i = 0; i < 4; i++) {
		uint64_t limb = htole64(sum.limb[i]);

		memcpy(input + 8 * i, &limb, sizeof(limb));
	}
	len = HASH_SIZE + varint_encode(end - begin, input + HASH_SIZE);
	crypto_hash_sha256(digest, input, len);
	memcpy(ret, digest, RECONCILE_FINGERPRINT_SIZE);
}

static void write_fingerprint(struct reconcile *r, struct buf *out, size_t begin, size_t end,
			      const struct bound *upper)
{
	uint8_t fingerprint[RECONCILE_FINGERPRINT_SIZE];

	reconcile_fingerprint(r->set, begin, end, fingerprint);
	write_bound(r, out, upper);
	write_varint(out, MODE_FINGERPRINT);
	buf_write(out, fingerprint, sizeof(fingerprint));
}

static void write_list(struct reconcile *r, struct buf *out, size_t begin, size_t end,
		       const struct bound *upper)
{
	write_bound(r, out, upper);
	write_varint(out, MODE_LIST);
	write_varint(out, end - begin);
	for (size_t i = begin; i < end; i++)
		buf_write(out, r->set->items[i].id.bytes, HASH_SIZE);
}

/* How many pieces to split a differing range into; 0 = list it. */
static size_t split_count(const struct reconcile *r, size_t count)
{
	if (r->initiator && r->policy == RECONCILE_FRUGAL && count < RECONCILE_LIST_BELOW)
		return count < FRUGAL_LIST_BELOW ?
			       0 :
			       (count + FRUGAL_PER_FINGERPRINT - 1) / FRUGAL_PER_FINGERPRINT;
	return count < RECONCILE_LIST_BELOW ? 0 : RECONCILE_BUCKETS;
}

static void split_range(struct reconcile *r, struct buf *out, size_t begin, size_t end,
			const struct bound *upper)
{
	size_t pieces = split_count(r, end - begin);
	size_t each, longer, at = begin;

	if (pieces == 0) {
		write_list(r, out, begin, end, upper);
		return;
	}
	each = (end - begin) / pieces;
	longer = (end - begin) % pieces; /* the first ones take one item more */
	for (size_t i = 0; i < pieces; i++) {
		size_t next = at + each + (i < longer ? 1 : 0);
		struct bound b =
			next == end ? *upper :
				      bound_between(&r->set->items[next - 1], &r->set->items[next]);

		write_fingerprint(r, out, at, next, &b);
		at = next;
	}
}

/* ---- One message ---- */

struct exchange {
	struct reconcile *r;
	const struct reconcile_sink *sink;
	struct buf *out;
	size_t start; /* of our message in out */
	struct bound prev_bound;
	size_t prev_index;
	size_t keep; /* length of out that a full frame does not withdraw */
	bool skip;   /* ranges up to prev_bound agree and are not written yet */
};

static bool frame_full(const struct exchange *x, size_t extra)
{
	size_t limit = x->r->frame_limit;

	return limit != 0 && x->out->len - x->start + extra > limit - FRAME_RESERVE;
}

static void flush_skip(struct exchange *x)
{
	if (!x->skip)
		return;
	x->skip = false;
	write_bound(x->r, x->out, &x->prev_bound);
	write_varint(x->out, MODE_SKIP);
}

static int id_cmp(const void *a, const void *b)
{
	return memcmp(a, b, HASH_SIZE);
}

/* Sorts and drops repeats; returns how many are left. */
static size_t sort_unique(struct hash *ids, size_t count)
{
	size_t kept = 0;

	qsort(ids, count, HASH_SIZE, id_cmp);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || !hash_eq(&ids[kept - 1], &ids[i]))
			ids[kept++] = ids[i];
	}
	return kept;
}

/* Initiator: compare the responder's full list of a range with ours; the range is settled. What is
 * needed is told in the order of the list, which is that of time: a commit's parents before it, as
 * far as its author told the truth about the time. */
static int take_list(struct exchange *x, const uint8_t *list, size_t listed, size_t begin,
		     size_t end)
{
	const struct reconcile_item *ours = x->r->set->items;
	struct hash *theirs = mem_alloc_array(listed, sizeof(*theirs));
	bool *known = mem_alloc_array(listed, sizeof(*known));
	int status = UV_ENOMEM;
	size_t count;

	if (theirs == NULL || known == NULL)
		goto out;
	memcpy(theirs, list, listed * HASH_SIZE);
	count = sort_unique(theirs, listed);
	for (size_t i = begin; i < end; i++) {
		struct hash *hit = bsearch(&ours[i].id, theirs, count, HASH_SIZE, id_cmp);

		if (hit != NULL)
			known[hit - theirs] = true;
		else if (x->sink->have(x->sink->data, &ours[i]))
			x->r->learned = true;
	}
	x->r->list_from_time = x->prev_bound.time;
	for (size_t i = 0; i < listed; i++) {
		struct hash *hit = bsearch(list + i * HASH_SIZE, theirs, count, HASH_SIZE, id_cmp);

		if (known[hit - theirs])
			continue;
		known[hit - theirs] = true;
		if (x->sink->need(x->sink->data, hit))
			x->r->learned = true;
	}
	x->skip = true;
	status = 0;
out:
	mem_free(theirs);
	mem_free(known);
	return status;
}

/* Responder: answer a list with our full list of the range, cut at an item where the frame ends. */
static size_t answer_list(struct exchange *x, size_t begin, size_t end, const struct bound *upper)
{
	size_t cut = begin;
	struct bound b = *upper;

	while (cut < end && !frame_full(x, (cut - begin) * HASH_SIZE))
		cut++;
	flush_skip(x);
	if (cut < end)
		b = bound_at(&x->r->set->items[cut]);
	write_list(x->r, x->out, begin, cut, &b);
	x->keep = x->out->len;
	return cut;
}

/* One range of the other side's message. *end is where our items of it end; it moves down when an
 * answer was cut. */
static int take_range(struct exchange *x, struct buf_reader *in, const struct bound *upper,
		      size_t begin, size_t *end)
{
	uint8_t ours[RECONCILE_FINGERPRINT_SIZE];
	const uint8_t *payload;
	uint64_t mode, count;

	if (read_varint(in, &mode) < 0)
		return ERR_MALFORMED;
	if (mode == MODE_SKIP) {
		x->skip = true;
		return 0;
	}
	if (mode == MODE_FINGERPRINT) {
		if (buf_read_bytes(in, sizeof(ours), &payload) < 0)
			return ERR_MALFORMED;
		reconcile_fingerprint(x->r->set, begin, *end, ours);
		if (memcmp(ours, payload, sizeof(ours)) == 0) {
			x->skip = true;
		} else {
			flush_skip(x);
			split_range(x->r, x->out, begin, *end, upper);
		}
		return 0;
	}
	if (mode != MODE_LIST || read_varint(in, &count) < 0 || count > buf_left(in) / HASH_SIZE)
		return ERR_MALFORMED;
	if (buf_read_bytes(in, count * HASH_SIZE, &payload) < 0)
		return ERR_MALFORMED;
	if (x->r->initiator)
		return take_list(x, payload, count, begin, *end);
	*end = answer_list(x, begin, *end, upper);
	return 0;
}

static int exchange_ranges(struct exchange *x, struct buf_reader *in)
{
	for (size_t ranges = 0; buf_left(in) > 0; ranges++) {
		struct bound upper;
		size_t end;
		int status;

		if (ranges == RECONCILE_RANGES_MAX)
			return ERR_LIMIT;
		if (read_bound(x->r, in, &upper) < 0 || bound_cmp(&upper, &x->prev_bound) < 0)
			return ERR_MALFORMED;
		x->keep = x->out->len;
		end = set_find(x->r->set, x->prev_index, &upper);
		status = take_range(x, in, &upper, x->prev_index, &end);
		if (status < 0)
			return status;
		if (frame_full(x, 0)) {
			/* A split that does not fit is withdrawn. One fingerprint stands for
			 * everything from here on; the other side sees it reach back to our last
			 * bound and splits again. */
			x->out->len = x->keep;
			write_fingerprint(x->r, x->out, end, x->r->set->count, &bound_infinity);
			return 0;
		}
		x->prev_index = end;
		x->prev_bound = upper;
	}
	return 0;
}

/* Ends with our version byte alone in out when there is nothing to say. */
static int exchange_message(struct exchange *x, const void *msg, size_t len)
{
	struct buf_reader in = buf_reader(msg, len);
	struct reconcile *r = x->r;
	uint8_t version;
	int status;

	if (buf_read_u8(&in, &version) < 0 || version < VERSION_LOW || version > VERSION_HIGH)
		return ERR_MALFORMED;
	if (version != RECONCILE_VERSION && r->initiator)
		return ERR_VERSION;
	r->last_time_in = r->last_time_out = 0;
	buf_write_u8(x->out, RECONCILE_VERSION);
	if (version != RECONCILE_VERSION)
		return 0;
	status = exchange_ranges(x, &in);
	return status < 0 ? status : buf_err(x->out);
}

int reconcile_init(struct reconcile *r, const struct reconcile_set *set, size_t frame_limit,
		   enum reconcile_policy policy)
{
	if (frame_limit != 0 && frame_limit < RECONCILE_FRAME_MIN)
		return ERR_LIMIT;
	*r = (struct reconcile){ .set = set, .frame_limit = frame_limit, .policy = policy };
	return 0;
}

int reconcile_initiate(struct reconcile *r, struct buf *out)
{
	size_t count = r->set->count;

	r->initiator = true;
	r->last_time_out = 0;
	buf_write_u8(out, RECONCILE_VERSION);
	if (r->policy == RECONCILE_FRUGAL && count >= FRUGAL_LIST_BELOW)
		write_fingerprint(r, out, 0, count, &bound_infinity);
	else
		split_range(r, out, 0, count, &bound_infinity);
	return buf_err(out);
}

int reconcile_respond(struct reconcile *r, const void *msg, size_t len, struct buf *out)
{
	struct exchange x = { .r = r, .out = out, .start = out->len };

	REQUIRE(!r->initiator);
	return exchange_message(&x, msg, len);
}

int reconcile_continue(struct reconcile *r, const void *msg, size_t len,
		       const struct reconcile_sink *sink, struct buf *out, bool *ret_done)
{
	struct exchange x = { .r = r, .sink = sink, .out = out, .start = out->len };
	int status;

	REQUIRE(r->initiator);
	if (++r->rounds > RECONCILE_ROUNDS_MAX)
		return ERR_LIMIT;
	r->learned = false;
	status = exchange_message(&x, msg, len);
	if (status < 0)
		return status;
	*ret_done = out->len == x.start + 1;
	if (*ret_done) {
		out->len = x.start;
		return 0;
	}
	r->stalled = r->learned ? 0 : r->stalled + 1;
	return r->stalled > RECONCILE_STALLED_MAX ? ERR_NO_PROGRESS : 0;
}
