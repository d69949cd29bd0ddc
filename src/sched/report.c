/* SPDX-License-Identifier: MIT */
/*
 * report.c - a stall is told of once for each place in the program that it comes from.
 *
 * IDEA     The same line of a program stalls again and again, and the first report says it all. So the places
 *          where stalled tasks were spawned are kept in a small table, by the hash of their text; the first stall
 *          from each is reported with all that can be known, later ones are counted. No
 *          more than REPORTS_A_SECOND are made at all: what is left out is counted too, said with the next one, and
 *          its place reported when it stalls again.
 * OWNS     A reference of the task, from when it is read off the worker until the report is made.
 * WHO      The monitor's thread.
 * LOCKS    None. dladdr takes one of the loader's, which a task that is stuck in dlopen holds: the report then
 *          waits for it. So workers are relieved, and stand-ins called, before anything is reported.
 * REJECTED Unwinding a thread that waits in a call which a signal would end: of its registers only two
 *          are to be had (/proc), and most frames need more. It is told where it entered the kernel.
 * TESTS    tests/api/test_report.c
 */
#include "sched/report.h"

#include "base/clock.h"
#include "base/log.h"
#include "fiber/backtrace.h"
#include "sched/syscall.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#define REPORT_SITES     256
#define REPORTS_A_SECOND 10
#define REPORT_SECOND_NS 1000000000u
#define REPORT_TEXT_SIZE 8192

struct report_site {
    uint64_t hash; /* 0: free */
    uint64_t stalls;
    bool told;
};

struct wf_report {
    struct report_site site[REPORT_SITES]; /* by hash, then the next free one */
    uint64_t second;                       /* clock: when the running second began */
    unsigned in_second;                    /* reports in it */
    uint64_t left_out;                     /* since the last report */
    void *frames[WF_BACKTRACE_MAX];
    char text[REPORT_TEXT_SIZE];
};

struct wf_report *wf_report_new(void)
{
    return wf_sys_calloc(1, sizeof(struct wf_report));
}

void wf_report_free(struct wf_report *r)
{
    wf_sys_free(r);
}

/* --- places --- */

static uint64_t report_hash(const char *site)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

    for (; site && *site; site++)
        hash = (hash ^ (unsigned char)*site) * 0x100000001b3u;
    return hash ? hash : 1;
}

/* Where the place is, or belongs; NULL: it is not there, and the table is full. */
static const struct report_site *report_find(const struct wf_report *r, const char *site)
{
    uint64_t hash = report_hash(site);

    for (unsigned i = 0; i < REPORT_SITES; i++) {
        const struct report_site *s = &r->site[(hash + i) % REPORT_SITES];

        if (s->hash == hash || s->hash == 0)
            return s;
    }
    return NULL;
}

/* The same, with a stall counted there. */
static struct report_site *report_count(struct wf_report *r, const char *site)
{
    struct report_site *s = wf_unconst(report_find(r, site));

    if (!s)
        return NULL;
    s->hash = report_hash(site);
    s->stalls++;
    return s;
}

/* Is one more report in this second not too many? */
static bool report_may(struct wf_report *r, uint64_t now)
{
    if (now - r->second >= REPORT_SECOND_NS) {
        r->second = now;
        r->in_second = 0;
    }
    if (r->in_second == REPORTS_A_SECOND)
        return false;
    r->in_second++;
    return true;
}

/* --- the task --- */

/* What the worker is polling, with a reference; NULL: nothing, or it is just ending. */
static struct weft_task *report_task(const struct wf_worker *w)
{
    struct weft_task *t;

    wf_slab_hold();
    /* relaxed: whoever makes another use of the chunk has the lock for that, after the worker has taken the task out
     * here; and the reference brings what stands in the header */
    t = wf_load_ptr(&w->thread.task_to_read, WF_RELAXED);
    if (t && !wf_task_try_retain(t))
        t = NULL;
    wf_slab_let_go();
    if (!t)
        return NULL;
    if (wf_load_ptr(&w->thread.task_to_read, WF_RELAXED) == t)
        return t;
    wf_task_release(t);
    return NULL;
}

/*
 * The same of a worker that was relieved: while its seat says so, its poll goes on. relaxed: where a processor
 * shows the next poll's task first, that one is named, which a report can bear.
 */
static struct weft_task *report_relieved_task(const struct wf_worker *w)
{
    struct weft_task *t = report_task(w);

    if (t && wf_load_u32(&w->seat->taken, WF_RELAXED) == WF_SEAT_RELIEVED)
        return t;
    if (t)
        wf_task_release(t);
    return NULL;
}

bool wf_report_known_site(const struct wf_report *r, const struct wf_worker *w)
{
    struct weft_task *t = report_task(w);
    const struct report_site *s;

    if (!t)
        return false;
    s = report_find(r, t->site);
    wf_task_release(t);
    return s && s->hash != 0;
}

/* --- what is printed --- */

static void report_duration(struct wf_text *t, uint64_t ns)
{
    if (ns < 10000000) {
        wf_text_u64(t, ns / 1000);
        wf_text_str(t, " us");
    } else if (ns / 1000000 < 10000) {
        wf_text_u64(t, ns / 1000000);
        wf_text_str(t, " ms");
    } else {
        wf_text_u64(t, ns / 1000000000);
        wf_text_str(t, " s");
    }
}

