/* SPDX-License-Identifier: MIT */
/* delays.c - a wheel of nanoseconds with numbered entries. */
#include "sync/delays.h"

#include "base/assert.h"
#include "base/sys.h"

#include <string.h>

#define DELAYS_MASK  ((uint64_t)WF_DELAYS_DIGITS - 1)
#define DELAYS_HEAD  (1u << 31) /* of a link: to the head of a list */
#define DELAYS_SHIFT ((unsigned)__builtin_ctz(WF_DELAYS_FIRST))

_Static_assert(WF_DELAYS_DIGITS == 64, "a word holds the bits of a level");
_Static_assert(WF_DELAYS_BITS *WF_DELAYS_LEVELS >= 64, "the digits cover all moments");
_Static_assert((WF_DELAYS_FIRST & (WF_DELAYS_FIRST - 1)) == 0, "the first chunk is a power of two");
_Static_assert(((uint64_t)WF_DELAYS_FIRST << WF_DELAYS_CHUNKS) <= DELAYS_HEAD, "numbers fit");

/* --- entries ------------------------------------------------------------------------------- */

/* Chunk k begins with entry FIRST * (2^k - 1) and holds FIRST * 2^k. */
static unsigned delays_chunk_of(uint32_t i)
{
    return 31u - (unsigned)__builtin_clz(i + WF_DELAYS_FIRST) - DELAYS_SHIFT;
}

static uint32_t delays_chunk_length(unsigned k)
{
    return (uint32_t)WF_DELAYS_FIRST << k;
}

/* Without d->made, which others may be changing. */
static struct wf_delay *delays_at(const struct wf_delays *d, uint32_t i)
{
    unsigned k = delays_chunk_of(i);
    size_t offset = (size_t)(i + WF_DELAYS_FIRST - delays_chunk_length(k)) * d->stride;

    return (struct wf_delay *)(void *)((char *)d->chunk[k] + offset);
}

struct wf_delay *wf_delays_entry(const struct wf_delays *d, uint32_t i)
{
    wf_debug_assert(i < d->made);
    return delays_at(d, i);
}

void *wf_delays_item(const struct wf_delays *d, uint32_t i)
{
    return (char *)delays_at(d, i) + d->item_offset;
}

size_t wf_delays_chunk_size(const struct wf_delays *d)
{
    size_t length = delays_chunk_length(d->chunks);

    if (d->chunks == WF_DELAYS_CHUNKS || d->stride > (SIZE_MAX - WF_CACHE_LINE) / length)
        return 0;
    return (d->stride * length + WF_CACHE_LINE - 1) & ~(size_t)(WF_CACHE_LINE - 1);
}

void wf_delays_add_chunk(struct wf_delays *d, void *chunk)
{
    d->capacity += delays_chunk_length(d->chunks);
    d->chunk[d->chunks++] = chunk;
}

uint32_t wf_delays_get(struct wf_delays *d)
{
    uint32_t i = d->free;
    struct wf_delay *e;

    if (i != WF_DELAYS_NONE) {
        d->free = wf_delays_entry(d, i)->link.next;
        return i;
    }
    if (d->made == d->capacity)
        return WF_DELAYS_NONE;
    i = d->made++;
    e = wf_delays_entry(d, i);
    e->generation = 1;
    e->slot = WF_DELAY_FREE;
    return i;
}

void wf_delays_put(struct wf_delays *d, uint32_t i)
{
    struct wf_delay *e = wf_delays_entry(d, i);

    wf_debug_assert(!wf_delays_hangs(d, i));
    e->slot = WF_DELAY_FREE;
    e->link.next = d->free;
    d->free = i;
}

uint64_t wf_delays_key(const struct wf_delays *d, uint32_t i)
{
    return (uint64_t)wf_delays_entry(d, i)->generation << 32 | i;
}

bool wf_delays_hangs(const struct wf_delays *d, uint32_t i)
{
    return wf_delays_entry(d, i)->slot < WF_DELAY_TAKEN;
}

uint32_t wf_delays_find(const struct wf_delays *d, uint64_t key)
{
    uint32_t i = (uint32_t)key;

    /* D6 */
    if (i >= d->made || wf_delays_key(d, i) != key || !wf_delays_hangs(d, i))
        return WF_DELAYS_NONE;
    return i;
}

/* --- lists --------------------------------------------------------------------------------- */

static struct wf_delay_link *delays_link(struct wf_delays *d, uint32_t at)
{
    return at & DELAYS_HEAD ? &d->heads[at & ~DELAYS_HEAD].link : &wf_delays_entry(d, at)->link;
}

