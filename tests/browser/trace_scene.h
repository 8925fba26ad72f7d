/* A store as it looks after some minutes of work: discoveries, peers that fail, a slow DHT,
 * something hostile. Shared by the demonstration program and by the tests of the pages. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "trace/trace.h"

#define SCENE_HOSTILE                                                                              \
	"hm://x/<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\xff\x01\u202eabc"

static inline void scene_wait(struct clock_manual *c, double ms)
{
	clock_manual_advance(c, (uint64_t)(ms * 1e6));
}

static inline struct span scene_peer(struct span parent, unsigned n)
{
	static const char *const ids[] = { "12D3KooWQYzXWGvmCwHbg4qVtQy8MzNLSVSZxQCCu7wXhkPMkSJT",
					   "12D3KooWBfGz3xYd1nC6mRkz7vTQYwh4pJ5uXrKcZs8bHq2LkVeA",
					   "12D3KooWK1oPq9rTnUj5sXyMz2bVfCeDhGwL7aR4tYkZ3QvHm8Bc",
					   "12D3KooWD7sHv2kFxTqJ9mNwY4zRcLpUe6gBaKtX1iOyVn5WjM3f" };

	return trace_child(parent, "sync.peer", ids[n % 4], strlen(ids[n % 4]));
}

/* Two rounds with a peer of the LAN that has what is asked for. */
static inline void scene_good_peer(struct clock_manual *c, struct span parent, unsigned n,
				   double pace)
{
	struct span s = scene_peer(parent, n);

	trace_attr_str(s, "address", "/ip4/192.168.1.23/tcp/4001", 26);
	trace_attr_bool(s, "authority", n == 0);
	trace_stage(s, "dial");
	scene_wait(c, 12 * pace);
	trace_stage(s, "handshake");
	scene_wait(c, 31 * pace);
	trace_stage(s, "reconcile");
	for (int round = 1; round <= 3; round++) {
		scene_wait(c, 40 * pace);
		trace_mark(s, "round %d: %d ranges, have %d, need %d", round, 16 >> round,
			   4 * round, 90 / round);
	}
	trace_stage(s, "fetch");
	for (int batch = 1; batch <= 4; batch++) {
		scene_wait(c, 55 * pace);
		trace_mark(s, "batch %d: %d blobs, %d bytes", batch, 30, 48213);
		trace_add(s, 30, 48213);
	}
	trace_stage(s, "verify");
	scene_wait(c, 18 * pace);
	trace_stage(s, "store");
	uint64_t now_ns = clock_now_ns(&c->clock);
	scene_wait(c, 26 * pace);
	trace_queued(s, now_ns - 4000000, now_ns + (uint64_t)(9e6 * pace)); /* for the disk */
	trace_finish(s, 0, NULL);
}

static inline void scene_failed_peer(struct clock_manual *c, struct span parent, unsigned n,
				     double dial_ms)
{
	struct span s = scene_peer(parent, n);

	trace_attr_str(s, "address", "/ip4/203.0.113.7/tcp/4001", 25);
	trace_stage(s, "dial");
	scene_wait(c, dial_ms);
	trace_errorf(s, "dial %s: no answer in %d ms", "/ip4/203.0.113.7/tcp/4001", (int)dial_ms);
	trace_finish(s, UV_ETIMEDOUT, "timeout");
}

/* The one to be understood in five seconds: nobody near has it, the DHT is slow. */
static inline struct span scene_slow_discovery(struct trace *t, struct clock_manual *c,
					       const char *iri)
{
	struct span s = trace_root(t, "sync.discover", iri, strlen(iri), NULL);

	trace_attr_str(s, "version", "bafk2bzacea3xqk", 15);
	trace_attr_bool(s, "recursive", true);
	trace_mark(s, "entry");
	trace_stage(s, "local");
	scene_wait(c, 2.4);
	trace_stage(s, "peers");
	scene_wait(c, 0.8);
	trace_mark(s, "local peers: %d found, %d synced ok", 3, 0);
	trace_stage(s, "local_sync");
	scene_failed_peer(c, s, 0, 640);
	scene_failed_peer(c, s, 1, 810);
	scene_good_peer(c, s, 2, 0.9);
	trace_mark(s, "DHT lookup start");
	trace_stage(s, "dht");
	struct span lookup = trace_child(s, "dht.lookup", "c3 1f 09 … of the IRI", 23);
	trace_stage(lookup, "bootstrap");
	scene_wait(c, 420);
	trace_stage(lookup, "lookup");
	for (int i = 1; i <= 8; i++) {
		scene_wait(c, 480);
		trace_mark(lookup, "asked %d nodes, closest at %d bits", i * 8, 160 - i * 9);
	}
	trace_errorf(lookup, "3 nodes did not answer");
	trace_mark(s, "DHT peer sync start");
	scene_wait(c, 160);
	trace_finish(lookup, 0, "providers");
	trace_stage(s, "dht_sync");
	scene_good_peer(c, s, 3, 1.1);
	trace_stage(s, "exit");
	scene_wait(c, 1);
	trace_mark(s, "exit: resolved from the DHT");
	trace_finish(s, 0, "dht");
	return s;
}

