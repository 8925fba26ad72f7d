/* What peerscope keeps: names (IRI, scope), and the formats of blobs. Pure: no I/O, no state.
 *
 *   blob        immutable bytes named by BLAKE2b-256
 *   chunk       a blob that is a piece of a file; any bytes at all
 *   tree, file  blobs that list what a directory or a large file consists of
 *   commit      the signed statement "this IRI now has this root"; names its parents
 *   capability  the signed statement "this key may write below this path"
 *
 * What a blob is follows from the link that leads to it, never from its bytes. Signed blobs are
 * `Signed{body, signature}`; the signature covers "peerscope:commit:1\0" (or ":capability:")
 * followed by body, so that neither can pass for the other; the bytes received are verified and
 * kept, never re-encoded. Every decoder takes foreign bytes and leaves nothing allocated on
 * failure. */
#pragma once

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/multiformats.h"

enum {
	OBJECT_BLOB_MAX = 1 << 20,    /* bytes of any blob */
	OBJECT_COMMIT_MAX = 64 << 10, /* bytes of a signed commit or capability */
	OBJECT_TREE_MAX = 512 << 10,  /* of a tree or file blob we write; OBJECT_BLOB_MAX is read */
	OBJECT_DECODE_ARENA = 16 << 20, /* limit of an arena that suffices for any tree or file */
	OBJECT_PARENTS_MAX = 64,
	OBJECT_PATH_MAX = 1024, /* bytes of an IRI path */
	OBJECT_NAME_MAX = 255,	/* bytes of an entry's name */
	OBJECT_SYMLINK_MAX = 4096,
	OBJECT_DEPTH_MAX = 64,	       /* of directories below a root, and of parts */
	OBJECT_INLINE_CHUNKS_MAX = 32, /* a file of more chunks gets a file blob */
	OBJECT_MODE_BITS = 07777,      /* permissions, setuid, setgid, sticky */
	OBJECT_MODE_DIRECTORY = 040000,
	OBJECT_MODE_DEFAULT = 0755,
	OBJECT_AUTHORITIES_MAX = 16,
	OBJECT_AUTHORITY_ADDRS_MAX = 8,
	OBJECT_SIGNATURE_SIZE = 64,
	IRI_HEADS_MAX = 16,
	IRI_HINTS_MAX = 8,
	IRI_TEXT_MAX = 8192,
	CHUNK_MIN = 64 << 10,
	CHUNK_AVG = 256 << 10,
	CHUNK_MAX = 1 << 20
};

enum object_kind {
	OBJECT_CHUNK = 0,
	OBJECT_COMMIT = 1,
	OBJECT_CAPABILITY = 2,
	OBJECT_TREE = 3,
	OBJECT_FILE = 4
};
const char *object_kind_name(enum object_kind kind);

/* ---- IRI ---- */

/* hm://<space>[/<path>][?v=<head>.<head>][&peer=<multiaddr>]... (docs/names.md) */
struct iri {
	struct public_key space;
	/* "" or "/a/b": no trailing slash, no empty, "." or ".." segment, UTF-8 without controls.
	 * Decoded: the name's own bytes, which is what is compared, signed and hashed. */
	char path[OBJECT_PATH_MAX + 1];
	size_t path_len;
	struct hash heads[IRI_HEADS_MAX]; /* the pinned version, ascending; none = not pinned */
	size_t head_count;
	struct multiaddr hints[IRI_HINTS_MAX];
	size_t hint_count;
};
/** ERR_MALFORMED / ERR_LIMIT / ERR_UNSUPPORTED (a key or head of another kind), with what is wrong
 * and where in ret_why (may be NULL). Lenient to what people paste: blanks around it, HM://, names
 * that are not percent-encoded, one trailing slash, heads in any order; hints for transports we do
 * not speak are left out. */
int iri_parse(const char *s, size_t len, struct iri *ret, char *ret_why, size_t why_size);
/** The text that is printed, without version and hints: names the object. Percent-encoded is what
 * RFC 3987 does not allow, what a shell would take for its own, and what is not seen or would not
 * survive being copied. */
void iri_format(const struct iri *iri, struct buf *out);
/** The same from its parts; the path as in struct iri. */
void iri_format_object(const struct public_key *space, const char *path, size_t path_len,
		       struct buf *out);
/** Scheme, space and the path's own bytes, nothing encoded: what keys of the DHT are hashes of.
 * Never shown. */
void iri_write_name(const struct public_key *space, const char *path, size_t path_len,
		    struct buf *out);
/** The same plus ?v= and &peer=. */
void iri_format_full(const struct iri *iri, struct buf *out);
/** Checks and normalises a path as typed by a person ("a/b/", "/a/b") into ret (OBJECT_PATH_MAX + 1
 * bytes). Nothing is percent-decoded: a '%' is a '%'. */
