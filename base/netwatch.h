/* The kernel tells when an interface or an address of this machine comes, changes or goes
 * (rtnetlink(7)). What has changed is for the listener to find out: the news come in bursts, and
 * some change nothing that matters. */
#pragma once

#include "base/loop.h"

struct netwatch {
	/* private */
	uv_poll_t poll;
	int fd;
	void (*changed)(void *data);
	void (*closed)(void *data);
	void *data;
};

/** `changed` comes from the loop, once or more for a change. False: this machine does not tell, and
 * there is nothing to close. */
bool netwatch_start(struct netwatch *w, struct loop *l, void (*changed)(void *data), void *data);
/** `closed` comes from the loop, with the data of the start; until then the struct must stay. */
void netwatch_close(struct netwatch *w, void (*closed)(void *data));
