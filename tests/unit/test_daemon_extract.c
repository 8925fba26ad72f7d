/* Trees made by strangers: nothing is written outside the folder, whatever they hold. */
#include <sodium.h>
#include <sys/stat.h>

#include "daemon_lab.h"
#include "test_util.h"

#include "object.pb-c.h"

/* Encodes without any check: what our own encoder would refuse. */
static struct hash hostile_tree(struct lab *lab, Object__Entry **entries, size_t count)
{
	Object__Tree tree = OBJECT__TREE__INIT;
	struct chunk_ref ref;
	uint8_t bytes[8192];
	size_t len;

	tree.n_entry = count;
	tree.entry = entries;
	len = object__tree__get_packed_size(&tree);
	assert_true(len <= sizeof(bytes));
	object__tree__pack(&tree, bytes);
	CHECK_STATUS(0, lab_put(lab, bytes, len, &ref));
	return ref.hash;
}

static Object__Entry hostile_entry(char *name, enum object_entry_kind kind, struct hash *target,
				   char *symlink)
{
	Object__Entry e = OBJECT__ENTRY__INIT;

	e.name = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	e.kind = (uint32_t)kind;
	e.mode = 0644;
	if (target != NULL) {
		e.target.data = target->bytes;
		e.target.len = HASH_SIZE;
		e.target_size = 1;
	}
	if (symlink != NULL)
		e.symlink = (ProtobufCBinaryData){ strlen(symlink), (uint8_t *)symlink };
	return e;
}

static int run(struct lab *lab, const struct hash *tree, struct extract *x)
{
	struct entry top = top_of(tree);

	*x = (struct extract){ .source = &lab_source, .data = lab };
	return extract_entry(x, lab->fd, "out", "", &top, 1);
}

static void a_name_that_leads_out_is_refused(void **state)
{
	static char *const names[] = { "..", ".", "a/b", "/etc/passwd", "../x", "" };
	struct lab *lab = *state;
	struct extract x;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		Object__Entry e = hostile_entry(names[i], ENTRY_FILE, NULL, NULL);
		struct hash tree = hostile_tree(lab, &(Object__Entry *){ &e }, 1);

		CHECK_STATUS(ERR_MALFORMED, run(lab, &tree, &x));
		assert_int_equal(x.files, 0);
		CHECK_STATUS(0, remove_at(lab->fd, "out"));
	}
}

static void a_name_longer_than_the_limit_is_refused(void **state)
{
	struct lab *lab = *state;
	char name[OBJECT_NAME_MAX + 2];
	Object__Entry e;
	struct extract x;
	struct hash tree;
	int rc;

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	e = hostile_entry(name, ENTRY_FILE, NULL, NULL);
	tree = hostile_tree(lab, &(Object__Entry *){ &e }, 1);
	rc = run(lab, &tree, &x);
	assert_true(rc == ERR_MALFORMED || rc == ERR_LIMIT);
}

/* A link, and in the same tree something that would be written through it. */
static void a_link_is_never_written_through(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry inner = file_entry(lab, "victim", "owned\n", 0644, &chunk);
	struct hash below = honest_tree(lab, &inner, 1);
	char outside[96], *link;
	Object__Entry entries[2];
	struct stat st;
	struct extract x;
	struct hash tree;

	snprintf(outside, sizeof(outside), "%s/outside", lab->dir);
	assert_int_equal(mkdir(outside, 0755), 0);
	link = outside;
	entries[0] = hostile_entry("d", ENTRY_SYMLINK, NULL, link);
	entries[1] = hostile_entry("d", ENTRY_DIRECTORY, &below, NULL);
	tree = hostile_tree(lab, (Object__Entry *[]){ &entries[0], &entries[1] }, 2);
	CHECK_STATUS(ERR_MALFORMED, run(lab, &tree, &x));
	assert_int_not_equal(fstatat(lab->fd, "outside/victim", &st, 0), 0);
}

