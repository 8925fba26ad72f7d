/* Which interfaces lead to a network of people: private to this folder. */
#pragma once

#include "discovery/mdns/mdns.h"

/** Links of all suitable interfaces that are up, at most `cap`. A link's id is twice the
 * interface's index, plus one for IPv6. Blocks no longer than a call into the kernel. How many, or
 * -errno. */
int interfaces_scan(const struct multiaddr *listen, struct mdns_link_config *ret, size_t cap);
static inline unsigned interfaces_index(uint32_t link_id)
{
	return link_id / 2;
}
/** By its name: neither a bridge nor a virtual cable that container engines make. */
bool interfaces_wanted(const char *name);
