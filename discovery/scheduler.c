/* Deficit round robin (Shreedhar and Varghese, 1995) over spaces, one ring per lane. What a run
 * will cost is known only afterwards: it is charged what it took the last time, and the difference
 * when it ends, so a deficit may be negative (surplus round robin). A flow that has nothing queued
 * leaves its ring with its debts but without its savings: idle time buys no burst.
 *
 * What goes wrong without the details: news behind a blocked cold queue (hence two rings), a slot
 * that cold runs fill while news waits (hence the reserved one), runs that are evicted before they
 * could do anything (hence young and moving), owners that spin on a time that is over (hence the
 * floor of scheduler_wake_ms). */
#include "discovery/scheduler.h"

#include "base/err.h"
#include "base/mem.h"

enum { HOT_MAX = SCHEDULER_SLOTS - SCHEDULER_COLD_RESERVED };

struct scheduler_flow {
	struct public_key space;
	unsigned tasks;
	struct {
		struct list node; /* in turns[lane] while something is queued */
		struct list queue;
		int64_t deficit_ms;
	} lanes[2];
};

void scheduler_init(struct scheduler *s, uint64_t interval_ms, uint64_t seed)
{
	*s = (struct scheduler){ .interval_ms = interval_ms, .random = seed };
	map_init(&s->flows, SCHEDULER_TASKS_MAX);
	list_init(&s->sleeping);
	list_init(&s->running);
	list_init(&s->turns[SCHEDULER_COLD]);
	list_init(&s->turns[SCHEDULER_HOT]);
	s->next_due_ms = UINT64_MAX;
}

void scheduler_fini(struct scheduler *s)
{
	REQUIRE(map_count(&s->flows) == 0);
	map_fini(&s->flows);
}

