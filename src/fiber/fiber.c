/* SPDX-License-Identifier: MIT */
/* fiber.c - the beginning and the end of a fiber, and the bounds of a thread's own stack. */
#include "fiber/fiber.h"

#if WF_ASAN
# include <pthread.h>
# include <sanitizer/asan_interface.h>

static void coro_bounds_of_thread(struct wf_coro *c)
{
    pthread_attr_t attributes;
    void *bottom = NULL;
    size_t size = 0;

    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstack(&attributes, &bottom, &size);
        (void)pthread_attr_destroy(&attributes);
    }
    c->bottom = bottom;
    c->size = size;
}

static void coro_bounds_of_stack(struct wf_coro *c, const struct wf_stack *s)
{
    c->bottom = s->low;
    c->size = s->size;
}

/* The frames above the last sp never returned, so their red zones are still marked. */
static void coro_unpoison(const struct wf_coro *c)
{
    const char *end = c->stack->low + c->stack->size;

    ASAN_UNPOISON_MEMORY_REGION(c->sp, (size_t)(end - (const char *)c->sp));
}
#else
static void coro_bounds_of_thread(struct wf_coro *c)
{
    (void)c;
}

static void coro_bounds_of_stack(struct wf_coro *c, const struct wf_stack *s)
{
    (void)c, (void)s;
}

static void coro_unpoison(const struct wf_coro *c)
{
    (void)c;
}
#endif

#if WF_TSAN
static void coro_context_of_thread(struct wf_coro *c)
{
    c->context = __tsan_get_current_fiber();
}

static void coro_context_create(struct wf_coro *c)
{
    c->context = __tsan_create_fiber(0);
}

static void coro_context_destroy(struct wf_coro *c)
{
    __tsan_destroy_fiber(c->context);
}
#else
static void coro_context_of_thread(struct wf_coro *c)
{
    (void)c;
}

static void coro_context_create(struct wf_coro *c)
{
    (void)c;
}

static void coro_context_destroy(struct wf_coro *c)
{
    (void)c;
}
#endif

void wf_coro_init_thread(struct wf_coro *c)
{
    *c = (struct wf_coro){0};
    coro_bounds_of_thread(c);
    coro_context_of_thread(c);
}

void wf_coro_release_thread(struct wf_coro *c)
{
    wf_assert(!c->stack);
    *c = (struct wf_coro){0};
}

/* The first function on a fiber's stack. At top, where its frames begin, is the address of its
 * descriptor. */
static void coro_start(void *value, void *top)
{
    const struct wf_stack *s = *(struct wf_stack **)top;

    (void)value;
    wf_coro_asan_enter(NULL);
    s->entry(s->arg);
    wf_unreachable("a fiber's entry returned");
}

void wf_coro_init(struct wf_coro *c, struct wf_stack *s, void (*entry)(void *arg), void *arg)
{
    wf_coro_init_at(c, s, wf_stack_top(s), entry, arg);
}

void wf_coro_init_at(struct wf_coro *c, struct wf_stack *s, void *top, void (*entry)(void *arg),
                     void *arg)
{
    *c = (struct wf_coro){.stack = s};
    s->entry = entry;
    s->arg = arg;
    top = (char *)top - 16;
    *(struct wf_stack **)top = s;
    c->sp = wf_switch_prepare(top, coro_start);
    coro_bounds_of_stack(c, s);
    coro_context_create(c);
}

void wf_coro_exit(struct wf_coro *from, struct wf_coro *to, void *value)
{
    wf_debug_assert(from->stack && from != to);
    wf_coro_asan_leave(NULL, to);
    wf_coro_tsan_enter(to);
    wf_switch(&from->sp, to->sp, value);
    wf_unreachable("an ended fiber was continued");
}

void wf_coro_release(struct wf_coro *c)
{
    wf_assert(c->stack);
    coro_unpoison(c);
    coro_context_destroy(c);
    *c = (struct wf_coro){0};
}
