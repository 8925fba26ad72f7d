#include "daemon/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/disk.h"
#include "daemon/json.h"

/* A socket address holds 108 bytes; a longer path goes through the folder's descriptor. */
enum { SOCKET_PATH_MAX = 100, LINE_MAX_BYTES = 1 << 20, TICK_LATE_MS = 2500 };

struct client {
	CURL *curl;
	char *where;  /* the data folder or address, as given */
	char *base;   /* what a URL begins with */
	char *socket; /* NULL: by TCP */
	bool is_dir;
	int dir_fd;
	bool unreachable, denied;
	uint64_t timeout_ms; /* 0 = none */
	uint64_t patience_ms;
	uint64_t moved_ms;  /* when the request under way last got on, in either direction */
	uint64_t ticked_ms; /* when that was last looked at */
	curl_off_t moved;   /* bytes of bodies until then */
	bool hangs;
	size_t max_bytes; /* 0 = CLIENT_REPLY_MAX */
	bool (*cancelled)(void *data);
	void *cancelled_data;
	const char *last_event_id; /* of the request under way; NULL = none */
	json_t *refusal;	   /* the last answer that was an error; may be NULL */
	char why[CLIENT_WHY_MAX];
	char curl_why[CURL_ERROR_SIZE];
};

struct stream {
	struct buf *whole;			   /* the answer is collected here … */
	bool (*on_line)(void *data, json_t *line); /* … or handed on line by line, as JSON … */
	bool (*on_text)(void *data, const char *line, size_t len); /* … or as it is */
	void *data;
	CURL *curl;
	struct client *client;
	struct buf rest;
	bool stop;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

void client_catch_interrupt(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND }, old;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* The terminal was closed; under nohup(1) it is ignored, and stays so. */
	if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
}

bool client_interrupted(void)
{
	return interrupted != 0;
}

static bool use_dir(struct client *c, const char *dir)
{
	c->is_dir = true;
	c->base = mem_strdup("http://localhost");
	c->socket = disk_path(dir, "control.sock");
	if (c->socket != NULL && strlen(c->socket) > SOCKET_PATH_MAX) {
		mem_free(c->socket);
		c->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		c->socket = mem_printf("/proc/self/fd/%d/control.sock", c->dir_fd);
	}
	return c->base != NULL && c->socket != NULL;
}

/* With or without what the address line of a browser has behind the host. */
static bool use_url(struct client *c, const char *url)
{
	size_t scheme = strlen("http://");

	c->base = mem_strndup(url, scheme + strcspn(url + scheme, "/?#"));
	return c->base != NULL;
}

static bool use_socket(struct client *c, const char *path)
{
	c->base = mem_strdup("http://localhost");
	c->socket = mem_strdup(path);
	return c->base != NULL && c->socket != NULL;
}

struct client *client_new(const char *where)
{
	struct client *c = mem_alloc(sizeof(*c));
	bool is_ready;

	if (c == NULL)
		return NULL;
	c->dir_fd = -1;
	c->patience_ms = CLIENT_PATIENCE_MS;
	c->curl = curl_easy_init();
	c->where = mem_strdup(where);
	if (strncmp(where, "http://", 7) == 0)
		is_ready = use_url(c, where);
	else if (strncmp(where, "unix:", 5) == 0)
		is_ready = use_socket(c, where + 5);
	else
		is_ready = use_dir(c, where);
	return is_ready && c->curl != NULL && c->where != NULL ? c : client_free(c);
}

struct client *client_free(struct client *c)
{
	if (c == NULL)
		return NULL;
	if (c->curl != NULL)
		curl_easy_cleanup(c->curl);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	json_decref(c->refusal);
	mem_free(c->where);
	mem_free(c->base);
	mem_free(c->socket);
	return mem_free(c);
}

const char *client_why(const struct client *c)
{
	return c->why;
}

bool client_unreachable(const struct client *c)
{
	return c->unreachable;
}

bool client_denied(const struct client *c)
{
	return c->denied;
}

char *client_escape(const char *s)
{
	char *escaped = curl_easy_escape(NULL, s, 0), *copy;

	copy = escaped != NULL ? mem_strdup(escaped) : NULL;
	curl_free(escaped);
	return copy;
}

