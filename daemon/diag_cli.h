/* What the verbs diag and log share. */
#pragma once

#include "daemon/cli.h"

/** "&level=…&part=…" as the flags say; mem_free. NULL when out of memory. */
char *log_cli_filter(const struct cli *c) MUST_USE;
