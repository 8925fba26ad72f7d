/* The store is read, wanted keys are compared with those announced, and the difference is told to
 * the DHT, which spreads the work in time:
 *
 *	idle → subscriptions → objects → idle
 *
 * A scope that never was in sync is not announced: whoever followed it here would find nothing. */
#include "daemon/announcer.h"

#include <string.h>

#include "base/mem.h"
#include "daemon/control.h"

struct announcer {
	struct daemon *daemon;
	struct dht *dht;
	uint16_t port;
	struct dht_id announced[DHT_ANNOUNCEMENTS_MAX], wanted[DHT_ANNOUNCEMENTS_MAX];
	size_t announced_count, wanted_count;
	uint64_t left_out, leaving_out;
	struct store_subscriptions subscriptions;
	struct store_objects objects;
	struct op *running; /* NULL = idle */
	bool again, soon;   /* soon: the timer runs for ANNOUNCER_SETTLE_MS */
	struct runner_timer timer;
	void (*closed)(void *data); /* set = closing */
	void *closed_data;
	struct runner_task closed_task;
};

static bool has(const struct dht_id *keys, size_t count, const struct dht_id *key)
{
	for (size_t i = 0; i < count; i++) {
		if (dht_id_eq(&keys[i], key))
			return true;
	}
	return false;
}

static void want(struct announcer *a, const struct public_key *space, const char *path,
		 size_t path_len, size_t max)
{
	struct iri iri = { .space = *space, .path_len = path_len };
	struct dht_id keys[2];
	size_t count;

	memcpy(iri.path, path, path_len);
	iri.path[path_len] = '\0';
	count = dht_keys_of_iri(&iri, keys);
	for (size_t i = 0; i < count; i++) {
		if (has(a->wanted, a->wanted_count, &keys[i]))
			continue;
		if (a->wanted_count < max)
			a->wanted[a->wanted_count++] = keys[i];
		else
			a->leaving_out++;
	}
}

static void tell(struct announcer *a)
{
	for (size_t i = 0; i < a->announced_count; i++) {
		if (!has(a->wanted, a->wanted_count, &a->announced[i]))
			dht_unannounce(a->dht, &a->announced[i]);
	}
	a->announced_count = 0;
	/* The DHT takes the latest first: the newest object is told last. */
	for (size_t i = a->wanted_count; i > 0; i--) {
		if (dht_announce(a->dht, &a->wanted[i - 1], a->port) == 0)
			a->announced[a->announced_count++] = a->wanted[i - 1];
		else
			a->leaving_out++;
	}
	a->left_out = a->leaving_out;
}

/* ---- Reading the store ---- */

static void look_soon(struct announcer *a)
{
	struct runner *r = &a->daemon->loop.runner;

	if (!a->soon)
		runner_timer_start(r, &a->timer, runner_now_ms(r) + ANNOUNCER_SETTLE_MS);
	a->soon = true;
}

static void run_closed(struct runner_task *task)
{
	struct announcer *a = container_of(task, struct announcer, closed_task);
	void (*closed)(void *data) = a->closed;
	void *data = a->closed_data;

	mem_free(a);
	closed(data);
}

static void end(struct announcer *a)
{
	a->running = NULL;
	if (a->closed != NULL)
		runner_defer(&a->daemon->loop.runner, &a->closed_task);
	else if (a->again)
		look_soon(a);
}

static void on_objects(struct store_objects *op, int status)
{
	struct announcer *a = container_of(op, struct announcer, objects);

	for (size_t i = 0; status == 0 && i < op->count; i++)
		want(a, &op->objects[i].space, op->objects[i].path, strlen(op->objects[i].path),
		     DHT_ANNOUNCEMENTS_MAX);
	if (status == 0 && op->total > op->count)
		a->leaving_out += op->total - op->count;
	store_objects_fini(op);
	if (status == 0 && a->closed == NULL)
		tell(a);
	end(a);
}

static void on_subscriptions(struct store_subscriptions *op, int status)
{
	struct announcer *a = container_of(op, struct announcer, subscriptions);
	struct op_env env = control_env(a->daemon, CONTROL_TIMEOUT_MS);
	struct scope own = { .space = a->daemon->space.public, .kind = SCOPE_RECURSIVE };

	for (size_t i = 0; status == 0 && i < op->count; i++) {
		const struct store_subscription *s = &op->list[i];

		if (s->last_ok_s > 0)
			want(a, &s->scope.space, s->scope.path, s->scope.path_len,
			     ANNOUNCER_SUBSCRIPTION_KEYS_MAX);
	}
	store_subscriptions_fini(op);
	if (status < 0 || a->closed != NULL) {
		end(a);
		return;
	}
	a->running = &a->objects.op;
	store_objects_start(&a->objects, &env, a->daemon->store, &own, DHT_ANNOUNCEMENTS_MAX,
			    on_objects);
}

static void begin(struct announcer *a)
{
	struct op_env env = control_env(a->daemon, CONTROL_TIMEOUT_MS);

	a->again = false;
	a->wanted_count = 0;
	a->leaving_out = 0;
	memset(&a->subscriptions, 0, sizeof(a->subscriptions));
	memset(&a->objects, 0, sizeof(a->objects));
	a->running = &a->subscriptions.op;
	store_subscriptions_start(&a->subscriptions, &env, a->daemon->store, on_subscriptions);
}

void announcer_changed(struct announcer *a)
{
	if (a->running != NULL)
		a->again = true;
	else if (a->closed == NULL)
		look_soon(a);
}

void announcer_set_port(struct announcer *a, uint16_t port)
{
	a->port = port;
	announcer_changed(a);
}

static void on_timer(struct runner_timer *timer)
{
	struct announcer *a = container_of(timer, struct announcer, timer);
	struct runner *r = &a->daemon->loop.runner;

	a->soon = false;
	runner_timer_start(r, timer, runner_now_ms(r) + ANNOUNCER_AGAIN_MS);
	if (a->running != NULL)
		a->again = true;
	else
		begin(a);
}

/* ---- Life ---- */

struct announcer *announcer_new(struct daemon *d, struct dht *dht, uint16_t port)
{
	struct announcer *a = mem_alloc(sizeof(*a));

	if (a == NULL)
		return NULL;
	a->daemon = d;
	a->dht = dht;
	a->port = port;
	a->timer.run = on_timer;
	a->closed_task.run = run_closed;
	runner_timer_start(&d->loop.runner, &a->timer, runner_now_ms(&d->loop.runner));
	return a;
}

uint64_t announcer_left_out(const struct announcer *a)
{
	return a->left_out;
}

void announcer_close(struct announcer *a, void (*closed)(void *data), void *data)
{
	a->closed = closed;
	a->closed_data = data;
	runner_timer_stop(&a->daemon->loop.runner, &a->timer);
	if (a->running != NULL)
		op_cancel(a->running);
	else
		runner_defer(&a->daemon->loop.runner, &a->closed_task);
}
