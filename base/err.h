/* Error codes.
 *
 * Every fallible function returns int: 0 or a positive count on success, a negative code on
 * failure. Codes are libuv's (which on unix are negated errno values) and, below -20000, our own
 * from the list here. The code travels by return; the story of what happened goes into the span
 * (trace_errorf). */
#pragma once

#include <uv.h>

#define ERR_MAP(X)                                                                                 \
	X(ERR_MALFORMED, -20001, "malformed input")                                                \
	X(ERR_TRUNCATED, -20002, "input ends too early")                                           \
	X(ERR_LIMIT, -20003, "a named limit is exceeded")                                          \
	X(ERR_VERIFY, -20004, "hash or signature does not match")                                  \
	X(ERR_UNAUTHORIZED, -20005, "signer may not write here")                                   \
	X(ERR_MISSING, -20006, "something this depends on is missing")                             \
	X(ERR_NOT_FOUND, -20007, "not found")                                                      \
	X(ERR_REFUSED, -20008, "the peer refused the request")                                     \
	X(ERR_BUSY, -20009, "busy, try again later")                                               \
	X(ERR_PROTOCOL, -20010, "the peer broke the protocol")                                     \
	X(ERR_NO_PROGRESS, -20011, "no progress")                                                  \
	X(ERR_VERSION, -20012, "unsupported version")                                              \
	X(ERR_STORE, -20013, "the store failed")                                                   \
	X(ERR_DISK_FULL, -20014, "the disk is full")                                               \
	X(ERR_READ_ONLY, -20015, "the data folder is read-only")                                   \
	X(ERR_LOCKED, -20016, "another daemon uses this data folder")                              \
	X(ERR_CLOSED, -20017, "the other side closed the connection")                              \
	X(ERR_SELF, -20018, "the peer is this daemon itself")                                      \
	X(ERR_CONFLICT, -20019, "versions conflict")                                               \
	X(ERR_CORRUPT, -20020, "stored data is damaged")                                           \
	X(ERR_UNSUPPORTED, -20021, "not supported")                                                \
	X(ERR_TOO_BIG, -20022, "too big for the peer")                                             \
	X(ERR_PEER_MISMATCH, -20023, "the peer proved another identity than the one asked for")    \
	X(ERR_PRIVATE, -20024, "peerscope's own keys and data are never published")                \
	X(ERR_CHANGED, -20025, "it changed while it was read")

#define X(name, code, text) name = (code),
enum err { ERR_MAP(X) };
#undef X

/** Text for a code, libuv's included. Never NULL; static storage. */
const char *err_str(int code);

/** Symbolic name: "ERR_VERIFY", "ETIMEDOUT". Never NULL; static storage. */
const char *err_name(int code);
