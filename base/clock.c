#include "base/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	REQUIRE(clock_gettime(id, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t system_now(const struct clock *c)
{
	return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_wall(const struct clock *c)
{
	return read_clock(CLOCK_REALTIME);
}

const struct clock clock_system = { system_now, system_wall };

static uint64_t manual_now(const struct clock *c)
{
	return container_of(c, struct clock_manual, clock)->now;
}

static uint64_t manual_wall(const struct clock *c)
{
	const struct clock_manual *m = container_of(c, struct clock_manual, clock);

	return m->wall + m->now;
}

void clock_manual_init(struct clock_manual *c, uint64_t wall_ns)
{
	*c = (struct clock_manual){ .clock = { manual_now, manual_wall }, .wall = wall_ns };
}

void clock_manual_advance(struct clock_manual *c, uint64_t ns)
{
	c->now += ns;
}
