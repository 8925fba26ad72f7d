/* One timer per conn: the handshake's deadline, then pings, idleness and the end of a farewell.
 *
 * A peer is dead when, for NET_PING_TIMEOUT_MS after a ping, nothing came from it and nothing of
 * what is queued for it left either. The second half matters: a ping waits behind data that a slow
 * line may take longer than that to carry. */
#include <sodium.h>

#include "net/conn.h"

enum { PROGRESS_BYTES = 1024 /* more than the ping itself */ };

static uint64_t now_ms(const struct net_conn *c)
{
	return runner_now_ms(c->net->runner);
}

/* Bytes that have left this machine, as far as the transport knows. */
static uint64_t left_bytes(const struct net_conn *c)
{
	return c->sent_bytes - (c->link != NULL ? c->net->transport->queued(c->link) : 0);
}

static bool quiet(const struct net_conn *c)
{
	return list_empty(&c->mux.streams) && list_empty(&c->closed);
}

static void send_ping(struct net_conn *c)
{
	randombytes_buf(&c->ping_token, sizeof(c->ping_token));
	c->ping_out = true;
	c->ping_ms = now_ms(c);
	c->ping_ns = clock_now_ns(c->net->runner->clock);
	c->ping_left_bytes = left_bytes(c);
	net_mux_ping(&c->mux, c->ping_token);
}

void net_liveness_ping(struct net_conn *c)
{
	if (!c->ping_out)
		send_ping(c);
}

void net_liveness_begin(struct net_conn *c)
{
	c->received_ms = c->quiet_ms = now_ms(c);
	send_ping(c);
	net_liveness_rearm(c);
}

void net_liveness_pong(struct net_conn *c, uint64_t token)
{
	uint64_t us = (clock_now_ns(c->net->runner->clock) - c->ping_ns) / 1000;
	uint32_t sample = (uint32_t)MIN(MAX(us, 1), UINT32_MAX);

	if (!c->ping_out || token != c->ping_token)
		return;
	c->ping_out = false;
	c->rtt_us = c->rtt_us == 0 ? sample : (uint32_t)((7 * (uint64_t)c->rtt_us + sample) / 8);
}

static uint64_t ping_due_ms(const struct net_conn *c)
{
	return c->ping_out ? MAX(c->ping_ms, c->received_ms) + NET_PING_TIMEOUT_MS :
			     c->ping_ms + NET_PING_INTERVAL_MS;
}

void net_liveness_rearm(struct net_conn *c)
{
	uint64_t due = ping_due_ms(c);

	if (quiet(c))
		due = MIN(due, c->draining ?
				       MAX(c->drain_ms, c->quiet_ms) + NET_CONN_DRAIN_TIMEOUT_MS :
				       c->quiet_ms + NET_IDLE_MS);
	if (c->check_ms != 0)
		due = MIN(due, c->check_ms);
	if (!c->timer.armed || c->timer.due_ms != due)
		runner_timer_start(c->net->runner, &c->timer, due);
}

static void check_ping(struct net_conn *c)
{
	if (now_ms(c) < ping_due_ms(c))
		return;
	if (!c->ping_out) {
		send_ping(c);
	} else if (left_bytes(c) >= c->ping_left_bytes + PROGRESS_BYTES) {
		c->ping_left_bytes = left_bytes(c);
		c->ping_ms = now_ms(c);
	} else {
		net_conn_fail(c, UV_ETIMEDOUT);
	}
}

static void check_quiet(struct net_conn *c)
{
	if (!quiet(c))
		return;
	if (c->draining && now_ms(c) >= MAX(c->drain_ms, c->quiet_ms) + NET_CONN_DRAIN_TIMEOUT_MS)
		net_conn_fail(c, ERR_CLOSED);
	else if (!c->draining && now_ms(c) >= c->quiet_ms + NET_IDLE_MS)
		net_conn_drain(c);
}

void net_liveness_tick(struct runner_timer *timer)
{
	struct net_conn *c = container_of(timer, struct net_conn, timer);

	if (c->failed)
		return;
	if (c->state != NET_CONN_UP) {
		net_conn_fail(c, UV_ETIMEDOUT);
		return;
	}
	net_conn_check_due(c);
	check_ping(c);
	check_quiet(c);
	if (!c->failed)
		net_liveness_rearm(c);
}
