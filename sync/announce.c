/* Announcements: subscribers hear of new commits of their scopes. (What we follow: follow.c.)
 *
 * A commit concerns the scopes exact and children of its own path, children of its parent path, and
 * recursive of every prefix: a handful of map look-ups, however many subscribers there are. What
 * happens within one turn of the loop becomes one message per subscriber and scope. An announcement
 * only says "look here": what did not fit is dropped and counted, since the subscriber reconciles
 * the scope anyway.
 *
 * What can go wrong: a subscriber that does not read (its stream's queue stays high: it gets one
 * message later, not many), a burst (the list is bounded), a commit relayed in a circle (it is
 * announced only when it is new here, and never back to where it came from). */
#include <string.h>

#include "base/mem.h"
#include "sync/internal.h"

enum {
	PENDING_PER_STREAM_MAX = 1024,
	PENDING_ALL_MAX = 65536, /* of all streams together */
	PENDING_MIN = 4,
	QUEUE_HIGH = 64 << 10 /* bytes on a stream above which its news wait */
};

/* The subscribers of one scope. */
struct audience {
	struct hash key;
	struct list subscribers;
};

/* A scope that is heard on a stream. */
struct subscriber {
	struct hearer *hearer;
	struct audience *audience;
	struct list node;	     /* of the audience */
	struct list own;	     /* of the hearer */
	struct list dirty;	     /* of the announcer */
	struct wire_commit *pending; /* paths are mem_alloc'd */
	size_t pending_count, pending_cap;
	bool lost; /* more happened than was kept */
};

/* ---- Telling ---- */

static void forget_pending(struct sync *s, struct subscriber *sub)
{
	for (size_t i = 0; i < sub->pending_count; i++)
		mem_free((void *)(uintptr_t)sub->pending[i].path);
	sub->hearer->pending_count -= sub->pending_count;
	s->announcer.pending_count -= sub->pending_count;
	sub->pending = mem_free(sub->pending);
	sub->pending_count = sub->pending_cap = 0;
	sub->lost = false;
}

static void flush_one(struct sync *s, struct subscriber *sub)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_ANNOUNCE, .commits = sub->pending };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	if (net_stream_queued(sub->hearer->stream) > QUEUE_HIGH)
		return; /* announce_drained comes back to it */
	reply.commit_count = sub->pending_count;
	reply.keyed = sub->hearer->many;
	reply.hash = sub->audience->key;
	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_reply_encode(&reply, &msg);
	if (err == 0)
		err = net_stream_send(sub->hearer->stream, msg.data, msg.len);
	if (err == 0)
		s->stats.announced_out += sub->pending_count;
	else
		s->stats.announce_dropped += sub->pending_count;
	forget_pending(s, sub);
}

static void on_flush(struct runner_task *task)
{
	struct announcer *a = container_of(task, struct announcer, task);
	struct sync *s = container_of(a, struct sync, announcer);
	const struct clock *clock = s->config.runner->clock;
	uint64_t until_ns = clock_now_ns(clock) + RUNNER_SLICE_NS / 2;
	struct list *node;

	while ((node = list_pop_front(&a->dirty)) != NULL) {
		flush_one(s, list_entry(node, struct subscriber, dirty));
		if (clock_now_ns(clock) < until_ns)
			continue;
		runner_defer(s->config.runner, &a->task);
		break;
	}
}

static bool keep_pending(struct sync *s, struct subscriber *sub, const struct store_new_commit *c)
{
	struct wire_commit *more;
	size_t cap;
	char *path;

	if (sub->pending_count == WIRE_ANNOUNCE_MAX ||
	    s->announcer.pending_count == PENDING_ALL_MAX ||
	    sub->hearer->pending_count == PENDING_PER_STREAM_MAX)
		return false;
	if (sub->pending_count == sub->pending_cap) {
		cap = MAX(sub->pending_cap * 2, (size_t)PENDING_MIN);
		more = mem_realloc(sub->pending, cap * sizeof(*more));
		if (more == NULL)
			return false;
		sub->pending = more;
		sub->pending_cap = cap;
	}
	path = mem_strdup(c->path);
	if (path == NULL)
		return false;
	sub->pending[sub->pending_count++] =
		(struct wire_commit){ c->hash, c->time_s, path, strlen(path) };
	sub->hearer->pending_count++;
	s->announcer.pending_count++;
	return true;
}

