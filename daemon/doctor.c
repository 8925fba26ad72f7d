/* One function per subject; each looks at its facts and says at most one or two things. Every
 * sentence names the figure it is about, so that the reader can judge whether it matters. */
#include "daemon/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* How far back those facts go that count something (daemon/recent.h). */
#define LATELY " in the last ten minutes"

struct report {
	struct doctor_finding *findings;
	size_t count;
};

const char *doctor_severity_name(enum doctor_severity s)
{
	static const char *const names[] = { "fine", "note", "warning", "problem" };

	return names[s];
}

static struct doctor_finding *add(struct report *r, enum doctor_severity severity, const char *name,
				  const char *link, const char *fmt, ...) PRINTF_LIKE(5, 6);
static void advise(struct doctor_finding *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

static struct doctor_finding *add(struct report *r, enum doctor_severity severity, const char *name,
				  const char *link, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list ap;

	REQUIRE(r->count < DOCTOR_FINDINGS_MAX);
	f = &r->findings[r->count++];
	*f = (struct doctor_finding){ .severity = severity, .name = name, .link = link };
	va_start(ap, fmt);
	(void)vsnprintf(f->sentence, sizeof(f->sentence), fmt, ap);
	va_end(ap);
	return f;
}

static void advise(struct doctor_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(f->todo, sizeof(f->todo), fmt, ap);
	va_end(ap);
}

static bool has(const char *text)
{
	return text != NULL && text[0] != '\0';
}

/* ---- The process ---- */

static void look_at_state(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (f->state == DOCTOR_DOWN && f->is_hidden) {
		found = add(r, DOCTOR_PROBLEM, "hidden", NULL,
			    "This user may not see whether a daemon runs with %s.",
			    has(f->data) ? f->data : "this data folder");
		advise(found, "Ask as the user whose data folder it is.");
	} else if (f->state == DOCTOR_DOWN) {
		found = add(r, DOCTOR_PROBLEM, "down", NULL, "No daemon is running with %s.",
			    has(f->data) ? f->data : "this data folder");
		advise(found, "Start one: peerscope daemon --data %s",
		       has(f->data) ? f->data : "DIR");
	} else if (f->state == DOCTOR_HUNG) {
		found = add(r, DOCTOR_PROBLEM, "hung", NULL,
			    "The daemon, pid %d, holds the data folder and does not answer.",
			    f->pid);
		advise(found,
		       "Collect what can be had from outside with `peerscope diag bundle`, then "
		       "end it with kill %d and start it again.",
		       f->pid);
	} else if (f->state == DOCTOR_STOPPING) {
		add(r, DOCTOR_NOTE, "stopping", NULL, "The daemon is shutting down.");
	}
}

static void look_at_setup(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (f->folder_status < 0) {
		found = add(r, DOCTOR_PROBLEM, "folder", NULL,
			    "The data folder %s cannot be used: %s.", has(f->data) ? f->data : "",
			    err_str(f->folder_status));
		advise(found, "Make it a folder that this user may write, or choose another one "
			      "with --data.");
	}
	if (has(f->config_why)) {
		found = add(r, DOCTOR_PROBLEM, "config", NULL, "The configuration is wrong: %s",
			    f->config_why);
		advise(found, "Correct it; `peerscope config show` tells where each value comes "
			      "from.");
	}
	if (f->clock_unsynced) {
		found = add(r, DOCTOR_NOTE, "clock", "/debug/sys",
			    "Nothing keeps this machine's clock right.");
		advise(found, "Switch on NTP: versions published with a wrong time sort wrongly "
			      "among others.");
	}
}

static void look_at_disk(struct report *r, const struct doctor_facts *f)
{
	bool full = f->disk_free_bytes < DOCTOR_DISK_FULL_BYTES;
	struct doctor_finding *found;

	if (!f->disk_known)
		return;
	if (f->disk_free_bytes < DOCTOR_DISK_LOW_BYTES) {
		found = add(r, full ? DOCTOR_PROBLEM : DOCTOR_WARNING, "disk", "/debug/store",
			    "The disk of the data folder has %" PRIu64 " MiB left.",
			    f->disk_free_bytes >> 20);
		advise(found, f->disk_free_bytes < DOCTOR_DISK_NONE_BYTES ?
				      "Make room now: nothing new can be stored." :
			      full ? "Make room now: what does not fit any more is refused." :
				     "Make room before it is full.");
	} else if (f->disk_inodes_free > 0 && f->disk_inodes_free < 1000) {
		found = add(r, DOCTOR_WARNING, "inodes", "/debug/sys",
			    "The disk has room for %" PRIu64 " more files only.",
			    f->disk_inodes_free);
		advise(found, "Delete small files that nobody needs.");
	}
}

static void look_at_resources(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (f->fd_limit > 0 && f->fd_limit < DOCTOR_FD_NEEDED) {
		found = add(r, DOCTOR_WARNING, "descriptor limit", "/debug/sys",
			    "The daemon may have %" PRIu64 " files and connections open, and needs "
			    "%d for as many peers as it takes.",
			    f->fd_limit, DOCTOR_FD_NEEDED);
		advise(found, "Raise the limit: `ulimit -n 4096`, or LimitNOFILE= of the service.");
	}
	if (f->fd_limit > 0 && f->fds * 100 >= f->fd_limit * DOCTOR_FD_PERCENT) {
		found = add(r, DOCTOR_WARNING, "descriptors", "/debug/sys",
			    "%" PRIu64 " of %" PRIu64 " file descriptors are in use.", f->fds,
			    f->fd_limit);
		advise(found, "Raise the limit: `ulimit -n`, or LimitNOFILE= of the service.");
	}
	if (f->memory_limit_bytes > 0 &&
	    f->memory_bytes / 100 >= f->memory_limit_bytes / 10000 * DOCTOR_MEMORY_PERCENT) {
		found = add(r, DOCTOR_WARNING, "memory", "/debug/pprof/",
			    "The daemon uses %" PRIu64 " MiB of the %" PRIu64 " MiB it is allowed.",
			    f->memory_bytes >> 20, f->memory_limit_bytes >> 20);
		advise(found, "Take a heap profile to see what for, or raise the limit.");
	}
	if (f->memory_available_bytes > 0 && f->memory_available_bytes < 64 << 20) {
		found = add(r, DOCTOR_WARNING, "machine memory", "/debug/sys",
			    "The machine has %" PRIu64 " MiB of memory left.",
			    f->memory_available_bytes >> 20);
		advise(found, "End what is not needed; everything is slow when a machine swaps.");
	}
}

/* ---- How it is doing ---- */

static void look_at_loop(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;
	char longest[64] = "";

	if (f->lag_max_us > 0)
		(void)snprintf(longest, sizeof(longest), ", at most for %" PRIu64 " ms",
			       f->lag_max_us / 1000);
	if (f->stalls > 0) {
		found = add(r,
			    f->lag_max_us / 1000 >= DOCTOR_STALL_MS ? DOCTOR_WARNING : DOCTOR_NOTE,
			    "stalls", "/debug/pprof/stalls",
			    "The loop stood still %" PRIu64 " %s" LATELY "%s.", f->stalls,
			    plural(f->stalls, "time", "times"), longest);
		advise(found, "The page of stalls shows what it was doing; report it if it is not "
			      "a suspended machine.");
	}
	if (f->turns >= DOCTOR_LAG_SHARE && f->over_50ms > 0 &&
	    f->over_50ms * DOCTOR_LAG_SHARE >= f->turns) {
		found = add(r, DOCTOR_WARNING, "lag", "/debug/pprof/",
			    "%" PRIu64 " of %" PRIu64
			    " turns of the loop took longer than %d ms" LATELY
			    "; everything waits meanwhile.",
			    f->over_50ms, f->turns, DOCTOR_LAG_MS);
		advise(found, "Take a CPU profile while it is slow.");
	}
}

static void look_at_store(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (has(f->store_error)) {
		found = add(r, DOCTOR_PROBLEM, "store", "/debug/store",
			    "The database reported an error: %s.", f->store_error);
		advise(found, "Look at the disk (`dmesg`) and at its free space.");
	}
	if (f->store_stuck_ms >= DOCTOR_STORE_STUCK_MS) {
		found = add(r, DOCTOR_PROBLEM, "store stuck", "/debug/store",
			    "The database has finished nothing for %" PRIu64 " s, and %" PRIu64
			    " requests wait.",
			    f->store_stuck_ms / 1000, f->queue_depth);
		advise(found, "See whether the disk answers (`dmesg`, a network file system?); "
			      "`peerscope diag stacks` shows where the thread \"store\" is.");
	}
	if (f->queue_depth >= DOCTOR_QUEUE_DEEP) {
		found = add(r, DOCTOR_WARNING, "store queue", "/debug/store",
			    "%" PRIu64 " requests wait for the database.", f->queue_depth);
		advise(found, "The disk is slower than the peers; it passes, or a faster disk "
			      "helps.");
	}
	if (f->tx_p99_us / 1000 >= DOCTOR_TX_SLOW_MS) {
		found = add(r, DOCTOR_WARNING, "slow disk", "/debug/store",
			    "One write in a hundred took %" PRIu64 " ms or longer" LATELY ".",
			    f->tx_p99_us / 1000);
		advise(found, "Put the data folder on a faster disk, or see who else keeps this "
			      "one busy.");
	}
}

static void write_duration(char *dst, size_t cap, uint64_t s)
{
	if (s >= 2 * 86400)
		(void)snprintf(dst, cap, "%" PRIu64 " days", s / 86400);
	else if (s >= 2 * 3600)
		(void)snprintf(dst, cap, "%" PRIu64 " hours", s / 3600);
	else if (s >= 2 * 60)
		(void)snprintf(dst, cap, "%" PRIu64 " minutes", s / 60);
	else
		(void)snprintf(dst, cap, "%" PRIu64 " seconds", s);
}

static void look_at_peers(struct report *r, const struct doctor_facts *f)
{
	bool ahead = f->clocks_ahead_s > 0; /* theirs */
	struct doctor_finding *found;
	char by[48];

	if (has(f->twin) && f->twin_ago_s <= DOCTOR_TWIN_S) {
		found = add(r, DOCTOR_PROBLEM, "twin", "/debug/peers",
			    "Another daemon has the same node.key as this one: it was met %" PRIu64
			    " s ago at %s.",
			    f->twin_ago_s, f->twin);
		advise(found, "Peers take both for one. Stop one of them, remove node.key from its "
			      "data folder, and start it again: it makes a new one.");
	}
	/* When most are of another opinion than we are. One peer alone may be wrong itself. */
	if (f->clocks_differ > 0 && f->clocks_differ * 2 > f->clocks_known) {
		write_duration(by, sizeof(by),
			       (uint64_t)(ahead ? f->clocks_ahead_s : -f->clocks_ahead_s));
		found = add(r, DOCTOR_WARNING, "clock differs", "/debug/sys",
			    "The clock of this machine is %s %s those of %" PRIu64 " of %" PRIu64
			    " connected peers, by what they say when they connect.",
			    by, ahead ? "behind" : "ahead of", f->clocks_differ, f->clocks_known);
		advise(found, "Set the one that is wrong, best by NTP: versions published with a "
			      "wrong time sort wrongly among others.");
	}
}

static void look_at_network(struct report *r, const struct doctor_facts *f)
{
	static const char *const fine[] = { "fine",	"fine so far", "starting",
					    "lan only", "loopback",    "alone" };
	enum doctor_severity severity = DOCTOR_WARNING;
	struct doctor_finding *found;

	if (!has(f->network) || !has(f->network_sentence))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++)
		if (strcmp(f->network, fine[i]) == 0)
			severity = i == 0 ? DOCTOR_FINE : DOCTOR_NOTE;
	if (severity != DOCTOR_FINE)
		add(r, severity, "network", "/debug/peers", "%s", f->network_sentence);
	if (f->dials >= 10 && f->dial_failures * 10 >= f->dials * 9) {
		found = add(r, DOCTOR_WARNING, "dials", "/debug/peers",
			    "%" PRIu64 " of %" PRIu64 " connections to peers failed" LATELY ".",
			    f->dial_failures, f->dials);
		advise(found, "A firewall may keep outgoing connections from being made; the "
			      "traces say what each one ended with.");
	}
}

