/* SPDX-License-Identifier: MIT */
/* app.c - the README's least program. */
#include <stdio.h>
#include <weft.h>

static int app(void *arg)
{
    int rc = weft_sleep(WEFT_MS(10));

    (void)arg;
    if (rc < 0)
        return rc; /* printed by weft_run; the exit status is 1 */
    (void)printf("10 ms later\n");
    return 0;
}

int main(void)
{
    return weft_run(app, NULL);
}
