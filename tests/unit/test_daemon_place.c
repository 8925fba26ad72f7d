/* Where new files are made, what is swept, what is never touched: on a real disk, and on real
 * mounts where this process may make them. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_util.h"

#include "base/base.h"
#include "daemon/beneath.h"
#include "daemon/place.h"
#include "daemon/staging.h"

struct lab {
	char dir[64];
	int fd;
};

static int setup(void **state)
{
	struct lab *lab = mem_alloc(sizeof(*lab));

	snprintf(lab->dir, sizeof(lab->dir), "/tmp/peerscope-place-XXXXXX");
	assert_non_null(mkdtemp(lab->dir));
	lab->fd = open(lab->dir, O_RDONLY | O_DIRECTORY);
	*state = lab;
	return 0;
}

static int teardown(void **state)
{
	struct lab *lab = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", lab->dir);
	assert_int_equal(system(command), 0);
	close(lab->fd);
	mem_free(lab);
	return 0;
}

static bool is_there(const struct lab *lab, const char *name)
{
	struct stat st;

	return fstatat(lab->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make_folder(const struct lab *lab, const char *name)
{
	assert_int_equal(mkdirat(lab->fd, name, 0755), 0);
}

static void write_text(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

typedef int (*open_fn)(int dir, const char *path, int flags);
static const open_fn openers[] = { beneath_open, beneath_open_by_hand };

static int try_open(open_fn open_it, int dir, const char *path, int flags)
{
	int fd = open_it(dir, path, flags);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static void no_path_leads_out_of_the_folder(void **state)
{
	struct lab *lab = *state;

	make_folder(lab, "in");
	make_folder(lab, "in/deep");
	make_folder(lab, "out");
	write_text(lab->fd, "in/deep/f", "x");
	assert_int_equal(symlinkat("../out", lab->fd, "in/link"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(openers); i++) {
		open_fn at = openers[i];

		CHECK_STATUS(0, try_open(at, lab->fd, "", O_RDONLY | O_DIRECTORY));
		CHECK_STATUS(0, try_open(at, lab->fd, "in/deep", O_RDONLY | O_DIRECTORY));
		CHECK_STATUS(0, try_open(at, lab->fd, "in/deep/f", O_RDONLY));
		CHECK_STATUS(UV_ENOENT, try_open(at, lab->fd, "in/none", O_RDONLY));
		CHECK_STATUS(UV_EXDEV, try_open(at, lab->fd, "..", O_RDONLY));
		assert_true(try_open(at, lab->fd, "in/link", O_RDONLY) < 0);
		assert_true(try_open(at, lab->fd, "in/link/x", O_RDONLY) < 0);
		assert_true(try_open(at, lab->fd, "in/../../etc", O_RDONLY) < 0);
	}
}

static void a_mode_is_set_on_files_and_folders_alone(void **state)
{
	struct lab *lab = *state;
	struct stat st;

	write_text(lab->fd, "f", "x");
	assert_int_equal(symlinkat("f", lab->fd, "link"), 0);
	assert_int_equal(mkfifoat(lab->fd, "pipe", 0644), 0);
	CHECK_STATUS(0, beneath_chmod(lab->fd, "f", 0600));
	CHECK_STATUS(ERR_UNSUPPORTED, beneath_chmod(lab->fd, "link", 0777));
	CHECK_STATUS(ERR_UNSUPPORTED, beneath_chmod(lab->fd, "pipe", 0777));
	assert_int_equal(fstatat(lab->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void removing_follows_no_link(void **state)
{
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };

	make_folder(lab, "keep");
	make_folder(lab, "keep/inner");
	make_folder(lab, "gone");
	assert_int_equal(symlinkat("../keep", lab->fd, "gone/link"), 0);
	assert_int_equal(mkdirat(lab->fd, "gone/locked", 0000), 0);
	CHECK_STATUS(0, beneath_remove(lab->fd, "gone", &r));
	assert_int_equal(r.removed, 3);
	assert_true(is_there(lab, "keep/inner"));
	assert_false(is_there(lab, "gone"));
	CHECK_STATUS(0, beneath_remove(lab->fd, "never was", &r));
}

static void what_is_no_file_stays_and_the_rest_goes(void **state)
{
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };

	make_folder(lab, "d");
	assert_int_equal(mkfifoat(lab->fd, "d/m pipe", 0644), 0);
	write_text(lab->fd, "d/a", "x");
	write_text(lab->fd, "d/z", "x");
	CHECK_STATUS(ERR_UNSUPPORTED, beneath_remove(lab->fd, "d", &r));
	assert_int_equal(r.removed, 2);
	assert_int_equal(r.left, 1);
	assert_non_null(strstr(r.why, "m pipe"));
	assert_true(is_there(lab, "d/m pipe"));
	assert_false(is_there(lab, "d/a"));
	assert_false(is_there(lab, "d/z"));
}

/* In a child: its mounts are its own, and gone with it. 77 = it may make none. */
static int in_own_mounts(struct lab *lab, int (*body)(struct lab *lab))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		lab->fd = open(lab->dir, O_RDONLY | O_DIRECTORY); /* on the mounts of here */
		_exit(body(lab));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int remove_over_mounts(struct lab *lab)
{
	char bound[96], other[96], from[96];
	struct beneath_removal r = { 0 };

	snprintf(bound, sizeof(bound), "%s/d/bound", lab->dir);
	snprintf(other, sizeof(other), "%s/d/other", lab->dir);
	snprintf(from, sizeof(from), "%s/precious", lab->dir);
	if (mount(from, bound, NULL, MS_BIND, NULL) < 0 ||
	    mount("none", other, "tmpfs", 0, NULL) < 0)
		return 77;
	for (size_t i = 0; i < ARRAY_SIZE(openers); i++)
		if (try_open(openers[i], lab->fd, "d/bound", O_RDONLY | O_DIRECTORY) != UV_EXDEV ||
		    try_open(openers[i], lab->fd, "d/bound/f", O_RDONLY) != UV_EXDEV)
			return 1;
	if (beneath_remove(lab->fd, "d", &r) != UV_EXDEV || r.left != 2)
		return 2;
	return is_there(lab, "precious/f") && !is_there(lab, "d/plain") ? 0 : 3;
}

