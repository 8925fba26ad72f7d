#include "daemon/pages.h"

#include <string.h>

#include "base/mem.h"
#include "daemon/figures.h"
#include "daemon/json.h"
#include "daemon/network.h"
#include "daemon/vars.h"
#include "daemon/vars_page.h"

/* Every page is one JSON object, that of the control API where there is one, shown as HTML, as JSON
 * or as text: no figure is named twice. */

enum { PAGE_MAX = 16 << 20 };

static bool is_plain(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

/* ---- Text ---- */

static void write_ascii(struct buf *out, const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);
	size_t len = text != NULL ? strlen(text) : 0;

	if (json_is_string(value) && len >= 2)
		buf_write(out, text + 1, len - 2);
	else
		buf_write_str(out, text != NULL ? text : "?");
	mem_free(text);
}

static void write_text_below(struct buf *out, const char *prefix, const json_t *object)
{
	const char *key;
	json_t *value, *row;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		CLEANUP(mem_freep) char *name = mem_printf("%s%s", prefix, key);
		CLEANUP(mem_freep) char *below = mem_printf("%s%s.", prefix, key);

		if (name == NULL || below == NULL) {
			buf_write_str(out, "out of memory\n");
		} else if (json_is_object(value)) {
			write_text_below(out, below, value);
		} else if (json_is_array(value)) {
			json_array_foreach(value, i, row) {
				buf_printf(out, "%-32s ", name);
				write_ascii(out, row);
				buf_write_u8(out, '\n');
			}
		} else {
			buf_printf(out, "%-32s ", name);
			write_ascii(out, value);
			buf_write_u8(out, '\n');
		}
	}
}

void pages_write_text(struct buf *out, const json_t *object)
{
	write_text_below(out, "", object);
}

/* ---- HTML ---- */

static void write_escaped(struct buf *out, const char *text)
{
	buf_write_html(out, text, strlen(text));
}

static void write_cell(struct buf *out, const json_t *value)
{
	const json_t *item;
	size_t i;

	buf_write_str(out, "<td>");
	if (json_is_string(value)) {
		buf_write_str(out, "<bdi>");
		write_escaped(out, json_string_value(value));
		buf_write_str(out, "</bdi>");
	} else if (json_is_array(value)) {
		json_array_foreach((json_t *)(uintptr_t)value, i, item) {
			buf_write_str(out, i > 0 ? "<br/><bdi>" : "<bdi>");
			write_escaped(out, json_is_string(item) ? json_string_value(item) : "…");
			buf_write_str(out, "</bdi>");
		}
	} else if (!json_is_null(value)) {
		write_ascii(out, value);
	}
	buf_write_str(out, "</td>");
}

static void write_heading(struct buf *out, const char *name)
{
	buf_write_str(out, "<h2>");
	write_escaped(out, name);
	buf_write_str(out, "</h2>\n");
}

/* Columns are the members of any row, in the order in which they first come. */
static void write_rows(struct buf *out, const json_t *rows)
{
	json_t *columns = json_object(), *row;
	const char *key;
	json_t *value;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
		(void)json_object_update_missing(columns, row);
	buf_write_str(out, "<div class=\"scroll\"><table><thead><tr>");
	json_object_foreach(columns, key, value) {
		buf_write_str(out, "<th>");
		write_escaped(out, key);
		buf_write_str(out, "</th>");
	}
	buf_write_str(out, "</tr></thead><tbody>\n");
	json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
		buf_write_str(out, "<tr>");
		json_object_foreach(columns, key, value)
			write_cell(out, json_object_get(row, key));
		buf_write_str(out, "</tr>\n");
	}
	buf_write_str(out, "</tbody></table></div>\n");
	json_decref(columns);
}