static void look_at_work(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (has(f->failing) && f->failing_errors >= DOCTOR_ERRORS_MIN &&
	    f->failing_errors * 100 >= f->failing_total * DOCTOR_ERRORS_PERCENT) {
		found = add(r, DOCTOR_WARNING, "failures", "/debug/traces?errored=1",
			    "%" PRIu64 " of the %" PRIu64 " latest %s failed.", f->failing_errors,
			    f->failing_total, f->failing);
		advise(found, "Open one of those traces: its last stage says why.");
	}
	if (f->subscriptions > 0 && f->subscriptions_backing_off * 2 > f->subscriptions) {
		found = add(r, DOCTOR_WARNING, "subscriptions",
			    "/debug/traces?category=sync.discover",
			    "%" PRIu64 " of %" PRIu64 " %s could not be brought up to date lately.",
			    f->subscriptions_backing_off, f->subscriptions,
			    plural(f->subscriptions, "subscription", "subscriptions"));
		advise(found, "`peerscope subscriptions` says why: peers that cannot be reached, "
			      "or something here, such as a full disk.");
	}
	if (f->subscriptions_overdue > 0) {
		found = add(r, DOCTOR_WARNING, "unconfirmed", "/debug/peers",
			    "%" PRIu64 " of %" PRIu64
			    " subscriptions: no peer has said for %" PRIu64
			    " s whether there is news. What is here may be old.",
			    f->subscriptions_overdue, f->subscriptions,
			    f->subscriptions_overdue_ms / 1000);
		advise(found, "`peerscope subscriptions` says which, and who was asked with what "
			      "result.");
	}
	if (f->refused_limit + f->refused_connections > 0)
		add(r, DOCTOR_NOTE, "limits", "/debug/vars",
		    "%" PRIu64 " %s refused" LATELY " because a limit was reached.",
		    f->refused_limit + f->refused_connections,
		    plural(f->refused_limit + f->refused_connections, "request or connection was",
			   "requests or connections were"));
	if (f->traces_evicted_dropped > 0) {
		found = add(r, DOCTOR_NOTE, "traces", "/debug/traces",
			    "%" PRIu64 " %s of traces found no room" LATELY ".",
			    f->traces_evicted_dropped,
			    plural(f->traces_evicted_dropped, "piece", "pieces"));
		advise(found, "Give traces more memory with --trace-budget if you miss them.");
	}
}