static inline void scene_fast_discovery(struct trace *t, struct clock_manual *c, const char *iri,
					double pace)
{
	struct span s = trace_root(t, "sync.discover", iri, strlen(iri), NULL);

	trace_stage(s, "local");
	scene_wait(c, 1.2 * pace);
	trace_stage(s, "peers");
	scene_wait(c, 0.6);
	trace_stage(s, "local_sync");
	scene_good_peer(c, s, 0, pace);
	trace_stage(s, "exit");
	scene_wait(c, 0.5);
	trace_finish(s, 0, "local");
}

static inline void scene_failed_discovery(struct trace *t, struct clock_manual *c, const char *iri)
{
	struct span s = trace_root(t, "sync.discover", iri, strlen(iri), NULL);

	trace_stage(s, "local");
	scene_wait(c, 1.1);
	trace_stage(s, "local_sync");
	for (unsigned i = 0; i < 4; i++)
		scene_failed_peer(c, s, i, 500 + 130 * i);
	trace_stage(s, "dht");
	scene_wait(c, 3100);
	trace_errorf(s, "no provider among %d nodes", 64);
	trace_finish(s, ERR_NOT_FOUND, "notfound");
}

/* Many peers at once, most of them unreachable, after a while in which nothing was recorded. */
static inline struct span scene_wide_discovery(struct trace *t, struct clock_manual *c,
					       const char *iri, unsigned peers)
{
	struct span s = trace_root(t, "sync.discover", iri, strlen(iri), NULL), peer[64];
	unsigned count = MIN(peers, 64u);

	trace_stage(s, "local");
	scene_wait(c, 900);
	trace_stage(s, "local_sync");
	for (unsigned i = 0; i < count; i++) {
		peer[i] = scene_peer(s, i);
		trace_stage(peer[i], "dial");
		scene_wait(c, 12);
	}
	for (unsigned i = 0; i < count; i++) {
		scene_wait(c, 30 + 7 * (i % 5));
		if (i % 3 != 0)
			trace_errorf(peer[i], "no answer");
		else
			trace_stage(peer[i], "fetch");
		trace_finish(peer[i], i % 3 != 0 ? UV_ETIMEDOUT : 0, i % 3 != 0 ? "timeout" : NULL);
	}
	scene_good_peer(c, s, 1, 3);
	trace_stage(s, "exit");
	trace_finish(s, 0, "local");
	return s;
}

#define SCENE_EVIL                                                                                 \
	"\"'><script>window.pwned=1</script><img src=x "                                           \
	"onerror=window.pwned=1>\xc3(\xe2\x80\xae&amp;"

/* What peers and users can name, and what they cannot: nothing of it may become markup. */
static inline void scene_hostile(struct trace *t, struct clock_manual *c)
{
	static const char evil[] = SCENE_EVIL;
	struct span s = trace_root(t, "<i>evil", evil, sizeof(evil) - 1, NULL);

	trace_stage(s, "<stage onclick=window.pwned=1>");
	trace_mark(s, "said %s", evil);
	trace_errorf(s, "failed %s", evil);
	trace_attr_str(s, "<key>", evil, sizeof(evil) - 1);
	for (int i = 0; i < 4; i++) {
		struct span kid = trace_child(s, "<kid>", evil, sizeof(evil) - 1);

		trace_stage(kid, "\"><script>window.pwned=1</script>");
		scene_wait(c, 3);
		trace_mark(kid, "%s", evil);
		trace_finish(kid, UV_ETIMEDOUT, "<outcome>");
	}
	scene_wait(c, 5);
	trace_finish(s, ERR_REFUSED, "<outcome>\"");
}

/** Fills the store; yields the slow discovery, finished. The last one is still at work. */
static inline struct span scene_fill(struct trace *t, struct clock_manual *c)
{
	static const char slow_iri[] =
		"hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/field-notes/2026/herons";
	struct span slow, active, linked;
	char iri[128];

	for (int i = 0; i < 9; i++) {
		(void)snprintf(
			iri, sizeof(iri),
			"hm://z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH/book/chapter-%d", i);
		scene_fast_discovery(t, c, iri, 0.4 + 0.35 * i);
		scene_wait(c, 4100);
	}
	slow = scene_slow_discovery(t, c, slow_iri);
	scene_wait(c, 2500);
	linked = trace_detach(slow, "sync.closure", slow_iri, strlen(slow_iri));
	trace_stage(linked, "fetch");
	scene_wait(c, 1900);
	trace_finish(linked, 0, NULL);
	scene_failed_discovery(t, c, "hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/gone");
	scene_wait(c, 700);
	scene_fast_discovery(t, c, SCENE_HOSTILE, 2);
	scene_wait(c, 300);
	active = trace_root(t, "sync.discover", slow_iri, strlen(slow_iri), NULL);
	trace_link(active, slow, "retry of");
	trace_stage(active, "local");
	scene_wait(c, 3);
	trace_stage(active, "local_sync");
	scene_good_peer(c, active, 1, 1.5);
	trace_stage(active, "dht");
	scene_wait(c, 1250);
	return slow;
}
