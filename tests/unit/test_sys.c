/* SPDX-License-Identifier: MIT */
/*
 * test_sys.c - the quotas of cgroups, read from files like the kernel's in a folder of our own; and what a thread has
 * computed.
 */
#include "base/clock.h"
#include "base/sys.h"
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In place of /sys/fs/cgroup and /proc/self/cgroup. */
struct tree {
    char mount[64];
    char list[80];
};

static void tree_remove(const struct tree *t)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", t->mount);
    CHECK_EQ(0, system(command)); /* NOLINT: a name that mkdtemp made */
}

static void tree_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0);
    CHECK_EQ(0, fclose(f));
}

/* A file of a cgroup, with all the folders on the way. */
static void tree_set(const struct tree *t, const char *name, const char *text)
{
    char path[2048];
    int size = snprintf(path, sizeof(path), "%s/%s", t->mount, name);

    CHECK(size > 0 && (size_t)size < sizeof(path));
    for (char *at = path + strlen(t->mount) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    tree_write(path, text);
}

static struct tree tree_new(const char *list)
{
    struct tree t = {.mount = "/tmp/weft-test-sys-XXXXXX"};

    CHECK(mkdtemp(t.mount) != NULL);
    (void)snprintf(t.list, sizeof(t.list), "%s/list", t.mount);
    tree_write(t.list, list);
    return t;
}

static unsigned tree_cpus(const struct tree *t)
{
    return wf_sys_cgroup_cpus(t->list, t->mount);
}

TEST(no_quota_is_zero)
{
    struct tree t = tree_new("0::/a/b\n");

    CHECK_EQ(0, tree_cpus(&t));
    tree_set(&t, "a/b/cpu.max", "max 100000\n");
    tree_set(&t, "a/cpu.max", "max 100000\n");
    CHECK_EQ(0, tree_cpus(&t));
    tree_remove(&t);
    CHECK_EQ(0, tree_cpus(&t)); /* nothing there at all */
}

END_TEST

TEST(a_quota_is_rounded_up_to_whole_processors)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } cases[] = {
        {"200000 100000\n", 2}, {"200001 100000\n", 3}, {"1000 100000\n", 1},
        {"100000 100000\n", 1}, {"150000 50000", 3},    {"9223372036854775807 1\n", 0},
        {"100000 0\n", 0},      {"100000\n", 0},        {"", 0},
        {"nonsense\n", 0},      {"-1 100000\n", 0},
    };
    struct tree t = tree_new("0::/a\n");

    for (size_t i = 0; i < wf_array_count(cases); i++) {
        tree_set(&t, "a/cpu.max", cases[i].text);
        if (tree_cpus(&t) != cases[i].cpus)
            test_failed(__FILE__, __LINE__, "\"%s\" gives %u", cases[i].text, tree_cpus(&t));
    }
    tree_remove(&t);
}

END_TEST

TEST(the_smallest_quota_up_to_the_root_counts)
{
    struct tree t = tree_new("0::/a/b/c\n");

    tree_set(&t, "a/b/c/cpu.max", "800000 100000\n");
    CHECK_EQ(8, tree_cpus(&t));
    tree_set(&t, "a/b/cpu.max", "max 100000\n");
    CHECK_EQ(8, tree_cpus(&t));
    tree_set(&t, "a/cpu.max", "500000 100000\n");
    CHECK_EQ(5, tree_cpus(&t));
    tree_set(&t, "cpu.max", "600000 100000\n");
    CHECK_EQ(5, tree_cpus(&t));
    tree_set(&t, "cpu.max", "300000 100000\n");
    CHECK_EQ(3, tree_cpus(&t));
    tree_set(&t, "a/b/c/cpu.max", "100000 100000\n");
    CHECK_EQ(1, tree_cpus(&t));
    /* A neighbour's, or one further down, is none of ours. */
    tree_set(&t, "a/b/c/d/cpu.max", "1000 100000\n");
    tree_set(&t, "a/b/cc/cpu.max", "1000 100000\n");
    tree_set(&t, "a/b/c/cpu.max", "200000 100000\n");
    CHECK_EQ(2, tree_cpus(&t));
    tree_remove(&t);
}

END_TEST

/* In a container the list may tell the host's path, which its mount does not show; or one that
 * begins outside of the root of a cgroup namespace. */
TEST(a_path_that_is_not_mounted_leaves_the_root)
{
    static const char *const lists[] = {
        "0::/docker/0123\n", "0::/\n", "0::/../../other\n", "0::/..\n", "0::\n",
        "nonsense\n",        "0:",     "1:name=x:/",        "\n"};

    for (size_t i = 0; i < wf_array_count(lists); i++) {
        struct tree t = tree_new(lists[i]);

        tree_set(&t, "cpu.max", "200000 100000\n");
        CHECK_EQ(2, tree_cpus(&t));
        CHECK_EQ(0, unlink(t.list));
        CHECK_EQ(2, tree_cpus(&t));
        tree_remove(&t);
    }
}