static void look_at_profiles(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (f->untimed == 0)
		return;
	found = add(r, f->untimed_sampled ? DOCTOR_NOTE : DOCTOR_WARNING, "timers", "/debug/pprof/",
		    "In the last CPU profile %" PRIu64
		    " thread%s had no timer of %s own (%s)%s: %s.",
		    f->untimed, f->untimed == 1 ? "" : "s", f->untimed == 1 ? "its" : "their",
		    has(f->untimed_why) ? f->untimed_why : "",
		    f->untimed_sampled ? " and shared the process's" : " and were not sampled",
		    has(f->untimed_threads) ? f->untimed_threads : "");
	advise(found, "Raise the limit of pending signals (`ulimit -i`, LimitSIGPENDING= of the "
		      "service), and let filters of system calls pass timer_create.");
}

static void look_at_log(struct report *r, const struct doctor_facts *f)
{
	struct doctor_finding *found;

	if (f->log_errors > 0) {
		found = add(r, DOCTOR_WARNING, "errors", "/debug/logs?level=error",
			    "%" PRIu64 " lines of level error were logged" LATELY ".",
			    f->log_errors);
		advise(found, "Read them: peerscope diag log --level error");
	}
	if (f->debugging)
		add(r, DOCTOR_NOTE, "debugging", "/debug/logs",
		    "A part of the daemon logs at level debug, which costs time.");
}

