/* Figures of a simulated DHT: bench_dht [option=number]...
 *
 *	nodes=1000 nat=30 loss=10 (per mille) uptime=3600 (s, median) warm=1800 (s) keys=50
 *	lookups=500 nat_serve=0 sybils=0 nets=0 fit=0 seed=1 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/dht_churn.h"

static unsigned option(int argc, char **argv, const char *name, unsigned otherwise)
{
	size_t len = strlen(name);

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
			return (unsigned)strtoul(argv[i] + len + 1, NULL, 10);
	}
	return otherwise;
}

static void print(const struct dht_churn_config *c, const struct dht_churn_result *r)
{
	printf("nodes %u  announced %u/%u  found %u/%u (%.2f %%)  table %u\n", c->nodes,
	       r->announced, c->keys, r->found, r->lookups,
	       100.0 * r->found / (r->lookups > 0 ? r->lookups : 1), r->in_table_median);
	printf("first ms %llu (p90 %llu)  done ms %llu (p90 %llu)\n",
	       (unsigned long long)r->first_ms[0], (unsigned long long)r->first_ms[1],
	       (unsigned long long)r->done_ms[0], (unsigned long long)r->done_ms[1]);
	printf("queries %u (p90 %u)  hops %u (p90 %u)  late %u (p90 %u)\n", r->queries[0],
	       r->queries[1], r->rounds[0], r->rounds[1], r->timeouts[0], r->timeouts[1]);
	printf("sent per node: %.2f packets/s, %.0f bytes/s\n", r->packets_per_node_s,
	       r->bytes_per_node_s);
	if (c->sybils > 0)
		printf("attacked key: found %u/%u, hostile among the nearest %.0f %%\n",
		       r->sybil_found, r->sybil_lookups, 100 * r->sybil_share);
}

int main(int argc, char **argv)
{
	struct dht_churn_config config = {
		.seed = option(argc, argv, "seed", 1),
		.nodes = option(argc, argv, "nodes", 1000),
		.nat_percent = option(argc, argv, "nat", 30),
		.loss_permille = option(argc, argv, "loss", 10),
		.nat_serve = option(argc, argv, "nat_serve", 0) != 0,
		.uptime_ms = option(argc, argv, "uptime", 3600) * 1000ull,
		.warm_ms = option(argc, argv, "warm", 1800) * 1000ull,
		.keys = option(argc, argv, "keys", 50),
		.lookups = option(argc, argv, "lookups", 500),
		.sybils = option(argc, argv, "sybils", 0),
		.sybil_nets = option(argc, argv, "nets", 0),
		.sybils_fit = option(argc, argv, "fit", 0) != 0,
	};
	struct dht_churn_result result;
	clock_t start = clock();

	if (base_init() < 0)
		return 1;
	dht_churn_run(&config, &result);
	print(&config, &result);
	printf("cpu %.1f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
	return 0;
}
