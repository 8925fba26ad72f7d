/*	idle ─► running ─► idle (until half of the lease has passed, or PORTMAP_RETRY_MS)
 *
 * One program runs at a time: it is spawned with a pipe, its one line is collected, and it has
 * ended when both the pipe and the process have. A timer kills it. */
#include "daemon/portmap.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"

enum { ARGS_MAX = 6, PORT_TEXT_SIZE = 8, HANDLES = 2 };

struct portmap {
	struct portmap_config config;
	struct portmap_state state;
	struct runner_timer again, kill;
	uv_process_t process;
	uv_pipe_t pipe;
	unsigned open; /* handles of the running program */
	bool running, unmapping, spawned;
	char line[PORTMAP_LINE_MAX];
	size_t line_len;
	char tcp[PORT_TEXT_SIZE], udp[PORT_TEXT_SIZE];
	void (*closed)(void *data); /* set = closing */
	void *closed_data;
	struct runner_task closed_task;
};

/* ---- What it says ---- */

static void copy_why(char ret[PORTMAP_WHY_MAX], const char *text, size_t len)
{
	size_t n = MIN(len, (size_t)PORTMAP_WHY_MAX - 1);

	for (size_t i = 0; i < n; i++)
		ret[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	ret[n] = '\0';
}

static bool is_protocol(const char *s)
{
	return strcmp(s, "NAT-PMP") == 0 || strcmp(s, "UPnP") == 0;
}

int portmap_parse(const char *line, size_t len, struct portmap_result *ret,
		  char ret_why[PORTMAP_WHY_MAX])
{
	static const uint8_t zero[16];
	char text[PORTMAP_LINE_MAX], ip[16], hostport[32], rest;
	struct portmap_result r = { 0 };
	unsigned tcp, udp, lease_s;
	int n;

	if (len >= sizeof(text) || memchr(line, '\0', len) != NULL)
		return ERR_MALFORMED;
	memcpy(text, line, len);
	text[len] = '\0';
	if (strncmp(text, "error ", 6) == 0) {
		copy_why(ret_why, text + 6, len - 6);
		return ERR_REFUSED;
	}
	n = sscanf(text, "map %7s %15[0-9.] %5u %5u %10u%c", r.protocol, ip, &tcp, &udp, &lease_s,
		   &rest);
	if (n != 5 || !is_protocol(r.protocol) || tcp == 0 || tcp > UINT16_MAX || udp > UINT16_MAX)
		return ERR_MALFORMED;
	snprintf(hostport, sizeof(hostport), "%s:%u", ip, tcp);
	if (multiaddr_parse_hostport(hostport, strlen(hostport), &r.external) < 0 ||
	    r.external.family != 4 || memcmp(r.external.ip, zero, 4) == 0 ||
	    r.external.ip[0] >= 224 || multiaddr_is_loopback(&r.external))
		return ERR_MALFORMED;
	r.udp_port = (uint16_t)udp;
	/* No lease at all: for ever, as long as the router remembers. */
	r.lease_s = lease_s == 0 ? PORTMAP_LEASE_MAX_S :
				   MIN(MAX(lease_s, (unsigned)PORTMAP_LEASE_MIN_S),
				       (unsigned)PORTMAP_LEASE_MAX_S);
	*ret = r;
	return 0;
}

/* ---- Running it ---- */

static void run(struct portmap *p, const char *what);

static struct runner *runner_of(const struct portmap *p)
{
	return &p->config.loop->runner;
}

static void took(struct portmap *p, int status, const struct portmap_result *result)
{
	struct portmap_state before = p->state;
	uint64_t again_ms = PORTMAP_RETRY_MS;

	p->state.mapping = status == 0 ? MAPPING_DONE : MAPPING_FAILED;
	if (status == 0) {
		p->state.result = *result;
		p->state.why[0] = '\0';
		again_ms = (uint64_t)result->lease_s * 1000 / 2;
	} else {
		p->state.failed++;
		if (status != ERR_REFUSED)
			copy_why(p->state.why, err_str(status), strlen(err_str(status)));
	}
	runner_timer_start(runner_of(p), &p->again, runner_now_ms(runner_of(p)) + again_ms);
	if (before.mapping == p->state.mapping &&
	    (status < 0 || (multiaddr_eq(&before.result.external, &p->state.result.external) &&
			    before.result.udp_port == p->state.result.udp_port)))
		return;
	if (status < 0)
		log_warn(LOG_DAEMON, "msg=\"the router opens no port\" why=\"%s\"", p->state.why);
	p->config.on_change(p->config.data);
}

static void ended(struct portmap *p)
{
	size_t len = strcspn(p->line, "\n");
	struct portmap_result result;
	int rc;

	p->running = false;
	runner_timer_stop(runner_of(p), &p->kill);
	if (p->closed != NULL) {
		if (p->state.mapping == MAPPING_DONE && !p->unmapping)
			run(p, "unmap");
		else
			runner_defer(runner_of(p), &p->closed_task);
		return;
	}
	rc = p->line_len > 0 ? portmap_parse(p->line, len, &result, p->state.why) : ERR_CLOSED;
	took(p, rc, &result);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct portmap *p = handle->data;

	if (--p->open == 0)
		ended(p);
}

static void on_exit_(uv_process_t *process, int64_t status, int signum)
{
	uv_close((uv_handle_t *)process, on_handle_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct portmap *p = handle->data;

	*buf = uv_buf_init(p->line + p->line_len, (unsigned)(sizeof(p->line) - 1 - p->line_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct portmap *p = stream->data;

	if (n > 0) {
		p->line_len += (size_t)n;
		p->line[p->line_len] = '\0';
	} else if (n < 0 && !uv_is_closing((uv_handle_t *)stream)) {
		uv_close((uv_handle_t *)stream, on_handle_closed);
	}
}

static void kill_it(struct portmap *p)
{
	if (!p->running)
		return;
	p->state.killed++;
	if (p->spawned && uv_is_active((uv_handle_t *)&p->process))
		(void)uv_process_kill(&p->process, SIGKILL);
	if (!uv_is_closing((uv_handle_t *)&p->pipe))
		uv_close((uv_handle_t *)&p->pipe, on_handle_closed);
}

static void on_kill(struct runner_timer *timer)
{
	kill_it(container_of(timer, struct portmap, kill));
}

/* Beside the program that runs. */
static int find_program(char *ret, size_t size)
{
	char path[PATH_MAX];
	size_t len = sizeof(path);
	char *slash;
	int rc = uv_exepath(path, &len);

	if (rc < 0)
		return rc;
	slash = strrchr(path, '/');
	if (slash == NULL)
		return UV_ENOENT;
	*slash = '\0';
	return snprintf(ret, size, "%s/" PORTMAP_PROGRAM, path) < (int)size ? 0 : UV_ENAMETOOLONG;
}

static int spawn(struct portmap *p, const char *what)
{
	char program[PATH_MAX], *args[ARGS_MAX] = { program, (char *)(uintptr_t)what };
	char *no_env[] = { NULL };
	uv_stdio_container_t stdio[2] = { { .flags = UV_IGNORE },
					  { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE } };
	uv_process_options_t options = { .exit_cb = on_exit_,
					 .file = program,
					 .args = args,
					 .env = no_env,
					 .stdio = stdio,
					 .stdio_count = ARRAY_SIZE(stdio) };
	unsigned n = 2;
	int rc = find_program(program, sizeof(program));

	if (rc < 0)
		return rc;
	if (p->unmapping)
		args[n++] = p->state.result.protocol;
	args[n++] = p->tcp;
	args[n++] = p->udp;
	stdio[1].data.stream = (uv_stream_t *)&p->pipe;
	rc = uv_spawn(&p->config.loop->uv, &p->process, &options);
	return rc < 0 ? rc : uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
}

static void run(struct portmap *p, const char *what)
{
	uint64_t limit_ms = PORTMAP_KILL_MS;
	int rc;

	p->unmapping = p->closed != NULL;
	if (p->unmapping)
		limit_ms = PORTMAP_UNMAP_MS;
	p->line_len = 0;
	p->line[0] = '\0';
	p->running = p->spawned = true;
	p->open = HANDLES;
	p->state.asked++;
	p->process = (uv_process_t){ .data = p };
	uv_pipe_init(&p->config.loop->uv, &p->pipe, 0);
	p->pipe.data = p;
	rc = spawn(p, what);
	if (rc < 0) {
		snprintf(p->line, sizeof(p->line), "error cannot run " PORTMAP_PROGRAM ": %s",
			 err_str(rc));
		p->line_len = strlen(p->line);
		p->spawned = p->process.type == UV_PROCESS;
		uv_close((uv_handle_t *)&p->pipe, on_handle_closed);
		if (p->spawned)
			uv_close((uv_handle_t *)&p->process, on_handle_closed);
		else
			p->open--;
	}
	runner_timer_start(runner_of(p), &p->kill, runner_now_ms(runner_of(p)) + limit_ms);
}

/* ---- Life ---- */

static void on_again(struct runner_timer *timer)
{
	struct portmap *p = container_of(timer, struct portmap, again);

	if (p->state.mapping == MAPPING_OFF)
		p->state.mapping = MAPPING_ASKING;
	run(p, "map");
}

static void run_closed(struct runner_task *task)
{
	struct portmap *p = container_of(task, struct portmap, closed_task);
	void (*closed)(void *data) = p->closed;
	void *data = p->closed_data;

	mem_free(p);
	closed(data);
}

struct portmap *portmap_new(const struct portmap_config *config)
{
	struct portmap *p = mem_alloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->config = *config;
	snprintf(p->tcp, sizeof(p->tcp), "%u", config->tcp_port);
	snprintf(p->udp, sizeof(p->udp), "%u", config->udp_port);
	p->again.run = on_again;
	p->kill.run = on_kill;
	p->closed_task.run = run_closed;
	runner_timer_start(runner_of(p), &p->again, runner_now_ms(runner_of(p)));
	return p;
}

const struct portmap_state *portmap_state(const struct portmap *p)
{
	return &p->state;
}

void portmap_close(struct portmap *p, void (*closed)(void *data), void *data)
{
	p->closed = closed;
	p->closed_data = data;
	runner_timer_stop(runner_of(p), &p->again);
	if (p->running)
		kill_it(p); /* ended() goes on from there */
	else if (p->state.mapping == MAPPING_DONE)
		run(p, "unmap");
	else
		runner_defer(runner_of(p), &p->closed_task);
}
