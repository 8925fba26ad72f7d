#include "daemon/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "daemon/cli.h"

enum { PRINTF_MAX = 16 << 20 };

static int lost; /* the first failure, negative */

void output_init(void)
{
	/* Reading from where one would write, and the other way round, fails as a closed one does. */
	static const int instead[] = { O_WRONLY, O_RDONLY, O_WRONLY };

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", instead[fd]) < 0)
			return; /* no /dev: nothing better is to be had */
}

int output_err(void)
{
	return lost;
}

void output_failed(int code)
{
	if (lost == 0)
		lost = code;
}

static int error_of_stdout(void)
{
	return errno > 0 ? -errno : UV_EIO;
}

void output_bytes(const void *bytes, size_t len)
{
	errno = 0;
	if (lost == 0 && len > 0 && fwrite(bytes, 1, len, stdout) < len)
		lost = error_of_stdout();
}

/* In lines, since a line end is hidden too. */
void output_text(const struct buf *text)
{
	const char *s = (const char *)text->data;
	size_t left = text->len;
	struct buf shown;

	if (buf_err(text) < 0) {
		output_failed(buf_err(text));
		return;
	}
	buf_init(&shown, PRINTF_MAX);
	while (left > 0 && lost == 0) {
		size_t plain = 0;

		while (plain < left && s[plain] != '\n' && s[plain] != '\t')
			plain++;
		buf_write_shown(&shown, s, plain);
		if (plain < left)
			buf_write_u8(&shown, (uint8_t)s[plain++]);
		s += plain;
		left -= plain;
		if (buf_err(&shown) < 0)
			output_failed(buf_err(&shown));
		else
			output_bytes(shown.data, shown.len);
		buf_clear(&shown);
	}
	buf_fini(&shown);
}

void output_printf(const char *fmt, ...)
{
	struct buf text;
	va_list args;
	char *room;
	int len;

	buf_init(&text, PRINTF_MAX);
	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	room = (char *)buf_reserve(&text, (size_t)MAX(len, 0) + 1);
	if (room != NULL) {
		va_start(args, fmt);
		(void)vsnprintf(room, (size_t)MAX(len, 0) + 1, fmt, args);
		va_end(args);
		buf_advance(&text, (size_t)MAX(len, 0));
	}
	output_text(&text);
	buf_fini(&text);
}

void output_path(const char *path)
{
	if (isatty(STDOUT_FILENO) == 1) {
		struct buf text;

		buf_init(&text, PRINTF_MAX);
		buf_write_shown(&text, path, strlen(path));
		output_text(&text);
		buf_fini(&text);
	} else {
		output_bytes(path, strlen(path));
	}
	output_bytes("\n", 1);
}

void output_flush(void)
{
	errno = 0;
	if (fflush(stdout) != 0)
		output_failed(error_of_stdout());
}

int output_end(int code)
{
	int worse;

	output_flush();
	errno = 0;
	/* A file system over the network may tell only now; who has not written has lost nothing. */
	if (close(STDOUT_FILENO) < 0 && errno != EBADF)
		output_failed(error_of_stdout());
	if (lost == 0)
		return code;
	worse = lost == UV_EPIPE ? (int)EXIT_FAILED : exit_of(lost);
	worse = cli_fail(
		(enum exit_code)worse,
		"the answer could not be written to standard output: %s. What was asked for "
		"may be done nevertheless",
		err_str(lost));
	return code == EXIT_DONE || code == EXIT_PARTIAL ? worse : code;
}
