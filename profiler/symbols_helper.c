#include "profiler/symbols_helper.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "profiler/symbols_wire.h"

/* The asking side. posix_spawn shares the address space until the new program runs, so it needs no
 * memory to speak of and runs no handler of fork. */

enum { READ_MAX = 64 << 10 };

static _Atomic uint64_t started, died, unanswered;

void helper_stats(struct helper_stats *ret)
{
	ret->started = atomic_load(&started);
	ret->died = atomic_load(&died);
	ret->unanswered = atomic_load(&unanswered);
}

/* ---- Starting and ending ---- */

static int spawn_with(const char *verb, int end, pid_t *ret)
{
	char *argv[] = { (char *)(uintptr_t) "peerscope", (char *)(uintptr_t)verb, NULL };
	char *no_env[] = { NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&files);
	rc = posix_spawn_file_actions_adddup2(&files, end, STDIN_FILENO);
	/* libc says there why it ends; that is told in the profile. */
	rc = rc != 0 ? rc :
		       posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", 1, 0);
	rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	rc = rc != 0 ? rc : posix_spawn(ret, "/proc/self/exe", &files, &attr, argv, no_env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -rc;
}

static void give_up(struct helper *h, int rc)
{
	(void)snprintf(h->why, sizeof(h->why), "cannot be started (%s)", err_str(rc));
	h->given_up = true;
}

/* Returns what became of it: wait's status; 0 when there is none. */
static int end(struct helper *h, bool at_once)
{
	int status = 0;

	if (h->fd < 0)
		return 0;
	modules_fini(&h->told);
	h->unwanted = 0;
	close(h->fd);
	h->fd = -1;
	if (at_once)
		(void)kill(h->pid, SIGKILL);
	while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status;
}

static bool send_all(struct helper *h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		struct pollfd fd = { .fd = h->fd, .events = POLLOUT };
		ssize_t n = send(h->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN && errno != EINTR) {
			return false;
		} else if (clock_now_ms(&clock_system) >= h->until_ms) {
			return false;
		} else {
			(void)poll(&fd, 1, 100);
		}
	}
	return true;
}

static bool start(struct helper *h)
{
	struct wire_head head = { WIRE_MAGIC, h->modules->count };
	int ends[2], rc;

	if (h->started == SYMBOLS_HELPERS_MAX)
		h->given_up = true;
	if (h->given_up)
		return false;
	h->started++;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		give_up(h, -errno);
		return false;
	}
	rc = spawn_with(h->verb, ends[1], &h->pid);
	close(ends[1]);
	if (rc != 0) {
		close(ends[0]);
		give_up(h, rc);
		return false;
	}
	h->fd = ends[0];
	h->told.list = mem_dup(h->modules->list, h->modules->count * sizeof(*h->modules->list));
	h->told.count = h->told.list != NULL ? h->modules->count : 0;
	atomic_fetch_add(&started, 1);
	/* When it dies of it, the first answer is missing, and that is noticed. */
	(void)(send_all(h, &head, sizeof(head)) &&
	       send_all(h, h->modules->list, h->modules->count * sizeof(*h->modules->list)));
	return true;
}

static void note_death(struct helper *h, bool in_time)
{
	int status = end(h, !in_time);

	atomic_fetch_add(&died, 1);
	h->given_up |= !in_time;
	if (!in_time)
		(void)snprintf(h->why, sizeof(h->why), "took too long");
	else if (WIFSIGNALED(status))
		(void)snprintf(h->why, sizeof(h->why), "was ended by signal %d", WTERMSIG(status));
	else
		(void)snprintf(h->why, sizeof(h->why), "ended with %d", WEXITSTATUS(status));
}

void helper_begin(struct helper *h, const struct modules *modules, const char *verb)
{
	bool same = h->verb == verb && h->told.count == modules->count &&
		    memcmp(h->told.list, modules->list, modules->count * sizeof(*modules->list)) ==
			    0;

	if (!same)
		(void)end(h, true);
	h->modules = modules;
	h->verb = verb;
	h->started = 0;
	h->given_up = false;
	h->why[0] = '\0';
	h->until_ms = clock_now_ms(&clock_system) + SYMBOLS_SESSION_MS;
}

