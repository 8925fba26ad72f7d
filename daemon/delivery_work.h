/* Inside of delivery, for delivery.c and delivery_say.c. */
#pragma once

#include "daemon/apply.h"
#include "daemon/delivery.h"
#include "daemon/place.h"

enum { SUFFIX_SIZE = 48 };

struct delivery_work {
	const struct delivery *d;
	struct extract x;
	struct place place;
	int root;     /* the target, when it is updated as a folder; -1 */
	char *beside; /* the folder that the target is in, for messages */
	struct entry now;
	struct plan_versions versions;
	struct entry olds[PLAN_VERSIONS_MAX];
	struct plan plan;
	struct apply apply;
	char suffix[SUFFIX_SIZE];
	bool is_ready; /* apply is to be ended */
	bool has_run;  /* something may have changed */
};

/** What --delete will remove, before it does. */
void delivery_say_deletions(const struct delivery_work *w);
void delivery_say_kept(const struct delivery_work *w);
void delivery_say_moved(const struct delivery_work *w);
void delivery_say_failures(const struct delivery_work *w);
/** The answer, on stdout. */
void delivery_print_json(const struct delivery_work *w);
void delivery_print_text(const struct delivery_work *w);