/* The same name in two parts of one tree: each part alone is in order. */
static void a_name_twice_over_two_parts_is_refused(void **state)
{
	struct lab *lab = *state;
	char outside[96];
	struct chunk_ref chunk, parts[2], top;
	struct entry link = {
		.name = "d", .name_len = 1, .kind = ENTRY_SYMLINK, .symlink = outside
	};
	struct entry victim = file_entry(lab, "d", "owned\n", 0644, &chunk);
	struct tree t = { .parts = parts, .part_count = 2 };
	struct extract x;
	struct buf out;
	struct stat st;

	snprintf(outside, sizeof(outside), "%s/outside", lab->dir);
	link.symlink_len = strlen(outside);
	parts[0] = (struct chunk_ref){ honest_tree(lab, &link, 1), 1 };
	parts[1] = (struct chunk_ref){ honest_tree(lab, &victim, 1), 1 };
	buf_init(&out, OBJECT_TREE_MAX);
	CHECK_STATUS(0, tree_encode(&t, &out));
	CHECK_STATUS(0, lab_put(lab, out.data, out.len, &top));
	buf_fini(&out);
	CHECK_STATUS(ERR_MALFORMED, run(lab, &top.hash, &x));
	assert_int_not_equal(fstatat(lab->fd, "outside", &st, AT_SYMLINK_NOFOLLOW), 0);
}

static void a_link_on_disk_at_the_target_is_not_followed(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "x\n", 0644, &chunk);
	struct hash tree = honest_tree(lab, &e, 1);
	struct extract x = { .source = &lab_source, .data = lab };
	struct entry top = top_of(&tree);
	struct stat st;

	assert_int_equal(mkdirat(lab->fd, "elsewhere", 0755), 0);
	assert_int_equal(symlinkat("elsewhere", lab->fd, "out"), 0);
	CHECK_STATUS(UV_EEXIST, extract_entry(&x, lab->fd, "out", "", &top, 1));
	CHECK_STATUS(UV_EEXIST, extract_entry(&x, lab->fd, "out", "", &e, 1));
	assert_int_not_equal(fstatat(lab->fd, "elsewhere/f", &st, 0), 0);
}

