#include "daemon/figures.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/json.h"
#include "daemon/network.h"
#include "daemon/otlp_push.h"
#include "daemon/push.h"
#include "daemon/report.h"
#include "daemon/sources.h"

/* Every folder hands out its figures as a struct of unsigned counters; a table names them. */
struct figure {
	const char *name;
	size_t offset, size;
};
/* clang-format off */
#define F(type, field) { #field, offsetof(struct type, field), sizeof(((struct type *)NULL)->field) }
/* clang-format on */

static const struct figure store_table[] = {
	F(store_stats, objects),     F(store_stats, commits),	    F(store_stats, trees),
	F(store_stats, blobs),	     F(store_stats, blob_bytes),    F(store_stats, wanted),
	F(store_stats, stashed),     F(store_stats, refused),	    F(store_stats, conflicts),
	F(store_stats, peers),	     F(store_stats, subscriptions), F(store_stats, db_bytes),
	F(store_stats, wal_bytes),   F(store_stats, queue_depth),   F(store_stats, queue_peak),
	F(store_stats, requests),    F(store_stats, transactions),  F(store_stats, failed),
	F(store_stats, tx_p50_us),   F(store_stats, tx_p99_us),	    F(store_stats, tx_max_us),
	F(store_stats, wait_max_us), F(store_stats, stuck_ms),
};

static const struct figure net_table[] = {
	F(net_stats, conns),	      F(net_stats, dials),
	F(net_stats, dial_failures),  F(net_stats, twins_met),
	F(net_stats, checks),	      F(net_stats, checks_failed),
	F(net_stats, accepted),	      F(net_stats, handshake_failures),
	F(net_stats, refused_limit),  F(net_stats, protocol_errors),
	F(net_stats, gave_way),	      F(net_stats, refused_buffers),
	F(net_stats, buffered_bytes), F(net_stats, unsent_bytes),
	F(net_stats, sent_bytes),     F(net_stats, received_bytes),
	F(net_stats, streams_opened), F(net_stats, streams_refused),
};

static const struct figure sync_table[] = {
	F(sync_stats, sessions),
	F(sync_stats, sessions_ok),
	F(sync_stats, sessions_failed),
	F(sync_stats, sessions_again),
	F(sync_stats, active_sessions),
	F(sync_stats, blobs_fetched),
	F(sync_stats, bytes_fetched),
	F(sync_stats, blobs_served),
	F(sync_stats, bytes_served),
	F(sync_stats, duplicates),
	F(sync_stats, refused_blobs),
	F(sync_stats, overtaken),
	F(sync_stats, late_blobs),
	F(sync_stats, late_bytes),
	F(sync_stats, fetch_bytes),
	F(sync_stats, wants_over_limit),
	F(sync_stats, rounds),
	F(sync_stats, serves),
	F(sync_stats, active_serves),
	F(sync_stats, refusals_busy),
	F(sync_stats, refusals_other),
	F(sync_stats, turned_away),
	F(sync_stats, gave_way),
	F(sync_stats, unread),
	F(sync_stats, busy_waits),
	F(sync_stats, room_waits),
	F(sync_stats, held_bytes),
	F(sync_stats, held_peak_bytes),
	F(sync_stats, known_peers),
	F(sync_stats, standing_peers),
	F(sync_stats, claims),
	F(sync_stats, claim_waits),
	F(sync_stats, hearers),
	F(sync_stats, subscribers),
	F(sync_stats, follows),
	F(sync_stats, announced_out),
	F(sync_stats, announced_in),
	F(sync_stats, announce_dropped),
	F(sync_stats, follows_refused),
	F(sync_stats, sets_hot),
	F(sync_stats, sets_checked),
	F(sync_stats, sets_read),
	F(sync_stats, sets_kept),
	F(sync_stats, sets_kept_bytes),
	F(sync_stats, sets_dropped),
	F(sync_stats, dialbacks_in),
	F(sync_stats, dialbacks_reached),
	F(sync_stats, dialbacks_refused),
	F(sync_stats, dialbacks_out),
};

