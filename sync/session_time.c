/* A session's patience: how long it waits for a peer that was asked, and what it makes of one that
 * is late.
 *
 *   late for round trips   others may overtake it (session_fetch.c)
 *   doubted                it listed commits and has not sent a needed blob for as long: what
 *                          nobody else lists need not be waited for
 *   idle                   fetch_idle_ms without an answer: given up. Commits are small: there,
 *                          bytes that do not become an answer are a drip, and an offence. Content
 *                          may be large and the line slow: bytes count, few as they may be, unless
 *                          another peer waits for the place
 *   no round               round_timeout_ms */
#include "sync/session.h"

enum {
	FULL_FLOOR_BYTES_PER_S = 4096, /* when others wait for a place */
	HEARD_BYTES = 256,	       /* more than what a connection says on its own account */
	PIECE_BYTES = 32 << 10,	       /* what comes at once, or not at all until it is whole */
	STALLED_MAX_MS = 1000	       /* however slow it was before */
};

static uint64_t now_ms(const struct session *s)
{
	return runner_now_ms(s->op.env.runner);
}

static uint64_t received_bytes(const struct session *s)
{
	struct net_conn *conn = net_find(s->sync->config.net, &s->outcome.target.peer);
	struct net_conn_info info = { 0 };

	if (conn != NULL)
		net_conn_info(conn, &info);
	return info.received_bytes;
}

static void idle_window_begin(struct session *s)
{
	s->idle_ms = now_ms(s);
	s->idle_bytes = received_bytes(s);
	s->idle_answers = s->answers;
}

/* ---- What is of use ---- */

void session_time_asked(struct session *s)
{
	if (s->asked_count > 0)
		return;
	idle_window_begin(s);
	/* Who has said "missing" of what it listed does not begin anew with every question. */
	if (!s->asked_once || s->missing_listed == 0)
		s->useful_ms = now_ms(s);
	s->asked_once = true;
}

void session_time_useful(struct session *s)
{
	s->useful++;
	s->useful_ms = now_ms(s);
}

static bool is_doubtful(const struct session *s)
{
	return (s->asked_count > 0 || s->missing_listed > 0) &&
	       now_ms(s) - s->useful_ms > pace_patience_ms(&s->pace);
}

static void check_doubt(struct session *s)
{
	bool doubtful = is_doubtful(s);

	if (doubtful == s->doubted)
		return;
	s->doubted = doubtful;
	fetch_set_doubt(s->wave->wants, s->index, doubtful);
	s->wave->progress_pending = true;
	op_defer(&s->wave->op);
}

/* Bytes of a large blob count as they come, not only when it is whole. */
static void listen_to(struct session *s)
{
	uint64_t bytes = received_bytes(s);

	if (s->asked_count > 0 && bytes < s->heard_bytes + HEARD_BYTES)
		return;
	s->heard_bytes = bytes;
	s->heard_ms = now_ms(s);
}

/* For how long a peer that sends may be silent: a line that has carried little carries the next piece
 * late. */
static uint64_t silence_ms(const struct session *s)
{
	uint64_t ms = s->heard_ms - s->started_ms, bytes = s->heard_bytes - s->first_bytes;
	uint64_t piece_ms = bytes > 0 ? ms * PIECE_BYTES / bytes : STALLED_MAX_MS;

	return MAX(pace_patience_ms(&s->pace), MIN(piece_ms, (uint64_t)STALLED_MAX_MS));
}

/* A peer that was asked, and of which nothing at all came within its own round trips, or nothing any
 * more. That others were faster is no failure of one whose bytes are under way. */
