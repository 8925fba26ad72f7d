/* From disk to blobs and back: what is read is what is written. */
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test_util.h"

#include "base/base.h"
#include "base/map.h"
#include "daemon/extract.h"
#include "daemon/walk.h"

enum { BLOBS_MAX = 65536 };

struct blob {
	uint8_t *data;
	size_t len;
};

struct lab {
	char dir[64], source[96];
	int fd;
	struct map blobs;
	uint64_t skipped;
	int fail_with;
};

static int on_blob(void *data, enum object_kind kind, const struct hash *hash, const void *bytes,
		   size_t len)
{
	struct lab *lab = data;
	struct blob *b;
	struct hash actual = hash_of(bytes, len);

	(void)kind;
	assert_true(hash_eq(&actual, hash));
	if (lab->fail_with < 0)
		return lab->fail_with;
	if (map_get(&lab->blobs, hash->bytes, HASH_SIZE) != NULL)
		return 0;
	b = mem_alloc(sizeof(*b));
	if (b == NULL)
		return UV_ENOMEM;
	b->data = mem_dup(bytes, len);
	b->len = len;
	if (b->data != NULL && map_put(&lab->blobs, hash->bytes, HASH_SIZE, b) == 0)
		return 0;
	mem_free(b->data);
	mem_free(b);
	return UV_ENOMEM;
}

static void on_skipped(void *data, const char *path, const char *why)
{
	struct lab *lab = data;

	assert_non_null(path);
	assert_non_null(why);
	lab->skipped++;
}

static int get(void *data, const struct hash *hash, uint8_t **ret, size_t *ret_len)
{
	struct lab *lab = data;
	struct blob *b = map_get(&lab->blobs, hash->bytes, HASH_SIZE);

	assert_non_null(b);
	*ret = mem_dup(b->data, b->len);
	*ret_len = b->len;
	return 0;
}

static const struct walk_events events = { on_blob, on_skipped, NULL };
static const struct extract_source source = { get, NULL, NULL };

static int setup(void **state)
{
	struct lab *lab = mem_alloc(sizeof(*lab));

	REQUIRE(lab != NULL);
	snprintf(lab->dir, sizeof(lab->dir), "/tmp/peerscope-walk-XXXXXX");
	REQUIRE(lab != NULL && mkdtemp(lab->dir) != NULL);
	snprintf(lab->source, sizeof(lab->source), "%s/source", lab->dir);
	assert_int_equal(mkdir(lab->source, 0755), 0);
	lab->fd = open(lab->dir, O_RDONLY | O_DIRECTORY);
	map_init(&lab->blobs, BLOBS_MAX);
	*state = lab;
	return 0;
}

static int teardown(void **state)
{
	struct lab *lab = *state;

	for (struct map_iter it = map_first(&lab->blobs); it.value; map_next(&it)) {
		mem_free(((struct blob *)it.value)->data);
		mem_free(it.value);
	}
	map_fini(&lab->blobs);
	CHECK_STATUS(0, extract_remove(AT_FDCWD, lab->dir));
	close(lab->fd);
	mem_free(lab);
	return 0;
}

