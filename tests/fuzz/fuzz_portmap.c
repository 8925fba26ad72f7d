/* The line of the program that asks routers: whatever it says, a mapping that is taken is one. */
#include <string.h>

#include "daemon/portmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[PORTMAP_WHY_MAX] = "";
	struct portmap_result r;
	int rc = portmap_parse((const char *)data, size, &r, why);

	REQUIRE(strnlen(why, sizeof(why)) < sizeof(why));
	if (rc < 0)
		return 0;
	REQUIRE(r.external.family == 4 && r.external.port != 0);
	REQUIRE(!multiaddr_is_loopback(&r.external));
	REQUIRE(r.lease_s >= PORTMAP_LEASE_MIN_S && r.lease_s <= PORTMAP_LEASE_MAX_S);
	return 0;
}
