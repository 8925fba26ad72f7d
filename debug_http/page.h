/* What pages are made of. Private to debug_http/.
 *
 * Everything dynamic goes through page_write_text or buf_write_html. Inline styles and scripts are
 * forbidden by our own Content-Security-Policy: what varies per element is a class or an SVG
 * attribute. */
#pragma once

#include "debug_http/debug_http.h"

/** Escaped for HTML text and quoted attributes: our own strings. */
void page_write_text(struct buf *out, const char *s);
/** The same for what peers and users have named: characters that reorder the text around them
 * become U+FFFD too. */
void page_write_foreign(struct buf *out, const char *s, size_t len);
/** Percent-encoded for a query value (RFC 3986 unreserved characters stay). */
void page_write_query(struct buf *out, const char *s, size_t len);
/** "840 µs", "12.3 ms", "4.90 s", "2 min 5 s", "1 h 3 min", "2 d 4 h": three digits that a person
 * can compare. */
void page_write_duration(struct buf *out, uint64_t ns);
/** "512 B", "83.1 KiB" */
void page_write_bytes(struct buf *out, uint64_t bytes);
/** 2026-01-31T12:00:00Z */
void page_write_utc(struct buf *out, uint64_t wall_ns);
/** Lower-case hex. */
void page_write_hex(struct buf *out, const uint8_t *bytes, size_t len);

/** The head line with the links to all pages. */
void page_write_nav(const struct http_request *r, struct buf *out);

/** The frame of a page that is one file to keep: style and script inside, nothing outside. */
void page_begin_file(struct http_request *r, struct buf *out, const char *title);
void page_end_file(struct http_request *r, struct buf *out);

/** One of the files under /debug/assets/; embedded at build time. */
struct asset {
	const char *name;
	const char *content_type;
	const char *text;
	size_t len;
	const char *sha256; /* base64, as a Content-Security-Policy names it */
};
extern const struct asset page_assets[];
extern const size_t page_asset_count;
