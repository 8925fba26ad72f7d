/* A socket per interface and family, beside those of other programs.
 *
 * It is bound to the group's address, not to any: so it hears the group alone, and unicast packets
 * to the port, of which the kernel gives each to one socket only, stay with the other program that
 * waits for them. SO_REUSEADDR is what lets programs of different users share the port;
 * SO_REUSEPORT would ask for the same user. An IPv4 socket otherwise hears what any program joined
 * on any interface: IP_MULTICAST_ALL switches that off; an IPv6 one is tied to its interface by the
 * scope. */
#include "discovery/mdns/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "discovery/mdns/interfaces.h"

enum { READS_MAX = 32, HOPS = 255 };

static const uint8_t group4[4] = { 224, 0, 0, 251 };
static const uint8_t group6[16] = { 0xff, 0x02, [15] = 0xfb };

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage storage;
};

static socklen_t group_address(const struct mdns_socket *s, union address *ret)
{
	*ret = (union address){ .storage.ss_family = s->family == 4 ? AF_INET : AF_INET6 };
	if (s->family == 4) {
		ret->in.sin_port = htons(MDNS_PORT);
		memcpy(&ret->in.sin_addr, group4, sizeof(group4));
		return sizeof(ret->in);
	}
	ret->in6.sin6_port = htons(MDNS_PORT);
	memcpy(&ret->in6.sin6_addr, group6, sizeof(group6));
	ret->in6.sin6_scope_id = s->index;
	return sizeof(ret->in6);
}

static socklen_t endpoint_address(const struct mdns_socket *s, const struct mdns_endpoint *e,
				  union address *ret)
{
	*ret = (union address){ .storage.ss_family = s->family == 4 ? AF_INET : AF_INET6 };
	if (s->family == 4) {
		ret->in.sin_port = htons(e->port);
		memcpy(&ret->in.sin_addr, e->ip, 4);
		return sizeof(ret->in);
	}
	ret->in6.sin6_port = htons(e->port);
	memcpy(&ret->in6.sin6_addr, e->ip, 16);
	ret->in6.sin6_scope_id = s->index;
	return sizeof(ret->in6);
}

static bool endpoint_of(const union address *a, struct mdns_endpoint *ret)
{
	*ret = (struct mdns_endpoint){ 0 };
	if (a->any.sa_family == AF_INET) {
		ret->family = 4;
		ret->port = ntohs(a->in.sin_port);
		memcpy(ret->ip, &a->in.sin_addr, 4);
	} else if (a->any.sa_family == AF_INET6) {
		ret->family = 6;
		ret->port = ntohs(a->in6.sin6_port);
		memcpy(ret->ip, &a->in6.sin6_addr, 16);
	}
	return ret->family != 0;
}

/* ---- Opening ---- */

static bool set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

static bool prepare4(const struct mdns_socket *s)
{
	struct ip_mreqn on = { .imr_ifindex = (int)s->index };

	return set(s->fd, IPPROTO_IP, IP_MULTICAST_TTL, HOPS) &&
	       set(s->fd, IPPROTO_IP, IP_TTL, HOPS) &&
	       set(s->fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1) &&
	       set(s->fd, IPPROTO_IP, IP_MULTICAST_ALL, 0) &&
	       setsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_IF, &on, sizeof(on)) == 0;
}

static bool prepare6(const struct mdns_socket *s)
{
	return set(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
	       set(s->fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOPS) &&
	       set(s->fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOPS) &&
	       set(s->fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1) &&
	       set(s->fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)s->index);
}

static bool join(const struct mdns_socket *s)
{
	struct ip_mreqn group = { .imr_ifindex = (int)s->index };
	struct ipv6_mreq in6 = { .ipv6mr_interface = s->index };

	memcpy(&group.imr_multiaddr, group4, sizeof(group4));
	memcpy(&in6.ipv6mr_multiaddr, group6, sizeof(group6));
	return s->family == 4 ?
		       setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) ==
			       0 :
		       setsockopt(s->fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &in6, sizeof(in6)) == 0;
}

static bool bind_to(const struct mdns_socket *s)
{
	static const struct mdns_endpoint any;
	union address a;
	socklen_t len = s->ask_only ? endpoint_address(s, &any, &a) : group_address(s, &a);

	return (s->ask_only || set(s->fd, SOL_SOCKET, SO_REUSEADDR, 1)) &&
	       bind(s->fd, &a.any, len) == 0 && (s->ask_only || join(s));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct mdns_socket *s = poll->data;
	uint8_t bytes[DNS_RECEIVE_MAX];

	for (unsigned i = 0; i < READS_MAX && !uv_is_closing((uv_handle_t *)poll); i++) {
		union address a = { 0 };
		socklen_t a_len = sizeof(a);
		struct mdns_endpoint from;
		ssize_t n = recvfrom(s->fd, bytes, sizeof(bytes), MSG_TRUNC, &a.any, &a_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* nothing left, or an error of an earlier packet of ours */
		if (endpoint_of(&a, &from))
			s->events->on_read(s->data, s, &from, bytes, (size_t)n);
	}
}

static int prepare(struct mdns_socket *s, uv_loop_t *uv)
{
	int family = s->family == 4 ? AF_INET : AF_INET6;

	s->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || !(s->family == 4 ? prepare4(s) : prepare6(s)) || !bind_to(s))
		return -errno;
	return uv_poll_init(uv, &s->poll, s->fd);
}

int mdns_socket_open(struct mdns_socket **ret, uv_loop_t *uv, uint32_t link_id, bool ask_only,
		     const struct mdns_socket_events *events, void *data)
{
	struct mdns_socket *s = mem_alloc(sizeof(*s));
	int rc;

	if (s == NULL)
		return UV_ENOMEM;
	list_init(&s->node);
	s->link_id = link_id;
	s->family = link_id % 2 == 0 ? 4 : 6;
	s->index = interfaces_index(link_id);
	s->ask_only = ask_only;
	s->events = events;
	s->data = data;
	rc = prepare(s, uv);
	if (rc < 0) {
		if (s->fd >= 0)
			close(s->fd);
		mem_free(s);
		return rc;
	}
	s->poll.data = s;
	uv_poll_start(&s->poll, UV_READABLE, on_readable);
	*ret = s;
	return 0;
}

/* ---- Sending, closing ---- */

int mdns_socket_send(struct mdns_socket *s, const struct mdns_endpoint *to, const uint8_t *bytes,
		     size_t len)
{
	union address a;
	socklen_t a_len = to != NULL ? endpoint_address(s, to, &a) : group_address(s, &a);
	ssize_t n;

	if (to != NULL && to->family != s->family)
		return UV_EINVAL;
	do
		n = sendto(s->fd, bytes, len, MSG_NOSIGNAL, &a.any, a_len);
	while (n < 0 && errno == EINTR);
	if (to == NULL)
		s->failed = n < 0;
	return n < 0 ? -errno : 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct mdns_socket *s = handle->data;
	const struct mdns_socket_events *events = s->events;
	void *data = s->data;

	close(s->fd);
	mem_free(s);
	events->on_closed(data);
}

void mdns_socket_close(struct mdns_socket *s)
{
	uv_poll_stop(&s->poll);
	uv_close((uv_handle_t *)&s->poll, on_closed);
}