static const struct figure discovery_table[] = {
	F(discovery_stats, started),
	F(discovery_stats, joined),
	F(discovery_stats, active),
	F(discovery_stats, background_active),
	F(discovery_stats, background_dropped),
	F(discovery_stats, subscriptions),
	F(discovery_stats, benched),
	F(discovery_stats, redial_peers),
	F(discovery_stats, redial_lost),
	F(discovery_stats, redials),
	F(discovery_stats, redials_reached),
	F(discovery_stats, redial_came_back),
	F(discovery_stats, redial_no_room),
	F(discovery_stats, sub_overdue),
	F(discovery_stats, sub_overdue_ms),
	F(discovery_stats, offences),
	F(discovery_stats, sub_sleeping),
	F(discovery_stats, sub_backing_off),
	F(discovery_stats, sub_hot_queued),
	F(discovery_stats, sub_cold_queued),
	F(discovery_stats, sub_hot_running),
	F(discovery_stats, sub_cold_running),
	F(discovery_stats, sub_hot_started),
	F(discovery_stats, sub_cold_started),
	F(discovery_stats, sub_failed),
	F(discovery_stats, sub_preempted),
	F(discovery_stats, sub_news),
	F(discovery_stats, sub_news_vain),
	F(discovery_stats, sub_refused),
	F(discovery_stats, sub_queued_max_ms),
	F(discovery_stats, misses),
	F(discovery_stats, miss_hits),
	F(discovery_stats, misses_made_room),
	F(discovery_stats, searches_refused),
};

static const struct figure trace_table[] = {
	F(trace_counts, created),	  F(trace_counts, finished),
	F(trace_counts, evicted),	  F(trace_counts, dropped_spans),
	F(trace_counts, dropped_marks),	  F(trace_counts, late_calls),
	F(trace_counts, kept_roots),	  F(trace_counts, active_roots),
	F(trace_counts, used_bytes),	  F(trace_counts, budget_bytes),
	F(trace_counts, created_spans),	  F(trace_counts, finished_spans),
	F(trace_counts, evicted_spans),	  F(trace_counts, dropped_parts),
	F(trace_counts, pinned_roots),	  F(trace_counts, dropped_pins),
	F(trace_counts, dropped_figures),
};

static const struct figure otlp_table[] = {
	F(otlp_push_figures, queued),	       F(otlp_push_figures, sent_roots),
	F(otlp_push_figures, sent_spans),      F(otlp_push_figures, sent_batches),
	F(otlp_push_figures, sent_bytes),      F(otlp_push_figures, refused_spans),
	F(otlp_push_figures, retries),	       F(otlp_push_figures, dropped_queue),
	F(otlp_push_figures, dropped_gone),    F(otlp_push_figures, dropped_size),
	F(otlp_push_figures, dropped_refused), F(otlp_push_figures, dropped_too_late),
	F(otlp_push_figures, failing),	       F(otlp_push_figures, last_status),
};

static const struct figure push_table[] = {
	F(push_figures, cycles),	  F(push_figures, sent_cpu),
	F(push_figures, sent_heap),	  F(push_figures, sent_bytes),
	F(push_figures, failed_captures), F(push_figures, failed_uploads),
	F(push_figures, retries),	  F(push_figures, held),
	F(push_figures, unauthorized),	  F(push_figures, skipped_busy),
	F(push_figures, skipped_held),	  F(push_figures, failing),
	F(push_figures, last_status),
};

static const struct figure report_table[] = {
	F(report_figures, queued),	 F(report_figures, sent_tasks),
	F(report_figures, sent_frames),	 F(report_figures, sent_bytes),
	F(report_figures, retries),	 F(report_figures, dropped_queue),
	F(report_figures, dropped_gone), F(report_figures, dropped_failed),
	F(report_figures, failing),	 F(report_figures, last_status),
};

static const struct figure http_table[] = {
	F(http_server_stats, connections),   F(http_server_stats, requests),
	F(http_server_stats, refused_guard), F(http_server_stats, refused_limit),
	F(http_server_stats, bad_requests),  F(http_server_stats, open_connections),
};

static const struct figure memory_table[] = {
	F(mem_stats, live_bytes),  F(mem_stats, live_count), F(mem_stats, peak_bytes),
	F(mem_stats, total_count), F(mem_stats, refused),
};

