/* Records of a connection: two bytes of length, big-endian, and so many bytes.
 *
 * In the handshake a record is a Noise message, afterwards one sealed record of the mux. The length
 * is judged as soon as it is known, before a byte is kept for it. Records that arrive in one piece
 * are opened where they lie; what a write to the transport holds is no larger than what is in it,
 * for a peer that does not read decides how many of them there are. */
#include <string.h>

#include "base/mem.h"
#include "net/conn.h"

enum {
	HEAD_SIZE = 2,
	OVERHEAD = HEAD_SIZE + NET_NOISE_TAG_SIZE,
	PLAIN_MIN = 128, /* what net_mux_produce wants at least */
	SEALED_MAX = OVERHEAD + NET_CONN_RECORD_PLAIN,
	FLUSH_SLICE_NS = RUNNER_SLICE_NS / 2 /* of one connection in one turn */
};

/* ---- Reading ---- */

static int handle(struct net_conn *c, const uint8_t *p, size_t len)
{
	int err;

	if (c->state != NET_CONN_UP)
		return net_handshake_message(c, p, len);
	err = net_noise_decrypt(&c->receive_cipher, NULL, 0, p, len, c->net->scratch);
	if (err)
		return err;
	return net_mux_receive(&c->mux, c->net->scratch, len - NET_NOISE_TAG_SIZE);
}

static bool possible(const struct net_conn *c, size_t len)
{
	return c->state == NET_CONN_UP ? len > NET_NOISE_TAG_SIZE : net_handshake_expects(c, len);
}

static int read_head(struct net_conn *c, struct buf_reader *r)
{
	c->head[c->head_have++] = *r->p++;
	if (c->head_have < HEAD_SIZE)
		return 0;
	c->record_len = (size_t)c->head[0] << 8 | c->head[1];
	return possible(c, c->record_len) ? 0 : ERR_PROTOCOL;
}

static int read_part(struct net_conn *c, struct buf_reader *r)
{
	size_t n = MIN(buf_left(r), c->record_len - c->record_have);
	int err;

	if (c->record == NULL && !net_admit_buffer(c, c->record_len))
		return ERR_BUSY;
	if (c->record == NULL)
		c->record = mem_realloc(NULL, c->record_len);
	if (c->record == NULL)
		return UV_ENOMEM;
	memcpy(c->record + c->record_have, r->p, n);
	r->p += n;
	c->record_have += n;
	if (c->record_have < c->record_len)
		return 0;
	err = handle(c, c->record, c->record_len);
	c->record = mem_free(c->record);
	c->record_have = c->head_have = 0;
	return err;
}

static int read_some(struct net_conn *c, struct buf_reader *r)
{
	const uint8_t *p = r->p;

	if (c->head_have < HEAD_SIZE)
		return read_head(c, r);
	if (c->record != NULL || buf_left(r) < c->record_len)
		return read_part(c, r);
	r->p += c->record_len;
	c->head_have = 0;
	return handle(c, p, c->record_len);
}

void net_record_read(struct net_conn *c, const uint8_t *data, size_t len)
{
	struct buf_reader r = buf_reader(data, len);

	while (!c->failed && buf_left(&r) > 0) {
		int err = read_some(c, &r);

		if (err)
			net_conn_fail(c, err);
	}
}

/* ---- Writing ---- */

static int write_bytes(struct net_conn *c, uint8_t *bytes, size_t len)
{
	c->sent_bytes += len;
	c->net->stats.sent_bytes += len;
	return c->net->transport->write(c->link, bytes, len);
}

int net_record_write(struct net_conn *c, struct buf *record)
{
	uint8_t *bytes;
	size_t len;

	if (buf_err(record) != 0 || record->len == 0)
		return buf_err(record);
	bytes = buf_take(record, &len);
	return write_bytes(c, bytes, len);
}

/* One record at dst; returns its size, 0 when there is nothing to send or no room. */
static size_t seal(struct net_conn *c, uint8_t *dst, size_t cap)
{
	size_t plain, sealed;

	if (cap < OVERHEAD + PLAIN_MIN)
		return 0;
	cap = MIN(cap - OVERHEAD, (size_t)NET_CONN_RECORD_PLAIN);
	plain = net_mux_produce(&c->mux, c->net->scratch, cap);
	if (plain == 0)
		return 0;
	sealed = plain + NET_NOISE_TAG_SIZE;
	if (net_noise_encrypt(&c->send_cipher, NULL, 0, c->net->scratch, plain, dst + HEAD_SIZE)) {
		net_conn_fail(c, ERR_LIMIT);
		return 0;
	}
	dst[0] = (uint8_t)(sealed >> 8);
	dst[1] = (uint8_t)sealed;
	return HEAD_SIZE + sealed;
}

/* Some records in one write. Returns the bytes written or an error. */
static ssize_t flush_some(struct net_conn *c, size_t pending, size_t high)
{
	size_t most = MIN(MAX(high / SEALED_MAX, (size_t)1), (size_t)NET_CONN_WRITE_RECORDS);
	size_t records = pending / NET_CONN_RECORD_PLAIN + 1;
	size_t cap = pending + records * OVERHEAD + PLAIN_MIN;
	size_t len = 0, n = 0;
	uint8_t *bytes;
	int err;

	cap = MIN(cap, most * SEALED_MAX);
	bytes = mem_realloc(NULL, cap);
	if (bytes == NULL)
		return UV_ENOMEM;
	while ((n = seal(c, bytes + len, cap - len)) > 0)
		len += n;
	if (len == 0) {
		mem_free(bytes);
		return 0;
	}
	err = write_bytes(c, bytes, len);
	return err ? err : (ssize_t)len;
}

void net_record_flush(struct net_conn *c)
{
	const struct clock *clock = c->net->runner->clock;
	uint64_t until_ns = clock_now_ns(clock) + FLUSH_SLICE_NS;
	size_t high = net_admit_unsent_high(c);
	ssize_t n = 1;

	while (n > 0 && c->link != NULL && !c->failed &&
	       c->net->transport->queued(c->link) < high && net_mux_pending(&c->mux) > 0) {
		n = flush_some(c, net_mux_pending(&c->mux), high);
		if (n < 0)
			net_conn_fail(c, (int)n);
		if (n > 0 && clock_now_ns(clock) >= until_ns) {
			runner_defer(c->net->runner, &c->task);
			return;
		}
	}
}

void net_record_farewell(struct net_conn *c)
{
	size_t pending = net_mux_pending(&c->mux);

	if (pending > 0 && c->net->transport->queued(c->link) < NET_CONN_TRANSPORT_HIGH)
		(void)flush_some(c, pending, NET_CONN_TRANSPORT_LOW);
}
