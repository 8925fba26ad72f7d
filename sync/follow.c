/* Following: peers tell us of new commits of scopes that we keep in sync.
 *
 *   channel   a stream on which a peer tells us of one scope or, if it can, of many
 *   follow    a scope on a channel
 *
 * The first follow of a peer opens a channel and asks whether more scopes may come on it. Follows
 * that come meanwhile wait for the answer; a peer that knows streams of one scope alone then gets a
 * stream for each.
 *
 * What can go wrong: news of scopes that were just dropped (ignored), more scopes than the peer
 * takes (it says which; they are looked after in intervals, and asked for again after the next
 * session), an announcement that says nothing new (the store is asked first). */
#include <string.h>

#include "base/mem.h"
#include "sync/internal.h"

enum {
	FOLLOWS_PER_PEER_MAX = 2048,
	CHANNELS_PER_PEER_MAX = 32, /* of the NET_STREAMS_MAX streams of a conn */
	FOLLOW_LOOK_UP_MS = 30000
};

enum channel_kind { CHANNEL_ASKED, CHANNEL_ONE, CHANNEL_MANY };

struct channel {
	struct sync *sync;
	struct list node;
	struct public_key peer;
	struct net_stream stream;
	enum channel_kind kind;
	bool open, ending;
	struct list follows;
	struct list untold; /* follows that the peer does not know of yet */
	struct hash first;  /* the scope that the stream was opened for */
	bool first_dropped; /* while asked */
	struct runner_task task;
};

struct follow_key {
	struct public_key peer;
	struct hash scope;
};

/* What was announced, while the store is asked whether it is new. */
struct news {
	struct store_has has;
	struct hash heard[WIRE_ANNOUNCE_MAX], looking[WIRE_ANNOUNCE_MAX];
	size_t heard_count, looking_count;
	bool something; /* announced without saying what, or more than fits */
};

struct follow {
	struct channel *channel;
	struct list node, untold;
	struct follow_key key;
	struct scope scope;
	bool ended;
	struct news *news; /* NULL: nothing is being looked up */
};

/* ---- Ends ---- */

static void channel_settle(struct channel *c)
{
	struct sync *s = c->sync;
	struct sync_peer *p;

	if (!list_empty(&c->follows))
		return;
	if (c->open) {
		if (!c->ending)
			net_stream_reset(&c->stream, UV_ECANCELED);
		c->ending = true;
		return;
	}
	p = sync_peer_get(s, &c->peer);
	if (p != NULL && p->channels > 0)
		p->channels--;
	runner_undefer(&c->task);
	list_remove(&c->node);
	mem_free(c);
	sync_check_closed(s);
}

static void forget(struct follow *f)
{
	struct announcer *a = &f->channel->sync->announcer;

	if (map_get(&a->follow_map, &f->key, sizeof(f->key)) == f)
		(void)map_del(&a->follow_map, &f->key, sizeof(f->key));
}

/* The channel is settled by who called. */
static void follow_free(struct follow *f)
{
	struct sync *s = f->channel->sync;
	struct sync_peer *p = sync_peer_get(s, &f->key.peer);

	if (p != NULL && p->following > 0)
		p->following--;
	forget(f);
	list_remove(&f->node);
	list_remove(&f->untold);
	s->stats.follows--;
	mem_free(f);
}

/* Out of the map at once, so that the scope can be followed anew; the struct goes when the store
 * has answered. */
static void follow_end(struct follow *f)
{
	f->ended = true;
	forget(f);
	list_remove(&f->untold);
	if (f->news != NULL)
		op_cancel(&f->news->has.op);
	else
		follow_free(f);
}

/* Nothing more can be followed on it. */
static void channel_leave_map(struct channel *c)
{
	struct map *m = &c->sync->announcer.channel_map;

	if (map_get(m, c->peer.bytes, KEY_SIZE) == c)
		(void)map_del(m, c->peer.bytes, KEY_SIZE);
}

static void channel_end(struct channel *c)
{
	channel_leave_map(c);
	list_for_each_safe(node, &c->follows)
		follow_end(list_entry(node, struct follow, node));
	if (c->open && !c->ending) {
		c->ending = true;
		net_stream_reset(&c->stream, UV_ECANCELED);
	}
	channel_settle(c);
}

