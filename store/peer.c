/* Peers: what is remembered of nodes, and who is asked first about a space. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/internal.h"

enum { PEER_SPACES_MAX = 64, AUTHORITY_ROWS_MAX = 256 };

/* ---- Addresses as text: multiaddrs separated by spaces ---- */

static void addrs_parse(const char *s, struct store_peer *p)
{
	while (s != NULL && *s != '\0' && p->addr_count < STORE_PEER_ADDRS_MAX) {
		size_t len = strcspn(s, " ");

		if (multiaddr_parse(s, len, &p->addrs[p->addr_count]) == 0)
			p->addr_count++;
		s += len + (s[len] == ' ');
	}
}

static int addrs_format(const struct store_peer *p, struct buf *out)
{
	char text[MULTIADDR_TEXT_SIZE];

	for (size_t i = 0; i < p->addr_count; i++) {
		multiaddr_format(&p->addrs[i], text);
		buf_printf(out, "%s%s", i > 0 ? " " : "", text);
	}
	return buf_err(out);
}

static bool has_addr(const struct store_peer *p, const struct multiaddr *a)
{
	for (size_t i = 0; i < p->addr_count; i++)
		if (multiaddr_eq(&p->addrs[i], a))
			return true;
	return false;
}

/* The newly learned come first; of the old ones what still fits. */
static void addrs_merge(struct store_peer *known, const struct store_peer *learned)
{
	struct store_peer merged = { 0 };

	for (size_t i = 0; i < learned->addr_count && i < STORE_PEER_ADDRS_MAX; i++)
		if (!has_addr(&merged, &learned->addrs[i]))
			merged.addrs[merged.addr_count++] = learned->addrs[i];
	for (size_t i = 0; i < known->addr_count && merged.addr_count < STORE_PEER_ADDRS_MAX; i++)
		if (!has_addr(&merged, &known->addrs[i]))
			merged.addrs[merged.addr_count++] = known->addrs[i];
	memcpy(known->addrs, merged.addrs, sizeof(known->addrs));
	known->addr_count = merged.addr_count;
}

/* ---- Rows ---- */

/* Columns as in SQL_PEER_FIND and SQL_PEER_LIST. */
static int load_row(struct db *db, sqlite3_stmt *q, struct store_peer *ret)
{
	*ret = (struct store_peer){ 0 };
	addrs_parse((const char *)sqlite3_column_text(q, 2), ret);
	ret->added_by_user = sqlite3_column_int64(q, 3) != 0;
	ret->last_ok_s = (uint64_t)sqlite3_column_int64(q, 4);
	ret->last_fail_s = (uint64_t)sqlite3_column_int64(q, 5);
	ret->failures = (uint32_t)sqlite3_column_int64(q, 6);
	ret->served_space = sqlite3_column_int64(q, 7) != 0;
	return db_column_key(db, q, 1, &ret->key);
}

/* ret_id 0 when unknown; then only the key is set. */
static int find_peer(struct db *db, const struct public_key *key, struct store_peer *ret,
		     int64_t *ret_id)
{
	CLEANUP(db_done) sqlite3_stmt *q = db_query(db, SQL_PEER_FIND, ARGS(arg_key(key)));
	int rc = db_row(db, q);

	*ret = (struct store_peer){ .key = *key };
	*ret_id = 0;
	if (rc <= 0)
		return rc;
	*ret_id = sqlite3_column_int64(q, 0);
	return load_row(db, q, ret);
}

static int delete_peer(struct db *db, int64_t id)
{
	int rc = db_run(db, SQL_PEER_DELETE, ARGS(arg_int(id)));

	if (rc == 0) {
		db_add(db, TOTAL_PEERS, -1);
		rc = db_run(db, SQL_PEER_SPACE_DELETE, ARGS(arg_int(id)));
	}
	return rc;
}

/* ERR_LIMIT when all that are known were added by the user. */
static int make_room(struct store *s)
{
	int64_t id;
	int rc;

	if (s->db.totals.v[TOTAL_PEERS] < STORE_PEERS_MAX)
		return 0;
	rc = db_int(&s->db, SQL_PEER_OLDEST, NULL, 0, &id);
	if (rc <= 0)
		return rc < 0 ? rc : ERR_LIMIT;
	s->peers_dropped++;
	return delete_peer(&s->db, id);
}

