/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - every atomic access of the library, with its ordering spelled in the call.
 *
 * IDEA     One-field structs, so that a plain access cannot be written by accident and a
 *          model-checking build can replace the lot (WF_MODEL). Sizes: u32, u64, ptr.
 * ORDER    WF_RELAXED, WF_ACQUIRE, WF_RELEASE, WF_ACQ_REL, WF_SEQ_CST. wf_fence_seq_cst is for the
 *          park protocol alone; TSan does not model fences, so under it the fence is a
 *          read-modify-write of one shared word, which orders at least as much.
 */
#ifndef WF_BASE_ATOMIC_H
#define WF_BASE_ATOMIC_H

#include "base/compiler.h"

#define WF_RELAXED __ATOMIC_RELAXED
#define WF_ACQUIRE __ATOMIC_ACQUIRE
#define WF_RELEASE __ATOMIC_RELEASE
#define WF_ACQ_REL __ATOMIC_ACQ_REL
#define WF_SEQ_CST __ATOMIC_SEQ_CST

struct wf_atomic_u32 {
    uint32_t raw;
};

struct wf_atomic_u64 {
    uint64_t raw;
};

struct wf_atomic_ptr {
    void *raw;
};

#ifdef WF_MODEL
# include "model/atomic.h" /* the explorer's versions of all that follows */
#else

# define wf_load_u32(a, order)         __atomic_load_n(&(a)->raw, order)
# define wf_store_u32(a, v, order)     __atomic_store_n(&(a)->raw, v, order)
# define wf_add_u32(a, v, order)       __atomic_fetch_add(&(a)->raw, v, order)
# define wf_sub_u32(a, v, order)       __atomic_fetch_sub(&(a)->raw, v, order)
# define wf_or_u32(a, v, order)        __atomic_fetch_or(&(a)->raw, v, order)
# define wf_and_u32(a, v, order)       __atomic_fetch_and(&(a)->raw, v, order)
# define wf_swap_u32(a, v, order)      __atomic_exchange_n(&(a)->raw, v, order)
# define wf_cas_u32(a, old, v, ok, no) __atomic_compare_exchange_n(&(a)->raw, old, v, false, ok, no)
# define wf_cas_weak_u32(a, old, v, ok, no) \
  __atomic_compare_exchange_n(&(a)->raw, old, v, true, ok, no)

# define wf_load_u64(a, order)         __atomic_load_n(&(a)->raw, order)
# define wf_store_u64(a, v, order)     __atomic_store_n(&(a)->raw, v, order)
# define wf_add_u64(a, v, order)       __atomic_fetch_add(&(a)->raw, v, order)
# define wf_sub_u64(a, v, order)       __atomic_fetch_sub(&(a)->raw, v, order)
# define wf_or_u64(a, v, order)        __atomic_fetch_or(&(a)->raw, v, order)
# define wf_and_u64(a, v, order)       __atomic_fetch_and(&(a)->raw, v, order)
# define wf_swap_u64(a, v, order)      __atomic_exchange_n(&(a)->raw, v, order)
# define wf_cas_u64(a, old, v, ok, no) __atomic_compare_exchange_n(&(a)->raw, old, v, false, ok, no)
# define wf_cas_weak_u64(a, old, v, ok, no) \
  __atomic_compare_exchange_n(&(a)->raw, old, v, true, ok, no)

# define wf_load_ptr(a, order)         __atomic_load_n(&(a)->raw, order)
# define wf_store_ptr(a, v, order)     __atomic_store_n(&(a)->raw, v, order)
# define wf_swap_ptr(a, v, order)      __atomic_exchange_n(&(a)->raw, v, order)
# define wf_cas_ptr(a, old, v, ok, no) __atomic_compare_exchange_n(&(a)->raw, old, v, false, ok, no)
# define wf_cas_weak_ptr(a, old, v, ok, no) \
  __atomic_compare_exchange_n(&(a)->raw, old, v, true, ok, no)

/* A counter with one writer, read by anyone: a plain load, an add and a plain store. */
WF_INLINE void wf_count_u64(struct wf_atomic_u64 *a, uint64_t n)
{
    /* relaxed: a statistic; only its owner writes it */
    wf_store_u64(a, wf_load_u64(a, WF_RELAXED) + n, WF_RELAXED);
}

WF_INLINE void wf_fence_seq_cst(void)
{
# if WF_TSAN
    static struct wf_atomic_u32 dummy;

    (void)wf_add_u32(&dummy, 0, WF_SEQ_CST);
# else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
# endif
}

/* Keeps the compiler, not the processor, from moving memory accesses across. */
WF_INLINE void wf_compiler_fence(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* One step of a spin loop. */
WF_INLINE void wf_spin_pause(void)
{
# if defined(__x86_64__)
    __builtin_ia32_pause();
# elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
# else
    wf_compiler_fence();
# endif
}

#endif /* WF_MODEL */

#endif
