#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "profiler/goroutine.h"
#include "profiler/symbols.h"

/* Layouts of runtime/pprof and of the runtime's traceback, byte for byte where programs read them:
 *
 *   debug=1   header, "COUNT @ 0x…" records with '#' lines. Addresses are return addresses: readers
 *             subtract one from each
 *   debug=2   "goroutine ID [STATE, N minutes]:", then two lines per frame, "created by", an empty
 *             line between blocks and nothing else
 *
 * Parsers of debug=2 in use break on: anything but "..." as arguments, '%' in a name, a file that
 * ends in neither .c, .s nor .go, a second ':' in a file line, any stray line. */

enum { FRAMES_SHOWN = 100, LISTED_MAX = 10000, NAME_MAX_TEXT = 256 };
enum { TAB = 8, MAPS_MAX = 8 << 20, MAPS_READ = 16 << 10 };

static const char *plain_name(const char *name, char buf[NAME_MAX_TEXT])
{
	size_t n = strnlen(name, NAME_MAX_TEXT - 1);

	for (size_t i = 0; i < n; i++)
		buf[i] = strchr("%()[]{}<>,: \t\n", name[i]) != NULL ? '_' : name[i];
	buf[n] = '\0';
	return buf;
}

static const char *frame_name(const struct symbol_line *l, char buf[NAME_MAX_TEXT])
{
	return plain_name(l->name[0] == '[' ? l->system_name : l->name, buf);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

static bool has_place(const struct symbol_line *l)
{
	const char *f = l->file;

	return f[0] == '/' && strpbrk(f, ": \t\n") == NULL &&
	       (ends_with(f, ".c") || ends_with(f, ".s") || ends_with(f, ".go"));
}

/* "FILE:LINE", or "??:0": a line without its file is no place. */
static void write_place(struct buf *out, const struct symbol_line *l)
{
	buf_printf(out, "%s:%d", has_place(l) ? l->file : "??", has_place(l) ? l->line : 0);
}

/* ---- Blocks ---- */

static uintptr_t offset_in(const struct symbol *s, uintptr_t pc)
{
	return s->start != 0 && pc >= s->start ? pc - s->start : 0;
}

void frames_write(struct buf *out, const uintptr_t *pcs, unsigned n)
{
	char name[NAME_MAX_TEXT];
	unsigned shown = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct symbol *s = symbols_get(pcs[i]);

		for (unsigned k = 0; k < s->n; k++) {
			const struct symbol_line *l = &s->lines[k];

			if (shown++ == FRAMES_SHOWN) {
				buf_write_str(out, "...additional frames elided...\n");
				return;
			}
			buf_printf(out, "%s(...)\n\t", frame_name(l, name));
			write_place(out, l);
			if (k + 1 == s->n)
				buf_printf(out, " +0x%" PRIxPTR, offset_in(s, pcs[i] + (i > 0)));
			buf_write_str(out, "\n");
		}
	}
}

static void write_creator(struct buf *out, const struct symbol *s, const struct symbol_line *l,
			  uintptr_t pc)
{
	char name[NAME_MAX_TEXT];

	buf_printf(out, "created by %s\n\t", frame_name(l, name));
	write_place(out, l);
	buf_printf(out, " +0x%" PRIxPTR "\n", offset_in(s, pc + 1));
}

static void write_created_by(struct buf *out, const uintptr_t *pcs, unsigned n)
{
	const struct symbol *s;

	if (n == 0)
		return;
	s = symbols_get(pcs[0]);
	write_creator(out, s, &s->lines[0], pcs[0]);
}

/* The innermost function is the operation's own _start; who called it is asked for. */
static void write_task_creator(struct buf *out, const struct task *t)
{
	for (unsigned i = 0, seen = 0; i < t->created_count; i++) {
		const struct symbol *s = symbols_get(t->created_by[i]);

		for (unsigned k = 0; k < s->n; k++)
			if (seen++ == 1) {
				write_creator(out, s, &s->lines[k], t->created_by[i]);
				return;
			}
	}
	write_created_by(out, t->created_by, t->created_count);
}

static void write_head(struct buf *out, uint64_t id, const char *state, uint64_t waiting_ms)
{
	buf_printf(out, "goroutine %" PRIu64 " [%s", id, state);
	if (waiting_ms >= 60000)
		buf_printf(out, ", %" PRIu64 " minutes", waiting_ms / 60000);
	buf_write_str(out, "]:\n");
}

/* The holder stands as a frame, for nothing else may stand in a block. */
static void write_holder(struct buf *out, const struct dump *d, const struct dumped_thread *t,
			 bool notes)
{
	const struct dumped_thread *holder = thread_holder(d, t);

	if (holder == NULL)
		return;
	if (notes)
		buf_printf(out,
			   "# waits for a mutex held by goroutine %" PRIu64 ", thread %d \"%s\"\n",
			   holder->id, (int)holder->tid, holder->name);
	buf_printf(out, "mutex.held_by_goroutine_%" PRIu64 "(...)\n\t??:0\n", holder->id);
}

