/* SPDX-License-Identifier: MIT */
/*
 * test_misuse.c - every call with arguments that are NULL, zero or out of range, and from where it
 * does not belong: the code that is documented, and no crash.
 *
 * Three places: a plain thread, a fiber, a stackless task. What a debug build says meanwhile goes
 * to a file that nobody reads.
 */
#include "support.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A debug library explains each misuse on stderr: not here. Claims do not go there. */
static void hush(void)
{
    int fd = open("/dev/null", O_WRONLY);

    CHECK(fd >= 0);
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

static int return_zero(void *arg)
{
    (void)arg;
    return 0;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* --- the same everywhere ------------------------------------------------------------- */

static void refuse_tasks(void)
{
    weft_task_info info;
    weft_local_key *key;
    weft_future f;

    weft_detach(NULL);
    weft_cancel(NULL);
    CHECK(!weft_is_finished(NULL));
    CHECK_EQ(0, weft_task_id(NULL));
    CHECK_STR("", weft_task_name(NULL));
    CHECK(weft_task_ref(NULL) == NULL);
    CHECK_EQ(-EINVAL, weft_task_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_task_get_info(NULL, NULL));
    CHECK_EQ(-ENOMEM, weft_join_blocking(NULL, NULL));
    f = weft_join_future(NULL);
    CHECK(f.type != NULL);
    CHECK_EQ(-EINVAL, weft_defer(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_unconstrained(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_local_key_new(NULL, NULL, 0, NULL));
    CHECK_EQ(-EINVAL, weft_local_key_new(&key, NULL, 2, NULL));
    CHECK_EQ(-EINVAL, weft_local_key_new(&key, do_nothing, WEFT_LOCAL_INHERIT, NULL));
    weft_local_key_free(NULL);
    CHECK(weft_task_local_get(NULL) == NULL);
    CHECK_EQ(-EINVAL, weft_task_local_set(NULL, NULL));
}

static void refuse_spawns(bool in_task)
{
    static const char bytes[WEFT_COPY_MAX + 1];
    const weft_task_options small = {.stack_size = 1}, large = {.stack_size = SIZE_MAX};
    const weft_async_type empty = {.size = sizeof(weft_async)};
    int other = in_task ? -EINVAL : -EPERM;

    CHECK(weft_spawn(NULL, NULL) == NULL);
    CHECK(weft_spawn_at(NULL, NULL, NULL) == NULL);
    CHECK(weft_spawn_copy(NULL, bytes, 1) == NULL);
    CHECK(weft_spawn_copy(return_zero, NULL, 1) == NULL);
    CHECK(weft_spawn_copy(return_zero, bytes, sizeof(bytes)) == NULL);
    CHECK(weft_spawn_copy(return_zero, bytes, SIZE_MAX) == NULL);
    CHECK(weft_spawn_with(NULL, NULL, NULL) == NULL);
    CHECK(weft_spawn_with(&small, return_zero, NULL) == NULL);
    CHECK(weft_spawn_with(&large, return_zero, NULL) == NULL);
    CHECK(weft_spawn_copy_with(NULL, NULL, NULL, 0) == NULL);
    CHECK(weft_spawn_copy_with(&small, return_zero, NULL, 0) == NULL);
    CHECK(weft_spawn_async(NULL, NULL) == NULL);
    CHECK(weft_spawn_async(&empty, bytes) == NULL);
    CHECK(weft_spawn_async_at(NULL, NULL, NULL) == NULL);
    CHECK_EQ(other, weft_go(NULL, NULL));
    CHECK_EQ(other, weft_go_at(NULL, NULL, NULL));
    CHECK_EQ(other, weft_go_copy(return_zero, bytes, sizeof(bytes)));
    CHECK_EQ(other, weft_go_copy_at(NULL, return_zero, NULL, 1));
    CHECK_EQ(other, weft_go_with(&small, return_zero, NULL));
    CHECK_EQ(other, weft_go_async(NULL, NULL));
    CHECK_EQ(other, weft_go_async_at(NULL, &empty, NULL));
}

static void refuse_future(weft_future f, int why)
{
    weft_context cx = weft_context_of(NULL);

    CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
    CHECK_EQ(why, f.result);
}

static void refuse_futures(void)
{
    weft_future none = {0}, fine = weft_ready_future(0), f;
    weft_future *nobody[] = {NULL, NULL}, *typeless[] = {&none}, *one[] = {&fine};
    weft_waker empty = {0}, other = {0};

    CHECK_EQ(-EINVAL, weft_await(NULL));
    CHECK_EQ(-EINVAL, weft_await(&none));
    CHECK_EQ(-EINVAL, weft_timeout(0, NULL));
    CHECK_EQ(-EINVAL, weft_timeout(0, &none));
    CHECK_EQ(-EINVAL, weft_select_n(NULL, 0, 0));
    CHECK_EQ(-EINVAL, weft_select_n(NULL, 1, 0));
    CHECK_EQ(-EINVAL, weft_select_n(nobody, 2, 0));
    CHECK_EQ(-EINVAL, weft_select_n(typeless, 1, 0));
    CHECK_EQ(-EINVAL, weft_select_n(one, (size_t)INT_MAX + 1, 0));
    CHECK_EQ(-EINVAL, weft_join_all_n(NULL, 1));
    CHECK_EQ(-EINVAL, weft_join_all_n(typeless, 1));
    CHECK_EQ(-EINVAL, weft_try_join_all_n(NULL, 1));
    CHECK_EQ(-EINVAL, weft_try_join_all_n(typeless, 1));
    CHECK_EQ(-EINVAL, weft_join_all_with(one, 1, 4));
    CHECK_EQ(-EINVAL, weft_join_all_with(typeless, 1, WEFT_JOIN_BIASED));
    weft_future_drop(NULL);
    weft_future_drop(&none);
    CHECK(!weft_future_is_ready(&none));
    f = weft_select_future(NULL, 0, 0);
    weft_future_drop(&f);
    f = weft_select_future(NULL, 1, 0);
    weft_future_drop(&f);
    f = weft_join_all_future(NULL, 1);
    weft_future_drop(&f);
    f = weft_try_join_all_future(NULL, SIZE_MAX);
    weft_future_drop(&f);
    f = weft_join_all_with_future(one, 1, UINT_MAX);
    weft_future_drop(&f);
    f = weft_timeout_future(0, NULL);
    weft_future_drop(&f);
    f = weft_task_future(NULL);
    weft_future_drop(&f);

    /* A waker of nobody. */
    other = weft_waker_clone(&empty);
    CHECK(weft_waker_same(&empty, &other));
    weft_waker_wake_by_ref(&empty);
    weft_waker_wake(&other);
    weft_waker_drop(&empty);
    weft_waker_drop(&empty);
}

static int give_nothing(void *arg, weft_future *out, uint64_t *tag)
{
    (void)arg, (void)out, (void)tag;
    return 0;
}

static void refuse_sets(bool in_task)
{
    weft_futures *set = weft_futures_new();
    weft_future none = {0}, fine = weft_ready_future(0), f;

    CHECK(set != NULL);
    CHECK(weft_futures_new_with(2) == NULL);
    weft_futures_free(NULL);
    CHECK_EQ(-EINVAL, weft_futures_push(NULL, fine, 0));
    CHECK_EQ(-EINVAL, weft_futures_push(set, none, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn(NULL, return_zero, NULL, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn_at(NULL, NULL, NULL, NULL, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn_copy(NULL, return_zero, "", 1, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn_copy_at(NULL, NULL, NULL, NULL, 1, 0));
    CHECK_EQ(in_task ? -EINVAL : -EPERM, weft_futures_spawn(set, NULL, NULL, 0));
    CHECK_EQ(in_task ? -EINVAL : -EPERM, weft_futures_spawn_copy(set, return_zero, NULL, 1, 0));
    CHECK_EQ(-EINVAL, weft_futures_next(NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_futures_try_next(NULL, NULL, NULL));
    f = weft_futures_next_future(NULL, NULL, NULL);
    weft_future_drop(&f);
    CHECK_EQ(-EINVAL, weft_futures_clear(NULL));
    CHECK_EQ(0, weft_futures_len(NULL));
    CHECK(weft_futures_is_empty(NULL));
    CHECK(weft_futures_is_empty(set));
    CHECK_EQ(-EINVAL, weft_for_each_concurrent(1, 0, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_for_each_concurrent(1, 2, give_nothing, NULL, NULL));
    f = weft_for_each_concurrent_future(1, 2, give_nothing, NULL, NULL);
    weft_future_drop(&f);
    f = weft_for_each_concurrent_future(1, 0, NULL, NULL, NULL);
    weft_future_drop(&f);
    weft_futures_free(set);
}

static void refuse_runtimes(void)
{
    weft_metrics m;
    weft_worker_metrics w;
    weft_runtime *rt = NULL;
    weft_task *t = NULL;
    weft_config bad = {.flavor = (weft_flavor)7};

    CHECK_EQ(-EINVAL, weft_runtime_new(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &bad));
    bad = (weft_config){.worker_threads = 100000};
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &bad));
    bad = (weft_config){.stack_size = 1};
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &bad));
    bad = (weft_config){.thread_name = "longer than fifteen bytes"};
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &bad));
    bad = (weft_config){.lifo_slot = (weft_switch)9};
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &bad));
    bad = (weft_config){.io_backend = WEFT_IO_URING};
    CHECK_EQ(-ENOTSUP, weft_runtime_new(&rt, &bad));
    CHECK(rt == NULL);
    CHECK_EQ(-EINVAL, weft_block_on(NULL, return_zero, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_on(NULL, &t, NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(NULL, &t, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_runtime_shutdown(NULL, 0));
    weft_runtime_free(NULL);
    (void)weft_runtime_flavor(NULL);
    CHECK_EQ(-EINVAL, weft_runtime_dump(NULL, 1));
    CHECK_EQ(-EINVAL, weft_metrics_snapshot(NULL, &m));
    CHECK_EQ(-EINVAL, weft_metrics_worker(NULL, 0, &w));
    CHECK(t == NULL);
}

static void refuse_runtime(weft_runtime *rt)
{
    const weft_task_options small = {.stack_size = 1};
    const weft_async_type empty = {.size = 0};
    weft_worker_metrics w;
    weft_async state = {0};
    weft_task *t = NULL;

    CHECK_EQ(-EINVAL, weft_spawn_on(rt, &t, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_on(rt, &t, &small, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(rt, &t, NULL, NULL, &state));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(rt, &t, NULL, &empty, &state));
    CHECK_EQ(-EINVAL, weft_metrics_snapshot(rt, NULL));
    CHECK_EQ(-EINVAL, weft_metrics_worker(rt, UINT_MAX, &w));
    CHECK_EQ(-EINVAL, weft_metrics_worker(rt, 0, NULL));
    CHECK(t == NULL);
}

static void refuse_streams(weft_stream *good)
{
    char byte = 0;
    struct iovec part = {&byte, 1};
    weft_stream *s = NULL;
    weft_addr a;
    weft_keepalive k;

    CHECK_EQ(-EINVAL, weft_read(NULL, &byte, 1));
    CHECK_EQ(-EINVAL, weft_read(good, NULL, 1));
    CHECK_EQ(-EINVAL, weft_read(good, &byte, SIZE_MAX));
    CHECK_EQ(-EINVAL, weft_write(NULL, &byte, 1));
    CHECK_EQ(-EINVAL, weft_write(good, NULL, 1));
    CHECK_EQ(-EINVAL, weft_read_exact(NULL, &byte, 1));
    CHECK_EQ(-EINVAL, weft_read_exact(good, NULL, 1));
    CHECK_EQ(-EINVAL, weft_write_all(NULL, &byte, 1));
    CHECK_EQ(-EINVAL, weft_write_all(good, NULL, 1));
    CHECK_EQ(-EINVAL, weft_readv(NULL, &part, 1));
    CHECK_EQ(-EINVAL, weft_readv(good, NULL, 1));
    CHECK_EQ(-EINVAL, weft_readv(good, &part, -1));
    CHECK_EQ(-EINVAL, weft_writev(NULL, &part, 1));
    CHECK_EQ(-EINVAL, weft_writev(good, &part, INT_MAX));
    CHECK_EQ(-EINVAL, weft_shutdown(NULL, SHUT_RD));
    CHECK_EQ(-EINVAL, weft_shutdown(good, 99));
    weft_stream_abort(NULL);
    CHECK_EQ(0, weft_close(NULL));
    CHECK_EQ(-EINVAL, weft_stream_fd(NULL));
    CHECK_EQ(-EINVAL, weft_stream_into_fd(NULL));
    CHECK_EQ(-EINVAL, weft_stream_from_fd(NULL, 0));
    CHECK_EQ(-EINVAL, weft_stream_from_fd(&s, -1));
    CHECK_EQ(-EBADF, weft_stream_from_fd(&s, 1 << 20));
    CHECK(s == NULL);
    CHECK_EQ(-EINVAL, weft_stream_peer(NULL, &a));
    CHECK_EQ(-EINVAL, weft_stream_peer(good, NULL));
    CHECK_EQ(-EINVAL, weft_stream_local(NULL, &a));
    CHECK_EQ(-EINVAL, weft_stream_local(good, NULL));
    CHECK_EQ(-EINVAL, weft_stream_set_nodelay(NULL, true));
    CHECK_EQ(-EINVAL, weft_stream_get_nodelay(NULL));
    CHECK_EQ(-EINVAL, weft_stream_set_linger(NULL, 0));
    CHECK_EQ(-EINVAL, weft_stream_set_linger(good, -2));
    CHECK_EQ(-EINVAL, weft_stream_get_linger(NULL));
    CHECK_EQ(-EINVAL, weft_stream_set_keepalive(NULL, &k));
    CHECK_EQ(-EINVAL, weft_stream_set_keepalive(good, NULL));
    CHECK_EQ(-EINVAL, weft_stream_get_keepalive(NULL, &k));
    CHECK_EQ(-EINVAL, weft_stream_get_keepalive(good, NULL));
    CHECK_EQ(-EINVAL, weft_stream_set_receive_buffer(NULL, 1));
    CHECK_EQ(-EINVAL, weft_stream_set_receive_buffer(good, -1));
    CHECK_EQ(-EINVAL, weft_stream_get_receive_buffer(NULL));
    CHECK_EQ(-EINVAL, weft_stream_set_send_buffer(NULL, 1));
    CHECK_EQ(-EINVAL, weft_stream_get_send_buffer(NULL));
    CHECK_EQ(-EINVAL, weft_stream_take_error(NULL));
}

static void refuse_net(weft_listener *good)
{
    const weft_switch wrong = (weft_switch)3;
    const weft_listen_options bad_listen[] = {
        {.backlog = -1},       {.receive_buffer = -1},
        {.send_buffer = -1},   {.reuse_addr = wrong},
        {.reuse_port = wrong}, {.nodelay = wrong},
        {.v6_only = wrong},    {.spare_ = {1}},
        {.spare_ = {[3] = 1}}, {.v6_only = (weft_switch)-1},
    };
    const weft_connect_options bad_connect[] = {
        {.nodelay = wrong},     {.nodelay = (weft_switch)-1},
        {.receive_buffer = -1}, {.send_buffer = -1},
        {.spare_ = {1}},        {.spare_ = {[3] = 1}},
    };
    weft_context cx = weft_context_of(NULL);
    weft_listener *l = NULL;
    weft_stream *s = NULL;
    weft_addr a = {0};
    char text[WEFT_ADDR_TEXT_MAX];

    CHECK_EQ(-EINVAL, weft_addr_parse(NULL, "127.0.0.1:1"));
    CHECK_EQ(-EINVAL, weft_addr_parse(&a, NULL));
    CHECK_EQ(-EINVAL, weft_addr_parse(&a, ""));
    CHECK_EQ(-EINVAL, weft_addr_ip(NULL, "127.0.0.1", 1));
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, NULL, 1));
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, "no", 1));
    CHECK_EQ(0, weft_addr_port(NULL));
    CHECK_EQ(0, weft_addr_port(&a));
    CHECK_EQ(-EINVAL, weft_addr_format(NULL, text, sizeof(text)));
    CHECK_EQ(-EINVAL, weft_addr_format(&a, NULL, sizeof(text)));
    CHECK_EQ(0, weft_addr_ip(&a, "127.0.0.1", 1));
    CHECK_EQ(-ENOSPC, weft_addr_format(&a, text, 0));
    CHECK_EQ(-ENOSPC, weft_addr_format(&a, text, 3));
    CHECK_EQ(-EINVAL, weft_listen(NULL, "127.0.0.1:0", NULL));
    CHECK_EQ(-EINVAL, weft_listen(&l, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_listen(&l, "nothing", NULL));
    for (size_t i = 0; i < sizeof(bad_listen) / sizeof(bad_listen[0]); i++)
        CHECK_EQ(-EINVAL, weft_listen(&l, "127.0.0.1:0", &bad_listen[i]));
    CHECK_EQ(-EINVAL, weft_tcp_listen(&l, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_tcp_listen(NULL, &a, NULL));
    CHECK_EQ(-EINVAL, weft_accept(NULL, &s));
    CHECK_EQ(-EINVAL, weft_accept(good, NULL));
    weft_listener_abort(NULL);
    CHECK_EQ(0, weft_listener_close(NULL));
    CHECK_EQ(-EINVAL, weft_listener_addr(NULL, &a));
    CHECK_EQ(-EINVAL, weft_listener_addr(good, NULL));
    CHECK_EQ(-EINVAL, weft_listener_fd(NULL));
    CHECK_EQ(-EINVAL, weft_connect(NULL, "127.0.0.1:1"));
    CHECK_EQ(-EINVAL, weft_connect(&s, NULL));
    CHECK_EQ(-EINVAL, weft_connect(&s, "tcp://"));
    CHECK_EQ(-ENOTSUP, weft_connect(&s, "unix:///tmp/x"));
    CHECK_EQ(-EINVAL, weft_tcp_connect(NULL, &a, NULL));
    CHECK_EQ(-EINVAL, weft_tcp_connect(&s, NULL, NULL));
    for (size_t i = 0; i < sizeof(bad_connect) / sizeof(bad_connect[0]); i++) {
        weft_future f = weft_tcp_connect_future(&s, &a, &bad_connect[i]);

        CHECK_EQ(-EINVAL, weft_tcp_connect(&s, &a, &bad_connect[i]));
        CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
        CHECK_EQ(-EINVAL, f.result);
    }
    CHECK(l == NULL && s == NULL);
}

static void refuse_text(void)
{
    CHECK(strlen(weft_strerror(0)) > 0);
    CHECK(strlen(weft_strerror(-EINVAL)) > 0);
    CHECK_STR(weft_strerror(-EINVAL), weft_strerror(EINVAL));
    CHECK(weft_strerror(SSIZE_MAX) != NULL);
    CHECK(weft_strerror(-SSIZE_MAX - 1) != NULL);
    CHECK_STR(WEFT_VERSION, weft_version());
    errno = 5;
    CHECK_EQ(5, *weft_errno_location());
}

/* --- what only fibers may do ------------------------------------------------------------ */

/* Each straight-line call answers -EPERM, also where it need not wait. */
static void refuse_awaits(weft_task *t, weft_stream *s, weft_listener *l)
{
    weft_future f = weft_ready_future(0), *list[] = {&f};
    char byte = 0;
    struct iovec part = {&byte, 1};
    weft_futures *set = weft_futures_new();
    weft_stream *out = NULL;
    weft_addr a;
    weft_deadline d;
    weft_shield shield;

    CHECK_EQ(-EPERM, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(-EPERM, weft_for_each_concurrent(1, 0, give_nothing, NULL, NULL));
    weft_futures_free(set);
    CHECK_EQ(0, weft_addr_ip(&a, "127.0.0.1", 1));
    CHECK_EQ(-EPERM, weft_await(&f));
    CHECK_EQ(-EPERM, weft_timeout(WEFT_FOREVER, &f));
    CHECK_EQ(-EPERM, weft_select_n(list, 1, WEFT_SELECT_KEEP));
    CHECK_EQ(-EPERM, weft_select(&f));
    CHECK_EQ(-EPERM, weft_join_all_n(list, 1));
    CHECK_EQ(-EPERM, weft_try_join_all_n(list, 1));
    CHECK_EQ(-EPERM, weft_join_all_with(list, 1, WEFT_JOIN_BIASED));
    CHECK(!weft_future_is_ready(&f)); /* untouched */
    CHECK_EQ(-EPERM, weft_sleep(0));
    CHECK_EQ(-EPERM, weft_sleep_until(0));
    CHECK_EQ(-EPERM, weft_yield());
    CHECK_EQ(-EPERM, weft_consume_budget());
    CHECK_EQ(-EPERM, weft_unconstrained(return_zero, NULL));
    CHECK_EQ(-EPERM, weft_defer(do_nothing, NULL));
    CHECK_EQ(-EPERM, weft_join(t, NULL));
    CHECK_EQ(-EPERM, weft_read(s, &byte, 1));
    CHECK_EQ(-EPERM, weft_read(s, NULL, 0));
    CHECK_EQ(-EPERM, weft_write(s, &byte, 1));
    CHECK_EQ(-EPERM, weft_readv(s, &part, 1));
    CHECK_EQ(-EPERM, weft_writev(s, &part, 1));
    CHECK_EQ(-EPERM, weft_read_exact(s, &byte, 1));
    CHECK_EQ(-EPERM, weft_write_all(s, &byte, 1));
    CHECK_EQ(-EPERM, weft_accept(l, &out));
    CHECK_EQ(-EPERM, weft_tcp_connect(&out, &a, NULL));
    CHECK_EQ(-EPERM, weft_connect(&out, "127.0.0.1:1"));
    CHECK(out == NULL);

    /* These do nothing. */
    CHECK(weft_deadline_enter(&d, 0) == &d);
    CHECK(!weft_deadline_passed());
    CHECK(weft_deadline_current() == WEFT_FOREVER);
    weft_deadline_leave(&d);
    CHECK(weft_shield_enter(&shield) == &shield);
    CHECK(!weft_is_cancelled());
    weft_shield_leave(&shield);
}

/* Tasks that belong together: a group that is not there, one that nobody can spawn into, waiting where one cannot. */
static void refuse_groups(bool in_task)
{
    int fiber = weft_consume_budget() == 0 ? 0 : -EPERM;
    weft_join_set *set = weft_join_set_new();
    weft_join_map *map = weft_join_map_new();
    weft_key key = weft_key_number(1);
    weft_scope scope;
    int rc = 5;

    CHECK_EQ(-EINVAL, weft_join_set_spawn(NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn(set, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_copy(set, return_zero, NULL, 1));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_async(set, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_next(NULL, NULL));
    CHECK_EQ(fiber, weft_join_set_next(set, NULL));
    CHECK_EQ(in_task ? -EDEADLK : 0, weft_join_set_next_blocking(set, NULL));
    CHECK_EQ(fiber, weft_join_set_shutdown(set));
    refuse_future(weft_join_set_join_all_future(NULL, NULL, NULL), -EINVAL);
    refuse_future(weft_join_set_shutdown_future(NULL), -EINVAL);
    refuse_future(weft_join_map_shutdown_future(NULL), -EINVAL);
    CHECK_EQ(-EINVAL, weft_join_set_get_info(set, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_spawn(map, key, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_spawn(map, weft_key_bytes("", SIZE_MAX), return_zero, NULL));
    CHECK_EQ(fiber, weft_join_map_next(map, NULL));
    CHECK_EQ(-ENOENT, weft_join_map_cancel(map, key));
    if (!in_task) {
        CHECK_EQ(-EPERM, weft_join_set_spawn(set, return_zero, NULL));
        CHECK_EQ(-EPERM, weft_join_map_spawn(map, key, return_zero, NULL));
        CHECK_EQ(-EPERM, weft_join_set_set_deadline(set, 1));
    }
    weft_join_set_free(set);
    weft_join_map_free(map);
    CHECK(weft_scope_enter(NULL, &rc) == NULL);
    CHECK(weft_scope_enter(&scope, fiber == 0 ? NULL : &rc) == &scope);
    CHECK_EQ(fiber == 0 ? 5 : -EPERM, rc);
    CHECK_EQ(fiber == 0 ? -EINVAL : -EPERM, weft_scope_spawn(&scope, NULL, NULL));
    CHECK_EQ(fiber, weft_scope_wait(&scope));
    refuse_future(weft_scope_wait_future(NULL), -EINVAL);
    if (fiber != 0)
        refuse_future(weft_scope_wait_future(&scope), -EPERM);
    weft_scope_leave(&scope);
    weft_scope_leave(&scope);
    CHECK_EQ(-EPERM, weft_scope_spawn(&scope, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_scope_spawn(NULL, return_zero, NULL));
}

/* --- the three places --------------------------------------------------------------------- */

struct place {
    weft_runtime *rt;
    weft_task *task; /* has ended */
    weft_stream *stream;
    weft_listener *listener;
};

static void refuse_all(const struct place *p, bool in_task)
{
    refuse_tasks();
    refuse_spawns(in_task);
    refuse_futures();
    refuse_sets(in_task);
    refuse_groups(in_task);
    refuse_runtimes();
    refuse_runtime(p->rt);
    refuse_streams(p->stream);
    refuse_net(p->listener);
    refuse_text();
}

static void place_open(struct place *p, weft_runtime *rt)
{
    int ends[2];

    p->rt = rt;
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    CHECK_EQ(0, weft_stream_from_fd(&p->stream, ends[0]));
    (void)close(ends[1]);
    CHECK_EQ(0, weft_listen(&p->listener, "127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_spawn_on(rt, &p->task, NULL, return_zero, NULL));
    CHECK_EQ(0, weft_block_on(rt, return_zero, NULL, NULL));
}

static void place_close(struct place *p)
{
    CHECK_EQ(0, weft_close(p->stream));
    CHECK_EQ(0, weft_listener_close(p->listener));
    weft_detach(p->task);
    test_runtime_free(p->rt);
}

static int in_fiber(void *arg)
{
    const struct place *p = arg;
    weft_future list[10];
    weft_stream *s = NULL;

    refuse_all(p, true);
    CHECK_EQ(-ENOMEM, weft_join(NULL, NULL));
    CHECK_EQ(-EDEADLK, weft_block_on(p->rt, return_zero, NULL, NULL));
    CHECK_EQ(-EDEADLK, weft_join_blocking(p->task, NULL));

    /* Constructors answer when they are awaited. */
    list[0] = weft_timeout_future(0, NULL);
    list[1] = weft_read_future(NULL, NULL, 0);
    list[2] = weft_write_all_future(p->stream, NULL, 1);
    list[3] = weft_accept_future(NULL, NULL);
    list[4] = weft_tcp_connect_future(NULL, NULL, NULL);
    list[5] = weft_timeout_future(WEFT_SECS(1), NULL);
    list[6] = weft_select_future(NULL, 0, 0);
    list[7] = weft_join_all_future(NULL, 1);
    list[8] = weft_connect_future(NULL, "127.0.0.1:1");
    list[9] = weft_connect_future(&s, NULL);
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        CHECK_EQ(-EINVAL, weft_await(&list[i]));
    list[0] = weft_join_future(NULL);
    CHECK_EQ(-ENOMEM, weft_await(&list[0]));
    return 0;
}

struct stackless {
    weft_async async;
    const struct place *place;
    weft_future f;
};

static weft_poll in_stackless(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    refuse_all(s->place, true);
    refuse_awaits(s->place->task, s->place->stream, s->place->listener);
    CHECK_EQ(-EDEADLK, weft_block_on(s->place->rt, return_zero, NULL, NULL));
    CHECK_EQ(-EDEADLK, weft_join_blocking(s->place->task, NULL));
    CHECK_EQ(0, weft_go(return_zero, NULL)); /* spawning is fine */
    WEFT_AWAIT(s, cx, NULL);                 /* nothing to wait for */
    s->f = (weft_future){0};
    WEFT_AWAIT(s, cx, &s->f);
    s->f = weft_select_future(NULL, 0, 0);
    WEFT_AWAIT(s, cx, &s->f);
    WEFT_RETURN(s, (int)s->f.result);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = in_stackless,
                                               .size = sizeof(struct stackless)};

static int spawn_stackless(void *arg)
{
    struct stackless state = {.place = arg};
    int result = 7;

    CHECK_EQ(0, weft_join(weft_spawn_async(&stackless_type, &state), &result));
    CHECK_EQ(-EINVAL, result);
    return 0;
}

TEST(a_plain_thread_gets_codes_not_crashes)
{
    hush();
    for (size_t i = 0; i < 3; i++) {
        struct place p;

        place_open(&p, test_runtime_new(&test_flavours[i]));
        CHECK_EQ(-EINVAL, weft_block_on(p.rt, NULL, NULL, NULL));
        refuse_all(&p, false);
        refuse_awaits(p.task, p.stream, p.listener);
        CHECK_EQ(-EPERM, weft_task_local_set((const weft_local_key *)&p, NULL));
        CHECK(weft_task_self() == NULL);
        CHECK(weft_runtime_current() == NULL);
        CHECK(!weft_is_cancelled());
        CHECK(!weft_should_yield());
        place_close(&p);
    }
}

TEST(a_fiber_gets_codes_not_crashes)
{
    hush();
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct place p;

        place_open(&p, test_runtime_new(&test_flavours[i]));
        CHECK_EQ(0, weft_block_on(p.rt, in_fiber, &p, NULL));
        place_close(&p);
    }
}

TEST(a_stackless_task_gets_codes_not_crashes)
{
    hush();
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct place p;

        place_open(&p, test_runtime_new(&test_flavours[i]));
        CHECK_EQ(0, weft_block_on(p.rt, spawn_stackless, &p, NULL));
        place_close(&p);
    }
}

static int stays(void *arg)
{
    weft_future f = weft_pending_future();

    (void)arg;
    return (int)weft_await(&f);
}

TEST(a_runtime_that_was_shut_down_takes_no_more)
{
    hush();
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        weft_async_type type = stackless_type;
        struct stackless state = {.place = NULL};
        weft_task *t = NULL, *early = NULL;
        int result = 7;

        CHECK_EQ(0, weft_spawn_on(rt, &early, NULL, stays, NULL));
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
        CHECK_EQ(0, weft_runtime_shutdown(rt, 0)); /* again: nothing is left */
        CHECK_EQ(-ESHUTDOWN, weft_spawn_on(rt, &t, NULL, return_zero, NULL));
        CHECK_EQ(-ESHUTDOWN, weft_spawn_async_on(rt, &t, NULL, &type, &state));
        CHECK_EQ(-ESHUTDOWN, weft_block_on(rt, return_zero, NULL, NULL));
        CHECK(t == NULL);
        CHECK_EQ(0, weft_join_blocking(early, &result));
        CHECK_EQ(-ECANCELED, result);
        test_runtime_free(rt);
    }
}

TEST_MAIN("misuse", a_plain_thread_gets_codes_not_crashes, a_fiber_gets_codes_not_crashes,
          a_stackless_task_gets_codes_not_crashes, a_runtime_that_was_shut_down_takes_no_more)
