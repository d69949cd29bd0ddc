/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - the atomics of src/base/atomic.h in a model build: each is a step of the explorer.
 *
 * IDEA     Every use leaves a constant record of itself, its site, in one section of the program: what
 *          it is, where, on what and with which ordering. So a trace reads like the source, and the
 *          mutation script has a list of all orderings, which it weakens without compiling anything.
 */
#ifndef MODEL_ATOMIC_H
#define MODEL_ATOMIC_H

enum model_op {
    MODEL_LOAD,
    MODEL_STORE,
    MODEL_ADD,
    MODEL_SUB,
    MODEL_OR,
    MODEL_AND,
    MODEL_SWAP,
    MODEL_CAS,
    MODEL_CAS_WEAK,
    MODEL_FENCE
};

struct model_site {
    const char *file;
    const char *what; /* the operand, as written */
    int line;
    uint8_t op;     /* enum model_op */
    uint8_t order;  /* __ATOMIC_... */
    uint8_t failed; /* the ordering of a compare-and-swap that fails */
    uint8_t size;   /* of the operand */
};

uint64_t model_load(const struct model_site *site, const void *at);
void model_store(const struct model_site *site, void *at, uint64_t value);
/* Returns the value from before. */
uint64_t model_rmw(const struct model_site *site, void *at, uint64_t operand);
/* expected: an operand of the site's size. */
bool model_cas(const struct model_site *site, void *at, void *expected, uint64_t value);
void model_fence(const struct model_site *site);
/* A step of a spin loop: goes on when what was read last has changed. */
void model_pause(void);

#define MODEL_SITE(op_, what_, size_, order_, failed_)                                        \
 __extension__({                                                                              \
static const struct model_site model_site_                                                        \
__attribute__((section("model_sites"), used, aligned(8))) = {                                 \
    __FILE__, what_, __LINE__, (uint8_t)(op_), (uint8_t)(order_), (uint8_t)(failed_), size_}; \
&model_site_;                                                                                     \
 })

#define MODEL_RMW_(op, a, v, order) \
 model_rmw(MODEL_SITE(op, #a, sizeof((a)->raw), order, 0), &(a)->raw, (uint64_t)(v))
#define MODEL_CAS_(op, a, old, v, ok, no) \
 model_cas(MODEL_SITE(op, #a, sizeof((a)->raw), ok, no), &(a)->raw, old, (uint64_t)(v))
#define MODEL_LOAD_(a, order) \
 model_load(MODEL_SITE(MODEL_LOAD, #a, sizeof((a)->raw), order, 0), &(a)->raw)
#define MODEL_STORE_(a, v, order)                                     \
 model_store(MODEL_SITE(MODEL_STORE, #a, sizeof((a)->raw), order, 0), \
             (void *)(uintptr_t) & (a)->raw, (uint64_t)(v))

#define wf_load_u32(a, order)              ((uint32_t)MODEL_LOAD_(a, order))
#define wf_store_u32(a, v, order)          MODEL_STORE_(a, (uint32_t)(v), order)
#define wf_add_u32(a, v, order)            ((uint32_t)MODEL_RMW_(MODEL_ADD, a, v, order))
#define wf_sub_u32(a, v, order)            ((uint32_t)MODEL_RMW_(MODEL_SUB, a, v, order))
#define wf_or_u32(a, v, order)             ((uint32_t)MODEL_RMW_(MODEL_OR, a, v, order))
#define wf_and_u32(a, v, order)            ((uint32_t)MODEL_RMW_(MODEL_AND, a, v, order))
#define wf_swap_u32(a, v, order)           ((uint32_t)MODEL_RMW_(MODEL_SWAP, a, v, order))
#define wf_cas_u32(a, old, v, ok, no)      MODEL_CAS_(MODEL_CAS, a, old, v, ok, no)
#define wf_cas_weak_u32(a, old, v, ok, no) MODEL_CAS_(MODEL_CAS_WEAK, a, old, v, ok, no)

#define wf_load_u64(a, order)              MODEL_LOAD_(a, order)
#define wf_store_u64(a, v, order)          MODEL_STORE_(a, v, order)
#define wf_add_u64(a, v, order)            MODEL_RMW_(MODEL_ADD, a, v, order)
#define wf_sub_u64(a, v, order)            MODEL_RMW_(MODEL_SUB, a, v, order)
#define wf_or_u64(a, v, order)             MODEL_RMW_(MODEL_OR, a, v, order)
#define wf_and_u64(a, v, order)            MODEL_RMW_(MODEL_AND, a, v, order)
#define wf_swap_u64(a, v, order)           MODEL_RMW_(MODEL_SWAP, a, v, order)
#define wf_cas_u64(a, old, v, ok, no)      MODEL_CAS_(MODEL_CAS, a, old, v, ok, no)
#define wf_cas_weak_u64(a, old, v, ok, no) MODEL_CAS_(MODEL_CAS_WEAK, a, old, v, ok, no)

#define wf_load_ptr(a, order)     ((void *)(uintptr_t)MODEL_LOAD_(a, order))
#define wf_store_ptr(a, v, order) MODEL_STORE_(a, (uintptr_t)(v), order)
#define wf_swap_ptr(a, v, order) \
 ((void *)(uintptr_t)MODEL_RMW_(MODEL_SWAP, a, (uintptr_t)(v), order))
#define wf_cas_ptr(a, old, v, ok, no) MODEL_CAS_(MODEL_CAS, a, old, (uintptr_t)(v), ok, no)
#define wf_cas_weak_ptr(a, old, v, ok, no) \
 MODEL_CAS_(MODEL_CAS_WEAK, a, old, (uintptr_t)(v), ok, no)

#define wf_fence_seq_cst()  model_fence(MODEL_SITE(MODEL_FENCE, "", 0, __ATOMIC_SEQ_CST, 0))
#define wf_compiler_fence() ((void)0) /* the explorer keeps the order of the program */
#define wf_spin_pause()     model_pause()

/* A counter with one writer, read by anyone. */
static inline void wf_count_u64(struct wf_atomic_u64 *a, uint64_t n)
{
    wf_store_u64(a, wf_load_u64(a, WF_RELAXED) + n, WF_RELAXED);
}

#endif
