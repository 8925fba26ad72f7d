/* What lives in the data folder: lock, keys, small files; and the word to the service manager. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "test_util.h"

#include "base/base.h"
#include "base/manual.h"
#include "daemon/disk.h"
#include "daemon/keys.h"
#include "daemon/lock.h"
#include "daemon/notify.h"
#include "daemon/saver.h"

enum { WHY = 1024 };

static int setup(void **state)
{
	char *dir = mem_alloc(64);

	snprintf(dir, 64, "/tmp/peerscope-folder-XXXXXX");
	assert_non_null(mkdtemp(dir));
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", (char *)*state);
	assert_int_equal(system(command), 0);
	mem_free(*state);
	return 0;
}

static void write_text(const char *dir, const char *name, const char *text, mode_t mode)
{
	CHECK_STATUS(0, disk_write(dir, name, text, strlen(text), mode));
}

static mode_t mode_of(const char *dir, const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode;
}

/* ---- A file written again and again ---- */

static void note_closed(void *data)
{
	*(bool *)data = true;
}

static void assert_content(const char *dir, const char *text)
{
	struct buf out;

	buf_init(&out, 64);
	CHECK_STATUS(0, disk_read(dir, "saved", 64, &out, NULL, NULL));
	assert_int_equal(out.len, strlen(text));
	assert_memory_equal(out.data, text, out.len);
	buf_fini(&out);
}

static void the_last_of_several_savings_stays(void **state)
{
	struct manual_loop loop;
	struct saver s;
	bool closed = false;

	manual_loop_init(&loop, 1);
	saver_init(&s, &loop.runner, *state, "saved", 64);
	saver_write(&s, "one", 3);
	saver_write(&s, "two", 3);
	saver_write(&s, "three", 5);
	saver_close(&s, note_closed, &closed);
	assert_false(closed);
	manual_loop_run(&loop, 1000);
	assert_true(closed);
	assert_int_equal(s.written, 2); /* the first, and the one that waited last */
	assert_content(*state, "three");
	saver_fini(&s);
	manual_loop_fini(&loop);
}

static void savings_that_fail_are_counted_and_end(void **state)
{
	struct manual_loop loop;
	struct saver s;
	bool closed = false;

	manual_loop_init(&loop, 1);
	saver_init(&s, &loop.runner, "/nowhere", "saved", 4);
	saver_write(&s, "one", 3);
	manual_loop_run(&loop, 1000);
	CHECK_STATUS(UV_ENOENT, s.last_status);
	saver_write(&s, "too large", 9);
	saver_close(&s, note_closed, &closed);
	manual_loop_run(&loop, 2000);
	CHECK_STATUS(ERR_LIMIT, s.last_status);
	assert_int_equal(s.failed, 2);
	assert_true(closed);
	saver_fini(&s);
	manual_loop_fini(&loop);
}

/* ---- Lock ---- */

static void a_second_holder_hears_pid_time_and_advice(void **state)
{
	struct lock first, second;
	char why[WHY] = "", pid[32];

	CHECK_STATUS(0, lock_take(&first, *state, why, WHY));
	CHECK_STATUS(ERR_LOCKED, lock_take(&second, *state, why, WHY));
	snprintf(pid, sizeof(pid), "pid %d since 20", (int)getpid());
	assert_non_null(strstr(why, pid));
	assert_non_null(strstr(why, "peerscope status --data"));
	assert_int_equal(second.fd, -1);
	lock_release(&second);
	lock_release(&first);
	CHECK_STATUS(0, lock_take(&second, *state, why, WHY));
	lock_release(&second);
	lock_release(&second);
}

static void a_killed_holder_leaves_no_lock(void **state)
{
	char why[WHY], byte;
	struct lock l;
	int ready[2], status;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (lock_take(&l, *state, why, WHY) == 0)
			(void)!write(ready[1], "x", 1);
		pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	CHECK_STATUS(ERR_LOCKED, lock_take(&l, *state, why, WHY));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	CHECK_STATUS(0, lock_take(&l, *state, why, WHY));
	lock_release(&l);
	close(ready[0]);
	close(ready[1]);
}

static void garbage_in_the_lock_file_does_not_matter(void **state)
{
	struct lock first, second;
	char why[WHY] = "";

	write_text(*state, "lock", "\x1b[31m999999999999999999 %s%n\n", 0600);
	CHECK_STATUS(0, lock_take(&first, *state, why, WHY));
	assert_int_equal(ftruncate(first.fd, 0), 0);
	assert_int_equal(pwrite(first.fd, "\x1b[31m", 5, 0), 5);
	CHECK_STATUS(ERR_LOCKED, lock_take(&second, *state, why, WHY));
	assert_null(strchr(why, 0x1b));
	lock_release(&first);
}

/* ---- Keys ---- */

