#include "tests/sim/sync_liar.h"

#include "sync/wire.h"

struct lying_stream {
	struct net_stream stream;
	struct liar *liar;
	struct reconcile reconcile;
	bool begun, is_fetch;
};

static void send_reply(struct lying_stream *s, const struct wire_reply *reply)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	assert_int_equal(wire_reply_encode(reply, &out), 0);
	(void)net_stream_send(&s->stream, out.data, out.len);
	buf_fini(&out);
}

static void send_round(struct lying_stream *s, const void *msg, size_t len)
{
	send_reply(s, &(struct wire_reply){ .kind = WIRE_REPLY_RECONCILE, .bytes = { msg, len } });
}

/* Version, bound at infinity, fingerprint that matches nothing: differs for ever. */
static void send_mismatch(struct lying_stream *s)
{
	uint8_t msg[20] = { RECONCILE_VERSION, 0, 0, 1, (uint8_t)s->liar->rounds };

	send_round(s, msg, sizeof(msg));
}

/* Below this time there is one id, which nobody has; above it, something differs. */
static void send_teaching(struct lying_stream *s)
{
	uint64_t number = 1000000 + s->liar->rounds;
	struct hash id = hash_of(&number, sizeof(number));
	uint8_t msg[1 + 4 + HASH_SIZE + 3 + 16] = { RECONCILE_VERSION, 6, 0, 2, 1 };

	memcpy(msg + 5, id.bytes, HASH_SIZE);
	msg[5 + HASH_SIZE + 2] = 1;
	msg[5 + HASH_SIZE + 3] = (uint8_t)s->liar->rounds;
	send_round(s, msg, sizeof(msg));
}

/* The second bound lies before the first. */
static void send_out_of_order(struct lying_stream *s)
{
	uint8_t msg[1 + 2 * 20] = { RECONCILE_VERSION, 6, 1, 0xff, 1 };

	msg[21] = 1;
	msg[22] = 1;
	msg[23] = 0x01;
	msg[24] = 1;
	send_round(s, msg, sizeof(msg));
}

static void honest_round(struct lying_stream *s, const struct wire_bytes *message)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, reconcile_respond(&s->reconcile, message->data, message->len, &out));
	send_round(s, out.data, out.len);
	buf_fini(&out);
}

static void answer_round(struct lying_stream *s, const struct wire_bytes *message)
{
	static const char garbage[] = "\xff\xff\xff\xff\xff garbage";

	s->liar->rounds++;
	switch ((unsigned)s->liar->lie) {
	case LIE_SILENT_ROUND: return;
	case LIE_ENDLESS_ROUNDS: send_mismatch(s); return;
	case LIE_TEACHING_ROUNDS: send_teaching(s); return;
	case LIE_OUT_OF_ORDER: send_out_of_order(s); return;
	case LIE_GARBAGE: (void)net_stream_send(&s->stream, garbage, sizeof(garbage)); return;
	case LIE_CLOSES_ROUND: net_stream_end(&s->stream); return;
	case LIE_BUSY:
		send_reply(s, &(struct wire_reply){
				      .kind = WIRE_REPLY_REFUSAL,
				      .refusal = { .code = ERR_BUSY,
						   .retry_after_ms = s->liar->busy_ms } });
		return;
	default: honest_round(s, message); return;
	}
}

static const struct piece *find_piece(const struct liar *l, const struct hash *h)
{
	for (size_t i = 0; i < l->piece_count; i++)
		if (hash_eq(&l->pieces[i]->hash, h))
			return l->pieces[i];
	return NULL;
}

static void send_piece(struct lying_stream *s, const struct piece *p)
{
	send_reply(s, &(struct wire_reply){ .kind = WIRE_REPLY_BLOB,
					    .hash = p->hash,
					    .bytes = { p->data, p->len } });
}

static void stop_line(const struct liar *l)
{
	assert_int_equal(simnet_set_path(l->host->world->simnet, l->host->ip, l->victim->ip,
					 &(struct simnet_path){ .latency_ms = 5, .bandwidth = 1 }),
			 0);
}

/* What it does beside, or instead of, answering. True: that was the answer. */
static bool misbehave(struct lying_stream *s, const struct piece *p, const struct hash *h)
{
	static uint8_t garbage[OBJECT_COMMIT_MAX - 100];
	const struct liar *l = s->liar;

	switch ((unsigned)l->lie) {
	case LIE_DRIPS_PHANTOMS:
		if (p == NULL)
			send_reply(s,
				   &(struct wire_reply){ .kind = WIRE_REPLY_BLOB,
							 .hash = *h,
							 .bytes = { garbage, sizeof(garbage) } });
		return p == NULL;
	case LIE_TEACHING_ROUNDS:
	case LIE_HOLDS_PHANTOMS: return p == NULL;
	case LIE_LACKS_CONTENT:
		if (p != NULL && p->kind != OBJECT_COMMIT)
			send_reply(s, &(struct wire_reply){ .kind = WIRE_REPLY_BLOB,
							    .hash = *h,
							    .missing = true });
		return p != NULL && p->kind != OBJECT_COMMIT;
	case LIE_STALLS_IN_CHUNK:
		if (p != NULL && p->kind == OBJECT_CHUNK)
			stop_line(l);
		return false;
	case LIE_DUPLICATES:
		if (p != NULL)
			send_piece(s, p);
		return false;
	case LIE_UNASKED_VALID:
		if (l->piece_count > 2)
			send_piece(s, l->pieces[2]);
		return false;
	default: return false;
	}
}