/* splitmix64 (Vigna): small, and every seed is a good one. */
static uint64_t next_random(struct scheduler *s)
{
	uint64_t z = s->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static struct scheduler_task *task_of(struct list *node)
{
	return list_entry(node, struct scheduler_task, node);
}

/* ---- Flows ---- */

static struct scheduler_flow *flow_get(struct scheduler *s, const struct public_key *space)
{
	struct scheduler_flow *f = map_get(&s->flows, space->bytes, sizeof(space->bytes));

	if (f != NULL)
		return f;
	f = mem_alloc(sizeof(*f));
	if (f == NULL)
		return NULL;
	f->space = *space;
	for (int lane = 0; lane < 2; lane++) {
		list_init(&f->lanes[lane].node);
		list_init(&f->lanes[lane].queue);
	}
	if (map_put(&s->flows, f->space.bytes, sizeof(f->space.bytes), f) < 0)
		f = mem_free(f);
	return f;
}

static void flow_leave(struct scheduler *s, struct scheduler_flow *f)
{
	struct public_key space = f->space;

	if (--f->tasks > 0)
		return;
	mem_free(map_del(&s->flows, space.bytes, sizeof(space.bytes)));
}

static void flow_charge(struct scheduler_flow *f, enum scheduler_lane lane, int64_t cost_ms)
{
	int64_t deficit = f->lanes[lane].deficit_ms - cost_ms;

	f->lanes[lane].deficit_ms = MAX(deficit, -(int64_t)SCHEDULER_COST_MAX_MS);
}

/* Nothing is queued in this lane any more. */
static void flow_rest(struct scheduler_flow *f, enum scheduler_lane lane)
{
	if (!list_empty(&f->lanes[lane].queue))
		return;
	list_remove(&f->lanes[lane].node);
	f->lanes[lane].deficit_ms = MIN(f->lanes[lane].deficit_ms, 0);
}

/* ---- States of a task ---- */

static void sleep_until(struct scheduler *s, struct scheduler_task *t, uint64_t due_ms)
{
	uint64_t wake_ms = t->news ? MIN(due_ms, t->news_ms) : due_ms;

	t->state = SCHEDULER_SLEEPING;
	t->due_ms = due_ms;
	list_push_back(&s->sleeping, &t->node);
	s->next_due_ms = MIN(s->next_due_ms, wake_ms);
	s->stats.sleeping++;
	s->stats.backing_off += t->failures > 0;
}

static void queue(struct scheduler *s, struct scheduler_task *t, enum scheduler_lane lane,
		  uint64_t now_ms)
{
	struct scheduler_flow *f = t->flow;

	t->state = SCHEDULER_QUEUED;
	t->lane = lane;
	t->queued_ms = now_ms;
	if (list_empty(&f->lanes[lane].queue))
		list_push_back(&s->turns[lane], &f->lanes[lane].node);
	list_push_back(&f->lanes[lane].queue, &t->node);
	*(lane == SCHEDULER_HOT ? &s->stats.hot_queued : &s->stats.cold_queued) += 1;
	if (s->on_queued != NULL)
		s->on_queued(s, t);
}

/* Out of the list it is in. */
static void take_out(struct scheduler *s, struct scheduler_task *t)
{
	bool hot = t->lane == SCHEDULER_HOT;

	list_remove(&t->node);
	switch (t->state) {
	case SCHEDULER_OUT: break;
	case SCHEDULER_SLEEPING:
		s->stats.sleeping--;
		s->stats.backing_off -= t->failures > 0;
		break;
	case SCHEDULER_QUEUED:
		*(hot ? &s->stats.hot_queued : &s->stats.cold_queued) -= 1;
		flow_rest(t->flow, t->lane);
		break;
	case SCHEDULER_RUNNING: *(hot ? &s->stats.hot_running : &s->stats.cold_running) -= 1; break;
	}
}

int scheduler_add(struct scheduler *s, struct scheduler_task *t, const struct public_key *space,
		  uint64_t due_ms)
{
	if (s->stats.tasks == SCHEDULER_TASKS_MAX) {
		s->stats.refused++;
		return ERR_LIMIT;
	}
	t->flow = flow_get(s, space);
	if (t->flow == NULL)
		return UV_ENOMEM;
	t->flow->tasks++;
	t->cost_ms = SCHEDULER_COST_FIRST_MS;
	s->stats.tasks++;
	sleep_until(s, t, due_ms);
	return 0;
}

void scheduler_remove(struct scheduler *s, struct scheduler_task *t)
{
	if (t->state == SCHEDULER_OUT)
		return;
	take_out(s, t);
	t->state = SCHEDULER_OUT;
	flow_leave(s, t->flow);
	t->flow = NULL;
	s->stats.tasks--;
}

void scheduler_news(struct scheduler *s, struct scheduler_task *t, uint64_t now_ms)
{
	if (t->state == SCHEDULER_OUT)
		return;
	s->stats.news++;
	t->news = true;
	if (t->state == SCHEDULER_RUNNING ||
	    (t->state == SCHEDULER_QUEUED && t->lane == SCHEDULER_HOT))
		return;
	if (now_ms < t->news_ms) {
		s->next_due_ms = MIN(s->next_due_ms, t->news_ms);
		return;
	}
	take_out(s, t);
	queue(s, t, SCHEDULER_HOT, now_ms);
}

void scheduler_look(struct scheduler *s, struct scheduler_task *t, uint64_t now_ms)
{
	t->news_ms = MIN(t->news_ms, now_ms);
	scheduler_news(s, t, now_ms);
}

void scheduler_users(struct scheduler *s, unsigned count)
{
	s->users = count;
}

/* ---- Starting ---- */

static void wake(struct scheduler *s, uint64_t now_ms)
{
	uint64_t next_ms = UINT64_MAX;

	if (now_ms < s->next_due_ms)
		return;
	list_for_each_safe(node, &s->sleeping) {
		struct scheduler_task *t = task_of(node);
		bool news = t->news && t->news_ms <= now_ms;

		if (news || t->due_ms <= now_ms) {
			take_out(s, t);
			queue(s, t, news ? SCHEDULER_HOT : SCHEDULER_COLD, now_ms);
		} else {
			next_ms = MIN(next_ms, t->news ? MIN(t->news_ms, t->due_ms) : t->due_ms);
		}
	}
	s->next_due_ms = next_ms;
}

static bool has_room(const struct scheduler *s, enum scheduler_lane lane)
{
	unsigned cold_max = SCHEDULER_SLOTS - SCHEDULER_HOT_RESERVED;

	if (s->stats.hot_running + s->stats.cold_running >= SCHEDULER_SLOTS)
		return false;
	if (lane == SCHEDULER_HOT)
		return s->stats.hot_running < HOT_MAX;
	cold_max = s->users < cold_max ? cold_max - s->users : 1;
	return s->stats.cold_running < cold_max;
}

/* The task whose flow is next in turn. Each time round, every flow earns a quantum; debts are
 * limited, so the rounds are. */
static struct scheduler_task *next_in_turn(struct scheduler *s, enum scheduler_lane lane)
{
	struct list *turns = &s->turns[lane];

	while (!list_empty(turns)) {
		struct scheduler_flow *f =
			list_entry(turns->next, struct scheduler_flow, lanes[lane].node);

		if (f->lanes[lane].deficit_ms > 0)
			return task_of(f->lanes[lane].queue.next);
		f->lanes[lane].deficit_ms += SCHEDULER_QUANTUM_MS;
		list_remove(&f->lanes[lane].node);
		list_push_back(turns, &f->lanes[lane].node);
	}
	return NULL;
}

static void begin(struct scheduler *s, struct scheduler_task *t, uint64_t now_ms)
{
	bool hot = t->lane == SCHEDULER_HOT;

	flow_charge(t->flow, t->lane, (int64_t)t->cost_ms);
	take_out(s, t);
	t->state = SCHEDULER_RUNNING;
	t->started_ms = t->moved_ms = now_ms;
	t->evicted = false;
	t->news = t->news && !hot;
	list_push_back(&s->running, &t->node);
	s->stats.queued_max_ms = MAX(s->stats.queued_max_ms, now_ms - t->queued_ms);
	*(hot ? &s->stats.hot_running : &s->stats.cold_running) += 1;
	*(hot ? &s->stats.hot_started : &s->stats.cold_started) += 1;
}

struct scheduler_task *scheduler_next(struct scheduler *s, uint64_t now_ms)
{
	static const enum scheduler_lane lanes[] = { SCHEDULER_HOT, SCHEDULER_COLD };

	wake(s, now_ms);
	for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
		struct scheduler_task *t = NULL;

		if (has_room(s, lanes[i]))
			t = next_in_turn(s, lanes[i]);
		if (t != NULL) {
			begin(s, t, now_ms);
			return t;
		}
	}
	s->stats.cold_held += s->stats.cold_queued > 0;
	return NULL;
}

