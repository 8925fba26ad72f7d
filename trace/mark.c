/* Marks: binary on writing, text on reading.
 *
 * The format is parsed once per literal, into the types of its arguments; a cache keyed by the
 * literal's address remembers them. Writing a mark is then a clock reading and a few stores;
 * integers and doubles take a word each, strings are copied, TRACE_MARK_TEXT_MAX bytes in all. A
 * conversion that is not understood ends the parsing: the arguments before it are kept, the rest of
 * the format is shown as it stands. */
#include <stdarg.h>
#include <stdio.h>

#include "trace/store.h"

enum {
	PRECISION_NONE = 255,
	SPEC_MAX = 24,	      /* longest conversion specification understood */
	CONVERSION_MAX = 352, /* longest text of one conversion */
	STRING_CUT = 1 << 30  /* in a string's word: bytes were left out */
};

/* One conversion of a format. */
struct spec {
	const char *start, *end; /* from % to behind the conversion */
	size_t flags_len; /* % , flags, width, precision: what goes before the length modifier */
	bool star;	  /* precision from an argument */
	uint8_t precision;
	uint8_t type;
};

static const char *skip_digits(const char *p)
{
	while (*p >= '0' && *p <= '9')
		p++;
	return p;
}

static bool spec_type(struct spec *s, char conversion, bool is_long)
{
	switch (conversion) {
	case 'd':
	case 'i': s->type = is_long ? ARG_LONG : ARG_INT; return true;
	case 'u':
	case 'x':
	case 'X':
	case 'o': s->type = is_long ? ARG_ULONG : ARG_UINT; return true;
	case 'c': s->type = ARG_CHAR; return !is_long;
	case 's': s->type = s->star ? ARG_STR_N : ARG_STR; return !is_long;
	case 'f':
	case 'e':
	case 'g': s->type = ARG_DOUBLE; return !is_long;
	default: return false;
	}
}

/* Parse the specification at p ('%', not "%%"). False: not one that is understood. */
static bool spec_parse(const char *p, struct spec *s)
{
	bool is_long = false;

	*s = (struct spec){ .start = p, .precision = PRECISION_NONE };
	p += 1 + strspn(p + 1, "-+ #0");
	p = skip_digits(p);
	if (*p == '.') {
		unsigned precision = 0;
		p++;
		s->star = *p == '*';
		for (; *p >= '0' && *p <= '9'; p++)
			precision = MIN(precision * 10 + (unsigned)(*p - '0'), PRECISION_NONE - 1u);
		s->precision = s->star ? PRECISION_NONE : (uint8_t)precision;
		p += s->star;
	}
	s->flags_len = (size_t)(p - s->start);
	_Static_assert(sizeof(long) == 8 && sizeof(long long) == 8 && sizeof(size_t) == 8,
		       "one word each");
	for (; *p == 'l' || *p == 'z' || *p == 'j' || *p == 't'; p++)
		is_long = true;
	s->end = p + 1;
	return s->flags_len < SPEC_MAX - 4 && spec_type(s, *p, is_long) &&
	       (!s->star || s->type == ARG_STR_N);
}

static void form_parse(struct mark_form *form, const char *fmt)
{
	struct spec s;

	form->fmt = fmt;
	form->count = 0;
	form->strings = false;
	form->literal = strchr(fmt, '%') == NULL;
	for (const char *p = strchr(fmt, '%'); p != NULL; p = strchr(p, '%')) {
		if (p[1] == '%') {
			p += 2;
			continue;
		}
		if (form->count == MARK_ARGS_MAX || !spec_parse(p, &s))
			return;
		form->type[form->count] = s.type;
		form->strings |= s.type == ARG_STR || s.type == ARG_STR_N;
		form->precision[form->count++] = s.precision;
		p = s.end;
	}
}

static const struct mark_form *form_of(struct trace *t, const char *fmt)
{
	struct mark_form *form = &t->forms[name_hash(fmt)];

	if (__builtin_expect(form->fmt != fmt, 0))
		form_parse(form, fmt);
	return form;
}

size_t utf8_cut(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	size_t cut = max;
	for (int back = 0; back < 3 && cut > 0 && ((unsigned char)s[cut] & 0xc0) == 0x80; back++)
		cut--;
	return ((unsigned char)s[cut] & 0xc0) == 0x80 ? max : cut;
}

/* Where the strings of a mark go while it is put together. */
struct text_room {
	char *p;
	size_t left;
};

