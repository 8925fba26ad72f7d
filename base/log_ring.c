/* Text in a ring of bytes, what is known of each line in a ring of its own: a line's number leads
 * to its entry without a search. A text that reaches the end of the bytes goes on at their
 * beginning. The memory is part of the program, so that a line about memory running out has a
 * place; the pages of it that were never written cost nothing. */
#include "base/log_ring.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

struct entry {
	uint64_t wall_ns;
	uint32_t at, len;
	uint8_t sub, level;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries[LOG_RING_LINES];
static char bytes[LOG_RING_BYTES];
static uint64_t first = 1, end = 1; /* numbers of the lines kept: [first, end) */
static uint32_t head, used;	    /* where the next text begins; bytes kept */
static uint64_t by_level[LOG_DEBUG + 1];

static struct entry *entry_of(uint64_t number)
{
	return &entries[number % LOG_RING_LINES];
}

void log_ring_add(enum log_sub sub, enum log_level level, uint64_t wall_ns, const char *text)
{
	uint32_t len = (uint32_t)MIN(strlen(text), (size_t)LOG_RECORD_MAX - 1), part;

	pthread_mutex_lock(&lock);
	while (end - first == LOG_RING_LINES || used + len > LOG_RING_BYTES)
		used -= entry_of(first++)->len;
	part = MIN(len, (uint32_t)LOG_RING_BYTES - head);
	memcpy(bytes + head, text, part);
	memcpy(bytes, text + part, len - part);
	*entry_of(end++) = (struct entry){ wall_ns, head, len, (uint8_t)sub, (uint8_t)level };
	head = (head + len) % LOG_RING_BYTES;
	used += len;
	by_level[level]++;
	pthread_mutex_unlock(&lock);
}

bool log_ring_next(uint64_t after, struct log_record *ret)
{
	const struct entry *e;
	uint64_t number;
	uint32_t part;

	pthread_mutex_lock(&lock);
	number = after < first ? first : after + 1;
	if (after >= end || number >= end) {
		pthread_mutex_unlock(&lock);
		return false;
	}
	e = entry_of(number);
	ret->number = number;
	ret->wall_ns = e->wall_ns;
	ret->sub = (enum log_sub)e->sub;
	ret->level = (enum log_level)e->level;
	ret->len = e->len;
	part = MIN(e->len, (uint32_t)LOG_RING_BYTES - e->at);
	memcpy(ret->text, bytes + e->at, part);
	memcpy(ret->text + part, bytes, e->len - part);
	ret->text[e->len] = '\0';
	pthread_mutex_unlock(&lock);
	return true;
}

void log_ring_stats(struct log_ring_stats *ret)
{
	pthread_mutex_lock(&lock);
	ret->written = end - 1;
	ret->dropped = first - 1;
	ret->bytes = used;
	memcpy(ret->by_level, by_level, sizeof(by_level));
	pthread_mutex_unlock(&lock);
}

void log_time(char ret[LOG_TIME_SIZE], uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_SEC);
	size_t n;
	struct tm tm;

	gmtime_r(&seconds, &tm);
	n = strftime(ret, LOG_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret + n, LOG_TIME_SIZE - n, ".%03uZ",
		       (unsigned)(wall_ns % NS_PER_SEC / NS_PER_MS));
}
