/* A second pair of eyes: signatures of a put's commits are checked ahead of the thread that stores,
 * which costs as much as storing them does.
 *
 * It only says "good", never "bad": what it has not looked at, or did not like, the store's thread
 * checks itself, so that verdicts have one place. The thread is made by the first put that is worth
 * it; where there can be none, everything is as before. */
#include "store/vouch.h"

#include <string.h>

#include "base/mem.h"

enum { COMMITS_MIN = 16 }; /* fewer are checked before the other thread is awake */

struct vouch {
	pthread_t thread;
	struct commit scratch; /* of the thread */

	pthread_mutex_t mutex;
	pthread_cond_t work, idle;
	bool stop, busy;
	const struct store_blob *blobs; /* of the put under way; NULL = none */
	size_t next, count;
	bool good[STORE_PUT_MAX];
};

/* Mutex held, and let go of meanwhile. */
static void look_at_next(struct vouch *v)
{
	size_t i = v->next++;
	const struct store_blob *b = &v->blobs[i];
	int rc;

	if (b->kind != OBJECT_COMMIT || b->len > OBJECT_COMMIT_MAX)
		return;
	v->busy = true;
	pthread_mutex_unlock(&v->mutex);
	rc = commit_decode(b->data, b->len, &v->scratch);
	pthread_mutex_lock(&v->mutex);
	v->busy = false;
	v->good[i] = rc == 0;
	pthread_cond_signal(&v->idle);
}

static void *thread_main(void *data)
{
	struct vouch *v = data;

	pthread_mutex_lock(&v->mutex);
	while (!v->stop) {
		if (v->next < v->count)
			look_at_next(v);
		else
			pthread_cond_wait(&v->work, &v->mutex);
	}
	pthread_mutex_unlock(&v->mutex);
	return NULL;
}

static void release(struct vouch *v)
{
	pthread_cond_destroy(&v->idle);
	pthread_cond_destroy(&v->work);
	pthread_mutex_destroy(&v->mutex);
	mem_free(v);
}

static struct vouch *vouch_new(void)
{
	struct vouch *v = mem_alloc(sizeof(*v));

	if (v == NULL)
		return NULL;
	pthread_mutex_init(&v->mutex, NULL);
	pthread_cond_init(&v->work, NULL);
	pthread_cond_init(&v->idle, NULL);
	if (pthread_create(&v->thread, NULL, thread_main, v) != 0) {
		release(v);
		return NULL;
	}
	(void)pthread_setname_np(v->thread, "signatures");
	return v;
}

static bool is_worth_it(const struct store_blob *blobs, size_t count)
{
	size_t commits = 0;

	for (size_t i = 0; i < count && commits < COMMITS_MIN; i++)
		commits += blobs[i].kind == OBJECT_COMMIT ? 1 : 0;
	return commits >= COMMITS_MIN;
}

void vouch_begin(struct vouch **v, const struct store_blob *blobs, size_t from, size_t count)
{
	struct vouch *it = *v;

	if (!is_worth_it(blobs + from, count - from))
		return;
	if (it == NULL)
		it = *v = vouch_new();
	if (it == NULL)
		return;
	pthread_mutex_lock(&it->mutex);
	memset(it->good, 0, sizeof(it->good));
	it->blobs = blobs;
	it->next = from;
	it->count = count;
	pthread_cond_signal(&it->work);
	pthread_mutex_unlock(&it->mutex);
}

bool vouch_is_good(struct vouch *v, const struct store_blob *b)
{
	bool good = false;

	if (v == NULL)
		return false;
	pthread_mutex_lock(&v->mutex);
	if (v->blobs != NULL) {
		size_t i = (size_t)(b - v->blobs);

		good = v->good[i];
		v->next = MAX(v->next, i + 1); /* who asks checks it now */
	}
	pthread_mutex_unlock(&v->mutex);
	return good;
}

void vouch_end(struct vouch *v)
{
	if (v == NULL)
		return;
	pthread_mutex_lock(&v->mutex);
	v->count = 0;
	while (v->busy)
		pthread_cond_wait(&v->idle, &v->mutex);
	v->blobs = NULL;
	pthread_mutex_unlock(&v->mutex);
}

void vouch_free(struct vouch *v)
{
	if (v == NULL)
		return;
	pthread_mutex_lock(&v->mutex);
	v->stop = true;
	pthread_cond_signal(&v->work);
	pthread_mutex_unlock(&v->mutex);
	(void)pthread_join(v->thread, NULL);
	release(v);
}
