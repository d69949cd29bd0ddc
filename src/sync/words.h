/* SPDX-License-Identifier: MIT */
/*
 * words.h - a value in shared memory that is read while it may be overwritten.
 *
 * IDEA     A sequence lock. The value lies in words behind a sequence number, which is odd while the words are
 *          written. A reader copies the words and looks at the number before and after: the same even one, and
 *          what it has is one value, whole. It writes nothing that others read, so any number of
 *          readers are in nobody's way.
 * WHO      One writer at a time, under the object's lock. Readers: anybody, without it.
 * ORDER (a) The end of a write releases the number, and the reader's first look acquires it: all words of that
 *          value, at least, are seen.
 *       (b) Each word is released by the writer and acquired by the reader. Who has read a word of the next value
 *          sees the odd number before it, or a later one, in its second look. So neither side needs
 *          a fence, which ThreadSanitizer would not understand.
 * REJECTED memcpy between the two looks, as it is often written: a data race, and compilers may act on it.
 * TESTS    tests/model/test_broadcast.c, tests/model/test_watch.c
 */
#ifndef WF_SYNC_WORDS_H
#define WF_SYNC_WORDS_H

#include "base/atomic.h"

#include <string.h>

/* What lies here is read as the user's type as well, where it is lent. */
typedef uint64_t __attribute__((may_alias)) wf_raw_word;

struct wf_word {
    wf_raw_word raw;
};

WF_INLINE size_t wf_words_of(size_t size)
{
    return size / sizeof(uint64_t) + (size % sizeof(uint64_t) != 0);
}

/* The sequence number while value number n is there, whole. */
WF_INLINE uint64_t wf_words_whole(uint64_t n)
{
    return 2 * n;
}

/* And of which value it is the sequence number, whole. 0: of none, it is being written. */
WF_INLINE uint64_t wf_words_number(uint64_t sequence)
{
    return sequence % 2 ? 0 : sequence / 2;
}

/* Begin and end to write value number n, from 1 on. */
WF_INLINE void wf_words_begin(struct wf_atomic_u64 *sequence, uint64_t n)
{
    /* relaxed: ORDER (b), it comes before each of the words */
    wf_store_u64(sequence, wf_words_whole(n) - 1, WF_RELAXED);
}

WF_INLINE void wf_words_end(struct wf_atomic_u64 *sequence, uint64_t n)
{
    /* release: pairs with the acquire in wf_words_look, ORDER (a) */
    wf_store_u64(sequence, wf_words_whole(n), WF_RELEASE);
}

/* What is left of a value that does not fill its last word. */
WF_NOINLINE void wf_words_store_rest(struct wf_word *to, const void *from, size_t size);
WF_NOINLINE void wf_words_load_rest(void *to, const struct wf_word *from, size_t size);

WF_INLINE void wf_words_store(struct wf_word *to, const void *from, size_t size)
{
    const char *bytes = from;
    size_t whole = size / sizeof(uint64_t);
    uint64_t word;

    for (size_t i = 0; i < whole; i++) {
        memcpy(&word, bytes + i * sizeof(word), sizeof(word));
        /* release: pairs with the acquires in wf_words_load, ORDER (b) */
        wf_store_u64(&to[i], word, WF_RELEASE);
    }
    if (size % sizeof(word))
        wf_words_store_rest(&to[whole], bytes + whole * sizeof(word), size % sizeof(word));
}

/* The sequence number before the words are read. An odd one: they are being written. */
WF_INLINE uint64_t wf_words_look(const struct wf_atomic_u64 *sequence)
{
    /* acquire: pairs with the release in wf_words_end, ORDER (a) */
    return wf_load_u64(sequence, WF_ACQUIRE);
}

/* And after: is it still that one? */
WF_INLINE bool wf_words_still(const struct wf_atomic_u64 *sequence, uint64_t seen)
{
    /* relaxed: ORDER (b), the words were acquired */
    return wf_load_u64(sequence, WF_RELAXED) == seen;
}

WF_INLINE void wf_words_load(void *to, const struct wf_word *from, size_t size)
{
    char *bytes = to;
    size_t whole = size / sizeof(uint64_t);
    uint64_t word;

    for (size_t i = 0; i < whole; i++) {
        /* acquire: pairs with the releases in wf_words_store, ORDER (b) */
        word = wf_load_u64(&from[i], WF_ACQUIRE);
        memcpy(bytes + i * sizeof(word), &word, sizeof(word));
    }
    if (size % sizeof(word))
        wf_words_load_rest(bytes + whole * sizeof(word), &from[whole], size % sizeof(word));
}

#endif
