#include "profiler/pprof.h"

#include <string.h>
#include <zlib.h>

#include "base/err.h"
#include "base/map.h"
#include "profile.pb-c.h"
#include "profiler/symbols.h"

/* What readers insist on beyond the schema:
 *
 *   string_table[0] is "", strings are told apart by content, ids are 1, 2, 3… in order (Parca)
 *   the program is the first mapping (its name becomes the file's name), mappings do not overlap
 *   the program's addresses are those of its file: `go tool pprof` disassembles what it finds there
 *     and takes no load address into account
 *   every location has a line, so that nobody symbolizes again; has_functions says so
 *   Line[0] is the innermost inlined function
 *   no empty stack, no location or function that nothing refers to
 *
 * All tables are growing arrays of protobuf-c messages in one arena. */

enum { ENTRIES_MAX = 1 << 20, GZIP_LEVEL = 1, GZIP_WINDOW = 15 + 16 /* gzip, not zlib */ };
enum { MEMORY_MAX = 256 << 20, LABELS_MAX = 4, PPROF_TROUBLE_MAX = 256 };

struct array {
	void **list;
	size_t n, cap;
};

struct builder {
	struct arena arena;
	struct map strings, functions, locations; /* → number in its array, + 1 */
	struct array string_table, function, location, mapping, sample;
	const struct modules *modules;
	Pprof__Mapping **module_mappings;
	char trouble[PPROF_TROUBLE_MAX]; /* with names */
	bool failed;
};

static void *grab(struct builder *b, size_t size)
{
	void *p = arena_alloc(&b->arena, MAX(size, (size_t)1));

	b->failed |= p == NULL;
	return p;
}

static void push(struct builder *b, struct array *a, void *item)
{
	void **list;

	if (a->n == a->cap) {
		list = mem_realloc(a->list, MAX(a->cap * 2, (size_t)64) * sizeof(*list));
		if (list == NULL) {
			b->failed = true;
			return;
		}
		a->list = list;
		a->cap = MAX(a->cap * 2, (size_t)64);
	}
	a->list[a->n++] = item;
}

/* Maps hold numbers from 1 in their value pointers. */
static uint64_t lookup(const struct map *m, const void *key, size_t len)
{
	return (uintptr_t)map_get(m, key, len);
}

static void remember(struct builder *b, struct map *m, const void *key, size_t len, uint64_t number)
{
	if (!b->failed)
		b->failed = map_put(m, key, len, (void *)(uintptr_t)number) != 0;
}

static int64_t string_id(struct builder *b, const char *s)
{
	size_t len = strlen(s);
	uint64_t number = lookup(&b->strings, s, len);
	char *copy;

	if (number != 0)
		return (int64_t)number - 1;
	copy = arena_strndup(&b->arena, s, len);
	if (copy == NULL) {
		b->failed = true;
		return 0;
	}
	push(b, &b->string_table, copy);
	remember(b, &b->strings, s, len, b->string_table.n);
	return b->failed ? 0 : (int64_t)b->string_table.n - 1;
}

static Pprof__ValueType *value_type(struct builder *b, const struct pprof_type *t)
{
	Pprof__ValueType *v = grab(b, sizeof(*v));

	if (v == NULL)
		return NULL;
	pprof__value_type__init(v);
	v->type = string_id(b, t->type);
	v->unit = string_id(b, t->unit);
	return v;
}

/* ---- Functions, locations, mappings ---- */

static uint64_t function_id(struct builder *b, const struct symbol_line *l)
{
	struct {
		int64_t name, system_name, file, start_line;
	} key = { string_id(b, l->name), string_id(b, l->system_name), string_id(b, l->file),
		  l->start_line };
	uint64_t id = lookup(&b->functions, &key, sizeof(key));
	Pprof__Function *f;

	if (id != 0)
		return id;
	f = grab(b, sizeof(*f));
	if (f == NULL)
		return 0;
	pprof__function__init(f);
	f->id = id = b->function.n + 1;
	f->name = key.name;
	f->system_name = key.system_name;
	f->filename = key.file;
	f->start_line = key.start_line;
	push(b, &b->function, f);
	remember(b, &b->functions, &key, sizeof(key), id);
	return id;
}

static Pprof__Mapping *mapping_of(struct builder *b, const struct module *m)
{
	size_t i = (size_t)(m - b->modules->list);
	Pprof__Mapping *p = b->module_mappings[i];

	if (p != NULL)
		return p;
	p = grab(b, sizeof(*p));
	if (p == NULL)
		return NULL;
	pprof__mapping__init(p);
	p->id = b->mapping.n + 1;
	p->memory_start = m->start - module_written_bias(b->modules, m);
	p->memory_limit = m->limit - module_written_bias(b->modules, m);
	p->file_offset = m->offset;
	p->filename = string_id(b, m->path);
	p->build_id = string_id(b, m->build_id);
	p->has_functions = p->has_filenames = p->has_line_numbers = p->has_inline_frames = true;
	push(b, &b->mapping, p);
	b->module_mappings[i] = p;
	return p;
}

