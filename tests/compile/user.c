/* SPDX-License-Identifier: MIT */
/* user.c - the least program that a user writes: it runs one task. */
#include <weft.h>

static int app(void *arg)
{
    (void)arg;
    return weft_yield();
}

int main(void)
{
    return weft_run(app, NULL);
}
