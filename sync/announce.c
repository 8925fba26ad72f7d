/* Announcements: subscribers hear of new commits of their scope; we hear of those that we follow.
 *
 * A commit concerns the scopes exact and children of its own path, children of its parent path, and
 * recursive of every prefix: a handful of map look-ups, however many subscribers there are. What
 * happens within one turn of the loop becomes one message per subscriber. An announcement only says
 * "look here": what did not fit is dropped and counted, since the subscriber reconciles the scope
 * anyway.
 *
 * What can go wrong: a subscriber that does not read (its stream's queue stays high: it gets one
 * message later, not many), a burst (the list is bounded), a commit relayed in a circle (it is
 * announced only when it is new here, and never back to where it came from). */
#include <string.h>

#include "base/mem.h"
#include "sync/internal.h"

enum {
	FOLLOWS_PER_PEER_MAX = 32, /* of the NET_STREAMS_MAX streams of a conn */
	FOLLOW_LOOK_UP_MS = 30000
};

/* The subscribers of one scope. */
struct audience {
	struct hash key;
	struct list subscribers;
};

struct follow_key {
	struct public_key peer;
	struct hash scope;
};

struct follow {
	struct sync *sync;
	struct list node;
	struct follow_key key;
	struct scope scope;
	struct net_stream stream;
	bool open, checking;
	bool something; /* announced without saying what, or more than fits */
	struct store_has has;
	struct hash heard[WIRE_ANNOUNCE_MAX], looking[WIRE_ANNOUNCE_MAX];
	size_t heard_count, looking_count;
};

/* ---- Telling ---- */

static void forget_pending(struct subscriber *sub)
{
	for (size_t i = 0; i < sub->pending_count; i++)
		mem_free((void *)(uintptr_t)sub->pending[i].path);
	sub->pending_count = 0;
	sub->lost = false;
}

static void flush_one(struct sync *s, struct subscriber *sub)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_ANNOUNCE, .commits = sub->pending };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	if (net_stream_queued(sub->stream) > NET_SEND_QUEUE_HIGH)
		return; /* announce_drained comes back to it */
	reply.commit_count = sub->pending_count;
	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_reply_encode(&reply, &msg);
	if (err == 0)
		err = net_stream_send(sub->stream, msg.data, msg.len);
	if (err == 0)
		s->stats.announced_out += sub->pending_count;
	else
		s->stats.announce_dropped += sub->pending_count;
	forget_pending(sub);
}

static void on_flush(struct runner_task *task)
{
	struct announcer *a = container_of(task, struct announcer, task);
	struct sync *s = container_of(a, struct sync, announcer);
	struct list *node;

	while ((node = list_pop_front(&a->dirty)) != NULL)
		flush_one(s, list_entry(node, struct subscriber, dirty));
}

static void add_pending(struct sync *s, struct subscriber *sub, const struct store_new_commit *c)
{
	char *path = sub->pending_count < WIRE_ANNOUNCE_MAX ? mem_strdup(c->path) : NULL;

	if (path != NULL) {
		sub->pending[sub->pending_count++] =
			(struct wire_commit){ c->hash, c->time_s, path, strlen(path) };
	} else {
		sub->lost = true;
		s->stats.announce_dropped++;
	}
	if (!list_linked(&sub->dirty))
		list_push_back(&s->announcer.dirty, &sub->dirty);
	runner_defer(s->config.runner, &s->announcer.task);
}

static void tell_scope(struct sync *s, const struct scope *scope, const struct store_new_commit *c,
		       const struct public_key *except)
{
	struct hash key = scope_key(scope);
	struct audience *a = map_get(&s->announcer.by_scope, key.bytes, HASH_SIZE);

	if (a == NULL)
		return;
	list_for_each(node, &a->subscribers) {
		struct subscriber *sub = list_entry(node, struct subscriber, node);

		if (except == NULL || !key_eq(&sub->peer, except))
			add_pending(s, sub, c);
	}
}

static void cut_path(struct scope *scope)
{
	while (scope->path_len > 0 && scope->path[scope->path_len - 1] != '/')
		scope->path_len--;
	if (scope->path_len > 0)
		scope->path_len--;
	memset(scope->path + scope->path_len, 0, sizeof(scope->path) - scope->path_len);
}

static void announce_one(struct sync *s, const struct store_new_commit *c,
			 const struct public_key *except)
{
	struct scope scope;
	bool top;

	if (scope_make(&c->space, c->path, strlen(c->path), SCOPE_EXACT, &scope) < 0)
		return;
	tell_scope(s, &scope, c, except);
	scope.kind = SCOPE_CHILDREN;
	tell_scope(s, &scope, c, except);
	scope.kind = SCOPE_RECURSIVE;
	for (unsigned depth = 0;; depth++) {
		tell_scope(s, &scope, c, except);
		top = scope.path_len == 0;
		if (top)
			break;
		cut_path(&scope);
		if (depth > 0)
			continue;
		scope.kind = SCOPE_CHILDREN;
		tell_scope(s, &scope, c, except);
		scope.kind = SCOPE_RECURSIVE;
	}
}