static uint64_t keep_string(struct text_room *room, const char *s, size_t precision)
{
	if (s == NULL)
		s = "(null)";
	size_t len = strnlen(s, MIN(precision, room->left + 4));
	size_t kept = utf8_cut(s, len, room->left);

	memcpy(room->p, s, kept);
	room->p += kept;
	room->left -= kept;
	return kept | (kept < len ? (uint64_t)STRING_CUT : 0);
}

static size_t encode_args(const struct mark_form *form, va_list args, struct mark_part *m)
{
	struct text_room room = { (char *)&m->args[form->count], TRACE_MARK_TEXT_MAX };

	for (unsigned i = 0; i < form->count; i++) {
		size_t precision = form->precision[i] == PRECISION_NONE ? SIZE_MAX :
									  form->precision[i];
		double real;
		int n;

		switch ((enum arg_type)form->type[i]) {
		case ARG_INT:
		case ARG_CHAR: m->args[i] = (uint64_t)(int64_t)va_arg(args, int); break;
		case ARG_UINT: m->args[i] = va_arg(args, unsigned); break;
		case ARG_LONG:
		case ARG_ULONG: m->args[i] = va_arg(args, unsigned long); break;
		case ARG_DOUBLE:
			real = va_arg(args, double);
			memcpy(&m->args[i], &real, sizeof(real));
			break;
		case ARG_STR_N:
			n = va_arg(args, int);
			precision = n >= 0 ? (size_t)n : SIZE_MAX;
			m->args[i] = keep_string(&room, va_arg(args, const char *), precision);
			break;
		case ARG_STR:
			m->args[i] = keep_string(&room, va_arg(args, const char *), precision);
			break;
		}
	}
	return ((size_t)(room.p - (char *)m) + 7) & ~(size_t)7;
}

/* Numbers take their words at once; strings show their length only when they are copied. */
static void mark_write(struct trace *t, struct node *n, enum part_type type,
		       const struct mark_form *form, va_list args)
{
	UNINITIALIZED uint64_t words[(MARK_PART_MAX + 7) / 8];
	uint64_t at = trace_now_ns(t) - n->start_ns;
	struct mark_part *m = (void *)words;
	size_t size = sizeof(*m) + form->count * sizeof(m->args[0]);

	if (form->strings) {
		size = encode_args(form, args, m);
		m->part = (struct part){ .type = (uint8_t)type, .size8 = (uint8_t)(size / 8) };
		m->at_ns = at;
		m->fmt = form->fmt;
		if (size > CELL_PAYLOAD) {
			mark_append_long(t, n, &m->part);
			return;
		}
	}
	struct mark_part *p = (void *)mark_append(t, n, type, size);
	if (p == NULL)
		return;
	if (form->strings) {
		memcpy(p, m, size);
	} else {
		p->at_ns = at;
		p->fmt = form->fmt;
		encode_args(form, args, p);
	}
}

/* A mark without arguments, which is what most are. */
static void mark_write_constant(struct trace *t, struct node *n, enum part_type type,
				const char *fmt)
{
	uint64_t at = trace_now_ns(t) - n->start_ns;
	struct mark_part *m = (void *)mark_append(t, n, type, sizeof(*m));

	if (m != NULL) {
		m->at_ns = at;
		m->fmt = fmt;
	}
}

void trace_mark(struct span s, const char *fmt, ...)
{
	struct node *n = node_open(s);

	if (n == NULL)
		return;
	const struct mark_form *form = form_of(s.trace, fmt);
	if (form->count == 0) {
		mark_write_constant(s.trace, n, PART_MARK, fmt);
		return;
	}
	va_list args;
	va_start(args, fmt);
	mark_write(s.trace, n, PART_MARK, form, args);
	va_end(args);
}

void trace_errorf(struct span s, const char *fmt, ...)
{
	struct node *n = node_open(s);

	if (n == NULL)
		return;
	va_list args;
	va_start(args, fmt);
	mark_write(s.trace, n, PART_ERROR_MARK, form_of(s.trace, fmt), args);
	va_end(args);
}

/* ---- Reading ---- */

struct out {
	char *p;
	size_t len, cap;
};

static void out_put(struct out *o, const char *s, size_t len)
{
	len = MIN(len, o->cap - o->len);
	memcpy(o->p + o->len, s, len);
	o->len += len;
}

