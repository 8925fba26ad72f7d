/* Foreign Negentropy messages, read by both sides. First byte: which side and policy. */
#include <sodium.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sync/reconcile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS = 300 };

static bool on_have(void *data, const struct reconcile_item *item)
{
	return item->id.bytes[0] & 1;
}

static bool on_need(void *data, const struct hash *id)
{
	return id->bytes[0] & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reconcile_item items[ITEMS];
	struct reconcile_sink sink = { on_have, on_need, NULL };
	struct reconcile_set set;
	struct reconcile r;
	struct buf out;
	bool done;

	if (size == 0)
		return 0;
	for (size_t i = 0; i < ITEMS; i++)
		items[i] = (struct reconcile_item){
			.time = i / 7, .id = { .bytes = { (uint8_t)i, (uint8_t)(i >> 8) } }
		};
	if (reconcile_set_init(&set, items, ITEMS) < 0)
		abort();
	if (reconcile_init(&r, &set, data[0] & 4 ? RECONCILE_FRAME_MIN : 0, data[0] & 2) < 0)
		abort();
	buf_init(&out, 1 << 20);
	if (data[0] & 1) {
		(void)reconcile_initiate(&r, &out);
		buf_clear(&out);
		(void)reconcile_continue(&r, data + 1, size - 1, &sink, &out, &done);
	} else {
		(void)reconcile_respond(&r, data + 1, size - 1, &out);
	}
	buf_fini(&out);
	reconcile_set_fini(&set);
	return 0;
}
