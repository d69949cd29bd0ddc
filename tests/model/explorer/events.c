/* SPDX-License-Identifier: MIT */
/*
 * events.c - epoll, eventfd, timerfd, listening sockets and POSIX threads, for the models of a whole runtime.
 *
 * IDEA     Edge-triggered items mostly, as the driver uses them. An item of a set is raised by an edge (a write, an
 *          expiry, a raised item in a set that is itself an item) and lowered by being reported. Of
 *          several threads that wait for one set, any may be the one that reports it. What lasts,
 *          the level, is looked at when an item is modified. A level-triggered item is a descriptor as it is at the
 *          moment; a set among these has items that are no sets, or edge-triggered.
 *          The alarm is a limit of every wait for a set that holds it, so it goes off when time passes:
 *          see thread.c.
 */
#include "base/sys.h"
#include "model/explorer/explore.h"

#include <errno.h>
#include <string.h>

#define FILES_MAX 16
#define ITEMS_MAX 8

enum file_kind { FILE_NONE, FILE_SET, FILE_COUNTER, FILE_TIMER, FILE_TEST };

struct item {
    int fd; /* -1: free */
    uint32_t events;
    uint64_t data;
    uint32_t raised; /* events since it was last reported */
};

struct file {
    enum file_kind kind;
    uint64_t uses; /* orders all that is done to any file: one is enough for all */
    uint32_t level;
    uint64_t at; /* a timer's; 0: not set */
    unsigned waiting;
    unsigned connections; /* that nobody has accepted */
    struct item items[ITEMS_MAX];
};

/* Descriptors begin at 100. */
static struct file files[FILES_MAX];
static uint64_t files_uses;
static int add_fails; /* the next one, with this */

static struct file *file_of(int fd)
{
    int i = fd - 100;

    return i >= 0 && i < FILES_MAX && files[i].kind != FILE_NONE ? &files[i] : NULL;
}

static int file_open(enum file_kind kind)
{
    model_use("a descriptor is made", &files_uses);
    for (int i = 0; i < FILES_MAX; i++)
        if (files[i].kind == FILE_NONE) {
            memset(&files[i], 0, sizeof(files[i]));
            files[i].kind = kind;
            for (int k = 0; k < ITEMS_MAX; k++)
                files[i].items[k].fd = -1;
            return 100 + i;
        }
    return -EMFILE;
}

int wf_sys_epoll_create(void)
{
    return file_open(FILE_SET);
}

int wf_sys_eventfd(void)
{
    return file_open(FILE_COUNTER);
}

int wf_sys_timerfd_create(void)
{
    return file_open(FILE_TIMER);
}

int wf_sys_close(int fd)
{
    struct file *f = file_of(fd);

    model_use("close", &files_uses);
    if (!f)
        return -EBADF;
    CHECK_EQ(0, f->waiting);
    f->kind = FILE_NONE;
    for (int i = 0; i < FILES_MAX; i++)
        for (int k = 0; k < ITEMS_MAX; k++)
            if (files[i].kind == FILE_SET && files[i].items[k].fd == fd)
                files[i].items[k].fd = -1;
    return 0;
}

/* Returns the sets that have it to report, as bits. */
static uint32_t items_raise(int fd, uint32_t events)
{
    uint32_t sets = 0;

    for (int i = 0; i < FILES_MAX; i++)
        for (int k = 0; k < ITEMS_MAX && files[i].kind == FILE_SET; k++) {
            struct item *item = &files[i].items[k];

            if (item->fd != fd || !(events & (item->events | EPOLLERR | EPOLLHUP)))
                continue;
            item->raised |= events & (item->events | EPOLLERR | EPOLLHUP);
            sets |= 1u << i;
        }
    return sets;
}

/* An edge: every set that holds the descriptor has it to report, and so has a set that holds that one. */
static void file_raise(int fd, uint32_t events)
{
    uint32_t sets = items_raise(fd, events);

    for (int i = 0; i < FILES_MAX; i++)
        if (sets >> i & 1)
            (void)items_raise(100 + i, EPOLLIN);
}

/* Without level-triggered sets in it. */
static bool set_has_raised(const struct file *set)
{
    for (int k = 0; k < ITEMS_MAX; k++) {
        const struct item *item = &set->items[k];

        if (item->fd >= 0 && (item->events & EPOLLET ? item->raised : file_of(item->fd)->level))
            return true;
    }
    return false;
}

static uint32_t file_level(const struct file *f)
{
    return f->kind == FILE_SET ? (set_has_raised(f) ? (uint32_t)EPOLLIN : 0) : f->level;
}

