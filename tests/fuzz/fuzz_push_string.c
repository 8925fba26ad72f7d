/* Connection strings: whatever is taken makes a request that may be sent. */
#include <string.h>

#include "base/mem.h"
#include "daemon/post.h"
#include "daemon/push_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_urls(const struct push_connection *c)
{
	char why[POST_WHY_MAX];

	for (int format = 0; format < PUSH_FORMATS; format++) {
		struct push_facts f = { .format = (enum push_format)format,
					.service = "s",
					.server = "h",
					.version = "1" };
		char *url = push_url(c, &f);

		REQUIRE(url != NULL);
		REQUIRE(post_url_check(url, why, sizeof(why)) == 0);
		mem_free(url);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct push_connection c = { 0 };
	char why[POST_WHY_MAX] = "";
	int rc;

	if (size == 0)
		return 0;
	rc = push_connection_parse((const char *)data + 1, size - 1, data[0] & 1, &c, why,
				   sizeof(why));
	if (rc < 0) {
		REQUIRE(c.origin == NULL && strnlen(why, sizeof(why)) < sizeof(why));
		return 0;
	}
	REQUIRE(c.authorization != NULL || (data[0] & 1));
	if (c.authorization != NULL)
		REQUIRE(post_header_ok(c.authorization, strlen(c.authorization)));
	check_urls(&c);
	push_connection_fini(&c);
	return 0;
}
