/* The disk of a simulated node. */
#pragma once

#include <stdbool.h>

struct store;

/** While it is full the database cannot take one page more than it has. */
void disk_set_full(struct store *s, bool full);
