/* The peers that one subscription looks to, and which of them are to be asked what was missed. Pure.
 */
#pragma once

#include "base/multiformats.h"

enum { PROVIDERS_MAX = 8 /* the oldest makes room */ };

struct providers {
	struct public_key peers[PROVIDERS_MAX];
	bool back[PROVIDERS_MAX]; /* was away, and is to be asked */
	size_t count, next;
};

void providers_add(struct providers *p, const struct public_key *peer);
bool providers_has(const struct providers *p, const struct public_key *peer);
/** It is to be asked; false when it is none of them. */
bool providers_back(struct providers *p, const struct public_key *peer);
bool providers_any_back(const struct providers *p);
/** The next to be asked; false when there is none. */
bool providers_take_back(struct providers *p, struct public_key *ret);
