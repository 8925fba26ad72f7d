/* All figures of this daemon, for people. */
#pragma once

#include <jansson.h>

#include "base/buf.h"

/** The inside of a page: a group for each object, times and sizes in units that can be compared.
 * Borrows. */
void vars_write_html(struct buf *out, const json_t *figures);
/** Only the groups, one for each member that is an object. */
void vars_write_groups(struct buf *out, const json_t *figures);
