/* Log lines.
 *
 * A line is put together on the stack and leaves in one write(2), shorter than a pipe takes at
 * once, so lines of different threads do not mix. The lock covers only the settings and the rate
 * limit of the call site. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log_ring.h"

enum { LOG_TEXT_MAX = 1024, LOG_LINE_MAX = 4000, LOG_WINDOW_MS = 5000, LOG_WINDOW_LINES = 10 };

static const char *const sub_names[LOG_SUB_COUNT] = {
	[LOG_BASE] = "base",	       [LOG_TRACE] = "trace",
	[LOG_PROFILER] = "profiler",   [LOG_NET] = "net",
	[LOG_STORE] = "store",	       [LOG_SYNC] = "sync",
	[LOG_DISCOVERY] = "discovery", [LOG_HTTP] = "http",
	[LOG_DAEMON] = "daemon",
};
static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const int priorities[] = { 3, 4, 6, 7 }; /* of syslog */

static _Atomic int levels[LOG_SUB_COUNT] = { [0 ... LOG_SUB_COUNT - 1] = LOG_INFO };
static _Atomic bool to_journal;
static _Atomic uint64_t suppressed_total;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct clock *log_clock = &clock_system;
static bool (*sink_fn)(void *data, enum log_level level, const char *line);
static void *sink_data;

/* systemd sets JOURNAL_STREAM to "device:inode" of the stream; stderr may have been redirected
 * since. */
void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char expected[64];
	struct stat st;

	atomic_store(&to_journal, false);
	if (stream == NULL || fstat(STDERR_FILENO, &st) < 0)
		return;
	(void)snprintf(expected, sizeof(expected), "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino);
	atomic_store(&to_journal, strcmp(stream, expected) == 0);
}

void log_set_level(enum log_sub sub, enum log_level level)
{
	REQUIRE(sub < LOG_SUB_COUNT);
	atomic_store_explicit(&levels[sub], (int)level, memory_order_relaxed);
}

enum log_level log_get_level(enum log_sub sub)
{
	REQUIRE(sub < LOG_SUB_COUNT);
	return (enum log_level)atomic_load_explicit(&levels[sub], memory_order_relaxed);
}

const char *log_sub_name(enum log_sub sub)
{
	return sub < LOG_SUB_COUNT ? sub_names[sub] : NULL;
}

const char *log_level_name(enum log_level level)
{
	return level < ARRAY_SIZE(level_names) ? level_names[level] : NULL;
}

static int find_name(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return ERR_NOT_FOUND;
}

int log_sub_parse(const char *name, enum log_sub *ret)
{
	int i = find_name(sub_names, ARRAY_SIZE(sub_names), name);

	if (i < 0)
		return i;
	*ret = (enum log_sub)i;
	return 0;
}

int log_level_parse(const char *name, enum log_level *ret)
{
	int i = find_name(level_names, ARRAY_SIZE(level_names), name);

	if (i < 0)
		return i;
	*ret = (enum log_level)i;
	return 0;
}

void log_set_sink(bool (*sink)(void *data, enum log_level level, const char *line), void *data)
{
	pthread_mutex_lock(&lock);
	sink_fn = sink;
	sink_data = data;
	pthread_mutex_unlock(&lock);
}

void log_set_clock(const struct clock *clock)
{
	pthread_mutex_lock(&lock);
	log_clock = clock != NULL ? clock : &clock_system;
	pthread_mutex_unlock(&lock);
}

uint64_t log_suppressed(void)
{
	return atomic_load_explicit(&suppressed_total, memory_order_relaxed);
}

/* Called with the lock held. ret_missed: lines of this site left out before this one. */
static bool admit(struct log_site *site, uint64_t now_ms, uint32_t *ret_missed)
{
	*ret_missed = 0;
	if (site->in_window == 0 || now_ms - site->window_ms >= LOG_WINDOW_MS) {
		*ret_missed = site->suppressed;
		site->window_ms = now_ms;
		site->in_window = 0;
		site->suppressed = 0;
	}
	if (site->in_window >= LOG_WINDOW_LINES) {
		site->suppressed++;
		atomic_fetch_add_explicit(&suppressed_total, 1, memory_order_relaxed);
		return false;
	}
	site->in_window++;
	return true;
}

