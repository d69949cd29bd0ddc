/* SPDX-License-Identifier: MIT */
/* fault.c - the answers of the seam: a counter for the uses, a counter for the failures. */
#include "fault.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define ALTERNATE_STACK_SIZE 65536 /* of fiber/overflow.c */

enum { MODE_OFF, MODE_PLAN, MODE_CHANCE };

static struct {
    atomic_int mode; /* released after the rest is set */
    struct fault_plan plan;
    unsigned one_in;
    const int *const *errors;
    _Atomic uint64_t uses, fired, random;
    atomic_size_t transfer_max;
    _Atomic int64_t allocations, mapped_bytes, refused_bytes;
} fault;

static void fault_begin(int mode)
{
    atomic_store(&fault.uses, 0);
    atomic_store(&fault.fired, 0);
    atomic_store(&fault.refused_bytes, 0);
    atomic_store(&fault.mode, mode);
}

void fault_arm(const struct fault_plan *plan)
{
    fault.plan = *plan;
    fault_begin(MODE_PLAN);
}

void fault_arm_chance(uint64_t seed, unsigned one_in, const int *const errors[WF_FAULT_KINDS])
{
    fault.one_in = one_in;
    fault.errors = errors;
    atomic_store(&fault.random, seed);
    fault_begin(MODE_CHANCE);
}

uint64_t fault_disarm(void)
{
    atomic_store(&fault.mode, MODE_OFF);
    return fault_fired();
}

uint64_t fault_fired(void)
{
    return atomic_load(&fault.fired);
}

uint64_t fault_uses(void)
{
    return atomic_load(&fault.uses);
}

void fault_limit_transfers(size_t bytes)
{
    atomic_store(&fault.transfer_max, bytes);
}

struct fault_live fault_live(void)
{
    return (struct fault_live){.allocations = atomic_load(&fault.allocations),
                               .mapped_bytes = atomic_load(&fault.mapped_bytes)};
}

int64_t fault_refused_bytes(void)
{
    return atomic_load(&fault.refused_bytes);
}

static int fault_fire(enum wf_fault_kind kind, int rc)
{
    atomic_fetch_add(&fault.fired, 1);
    /* One that is not taken off its thread stays mapped. */
    if (kind == WF_FAULT_SIGALTSTACK)
        atomic_fetch_add(&fault.refused_bytes, ALTERNATE_STACK_SIZE);
    return rc;
}

/* splitmix64 of a counter: each use draws a number of its own, whatever the threads do. */
static uint64_t fault_draw(void)
{
    uint64_t x = atomic_fetch_add(&fault.random, UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static int fault_by_chance(enum wf_fault_kind kind)
{
    const int *errors = fault.errors[kind];
    uint64_t x = fault_draw();
    unsigned count = 0;

    if (!errors || x % fault.one_in != 0)
        return 0;
    while (errors[count])
        count++;
    return fault_fire(kind, errors[(x >> 32) % count]);
}

int wf_fault(enum wf_fault_kind kind)
{
    uint64_t n;

    switch (atomic_load(&fault.mode)) {
    case MODE_CHANCE:
        return fault_by_chance(kind);
    case MODE_PLAN:
        if (kind != fault.plan.kind)
            return 0;
        n = atomic_fetch_add(&fault.uses, 1) + 1;
        if (n < fault.plan.first || n - fault.plan.first >= fault.plan.count)
            return 0;
        return fault_fire(kind, fault.plan.rc);
    default:
        return 0;
    }
}

size_t wf_fault_size(enum wf_fault_kind kind, size_t size)
{
    size_t max = atomic_load(&fault.transfer_max);

    (void)kind;
    return max && size > max ? max : size;
}

const struct iovec *wf_fault_parts(enum wf_fault_kind kind, const struct iovec *parts, int *count,
                                   struct iovec *one)
{
    size_t max = atomic_load(&fault.transfer_max);

    (void)kind;
    if (!max)
        return parts;
    while (*count > 1 && parts->iov_len == 0) {
        parts++;
        (*count)--;
    }
    *one = *parts;
    if (one->iov_len > max)
        one->iov_len = max;
    *count = 1;
    return one;
}

void *wf_fault_allocated(void *p)
{
    if (p)
        atomic_fetch_add(&fault.allocations, 1);
    return p;
}

void *wf_fault_freed(void *p)
{
    if (p)
        atomic_fetch_sub(&fault.allocations, 1);
    return p;
}

void *wf_fault_mapped(void *p, size_t size)
{
    if (p != MAP_FAILED)
        atomic_fetch_add(&fault.mapped_bytes, (int64_t)size);
    return p;
}

int wf_fault_unmapped(int rc, size_t size)
{
    if (rc == 0)
        atomic_fetch_sub(&fault.mapped_bytes, (int64_t)size);
    else
        atomic_fetch_add(&fault.refused_bytes, (int64_t)size);
    return rc;
}
