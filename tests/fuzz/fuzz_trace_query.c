/* Query parameters: lines of key=value, then the search they ask for over a small store. A refused
 * parameter changes nothing and says why. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set(struct trace_query *q, char *line)
{
	char *value = strchr(line, '='), why[80] = "";
	struct trace_query before = *q;

	if (value != NULL)
		*value++ = '\0';
	int rc = trace_query_set(q, line, value != NULL ? value : "", why, sizeof(why));
	REQUIRE(rc == 0 || rc == ERR_NOT_FOUND || rc == ERR_MALFORMED);
	REQUIRE(rc == 0 || memcmp(q, &before, sizeof(before)) == 0);
	REQUIRE((rc == ERR_MALFORMED) == (why[0] != '\0'));
	REQUIRE(q->limit <= 250);
}

static void fill(struct trace *t, struct clock_manual *clock)
{
	for (uint64_t i = 0; i < 40; i++) {
		struct span root = trace_root(t, "sync.discover", "hm://space/path", 15, NULL);
		struct span child = trace_child(root, "sync.peer", "12D3", 4);
		trace_mark(child, "round %d of %s", (int)i, "many");
		clock_manual_advance(clock, i * NS_PER_MS);
		trace_finish(child, i % 3 == 0 ? UV_EIO : 0, NULL);
		if (i % 4 != 0)
			trace_finish(root, i % 5 == 0 ? UV_EIO : 0, "cached");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct clock_manual clock;
	static struct trace *t;
	struct trace_query q = { 0 };
	uint32_t roots[250];
	uint64_t matched, total;

	if (t == NULL) {
		clock_manual_init(&clock, 0);
		t = trace_new(&(struct trace_config){ TRACE_BYTES_MIN }, &clock.clock);
		REQUIRE(t != NULL);
		fill(t, &clock);
	}
	char *text = mem_strndup((const char *)data, size);
	for (char *line = text, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		set(&q, line);
	}
	size_t count = trace_search(t, &q, roots, 250, &matched, &total);
	/* A cursor may be of a time before some of them. */
	REQUIRE(count <= matched && matched <= total && total <= 40);
	REQUIRE(q.has_cursor || total == 40);
	mem_free(text);
	return 0;
}
