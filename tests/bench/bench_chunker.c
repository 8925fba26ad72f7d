/* Chunker throughput on random bytes and on zeros. Prints the best of several passes. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "object/object.h"

enum { DATA_SIZE = 256 << 20, PASSES = 5 };

static size_t chunk_all(const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t at = 0; at < len; count++)
		at += chunk_cut(data + at, len - at, false);
	return count;
}

static void measure(const char *what, const uint8_t *data, size_t len)
{
	uint64_t best_ns = UINT64_MAX;
	size_t count = 0;

	for (int i = 0; i < PASSES; i++) {
		uint64_t start_ns = clock_now_ns(&clock_system), ns;

		count = chunk_all(data, len);
		ns = clock_now_ns(&clock_system) - start_ns;
		best_ns = MIN(best_ns, ns);
	}
	printf("%-8s %6.2f GB/s  %zu chunks of %zu bytes on average\n", what,
	       (double)len / (double)best_ns, count, len / count);
}

int main(void)
{
	uint8_t *data = mem_alloc(DATA_SIZE);
	uint64_t state = 1;

	if (data == NULL)
		return 1;
	measure("zeros", data, DATA_SIZE);
	for (size_t i = 0; i < DATA_SIZE; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		data[i] = (uint8_t)(state >> 56);
	}
	measure("random", data, DATA_SIZE);
	mem_free(data);
	return 0;
}
