/* SPDX-License-Identifier: MIT */
/*
 * locals.c - one value per key and task: a short list in the task, newest first.
 *
 * OWNS     The list and its values belong to the task; only the running task touches them. A key
 *          is counted by the program and by each value, so freeing a key early is safe.
 */
#include "task/locals.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/current.h"
#include "task/task.h"

#include <errno.h>

struct weft_local_key {
    weft_void_fn *destroy;
    unsigned flags;
    void *(*inherit)(void *value);
    struct wf_atomic_u32 refs;  /* the program's, and one per value */
    struct wf_atomic_u32 freed; /* the program gave it up: values are not destroyed */
};

struct wf_locals {
    struct wf_locals *next;
    weft_local_key *key;
    void *value;
};

static void local_key_release(weft_local_key *key)
{
    /* acq_rel: the last one frees what all others wrote */
    if (wf_sub_u32(&key->refs, 1, WF_ACQ_REL) == 1)
        wf_sys_free(key);
}

int weft_local_key_new(weft_local_key **key, weft_void_fn *destroy, unsigned flags,
                       void *(*inherit)(void *value))
{
    weft_local_key *k;

    if (!key || (flags & ~WEFT_LOCAL_INHERIT))
        return wf_misuse(-EINVAL, "weft_local_key_new: key is NULL or unknown flags");
    if ((flags & WEFT_LOCAL_INHERIT) && destroy && !inherit)
        return wf_misuse(-EINVAL, "weft_local_key_new: values that are shared cannot be destroyed");
    k = wf_sys_calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    *k = (weft_local_key){.destroy = destroy, .flags = flags, .inherit = inherit, .refs = {1}};
    *key = k;
    return 0;
}

void weft_local_key_free(weft_local_key *key)
{
    if (!key)
        return;
    /* relaxed: whoever ends at the same moment may go either way */
    wf_store_u32(&key->freed, 1, WF_RELAXED);
    local_key_release(key);
}

static struct wf_locals *locals_find(const struct weft_task *t, const weft_local_key *key)
{
    struct wf_locals *l = t->extra ? t->extra->locals : NULL;

    while (l && l->key != key)
        l = l->next;
    return l;
}

void *weft_task_local_get(const weft_local_key *key)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_locals *l;

    if (!th || !th->task || !key)
        return NULL;
    l = locals_find(th->task, key);
    return l ? l->value : NULL;
}

static int locals_add(struct weft_task *t, weft_local_key *key, void *value)
{
    struct wf_locals *l;

    if (!wf_task_make_extra(t))
        return -ENOMEM;
    l = wf_sys_malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    /* relaxed: the caller's own reference keeps the key */
    wf_add_u32(&key->refs, 1, WF_RELAXED);
    *l = (struct wf_locals){.next = t->extra->locals, .key = key, .value = value};
    t->extra->locals = l;
    return 0;
}

static int locals_swap(const weft_local_key *key, void *value, void **old, const char *call)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_locals *l;
    int rc = 0;

    if (!key)
        return wf_misuse(-EINVAL, "%s: key is NULL", call);
    if (!th || !th->task)
        return wf_misuse(-EPERM, "%s: called outside a task", call);
    l = locals_find(th->task, key);
    if (!l && value)
        rc = locals_add(th->task, wf_unconst(key), value);
    if (rc < 0)
        return rc;
    *old = l ? l->value : NULL;
    if (l)
        l->value = value;
    return 0;
}

int weft_task_local_set(const weft_local_key *key, void *value)
{
    void *old = NULL;
    int rc = locals_swap(key, value, &old, "weft_task_local_set");

    /* Last: the function may ask for the local, and set it. */
    if (rc == 0 && old && old != value && key->destroy)
        key->destroy(old);
    return rc;
}

int weft_task_local_swap(const weft_local_key *key, void *value, void **old)
{
    if (!old)
        return wf_misuse(-EINVAL, "weft_task_local_swap: old is NULL");
    return locals_swap(key, value, old, "weft_task_local_swap");
}

void wf_locals_free(struct weft_task *t)
{
    struct wf_locals *l;

    while ((l = t->extra->locals)) {
        weft_local_key *key = l->key;
        void *value = l->value;

        t->extra->locals = l->next;
        wf_sys_free(l);
        if (value && key->destroy && !wf_load_u32(&key->freed, WF_RELAXED))
            key->destroy(value);
        local_key_release(key);
    }
}

int wf_locals_inherit(struct weft_task *child, struct weft_task *parent)
{
    struct wf_locals *l = parent->extra ? parent->extra->locals : NULL;

    for (; l; l = l->next) {
        void *value = l->value;
        int rc;

        if (!(l->key->flags & WEFT_LOCAL_INHERIT) || !value)
            continue;
        if (l->key->inherit)
            value = l->key->inherit(value);
        rc = locals_add(child, l->key, value);
        if (rc < 0) {
            if (value && l->key->destroy)
                l->key->destroy(value);
            return rc;
        }
    }
    return 0;
}
