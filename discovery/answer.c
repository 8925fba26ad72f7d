/* One place decides what silence, refusals and our own failures mean, so that no caller can take
 * one for another. */
#include "discovery/answer.h"

#include <inttypes.h>

const char *discovery_answer_name(enum discovery_answer a)
{
	static const char *const names[] = {
		[DISCOVERY_ANSWER_NONE] = "none",
		[DISCOVERY_CONFIRMED] = "confirmed",
		[DISCOVERY_EXACT] = "exact",
		[DISCOVERY_OWN] = "own",
		[DISCOVERY_UNCONFIRMED] = "unconfirmed",
		[DISCOVERY_BEHIND] = "behind",
		[DISCOVERY_ABSENT] = "absent",
		[DISCOVERY_UNANSWERED] = "unanswered",
		[DISCOVERY_FAULT] = "fault",
	};

	return names[a];
}

bool discovery_is_ours(int status)
{
	return status == ERR_STORE || status == ERR_DISK_FULL || status == ERR_READ_ONLY ||
	       status == ERR_CORRUPT || status == ERR_LOCKED || status == UV_ENOMEM;
}

static bool is_misbehaviour(int status)
{
	return status == ERR_VERIFY || status == ERR_MALFORMED || status == ERR_TRUNCATED ||
	       status == ERR_PROTOCOL || status == ERR_LIMIT || status == ERR_NO_PROGRESS ||
	       status == ERR_UNAUTHORIZED;
}

/* Why it ended comes before how far it came: what was cut says nothing about the peer. */
enum answer_peer answer_of_session(const struct sync_peer_outcome *o)
{
	if (o->status == 0)
		return ANSWER_HEARD;
	if (o->status == UV_EALREADY || o->status == ERR_SELF)
		return ANSWER_NOBODY;
	if (discovery_is_ours(o->status))
		return ANSWER_OURS;
	if (o->status == ERR_BUSY)
		return ANSWER_BUSY;
	if (o->offended && o->cut != SYNC_CUT_RESOLVED && o->cut != SYNC_CUT_STRAGGLER)
		return ANSWER_BAD;
	if (!o->proven)
		return o->cut == SYNC_CUT_NONE || o->cut == SYNC_CUT_DEADLINE ? ANSWER_UNREACHABLE :
										ANSWER_UNHEARD;
	if (o->cut != SYNC_CUT_NONE)
		return ANSWER_UNHEARD;
	if (o->status == ERR_MISSING)
		return o->commits_behind > 0 ? ANSWER_BAD : ANSWER_PART;
	return is_misbehaviour(o->status) ? ANSWER_BAD : ANSWER_UNHEARD;
}

void answer_count(struct discovery_peers *p, const struct sync_peer_outcome *o)
{
	enum answer_peer a = answer_of_session(o);

	p->asked += a != ANSWER_NOBODY;
	switch (a) {
	case ANSWER_HEARD:
	case ANSWER_PART: p->answered++; break;
	case ANSWER_UNREACHABLE: p->unreachable++; break;
	case ANSWER_BUSY: p->busy++; break;
	case ANSWER_BAD: p->bad++; break;
	case ANSWER_UNHEARD:
	case ANSWER_OURS: p->unheard++; break;
	case ANSWER_NOBODY: break;
	}
}

static struct answer_verdict verdict(enum discovery_answer answer, int status)
{
	return (struct answer_verdict){ answer, status };
}

/* Something is known of it and not all is here: never "nobody has it". */
static struct answer_verdict judge_missing(const struct answer_facts *f)
{
	if (f->known)
		return verdict(DISCOVERY_BEHIND, f->peer_error < 0 ? f->peer_error : ERR_MISSING);
	return verdict(f->peers.answered > 0 ? DISCOVERY_ABSENT : DISCOVERY_UNANSWERED,
		       ERR_NOT_FOUND);
}

