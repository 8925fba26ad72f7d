/* A message is a header of six 16-bit numbers (id, flags, and how many entries each of the four
 * sections has), then the entries. A question is name, type, class; a record continues with
 * a 32-bit ttl, a 16-bit length and so many bytes of data. A name is labels, each a length byte
 * below 64 and its text, ended by a zero byte; two bytes 11pppppp pppppppp instead of a label say
 * that the rest of the name stands at that offset of the message.
 *
 * What can go wrong is mostly those pointers: circles, and chains that make a small message a lot
 * of work. A pointer must lead to before the place where the part that holds it began, so that
 * every hop moves toward the front and there is an end, and there is a limit on hops too; the name
 * so put together has a limit. All entries together are limited as well: the most that one message
 * can cost is DNS_ENTRIES_MAX names of 255 bytes. */
#include "discovery/mdns/dns.h"

#include <string.h>

#include "base/err.h"

enum {
	POINTER = 0xc0,
	TOP_BIT = 0x8000,
	RECORD_FIXED = 10, /* type, class, ttl, length */
	OFFSET_MAX = 0x3fff
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

struct dns_name dns_name_below(const char *label, const struct dns_name *parent)
{
	struct dns_name n = { 0 };
	size_t len = strlen(label);

	REQUIRE(len > 0 && len <= DNS_LABEL_MAX && 1 + len + parent->len <= DNS_NAME_MAX);
	n.len = (uint8_t)(1 + len + parent->len);
	n.bytes[0] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		n.bytes[1 + i] = lower((uint8_t)label[i]);
	memcpy(n.bytes + 1 + len, parent->bytes, parent->len);
	return n;
}

struct dns_name dns_name_of(const char *text)
{
	const char *dot = strchr(text, '.');
	struct dns_name parent = { .len = 1 };
	char label[DNS_LABEL_MAX + 1] = "";
	size_t len = dot != NULL ? (size_t)(dot - text) : strlen(text);

