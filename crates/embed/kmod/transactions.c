// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
/*
 * Filter transactions from many threads on a session that they share: first each by itself, which an engine of Windows' rules refuses,
 * then through the serializer, over this kernel's mutexes and wait queues. The engine is a stand-in that keeps one rule: a
 * session has one transaction at a time.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "ebpf_blocks.h"
#include "module.h"

#define TXN_IN_PROGRESS 0xC022000EU
#define NO_TXN_IN_PROGRESS 0xC022000DU
#define OBJECTS_EACH 2

struct engine {
	spinlock_t lock;
	bool in_transaction;
	u64 staged, committed, refused;
};

struct worker {
	struct engine *engine;
	struct ebb_filters *filters;
	u64 count, failed;
	bool nested_refused;
	struct completion done;
};

void *ebb_os_mutex_new(void)
{
	struct mutex *mutex = kmalloc(sizeof(*mutex), GFP_KERNEL | __GFP_NOFAIL);

	mutex_init(mutex);
	return mutex;
}

void ebb_os_mutex_free(void *mutex)
{
	mutex_destroy(mutex);
	kfree(mutex);
}

void ebb_os_mutex_lock(void *mutex)
{
	mutex_lock(mutex);
}

bool ebb_os_mutex_try_lock(void *mutex)
{
	return mutex_trylock(mutex);
}

void ebb_os_mutex_unlock(void *mutex)
{
	mutex_unlock(mutex);
}

uint64_t ebb_os_now(void)
{
	return ktime_get_ns();
}

void ebb_os_sleep(uint64_t nanoseconds)
{
	unsigned long us = min_t(u64, nanoseconds / 1000 + 1, USEC_PER_SEC);

	usleep_range(us, 2 * us);
}

uint64_t ebb_os_thread(void)
{
	return current->pid;
}

static DECLARE_WAIT_QUEUE_HEAD(sleepers);

void ebb_os_wait(const uint32_t *word, uint32_t seen, uint64_t until)
{
	u64 now = ktime_get_ns();
	long ticks = MAX_SCHEDULE_TIMEOUT;

	if (until != U64_MAX)
		ticks = until > now ? nsecs_to_jiffies(until - now) + 1 : 1;
	wait_event_timeout(sleepers, READ_ONCE(*word) != seen, ticks);
}

void ebb_os_wake(const uint32_t *word)
{
	wake_up_all(&sleepers);
}

static uint32_t engine_open(void *context, uint64_t *session)
{
	*session = 1;
	return 0;
}

static uint32_t engine_close(void *context, uint64_t session)
{
	return 0;
}

static uint32_t engine_begin(void *context, uint64_t session, bool read_only)
{
	struct engine *engine = context;
	uint32_t status = 0;

	spin_lock(&engine->lock);
	if (engine->in_transaction) {
		engine->refused++;
		status = TXN_IN_PROGRESS;
	} else {
		engine->in_transaction = true;
		engine->staged = 0;
	}
	spin_unlock(&engine->lock);
	return status;
}

static uint32_t engine_end(struct engine *engine, bool commit)
{
	uint32_t status = 0;

	spin_lock(&engine->lock);
	if (!engine->in_transaction)
		status = NO_TXN_IN_PROGRESS;
	else if (commit)
		engine->committed += engine->staged;
	engine->in_transaction = false;
	spin_unlock(&engine->lock);
	return status;
}

static uint32_t engine_commit(void *context, uint64_t session)
{
	return engine_end(context, true);
}

static uint32_t engine_abort(void *context, uint64_t session)
{
	return engine_end(context, false);
}

static uint32_t engine_add(void *context, uint64_t session, const void *object, uint64_t *id)
{
	struct engine *engine = context;

	/* What makes others come in the middle. */
	usleep_range(20, 40);
	spin_lock(&engine->lock);
	*id = ++engine->staged;
	spin_unlock(&engine->lock);
	return 0;
}

