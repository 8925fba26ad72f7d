/* Long lists of entries or chunks, split into blobs by content.
 *
 * The list is cut into parts, each part a blob; the references to the parts are a list again, cut
 * in the same way, until one blob is left. Where to cut depends on the item in front of the cut,
 * not on how many came before, so an edit changes the part that it falls into and one blob on every
 * level above, and all other parts keep their hashes:
 *
 *   after an item of b bytes, if its 64-bit key modulo PART_AVG is below b and the part has
 * PART_MIN bytes in front of an item that would take the part beyond PART_MAX
 *
 * The first rule cuts once in PART_AVG bytes on average, whatever the size of the items. The key of
 * an entry comes from its name, so that a change of a file moves no cut; that of a chunk or part is
 * its hash. The second rule is rare (one part in a hundred) unless somebody chooses names for it,
 * and then costs no more than large parts. These figures are no part of the format: a reader takes
 * any split. Changing them only makes equal content differ in blobs. */
#include <string.h>

#include "base/err.h"
#include "object/tree.h"

enum { PART_MIN = 16 << 10, PART_AVG = 48 << 10, PART_MAX = 256 << 10, REF_BYTES_MAX = 40 };

_Static_assert((int)PART_MAX <= (int)OBJECT_TREE_MAX, "a part is written as one blob");
_Static_assert(PART_MIN / REF_BYTES_MAX >= 2, "every level is shorter than the one below");

/* The list of one level: entries, or references to chunks (level 0 of a file) or to parts. */
struct items {
	size_t count;
	const struct entry *entries;
	const struct chunk_ref *refs;
	const uint64_t *sizes; /* of refs to parts: content below */
};

/* What a level wrote. */
struct parts {
	struct chunk_ref *refs;
	uint64_t *sizes;
	size_t count, cap;
};

struct writer {
	enum object_kind kind;
	uint32_t mode;
	object_emit_fn emit;
	void *data;
};

static void parts_fini(struct parts *p)
{
	mem_free(p->refs);
	mem_free(p->sizes);
}

static int parts_add(struct parts *p, const struct chunk_ref *ref, uint64_t size)
{
	if (p->count == p->cap) {
		size_t cap = MAX(p->cap * 2, (size_t)16);
		struct chunk_ref *refs = mem_realloc(p->refs, cap * sizeof(*refs));
		uint64_t *sizes;

		if (refs == NULL)
			return UV_ENOMEM;
		p->refs = refs;
		sizes = mem_realloc(p->sizes, cap * sizeof(*sizes));
		if (sizes == NULL)
			return UV_ENOMEM;
		p->sizes = sizes;
		p->cap = cap;
	}
	p->refs[p->count] = *ref;
	p->sizes[p->count] = size;
	p->count++;
	return 0;
}

static uint64_t item_key(const struct items *in, size_t i)
{
	struct hash hash = in->entries != NULL ?
				   hash_of(in->entries[i].name, in->entries[i].name_len) :
				   in->refs[i].hash;
	uint64_t key = 0;

	for (size_t b = 0; b < 8; b++)
		key = key << 8 | hash.bytes[b];
	return key;
}

static size_t item_bytes(const struct items *in, size_t i)
{
	return in->entries != NULL ? tree_entry_encoded_size(&in->entries[i]) : REF_BYTES_MAX;
}

static uint64_t content_size(const struct items *in, size_t from, size_t to)
{
	uint64_t sum = 0;

	if (in->entries != NULL)
		return 0;
	for (size_t i = from; i < to; i++)
		sum += in->sizes != NULL ? in->sizes[i] : in->refs[i].size;
	return sum;
}

static int encode(const struct writer *w, const struct items *in, size_t from, size_t to,
		  struct buf *out)
{
	struct chunk_ref *refs = in->refs != NULL ? (struct chunk_ref *)(uintptr_t)&in->refs[from] :
						    NULL;
	struct file file = { .size = content_size(in, from, to) };
	struct tree tree = { 0 };

