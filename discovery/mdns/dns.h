/* DNS messages as multicast DNS uses them (RFC 1035 §4.1, RFC 6762 §18): private to this folder. */
#pragma once

#include "base/buf.h"

enum {
	DNS_NAME_MAX = 255, /* bytes of an uncompressed name, the root's zero included */
	DNS_LABEL_MAX = 63,
	DNS_POINTERS_MAX = 64, /* followed for one name */
	DNS_HEADER_SIZE = 12,
	DNS_SECTIONS = 4,
	DNS_ENTRIES_MAX = 512,	/* questions and records of one message */
	DNS_SEND_MAX = 1440,	/* an Ethernet frame less IPv6, UDP and what a tunnel may add */
	DNS_RECEIVE_MAX = 9000, /* RFC 6762 §17 */
	DNS_OFFSETS_MAX = 64	/* places of a message that a pointer may lead to */
};

enum dns_section { DNS_QUESTION, DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };
enum dns_type {
	DNS_A = 1,
	DNS_PTR = 12,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_NSEC = 47,
	DNS_ANY = 255
};
enum { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255 };
enum {
	DNS_RESPONSE = 0x8000,
	DNS_OPCODE = 0x7800,
	DNS_AUTHORITATIVE = 0x0400,
	DNS_TRUNCATED = 0x0200,
	DNS_RCODE = 0x000f
};

/* Uncompressed wire form, ASCII letters in lower case: equal names are equal bytes. */
struct dns_name {
	uint8_t len; /* 0 = no name */
	uint8_t bytes[DNS_NAME_MAX];
};
bool dns_name_eq(const struct dns_name *a, const struct dns_name *b);
/** "_peerscope._tcp.local": a name of our own; REQUIREs that it is one. */
struct dns_name dns_name_of(const char *text);
/** One more label in front. REQUIREs that it fits. */
struct dns_name dns_name_below(const char *label, const struct dns_name *parent);

/* A question or a record. */
struct dns_entry {
	enum dns_section section;
	struct dns_name name;
	uint16_t type, class; /* without the top bit */
	bool top_bit;	      /* unicast reply wanted (question), cache flush (record) */
	uint32_t ttl_s;
	const uint8_t *data; /* as in the message; borrowed */
	size_t len;
	struct dns_name target;		 /* PTR, SRV */
	uint16_t priority, weight, port; /* SRV */
};

/* Reads a message front to back. */
struct dns_walk {
	const uint8_t *data;
	size_t len;
	uint16_t id, flags;
	/* private */
	size_t at;
	uint16_t left[DNS_SECTIONS];
	unsigned section, seen;
};
/** Borrows the bytes. ERR_TRUNCATED, ERR_LIMIT (more than DNS_ENTRIES_MAX entries). */
int dns_walk_start(struct dns_walk *w, const uint8_t *data, size_t len);
/** 1 and the next entry; 0 at the end; ERR_TRUNCATED, ERR_MALFORMED, ERR_LIMIT (name). */
int dns_walk_next(struct dns_walk *w, struct dns_entry *ret);
/** Reads all of it once: 0 or what is wrong. Afterwards a walk meets no error. */
int dns_check(const uint8_t *data, size_t len);

/* ---- Writing ---- */

/* A record of our own. The data is head, target, tail, each optional. Borrows all. */
struct dns_record {
	const struct dns_name *name;
	uint16_t type;
	bool flush;
	uint32_t ttl_s;
	const uint8_t *head;
	size_t head_len;
	const struct dns_name *target;
	const uint8_t *tail;
	size_t tail_len;
};

/* Fills one message of at most DNS_SEND_MAX bytes; names are compressed. */
struct dns_writer {
	struct buf *out; /* its content is replaced */
	/* private */
	bool plain_srv; /* legacy askers do not know compressed targets (RFC 6762 §18.14) */
	uint16_t counts[DNS_SECTIONS];
	uint16_t offsets[DNS_OFFSETS_MAX];
	unsigned offset_count;
};
void dns_write_start(struct dns_writer *w, struct buf *out, uint16_t id, uint16_t flags,
		     bool plain_srv);
/** False, and nothing written, when it might not fit. Entries come in the order of sections. */
bool dns_write_question(struct dns_writer *w, const struct dns_name *name, uint16_t type);
bool dns_write_record(struct dns_writer *w, enum dns_section section, const struct dns_record *r);
unsigned dns_written(const struct dns_writer *w);
/** Fill in the counts, add flags. False when memory ran out on the way. */
bool dns_write_end(struct dns_writer *w, uint16_t more_flags);