struct answer_verdict answer_judge(const struct answer_facts *f)
{
	if (f->resolved && f->pinned)
		return verdict(DISCOVERY_EXACT, 0);
	if (f->own_error < 0)
		return verdict(f->known ? DISCOVERY_BEHIND : DISCOVERY_FAULT, f->own_error);
	if (!f->resolved)
		return judge_missing(f);
	if (f->peers.answered > 0)
		return verdict(DISCOVERY_CONFIRMED, 0);
	if (f->peers.commits_behind > 0)
		return judge_missing(f);
	return verdict(f->own_space ? DISCOVERY_OWN : DISCOVERY_UNCONFIRMED, 0);
}

bool discovery_is_sure(enum discovery_answer a, const struct discovery_peers *p)
{
	if (a == DISCOVERY_EXACT)
		return true;
	return a == DISCOVERY_CONFIRMED && p->busy == 0 && p->unheard == 0 &&
	       p->commits_behind == 0;
}

void discovery_peers_write(struct buf *out, const struct discovery_peers *p)
{
	const struct {
		uint64_t count;
		const char *one, *many;
	} parts[] = {
		{ p->answered, "answered", "answered" },
		{ p->unreachable, "could not be reached", "could not be reached" },
		{ p->busy, "was busy", "were busy" },
		{ p->bad, "sent wrong data or lacked what it listed",
		  "sent wrong data or lacked what they listed" },
		{ p->unheard, "was not heard to the end", "were not heard to the end" },
	};
	const char *sep = ": ";

	if (p->asked == 0 && p->left_alone > 0) {
		buf_printf(out,
			   "nobody was asked: %" PRIu64
			   " known %s left alone for a while after failures",
			   p->left_alone, p->left_alone == 1 ? "peer is" : "peers are");
		return;
	}
	if (p->asked == 0) {
		buf_write_str(out, "no peer is known that could be asked");
		return;
	}
	buf_printf(out, "asked %" PRIu64 " peer%s", p->asked, p->asked == 1 ? "" : "s");
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i].count == 0)
			continue;
		buf_printf(out, "%s%" PRIu64 " %s", sep, parts[i].count,
			   parts[i].count == 1 ? parts[i].one : parts[i].many);
		sep = ", ";
	}
}

static void write_because(struct buf *out, int err)
{
	if (err < 0)
		buf_printf(out, " (%s)", err_str(err));
}

static void explain_behind(struct buf *out, const struct discovery_report *r)
{
	if (discovery_is_ours(r->status)) {
		buf_printf(out, "a version was found that this daemon could not take in: %s",
			   err_str(r->status));
		return;
	}
	buf_printf(out, "a version is known that could not be had whole from anybody: %s; ",
		   err_str(r->status));
	discovery_peers_write(out, &r->peers);
}

void discovery_explain(struct buf *out, const struct discovery_report *r)
{
	static const char *const begins[] = {
		[DISCOVERY_CONFIRMED] = "up to date: ",
		[DISCOVERY_OWN] = "it is of this daemon's own space, and no peer confirmed it: ",
		[DISCOVERY_UNCONFIRMED] = "no peer confirmed that this is the newest version: ",
		[DISCOVERY_ABSENT] = "nobody who answered has it: ",
		[DISCOVERY_UNANSWERED] = "nobody answered: ",
	};

	if (r->answer == DISCOVERY_BEHIND) {
		explain_behind(out, r);
	} else if (r->answer == DISCOVERY_EXACT) {
		buf_write_str(out, "the version that was asked for is here");
	} else if (r->answer == DISCOVERY_FAULT) {
		buf_printf(out, "this daemon failed: %s", err_str(r->status));
	} else if (r->answer == DISCOVERY_ANSWER_NONE) {
		buf_write_str(out, r->status < 0 ? err_str(r->status) : "not answered yet");
	} else {
		buf_write_str(out, begins[r->answer]);
		discovery_peers_write(out, &r->peers);
		if (r->peers.answered < r->peers.asked)
			write_because(out, r->last_error);
	}
	if (r->answer == DISCOVERY_CONFIRMED && !discovery_is_sure(r->answer, &r->peers))
		buf_write_str(out, "; somebody may have something newer");
}