/* ---- All of it ---- */

/* That all is well comes before mere notes. */
static int rank(const struct doctor_finding *f)
{
	return f->severity == DOCTOR_FINE ? 2 * DOCTOR_NOTE + 1 : 2 * (int)f->severity;
}

/* Those of one rank stay in the order in which they were found. */
static void sort(struct report *r)
{
	for (size_t i = 1; i < r->count; i++) {
		struct doctor_finding moved = r->findings[i];
		size_t at = i;

		for (; at > 0 && rank(&r->findings[at - 1]) < rank(&moved); at--)
			r->findings[at] = r->findings[at - 1];
		r->findings[at] = moved;
	}
}

static bool any_worse_than_note(const struct report *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->findings[i].severity > DOCTOR_NOTE)
			return true;
	return false;
}

size_t doctor_examine(const struct doctor_facts *f, struct doctor_finding ret[DOCTOR_FINDINGS_MAX])
{
	struct report r = { ret, 0 };

	look_at_state(&r, f);
	look_at_setup(&r, f);
	look_at_disk(&r, f);
	look_at_resources(&r, f);
	if (f->state == DOCTOR_RUNNING || f->state == DOCTOR_STOPPING) {
		look_at_loop(&r, f);
		look_at_store(&r, f);
		look_at_network(&r, f);
		look_at_peers(&r, f);
		look_at_work(&r, f);
		look_at_profiles(&r, f);
		look_at_log(&r, f);
	}
	if (!any_worse_than_note(&r))
		add(&r, DOCTOR_FINE, "fine", NULL,
		    "Nothing is wrong as far as this daemon can tell.");
	sort(&r);
	return r.count;
}

