/* SPDX-License-Identifier: MIT */
/*
 * test_cxx.cpp - the headers as C++17: what is a macro in C and a template here, the blocks that
 * clean up, stackless tasks, futures of one's own, exceptions.
 */
#include "support.h"

#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>

static_assert(std::is_trivially_copyable<weft_future>::value, "a future is a plain value");
static_assert(std::is_standard_layout<weft_task_options>::value, "so are options");
static_assert(WEFT_MS(3) == 3000000u && WEFT_US(3) == 3000u && WEFT_NS(3) == 3u, "constants");
static_assert(WEFT_SECS(UINT64_MAX) == WEFT_FOREVER, "that saturate");

/* --- combinators ------------------------------------------------------------------- */

static int first_of_several(void *)
{
    weft_future never = weft_pending_future(), now = weft_ready_future(7);
    weft_future late = weft_sleep_future(WEFT_SECS(100));

    CHECK_EQ(1, weft_select(&never, &now));
    CHECK_EQ(7, now.result);

    never = weft_pending_future();
    now = weft_ready_future(8);
    weft_future also = weft_ready_future(9);
    CHECK_EQ(1, weft_select_biased(&never, &now, &also));
    CHECK_EQ(8, now.result);

    /* The loser is asked again, and wins in its turn. */
    weft_future soon = weft_sleep_future(WEFT_MS(1));
    now = weft_ready_future(10);
    CHECK_EQ(0, weft_select_keep(&now, &soon));
    CHECK(!weft_future_is_ready(&soon));
    CHECK_EQ(1, weft_select_keep(&late, &soon));
    weft_future_drop(&late);
    CHECK(weft_future_is_ready(&soon));
    return 0;
}

static int all_of_several(void *)
{
    weft_future a = weft_ready_future(1), b = weft_sleep_future(WEFT_US(200));
    weft_future c = weft_yield_future();

    CHECK_EQ(0, weft_join_all(&a, &b, &c));
    CHECK_EQ(1, a.result);
    CHECK_EQ(0, b.result);

    a = weft_ready_future(-ENOENT);
    b = weft_sleep_future(WEFT_SECS(100));
    CHECK_EQ(-ENOENT, weft_try_join_all(&a, &b));
    a = weft_ready_future(1);
    b = weft_ready_future(2);
    CHECK_EQ(0, weft_try_join_all(&a, &b));
    a = weft_ready_future(1);
    b = weft_ready_future(-EIO);
    CHECK_EQ(0, weft_join_all_biased(&a, &b));
    a = weft_pending_future();
    b = weft_ready_future(-EIO);
    CHECK_EQ(-EIO, weft_try_join_all_biased(&a, &b));
    return 0;
}

static int doubles(void *arg)
{
    return 2 * *static_cast<int *>(arg);
}

static int a_set(void *)
{
    weft_futures *set = weft_futures_new();
    int of = 4;
    uint64_t tag;
    ssize_t result, sum = 0;

    CHECK(set != nullptr);
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(1), 1));
    CHECK_EQ(0, weft_futures_spawn(set, doubles, &of, 8));
    CHECK_EQ(0, weft_futures_spawn_copy(set, doubles, &of, sizeof(of), 8));
    while (weft_futures_next(set, &tag, &result) > 0) {
        CHECK_EQ(tag, static_cast<uint64_t>(result));
        sum += result;
    }
    CHECK_EQ(17, sum);
    weft_futures_free(set);
    return 0;
}

TEST(the_templates_are_the_macros_of_c)
{
    test_run(first_of_several, NULL);
    test_run(all_of_several, NULL);
    test_run(a_set, NULL);
}

END_TEST

/* --- blocks ------------------------------------------------------------------------ */

static int leave_by_return(weft_instant *inside)
{
    WEFT_DEADLINE(WEFT_SECS(50))
    {
        *inside = weft_deadline_current();
        return 3;
    }
    return 4;
}

static int leave_by_throw(void)
{
    WEFT_DEADLINE(WEFT_SECS(50))
    {
        WEFT_SHIELD
        {
            throw std::runtime_error("out");
        }
    }
    return 0;
}

