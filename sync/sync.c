#include "sync/sync.h"

#include <string.h>

#include "base/mem.h"
#include "sync/dialback.h"

/* ---- What peers use of us ---- */

static void refill(struct sync *s, struct sync_peer *p)
{
	uint64_t now_ms = runner_now_ms(s->config.runner);
	uint64_t more = (now_ms - p->filled_ms) * SYNC_SERVE_REQUESTS_PER_S;

	p->millitokens = MIN(p->millitokens + more, (uint64_t)SYNC_SERVE_BURST * 1000);
	p->filled_ms = now_ms;
}

static bool is_forgettable(struct sync *s, struct sync_peer *p)
{
	refill(s, p);
	return p->serving == 0 && dialback_forgettable(s, p) && p->subscribed == 0 &&
	       p->following == 0 && p->millitokens == (uint64_t)SYNC_SERVE_BURST * 1000;
}

static void forget_peer(struct sync *s, struct sync_peer *p)
{
	(void)map_del(&s->peers, p->key.bytes, KEY_SIZE);
	mem_free(p);
}

/* Those that owe nothing; failing that, who uses nothing and was here the longest ago: a new key
 * costs its maker nothing, so what an old one owes must not keep others out. */
static void forget_peers(struct sync *s)
{
	struct sync_peer *oldest = NULL;
	size_t before = map_count(&s->peers);

	for (struct map_iter it = map_first(&s->peers); it.value != NULL; map_next(&it)) {
		struct sync_peer *p = it.value;
		uint64_t used_ms = p->filled_ms;

		if (is_forgettable(s, p))
			forget_peer(s, p);
		else if (p->serving == 0 && p->subscribed == 0 && p->following == 0 &&
			 (oldest == NULL || used_ms < oldest->filled_ms))
			oldest = p;
	}
	if (map_count(&s->peers) == before && oldest != NULL)
		forget_peer(s, oldest);
}

struct sync_peer *sync_peer_get(struct sync *s, const struct public_key *key)
{
	struct sync_peer *p = map_get(&s->peers, key->bytes, KEY_SIZE);

	if (p != NULL)
		return p;
	if (map_count(&s->peers) >= SYNC_PEER_TABLE_MAX)
		forget_peers(s);
	p = mem_alloc(sizeof(*p));
	if (p == NULL)
		return NULL;
	*p = (struct sync_peer){ .key = *key, .millitokens = (uint64_t)SYNC_SERVE_BURST * 1000 };
	p->filled_ms = runner_now_ms(s->config.runner);
	if (map_put(&s->peers, key->bytes, KEY_SIZE, p) < 0)
		return mem_free(p);
	return p;
}

uint64_t sync_peer_spend(struct sync *s, const struct public_key *key)
{
	struct sync_peer *p = sync_peer_get(s, key);

	if (p == NULL)
		return SYNC_RETRY_AFTER_MS;
	refill(s, p);
	if (p->millitokens < 1000)
		return (1000 - p->millitokens + SYNC_SERVE_REQUESTS_PER_S - 1) /
		       SYNC_SERVE_REQUESTS_PER_S;
	p->millitokens -= 1000;
	return 0;
}

void sync_peer_charge(struct sync *s, const struct public_key *key)
{
	struct sync_peer *p = sync_peer_get(s, key);

	s->stats.charged++;
	if (p == NULL)
		return;
	refill(s, p);
	p->millitokens -= MIN(p->millitokens, (uint64_t)SYNC_CHARGE * 1000);
}

/* ---- Shared ---- */

struct op_env sync_env(struct sync *s, uint64_t timeout_ms)
{
	uint64_t now_ms = runner_now_ms(s->config.runner);
	struct op_env env = { .runner = s->config.runner, .deadline_ms = UINT64_MAX };

	if (timeout_ms < UINT64_MAX - now_ms)
		env.deadline_ms = now_ms + timeout_ms;
	return env;
}

void sync_received(struct sync *s, const struct store_new_commit *commits, size_t count,
		   const struct public_key *from)
{
	const struct sync_listener *l = s->config.listener;

	wave_news(s, commits, count);
	announce_commits(s, commits, count, from);
	if (l != NULL && l->on_commits != NULL)
		l->on_commits(s->config.listener_data, commits, count, from);
}

void scope_format(const struct scope *s, struct buf *out)
{
	iri_format_object(&s->space, s->path, s->path_len, out);
	buf_printf(out, " %s", scope_kind_name(s->kind));
}

/* ---- Life ---- */

struct sync *sync_new(const struct sync_config *config)
{
	struct sync *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	s->config = *config;
	if (s->config.peer_timeout_ms == 0)
		s->config.peer_timeout_ms = SYNC_PEER_TIMEOUT_MS;
	if (s->config.round_timeout_ms == 0)
		s->config.round_timeout_ms = SYNC_ROUND_TIMEOUT_MS;
	if (s->config.fetch_idle_ms == 0)
		s->config.fetch_idle_ms = SYNC_FETCH_IDLE_MS;
	claims_init(&s->claims);
	s->snapshots.store = config->store;
	hot_init(&s->snapshots.hot);
	map_init(&s->peers, SYNC_PEER_TABLE_MAX);
	list_init(&s->waves);
	list_init(&s->serves);
	list_init(&s->thirsty);
	ranks_init(s);
	announcer_init(&s->announcer);
	dialback_init(s);
	net_set_service(config->net, &serve_service, s);
	return s;
}

void sync_set_listener(struct sync *s, const struct sync_listener *listener, void *data)
{
	s->config.listener = listener;
	s->config.listener_data = data;
}

static void on_closed(struct runner_task *task)
{
	struct sync *s = container_of(task, struct sync, closed_task);

	s->closed(s->closed_data);
}

void sync_check_closed(struct sync *s)
{
	if (!s->closing || !list_empty(&s->serves) || !announcer_idle(s) || s->known_loading)
		return;
	s->closed_task.run = on_closed;
	runner_defer(s->config.runner, &s->closed_task);
}

void sync_close(struct sync *s, void (*closed)(void *data), void *data)
{
	REQUIRE(list_empty(&s->waves) && !s->closing);
	s->closing = true;
	s->closed = closed;
	s->closed_data = data;
	serve_stop_all(s);
	runner_timer_stop(s->config.runner, &s->room_timer);
	ranks_close(s);
	announcer_stop(s);
	sync_check_closed(s);
}

struct sync *sync_free(struct sync *s)
{
	if (s == NULL)
		return NULL;
	REQUIRE(list_empty(&s->waves) && list_empty(&s->serves));
	claims_fini(&s->claims);
	hot_fini(&s->snapshots.hot);
	announcer_fini(&s->announcer);
	ranks_fini(s);
	for (struct map_iter it = map_first(&s->peers); it.value != NULL; map_next(&it))
		mem_free(it.value);
	map_fini(&s->peers);
	return mem_free(s);
}

void sync_stats(const struct sync *s, struct sync_stats *ret)
{
	*ret = s->stats;
	ret->claims = s->claims.taken;
	ret->claim_waits = s->claims.waited;
	ret->sets_hot = s->snapshots.stats.hot;
	ret->sets_checked = s->snapshots.stats.checked;
	ret->sets_read = s->snapshots.stats.read;
	ret->sets_kept = map_count(&s->snapshots.hot.by_scope);
	ret->sets_kept_bytes = s->snapshots.hot.bytes;
	ret->sets_dropped = s->snapshots.hot.dropped;
}
