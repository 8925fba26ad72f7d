/* Where to and how: connection strings, URLs, headers and bodies of what is pushed. Pure.
 *
 * A connection string is TOKEN@URL, split at the first '@'. The token is a secret: it goes into the
 * Authorization header and nowhere else, and no message here repeats any part of the string. */
#pragma once

#include "base/buf.h"

enum {
	PUSH_STRING_MAX = 4096, /* bytes of a connection string */
	PUSH_NAME_MAX = 255,	/* of a service or server */
	PUSH_URL_MAX = 2048
};

enum push_format {
	PUSH_TRACEWAY,	     /* POST /api/profiles/ingest, raw pprof */
	PUSH_PYROSCOPE,	     /* POST …/ingest?format=pprof, raw pprof */
	PUSH_PYROSCOPE_PUSH, /* POST …/push.v1.PusherService/Push, JSON with base64 */
	PUSH_FORMATS
};
/** "traceway", "pyroscope", "pyroscope-push". Static. */
const char *push_format_name(enum push_format f);
/** PUSH_TRACEWAY for an unknown name. */
enum push_format push_format_of(const char *name);

struct push_connection {
	char *origin;	     /* "https://host:8443" */
	char *path;	     /* "/api/report"; no '/' at its end */
	char *authorization; /* a whole header line; NULL = none */
};
/** Reads a connection string; white space around it is passed over. User, password and fragment of
 * the URL are dropped; so is a query. With `open` the token may be empty, for a server without
 * authentication, and one with a ':' is user and password (RFC 7617), else a bearer token
 * (RFC 6750). 0, UV_ENOMEM, or ERR_MALFORMED with what is wrong in ret_why. Nothing to free then.
 */
int push_connection_parse(const char *text, size_t len, bool open, struct push_connection *ret,
			  char *ret_why, size_t why_size);
/** Fine on a zeroed one. Wipes the token. */
void push_connection_fini(struct push_connection *c);

enum push_profile { PUSH_CPU, PUSH_HEAP, PUSH_PROFILES };

/* Who sends, and what was measured when. */
struct push_facts {
	enum push_format format;
	const char *service, *server, *version;
	enum push_profile profile;
	uint64_t from_s, until_s; /* since 1970 */
	unsigned hz;
};
/** The URL of one upload, in fresh memory (mem_free); NULL when out of memory. Values are
 * percent-encoded. */
char *push_url(const struct push_connection *c, const struct push_facts *f) MUST_USE;
const char *push_content_type(enum push_format f);
/** What stands before and after the base64 text of the profile in PUSH_PYROSCOPE_PUSH. `id` is
 * any 16 random bytes. */
void push_json_begin(struct buf *out, const struct push_facts *f, const uint8_t id[16]);
void push_json_end(struct buf *out);

/** A UUID of version 4 (RFC 9562) of 16 bytes, of which six bits are replaced; 36 characters. */
void push_write_uuid(struct buf *out, const uint8_t id[16]);
/** Keeps RFC 3986's unreserved characters, encodes the rest. */
void push_write_percent(struct buf *out, const char *text);

/* What an answer means, whoever gave it. */
enum push_verdict {
	PUSH_TAKEN,	   /* 2xx */
	PUSH_BUSY,	   /* 429, 503: may be tried again, when it says */
	PUSH_UNAUTHORIZED, /* 401, 403 */
	PUSH_TOO_OLD,	   /* 400 for a body without Content-Encoding: gzip */
	PUSH_REFUSED,	   /* any other status: trying again changes nothing */
	PUSH_UNREACHABLE   /* no answer */
};
/** `status` is the post's outcome; the reply is foreign text. */
enum push_verdict push_judge(int status, int http_status, const void *reply, size_t reply_len);
