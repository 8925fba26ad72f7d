/* A profiler on a real loop, for the tests of profiler/. */
#pragma once

#include "test_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <zlib.h>

#include "base/loop.h"
#include "profiler/profiler.h"

/* A function that stays one: not inlined, cloned or analysed by its callers. */
#if __has_attribute(noipa)
#define WHOLE __attribute__((noipa))
#else
#define WHOLE __attribute__((noinline))
#endif

enum { FIXTURE_CAPTURES = PROFILER_CPU_CAPTURES_MAX + 1, INFLATED_MAX = 16 << 20 };

struct fixture {
	struct loop loop;
	struct profiler *profiler;
	struct profiler_capture captures[FIXTURE_CAPTURES];
	int status[FIXTURE_CAPTURES]; /* 1 = in flight */
	unsigned ended;
};

static struct fixture *fixture;

static inline int fixture_setup(void **state)
{
	struct fixture *f = mem_alloc(sizeof(*f));

	assert_non_null(f);
	CHECK_STATUS(0, loop_init(&f->loop));
	f->profiler = profiler_new(&(struct profiler_config){ .runner = &f->loop.runner,
							      .version = "peerscope test" });
	assert_non_null(f->profiler);
	*state = fixture = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < FIXTURE_CAPTURES; i++)
		buf_fini(&f->captures[i].out);
	profiler_free(f->profiler);
	loop_fini(&f->loop);
	mem_free(f);
	return 0;
}

static inline void fixture_on_capture(struct profiler_capture *c, int status)
{
	fixture->status[c - fixture->captures] = status;
	fixture->ended++;
}

static inline void fixture_start(struct fixture *f, unsigned i,
				 const struct profiler_request *request)
{
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };

	f->status[i] = 1;
	buf_fini(&f->captures[i].out);
	profiler_capture_start(&f->captures[i], f->profiler, &env, request, fixture_on_capture);
}

static inline void fixture_run_until(struct fixture *f, unsigned ended)
{
	while (f->ended < ended)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

/** One capture, to its end: its output, valid until the next one. */
static inline const struct buf *fixture_capture(struct fixture *f,
						const struct profiler_request *request)
{
	f->ended = 0;
	fixture_start(f, 0, request);
	fixture_run_until(f, 1);
	CHECK_STATUS(0, f->status[0]);
	return &f->captures[0].out;
}

static inline char *fixture_inflate(const struct buf *b, size_t *ret_len)
{
	char *out = mem_alloc(INFLATED_MAX);
	z_stream z = { 0 };

	assert_non_null(out);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = b->data;
	z.avail_in = (uInt)b->len;
	z.next_out = (Bytef *)out;
	z.avail_out = INFLATED_MAX;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	*ret_len = z.total_out;
	inflateEnd(&z);
	return out;
}

/** Is the name in the profile's string table? */
static inline bool fixture_has(const struct buf *b, const char *name)
{
	size_t len;
	char *text = fixture_inflate(b, &len);
	bool found = memmem(text, len, name, strlen(name)) != NULL;

	mem_free(text);
	return found;
}

static inline struct profiler_stats fixture_stats(struct fixture *f)
{
	struct profiler_stats s;

	profiler_stats(f->profiler, &s);
	return s;
}

#define profiler_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
