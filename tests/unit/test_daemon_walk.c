/* From disk to blobs and back: what is read is what is written. */
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test_util.h"

#include "base/base.h"
#include "base/map.h"
#include "daemon/beneath.h"
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
	char command[128];

	for (struct map_iter it = map_first(&lab->blobs); it.value; map_next(&it)) {
		mem_free(((struct blob *)it.value)->data);
		mem_free(it.value);
	}
	map_fini(&lab->blobs);
	assert_true(snprintf(command, sizeof(command), "rm -rf %s", lab->dir) > 0);
	assert_int_equal(system(command), 0);
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
	struct entry top = { .kind = ENTRY_DIRECTORY,
			     .mode = w->root_mode,
			     .has_target = true,
			     .target = { w->root, 0 } };
	char command[256];

	CHECK_STATUS(0, extract_entry(&x, lab->fd, "copy", "", &top, 1));
	assert_int_equal(x.files, w->counts.files);
	assert_int_equal(x.bytes, w->counts.bytes);
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
	assert_int_equal(w.counts.files, 5);
	assert_int_equal(w.counts.symlinks, 1);
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
	assert_int_equal(w.counts.files, 5000);
	check_same(lab, &w);
}

static void a_large_file_alone_comes_back(void **state)
{
	struct lab *lab = *state;
	struct extract x = { .source = &source, .data = lab };
	char path[128], command[256];
	struct walk w = { .events = &events, .data = lab };
	struct entry top;

	make_file(lab, "big", 20000000, 0640);
	snprintf(path, sizeof(path), "%s/big", lab->source);
	CHECK_STATUS(0, walk_run(&w, path));
	assert_int_equal(w.root_kind, OBJECT_FILE);
	assert_int_equal(w.counts.bytes, 20000000);
	CHECK_STATUS(0, extract_top(&x, &w.root, &top));
	assert_int_equal(top.mode, 0640);
	CHECK_STATUS(0, extract_entry(&x, lab->fd, "copy", "", &top, 1));
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
	assert_int_equal(w.counts.skipped, 1);
	assert_int_equal(lab->skipped, 1);
	assert_int_equal(w.counts.files, 1);
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
	assert_int_equal(w.counts.unreadable, 1);
	assert_int_equal(w.counts.files, 1);
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

/* ---- Files that change while they are read ---- */

static void on_blob_truncate(struct lab *lab)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/source/a", lab->dir);
	assert_int_equal(truncate(path, 3), 0);
}

static void on_blob_append(struct lab *lab)
{
	int fd = openat(lab->fd, "source/a", O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, "more", 4), 4);
	close(fd);
}

static void on_blob_replace(struct lab *lab)
{
	assert_int_equal(unlinkat(lab->fd, "source/a", 0), 0);
	make_file(lab, "a", 5000, 0644);
}

static void on_blob_remove(struct lab *lab)
{
	assert_int_equal(unlinkat(lab->fd, "source/a", 0), 0);
}

/* What is done to the file "a" whenever a blob of the walk arrives, so many times. */
struct meddler {
	struct lab *lab;
	void (*change)(struct lab *lab);
	int times;
};

static int meddle(void *data, enum object_kind kind, const struct hash *hash, const void *bytes,
		  size_t len)
{
	struct meddler *m = data;

	if (kind == OBJECT_CHUNK && m->times-- > 0)
		m->change(m->lab);
	return on_blob(m->lab, kind, hash, bytes, len);
}

static void on_left_out(void *data, const char *path, const char *why)
{
	struct meddler *m = data;

	on_skipped(m->lab, path, why);
}

static const struct walk_events meddling = { meddle, on_left_out, NULL };

static void a_file_that_changes_once_is_read_again(void **state)
{
	static void (*const changes[])(struct lab *) = { on_blob_truncate, on_blob_append,
							 on_blob_replace };
	struct lab *lab = *state;
	struct beneath_removal gone = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct meddler m = { lab, changes[i], 1 };
		struct walk w = { .events = &meddling, .data = &m };

		make_file(lab, "a", 3000000, 0644);
		CHECK_STATUS(0, walk_run(&w, lab->source));
		assert_int_equal(w.counts.files, 1);
		assert_int_equal(w.counts.unreadable, 0);
		check_same(lab, &w);
		CHECK_STATUS(0, beneath_remove(lab->fd, "copy", &gone));
		assert_int_equal(unlinkat(lab->fd, "source/a", 0), 0);
	}
}

static void a_file_that_changes_each_time_is_left_out(void **state)
{
	struct lab *lab = *state;
	struct meddler m = { lab, on_blob_append, INT_MAX };
	struct walk w = { .events = &meddling, .data = &m };

	make_file(lab, "a", 3000000, 0644);
	make_file(lab, "b", 10, 0644);
	m.times = 100;
	CHECK_STATUS(0, walk_run(&w, lab->source));
	assert_int_equal(w.counts.files, 1);
	assert_int_equal(w.counts.bytes, 10);
	assert_int_equal(w.counts.unreadable, 1);
	assert_int_equal(lab->skipped, 1);
}

static void a_file_that_vanishes_while_it_is_read_is_left_out(void **state)
{
	struct lab *lab = *state;
	struct meddler m = { lab, on_blob_remove, 1 };
	struct walk w = { .events = &meddling, .data = &m };

	make_file(lab, "a", 3000000, 0644);
	make_file(lab, "b", 10, 0644);
	CHECK_STATUS(0, walk_run(&w, lab->source));
	assert_int_equal(w.counts.files, 1);
	assert_int_equal(w.counts.unreadable, 1);
}

