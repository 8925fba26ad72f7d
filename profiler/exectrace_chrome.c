/* From records to the Trace Event Format, for ui.perfetto.dev and chrome://tracing:
 *
 *   a tick, a worker's work    a slice ("B", "E") of its thread
 *   an operation               a nestable asynchronous event ("b", "e") under its id, its states
 *                              within it
 *   a span                     an instant ("n") in its operation: category and trace id
 *   memory                     a counter ("C")
 *
 * Times are microseconds since the recording began. What readers insist on:
 *
 *   speedscope   an "E" has the name and the arguments of its "B", closes the innermost one, and no
 *                two of a thread are at one time, since it sorts a "B" before an "E"
 *   Perfetto     an "e" has the category, id and name of its "b"
 *
 * So what began before the recording is passed over until its end, what outlasts it is ended with
 * it, and times of a thread rise.
 *
 * What can go wrong: the file grows beyond its limit. Then it ends early, as valid JSON, and says
 * so. */
#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "profiler/exectrace.h"
#include "profiler/proc.h"

enum { ARENA_MAX = 64 << 20, TAIL_MAX = 1 << 20, DEPTH_MAX = 32, ENDS_MAX = 512 };

/* What is open on a thread, innermost last. */
struct slices {
	struct slice {
		const char *name;
		uint64_t id;
	} open[DEPTH_MAX];
	unsigned depth, unseen; /* beyond DEPTH_MAX */
	uint64_t last_ns;
};

struct operation {
	const struct op_kind *kind;
	unsigned state;
	bool ended;
};

struct chrome {
	const struct exectrace *t;
	struct buf *out;
	struct map ops;
	struct arena arena;
	uint64_t ns;
	uint64_t threads[EXECTRACE_THREADS_MAX]; /* by number less one; 0 is the loop's */
	struct slices slices[EXECTRACE_THREADS_MAX];
	unsigned thread_count;
	uint64_t left_out;
	unsigned in_flight;
	bool first;
};

/* {"ph":"B","pid":1,"tid":1,"ts":0.000,"name":"…" – the caller closes it. */
static void open_event(struct chrome *c, const char *phase, unsigned tid, const char *name)
{
	uint64_t ns = c->ns > c->t->start_ns ? c->ns - c->t->start_ns : 0;

	buf_printf(c->out, "%s{\"ph\":\"%s\",\"pid\":1,\"tid\":%u,\"ts\":%" PRIu64 ".%03u",
		   c->first ? "\n" : ",\n", phase, tid, ns / 1000, (unsigned)(ns % 1000));
	c->first = false;
	if (name != NULL) {
		buf_write_str(c->out, ",\"name\":");
		buf_write_json_str(c->out, name, strlen(name));
	}
}

static void close_event(struct chrome *c)
{
	buf_write_str(c->out, "}");
}

/* ---- Slices ---- */

static void write_slice(struct chrome *c, unsigned tid, const char *phase, const struct slice *s)
{
	struct slices *all = &c->slices[tid - 1];
	uint64_t now = c->ns;

	c->ns = MAX(now, all->last_ns + 1);
	all->last_ns = c->ns;
	open_event(c, phase, tid, s->name);
	buf_printf(c->out, ",\"args\":{\"id\":%" PRIu64 "}}", s->id);
	c->ns = now;
}

static void begin_slice(struct chrome *c, unsigned tid, const char *name, uint64_t id)
{
	struct slices *all = &c->slices[tid - 1];

	if (all->depth == DEPTH_MAX) {
		all->unseen++;
		c->left_out++;
		return;
	}
	all->open[all->depth] = (struct slice){ name, id };
	write_slice(c, tid, "B", &all->open[all->depth++]);
}

/* The innermost one; none, when it began before the recording. */
static void end_slice(struct chrome *c, unsigned tid)
{
	struct slices *all = &c->slices[tid - 1];

	if (all->unseen > 0)
		all->unseen--;
	else if (all->depth > 0)
		write_slice(c, tid, "E", &all->open[--all->depth]);
}

/* ---- Operations ---- */

static void write_async(struct chrome *c, const char *phase, uint64_t id, const char *name)
{
	open_event(c, phase, 1, name);
	buf_printf(c->out, ",\"cat\":\"operation\",\"id\":\"%#" PRIx64 "\"", id);
}

static void async(struct chrome *c, const char *phase, uint64_t id, const char *name)
{
	write_async(c, phase, id, name);
	close_event(c);
}

static void name_thread(struct chrome *c, unsigned tid, const char *name)
{
	open_event(c, "M", tid, "thread_name");
	buf_write_str(c->out, ",\"args\":{\"name\":");
	buf_write_json_str(c->out, name, strlen(name));
	buf_write_str(c->out, "}}");
}

static struct operation *find(struct chrome *c, uint64_t id)
{
	return map_get(&c->ops, &id, sizeof(id));
}

static const char *state_name(const struct operation *op)
{
	return op->kind->states[op->state].name;
}