/* ---- News ---- */

static void look_up(struct follow *f);

static void tell(struct follow *f)
{
	struct sync *s = f->channel->sync;
	const struct sync_listener *l = s->config.listener;

	if (!f->ended && !s->closing && l != NULL && l->on_announced != NULL)
		l->on_announced(s->config.listener_data, &f->key.peer, &f->scope);
}

static void on_looked_up(struct store_has *h, int status)
{
	struct follow *f = h->data;
	struct channel *c = f->channel;
	struct news *n = f->news;
	bool is_new = n->something || status < 0;

	for (size_t i = 0; i < n->looking_count && !is_new; i++)
		is_new = !h->present[i];
	store_has_fini(h);
	n->something = false;
	if (is_new)
		tell(f); /* may end it */
	if (!f->ended && n->heard_count > 0) {
		look_up(f);
		return;
	}
	f->news = mem_free(n);
	if (f->ended) {
		follow_free(f);
		channel_settle(c);
	}
}

static void look_up(struct follow *f)
{
	struct sync *s = f->channel->sync;
	struct op_env env = sync_env(s, FOLLOW_LOOK_UP_MS);
	struct news *n = f->news;

	memcpy(n->looking, n->heard, n->heard_count * sizeof(n->heard[0]));
	n->looking_count = n->heard_count;
	n->heard_count = 0;
	n->has.data = f;
	store_has_start(&n->has, &env, s->config.store, n->looking, n->looking_count, true,
			on_looked_up);
}

static void hear(struct follow *f, const struct wire_reply *reply)
{
	bool idle = f->news == NULL;
	struct news *n = idle ? mem_alloc(sizeof(*n)) : f->news;

	f->channel->sync->stats.announced_in += reply->commit_count;
	if (n == NULL) {
		tell(f); /* a look too many does less harm than one too few */
		return;
	}
	f->news = n;
	n->something = n->something || reply->commit_count == 0;
	for (size_t i = 0; i < reply->commit_count; i++) {
		if (n->heard_count == WIRE_ANNOUNCE_MAX) {
			n->something = true;
			break;
		}
		n->heard[n->heard_count++] = reply->commits[i].hash;
	}
	if (idle)
		look_up(f);
}

/* ---- What the peer says ---- */

static struct follow *follow_of(struct channel *c, const struct hash *scope)
{
	struct follow_key key = { .peer = c->peer, .scope = *scope };
	struct follow *f = map_get(&c->sync->announcer.follow_map, &key, sizeof(key));

	return f != NULL && f->channel == c ? f : NULL;
}

static int take_announce(struct channel *c, const struct wire_reply *reply)
{
	struct follow *f;

	if (c->kind == CHANNEL_ASKED || reply->keyed != (c->kind == CHANNEL_MANY))
		return ERR_PROTOCOL;
	f = follow_of(c, reply->keyed ? &reply->hash : &c->first);
	if (f != NULL)
		hear(f, reply);
	return 0;
}

static int send_follow(struct channel *c, const struct wire_more *more)
{
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_more_encode(more, &msg);
	return err == 0 ? net_stream_send(&c->stream, msg.data, msg.len) : err;
}

/* Whatever waits to be told, so many scopes in each message. */
static void on_task(struct runner_task *task)
{
	struct channel *c = container_of(task, struct channel, task);
	struct wire_more more = { .kind = WIRE_MORE_FOLLOW };
	struct scope *scopes = mem_alloc_array(WIRE_FOLLOW_MAX, sizeof(*scopes));
	int err = scopes == NULL ? UV_ENOMEM : 0;
	struct list *node;

	more.scopes = scopes;
	while (err == 0 && !c->ending && !list_empty(&c->untold)) {
		more.scope_count = 0;
		while (more.scope_count < WIRE_FOLLOW_MAX &&
		       (node = list_pop_front(&c->untold)) != NULL)
			scopes[more.scope_count++] = list_entry(node, struct follow, untold)->scope;
		err = send_follow(c, &more);
	}
	mem_free(scopes);
	if (err < 0)
		channel_end(c);
}