static bool give_line(struct stream *s, const char *text, size_t len)
{
	json_t *line;
	bool go_on;

	if (s->on_text != NULL)
		return s->on_text(s->data, text, len);
	line = json_loadb(text, len, 0, NULL);
	go_on = line == NULL || s->on_line(s->data, line);
	json_decref(line);
	return go_on;
}

static size_t give_lines(struct stream *s, const char *data, size_t len)
{
	size_t start = 0;

	buf_write(&s->rest, data, len);
	if (buf_err(&s->rest) < 0)
		return 0;
	for (size_t i = 0; i < s->rest.len && !s->stop; i++) {
		if (s->rest.data[i] != '\n')
			continue;
		s->stop = !give_line(s, (const char *)s->rest.data + start, i - start);
		start = i + 1;
	}
	buf_consume(&s->rest, start);
	return s->stop ? 0 : len;
}

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
	struct stream *s = arg;
	long status = 0;

	if (s->on_line != NULL || s->on_text != NULL) {
		curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
		if (status == 200)
			return give_lines(s, data, size * count);
	}
	buf_write(s->whole, data, size * count);
	return buf_err(s->whole) < 0 ? 0 : size * count;
}

/* Any line of a head: the daemon's "102 Processing" is one. */
static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct stream *s = arg;

	s->client->moved_ms = clock_now_ms(&clock_system);
	return size * count;
}

/* At least once a second, unless we were stopped ourselves, or whoever reads our output was: what
 * came meanwhile has not been looked at then, and says nothing about the daemon. */
static int on_tick(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		   curl_off_t up)
{
	struct client *c = arg;
	uint64_t now = clock_now_ms(&clock_system);

	if (down + up != c->moved || now - c->ticked_ms > TICK_LATE_MS) {
		c->moved = down + up;
		c->moved_ms = now;
	}
	c->ticked_ms = now;
	c->hangs = c->patience_ms > 0 && now - c->moved_ms > c->patience_ms;
	return c->hangs || interrupted != 0 ||
	       (c->cancelled != NULL && c->cancelled(c->cancelled_data));
}

void client_set_patience(struct client *c, uint64_t ms)
{
	c->patience_ms = ms;
}

void client_set_limits(struct client *c, uint64_t timeout_ms, size_t max_bytes,
		       bool (*cancelled)(void *data), void *data)
{
	c->timeout_ms = timeout_ms;
	c->max_bytes = max_bytes;
	c->cancelled = cancelled;
	c->cancelled_data = data;
}

static void prepare(struct client *c, const char *url, const char *method,
		    struct curl_slist *headers, const void *body, size_t len, struct stream *s)
{
	CURL *curl = c->curl;

