/* Answers of other daemons, to be put together: what they say about the tree, times and names may
 * be anything. A line is one daemon's answer. */
#include <string.h>

#include "daemon/trace_cli.h"

enum { OUT_MAX = 16 << 20, ANSWERS_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char where[] = "somewhere";
	struct trace_cli_answer answers[ANSWERS_MAX] = { 0 };
	const char *p = (const char *)data;
	struct buf out;
	size_t count = 0;

	for (size_t at = 0; at < size && count < ANSWERS_MAX;) {
		const char *end = memchr(p + at, '\n', size - at);
		size_t len = end != NULL ? (size_t)(end - p) - at : size - at;

		answers[count].where = where;
		answers[count].json = json_loadb(p + at, len, 0, NULL);
		count += answers[count].json != NULL;
		at += len + 1;
	}
	buf_init(&out, OUT_MAX);
	(void)!trace_cli_join("0123456789abcdef0123456789abcdef", answers, count, &out);
	buf_fini(&out);
	for (size_t i = 0; i < count; i++)
		json_decref(answers[i].json);
	return 0;
}