/* ---- Forms ---- */

void doctor_write_text(struct buf *out, const struct doctor_finding *findings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%-8s %s\n", doctor_severity_name(findings[i].severity),
			   findings[i].sentence);
		if (findings[i].todo[0] != '\0')
			buf_printf(out, "         %s\n", findings[i].todo);
		if (findings[i].link != NULL)
			buf_printf(out, "         %s\n", findings[i].link);
	}
}

static void write_html_text(struct buf *out, const char *text)
{
	buf_write_str(out, "<bdi>");
	buf_write_html(out, text, strlen(text));
	buf_write_str(out, "</bdi>");
}

void doctor_write_html(struct buf *out, const struct doctor_finding *findings, size_t count)
{
	buf_write_str(out, "<ul class=\"doctor\">\n");
	for (size_t i = 0; i < count; i++) {
		const struct doctor_finding *f = &findings[i];

		buf_printf(out, "<li class=\"%s\"><strong>%s</strong> ",
			   doctor_severity_name(f->severity), doctor_severity_name(f->severity));
		write_html_text(out, f->sentence);
		if (f->todo[0] != '\0') {
			buf_write_str(out, " <span class=\"hint\">");
			write_html_text(out, f->todo);
			buf_write_str(out, "</span>");
		}
		if (f->link != NULL) {
			buf_write_str(out, " <a href=\"");
			buf_write_html(out, f->link, strlen(f->link));
			buf_write_str(out, "\">show</a>");
		}
		buf_write_str(out, "</li>\n");
	}
	buf_write_str(out, "</ul>\n");
}

static void write_member(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, ",\"%s\":", name);
	buf_write_json_str(out, value, strlen(value));
}

void doctor_write_json(struct buf *out, const struct doctor_finding *findings, size_t count)
{
	buf_printf(out, "{\"verdict\":\"%s\",\"findings\":[",
		   count > 0 ? doctor_severity_name(findings[0].severity) : "fine");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%s{\"severity\":\"%s\"", i > 0 ? "," : "",
			   doctor_severity_name(findings[i].severity));
		write_member(out, "name", findings[i].name);
		write_member(out, "sentence", findings[i].sentence);
		write_member(out, "todo", findings[i].todo);
		write_member(out, "link", findings[i].link != NULL ? findings[i].link : "");
		buf_write_u8(out, '}');
	}
	buf_write_str(out, "]}\n");
}
