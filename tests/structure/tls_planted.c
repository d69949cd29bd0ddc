/* SPDX-License-Identifier: MIT */
/*
 * tls_planted.c - mistakes that tls.py must find (bad_*), and what it must not object to (good_*).
 *
 * IDEA     Compiled as a shared library at every level of optimisation, and read, never run. What a
 *          name promises must hold at each level, so the mistakes are in the source, and KEEP sees
 *          to it that they stay in the code. But in *cached_* the source is right by the letter
 *          of C, and it is the optimiser that keeps the address: those are bad_* when OPTIMISED is 1,
 *          and nothing is claimed of them otherwise.
 */
#define WEFT_NO_ERRNO
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <weft.h>

#ifndef OPTIMISED
# define OPTIMISED 0
#endif
#if OPTIMISED
# define CACHED(name) bad_cached_##name
#else
# define CACHED(name) cached_##name
#endif

/* The compiler does not know where p came from, so it cannot make it a second time. */
#define KEEP(p) __asm__ volatile("" : "+r"(p))

static __thread int counter;
static __thread char buffer[64];

int bad_pointer_to_a_thread_local(void);
int bad_pointer_across_a_loop(int n);
int passes_pointer_down(void);
int bad_receiver(int unused, int *p);
int bad_pointer_from_a_helper(void);
int bad_errno_pointer(void);
int bad_weft_errno_pointer(void);
int bad_pthread_self(void);
int bad_behind_a_callback(int (*callback)(void));
int bad_behind_qsort(int *list, size_t n, int (*compare)(const void *, const void *));
int bad_in_one_case(int which);
int bad_on_the_stack(char **out);
int CACHED(errno)(void);
int CACHED(counter)(void);
int CACHED(helper)(void);
int good_new_pointer(void);
int good_used_before(void);
int good_errno(void);
int good_other_branch(int yields);
int good_null(void);
int good_library_call(void);
int good_value(void);

/* --- mistakes ------------------------------------------------------------------------------ */

int bad_pointer_to_a_thread_local(void)
{
    int *p = &counter;

    KEEP(p);
    (void)weft_yield();
    return ++*p;
}

int bad_pointer_across_a_loop(int n)
{
    char *p = buffer;

    KEEP(p);
    for (int i = 0; i < n; i++) {
        *p++ = (char)i;
        (void)weft_sleep(1);
    }
    return buffer[0];
}

/* Reported where it is read: in the function that it was passed to. */
__attribute__((noinline)) int bad_receiver(int unused, int *p)
{
    (void)unused;
    (void)weft_yield();
    return *p;
}

int passes_pointer_down(void)
{
    int *p = &counter;

    KEEP(p);
    return bad_receiver(0, p);
}

__attribute__((noinline)) static int *where(void)
{
    int *p = &counter;

    KEEP(p);
    return p;
}

__attribute__((noinline)) static int *plainly_where(void)
{
    return &counter;
}

int bad_pointer_from_a_helper(void)
{
    int *p = where();

    (void)weft_yield();
    return *p;
}

int bad_errno_pointer(void)
{
    int *e = __errno_location();

    KEEP(e);
    (void)weft_yield();
    return *e;
}

int bad_weft_errno_pointer(void)
{
    int *e = weft_errno_location();

    (void)weft_yield();
    return *e;
}

int bad_pthread_self(void)
{
    pthread_t me = pthread_self();

    KEEP(me);
    (void)weft_yield();
    return pthread_equal(me, (pthread_t)1);
}

int bad_behind_a_callback(int (*callback)(void))
{
    int *e = weft_errno_location(), rc = callback();

    return *e + rc;
}

int bad_behind_qsort(int *list, size_t n, int (*compare)(const void *, const void *))
{
    int *e = weft_errno_location();

    qsort(list, n, sizeof(*list), compare);
    return *e;
}

int bad_in_one_case(int which)
{
    int *e = weft_errno_location();

    switch (which) {
    case 0:
        return *e;
    case 1:
        return (int)weft_now();
    case 2:
        (void)weft_sleep(5);
        break;
    case 3:
        return abs(*e);
    case 4:
        *e = 3;
        break;
    case 5:
        return -*e;
    default:
        return 0;
    }
    return *e;
}

int bad_on_the_stack(char **out)
{
    char *volatile own[2] = {buffer, buffer + 1};

    (void)weft_yield();
    out[0] = own[0];
    out[1] = own[1];
    return 0;
}

/* --- right by the letter, wrong by the optimiser ------------------------------------------- */

int CACHED(errno)(void)
{
    errno = 0;
    (void)weft_yield();
    return errno;
}

int CACHED(counter)(void)
{
    counter++;
    (void)weft_yield();
    return ++counter;
}

int CACHED(helper)(void)
{
    int before = *plainly_where();

    (void)weft_yield();
    return before + *plainly_where();
}

/* --- right ------------------------------------------------------------------------------- */

int good_new_pointer(void)
{
    int *p = where(), before = *p;

    (void)weft_yield();
    p = where();
    return before + *p;
}

int good_used_before(void)
{
    int *p = where();

    *p = 1;
    return weft_yield();
}

int good_errno(void)
{
    int before = *weft_errno_location();

    (void)weft_yield();
    return before + *weft_errno_location();
}

int good_other_branch(int yields)
{
    int *p = where();

    if (yields)
        return weft_yield();
    return *p;
}

/* Behind the test p is NULL, whoever's it was. */
int good_null(void)
{
    int *p = where();

    if (p)
        return *p;
    (void)weft_yield();
    return p == NULL;
}

int good_library_call(void)
{
    int *p = where();

    *p = abs(*p);
    free(malloc((size_t)*p));
    return *p;
}

int good_value(void)
{
    int value = *where();

    (void)weft_yield();
    return value;
}
