/* Pseudonyms: names of objects, spaces, peers, hosts and addresses become codes that stay the same
 * within one bundle and mean nothing in another (a hash keyed with the bundle's own salt). So a
 * reader can follow one peer through log and traces without learning whose it is. */
#pragma once

#include "base/buf.h"

struct bundle_hide {
	/* private */
	uint8_t key[32];
	char host[256], home[512], data[512];
	bool off;
};

/** A new salt. `data` is the data folder; host name and home are the process's. off: text stays as
 * it is. */
void bundle_hide_init(struct bundle_hide *h, const char *data, bool off);
/** The same with names given and a fixed salt, for tests. */
void bundle_hide_init_with(struct bundle_hide *h, const char *host, const char *home,
			   const char *data);
/** Appends the text with codes for names. Any bytes; never fails but by `out`. */
void bundle_hide_write(const struct bundle_hide *h, struct buf *out, const char *text, size_t len);