static void on_begin(struct chrome *c, const struct record *record)
{
	struct operation *op = arena_alloc(&c->arena, sizeof(*op));
	uint64_t id = record->words[0];

	if (op == NULL || map_put(&c->ops, &id, sizeof(id), op) != 0) {
		c->left_out++;
		return;
	}
	c->in_flight++;
	op->kind = (const struct op_kind *)(uintptr_t)record->words[2];
	op->state = record->small & ~(uint32_t)RECORD_THERE;
	write_async(c, "b", id, op->kind->name);
	buf_printf(c->out, ",\"args\":{\"id\":%" PRIu64 ",\"parent\":%" PRIu64 "}", id,
		   record->words[1]);
	close_event(c);
	async(c, "b", id, state_name(op));
}

static void end_operation(struct chrome *c, uint64_t id, struct operation *op)
{
	if (op->ended)
		return;
	op->ended = true;
	c->in_flight--;
	async(c, "e", id, state_name(op));
	async(c, "e", id, op->kind->name);
}

static void on_operation(struct chrome *c, const struct record *record, enum record_type type)
{
	uint64_t id = record->words[0];
	struct operation *op = find(c, id);
	const char *category = (const char *)(uintptr_t)record->words[3];

	if (op == NULL)
		return;
	if (type == RECORD_TICK) {
		begin_slice(c, 1, op->kind->name, id);
	} else if (type == RECORD_TICKED) {
		end_slice(c, 1);
	} else if (type == RECORD_MOVE && record->small < op->kind->state_count) {
		async(c, "e", id, state_name(op));
		op->state = record->small;
		async(c, "b", id, state_name(op));
	} else if (type == RECORD_END) {
		end_operation(c, id, op);
	} else if (type == RECORD_SPAN && category != NULL) {
		async(c, "n", id, category);
	}
}

/* Its number; 0 = there are too many. */
static unsigned thread_number(struct chrome *c, const struct record *record)
{
	char name[THREAD_NAME_SIZE];

	for (unsigned i = 1; i < c->thread_count; i++)
		if (c->threads[i] == record->words[0])
			return i + 1;
	if (c->thread_count == EXECTRACE_THREADS_MAX)
		return 0;
	c->threads[c->thread_count++] = record->words[0];
	proc_thread_name((pid_t)record->small, name);
	name_thread(c, c->thread_count, name);
	return c->thread_count;
}

static void on_label(struct chrome *c, const struct record *record)
{
	const char *task = (const char *)(uintptr_t)record->words[1];
	unsigned number = thread_number(c, record);

	if (number == 0) {
		c->left_out++;
		return;
	}
	end_slice(c, number);
	if (task != NULL)
		begin_slice(c, number, task, record->words[2]);
}

static void on_heap(struct chrome *c, uint64_t bytes)
{
	open_event(c, "C", 1, "memory");
	buf_printf(c->out, ",\"args\":{\"bytes\":%" PRIu64 "}}", bytes);
}

static void write_record(struct chrome *c, const struct record *record)
{
	enum record_type type = atomic_load_explicit(&record->type, memory_order_acquire);

	c->ns = record->ns;
	switch (type) {
	case RECORD_BEGIN: on_begin(c, record); break;
	case RECORD_LABEL: on_label(c, record); break;
	case RECORD_HEAP: on_heap(c, record->words[0]); break;
	case RECORD_SPAN:
	case RECORD_TICK:
	case RECORD_TICKED:
	case RECORD_MOVE:
	case RECORD_END: on_operation(c, record, type); break;
	case RECORD_NONE:
	case RECORD_ORIGIN:
	case RECORD_TRACE:
	case RECORD_DUE:
	case RECORD_SLEEP:
	case RECORD_WAKE: break;
	}
}

/* What outlasts the recording. */
static void end_all(struct chrome *c)
{
	for (unsigned i = 0; i < c->thread_count; i++) {
		c->slices[i].unseen = 0;
		while (c->slices[i].depth > 0)
			end_slice(c, i + 1);
	}
	for (struct map_iter it = map_first(&c->ops); it.value != NULL; map_next(&it))
		end_operation(c, *(const uint64_t *)it.key, it.value);
}

/* For another record, and for the end of all that is open. */
static bool has_room(const struct chrome *c, size_t written)
{
	return written + c->in_flight * (size_t)ENDS_MAX < PROFILER_OUTPUT_MAX - TAIL_MAX;
}

int exectrace_write_chrome(const struct exectrace *t, struct buf *out)
{
	struct chrome c = {
		.t = t, .out = out, .ns = t->start_ns, .thread_count = 1, .first = true
	};
	uint64_t dropped, count = exectrace_count(t, &dropped), i;
	size_t begin = out->len;

	map_init(&c.ops, EXECTRACE_OPS_MAX);
	arena_init(&c.arena, ARENA_MAX);
	buf_write_str(out, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
	name_thread(&c, 1, "loop");
	for (i = 0; i < count && has_room(&c, out->len - begin); i++)
		write_record(&c, &t->records[i]);
	c.ns = MAX(c.ns, t->stop_ns);
	end_all(&c);
	buf_printf(out, "\n],\"otherData\":{\"left_out\":%" PRIu64 "}}\n",
		   dropped + c.left_out + (count - i));
	arena_fini(&c.arena);
	map_fini(&c.ops);
	return buf_err(out);
}