static void report_who(struct wf_text *t, const weft_stall *s)
{
    if (s->task_id == 0) {
        wf_text_str(t, "weft: a task");
        return;
    }
    wf_text_str(t, "weft: task ");
    wf_text_u64(t, s->task_id);
    if (*s->task_name) {
        wf_text_str(t, " \"");
        wf_text_str(t, s->task_name);
        wf_text_str(t, "\"");
    }
    wf_text_str(t, " (spawned at ");
    wf_text_str(t, s->site ? s->site : "?");
    wf_text_str(t, ")");
}

static void report_what(struct wf_text *t, const weft_stall *s)
{
    wf_text_str(t, " has kept its thread for ");
    report_duration(t, s->held);
    if (!s->blocked) {
        wf_text_str(t, ", computing");
    } else {
        wf_text_str(t, ", blocked in ");
        if (s->system_call_name) {
            wf_text_str(t, s->system_call_name);
        } else if (s->system_call >= 0) {
            wf_text_str(t, "system call ");
            wf_text_u64(t, (uint64_t)s->system_call);
        } else {
            wf_text_str(t, "the kernel");
        }
    }
    wf_text_str(t, "; others do its work");
    if (s->pinned_waiting) {
        wf_text_str(t, ", but for ");
        wf_text_u64(t, s->pinned_waiting);
        wf_text_str(t,
                    s->pinned_waiting == 1 ? " pinned task that waits" : " pinned tasks that wait");
    }
    wf_text_str(t, "\n");
}

/* "    1: parse+0x31 (/usr/bin/server+0x1a31)": without a name, the offset is for addr2line. */
static void report_frame(struct wf_text *t, unsigned index, const void *pc)
{
    uintptr_t at = (uintptr_t)pc;
    Dl_info info;

    wf_text_str(t, "    ");
    wf_text_u64(t, index);
    wf_text_str(t, ": ");
    /* A return address may be past the end of its function, whose last instruction was the call. */
    if (dladdr((const char *)pc - (index > 0), &info) && info.dli_fname) {
        if (info.dli_sname) {
            wf_text_str(t, info.dli_sname);
            wf_text_str(t, "+");
            wf_text_hex(t, at - (uintptr_t)info.dli_saddr);
            wf_text_str(t, " ");
        }
        wf_text_str(t, "(");
        wf_text_str(t, info.dli_fname);
        wf_text_str(t, "+");
        wf_text_hex(t, at - (uintptr_t)info.dli_fbase);
        wf_text_str(t, ")\n");
    } else {
        wf_text_hex(t, at);
        wf_text_str(t, "\n");
    }
}

static void report_print(struct wf_report *r, const weft_stall *s)
{
    struct wf_text t = {.at = r->text, .end = r->text + sizeof(r->text)};

    if (r->left_out) {
        wf_text_str(&t, "weft: ");
        wf_text_u64(&t, r->left_out);
        wf_text_str(&t, " stalls were not reported: there were too many at a time\n");
        r->left_out = 0;
    }
    report_who(&t, s);
    report_what(&t, s);
    for (unsigned i = 0; i < s->frame_count; i++)
        report_frame(&t, i, s->frames[i]);
    (void)wf_sys_write(STDERR_FILENO, r->text, (size_t)(t.at - r->text));
}

/* --- the report --- */

/*
 * Where the thread is, as far as that can be found out without disturbing it. It is looked at again, right
 * before it is asked: it may have begun to wait, or to wait for something else.
 */
static unsigned report_frames(struct wf_report *r, const struct wf_worker *w)
{
    uint32_t id = wf_load_u32(&w->tid, WF_RELAXED);
    struct wf_sys_call in;
    bool blocked = wf_sys_thread_is_blocked(id, &in);
    unsigned count = 0;

    /* relaxed: set before its poll began */
    if (!wf_load_u32(&w->reports, WF_RELAXED))
        return 0;
    if (!blocked || wf_syscall_restarts(&in))
        count = wf_backtrace_of_thread(id, r->frames, WF_REPORT_WAIT_NS);
    if (count == 0 && in.pc) {
        r->frames[0] = (void *)(uintptr_t)in.pc; /* NOLINT(performance-no-int-to-ptr) */
        count = 1;
    }
    return count;
}

void wf_report_stall(struct wf_report *r, struct wf_worker *w, uint64_t held_ns, bool blocked,
                     const struct wf_sys_call *in)
{
    const weft_config *c = &w->rt->set.config;
    struct weft_task *t = report_relieved_task(w);
    const char *site = t ? t->site : NULL;
    struct report_site *place = report_count(r, site);
    weft_stall s = {.task_id = t ? t->id : 0,
                    .task_name = t ? wf_task_name(t) : "",
                    .site = site,
                    .site_stalls = place ? place->stalls : 0,
                    .held = held_ns,
                    .blocked = blocked,
                    .system_call = blocked ? (int)in->number : -1,
                    .system_call_name = blocked ? wf_syscall_name(in->number) : NULL,
                    .frames = r->frames,
                    .pinned_waiting = wf_pins_len(&w->seat->pins)};
    bool first = !place || !place->told;
    bool tell = first && report_may(r, wf_clock_now());

    if (tell)
        s.frame_count = report_frames(r, w);
    if (tell && place)
        place->told = true;
    if (c->on_stall)
        c->on_stall(c->hook_user, &s);
    else if (tell)
        report_print(r, &s);
    else if (first)
        r->left_out++;
    if (t)
        wf_task_release(t);
}
