#include "tests/sim/crowd.h"

#include "sync/serve.h"

static void stream_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct villain_stream *s = stream->data;
	struct wire_reply reply;
	struct arena a;

	wire_arena_init(&a, len);
	if (wire_reply_decode(msg, len, &a, &reply) == 0 && reply.kind == WIRE_REPLY_REFUSAL)
		s->villain->refused++;
	arena_fini(&a);
}

static void stream_drain(struct net_stream *stream)
{
	(void)stream;
}

static void stream_close(struct net_stream *stream, int status)
{
	struct villain_stream *s = stream->data;

	(void)status;
	s->open = false;
}

static const struct net_stream_events stream_events = { stream_message, stream_drain, stream_close,
							NULL };

static void send_request(struct villain_stream *s)
{
	struct wire_request r = { .kind = WIRE_FETCH, .scope = s->villain->scope };
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	assert_int_equal(wire_request_encode(&r, &out), 0);
	(void)net_stream_send(&s->stream, out.data, out.len);
	buf_fini(&out);
}

static void send_hashes(struct villain_stream *s)
{
	struct wire_more more = { .kind = WIRE_MORE_FETCH, .hash_count = s->villain->hash_count };
	struct buf out;

	memcpy(more.hashes, s->villain->hashes, more.hash_count * sizeof(more.hashes[0]));
	buf_init(&out, NET_MESSAGE_MAX);
	assert_int_equal(wire_more_encode(&more, &out), 0);
	(void)net_stream_send(&s->stream, out.data, out.len);
	buf_fini(&out);
}

static void send_follows(struct villain_stream *s)
{
	struct wire_request r = { .kind = WIRE_SUBSCRIBE,
				  .scope = s->villain->scope,
				  .many = true };
	struct scope scopes[WIRE_FOLLOW_MAX];
	struct wire_more more = { .kind = WIRE_MORE_FOLLOW, .scopes = scopes };
	struct buf out;
	char path[32];

	buf_init(&out, NET_MESSAGE_MAX);
	assert_int_equal(wire_request_encode(&r, &out), 0);
	(void)net_stream_send(&s->stream, out.data, out.len);
	for (unsigned i = 0; i < SERVE_SCOPES_PER_PEER_MAX / WIRE_FOLLOW_MAX; i++) {
		for (more.scope_count = 0; more.scope_count < WIRE_FOLLOW_MAX; more.scope_count++) {
			snprintf(path, sizeof(path), "/%u-%zu", i, more.scope_count);
			scopes[more.scope_count] =
				sync_world_scope(s->villain->world, path, SCOPE_EXACT);
		}
		buf_clear(&out);
		assert_int_equal(wire_more_encode(&more, &out), 0);
		(void)net_stream_send(&s->stream, out.data, out.len);
	}
	buf_fini(&out);
}

static void open_stream(struct villain *v, struct villain_stream *s, struct net_conn *c)
{
	s->villain = v;
	s->stream = (struct net_stream){ .events = &stream_events, .data = s };
	if (net_stream_open(&s->stream, c) < 0)
		return;
	s->open = true;
	v->tries++;
	if (v->kind == VILLAIN_FOLLOW)
		send_follows(s);
	else if (v->kind != VILLAIN_SILENT)
		send_request(s);
	if (v->kind != VILLAIN_UNREAD)
		return;
	send_hashes(s);
	net_stream_pause(&s->stream, true);
}

static void on_dialed(struct net_dial *d, int status)
{
	struct villain *v = d->data;

	(void)status;
	v->dialing = false;
}

static void dial(struct villain *v)
{
	struct runner *r = &v->world->loop.runner;
	struct op_env env = { .runner = r, .deadline_ms = runner_now_ms(r) + 60000 };

	v->dialing = true;
	net_dial_start(&v->dial, &env, v->net, &v->target->peer, &v->target->addr, 1, on_dialed);
	v->dial.data = v;
}

static void on_timer(struct runner_timer *timer)
{
	struct villain *v = container_of(timer, struct villain, timer);
	struct runner *r = &v->world->loop.runner;
	struct net_conn *c = net_find(v->net, &v->target->peer);

	if (v->closing)
		return;
	if (c == NULL && !v->dialing)
		dial(v);
	for (size_t i = 0; c != NULL && i < v->stream_count; i++) {
		if (!v->streams[i].open)
			open_stream(v, &v->streams[i], c);
		else if (v->kind == VILLAIN_DRIP)
			send_hashes(&v->streams[i]);
	}
	runner_timer_start(r, timer, runner_now_ms(r) + v->again_ms);
}

void villain_start(struct villain *v, struct sync_world *w, const struct host *target,
		   enum villainy kind, size_t number, size_t streams, bool own_network)
{
	uint8_t secret[64];
	struct public_key key;
	char ip[64];

	v->world = w;
	v->target = target;
	v->kind = kind;
	v->stream_count = streams;
	if (own_network)
		snprintf(ip, sizeof(ip), "10.%zu.%zu.7", 100 + (number >> 8), number & 255);
	else
		snprintf(ip, sizeof(ip), "10.0.%zu.%zu", 77 + number / 250, 1 + number % 250);
	sync_world_key(2, number, secret, &key);
	v->net = net_new(&(struct net_config){ .runner = &w->loop.runner,
					       .transport = simnet_host(w->simnet, ip),
					       .secret_key = secret,
					       .agent = "villain" });
	assert_non_null(v->net);
	if (v->again_ms == 0)
		v->again_ms = kind == VILLAIN_DRIP ? VILLAIN_DRIP_MS : VILLAIN_AGAIN_MS;
	v->timer.run = on_timer;
	runner_timer_start(&w->loop.runner, &v->timer, runner_now_ms(&w->loop.runner));
}

static void on_closed(void *data)
{
	((struct villain *)data)->closed = true;
}

void villain_stop(struct villain *v)
{
	v->closing = true;
	runner_timer_stop(&v->world->loop.runner, &v->timer);
	net_close(v->net, on_closed, v);
	while (!v->closed)
		sync_world_run_ms(v->world, 10);
	net_free(v->net);
}

unsigned villain_open_streams(const struct villain *v)
{
	unsigned n = 0;

	for (size_t i = 0; i < v->stream_count; i++)
		n += v->streams[i].open;
	return n;
}