static const struct figure loop_table[] = {
	F(loop_lag, turns),	 F(loop_lag, busy_us),	    F(loop_lag, max_us),
	F(loop_lag, p50_us),	 F(loop_lag, p99_us),	    F(loop_lag, over_1ms),
	F(loop_lag, over_10ms),	 F(loop_lag, over_50ms),    F(loop_lag, cpu_p99_us),
	F(loop_lag, cpu_max_us), F(loop_lag, cpu_over_1ms),
};

static const struct figure lan_table[] = {
	F(mdns_stats, peers),
	F(mdns_stats, links),
	F(mdns_stats, published),
	F(mdns_stats, instances),
	F(mdns_stats, packets_in),
	F(mdns_stats, packets_out),
	F(mdns_stats, send_failures),
	F(mdns_stats, queries_in),
	F(mdns_stats, responses_in),
	F(mdns_stats, queries_out),
	F(mdns_stats, responses_out),
	F(mdns_stats, conflicts),
	F(mdns_stats, dropped_malformed),
	F(mdns_stats, dropped_rate),
	F(mdns_stats, dropped_source),
	F(mdns_stats, dropped_too_long),
	F(mdns_stats, instances_dropped),
	F(mdns_stats, instances_foreign),
};

static const struct figure dht_family_table[] = {
	F(dht_family_stats, nodes), F(dht_family_stats, good),	    F(dht_family_stats, cached),
	F(dht_family_stats, bep42), F(dht_family_stats, log2_size),
};

static const struct figure dht_table[] = {
	F(dht_stats, announcements),	 F(dht_stats, announcements_due),
	F(dht_stats, announces),	 F(dht_stats, lookups),
	F(dht_stats, lookups_busy),	 F(dht_stats, open_queries),
	F(dht_stats, packets_in),	 F(dht_stats, packets_out),
	F(dht_stats, bytes_in),		 F(dht_stats, bytes_out),
	F(dht_stats, queries_out),	 F(dht_stats, replies_in),
	F(dht_stats, errors_in),	 F(dht_stats, timeouts),
	F(dht_stats, unreachable),	 F(dht_stats, queries_in),
	F(dht_stats, replies_out),	 F(dht_stats, errors_out),
	F(dht_stats, queries_held),	 F(dht_stats, stored_keys),
	F(dht_stats, stored_peers),	 F(dht_stats, store_refused),
	F(dht_stats, dropped_malformed), F(dht_stats, dropped_stray),
	F(dht_stats, dropped_limit),	 F(dht_stats, dropped_budget),
	F(dht_stats, dropped_source),	 F(dht_stats, dropped_read_only),
	F(dht_stats, dropped_send),	 F(dht_stats, id_changes),
	F(dht_stats, candidates),	 F(dht_stats, up_ms),
};

static const struct figure profiler_table[] = {
	F(profiler_stats, captures),
	F(profiler_stats, failed),
	F(profiler_stats, cpu_captures),
	F(profiler_stats, timers),
	F(profiler_stats, threads),
	F(profiler_stats, threads_created),
	F(profiler_stats, samples),
	F(profiler_stats, overruns),
	F(profiler_stats, lost),
	F(profiler_stats, handler_ns),
	F(profiler_stats, loop_turns),
	F(profiler_stats, loop_busy_ns),
	F(profiler_stats, loop_longest_ns),
	F(profiler_stats, loop_stalls),
	F(profiler_stats, waits),
	F(profiler_stats, waits_lost),
	F(profiler_stats, waits_ns),
	F(profiler_stats, untimed),
	F(profiler_stats, timers_refused),
	F(profiler_stats, helpers),
	F(profiler_stats, helpers_died),
	F(profiler_stats, names_missing),
};

static json_t *figures(const void *from, const struct figure *table, size_t count)
{
	json_t *o = json_object();

	for (size_t i = 0; i < count; i++) {
		const char *at = (const char *)from + table[i].offset;
		uint64_t value;
		unsigned small;

		if (table[i].size == sizeof(value)) {
			memcpy(&value, at, sizeof(value));
		} else {
			memcpy(&small, at, sizeof(small));
			value = small;
		}
		json_object_set_new(o, table[i].name, json_integer((json_int_t)value));
	}
	return o;
}
#define FIGURES(from, table) figures(&(from), table, ARRAY_SIZE(table))