static void answer_blob(struct lying_stream *s, const struct hash *h)
{
	static uint8_t big[OBJECT_COMMIT_MAX + 1];
	const struct piece *p = find_piece(s->liar, h);
	struct wire_reply reply = { .kind = WIRE_REPLY_BLOB, .hash = *h, .missing = p == NULL };
	uint8_t *copy;

	if (misbehave(s, p, h))
		return;
	if (p == NULL) {
		send_reply(s, &reply);
		return;
	}
	copy = mem_dup(p->data, p->len);
	reply.bytes = (struct wire_bytes){ copy, p->len };
	if (s->liar->lie == LIE_WRONG_BYTES ||
	    (s->liar->lie == LIE_WRONG_CHUNK && p->kind == OBJECT_CHUNK))
		copy[p->len / 2] ^= 1;
	if (s->liar->lie == LIE_UNASKED_BLOB)
		reply.hash.bytes[0] ^= 1;
	if (s->liar->lie == LIE_OVERSIZED)
		reply.bytes = (struct wire_bytes){ big, sizeof(big) };
	if (s->liar->lie == LIE_SAYS_MISSING) {
		reply.bytes = (struct wire_bytes){ 0 };
		reply.missing = true;
	}
	if (s->liar->lie != LIE_SILENT_FETCH)
		send_reply(s, &reply);
	mem_free(copy);
}

static void take_more(struct lying_stream *s, const struct wire_more *more)
{
	if (more->kind != WIRE_MORE_FETCH) {
		answer_round(s, &more->reconcile);
		return;
	}
	s->liar->asked += (unsigned)more->hash_count;
	for (size_t i = 0; i < more->hash_count; i++)
		answer_blob(s, &more->hashes[i]);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct lying_stream *s = stream->data;
	struct wire_request request;
	struct wire_more more;
	struct arena arena;

	wire_arena_init(&arena, len);
	if (s->begun) {
		if (wire_more_decode(msg, len, &arena, &more) == 0)
			take_more(s, &more);
	} else if (wire_request_decode(msg, len, &arena, &request) == 0) {
		s->begun = true;
		CHECK_STATUS(0, reconcile_init(&s->reconcile, &s->liar->set, WIRE_RECONCILE_MAX,
					       RECONCILE_REFERENCE));
		if (request.kind == WIRE_RECONCILE)
			answer_round(s, &request.bytes);
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
	struct lying_stream *s = mem_alloc(sizeof(*s));

	(void)c;
	*ret_refusal = ERR_BUSY;
	if (s == NULL)
		return NULL;
	s->liar = data;
	s->stream = (struct net_stream){ .events = &events, .data = s };
	return &s->stream;
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

static const struct net_service service = { on_stream, on_up, on_down };

void liar_init(struct liar *l, struct sync_world *w, enum lie lie, const struct thing *t,
	       uint64_t time_s)
{
	bool few = lie == LIE_DRIPS_PHANTOMS || lie == LIE_HOLDS_PHANTOMS;
	size_t phantoms = lie == LIE_LISTS_PHANTOMS ? LIAR_PHANTOMS : few ? LIAR_FEW_PHANTOMS : 0;

	memset(l, 0, sizeof(*l));
	l->lie = lie;
	l->busy_ms = 500;
	l->pieces[l->piece_count++] = &t->commit;
	l->pieces[l->piece_count++] = &t->file;
	for (size_t i = 0; i < t->chunk_count; i++)
		l->pieces[l->piece_count++] = &t->chunks[i];
	l->item_count = 1 + phantoms;
	l->items = mem_alloc_array(l->item_count, sizeof(*l->items));
	assert_non_null(l->items);
	l->items[0] = (struct reconcile_item){ time_s, t->commit.hash };
	for (size_t i = 0; i < phantoms; i++)
		l->items[1 + i] = (struct reconcile_item){ time_s, hash_of(&i, sizeof(i)) };
	CHECK_STATUS(0, reconcile_set_init(&l->set, l->items, l->item_count));
	l->host = sync_world_raw_host(w, &service, l);
}

void liar_fini(struct liar *l)
{
	reconcile_set_fini(&l->set);
	l->items = mem_free(l->items);
}
