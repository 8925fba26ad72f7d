/* Blobs in and out: POST /v1/blobs/has, POST /v1/blobs, POST /v1/blobs/get, GET /v1/blob/<cid>.
 * Framing: daemon/batch.h.
 *
 * Copying and hashing a batch of up to 16 MiB takes longer than a turn may, so a worker does it,
 * reading the request's body where it is: the request stays valid until its reply is complete. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/batch.h"
#include "daemon/control.h"
#include "daemon/json.h"

enum { GET_PIECE = 128 << 10 /* bytes of an answer that are written in one turn */ };

_Static_assert((int)BATCH_BLOBS_MAX <= (int)STORE_PUT_MAX &&
		       (int)BATCH_GET_MAX <= (int)STORE_GET_MAX &&
		       (int)BATCH_HAS_MAX <= (int)STORE_HAS_MAX,
	       "a batch is one operation of the store");
_Static_assert((int)BATCH_BYTES_MAX <= (int)HTTP_CONTROL_BODY_MAX, "a batch fits a request");

/* {"hashes": [cid, …]}; NULL after having refused the request. */
static struct hash *read_hashes(struct http_request *r, size_t max, size_t *ret_count)
{
	json_t *body = control_body(r);
	const json_t *list = json_object_get(body, "hashes");
	size_t count = json_array_size(list), i = 0;
	struct hash *hashes = NULL;

	if (body == NULL)
		return NULL;
	if (count > 0 && count <= max)
		hashes = mem_alloc_array(count, sizeof(*hashes));
	for (; hashes != NULL && i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (text == NULL || cid_parse(text, strlen(text), &hashes[i]) < 0)
			break;
	}
	if (hashes == NULL || i < count) {
		control_error(r, count > max ? ERR_TOO_BIG : ERR_MALFORMED,
			      "hashes is a list of 1 to %zu CIDs%s", max,
			      hashes != NULL ? "; one of them is malformed" : "");
		hashes = mem_free(hashes);
	}
	*ret_count = count;
	json_decref(body);
	return hashes;
}

/* ---- Which are here ---- */

struct has_call {
	struct control_call call;
	struct store_has op;
	struct hash *hashes;
};

static void on_has(struct store_has *op, int status)
{
	struct has_call *q = container_of(op, struct has_call, op);
	json_t *missing = json_array();

	for (size_t i = 0; status == 0 && i < op->count; i++)
		if (!op->present[i])
			(void)json_array_append_new(missing, json_integer((json_int_t)i));
	if (status < 0) {
		json_decref(missing);
		control_failed(q->call.request, status);
	} else {
		control_reply(q->call.request, json_pack("{s:o}", "missing", missing));
	}
	store_has_fini(op);
	mem_free(q->hashes);
	control_call_free(&q->call);
}

static void post_has(void *data, struct http_request *r)
{
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);
	size_t count = 0;
	struct hash *hashes = read_hashes(r, BATCH_HAS_MAX, &count);
	struct has_call *q;

	if (hashes == NULL)
		return;
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL) {
		mem_free(hashes);
		return;
	}
	q->hashes = hashes;
	q->call.op = &q->op.op;
	store_has_start(&q->op, &env, q->call.daemon->store, hashes, count, false, on_has);
}

/* ---- Put ---- */

struct put_call {
	struct control_call call;
	struct runner_job job;
	struct store_put op;
	const uint8_t *body;
	size_t len;
	struct store_blob *blobs;
	size_t count;
	int status;
};

static void put_free(struct put_call *q)
{
	for (size_t i = 0; q->blobs != NULL && i < q->count; i++)
		mem_free(q->blobs[i].data);
	mem_free(q->blobs);
	control_call_free(&q->call);
}

static const struct store_blob *first_bad(const struct put_call *q, size_t *ret_at)
{
	for (*ret_at = 0; *ret_at < q->count; (*ret_at)++)
		if (q->blobs[*ret_at].status < 0)
			return &q->blobs[*ret_at];
	return NULL;
}