static json_t *store_figures(struct daemon *d)
{
	struct store_stats s;
	json_t *o;

	store_stats(d->store, &s);
	o = FIGURES(s, store_table);
	json_object_set_new(o, "last_error",
			    json_string(s.last_error != 0 ? s.last_error_text : ""));
	return o;
}

static json_t *net_figures(struct daemon *d)
{
	struct net_stats s;

	net_stats(d->net, &s);
	return FIGURES(s, net_table);
}

static json_t *sync_figures(struct daemon *d)
{
	struct sync_stats s;

	sync_stats(d->sync, &s);
	return FIGURES(s, sync_table);
}

static json_t *discovery_figures(struct daemon *d)
{
	struct discovery_stats s;
	json_t *o, *outcomes = json_object(), *answers = json_object();

	discovery_stats(d->discovery, &s);
	o = FIGURES(s, discovery_table);
	for (int i = 0; i <= DISCOVERY_ERROR; i++)
		json_object_set_new(outcomes, discovery_outcome_name((enum discovery_outcome)i),
				    json_integer((json_int_t)s.by_outcome[i]));
	json_object_set_new(o, "outcomes", outcomes);
	for (int i = 0; i <= DISCOVERY_FAULT; i++)
		json_object_set_new(answers, discovery_answer_name((enum discovery_answer)i),
				    json_integer((json_int_t)s.by_answer[i]));
	json_object_set_new(o, "answers", answers);
	return o;
}

static json_t *trace_figures(struct daemon *d)
{
	struct trace_counts s;

	trace_counts(d->trace, &s);
	return FIGURES(s, trace_table);
}

static json_t *otlp_figures(struct daemon *d)
{
	struct otlp_push_figures s;
	json_t *o;

	if (d->otlp == NULL)
		return json_pack("{s:s}", "state", "off");
	otlp_push_figures(d->otlp, &s);
	o = FIGURES(s, otlp_table);
	json_object_set_new(o, "state", json_string(s.failing > 0 ? "failing" : "on"));
	json_object_set_new(o, "why", json_string(otlp_push_why(d->otlp)));
	return o;
}

static json_t *push_figures_of(struct daemon *d)
{
	struct push_figures s;
	json_t *o;

	if (d->push == NULL)
		return json_pack("{s:s, s:s}", "state", "off", "why", d->push_why);
	push_figures(d->push, &s);
	o = FIGURES(s, push_table);
	json_object_set_new(o, "state", json_string(s.failing > 0 ? "failing" : "on"));
	json_object_set_new(o, "doing", json_string(push_state(d->push)));
	return o;
}

static json_t *report_figures_of(struct daemon *d)
{
	struct report_figures s;
	json_t *o;

	if (d->report == NULL)
		return json_pack("{s:s, s:s}", "state", "off", "why", d->report_why);
	report_figures(d->report, &s);
	o = FIGURES(s, report_table);
	json_object_set_new(o, "state", json_string(s.failing > 0 ? "failing" : "on"));
	return o;
}

static json_t *http_figures(struct http_server *server)
{
	struct http_server_stats s;

	http_server_stats(server, &s);
	return FIGURES(s, http_table);
}

static json_t *memory_figures(void)
{
	struct mem_stats s;

	mem_stats(&s);
	return FIGURES(s, memory_table);
}

static json_t *loop_figures(struct daemon *d)
{
	struct loop_lag lag;

	loop_lag(&d->loop, &lag);
	return FIGURES(lag, loop_table);
}

static json_t *listen_addresses(struct daemon *d)
{
	struct multiaddr addrs[NET_ADDRS_MAX];
	size_t n = net_addrs(d->net, addrs, ARRAY_SIZE(addrs));
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_multiaddr(&addrs[i]));
	return list;
}

