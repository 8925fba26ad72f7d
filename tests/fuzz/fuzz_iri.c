/* IRIs, versions and paths: what parses must come back the same from its own text. */
#include <string.h>

#include "object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_iri(const struct iri *iri)
{
	CLEANUP(buf_fini) struct buf text = { 0 }, again = { 0 };
	struct iri parsed;
	struct scope scope;

	buf_init(&text, IRI_TEXT_MAX);
	buf_init(&again, IRI_TEXT_MAX);
	iri_format_full(iri, &text);
	REQUIRE(buf_err(&text) == 0);
	REQUIRE(iri_parse((char *)text.data, text.len, &parsed, NULL, 0) == 0);
	REQUIRE(iri_same_object(iri, &parsed));
	iri_format_full(&parsed, &again);
	REQUIRE(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
	for (size_t i = 0; i < text.len; i++) /* pasted into a shell it is one word */
		REQUIRE(text.data[i] >= 0x80 ||
			strchr(" \t!\"#$'()*;<>[\\]^`{|}", text.data[i]) == NULL);
	REQUIRE(scope_make(&iri->space, iri->path, iri->path_len, SCOPE_EXACT, &scope) == 0);
	REQUIRE(scope_contains(&scope, &iri->space, iri->path, iri->path_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = size > 0 ? (const char *)data : "";
	char why[64], path[OBJECT_PATH_MAX + 1], again[OBJECT_PATH_MAX + 1];
	struct hash heads[IRI_HEADS_MAX];
	size_t len, again_len, count;
	struct iri iri;

	if (iri_parse(s, size, &iri, why, sizeof(why)) == 0)
		check_iri(&iri);
	else
		REQUIRE(memchr(why, '\0', sizeof(why)) != NULL);
	if (iri_path_normalize(s, size, path, &len, why, sizeof(why)) == 0) {
		REQUIRE(iri_path_normalize(path, len, again, &again_len, NULL, 0) == 0);
		REQUIRE(again_len == len && memcmp(path, again, len) == 0);
	}
	if (version_parse(s, size, heads, IRI_HEADS_MAX, &count) == 0) {
		for (size_t i = 1; i < count; i++)
			REQUIRE(hash_cmp(&heads[i - 1], &heads[i]) < 0);
	}
	return 0;
}
