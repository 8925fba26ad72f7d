#include "daemon/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_CELLS = 20, LINE_MAX_BYTES = 1024 };

void progress_write_bytes(struct buf *out, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		buf_printf(out, "%" PRIu64 " B", bytes);
		return;
	}
	while (v >= 1023.95 && i + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		i++;
	}
	buf_printf(out, "%.1f %s", v, units[i]);
}

static void write_bar(struct buf *out, double part)
{
	unsigned full = (unsigned)(part * BAR_CELLS);

	buf_write_u8(out, '[');
	for (unsigned i = 0; i < BAR_CELLS; i++)
		buf_write_u8(out, i < full ? '#' : '.');
	buf_printf(out, "] %3u %%  ", (unsigned)(part * 100));
}

static double part_of(const struct progress_view *v)
{
	double part = v->bytes_total > 0 ? (double)v->bytes / (double)v->bytes_total :
					   (double)v->items / (double)v->items_total;

	return part > 1 ? 1 : part;
}

void progress_render(const struct progress_view *v, unsigned columns, struct buf *out)
{
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	buf_printf(&line, "%s  ", v->label);
	if (v->bytes_total > 0 || v->items_total > 0)
		write_bar(&line, part_of(v));
	progress_write_bytes(&line, v->bytes);
	if (v->bytes_total > 0) {
		buf_write_str(&line, " of ");
		progress_write_bytes(&line, v->bytes_total);
	}
	buf_printf(&line, "  %" PRIu64, v->items);
	if (v->items_total > 0)
		buf_printf(&line, " of %" PRIu64, v->items_total);
	buf_printf(&line, " %s", v->item_name);
	if (v->extra != NULL && v->extra[0] != '\0')
		buf_printf(&line, "  %s", v->extra);
	if (v->elapsed_ms >= 1000 && v->bytes > 0) {
		buf_write_str(&line, "  ");
		progress_write_bytes(&line,
				     (uint64_t)((double)v->bytes * 1000 / (double)v->elapsed_ms));
		buf_write_str(&line, "/s");
	}
	buf_write(out, line.data, MIN(line.len, (size_t)columns));
	buf_fini(&line);
}

static unsigned terminal_columns(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		return 80;
	return MAX(MIN(w.ws_col - 1u, (unsigned)PROGRESS_COLUMNS_MAX),
		   (unsigned)PROGRESS_COLUMNS_MIN);
}

void progress_start(struct progress *p, const char *label, const char *item_name, bool quiet)
{
	const char *term = getenv("TERM");

	*p = (struct progress){ .view = { .label = label, .item_name = item_name } };
	p->on = !quiet && getenv("NO_COLOR") == NULL && isatty(STDERR_FILENO) == 1 &&
		!(term != NULL && strcmp(term, "dumb") == 0);
	p->start_ms = clock_now_ms(&clock_system);
}

void progress_tick(struct progress *p)
{
	uint64_t now = clock_now_ms(&clock_system);
	struct buf line;

	p->view.elapsed_ms = now - p->start_ms;
	if (!p->on || (p->drawn && now - p->last_ms < PROGRESS_INTERVAL_MS))
		return;
	p->last_ms = now;
	p->drawn = true;
	buf_init(&line, LINE_MAX_BYTES);
	buf_write_u8(&line, '\r');
	progress_render(&p->view, terminal_columns(), &line);
	buf_write_str(&line, "\x1b[K");
	(void)!write(STDERR_FILENO, line.data, line.len);
	buf_fini(&line);
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)!write(STDERR_FILENO, "\r\x1b[K", 4);
	p->drawn = false;
}
