/* Collecting.
 *
 *   README.txt, then the parts in the order of their table: what is quick and matters most first
 *   parts over time: each on a thread of its own, since they share the same seconds
 *   bin/peerscope, errors.txt, MANIFEST.json
 *
 * A part is complete in memory before its member begins, so that a failure never leaves half a
 * member; the program alone is copied through. Once the reader is gone or the file cannot be
 * written, everything ends at once; when it is merely cancelled, the rest is left out and the file
 * is ended as a file should be. */
#include "daemon/bundle.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/bundle_parts.h"
#include "daemon/client.h"
#include "daemon/json.h"

enum { WHY_MAX = 512, COPY_BYTES = 64 << 10, EXTRA_MS = 20000 };
/* Kept for the README's, the errors' and the manifest's sake, and for the table at the end. */
enum { SPARE_BYTES = 512 << 10 };

enum outcome { PENDING, OK, SKIPPED, FAILED };

struct piece {
	const struct bundle_part *part;
	struct bundle_run *run;
	const char *name;
	enum outcome outcome;
	char why[WHY_MAX];
	struct buf content;
	uint64_t bytes, ms;
	uint8_t hash[BUNDLE_HASH_SIZE];
	pthread_t thread;
	bool has_thread;
};

struct work {
	struct bundle_run run;
	struct bundle_zip *zip;
	struct bundle_result *result;
	uint64_t bytes; /* of the file so far */
	struct piece pieces[BUNDLE_PARTS_MAX];
	unsigned count, step, steps;
	int rc; /* the file cannot be written */
};

static bool cancelled(const struct bundle_config *c)
{
	return c->cancelled != NULL && c->cancelled(c->user);
}

static bool is_cancelled(void *data)
{
	return cancelled(data);
}

/* ---- One part ---- */

static void fail(struct piece *p, enum outcome outcome, const char *why)
{
	p->outcome = outcome;
	(void)snprintf(p->why, sizeof(p->why), "%s", why);
}

static void take_reply(struct piece *p, struct client *c, const struct client_reply *reply)
{
	const struct bundle_run *run = p->run;

	if (reply->http_status == 404 || reply->http_status == 405) {
		fail(p, SKIPPED, "this daemon does not offer it");
	} else if (reply->http_status != 200) {
		(void)client_error_of(c, reply);
		fail(p, p->part->flags & BUNDLE_MAY_LACK ? SKIPPED : FAILED, client_why(c));
	} else {
		if (p->part->flags & BUNDLE_TEXT)
			bundle_hide_write(&run->hide, &p->content, (char *)reply->body.data,
					  reply->body.len);
		else
			buf_write(&p->content, reply->body.data, reply->body.len);
		p->outcome = OK;
	}
}

static void ask(struct piece *p)
{
	const struct bundle_config *config = p->run->config;
	struct client *c = client_new(config->data);
	uint64_t limit = BUNDLE_PART_MS + (p->part->flags & BUNDLE_EXTRA ? EXTRA_MS : 0);
	struct client_reply reply;
	char path[256];
	int rc;

	if (c == NULL) {
		fail(p, FAILED, "out of memory");
		return;
	}
	(void)snprintf(path, sizeof(path), "%s", p->part->path);
	if (p->part->flags & BUNDLE_WINDOW) {
		(void)snprintf(path, sizeof(path), "%s%cseconds=%u", p->part->path,
			       strchr(p->part->path, '?') != NULL ? '&' : '?', config->seconds);
		limit += (uint64_t)config->seconds * 1000;
	}
	client_set_patience(c, 0); /* each part has its own */
	client_set_limits(c, limit, BUNDLE_PART_BYTES_MAX, is_cancelled, (void *)(uintptr_t)config);
	rc = client_request(c, "GET", path, NULL, NULL, 0, &reply);
	if (rc == UV_ECANCELED)
		fail(p, SKIPPED, "cancelled");
	else if (rc < 0)
		fail(p, FAILED, client_why(c));
	if (rc == UV_ETIMEDOUT)
		atomic_store(&p->run->silent, true);
	if (rc == 0)
		take_reply(p, c, &reply);
	buf_fini(&reply.body);
	client_free(c);
}