static void delays_clear_head(struct wf_delays *d, uint32_t head)
{
    d->heads[head].link.next = d->heads[head].link.prev = head | DELAYS_HEAD;
    d->heads[head].first = WEFT_FOREVER;
}

static bool delays_empty(const struct wf_delays *d, uint32_t head)
{
    return d->heads[head].link.next == (head | DELAYS_HEAD);
}

static void delays_push_back(struct wf_delays *d, uint32_t head, uint32_t i, struct wf_delay *e)
{
    struct wf_delay_link *h = &d->heads[head].link;

    e->link.next = head | DELAYS_HEAD;
    e->link.prev = h->prev;
    delays_link(d, h->prev)->next = i;
    h->prev = i;
}

static void delays_move_all(struct wf_delays *d, uint32_t to, uint32_t from)
{
    struct wf_delay_link *t = &d->heads[to].link, *f = &d->heads[from].link;

    wf_debug_assert(delays_empty(d, to) && !delays_empty(d, from));
    *t = *f;
    delays_link(d, t->next)->prev = to | DELAYS_HEAD;
    delays_link(d, t->prev)->next = to | DELAYS_HEAD;
    delays_clear_head(d, from);
}

/* --- slots --------------------------------------------------------------------------------- */

/* The highest digit in which two moments differ; 0 when they are the same. */
static unsigned delays_level_of(uint64_t at, uint64_t now)
{
    return (63u - (unsigned)__builtin_clzll((at ^ now) | 1)) / WF_DELAYS_BITS;
}

/* The earliest slot in use; WF_DELAYS_NEVER when none is, or only that one. */
static unsigned delays_earliest(const struct wf_delays *d)
{
    unsigned level = (unsigned)__builtin_ctz(d->levels | 1u << WF_DELAYS_LEVELS);

    if (level == WF_DELAYS_LEVELS)
        return WF_DELAYS_NEVER;
    return level * WF_DELAYS_DIGITS + (unsigned)__builtin_ctzll(d->used[level]);
}

/* The moment at which a slot in use begins. */
static uint64_t delays_slot_begin(const struct wf_delays *d, unsigned slot)
{
    unsigned shift = slot / WF_DELAYS_DIGITS * WF_DELAYS_BITS;
    uint64_t above = d->now >> shift & ~DELAYS_MASK;

    return (above | (slot & DELAYS_MASK)) << shift;
}

static void delays_slot_unuse(struct wf_delays *d, unsigned slot)
{
    unsigned level = slot / WF_DELAYS_DIGITS;

    delays_clear_head(d, slot);
    d->used[level] &= ~((uint64_t)1 << slot % WF_DELAYS_DIGITS);
    if (!d->used[level])
        d->levels &= ~(1u << level);
}

/* Where an entry belongs that is due then, by D2. */
static unsigned delays_slot_of(const struct wf_delays *d, uint64_t at)
{
    unsigned level = delays_level_of(at, d->now);

    if (wf_unlikely(at == WEFT_FOREVER))
        return WF_DELAYS_NEVER;
    return level * WF_DELAYS_DIGITS + (unsigned)(at >> (level * WF_DELAYS_BITS) & DELAYS_MASK);
}

/* Hang an entry where it belongs, by D1. */
static void delays_hang(struct wf_delays *d, uint32_t i, struct wf_delay *e)
{
    uint64_t at = e->deadline > d->now ? e->deadline : d->now;
    unsigned slot = delays_slot_of(d, at), level = slot / WF_DELAYS_DIGITS;

    e->slot = slot;
    delays_push_back(d, slot, i, e);
    if (at < d->heads[slot].first)
        d->heads[slot].first = at;
    d->used[level] |= (uint64_t)1 << slot % WF_DELAYS_DIGITS;
    d->levels |= 1u << level;
}

/* Also one in the cascade: then its slot is empty and stays so (D2). */
static void delays_unhang(struct wf_delays *d, struct wf_delay *e)
{
    delays_link(d, e->link.prev)->next = e->link.next;
    delays_link(d, e->link.next)->prev = e->link.prev;
    if (delays_empty(d, e->slot))
        delays_slot_unuse(d, e->slot);
}

void wf_delays_set(struct wf_delays *d, uint32_t i, uint64_t deadline)
{
    struct wf_delay *e = wf_delays_entry(d, i);

    wf_debug_assert(e->slot >= WF_DELAY_TAKEN);
    e->deadline = deadline;
    delays_hang(d, i, e);
}

