#include "daemon/fetcher.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/batch.h"
#include "daemon/json.h"

struct held {
	uint8_t *data;
	size_t len;
};

void fetcher_init(struct fetcher *f, struct client *client)
{
	*f = (struct fetcher){ .client = client };
	map_init(&f->held, FETCHER_HELD_MAX);
}

static void drop(struct held *h)
{
	mem_free(h->data);
	mem_free(h);
}

static void forget(struct fetcher *f)
{
	for (struct map_iter it = map_first(&f->held); it.value; map_next(&it))
		drop(it.value);
	map_fini(&f->held);
	map_init(&f->held, FETCHER_HELD_MAX);
	f->held_bytes = 0;
}

void fetcher_fini(struct fetcher *f)
{
	forget(f);
	map_fini(&f->held);
}

int fetcher_get(struct fetcher *f, const struct hash *hash, uint8_t **ret, size_t *ret_len)
{
	struct held *h = map_del(&f->held, hash->bytes, sizeof(hash->bytes));
	struct client_reply reply;
	char cid[CID_TEXT_SIZE], path[CID_TEXT_SIZE + 16];
	int rc;

	if (h != NULL) {
		*ret = TAKE_PTR(h->data);
		*ret_len = h->len;
		f->held_bytes -= h->len;
		drop(h);
		return 0;
	}
	cid_format(hash, cid);
	snprintf(path, sizeof(path), "/v1/blob/%s", cid);
	rc = client_request(f->client, "GET", path, NULL, NULL, 0, &reply);
	if (rc == 0 && reply.http_status != 200)
		rc = client_error_of(f->client, &reply);
	if (rc == 0) {
		f->requests++;
		f->bytes += reply.body.len;
		*ret = buf_take(&reply.body, ret_len);
		if (*ret == NULL) /* an empty blob */
			*ret = mem_alloc(0);
		rc = *ret != NULL ? 0 : UV_ENOMEM;
	}
	buf_fini(&reply.body);
	return rc;
}

static void hold(struct fetcher *f, const struct hash *hash, const struct batch_record *record)
{
	struct held *h;

	/* Asked for twice in one go, as when two files are equal: the first one is enough. */
	if (map_get(&f->held, hash->bytes, sizeof(hash->bytes)) != NULL)
		return;
	h = mem_alloc(sizeof(*h));
	if (h == NULL)
		return;
	h->data = mem_dup(record->data, record->len);
	h->len = record->len;
	if (h->data == NULL || map_put(&f->held, hash->bytes, sizeof(hash->bytes), h) < 0) {
		drop(h);
		return;
	}
	f->held_bytes += h->len;
}

static void take_answer(struct fetcher *f, const struct hash *asked, size_t count,
			const struct buf *body)
{
	struct buf_reader r = buf_reader(body->data, body->len);
	struct batch_record record;

	for (size_t i = 0; i < count && batch_read(&r, &record) == 0; i++) {
		f->bytes += record.len;
		if (record.tag == 1)
			hold(f, &asked[i], &record);
	}
}

void fetcher_prefetch(struct fetcher *f, const struct hash *hashes, size_t count)
{
	struct hash asked[BATCH_GET_MAX];
	json_t *list = json_array(), *question;
	struct client_reply reply = { 0 };
	struct buf body;
	size_t n = 0;

	if (f->held_bytes > FETCHER_HELD_BYTES_MAX / 2 ||
	    map_count(&f->held) > FETCHER_HELD_MAX / 2)
		forget(f);
	for (size_t i = 0; i < count && n < BATCH_GET_MAX; i++) {
		if (map_get(&f->held, hashes[i].bytes, sizeof(hashes[i].bytes)) != NULL)
			continue;
		asked[n++] = hashes[i];
		(void)json_array_append_new(list, json_cid(&hashes[i]));
	}
	question = json_pack("{s:o}", "hashes", list);
	buf_init(&body, 1 << 20);
	if (n > 0 && question != NULL) {
		json_write(&body, question);
		if (client_request(f->client, "POST", "/v1/blobs/get", NULL, body.data, body.len,
				   &reply) == 0 &&
		    reply.http_status == 200)
			take_answer(f, asked, n, &reply.body);
		f->requests++;
		buf_fini(&reply.body);
	}
	json_decref(question);
	buf_fini(&body);
}
