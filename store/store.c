/* The thread, its queue, and the machine of every operation.
 *
 *   queued ──taken──▶ reading | storing ──finished──▶ done
 *      └──────stopped before it was taken────────────▶
 *
 * An operation waits in two states: queued (for the thread) and reading/storing (for its work). The
 * thread reports "taken" and "finished" by putting the request on `notices` and waking the loop;
 * the loop looks at the phase under the mutex, so a missed or merged wake-up loses nothing.
 *
 * Reads go first, because writes come in batches and readers are somebody who waits; after
 * STORE_READS_IN_A_ROW_MAX reads one write has its turn. A put of several transactions goes back to
 * the front of its queue after each. */
#include "store/store.h"

#include <string.h>

#include "base/mem.h"
#include "store/internal.h"
#include "store/vouch.h"

enum { QUEUED, RUNNING, DONE };

const struct op_state request_read_states[REQUEST_STATE_COUNT] = {
	[QUEUED] = { "queued", TO(RUNNING) | TO(DONE) },
	[RUNNING] = { "reading", TO(DONE) },
	[DONE] = { "done", 0 },
};
const struct op_state request_write_states[REQUEST_STATE_COUNT] = {
	[QUEUED] = { "queued", TO(RUNNING) | TO(DONE) },
	[RUNNING] = { "storing", TO(DONE) },
	[DONE] = { "done", 0 },
};

/* ---- Loop side ---- */

static void update_ref(struct store *s)
{
	if (s->inline_io)
		return;
	if (s->active > 0 || s->closing)
		uv_ref((uv_handle_t *)&s->async);
	else
		uv_unref((uv_handle_t *)&s->async);
}

static void wake(struct store *s)
{
	if (s->inline_io)
		runner_defer(s->runner, &s->task);
	else
		pthread_cond_signal(&s->work);
}

static bool enqueue(struct store *s, struct store_request *r)
{
	bool room;

	pthread_mutex_lock(&s->mutex);
	room = s->queued < STORE_QUEUE_MAX;
	if (room) {
		if (s->queued == 0 && !s->running)
			s->progress_ns = r->queued_ns;
		r->phase = REQUEST_QUEUED;
		list_push_back(r->is_write ? &s->writes : &s->reads, &r->node);
		s->queued++;
		s->stats.queue_peak = MAX(s->stats.queue_peak, s->queued);
	} else {
		s->stats.busy++;
	}
	pthread_mutex_unlock(&s->mutex);
	return room;
}

void request_start(struct store_request *r, struct op *op, const struct op_kind *kind,
		   const struct op_env *env, struct store *s, bool is_write,
		   int (*run)(struct store *s, struct store_request *r))
{
	op_init(op, kind, env, UINT64_MAX);
	REQUIRE(!s->closing);
	*r = (struct store_request){
		.op = op, .run = run, .is_write = is_write, .phase = REQUEST_NEW
	};
	list_init(&r->node);
	list_init(&r->notice);
	if (op_stopping(op))
		return;
	r->queued_ns = clock_now_ns(s->clock);
	r->wall_s = clock_wall_ns(s->runner->clock) / NS_PER_SEC;
	r->store = s;
	if (!enqueue(s, r)) {
		r->store = NULL;
		op_result(op, ERR_BUSY);
		return;
	}
	op_hold(op);
	s->active++;
	update_ref(s);
	wake(s);
}

/* What the request's phase is now; takes it out of the queue when it need not run any more. */
static unsigned look(struct store_request *r, bool stopping)
{
	struct store *s = r->store;
	unsigned phase;

	if (s == NULL)
		return REQUEST_NEW;
	pthread_mutex_lock(&s->mutex);
	if (stopping && r->phase == REQUEST_QUEUED) {
		list_remove(&r->node);
		s->queued--;
		r->phase = REQUEST_NEW;
	}
	if (stopping)
		r->abandoned = true;
	phase = r->phase;
	if (phase == REQUEST_NEW || phase == REQUEST_FINISHED)
		list_remove(&r->notice);
	pthread_mutex_unlock(&s->mutex);
	if (phase == REQUEST_NEW || phase == REQUEST_FINISHED) {
		op_release(r->op);
		s->active--;
		update_ref(s);
		r->store = NULL;
	}
	return phase;
}

bool request_tick(struct op *op, struct store_request *r)
{
	if (op->state != DONE) {
		unsigned phase = look(r, op_stopping(op));

		if (phase == REQUEST_QUEUED)
			return false;
		if (phase != REQUEST_NEW && op->state == QUEUED)
			op_move(op, RUNNING);
		if (phase == REQUEST_TAKEN)
			return false;
		if (phase == REQUEST_FINISHED)
			op_result(op, r->status);
		op_move(op, DONE);
	}
	return op_finish(op);
}

