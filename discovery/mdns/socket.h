/* One socket of multicast DNS on libuv: private to this folder. */
#pragma once

#include <uv.h>

#include "base/list.h"
#include "discovery/mdns/dns.h"
#include "discovery/mdns/mdns.h"

struct mdns_socket;
struct mdns_socket_events {
	/** A datagram. Borrowed. `len` may be more than DNS_RECEIVE_MAX; then only so much is
	 * there. */
	void (*on_read)(void *data, struct mdns_socket *s, const struct mdns_endpoint *from,
			const uint8_t *bytes, size_t len);
	/** The struct is gone. */
	void (*on_closed)(void *data);
};

struct mdns_socket {
	struct list node; /* the owner's */
	uint32_t link_id;
	uint8_t family;
	bool ask_only; /* on a port of its own */
	bool failed;   /* the last packet to the group did not leave */
	bool keep;     /* the owner's */
	/* private */
	const struct mdns_socket_events *events;
	void *data;
	unsigned index; /* of the interface */
	int fd;
	uv_poll_t poll;
};

/** On the interface of a link. 0; UV_EADDRINUSE: another program has the port for itself; UV_ENOMEM
 * and others. */
int mdns_socket_open(struct mdns_socket **ret, uv_loop_t *uv, uint32_t link_id, bool ask_only,
		     const struct mdns_socket_events *events, void *data);
/** To the group when `to` is NULL. 0 or what the kernel says. */
int mdns_socket_send(struct mdns_socket *s, const struct mdns_endpoint *to, const uint8_t *bytes,
		     size_t len);
/** Reading stops at once; on_closed follows from the loop. */
void mdns_socket_close(struct mdns_socket *s);
