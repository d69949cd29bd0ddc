/* SPDX-License-Identifier: MIT */
/* defer.c - weft_defer: a list in the fiber, newest first. */
#include "task/defer.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/fiber_task.h"

#include <errno.h>

struct wf_defer {
    struct wf_defer *next;
    weft_void_fn *fn;
    void *arg;
};

int weft_defer(weft_void_fn *fn, void *arg)
{
    struct wf_fiber *f = wf_fiber_self();
    struct wf_defer *d;

    if (!fn)
        return wf_misuse(-EINVAL, "weft_defer: fn is NULL");
    if (!f)
        return wf_misuse(-EPERM, "weft_defer: called outside a fiber");
    d = wf_sys_malloc(sizeof(*d));
    if (!d)
        return -ENOMEM;
    *d = (struct wf_defer){.next = f->defers, .fn = fn, .arg = arg};
    f->defers = d;
    return 0;
}

void wf_defer_run(struct wf_fiber *f)
{
    struct wf_defer *d;

    while ((d = f->defers)) {
        weft_void_fn *fn = d->fn;
        void *arg = d->arg;

        f->defers = d->next;
        wf_sys_free(d);
        fn(arg);
    }
}
