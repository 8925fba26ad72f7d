/* Many DHT nodes in one process, driven by one JSON request a line on stdin and answering with one
 * JSON line each: start, addnode, announce, lookup, put, get, stat. For labs that mix this node
 * with other implementations. Requests are answered in order. */
#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/mem.h"
#include "discovery/dht/dht.h"

enum { NODES_MAX = 1024, LINE_MAX_BYTES = 1 << 20, PEER_TEXTS_MAX = DHT_LOOKUP_PEERS_MAX };

struct adapter {
	struct loop loop;
	uv_pipe_t in;
	char chunk[65536];
	struct buf line;
	struct dht_udp *nodes[NODES_MAX];
	struct dht_lookup lookup;
	bool looking;
	const char *op;
	uint64_t started_ns, first_ns;
	json_t *peers;
	uint8_t target[DHT_ID_SIZE];
	struct buf value; /* bencoded: to put, or received */
	bool got_value;
	uint16_t port;
};

static void answer(json_t *reply)
{
	json_dumpf(reply, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(reply);
}

static double ms_since(uint64_t from_ns, uint64_t to_ns)
{
	return (double)(to_ns - from_ns) / 1e6;
}

static struct dht_udp *node_of(struct adapter *a, json_t *request)
{
	json_int_t id = json_integer_value(json_object_get(request, "node"));

	REQUIRE(id >= 0 && id < NODES_MAX && a->nodes[id] != NULL);
	return a->nodes[id];
}

static struct dht_address address_of(const char *ip, json_int_t port)
{
	struct dht_address addr = { 0 };
	char text[128];

	snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d", ip, (int)port);
	REQUIRE(dht_address_parse(text, strlen(text), &addr) == 0);
	return addr;
}

static struct dht_address address_of_pair(json_t *pair)
{
	return address_of(json_string_value(json_array_get(pair, 0)),
			  json_integer_value(json_array_get(pair, 1)));
}

static void start_node(struct adapter *a, json_t *node, json_t *bootstrap)
{
	json_int_t id = json_integer_value(json_object_get(node, "id")),
		   port = json_integer_value(json_object_get(node, "port"));
	const char *ip = json_string_value(json_object_get(node, "ip")),
		   *ip6 = json_string_value(json_object_get(node, "ip6"));
	struct dht_udp_config config = { .loop = &a->loop, .mode = DHT_MODE_AUTO };
	struct dht_address addr;
	json_t *pair;
	size_t i;
	int rc;

	REQUIRE(id >= 0 && id < NODES_MAX);
	addr = address_of(ip, port);
	config.listen[addr.family == 4 ? 0 : 1] = addr;
	if (ip6 != NULL)
		config.listen[1] = address_of(ip6, port);
	rc = dht_udp_open(&config, &a->nodes[id]);
	if (rc < 0) {
		fprintf(stderr, "cannot bind %s: %s\n", ip, err_str(rc));
		exit(1);
	}
	json_array_foreach(bootstrap, i, pair) {
		struct dht_address b = address_of_pair(pair);

		dht_add_node(dht_udp_core(a->nodes[id]), &b);
	}
}

static void do_start(struct adapter *a, json_t *request)
{
	json_t *node;
	size_t i;

	json_array_foreach(json_object_get(request, "nodes"), i, node)
		start_node(a, node, json_object_get(request, "bootstrap"));
	answer(json_object());
}

static void do_addnode(struct adapter *a, json_t *request)
{
	json_t *pair;
	size_t i;

	json_array_foreach(json_object_get(request, "addrs"), i, pair) {
		struct dht_address addr = address_of_pair(pair);

		dht_add_node(dht_udp_core(node_of(a, request)), &addr);
	}
	answer(json_object());
}

static void do_stat(struct adapter *a)
{
	json_t *nodes = json_object();

	for (unsigned i = 0; i < NODES_MAX; i++) {
		struct dht_stats s;
		char key[16];

		if (a->nodes[i] == NULL)
			continue;
		dht_stats(dht_udp_core(a->nodes[i]), &s);
		snprintf(key, sizeof(key), "%u", i);
		json_object_set_new(
			nodes, key,
			json_pack("{s:i, s:i, s:i, s:b}", "good",
				  (int)(s.families[0].good + s.families[1].good), "cached",
				  (int)(s.families[0].cached + s.families[1].cached), "bep42",
				  (int)(s.families[0].bep42 + s.families[1].bep42), "read_only",
				  s.read_only ? 1 : 0));
	}
	answer(json_pack("{s:o}", "nodes", nodes));
}

/* ---- Lookups ---- */

static void on_peer(struct dht_lookup *l, const struct dht_address *peer,
		    const struct dht_address *from)
{
	struct adapter *a = l->data;
	char text[DHT_ADDRESS_TEXT_SIZE];

	if (a->first_ns == 0)
		a->first_ns = uv_hrtime();
	dht_address_format(peer, text);
	json_array_append_new(a->peers, json_string(text));
}

static void on_value(struct dht_lookup *l, const uint8_t *v, size_t len)
{
	struct adapter *a = l->data;
	uint8_t hash[SHA_DIGEST_LENGTH];

	SHA1(v, len, hash);
	if (a->got_value || memcmp(hash, a->target, sizeof(hash)) != 0)
		return;
	a->got_value = true;
	buf_clear(&a->value);
	buf_write(&a->value, v, len);
	op_cancel(&l->op);
}

/* The text of a bencoded string. */
static json_t *value_text(const struct adapter *a)
{
	const char *colon = a->got_value ? memchr(a->value.data, ':', a->value.len) : NULL;

	if (colon == NULL)
		return json_null();
	colon++;
	return json_stringn(colon, a->value.len - (size_t)(colon - (const char *)a->value.data));
}

static void hex_of(const uint8_t *p, char ret[2 * DHT_ID_SIZE + 1])
{
	for (size_t i = 0; i < DHT_ID_SIZE; i++)
		snprintf(ret + 2 * i, 3, "%02x", p[i]);
}

static void take_lines(struct adapter *a);

static void on_looked(struct dht_lookup *l, int status)
{
	struct adapter *a = l->data;
	char hex[2 * DHT_ID_SIZE + 1];
	json_t *first = a->first_ns != 0 ? json_real(ms_since(a->started_ns, a->first_ns)) :
					   json_null();

	a->looking = false;
	hex_of(a->target, hex);
	if (strcmp(a->op, "announce") == 0)
		answer(json_pack("{s:i, s:i}", "port", (int)a->port, "stored", (int)l->stored));
	else if (strcmp(a->op, "lookup") == 0)
		answer(json_pack("{s:O, s:f, s:O, s:i, s:i, s:i}", "first_ms", first, "done_ms",
				 ms_since(a->started_ns, uv_hrtime()), "peers", a->peers, "queries",
				 (int)l->queries, "timeouts", (int)l->timeouts, "rounds",
				 (int)l->rounds));
	else if (strcmp(a->op, "put") == 0)
		answer(json_pack("{s:s, s:i}", "hash", hex, "stored", (int)l->stored));
	else
		answer(json_pack("{s:o}", "value", value_text(a)));
	json_decref(first);
	json_decref(a->peers);
	take_lines(a);
}

static void look(struct adapter *a, json_t *request, const char *op, enum dht_lookup_kind kind)
{
	json_t *timeout = json_object_get(request, "timeout");
	uint64_t timeout_ms =
		json_is_number(timeout) ? (uint64_t)(json_number_value(timeout) * 1000) : 20000;
	struct op_env env = { .runner = &a->loop.runner };
	struct dht_id id;

	memcpy(id.bytes, a->target, DHT_ID_SIZE);
	env.deadline_ms = runner_now_ms(env.runner) + timeout_ms;
	a->op = op;
	a->looking = true;
	a->peers = json_array();
	a->first_ns = 0;
	a->got_value = false;
	a->started_ns = uv_hrtime();
	a->lookup.data = a;
	a->lookup.on_peer = on_peer;
	a->lookup.on_value = on_value;
	dht_lookup_start(&a->lookup, &env, dht_udp_core(node_of(a, request)), &id, kind, on_looked);
}

static void target_from_hex(struct adapter *a, json_t *request)
{
	const char *hex = json_string_value(json_object_get(request, "hash"));

	REQUIRE(hex != NULL && strlen(hex) == 2 * DHT_ID_SIZE);
	for (size_t i = 0; i < DHT_ID_SIZE; i++) {
		char byte[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

		a->target[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
}

static void do_put(struct adapter *a, json_t *request)
{
	const char *text = json_string_value(json_object_get(request, "value"));

	buf_clear(&a->value);
	buf_printf(&a->value, "%zu:%s", strlen(text), text);
	SHA1(a->value.data, a->value.len, a->target);
	a->lookup.put_value = a->value.data;
	a->lookup.put_len = a->value.len;
	look(a, request, "put", DHT_LOOKUP_VALUE);
}

static void handle(struct adapter *a, json_t *request)
{
	const char *op = json_string_value(json_object_get(request, "op"));

	memset(&a->lookup, 0, sizeof(a->lookup));
	if (op == NULL) {
		answer(json_pack("{s:s}", "error", "no op"));
	} else if (strcmp(op, "start") == 0) {
		do_start(a, request);
	} else if (strcmp(op, "addnode") == 0) {
		do_addnode(a, request);
	} else if (strcmp(op, "stat") == 0) {
		do_stat(a);
	} else if (strcmp(op, "put") == 0) {
		do_put(a, request);
	} else if (strcmp(op, "announce") == 0) {
		target_from_hex(a, request);
		a->port = (uint16_t)json_integer_value(json_object_get(request, "port"));
		a->lookup.announce_port = a->port;
		look(a, request, "announce", DHT_LOOKUP_PEERS);
	} else if (strcmp(op, "lookup") == 0 || strcmp(op, "get") == 0) {
		bool get = strcmp(op, "get") == 0;

		target_from_hex(a, request);
		look(a, request, get ? "get" : "lookup", get ? DHT_LOOKUP_VALUE : DHT_LOOKUP_PEERS);
	} else {
		answer(json_pack("{s:s}", "error", "unknown op"));
	}
}

/* ---- Lines ---- */

static void take_lines(struct adapter *a)
{
	const char *end;

	while (!a->looking && a->line.len > 0 &&
	       (end = memchr(a->line.data, '\n', a->line.len)) != NULL) {
		size_t len = (size_t)(end - (const char *)a->line.data);
		json_t *request = json_loadb((const char *)a->line.data, len, 0, NULL);

		buf_consume(&a->line, len + 1);
		if (request != NULL)
			handle(a, request);
		else
			answer(json_pack("{s:s}", "error", "no JSON"));
		json_decref(request);
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct adapter *a = handle->data;

	*buf = uv_buf_init(a->chunk, sizeof(a->chunk));
}

static void on_line(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct adapter *a = stream->data;

	if (n < 0) {
		uv_close((uv_handle_t *)stream, NULL);
		for (unsigned i = 0; i < NODES_MAX; i++) {
			if (a->nodes[i] != NULL)
				dht_udp_close(a->nodes[i], NULL, NULL);
		}
		return;
	}
	buf_write(&a->line, buf->base, (size_t)n);
	take_lines(a);
}

int main(void)
{
	struct adapter *a = mem_alloc(sizeof(*a));

	if (a == NULL || base_init() < 0 || loop_init(&a->loop) < 0)
		return 1;
	buf_init(&a->line, LINE_MAX_BYTES);
	buf_init(&a->value, DHT_VALUE_MAX);
	REQUIRE(uv_pipe_init(&a->loop.uv, &a->in, 0) == 0);
	a->in.data = a;
	REQUIRE(uv_pipe_open(&a->in, 0) == 0);
	REQUIRE(uv_read_start((uv_stream_t *)&a->in, on_alloc, on_line) == 0);
	loop_run(&a->loop);
	loop_fini(&a->loop);
	buf_fini(&a->line);
	buf_fini(&a->value);
	mem_free(a);
	return 0;
}
