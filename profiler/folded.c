#include "profiler/folded.h"

#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "profiler/symbols.h"

/* PROFILER_FOLDED, as flamegraph.pl, speedscope and inferno read it: one stack a line, root first,
 *
 *   main;loop_run;runner_turn 12
 *
 * PROFILER_LABELLED, lines of fields that are separated by tabs, every function before its use:
 *
 *   V type unit                       what is counted
 *   F origin name                     the functions, numbered from 0
 *   S value category task thread ids  a stack: ids root first, separated by spaces
 *
 * Names come from symbol tables of whatever libraries are loaded: what separates fields, and
 * control characters, are replaced. Different stacks may give equal lines; readers add them up. */

enum { NAMES_MAX = 1 << 16, ORIGIN_MAX = 48, KEY_MAX = 1024 };

struct folder {
	struct buf *out;
	const struct modules *modules;
	struct map functions; /* "origin\tname" -> number + 1 */
	unsigned function_count;
	bool failed;
};

static const char lost_name[] = "profiler_lost_samples";

static void write_clean(struct buf *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)s[i];

		buf_write_u8(out, c < 0x20 || c == 0x7f || c == ';' ? '_' : c);
	}
}

/* A symbol's last line is the function that has the code: root first, it comes first. */
static void write_folded(struct buf *out, const struct stack *k, unsigned value)
{
	bool first = true;

	for (unsigned i = k->n; i-- > 0;) {
		const struct symbol *s = symbols_get(k->pcs[i]);

		for (unsigned j = s->n; j-- > 0;) {
			if (!first)
				buf_write_u8(out, ';');
			write_clean(out, s->lines[j].name, strlen(s->lines[j].name));
			first = false;
		}
	}
	buf_printf(out, " %" PRId64 "\n", k->values[value]);
}

/* ---- With labels ---- */

/* Whose code it is: the folder of our own files, else the library; what headers of the system have
 * inlined into ours is not ours. */
static size_t origin_of(const struct folder *f, uintptr_t pc, const struct symbol_line *l,
			char ret[ORIGIN_MAX])
{
	const struct module *m = modules_find(f->modules, pc);
	const char *from = "?", *slash = strrchr(l->file, '/');
	size_t len = 1;

	if (m != NULL) {
		from = module_basename(m);
		len = strcspn(from, ".");
	}
	if (strncmp(l->file, "/usr/", 5) == 0) {
		from = "system";
		len = strlen(from);
	} else if (m != NULL && strcmp(m->path, f->modules->list[0].path) == 0 && slash != NULL) {
		for (from = slash; from > l->file && from[-1] != '/'; from--)
			;
		len = (size_t)(slash - from);
	}
	len = MIN(MAX(len, (size_t)1), (size_t)ORIGIN_MAX - 1);
	memcpy(ret, from, len);
	ret[len] = '\0';
	return len;
}

static unsigned function_id(struct folder *f, const char *origin, size_t origin_len,
			    const char *name)
{
	char key[KEY_MAX];
	size_t len = MIN(strlen(name), sizeof(key) - origin_len - 1);
	uintptr_t number;

	memcpy(key, origin, origin_len);
	key[origin_len] = '\t';
	memcpy(key + origin_len + 1, name, len);
	len += origin_len + 1;
	number = (uintptr_t)map_get(&f->functions, key, len);
	if (number != 0)
		return (unsigned)number - 1;
	number = ++f->function_count;
	f->failed = f->failed || map_put(&f->functions, key, len, (void *)number) < 0;
	buf_write_str(f->out, "F\t");
	write_clean(f->out, origin, origin_len);
	buf_write_u8(f->out, '\t');
	write_clean(f->out, name, strlen(name));
	buf_write_u8(f->out, '\n');
	return (unsigned)number - 1;
}

static void write_label(struct buf *out, const char *s)
{
	if (s != NULL)
		write_clean(out, s, strlen(s));
	buf_write_u8(out, '\t');
}

/* The functions are named while the line is made. */
static void write_labelled(struct folder *f, const struct stack *k, unsigned value)
{
	struct buf line;

	buf_init(&line, PROFILER_OUTPUT_MAX);
	buf_printf(&line, "S\t%" PRId64 "\t", k->values[value]);
	write_label(&line, k->what);
	write_label(&line, k->task);
	write_label(&line, k->thread);
	for (unsigned i = k->n; i-- > 0;) {
		const struct symbol *s = symbols_get(k->pcs[i]);

		for (unsigned j = s->n; j-- > 0;) {
			char origin[ORIGIN_MAX];
			size_t len = origin_of(f, k->pcs[i], &s->lines[j], origin);

			buf_printf(&line, "%u ", function_id(f, origin, len, s->lines[j].name));
		}
	}
	f->failed = f->failed || buf_err(&line) != 0;
	buf_write(f->out, line.data, line.len);
	buf_write_u8(f->out, '\n');
	buf_fini(&line);
}

static void write_lost(struct folder *f, enum profiler_folding folding, int64_t lost)
{
	if (lost <= 0)
		return;
	if (folding == PROFILER_FOLDED)
		buf_printf(f->out, "%s %" PRId64 "\n", lost_name, lost);
	else
		buf_printf(f->out, "S\t%" PRId64 "\t\t\t\t%u\n", lost,
			   function_id(f, "profiler", strlen("profiler"), lost_name));
}

/* ---- The whole ---- */

static unsigned choose_value(const struct pprof *p, const char *name)
{
	unsigned chosen = p->value_count - 1;

	for (unsigned i = 0; p->default_type != NULL && i < p->value_count; i++)
		if (strcmp(p->values[i].type, p->default_type) == 0)
			chosen = i;
	for (unsigned i = 0; name != NULL && i < p->value_count; i++)
		if (strcmp(p->values[i].type, name) == 0)
			chosen = i;
	return chosen;
}

int folded_write(struct buf *out, const struct pprof *p, const struct stacks *stacks,
		 const struct modules *modules, enum profiler_folding folding, const char *value)
{
	struct folder f = { .out = out, .modules = modules };
	unsigned i = choose_value(p, value);

	map_init(&f.functions, NAMES_MAX);
	if (folding == PROFILER_LABELLED)
		buf_printf(out, "V\t%s\t%s\n", p->values[i].type, p->values[i].unit);
	symbols_begin(modules);
	symbols_prefetch(stacks);
	for (const struct stack *k = stacks->first; k != NULL && !f.failed; k = k->next) {
		if (k->n == 0 || k->values[i] <= 0)
			continue;
		if (folding == PROFILER_FOLDED)
			write_folded(out, k, i);
		else
			write_labelled(&f, k, i);
	}
	symbols_end();
	write_lost(&f, folding, stacks->lost[i]);
	map_fini(&f.functions);
	return f.failed ? UV_ENOMEM : buf_err(out);
}