static int deadlines(void *)
{
    weft_instant inside = 0;
    int rounds = 0, rc = 0;

    WEFT_DEADLINE(WEFT_MS(1))
    {
        rc = weft_sleep(WEFT_SECS(100));
        CHECK(weft_deadline_passed());
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK(!weft_deadline_passed());

    /* break and continue leave the block, not the loop around it. */
    for (int i = 0; i < 3; i++) {
        WEFT_DEADLINE(WEFT_SECS(50))
        {
            if (i == 0)
                break;
            if (i == 1)
                continue;
            rounds += 10;
        }
        CHECK(weft_deadline_current() == WEFT_FOREVER);
        rounds++;
    }
    CHECK_EQ(13, rounds);

    CHECK_EQ(3, leave_by_return(&inside));
    CHECK(inside != 0 && inside != WEFT_FOREVER);
    CHECK(weft_deadline_current() == WEFT_FOREVER);

    WEFT_DEADLINE_AT(weft_instant_add(weft_now(), WEFT_MS(1)))
    {
        rc = weft_sleep(WEFT_SECS(100));
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    return 0;
}

static int exceptions(void *)
{
    int caught = 0;

    try {
        leave_by_throw();
    } catch (const std::runtime_error &) {
        caught++; /* no wait in here */
    }
    CHECK_EQ(1, caught);
    CHECK(weft_deadline_current() == WEFT_FOREVER);
    CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(a_deadline_is_left_by_break_continue_return_and_throw)
{
    test_run(deadlines, NULL);
    test_run(exceptions, NULL);
}

END_TEST

static weft_once once_in_cxx = WEFT_ONCE_INIT;
static weft_set_once set_in_cxx = WEFT_SET_ONCE_INIT;
static weft_notify notify_in_cxx = WEFT_NOTIFY_INIT;
static weft_barrier barrier_in_cxx = WEFT_BARRIER_INIT(1);

static void cancels_by_throw(weft_cancel_token *t, bool disarm)
{
    WEFT_CANCEL_SCOPE(guard, t)
    {
        if (disarm)
            weft_cancel_scope_disarm(guard);
        throw std::runtime_error("out");
    }
}

static int cancel_scopes(void *)
{
    for (int disarm = 0; disarm < 2; disarm++) {
        weft_cancel_token *t = weft_cancel_token_new(nullptr);

        try {
            cancels_by_throw(t, disarm != 0);
        } catch (const std::runtime_error &) {
            CHECK_EQ(disarm == 0, weft_cancel_token_is_cancelled(t));
        }
        weft_cancel_token_free(t);
    }
    CHECK_EQ(0, weft_once_run(
                    &once_in_cxx, [](void *) { return 0; }, nullptr));
    (void)weft_set_once_set(&set_in_cxx, &set_in_cxx);
    CHECK(weft_set_once_get(&set_in_cxx) == &set_in_cxx);
    weft_notify_one(&notify_in_cxx);
    CHECK_EQ(0, weft_notify_wait(&notify_in_cxx));
    CHECK_EQ(1, weft_barrier_wait(&barrier_in_cxx));
    return 0;
}

TEST(a_cancel_scope_is_left_by_throw)
{
    test_run(cancel_scopes, NULL);
}

END_TEST

/* Ends when it is cancelled; cleans up in a shield. */
static int cleans_up(void *arg)
{
    std::atomic<int> *seen = static_cast<std::atomic<int> *>(arg);
    int rc = weft_sleep(WEFT_SECS(100)), shielded = -1;

    WEFT_SHIELD
    {
        CHECK(!weft_is_cancelled());
        shielded = weft_sleep(WEFT_US(100));
        if (shielded == 0)
            break;
        shielded = -1;
    }
    CHECK_EQ(0, shielded);
    CHECK(weft_is_cancelled());
    seen->fetch_add(1);
    return rc;
}

static int shields(void *)
{
    std::atomic<int> seen{0};
    weft_task *t = weft_spawn(cleans_up, &seen);
    weft_task_info info;
    int result = 0;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(1, seen.load());
    return 0;
}

TEST(a_shield_lets_a_cancelled_task_wait)
{
    test_run(shields, NULL);
}

END_TEST

/* --- spawning ---------------------------------------------------------------------- */

struct order {
    int amount;
    double price;
    char name[24];
};

static int total(void *arg)
{
    const order *o = static_cast<const order *>(arg);

    CHECK_STR("wool", o->name);
    return static_cast<int>(o->amount * o->price);
}

static int count_up(void *arg)
{
    static_cast<std::atomic<int> *>(arg)->fetch_add(1);
    return 0;
}

static int spawning(void *)
{
    std::atomic<int> ended{0};
    order o = {4, 2.5, "wool"};
    int result = 0;

    weft_task *t = weft_spawn_copy(total, &o, sizeof(o));
    std::memset(&o, 0, sizeof(o));
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(10, result);

    weft_task_options options = {};
    options.name = "named";
    t = weft_spawn_with(&options, total, &o);
    CHECK_STR("named", weft_task_name(t));
    std::strcpy(o.name, "wool");
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);

    /* A lambda that captures nothing is a function; the commas in it are none of the macro's. */
    t = weft_spawn(
        [](void *) {
            int a = 20, b = 22;
            return a + b;
        },
        NULL);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(42, result);

    CHECK_EQ(0, weft_go(count_up, &ended));
    std::atomic<int> *where = &ended;
    CHECK_EQ(0, weft_go_copy([](void *p) { return count_up(*static_cast<std::atomic<int> **>(p)); },
                             &where, sizeof(where)));
    while (ended.load() < 2)
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(tasks_are_spawned_from_functions_and_lambdas)
{
    test_run(spawning, NULL);
}

END_TEST

/* --- stackless tasks --------------------------------------------------------------- */

struct walker {
    weft_async async; /* comes first */
    weft_future step;
    int i, sum;
};

static weft_poll walker_poll(void *self, weft_context *cx)
{
    walker *w = static_cast<walker *>(self);

    WEFT_ASYNC_BEGIN(w);
    for (w->i = 0; w->i < 5; w->i++) {
        w->step = weft_sleep_future(WEFT_US(50));
        WEFT_AWAIT(w, cx, &w->step);
        w->step = weft_ready_future(w->i);
        WEFT_AWAIT(w, cx, &w->step);
        w->sum += static_cast<int>(w->step.result);
    }
    WEFT_RETURN(w, w->sum);
    WEFT_ASYNC_END(w);
}

static const weft_async_type walker_type = {walker_poll, nullptr, sizeof(walker), "walker"};

static int stackless(void *)
{
    walker state = {};
    int result = 0;

    CHECK_EQ(0, weft_join(weft_spawn_async(&walker_type, &state), &result));
    CHECK_EQ(10, result);
    CHECK_EQ(0, weft_go_async(&walker_type, &state));
    return 0;
}

TEST(a_stackless_task_reads_as_straight_code)
{
    test_run(stackless, NULL);
}

END_TEST

/* --- a future of one's own --------------------------------------------------------- */

/* Ready when somebody has opened it. */
class gate
{
  public:
    weft_future passing()
    {
        static const weft_future_type type = {poll, drop, "gate"};
        weft_future f = weft_future_of(&type);

        f.words[0] = reinterpret_cast<uintptr_t>(this);
        return f;
    }

    void open(ssize_t value)
    {
        weft_waker waker;
        {
            std::lock_guard<std::mutex> held(lock_);
            open_ = true;
            value_ = value;
            waker = take();
        }
        weft_waker_wake(&waker);
    }

  private:
    static gate *of(const weft_future *f)
    {
        return reinterpret_cast<gate *>(f->words[0]);
    }

    static weft_poll poll(weft_future *f, weft_context *cx)
    {
        gate *g = of(f);
        weft_waker old = {};
        bool open;
        {
            std::lock_guard<std::mutex> held(g->lock_);
            open = g->open_;
            if (!open) {
                old = g->take();
                g->waiting_ = weft_context_waker(cx);
            }
            f->result = g->value_;
        }
        weft_waker_drop(&old);
        return open ? WEFT_READY : WEFT_PENDING;
    }

    static void drop(weft_future *f)
    {
        gate *g = of(f);
        weft_waker old;
        {
            std::lock_guard<std::mutex> held(g->lock_);
            old = g->take();
        }
        weft_waker_drop(&old);
    }

    weft_waker take()
    {
        weft_waker w = waiting_;

        waiting_ = weft_waker{};
        return w;
    }

    std::mutex lock_;
    bool open_ = false;
    ssize_t value_ = 0;
    weft_waker waiting_ = {};
};

static int open_gate(void *arg)
{
    static_cast<gate *>(arg)->open(77);
    return 0;
}

static int own_future(void *)
{
    gate g;
    weft_future f = g.passing(), limit = weft_sleep_future(WEFT_MS(1));

    CHECK_EQ(1, weft_select(&f, &limit)); /* and f was dropped */
    f = g.passing();
    weft_task *t = weft_spawn(open_gate, &g);
    CHECK_EQ(77, weft_await(&f));
    CHECK_EQ(0, weft_join(t, NULL));
    f = g.passing();
    CHECK_EQ(77, weft_timeout(WEFT_SECS(100), &f));
    return 0;
}

TEST(a_future_may_be_made_of_a_class)
{
    test_run(own_future, NULL);
}

END_TEST

/* --- exceptions -------------------------------------------------------------------- */

/* Counts those that were left, however that was. */
struct counted {
    std::atomic<int> &left;

    explicit counted(std::atomic<int> &l) : left(l)
    {
    }

    ~counted()
    {
        left++;
    }
};

__attribute__((noinline)) static int throw_below(int depth, std::atomic<int> &left)
{
    counted here(left);

    if (depth == 0)
        throw std::out_of_range("deep");
    return throw_below(depth - 1, left) + 1;
}

/* Each round unwinds ten frames of this fiber's stack, perhaps on another thread than the last one. */
static int throw_and_catch(void *)
{
    std::atomic<int> left(0);

    for (int i = 1; i <= 100; i++) {
        bool caught = false;

        try {
            throw_below(9, left);
        } catch (const std::out_of_range &e) {
            CHECK_STR("deep", e.what());
            caught = true;
        }
        CHECK(caught);
        CHECK_EQ(10 * i, left.load());
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int many_throw_and_catch(void *)
{
    weft_task *tasks[8];

    for (auto &t : tasks) {
        t = weft_spawn(throw_and_catch, nullptr);
        CHECK(t != nullptr);
    }
    for (auto t : tasks) {
        int result = -1;

        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(0, result);
    }
    return 0;
}

TEST(an_exception_is_thrown_and_caught_on_the_stack_of_a_fiber)
{
    test_run(many_throw_and_catch, nullptr);
}

END_TEST

static int throw_and_leave(void *)
{
    throw std::runtime_error("nobody wants it");
}

/* The search for a handler ends at the root of the fiber, so that the program is told. */
TEST(an_exception_that_nobody_catches_ends_the_program)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        std::set_terminate([] { _exit(std::current_exception() ? 7 : 8); });
        (void)weft_run(throw_and_leave, nullptr);
        _exit(9);
    }
    CHECK_EQ(child, waitpid(child, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(7, WEXITSTATUS(status));
}

END_TEST

/* --- the rest ---------------------------------------------------------------------- */

/* Objects live across waits, and errno is the running thread's. */
static int objects(void *)
{
    std::string text(1000, 'w');

    for (int i = 0; i < 20; i++) {
        errno = 1000 + i;
        CHECK_EQ(1000 + i, errno);
        CHECK_EQ(0, weft_yield());
        errno = 0;
        CHECK(std::strtoul("99999999999999999999999999", nullptr, 10) == ULONG_MAX);
        CHECK_EQ(ERANGE, errno);
        text += 'x';
    }
    CHECK_EQ(1020, text.size());
    return 0;
}

/* --- channels -------------------------------------------------------------------------- */

struct named {
    int id;
    char name[12];
};

WEFT_CHANNEL(named, names)
WEFT_ONESHOT(named, one_name)

static int through_channels(void *)
{
    const named sent = {7, "seven"};
    one_name_receiver one_rx;
    one_name_sender one_tx;
    names_receiver rx;
    names_sender tx;
    named got = {};

    CHECK_EQ(0, names_new(&tx, &rx, 3));
    CHECK_EQ(0, names_send(tx, &sent));
    CHECK_EQ(1, names_recv(rx, &got));
    CHECK_STR("seven", got.name);
    names_sender_close(tx);
    CHECK_EQ(0, names_try_recv(rx, &got));
    names_receiver_close(rx);
    CHECK_EQ(0, one_name_new(&one_tx, &one_rx));
    CHECK_EQ(0, one_name_send(one_tx, &sent));
    CHECK_EQ(1, one_name_recv(one_rx, &got));
    CHECK_EQ(7, got.id);
    one_name_receiver_close(one_rx);
    return 0;
}

TEST(a_channel_has_a_type)
{
    test_run(through_channels, nullptr);
}

END_TEST

/* Left by return, with children that use what is around it. */
static int scope_sum(weft_scope **left, int *rc)
{
    std::atomic<int> sum{0};

    WEFT_SCOPE(s, rc)
    {
        for (int i = 0; i < 10; i++)
            CHECK(weft_scope_spawn(s, count_up, &sum) > 0);
        CHECK_EQ(0, weft_scope_wait(s));
        *left = s;
        return sum.load();
    }
    return -1;
}

static int groups(void *)
{
    weft_scope *left = nullptr;
    weft_join_set_options options = {};
    weft_join_set *set = nullptr;
    weft_join_done done;
    std::atomic<int> sum{0};
    int rc = 1;

    CHECK_EQ(10, scope_sum(&left, &rc));
    CHECK(rc == 0 && left != nullptr);
    options.ordered = true;
    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(set, count_up, &sum) > 0);
    while (weft_join_set_next(set, &done) > 0)
        CHECK_EQ(0, done.result);
    CHECK_EQ(10, sum.load());
    weft_join_set_free(set);
    return 0;
}

TEST(sets_and_scopes_are_those_of_c)
{
    test_run(groups, NULL);
}

END_TEST

TEST(errno_is_looked_up_at_each_use)
{
    test_run(objects, NULL);
}

END_TEST

TEST(a_runtime_is_built_from_a_config)
{
    weft_config config = {};
    weft_runtime *rt = nullptr;
    weft_metrics m;
    weft_task *t = nullptr;
    std::atomic<int> ran{0};
    int result = -1;

    config.worker_threads = 2;
    config.ignore_env = WEFT_ON;
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_spawn_on(rt, &t, nullptr, count_up, &ran));
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(0, weft_block_on(rt, count_up, &ran, &result));
    CHECK_EQ(2, ran.load());
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK_EQ(2, m.spawned);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
    weft_runtime_free(rt);
}

END_TEST

/* --- locks ----------------------------------------------------------------------- */

static weft_mutex mutex = WEFT_MUTEX_NAMED("of C++");
static weft_rwlock table = WEFT_RWLOCK_INIT;
static weft_semaphore permits = WEFT_SEMAPHORE_INIT(2);

static void throws_inside(int *rc)
{
    WEFT_LOCK_SCOPE(&mutex, rc)
    {
        CHECK(weft_mutex_is_held(&mutex));
        throw std::runtime_error("out of the block");
    }
}

static int locks(void *)
{
    int rc = 99, caught = 0;

    try {
        throws_inside(&rc);
    } catch (const std::runtime_error &) {
        caught++;
    }
    CHECK_EQ(1, caught);
    CHECK_EQ(0, rc);
    CHECK(!weft_mutex_is_held(&mutex));
    CHECK_EQ(0, weft_rwlock_write_lock(&table));
    CHECK_EQ(0, weft_rwlock_downgrade(&table));
    CHECK_EQ(0, weft_rwlock_read_unlock(&table));
    CHECK_EQ(0, weft_semaphore_acquire_many(&permits, 2));
    CHECK_EQ(0, weft_semaphore_release(&permits, 2));
    return 0;
}

TEST(a_lock_is_given_back_by_a_throw)
{
    test_run(locks, NULL);
}

END_TEST

TEST_MAIN("cxx", the_templates_are_the_macros_of_c,
          a_deadline_is_left_by_break_continue_return_and_throw, a_cancel_scope_is_left_by_throw,
          an_exception_is_thrown_and_caught_on_the_stack_of_a_fiber,
          an_exception_that_nobody_catches_ends_the_program, a_shield_lets_a_cancelled_task_wait,
          tasks_are_spawned_from_functions_and_lambdas, a_stackless_task_reads_as_straight_code,
          a_future_may_be_made_of_a_class, a_channel_has_a_type, sets_and_scopes_are_those_of_c, errno_is_looked_up_at_each_use,
          a_runtime_is_built_from_a_config, a_lock_is_given_back_by_a_throw)
