/* Folders by the name under which the daemon remembers what they have seen (store/origin.c). */
#pragma once

#include "daemon/cli.h"

/** The real path of a file or folder that exists, as UTF-8 (bytes that are none are %-escaped).
 * mem_free; NULL when it cannot be told. */
char *origin_folder(const char *path) MUST_USE;
/** Tell the daemon that this version was written there. A failure is a warning: the next publish from
 * there then asks. */
void origin_seen(struct cli *c, const char *iri, const char *path, const struct hash *version);
/** Explains a publish that was refused with ERR_CONFLICT. Returns the exit code. */
int origin_explain(const json_t *conflict, const char *path) MUST_USE;
