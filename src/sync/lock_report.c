/* SPDX-License-Identifier: MIT */
/*
 * lock_report.c - who is meant, and that a report that says the same again is left out.
 *
 * LOCKS    WF_RANK_LEAF, for the table of what was told; nothing is printed under it.
 */
#include "sync/lock_report.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

#define REPORT_KEYS      64 /* the oldest are forgotten */
#define REPORTS_A_SECOND 10

static struct {
    struct wf_lock lock;
    uint64_t key[REPORT_KEYS]; /* 0: free */
    unsigned next;
    uint64_t second; /* clock: when the running one began */
    unsigned in_second;
    uint64_t left_out;
} report = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

const char *wf_someone_text(const struct wf_someone *s, char text[WF_SOMEONE_SIZE])
{
    if (s->task)
        (void)snprintf(text, WF_SOMEONE_SIZE, "task %llu \"%s\" (spawned at %s)",
                       (unsigned long long)s->task->id, wf_task_name(s->task),
                       s->task->site ? s->task->site : "?");
    else if (s->owner)
        (void)snprintf(text, WF_SOMEONE_SIZE, "thread %llu",
                       (unsigned long long)(s->owner >> WF_OWNER_SHIFT));
    else
        (void)snprintf(text, WF_SOMEONE_SIZE, "somebody");
    return text;
}

/* Under the lock. */
static bool report_is_new(uint64_t key)
{
    for (unsigned i = 0; i < REPORT_KEYS; i++)
        if (report.key[i] == key)
            return false;
    return true;
}

bool wf_lock_report_may(uint64_t key)
{
    uint64_t now = wf_clock_now(), left_out = 0;
    bool may = false;

    wf_lock(&report.lock);
    if (report_is_new(key)) {
        if (now - report.second >= WEFT_SECS(1)) {
            report.second = now;
            report.in_second = 0;
        }
        may = report.in_second < REPORTS_A_SECOND;
        if (may) {
            report.in_second++;
            report.key[report.next++ % REPORT_KEYS] = key;
            left_out = report.left_out;
            report.left_out = 0;
        } else {
            report.left_out++;
        }
    }
    wf_unlock(&report.lock);
    if (left_out)
        wf_log("%llu reports about locks were left out: there were too many at a time",
               (unsigned long long)left_out);
    return may;
}

void wf_lock_report_end(const char *kind, const struct wf_owned *o, const struct weft_task *t)
{
    const char *site = wf_owned_site(o);

    if (wf_lock_report_may((uintptr_t)site * 2 + 7))
        wf_log(
            "task %llu \"%s\" (spawned at %s) has ended with the %s %p%s%s%s, which it locked at %s; who locks it "
            "next is told by -EOWNERDEAD",
            (unsigned long long)t->id, wf_task_name(t), t->site ? t->site : "?", kind,
            (const void *)o, WF_LOCK_NAME_ARGS(o->name), site);
}