static void drop_first(struct channel *c)
{
	struct wire_more more = { .kind = WIRE_MORE_FOLLOW,
				  .hashes = { c->first },
				  .hash_count = 1 };

	if (c->first_dropped && follow_of(c, &c->first) == NULL)
		(void)send_follow(c, &more);
}

/* The peer does not know streams of many scopes. */
static void split(struct channel *c)
{
	struct list *node;

	c->kind = CHANNEL_ONE;
	while ((node = list_pop_front(&c->untold)) != NULL) {
		struct follow *f = list_entry(node, struct follow, untold);
		struct public_key peer = c->peer;
		struct scope scope = f->scope;

		follow_end(f);
		sync_follow(c->sync, &peer, &scope);
	}
	if (c->first_dropped && follow_of(c, &c->first) == NULL)
		channel_end(c);
}

static int take_subscribed(struct channel *c, const struct wire_reply *reply)
{
	if (c->kind == CHANNEL_ASKED && !reply->many) {
		split(c);
		return 0;
	}
	if (c->kind == CHANNEL_ASKED) {
		c->kind = CHANNEL_MANY;
		drop_first(c);
		runner_defer(c->sync->config.runner, &c->task);
	}
	for (size_t i = 0; i < reply->refused_count; i++) {
		struct follow *f = follow_of(c, &reply->refused[i]);

		c->sync->stats.follows_refused++;
		if (f != NULL)
			follow_end(f);
	}
	channel_settle(c);
	return 0;
}

