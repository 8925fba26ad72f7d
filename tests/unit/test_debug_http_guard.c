/* Rules R1 to R13 of debug_http/guard.c, one request each, against a real server. */
#include "debug_http_client.h"

#include <sys/stat.h>

#include "debug_http/guard.h"

static struct fixture f;
static unsigned calls;

static void on_call(void *data, struct http_request *r)
{
	struct buf body;

	calls++;
	buf_init(&body, 16);
	buf_write_str(&body, "ok");
	http_reply(r, 200, "text/plain", &body);
}

static int setup(void **state)
{
	fixture_init(&f, HTTP_DEBUG);
	CHECK_STATUS(0, http_route(f.server, HTTP_GET_ | HTTP_POST_, "/debug/x", "a test", on_call,
				   NULL));
	CHECK_STATUS(0, http_route(f.server, HTTP_POST_, "/debug/change", NULL, on_call, NULL));
	calls = 0;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(&f);
	return 0;
}

/* The status of a GET with these header lines, and whether the handler ran accordingly. */
static int get(const char *headers)
{
	char request[2048];
	unsigned before = calls;
	int status;

	(void)snprintf(request, sizeof(request), "GET /debug/x HTTP/1.1\r\n%s\r\n", headers);
	status = ask_status(&f, request);
	assert_int_equal(status == 200 ? 1 : 0, calls - before);
	return status;
}

static int get_with_host(const char *host)
{
	char headers[512];

	(void)snprintf(headers, sizeof(headers), "Host: %s\r\n", host);
	return get(headers);
}