static void make_here(struct piece *p)
{
	CLEANUP(buf_fini) struct buf raw = { 0 };
	int rc;

	buf_init(&raw, BUNDLE_PART_BYTES_MAX);
	rc = p->part->make(p->run, &raw, p->why, sizeof(p->why));
	rc = rc < 0 ? rc : buf_err(&raw);
	if (rc == ERR_NOT_FOUND) {
		fail(p, SKIPPED, p->why[0] != '\0' ? p->why : "there is none");
	} else if (rc < 0) {
		fail(p, FAILED, p->why[0] != '\0' ? p->why : err_str(rc));
	} else {
		p->outcome = OK;
		if (p->part->flags & BUNDLE_TEXT)
			bundle_hide_write(&p->run->hide, &p->content, (char *)raw.data, raw.len);
		else
			buf_write(&p->content, raw.data, raw.len);
	}
}

static void collect(struct piece *p)
{
	const struct bundle_config *config = p->run->config;
	uint64_t start = clock_now_ms(&clock_system);

	buf_init(&p->content, 2 * BUNDLE_PART_BYTES_MAX);
	if (cancelled(config))
		fail(p, SKIPPED, "cancelled");
	else if (p->part->path != NULL && config->offline)
		fail(p, SKIPPED, "no daemon answers");
	else if (p->part->path != NULL && atomic_load(&p->run->silent))
		fail(p, SKIPPED, "the daemon has ceased to answer");
	else if ((p->part->flags & BUNDLE_OFFLINE) != 0 && !config->offline &&
		 !atomic_load(&p->run->silent))
		fail(p, SKIPPED, "the daemon answers");
	else if ((p->part->flags & BUNDLE_WINDOW) != 0 && config->seconds == 0)
		fail(p, SKIPPED, "0 seconds were asked for");
	else if (p->part->path != NULL)
		ask(p);
	else
		make_here(p);
	if (p->outcome == OK && buf_err(&p->content) < 0)
		fail(p, FAILED, err_str(buf_err(&p->content)));
	p->ms = clock_now_ms(&clock_system) - start;
}

static void *collect_on_thread(void *data)
{
	collect(data);
	return NULL;
}

/* ---- Into the file ---- */

static void tell(struct work *w, const char *name)
{
	struct bundle_progress p = { ++w->step, w->steps, name };

	if (w->run.config->progress != NULL)
		w->run.config->progress(w->run.config->user, &p);
}

static void write_member(struct work *w, struct piece *p)
{
	if (w->rc == 0)
		w->rc = bundle_zip_begin(w->zip, p->name, p->content.len, false);
	if (w->rc == 0)
		w->rc = bundle_zip_write(w->zip, p->content.data, p->content.len);
	if (w->rc == 0)
		w->rc = bundle_zip_end(w->zip, p->hash);
	p->bytes = p->content.len;
}

static void count(struct work *w, const struct piece *p)
{
	w->result->parts += p->outcome == OK;
	w->result->failed += p->outcome == FAILED;
	w->result->skipped += p->outcome == SKIPPED;
}

/* As if nothing could be compressed. */
static bool has_room(struct work *w, struct piece *p, uint64_t size)
{
	uint64_t max = w->run.config->bytes_max;

	max = max > 0 ? max : BUNDLE_BYTES_MAX;
	if (w->bytes + size + size / 1024 + SPARE_BYTES <= max)
		return true;
	(void)snprintf(p->why, sizeof(p->why),
		       "its %" PRIu64 " bytes would make the bundle larger than %" PRIu64, size,
		       max);
	p->outcome = SKIPPED;
	return false;
}

static void finish(struct work *w, struct piece *p)
{
	if (p->outcome == OK && has_room(w, p, p->content.len))
		write_member(w, p);
	count(w, p);
	buf_fini(&p->content);
}

static struct piece *add_piece(struct work *w, const struct bundle_part *part, const char *name)
{
	struct piece *p = &w->pieces[w->count++];

	REQUIRE(w->count <= BUNDLE_PARTS_MAX);
	p->part = part;
	p->run = &w->run;
	p->name = name;
	return p;
}