static int take_reply(struct channel *c, const struct wire_reply *reply)
{
	if (reply->kind == WIRE_REPLY_SUBSCRIBED)
		return take_subscribed(c, reply);
	if (reply->kind == WIRE_REPLY_ANNOUNCE)
		return take_announce(c, reply);
	return reply->kind == WIRE_REPLY_REFUSAL ? ERR_REFUSED : ERR_PROTOCOL;
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct channel *c = stream->data;
	struct wire_reply reply;
	struct arena arena;
	int err;

	if (c->ending)
		return;
	wire_arena_init(&arena, len);
	err = wire_reply_decode(msg, len, &arena, &reply);
	if (err == 0)
		err = take_reply(c, &reply); /* on_close comes later: the channel is still there */
	arena_fini(&arena);
	if (err == ERR_PROTOCOL || err == ERR_MALFORMED || err == ERR_LIMIT)
		sync_peer_charge(c->sync, &c->peer);
	if (err < 0 && !c->ending) {
		c->ending = true;
		net_stream_reset(stream, err == ERR_REFUSED ? UV_ECANCELED : ERR_PROTOCOL);
	}
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	struct channel *c = stream->data;

	(void)status;
	c->open = false;
	c->ending = true;
	channel_end(c);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

/* ---- Follow ---- */

static void send_subscribe(struct channel *c, const struct scope *scope)
{
	struct wire_request request = { .kind = WIRE_SUBSCRIBE,
					.scope = *scope,
					.many = c->kind == CHANNEL_ASKED };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_request_encode(&request, &msg);
	if (err == 0)
		err = net_stream_send(&c->stream, msg.data, msg.len);
	if (err < 0 && !c->ending) {
		c->ending = true;
		net_stream_reset(&c->stream, UV_ECANCELED);
	}
}

/* NULL when there is no room, memory or conn. `asked`: for many scopes, if the peer can. */
static struct channel *channel_open(struct sync *s, const struct public_key *peer, bool asked)
{
	struct net_conn *conn = net_find(s->config.net, peer);
	struct sync_peer *p = sync_peer_get(s, peer);
	struct channel *c = NULL;

	if (conn != NULL && p != NULL && p->channels < CHANNELS_PER_PEER_MAX)
		c = mem_alloc(sizeof(*c));
	if (c == NULL)
		return NULL;
	*c = (struct channel){ .sync = s, .peer = *peer, .task = { .run = on_task } };
	c->kind = asked ? CHANNEL_ASKED : CHANNEL_ONE;
	c->stream = (struct net_stream){ .events = &events, .data = c };
	list_init(&c->follows);
	list_init(&c->untold);
	if (asked && map_put(&s->announcer.channel_map, peer->bytes, KEY_SIZE, c) < 0)
		return mem_free(c);
	if (net_stream_open(&c->stream, conn) < 0) {
		channel_leave_map(c);
		return mem_free(c);
	}
	c->open = true;
	p->channels++;
	list_push_back(&s->announcer.channels, &c->node);
	return c;
}

static struct follow *follow_add(struct channel *c, const struct scope *scope)
{
	struct sync *s = c->sync;
	struct sync_peer *p = sync_peer_get(s, &c->peer);
	struct follow *f = NULL;

	if (p != NULL && p->following < FOLLOWS_PER_PEER_MAX)
		f = mem_alloc(sizeof(*f));
	if (f == NULL)
		return NULL;
	*f = (struct follow){ .channel = c, .scope = *scope };
	f->key = (struct follow_key){ .peer = c->peer, .scope = scope_key(scope) };
	list_init(&f->untold);
	if (map_put(&s->announcer.follow_map, &f->key, sizeof(f->key), f) < 0)
		return mem_free(f);
	list_push_back(&c->follows, &f->node);
	p->following++;
	s->stats.follows++;
	return f;
}

static void follow_on_new(struct sync *s, const struct public_key *peer, const struct scope *scope,
			  bool asked)
{
	struct channel *c = channel_open(s, peer, asked);

	if (c == NULL)
		return;
	c->first = scope_key(scope);
	if (follow_add(c, scope) != NULL)
		send_subscribe(c, scope);
	else
		channel_end(c);
}

void sync_follow(struct sync *s, const struct public_key *peer, const struct scope *scope)
{
	struct follow_key key = { .peer = *peer, .scope = scope_key(scope) };
	struct channel *c = map_get(&s->announcer.channel_map, peer->bytes, KEY_SIZE);
	struct follow *f;

	if (s->closing || net_find(s->config.net, peer) == NULL ||
	    map_get(&s->announcer.follow_map, &key, sizeof(key)) != NULL)
		return;
	if (c == NULL || c->ending || c->kind == CHANNEL_ONE) {
		if (c != NULL && c->ending)
			channel_leave_map(c);
		follow_on_new(s, peer, scope, c == NULL || c->ending);
		return;
	}
	f = follow_add(c, scope);
	if (f == NULL || (c->kind == CHANNEL_ASKED && hash_eq(&f->key.scope, &c->first)))
		return; /* asked with the stream already */
	list_push_back(&c->untold, &f->untold);
	if (c->kind == CHANNEL_MANY)
		runner_defer(s->config.runner, &c->task);
}

static void unfollow(struct follow *f)
{
	struct wire_more more = { .kind = WIRE_MORE_FOLLOW,
				  .hashes = { f->key.scope },
				  .hash_count = 1 };
	struct channel *c = f->channel;
	bool told = !list_linked(&f->untold);
	int err = 0;

	follow_end(f);
	if (c->kind == CHANNEL_ONE || list_empty(&c->follows))
		channel_end(c);
	else if (c->kind == CHANNEL_ASKED)
		c->first_dropped = c->first_dropped || told;
	else if (told && !c->ending)
		err = send_follow(c, &more);
	if (err < 0)
		channel_end(c);
}

void sync_unfollow(struct sync *s, const struct scope *scope)
{
	struct hash key = scope_key(scope);

	list_for_each_safe(node, &s->announcer.channels) {
		struct follow *f = follow_of(list_entry(node, struct channel, node), &key);

		if (f != NULL)
			unfollow(f);
	}
}

/* ---- All of them ---- */

void follows_init(struct announcer *a)
{
	map_init(&a->follow_map, SYNC_FOLLOWS_MAX);
	map_init(&a->channel_map, SYNC_PEER_TABLE_MAX);
	list_init(&a->channels);
}

void follows_fini(struct announcer *a)
{
	REQUIRE(list_empty(&a->channels) && map_count(&a->follow_map) == 0);
	map_fini(&a->follow_map);
	map_fini(&a->channel_map);
}

void announcer_stop(struct sync *s)
{
	list_for_each_safe(node, &s->announcer.channels)
		channel_end(list_entry(node, struct channel, node));
}

bool announcer_idle(const struct sync *s)
{
	return list_empty(&s->announcer.channels);
}
