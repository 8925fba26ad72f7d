#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "profiler/profiler.h"
#include "profiler/symbols_helper.h"
#include "profiler/symbols_wire.h"

/* The answering side: a process that nobody misses. It ends when the socket does, when it is not
 * understood, or by libdw. No dump of it is kept: 1 means that to a pipe as well as to a file. */

/* Should nobody end it, it does so itself. */
enum { TEXT_MAX = 1 << 20, ALARM_SECONDS = (SYMBOLS_SESSION_MS + HELPER_IDLE_MS) / 1000 + 10 };

static bool read_all(void *to, size_t len)
{
	uint8_t *p = to;

	while (len > 0) {
		ssize_t n = recv(STDIN_FILENO, p, len, 0);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool write_all(const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(STDIN_FILENO, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool read_modules(struct modules *m)
{
	struct wire_head head;

	if (!read_all(&head, sizeof(head)) || head.magic != WIRE_MAGIC || head.modules == 0 ||
	    head.modules > MODULES_MAX)
		return false;
	m->list = mem_alloc_array(head.modules, sizeof(*m->list));
	m->count = head.modules;
	if (m->list == NULL || !read_all(m->list, m->count * sizeof(*m->list)))
		return false;
	for (unsigned i = 0; i < m->count; i++) {
		m->list[i].path[MODULE_PATH_MAX - 1] = '\0';
		m->list[i].build_id[BUILD_ID_HEX_MAX - 1] = '\0';
	}
	return true;
}

static bool answer(struct dwarf_names *d, uintptr_t pc)
{
	struct symbol_found found;
	struct arena text;
	struct buf out;
	bool sent;

	arena_init(&text, TEXT_MAX);
	buf_init(&out, SYMBOLS_ANSWER_MAX);
	errno = 0;
	dwarf_names_find(d, pc, &text, &found);
	wire_write_answer(&out, &found, errno != ENOMEM);
	sent = buf_err(&out) == 0 && write_all(out.data, out.len);
	buf_fini(&out);
	arena_fini(&text);
	return sent;
}

int profiler_symbols_main(void)
{
	const struct rlimit no_dump = { 1, 1 };
	struct modules modules = { 0 };
	struct dwarf_names *d;
	uintptr_t pc;

	(void)setrlimit(RLIMIT_CORE, &no_dump);
	alarm(ALARM_SECONDS);
	if (!read_modules(&modules) || (d = dwarf_names_open_listed(&modules)) == NULL)
		return EXIT_FAILURE;
	while (read_all(&pc, sizeof(pc))) {
		alarm(ALARM_SECONDS);
		if (!answer(d, pc))
			return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
