/* Text with names in it, as peers and users make them. What is a name must be gone, and the pass
 * over the result of a pass must end, too. */
#include <string.h>

#include "base/base.h"
#include "daemon/bundle_hide.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle_hide hide;
	struct buf once, twice;

	bundle_hide_init_with(&hide, "anna-laptop", "/h/anna", "/h/anna/state");
	buf_init(&once, 64 << 20);
	buf_init(&twice, 64 << 20);
	bundle_hide_write(&hide, &once, (const char *)data, size);
	REQUIRE(buf_err(&once) == 0);
	REQUIRE(once.len == 0 || memmem(once.data, once.len, "/h/anna/", 8) == NULL);
	bundle_hide_write(&hide, &twice, (const char *)once.data, once.len);
	REQUIRE(buf_err(&twice) == 0);
	buf_fini(&once);
	buf_fini(&twice);
	return 0;
}