static void another_mount_is_never_entered(void **state)
{
	struct lab *lab = *state;
	int code;

	make_folder(lab, "precious");
	write_text(lab->fd, "precious/f", "x");
	make_folder(lab, "d");
	make_folder(lab, "d/bound");
	make_folder(lab, "d/other");
	write_text(lab->fd, "d/plain", "x");
	code = in_own_mounts(lab, remove_over_mounts);
	if (code == 77)
		skip(); /* only root makes mounts */
	assert_int_equal(code, 0);
}

static void a_staging_folder_is_for_its_owner_alone_and_leaves_nothing(void **state)
{
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };
	struct staging s;
	char name[STAGING_NAME_SIZE];
	struct stat st;

	CHECK_STATUS(0, staging_open(&s, lab->fd));
	strcpy(name, s.name);
	assert_int_equal(fstatat(lab->fd, name, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	write_text(s.fd, "0", "x");
	CHECK_STATUS(0, staging_close(&s, &r));
	assert_false(is_there(lab, name));
	CHECK_STATUS(0, staging_close(&s, &r));
}

/* A lock belongs to a descriptor: to look from elsewhere, ask by name. */
static void one_in_use_is_never_swept(void **state)
{
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };
	struct staging s;
	char name[STAGING_NAME_SIZE];

	CHECK_STATUS(0, staging_open(&s, lab->fd));
	strcpy(name, s.name);
	write_text(s.fd, "0", "x");
	assert_int_equal(staging_sweep_one(lab->fd, name, &r), STAGING_IN_USE);
	assert_true(is_there(lab, name));
	CHECK_STATUS(0, staging_close(&s, &r));
}

