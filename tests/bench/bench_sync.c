/* Sessions per second between two hosts that hold the same commits: what looking for news costs.
 * Real sync, net and store on a simulated network, all on one thread; the clock of the network
 * stands still while they work, so that only work is measured. */
#include <stdio.h>

#include "tests/sim/sync_world.h"

struct size {
	size_t commits;
	unsigned sessions;
};

static void fill(struct sync_world *w, struct host *a, struct host *b, const char *path,
		 size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct thing t;

		thing_init(&t, w, path, 1000 + i, 0, 0, NULL);
		host_put(a, &t.commit);
		host_put(b, &t.commit);
		thing_fini(&t);
	}
}

static void measure(struct sync_world *w, struct host *a, struct host *b, const struct size *size)
{
	uint64_t begun_ns, ns;
	struct scope scope;
	struct run run;
	char path[32];

	snprintf(path, sizeof(path), "/b%zu", size->commits);
	scope = sync_world_scope(w, path, SCOPE_RECURSIVE);
	fill(w, a, b, path, size->commits);
	begun_ns = clock_now_ns(&clock_system);
	for (unsigned i = 0; i < size->sessions; i++)
		CHECK_STATUS(0, run_sync(&run, b, &scope, &a, 1));
	ns = clock_now_ns(&clock_system) - begun_ns;
	printf("%6zu commits: %8.0f sessions/s\n", size->commits,
	       (double)size->sessions * 1e9 / (double)ns);
}

int main(void)
{
	static const struct size sizes[] = {
		{ 1, 3000 }, { 100, 3000 }, { 1000, 1000 }, { 10000, 200 }
	};
	struct sync_world w;
	struct host *a, *b;

	REQUIRE(base_init() == 0);
	sync_world_init(&w, 1);
	a = sync_world_host(&w);
	b = sync_world_host(&w);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		measure(&w, a, b, &sizes[i]);
	sync_world_fini(&w);
	return 0;
}
