/* After an object resolved: fetch what remains of its closure (with history, the content of older
 * versions) and hear the peers that were not waited for (trace "sync.background", linked from the discovery).
 *
 *   LOOK ──► SYNC ──► DONE       LOOK waits for the store: is anything wanted, or is there a peer
 * that was cut? └───────────────► */
#include <string.h>

#include "base/mem.h"
#include "discovery/run.h"

enum { BACKGROUND_TIMEOUT_MS = 120000, BACKGROUND_TARGETS_MAX = DISCOVERY_WIDTH_FULL };

enum { LOOK, SYNC, DONE };

static const struct op_state states[] = {
	[LOOK] = { "look", TO(SYNC) | TO(DONE) },
	[SYNC] = { "sync", TO(DONE) },
	[DONE] = { "done", 0 },
};

struct background {
	struct op op;
	struct list node;
	struct discovery *service;
	struct iri iri;
	struct scope scope;
	struct span from; /* of the discovery */
	struct sync_target targets[BACKGROUND_TARGETS_MAX];
	size_t target_count;
	struct store_wants wants;
	struct sync_wave wave;
	uint64_t seen_bytes;
	bool looking, waving, cut_peers, history;
};

static void background_tick(struct op *op);

static const struct op_kind kind_background = { "sync.background", states, ARRAY_SIZE(states),
						background_tick };

static void on_wants(struct store_wants *w, int status)
{
	struct background *b = container_of(w, struct background, wants);

	b->looking = false;
	op_release(&b->op);
	if (status < 0)
		op_result(&b->op, status);
	op_tick(&b->op);
}

static void on_peer(struct sync_wave *w, const struct sync_peer_outcome *o)
{
	struct background *b = w->data;

	service_note_outcome(b->service, o, &b->scope.space);
}

static void on_settled(struct sync_wave *w, uint8_t priority)
{
}

static void on_progress(struct sync_wave *w)
{
	struct background *b = w->data;

	if (w->progress.bytes_downloaded > b->seen_bytes)
		op_prolong(&b->op, BACKGROUND_TIMEOUT_MS);
	b->seen_bytes = w->progress.bytes_downloaded;
}

static const struct sync_wave_events wave_events = { on_peer, on_settled, on_progress };

static void on_wave(struct sync_wave *w, int status)
{
	struct background *b = container_of(w, struct background, wave);

	b->waving = false;
	op_release(&b->op);
	op_result(&b->op, status);
	op_tick(&b->op);
}

static uint8_t priority(const struct background *b)
{
	return b->history ? STORE_WANT_HISTORY : STORE_WANT_BULK;
}

/* Content of certain versions alone. */
static bool is_pinned(const struct background *b)
{
	return b->iri.head_count > 0 && !b->history;
}

/* Only work is worth a trace. */
static void open_span(struct background *b)
{
	CLEANUP(buf_fini) struct buf title = { 0 };

	buf_init(&title, IRI_TEXT_MAX);
	iri_format(&b->iri, &title);
	op_own_span(&b->op,
		    trace_detach(b->from, "sync.background", (const char *)title.data, title.len));
	trace_mark(b->op.env.span, "%llu blobs still wanted", (unsigned long long)b->wants.total);
}

static enum op_step do_look(struct background *b)
{
	struct op_env env;

	if (b->looking && !op_stopping(&b->op))
		return OP_WAIT;
	if (b->looking) {
		op_cancel(&b->wants.op);
		return OP_WAIT;
	}
	if (op_has_result(&b->op) || (b->wants.total == 0 && !b->cut_peers)) {
		op_move(&b->op, DONE);
		return OP_NEXT;
	}
	op_move(&b->op, SYNC);
	open_span(b);
	b->waving = true;
	op_hold(&b->op);
	env = b->op.env;
	env.deadline_ms = UINT64_MAX; /* our own timeout ends it, and moves with progress */
	sync_wave_start(&b->wave, &env, b->service->sync, &b->scope, priority(b), &wave_events,
			on_wave);
	b->wave.data = b;
	if (is_pinned(b))
		sync_wave_pin(&b->wave, b->iri.heads, b->iri.head_count);
	for (size_t i = 0; i < b->target_count; i++)
		(void)sync_wave_add(&b->wave, &b->targets[i]);
	sync_wave_seal(&b->wave);
	return OP_WAIT;
}

static enum op_step do_sync(struct background *b)
{
	if (b->waving) {
		if (op_stopping(&b->op))
			sync_wave_cut(&b->wave, SYNC_CUT_CANCELLED);
		return OP_WAIT;
	}
	op_move(&b->op, DONE);
	return OP_NEXT;
}

static void finish(struct background *b)
{
	struct discovery *d = b->service;

	trace_add(b->op.env.span, b->wave.progress.blobs_downloaded,
		  b->wave.progress.bytes_downloaded);
	trace_finish(b->op.env.span, op_status(&b->op), op_status(&b->op) == 0 ? "ok" : NULL);
	store_wants_fini(&b->wants);
	list_remove(&b->node);
	mem_free(b);
	d->stats.background_active--;
	service_ended(d);
}

static void background_tick(struct op *op)
{
	struct background *b = container_of(op, struct background, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case LOOK: step = do_look(b); break;
		case SYNC: step = do_sync(b); break;
		case DONE:
			if (op_finish(op))
				finish(b);
			return;
		}
	}
}

void background_start(struct discovery_run *run, const struct sync_target *targets, size_t count)
{
	struct discovery *d = run->service;
	struct op_env env = { .runner = d->runner, .deadline_ms = UINT64_MAX };
	struct background *b = NULL;

	if (d->stats.background_active < DISCOVERY_BACKGROUND_MAX && !d->closing)
		b = mem_alloc(sizeof(*b));
	if (b == NULL) {
		d->stats.background_dropped++;
		return;
	}
	b->service = d;
	b->scope = run->scope;
	b->cut_peers = run->cut_peers;
	b->iri = run->iri;
	b->from = run->op.env.span;
	b->target_count = MIN(count, ARRAY_SIZE(b->targets));
	memcpy(b->targets, targets, b->target_count * sizeof(targets[0]));
	list_push_back(&d->backgrounds, &b->node);
	d->stats.background_active++;
	op_init(&b->op, &kind_background, &env, BACKGROUND_TIMEOUT_MS);
	b->looking = true;
	op_hold(&b->op);
	b->history = run->history;
	if (is_pinned(b))
		store_wants_pinned_start(&b->wants, &b->op.env, d->store, &b->scope, b->iri.heads,
					 b->iri.head_count, 1, on_wants);
	else
		store_wants_start(&b->wants, &b->op.env, d->store, &b->scope, priority(b), 1,
				  on_wants);
}

void background_cancel_all(struct discovery *d)
{
	list_for_each(node, &d->backgrounds)
		op_cancel(&list_entry(node, struct background, node)->op);
}
