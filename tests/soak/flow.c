/* SPDX-License-Identifier: MIT */
/*
 * flow.c - one direction of a connection: bytes that both sides can compute, moved by every call that
 * moves bytes, and looked at one by one.
 *
 * Reads that are cancelled, time out or lose a select leave the bytes where they are: so a flow goes on after them
 * as if nothing had been.
 */
#include "flow.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_MAX 16384

static unsigned char flow_byte(const struct soak_flow *f, uint64_t at)
{
    uint64_t x = f->hello.seed ^ (at >> 3) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)f->way << 63;

    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 32;
    return (unsigned char)(x >> (at & 7) * 8);
}

uint64_t soak_flow_length(const struct soak_hello *h, unsigned way)
{
    uint64_t rand = (h->seed ^ (way + 1)) | 4;

    if (h->flags & SOAK_HELLO_MUTE)
        return 0;
    if (h->flags & SOAK_HELLO_SMALL)
        return soak_roll(&rand, soak_one_in(&rand, 8) ? 8192 : 3000);
    if (soak_one_in(&rand, 64))
        return soak_roll(&rand, (1 << 20) / test_slow());
    return soak_roll(&rand, soak_one_in(&rand, 8) ? 65536 : 3000);
}

bool soak_is_rough(ssize_t rc)
{
    return rc == 0 || rc == -ECONNRESET || rc == -EPIPE || rc == -ESHUTDOWN || soak_is_soft(rc);
}

/* This one call gave up; the flow goes on. */
static bool flow_gave_up(ssize_t rc)
{
    return rc == -EAGAIN || (rc == -ETIMEDOUT && !weft_deadline_passed());
}

static ssize_t flow_read_timed(struct soak_flow *f, unsigned char *buffer, size_t size)
{
    weft_future read = weft_read_future(f->s, buffer, size);
    weft_duration limit = WEFT_US(soak_roll(&f->rand, 300));
    ssize_t rc = -ETIMEDOUT;

    if (soak_one_in(&f->rand, 2))
        return weft_timeout(limit, &read);
    WEFT_DEADLINE(limit)
    {
        rc = weft_read(f->s, buffer, size);
    }
    return rc;
}

static ssize_t flow_read_some(struct soak_flow *f, unsigned char *buffer, size_t size)
{
    struct iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};
    weft_future read = weft_read_future(f->s, buffer, size), turn = weft_yield_future();
    ssize_t rc;

    switch (soak_roll(&f->rand, 6)) {
    case 0:
        if (!soak_stage.plan.quiet)
            return flow_read_timed(f, buffer, size);
        return weft_await(&read);
    case 1:
        rc = weft_select(&turn, &read);
        return rc == 1 ? read.result : rc == 0 ? -EAGAIN : rc;
    case 2:
        return weft_readv(f->s, parts, 2);
    default:
        return weft_read(f->s, buffer, size);
    }
}

int soak_flow_receive(void *arg)
{
    struct soak_flow *f = arg;
    unsigned char buffer[2048];

    while (f->moved < f->until) {
        uint64_t left = f->until - f->moved;
        size_t size = 1 + (size_t)soak_roll(&f->rand, f->slow ? 200 : sizeof(buffer));
        ssize_t n;

        n = flow_read_some(f, buffer, size < left ? size : (size_t)left);
        if (flow_gave_up(n))
            continue;
        if (n <= 0)
            return (int)n;
        CHECK((size_t)n <= size && (uint64_t)n <= left);
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != flow_byte(f, f->moved + (uint64_t)i))
                test_failed(__FILE__, __LINE__, "byte %llu of %llx, way %u, is wrong",
                            (unsigned long long)(f->moved + (uint64_t)i),
                            (unsigned long long)f->hello.seed, f->way);
        f->moved += (uint64_t)n;
        soak_moved();
        if (f->slow && soak_one_in(&f->rand, 8) && weft_yield() < 0)
            return -ECANCELED;
    }
    return 0;
}

static ssize_t flow_write_some(struct soak_flow *f, unsigned char *buffer, size_t size)
{
    struct iovec parts[2] = {{buffer, size / 4}, {buffer + size / 4, size - size / 4}};
    weft_future write = weft_write_future(f->s, buffer, size), turn = weft_yield_future();
    ssize_t rc;

    switch (soak_roll(&f->rand, 6)) {
    case 0:
        rc = weft_select_biased(&write, &turn);
        return rc == 0 ? write.result : rc == 1 ? -EAGAIN : rc;
    case 1:
        if (!soak_stage.plan.quiet)
            return weft_timeout(WEFT_US(soak_roll(&f->rand, 300)), &write);
        return weft_await(&write);
    case 2:
        return weft_writev(f->s, parts, 2);
    case 3:
        return weft_write(f->s, buffer, size);
    default:
        return weft_write_all(f->s, buffer, size);
    }
}

int soak_flow_send(void *arg)
{
    struct soak_flow *f = arg;
    unsigned char *buffer = malloc(CHUNK_MAX);
    int result = 0;

    CHECK(buffer);
    while (f->moved < f->until && result == 0) {
        uint64_t left = f->until - f->moved;
        size_t size = 1 + (size_t)soak_roll(&f->rand, soak_one_in(&f->rand, 4) ? CHUNK_MAX : 2000);
        ssize_t n;

        if (size > left)
            size = (size_t)left;
        for (size_t i = 0; i < size; i++)
            buffer[i] = flow_byte(f, f->moved + i);
        n = flow_write_some(f, buffer, size);
        if (flow_gave_up(n))
            continue;
        CHECK(n != 0 && n <= (ssize_t)size);
        if (n < 0)
            result = (int)n;
        else
            f->moved += (uint64_t)n;
        soak_moved();
    }
    free(buffer);
    return result;
}