static void hosts_of_this_machine_are_served(void **state)
{
	static const char *const hosts[] = {
		"localhost:%P", "127.0.0.1:%P",	      "[::1]:%P",	 "[::1]",
		"LOCALHOST",	"localhost.",	      "foo.localhost",	 "a.b.localhost:1",
		"127.5.6.7",	"[::ffff:127.0.0.1]", "localhost:19099", "localhost:"
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(200, get_with_host(hosts[i]));
}

static void hosts_of_others_are_refused(void **state)
{
	static const char *const hosts[] = {
		"evil.com:%P", "127.0.0.1.evil.com", "localhost.evil.com",
		"0.0.0.0:%P",  "2130706433",	     "192.168.1.5",
		"127.1",       "0x7f.0.0.1",	     "[::2]",
		"[fe80::1]",   "evillocalhost",	     "[::ffff:10.0.0.1]",
		"127.0.0.1.",  "[::1%lo]",	     "."
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(403, get_with_host(hosts[i]));
}

static void malformed_hosts_are_bad_requests(void **state)
{
	static const char *const hosts[] = { "",
					     "evil.com@localhost",
					     "localhost:99x",
					     "localhost:123456",
					     ":80",
					     "[::1",
					     "[::1]x",
					     "local host",
					     "localhost,evil.com",
					     "localhost/" };

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(400, get_with_host(hosts[i]));
	assert_int_equal(400, get(""));
	assert_int_equal(400, get("Host: localhost\r\nHost: localhost\r\n"));
	assert_int_equal(400, get("Host: localhost\r\nhOST: evil.com\r\n"));
}

static void a_client_of_http_1_0_needs_no_host(void **state)
{
	assert_int_equal(200, ask_status(&f, "GET /debug/x HTTP/1.0\r\n\r\n"));
	assert_int_equal(403, ask_status(&f, "GET /debug/x HTTP/1.0\r\nHost: evil.com\r\n\r\n"));
}

static void an_absolute_target_must_agree_with_the_host(void **state)
{
	assert_int_equal(
		200,
		ask_status(&f, "GET http://localhost/debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(
		200,
		ask_status(
			&f,
			"GET HTTP://LOCALHOST:%P/debug/x HTTP/1.1\r\nHost: localhost:%P\r\n\r\n"));
	assert_int_equal(
		400,
		ask_status(&f, "GET http://evil.com/debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(
		400,
		ask_status(&f,
			   "GET http://localhost:1/debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(
		400,
		ask_status(&f,
			   "GET https://localhost/debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(400, ask_status(&f, "GET http://localhost@evil.com/debug/x "
					     "HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(0, calls - 2);
}

static void requests_that_other_sites_start_are_refused(void **state)
{
	assert_int_equal(403, get("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nSec-Fetch-Site: same-site\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nSec-Fetch-Site:\r\n"));
	assert_int_equal(
		403,
		get("Host: localhost\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n"));
	assert_int_equal(200, get("Host: localhost\r\nSec-Fetch-Site: same-origin\r\n"));
	assert_int_equal(200, get("Host: localhost\r\nSec-Fetch-Site: None\r\n"));
}

static void a_rebound_name_reaches_no_handler(void **state)
{
	assert_int_equal(
		403, get("Host: evil.com:%P\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: */*\r\n"));
	assert_int_equal(403, ask_status(&f, "GET /nowhere HTTP/1.1\r\nHost: evil.com\r\n\r\n"));
	assert_int_equal(
		403,
		ask_status(&f, "GET /debug/assets/page.css HTTP/1.1\r\nHost: evil.com\r\n\r\n"));
}

static void origins_must_be_our_own(void **state)
{
	static const char *const foreign[] = { "http://evil.com",
					       "null",
					       "https://localhost:%P",
					       "http://localhost:1",
					       "http://localhost:%P.evil.com",
					       "http://localhost:%P/",
					       "",
					       "localhost:%P" };
	char headers[256];

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		(void)snprintf(headers, sizeof(headers), "Host: localhost:%%P\r\nOrigin: %s\r\n",
			       foreign[i]);
		assert_int_equal(403, get(headers));
	}
	assert_int_equal(200, get("Host: localhost:%P\r\nOrigin: http://localhost:%P\r\n"));
	assert_int_equal(200, get("Host: localhost:%P\r\nOrigin: HTTP://LOCALHOST:%P\r\n"));
	assert_int_equal(
		403,
		get("Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.com\r\n"));
}

static void a_foreign_referer_is_refused_where_nothing_better_is_known(void **state)
{
	assert_int_equal(403, get("Host: localhost\r\nReferer: http://evil.com/\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nReferer: http://localhost.evil.com/\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nReferer: https://localhost/\r\n"));
	assert_int_equal(200, get("Host: localhost\r\nReferer: http://localhost/debug/\r\n"));
	assert_int_equal(200, get("Host: localhost\r\nReferer: http://localhost\r\n"));
	/* A link from a chat program, opened by the user, has "none". */
	assert_int_equal(
		200,
		get("Host: localhost\r\nReferer: http://evil.com/\r\nSec-Fetch-Site: none\r\n"));
}

static int post(const char *headers)
{
	char request[2048];

	(void)snprintf(request, sizeof(request),
		       "POST /debug/change HTTP/1.1\r\nHost: localhost:%%P\r\n"
		       "Content-Length: 3\r\n%s\r\na=b",
		       headers);
	return ask_status(&f, request);
}

static void forms_of_other_sites_change_nothing(void **state)
{
	assert_int_equal(403, post("Origin: http://evil.com\r\nContent-Type: "
				   "application/x-www-form-urlencoded\r\n"));
	assert_int_equal(403, post("User-Agent: Mozilla/5.0\r\n"));
	assert_int_equal(403, post("User-Agent: Opera/9.80\r\nSec-Fetch-Site: same-origin\r\n"));
	assert_int_equal(0, calls);
	assert_int_equal(200, post("User-Agent: curl/7.88.1\r\n"));
	assert_int_equal(200, post(""));
	assert_int_equal(200, post("User-Agent: Mozilla/5.0\r\nOrigin: http://localhost:%P\r\n"));
	assert_int_equal(3, calls);
}

static void only_post_changes_state(void **state)
{
	struct client c;

	client_ask(&c, &f, "GET /debug/change HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(405, client_status(&c));
	assert_true(client_has(&c, "\r\nAllow: POST\r\n"));
	client_close(&c);
	assert_int_equal(
		405,
		ask_status(
			&f,
			"PUT /debug/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
	assert_int_equal(405,
			 ask_status(&f, "DELETE /debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(
		405, ask_status(&f, "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n"));
	assert_int_equal(405,
			 ask_status(&f, "PROPFIND /debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(0, calls);
}

static void requests_through_a_proxy_are_refused(void **state)
{
	assert_int_equal(403, get("Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nX-Forwarded-Anything: 1\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nForwarded: for=127.0.0.1\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nVia: 1.1 x\r\n"));
	assert_int_equal(403, get("Host: localhost\r\nX-Real-IP: 127.0.0.1\r\n"));
}

/* Cannot be had over loopback: a client with another address, past a firewall rule that lets it in.
 */
static void a_client_of_another_machine_is_refused(void **state)
{
	static const char text[] = "GET /debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct guard_refusal refusal;
	struct http_request r;
	size_t used;

	request_init(&r);
	assert_int_equal(REQUEST_BODY, request_feed(&r, text, sizeof(text) - 1, &used));
	assert_int_equal(sizeof(text) - 1, used);
	r.peer_is_local = true;
	assert_true(guard_allows(&r, &refusal));
	r.peer_is_local = false;
	assert_false(guard_allows(&r, &refusal));
	assert_int_equal(403, refusal.status);
	request_fini(&r);
}

static void a_preflight_gets_no_permission(void **state)
{
	struct client c;

	client_ask(&c, &f,
		   "OPTIONS /debug/x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
		   "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: "
		   "true\r\n\r\n");
	assert_int_equal(405, client_status(&c));
	assert_false(client_has(&c, "\r\nAccess-Control-"));
	client_close(&c);
	assert_int_equal(405, ask_status(&f, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"));
}

static void every_reply_carries_the_protective_headers(void **state)
{
	static const char *const requests[] = {
		"GET /debug/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /debug/ HTTP/1.1\r\nHost: evil.com\r\n\r\n", "BAD\r\n\r\n",
		"GET /debug/assets/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
	};
	static const char *const headers[] = { "\r\nContent-Security-Policy: default-src 'none';",
					       "frame-ancestors 'none'",
					       "\r\nX-Frame-Options: DENY\r\n",
					       "\r\nX-Content-Type-Options: nosniff\r\n",
					       "\r\nReferrer-Policy: same-origin\r\n",
					       "\r\nCache-Control: no-store\r\n",
					       "\r\nCross-Origin-Resource-Policy: same-origin\r\n",
					       "\r\nCross-Origin-Opener-Policy: same-origin\r\n" };

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct client c;

		client_ask(&c, &f, requests[i]);
		for (size_t k = 0; k < ARRAY_SIZE(headers); k++)
			assert_true(client_has(&c, headers[k]));
		assert_false(client_has(&c, "unsafe-"));
		client_close(&c);
	}
}

static void a_refusal_explains_itself(void **state)
{
	char tunnel[64];
	struct client c;

	(void)snprintf(tunnel, sizeof(tunnel), "ssh -L %u:localhost:%u", f.bound.port,
		       f.bound.port);
	client_ask(&c, &f, "GET /debug/ HTTP/1.1\r\nHost: evil.com\r\n\r\n");
	assert_true(client_has(&c, "Host header does not name this machine"));
	assert_true(client_has(&c, tunnel));
	client_close(&c);
	client_ask(
		&c, &f,
		"GET /debug/?json HTTP/1.1\r\nHost: evil.com\r\nAccept: application/json\r\n\r\n");
	assert_true(client_has(&c, "{\"error\":\"The Host header"));
	client_close(&c);
}

static void other_addresses_than_loopback_are_not_listened_on(void **state)
{
	static const char *const addresses[] = { "0.0.0.0:56001", "192.168.1.5:56001", "[::]:56001",
						 "10.0.0.1:56001" };
	struct multiaddr address, bound;
	char why[512];

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		CHECK_STATUS(
			0, multiaddr_parse_hostport(addresses[i], strlen(addresses[i]), &address));
		CHECK_STATUS(UV_EACCES,
			     http_listen_tcp(f.server, &address, &bound, why, sizeof(why)));
		assert_non_null(strstr(why, "ssh -L 56001:localhost:56001"));
	}
}

static void the_unix_socket_is_for_its_owner_only(void **state)
{
	char path[] = "/tmp/peerscope-test-XXXXXX", why[256];
	struct client c;
	struct stat st;

	assert_true(close(mkstemp(path)) == 0);
	CHECK_STATUS(UV_EEXIST, http_listen_unix(f.server, path, why, sizeof(why)));
	unlink(path);
	CHECK_STATUS(0, http_listen_unix(f.server, path, why, sizeof(why)));
	assert_int_equal(0, lstat(path, &st));
	assert_int_equal(0600, st.st_mode & 0777);
	CHECK_STATUS(UV_EADDRINUSE, http_listen_unix(f.server, path, why, sizeof(why)));
	client_open_unix(&c, &f, path);
	client_send(&c, "GET /debug/x HTTP/1.1\r\nHost: evil.com\r\n\r\n");
	client_await(&c, false);
	assert_int_equal(403, client_status(&c));
	client_close(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(hosts_of_this_machine_are_served),
		T(hosts_of_others_are_refused),
		T(malformed_hosts_are_bad_requests),
		T(a_client_of_http_1_0_needs_no_host),
		T(an_absolute_target_must_agree_with_the_host),
		T(requests_that_other_sites_start_are_refused),
		T(a_rebound_name_reaches_no_handler),
		T(origins_must_be_our_own),
		T(a_foreign_referer_is_refused_where_nothing_better_is_known),
		T(forms_of_other_sites_change_nothing),
		T(only_post_changes_state),
		T(requests_through_a_proxy_are_refused),
		T(a_client_of_another_machine_is_refused),
		T(a_preflight_gets_no_permission),
		T(every_reply_carries_the_protective_headers),
		T(a_refusal_explains_itself),
		T(other_addresses_than_loopback_are_not_listened_on),
		T(the_unix_socket_is_for_its_owner_only),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
