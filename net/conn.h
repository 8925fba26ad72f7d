/* Private to net/: what connections share, one connection, and what they tell dials. */
#pragma once

#include "net/hello.h"
#include "net/mux.h"
#include "net/net.h"
#include "net/noise.h"

enum {
	NET_LISTENERS_MAX = 8,
	NET_INBOUND_MAX = NET_CONNS_MAX - 64, /* strangers cannot use up what our own dials need */
	NET_LINKS_MAX = NET_INBOUND_MAX + 2 * NET_PENDING_MAX, /* and those in handshake or on
								  their way out */
	NET_CONN_RECORD_MAX = 65535, /* on the wire, after the two bytes of length */
	NET_CONN_RECORD_PLAIN =
		NET_MUX_DATA_MAX +
		256, /* what we put into one: small, so that none waits for a long one */
	NET_CONN_WRITE_RECORDS = 8, /* per write to the transport */
	NET_CONN_TRANSPORT_HIGH = 256
				  << 10, /* bytes with the transport above which it gets no more */
	NET_CONN_TRANSPORT_LOW = 16 << 10, /* the same for strangers, when all have much */
	NET_CONN_DRAIN_TIMEOUT_MS = 15000, /* for the peer's farewell */
	/* Dials of both sides may cross for as long as one takes. */
	NET_CONN_RENEWING_MS = NET_DIAL_TIMEOUT_MS + NET_HANDSHAKE_TIMEOUT_MS
};

struct net {
	struct runner *runner;
	struct net_transport *transport;
	const struct net_service *service;
	void *service_data;
	struct public_key self;
	uint8_t static_secret[NET_NOISE_KEY_SIZE];
	struct net_hello hello;
	struct list conns;	       /* in every state, oldest first */
	unsigned up, inbound, pending; /* up; inbound in any state; inbound in handshake */
	struct list dials;
	struct multiaddr listeners[NET_LISTENERS_MAX];
	size_t listener_count;
	uint8_t *scratch; /* NET_CONN_RECORD_MAX bytes: the record being received or made */
	bool has_twin;	  /* somebody else proved to have our key: where and when last */
	struct multiaddr twin_at;
	uint64_t twin_ms;
	struct net_stats stats;
	bool closing, shutting_down, transport_closed, closed_told;
	struct runner_task closed_task;
	void (*closed)(void *data);
	void *closed_data;
};

enum net_conn_state { NET_CONN_CONNECTING, NET_CONN_HANDSHAKING, NET_CONN_UP };

struct net_conn {
	struct net *net;
	struct list node;
	struct net_link *link; /* NULL once the transport has closed it */
	enum net_conn_state state;
	bool inbound;
	bool failed; /* to be torn down by the task with close_status */
	int close_status;
	struct runner_task task;
	struct runner_timer timer;
	struct multiaddr remote;

	/* the dial that made it, until up */
	struct net_dial *dial;
	struct list attempt;

	struct net_noise_handshake handshake;
	struct public_key peer;
	struct net_hello hello; /* the peer's */
	struct net_noise_cipher send_cipher, receive_cipher;

	uint8_t head[2];
	size_t head_have;
	uint8_t *record; /* one that has not arrived in whole */
	size_t record_len, record_have;

	struct net_mux mux;
	struct list closed; /* streams whose on_close is due */
	bool draining;	    /* we have said that we open no more streams */

	size_t buffered, unsent; /* as counted last in the net's figures */
	uint64_t hello_ms;	 /* when the peer's came */
	uint64_t since_ms, sent_bytes, received_bytes;
	uint64_t received_ms, quiet_ms, drain_ms; /* last byte; last stream; draining began */
	uint64_t ping_ms, ping_ns, ping_token, ping_left_bytes;
	bool ping_out;
	/* doubt.c */
	bool doubted;	   /* to be asked before anybody gets it */
	bool doubtful;	   /* was asked, and has not answered in time */
	uint64_t check_ms; /* an answer is due; 0 = not asked */
	bool check_late;   /* it was ours to be late: waits a little longer */
	bool renews; /* takes the place of one that is in doubt, as the side that dialed says */
	bool held;   /* the peer is proven; goes on once it is known how an older one is */
	uint32_t rtt_us;
};

