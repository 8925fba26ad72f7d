/* Plans and how they are carried out: with memory refused at any moment, with a disk that changes
 * in between, and without the flags of renameat2. */
#include "daemon_lab.h"
#include "test_util.h"

#include "daemon/apply.h"

enum { NAMES_MAX = 6 };

/* A version: a folder of files, each with one letter as its text; ' ' = not in it, '/' = a folder
 * that holds one file. */
struct version {
	struct hash tree;
	struct entry top;
};

static struct entry folder_entry(struct lab *lab, const char *name, const char *text,
				 struct chunk_ref *chunk)
{
	struct entry inner = file_entry(lab, "inner", text, 0644, chunk);

	return (struct entry){ .name = name,
			       .name_len = strlen(name),
			       .kind = ENTRY_DIRECTORY,
			       .mode = 0755,
			       .has_target = true,
			       .target = { honest_tree(lab, &inner, 1), 1 } };
}

static void make_version(struct lab *lab, const char *texts, struct version *ret)
{
	static const char *const names[NAMES_MAX] = { "a", "b", "c", "d", "e", "f" };
	struct entry entries[NAMES_MAX];
	struct chunk_ref chunks[NAMES_MAX];
	char text[2] = "";
	size_t count = 0;

	for (size_t i = 0; i < NAMES_MAX && texts[i] != '\0'; i++) {
		text[0] = texts[i];
		if (texts[i] == '/')
			entries[count] = folder_entry(lab, names[i], text, &chunks[count]);
		else if (texts[i] != ' ')
			entries[count] = file_entry(lab, names[i], text, 0644, &chunks[count]);
		count += texts[i] != ' ';
	}
	ret->tree = honest_tree(lab, entries, count);
	ret->top = top_of(&ret->tree);
}

struct run {
	struct extract x;
	struct plan plan;
	struct apply apply;
	int fd;
};

static int begin(struct lab *lab, struct run *r, const struct version *now,
		 const struct version *old, bool force, bool delete)
{
	struct plan_versions v = { .now = &now->top, .olds = { &old->top }, .count = 1 };

	*r = (struct run){ .x = { .source = &lab_source, .data = lab } };
	r->fd = openat(lab->fd, "out", O_RDONLY | O_DIRECTORY);
	plan_init(&r->plan, &r->x);
	r->plan.force = force;
	r->plan.delete = delete;
	r->plan.suffix = ".aside";
	apply_init(&r->apply, &r->plan, r->fd);
	return plan_folder(&r->plan, r->fd, &v);
}

static int finish(struct run *r)
{
	int rc = apply_prepare(&r->apply, r->fd), closed;

	if (rc == 0)
		rc = apply_run(&r->apply);
	closed = apply_close(&r->apply);
	return rc < 0 ? rc : closed;
}

static void end(struct run *r)
{
	apply_fini(&r->apply);
	plan_fini(&r->plan);
	close(r->fd);
}

static void start_with(struct lab *lab, const struct version *v)
{
	struct extract x = { .source = &lab_source, .data = lab };

	CHECK_STATUS(0, remove_at(lab->fd, "out"));
	CHECK_STATUS(0, extract_entry(&x, lab->fd, "out", "", &v->top, 1));
}