int iri_path_normalize(const char *s, size_t len, char *ret, size_t *ret_len, char *ret_why,
		       size_t why_size);
/** Same space and path. */
bool iri_same_object(const struct iri *a, const struct iri *b);

/** A version is the ascending set of heads, spelt as CIDs joined with '.'. */
void version_format(const struct hash *heads, size_t count, struct buf *out);
/** Sorts. "" is the empty version. At most cap and IRI_HEADS_MAX heads. ERR_MALFORMED (duplicates
 * too), ERR_LIMIT, ERR_UNSUPPORTED. */
int version_parse(const char *s, size_t len, struct hash *ret, size_t cap, size_t *ret_count);

/* ---- Scope ---- */

enum scope_kind { SCOPE_EXACT = 0, SCOPE_CHILDREN = 1, SCOPE_RECURSIVE = 2 };

/* IRI + kind: which objects. Children: the object and those one segment below it. Recursive: it and
 * all below. */
struct scope {
	struct public_key space;
	char path[OBJECT_PATH_MAX + 1];
	size_t path_len;
	enum scope_kind kind;
};
void scope_of_iri(const struct iri *iri, enum scope_kind kind, struct scope *ret);
bool scope_contains(const struct scope *s, const struct public_key *space, const char *path,
		    size_t path_len);
/** From foreign fields; checks path and kind. */
int scope_make(const struct public_key *space, const char *path, size_t path_len, uint32_t kind,
	       struct scope *ret);
const char *scope_kind_name(enum scope_kind kind);
/** Stable key of a scope for maps: BLAKE2b-256 over its fields. */
struct hash scope_key(const struct scope *s);

/* ---- Signed blobs ---- */

struct authority {
	struct public_key peer;
	struct multiaddr addrs[OBJECT_AUTHORITY_ADDRS_MAX];
	size_t addr_count;
};

struct commit {
	struct public_key space;
	char path[OBJECT_PATH_MAX + 1];
	size_t path_len;
	struct hash parents[OBJECT_PARENTS_MAX]; /* ascending, unique */
	size_t parent_count;
	uint64_t time_s;
	struct hash root;	    /* zero for a tombstone */
	enum object_kind root_kind; /* OBJECT_TREE or OBJECT_FILE; 0 for a tombstone */
	bool tombstone;
	struct public_key author;
	bool has_capability;
	struct hash capability;
	struct authority authorities[OBJECT_AUTHORITIES_MAX]; /* by the owner, on path "" only */
	size_t authority_count;
	uint64_t content_bytes, content_blobs;
	/* Of the folder at the top: OBJECT_MODE_DIRECTORY with permission bits; 0 = not said, which
	 * commits of before do: then it is OBJECT_MODE_DEFAULT. A file's mode is in its blob. */
	uint32_t root_mode;
};
/** The permission bits that the top folder of a tree is given. */
uint32_t commit_root_mode(const struct commit *c);
/** Encode and sign with the author's Ed25519 secret key (libsodium's 64 bytes). Appends the blob to
 * out. Refuses what commit_decode would: ERR_MALFORMED, ERR_LIMIT; ERR_VERIFY when secret is not
 * the author's; UV_ENOMEM. */
int commit_sign(const struct commit *c, const uint8_t secret[64], struct buf *out);
/** Decode and check everything that can be checked from the bytes alone: limits, order, path,
 * signature by the author, author equals space or else a capability is named. The envelope has one
 * spelling, so nobody but the author can make another blob of the same commit. Authorities'
 * addresses of unknown kinds are left out. ERR_LIMIT, ERR_MALFORMED, ERR_VERIFY, UV_ENOMEM. */
int commit_decode(const void *blob, size_t len, struct commit *ret);
/** As commit_decode, of bytes that it has accepted in this process: everything but the signature is
 * looked at again. */
int commit_decode_checked(const void *blob, size_t len, struct commit *ret);

struct capability {
	struct public_key space, grantee;
	char path_prefix[OBJECT_PATH_MAX + 1];
	size_t path_prefix_len;
	uint64_t expires_s;
};
/** As commit_sign and commit_decode; signed by the space. */
int capability_sign(const struct capability *c, const uint8_t space_secret[64], struct buf *out);
int capability_decode(const void *blob, size_t len, struct capability *ret);
/** Does it allow this commit? 0 or ERR_UNAUTHORIZED. The commit's own time decides about expiry. */
int capability_allows(const struct capability *cap, const struct commit *c);

/* ---- Trees and files ---- */

enum object_entry_kind { ENTRY_FILE = 1, ENTRY_DIRECTORY = 2, ENTRY_SYMLINK = 3 };

struct chunk_ref {
	struct hash hash;
	uint32_t size;
};