/* What it has to report, at the moment. */
static uint32_t item_raised(const struct item *item)
{
    if (item->fd < 0)
        return 0;
    return item->events & EPOLLET ? item->raised : file_level(file_of(item->fd)) & item->events;
}

static bool set_is_ready(const struct file *set)
{
    for (int k = 0; k < ITEMS_MAX; k++)
        if (item_raised(&set->items[k]))
            return true;
    return false;
}

int wf_sys_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct file *set = file_of(epfd), *f = file_of(fd);
    struct item *item = NULL, *free_item = NULL;

    model_use(op == EPOLL_CTL_ADD   ? "epoll_ctl add"
              : op == EPOLL_CTL_MOD ? "epoll_ctl mod"
                                    : "epoll_ctl del",
              &files_uses);
    CHECK(set && set->kind == FILE_SET && f);
    for (int k = 0; k < ITEMS_MAX; k++) {
        if (set->items[k].fd == fd)
            item = &set->items[k];
        else if (set->items[k].fd < 0)
            free_item = &set->items[k];
    }
    if (op == EPOLL_CTL_ADD && add_fails) {
        int rc = add_fails;

        add_fails = 0;
        return rc;
    }
    if (op == EPOLL_CTL_ADD ? item != NULL : !item)
        return op == EPOLL_CTL_ADD ? -EEXIST : -ENOENT;
    if (op == EPOLL_CTL_DEL) {
        item->fd = -1;
        return 0;
    }
    item = item ? item : free_item;
    CHECK(item);
    *item = (struct item){.fd = fd, .events = events, .data = data};
    if (file_level(f))
        file_raise(fd, file_level(f));
    return 0;
}

/* The earliest alarm among the items; UINT64_MAX: none. */
static uint64_t set_own_alarm(const struct file *set)
{
    uint64_t at = UINT64_MAX;

    for (int k = 0; k < ITEMS_MAX; k++) {
        const struct file *f = set->items[k].fd >= 0 ? file_of(set->items[k].fd) : NULL;

        if (f && f->kind == FILE_TIMER && f->at && f->at < at)
            at = f->at;
    }
    return at;
}

/* And of the level-triggered sets among them. */
static uint64_t set_alarm(const struct file *set)
{
    uint64_t at = set_own_alarm(set);

    for (int k = 0; k < ITEMS_MAX; k++) {
        const struct item *item = &set->items[k];
        const struct file *f = item->fd >= 0 ? file_of(item->fd) : NULL;

        if (f && f->kind == FILE_SET && !(item->events & EPOLLET) && set_own_alarm(f) < at)
            at = set_own_alarm(f);
    }
    return at;
}

static void timers_expire(void)
{
    for (int i = 0; i < FILES_MAX; i++)
        if (files[i].kind == FILE_TIMER && files[i].at && files[i].at <= model_clock()) {
            files[i].at = 0;
            files[i].level = EPOLLIN;
            file_raise(100 + i, EPOLLIN);
        }
}

static int set_report(struct file *set, struct epoll_event *events, int max)
{
    int n = 0;

    timers_expire();
    for (int k = 0; k < ITEMS_MAX && n < max; k++) {
        struct item *item = &set->items[k];
        uint32_t raised = item_raised(item);
        uint32_t level = item->fd >= 0 ? file_level(file_of(item->fd)) : 0;

        if (!raised)
            continue;
        /* What has passed meanwhile is not reported. */
        if (raised & level)
            events[n++] = (struct epoll_event){.events = raised & level, .data.u64 = item->data};
        item->raised = 0;
    }
    return n;
}

struct set_wait {
    struct file *set;
    uint64_t until;
};

static bool set_ready(void *arg)
{
    const struct set_wait *w = arg;

    return set_is_ready(w->set) || set_alarm(w->set) <= model_clock();
}

int wf_sys_epoll_wait(int epfd, struct epoll_event *events, int max, uint64_t timeout_ns)
{
    struct file *set = file_of(epfd);
    struct set_wait w = {set,
                         timeout_ns == WF_NO_TIMEOUT ? UINT64_MAX : model_clock() + timeout_ns};
    int n;

    CHECK(set && set->kind == FILE_SET);
    for (;;) {
        model_use(timeout_ns == 0 ? "epoll_wait, without waiting" : "epoll_wait", &files_uses);
        n = set_report(set, events, max);
        if (n || timeout_ns == 0 || model_clock() >= w.until)
            return n;
        model_state->running->waits = "events";
        set->waiting++;
        model_state->running->limit_of = set;
        (void)model_block(set_ready, &w, set_alarm(set) < w.until ? set_alarm(set) : w.until);
        model_state->running->limit_of = NULL;
        set->waiting--;
    }
}