static void a_key_is_made_once_and_found_again(void **state)
{
	struct secret_key first, second;
	char why[WHY] = "";

	CHECK_STATUS(0, key_load(*state, "node.key", &first, why, WHY));
	CHECK_STATUS(0, key_load(*state, "node.key", &second, why, WHY));
	assert_memory_equal(&first, &second, sizeof(first));
	assert_memory_equal(first.secret + 32, first.public.bytes, KEY_SIZE);
	assert_int_equal(mode_of(*state, "node.key") & 07777, 0600);
	CHECK_STATUS(0, key_load(*state, "space.key", &second, why, WHY));
	assert_false(key_eq(&first.public, &second.public));
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	struct secret_key k;
	char why[WHY] = "", path[128];

	CHECK_STATUS(0, key_load(*state, "node.key", &k, why, WHY));
	snprintf(path, sizeof(path), "%s/node.key", (char *)*state);
	assert_int_equal(chmod(path, 0640), 0);
	CHECK_STATUS(UV_EPERM, key_load(*state, "node.key", &k, why, WHY));
	assert_non_null(strstr(why, "chmod 600"));
}

static void a_damaged_key_is_refused_and_never_replaced(void **state)
{
	static const char *const texts[] = {
		"", "x", "peerscope-ed25519-seed:", "peerscope-ed25519-seed:00zz",
		("peerscope-ed25519-seed:"
		 "00000000000000000000000000000000000000000000000000000000000000\n")
	};
	struct secret_key k;
	char why[WHY] = "";
	struct buf after;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		write_text(*state, "node.key", texts[i], 0600);
		CHECK_STATUS(ERR_MALFORMED, key_load(*state, "node.key", &k, why, WHY));
		buf_init(&after, 1024);
		CHECK_STATUS(0, disk_read(*state, "node.key", 512, &after, NULL, NULL));
		assert_int_equal(after.len, strlen(texts[i]));
		buf_fini(&after);
	}
}

static void a_key_behind_a_link_is_refused(void **state)
{
	struct secret_key k;
	char why[WHY] = "", path[128];

	CHECK_STATUS(0, key_load(*state, "real.key", &k, why, WHY));
	snprintf(path, sizeof(path), "%s/node.key", (char *)*state);
	assert_int_equal(symlink("real.key", path), 0);
	CHECK_STATUS(ERR_UNSUPPORTED, key_load(*state, "node.key", &k, why, WHY));
}

static void keys_survive_oom_at_every_allocation(void **state)
{
	char why[WHY], path[128];

	snprintf(path, sizeof(path), "%s/node.key", (char *)*state);
	FAULT_SWEEP({
		struct secret_key k;
		int rc = key_load(*state, "node.key", &k, why, WHY);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		unlink(path);
	});
}

/* ---- Files ---- */

static void a_write_replaces_the_whole_file(void **state)
{
	struct buf text;

	write_text(*state, "f", "a long first content", 0644);
	write_text(*state, "f", "short", 0600);
	buf_init(&text, 1024);
	CHECK_STATUS(0, disk_read(*state, "f", 100, &text, NULL, NULL));
	assert_string_equal((char *)text.data, "short");
	buf_clear(&text);
	CHECK_STATUS(ERR_LIMIT, disk_read(*state, "f", 4, &text, NULL, NULL));
	buf_fini(&text);
	assert_int_equal(mode_of(*state, "f") & 07777, 0600);
	disk_remove(*state, "f");
	disk_remove(*state, "f");
}

static void folders_are_made_for_the_user_alone(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/a/b//c/", (char *)*state);
	CHECK_STATUS(0, disk_make_dir(path));
	CHECK_STATUS(0, disk_make_dir(path));
	assert_int_equal(mode_of(*state, "a/b") & 07777, 0700);
	write_text(*state, "f", "x", 0600);
	snprintf(path, sizeof(path), "%s/f", (char *)*state);
	CHECK_STATUS(UV_ENOTDIR, disk_make_dir(path));
}

/* ---- Service manager ---- */

static void the_manager_gets_one_datagram(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[128];
	ssize_t n;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", (char *)*state);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	notify_send("READY=1\nMAINPID=%d", 42);
	unsetenv("NOTIFY_SOCKET");
	notify_send("nobody listens");
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "READY=1\nMAINPID=42");
	assert_true(recv(fd, text, sizeof(text), MSG_DONTWAIT) < 0);
	close(fd);
}

static void the_watchdog_is_fed_twice_per_period(void **state)
{
	char pid[32];

	(void)state;
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_last_of_several_savings_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(savings_that_fail_are_counted_and_end, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_second_holder_hears_pid_time_and_advice, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_killed_holder_leaves_no_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_in_the_lock_file_does_not_matter, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_key_is_made_once_and_found_again, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_key_that_others_may_read_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_damaged_key_is_refused_and_never_replaced, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_key_behind_a_link_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_survive_oom_at_every_allocation, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_write_replaces_the_whole_file, setup, teardown),
		cmocka_unit_test_setup_teardown(folders_are_made_for_the_user_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_manager_gets_one_datagram, setup, teardown),
		cmocka_unit_test_setup_teardown(the_watchdog_is_fed_twice_per_period, setup,
						teardown),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