void wf_delays_reset(struct wf_delays *d, uint32_t i, uint64_t deadline)
{
    struct wf_delay *e = wf_delays_entry(d, i);

    if (wf_likely(deadline >= e->deadline)) {
        e->deadline = deadline; /* it is stale where it hangs: D2 */
        return;
    }
    delays_unhang(d, e);
    e->deadline = deadline;
    delays_hang(d, i, e);
}

void wf_delays_take(struct wf_delays *d, uint32_t i)
{
    struct wf_delay *e = wf_delays_entry(d, i);

    delays_unhang(d, e);
    e->slot = WF_DELAY_TAKEN;
    /* D6: never 0, so that a key of zeros is none */
    if (++e->generation == 0)
        e->generation = 1;
}

/* --- time ---------------------------------------------------------------------------------- */

/* The entry at this end of the cascade goes where it belongs. */
static void delays_respread(struct wf_delays *d, uint32_t i)
{
    delays_hang(d, i, wf_delays_entry(d, i));
}

/*
 * Spread up to max entries of the cascade over the levels below; returns how many. Each is a cache miss, and the next
 * one's number is in it: from both ends, two are under way at a time.
 */
static unsigned delays_spread(struct wf_delays *d, unsigned max)
{
    struct wf_delay_link *cascade = &d->heads[WF_DELAYS_CASCADE].link;
    uint32_t front = cascade->next, back = cascade->prev;
    unsigned n = 0;

    while (front != back && n < max) {
        uint32_t next = delays_link(d, front)->next, prev = delays_link(d, back)->prev;

        __builtin_prefetch(delays_link(d, next));
        __builtin_prefetch(delays_link(d, prev));
        delays_respread(d, front);
        delays_respread(d, back);
        n += 2;
        if (next == back) { /* there were two */
            delays_clear_head(d, WF_DELAYS_CASCADE);
            return n;
        }
        front = next;
        back = prev;
    }
    if (front == back && n < max) {
        delays_respread(d, front);
        delays_clear_head(d, WF_DELAYS_CASCADE);
        return n + 1;
    }
    /* What is left is a list again. */
    cascade->next = front;
    cascade->prev = back;
    delays_link(d, front)->prev = delays_link(d, back)->next = WF_DELAYS_CASCADE | DELAYS_HEAD;
    return n;
}

/*
 * Look at entries of a slot, at most max: those that are stale are hung where they belong, and *best is the earliest of
 * the others; WF_DELAYS_NONE: there is none. Returns how many it has looked at, max + 1: there are more.
 */
static unsigned delays_look(struct wf_delays *d, unsigned slot, unsigned max, uint32_t *best)
{
    uint32_t at = d->heads[slot].link.next, next;
    uint64_t first = WEFT_FOREVER;
    unsigned n = 0;

    *best = WF_DELAYS_NONE;
    for (; !(at & DELAYS_HEAD); at = next, n++) {
        struct wf_delay *e = wf_delays_entry(d, at);

        if (n == max)
            return max + 1;
        next = e->link.next;
        if (e->deadline > d->now && delays_slot_of(d, e->deadline) != slot) {
            delays_unhang(d, e);
            delays_hang(d, at, e);
        } else if (*best == WF_DELAYS_NONE || e->deadline < first) {
            first = e->deadline;
            *best = at;
        }
    }
    /* D4: and now it is known. An overdue one is due at now. */
    if (*best != WF_DELAYS_NONE)
        d->heads[slot].first = first > d->now ? first : d->now;
    return n;
}

/* Nothing is due at now. What is set later hangs lower then. D2: no slot may lie between. */
static void delays_advance(struct wf_delays *d, unsigned slot, uint64_t now)
{
    if (now > d->now && now != WEFT_FOREVER &&
        (slot == WF_DELAYS_NEVER || delays_slot_begin(d, slot) > now))
        d->now = now;
}

enum wf_delays_found wf_delays_due(struct wf_delays *d, uint64_t now, uint32_t *i)
{
    unsigned moved = 0;