static bool evictable(const struct scheduler_task *t, uint64_t now_ms)
{
	return !t->evicted && now_ms - t->started_ms >= SCHEDULER_YOUNG_MS &&
	       now_ms - t->moved_ms >= SCHEDULER_MOVING_MS;
}

/* For news: when the hot lane is full, only a place in it helps. */
static bool makes_room(const struct scheduler *s, const struct scheduler_task *t)
{
	return t->lane == SCHEDULER_HOT || s->stats.hot_running < HOT_MAX;
}

struct scheduler_task *scheduler_preempt(struct scheduler *s, uint64_t now_ms)
{
	struct scheduler_task *victim = NULL;

	if (s->stats.hot_queued == 0 || has_room(s, SCHEDULER_HOT))
		return NULL;
	list_for_each(node, &s->running) {
		struct scheduler_task *t = task_of(node);

		if (t->evicted)
			return NULL; /* room is being made */
		if (!evictable(t, now_ms) || !makes_room(s, t))
			continue;
		if (victim == NULL || t->lane < victim->lane ||
		    (t->lane == victim->lane && t->moved_ms < victim->moved_ms))
			victim = t;
	}
	if (victim != NULL) {
		victim->evicted = true;
		s->stats.preempted++;
	}
	return victim;
}

void scheduler_progress(struct scheduler_task *t, uint64_t now_ms)
{
	t->moved_ms = now_ms;
}

/* ---- Ending ---- */