static json_t *lan_figures(struct daemon *d)
{
	const struct mdns *lan = sources_lan(d->sources);
	json_t *o = json_pack("{s:s, s:s}", "wanted", options_text(d->options, OPT_LAN), "state",
			      sources_lan_state(d->sources));
	struct mdns_stats s;

	if (lan == NULL)
		return o;
	mdns_stats(lan, &s);
	(void)json_object_update_new(o, FIGURES(s, lan_table));
	return o;
}

static json_t *dht_family(const struct dht_family_stats *f)
{
	json_t *o = FIGURES(*f, dht_family_table);
	char text[DHT_ADDRESS_TEXT_SIZE] = "";

	if (f->external.family != 0)
		dht_address_format(&f->external, text);
	json_object_set_new(o, "external", json_string(text));
	return o;
}

static json_t *dht_figures(struct daemon *d)
{
	static const char *const names[DHT_FAMILIES] = { "ipv4", "ipv6" };
	const struct dht *dht = sources_dht(d->sources);
	json_t *o = json_pack("{s:s, s:s}", "wanted", options_text(d->options, OPT_DHT), "state",
			      sources_dht_state(d->sources));
	struct dht_stats s;

	if (dht == NULL)
		return o;
	dht_stats(dht, &s);
	(void)json_object_update_new(o, FIGURES(s, dht_table));
	json_object_set_new(o, "port", json_integer(sources_dht_port(d->sources)));
	json_object_set_new(o, "read_only", json_boolean(s.read_only));
	json_object_set_new(o, "left_out", json_integer((json_int_t)sources_left_out(d->sources)));
	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		if (s.families[i].on)
			json_object_set_new(o, names[i], dht_family(&s.families[i]));
	}
	return o;
}

static json_t *profiler_figures(struct daemon *d)
{
	struct profiler_stats s;
	json_t *o;

	profiler_stats(d->profiler, &s);
	o = FIGURES(s, profiler_table);
	if (s.untimed > 0) {
		json_object_set_new(o, "untimed_threads", json_string(s.untimed_names));
		json_object_set_new(o, "untimed_why", json_string(err_str(s.untimed_error)));
		json_object_set_new(o, "untimed_sampled", json_boolean(s.untimed_sampled));
	}
	return o;
}

json_t *figures_all(struct daemon *d)
{
	uint64_t up_ms = runner_now_ms(&d->loop.runner) - d->start_ms;
	json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:o, s:o, s:I, s:I, s:s}", "v", 1, "version",
			      PEERSCOPE_VERSION, "pid", (int)getpid(), "data", d->dir, "peer_id",
			      json_peer_id(&d->node.public), "space", json_space(&d->space.public),
			      "uptime_s", (json_int_t)(up_ms / 1000), "uptime_ms",
			      (json_int_t)up_ms, "state", d->stopping ? "stopping" : "ready");

	json_object_set_new(o, "started", json_time(d->start_wall_s));
	json_object_set_new(o, "listen", listen_addresses(d));
	json_object_set_new(o, "debug",
			    d->debug_url[0] == 'u' ? json_string(d->debug_url) :
						     json_sprintf("%s/debug/", d->debug_url));
	json_object_set_new(o, "log_level", json_string(options_text(d->options, OPT_LOG_LEVEL)));
	json_object_set_new(o, "network", network_figures(d));
	json_object_set_new(o, "lan", lan_figures(d));
	json_object_set_new(o, "dht", dht_figures(d));
	json_object_set_new(o, "store", store_figures(d));
	json_object_set_new(o, "net", net_figures(d));
	json_object_set_new(o, "sync", sync_figures(d));
	json_object_set_new(o, "discovery", discovery_figures(d));
	json_object_set_new(o, "trace", trace_figures(d));
	json_object_set_new(o, "otlp", otlp_figures(d));
	json_object_set_new(o, "push", push_figures_of(d));
	json_object_set_new(o, "report", report_figures_of(d));
	json_object_set_new(o, "profiler", profiler_figures(d));
	json_object_set_new(o, "debug_http", http_figures(d->debug));
	json_object_set_new(o, "control_http", http_figures(d->control_http));
	json_object_set_new(o, "memory", memory_figures());
	json_object_set_new(o, "loop", loop_figures(d));
	json_object_set_new(o, "operations", json_integer(d->loop.runner.op_count));
	return o;
}
