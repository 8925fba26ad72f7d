#include "discovery/providers.h"

static size_t find(const struct providers *p, const struct public_key *peer)
{
	size_t i = 0;

	while (i < p->count && !key_eq(&p->peers[i], peer))
		i++;
	return i;
}

bool providers_has(const struct providers *p, const struct public_key *peer)
{
	return find(p, peer) < p->count;
}

void providers_add(struct providers *p, const struct public_key *peer)
{
	if (providers_has(p, peer))
		return;
	p->peers[p->next] = *peer;
	p->back[p->next] = false;
	p->next = (p->next + 1) % PROVIDERS_MAX;
	p->count += p->count < PROVIDERS_MAX;
}

bool providers_back(struct providers *p, const struct public_key *peer)
{
	size_t i = find(p, peer);

	if (i == p->count)
		return false;
	p->back[i] = true;
	return true;
}

bool providers_any_back(const struct providers *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->back[i])
			return true;
	return false;
}

bool providers_take_back(struct providers *p, struct public_key *ret)
{
	for (size_t i = 0; i < p->count; i++) {
		if (!p->back[i])
			continue;
		p->back[i] = false;
		*ret = p->peers[i];
		return true;
	}
	return false;
}
