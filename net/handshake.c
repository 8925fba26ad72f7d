/* From the first byte to a proven peer: three Noise messages, the second and third carrying a
 * Hello.
 *
 *   initiator                    responder
 *   -> e                                        32 bytes, no payload
 *                                <- e, s, Hello
 *   -> s, Hello                                 the initiator may use the conn at once
 *
 * A first record is 32 bytes long and nothing else, so that whoever speaks HTTP, TLS or BitTorrent
 * to us is dropped at its first two bytes.
 *
 * The responder shows its identity first; the initiator hides its own until it has seen whom it
 * talks to, so a peer that is not the one asked for learns nothing. What the Hello claims is
 * checked against what Noise has proven: the Ed25519 key must convert to the static key of the
 * handshake. */
#include <sodium.h>
#include <string.h>

#include "net/conn.h"

enum {
	FIRST_SIZE = NET_NOISE_KEY_SIZE,
	SECOND_OVERHEAD = NET_NOISE_KEY_SIZE + NET_NOISE_KEY_SIZE + 2 * NET_NOISE_TAG_SIZE,
	THIRD_OVERHEAD = NET_NOISE_KEY_SIZE + 2 * NET_NOISE_TAG_SIZE
};

static const char prologue[] = "peerscope/1";

static int write_message(struct net_conn *c)
{
	struct net_hello said = c->net->hello;
	struct buf hello, record;
	int err = 0;

	said.renews = c->renews;
	said.time_s = clock_wall_ns(c->net->runner->clock) / NS_PER_SEC;
	buf_init(&hello, NET_HELLO_SIZE_MAX);
	buf_init(&record, 2 + SECOND_OVERHEAD + NET_HELLO_SIZE_MAX);
	if (c->handshake.turn > 0)
		err = net_hello_encode(&said, &hello);
	buf_write_u16be(&record, 0);
	if (!err && !buf_err(&record))
		err = net_noise_handshake_write(&c->handshake, hello.data, hello.len, &record);
	if (!err && !buf_err(&record)) {
		record.data[0] = (uint8_t)((record.len - 2) >> 8);
		record.data[1] = (uint8_t)(record.len - 2);
	}
	if (!err)
		err = net_record_write(c, &record);
	buf_fini(&hello);
	buf_fini(&record);
	return err;
}

void net_handshake_begin(struct net_conn *c)
{
	struct runner *r = c->net->runner;

	c->state = NET_CONN_HANDSHAKING;
	net_noise_handshake_init(&c->handshake, !c->inbound, c->net->static_secret, prologue,
				 sizeof(prologue) - 1);
	runner_timer_start(r, &c->timer, runner_now_ms(r) + NET_HANDSHAKE_TIMEOUT_MS);
	if (!c->inbound) {
		int err = write_message(c);

		if (err)
			net_conn_fail(c, err);
	}
}

bool net_handshake_expects(const struct net_conn *c, size_t len)
{
	if (net_noise_handshake_writes(&c->handshake))
		return false; /* held, and the peer does not wait for its turn */
	switch (c->handshake.turn) {
	case 0: return c->inbound && len == FIRST_SIZE;
	case 1: return len >= SECOND_OVERHEAD && len <= SECOND_OVERHEAD + NET_HELLO_SIZE_MAX;
	default: return len >= THIRD_OVERHEAD && len <= THIRD_OVERHEAD + NET_HELLO_SIZE_MAX;
	}
}

/* We have dialed our own listener, by whatever name: the other end is here, too. */
static bool is_own_listener(const struct net_conn *c)
{
	list_for_each(node, &c->net->conns) {
		const struct net_conn *other = list_entry(node, struct net_conn, node);

		if (other->inbound && !c->inbound &&
		    memcmp(other->handshake.remote_ephemeral, c->handshake.ephemeral_public,
			   NET_NOISE_KEY_SIZE) == 0)
			return true;
	}
	return false;
}