static void out_decimal(struct out *o, uint64_t v, bool negative)
{
	char digits[24], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	if (negative)
		*--p = '-';
	out_put(o, p, (size_t)(digits + sizeof(digits) - p));
}

/* The general case: let printf do the conversion, with a specification of one known type. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void out_printf(struct out *o, const struct spec *s, uint64_t word, const char *text,
		       size_t len)
{
	UNINITIALIZED char result[CONVERSION_MAX];
	char spec[SPEC_MAX];
	size_t keep = s->type == ARG_STR || s->type == ARG_STR_N ? strcspn(s->start, ".s") :
								   s->flags_len;
	double real;
	int n = 0;

	memcpy(spec, s->start, keep);
	switch ((enum arg_type)s->type) {
	case ARG_STR:
	case ARG_STR_N:
		memcpy(spec + keep, ".*s", 4);
		n = snprintf(result, sizeof(result), spec, (int)len, text);
		break;
	case ARG_DOUBLE:
		memcpy(&real, &word, sizeof(real));
		memcpy(spec + keep, (char[]){ s->end[-1], 0 }, 2);
		n = snprintf(result, sizeof(result), spec, real);
		break;
	case ARG_CHAR:
		memcpy(spec + keep, "c", 2);
		n = snprintf(result, sizeof(result), spec, (int)word);
		break;
	case ARG_INT:
	case ARG_UINT:
	case ARG_LONG:
	case ARG_ULONG:
		memcpy(spec + keep, (char[]){ 'l', s->end[-1], 0 }, 3);
		n = snprintf(result, sizeof(result), spec, word);
		break;
	}
	out_put(o, result, n < 0 ? 0 : MIN((size_t)n, sizeof(result) - 1));
}
#pragma GCC diagnostic pop

static void out_arg(struct out *o, const struct spec *s, uint64_t word, const char *text,
		    size_t len)
{
	bool plain = s->flags_len == 1;
	char conversion = s->end[-1];

	if ((s->type == ARG_STR && plain) || (s->type == ARG_STR_N && s->flags_len == 3))
		out_put(o, text, len);
	else if (plain && (conversion == 'd' || conversion == 'i'))
		out_decimal(o, (int64_t)word < 0 ? 0 - word : word, (int64_t)word < 0);
	else if (plain && conversion == 'u')
		out_decimal(o, word, false);
	else
		out_printf(o, s, word, text, len);
}

bool mark_is_literal(struct trace *t, const struct mark_part *m)
{
	return form_of(t, m->fmt)->literal;
}

/* A text in a mark. */
static void out_text(struct out *o, const struct spec *s, uint64_t word, const char *text,
		     struct trace *t, const uint8_t *key)
{
	char pseudonym[TRACE_DISGUISED_MAX];
	size_t len = word & (STRING_CUT - 1);

	if (key != NULL) {
		len = trace_disguise(t, key, text, len, pseudonym);
		text = pseudonym;
	}
	out_arg(o, s, word, text, len);
	if (word & STRING_CUT)
		out_put(o, "…", strlen("…"));
}

size_t mark_format(struct trace *t, const struct mark_part *m, char *ret, size_t cap)
{
	return mark_format_disguised(t, m, NULL, ret, cap);
}

size_t mark_format_disguised(struct trace *t, const struct mark_part *m, const uint8_t *key,
			     char *ret, size_t cap)
{
	struct out o = { ret, 0, cap };
	const struct mark_form *form = form_of(t, m->fmt);
	const char *text = (const char *)&m->args[form->count], *p = m->fmt;

	for (unsigned arg = 0;;) {
		const char *percent = strchr(p, '%');
		size_t literal = percent != NULL ? (size_t)(percent - p) : strlen(p);
		struct spec s;

		out_put(&o, p, literal);
		if (percent == NULL)
			break;
		if (percent[1] == '%') {
			out_put(&o, "%", 1);
			p = percent + 2;
			continue;
		}
		if (arg == form->count || !spec_parse(percent, &s)) {
			out_put(&o, percent, strlen(percent));
			break;
		}
		if (s.type == ARG_STR || s.type == ARG_STR_N) {
			out_text(&o, &s, m->args[arg], text, t, key);
			text += m->args[arg] & (STRING_CUT - 1);
		} else {
			out_arg(&o, &s, m->args[arg], NULL, 0);
		}
		arg++;
		p = s.end;
	}
	return o.len;
}
