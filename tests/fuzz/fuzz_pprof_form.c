/* Forms posted to /debug/pprof: a value is found where there is one, cut to its room and
 * terminated, and the same whether its pair stands first or behind others. */
#include <string.h>

#include "base/mem.h"
#include "debug_http/pprof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char prefix[] = "other=1&&x&";
	char value[PPROF_PARAM_MAX], again[PPROF_PARAM_MAX];
	char *longer = mem_alloc(size + sizeof(prefix));
	bool found = pprof_form_value((const char *)data, size, "seconds", value);

	REQUIRE(longer != NULL);
	REQUIRE(!found || strnlen(value, sizeof(value)) < sizeof(value));
	memcpy(longer, prefix, sizeof(prefix) - 1);
	if (size > 0)
		memcpy(longer + sizeof(prefix) - 1, data, size);
	REQUIRE(pprof_form_value(longer, size + sizeof(prefix) - 1, "seconds", again) == found);
	REQUIRE(!found || strcmp(value, again) == 0);
	mem_free(longer);
	return 0;
}
