/* SPDX-License-Identifier: MIT */
/*
 * config.c - from a weft_config and the environment to settled values: an explicit field beats the
 * environment, which beats the default. A bad value is refused with a message, never mended.
 */
#include "base/log.h"
#include "base/sys.h"
#include "sched/runtime.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORKERS_MAX   1024
#define STACK_MIN     ((size_t)16 << 10)
#define STACK_MAX     ((size_t)1 << 30)
#define STACK_DEFAULT ((size_t)256 << 10)

#define STANDINS_DEFAULT 256
#define STANDINS_MAX     16384 /* what the idle word and the seats can count */

struct env_word {
    const char *word;
    uint64_t value;
};

/* A number, with K or M behind it for bytes. False: not one. */
static bool env_parse_number(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long n;

    if (*text < '0' || *text > '9')
        return false;
    n = strtoull(text, &end, 10);
    if ((*end == 'K' || *end == 'k') && n <= UINT64_MAX >> 10) {
        n <<= 10;
        end++;
    } else if ((*end == 'M' || *end == 'm') && n <= UINT64_MAX >> 20) {
        n <<= 20;
        end++;
    }
    *out = n;
    return *end == '\0' && n != ULLONG_MAX;
}

static const struct env_word env_flavors[] = {{"multi_thread", WEFT_MULTI_THREAD},
                                              {"multi-thread", WEFT_MULTI_THREAD},
                                              {"current_thread", WEFT_CURRENT_THREAD},
                                              {"current-thread", WEFT_CURRENT_THREAD},
                                              {NULL, 0}};
static const struct env_word env_switches[] = {{"on", WEFT_ON},
                                               {"1", WEFT_ON},
                                               {"off", WEFT_OFF},
                                               {"0", WEFT_OFF},
                                               {NULL, 0}};
static const struct env_word env_backends[] = {{"auto", WEFT_IO_AUTO},
                                               {"epoll", WEFT_IO_EPOLL},
                                               {"uring", WEFT_IO_URING},
                                               {NULL, 0}};

/* What numbers may be. Zero is the default in a field, and out of range in a variable. */
#define RANGE_WORKERS "1 to 1024"
#define RANGE_STACK   "16384 to 1073741824 bytes"
#define RANGE_U31     "1 to 2147483647"
#define RANGE_U32     "1 to 4294967295"

/* One knob: where it is in the config, its variable, how it is read. */
struct knob {
    const char *env;
    size_t offset, size;
    const struct env_word *words;
    uint64_t scale;
    const char *range; /* of a number that may not be zero; NULL: it may */
};

#define KNOB(field, ...)                                                                         \
 {                                                                                               \
  .offset = offsetof(weft_config, field), .size = sizeof(((weft_config *)0)->field), __VA_ARGS__ \
 }

static const struct knob knobs[] = {
    KNOB(flavor, .env = "WEFT_FLAVOR", .words = env_flavors, .scale = 1),
    KNOB(worker_threads, .env = "WEFT_WORKERS", .scale = 1, .range = RANGE_WORKERS),
    KNOB(max_blocking_threads, .env = "WEFT_MAX_BLOCKING", .scale = 1, .range = RANGE_U32),
    KNOB(stack_size, .env = "WEFT_STACK_SIZE", .scale = 1, .range = RANGE_STACK),
    KNOB(event_interval, .env = "WEFT_EVENT_INTERVAL", .scale = 1, .range = RANGE_U31),
    KNOB(global_queue_interval, .env = "WEFT_GLOBAL_QUEUE_INTERVAL", .scale = 1,
         .range = RANGE_U32),
    KNOB(io_backend, .env = "WEFT_IO", .words = env_backends, .scale = 1),
    KNOB(lifo_slot, .env = "WEFT_LIFO", .words = env_switches, .scale = 1),
    KNOB(spin, .env = "WEFT_SPIN", .scale = 1000),
    KNOB(monitor, .env = "WEFT_MONITOR", .words = env_switches, .scale = 1),
    KNOB(max_blocking_queue, .env = "WEFT_BLOCKING_QUEUE", .scale = 1),
    KNOB(max_standins, .env = "WEFT_MAX_STANDINS", .scale = 1, .range = RANGE_U32),
    KNOB(stall_blocked, .env = "WEFT_STALL_BLOCKED", .scale = 1000),
    KNOB(stall_computing, .env = "WEFT_STALL_COMPUTING", .scale = 1000),
    KNOB(lock_held_limit, .env = "WEFT_LOCK_HELD_LIMIT", .scale = 1000),
    KNOB(signal_reports, .env = "WEFT_SIGNAL_REPORTS", .words = env_switches, .scale = 1),
    KNOB(rng_seed, .env = "WEFT_SEED", .scale = 1),
};