/* Tell the loop's operations of what is done, for a slice of time. True when some are left. */
static bool deliver(struct store *s)
{
	const struct clock *clock = s->runner->clock;
	uint64_t until_ns = clock_now_ns(clock) + RUNNER_SLICE_NS;
	struct list *node;

	do {
		pthread_mutex_lock(&s->mutex);
		node = list_pop_front(&s->notices);
		pthread_mutex_unlock(&s->mutex);
		if (node == NULL)
			return false;
		op_tick(list_entry(node, struct store_request, notice)->op);
	} while (clock_now_ns(clock) < until_ns);
	return true;
}

/* ---- Executing side ---- */

bool request_abandoned(struct store *s, const struct store_request *r)
{
	bool abandoned;

	pthread_mutex_lock(&s->mutex);
	abandoned = r->abandoned;
	pthread_mutex_unlock(&s->mutex);
	return abandoned;
}

static void notify(struct store *s, struct store_request *r)
{
	if (!list_linked(&r->notice))
		list_push_back(&s->notices, &r->notice);
}

/* Under the mutex. */
static struct store_request *take(struct store *s)
{
	bool write_waits = !list_empty(&s->writes);
	bool read = !list_empty(&s->reads) &&
		    !(write_waits && s->reads_in_a_row >= STORE_READS_IN_A_ROW_MAX);
	struct list *node = list_pop_front(read ? &s->reads : &s->writes);
	struct store_request *r;

	if (node == NULL)
		return NULL;
	s->running = true;
	s->reads_in_a_row = read && write_waits ? s->reads_in_a_row + 1 : 0;
	r = list_entry(node, struct store_request, node);
	if (r->phase == REQUEST_QUEUED) {
		uint64_t wait_us = (clock_now_ns(s->clock) - r->queued_ns) / 1000;

		s->queued--;
		s->stats.requests++;
		s->stats.wait_max_us = MAX(s->stats.wait_max_us, wait_us);
		r->phase = REQUEST_TAKEN;
		notify(s, r);
	}
	return r;
}

/* Under the mutex. */
static void publish_stats(struct store *s, int status)
{
	const int64_t *v = s->db.totals.v;
	struct store_stats *t = &s->stats;

	t->blobs = (uint64_t)v[TOTAL_BLOBS];
	t->blob_bytes = (uint64_t)v[TOTAL_BLOB_BYTES];
	t->commits = (uint64_t)v[TOTAL_COMMITS];
	t->trees = (uint64_t)v[TOTAL_TREES];
	t->wanted = (uint64_t)v[TOTAL_WANTED];
	t->stashed = (uint64_t)v[TOTAL_STASHED];
	t->refused = (uint64_t)v[TOTAL_REFUSED];
	t->objects = (uint64_t)v[TOTAL_OBJECTS];
	t->conflicts = (uint64_t)v[TOTAL_CONFLICTS];
	t->peers = (uint64_t)v[TOTAL_PEERS];
	t->subscriptions = (uint64_t)v[TOTAL_SUBSCRIPTIONS];
	t->wal_bytes = s->db.wal_bytes;
	t->stash_dropped = s->stash_dropped;
	t->refused_dropped = s->refused_dropped;
	t->peers_dropped = s->peers_dropped;
	t->damaged = s->damaged;
	if (status < 0 && status != ERR_NOT_FOUND && status != ERR_MISSING)
		t->failed++;
	t->last_error = s->db.error;
	memcpy(t->last_error_text, s->db.error_text, sizeof(t->last_error_text));
}
_Static_assert(sizeof(((struct store_stats *)0)->last_error_text) == DB_ERROR_TEXT_MAX,
	       "copied whole");

static void execute(struct store *s, struct store_request *r)
{
	uint64_t db_bytes = 0;
	int rc;

	op_label_set(r->op->kind->name, r->op->env.span, r->op->id);
	rc = r->run(s, r);
	op_label_set(NULL, (struct span){ 0 }, 0);
	REQUIRE(sqlite3_get_autocommit(s->db.sqlite));
	db_checkpoint_if_due(&s->db);
	if (r->is_write)
		db_bytes = db_file_bytes(&s->db);
	pthread_mutex_lock(&s->mutex);
	s->running = false;
	s->progress_ns = clock_now_ns(s->clock);
	publish_stats(s, MIN(rc, 0));
	if (r->is_write)
		s->stats.db_bytes = db_bytes;
	if (rc > 0) {
		list_push_front(r->is_write ? &s->writes : &s->reads, &r->node);
	} else {
		r->status = rc;
		r->phase = REQUEST_FINISHED;
		notify(s, r);
	}
	pthread_mutex_unlock(&s->mutex);
}

