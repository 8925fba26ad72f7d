/* A crowd of hostile peers on one machine, for tests of a daemon's shares:
 *
 *	crowd_node <multiaddr with /p2p> <IRI of a file> <its version> <keys> <streams> idle|unread
 *
 * Each key has a connection of its own and keeps so many streams open on it: idle ones begin to
 * fetch and ask for nothing, unread ones ask for all of the file and take nothing. What is refused
 * or cut is tried again. Prints a JSON line when all have tried, and one when SIGTERM ends it. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "sync/wire.h"

enum { KEYS_MAX = 64, STREAMS_MAX = 16, AGAIN_MS = 200 };

struct stream {
	struct net_stream stream;
	struct member *member;
	bool open;
};

struct member {
	struct net *net;
	struct net_transport *transport;
	struct net_dial dial;
	bool dialing, tried;
	struct stream streams[STREAMS_MAX];
};

struct crowd {
	struct loop loop;
	struct multiaddr target;
	struct scope scope;
	struct member members[KEYS_MAX];
	size_t count, streams;
	bool unread, told, leaving;
	unsigned closed;
	struct runner_timer timer;
	uv_signal_t term;
	/* what to ask for: the commit, then its file, then all chunks */
	struct hash hashes[SYNC_FETCH_BATCH_MAX];
	size_t hash_count;
	bool scouted;
	uint64_t opened, refused, lost;
};
static struct crowd crowd;

static void send_more(struct stream *s)
{
	struct wire_more more = { .kind = WIRE_MORE_FETCH, .hash_count = crowd.hash_count };
	struct buf out;

	memcpy(more.hashes, crowd.hashes, crowd.hash_count * sizeof(more.hashes[0]));
	buf_init(&out, NET_MESSAGE_MAX);
	if (wire_more_encode(&more, &out) == 0)
		(void)net_stream_send(&s->stream, out.data, out.len);
	buf_fini(&out);
}

static void take_file(const struct wire_reply *reply)
{
	struct arena a;
	struct file file;

	arena_init(&a, 16 << 20);
	if (file_decode(reply->bytes.data, reply->bytes.len, &a, &file) == 0) {
		crowd.hash_count = MIN(file.chunk_count, (size_t)SYNC_FETCH_BATCH_MAX);
		for (size_t i = 0; i < crowd.hash_count; i++)
			crowd.hashes[i] = file.chunks[i].hash;
		crowd.scouted = true;
	}
	arena_fini(&a);
}