static void on_put(struct store_put *op, int status)
{
	struct put_call *q = container_of(op, struct put_call, op);
	const struct store_blob *bad;
	size_t at;

	if (status < 0)
		control_failed(q->call.request, status);
	else if ((bad = first_bad(q, &at)) != NULL)
		control_error(q->call.request, bad->status, "blob %zu (%s) was not taken: %s", at,
			      object_kind_name(bad->kind), err_str(bad->status));
	else
		control_reply(q->call.request,
			      json_pack("{s:I, s:I, s:I}", "stored", (json_int_t)op->stored,
					"existed", (json_int_t)op->existed, "stored_bytes",
					(json_int_t)op->stored_bytes));
	for (size_t i = 0; i < q->count; i++) /* the store has freed the bytes */
		q->blobs[i].data = NULL;
	store_put_fini(op);
	put_free(q);
}

/* On a worker thread. */
static void put_prepare(struct runner_job *job)
{
	struct put_call *q = container_of(job, struct put_call, job);
	struct buf_reader r = buf_reader(q->body, q->len);
	struct batch_record record;

	for (size_t i = 0; i < q->count && q->status == 0; i++) {
		q->status = batch_read(&r, &record);
		if (q->status < 0)
			break;
		q->blobs[i].kind = (enum object_kind)record.tag;
		q->blobs[i].len = record.len;
		q->blobs[i].hash = hash_of(record.data, record.len);
		q->blobs[i].data = mem_dup(record.data, record.len);
		if (q->blobs[i].data == NULL)
			q->status = UV_ENOMEM;
	}
}

static void put_prepared(struct runner_job *job)
{
	struct put_call *q = container_of(job, struct put_call, job);
	struct op_env env = control_env(q->call.daemon, CONTROL_TIMEOUT_MS);

	if (q->call.gone && q->status == 0)
		q->status = UV_ECANCELED;
	if (q->status < 0) {
		control_failed(q->call.request, q->status);
		put_free(q);
		return;
	}
	q->call.op = &q->op.op;
	store_put_start(&q->op, &env, q->call.daemon->store, q->blobs, q->count, NULL, NULL,
			on_put);
}

static void post_blobs(void *data, struct http_request *r)
{
	size_t len = 0, count = 0, bad = 0;
	const uint8_t *body = http_request_body(r, &len);
	int rc = batch_check_put(body, len, &count, &bad);
	struct put_call *q;

	if (rc < 0) {
		control_error(r, rc, "record %zu of the batch: %s", bad, err_str(rc));
		return;
	}
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL)
		return;
	q->body = body;
	q->len = len;
	q->count = count;
	q->blobs = mem_alloc_array(MAX(count, (size_t)1), sizeof(*q->blobs));
	q->job = (struct runner_job){ .run = put_prepare, .done = put_prepared };
	if (q->blobs == NULL || runner_submit(&q->call.daemon->loop.runner, &q->job) < 0) {
		control_failed(r, UV_ENOMEM);
		put_free(q);
	}
}

/* ---- Get ---- */

struct get_call {
	struct control_call call;
	struct store_get op;
	struct store_get_item items[BATCH_GET_MAX];
	struct runner_task task;
	size_t written; /* items */
	bool single;
};

static void get_free(struct get_call *q)
{
	runner_undefer(&q->task);
	store_get_fini(&q->op);
	control_call_free(&q->call);
}