static size_t write_time(char *dst, size_t cap, uint64_t wall_ns)
{
	char text[LOG_TIME_SIZE];
	int n;

	log_time(text, wall_ns);
	n = snprintf(dst, cap, "time=%s ", text);
	return n > 0 ? (size_t)n : 0;
}

/* Shows what is not plain text (utf8_show). dst has room for the longest result: a byte takes four,
 * a longer character less than that for each of its bytes. */
static size_t escape(char *dst, const char *s, size_t len)
{
	char *p = dst;

	while (len > 0) {
		char shown[UTF8_SHOWN_MAX];
		size_t shown_len, n = utf8_show(s, len, shown, &shown_len);

		memcpy(p, shown, shown_len);
		p += shown_len;
		s += n;
		len -= n;
	}
	*p = '\0';
	return (size_t)(p - dst);
}

/* Hands one line of escaped text to the sink or to stderr. */
static void emit(enum log_sub sub, enum log_level level, const char *text, const char *more)
{
	bool (*sink)(void *, enum log_level, const char *);
	const struct clock *clock;
	void *data;
	char line[LOG_LINE_MAX + 512];
	uint64_t wall_ns;
	size_t used;
	int n;

	_Static_assert(sizeof(line) < LOG_RECORD_MAX, "the ring takes every line whole");

	pthread_mutex_lock(&lock);
	sink = sink_fn;
	data = sink_data;
	clock = log_clock;
	pthread_mutex_unlock(&lock);
	wall_ns = clock_wall_ns(clock);
	n = snprintf(line, sizeof(line), "%s%s", text, more);
	REQUIRE(n >= 0 && (size_t)n < sizeof(line));
	log_ring_add(sub, level, wall_ns, line);
	n = snprintf(line, sizeof(line), "level=%s sub=%s %s%s", level_names[level], sub_names[sub],
		     text, more);
	REQUIRE(n > 0 && (size_t)n < sizeof(line));
	if (sink != NULL && sink(data, level, line))
		return;
	if (atomic_load_explicit(&to_journal, memory_order_relaxed)) {
		n = snprintf(line, sizeof(line), "<%d>sub=%s %s%s\n", priorities[level],
			     sub_names[sub], text, more);
	} else {
		used = write_time(line, sizeof(line), wall_ns);
		n = snprintf(line + used, sizeof(line) - used, "level=%s sub=%s %s%s\n",
			     level_names[level], sub_names[sub], text, more);
		n += (int)used;
	}
	if (n > 0 && (size_t)n < sizeof(line) && write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* there is nowhere to report this */
}

void log_write(struct log_site *site, enum log_sub sub, enum log_level level, const char *fmt, ...)
{
	char raw[LOG_TEXT_MAX], text[LOG_LINE_MAX + 128];
	uint32_t missed;
	bool admitted;
	va_list args;
	int n;

	_Static_assert(4 * (LOG_TEXT_MAX - 1) < LOG_LINE_MAX + 128, "an escaped byte takes four");
	REQUIRE(sub < LOG_SUB_COUNT && level < ARRAY_SIZE(level_names));
	pthread_mutex_lock(&lock);
	admitted = admit(site, clock_now_ms(log_clock), &missed);
	pthread_mutex_unlock(&lock);
	if (!admitted)
		return;
	if (missed > 0) {
		(void)snprintf(text, sizeof(text), "msg=\"repeats left out\" count=%u at=%s:%d",
			       missed, site->file, site->line);
		emit(sub, level, text, "");
	}
	va_start(args, fmt);
	n = vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	if (n < 0)
		return;
	escape(text, raw, MIN((size_t)n, sizeof(raw) - 1));
	emit(sub, level, text, (size_t)n >= sizeof(raw) ? " truncated=true" : "");
}
