/* SPDX-License-Identifier: MIT */
/* watch_send.c - the watch channel: a new value, and changes by the user's functions. See watch.h. */
#include "base/log.h"
#include "base/sys.h"
#include "sync/owned.h"
#include "sync/watch.h"
#include "task/current.h"

#include <errno.h>
#include <weft/task.h>

/* --- one value after the other ------------------------------------------------- */

/* Under the lock: a cell with its value becomes the current one. */
void wf_watch_publish(struct weft_watch_sender *w, struct wf_cell *c, struct wf_cell **ended)
{
    struct wf_cell *old = wf_watch_current(w);
    /* relaxed: it changes under the lock */
    uint64_t version = wf_load_u64(&w->version, WF_RELAXED) + 1;

    if (wf_fanout_owns(&w->fan))
        /* relaxed: nobody reads it without the lock */
        wf_store_u64(&c->sequence, wf_words_whole(version), WF_RELAXED);
    /* release: pairs with the acquire in watch_read, ORDER (a) */
    wf_store_ptr(&w->current, c, WF_RELEASE);
    /* release: pairs with the acquire in wf_watch_version, ORDER (b) */
    wf_store_u64(&w->version, version, WF_RELEASE);
    if (old)
        wf_cell_put(&w->fan, old, ended);
}

/* Under the lock: the bytes of a value, into a cell that is to be published. */
void wf_watch_fill(struct weft_watch_sender *w, struct wf_cell *c, const void *value)
{
    /* relaxed: it changes under the lock */
    uint64_t version = wf_load_u64(&w->version, WF_RELAXED) + 1;

    if (wf_fanout_owns(&w->fan)) {
        if (w->fan.item_size)
            memcpy(c->word, value, w->fan.item_size);
        return;
    }
    wf_words_begin(&c->sequence, version);
    wf_words_store(c->word, value, w->fan.item_size);
    wf_words_end(&c->sequence, version);
}

/* Under the lock, which is given back: wake who has not seen this version. */
static void watch_tell(struct weft_watch_sender *w)
{
    if (wf_waitq_empty(&w->fan.waiting))
        wf_unlock(&w->fan.lock);
    else
        /* relaxed: it changes under the lock */
        wf_waitq_open(&w->fan.lock, &w->fan.waiting,
                      (uint32_t)wf_load_u64(&w->version, WF_RELAXED));
}

/* --- turns: changes by the user's functions ---------------------------------------- */

static int watch_turn_take(struct weft_watch_sender *w)
{
    uint64_t self = wf_self_now().owner;
    uint32_t old = 0;

    /* relaxed: only this task or thread can have stored it */
    if (wf_load_u64(&w->holder, WF_RELAXED) == self)
        return wf_misuse(-EDEADLK, "weft_watch_send: called by the function that changes the value "
                                   "of the same channel");
    /* acquire: pairs with the release in watch_turn_give; carries scratch */
    if (!wf_cas_u32(&w->turn.word, &old, 1, WF_ACQUIRE, WF_RELAXED))
        wf_lock_wait(&w->turn);
    wf_store_u64(&w->holder, self, WF_RELAXED);
    return 0;
}

static void watch_turn_give(struct weft_watch_sender *w)
{
    wf_store_u64(&w->holder, 0, WF_RELAXED);
    /* release: pairs with the acquires in watch_turn_take and wf_lock_wait */
    wf_store_u32(&w->turn.word, 0, WF_RELEASE);
}

/* A function of the user's, while it is this thread's turn: it finds itself outside a fiber, and cannot await. */
static int watch_call(weft_fn *fn, void *arg)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_fiber *fiber = th ? th->fiber : NULL;
    int rc;

    if (!fiber)
        return fn(arg);
    th->fiber = NULL;
    rc = fn(arg);
    /* The same thread: nothing has been awaited. */
    wf_thread_self()->fiber = fiber;
    return rc;
}

struct copying {
    struct weft_watch_sender *w;
    void *to;
    const struct wf_cell *from;
};

static int copying_call(void *arg)
{
    const struct copying *c = arg;

    return wf_cell_copy(&c->w->fan, c->to, c->from);
}

struct changing {
    void (*always)(void *value, void *arg); /* or */
    bool (*perhaps)(void *value, void *arg);
    void *arg, *value;
};

static int changing_call(void *arg)
{
    const struct changing *c = arg;

    if (c->perhaps)
        return c->perhaps(c->value, c->arg);
    c->always(c->value, c->arg);
    return 1;
}

/* --- sending ------------------------------------------------------------------------- */

/* Take the lock and a cell, when no change is on; *turn: it has taken the turn for that. 0, -ENOMEM, -EDEADLK. */
static int watch_begin(struct weft_watch_sender *w, struct wf_cell **c, bool *turn)
{
    int rc = wf_cell_lock(&w->fan, c);

    *turn = false;
    /* relaxed: whose turn it is from now on will come by the lock before it reads the value, V4 */
    if (rc < 0 || wf_likely(!wf_load_u32(&w->turn.word, WF_RELAXED)))
        return rc;
    wf_cell_unused(&w->fan, *c);
    wf_unlock(&w->fan.lock);
    rc = watch_turn_take(w);
    if (rc < 0)
        return rc;
    rc = wf_cell_lock(&w->fan, c);
    if (rc < 0)
        watch_turn_give(w);
    else
        *turn = true;
    return rc;
}

