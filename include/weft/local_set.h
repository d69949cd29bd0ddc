/* SPDX-License-Identifier: MIT */
/*
 * weft/local_set.h - tasks that share one thread.
 *
 *     weft_local_set *set = weft_local_set_new();
 *
 *     weft_join_set_spawn(set, session, db);    they may use db, which is not made for threads,
 *     weft_join_set_spawn(set, session, db);    by turns, and never at the same time
 *     while (weft_join_set_next(set, &done) > 0)
 *         report(done.tag, done.result);
 *     weft_join_set_free(set);
 *
 * A local set is a join set (weft/join_set.h) whose tasks are all pinned to one worker: that of the task that made the
 * set. They run on that worker's thread alone, are never stolen and never change the thread, so they may keep what
 * belongs to a thread over awaits, and share data without locks: between two awaits nobody else of the set runs.
 * (weft_blocking and weft_spawn_blocking are the exception that they always are: what they call may be on another
 * thread.) Any thread may wake them, by whatever they wait for, and only that worker is called for it.
 *
 * Every call of weft/join_set.h is for local sets, too, from any thread: spawn, next, cancel, free and the rest. Who
 * spawns, waits or frees need not be on that worker; the tasks are, wherever they come from. spawn_blocking is -EINVAL.
 *
 * What it costs: while any task of that worker computes or blocks, the set waits, for nobody else can do its work. (A
 * worker that is stuck is relieved of all other tasks, and runs its pinned ones when its poll is over.) Ready pinned
 * tasks and the others of the worker take turns.
 *
 * For a pool of pinned threads, make a runtime of flavour WEFT_CURRENT_THREAD on each of as many threads, and hand work
 * to them by weft_spawn_on: all tasks of such a runtime are on the one thread that is in its weft_block_on. There a
 * local set is an ordinary join set.
 */
#ifndef WEFT_LOCAL_SET_H
#define WEFT_LOCAL_SET_H

#include <weft/join_set.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef weft_join_set weft_local_set;

/* A new, empty set on the calling task's worker; NULL (with a message) outside of tasks, or when memory is out. */
WEFT_API weft_local_set *weft_local_set_new(void);

/*
 * weft_local_set_new_with - the same with options (NULL: none).
 *
 * options   as for join sets. runtime: of another runtime than the caller's, or from a plain thread, the set is on one
 *           of its workers, chosen in turn. The runtime must outlive the set in any case.
 *
 * Returns   0, -ENOMEM, -EINVAL, -ESHUTDOWN; -EPERM: called outside a task, and no runtime was given.
 */
WEFT_API WEFT_MUST_CHECK int weft_local_set_new_with(weft_local_set **set,
                                                     const weft_join_set_options *options);

/*
 * weft_local_set_run - run fn(arg) as a task of the worker of the set, and wait for it.
 *
 * It is no member of the set: weft_join_set_next does not tell of it.
 *
 * result   may be NULL; as weft_join gives it.
 *
 * Awaits   until it has ended. From a plain thread: blocks it.
 * Cancel   the task is cancelled with the caller, and waited for.
 * Returns  0, -EINVAL, -ENOMEM, -ECANCELED, -ETIMEDOUT; -EPERM in a stackless task, and in a forked child; -ESHUTDOWN
 */
WEFT_API WEFT_MUST_CHECK int weft_local_set_run(weft_local_set *set, weft_fn *fn, void *arg,
                                                int *result);
WEFT_API WEFT_MUST_CHECK int weft_local_set_run_at(const char *site, weft_local_set *set,
                                                   weft_fn *fn, void *arg, int *result);
#define weft_local_set_run(...) weft_local_set_run_at(WEFT_SITE, __VA_ARGS__)

/* Is the caller a task on the worker of the set, so that it may touch what the set's tasks share? On a stand-in's
 * thread, and on a plain one: false. */
WEFT_API bool weft_local_set_is_here(const weft_local_set *set);

#ifdef __cplusplus
}
#endif

#endif