	if (w->kind == OBJECT_FILE) {
		file.mode = to - from == in->count ? w->mode : 0; /* said once, at the top */
		*(in->sizes != NULL ? &file.parts : &file.chunks) = refs;
		*(in->sizes != NULL ? &file.part_count : &file.chunk_count) = to - from;
		return file_encode(&file, out);
	}
	if (in->entries != NULL) {
		tree.entries = (struct entry *)(uintptr_t)&in->entries[from];
		tree.entry_count = to - from;
	} else {
		tree.parts = refs;
		tree.part_count = to - from;
	}
	return tree_encode(&tree, out);
}

static int write_part(const struct writer *w, const struct items *in, size_t from, size_t to,
		      struct parts *out)
{
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct chunk_ref ref;
	const void *bytes;
	int rc;

	buf_init(&blob, OBJECT_TREE_MAX);
	rc = encode(w, in, from, to, &blob);
	if (rc < 0)
		return rc;
	bytes = blob.len > 0 ? (const void *)blob.data : "";
	ref = (struct chunk_ref){ hash_of(bytes, blob.len), (uint32_t)blob.len };
	rc = w->emit(w->data, w->kind, &ref.hash, bytes, blob.len);
	return rc < 0 ? rc : parts_add(out, &ref, content_size(in, from, to));
}

static int write_level(const struct writer *w, const struct items *in, struct parts *out)
{
	size_t from = 0, part_bytes = 0;
	int rc = 0;

	for (size_t i = 0; i < in->count && rc == 0; i++) {
		size_t bytes = item_bytes(in, i);

		if (i > from && part_bytes + bytes > PART_MAX) {
			rc = write_part(w, in, from, i, out);
			from = i;
			part_bytes = 0;
		}
		part_bytes += bytes;
		if (rc == 0 && part_bytes >= PART_MIN && item_key(in, i) % PART_AVG < bytes) {
			rc = write_part(w, in, from, i + 1, out);
			from = i + 1;
			part_bytes = 0;
		}
	}
	if (rc == 0 && (from < in->count || in->count == 0))
		rc = write_part(w, in, from, in->count, out);
	return rc;
}

static int write_levels(const struct writer *w, const struct items *list, struct chunk_ref *ret_top)
{
	CLEANUP(parts_fini) struct parts below = { 0 };
	int rc = write_level(w, list, &below);

	while (rc == 0 && below.count > 1) {
		struct items in = { .count = below.count,
				    .refs = below.refs,
				    .sizes = below.sizes };
		struct parts above = { 0 };

		rc = write_level(w, &in, &above);
		parts_fini(&below);
		below = above;
	}
	if (rc == 0)
		*ret_top = below.refs[0];
	return rc;
}

int tree_write(const struct entry *entries, size_t count, object_emit_fn emit, void *data,
	       struct chunk_ref *ret_top)
{
	static const struct entry none[1];
	struct writer w = { .kind = OBJECT_TREE, .emit = emit, .data = data };
	struct items list = { .count = count, .entries = count > 0 ? entries : none };

	for (size_t i = 0; i < count; i++) {
		int rc = tree_entry_check(&entries[i]);

		if (rc < 0)
			return rc;
		if (i > 0 && tree_entry_cmp(&entries[i - 1], &entries[i]) >= 0)
			return ERR_MALFORMED;
	}
	return write_levels(&w, &list, ret_top);
}

int file_write(uint64_t size, uint32_t mode, const struct chunk_ref *chunks, size_t count,
	       object_emit_fn emit, void *data, struct chunk_ref *ret_top)
{
	struct writer w = { .kind = OBJECT_FILE, .mode = mode, .emit = emit, .data = data };
	struct items list = { .count = count, .refs = chunks };

	for (size_t i = 0; i < count; i++) {
		if (!tree_ref_ok(&chunks[i], CHUNK_MAX))
			return ERR_MALFORMED;
	}
	if (mode > MODE_MASK || tree_refs_size(chunks, count) != size)
		return ERR_MALFORMED;
	return write_levels(&w, &list, ret_top);
}