bool session_time_was_useless(struct session *s)
{
	bool gave = s->useful > 0 || s->heard_ms > s->useful_ms;
	uint64_t waited_ms = now_ms(s) - (gave ? s->heard_ms : s->useful_ms);

	if (s->asked_count == 0 || waited_ms <= (gave ? silence_ms(s) : pace_patience_ms(&s->pace)))
		return false;
	if (gave)
		session_why(s, "stopped with %zu blobs asked, %llu ms ago: others had them",
			    s->asked_count, (unsigned long long)waited_ms);
	else
		session_why(s,
			    "none of %zu blobs that it was asked for came in %llu ms: others had "
			    "them",
			    s->asked_count, (unsigned long long)waited_ms);
	sync_peer_charge(s->sync, &s->outcome.target.peer);
	s->faulted = true;
	s->outcome.offended = true;
	session_cut(s, SYNC_CUT_SLOW, UV_ETIMEDOUT);
	return true;
}

/* ---- Waiting in vain ---- */

static void check_idle(struct session *s)
{
	uint64_t idle_ms = s->sync->config.fetch_idle_ms;
	uint64_t got = received_bytes(s) - s->idle_bytes;
	bool answered = s->idle_answers != s->answers;
	bool silent = got < SESSION_SILENT_BYTES;
	bool slow = got < FULL_FLOOR_BYTES_PER_S * idle_ms / 1000;
	unsigned long long bytes = got, ms = idle_ms;

	if (!answered && silent) {
		session_why(s, "silent for %llu ms with %zu blobs asked", ms, s->asked_count);
		s->outcome.offended = true;
		session_fail(s, UV_ETIMEDOUT);
	} else if (!answered && session_fetch_live(s).commits > 0) {
		session_why(s, "lists commits and does not send them: %llu B in %llu ms", bytes,
			    ms);
		session_blame(s, UV_ETIMEDOUT, "lists commits and does not send them");
	} else if (slow && wave_is_full(s->wave)) {
		session_why(s, "%llu B in %llu ms while others wait for a place", bytes, ms);
		s->faulted = true;
		session_cut(s, SYNC_CUT_SLOW, UV_ETIMEDOUT);
	}
	idle_window_begin(s);
}

void session_time_check(struct session *s)
{
	uint64_t now = now_ms(s);

	if (s->round_waits && now >= s->round_ms + s->sync->config.round_timeout_ms) {
		session_why(s, "no answer to round %u of a reconciliation", s->round);
		s->outcome.offended = true;
		session_fail(s, UV_ETIMEDOUT);
	}
	listen_to(s);
	check_doubt(s);
	if (s->asked_count > 0 && now >= s->idle_ms + s->sync->config.fetch_idle_ms)
		check_idle(s);
	session_fetch_count(s);
}

bool session_time_overtake_due(struct session *s)
{
	if (s->looked_ms != 0 && now_ms(s) < s->looked_ms + SESSION_LOOK_MS)
		return false;
	s->looked_ms = now_ms(s);
	return true;
}

static void on_timer(struct runner_timer *timer)
{
	op_defer(&container_of(timer, struct session, timer)->op);
}

/* Others have in flight, or to be asked for, what this one could ask for too. */
static bool is_looking(const struct session *s)
{
	const uint64_t *n = fetch_set_counts(s->wave->wants)->state;

	return n[FETCH_IN_FLIGHT] + n[FETCH_WANTED] > session_fetch_live(s).count;
}

void session_time_arm(struct session *s)
{
	uint64_t due_ms = UINT64_MAX;

	if (s->round_waits)
		due_ms = s->round_ms + s->sync->config.round_timeout_ms;
	if (s->busy_until_ms != 0)
		due_ms = MIN(due_ms, MAX(s->busy_until_ms, now_ms(s) + 1));
	if (s->asked_count > 0)
		due_ms = MIN(due_ms, s->idle_ms + s->sync->config.fetch_idle_ms);
	if (s->asked_count > 0 && !s->doubted)
		due_ms = MIN(due_ms, s->useful_ms + pace_patience_ms(&s->pace) + 1);
	if (is_looking(s))
		due_ms = MIN(due_ms, s->looked_ms + SESSION_LOOK_MS);
	s->timer.run = on_timer;
	if (due_ms == UINT64_MAX)
		runner_timer_stop(s->op.env.runner, &s->timer);
	else
		runner_timer_start(s->op.env.runner, &s->timer, due_ms);
}
