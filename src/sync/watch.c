/* SPDX-License-Identifier: MIT */
/* watch.c - the watch channel: making it, reading, its ends and what it says of itself. See watch.h. */
#include "sync/watch.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/leave.h"

#include <errno.h>

/* So often a reader tries without the lock. */
#ifndef WF_WATCH_TRIES /* a test build has fewer */
# define WF_WATCH_TRIES 4
#endif

static struct weft_watch_sender *watch_of(struct wf_fanout *f)
{
    return wf_container_of(f, struct weft_watch_sender, fan);
}

static struct weft_watch_receiver *receiver_of(struct wf_list *node)
{
    return wf_container_of(node, struct weft_watch_receiver, link);
}

/* --- making it ------------------------------------------------------------------- */

static void watch_release(struct wf_fanout *f)
{
    struct weft_watch_sender *w = watch_of(f);

    wf_cells_release(f);
    wf_sys_free(w->scratch);
    wf_sys_free(w);
}

static struct weft_watch_receiver *receiver_new(struct weft_watch_sender *w)
{
    struct weft_watch_receiver *rx = wf_sys_calloc(1, sizeof(*rx));

    if (rx) {
        rx->w = w;
        rx->refs = 1;
    }
    return rx;
}

/* It has seen what another one has; NULL: the latest version. */
static void receiver_open(struct weft_watch_receiver *rx, const struct weft_watch_receiver *like)
{
    struct weft_watch_sender *w = rx->w;

    wf_lock(&w->fan.lock);
    wf_watch_mark(rx, like ? wf_watch_seen(like) : wf_watch_version(w));
    wf_list_push_back(&w->receivers, &rx->link);
    wf_fanout_add_receiver(&w->fan);
    wf_unlock(&w->fan.lock);
}

static int watch_alloc(struct weft_watch_sender **out, size_t item_size,
                       const weft_channel_options *options)
{
    struct weft_watch_sender *w = wf_sys_calloc(1, sizeof(*w));
    int rc;

    if (!w)
        return -ENOMEM;
    rc = wf_fanout_init(&w->fan, item_size, options, "weft_watch_new");
    w->fan.release = watch_release;
    wf_list_init(&w->receivers);
    /* One more than there is a value, so that a send finds one. */
    if (rc == 0)
        rc = wf_cells_reserve(&w->fan, 2);
    if (rc < 0) {
        watch_release(&w->fan);
        return rc;
    }
    *out = w;
    return 0;
}

int weft_watch_new_with(weft_watch_sender **tx, weft_watch_receiver **rx, size_t item_size,
                        const void *initial, const weft_channel_options *options)
{
    struct weft_watch_receiver *first = NULL;
    struct weft_watch_sender *w;
    struct wf_cell *c;
    int rc;

    if (!tx || (!initial && item_size))
        return wf_misuse(-EINVAL, "weft_watch_new: tx or the initial value is NULL");
    rc = watch_alloc(&w, item_size, options);
    if (rc < 0)
        return rc;
    if (rx) {
        first = receiver_new(w);
        if (!first) {
            watch_release(&w->fan);
            return -ENOMEM;
        }
    }
    rc = wf_cell_lock(&w->fan, &c);
    wf_assert(rc == 0); /* it was reserved */
    wf_watch_fill(w, c, initial);
    wf_watch_publish(w, c, NULL);
    wf_unlock(&w->fan.lock);
    if (rx) {
        receiver_open(first, NULL);
        *rx = first;
    }
    *tx = w;
    return 0;
}

int weft_watch_new(weft_watch_sender **tx, weft_watch_receiver **rx, size_t item_size,
                   const void *initial)
{
    return weft_watch_new_with(tx, rx, item_size, initial, NULL);
}

int weft_watch_subscribe(weft_watch_sender *tx, weft_watch_receiver **rx)
{
    struct weft_watch_receiver *new;

    if (!tx || !rx)
        return wf_misuse(-EINVAL, "weft_watch_subscribe: NULL");
    new = receiver_new(tx);
    if (!new)
        return -ENOMEM;
    receiver_open(new, NULL);
    *rx = new;
    return 0;
}

int weft_watch_receiver_clone(const weft_watch_receiver *rx, weft_watch_receiver **another)
{
    struct weft_watch_receiver *new;

    if (!rx || !another)
        return wf_misuse(-EINVAL, "weft_watch_receiver_clone: NULL");
    new = receiver_new(rx->w);
    if (!new)
        return -ENOMEM;
    receiver_open(new, rx);
    *another = new;
    return 0;
}

/* --- reading ------------------------------------------------------------------------- */

struct wf_cell *wf_watch_lend(struct weft_watch_sender *w)
{
    struct wf_cell *c;

    wf_lock(&w->fan.lock);
    c = wf_watch_current(w);
    c->users++;
    w->fan.refs++;
    wf_unlock(&w->fan.lock);
    return c;
}