int wf_sys_eventfd_signal(int fd)
{
    struct file *f = file_of(fd);

    model_use("eventfd write", &files_uses);
    CHECK(f && f->kind == FILE_COUNTER);
    f->level = EPOLLIN;
    file_raise(fd, EPOLLIN);
    return 0;
}

int wf_sys_timerfd_set(int fd, uint64_t at_ns)
{
    struct file *f = file_of(fd);

    model_use(at_ns ? "timerfd set" : "timerfd unset", &files_uses);
    CHECK(f && f->kind == FILE_TIMER);
    f->at = at_ns;
    f->level = 0;
    timers_expire();
    /* Who waits already waits for the new moment. */
    for (unsigned i = 0; i < model_state->thread_count; i++) {
        struct thread *t = &model_state->threads[i];
        const struct file *set = t->limit_of;
        const struct set_wait *w = t->ready_arg;

        if (t->status == THREAD_BLOCKED && set)
            t->until = set_alarm(set) < w->until ? set_alarm(set) : w->until;
    }
    return 0;
}

/* --- a descriptor of the test's own --- */

int model_file_open(void)
{
    return file_open(FILE_TEST);
}

bool model_file_set(int fd, uint32_t events)
{
    struct file *f;

    model_use("readiness changes", &files_uses);
    f = file_of(fd);
    if (!f)
        return false;
    CHECK(f->kind == FILE_TEST);
    f->level = events;
    if (events)
        file_raise(fd, events);
    return true;
}

bool model_file_take(int fd, uint32_t events)
{
    struct file *f;
    bool was;

    model_use("a transfer", &files_uses);
    f = file_of(fd);
    CHECK(f && f->kind == FILE_TEST);
    was = (f->level & events) != 0;
    f->level &= ~events;
    return was;
}

/* --- a listening socket --- */

int wf_sys_socket(int domain, int type)
{
    (void)domain, (void)type;
    return file_open(FILE_TEST);
}

int wf_sys_bind(int fd, const struct sockaddr *a, socklen_t size)
{
    (void)a, (void)size;
    return file_of(fd) ? 0 : -EBADF;
}

int wf_sys_listen(int fd, int backlog)
{
    (void)backlog;
    return file_of(fd) ? 0 : -EBADF;
}

int wf_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)level, (void)name, (void)value, (void)size;
    return file_of(fd) ? 0 : -EBADF;
}

void model_connection(int fd)
{
    struct file *f;

    model_use("a connection comes", &files_uses);
    f = file_of(fd);
    CHECK(f && f->kind == FILE_TEST);
    f->connections++;
    f->level = EPOLLIN;
    file_raise(fd, EPOLLIN);
}

int wf_sys_accept(int fd, struct sockaddr *a, socklen_t *size)
{
    struct file *f;

    (void)a, (void)size;
    model_use("accept", &files_uses);
    f = file_of(fd);
    if (!f)
        return -EBADF;
    if (f->connections == 0)
        return -EAGAIN;
    if (--f->connections == 0)
        f->level = 0;
    return file_open(FILE_TEST);
}

void model_epoll_add_fails(int rc)
{
    add_fails = rc;
}

/* --- threads --- */

struct started {
    void *(*fn)(void *arg);
    void *arg;
};

static void thread_started(void *arg)
{
    struct started s = *(struct started *)arg;

    model_free(arg);
    (void)s.fn(s.arg);
}

int wf_sys_thread_create(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
    struct started *s = model_alloc(sizeof(*s), 16);

    *s = (struct started){fn, arg};
    *thread = model_thread_start(thread_started, s);
    return 0;
}

/* The names that CMakeLists.txt gives the calls of the library. */
int model_pthread_join(pthread_t thread, void **result);
int model_pthread_detach(pthread_t thread);
int model_pthread_once(pthread_once_t *once, void (*fn)(void));
int model_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int model_pthread_setname(pthread_t thread, const char *name);
pthread_t model_pthread_self(void);

int model_pthread_join(pthread_t thread, void **result)
{
    (void)result;
    model_thread_join((unsigned)thread);
    return 0;
}

int model_pthread_detach(pthread_t thread)
{
    (void)thread;
    return 0;
}

int model_pthread_once(pthread_once_t *once, void (*fn)(void))
{
    /* It would call pthread_atfork, of which the models need nothing. */
    (void)once, (void)fn;
    return 0;
}

int model_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    (void)how, (void)set;
    if (old)
        sigemptyset(old);
    return 0;
}

int model_pthread_setname(pthread_t thread, const char *name)
{
    (void)thread, (void)name;
    return 0;
}

pthread_t model_pthread_self(void)
{
    return model_thread_self();
}
