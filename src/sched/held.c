/* SPDX-License-Identifier: MIT */
/* held.c - asking for mutexes that are held, and telling of them once for each spawn site. */
#include "sched/held.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#if WF_DEBUG

# define HELD_SITES 64 /* more are not told of */

/* In libweft-locks.so. */
extern __attribute__((weak)) uint64_t weft_locks_serial(void);
extern __attribute__((weak)) const void *weft_locks_since(uint64_t serial, const void **where);

static struct {
    struct wf_lock lock;
    const char *site[HELD_SITES]; /* by its address: they are literals, as a rule */
    unsigned count;
} held = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

/* The first time that this place is met? */
static bool held_is_new(const char *site)
{
    bool found = false;

    wf_lock(&held.lock);
    for (unsigned i = 0; i < held.count && !found; i++)
        found = held.site[i] == site;
    if (held.count == HELD_SITES)
        found = true;
    if (!found)
        held.site[held.count++] = site;
    wf_unlock(&held.lock);
    return !found;
}

WF_COLD static void held_print(const struct weft_task *t, bool done, const void *lock,
                               const void *where)
{
    Dl_info info = {0};

    if (dladdr(where, &info) == 0)
        info.dli_fname = NULL;
    wf_log("task %llu \"%s\" (spawned at %s) %s while its thread holds the mutex %p, locked in %s "
           "(%s+%#llx); another thread may have to unlock it",
           (unsigned long long)t->id, wf_task_name(t), t->site ? t->site : "?",
           done ? "ends" : "waits", lock, info.dli_sname ? info.dli_sname : "?",
           info.dli_fname ? info.dli_fname : "?",
           (unsigned long long)((uintptr_t)where - (uintptr_t)info.dli_fbase));
}

uint64_t wf_held_begin(void)
{
    return weft_locks_serial ? weft_locks_serial() : 0;
}

void wf_held_end(const struct weft_task *t, bool done, uint64_t begin)
{
    const void *where = NULL, *lock;

    if (!weft_locks_since)
        return;
    lock = weft_locks_since(begin, &where);
    if (wf_unlikely(lock != NULL) && held_is_new(t->site))
        held_print(t, done, lock, where);
}

#endif
