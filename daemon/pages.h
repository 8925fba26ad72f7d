/* Pages about what only the daemon sees: /debug/peers, /debug/store, /debug/vars. */
#pragma once

#include "daemon/control.h"

int pages_attach(struct control *c, struct http_server *s);
/** A JSON object for people: plain members, then a section for each member that holds more. What
 * others have named is isolated (HTML) or escaped to ASCII (text). */
void pages_write_html(struct buf *out, const json_t *object);
void pages_write_text(struct buf *out, const json_t *object);
