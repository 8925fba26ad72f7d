/* Serving blobs: hashes are queued, read in bounded batches as the asking peer may see them, and
 * answered in the order asked.
 *
 * The next batch is read only when the stream's queue and the budget (serve_budget.c) have room, so
 * a peer that does not read costs one blob, and is cut when it takes nothing for SERVE_IDLE_MS,
 * sooner when others wait. */
#include <string.h>

#include "base/mem.h"
#include "sync/serve.h"

static bool grow_queue(struct serve *v, size_t more)
{
	size_t cap = MAX(v->queue_cap * 2, v->queue_count + more);
	struct hash *queue = mem_realloc(v->queue, cap * sizeof(*queue));

	if (queue == NULL)
		return false;
	v->queue = queue;
	v->queue_cap = cap;
	return true;
}

void serve_fetch_take(struct serve *v, const struct wire_more *more)
{
	if (v->queue_count + more->hash_count > SERVE_QUEUE_MAX) {
		serve_refuse(v, ERR_TOO_BIG, 0, SERVE_QUEUE_MAX, "too many blobs asked at once");
		return;
	}
	if (v->queue_count + more->hash_count > v->queue_cap && !grow_queue(v, more->hash_count)) {
		serve_abort(v, UV_ENOMEM);
		return;
	}
	memcpy(v->queue + v->queue_count, more->hashes, more->hash_count * sizeof(*v->queue));
	v->queue_count += more->hash_count;
}

static int answer(struct serve *v, const struct store_get_item *item)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_BLOB, .hash = item->hash };

	reply.missing = item->data == NULL;
	reply.bytes = (struct wire_bytes){ item->data, item->data != NULL ? item->len : 0 };
	if (!reply.missing) {
		v->sync->stats.blobs_served++;
		v->sync->stats.bytes_served += item->len;
		trace_add(v->op.env.span, 1, item->len);
	}
	return serve_send(v, &reply);
}

/* What was beyond the byte limit stays in the queue. */
static void answer_all(struct serve *v)
{
	size_t n = 0;

	while (n < v->item_count && !(v->items[n].data == NULL && v->items[n].len == SIZE_MAX)) {
		if (answer(v, &v->items[n]) < 0)
			return;
		n++;
	}
	v->queue_count -= n;
	memmove(v->queue, v->queue + n, v->queue_count * sizeof(*v->queue));
}

static void on_got(struct store_get *g, int status)
{
	struct serve *v = container_of(g, struct serve, get);

	v->reading = false;
	v->reserved = 0;
	v->moved_ms = runner_now_ms(v->op.env.runner);
	if (status < 0 && !op_stopping(&v->op))
		serve_refuse(v, status == ERR_BUSY ? ERR_BUSY : ERR_REFUSED, SYNC_RETRY_AFTER_MS, 0,
			     "the store failed");
	else if (!op_stopping(&v->op) && !v->we_ended)
		answer_all(v);
	store_get_fini(g);
	serve_freed(v->sync);
	op_release(&v->op);
	op_defer(&v->op);
}

/* Bytes to read now; 0 = not now. */
static size_t batch_bytes(struct serve *v)
{
	const size_t least = SERVE_FIRST_BYTES + OBJECT_BLOB_MAX; /* the last blob is read whole */
	size_t most = serve_proven(v) ? SERVE_GET_BYTES : SERVE_FIRST_BYTES;
	size_t room;

	serve_quench(v);
	if (net_stream_queued(&v->stream) > (serve_proven(v) ? (size_t)NET_SEND_QUEUE_HIGH : 0))
		return 0;
	room = serve_room(v, least);
	if (room < least) {
		serve_thirst(v);
		return 0;
	}
	return MIN(room - OBJECT_BLOB_MAX, most);
}

void serve_fetch_work(struct serve *v)
{
	const struct store_reader reader = { .is_peer = true, .peer = v->peer };
	size_t bytes;

	if (v->reading || v->queue_count == 0 || v->we_ended)
		return;
	bytes = batch_bytes(v);
	if (bytes == 0)
		return;
	v->item_count = MIN(v->queue_count, (size_t)SERVE_GET_BLOBS);
	for (size_t i = 0; i < v->item_count; i++)
		v->items[i] = (struct store_get_item){ .hash = v->queue[i] };
	v->reading = true;
	v->reserved = bytes + OBJECT_BLOB_MAX;
	op_hold(&v->op);
	store_get_start(&v->get, &v->op.env, v->sync->config.store, v->items, v->item_count,
			&reader, bytes, on_got);
}