    do {
        unsigned slot = delays_earliest(d), looked;

        if (wf_unlikely(!delays_empty(d, WF_DELAYS_CASCADE))) {
            moved += delays_spread(d, WF_DELAYS_SPREAD - moved);
            continue;
        }
        if (slot == WF_DELAYS_NEVER || d->heads[slot].first > now) {
            delays_advance(d, slot, now);
            return WF_DELAYS_LATER;
        }
        looked = delays_look(d, slot, WF_DELAYS_FEW, i);
        moved += looked;
        if (looked <= WF_DELAYS_FEW || slot < WF_DELAYS_DIGITS) {
            /* All of them; or some of one moment, and it has come. */
            if (*i != WF_DELAYS_NONE && d->heads[slot].first <= now)
                return WF_DELAYS_DUE;
            continue;
        }
        d->now = delays_slot_begin(d, slot); /* D5: first is not before it, and has come */
        delays_move_all(d, WF_DELAYS_CASCADE, slot);
        delays_slot_unuse(d, slot);
    } while (moved < WF_DELAYS_SPREAD);
    return WF_DELAYS_MORE;
}

uint64_t wf_delays_next(const struct wf_delays *d)
{
    if (wf_unlikely(!delays_empty(d, WF_DELAYS_CASCADE)))
        return d->now;
    return d->heads[delays_earliest(d)].first;
}

enum wf_delays_found wf_delays_peek(struct wf_delays *d, uint32_t *i)
{
    unsigned slot;

    if (wf_unlikely(!delays_empty(d, WF_DELAYS_CASCADE))) {
        (void)delays_spread(d, WF_DELAYS_SPREAD);
        return WF_DELAYS_MORE;
    }
    slot = delays_earliest(d);
    if (delays_empty(d, slot))
        return WF_DELAYS_LATER;
    /* Whatever is not stale here is before all that hangs elsewhere. */
    (void)delays_look(d, slot, UINT32_MAX - 1, i);
    return *i != WF_DELAYS_NONE ? WF_DELAYS_DUE : WF_DELAYS_MORE;
}

/* --- all of it ----------------------------------------------------------------------------- */

void wf_delays_init(struct wf_delays *d, uint32_t item_size)
{
    /* What a type's size is a multiple of is the most that it can ask for. */
    uint32_t align = item_size % 16 == 0 && item_size ? 16 : 8;

    memset(d, 0, sizeof(*d));
    d->item_offset = ((uint32_t)sizeof(struct wf_delay) + align - 1) & ~(align - 1);
    d->stride = (d->item_offset + item_size + align - 1) & ~(align - 1);
    d->free = WF_DELAYS_NONE;
    for (uint32_t head = 0; head < WF_DELAYS_HEADS; head++)
        delays_clear_head(d, head);
}

void wf_delays_release(struct wf_delays *d)
{
    for (unsigned k = 0; k < d->chunks; k++)
        wf_sys_free(d->chunk[k]);
    d->chunks = 0;
    d->capacity = d->made = 0;
    d->free = WF_DELAYS_NONE;
}

/* Check one list; returns how many entries hang in it. */
static uint32_t delays_check_list(const struct wf_delays *d, uint32_t head)
{
    uint32_t prev = head | DELAYS_HEAD, at = d->heads[head].link.next, count = 0;

    for (; !(at & DELAYS_HEAD); prev = at, at = wf_delays_entry(d, at)->link.next) {
        const struct wf_delay *e = wf_delays_entry(d, at);
        uint64_t due = e->deadline > d->now ? e->deadline : d->now;

        wf_assert(e->link.prev == prev);
        wf_assert(e->slot < WF_DELAY_TAKEN && e->generation != 0);
        if (head < WF_DELAYS_NEVER) {
            uint64_t begin = delays_slot_begin(d, head);

            wf_assert(e->slot == head);
            wf_assert(begin >= d->now);                                              /* D2 */
            wf_assert(due >= begin);                                                 /* D2 */
            wf_assert(d->heads[head].first <= due && d->heads[head].first >= begin); /* D4 */
        }
        count++;
    }
    wf_assert(at == (head | DELAYS_HEAD) && d->heads[head].link.prev == prev);
    return count;
}

uint32_t wf_delays_check(const struct wf_delays *d)
{
    uint32_t count = 0, hang = 0;

    for (uint32_t head = 0; head < WF_DELAYS_HEADS; head++) {
        uint32_t here = delays_check_list(d, head);

        if (head <= WF_DELAYS_NEVER)
            wf_assert(!!here == (d->used[head / WF_DELAYS_DIGITS] >> head % WF_DELAYS_DIGITS & 1));
        count += here;
    }
    for (unsigned level = 0; level <= WF_DELAYS_LEVELS; level++)
        wf_assert(!!d->used[level] == (d->levels >> level & 1)); /* D3 */
    for (uint32_t i = 0; i < d->made; i++)
        hang += wf_delays_hangs(d, i);
    wf_assert(count == hang);
    return count;
}