/* Ourselves, or somebody who has got our key: a machine that was cloned with it. */
static int meet_self(struct net_conn *c)
{
	if (!is_own_listener(c)) {
		c->net->has_twin = true;
		c->net->twin_at = c->remote;
		c->net->twin_ms = runner_now_ms(c->net->runner);
		c->net->stats.twins_met++;
	}
	return ERR_SELF;
}

static int check_hello(struct net_conn *c, const struct buf *payload)
{
	uint8_t proven[NET_NOISE_KEY_SIZE];
	int err = net_hello_decode(payload->data, payload->len, &c->hello);

	if (err)
		return err;
	if (crypto_sign_ed25519_pk_to_curve25519(proven, c->hello.key.bytes) != 0 ||
	    memcmp(proven, net_noise_handshake_remote_static(&c->handshake), sizeof(proven)) != 0)
		return ERR_PROTOCOL;
	c->hello_ms = runner_now_ms(c->net->runner);
	c->peer = c->hello.key;
	if (key_eq(&c->peer, &c->net->self))
		return meet_self(c);
	if (c->dial != NULL && !c->dial->any_peer && !key_eq(&c->peer, &c->dial->peer))
		return ERR_PEER_MISMATCH;
	err = net_hello_version(&c->net->hello, &c->hello);
	return err < 0 ? err : 0;
}

/* The peer turns out to be one we have a conn to: the dial takes that one, and the peer never sees
 * this one up; unless that one is of no use any more, which has to be found out first. */
enum existing { EXISTING_NONE, EXISTING_TAKEN, EXISTING_ASKED };
static enum existing look_for_existing(struct net_conn *c)
{
	struct net_conn *existing = net_find(c->net, &c->peer);

	if (existing == NULL || c->dial == NULL)
		return EXISTING_NONE;
	if (net_conn_trusted(existing)) {
		net_dial_settle(c, existing);
		return EXISTING_TAKEN;
	}
	if (existing->doubtful) {
		c->renews = true;
		return EXISTING_NONE;
	}
	if (!net_conn_leads_to(existing, &c->remote))
		existing->doubted = true;
	net_conn_check(existing);
	c->held = true;
	return EXISTING_ASKED;
}

/* Who is refused comes up all the same, to be told why. */
static int finish(struct net_conn *c)
{
	int err = net_admit_peer(c);

	if (c->net->up >= NET_CONNS_MAX) {
		c->net->stats.refused_limit++;
		return ERR_LIMIT;
	}
	net_conn_up(c);
	return err;
}

/* The third message, unless there is no need for it, or not yet. */
static int go_on(struct net_conn *c)
{
	enum existing existing = look_for_existing(c);
	int err;

	if (existing == EXISTING_TAKEN)
		return UV_ECANCELED;
	if (existing == EXISTING_ASKED)
		return 0;
	err = write_message(c);
	return err ? err : finish(c);
}

static int handle_second(struct net_conn *c, const struct buf *payload)
{
	int err = check_hello(c, payload);

	if (err)
		return err;
	if (c->dial != NULL && c->dial->probe) {
		net_dial_probed(c);
		return UV_ECANCELED;
	}
	return go_on(c);
}

void net_handshake_release(struct net_conn *c)
{
	int err;

	c->held = false;
	err = go_on(c);
	if (err)
		net_conn_fail(c, err);
}

static int handle_third(struct net_conn *c, const struct buf *payload)
{
	int err = check_hello(c, payload);

	c->renews = c->hello.renews;
	return err ? err : finish(c);
}

int net_handshake_message(struct net_conn *c, const uint8_t *msg, size_t len)
{
	struct buf payload;
	int err;

	buf_init(&payload, NET_HELLO_SIZE_MAX);
	err = net_noise_handshake_read(&c->handshake, msg, len, &payload);
	if (!err) {
		if (c->handshake.turn == 1)
			err = write_message(c);
		else if (c->handshake.turn == 2)
			err = handle_second(c, &payload);
		else
			err = handle_third(c, &payload);
	}
	buf_fini(&payload);
	return err;
}
