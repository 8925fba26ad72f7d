#include "tests/sim/getter.h"

enum { LIMIT_MS = 600000 };

void getter_init(struct getter *g, struct host *h,
		 void (*on_offence)(void *data, const struct discovery_benched *b), void *data)
{
	struct discovery_config config = { .runner = &h->world->loop.runner,
					   .net = h->net,
					   .store = h->store,
					   .sync = h->sync,
					   .trace = h->world->trace,
					   .on_offence = on_offence,
					   .data = data };

	*g = (struct getter){ .host = h };
	g->discovery = discovery_new(&config);
	assert_non_null(g->discovery);
	sync_set_listener(h->sync, discovery_sync_listener(), g->discovery);
}

static bool is_set(void *data)
{
	return *(bool *)data;
}

static void set(void *data)
{
	*(bool *)data = true;
}

static void wait_for(struct getter *g, bool *flag)
{
	struct manual_loop *l = &g->host->world->loop;

	assert_true(run_until(l, is_set, flag, runner_now_ms(&l->runner) + LIMIT_MS));
}

static void on_discovered(struct discover *d, int status)
{
	struct getter *g = d->data;

	g->done = true;
	g->status = status;
	g->took_ms = runner_now_ms(&g->host->world->loop.runner) - g->took_ms;
}

void getter_start(struct getter *g, struct host *const *hints, size_t count)
{
	struct runner *r = &g->host->world->loop.runner;
	struct op_env env = { .runner = r, .deadline_ms = runner_now_ms(r) + LIMIT_MS };
	struct iri iri = { .space = g->host->world->space };

	memcpy(iri.path, "/doc", 4);
	iri.path_len = 4;
	assert_true(count <= ARRAY_SIZE(iri.hints));
	for (; iri.hint_count < count; iri.hint_count++) {
		iri.hints[iri.hint_count] = hints[iri.hint_count]->addr;
		iri.hints[iri.hint_count].has_peer = true;
		iri.hints[iri.hint_count].peer = hints[iri.hint_count]->peer;
	}
	g->done = false;
	g->took_ms = runner_now_ms(r);
	g->d.data = g;
	discover_start(&g->d, &env, g->discovery, &iri, SCOPE_EXACT, on_discovered);
}

int getter_wait(struct getter *g)
{
	wait_for(g, &g->done);
	return g->status;
}

void getter_fini(struct getter *g)
{
	discovery_close(g->discovery, set, &g->closed);
	wait_for(g, &g->closed);
	g->discovery = discovery_free(g->discovery);
}
