/* Whom we prefer when there is not room for all: the user's own peers, those that a space vouches
 * for, those that served us; then those that have followed for long; then strangers.
 *
 * What can go wrong: keys that follow for ten minutes only to be preferred. So only
 * SYNC_STANDING_MAX of them are, and a known peer still comes first. */
#include "base/mem.h"
#include "sync/internal.h"

void sync_know(struct sync *s, const struct public_key *peer)
{
	/* Beyond the limit, or out of memory: it stays a stranger. */
	if (map_get(&s->known, peer->bytes, KEY_SIZE) == NULL)
		(void)map_put(&s->known, peer->bytes, KEY_SIZE, s);
	s->stats.known_peers = map_count(&s->known);
}

void sync_unknow(struct sync *s, const struct public_key *peer)
{
	(void)map_del(&s->known, peer->bytes, KEY_SIZE);
	s->stats.known_peers = map_count(&s->known);
}

static bool is_standing(struct sync *s, struct sync_peer *p)
{
	uint64_t now_ms = runner_now_ms(s->config.runner);

	if (!p->standing && p->subscribed > 0 && s->stats.standing_peers < SYNC_STANDING_MAX &&
	    now_ms >= p->subscribed_ms + SYNC_STANDING_MS) {
		p->standing = true;
		s->stats.standing_peers++;
	}
	return p->standing;
}

enum share_rank sync_rank(struct sync *s, const struct public_key *peer)
{
	struct sync_peer *p;

	if (map_get(&s->known, peer->bytes, KEY_SIZE) != NULL)
		return SHARE_KNOWN;
	p = map_get(&s->peers, peer->bytes, KEY_SIZE);
	return p != NULL && is_standing(s, p) ? SHARE_STANDING : SHARE_STRANGER;
}

void ranks_subscribed(struct sync *s, struct sync_peer *p)
{
	if (p->subscribed++ == 0)
		p->subscribed_ms = runner_now_ms(s->config.runner);
}

void ranks_unsubscribed(struct sync *s, struct sync_peer *p)
{
	REQUIRE(p->subscribed > 0);
	if (--p->subscribed == 0 && p->standing) {
		p->standing = false;
		s->stats.standing_peers--;
	}
}

/* ---- The user's own, at the start ---- */

static void on_peers(struct store_peers *op, int status)
{
	struct sync *s = container_of(op, struct sync, known_load);

	for (size_t i = 0; status == 0 && i < op->count; i++)
		if (op->peers[i].added_by_user)
			sync_know(s, &op->peers[i].key);
	store_peers_fini(op);
	s->known_loading = false;
	sync_check_closed(s);
}

void ranks_init(struct sync *s)
{
	struct op_env env = sync_env(s, UINT64_MAX);

	map_init(&s->known, SYNC_KNOWN_MAX);
	s->known_loading = true;
	store_peers_start(&s->known_load, &env, s->config.store, NULL, SYNC_KNOWN_MAX, on_peers);
}

void ranks_close(struct sync *s)
{
	if (s->known_loading)
		op_cancel(&s->known_load.op);
}

void ranks_fini(struct sync *s)
{
	REQUIRE(!s->known_loading);
	map_fini(&s->known);
}