static void *thread_main(void *data)
{
	struct store *s = data;
	struct store_request *r;

	pthread_mutex_lock(&s->mutex);
	for (;;) {
		while ((r = take(s)) == NULL && !s->stop)
			pthread_cond_wait(&s->work, &s->mutex);
		if (r == NULL)
			break;
		pthread_mutex_unlock(&s->mutex);
		uv_async_send(&s->async);
		execute(s, r);
		uv_async_send(&s->async);
		pthread_mutex_lock(&s->mutex);
	}
	pthread_mutex_unlock(&s->mutex);
	vouch_free(s->vouch);
	db_close(&s->db);
	pthread_mutex_lock(&s->mutex);
	s->ended = true;
	pthread_mutex_unlock(&s->mutex);
	uv_async_send(&s->async);
	return NULL;
}

/* ---- Open, close ---- */

static void release(struct store *s)
{
	void (*closed)(void *data) = s->closed;
	void *data = s->closed_data;

	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->mutex);
	mem_free(s);
	if (closed != NULL)
		closed(data);
}

static void on_task(struct runner_task *task)
{
	struct store *s = container_of(task, struct store, task);
	struct store_request *r;
	bool more;

	pthread_mutex_lock(&s->mutex);
	r = take(s);
	pthread_mutex_unlock(&s->mutex);
	if (r != NULL)
		execute(s, r);
	more = !list_empty(&s->reads) || !list_empty(&s->writes);
	if (more || s->closing)
		runner_defer(s->runner, &s->task);
	if (deliver(s))
		runner_defer(s->runner, &s->task);
	if (s->closing && !more && s->active == 0) {
		runner_undefer(&s->task);
		db_close(&s->db);
		release(s);
	}
}

static void on_async_closed(uv_handle_t *h)
{
	release(h->data);
}

static void on_async(uv_async_t *async)
{
	struct store *s = async->data;
	bool ended;

	pthread_mutex_lock(&s->mutex);
	ended = s->ended;
	pthread_mutex_unlock(&s->mutex);
	if (deliver(s)) {
		uv_async_send(async);
		return;
	}
	if (!ended || uv_is_closing((uv_handle_t *)async))
		return;
	REQUIRE(s->active == 0);
	pthread_join(s->thread, NULL);
	uv_close((uv_handle_t *)async, on_async_closed);
}

/* The async handle comes last: once made it can only be closed by the loop. */
static int start_thread(struct store *s)
{
	int rc;

	s->async.data = s;
	rc = uv_async_init(s->uv, &s->async, on_async);
	if (rc < 0)
		return rc;
	rc = -pthread_create(&s->thread, NULL, thread_main, s);
	if (rc == 0) {
		(void)pthread_setname_np(s->thread, "store");
		update_ref(s);
		return 0;
	}
	return rc;
}

static void on_failed_closed(uv_handle_t *h)
{
	struct store *s = h->data;

	s->closed = NULL;
	release(s);
}

int store_open(const struct store_config *config, struct store **ret, char *ret_why,
	       size_t why_size)
{
	struct store *s = mem_alloc(sizeof(*s));
	int rc;

	if (why_size > 0)
		ret_why[0] = '\0';
	if (s == NULL)
		return UV_ENOMEM;
	REQUIRE(config->inline_io || config->uv != NULL);
	s->runner = config->runner;
	s->inline_io = config->inline_io;
	s->clock = config->inline_io ? config->runner->clock : &clock_system;
	s->uv = config->uv;
	s->task.run = on_task;
	list_init(&s->reads);
	list_init(&s->writes);
	list_init(&s->notices);
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->work, NULL);
	rc = db_open(&s->db, config->dir, ret_why, why_size);
	if (rc < 0) {
		release(s);
		return rc;
	}
	publish_stats(s, 0);
	s->stats.db_bytes = db_file_bytes(&s->db);
	rc = s->inline_io ? 0 : start_thread(s);
	if (rc < 0) {
		db_close(&s->db);
		if (uv_is_active((uv_handle_t *)&s->async))
			uv_close((uv_handle_t *)&s->async, on_failed_closed);
		else
			release(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s, void (*closed)(void *data), void *data)
{
	REQUIRE(runner_on_loop(s->runner));
	REQUIRE(!s->closing);
	s->closing = true;
	s->closed = closed;
	s->closed_data = data;
	pthread_mutex_lock(&s->mutex);
	s->stop = true;
	pthread_mutex_unlock(&s->mutex);
	update_ref(s);
	wake(s);
}