/* Those over time share their seconds, or eight of them would take eight times as long. */
static const struct bundle_part *collect_windows(struct work *w, const struct bundle_part *part)
{
	struct piece *first = &w->pieces[w->count];

	tell(w, "profiles over time");
	for (; part->name != NULL && (part->flags & BUNDLE_WINDOW) != 0; part++) {
		struct piece *p = add_piece(w, part, part->name);

		p->has_thread = pthread_create(&p->thread, NULL, collect_on_thread, p) == 0;
		if (!p->has_thread)
			fail(p, FAILED, "no thread for it");
	}
	for (struct piece *p = first; p < &w->pieces[w->count]; p++) {
		if (p->has_thread)
			(void)pthread_join(p->thread, NULL);
		finish(w, p);
	}
	return part;
}

static void collect_one(struct work *w, const struct bundle_part *part)
{
	struct piece *p = add_piece(w, part, part->name);

	tell(w, part->name);
	collect(p);
	finish(w, p);
}

/* It hangs only since some of the parts were collected. */
static void collect_from_outside(struct work *w)
{
	for (const struct bundle_part *part = bundle_parts; part->name != NULL && w->rc == 0;
	     part++)
		if (part->flags & BUNDLE_OFFLINE)
			collect_one(w, part);
}

static void collect_all(struct work *w)
{
	const struct bundle_part *part = bundle_parts;

	while (part->name != NULL && w->rc == 0) {
		if (part->flags & BUNDLE_WINDOW) {
			part = collect_windows(w, part);
			continue;
		}
		collect_one(w, part);
		part++;
	}
	if (atomic_load(&w->run.silent))
		collect_from_outside(w);
}

/* ---- The program ---- */

static void copy_program(struct work *w, struct piece *p, int fd, uint64_t size)
{
	CLEANUP(mem_freep) uint8_t *block = mem_alloc(COPY_BYTES);
	ssize_t n = 0;

	if (block == NULL) {
		fail(p, FAILED, "out of memory");
		return;
	}
	w->rc = bundle_zip_begin(w->zip, p->name, size, true);
	while (w->rc == 0 && p->bytes < size &&
	       (n = read(fd, block, MIN((uint64_t)COPY_BYTES, size - p->bytes))) > 0) {
		w->rc = bundle_zip_write(w->zip, block, (size_t)n);
		p->bytes += (uint64_t)n;
		if (cancelled(w->run.config))
			break;
	}
	if (w->rc == 0)
		w->rc = bundle_zip_end(w->zip, p->hash);
	p->outcome = OK;
	if (p->bytes < size)
		fail(p, FAILED, "it was not read to its end; the rest is zeros");
}

/* By the running process, whatever has become of the file that it was started from. */
static void add_program(struct work *w)
{
	struct piece *p = add_piece(w, NULL, "bin/peerscope");
	struct stat st;
	char path[64];
	int fd;

	tell(w, p->name);
	(void)snprintf(path, sizeof(path), "/proc/%d/exe",
		       w->run.config->pid > 0 ? w->run.config->pid : (int)getpid());
	if (!w->run.config->binary || cancelled(w->run.config)) {
		fail(p, SKIPPED, w->run.config->binary ? "cancelled" : "it was not asked for");
		count(w, p);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		fail(p, FAILED, "it cannot be read");
	else if (has_room(w, p, (uint64_t)st.st_size))
		copy_program(w, p, fd, (uint64_t)st.st_size);
	if (fd >= 0)
		close(fd);
	count(w, p);
}

/* ---- What became of it ---- */

static void write_hex(struct buf *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", bytes[i]);
}

static void write_manifest(struct work *w, struct buf *out)
{
	static const char *const names[] = { "pending", "ok", "skipped", "error" };

	buf_printf(out,
		   "{\"v\":1,\"program\":\"peerscope\",\"seconds\":%u,\"names\":\"%s\","
		   "\"daemon\":\"%s\",\"cancelled\":%s,\"parts\":[",
		   w->run.config->seconds, w->run.config->raw ? "real" : "codes",
		   atomic_load(&w->run.silent) ? "has ceased to answer" :
		   !w->run.config->offline     ? "answers" :
		   w->run.config->pid > 0      ? "does not answer" :
						 "is not running",
		   cancelled(w->run.config) ? "true" : "false");
	for (unsigned i = 0; i < w->count; i++) {
		const struct piece *p = &w->pieces[i];

		buf_printf(out, "%s\n{\"name\":\"%s\",\"result\":\"%s\",\"ms\":%" PRIu64,
			   i > 0 ? "," : "", p->name, names[p->outcome], p->ms);
		if (p->outcome == OK) {
			buf_printf(out, ",\"bytes\":%" PRIu64 ",\"sha256\":\"", p->bytes);
			write_hex(out, p->hash, sizeof(p->hash));
			buf_write_str(out, "\"}");
			continue;
		}
		CLEANUP(buf_fini) struct buf why = { 0 };

		buf_init(&why, 4 * WHY_MAX);
		bundle_hide_write(&w->run.hide, &why, p->why, strlen(p->why));
		buf_write_str(out, ",\"why\":");
		buf_write_json_str(out, (char *)why.data, why.len);
		buf_write_u8(out, '}');
	}
	buf_write_str(out, "\n]}\n");
}

static void write_errors(struct work *w, struct buf *out)
{
	for (unsigned i = 0; i < w->count; i++)
		if (w->pieces[i].outcome == FAILED)
			buf_printf(out, "%s: %s\n", w->pieces[i].name, w->pieces[i].why);
}

static void add_text(struct work *w, const char *name, bool hide,
		     void (*write)(struct work *w, struct buf *out))
{
	struct piece p = { .name = name };
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, BUNDLE_PART_BYTES_MAX);
	buf_init(&p.content, BUNDLE_PART_BYTES_MAX);
	write(w, &text);
	if (hide)
		bundle_hide_write(&w->run.hide, &p.content, (char *)text.data, text.len);
	else
		buf_write(&p.content, text.data, text.len);
	if (p.content.len > 0 && buf_err(&p.content) == 0)
		write_member(w, &p);
	buf_fini(&p.content);
}