static void mode_bits_beyond_permissions_are_dropped(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "#!/bin/sh\n", 07755, &chunk);
	struct hash tree = honest_tree(lab, &e, 1);
	struct extract x;
	struct stat st;

	CHECK_STATUS(0, run(lab, &tree, &x));
	assert_int_equal(fstatat(lab->fd, "out/f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

/* The owner's bits come with the file, the others when it is complete. */
static void the_mask_takes_bits_away_from_all(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry inner = file_entry(lab, "f", "x\n", 0666, &chunk);
	struct hash below = honest_tree(lab, &inner, 1), tree;
	struct entry e = { .name = "d",
			   .name_len = 1,
			   .kind = ENTRY_DIRECTORY,
			   .mode = 0777,
			   .has_target = true,
			   .target = { below, 1 } };
	struct extract x = { .source = &lab_source, .data = lab, .mask = 027 };
	struct entry top;
	struct stat st;

	tree = honest_tree(lab, &e, 1);
	top = top_of(&tree);
	CHECK_STATUS(0, extract_entry(&x, lab->fd, "out", "", &top, 1));
	assert_int_equal(fstatat(lab->fd, "out", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(fstatat(lab->fd, "out/d", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(fstatat(lab->fd, "out/d/f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static bool look_at_modes(void *data, uint64_t bytes, uint64_t files)
{
	struct lab *lab = data;
	struct stat st;

	(void)bytes, (void)files;
	assert_int_equal(fstatat(lab->fd, "out", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(fstatat(lab->fd, "out/f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07377, 0);
	lab->looks++;
	return true;
}

/* Not even while it is being written, and whatever it will be. */
static void nothing_is_wider_while_it_is_made(void **state)
{
	static const struct extract_source watched = { lab_get, NULL, look_at_modes };
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "secret\n", 0444, &chunk);
	struct hash tree = honest_tree(lab, &e, 1);
	struct entry top = top_of(&tree);
	struct extract x = { .source = &watched, .data = lab };
	struct stat st;

	top.mode = 0777;
	CHECK_STATUS(0, extract_entry(&x, lab->fd, "out", "", &top, 1));
	assert_int_equal(lab->looks, 1);
	assert_int_equal(fstatat(lab->fd, "out/f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
}

static void links_are_kept_as_they_are(void **state)
{
	struct lab *lab = *state;
	struct entry e = { .name = "l",
			   .name_len = 1,
			   .kind = ENTRY_SYMLINK,
			   .symlink = "/nowhere/at all",
			   .symlink_len = 15 };
	struct hash tree = honest_tree(lab, &e, 1);
	char text[64] = "";
	struct extract x;

	CHECK_STATUS(0, run(lab, &tree, &x));
	assert_int_equal(readlinkat(lab->fd, "out/l", text, sizeof(text) - 1), 15);
	assert_string_equal(text, "/nowhere/at all");
}

static void wrong_bytes_are_noticed(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "truth\n", 0644, &chunk);
	struct hash tree = honest_tree(lab, &e, 1);
	struct extract x;

	((struct blob *)map_get(&lab->blobs, chunk.hash.bytes, HASH_SIZE))->data[0] ^= 1;
	CHECK_STATUS(ERR_VERIFY, run(lab, &tree, &x));
	assert_non_null(strstr(x.why, "/f"));
	assert_int_equal(x.files, 0);
}

static void a_size_that_lies_is_noticed(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "six b\n", 0644, &chunk);
	struct extract x;
	struct hash tree;

	e.size = chunk.size = 7;
	tree = honest_tree(lab, &e, 1);
	CHECK_STATUS(ERR_MALFORMED, run(lab, &tree, &x));
}

static void endless_nesting_ends_at_the_limit(void **state)
{
	struct lab *lab = *state;
	struct hash tree = honest_tree(lab, NULL, 0);
	struct extract x;

	for (int i = 0; i < OBJECT_DEPTH_MAX + 1; i++) {
		struct entry e = { .name = "d",
				   .name_len = 1,
				   .kind = ENTRY_DIRECTORY,
				   .mode = 0755,
				   .has_target = true };

		e.target = (struct chunk_ref){ tree, 1 };
		tree = honest_tree(lab, &e, 1);
	}
	CHECK_STATUS(ERR_LIMIT, run(lab, &tree, &x));
}

static void a_missing_blob_and_a_cancel_end_the_work(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref a, b;
	struct entry entries[2] = { file_entry(lab, "a", "aaaa\n", 0644, &a),
				    file_entry(lab, "b", "bbbb\n", 0644, &b) };
	struct hash tree = honest_tree(lab, entries, 2);
	struct extract x;
	struct blob *gone;

	lab->cancel_after = 1;
	CHECK_STATUS(UV_ECANCELED, run(lab, &tree, &x));
	CHECK_STATUS(0, remove_at(lab->fd, "out"));
	lab->cancel_after = 0;
	gone = map_del(&lab->blobs, b.hash.bytes, HASH_SIZE);
	CHECK_STATUS(ERR_NOT_FOUND, run(lab, &tree, &x));
	assert_non_null(strstr(x.why, "/b"));
	mem_free(gone->data);
	mem_free(gone);
}

static void extraction_survives_oom_at_every_allocation(void **state)
{
	struct lab *lab = *state;
	struct chunk_ref chunk;
	struct entry e = file_entry(lab, "f", "text\n", 0644, &chunk);
	struct hash below = honest_tree(lab, &e, 1), tree;
	struct entry entries[2] = { { .name = "d",
				      .name_len = 1,
				      .kind = ENTRY_DIRECTORY,
				      .mode = 0755,
				      .has_target = true },
				    { .name = "l",
				      .name_len = 1,
				      .kind = ENTRY_SYMLINK,
				      .symlink = "x",
				      .symlink_len = 1 } };

	entries[0].target = (struct chunk_ref){ below, 1 };
	tree = honest_tree(lab, entries, 2);
	FAULT_SWEEP({
		struct extract x;
		int rc = run(lab, &tree, &x);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		mem_fault_after(0, false);
		CHECK_STATUS(0, remove_at(lab->fd, "out"));
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_name_that_leads_out_is_refused, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(a_name_longer_than_the_limit_is_refused, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(a_link_is_never_written_through, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(a_name_twice_over_two_parts_is_refused, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(a_link_on_disk_at_the_target_is_not_followed,
						lab_setup, lab_teardown),
		cmocka_unit_test_setup_teardown(mode_bits_beyond_permissions_are_dropped, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(the_mask_takes_bits_away_from_all, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(nothing_is_wider_while_it_is_made, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(links_are_kept_as_they_are, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(wrong_bytes_are_noticed, lab_setup, lab_teardown),
		cmocka_unit_test_setup_teardown(a_size_that_lies_is_noticed, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(endless_nesting_ends_at_the_limit, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(a_missing_blob_and_a_cancel_end_the_work, lab_setup,
						lab_teardown),
		cmocka_unit_test_setup_teardown(extraction_survives_oom_at_every_allocation,
						lab_setup, lab_teardown),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
