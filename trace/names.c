/* Static strings to small numbers. The same text may come from several addresses (each translation
 * unit has its own copy of a literal), so a miss of the pointer cache compares texts. */
#include "trace/store.h"

uint8_t name_find_slowly(struct names *names, const char *text)
{
	uint8_t id = 0;

	if (text == NULL)
		return 0;
	for (uint32_t i = 0; i < names->count && id == 0; i++)
		if (names->text[i] == text || strcmp(names->text[i], text) == 0)
			id = (uint8_t)i;
	if (id == 0 && names->count < ARRAY_SIZE(names->text) &&
	    strcmp(names->text[0], text) != 0) {
		id = (uint8_t)names->count++;
		names->text[id] = text;
	}
	names->cache[name_hash(text)].pointer = text;
	names->cache[name_hash(text)].id = id;
	return id;
}
