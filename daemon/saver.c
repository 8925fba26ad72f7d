#include "daemon/saver.h"

#include "base/err.h"
#include "base/log.h"
#include "daemon/disk.h"

void saver_init(struct saver *s, struct runner *r, const char *dir, const char *name, size_t max)
{
	*s = (struct saver){ .runner = r, .dir = dir, .name = name };
	buf_init(&s->now, max);
	buf_init(&s->next, max);
}

static void run_closed(struct runner_task *task)
{
	struct saver *s = container_of(task, struct saver, closed_task);

	s->closed(s->closed_data);
}

static void begin(struct saver *s);

static void ended(struct saver *s, int status)
{
	s->running = false;
	s->last_status = status;
	if (status == 0)
		s->written++;
	else if (s->failed++ == 0)
		log_warn(LOG_DAEMON,
			 "msg=\"cannot write a file of the data folder\" file=%s err=%s", s->name,
			 err_name(status));
	if (s->has_next)
		begin(s);
	else if (s->closed != NULL)
		runner_defer(s->runner, &s->closed_task);
}

static void write_it(struct runner_job *job)
{
	struct saver *s = container_of(job, struct saver, job);

	s->status = disk_write(s->dir, s->name, s->now.data, s->now.len, 0600);
}

static void on_written(struct runner_job *job)
{
	struct saver *s = container_of(job, struct saver, job);

	ended(s, s->status);
}

static void begin(struct saver *s)
{
	struct buf swap = s->now;
	int rc;

	s->now = s->next;
	s->next = swap;
	buf_clear(&s->next);
	s->has_next = false;
	s->running = true;
	s->job = (struct runner_job){ .run = write_it, .done = on_written };
	rc = buf_err(&s->now) < 0 ? buf_err(&s->now) : runner_submit(s->runner, &s->job);
	if (rc < 0)
		ended(s, rc);
}

void saver_write(struct saver *s, const void *data, size_t len)
{
	REQUIRE(s->closed == NULL);
	buf_clear(&s->next);
	buf_write(&s->next, data, len);
	s->has_next = true;
	if (!s->running)
		begin(s);
}

void saver_close(struct saver *s, void (*closed)(void *data), void *data)
{
	s->closed = closed;
	s->closed_data = data;
	s->closed_task.run = run_closed;
	if (!s->running)
		runner_defer(s->runner, &s->closed_task);
}

void saver_fini(struct saver *s)
{
	REQUIRE(!s->running);
	buf_fini(&s->now);
	buf_fini(&s->next);
}