struct entry {
	const char *name;
	size_t name_len;
	uint32_t mode;
	uint64_t size;
	enum object_entry_kind kind;
	struct chunk_ref *chunks; /* file with its chunks inline; their sizes add up to `size` */
	size_t chunk_count;
	bool has_target; /* directory: tree blob (of size 0 when empty); large file: file blob */
	struct chunk_ref target;
	const char *symlink;
	size_t symlink_len;
};

/* A decoded tree or file blob: exactly one of entries, chunks, parts is in use (all empty = an
 * empty one; the empty tree is a blob of no bytes). Everything it points at lives in the arena
 * given to the decoder; names and symlinks end in NUL. A file's mode is said in its top blob only,
 * its size in every part for what lies below that part. */
struct tree {
	struct entry *entries;
	size_t entry_count;
	struct chunk_ref *parts;
	size_t part_count;
};
struct file {
	uint64_t size;
	uint32_t mode;
	struct chunk_ref *chunks;
	size_t chunk_count;
	struct chunk_ref *parts;
	size_t part_count;
};
/** Names checked (entry_name_ok), ascending and unique; sizes of chunks between 1 and CHUNK_MAX,
 * and adding up to the file's. Order across parts is for whoever reads them one after the other.
 * ERR_MALFORMED, ERR_LIMIT, UV_ENOMEM (also when the arena is full). */
int tree_decode(const void *blob, size_t len, struct arena *arena, struct tree *ret);
int file_decode(const void *blob, size_t len, struct arena *arena, struct file *ret);
/** Encode one blob at the end of out, always the same for the same content. ERR_TOO_BIG when it
 * would exceed OBJECT_TREE_MAX: the caller then splits into parts (tree_write). ERR_MALFORMED /
 * ERR_LIMIT for what the decoder would refuse. */
int tree_encode(const struct tree *t, struct buf *out);
int file_encode(const struct file *f, struct buf *out);

/** Not empty, ".", "..", with '/' or NUL, nor longer than OBJECT_NAME_MAX, nor invalid UTF-8. */
bool entry_name_ok(const char *name, size_t len);
/** Text of a symlink: not empty, UTF-8 without NUL, at most OBJECT_SYMLINK_MAX bytes. */
bool symlink_text_ok(const char *text, size_t len);

/** What a blob of this kind links to, in order: for storing links and for fetching. visit returns
 * false to stop. `size` is the target's bytes, 0 if unknown (commits) or none. Decodes; same
 * errors. A commit's parents come first, then its capability, then root. A target named twice is
 * visited twice. 0 also when visit ended it. */
struct object_link {
	struct hash target;
	enum object_kind kind; /* of the target */
	uint32_t size;
	bool is_parent;
};
int object_links(enum object_kind kind, const void *blob, size_t len,
		 bool (*visit)(void *data, const struct object_link *l), void *data);

/** Split a list of entries (ascending) or chunks into blobs and return the top one, so that an edit
 * touches few of them. `emit` is called for every blob, leaves first, the top one last; it returns
 * 0 or an error that ends the work. A short list is one blob. The same blob may be emitted twice.
 * `blob` is valid during the call. */
typedef int (*object_emit_fn)(void *data, enum object_kind kind, const struct hash *hash,
			      const void *blob, size_t len);
int tree_write(const struct entry *entries, size_t count, object_emit_fn emit, void *data,
	       struct chunk_ref *ret_top);
int file_write(uint64_t size, uint32_t mode, const struct chunk_ref *chunks, size_t count,
	       object_emit_fn emit, void *data, struct chunk_ref *ret_top);

/* ---- Chunker: FastCDC (Xia et al., ATC'16), normalized, 64 KiB / 256 KiB / 1 MiB ---- */

/** Length of the first chunk of data. Data shorter than CHUNK_MAX is taken to be the file's end
 * unless `more` is set, in which case 0 means "bring at least CHUNK_MAX bytes". */
size_t chunk_cut(const uint8_t *data, size_t len, bool more);

/* ---- Files of secret keys ---- */

enum {
	KEYFILE_SEED_SIZE = 32,
	KEYFILE_TEXT_SIZE = 88,	  /* bytes of such a file */
	KEYFILE_SEARCH_MAX = 4096 /* files beyond it are not searched for keys */
};
/** `peerscope-ed25519-seed:`, the seed as 64 hex digits, a newline; then a NUL. */
void keyfile_write(const uint8_t seed[KEYFILE_SEED_SIZE], char ret[KEYFILE_TEXT_SIZE + 1]);
/** With or without the newline. ERR_MALFORMED for anything else; ret_seed may then hold part of it. */
int keyfile_parse(const void *text, size_t len, uint8_t ret_seed[KEYFILE_SEED_SIZE]);
/** Is this the content of a key file, or a small file with such a key in it? What is longer than
 * KEYFILE_SEARCH_MAX is taken for something else. */
bool keyfile_inside(const void *data, size_t len);