static bool is_table(const json_t *value)
{
	return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

void pages_write_html(struct buf *out, const json_t *object)
{
	const char *key;
	json_t *value;

	buf_write_str(out, "<table class=\"plain\"><tbody>\n");
	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		if (json_is_object(value) || is_table(value))
			continue;
		buf_write_str(out, "<tr><th>");
		write_escaped(out, key);
		buf_write_str(out, "</th>");
		write_cell(out, value);
		buf_write_str(out, "</tr>\n");
	}
	buf_write_str(out, "</tbody></table>\n");
	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		if (is_plain(value) || (json_is_array(value) && !is_table(value)))
			continue;
		write_heading(out, key);
		if (json_is_array(value))
			write_rows(out, value);
		else
			pages_write_html(out, value);
	}
}

/* ---- Pages ---- */

/* What most people come for as a sentence, then lists, then figures. */
static void write_page(struct buf *out, const char *title, const json_t *page)
{
	const char *summary = json_get_text(page, "summary"), *key;
	json_t *lists = json_object(), *value;

	buf_printf(out, "<h1>%s</h1>\n", title);
	if (summary != NULL && summary[0] != '\0') {
		buf_write_str(out, "<p class=\"verdict\">");
		write_escaped(out, summary);
		buf_write_str(out, "</p>\n");
	}
	json_object_foreach((json_t *)(uintptr_t)page, key, value)
		if (!json_is_object(value) && strcmp(key, "summary") != 0)
			(void)json_object_set(lists, key, value);
	pages_write_html(out, lists);
	json_decref(lists);
	buf_write_str(out, "<div class=\"figures\">\n");
	vars_write_groups(out, page);
	buf_write_str(out, "</div>\n");
}

/* Takes the value. */
static void reply(struct http_request *r, const char *title, json_t *value, enum http_format format)
{
	struct buf out;

	if (format == HTTP_JSON) {
		control_reply(r, value);
		return;
	}
	buf_init(&out, PAGE_MAX);
	if (format == HTTP_HTML) {
		http_page_begin(r, &out, title);
		write_page(&out, title, value);
		http_page_end(r, &out);
	} else {
		pages_write_text(&out, value);
	}
	json_decref(value);
	http_reply(r, 200,
		   format == HTTP_HTML ? "text/html; charset=utf-8" : "text/plain; charset=utf-8",
		   &out);
	buf_fini(&out);
}

/* The list first, then the parts of the figures that belong to it. */
static void reply_list(struct daemon *d, struct http_request *r, const char *title, json_t *list,
		       const char *const *parts)
{
	json_t *all = figures_all(d);

	for (; *parts != NULL; parts++)
		(void)json_object_set(list, *parts, json_object_get(all, *parts));
	json_decref(all);
	reply(r, title, list, http_request_format(r));
}

static void reply_peers(struct daemon *d, struct http_request *r, json_t *list)
{
	static const char *const parts[] = { "network", "listen", "net", "lan", "dht", NULL };
	json_t *network = network_figures(d), *page = json_object();

	/* What most people come for is above everything else. */
	json_object_set(page, "summary", json_object_get(network, "sentence"));
	json_decref(network);
	(void)json_object_update_new(page, list);
	reply_list(d, r, "Peers", page, parts);
}

static void reply_store(struct daemon *d, struct http_request *r, json_t *list)
{
	static const char *const parts[] = { "store", "sync", NULL };

	reply_list(d, r, "Store", list, parts);
}

static void on_peers(void *data, struct http_request *r)
{
	control_list_peers(data, r, reply_peers);
}

static void on_store(void *data, struct http_request *r)
{
	control_list_objects(data, r, reply_store);
}

int pages_attach(struct control *c, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/peers",
			    "nobody is found: what is wrong, who is known, LAN and DHT", on_peers,
			    c);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/store",
				"something is missing: objects that are here, and the database",
				on_store, c);
	if (rc == 0)
		rc = vars_attach(c, s);
	return rc == 0 ? control_attach_diagnostics(c, s) : rc;
}
