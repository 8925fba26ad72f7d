/* The figures of the daemon as Prometheus reads them: text format 0.0.4, or OpenMetrics 1.0.
 *
 * Made from the same table as everything else that shows figures (daemon/figures.h): a new figure
 * is a metric by itself. No label tells of an object or a peer. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/process.h"

struct metrics {
	bool openmetrics;
	const json_t *figures; /* figures_all(); borrowed */
	const struct process *process;
	double start_wall_s;
	const struct loop *loop;
	struct trace *trace;
};
void metrics_write(struct buf *out, const struct metrics *m);

/** What a figure is called, "store", "tx_p50_us" → "store_tx_p50_seconds". False: it is none of the
 * metrics, or another one tells it. */
struct metric_name {
	char name[96]; /* without the program's prefix and "_total" */
	bool counter;
	double scale; /* to the unit of the name */
};
bool metrics_name(const char *section, const char *key, struct metric_name *ret);