static void write_text(struct lab *lab, const char *path, const char *text)
{
	int fd = openat(lab->fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *read_text(struct lab *lab, const char *path)
{
	static char text[64];
	int fd = openat(lab->fd, path, O_RDONLY | O_NOFOLLOW);
	ssize_t n;

	memset(text, 0, sizeof(text));
	if (fd < 0)
		return "";
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n < 0 ? "" : text;
}

static void check_is(struct lab *lab, const struct version *now, const struct version *old)
{
	struct run r;

	CHECK_STATUS(0, begin(lab, &r, now, old, false, false));
	assert_int_equal(r.plan.count, 0);
	assert_int_equal(r.plan.kept_count, 0);
	end(&r);
}

static void an_update_makes_one_version_of_another(void **state)
{
	static const char *const texts[] = { "x/y z", "xy/ Z", "      ", "/xy/ z", "xyzxyz" };
	struct version v[ARRAY_SIZE(texts)];
	struct run r;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		make_version(*state, texts[i], &v[i]);
	for (size_t i = 0; i < ARRAY_SIZE(texts) * ARRAY_SIZE(texts) * 2; i++) {
		struct version *old = &v[i / 2 % ARRAY_SIZE(texts)],
			       *now = &v[i / 2 / ARRAY_SIZE(texts)];

		start_with(*state, old);
		CHECK_STATUS(0, begin(*state, &r, now, old, false, false));
		r.apply.is_plain = i % 2 == 1;
		CHECK_STATUS(0, finish(&r));
		assert_int_equal(r.apply.done, r.plan.count);
		assert_int_equal(r.apply.failure_count, 0);
		end(&r);
		check_is(*state, now, old);
	}
}

/* Somebody saves a file between the look at it and the change of it. */
static void what_changes_in_between_is_kept(void **state)
{
	struct lab *lab = *state;
	struct version old, now;
	struct run r;

	make_version(lab, "xxxx", &old);
	make_version(lab, "yy /z", &now);
	for (int is_plain = 0; is_plain < 2; is_plain++) {
		start_with(lab, &old);
		CHECK_STATUS(0, begin(lab, &r, &now, &old, false, false));
		r.apply.is_plain = is_plain == 1;
		write_text(lab, "out/a", "mine");
		write_text(lab, "out/c", "mine");
		write_text(lab, "out/d", "mine");
		write_text(lab, "out/e", "mine");
		CHECK_STATUS(0, finish(&r));
		assert_int_equal(r.plan.kept_count, 4);
		for (size_t i = 0; i < r.plan.kept_count; i++)
			assert_int_equal(r.plan.kept[i].why, KEPT_CHANGED);
		assert_string_equal(read_text(lab, "out/a"), "mine");
		assert_string_equal(read_text(lab, "out/b"), "y");
		assert_string_equal(read_text(lab, "out/c"), "mine");
		assert_string_equal(read_text(lab, "out/d"), "mine");
		assert_string_equal(read_text(lab, "out/e"), "mine");
		end(&r);
	}
}

static void start_with_edits(struct lab *lab, const struct version *old)
{
	start_with(lab, old);
	write_text(lab, "out/b", "mine");
	write_text(lab, "out/foreign", "mine");
}

/* Without memory nothing is lost and nothing is left over; done again, it is as it should be. */
static void an_update_survives_oom_at_every_allocation(void **state)
{
	struct lab *lab = *state;
	struct version old, now;

	make_version(lab, "xxx/", &old);
	make_version(lab, "xy/ z", &now);
	start_with_edits(lab, &old);
	FAULT_SWEEP({
		struct run r;
		int rc;

		rc = begin(lab, &r, &now, &old, true, false);
		if (rc == 0)
			rc = finish(&r);
		end(&r);
		mem_fault_after(0, false);
		assert_true(rc == 0 || mem_fault_hits() > 0);
		assert_true(strcmp(read_text(lab, "out/b"), "mine") == 0 ||
			    strcmp(read_text(lab, "out/b.aside"), "mine") == 0);
		assert_string_equal(read_text(lab, "out/foreign"), "mine");
		assert_string_equal(read_text(lab, "out/a"), "x");
		start_with_edits(lab, &old);
	});
}

/* One thing that fails does not keep the rest from being done, and is named. */
static void what_cannot_be_moved_is_named_and_the_rest_is_done(void **state)
{
	struct lab *lab = *state;
	struct version old, now;
	struct run r;

	make_version(lab, "xx/x", &old);
	make_version(lab, "yy z", &now);
	start_with(lab, &old);
	write_text(lab, "out/a", "mine");
	CHECK_STATUS(0, begin(lab, &r, &now, &old, true, false));
	write_text(lab, "out/c/late", "mine"); /* in a folder that is to go */
	for (size_t i = 0; i < r.plan.count; i++)
		if (r.plan.changes[i].kind == CHANGE_ASIDE)
			r.plan.changes[i].to = "no/such/folder";
	CHECK_STATUS(UV_ENOENT, finish(&r));
	assert_int_equal(r.apply.failure_count, 1);
	assert_string_equal(r.apply.failures[0].path, "a");
	assert_int_equal(r.plan.kept_count, 1);
	assert_int_equal(r.plan.kept[0].why, KEPT_NOT_EMPTY);
	assert_string_equal(read_text(lab, "out/a"), "mine");
	assert_string_equal(read_text(lab, "out/b"), "y");
	assert_string_equal(read_text(lab, "out/d"), "z");
	assert_string_equal(read_text(lab, "out/c/late"), "mine");
	end(&r);
}

static bool at_once(void)
{
	return true;
}

static void a_cancelled_update_is_done_by_the_next(void **state)
{
	struct lab *lab = *state;
	struct version old, now;
	struct run r;

	make_version(lab, "xxxx", &old);
	make_version(lab, "yy z", &now);
	start_with(lab, &old);
	CHECK_STATUS(0, begin(lab, &r, &now, &old, false, false));
	r.apply.cancelled = at_once;
	CHECK_STATUS(UV_ECANCELED, finish(&r));
	assert_int_equal(r.apply.done, 0);
	assert_string_equal(read_text(lab, "out/a"), "x");
	end(&r);
	CHECK_STATUS(0, begin(lab, &r, &now, &old, false, false));
	CHECK_STATUS(0, finish(&r));
	end(&r);
	check_is(lab, &now, &old);
}

/* What cannot be read of an older version makes it unknown; of the new one it ends the work. */
static void a_version_that_is_not_here_is_not_known(void **state)
{
	struct lab *lab = *state;
	struct version old, now;
	struct run r;
	struct blob *gone;

	make_version(lab, "xx", &old);
	make_version(lab, "xy", &now);
	start_with(lab, &old);
	gone = map_del(&lab->blobs, old.tree.bytes, HASH_SIZE);
	CHECK_STATUS(0, begin(lab, &r, &now, &old, false, false));
	assert_int_equal(r.plan.kept_count, 1);
	assert_int_equal(r.plan.kept[0].why, KEPT_EDITED);
	assert_string_equal(r.x.why, "");
	end(&r);
	mem_free(gone->data);
	mem_free(gone);
	gone = map_del(&lab->blobs, now.tree.bytes, HASH_SIZE);
	CHECK_STATUS(ERR_NOT_FOUND, begin(lab, &r, &now, &old, false, false));
	end(&r);
	mem_free(gone->data);
	mem_free(gone);
}

/* The content of a file that is to be placed is damaged: not one name has changed. */
static void a_damaged_blob_changes_nothing(void **state)
{
	struct lab *lab = *state;
	struct version old, now;
	struct chunk_ref bad;
	struct run r;

	make_version(lab, "xxx", &old);
	make_version(lab, "pqr", &now);
	start_with(lab, &old);
	CHECK_STATUS(0, begin(lab, &r, &now, &old, false, false));
	CHECK_STATUS(0, lab_put(lab, "r", 1, &bad));
	((struct blob *)map_get(&lab->blobs, bad.hash.bytes, HASH_SIZE))->data[0] ^= 1;
	CHECK_STATUS(ERR_VERIFY, finish(&r));
	end(&r);
	check_is(lab, &old, &old);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_update_makes_one_version_of_another),
		TEST(what_changes_in_between_is_kept),
		TEST(an_update_survives_oom_at_every_allocation),
		TEST(what_cannot_be_moved_is_named_and_the_rest_is_done),
		TEST(a_cancelled_update_is_done_by_the_next),
		TEST(a_version_that_is_not_here_is_not_known),
		TEST(a_damaged_blob_changes_nothing),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
