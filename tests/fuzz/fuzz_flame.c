/* Labelled stacks as the flame graph reads them: whatever the bytes, the tree adds up, and what is
 * drawn of it is escaped. */
#include <string.h>

#include "debug_http/flame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DRAWN_MAX = 16 << 20 };

/* No deeper than FLAME_DEPTH_MAX. */
static void check(const struct flame *f, unsigned at)
{
	int64_t below = f->nodes[at].self;

	for (unsigned i = f->nodes[at].child; i != 0; i = f->nodes[i].next) {
		below += f->nodes[i].total;
		check(f, i);
	}
	REQUIRE(below == f->nodes[at].total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flame f;
	struct buf out;

	if (flame_parse(&f, (const char *)data, size, &(struct flame_filter){ 0 }) < 0)
		return 0;
	check(&f, 0);
	REQUIRE(f.nodes[0].total == f.total);
	buf_init(&out, DRAWN_MAX);
	flame_draw(&out, &f);
	check(&f, 0);
	REQUIRE(out.len == 0 || memmem(out.data, out.len, "<script", 7) == NULL);
	buf_fini(&out);
	flame_fini(&f);
	return 0;
}