	curl_easy_reset(curl);
	if (c->socket != NULL)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->curl_why);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
	if (c->patience_ms > 0)
		curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)c->patience_ms);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, s);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, s);
	if (body != NULL || strcmp(method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	s->curl = curl;
	s->client = c;
	c->moved = 0;
	c->moved_ms = c->ticked_ms = clock_now_ms(&clock_system);
	c->hangs = false;
}

static int no_memory(struct client *c)
{
	snprintf(c->why, sizeof(c->why), "out of memory");
	return UV_ENOMEM;
}

static int explain_hanging(struct client *c)
{
	c->unreachable = true;
	snprintf(c->why, sizeof(c->why),
		 "the daemon at %s takes requests, but has not answered for %.0f s: it is stopped, "
		 "or hangs. What it does, and what to do:\npeerscope diag doctor%s%s",
		 c->where, (double)c->patience_ms / 1000, c->is_dir ? " --data " : "",
		 c->is_dir ? c->where : "");
	return UV_ETIMEDOUT;
}

static int explain(struct client *c, CURLcode code, const struct stream *s, uint64_t started_ms)
{
	if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && s->stop))
		return 0;
	/* Of time: the whole request's is over, or, before that, the connection's. */
	if (c->hangs ||
	    (code == CURLE_OPERATION_TIMEDOUT &&
	     (c->timeout_ms == 0 || clock_now_ms(&clock_system) - started_ms < c->timeout_ms)))
		return explain_hanging(c);
	if (code == CURLE_ABORTED_BY_CALLBACK) {
		snprintf(c->why, sizeof(c->why), "cancelled");
		return UV_ECANCELED;
	}
	if (code == CURLE_OPERATION_TIMEDOUT) {
		snprintf(c->why, sizeof(c->why), "no answer within %.1f s",
			 (double)c->timeout_ms / 1000);
		return UV_ETIMEDOUT;
	}
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST) {
		long number = 0;

		c->unreachable = true;
		(void)curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &number);
		c->denied = number == EACCES || number == EPERM;
		if (c->denied) {
			snprintf(c->why, sizeof(c->why),
				 "this user may not speak with the daemon at %s, if there is one "
				 "(permission denied): run this as the user whose daemon it is, or "
				 "say with --data where your own is",
				 c->where);
			return UV_EACCES;
		}
		if (c->is_dir)
			snprintf(c->why, sizeof(c->why),
				 "no daemon answers on %s/control.sock: start one with `peerscope "
				 "daemon --data %s`",
				 c->where, c->where);
		else
			snprintf(c->why, sizeof(c->why), "no daemon answers on %s", c->where);
		return ERR_CLOSED;
	}
	if (code == CURLE_OUT_OF_MEMORY ||
	    (code == CURLE_WRITE_ERROR &&
	     (buf_err(s->whole) == UV_ENOMEM || buf_err(&s->rest) == UV_ENOMEM)))
		return no_memory(c);
	if (code == CURLE_WRITE_ERROR) {
		snprintf(c->why, sizeof(c->why), "the daemon's answer is too large");
		return ERR_LIMIT;
	}
	c->unreachable = true;
	snprintf(c->why, sizeof(c->why),
		 "the daemon at %s went away during the request (%s); its log says why", c->where,
		 c->curl_why[0] != '\0' ? c->curl_why : curl_easy_strerror(code));
	return ERR_CLOSED;
}

/* No round trip before a body on a local socket; and a sign of life while it works. */
static const char *const fixed[] = { "Accept: application/json", "Expect:", "Peerscope-Alive: 1" };

static int perform(struct client *c, const char *method, const char *path, const char *content_type,
		   const void *body, size_t len, struct stream *s, int *ret_status)
{
	CLEANUP(mem_freep) char *url = mem_printf("%s%s", c->base, path);
	CLEANUP(mem_freep)
	char *type = mem_printf("Content-Type: %s",
				content_type != NULL ? content_type : "application/json");
	CLEANUP(mem_freep)
	char *last = c->last_event_id != NULL ? mem_printf("Last-Event-ID: %s", c->last_event_id) :
						NULL;
	struct curl_slist *headers = NULL, *more;
	uint64_t started_ms = clock_now_ms(&clock_system);
	long status = 0;
	int rc;

	c->why[0] = c->curl_why[0] = '\0';
	c->unreachable = c->denied = false;
	if (interrupted != 0) {
		snprintf(c->why, sizeof(c->why), "cancelled");
		return UV_ECANCELED;
	}
	if (url == NULL || type == NULL || (c->last_event_id != NULL && last == NULL))
		return no_memory(c);
	for (size_t i = 0; i < ARRAY_SIZE(fixed) + 2; i++) {
		const char *line = i == 0 ? type : i == 1 ? last : fixed[i - 2];

		if (line == NULL)
			continue;
		more = curl_slist_append(headers, line);
		if (more == NULL) {
			curl_slist_free_all(headers);
			return no_memory(c);
		}
		headers = more;
	}
	prepare(c, url, method, headers, body, len, s);
	rc = explain(c, curl_easy_perform(c->curl), s, started_ms);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	*ret_status = (int)status;
	return rc;
}

int client_request(struct client *c, const char *method, const char *path, const char *content_type,
		   const void *body, size_t len, struct client_reply *ret)
{
	struct stream s = { .whole = &ret->body };

	buf_init(&ret->body, c->max_bytes > 0 ? c->max_bytes : CLIENT_REPLY_MAX);
	ret->http_status = 0;
	return perform(c, method, path, content_type, body, len, &s, &ret->http_status);
}

/* Only codes of ours and of libuv are let through: what an error means here is what it means there.
 */