void helper_warm(struct helper *h, uintptr_t pc)
{
	if (h->fd < 0 && start(h) && send_all(h, &pc, sizeof(pc)))
		h->unwanted++;
}

void helper_end(struct helper *h)
{
	h->modules = NULL;
	h->used_ms = clock_now_ms(&clock_system);
}

void helper_stop(struct helper *h, uint64_t idle_ms)
{
	if (h->fd >= 0 && clock_now_ms(&clock_system) - h->used_ms >= idle_ms)
		(void)end(h, true);
}

/* ---- Questions ---- */

struct asking {
	struct helper *h;
	const uintptr_t *pcs;
	unsigned n, sent, answered; /* addresses */
	struct arena *text;
	helper_found_fn found;
	void *data;
	struct buf in;
};

/* Sends what the socket takes. */
static bool send_some(struct asking *a)
{
	ssize_t n = send(a->h->fd, a->pcs + a->sent, (a->n - a->sent) * sizeof(*a->pcs),
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	a->sent += (unsigned)((size_t)n / sizeof(*a->pcs));
	/* Half an address: the rest follows at once. */
	return (size_t)n % sizeof(*a->pcs) == 0 ||
	       send_all(a->h, (const uint8_t *)(a->pcs + a->sent++) + (size_t)n % sizeof(*a->pcs),
			sizeof(*a->pcs) - (size_t)n % sizeof(*a->pcs));
}

/* Hands on the answers that are complete. */
static bool take_answers(struct asking *a)
{
	size_t at = 0;

	while (a->h->unwanted > 0 || a->answered < a->sent) {
		struct buf_reader r = buf_reader(a->in.data + at, a->in.len - at);
		struct symbol_found found;
		bool whole;
		int rc = wire_read_answer(&r, a->text, &found, &whole);

		if (rc == ERR_TRUNCATED)
			break;
		if (rc != 0)
			return false;
		at = (size_t)(r.p - a->in.data);
		if (a->h->unwanted > 0)
			a->h->unwanted--;
		else
			a->found(a->data, a->pcs[a->answered++], &found, whole);
	}
	buf_consume(&a->in, at);
	return buf_err(&a->in) == 0;
}

static bool receive_some(struct asking *a)
{
	uint8_t *room = buf_reserve(&a->in, READ_MAX);
	ssize_t n = room != NULL ? recv(a->h->fd, room, READ_MAX, MSG_DONTWAIT) : 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	buf_advance(&a->in, (size_t)n);
	return n > 0 && take_answers(a);
}

/* Until all are answered, the helper is dead, or the time is over; true: all are. */
static bool converse(struct asking *a, bool *ret_in_time)
{
	*ret_in_time = true;
	while (a->answered < a->n) {
		struct pollfd fd = { .fd = a->h->fd,
				     .events = POLLIN | (a->sent < a->n ? POLLOUT : 0) };
		uint64_t now = clock_now_ms(&clock_system);

		if (now >= a->h->until_ms) {
			*ret_in_time = false;
			return false;
		}
		if (poll(&fd, 1, (int)(a->h->until_ms - now)) < 0 && errno != EINTR)
			return false;
		if ((fd.revents & POLLOUT) != 0 && !send_some(a))
			return false;
		if ((fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive_some(a))
			return false;
	}
	return true;
}

void helper_ask(struct helper *h, const uintptr_t *pcs, unsigned n, struct arena *text,
		helper_found_fn found, void *data)
{
	struct asking a = { .h = h, .text = text, .found = found, .data = data };
	bool in_time, kept = h->fd >= 0 && h->started == 0;

	while (n > 0 && (h->fd >= 0 || start(h))) {
		a.pcs = pcs;
		a.n = n;
		a.sent = a.answered = 0;
		buf_init(&a.in, READ_MAX + SYMBOLS_ANSWER_MAX);
		if (!converse(&a, &in_time)) {
			bool by_chance = kept && a.answered == 0;

			note_death(h, in_time);
			/* The one it died of is not asked again, unless it may have been dead. */
			a.answered += !by_chance;
			atomic_fetch_add(&unanswered, !by_chance);
		}
		kept = false;
		buf_fini(&a.in);
		pcs += a.answered;
		n -= a.answered;
	}
	atomic_fetch_add(&unanswered, n);
}