void wf_watch_take_back(struct wf_cell *c)
{
    struct wf_fanout *f = c->home;
    struct wf_cell *ended = NULL;

    wf_lock(&f->lock);
    wf_cell_put(f, c, &ended);
    wf_unlock(&f->lock);
    wf_cells_end(f, ended);
    wf_fanout_put(f);
}

/* Without the lock. The version; 0: somebody came in between each time. */
static uint64_t watch_read(const struct weft_watch_sender *w, void *value)
{
    for (int i = 0; i < WF_WATCH_TRIES; i++) {
        /* acquire: pairs with the release in wf_watch_publish, ORDER (a) */
        const struct wf_cell *c = wf_load_ptr(&w->current, WF_ACQUIRE);
        uint64_t sequence = wf_words_look(&c->sequence), version = wf_words_number(sequence);

        if (version == 0)
            continue;
        wf_words_load(value, c->word, w->fan.item_size);
        /* A value that is whole may be one that is not published yet, in a cell that was used again; later this reader
         * might then find the one before it. relaxed: who has read such a value sees that the cell was given up
         * before, for the words of it were acquired */
        if (wf_words_still(&c->sequence, sequence) && wf_load_ptr(&w->current, WF_RELAXED) == c)
            return version;
    }
    return 0;
}

/* 0, and the version; or what the user's function says. */
static int watch_get(struct weft_watch_sender *w, void *value, uint64_t *version)
{
    struct wf_cell *c;
    int rc;

    if (wf_likely(!wf_fanout_owns(&w->fan))) {
        *version = watch_read(w, value);
        if (wf_likely(*version))
            return 0;
    }
    c = wf_watch_lend(w);
    *version = wf_watch_cell_version(c);
    rc = wf_cell_copy(&w->fan, value, c);
    wf_watch_take_back(c);
    return rc < 0 ? rc : 0;
}

int weft_watch_get(const weft_watch_receiver *rx, void *value)
{
    uint64_t version;

    if (wf_unlikely(!rx || !wf_fanout_is_value(&rx->w->fan, value)))
        return wf_misuse(-EINVAL, "weft_watch_get: NULL");
    return watch_get(rx->w, value, &version);
}

int weft_watch_get_and_update(weft_watch_receiver *rx, void *value)
{
    uint64_t version;
    int rc;

    if (wf_unlikely(!rx || !wf_fanout_is_value(&rx->w->fan, value)))
        return wf_misuse(-EINVAL, "weft_watch_get_and_update: NULL");
    rc = watch_get(rx->w, value, &version);
    if (rc == 0)
        wf_watch_mark(rx, version);
    return rc;
}

int weft_watch_sender_get(weft_watch_sender *tx, void *value)
{
    uint64_t version;

    if (wf_unlikely(!tx || !wf_fanout_is_value(&tx->fan, value)))
        return wf_misuse(-EINVAL, "weft_watch_sender_get: NULL");
    return watch_get(tx, value, &version);
}

const void *weft_watch_borrow_changed(const weft_watch_receiver *rx, bool *changed)
{
    struct wf_cell *c;

    if (!rx)
        return weft_watch_sender_borrow(NULL);
    c = wf_watch_lend(rx->w);
    if (changed)
        *changed = wf_watch_is_news(rx, wf_watch_cell_version(c));
    return c->word;
}

const void *weft_watch_borrow(const weft_watch_receiver *rx)
{
    return weft_watch_borrow_changed(rx, NULL);
}

const void *weft_watch_borrow_and_update_changed(weft_watch_receiver *rx, bool *changed)
{
    struct wf_cell *c;

    if (!rx)
        return weft_watch_sender_borrow(NULL);
    c = wf_watch_lend(rx->w);
    if (changed)
        *changed = wf_watch_is_news(rx, wf_watch_cell_version(c));
    wf_watch_mark(rx, wf_watch_cell_version(c));
    return c->word;
}

const void *weft_watch_borrow_and_update(weft_watch_receiver *rx)
{
    return weft_watch_borrow_and_update_changed(rx, NULL);
}

const void *weft_watch_sender_borrow(weft_watch_sender *tx)
{
    if (!tx) {
        (void)wf_misuse(-EINVAL, "weft_watch_borrow: NULL");
        return NULL;
    }
    return wf_watch_lend(tx)->word;
}

void weft_watch_return(const void *value)
{
    if (value)
        wf_watch_take_back(
            (struct wf_cell *)(void *)((char *)wf_unconst(value) - offsetof(struct wf_cell, word)));
}

/* A fiber while the user's function has a value. */
struct watch_visit {
    struct wf_leave leave; /* first: see leave.h */
    struct wf_cell *c;
};

static void watch_panicked(struct wf_leave *l)
{
    wf_leave_remove(l);
    wf_watch_take_back(wf_container_of(l, struct watch_visit, leave)->c);
}