/* ---- All of it ---- */

static unsigned count_steps(void)
{
	unsigned steps = 1; /* the program */

	for (const struct bundle_part *p = bundle_parts; p->name != NULL; p++)
		steps += (p->flags & BUNDLE_WINDOW) == 0 ||
			 (p > bundle_parts && (p[-1].flags & BUNDLE_WINDOW) == 0);
	return steps;
}

static int count_and_write(void *data, const void *bytes, size_t len)
{
	struct work *w = data;

	w->bytes += len;
	return w->run.config->write(w->run.config->user, bytes, len);
}

int bundle_run(const struct bundle_config *c, struct bundle_result *ret)
{
	struct work *w = mem_alloc(sizeof(*w));
	int rc;

	*ret = (struct bundle_result){ 0 };
	if (w == NULL)
		return UV_ENOMEM;
	w->run.config = c;
	w->result = ret;
	w->steps = count_steps();
	bundle_hide_init(&w->run.hide, c->data, c->raw);
	w->zip = bundle_zip_new(count_and_write, w);
	w->rc = w->zip != NULL ? 0 : UV_ENOMEM;
	if (w->rc == 0)
		collect_all(w);
	if (w->rc == 0)
		add_program(w);
	if (w->rc == 0)
		add_text(w, "errors.txt", true, write_errors);
	if (w->rc == 0)
		add_text(w, "MANIFEST.json", false, write_manifest);
	if (w->rc == 0)
		w->rc = bundle_zip_close(w->zip);
	ret->bytes = w->bytes;
	ret->cancelled = cancelled(c);
	bundle_zip_free(w->zip);
	rc = w->rc;
	mem_free(w);
	return rc;
}

void bundle_name(char ret[BUNDLE_NAME_SIZE])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	(void)strftime(ret, BUNDLE_NAME_SIZE, "peerscope-bundle-%Y%m%dT%H%M%SZ.zip", &tm);
}

void bundle_list(struct buf *out)
{
	for (const struct bundle_part *p = bundle_parts; p->name != NULL; p++)
		buf_printf(out, "%-28s %s\n", p->name,
			   p->path != NULL ? p->path :
			   p->flags & BUNDLE_OFFLINE ?
					     "from outside, when the daemon does not answer" :
					     "made by the program that collects");
	buf_write_str(out, "bin/peerscope                the running program\n"
			   "errors.txt                   what failed, if anything did\n"
			   "MANIFEST.json                what became of each part, with SHA-256\n");
}