static int insert_peer(struct store *s, const struct public_key *key, int64_t *ret_id)
{
	int rc = make_room(s);

	if (rc == 0)
		rc = db_run(&s->db, SQL_PEER_INSERT, ARGS(arg_key(key)));
	if (rc < 0)
		return rc;
	*ret_id = sqlite3_last_insert_rowid(s->db.sqlite);
	db_add(&s->db, TOTAL_PEERS, 1);
	return 0;
}

static int update_peer(struct db *db, int64_t id, const struct store_peer *p, uint64_t now_s)
{
	CLEANUP(buf_fini) struct buf text = { 0 };
	int rc;

	buf_init(&text, STORE_PEER_ADDRS_MAX * (MULTIADDR_TEXT_SIZE + 1));
	rc = addrs_format(p, &text);
	if (rc < 0)
		return rc;
	return db_run(db, SQL_PEER_UPDATE,
		      ARGS(arg_int(id), arg_text((char *)text.data, text.len),
			   arg_int(p->added_by_user), arg_int((int64_t)now_s),
			   arg_int((int64_t)p->last_ok_s), arg_int((int64_t)p->last_fail_s),
			   arg_int(p->failures)));
}

/* ---- Change ---- */

static int served(struct db *db, const struct store_peer_set *p, int64_t id)
{
	int rc = db_run(db, SQL_PEER_SPACE_SET,
			ARGS(arg_key(&p->space), arg_int(id), arg_int((int64_t)p->request.wall_s)));

	if (rc == 0)
		rc = db_run(db, SQL_PEER_SPACE_TRIM,
			    ARGS(arg_key(&p->space), arg_int(PEER_SPACES_MAX)));
	return rc;
}

static void apply(struct store_peer *known, const struct store_peer_set *p)
{
	addrs_merge(known, &p->peer);
	switch (p->change) {
	case STORE_PEER_ADD: known->added_by_user = true; break;
	case STORE_PEER_OK:
		known->last_ok_s = p->request.wall_s;
		known->failures = 0;
		break;
	case STORE_PEER_FAILED:
		known->last_fail_s = p->request.wall_s;
		known->failures += known->failures < UINT32_MAX;
		break;
	case STORE_PEER_SEEN:
	case STORE_PEER_REMOVE: break;
	}
}

static int change_peer(struct store *s, const struct store_peer_set *p)
{
	struct store_peer known;
	int64_t id;
	int rc = find_peer(&s->db, &p->peer.key, &known, &id);

	if (rc < 0)
		return rc;
	if (p->change == STORE_PEER_REMOVE)
		return id != 0 ? delete_peer(&s->db, id) : ERR_NOT_FOUND;
	if (id == 0 && p->change == STORE_PEER_FAILED)
		return 0; /* a failure alone is not worth remembering a stranger for */
	if (id == 0)
		rc = insert_peer(s, &p->peer.key, &id);
	if (rc < 0)
		return rc;
	apply(&known, p);
	rc = update_peer(&s->db, id, &known, p->request.wall_s);
	if (rc == 0 && p->change == STORE_PEER_OK && p->has_space)
		rc = served(&s->db, p, id);
	return rc;
}

static int run_peer_set(struct store *s, struct store_request *r)
{
	struct store_peer_set *p = container_of(r, struct store_peer_set, request);
	int rc = tx_begin(s);

	if (rc < 0)
		return rc;
	rc = change_peer(s, p);
	if (rc == 0)
		return tx_commit(s);
	tx_rollback(s);
	return rc;
}