int weft_watch_with(const weft_watch_receiver *rx, void (*fn)(const void *value, void *arg),
                    void *arg)
{
    struct wf_fiber *f = wf_fiber_self();
    struct watch_visit visit;

    if (!rx || !fn)
        return wf_misuse(-EINVAL, "weft_watch_with: NULL");
    visit.c = wf_watch_lend(rx->w);
    if (f)
        wf_leave_push(f, WF_LEAVE_FIRST, &visit.leave, watch_panicked);
    fn(visit.c->word, arg);
    if (f)
        wf_leave_remove(&visit.leave);
    wf_watch_take_back(visit.c);
    return 0;
}

/* --- the ends ------------------------------------------------------------------------ */

weft_watch_sender *weft_watch_sender_clone(weft_watch_sender *tx)
{
    if (!tx)
        (void)wf_misuse(-EINVAL, "weft_watch_sender_clone: NULL");
    else
        wf_fanout_add_sender(&tx->fan);
    return tx;
}

void weft_watch_sender_close(weft_watch_sender *tx)
{
    if (tx)
        wf_fanout_sender_close(&tx->fan, "weft_watch_sender_close");
}

void wf_watch_receiver_put(struct weft_watch_receiver *rx)
{
    struct weft_watch_sender *w = rx->w;
    bool last;

    wf_lock(&w->fan.lock);
    last = --rx->refs == 0;
    wf_unlock(&w->fan.lock);
    if (!last)
        return;
    wf_sys_free(rx);
    wf_fanout_put(&w->fan);
}

void weft_watch_receiver_close(weft_watch_receiver *rx)
{
    struct weft_watch_sender *w;
    bool waits;

    if (!rx)
        return;
    w = rx->w;
    wf_lock(&w->fan.lock);
    wf_assert(!rx->shut);
    rx->shut = true;
    waits = rx->refs > 1;
    wf_list_remove(&rx->link);
    wf_fanout_sub_receiver(&w->fan);
    if (waits) {
        (void)wf_misuse(0, "weft_watch_receiver_close: somebody waits with it");
        wf_watch_shut(rx);
    }
    wf_watch_receiver_put(rx);
}

int weft_watch_closed(weft_watch_sender *tx)
{
    if (!tx)
        return wf_misuse(-EINVAL, "weft_watch_closed: NULL");
    return wf_fanout_closed(&tx->fan, "weft_watch_closed");
}

int weft_watch_closed_blocking(weft_watch_sender *tx)
{
    if (!tx)
        return wf_misuse(-EINVAL, "weft_watch_closed_blocking: NULL");
    return wf_fanout_closed_blocking(&tx->fan, "weft_watch_closed_blocking");
}

weft_future weft_watch_closed_future(weft_watch_sender *tx)
{
    if (!tx)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_watch_closed_future: NULL"));
    return wf_fanout_closed_future(&tx->fan);
}

/* --- what it says of itself ------------------------------------------------------------ */

bool weft_watch_is_closed(weft_watch_sender *tx)
{
    return weft_watch_receiver_count(tx) == 0;
}

size_t weft_watch_receiver_count(const weft_watch_sender *tx)
{
    return tx ? wf_fanout_read(&tx->fan, &tx->fan.receivers) : 0;
}

size_t weft_watch_sender_count(const weft_watch_sender *tx)
{
    return tx ? wf_fanout_read(&tx->fan, &tx->fan.senders) : 0;
}

bool weft_watch_sender_same_channel(const weft_watch_sender *a, const weft_watch_sender *b)
{
    return a && a == b;
}

bool weft_watch_receiver_same_channel(const weft_watch_receiver *a, const weft_watch_receiver *b)
{
    return a && b && a->w == b->w;
}

static int watch_get_info(struct weft_watch_sender *w, weft_channel_info *info, size_t size)
{
    weft_channel_info all;
    uint64_t version;

    if (!w || !info)
        return wf_misuse(-EINVAL, "weft_watch_..._get_info: NULL");
    wf_lock(&w->fan.lock);
    wf_fanout_fill_info(&w->fan, &all);
    version = wf_watch_version(w);
    WF_LIST_FOREACH(node, &w->receivers) {
        if (wf_watch_is_news(receiver_of(node), version))
            all.depth = 1;
    }
    wf_unlock(&w->fan.lock);
    all.capacity = 1;
    all.sent = version - 1;
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int weft_watch_sender_get_info_sized(weft_watch_sender *tx, weft_channel_info *info, size_t size)
{
    return watch_get_info(tx, info, size);
}

int weft_watch_receiver_get_info_sized(const weft_watch_receiver *rx, weft_channel_info *info,
                                       size_t size)
{
    return watch_get_info(rx ? rx->w : NULL, info, size);
}

int(weft_watch_sender_get_info)(weft_watch_sender *tx, weft_channel_info *info)
{
    return watch_get_info(tx, info, sizeof(*info));
}

int(weft_watch_receiver_get_info)(const weft_watch_receiver *rx, weft_channel_info *info)
{
    return watch_get_info(rx ? rx->w : NULL, info, sizeof(*info));
}