static Pprof__Location *new_location(struct builder *b, unsigned lines)
{
	Pprof__Location *loc = grab(b, sizeof(*loc));
	Pprof__Line **list = grab(b, lines * sizeof(*list));
	Pprof__Line *line = grab(b, lines * sizeof(*line));

	if (loc == NULL || list == NULL || line == NULL)
		return NULL;
	pprof__location__init(loc);
	loc->id = b->location.n + 1;
	loc->n_line = lines;
	loc->line = list;
	for (unsigned i = 0; i < lines; i++) {
		list[i] = &line[i];
		pprof__line__init(list[i]);
	}
	push(b, &b->location, loc);
	return loc;
}

static void fill_lines(struct builder *b, Pprof__Location *loc, const struct symbol *s,
		       Pprof__Mapping *mapping)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct symbol_line *l = &s->lines[i];

		loc->line[i]->function_id = function_id(b, l);
		loc->line[i]->line = l->line;
		if (mapping != NULL) {
			mapping->has_filenames &= l->file[0] != '\0';
			mapping->has_line_numbers &= l->line != 0;
			mapping->has_inline_frames &= s->from_dwarf;
		}
	}
}

static uint64_t location_id(struct builder *b, uintptr_t pc)
{
	uint64_t id = lookup(&b->locations, &pc, sizeof(pc));
	const struct symbol *s;
	const struct module *m;
	Pprof__Location *loc;
	Pprof__Mapping *mapping = NULL;

	if (id != 0)
		return id;
	s = symbols_get(pc);
	m = modules_find(b->modules, pc);
	loc = new_location(b, s->n);
	if (loc == NULL)
		return 0;
	if (m != NULL && (mapping = mapping_of(b, m)) != NULL) {
		loc->mapping_id = mapping->id;
		loc->address = pc - module_written_bias(b->modules, m);
	}
	fill_lines(b, loc, s, mapping);
	remember(b, &b->locations, &pc, sizeof(pc), loc->id);
	return loc->id;
}

/* ---- Samples ---- */

static void add_label(struct builder *b, Pprof__Sample *s, const char *key, const char *value)
{
	Pprof__Label *label;

	if (key == NULL || value == NULL || value[0] == '\0')
		return;
	label = grab(b, sizeof(*label));
	if (label == NULL)
		return;
	pprof__label__init(label);
	label->key = string_id(b, key);
	label->str = string_id(b, value);
	s->label[s->n_label++] = label;
}

static void add_block_size(struct builder *b, Pprof__Sample *s, const int64_t *values)
{
	Pprof__Label *label = values[0] > 0 && values[1] > 0 ? grab(b, sizeof(*label)) : NULL;

	if (label == NULL)
		return;
	pprof__label__init(label);
	label->key = label->num_unit = string_id(b, "bytes");
	label->num = values[1] / values[0];
	s->label[s->n_label++] = label;
}

static Pprof__Sample *new_sample(struct builder *b, const struct pprof *p, unsigned frames,
				 const int64_t *from)
{
	Pprof__Sample *s = grab(b, sizeof(*s));
	uint64_t *ids = grab(b, frames * sizeof(*ids));
	int64_t *values = grab(b, p->value_count * sizeof(*values));
	Pprof__Label **labels = grab(b, LABELS_MAX * sizeof(Pprof__Label *));

	if (s == NULL || ids == NULL || values == NULL || labels == NULL)
		return NULL;
	pprof__sample__init(s);
	s->n_location_id = frames;
	s->location_id = ids;
	s->n_value = p->value_count;
	s->value = values;
	s->label = labels;
	memcpy(values, from, p->value_count * sizeof(*values));
	if (p->block_sizes)
		add_block_size(b, s, from);
	push(b, &b->sample, s);
	return s;
}

static void add_stack(struct builder *b, const struct pprof *p, const struct stack *k)
{
	Pprof__Sample *s;

	if (k->n == 0 || !stack_counts(k, p->value_count))
		return;
	s = new_sample(b, p, k->n, k->values);
	if (s == NULL)
		return;
	for (unsigned i = 0; i < k->n; i++)
		s->location_id[i] = location_id(b, k->pcs[i]);
	add_label(b, s, "thread", k->thread);
	add_label(b, s, "task", k->task);
	add_label(b, s, p->what_key, k->what);
}

static void add_lost(struct builder *b, const struct pprof *p, const int64_t *lost)
{
	static const struct symbol_line line = { "profiler_lost_samples", "profiler_lost_samples",
						 "", 0, 0 };
	Pprof__Location *loc;
	Pprof__Sample *s;
	bool any = false;

	for (unsigned i = 0; i < p->value_count; i++)
		any |= lost[i] != 0;
	if (!any)
		return;
	loc = new_location(b, 1);
	s = new_sample(b, p, 1, lost);
	if (loc == NULL || s == NULL)
		return;
	loc->line[0]->function_id = function_id(b, &line);
	s->location_id[0] = loc->id;
}