static void peer_set_tick(struct op *op)
{
	struct store_peer_set *p = container_of(op, struct store_peer_set, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind peer_set_kind = { "store.peer_set", request_write_states,
					      REQUEST_STATE_COUNT, peer_set_tick };

void store_peer_set_start(struct store_peer_set *p, const struct op_env *env, struct store *s,
			  enum store_peer_change change, const struct store_peer *peer,
			  const struct public_key *space, store_peer_set_cb cb)
{
	struct op_env copy = *env;

	REQUIRE(peer->addr_count <= STORE_PEER_ADDRS_MAX);
	*p = (struct store_peer_set){ .data = p->data,
				      .cb = cb,
				      .change = change,
				      .peer = *peer,
				      .has_space = space != NULL };
	if (space != NULL)
		p->space = *space;
	request_start(&p->request, &p->op, &peer_set_kind, &copy, s, true, run_peer_set);
}

void store_peer_set_fini(struct store_peer_set *p)
{
	(void)p;
}

/* ---- List ---- */

static struct store_peer *find_listed(struct store_peers *p, const struct public_key *key)
{
	for (size_t i = 0; i < p->count; i++)
		if (key_eq(&p->peers[i].key, key))
			return &p->peers[i];
	return NULL;
}

/* Authorities may be peers never met: then only what the commit says is known. */
static int list_authority(struct db *db, struct store_peers *p, const struct public_key *key,
			  const char *addrs)
{
	struct store_peer said = { 0 };
	struct store_peer *peer = find_listed(p, key);
	int64_t id;
	int rc;

	addrs_parse(addrs, &said);
	if (peer == NULL) {
		if (p->count == p->limit)
			return 0;
		peer = &p->peers[p->count];
		rc = find_peer(db, key, peer, &id);
		if (rc < 0)
			return rc;
		p->count++;
		peer->authority = true;
	}
	addrs_merge(peer, &said);
	return 0;
}

static int list_authorities(struct db *db, struct store_peers *p)
{
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_AUTHORITIES,
				   ARGS(arg_key(&p->space), arg_int(AUTHORITY_ROWS_MAX)));
	struct public_key key;
	int rc;

	while ((rc = db_row(db, q)) > 0) {
		rc = db_column_key(db, q, 0, &key);
		if (rc == 0)
			rc = list_authority(db, p, &key, (const char *)sqlite3_column_text(q, 1));
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int list_known(struct db *db, struct store_peers *p)
{
	size_t authorities = p->count;
	CLEANUP(db_done)
	sqlite3_stmt *q = db_query(db, SQL_PEER_LIST,
				   ARGS(arg_bytes(p->has_space ? p->space.bytes : NULL, KEY_SIZE),
					arg_int((int64_t)(p->limit))));
	struct store_peer peer;
	int rc = 0;

	while (p->count < p->limit && (rc = db_row(db, q)) > 0) {
		struct store_peer *listed = NULL;

		rc = load_row(db, q, &peer);
		if (rc < 0)
			return rc;
		if (authorities > 0)
			listed = find_listed(p, &peer.key);
		if (listed != NULL)
			listed->served_space = peer.served_space;
		else
			p->peers[p->count++] = peer;
	}
	return MIN(rc, 0);
}

static int run_peers(struct store *s, struct store_request *r)
{
	struct store_peers *p = container_of(r, struct store_peers, request);
	int rc = 0;

	p->limit = MIN(p->limit, (size_t)s->db.totals.v[TOTAL_PEERS] +
					 (p->has_space ? AUTHORITY_ROWS_MAX : 0));
	p->peers = mem_alloc_array(MAX(p->limit, 1), sizeof(*p->peers));
	if (p->peers == NULL)
		return UV_ENOMEM;
	if (p->has_space)
		rc = list_authorities(&s->db, p);
	return rc == 0 ? list_known(&s->db, p) : rc;
}

static void peers_tick(struct op *op)
{
	struct store_peers *p = container_of(op, struct store_peers, op);

	if (request_tick(op, &p->request))
		p->cb(p, op_status(op));
}

static const struct op_kind peers_kind = { "store.peers", request_read_states, REQUEST_STATE_COUNT,
					   peers_tick };

void store_peers_start(struct store_peers *p, const struct op_env *env, struct store *s,
		       const struct public_key *space, size_t limit, store_peers_cb cb)
{
	struct op_env copy = *env;

	*p = (struct store_peers){
		.data = p->data, .cb = cb, .has_space = space != NULL, .limit = limit
	};
	if (space != NULL)
		p->space = *space;
	request_start(&p->request, &p->op, &peers_kind, &copy, s, false, run_peers);
}

void store_peers_fini(struct store_peers *p)
{
	p->peers = mem_free(p->peers);
	p->count = 0;
}
