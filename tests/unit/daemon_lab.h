/* An object's blobs in memory and an empty folder on the disk. */
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_util.h"

#include "base/base.h"
#include "base/map.h"
#include "daemon/beneath.h"
#include "daemon/extract.h"

enum { BLOBS_MAX = 4096 };

struct blob {
	uint8_t *data;
	size_t len;
};

struct lab {
	char dir[64];
	int fd;
	struct map blobs;
	struct buf scratch;
	uint64_t cancel_after;
	unsigned looks;
};

static inline int lab_put(struct lab *lab, const void *data, size_t len, struct chunk_ref *ret)
{
	struct blob *b = mem_alloc(sizeof(*b));

	ret->hash = hash_of(data, len);
	ret->size = (uint32_t)len;
	b->data = mem_alloc(len + 1);
	if (len > 0)
		memcpy(b->data, data, len);
	b->len = len;
	if (map_get(&lab->blobs, ret->hash.bytes, HASH_SIZE) != NULL) {
		mem_free(b->data);
		mem_free(b);
		return 0;
	}
	return map_put(&lab->blobs, ret->hash.bytes, HASH_SIZE, b);
}

static inline int lab_get(void *data, const struct hash *hash, uint8_t **ret, size_t *ret_len)
{
	struct lab *lab = data;
	struct blob *b = map_get(&lab->blobs, hash->bytes, HASH_SIZE);

	if (b == NULL)
		return ERR_NOT_FOUND;
	*ret = mem_dup(b->data, b->len);
	*ret_len = b->len;
	return *ret != NULL ? 0 : UV_ENOMEM;
}

static inline bool lab_progress(void *data, uint64_t bytes, uint64_t files)
{
	struct lab *lab = data;

	(void)files;
	return lab->cancel_after == 0 || bytes < lab->cancel_after;
}

static const struct extract_source lab_source = { lab_get, NULL, lab_progress };

static inline int remove_at(int dir, const char *name)
{
	struct beneath_removal r = { 0 };

	return beneath_remove(dir, name, &r);
}

static inline int lab_setup(void **state)
{
	struct lab *lab = mem_alloc(sizeof(*lab));

	snprintf(lab->dir, sizeof(lab->dir), "/tmp/peerscope-extract-XXXXXX");
	assert_non_null(mkdtemp(lab->dir));
	lab->fd = open(lab->dir, O_RDONLY | O_DIRECTORY);
	map_init(&lab->blobs, BLOBS_MAX);
	*state = lab;
	return 0;
}

static inline int lab_teardown(void **state)
{
	struct lab *lab = *state;
	int tmp;

	for (struct map_iter it = map_first(&lab->blobs); it.value; map_next(&it)) {
		mem_free(((struct blob *)it.value)->data);
		mem_free(it.value);
	}
	map_fini(&lab->blobs);
	tmp = open("/tmp", O_RDONLY | O_DIRECTORY);
	CHECK_STATUS(0, remove_at(tmp, lab->dir + strlen("/tmp/")));
	close(tmp);
	close(lab->fd);
	mem_free(lab);
	return 0;
}

static inline struct entry file_entry(struct lab *lab, const char *name, const char *text,
				      uint32_t mode, struct chunk_ref *chunk)
{
	CHECK_STATUS(0, lab_put(lab, text, strlen(text), chunk));
	return (struct entry){ .name = name,
			       .name_len = strlen(name),
			       .kind = ENTRY_FILE,
			       .mode = mode,
			       .size = strlen(text),
			       .chunks = chunk,
			       .chunk_count = 1 };
}

static inline struct hash honest_tree(struct lab *lab, const struct entry *entries, size_t count)
{
	struct tree t = { .entries = (struct entry *)entries, .entry_count = count };
	struct chunk_ref ref;
	struct buf out;

	buf_init(&out, OBJECT_TREE_MAX);
	CHECK_STATUS(0, tree_encode(&t, &out));
	CHECK_STATUS(0, lab_put(lab, out.data, out.len, &ref));
	buf_fini(&out);
	return ref.hash;
}

static inline struct entry top_of(const struct hash *tree)
{
	return (struct entry){
		.kind = ENTRY_DIRECTORY, .mode = 0755, .has_target = true, .target = { *tree, 0 }
	};
}