/* The scout learns what there is to ask for. */
static void take_blob(struct stream *s, const struct wire_reply *reply)
{
	struct commit *c = mem_alloc(sizeof(*c));

	if (crowd.scouted || reply->missing || c == NULL) {
		mem_free(c);
		return;
	}
	if (commit_decode(reply->bytes.data, reply->bytes.len, c) == 0) {
		crowd.hashes[0] = c->root;
		send_more(s);
	} else {
		take_file(reply);
	}
	mem_free(c);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct wire_reply reply;
	struct arena a;

	wire_arena_init(&a, len);
	if (wire_reply_decode(msg, len, &a, &reply) == 0) {
		crowd.refused += reply.kind == WIRE_REPLY_REFUSAL;
		if (reply.kind == WIRE_REPLY_BLOB)
			take_blob(stream->data, &reply);
	}
	arena_fini(&a);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	((struct stream *)stream->data)->open = false;
	crowd.lost += status < 0;
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static void open_stream(struct member *m, struct stream *s, struct net_conn *c)
{
	struct wire_request request = { .kind = WIRE_FETCH, .scope = crowd.scope };
	struct buf out;

	s->member = m;
	s->stream = (struct net_stream){ .events = &events, .data = s };
	if (net_stream_open(&s->stream, c) < 0)
		return;
	s->open = true;
	crowd.opened++;
	buf_init(&out, NET_MESSAGE_MAX);
	if (wire_request_encode(&request, &out) == 0)
		(void)net_stream_send(&s->stream, out.data, out.len);
	buf_fini(&out);
	if (!crowd.unread)
		return;
	send_more(s);
	if (crowd.scouted)
		net_stream_pause(&s->stream, true);
}

static void on_dialed(struct net_dial *d, int status)
{
	struct member *m = d->data;

	(void)status;
	m->dialing = false;
}

static void work(struct member *m, size_t streams)
{
	struct net_conn *c = net_find(m->net, &crowd.target.peer);
	struct runner *r = &crowd.loop.runner;
	struct op_env env = { .runner = r, .deadline_ms = runner_now_ms(r) + 10000 };

	if (c == NULL && !m->dialing) {
		m->dialing = true;
		net_dial_start(&m->dial, &env, m->net, &crowd.target.peer, &crowd.target, 1,
			       on_dialed);
		m->dial.data = m;
	}
	for (size_t i = 0; c != NULL && i < streams; i++) {
		m->tried = true;
		if (!m->streams[i].open)
			open_stream(m, &m->streams[i], c);
	}
}

static bool all_tried(void)
{
	for (size_t i = 0; i < crowd.count; i++)
		if (!crowd.members[i].tried)
			return false;
	return true;
}

static void on_timer(struct runner_timer *timer)
{
	struct runner *r = &crowd.loop.runner;

	if (crowd.unread && !crowd.scouted)
		work(&crowd.members[0], 1);
	for (size_t i = 0; (!crowd.unread || crowd.scouted) && i < crowd.count; i++)
		work(&crowd.members[i], crowd.streams);
	if (!crowd.told && all_tried()) {
		crowd.told = true;
		printf("{\"ready\": true, \"opened\": %" PRIu64 "}\n", crowd.opened);
	}
	runner_timer_start(r, timer, runner_now_ms(r) + AGAIN_MS);
}

static void on_net_closed(void *data)
{
	if (++crowd.closed < crowd.count)
		return;
	printf("{\"closed\": true, \"opened\": %" PRIu64 ", \"refused\": %" PRIu64
	       ", \"lost\": %" PRIu64 "}\n",
	       crowd.opened, crowd.refused, crowd.lost);
	loop_stop(&crowd.loop);
}

static void on_term(uv_signal_t *handle, int signum)
{
	runner_timer_stop(&crowd.loop.runner, &crowd.timer);
	for (size_t i = 0; !crowd.leaving && i < crowd.count; i++)
		net_close(crowd.members[i].net, on_net_closed, NULL);
	crowd.leaving = true;
}

static bool join(struct member *m)
{
	uint8_t secret[64], public[32];

	crypto_sign_keypair(public, secret);
	m->transport = net_tcp_new(&crowd.loop);
	m->net = net_new(&(struct net_config){ .runner = &crowd.loop.runner,
					       .transport = m->transport,
					       .secret_key = secret,
					       .agent = "crowd" });
	return m->net != NULL;
}

static bool parse(char **argv)
{
	struct iri iri;

	if (multiaddr_parse(argv[1], strlen(argv[1]), &crowd.target) < 0 ||
	    iri_parse(argv[2], strlen(argv[2]), &iri, NULL, 0) < 0 ||
	    cid_parse(argv[3], strlen(argv[3]), &crowd.hashes[0]) < 0 ||
	    scope_make(&iri.space, iri.path, iri.path_len, SCOPE_EXACT, &crowd.scope) < 0)
		return false;
	crowd.hash_count = 1;
	crowd.count = MIN(strtoul(argv[4], NULL, 10), (unsigned long)KEYS_MAX);
	crowd.streams = MIN(strtoul(argv[5], NULL, 10), (unsigned long)STREAMS_MAX);
	crowd.unread = strcmp(argv[6], "unread") == 0;
	return crowd.count > 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 7 || base_init() < 0 || loop_init(&crowd.loop) < 0 || !parse(argv))
		return 2;
	for (size_t i = 0; i < crowd.count; i++)
		if (!join(&crowd.members[i]))
			return 2;
	uv_signal_init(&crowd.loop.uv, &crowd.term);
	uv_signal_start(&crowd.term, on_term, SIGTERM);
	crowd.timer.run = on_timer;
	on_timer(&crowd.timer);
	(void)loop_run(&crowd.loop);
	return 0; /* what is left goes with the process */
}