/* Under the lock, with a cell that has its value: make it the latest, and let go of all. */
static void watch_end(struct weft_watch_sender *w, struct wf_cell *c, bool turn)
{
    struct wf_cell *ended = NULL;

    wf_watch_publish(w, c, &ended);
    if (turn)
        watch_turn_give(w);
    watch_tell(w);
    wf_cells_end(&w->fan, ended);
}

int weft_watch_send(weft_watch_sender *tx, const void *value)
{
    struct wf_cell *c;
    bool turn;
    int rc;

    if (wf_unlikely(!tx || !wf_fanout_is_value(&tx->fan, value)))
        return wf_misuse(-EINVAL, "weft_watch_send: NULL");
    rc = watch_begin(tx, &c, &turn);
    if (rc < 0)
        return rc;
    if (tx->fan.receivers == 0) {
        wf_cell_unused(&tx->fan, c);
        if (turn)
            watch_turn_give(tx);
        wf_unlock(&tx->fan.lock);
        return -EPIPE;
    }
    wf_watch_fill(tx, c, value);
    watch_end(tx, c, turn);
    return 0;
}

int weft_watch_send_replace(weft_watch_sender *tx, const void *value, void *old)
{
    struct wf_cell *c;
    int rc;

    if (!tx || !wf_fanout_is_value(&tx->fan, value))
        return wf_misuse(-EINVAL, "weft_watch_send_replace: NULL");
    rc = watch_turn_take(tx);
    if (rc < 0)
        return rc;
    rc = wf_cell_lock(&tx->fan, &c);
    if (rc < 0)
        goto give_turn;
    if (old) {
        struct copying copying = {.w = tx, .to = old, .from = wf_watch_current(tx)};

        wf_unlock(&tx->fan.lock);
        rc = watch_call(copying_call, &copying);
        wf_lock(&tx->fan.lock);
        if (rc < 0)
            goto unlock;
    }
    wf_watch_fill(tx, c, value);
    watch_end(tx, c, true);
    return 0;

unlock:
    wf_cell_unused(&tx->fan, c);
    wf_unlock(&tx->fan.lock);
give_turn:
    watch_turn_give(tx);
    return rc;
}

/* By turn, with a cell that nobody knows: the value that the user's function changes. Negative: no memory, or what the
 * user's copy function says. */
static int watch_copy_latest(struct weft_watch_sender *w, struct wf_cell *c, void **value)
{
    const struct wf_cell *from = wf_watch_current(w);

    if (wf_fanout_owns(&w->fan)) {
        struct copying copying = {.w = w, .to = c->word, .from = from};

        *value = c->word;
        return watch_call(copying_call, &copying);
    }
    if (!w->scratch)
        w->scratch = wf_sys_malloc(w->fan.item_size + (w->fan.item_size == 0));
    *value = w->scratch;
    return w->scratch ? wf_cell_copy(&w->fan, w->scratch, from) : -ENOMEM;
}

static int watch_change(struct weft_watch_sender *w, struct changing *change)
{
    struct wf_cell *c, *ended = NULL;
    int rc = watch_turn_take(w);

    if (rc < 0)
        return rc;
    rc = wf_cell_lock(&w->fan, &c);
    if (rc < 0) {
        watch_turn_give(w);
        return rc;
    }
    wf_unlock(&w->fan.lock);
    rc = watch_copy_latest(w, c, &change->value);
    if (rc < 0)
        goto forget;
    rc = watch_call(changing_call, change);
    wf_lock(&w->fan.lock);
    if (rc == 1) {
        if (!wf_fanout_owns(&w->fan))
            wf_watch_fill(w, c, w->scratch);
        watch_end(w, c, true);
        return 1;
    }
    wf_cell_put(&w->fan, c, &ended);
    watch_turn_give(w);
    wf_unlock(&w->fan.lock);
    wf_cells_end(&w->fan, ended);
    return 0;

forget:
    wf_lock(&w->fan.lock);
    wf_cell_unused(&w->fan, c);
    watch_turn_give(w);
    wf_unlock(&w->fan.lock);
    return rc;
}

int weft_watch_send_modify(weft_watch_sender *tx, void (*fn)(void *value, void *arg), void *arg)
{
    struct changing change = {.always = fn, .arg = arg};
    int rc;

    if (!tx || !fn)
        return wf_misuse(-EINVAL, "weft_watch_send_modify: NULL");
    rc = watch_change(tx, &change);
    return rc < 0 ? rc : 0;
}

int weft_watch_send_if_modified(weft_watch_sender *tx, bool (*fn)(void *value, void *arg),
                                void *arg)
{
    struct changing change = {.perhaps = fn, .arg = arg};

    if (!tx || !fn)
        return wf_misuse(-EINVAL, "weft_watch_send_if_modified: NULL");
    return watch_change(tx, &change);
}