	REQUIRE(len <= DNS_LABEL_MAX);
	memcpy(label, text, len);
	if (dot != NULL)
		parent = dns_name_of(dot + 1);
	return dns_name_below(label, &parent);
}

/* ---- Reading ---- */

/* Adds the label at `at` to the name. Its length, or what is wrong. */
static int read_label(const uint8_t *data, size_t len, size_t at, struct dns_name *n)
{
	size_t label_len = data[at];

	if (label_len > DNS_LABEL_MAX)
		return ERR_MALFORMED;
	if (label_len >= len - at)
		return ERR_TRUNCATED;
	if (n->len + 1 + label_len > DNS_NAME_MAX)
		return ERR_LIMIT;
	n->bytes[n->len] = (uint8_t)label_len;
	for (size_t i = 1; i <= label_len; i++)
		n->bytes[n->len + i] = lower(data[at + i]);
	n->len = (uint8_t)(n->len + 1 + label_len);
	return (int)label_len;
}

/* *at moves behind the name. */
static int read_name(const uint8_t *data, size_t len, size_t *at, struct dns_name *ret)
{
	size_t pos = *at, part = *at, end = 0;
	struct dns_name n = { 0 };
	unsigned hops = 0;
	int label_len;

	do {
		while (pos < len && (data[pos] & POINTER) == POINTER) {
			size_t target;

			if (len - pos < 2)
				return ERR_TRUNCATED;
			target = (size_t)(data[pos] & ~POINTER) << 8 | data[pos + 1];
			if (end == 0)
				end = pos + 2;
			if (target >= part || target < DNS_HEADER_SIZE)
				return ERR_MALFORMED;
			if (++hops > DNS_POINTERS_MAX)
				return ERR_LIMIT;
			pos = part = target;
		}
		if (pos >= len)
			return ERR_TRUNCATED;
		label_len = read_label(data, len, pos, &n);
		if (label_len < 0)
			return label_len;
		pos += 1 + (size_t)label_len;
	} while (label_len > 0);
	*at = end != 0 ? end : pos;
	*ret = n;
	return 0;
}

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

int dns_walk_start(struct dns_walk *w, const uint8_t *data, size_t len)
{
	unsigned entries = 0;

	if (len < DNS_HEADER_SIZE)
		return ERR_TRUNCATED;
	*w = (struct dns_walk){ .data = data, .len = len, .at = DNS_HEADER_SIZE };
	w->id = get_u16(data);
	w->flags = get_u16(data + 2);
	for (unsigned i = 0; i < DNS_SECTIONS; i++) {
		w->left[i] = get_u16(data + 4 + (size_t)2 * i);
		entries += w->left[i];
	}
	return entries <= DNS_ENTRIES_MAX ? 0 : ERR_LIMIT;
}

/* The names inside the data, which must end with it. */
static int read_data(const struct dns_walk *w, struct dns_entry *e)
{
	size_t at = (size_t)(e->data - w->data), end = at + e->len;
	int rc;

	if (e->type == DNS_A && e->len != 4)
		return ERR_MALFORMED;
	if (e->type == DNS_AAAA && e->len != 16)
		return ERR_MALFORMED;
	if (e->type != DNS_PTR && e->type != DNS_SRV)
		return 0;
	if (e->type == DNS_SRV) {
		if (e->len < 6)
			return ERR_TRUNCATED;
		e->priority = get_u16(e->data);
		e->weight = get_u16(e->data + 2);
		e->port = get_u16(e->data + 4);
		at += 6;
	}
	rc = read_name(w->data, end, &at, &e->target);
	if (rc < 0)
		return rc;
	return at == end ? 0 : ERR_MALFORMED;
}

static int read_record(const struct dns_walk *w, size_t *at, struct dns_entry *e)
{
	const uint8_t *p = w->data + *at;
	size_t left = w->len - *at;

	if (left < RECORD_FIXED)
		return ERR_TRUNCATED;
	e->ttl_s = (uint32_t)get_u16(p + 4) << 16 | get_u16(p + 6);
	e->len = get_u16(p + 8);
	e->data = p + RECORD_FIXED;
	if (left - RECORD_FIXED < e->len)
		return ERR_TRUNCATED;
	*at += RECORD_FIXED + e->len;
	return e->class == DNS_CLASS_IN ? read_data(w, e) : 0;
}

int dns_walk_next(struct dns_walk *w, struct dns_entry *ret)
{
	struct dns_entry e = { 0 };
	size_t at = w->at;
	int rc;

	while (w->section < DNS_SECTIONS && w->left[w->section] == 0)
		w->section++;
	if (w->section == DNS_SECTIONS)
		return 0;
	e.section = (enum dns_section)w->section;
	rc = read_name(w->data, w->len, &at, &e.name);
	if (rc < 0)
		return rc;
	if (w->len - at < 4)
		return ERR_TRUNCATED;
	e.type = get_u16(w->data + at);
	e.class = get_u16(w->data + at + 2) & (uint16_t)~TOP_BIT;
	e.top_bit = (w->data[at + 2] & 0x80) != 0;
	if (e.section == DNS_QUESTION)
		at += 4;
	else
		rc = read_record(w, &at, &e);
	if (rc < 0)
		return rc;
	w->left[w->section]--;
	w->at = at;
	*ret = e;
	return 1;
}

int dns_check(const uint8_t *data, size_t len)
{
	struct dns_walk w;
	struct dns_entry e;
	int rc = dns_walk_start(&w, data, len);

	if (rc < 0)
		return rc;
	while ((rc = dns_walk_next(&w, &e)) > 0)
		;
	return rc;
}

/* ---- Writing ---- */

void dns_write_start(struct dns_writer *w, struct buf *out, uint16_t id, uint16_t flags,
		     bool plain_srv)
{
	*w = (struct dns_writer){ .out = out, .plain_srv = plain_srv };
	buf_clear(out);
	buf_write_u16be(out, id);
	buf_write_u16be(out, flags);
	for (unsigned i = 0; i < DNS_SECTIONS; i++)
		buf_write_u16be(out, 0);
}

/* Does the rest of a name, which starts at `rest`, stand at that offset of what is written? */
static bool stands_at(const struct buf *out, size_t offset, const uint8_t *rest, size_t rest_len)
{
	struct dns_name n;

	return read_name(out->data, out->len, &offset, &n) == 0 && n.len == rest_len &&
	       memcmp(n.bytes, rest, rest_len) == 0;
}

static void write_name(struct dns_writer *w, const struct dns_name *n, bool compress)
{
	for (size_t i = 0; n->bytes[i] != 0; i += 1 + (size_t)n->bytes[i]) {
		size_t here = w->out->len;

		for (unsigned k = 0; compress && k < w->offset_count; k++) {
			if (stands_at(w->out, w->offsets[k], n->bytes + i, n->len - i)) {
				buf_write_u16be(w->out, (uint16_t)(POINTER << 8 | w->offsets[k]));
				return;
			}
		}
		if (w->offset_count < DNS_OFFSETS_MAX && here <= OFFSET_MAX)
			w->offsets[w->offset_count++] = (uint16_t)here;
		buf_write(w->out, n->bytes + i, 1 + (size_t)n->bytes[i]);
	}
	buf_write_u8(w->out, 0);
}

static bool fits(const struct dns_writer *w, size_t len)
{
	return buf_err(w->out) == 0 && w->out->len + len <= DNS_SEND_MAX;
}

bool dns_write_question(struct dns_writer *w, const struct dns_name *name, uint16_t type)
{
	if (!fits(w, (size_t)name->len + 4))
		return false;
	write_name(w, name, true);
	buf_write_u16be(w->out, type);
	buf_write_u16be(w->out, DNS_CLASS_IN);
	w->counts[DNS_QUESTION]++;
	return true;
}

bool dns_write_record(struct dns_writer *w, enum dns_section section, const struct dns_record *r)
{
	size_t target_len = r->target != NULL ? r->target->len : 0, start, len;

	if (!fits(w, r->name->len + RECORD_FIXED + r->head_len + target_len + r->tail_len))
		return false;
	write_name(w, r->name, true);
	buf_write_u16be(w->out, r->type);
	buf_write_u16be(w->out, DNS_CLASS_IN | (r->flush ? TOP_BIT : 0));
	buf_write_u32be(w->out, r->ttl_s);
	buf_write_u16be(w->out, 0);
	start = w->out->len;
	buf_write(w->out, r->head, r->head_len);
	if (r->target != NULL)
		write_name(w, r->target, !(w->plain_srv && r->type == DNS_SRV));
	buf_write(w->out, r->tail, r->tail_len);
	if (buf_err(w->out) != 0)
		return false;
	len = w->out->len - start;
	w->out->data[start - 2] = (uint8_t)(len >> 8);
	w->out->data[start - 1] = (uint8_t)len;
	w->counts[section]++;
	return true;
}

unsigned dns_written(const struct dns_writer *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < DNS_SECTIONS; i++)
		n += w->counts[i];
	return n;
}

bool dns_write_end(struct dns_writer *w, uint16_t more_flags)
{
	uint8_t *p = w->out->data;

	if (buf_err(w->out) != 0)
		return false;
	p[2] |= (uint8_t)(more_flags >> 8);
	p[3] |= (uint8_t)more_flags;
	for (size_t i = 0; i < DNS_SECTIONS; i++) {
		p[4 + 2 * i] = (uint8_t)(w->counts[i] >> 8);
		p[5 + 2 * i] = (uint8_t)w->counts[i];
	}
	return true;
}
