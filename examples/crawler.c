/* SPDX-License-Identifier: MIT */
/*
 * crawler.c - follow links from page to page, a few at a time: a join set for what is under way, a deadline for each
 * request, and a scope that nothing outlives.
 *
 *     crawler [PAGES]     stop after so many pages; default: follow all links
 *
 * The site that it crawls is in this program, too: some of its pages are missing, and some never answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#define SITE_PAGES 240
#define AT_A_TIME  16
#define LINKS_MAX  3
#define TIME_LIMIT WEFT_SECS(2)
#define LINE_SIZE  64

/* --- the site: "12\n" asks for a page, and the answer is a line of its links ------------------------------- */

struct site {
    weft_listener *listener;
    weft_addr address;
};

static int answer(weft_stream *s, int page)
{
    char line[LINE_SIZE];
    int n = 0;

    if (page % 17 == 0)
        return weft_sleep(WEFT_FOREVER); /* until this task is cancelled */
    if (page < 1 || page > SITE_PAGES || page % 13 == 0)
        n = snprintf(line, sizeof(line), "none\n");
    else
        n = snprintf(line, sizeof(line), "%d %d %d\n", 2 * page, 2 * page + 1, page / 2 + 1);
    return (int)weft_write_all(s, line, (size_t)n);
}

static int serve_page(void *arg)
{
    weft_stream *s = arg;
    char line[LINE_SIZE];
    ssize_t n = weft_read(s, line, sizeof(line) - 1);

    if (n > 0) {
        line[n] = '\0';
        (void)answer(s, (int)strtol(line, NULL, 10));
    }
    weft_close(s);
    return 0; /* a visitor that went away is no failure of the site */
}

/* Until it is cancelled; and then no visitor is served any more, for none outlives the scope. */
static int serve_site(void *arg)
{
    struct site *site = arg;
    weft_stream *s;
    int rc = 0;

    WEFT_SCOPE(visitors, NULL)
    {
        while ((rc = weft_accept(site->listener, &s)) == 0)
            if (weft_scope_spawn(visitors, serve_page, s) < 0)
                weft_close(s);
        weft_scope_cancel(visitors);
    }
    return rc;
}

/* --- the crawler ---------------------------------------------------------------------------------------------- */

/* A request and what came of it. Its task fills it in, and whoever takes the task from the set reads it. */
struct visit {
    const weft_addr *address;
    int page;
    int links[LINKS_MAX];
    unsigned count;
};

static int ask(struct visit *v, weft_stream *s)
{
    char line[LINE_SIZE], *at = line, *end;
    int n = snprintf(line, sizeof(line), "%d\n", v->page);
    ssize_t got = weft_write_all(s, line, (size_t)n);

    if (got >= 0)
        got = weft_read_exact(s, line, sizeof(line) - 1); /* the site closes behind its answer */
    if (got < 0)
        return (int)got;
    line[got] = '\0';
    for (long link; v->count < LINKS_MAX && (link = strtol(at, &end, 10), end != at); at = end)
        v->links[v->count++] = (int)link;
    return v->count ? 0 : -ENOENT;
}

static int visit(void *arg)
{
    struct visit *v = arg;
    weft_stream *s;
    int rc = 0;

    WEFT_DEADLINE(TIME_LIMIT)
    {
        rc = weft_tcp_connect(&s, v->address, NULL);
        if (rc < 0)
            break;
        rc = ask(v, s);
        weft_close(s);
    }
    return rc;
}

struct crawl {
    const weft_addr *address;
    bool known[SITE_PAGES + 1];
    int frontier[SITE_PAGES]; /* known, and not yet visited */
    unsigned begin, end;
    unsigned pages, missing, slow, failed, limit;
};

static void discover(struct crawl *c, int page)
{
    if (page < 1 || page > SITE_PAGES || c->known[page])
        return;
    c->known[page] = true;
    c->frontier[c->end++] = page;
}

/* As many requests as may be under way at a time. The tag tells which visit a task was. */
static void send_out(struct crawl *c, weft_join_set *set)
{
    while (c->begin < c->end && weft_join_set_len(set) < AT_A_TIME) {
        struct visit *v = calloc(1, sizeof(*v));

        if (!v)
            return;
        v->address = c->address;
        v->page = c->frontier[c->begin++];
        if (weft_join_set_spawn(set, visit, v) < 0) {
            free(v);
            c->failed++;
        }
    }
}

static struct visit *visit_of(const weft_join_done *done)
{
    return (struct visit *)(uintptr_t)done->tag; /* NOLINT(performance-no-int-to-ptr) */
}

static void take_in(struct crawl *c, const weft_join_done *done)
{
    struct visit *v = visit_of(done);

    if (done->result == 0)
        c->pages++;
    else if (done->result == -ENOENT)
        c->missing++;
    else if (done->result == -ETIMEDOUT)
        c->slow++;
    else
        c->failed++;
    for (unsigned i = 0; i < v->count; i++)
        discover(c, v->links[i]);
    free(v);
}

static int crawl(struct crawl *c)
{
    weft_join_set *set = weft_join_set_new();
    weft_join_done done;
    int rc;

    if (!set)
        return -ENOMEM;
    discover(c, 1);
    send_out(c, set);
    while ((rc = weft_join_set_next(set, &done)) > 0) {
        take_in(c, &done);
        if (c->pages == c->limit)
            break; /* enough: what is still under way is not waited for */
        send_out(c, set);
    }
    /* Their memory is ours, so they are taken in all the same; but quickly. */
    weft_join_set_cancel(set);
    WEFT_SHIELD
    while (weft_join_set_next(set, &done) > 0)
        free(visit_of(&done));
    weft_join_set_free(set);
    return rc < 0 ? rc : 0;
}

static int app(void *arg)
{
    struct crawl c = {.limit = *(unsigned *)arg};
    struct site site;
    int rc = weft_listen(&site.listener, "tcp://127.0.0.1:0", NULL), crawled = 0;

    if (rc < 0)
        return rc;
    rc = weft_listener_addr(site.listener, &site.address);
    c.address = &site.address;
    /* The site and the crawler live as long as this block, whichever ends first, and however. */
    if (rc == 0)
        WEFT_SCOPE(s, &rc)
        {
            if (weft_scope_spawn(s, serve_site, &site) < 0)
                break;
            crawled = crawl(&c);
            weft_scope_cancel(s);
        }
    weft_listener_close(site.listener);
    if (rc == 0)
        rc = crawled;
    (void)printf("%u pages, %u missing, %u that do not answer, %u failures\n", c.pages, c.missing,
                 c.slow, c.failed);
    return rc;
}

int main(int argc, char **argv)
{
    unsigned limit = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SITE_PAGES + 1;

    return weft_run(app, &limit);
}
