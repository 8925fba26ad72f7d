/* Runs a fuzz target over the files of a folder (its seeds and what fuzzing once found), over every
 * prefix of each, and over a fixed number of random mutations: so that the targets are ordinary
 * tests too. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/mem.h"

enum { FILE_SIZE_MAX = 1 << 20, PREFIXES_MAX = 512, MUTATIONS = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t rng = 88172645463325252u;

static uint64_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* A copy of exactly this size, so that a sanitizer sees reads past its end. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = mem_dup(data, size);

	(void)LLVMFuzzerTestOneInput(copy, size);
	mem_free(copy);
}

static void run_mutations(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size == 0)
		return;
	copy = mem_dup(data, size);
	for (int i = 0; i < MUTATIONS; i++) {
		for (uint64_t flips = next_random() % 4 + 1; flips > 0; flips--)
			copy[next_random() % size] = (uint8_t)next_random();
		run(copy, size);
		if (i % 8 == 7)
			memcpy(copy, data, size);
	}
	mem_free(copy);
}

static int run_file(const char *dir, const char *name)
{
	char *path = mem_printf("%s/%s", dir, name);
	uint8_t *data = mem_alloc(FILE_SIZE_MAX);
	FILE *f = fopen(path, "rb");
	size_t size;

	if (f == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	size = fread(data, 1, FILE_SIZE_MAX, f);
	fclose(f);
	run(data, size);
	for (size_t n = 0; n < MIN(size, PREFIXES_MAX); n++)
		run(data, n);
	run_mutations(data, size);
	mem_free(data);
	mem_free(path);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	int count = 0;
	DIR *dir;

	if (base_init() < 0 || argc != 2)
		return 2;
	dir = opendir(argv[1]);
	if (dir == NULL) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	run((const uint8_t *)"", 0);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (run_file(argv[1], entry->d_name) < 0)
			return 1;
		count++;
	}
	closedir(dir);
	printf("%d files replayed\n", count);
	return count > 0 ? 0 : 1;
}