void announce_commits(struct sync *s, const struct store_new_commit *commits, size_t count,
		      const struct public_key *except)
{
	if (map_count(&s->announcer.by_scope) == 0)
		return;
	for (size_t i = 0; i < count; i++)
		announce_one(s, &commits[i], except);
}

void announce_drained(struct sync *s, struct subscriber *sub)
{
	if (sub->pending_count == 0 && !sub->lost)
		return;
	if (!list_linked(&sub->dirty))
		list_push_back(&s->announcer.dirty, &sub->dirty);
	runner_defer(s->config.runner, &s->announcer.task);
}

/* ---- Subscribers ---- */

static struct audience *audience_get(struct announcer *a, const struct hash *key)
{
	struct audience *audience = map_get(&a->by_scope, key->bytes, HASH_SIZE);

	if (audience != NULL)
		return audience;
	audience = mem_alloc(sizeof(*audience));
	if (audience == NULL)
		return NULL;
	audience->key = *key;
	list_init(&audience->subscribers);
	if (map_put(&a->by_scope, key->bytes, HASH_SIZE, audience) < 0)
		return mem_free(audience);
	return audience;
}

int announce_subscribe(struct sync *s, struct subscriber *sub, const struct scope *scope)
{
	struct hash key = scope_key(scope);

	if (s->stats.subscribers >= SYNC_SUBSCRIBERS_MAX)
		return ERR_LIMIT;
	sub->audience = audience_get(&s->announcer, &key);
	if (sub->audience == NULL)
		return UV_ENOMEM;
	list_init(&sub->dirty);
	list_push_back(&sub->audience->subscribers, &sub->node);
	s->stats.subscribers++;
	return 0;
}

void announce_unsubscribe(struct sync *s, struct subscriber *sub)
{
	struct audience *a = sub->audience;

	if (a == NULL)
		return;
	sub->audience = NULL;
	list_remove(&sub->node);
	list_remove(&sub->dirty);
	forget_pending(sub);
	s->stats.subscribers--;
	if (!list_empty(&a->subscribers))
		return;
	(void)map_del(&s->announcer.by_scope, a->key.bytes, HASH_SIZE);
	mem_free(a);
}

/* ---- Following ---- */

static void follow_dispose(struct follow *f)
{
	struct sync *s = f->sync;
	struct sync_peer *p;

	if (f->open || f->checking)
		return;
	p = sync_peer_get(s, &f->key.peer);
	if (p != NULL && p->following > 0)
		p->following--;
	if (map_get(&s->announcer.follow_map, &f->key, sizeof(f->key)) == f)
		(void)map_del(&s->announcer.follow_map, &f->key, sizeof(f->key));
	list_remove(&f->node);
	s->stats.follows--;
	mem_free(f);
	sync_check_closed(s);
}

static void follow_look_up(struct follow *f);

static void on_looked_up(struct store_has *h, int status)
{
	struct follow *f = container_of(h, struct follow, has);
	const struct sync_listener *l = f->sync->config.listener;
	bool news = f->something || status < 0;

	for (size_t i = 0; i < f->looking_count && !news; i++)
		news = !h->present[i];
	store_has_fini(h);
	f->something = false;
	f->checking = false;
	if (news && f->open && !f->sync->closing && l != NULL && l->on_announced != NULL)
		l->on_announced(f->sync->config.listener_data, &f->key.peer, &f->scope);
	if (f->open && (f->heard_count > 0 || f->something))
		follow_look_up(f);
	else
		follow_dispose(f);
}

static void follow_look_up(struct follow *f)
{
	struct op_env env = sync_env(f->sync, FOLLOW_LOOK_UP_MS);

	if (f->checking)
		return;
	memcpy(f->looking, f->heard, f->heard_count * sizeof(f->heard[0]));
	f->looking_count = f->heard_count;
	f->heard_count = 0;
	f->checking = true;
	store_has_start(&f->has, &env, f->sync->config.store, f->looking, f->looking_count, true,
			on_looked_up);
}