static void one_left_behind_is_swept(void **state)
{
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };
	struct staging s, empty;
	char names[2][STAGING_NAME_SIZE];

	CHECK_STATUS(0, staging_open(&s, lab->fd));
	CHECK_STATUS(0, staging_open(&empty, lab->fd));
	strcpy(names[0], s.name);
	strcpy(names[1], empty.name);
	write_text(s.fd, "0", "x");
	assert_int_equal(unlinkat(empty.fd, "lock", 0), 0); /* killed between two steps */
	close(s.lock);
	close(s.fd);
	close(empty.lock);
	close(empty.fd);
	staging_sweep(lab->fd, &r);
	assert_false(is_there(lab, names[0]));
	assert_false(is_there(lab, names[1]));
	assert_int_equal(r.left, 0);
}

/* The name alone proves nothing. */
static void what_only_looks_like_one_is_left_alone(void **state)
{
	static const char name[] = STAGING_PREFIX "0123456789abcdef";
	struct lab *lab = *state;
	struct beneath_removal r = { 0 };
	int fd;

	make_folder(lab, name);
	fd = openat(lab->fd, name, O_RDONLY | O_DIRECTORY);
	write_text(fd, "thesis", "x");
	assert_int_equal(staging_sweep_one(lab->fd, name, &r), STAGING_NOT);
	write_text(fd, "lock", "not ours");
	assert_int_equal(staging_sweep_one(lab->fd, name, &r), STAGING_NOT);
	assert_int_equal(faccessat(fd, "thesis", F_OK, 0), 0);
	close(fd);
	write_text(lab->fd, STAGING_PREFIX "0123456789abcde0", "a file");
	assert_int_equal(staging_sweep_one(lab->fd, STAGING_PREFIX "0123456789abcde0", &r),
			 STAGING_NOT);
	make_folder(lab, STAGING_PREFIX "short");
	assert_int_equal(staging_sweep_one(lab->fd, STAGING_PREFIX "short", &r), STAGING_NOT);
}

static void a_place_is_a_name_in_a_folder_that_exists(void **state)
{
	struct lab *lab = *state;
	char target[512], why[1024];
	struct place p;

	snprintf(target, sizeof(target), "%s/it///", lab->dir);
	CHECK_STATUS(0, place_open(&p, target, why, sizeof(why)));
	assert_string_equal(p.name, "it");
	assert_false(p.is_there);
	place_close(&p);
	snprintf(target, sizeof(target), "%s/%0255d", lab->dir, 1);
	CHECK_STATUS(0, place_open(&p, target, why, sizeof(why)));
	place_close(&p);
	snprintf(target, sizeof(target), "%s/%0256d", lab->dir, 1);
	CHECK_STATUS(UV_ENAMETOOLONG, place_open(&p, target, why, sizeof(why)));
	place_close(&p);
	CHECK_STATUS(UV_EINVAL, place_open(&p, "..", why, sizeof(why)));
	place_close(&p);
	CHECK_STATUS(UV_ENOENT, place_open(&p, "/nonexistent/dir/x", why, sizeof(why)));
	assert_non_null(strstr(why, "/nonexistent/dir does not exist"));
	place_close(&p);
	assert_int_equal(mkfifoat(lab->fd, "pipe", 0644), 0);
	snprintf(target, sizeof(target), "%s/pipe", lab->dir);
	CHECK_STATUS(ERR_UNSUPPORTED, place_open(&p, target, why, sizeof(why)));
	place_close(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_path_leads_out_of_the_folder),
		TEST(a_mode_is_set_on_files_and_folders_alone),
		TEST(removing_follows_no_link),
		TEST(what_is_no_file_stays_and_the_rest_goes),
		TEST(another_mount_is_never_entered),
		TEST(a_staging_folder_is_for_its_owner_alone_and_leaves_nothing),
		TEST(one_in_use_is_never_swept),
		TEST(one_left_behind_is_swept),
		TEST(what_only_looks_like_one_is_left_alone),
		TEST(a_place_is_a_name_in_a_folder_that_exists),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
