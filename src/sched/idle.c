/* SPDX-License-Identifier: MIT */
/*
 * idle.c - the park protocol: no lost wake-ups, and as few wake-ups as possible.
 *
 * IDEA     One word counts searchers, sleepers and tokens. Sleepers all wait on one set of events, so
 *          a wake-up is for "some sleeper": the notifier adds a token, and whichever sleeper wakes
 *          first, for whatever reason, takes it and becomes a searcher. Waking costs the
 *          caller 12 us on a virtual machine, so nobody is woken while anybody searches.
 * INVARIANTS
 *     P1   tokens <= sleeping. A token is also counted in searching from the moment it is made.
 *     P2   New work is seen: whoever makes work pushes it, passes a full fence and reads the word;
 *          whoever goes to sleep changes the word, passes a full fence and looks at all queues. One
 *          of the two sees the other. Either the notifier finds a searcher, who looks
 *          again before it sleeps, or it wakes a sleeper, or nobody was asleep.
 *     P3   A searcher that finds work, as the last one, notifies in its turn: so waking goes on
 *          as long as there is more work than workers. One that looks again before it sleeps, and sees
 *          work, is still the searcher whom notifiers found, and remains one.
 * ORDER    All changes of the word are seq_cst read-modify-writes. The fences of P2 are wf_idle_notify's
 *          (pairs with wf_idle_sleep_begin) and the read-modify-write in
 *          wf_idle_sleep_begin with the seq_cst fence behind it.
 */
#include "sched/idle.h"

#include "base/assert.h"

#define SEARCHING 1ull
#define SLEEPING  (1ull << 16)
#define TOKEN     (1ull << 32)
#define FIELD     0xffffull

static uint64_t idle_searching(uint64_t word)
{
    return word & FIELD;
}

static uint64_t idle_sleeping(uint64_t word)
{
    return (word / SLEEPING) & FIELD;
}

static uint64_t idle_tokens(uint64_t word)
{
    return (word / TOKEN) & FIELD;
}

void wf_idle_init(struct wf_idle *i, unsigned workers)
{
    *i = (struct wf_idle){.workers = workers};
}

bool wf_idle_search_begin(struct wf_idle *i)
{
    /* relaxed: the limit is a rule of thumb */
    uint64_t word = wf_load_u64(&i->word, WF_RELAXED);

    if (2 * idle_searching(word) >= i->workers)
        return false;
    /* P2.a: a searcher more. seq_cst: with wf_idle_notify */
    wf_add_u64(&i->word, SEARCHING, WF_SEQ_CST);
    return true;
}

bool wf_idle_search_end(struct wf_idle *i)
{
    /* P2.b: a searcher less. seq_cst: P2 */
    uint64_t word = wf_sub_u64(&i->word, SEARCHING, WF_SEQ_CST);

    wf_debug_assert(idle_searching(word) > 0);
    return idle_searching(word) == 1;
}

void wf_idle_sleep_begin(struct wf_idle *i, bool searching)
{
    /* P2.c: say that it sleeps, and P2.d: only then look. seq_cst, and the fence: pairs with
     * wf_idle_notify */
    wf_add_u64(&i->word, searching ? SLEEPING - SEARCHING : SLEEPING, WF_SEQ_CST);
    wf_fence_seq_cst();
}

/* One sleeper less. It takes a token if there is one, and becomes the searcher who was called; else it searches
 * if it is to. Returns whether it searches. */
static bool idle_sleep_leave(struct wf_idle *i, bool search)
{
    /* relaxed: only seeds the exchange */
    uint64_t word = wf_load_u64(&i->word, WF_RELAXED), new;

    do {
        wf_debug_assert(idle_sleeping(word) > 0);
        new = word - SLEEPING;
        if (idle_tokens(word))
            new -= TOKEN;
        else if (search)
            new += SEARCHING;
        /* P2.e: awake, with the token. seq_cst: P2 */
    } while (!wf_cas_weak_u64(&i->word, &word, new, WF_SEQ_CST, WF_RELAXED));
    return search || idle_tokens(word) > 0;
}

bool wf_idle_sleep_end(struct wf_idle *i)
{
    return idle_sleep_leave(i, false);
}

bool wf_idle_sleep_cancel(struct wf_idle *i, bool searching)
{
    return idle_sleep_leave(i, searching);
}

bool wf_idle_notify(struct wf_idle *i)
{
    uint64_t word;

    /* P2.f: pairs with wf_idle_sleep_begin. The caller has pushed before. */
    wf_fence_seq_cst();
    word = wf_load_u64(&i->word, WF_RELAXED);
    do {
        if (idle_searching(word) || idle_sleeping(word) == idle_tokens(word))
            return false;
        /* P2.g: a token. seq_cst: P1, P2 */
    } while (!wf_cas_weak_u64(&i->word, &word, word + TOKEN + SEARCHING, WF_SEQ_CST, WF_RELAXED));
    return true;
}

bool wf_idle_any_asleep(const struct wf_idle *i)
{
    /* relaxed: the caller's fence orders it */
    return idle_sleeping(wf_load_u64(&i->word, WF_RELAXED)) != 0;
}