static int hear(struct follow *f, const struct wire_reply *reply)
{
	if (reply->kind == WIRE_REPLY_SUBSCRIBED)
		return 0;
	if (reply->kind == WIRE_REPLY_REFUSAL)
		return ERR_REFUSED;
	if (reply->kind != WIRE_REPLY_ANNOUNCE)
		return ERR_PROTOCOL;
	f->sync->stats.announced_in += reply->commit_count;
	f->something = f->something || reply->commit_count == 0;
	for (size_t i = 0; i < reply->commit_count; i++) {
		if (f->heard_count == WIRE_ANNOUNCE_MAX) {
			f->something = true;
			break;
		}
		f->heard[f->heard_count++] = reply->commits[i].hash;
	}
	follow_look_up(f);
	return 0;
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct follow *f = stream->data;
	struct wire_reply reply;
	struct arena arena;
	int err;

	wire_arena_init(&arena, len);
	err = wire_reply_decode(msg, len, &arena, &reply);
	if (err == 0)
		err = hear(f, &reply);
	arena_fini(&arena);
	if (err == ERR_PROTOCOL || err == ERR_MALFORMED || err == ERR_LIMIT)
		sync_peer_charge(f->sync, &f->key.peer);
	if (err < 0)
		net_stream_reset(stream, err == ERR_REFUSED ? UV_ECANCELED : ERR_PROTOCOL);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	struct follow *f = stream->data;

	(void)status;
	f->open = false;
	follow_dispose(f);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static void follow_send(struct follow *f)
{
	struct wire_request request = { .kind = WIRE_SUBSCRIBE, .scope = f->scope };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_request_encode(&request, &msg);
	if (err == 0)
		err = net_stream_send(&f->stream, msg.data, msg.len);
	if (err < 0)
		net_stream_reset(&f->stream, UV_ECANCELED);
}

static struct follow *follow_new(struct sync *s, const struct follow_key *key,
				 const struct scope *scope)
{
	struct follow *f = mem_alloc(sizeof(*f));

	if (f == NULL)
		return NULL;
	f->sync = s;
	f->key = *key;
	f->scope = *scope;
	f->stream = (struct net_stream){ .events = &events, .data = f };
	if (map_put(&s->announcer.follow_map, key, sizeof(*key), f) < 0)
		return mem_free(f);
	return f;
}

void sync_follow(struct sync *s, const struct public_key *peer, const struct scope *scope)
{
	struct follow_key key = { .peer = *peer, .scope = scope_key(scope) };
	struct net_conn *conn = net_find(s->config.net, peer);
	struct sync_peer *p;
	struct follow *f;

	if (s->closing || conn == NULL ||
	    map_get(&s->announcer.follow_map, &key, sizeof(key)) != NULL)
		return;
	p = sync_peer_get(s, peer);
	if (p == NULL || p->following >= FOLLOWS_PER_PEER_MAX)
		return;
	f = follow_new(s, &key, scope);
	if (f == NULL)
		return;
	if (net_stream_open(&f->stream, conn) < 0) {
		(void)map_del(&s->announcer.follow_map, &key, sizeof(key));
		mem_free(f);
		return;
	}
	f->open = true;
	p->following++;
	s->stats.follows++;
	list_push_back(&s->announcer.follows, &f->node);
	follow_send(f);
}

/* Out of the map at once, so that the scope can be followed anew; the struct goes with its stream.
 */
static void follow_end(struct follow *f)
{
	if (map_get(&f->sync->announcer.follow_map, &f->key, sizeof(f->key)) == f)
		(void)map_del(&f->sync->announcer.follow_map, &f->key, sizeof(f->key));
	if (f->open)
		net_stream_reset(&f->stream, UV_ECANCELED);
	if (f->checking)
		op_cancel(&f->has.op);
}

void sync_unfollow(struct sync *s, const struct scope *scope)
{
	struct hash key = scope_key(scope);

	list_for_each_safe(node, &s->announcer.follows) {
		struct follow *f = list_entry(node, struct follow, node);

		if (hash_eq(&f->key.scope, &key))
			follow_end(f);
	}
}

void sync_published(struct sync *s, const struct store_new_commit *commits, size_t count)
{
	const struct sync_listener *l = s->config.listener;

	announce_commits(s, commits, count, NULL);
	if (l != NULL && l->on_commits != NULL)
		l->on_commits(s->config.listener_data, commits, count, NULL);
}

/* ---- The announcer ---- */

void announcer_init(struct announcer *a)
{
	map_init(&a->by_scope, SYNC_SUBSCRIBERS_MAX);
	map_init(&a->follow_map, SYNC_FOLLOWS_MAX);
	list_init(&a->dirty);
	list_init(&a->follows);
	a->task.run = on_flush;
}

void announcer_fini(struct announcer *a)
{
	REQUIRE(map_count(&a->by_scope) == 0 && map_count(&a->follow_map) == 0);
	runner_undefer(&a->task);
	map_fini(&a->by_scope);
	map_fini(&a->follow_map);
}

void announcer_stop(struct sync *s)
{
	list_for_each_safe(node, &s->announcer.follows)
		follow_end(list_entry(node, struct follow, node));
}

bool announcer_idle(const struct sync *s)
{
	return list_empty(&s->announcer.follows);
}
