/* SPDX-License-Identifier: MIT */
/*
 * cancel_scope.c - a block of code that cancels a token when it is left.
 *
 * IDEA     The compiler's cleanup leaves the block. A panic does not come by there: the fiber is led out then, by
 *          the record of leave.h.
 * OWNS     A handle of the token, until it is left or disarmed.
 * WHO      Whoever entered it, on the same fiber.
 * TESTS    tests/api/test_cancel_token.c, test_cxx.cpp
 */
#include "base/log.h"
#include "task/leave.h"

#include <errno.h>
#include <weft/cancel.h>

/* A weft_cancel_scope, from inside. */
struct scope {
    weft_cancel_token *token; /* a handle; NULL: left, or disarmed */
    struct wf_leave leave;    /* inside only if it was entered on a fiber */
};

_Static_assert(sizeof(struct scope) <= sizeof(weft_cancel_scope), "weft_cancel_scope is too small");

static struct scope *scope_of(weft_cancel_scope *scope)
{
    return (struct scope *)(void *)scope->words_;
}

static void scope_end(struct scope *s, bool cancel)
{
    weft_cancel_token *t = s->token;

    if (!t)
        return;
    s->token = NULL;
    if (wf_leave_inside(&s->leave))
        wf_leave_remove(&s->leave);
    if (cancel)
        weft_cancel_token_cancel(t);
    weft_cancel_token_free(t);
}

static void scope_panicked(struct wf_leave *l)
{
    scope_end(wf_container_of(l, struct scope, leave), true);
}

weft_cancel_scope *weft_cancel_scope_enter(weft_cancel_scope *scope, weft_cancel_token *t)
{
    struct wf_fiber *f = wf_fiber_self();
    struct scope *s;

    if (!scope) {
        (void)wf_misuse(-EINVAL, "weft_cancel_scope_enter: scope is NULL");
        return NULL;
    }
    if (!t)
        (void)wf_misuse(-EINVAL, "weft_cancel_scope_enter: the token is NULL");
    s = scope_of(scope);
    *s = (struct scope){.token = weft_cancel_token_clone(t)};
    if (t && f)
        wf_leave_push(f, WF_LEAVE_FIRST, &s->leave, scope_panicked);
    return scope;
}

void weft_cancel_scope_leave(weft_cancel_scope *scope)
{
    if (scope)
        scope_end(scope_of(scope), true);
}

void weft_cancel_scope_disarm(weft_cancel_scope *scope)
{
    if (scope)
        scope_end(scope_of(scope), false);
}
