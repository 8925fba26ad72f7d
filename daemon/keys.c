#include "daemon/keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "daemon/disk.h"
#include "object/object.h"

enum { KEY_FILE_MAX = 256 };

void key_wipe(struct secret_key *k)
{
	sodium_memzero(k, sizeof(*k));
}

static void from_seed(const uint8_t seed[KEYFILE_SEED_SIZE], struct secret_key *ret)
{
	crypto_sign_seed_keypair(ret->public.bytes, ret->secret, seed);
}

static int make(const char *dir, const char *name, struct secret_key *ret)
{
	uint8_t seed[KEYFILE_SEED_SIZE];
	char text[KEYFILE_TEXT_SIZE + 1];
	int rc;

	randombytes_buf(seed, sizeof(seed));
	keyfile_write(seed, text);
	rc = disk_write(dir, name, text, KEYFILE_TEXT_SIZE, 0600);
	if (rc == 0)
		from_seed(seed, ret);
	sodium_memzero(seed, sizeof(seed));
	sodium_memzero(text, sizeof(text));
	return rc;
}

static int parse(const struct buf *text, struct secret_key *ret)
{
	uint8_t seed[KEYFILE_SEED_SIZE];
	int rc = keyfile_parse(text->data, text->len, seed);

	if (rc == 0)
		from_seed(seed, ret);
	sodium_memzero(seed, sizeof(seed));
	return rc;
}

static int check(const char *dir, const char *name, mode_t mode, uid_t uid, char *ret_why,
		 size_t why_size)
{
	if (uid != geteuid()) {
		snprintf(ret_why, why_size,
			 "%s/%s belongs to another user (uid %u): run the daemon as that user, or "
			 "use "
			 "another data folder",
			 dir, name, (unsigned)uid);
		return UV_EPERM;
	}
	if ((mode & 077) != 0) {
		snprintf(ret_why, why_size,
			 "%s/%s is a secret key that others may read (mode %04o): `chmod 600 "
			 "%s/%s`, and "
			 "think about who has seen it",
			 dir, name, (unsigned)(mode & 07777), dir, name);
		return UV_EPERM;
	}
	return 0;
}

int key_load(const char *dir, const char *name, struct secret_key *ret, char *ret_why,
	     size_t why_size)
{
	struct buf text;
	mode_t mode = 0;
	uid_t uid = 0;
	int rc;

	buf_init(&text, KEY_FILE_MAX + 512);
	rc = disk_read(dir, name, KEY_FILE_MAX, &text, &mode, &uid);
	if (rc == UV_ENOENT) {
		rc = make(dir, name, ret);
		if (rc < 0)
			snprintf(ret_why, why_size, "cannot write %s/%s: %s", dir, name,
				 err_str(rc));
	} else if (rc < 0) {
		snprintf(ret_why, why_size, "cannot read the secret key %s/%s: %s", dir, name,
			 err_str(rc));
	} else {
		rc = check(dir, name, mode, uid, ret_why, why_size);
		if (rc == 0 && (rc = parse(&text, ret)) < 0)
			snprintf(ret_why, why_size,
				 "%s/%s is not a key file of peerscope: restore it from a backup, "
				 "or move it "
				 "away to get a new identity",
				 dir, name);
	}
	if (text.data != NULL)
		sodium_memzero(text.data, text.len);
	buf_fini(&text);
	return rc;
}