static void make_file(struct lab *lab, const char *name, size_t len, mode_t mode)
{
	uint8_t seed[randombytes_SEEDBYTES] = { (uint8_t)len, (uint8_t)(len >> 8),
						(uint8_t)name[0] };
	uint8_t *bytes = mem_alloc(len + 1);
	char path[512];
	int fd;

	randombytes_buf_deterministic(bytes, len, seed);
	snprintf(path, sizeof(path), "source/%s", name);
	fd = openat(lab->fd, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	mem_free(bytes);
}

static int walk(struct lab *lab, struct walk *w)
{
	*w = (struct walk){ .events = &events, .data = lab };
	return walk_run(w, lab->source);
}

static void check_same(struct lab *lab, const struct walk *w)
{
	struct extract x = { .source = &source, .data = lab };
	char command[256];

	CHECK_STATUS(0, extract_tree(&x, lab->fd, "copy", &w->root));
	assert_int_equal(x.files, w->files);
	assert_int_equal(x.bytes, w->bytes);
	snprintf(command, sizeof(command), "diff -r --no-dereference %s %s/copy", lab->source,
		 lab->dir);
	assert_int_equal(system(command), 0);
}

static void a_folder_comes_back_identical(void **state)
{
	struct lab *lab = *state;
	struct stat st;
	struct walk w;

	make_file(lab, "empty", 0, 0644);
	make_file(lab, "small", 10, 0755);
	make_file(lab, "chunk", CHUNK_MAX, 0600);
	make_file(lab, "large", 5000000, 0444);
	assert_int_equal(mkdirat(lab->fd, "source/dir", 0755), 0);
	assert_int_equal(mkdirat(lab->fd, "source/dir/empty", 0755), 0);
	make_file(lab, "dir/inner", 3, 0644);
	assert_int_equal(symlinkat("../../../etc/passwd", lab->fd, "source/link"), 0);
	CHECK_STATUS(0, walk(lab, &w));
	assert_int_equal(w.files, 5);
	assert_int_equal(w.symlinks, 1);
	assert_int_equal(w.root_kind, OBJECT_TREE);
	check_same(lab, &w);
	assert_int_equal(fstatat(lab->fd, "copy/small", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static void a_folder_of_thousands_splits_its_tree_and_comes_back(void **state)
{
	struct lab *lab = *state;
	char name[300];
	struct walk w;

	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%05d-%0200d", i, i);
		make_file(lab, name, i % 7 == 0 ? 20 : 0, 0644);
	}
	CHECK_STATUS(0, walk(lab, &w));
	assert_int_equal(w.files, 5000);
	check_same(lab, &w);
}

static void a_large_file_alone_comes_back(void **state)
{
	struct lab *lab = *state;
	struct extract x = { .source = &source, .data = lab };
	char path[128], command[256];
	struct walk w = { .events = &events, .data = lab };

	make_file(lab, "big", 20000000, 0640);
	snprintf(path, sizeof(path), "%s/big", lab->source);
	CHECK_STATUS(0, walk_run(&w, path));
	assert_int_equal(w.root_kind, OBJECT_FILE);
	assert_int_equal(w.bytes, 20000000);
	CHECK_STATUS(0, extract_file(&x, lab->fd, "copy", &w.root));
	snprintf(command, sizeof(command), "cmp %s %s/copy", path, lab->dir);
	assert_int_equal(system(command), 0);
}

static void the_same_content_has_the_same_root(void **state)
{
	struct lab *lab = *state;
	struct walk first, second;

	make_file(lab, "b", 100, 0644);
	make_file(lab, "a", 100, 0644);
	CHECK_STATUS(0, walk(lab, &first));
	CHECK_STATUS(0, walk(lab, &second));
	assert_true(hash_eq(&first.root, &second.root));
	make_file(lab, "c", 1, 0644);
	CHECK_STATUS(0, walk(lab, &second));
	assert_false(hash_eq(&first.root, &second.root));
}

static void special_files_are_left_out_with_a_warning(void **state)
{
	struct lab *lab = *state;
	struct walk w;

	make_file(lab, "a", 1, 0644);
	assert_int_equal(mkfifoat(lab->fd, "source/pipe", 0644), 0);
	CHECK_STATUS(0, walk(lab, &w));
	assert_int_equal(w.skipped, 1);
	assert_int_equal(lab->skipped, 1);
	assert_int_equal(w.files, 1);
}

static void a_name_that_is_no_text_is_an_error_unless_skipped(void **state)
{
	struct lab *lab = *state;
	struct walk w;

	make_file(lab,
		  "bad\xff"
		  "name",
		  1, 0644);
	make_file(lab, "good", 1, 0644);
	CHECK_STATUS(ERR_MALFORMED, walk(lab, &w));
	assert_non_null(strstr(w.why, "bad"));
	w = (struct walk){ .events = &events, .data = lab, .skip_unreadable = true };
	CHECK_STATUS(0, walk_run(&w, lab->source));
	assert_int_equal(w.unreadable, 1);
	assert_int_equal(w.files, 1);
}

static void a_missing_path_and_a_failing_store_are_reported(void **state)
{
	struct lab *lab = *state;
	struct walk w = { .events = &events, .data = lab };

	CHECK_STATUS(UV_ENOENT, walk_run(&w, "/nonexistent/x"));
	assert_non_null(strstr(w.why, "/nonexistent/x"));
	make_file(lab, "a", 1, 0644);
	lab->fail_with = ERR_DISK_FULL;
	CHECK_STATUS(ERR_DISK_FULL, walk(lab, &w));
	assert_string_equal(w.why, "");
}

static void a_walk_survives_oom_at_every_allocation(void **state)
{
	struct lab *lab = *state;

	make_file(lab, "a", 100, 0644);
	assert_int_equal(symlinkat("x", lab->fd, "source/l"), 0);
	lab->fail_with = 0;
	FAULT_SWEEP({
		struct walk w = { .events = &events, .data = lab };
		int rc = walk_run(&w, lab->source);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		mem_fault_after(0, false);
		for (struct map_iter it = map_first(&lab->blobs); it.value; map_next(&it)) {
			mem_free(((struct blob *)it.value)->data);
			mem_free(it.value);
		}
		map_fini(&lab->blobs);
		map_init(&lab->blobs, BLOBS_MAX);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_folder_comes_back_identical, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_folder_of_thousands_splits_its_tree_and_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_file_alone_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(the_same_content_has_the_same_root, setup,
						teardown),
		cmocka_unit_test_setup_teardown(special_files_are_left_out_with_a_warning, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_name_that_is_no_text_is_an_error_unless_skipped,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_missing_path_and_a_failing_store_are_reported,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_walk_survives_oom_at_every_allocation, setup,
						teardown),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