static uint64_t doubled(uint64_t base, uint32_t times, uint64_t max)
{
	for (uint32_t i = 0; i < times && base < max; i++)
		base *= 2;
	return MIN(base, max);
}

static uint64_t next_delay(struct scheduler *s, const struct scheduler_task *t)
{
	uint64_t delay = s->interval_ms, tenth;

	if (t->failures > 1)
		delay = doubled(delay, t->failures - 1,
				MAX(delay, (uint64_t)SCHEDULER_BACKOFF_MAX_MS));
	tenth = delay / SCHEDULER_JITTER_DIVISOR;
	return delay - tenth + next_random(s) % (2 * tenth + 1);
}

static void judge_news(struct scheduler *s, struct scheduler_task *t, bool brought, uint64_t now_ms)
{
	if (brought) {
		t->vain = 0;
		t->news_ms = now_ms;
		return;
	}
	t->news_ms = now_ms + doubled(SCHEDULER_VAIN_BASE_MS, t->vain, SCHEDULER_VAIN_MAX_MS);
	t->vain += t->vain < UINT32_MAX;
	s->stats.news_vain++;
}

void scheduler_done(struct scheduler *s, struct scheduler_task *t,
		    const struct scheduler_result *result, uint64_t now_ms)
{
	uint64_t took_ms = MAX(now_ms - t->started_ms, (uint64_t)SCHEDULER_COST_MIN_MS);
	bool evicted = t->evicted && result->status < 0;

	if (t->state != SCHEDULER_RUNNING)
		return;
	take_out(s, t);
	took_ms = MIN(took_ms, (uint64_t)SCHEDULER_COST_MAX_MS);
	flow_charge(t->flow, t->lane, (int64_t)took_ms - (int64_t)t->cost_ms);
	t->cost_ms = took_ms;
	t->evicted = false;
	s->stats.failed += result->status < 0 && !evicted && result->retry_in_ms == 0;
	if (evicted && t->lane == SCHEDULER_HOT)
		t->news = true; /* it lost its turn, not its claim */
	if (result->partial && !result->no_news && result->retry_in_ms == 0)
		judge_news(s, t, result->brought, now_ms);
	if (result->retry_in_ms > 0) {
		t->due_ms = now_ms + MIN(doubled(result->retry_in_ms, t->busy, s->interval_ms),
					 s->interval_ms);
		t->busy += t->busy < UINT32_MAX;
	} else if (!evicted && !result->partial) {
		t->failures = result->status == 0 ? 0 : t->failures + (t->failures < UINT32_MAX);
		t->busy = 0;
		t->due_ms = now_ms + next_delay(s, t);
	}
	sleep_until(s, t, t->due_ms);
}

/* ---- Looking ---- */

/* Those that wait for a slot start when a run ends; only eviction comes with time. */
static uint64_t evictable_ms(const struct scheduler *s)
{
	uint64_t at_ms = UINT64_MAX;

	list_for_each(node, &s->running) {
		const struct scheduler_task *t = task_of(node);

		if (t->evicted)
			return UINT64_MAX;
		if (makes_room(s, t))
			at_ms = MIN(at_ms, MAX(t->started_ms + SCHEDULER_YOUNG_MS,
					       t->moved_ms + SCHEDULER_MOVING_MS));
	}
	return at_ms;
}

uint64_t scheduler_wake_ms(const struct scheduler *s, uint64_t now_ms)
{
	uint64_t at_ms = s->next_due_ms;

	if (s->stats.hot_queued > 0)
		at_ms = MIN(at_ms, evictable_ms(s));
	return at_ms == UINT64_MAX ? at_ms : MAX(at_ms, now_ms + SCHEDULER_WAKE_MIN_MS);
}

uint64_t scheduler_next_run_ms(const struct scheduler_task *t, uint64_t now_ms)
{
	uint64_t at_ms = t->due_ms;

	if (t->state != SCHEDULER_SLEEPING)
		return now_ms;
	if (t->news)
		at_ms = MIN(at_ms, t->news_ms);
	return MAX(at_ms, now_ms);
}

void scheduler_stats(const struct scheduler *s, struct scheduler_stats *ret)
{
	*ret = s->stats;
}