static uint64_t knob_get(const weft_config *c, const struct knob *k)
{
    uint32_t small;
    uint64_t value;

    if (k->size == sizeof(small)) {
        memcpy(&small, (const char *)c + k->offset, sizeof(small));
        return small;
    }
    memcpy(&value, (const char *)c + k->offset, sizeof(value));
    return value;
}

/* May its variable say this number? */
static bool knob_takes(const struct knob *k, uint64_t value)
{
    if (value == 0)
        return !k->range;
    return k->size > sizeof(uint32_t) || value <= UINT32_MAX;
}

static void knob_set(weft_config *c, const struct knob *k, uint64_t value)
{
    uint32_t small = (uint32_t)value;

    if (k->size == sizeof(small))
        memcpy((char *)c + k->offset, &small, sizeof(small));
    else
        memcpy((char *)c + k->offset, &value, sizeof(value));
}

/* The value of a knob's variable, by its words or as a number. 1 found, 0 not set, -EINVAL. */
static int env_get(const struct knob *k, uint64_t *out)
{
    const char *text = getenv(k->env); /* NOLINT(concurrency-mt-unsafe) */

    if (!text || !*text)
        return 0;
    for (const struct env_word *w = k->words; w && w->word; w++) {
        if (strcasecmp(text, w->word) == 0) {
            *out = w->value;
            return 1;
        }
    }
    if (!k->words && env_parse_number(text, out) && knob_takes(k, *out))
        return 1;
    if (k->range)
        wf_log("%s=%s is not a valid value; it must be %s", k->env, text, k->range);
    else
        wf_log("%s=%s is not a valid value", k->env, text);
    return -EINVAL;
}

static int config_apply_env(weft_config *c)
{
    bool one_thread = c->flavor == WEFT_CURRENT_THREAD;

    for (size_t i = 0; i < wf_array_count(knobs); i++) {
        uint64_t value;
        int rc;

        if (knob_get(c, &knobs[i]))
            continue;
        rc = env_get(&knobs[i], &value);
        if (rc < 0)
            return rc;
        if (rc > 0)
            knob_set(c, &knobs[i], WEFT_SATURATE_(value, knobs[i].scale));
    }
    /* The variable is for all runtimes of the process; one that the program wants on a single
     * thread has no use for it. */
    if (one_thread)
        c->worker_threads = 1;
    return 0;
}

static int config_refuse(const char *field, uint64_t value, const char *want)
{
    wf_log("weft_config.%s is %llu; it must be %s", field, (unsigned long long)value, want);
    return -EINVAL;
}

static int config_check_switch(const char *field, weft_switch value)
{
    if ((unsigned)value <= WEFT_OFF)
        return 0;
    return config_refuse(field, (uint64_t)value, "WEFT_DEFAULT, WEFT_ON or WEFT_OFF");
}