END_TEST

TEST(the_first_version_of_cgroups_is_read_too)
{
    struct tree t = tree_new("12:cpuset:/x\n4:cpu,cpuacct:/a/b\n1:name=systemd:/y\n0::/z\n");

    tree_set(&t, "cpu/a/b/cpu.cfs_quota_us", "-1\n");
    tree_set(&t, "cpu/a/b/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(0, tree_cpus(&t));
    tree_set(&t, "cpu/a/cpu.cfs_quota_us", "250000\n");
    CHECK_EQ(0, tree_cpus(&t)); /* no period */
    tree_set(&t, "cpu/a/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(3, tree_cpus(&t));
    tree_set(&t, "cpu/a/b/cpu.cfs_quota_us", "50000\n");
    CHECK_EQ(1, tree_cpus(&t));
    /* "cpuset" is another one. */
    tree_set(&t, "cpu/x/cpu.cfs_quota_us", "1000\n");
    tree_set(&t, "cpu/x/cpu.cfs_period_us", "100000\n");
    tree_set(&t, "cpu/a/b/cpu.cfs_quota_us", "200000\n");
    CHECK_EQ(2, tree_cpus(&t));
    tree_remove(&t);

    t = tree_new("3:cpuacct,cpu:/\n");
    tree_set(&t, "cpu/cpu.cfs_quota_us", "400000\n");
    tree_set(&t, "cpu/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(4, tree_cpus(&t));
    tree_remove(&t);
}

END_TEST

/* Of a line that is too long, the part that fits counts, but for the name that is cut off. */
TEST(a_long_path_counts_as_far_as_it_fits)
{
    char list[2048] = "0::/a/", cut[2048];
    struct tree t;

    memset(list + 6, 'x', 1500);
    t = tree_new(list);
    tree_set(&t, "a/cpu.max", "300000 100000\n");
    CHECK_EQ(3, tree_cpus(&t));
    for (size_t n = 900; n < 1100; n++) {
        (void)snprintf(cut, sizeof(cut), "%.*s\n", (int)n, list);
        tree_write(t.list, cut);
        CHECK_EQ(3, tree_cpus(&t));
    }
    tree_remove(&t);
}

END_TEST

TEST(this_process_may_use_a_processor)
{
    unsigned quota = wf_sys_cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup");

    CHECK(wf_sys_cpu_count() >= 1);
    CHECK(quota == 0 || wf_sys_cpu_count() <= quota);
}

END_TEST

/* --- the clock of a thread ----------------------------------------------------- */

struct other {
    struct wf_atomic_u32 id, computes, over;
};

static void *other_thread(void *arg)
{
    struct other *o = arg;

    wf_store_u32(&o->id, wf_sys_thread_id(), WF_RELEASE);
    while (!wf_load_u32(&o->over, WF_RELAXED))
        if (!wf_load_u32(&o->computes, WF_RELAXED))
            (void)usleep(1000);
    return NULL;
}

static uint64_t cpu_of(uint32_t id)
{
    uint64_t ns = 0;

    CHECK(wf_clock_of_thread(id, &ns));
    return ns;
}

/* Another thread's clock goes on while that computes, and is not this one's. */
TEST(what_another_thread_has_computed_is_told)
{
    struct other o = {.computes = {1}};
    uint64_t from, ns = 7;
    pthread_t handle;
    uint32_t id;

    CHECK_EQ(0, pthread_create(&handle, NULL, other_thread, &o));
    while (!(id = wf_load_u32(&o.id, WF_ACQUIRE)))
        (void)usleep(100);
    from = cpu_of(id);
    while (cpu_of(id) < from + 5000000)
        (void)usleep(1000);
    wf_store_u32(&o.computes, 0, WF_RELAXED);

    /* It sleeps, and this one computes for a tenth of a second. */
    (void)usleep(5000);
    from = cpu_of(id);
    ns = cpu_of(wf_sys_thread_id());
    while (cpu_of(wf_sys_thread_id()) < ns + 100000000)
        continue;
    CHECK(cpu_of(id) - from < 50000000);

    wf_store_u32(&o.over, 1, WF_RELAXED);
    CHECK_EQ(0, pthread_join(handle, NULL));
    while (wf_clock_of_thread(id, &ns)) /* the kernel may have to let go of it yet */
        (void)usleep(100);
    ns = 7;
    CHECK(!wf_clock_of_thread(1, &ns)); /* of another process */
    CHECK_EQ(7, ns);
}

TEST_MAIN("sys", no_quota_is_zero, a_quota_is_rounded_up_to_whole_processors,
          the_smallest_quota_up_to_the_root_counts, a_path_that_is_not_mounted_leaves_the_root,
          the_first_version_of_cgroups_is_read_too, a_long_path_counts_as_far_as_it_fits,
          this_process_may_use_a_processor, what_another_thread_has_computed_is_told)
