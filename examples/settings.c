/* SPDX-License-Identifier: MIT */
/*
 * settings.c - workers that follow the latest settings, by a watch channel: no lock, no list of whom to tell, and
 * nobody is told twice of what has changed twice.
 *
 *     settings [WORKERS]      default 4
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

struct settings {
    unsigned generation;
    weft_duration pause; /* between two pieces of work */
    bool stop;
};

/* Works until it is told to stop. Returns the generation that it saw last. */
static int work(void *arg)
{
    weft_watch_receiver *rx = arg;
    struct settings now = {0};
    uint64_t done = 0;
    ssize_t rc;

    /* What was there before a receiver was made it has seen: so it begins by looking. */
    rc = weft_watch_get_and_update(rx, &now);
    while (rc >= 0 && !now.stop) {
        weft_future changed = weft_watch_changed_future(rx);
        weft_future pause = weft_sleep_future(now.pause);

        rc = weft_select(&changed, &pause); /* the other one is dropped */
        if (rc == 1)
            done++;
        else if (rc == 0)
            rc = weft_watch_get_and_update(rx, &now);
    }
    weft_watch_receiver_close(rx);
    (void)printf("%" PRIu64 " pieces of work; the last settings are number %u\n", done,
                 now.generation);
    return rc < 0 ? (int)rc : (int)now.generation;
}

/* Changes are made to a copy, and nobody sees them half done; nobody else makes one meanwhile. */
static void hurry(void *value, void *arg)
{
    struct settings *s = value;

    s->generation++;
    s->pause = *(const weft_duration *)arg;
}

static void stop(void *value, void *arg)
{
    struct settings *s = value;

    (void)arg;
    s->generation++;
    s->stop = true;
}

static int app(void *arg)
{
    weft_duration pauses[] = {WEFT_MS(2), WEFT_MS(1), WEFT_US(200)};
    const struct settings first = {.generation = 1, .pause = WEFT_MS(5)};
    unsigned workers = *(const unsigned *)arg;
    weft_watch_receiver *rx;
    weft_watch_sender *tx;
    int rc;

    rc = weft_watch_new(&tx, NULL, sizeof(first), &first);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < workers; i++) {
        if (weft_watch_subscribe(tx, &rx) < 0)
            break;
        if (weft_go(work, rx) < 0)
            weft_watch_receiver_close(rx);
    }
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]) && rc >= 0; i++) {
        rc = weft_sleep(WEFT_MS(10));
        if (rc == 0)
            rc = weft_watch_send_modify(tx, hurry, &pauses[i]);
    }
    (void)weft_watch_send_modify(tx, stop, NULL);
    WEFT_DEADLINE(WEFT_SECS(5))
    {
        rc = weft_watch_closed(tx); /* until each worker has closed its receiver */
    }
    weft_watch_sender_close(tx);
    if (rc == 0)
        (void)printf("all have stopped\n");
    return rc;
}

int main(int argc, char **argv)
{
    unsigned workers = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;

    return weft_run(app, &workers);
}