static int config_check(const weft_config *c)
{
    const char *const names[] = {"lifo_slot", "monitor", "signal_reports", "ignore_env",
                                 "start_paused"};
    const weft_switch values[] = {c->lifo_slot, c->monitor, c->signal_reports, c->ignore_env,
                                  c->start_paused};

    if ((unsigned)c->flavor > WEFT_CURRENT_THREAD)
        return config_refuse("flavor", (uint64_t)c->flavor,
                             "WEFT_MULTI_THREAD or WEFT_CURRENT_THREAD");
    if (c->worker_threads > WORKERS_MAX)
        return config_refuse("worker_threads", c->worker_threads, RANGE_WORKERS);
    if (c->flavor == WEFT_CURRENT_THREAD && c->worker_threads > 1)
        return config_refuse("worker_threads", c->worker_threads,
                             "0 or 1 with WEFT_CURRENT_THREAD");
    if (c->stack_size && (c->stack_size < STACK_MIN || c->stack_size > STACK_MAX))
        return config_refuse("stack_size", c->stack_size, RANGE_STACK);
    if (c->event_interval > INT32_MAX)
        return config_refuse("event_interval", c->event_interval, "at most 2147483647");
    if ((unsigned)c->io_backend > WEFT_IO_URING)
        return config_refuse("io_backend", (uint64_t)c->io_backend, "one of WEFT_IO_...");
    if (c->spin > WEFT_SECS(1))
        return config_refuse("spin", c->spin, "at most one second");
    if (c->max_standins > STANDINS_MAX)
        return config_refuse("max_standins", c->max_standins, "at most 16384");
    if (c->thread_name && strlen(c->thread_name) > 15)
        return config_refuse("thread_name", strlen(c->thread_name), "at most 15 bytes");
    for (size_t i = 0; i < wf_array_count(names); i++)
        if (config_check_switch(names[i], values[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < wf_array_count(c->spare_); i++)
        if (c->spare_[i])
            return config_refuse("spare_", c->spare_[i], "zero: this library is older");
    if (c->io_backend == WEFT_IO_URING) {
        wf_log("weft_config.io_backend: this version has no io_uring back end; use WEFT_IO_AUTO");
        return -ENOTSUP;
    }
    return 0;
}

static void config_fill(weft_config *c)
{
    if (c->flavor == WEFT_CURRENT_THREAD)
        c->worker_threads = 1;
    if (!c->worker_threads)
        c->worker_threads = wf_sys_cpu_count();
    if (!c->max_blocking_threads)
        c->max_blocking_threads = 512;
    if (!c->thread_keep_alive)
        c->thread_keep_alive = WEFT_SECS(10);
    if (!c->stack_size)
        c->stack_size = STACK_DEFAULT;
    if (!c->event_interval)
        c->event_interval = 61;
    if (!c->rng_seed && wf_sys_random(&c->rng_seed, sizeof(c->rng_seed)) < 0)
        c->rng_seed = (uint64_t)(uintptr_t)c;
    if (!c->max_standins)
        c->max_standins = STANDINS_DEFAULT;
    if (!c->stall_blocked)
        c->stall_blocked = WEFT_US(500);
    if (!c->stall_computing)
        c->stall_computing = WEFT_MS(5);
    if (!c->lock_held_limit)
        c->lock_held_limit = WF_DEBUG ? WEFT_SECS(1) : WEFT_FOREVER;
}

int wf_config_resolve(struct wf_settings *out, const weft_config *config, size_t size,
                      bool from_weft_run)
{
    weft_config *c = &out->config;
    int rc;

    memset(out, 0, sizeof(*out));
    if (config && size > sizeof(*c)) {
        /* A caller from the future: fine as long as it uses nothing that we do not know. */
        const char *beyond = (const char *)config + sizeof(*c);

        for (size_t i = 0; i < size - sizeof(*c); i++)
            if (beyond[i])
                return config_refuse("(unknown field)", size, "zero: this library is older");
        size = sizeof(*c);
    }
    if (config)
        memcpy(c, config, size);
    rc = config_check(c);
    if (rc == 0 && c->ignore_env != WEFT_ON) {
        rc = config_apply_env(c);
        if (rc == 0)
            rc = config_check(c);
    }
    /* The flavour is known now. */
    if (rc == 0 && c->start_paused == WEFT_ON && c->flavor != WEFT_CURRENT_THREAD)
        rc = config_refuse("start_paused", WEFT_ON, "off, but with WEFT_CURRENT_THREAD");
    if (rc < 0)
        return rc;
    config_fill(c);
    out->lifo = c->lifo_slot != WEFT_OFF;
    out->monitor = c->monitor != WEFT_OFF && c->flavor == WEFT_MULTI_THREAD;
    out->signal_reports = c->signal_reports == WEFT_DEFAULT ? from_weft_run
                                                            : c->signal_reports == WEFT_ON;
    strncpy(out->thread_name, c->thread_name ? c->thread_name : "weft-worker",
            sizeof(out->thread_name) - 1);
    c->thread_name = out->thread_name;
    return 0;
}
