/* status: one screen. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "daemon/cli.h"
#include "daemon/progress.h"

static uint64_t figure(const json_t *status, const char *part, const char *name)
{
	return json_get_count(json_object_get(status, part), name);
}

static void write_duration(struct buf *out, uint64_t s)
{
	if (s >= 86400)
		buf_printf(out, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		buf_printf(out, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else if (s >= 60)
		buf_printf(out, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else
		buf_printf(out, "%" PRIu64 " s", s);
}

static void write_count(struct buf *out, uint64_t n, const char *one, const char *many)
{
	buf_printf(out, "%" PRIu64 " %s", n, plural(n, one, many));
}

static void write_identity(struct buf *out, const json_t *s)
{
	json_t *address;
	size_t i;

	buf_printf(out, "peerscope  %s, pid %" PRIu64 ", up ", json_get_text(s, "version"),
		   json_get_count(s, "pid"));
	write_duration(out, json_get_count(s, "uptime_s"));
	buf_printf(out, "\ndata       %s\npeer       %s\nspace      %s\n", json_get_text(s, "data"),
		   json_get_text(s, "peer_id"), json_get_text(s, "space"));
	json_array_foreach(json_object_get(s, "listen"), i, address)
		buf_printf(out, "%s  %s\n", i == 0 ? "listen   " : "         ",
			   json_string_value(address));
	buf_printf(out, "debug      %s\n", json_get_text(s, "debug"));
}

static void write_sources(struct buf *out, const json_t *s)
{
	const json_t *lan = json_object_get(s, "lan"), *dht = json_object_get(s, "dht");

	buf_printf(out, "network    %s\nlan        %s",
		   json_get_text(json_object_get(s, "network"), "sentence"),
		   json_get_text(lan, "state"));
	if (json_object_get(lan, "peers") != NULL) {
		buf_write_str(out, ", ");
		write_count(out, json_get_count(lan, "peers"), "peer", "peers");
	}
	buf_printf(out, "\ndht        %s", json_get_text(dht, "state"));
	if (json_object_get(dht, "port") != NULL) {
		buf_printf(out, ", UDP port %" PRIu64 ", ", json_get_count(dht, "port"));
		write_count(out,
			    json_get_count(json_object_get(dht, "ipv4"), "good") +
				    json_get_count(json_object_get(dht, "ipv6"), "good"),
			    "node, ", "nodes, ");
		write_count(out, json_get_count(dht, "announcements"), "key announced",
			    "keys announced");
	}
	buf_write_u8(out, '\n');
}

static void write_figures(struct buf *out, const json_t *s)
{
	buf_write_str(out, "store      ");
	write_count(out, figure(s, "store", "objects"), "object, ", "objects, ");
	write_count(out, figure(s, "store", "commits"), "version, ", "versions, ");
	write_count(out, figure(s, "store", "blobs"), "blob (", "blobs (");
	progress_write_bytes(out, figure(s, "store", "blob_bytes"));
	buf_printf(out, "), %" PRIu64 " more known of, ", figure(s, "store", "wanted"));
	write_count(out, figure(s, "store", "conflicts"), "conflict\n", "conflicts\n");
	if (json_get_text(json_object_get(s, "store"), "last_error")[0] != '\0')
		buf_printf(out, "           last error: %s\n",
			   json_get_text(json_object_get(s, "store"), "last_error"));
	buf_printf(out, "peers      %" PRIu64 " connected, %" PRIu64 " known; ",
		   figure(s, "net", "conns"), figure(s, "store", "peers"));
	progress_write_bytes(out, figure(s, "net", "received_bytes"));
	buf_write_str(out, " received, ");
	progress_write_bytes(out, figure(s, "net", "sent_bytes"));
	buf_write_str(out, " sent\nsync       ");
	write_count(out, figure(s, "sync", "sessions"), "session, ", "sessions, ");
	buf_printf(out, "%" PRIu64 " ok, %" PRIu64 " failed, %" PRIu64 " active; ",
		   figure(s, "sync", "sessions_ok"), figure(s, "sync", "sessions_failed"),
		   figure(s, "sync", "active_sessions"));
	write_count(out, figure(s, "sync", "blobs_fetched"), "blob fetched, ", "blobs fetched, ");
	buf_printf(out, "%" PRIu64 " served\n", figure(s, "sync", "blobs_served"));
	buf_printf(out,
		   "discovery  %" PRIu64 " started, %" PRIu64 " active, %" PRIu64
		   " answered from memory\n",
		   figure(s, "discovery", "started"), figure(s, "discovery", "active"),
		   figure(s, "discovery", "miss_hits"));
	buf_write_str(out, "subscribed ");
	write_count(out, figure(s, "discovery", "subscriptions"), "scope: ", "scopes: ");
	buf_printf(out, "%" PRIu64 " running, %" PRIu64 " waiting, %" PRIu64 " backing off\n",
		   figure(s, "discovery", "sub_hot_running") +
			   figure(s, "discovery", "sub_cold_running"),
		   figure(s, "discovery", "sub_hot_queued") +
			   figure(s, "discovery", "sub_cold_queued"),
		   figure(s, "discovery", "sub_backing_off"));
	buf_printf(out, "traces     %" PRIu64 " kept, %" PRIu64 " active, ",
		   figure(s, "trace", "kept_roots"), figure(s, "trace", "active_roots"));
	progress_write_bytes(out, figure(s, "trace", "used_bytes"));
	buf_write_str(out, " of ");
	progress_write_bytes(out, figure(s, "trace", "budget_bytes"));
	buf_write_u8(out, '\n');
	write_sources(out, s);
}

int cli_status(struct cli *c)
{
	json_t *status = NULL;
	struct buf text;
	int rc;

	if (c->argc != 0)
		return cli_usage("status", "it takes no argument");
	rc = client_json(c->client, "GET", "/v1/status", NULL, &status);
	if (rc < 0)
		return cli_client_failed(c, rc);
	if (c->json) {
		cli_print_json(status);
		return EXIT_DONE;
	}
	buf_init(&text, 64 << 10);
	write_identity(&text, status);
	write_figures(&text, status);
	if (buf_err(&text) == 0)
		output_text(&text);
	buf_fini(&text);
	json_decref(status);
	return EXIT_DONE;
}