static void a_lone_file_that_changes_each_time_is_not_published(void **state)
{
	struct lab *lab = *state;
	struct meddler m = { lab, on_blob_append, 100 };
	struct walk w = { .events = &meddling, .data = &m };
	char path[256];

	make_file(lab, "a", 10, 0644);
	snprintf(path, sizeof(path), "%s/a", lab->source);
	CHECK_STATUS(ERR_CHANGED, walk_run(&w, path));
	assert_non_null(strstr(w.why, path));
}

/* ---- What is peerscope's own ---- */

static void make_key(struct lab *lab, const char *path)
{
	uint8_t seed[KEYFILE_SEED_SIZE] = { 1 };
	char text[KEYFILE_TEXT_SIZE + 1];
	int fd = openat(lab->fd, path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	keyfile_write(seed, text);
	assert_int_equal(write(fd, text, KEYFILE_TEXT_SIZE), KEYFILE_TEXT_SIZE);
	close(fd);
}

static void make_data_folder(struct lab *lab)
{
	assert_int_equal(mkdirat(lab->fd, "source/data", 0700), 0);
	make_key(lab, "source/data/space.key");
	make_file(lab, "data/photo", 10, 0644);
}

static void a_data_folder_inside_is_left_out_with_all_it_holds(void **state)
{
	struct lab *lab = *state;
	struct walk w;

	make_file(lab, "a", 10, 0644);
	make_data_folder(lab);
	CHECK_STATUS(0, walk(lab, &w));
	assert_int_equal(w.counts.files, 1);
	assert_int_equal(w.counts.unreadable, 1);
	assert_int_equal(lab->skipped, 1);
}

static void a_key_is_left_out_under_any_name(void **state)
{
	struct lab *lab = *state;
	struct walk w;

	make_file(lab, "a", 10, 0644);
	make_key(lab, "source/notes.txt");
	assert_int_equal(linkat(lab->fd, "source/notes.txt", lab->fd, "source/hard", 0), 0);
	CHECK_STATUS(0, walk(lab, &w));
	assert_int_equal(w.counts.files, 1);
	assert_int_equal(w.counts.unreadable, 2);
}

static void a_data_folder_and_a_key_alone_are_refused(void **state)
{
	static const char *const given[] = { "data", "data/space.key", "to-data", "to-key" };
	struct lab *lab = *state;

	make_data_folder(lab);
	assert_int_equal(symlinkat("data", lab->fd, "source/to-data"), 0);
	assert_int_equal(symlinkat("data/space.key", lab->fd, "source/to-key"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(given); i++) {
		struct walk w = { .events = &events, .data = lab };
		char path[256];

		snprintf(path, sizeof(path), "%s/%s", lab->source, given[i]);
		CHECK_STATUS(ERR_PRIVATE, walk_run(&w, path));
		assert_non_null(strstr(w.why, path));
	}
	assert_int_equal(map_count(&lab->blobs), 0);
}

/* The write-ahead log has no mark of ours: the one in use is known by its inode. */
static void files_of_the_data_folder_in_use_are_known_behind_a_hard_link(void **state)
{
	struct lab *lab = *state;
	struct walk w = { .events = &events, .data = lab };
	char data[256];

	assert_int_equal(mkdirat(lab->fd, "data", 0700), 0);
	make_file(lab, "a", 10, 0644);
	make_file(lab, "wal", 10, 0644);
	assert_int_equal(linkat(lab->fd, "source/wal", lab->fd, "data/store.db-wal", 0), 0);
	snprintf(data, sizeof(data), "%s/data", lab->dir);
	w.data_folder = data;
	CHECK_STATUS(0, walk_run(&w, lab->source));
	assert_int_equal(w.counts.files, 1);
	assert_int_equal(w.counts.unreadable, 1);
}

static void whatever_a_tree_cannot_hold_is_left_out_when_asked(void **state)
{
	struct lab *lab = *state;
	struct walk w;

	make_file(lab, "good", 1, 0644);
	assert_int_equal(symlinkat("\xff\xfe", lab->fd, "source/link"), 0);
	CHECK_STATUS(ERR_MALFORMED, walk(lab, &w));
	assert_non_null(strstr(w.why, "source/link: where it points to is not UTF-8"));
	w = (struct walk){ .events = &events, .data = lab, .skip_unreadable = true };
	CHECK_STATUS(0, walk_run(&w, lab->source));
	assert_int_equal(w.counts.unreadable, 1);
	assert_int_equal(w.counts.files, 1);
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
		cmocka_unit_test_setup_teardown(a_file_that_changes_once_is_read_again, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_file_that_changes_each_time_is_left_out, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_file_that_vanishes_while_it_is_read_is_left_out,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_lone_file_that_changes_each_time_is_not_published,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_data_folder_inside_is_left_out_with_all_it_holds,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_is_left_out_under_any_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_data_folder_and_a_key_alone_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			files_of_the_data_folder_in_use_are_known_behind_a_hard_link, setup,
			teardown),
		cmocka_unit_test_setup_teardown(whatever_a_tree_cannot_hold_is_left_out_when_asked,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_walk_survives_oom_at_every_allocation, setup,
						teardown),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
