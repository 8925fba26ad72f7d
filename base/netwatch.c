#include "base/netwatch.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NEWS_MAX = 64, NEWS_SIZE = 8192 };

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct netwatch *w = poll->data;
	uint8_t bytes[NEWS_SIZE];

	/* Neither what they say nor what did not fit matters. */
	for (unsigned i = 0; i < NEWS_MAX && recv(w->fd, bytes, sizeof(bytes), 0) >= 0; i++)
		;
	w->changed(w->data);
}

bool netwatch_start(struct netwatch *w, struct loop *l, void (*changed)(void *data), void *data)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK,
				 .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
					      RTMGRP_IPV6_IFADDR };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return false;
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
	    uv_poll_init(&l->uv, &w->poll, fd) != 0) {
		close(fd);
		return false;
	}
	w->fd = fd;
	w->changed = changed;
	w->data = data;
	w->poll.data = w;
	uv_poll_start(&w->poll, UV_READABLE, on_readable);
	return true;
}

static void on_closed(uv_handle_t *handle)
{
	struct netwatch *w = handle->data;

	close(w->fd);
	w->closed(w->data);
}

void netwatch_close(struct netwatch *w, void (*closed)(void *data))
{
	w->closed = closed;
	uv_poll_stop(&w->poll);
	uv_close((uv_handle_t *)&w->poll, on_closed);
}
