#include "daemon/upload.h"

#include "base/err.h"
#include "base/mem.h"
#include "daemon/batch.h"
#include "daemon/json.h"

_Static_assert((int)UPLOAD_BATCH_BLOBS <= (int)BATCH_BLOBS_MAX &&
		       (int)UPLOAD_BATCH_BLOBS <= (int)BATCH_HAS_MAX,
	       "one batch, one request");
_Static_assert((int)UPLOAD_BATCH_BYTES + (int)OBJECT_BLOB_MAX + 5 * (int)UPLOAD_BATCH_BLOBS <=
		       (int)BATCH_BYTES_MAX,
	       "the last blob fits");

struct upload_blob {
	struct hash hash;
	enum object_kind kind;
	uint8_t *data;
	uint32_t len;
};

int upload_init(struct upload *u, struct client *client)
{
	*u = (struct upload){ .client = client };
	u->pending = mem_alloc_array(UPLOAD_BATCH_BLOBS, sizeof(*u->pending));
	return u->pending != NULL ? 0 : UV_ENOMEM;
}

static void forget(struct upload *u)
{
	for (size_t i = 0; i < u->count; i++)
		mem_free(u->pending[i].data);
	u->count = 0;
	u->bytes = 0;
}

void upload_fini(struct upload *u)
{
	forget(u);
	u->pending = mem_free(u->pending);
}

/* The indices the daemon lacks, as {"missing":[0,3,…]}. */
static int ask(struct upload *u, json_t **ret_missing)
{
	json_t *hashes = json_array(), *question, *answer = NULL;
	int rc;

	for (size_t i = 0; i < u->count; i++)
		(void)json_array_append_new(hashes, json_cid(&u->pending[i].hash));
	question = json_pack("{s:o}", "hashes", hashes);
	if (question == NULL)
		return UV_ENOMEM;
	rc = client_json(u->client, "POST", "/v1/blobs/has", question, &answer);
	json_decref(question);
	if (rc == 0)
		*ret_missing = json_incref(json_object_get(answer, "missing"));
	json_decref(answer);
	return rc;
}

static int send_missing(struct upload *u, const json_t *missing)
{
	struct client_reply reply = { 0 };
	struct buf body;
	size_t n = json_array_size(missing);
	int rc;

	buf_init(&body, BATCH_BYTES_MAX);
	for (size_t i = 0; i < n; i++) {
		json_int_t at = json_integer_value(json_array_get(missing, i));
		const struct upload_blob *b;

		if (at < 0 || (size_t)at >= u->count)
			continue;
		b = &u->pending[at];
		batch_write(&body, (uint8_t)b->kind, b->data, b->len);
		u->new_blobs++;
		u->new_bytes += b->len;
	}
	rc = buf_err(&body);
	if (rc == 0)
		rc = client_request(u->client, "POST", "/v1/blobs", "application/octet-stream",
				    body.data, body.len, &reply);
	if (rc == 0 && reply.http_status / 100 != 2)
		rc = client_error_of(u->client, &reply);
	buf_fini(&reply.body);
	buf_fini(&body);
	return rc;
}

int upload_flush(struct upload *u)
{
	json_t *missing = NULL;
	int rc;

	if (u->count == 0)
		return 0;
	rc = ask(u, &missing);
	if (rc == 0 && json_array_size(missing) > 0)
		rc = send_missing(u, missing);
	json_decref(missing);
	if (rc == 0)
		forget(u);
	return rc;
}

int upload_add(struct upload *u, enum object_kind kind, const struct hash *hash, const void *data,
	       size_t len)
{
	struct upload_blob *b;
	int rc;

	REQUIRE(len <= OBJECT_BLOB_MAX);
	if (u->count == UPLOAD_BATCH_BLOBS || u->bytes >= UPLOAD_BATCH_BYTES) {
		rc = upload_flush(u);
		if (rc < 0)
			return rc;
	}
	b = &u->pending[u->count];
	b->data = mem_dup(data, len);
	if (b->data == NULL)
		return UV_ENOMEM;
	b->hash = *hash;
	b->kind = kind;
	b->len = (uint32_t)len;
	u->count++;
	u->bytes += len;
	u->blobs++;
	return 0;
}