/* ---- The whole ---- */

static void builder_init(struct builder *b, const struct modules *modules)
{
	*b = (struct builder){ .modules = modules };
	arena_init(&b->arena, MEMORY_MAX);
	map_init(&b->strings, ENTRIES_MAX);
	map_init(&b->functions, ENTRIES_MAX);
	map_init(&b->locations, ENTRIES_MAX);
	b->module_mappings = grab(b, modules->count * sizeof(Pprof__Mapping *));
	(void)string_id(b, "");
}

static void builder_fini(struct builder *b)
{
	struct array *arrays[] = { &b->string_table, &b->function, &b->location, &b->mapping,
				   &b->sample };

	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
		mem_free(arrays[i]->list);
	map_fini(&b->strings);
	map_fini(&b->functions);
	map_fini(&b->locations);
	arena_fini(&b->arena);
}

static void attach(struct builder *b, Pprof__Profile *out)
{
	out->n_sample = b->sample.n;
	out->sample = (Pprof__Sample **)b->sample.list;
	out->n_mapping = b->mapping.n;
	out->mapping = (Pprof__Mapping **)b->mapping.list;
	out->n_location = b->location.n;
	out->location = (Pprof__Location **)b->location.list;
	out->n_function = b->function.n;
	out->function = (Pprof__Function **)b->function.list;
	out->n_string_table = b->string_table.n;
	out->string_table = (char **)b->string_table.list;
}

static int pack(struct builder *b, const struct pprof *p, struct buf *out)
{
	Pprof__Profile profile = PPROF__PROFILE__INIT;
	Pprof__ValueType *types[PPROF_VALUES_MAX];
	int64_t comments[PPROF_COMMENTS_MAX + 1];
	uint8_t *bytes;
	size_t len;
	int rc;

	profile.n_sample_type = p->value_count;
	profile.sample_type = types;
	for (unsigned i = 0; i < p->value_count; i++)
		types[i] = value_type(b, &p->values[i]);
	profile.period_type = value_type(b, &p->period_type);
	profile.period = p->period;
	profile.time_nanos = p->time_ns;
	profile.duration_nanos = p->duration_ns;
	profile.n_comment = p->comment_count;
	profile.comment = comments;
	for (unsigned i = 0; i < p->comment_count; i++)
		comments[i] = string_id(b, p->comments[i]);
	if (b->trouble[0] != '\0')
		comments[profile.n_comment++] = string_id(b, b->trouble);
	if (p->default_type != NULL)
		profile.default_sample_type = string_id(b, p->default_type);
	if (b->failed)
		return UV_ENOMEM;
	attach(b, &profile);
	len = pprof__profile__get_packed_size(&profile);
	bytes = mem_alloc(len);
	if (bytes == NULL)
		return UV_ENOMEM;
	pprof__profile__pack(&profile, bytes);
	rc = pprof_gzip(out, bytes, len);
	mem_free(bytes);
	return rc;
}

int pprof_write(struct buf *out, const struct pprof *p, const struct stacks *stacks,
		const struct modules *modules)
{
	struct builder b;
	int rc;

	builder_init(&b, modules);
	if (!b.failed && modules->count > 0)
		(void)mapping_of(&b, &modules->list[0]);
	symbols_begin(modules);
	symbols_prefetch(stacks);
	for (const struct stack *k = stacks->first; k != NULL && !b.failed; k = k->next)
		add_stack(&b, p, k);
	symbols_trouble(b.trouble, sizeof(b.trouble));
	symbols_end();
	if (!b.failed)
		add_lost(&b, p, stacks->lost);
	rc = b.failed ? UV_ENOMEM : pack(&b, p, out);
	builder_fini(&b);
	return rc;
}

static void *gzip_alloc(void *opaque, uInt count, uInt size)
{
	return mem_alloc_array(count, size);
}

static void gzip_free(void *opaque, void *p)
{
	mem_free(p);
}

int pprof_gzip(struct buf *out, const void *data, size_t len)
{
	z_stream z = { .zalloc = gzip_alloc, .zfree = gzip_free };
	uint8_t *dst;
	size_t room;

	if (len > PPROF_MAX)
		return ERR_LIMIT;
	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return UV_ENOMEM;
	room = deflateBound(&z, len);
	dst = buf_reserve(out, room);
	if (dst != NULL) {
		z.next_in = (Bytef *)(uintptr_t)data;
		z.avail_in = (uInt)len;
		z.next_out = dst;
		z.avail_out = (uInt)room;
		if (CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END))
			buf_advance(out, z.total_out);
	}
	deflateEnd(&z);
	return buf_err(out);
}
