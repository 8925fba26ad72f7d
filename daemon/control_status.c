/* GET /v1/status: one object with everything that is worth a look. Members are added, never renamed
 * or removed. */
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"

#define FIGURE(object, from, name)                                                                 \
	json_object_set_new(object, #name, json_integer((json_int_t)(from).name))

static json_t *store_figures(struct daemon *d)
{
	struct store_stats s;
	json_t *o = json_object();

	store_stats(d->store, &s);
	FIGURE(o, s, objects), FIGURE(o, s, commits), FIGURE(o, s, trees), FIGURE(o, s, blobs),
		FIGURE(o, s, blob_bytes);
	FIGURE(o, s, wanted), FIGURE(o, s, stashed), FIGURE(o, s, refused), FIGURE(o, s, conflicts),
		FIGURE(o, s, peers);
	FIGURE(o, s, subscriptions), FIGURE(o, s, db_bytes), FIGURE(o, s, wal_bytes),
		FIGURE(o, s, queue_depth);
	FIGURE(o, s, queue_peak), FIGURE(o, s, requests), FIGURE(o, s, transactions),
		FIGURE(o, s, failed);
	FIGURE(o, s, tx_p50_us), FIGURE(o, s, tx_p99_us), FIGURE(o, s, tx_max_us),
		FIGURE(o, s, wait_max_us);
	json_object_set_new(o, "last_error",
			    json_string(s.last_error != 0 ? s.last_error_text : ""));
	return o;
}

static json_t *net_figures(struct daemon *d)
{
	struct net_stats s;
	json_t *o = json_object();

	net_stats(d->net, &s);
	FIGURE(o, s, conns), FIGURE(o, s, dials), FIGURE(o, s, dial_failures),
		FIGURE(o, s, accepted);
	FIGURE(o, s, handshake_failures), FIGURE(o, s, refused_limit),
		FIGURE(o, s, protocol_errors);
	FIGURE(o, s, sent_bytes), FIGURE(o, s, received_bytes), FIGURE(o, s, streams_opened),
		FIGURE(o, s, streams_refused);
	return o;
}

static json_t *sync_figures(struct daemon *d)
{
	struct sync_stats s;
	json_t *o = json_object();

	sync_stats(d->sync, &s);
	FIGURE(o, s, sessions), FIGURE(o, s, sessions_ok), FIGURE(o, s, sessions_failed),
		FIGURE(o, s, active_sessions);
	FIGURE(o, s, blobs_fetched), FIGURE(o, s, bytes_fetched), FIGURE(o, s, blobs_served),
		FIGURE(o, s, bytes_served);
	FIGURE(o, s, duplicates), FIGURE(o, s, refused_blobs), FIGURE(o, s, rounds),
		FIGURE(o, s, serves);
	FIGURE(o, s, active_serves), FIGURE(o, s, refusals_busy), FIGURE(o, s, refusals_other),
		FIGURE(o, s, claims);
	FIGURE(o, s, claim_waits), FIGURE(o, s, subscribers), FIGURE(o, s, follows),
		FIGURE(o, s, announced_out);
	FIGURE(o, s, announced_in), FIGURE(o, s, announce_dropped);
	return o;
}

static json_t *discovery_figures(struct daemon *d)
{
	struct discovery_stats s;
	json_t *o = json_object(), *outcomes = json_object();

	discovery_stats(d->discovery, &s);
	FIGURE(o, s, started), FIGURE(o, s, joined), FIGURE(o, s, active),
		FIGURE(o, s, background_active);
	FIGURE(o, s, background_dropped), FIGURE(o, s, subscriptions), FIGURE(o, s, benched);
	for (int i = 0; i <= DISCOVERY_ERROR; i++)
		json_object_set_new(outcomes, discovery_outcome_name((enum discovery_outcome)i),
				    json_integer((json_int_t)s.by_outcome[i]));
	json_object_set_new(o, "outcomes", outcomes);
	return o;
}

static json_t *trace_figures(struct daemon *d)
{
	struct trace_counts s;
	json_t *o = json_object();

	trace_counts(d->trace, &s);
	FIGURE(o, s, created), FIGURE(o, s, finished), FIGURE(o, s, evicted),
		FIGURE(o, s, dropped_spans), FIGURE(o, s, dropped_marks);
	FIGURE(o, s, late_calls), FIGURE(o, s, kept_roots), FIGURE(o, s, active_roots),
		FIGURE(o, s, used_bytes);
	FIGURE(o, s, budget_bytes);
	return o;
}

static json_t *http_figures(struct http_server *server)
{
	struct http_server_stats s;
	json_t *o = json_object();

	http_server_stats(server, &s);
	FIGURE(o, s, connections), FIGURE(o, s, requests), FIGURE(o, s, refused_guard),
		FIGURE(o, s, refused_limit);
	FIGURE(o, s, bad_requests), FIGURE(o, s, open_connections);
	return o;
}

static json_t *memory_figures(void)
{
	struct mem_stats s;
	json_t *o = json_object();

	mem_stats(&s);
	FIGURE(o, s, live_bytes), FIGURE(o, s, live_count), FIGURE(o, s, peak_bytes),
		FIGURE(o, s, total_count), FIGURE(o, s, refused);
	return o;
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

static json_t *source(struct daemon *d, enum option_id id)
{
	return json_pack("{s:s, s:s}", "wanted", options_text(d->options, id), "state",
			 daemon_source_state(d, id));
}

static void on_status(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
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
	json_object_set_new(o, "lan", source(d, OPT_LAN));
	json_object_set_new(o, "dht", source(d, OPT_DHT));
	json_object_set_new(o, "store", store_figures(d));
	json_object_set_new(o, "net", net_figures(d));
	json_object_set_new(o, "sync", sync_figures(d));
	json_object_set_new(o, "discovery", discovery_figures(d));
	json_object_set_new(o, "trace", trace_figures(d));
	json_object_set_new(o, "debug_http", http_figures(d->debug));
	json_object_set_new(o, "control_http", http_figures(d->control_http));
	json_object_set_new(o, "memory", memory_figures());
	json_object_set_new(o, "operations", json_integer(d->loop.runner.op_count));
	control_reply(r, o);
}

int control_status_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_GET_, "/v1/status", "state and figures of this daemon (JSON)",
			  on_status, c);
}
