/* What a discovery ends with: the facts for the verdict, and who is told of it: the trace, those who
 * asked, and the memory of what nobody had. */
#include <string.h>

#include "base/mem.h"
#include "discovery/run.h"

bool run_is_known_of(const struct discovery_run *run)
{
	return run->resolve.head_count > 0 || run->resolve.objects > 0;
}

static struct answer_facts facts_of(const struct discovery_run *run)
{
	return (struct answer_facts){
		.resolved = run->resolved,
		.pinned = run_is_pinned(run),
		.own_space = run->own_space,
		.known = run_is_known_of(run) || run->heard.commits_behind > 0,
		.own_error = run->own_error,
		.peer_error = run->last_error,
		.peers = run->heard,
	};
}

struct answer_verdict run_judge(const struct discovery_run *run)
{
	struct answer_facts facts = facts_of(run);

	return answer_judge(&facts);
}

/* Thanks to whom is it here? */
enum discovery_outcome run_outcome_of(const struct discovery_run *run,
				      const struct answer_verdict *v)
{
	if (v->status == ERR_NOT_FOUND)
		return DISCOVERY_NOT_FOUND;
	if (v->status < 0)
		return DISCOVERY_ERROR;
	if (v->answer != DISCOVERY_CONFIRMED && run->have_locally)
		return DISCOVERY_CACHED;
	return run->dht_used && !run->local_ok ? DISCOVERY_DHT : DISCOVERY_LOCAL;
}

/* The one word that a list of traces shows: "cached" or "local" would pass for an answer where nobody
 * gave one. */
const char *run_word(const struct discovery_run *run)
{
	if (run->answer == DISCOVERY_UNCONFIRMED || run->answer == DISCOVERY_OWN ||
	    run->answer == DISCOVERY_BEHIND)
		return discovery_answer_name(run->answer);
	return discovery_outcome_name(run->outcome);
}

void run_mark_answer(struct discovery_run *run)
{
	const struct discovery_report report = { .answer = run->answer,
						 .status = op_status(&run->op),
						 .last_error = run->last_error,
						 .peers = run->heard };
	const char *answer = discovery_answer_name(run->answer);
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, 512);
	discovery_explain(&text, &report);
	trace_attr_str(run->op.env.span, "answer", answer, strlen(answer));
	trace_mark(run->op.env.span, "exit: %s, %s: %.*s", discovery_outcome_name(run->outcome),
		   answer, (int)text.len, (const char *)text.data);
	if (run->heard.commits_behind > 0)
		trace_mark(run->op.env.span, "%llu commits that peers have are not here",
			   (unsigned long long)run->heard.commits_behind);
	if (run->own_error < 0)
		trace_errorf(run->op.env.span, "this daemon failed: %s", err_str(run->own_error));
}

/* The next who asks the same need not wait for the same answer. */
void run_remember_miss(struct discovery_run *run)
{
	struct discovery *d = run->service;
	bool heard = run->heard.answered > 0 || (run->dht_ok && run->heard.asked == 0);
	struct miss_answer answer = { .sources = service_peers_near(d),
				      .answer = run->answer,
				      .peers = run->heard,
				      .last_error = run->last_error,
				      .asked_ms = runner_now_ms(d->runner) };

	if (run->paid && run->resolved)
		misses_found(&d->misses);
	/* Whoever was busy may have it: it said when to ask again. */
	if (run->outcome != DISCOVERY_NOT_FOUND || run_is_known_of(run) || run->has_announcer ||
	    run->heard.busy > 0)
		return;
	answer.until_ms = answer.asked_ms + (heard ? MISSES_HOLD_MS : MISSES_HOLD_UNHEARD_MS);
	misses_note(&d->misses, &run->key, &run->iri.space, &answer);
}

void run_tell_waiter(struct discovery_run *run, struct discover *w)
{
	size_t heads = MIN(run->resolve.head_count, (size_t)STORE_HEADS_MAX);

	list_remove(&w->waiter);
	w->run = NULL;
	w->outcome = run->outcome;
	w->answer = run->answer;
	w->peers = run->heard;
	w->commits_here = run->resolve.commits;
	w->blobs_missing = run->resolve.missing;
	w->retry_in_ms = run->heard.busy > 0 ? run->retry_in_ms : 0;
	w->timeout_stage = run->timeout_stage;
	w->last_error = run->last_error;
	w->peers_known = run->peers_known;
	w->again_in_ms = run->again_in_ms;
	w->progress = run->progress;
	w->stage = run_stage(run);
	if (run->resolved) {
		memcpy(w->heads, run->resolve.heads, heads * sizeof(w->heads[0]));
		w->head_count = heads;
		w->tombstone = run->resolve.tombstone;
	}
	op_result(&w->op, op_status(&run->op));
	op_defer(&w->op);
}