static void write_thread(struct buf *out, const struct dump *d, const struct dumped_thread *t,
			 bool notes)
{
	write_head(out, t->id, thread_state(t), thread_waits_ms(t));
	if (notes)
		buf_printf(out, "# thread %d \"%s\", %.3f s of CPU in %.1f s%s\n", (int)t->tid,
			   t->name, (double)t->cpu_ns / 1e9,
			   (double)(clock_now_ns(&clock_system) - t->started_ns) / 1e9,
			   t->answered ? "" : ", did not answer: seen from outside");
	if (notes && t->task != NULL)
		buf_printf(out, "# runs operation %s\n", t->task);
	write_holder(out, d, t, notes);
	frames_write(out, t->pcs, t->n);
	write_created_by(out, t->created_by, t->created_count);
}

static int by_id(const void *key, const void *task)
{
	uint64_t id = *(const uint64_t *)key, other = ((const struct task *)task)->id;

	return id < other ? -1 : id > other;
}

/* Ids rise with age, as the list does. */
static void write_parent(struct buf *out, const struct tasks *all, const struct task *t)
{
	const struct task *parent =
		bsearch(&t->parent_id, all->list, all->count, sizeof(*all->list), by_id);

	if (t->parent_id != 0)
		buf_printf(out, "# started by operation %" PRIu64 "%s%s\n", t->parent_id,
			   parent != NULL ? ", " : ", which has ended",
			   parent != NULL ? parent->kind : "");
}

static void write_task_notes(struct buf *out, const struct tasks *all, const struct task *t)
{
	buf_printf(out, "# operation %s in state %s for %.1f s, %u pending, ", t->kind, t->state,
		   (double)t->waiting_ms / 1e3, t->pending);
	if (t->left_ms != UINT64_MAX)
		buf_printf(out, "%.1f s left\n", (double)t->left_ms / 1e3);
	else
		buf_write_str(out, "no deadline\n");
	write_parent(out, all, t);
}

static void write_task_head(struct buf *out, const struct tasks *all, const struct task *t,
			    bool notes)
{
	write_head(out, t->id, task_state(t), t->waiting_ms);
	if (notes)
		write_task_notes(out, all, t);
}

/* The state as a frame of its own: what the operation is at, where the code has just one function.
 */
static void write_task_body(struct buf *out, const struct task *t)
{
	const struct symbol *s = symbols_get(t->pc);
	const struct symbol_line *l = &s->lines[s->n - 1];
	char text[NAME_MAX_TEXT];

	buf_printf(out, "%s.%s(...)\n\t", t->kind, plain_name(t->state, text));
	write_place(out, l);
	buf_write_str(out, "\n");
	frames_write(out, &t->pc, 1);
	write_task_creator(out, t);
}

/* ---- All blocks ---- */

/* Many operations of one kind stand in the same state and were started from the same place, so
 * that nothing but the head of their blocks differs: the rest is written once. */
enum { BODIES = 256 };

struct body {
	const struct task *of; /* NULL: none yet */
	size_t at, len;	       /* in the text */
};