static int code_of(const json_t *error)
{
	json_int_t status = json_integer_value(json_object_get(error, "status"));

	return status < 0 && status > -30000 ? (int)status : ERR_PROTOCOL;
}

int client_error_of(struct client *c, const struct client_reply *reply)
{
	json_t *error = json_loadb((const char *)reply->body.data, reply->body.len, 0, NULL);
	const char *text = json_string_value(json_object_get(error, "error"));
	int code = ERR_PROTOCOL;

	if (text != NULL && text[0] != '\0') {
		snprintf(c->why, sizeof(c->why), "%s", text);
		code = code_of(error);
	} else if (reply->http_status >= 400 && reply->body.len > 0 && reply->body.data[0] != '{' &&
		   reply->body.data[0] != '<') { /* of a page */
		snprintf(c->why, sizeof(c->why), "%.*s", (int)MIN(reply->body.len, sizeof(c->why)),
			 (char *)reply->body.data);
	} else {
		snprintf(c->why, sizeof(c->why),
			 "the daemon answered with HTTP status %d: is it of another version?",
			 reply->http_status);
	}
	json_decref(c->refusal);
	c->refusal = error;
	return code;
}

const json_t *client_refusal(const struct client *c)
{
	return c->refusal;
}

int client_json(struct client *c, const char *method, const char *path, const json_t *body,
		json_t **ret)
{
	struct client_reply reply;
	CLEANUP(buf_fini) struct buf text = { 0 };
	json_t *answer;
	int rc;

	buf_init(&text, CLIENT_REPLY_MAX);
	if (body != NULL)
		json_write(&text, body);
	if ((rc = buf_err(&text)) < 0) {
		snprintf(c->why, sizeof(c->why), "the request: %s", err_str(rc));
		return rc;
	}
	rc = client_request(c, method, path, NULL, text.data, text.len, &reply);
	if (rc == 0 && reply.http_status / 100 != 2)
		rc = client_error_of(c, &reply);
	if (rc == 0 && ret != NULL) {
		answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
		if (answer == NULL) {
			snprintf(c->why, sizeof(c->why),
				 "the answer of %s to %.*s is not JSON: is it a peerscope daemon, "
				 "and of this version?",
				 c->where, (int)strcspn(path, "?"), path);
			rc = ERR_PROTOCOL;
		} else {
			*ret = answer;
		}
	}
	buf_fini(&reply.body);
	return rc;
}

int client_stream(struct client *c, const char *path, const json_t *body,
		  bool (*on_line)(void *data, json_t *line), void *data)
{
	struct client_reply reply = { 0 };
	struct stream s = { .whole = &reply.body, .on_line = on_line, .data = data };
	CLEANUP(buf_fini) struct buf text = { 0 };
	int rc;

	buf_init(&text, LINE_MAX_BYTES);
	buf_init(&reply.body, LINE_MAX_BYTES);
	buf_init(&s.rest, LINE_MAX_BYTES);
	json_write(&text, body);
	rc = buf_err(&text);
	if (rc < 0)
		snprintf(c->why, sizeof(c->why), "the request: %s", err_str(rc));
	if (rc == 0)
		rc = perform(c, "POST", path, NULL, text.data, text.len, &s, &reply.http_status);
	if (rc == 0 && reply.http_status != 200)
		rc = client_error_of(c, &reply);
	buf_fini(&s.rest);
	buf_fini(&reply.body);
	return rc;
}

int client_lines(struct client *c, const char *path, const char *last_event_id,
		 bool (*on_text)(void *data, const char *line, size_t len), void *data)
{
	struct client_reply reply = { 0 };
	struct stream s = { .whole = &reply.body, .on_text = on_text, .data = data };
	int rc;

	buf_init(&reply.body, LINE_MAX_BYTES);
	buf_init(&s.rest, LINE_MAX_BYTES);
	c->last_event_id = last_event_id;
	rc = perform(c, "GET", path, NULL, NULL, 0, &s, &reply.http_status);
	c->last_event_id = NULL;
	if (rc == 0 && reply.http_status != 200)
		rc = client_error_of(c, &reply);
	buf_fini(&s.rest);
	buf_fini(&reply.body);
	return rc;
}