/** A conn that is being dialed for d. 0 or UV_ENOMEM. */
int net_conn_dial(struct net *n, struct net_dial *d, const struct multiaddr *addr);
/** For net_transport.listen; data is the net. */
void net_conn_accept(void *data, struct net_link *l);
/** Tear it down, from the loop. The first status wins. */
void net_conn_fail(struct net_conn *c, int status);
/** Open no more streams; close once those that are open have ended on both sides. */
void net_conn_drain(struct net_conn *c);
bool net_conn_usable(const struct net_conn *c);

/* record.c */
/** Bytes of the link; fails the conn when they break a rule. */
void net_record_read(struct net_conn *c, const uint8_t *data, size_t len);
/** Write one record that is complete, length included. Takes the buffer's content. */
int net_record_write(struct net_conn *c, struct buf *record);
/** Hand the transport what the mux has to send, as much as it should hold. */
void net_record_flush(struct net_conn *c);
/** The last record before the link is closed. */
void net_record_farewell(struct net_conn *c);

/* handshake.c */
void net_handshake_begin(struct net_conn *c);
/** Is a message of this size possible now? Asked as soon as the length is known. */
bool net_handshake_expects(const struct net_conn *c, size_t len);
/** 0, or why the conn must fail. Calls net_conn_up after the last message. */
int net_handshake_message(struct net_conn *c, const uint8_t *msg, size_t len);
/** The older conn that a held one waited for has answered, has not, or is gone. */
void net_handshake_release(struct net_conn *c);
void net_conn_up(struct net_conn *c);

/* liveness.c */
void net_liveness_begin(struct net_conn *c);
void net_liveness_tick(struct runner_timer *timer);
void net_liveness_rearm(struct net_conn *c);
void net_liveness_pong(struct net_conn *c, uint64_t token);
/** Unless one is out. */
void net_liveness_ping(struct net_conn *c);

/* doubt.c */
/** It may be handed out without asking the peer first. */
bool net_conn_trusted(const struct net_conn *c);
/** Does it lead to this address? */
bool net_conn_leads_to(const struct net_conn *c, const struct multiaddr *addr);
/** Ask the peer; the answer is due within NET_CHECK_MS if it is doubted, else NET_CHECK_SILENT_MS,
 * more on a slow line. Nothing new when it has been asked. */
void net_conn_check(struct net_conn *c);
/** Bytes came. */
void net_conn_heard(struct net_conn *c);
/** From its timer: the answer may be overdue. */
void net_conn_check_due(struct net_conn *c);

/* dial.c: told from the loop; they only record and defer. */
void net_dial_connected(struct net_conn *c);
void net_dial_attempt_failed(struct net_dial *d, struct net_conn *c, int status);
/** A conn for d->peer, or the one that d made, is up. */
void net_dial_conn_up(struct net *n, struct net_conn *c);
void net_dial_conn_down(struct net *n, struct net_conn *c, int status);
/** A conn to the peer has answered, or has failed to. */
void net_dial_checked(struct net *n, struct net_conn *c);
/** c has met a peer to which there is a conn already: the dial takes that one and forgets c. */
void net_dial_settle(struct net_conn *c, struct net_conn *existing);
/** c, of a probe, has met the peer: the dial forgets it. */
void net_dial_probed(struct net_conn *c);

/* admit.c */
/** May a link from this address begin its handshake? Another one in handshake may go for it. */
bool net_admit_link(struct net *n, const struct multiaddr *remote);
/** The peer is proven: is there a place for it? 0, ERR_BUSY, UV_ENOMEM. Another one may go for it.
 */
int net_admit_peer(struct net_conn *c);
/** May what has arrived of unfinished messages and records grow by so much? */
bool net_admit_buffer(struct net_conn *c, size_t bytes);
/** Bring the figures up to date after reading or writing. */
void net_admit_count(struct net_conn *c);
/** The conn goes. */
void net_admit_forget(struct net_conn *c);
/** Bytes with the transport above which the conn gives it no more. */
size_t net_admit_unsent_high(const struct net_conn *c);

/* net.c */
void net_check_closed(struct net *n);
