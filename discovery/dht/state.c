/* What survives a restart.
 *
 *	"PDHT" version:u8
 *	per family, v4 then v6:
 *		id[20] external ip[4|16] (zero = unknown) count:u16
 *		count times: id[20] ip[4|16] port:u16
 *
 * Numbers are big-endian. Half of the nodes are the nearest to us, half any good ones. */
#include "discovery/dht/core.h"

#include <string.h>

#include "base/mem.h"

enum { STATE_VERSION = 1, STATE_NODES_MAX = CONTACTS_MAX, STATE_NEAREST = STATE_NODES_MAX / 2 };
static const uint8_t magic[4] = { 'P', 'D', 'H', 'T' };

static bool is_worth_keeping(const struct table_node *n, void *data)
{
	return n->fails == 0;
}

static void export_family(const struct family *f, unsigned index, struct buf *out)
{
	const struct table_node *near[STATE_NODES_MAX];
	size_t ip_len = index == 0 ? 4 : 16;
	size_t n = table_closest(&f->table, &f->table.self, is_worth_keeping, NULL, near,
				 STATE_NODES_MAX);

	buf_write(out, f->table.self.bytes, DHT_ID_SIZE);
	buf_write(out, f->external.ip, ip_len);
	buf_write_u16be(out, (uint16_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_write(out, near[i]->id.bytes, DHT_ID_SIZE);
		buf_write(out, near[i]->addr.ip, ip_len);
		buf_write_u16be(out, near[i]->addr.port);
	}
}

void dht_export(const struct dht *d, struct buf *out)
{
	buf_write(out, magic, sizeof(magic));
	buf_write_u8(out, STATE_VERSION);
	for (unsigned i = 0; i < DHT_FAMILIES; i++)
		export_family(&d->families[i], i, out);
}

static int read_node(struct buf_reader *r, unsigned index, struct dht_id *id,
		     struct dht_address *addr)
{
	int rc = buf_read_copy(r, id->bytes, DHT_ID_SIZE);

	*addr = (struct dht_address){ .family = index == 0 ? 4 : 6 };
	if (rc == 0)
		rc = buf_read_copy(r, addr->ip, address_ip_len(addr));
	if (rc == 0)
		rc = buf_read_u16be(r, &addr->port);
	return rc;
}

/* With d NULL: only see whether it is well-formed. */
static int import_family(struct dht *d, unsigned index, struct buf_reader *r)
{
	struct dht_address external = { .family = index == 0 ? 4 : 6 }, addr;
	struct dht_id id, node;
	uint16_t count;
	int rc;

	if ((rc = buf_read_copy(r, id.bytes, DHT_ID_SIZE)) < 0 ||
	    (rc = buf_read_copy(r, external.ip, address_ip_len(&external))) < 0 ||
	    (rc = buf_read_u16be(r, &count)) < 0)
		return rc;
	if (count > STATE_NODES_MAX)
		return ERR_MALFORMED;
	if (d != NULL && d->families[index].external.family == 0) {
		/* The address may be another one today; then the vote brings a new id. */
		table_rebase(&d->families[index].table, &id, dht_now(d));
		if (dht_address_is_global(&external))
			reach_set_external(d, index, &external);
	} else if (d != NULL && id_fits(&id, &d->families[index].external)) {
		table_rebase(&d->families[index].table, &id, dht_now(d));
	}
	for (uint16_t i = 0; i < count; i++) {
		rc = read_node(r, index, &node, &addr);
		if (rc < 0)
			return rc;
		if (d != NULL && !dht_is_no_node(d, &addr))
			contact_add(&d->families[index], &addr, &node);
	}
	return 0;
}

static int import(struct dht *d, const uint8_t *data, size_t len)
{
	struct buf_reader r = buf_reader(data, len);
	uint8_t version, head[sizeof(magic)];
	int rc = buf_read_copy(&r, head, sizeof(head));

	if (rc < 0 || memcmp(head, magic, sizeof(magic)) != 0)
		return ERR_MALFORMED;
	if (buf_read_u8(&r, &version) < 0)
		return ERR_MALFORMED;
	if (version != STATE_VERSION)
		return ERR_VERSION;
	for (unsigned i = 0; i < DHT_FAMILIES && rc == 0; i++)
		rc = import_family(d, i, &r);
	if (rc < 0 || buf_left(&r) > 0)
		return ERR_MALFORMED;
	return 0;
}

int dht_import(struct dht *d, const uint8_t *data, size_t len)
{
	int rc = import(NULL, data, len);

	return rc < 0 ? rc : import(d, data, len);
}