static void make_dirty(struct sync *s, struct subscriber *sub)
{
	if (!list_linked(&sub->dirty))
		list_push_back(&s->announcer.dirty, &sub->dirty);
	runner_defer(s->config.runner, &s->announcer.task);
}

static void add_pending(struct sync *s, struct subscriber *sub, const struct store_new_commit *c)
{
	if (!keep_pending(s, sub, c)) {
		sub->lost = sub->hearer->lost = true;
		s->stats.announce_dropped++;
	}
	make_dirty(s, sub);
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

		if (except == NULL || !key_eq(&sub->hearer->peer, except))
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

void announce_drained(struct sync *s, struct hearer *h)
{
	if (h->pending_count == 0 && !h->lost)
		return;
	h->lost = false;
	list_for_each(node, &h->subscribers) {
		struct subscriber *sub = list_entry(node, struct subscriber, own);

		if (sub->pending_count > 0 || sub->lost)
			make_dirty(s, sub);
	}
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

static struct subscriber *find(const struct audience *a, const struct hearer *h)
{
	list_for_each(node, &a->subscribers) {
		struct subscriber *sub = list_entry(node, struct subscriber, node);

		if (sub->hearer == h)
			return sub;
	}
	return NULL;
}

static void end_if_empty(struct announcer *announcer, struct audience *a)
{
	if (!list_empty(&a->subscribers))
		return;
	(void)map_del(&announcer->by_scope, a->key.bytes, HASH_SIZE);
	mem_free(a);
}

int announce_subscribe(struct sync *s, struct hearer *h, const struct scope *scope)
{
	struct hash key = scope_key(scope);
	struct audience *a;
	struct subscriber *sub;

	if (s->stats.subscribers >= SYNC_SUBSCRIBERS_MAX)
		return ERR_LIMIT;
	a = audience_get(&s->announcer, &key);
	if (a == NULL)
		return UV_ENOMEM;
	if (find(a, h) != NULL)
		return UV_EALREADY;
	sub = mem_alloc(sizeof(*sub));
	if (sub == NULL) {
		end_if_empty(&s->announcer, a);
		return UV_ENOMEM;
	}
	*sub = (struct subscriber){ .hearer = h, .audience = a };
	list_init(&sub->dirty);
	list_push_back(&a->subscribers, &sub->node);
	list_push_back(&h->subscribers, &sub->own);
	h->scopes++;
	s->stats.subscribers++;
	return 0;
}

static void subscriber_free(struct sync *s, struct subscriber *sub)
{
	list_remove(&sub->node);
	list_remove(&sub->own);
	sub->hearer->scopes--;
	list_remove(&sub->dirty);
	forget_pending(s, sub);
	s->stats.subscribers--;
	end_if_empty(&s->announcer, sub->audience);
	mem_free(sub);
}

bool announce_unsubscribe(struct sync *s, struct hearer *h, const struct hash *key)
{
	struct audience *a = map_get(&s->announcer.by_scope, key->bytes, HASH_SIZE);
	struct subscriber *sub = a != NULL ? find(a, h) : NULL;

	if (sub != NULL)
		subscriber_free(s, sub);
	return sub != NULL;
}

void announce_init(struct hearer *h, const struct public_key *peer, struct net_stream *stream,
		   bool many)
{
	*h = (struct hearer){ .peer = *peer, .stream = stream, .many = many };
	list_init(&h->subscribers);
}

size_t announce_leave(struct sync *s, struct hearer *h)
{
	size_t count = 0;

	while (!list_empty(&h->subscribers)) {
		subscriber_free(s, list_entry(h->subscribers.next, struct subscriber, own));
		count++;
	}
	return count;
}

void sync_published(struct sync *s, const struct store_new_commit *commits, size_t count)
{
	const struct sync_listener *l = s->config.listener;

	wave_news(s, commits, count);
	announce_commits(s, commits, count, NULL);
	if (l != NULL && l->on_commits != NULL)
		l->on_commits(s->config.listener_data, commits, count, NULL);
}

/* ---- The announcer ---- */

void announcer_init(struct announcer *a)
{
	map_init(&a->by_scope, SYNC_SUBSCRIBERS_MAX);
	list_init(&a->dirty);
	follows_init(a);
	a->task.run = on_flush;
}

void announcer_fini(struct announcer *a)
{
	REQUIRE(map_count(&a->by_scope) == 0);
	runner_undefer(&a->task);
	map_fini(&a->by_scope);
	follows_fini(a);
}