/* An answer of 8 MiB takes longer than a turn may: GET_PIECE of it at a time. */
static void write_piece(struct get_call *q)
{
	struct http_request *r = q->call.request;
	bool wait = false;
	size_t bytes = 0;

	while (q->written < q->op.count && !wait && bytes < GET_PIECE) {
		const struct store_get_item *item = &q->op.items[q->written];
		uint8_t head[BATCH_HEAD_SIZE];

		if (item->data == NULL && item->len == SIZE_MAX)
			break; /* over the limit: ask again for the rest */
		batch_head(head, item->data != NULL, item->data != NULL ? (uint32_t)item->len : 0);
		wait = http_reply_write(r, head, sizeof(head));
		if (item->data != NULL)
			wait |= http_reply_write(r, item->data, item->len);
		bytes += item->data != NULL ? item->len : 0;
		q->written++;
	}
	if (wait)
		return; /* until on_drain */
	if (bytes >= GET_PIECE && q->written < q->op.count) {
		runner_defer(&q->call.daemon->loop.runner, &q->task);
		return;
	}
	http_reply_end(r);
	get_free(q);
}

static void on_piece(struct runner_task *task)
{
	write_piece(container_of(task, struct get_call, task));
}

static void on_drain(void *data, struct http_request *r)
{
	write_piece(data);
}

static void reply_batch(struct get_call *q)
{
	q->call.op = NULL; /* it has ended */
	q->task.run = on_piece;
	http_request_on_drain(q->call.request, on_drain, q);
	http_reply_begin(q->call.request, 200, "application/octet-stream");
	write_piece(q);
}

static void reply_single(struct get_call *q)
{
	const struct store_get_item *item = &q->op.items[0];
	char cid[CID_TEXT_SIZE];
	struct buf out;

	if (item->data == NULL) {
		cid_format(&item->hash, cid);
		control_error(q->call.request, ERR_NOT_FOUND, "the blob %s is not here", cid);
		return;
	}
	buf_init(&out, OBJECT_BLOB_MAX + 1);
	buf_write(&out, item->data, item->len);
	if (buf_err(&out) < 0)
		control_failed(q->call.request, buf_err(&out));
	else
		http_reply(q->call.request, 200, "application/octet-stream", &out);
	buf_fini(&out);
}

static void on_got(struct store_get *op, int status)
{
	struct get_call *q = container_of(op, struct get_call, op);

	if (status == 0 && !q->single) {
		reply_batch(q); /* frees it at the end */
		return;
	}
	if (status < 0)
		control_failed(q->call.request, status);
	else
		reply_single(q);
	get_free(q);
}

static void start_get(struct control *c, struct http_request *r, const struct hash *hashes,
		      size_t count, bool single)
{
	static const struct store_reader user = { 0 };
	struct op_env env = control_env(control_daemon(c), CONTROL_TIMEOUT_MS);
	struct get_call *q = control_call_new(c, r, sizeof(*q));

	if (q == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		q->items[i].hash = hashes[i];
	q->single = single;
	q->call.op = &q->op.op;
	store_get_start(&q->op, &env, q->call.daemon->store, q->items, count, &user,
			BATCH_GET_BYTES_MAX, on_got);
}

static void post_get(void *data, struct http_request *r)
{
	size_t count = 0;
	struct hash *hashes = read_hashes(r, BATCH_GET_MAX, &count);

	if (hashes != NULL)
		start_get(data, r, hashes, count, false);
	mem_free(hashes);
}

static void get_blob(void *data, struct http_request *r)
{
	const char *tail = http_request_tail(r);
	struct hash hash;
	int rc = cid_parse(tail, strlen(tail), &hash);

	if (rc < 0)
		control_error(r, ERR_MALFORMED, "not the CID of a blob: %s", err_str(rc));
	else
		start_get(data, r, &hash, 1, true);
}

int control_blob_routes(struct control *c, struct http_server *s)
{
	int rc = http_route(s, HTTP_POST_, "/v1/blobs/has", NULL, post_has, c);

	if (rc == 0)
		rc = http_route(s, HTTP_POST_, "/v1/blobs/get", NULL, post_get, c);
	if (rc == 0)
		rc = http_route(s, HTTP_POST_, "/v1/blobs", NULL, post_blobs, c);
	return rc == 0 ? http_route(s, HTTP_GET_, "/v1/blob/*", NULL, get_blob, c) : rc;
}