static uint32_t engine_remove(void *context, uint64_t session, uint64_t id)
{
	return 0;
}

static int alone(void *data)
{
	struct worker *worker = data;
	u64 number, id;

	for (number = 0; number < worker->count; number++) {
		unsigned int object;

		if (engine_begin(worker->engine, 1, false)) {
			worker->failed++;
			usleep_range(20, 40);
			continue;
		}
		for (object = 0; object < OBJECTS_EACH; object++)
			engine_add(worker->engine, 1, NULL, &id);
		engine_commit(worker->engine, 1);
	}
	complete(&worker->done);
	return 0;
}

static uint32_t nothing(void *argument, struct ebb_transaction *transaction)
{
	return 0;
}

static uint32_t attach(void *argument, struct ebb_transaction *transaction)
{
	struct worker *worker = argument;
	unsigned int object;
	uint32_t status;
	uint64_t id;

	for (object = 0; object < OBJECTS_EACH; object++) {
		status = ebb_transaction_add(transaction, NULL, &id);
		if (status)
			return status;
	}
	worker->nested_refused =
		ebb_filters_transact(worker->filters, false, nothing, NULL, &status) == EBB_ANSWER_NESTED;
	return 0;
}

static int serialized(void *data)
{
	struct worker *worker = data;
	uint32_t status;
	u64 number;

	for (number = 0; number < worker->count; number++)
		if (ebb_filters_transact(worker->filters, false, attach, worker, &status) != EBB_ANSWER_DONE ||
		    !worker->nested_refused)
			worker->failed++;
	complete(&worker->done);
	return 0;
}

/* Runs `threads` workers to their end; the transactions that failed. */
static long run_workers(struct worker *workers, u64 threads, int (*body)(void *), u64 *failed)
{
	struct task_struct *thread;
	u64 started, index;
	long error = 0;

	for (started = 0; started < threads; started++) {
		init_completion(&workers[started].done);
		workers[started].failed = 0;
		thread = kthread_run(body, &workers[started], "ebb_txn/%llu", started);
		if (IS_ERR(thread)) {
			error = PTR_ERR(thread);
			break;
		}
	}
	*failed = 0;
	for (index = 0; index < started; index++) {
		wait_for_completion(&workers[index].done);
		*failed += workers[index].failed;
	}
	return error;
}

long ebb_run_transactions(struct ebb_transactions *asked)
{
	struct engine *engine = kzalloc(sizeof(*engine), GFP_KERNEL);
	struct ebb_filters *filters = kzalloc(sizeof(*filters), GFP_KERNEL);
	struct worker *workers = NULL;
	struct ebb_engine_calls calls = {
		.context = engine,
		.open = engine_open,
		.close = engine_close,
		.begin = engine_begin,
		.commit = engine_commit,
		.abort = engine_abort,
		.add = engine_add,
		.remove = engine_remove,
	};
	long failed = -EINVAL;
	u64 index, ignored;

	if (asked->threads == 0 || asked->threads > 16)
		goto out;
	failed = -ENOMEM;
	workers = kcalloc(asked->threads, sizeof(*workers), GFP_KERNEL);
	if (!engine || !filters || !workers)
		goto out;
	spin_lock_init(&engine->lock);
	for (index = 0; index < asked->threads; index++) {
		workers[index].engine = engine;
		workers[index].filters = filters;
		workers[index].count = asked->each;
	}

	failed = run_workers(workers, asked->threads, alone, &ignored);
	if (failed)
		goto out;
	asked->refused_alone = engine->refused;

	engine->refused = 0;
	engine->committed = 0;
	ebb_filters_init(filters, &calls);
	failed = run_workers(workers, asked->threads, serialized, &asked->failed);
	asked->nested_refused = workers[0].nested_refused;
	ebb_filters_destroy(filters);
	asked->refused_serialized = engine->refused;
	asked->objects = engine->committed;
out:
	kfree(workers);
	kfree(filters);
	kfree(engine);
	return failed;
}
