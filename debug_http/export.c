#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* One trace in other forms: to read elsewhere, to keep, to compare. */

static void write_form(struct traces_page *p, const char *more, const char *label)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<a href=\"/debug/traces?id=");
	page_write_hex(out, p->query.id, sizeof(p->query.id));
	buf_printf(out, "&amp;%s\">%s</a>", more, label);
}

void export_write_links(struct traces_page *p)
{
	static const struct {
		const char *more, *label;
	} forms[] = {
		{ "with=median", "compare with the median" },
		{ "text", "text" },
		{ "json", "JSON" },
		{ "download=html", "HTML file" },
	};
	struct buf *out = &p->out;

	buf_write_str(out, "<div class=\"trail\"><a href=\"/debug/traces\">← All traces</a><p "
			   "id=\"tools\">");
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (i > 0)
			buf_write_str(out, " · ");
		write_form(p, forms[i].more, forms[i].label);
	}
	buf_write_str(out, "</p></div>\n");
}

void export_name_file(struct traces_page *p, const char *suffix)
{
	char value[96];

	(void)snprintf(value, sizeof(value),
		       "attachment; filename=\"peerscope-trace-%02x%02x%02x%02x.%s\"",
		       p->query.id[0], p->query.id[1], p->query.id[2], p->query.id[3], suffix);
	http_reply_header(p->r, "Content-Disposition", value);
}
