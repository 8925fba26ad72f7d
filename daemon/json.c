#include "daemon/json.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"

static void *allocate(size_t size)
{
	return mem_alloc(size);
}

static void release(void *p)
{
	(void)mem_free(p);
}

void json_setup(void)
{
	json_set_alloc_funcs(allocate, release);
}

static int append(const char *data, size_t len, void *arg)
{
	struct buf *out = arg;

	buf_write_json_text(out, data, len); /* in pieces, but never of a character */
	return buf_err(out) < 0 ? -1 : 0;
}

void json_write(struct buf *out, const json_t *value)
{
	(void)json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
}

json_t *json_cid(const struct hash *h)
{
	char text[CID_TEXT_SIZE];

	cid_format(h, text);
	return json_string(text);
}

json_t *json_space(const struct public_key *k)
{
	char text[KEY_TEXT_SIZE];

	space_format(k, text);
	return json_string(text);
}

json_t *json_peer_id(const struct public_key *k)
{
	char text[PEER_ID_TEXT_SIZE];

	peer_id_format(k, text);
	return json_string(text);
}

json_t *json_multiaddr(const struct multiaddr *a)
{
	char text[MULTIADDR_TEXT_SIZE];

	multiaddr_format(a, text);
	return json_string(text);
}

json_t *json_iri(const struct public_key *space, const char *path)
{
	struct buf text;
	json_t *value;

	buf_init(&text, IRI_TEXT_MAX);
	iri_format_object(space, path, strlen(path), &text);
	value = buf_err(&text) == 0 ? json_stringn((const char *)text.data, text.len) : NULL;
	buf_fini(&text);
	return value;
}

json_t *json_version(const struct hash *heads, size_t count)
{
	struct buf text;
	json_t *value;

	buf_init(&text, (CID_TEXT_SIZE + 1) * (count + 1));
	version_format(heads, count, &text);
	value = json_stringn(text.data != NULL ? (const char *)text.data : "", text.len);
	buf_fini(&text);
	return value;
}

json_t *json_cids(const struct hash *hashes, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, json_cid(&hashes[i]));
	return array;
}

json_t *json_time(uint64_t seconds)
{
	time_t t = (time_t)seconds;
	char text[64];
	struct tm tm;

	if (seconds == 0 || gmtime_r(&t, &tm) == NULL)
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

const char *json_get_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

uint64_t json_get_count(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}
