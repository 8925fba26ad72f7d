#include "discovery/misses.h"

#include "base/mem.h"

struct miss {
	struct list node;
	struct hash question;
	struct public_key space;
	struct miss_answer answer;
};

void misses_init(struct misses *m, uint64_t now_ms)
{
	*m = (struct misses){ .tokens_ms = MISSES_SEARCHES_BURST * MISSES_SEARCH_MS,
			      .earned_ms = now_ms };
	map_init(&m->by_key, MISSES_MAX);
	list_init(&m->oldest);
}

static void drop(struct misses *m, struct miss *e)
{
	map_del(&m->by_key, e->question.bytes, sizeof(e->question.bytes));
	list_remove(&e->node);
	mem_free(e);
}

void misses_fini(struct misses *m)
{
	list_for_each_safe(node, &m->oldest)
		drop(m, list_entry(node, struct miss, node));
	map_fini(&m->by_key);
}

static struct miss *get(const struct misses *m, const struct hash *question)
{
	return map_get(&m->by_key, question->bytes, sizeof(question->bytes));
}

static struct miss *insert(struct misses *m, const struct hash *question)
{
	struct miss *e;

	if (map_count(&m->by_key) == MISSES_MAX) {
		drop(m, list_entry(m->oldest.next, struct miss, node));
		m->stats.made_room++;
	}
	e = mem_alloc(sizeof(*e));
	if (e == NULL)
		return NULL;
	e->question = *question;
	if (map_put(&m->by_key, e->question.bytes, sizeof(e->question.bytes), e) < 0)
		return mem_free(e);
	list_push_back(&m->oldest, &e->node);
	return e;
}

void misses_note(struct misses *m, const struct hash *question, const struct public_key *space,
		 const struct miss_answer *answer)
{
	struct miss *e = get(m, question);

	if (e == NULL)
		e = insert(m, question);
	if (e == NULL)
		return;
	e->space = *space;
	e->answer = *answer;
	list_remove(&e->node);
	list_push_back(&m->oldest, &e->node);
}

bool misses_hit(struct misses *m, const struct hash *question, uint64_t sources, uint64_t now_ms,
		struct miss_answer *ret)
{
	const struct miss *e = get(m, question);

	if (e == NULL || now_ms >= e->answer.until_ms || sources > e->answer.sources)
		return false;
	*ret = e->answer;
	m->stats.hits++;
	return true;
}

void misses_forget_space(struct misses *m, const struct public_key *space)
{
	list_for_each_safe(node, &m->oldest) {
		struct miss *e = list_entry(node, struct miss, node);

		if (!key_eq(&e->space, space))
			continue;
		drop(m, e);
		m->stats.forgotten++;
	}
}

uint64_t misses_search(struct misses *m, uint64_t now_ms)
{
	const uint64_t full = MISSES_SEARCHES_BURST * MISSES_SEARCH_MS;

	m->tokens_ms = MIN(full, m->tokens_ms + (now_ms - m->earned_ms));
	m->earned_ms = now_ms;
	if (m->tokens_ms < MISSES_SEARCH_MS) {
		m->stats.searches_refused++;
		return MISSES_SEARCH_MS - m->tokens_ms;
	}
	m->tokens_ms -= MISSES_SEARCH_MS;
	return 0;
}

void misses_found(struct misses *m)
{
	m->tokens_ms += MISSES_SEARCH_MS;
}

void misses_stats(const struct misses *m, struct misses_stats *ret)
{
	*ret = m->stats;
	ret->kept = map_count(&m->by_key);
}