static uint64_t body_hash(const struct task *t)
{
	uint64_t h = (uintptr_t)t->state ^ t->pc;

	for (unsigned i = 0; i < t->created_count; i++)
		h = (h ^ t->created_by[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return h >> 32;
}

static bool same_body(const struct task *a, const struct task *b)
{
	return a->kind == b->kind && a->state == b->state && a->pc == b->pc &&
	       a->created_count == b->created_count &&
	       memcmp(a->created_by, b->created_by, a->created_count * sizeof(*a->created_by)) == 0;
}

static void copy_body(struct buf *out, const struct body *b)
{
	uint8_t *room = buf_reserve(out, b->len);

	if (room == NULL)
		return;
	memcpy(room, out->data + b->at, b->len);
	buf_advance(out, b->len);
}

static void write_tasks(struct buf *out, const struct tasks *all, bool notes)
{
	struct body bodies[BODIES] = { { NULL, 0, 0 } };

	for (unsigned i = 0; i < all->count; i++) {
		const struct task *t = &all->list[i];
		struct body *b = &bodies[body_hash(t) % BODIES];

		buf_write_str(out, "\n");
		write_task_head(out, all, t, notes);
		if (b->of != NULL && same_body(b->of, t)) {
			copy_body(out, b);
			continue;
		}
		*b = (struct body){ .of = t, .at = out->len };
		write_task_body(out, t);
		b->len = out->len - b->at;
	}
}

void snapshot_write_blocks(struct buf *out, const struct dump *d, const struct tasks *t, bool notes)
{
	for (unsigned i = 0; i < d->count; i++) {
		if (i > 0)
			buf_write_str(out, "\n");
		write_thread(out, d, &d->threads[i], notes);
	}
	write_tasks(out, t, notes);
}

void snapshot_write_list(struct buf *out, const struct dump *d, const struct tasks *t)
{
	unsigned left = LISTED_MAX;

	buf_write_str(out, "#");
	for (unsigned i = 0; i < d->count && left > 0; i++, left--)
		buf_printf(out, "\ngoroutine %" PRIu64 " [%s]", d->threads[i].id,
			   thread_state(&d->threads[i]));
	for (unsigned i = 0; i < t->count && left > 0; i++, left--)
		buf_printf(out, "\ngoroutine %" PRIu64 " [%s]", t->list[i].id,
			   task_state(&t->list[i]));
	buf_write_str(out, "\n");
}

/* ---- Records ---- */

static int by_count(const void *a, const void *b)
{
	const struct stack *x = *(const struct stack *const *)a,
			   *y = *(const struct stack *const *)b;
	unsigned n = MIN(x->n, y->n);

	if (x->values[0] != y->values[0])
		return x->values[0] > y->values[0] ? -1 : 1;
	for (unsigned i = 0; i < n; i++)
		if (x->pcs[i] != y->pcs[i])
			return x->pcs[i] < y->pcs[i] ? -1 : 1;
	return (int)x->n - (int)y->n;
}

/* Go quotes with %q; our values are plain names. */
static void write_labels(struct buf *out, const struct stack *k, const char *what_key)
{
	const char *keys[] = { what_key, "task", "thread" };
	const char *values[] = { k->what, k->task, k->thread };
	bool first = true;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (keys[i] == NULL || values[i] == NULL || values[i][0] == '\0')
			continue;
		buf_printf(out, first ? "# labels: {\"%s\":" : ", \"%s\":", keys[i]);
		buf_write_json_str(out, values[i], strlen(values[i]));
		first = false;
	}
	if (!first)
		buf_write_str(out, "}\n");
}

/* "name+0xoff" in columns of tabs, as Go's tabwriter leaves them. */
void record_frames_write(struct buf *out, const struct stack *k)
{
	char name[NAME_MAX_TEXT], cell[NAME_MAX_TEXT + 24];
	size_t widest = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < k->n; i++) {
			const struct symbol *s = symbols_get(k->pcs[i]);

			for (unsigned l = 0; l < s->n; l++) {
				size_t n = (size_t)snprintf(cell, sizeof(cell), "%s+0x%" PRIxPTR,
							    frame_name(&s->lines[l], name),
							    offset_in(s, k->pcs[i]));

				widest = MAX(widest, n);
				if (pass == 0)
					continue;
				buf_printf(out, "#\t%#" PRIxPTR "\t%s", k->pcs[i], cell);
				for (size_t at = n / TAB; at <= widest / TAB; at++)
					buf_write_str(out, "\t");
				buf_printf(out, "%s:%d\n",
					   s->lines[l].file[0] != '\0' ? s->lines[l].file : "??",
					   s->lines[l].file[0] != '\0' ? s->lines[l].line : 0);
			}
		}
}

void count_profile_write(struct buf *out, const char *name, const char *what_key,
			 const struct stacks *stacks)
{
	const struct stack **list = mem_alloc_array(MAX(stacks->count, 1u), sizeof(*list));
	int64_t total = 0;
	unsigned n = 0;

	if (list == NULL) {
		(void)buf_reserve(out, SIZE_MAX); /* sticks */
		return;
	}
	for (const struct stack *k = stacks->first; k != NULL; k = k->next) {
		list[n++] = k;
		total += k->values[0];
	}
	qsort(list, n, sizeof(*list), by_count);
	buf_printf(out, "%s profile: total %" PRId64 "\n", name, total);
	for (unsigned i = 0; i < n; i++) {
		if (list[i]->values[0] <= 0)
			continue;
		buf_printf(out, "%" PRId64 " @", list[i]->values[0]);
		for (unsigned k = 0; k < list[i]->n; k++)
			buf_printf(out, " %#" PRIxPTR, list[i]->pcs[k] + 1);
		buf_write_str(out, "\n");
		write_labels(out, list[i], what_key);
		record_frames_write(out, list[i]);
		buf_write_str(out, "\n");
	}
	mem_free(list);
}

/* ---- The map ---- */

/* "start-end perms …": executable ones; [vsyscall] lies where signed addresses end. */
static void write_map_line(struct buf *out, const char *line, size_t len)
{
	const char *perms = memchr(line, ' ', len);

	if (perms == NULL || len - (size_t)(perms - line) < 5 || perms[3] != 'x' ||
	    memmem(line, len, "[vsyscall]", 10) != NULL)
		return;
	buf_write(out, line, len);
	buf_write_str(out, "\n");
}

void executable_maps_write(struct buf *out)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct buf maps;
	ssize_t n = 0;

	buf_init(&maps, MAPS_MAX);
	while (fd >= 0) {
		uint8_t *room = buf_reserve(&maps, MAPS_READ);

		n = room != NULL ? read(fd, room, MAPS_READ) : 0;
		if (n <= 0)
			break;
		buf_advance(&maps, (size_t)n);
	}
	if (fd >= 0)
		close(fd);
	for (size_t at = 0; at < maps.len;) {
		const char *line = (const char *)maps.data + at;
		const char *end = memchr(line, '\n', maps.len - at);
		size_t len = end != NULL ? (size_t)(end - line) : maps.len - at;

		write_map_line(out, line, len);
		at += len + 1;
	}
	buf_fini(&maps);
}

void memory_map_write(struct buf *out)
{
	buf_write_str(out, "--- Memory map: ---\n");
	executable_maps_write(out);
}
