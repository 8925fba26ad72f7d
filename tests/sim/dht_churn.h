/* A large network of DHT nodes under churn, loss and NAT: what lookups in it come to. */
#pragma once

#include "tests/sim/dht_world.h"

struct dht_churn_config {
	uint64_t seed;
	unsigned nodes; /* at once */
	unsigned nat_percent, loss_permille;
	bool nat_serve;	    /* those behind a NAT believe they are reachable */
	uint64_t uptime_ms; /* median; 0 = nobody leaves */
	uint64_t warm_ms;   /* after the last has joined */
	unsigned keys, lookups;
	unsigned sybils;     /* hostile nodes near the first key, from so many ... */
	unsigned sybil_nets; /* ... /24 networks */
	bool sybils_fit;     /* their ids keep to BEP 42, as near as that allows */
};

struct dht_churn_result {
	unsigned announced, lookups, found, in_table_median;
	uint64_t first_ms[2], done_ms[2]; /* median, 90th percentile */
	unsigned queries[2], rounds[2], timeouts[2];
	double packets_per_node_s, bytes_per_node_s; /* sent, over the measured time */
	unsigned sybil_lookups, sybil_found;	     /* of the attacked key */
	double sybil_share; /* of the nodes that counted as nearest to it */
};
void dht_churn_run(const struct dht_churn_config *config, struct dht_churn_result *ret);
