/* Signatures of a put's commits, checked ahead by a thread of their own. Everything here is for the
 * thread that stores. NULL stands for one that does not exist (yet). */
#pragma once

#include "store/internal.h"

struct vouch;

/** Look at blobs[from..count), count <= STORE_PUT_MAX, when enough of them are commits to be worth
 * it; makes the thread if need be. vouch_end must come before they go. */
void vouch_begin(struct vouch **v, const struct store_blob *blobs, size_t from, size_t count);
/** commit_decode has said yes to it. False: not known. */
bool vouch_is_good(struct vouch *v, const struct store_blob *b);
void vouch_end(struct vouch *v);
void vouch_free(struct vouch *v);
