/* A hostile peer on a real port, for tests with real daemons:
 *
 *	hostile_peer <seed byte> <what it does> [how many inventions]
 *
 * Prints its address as a multiaddr, then serves until it is ended. Whatever scope it is asked for, it
 * lists invented commits, and then, by what it does:
 *
 *   garbage   sends bytes that are no commit, as large as a commit may be (behind a slow proxy: a drip)
 *   silent    does not answer when asked for blobs
 *   missing   says that it has none of them
 *   mute      does not even answer a reconciliation
 *   endless   answers each round with a difference that is none
 *   unasked   sends blobs that nobody asked for */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/mem.h"
#include "sync/reconcile.h"
#include "sync/wire.h"

enum { INVENTIONS_MAX = 10000, GARBAGE_BYTES = OBJECT_COMMIT_MAX - 100 };

struct peer {
	struct loop loop;
	struct net_transport *transport;
	struct net *net;
	const char *does;
	struct reconcile_item *items;
	struct reconcile_set set;
	unsigned rounds;
};

struct talk {
	struct net_stream stream;
	struct peer *peer;
	struct reconcile reconcile;
	bool begun;
};

static bool does(const struct talk *t, const char *what)
{
	return strcmp(t->peer->does, what) == 0;
}

static void reply_with(struct talk *t, const struct wire_reply *reply)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	if (wire_reply_encode(reply, &out) == 0)
		(void)net_stream_send(&t->stream, out.data, out.len);
	buf_fini(&out);
}

static void answer_round(struct talk *t, const struct wire_bytes *message)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_RECONCILE };
	uint8_t differs[20] = { RECONCILE_VERSION, 0, 0, 1, (uint8_t)t->peer->rounds++ };
	struct buf out;

	if (does(t, "mute"))
		return;
	buf_init(&out, NET_MESSAGE_MAX);
	if (does(t, "endless"))
		buf_write(&out, differs, sizeof(differs));
	else
		(void)reconcile_respond(&t->reconcile, message->data, message->len, &out);
	reply.bytes = (struct wire_bytes){ out.data, out.len };
	reply_with(t, &reply);
	buf_fini(&out);
}

static void answer_blob(struct talk *t, const struct hash *h)
{
	static const uint8_t garbage[GARBAGE_BYTES];
	struct wire_reply reply = { .kind = WIRE_REPLY_BLOB, .hash = *h };

	if (does(t, "silent"))
		return;
	reply.missing = does(t, "missing");
	if (does(t, "unasked"))
		reply.hash = hash_of(h, sizeof(*h));
	if (!reply.missing)
		reply.bytes = (struct wire_bytes){ garbage, sizeof(garbage) };
	reply_with(t, &reply);
}

static void take_more(struct talk *t, const struct wire_more *more)
{
	if (more->kind == WIRE_MORE_RECONCILE)
		answer_round(t, &more->reconcile);
	for (size_t i = 0; more->kind == WIRE_MORE_FETCH && i < more->hash_count; i++)
		answer_blob(t, &more->hashes[i]);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct talk *t = stream->data;
	struct wire_request request;
	struct wire_more more;
	struct arena arena;

	wire_arena_init(&arena, len);
	if (t->begun && wire_more_decode(msg, len, &arena, &more) == 0)
		take_more(t, &more);
	if (!t->begun && wire_request_decode(msg, len, &arena, &request) == 0) {
		t->begun = true;
		(void)reconcile_init(&t->reconcile, &t->peer->set, WIRE_RECONCILE_MAX,
				     RECONCILE_REFERENCE);
		if (request.kind == WIRE_RECONCILE)
			answer_round(t, &request.bytes);
	}
	arena_fini(&arena);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	(void)status;
	mem_free(stream->data);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static struct net_stream *on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	struct talk *t = mem_alloc(sizeof(*t));

	(void)c;
	*ret_refusal = ERR_BUSY;
	if (t == NULL)
		return NULL;
	t->peer = data;
	t->stream = (struct net_stream){ .events = &events, .data = t };
	return &t->stream;
}

static void on_up(void *data, struct net_conn *c)
{
	(void)data;
	(void)c;
}

static void on_down(void *data, struct net_conn *c, int status)
{
	(void)data;
	(void)c;
	(void)status;
}

static const struct net_service service = { .on_stream = on_stream,
					    .on_conn_up = on_up,
					    .on_conn_down = on_down };

static int invent(struct peer *p, size_t count)
{
	p->items = mem_alloc_array(count, sizeof(*p->items));
	if (p->items == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < count; i++) {
		p->items[i].time = 1700000000 + i;
		p->items[i].id = hash_of(&p->items[i].time, sizeof(p->items[i].time));
	}
	return reconcile_set_init(&p->set, p->items, count);
}

static int listen_and_tell(struct peer *p, uint8_t tag)
{
	struct multiaddr any = { .family = 4, .ip = { 127, 0, 0, 1 } }, bound;
	uint8_t seed[crypto_sign_SEEDBYTES] = { tag, 66 }, secret[64];
	char text[MULTIADDR_TEXT_SIZE];
	struct public_key key;
	int err;

	crypto_sign_seed_keypair(key.bytes, secret, seed);
	p->transport = net_tcp_new(&p->loop);
	if (p->transport == NULL)
		return UV_ENOMEM;
	p->net = net_new(&(struct net_config){ .runner = &p->loop.runner,
					       .transport = p->transport,
					       .secret_key = secret,
					       .agent = "hostile",
					       .service = &service,
					       .service_data = p });
	if (p->net == NULL)
		return UV_ENOMEM;
	err = net_listen(p->net, &any);
	if (err < 0)
		return err;
	if (net_addrs(p->net, &bound, 1) != 1)
		return ERR_NOT_FOUND;
	multiaddr_format(&bound, text);
	printf("%s\n", text);
	return 0;
}

int main(int argc, char **argv)
{
	static struct peer p;
	size_t count = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 20;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || count > INVENTIONS_MAX || base_init() < 0 || loop_init(&p.loop) < 0)
		return 2;
	p.does = argv[2];
	if (invent(&p, count) < 0 || listen_and_tell(&p, (uint8_t)strtol(argv[1], NULL, 10)) < 0)
		return 1;
	(void)loop_run(&p.loop);
	return 0;
}
