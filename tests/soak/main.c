/* SPDX-License-Identifier: MIT */
/*
 * main.c - the soak as a program: which rounds are played, for how long, and what is said about it.
 *
 *     test_soak [-t SECONDS | -n ROUNDS] [-s SEED]... [-r ROUND] [-l MS] [-o LOG] [-b FOLDER]
 *
 *     -t  go on for so long, with one seed and one round after the other
 *     -n  so many rounds for each seed (without -t; default 2)
 *     -s  0 or none: a random one. Seed, round number, length and build together make a round's plan
 *     -r  begin with this round; with -t, play it again and again
 *     -l  play each round for so long
 *     -o  what goes to the log, as everything on stderr does; else a file that is gone afterwards
 *     -b  the build that this is, WEFT_BUILD_DIR/PRESET, to say how a round is repeated
 *
 * IDEA     The rounds run in a child process, one after the other. When it dies, the parent says in which
 *          round, shows the end of the log, and goes on behind it with a new child.
 */
#include "soak.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEEDS_MAX    16
#define FAILURES_MAX 5
#define HEAD_MAX     (32 << 10) /* of the log of a round that failed */
#define TAIL_MAX     (4 << 10)

struct options {
    uint64_t seconds, rounds;
    uint64_t seeds[SEEDS_MAX];
    unsigned seed_count;
    uint64_t first;
    bool one_round;
    weft_duration length;
    const char *log, *build;
};

/* What the child tells the parent. */
struct progress {
    unsigned played; /* rounds of this seed that were begun */
    unsigned passed;
    off_t log_at; /* where the log of the last one begins */
};

static int main_log;

/* The exit status: descriptors besides the usual three and the one that looks. */
static int main_count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *e;
    int n = 0;

    if (!dir)
        return 126;
    while ((e = readdir(dir)))
        if (e->d_name[0] != '.' && atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(dir))
            n++;
    (void)closedir(dir);
    return n < 100 ? n : 100;
}

static uint64_t main_number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 0);

    if (*end || end == text) {
        (void)fprintf(stderr, "soak: %s is not a number\n", text);
        exit(2);
    }
    return n;
}

static void main_options(struct options *o, int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "t:n:s:r:l:o:b:")) != -1) {
        switch (c) {
        case 't':
            o->seconds = main_number(optarg);
            break;
        case 'n':
            o->rounds = main_number(optarg);
            break;
        case 's':
            if (o->seed_count < SEEDS_MAX)
                o->seeds[o->seed_count++] = main_number(optarg);
            break;
        case 'r':
            o->first = main_number(optarg);
            o->one_round = true;
            break;
        case 'l':
            o->length = WEFT_MS(main_number(optarg));
            break;
        case 'o':
            o->log = optarg;
            break;
        case 'b':
            o->build = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (o->seed_count == 0)
        o->seed_count = 1;
    if (o->rounds == 0)
        o->rounds = 2;
}

static int main_open_log(const char *path)
{
    char hidden[] = "/tmp/weft-soak.XXXXXX";
    int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644)
                  : mkostemp(hidden, O_APPEND | O_CLOEXEC);

    if (fd < 0) {
        perror(path ? path : hidden);
        exit(2);
    }
    if (!path)
        (void)unlink(hidden);
    return fd;
}

/* A connection takes two descriptors here. */
static void main_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 20000 ? limit.rlim_max : 20000;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool main_goes_on(const struct options *o, weft_instant end, unsigned played)
{
    return o->seconds ? weft_now() < end : played < o->rounds;
}

/* The child: rounds until the time is up, or until all are played. */
static void child_run(const struct options *o, uint64_t seed, weft_instant end, struct progress *p)
{
    if (dup2(main_log, STDERR_FILENO) < 0)
        _exit(2);
    soak_machine_open();
    soak_watch_open();
    soak_gauge_open();
    while (main_goes_on(o, end, p->played)) {
        unsigned round = (unsigned)o->first + (o->seconds && o->one_round ? 0 : p->played);
        char plan[512], counts[512];
        struct soak_plan shown;

        soak_plan_make(&shown, seed, round, o->length);
        soak_plan_print(&shown, plan, sizeof(plan));
        p->log_at = lseek(main_log, 0, SEEK_END);
        p->played++;
        (void)fprintf(stderr, "seed %llu round %u %s\n", (unsigned long long)seed, round, plan);
        soak_round_play(seed, round, o->length, counts, sizeof(counts));
        (void)fprintf(stderr, "seed %llu round %u passed: %s\n", (unsigned long long)seed, round,
                      counts);
        (void)printf("seed %llu round %u %s: %s\n", (unsigned long long)seed, round, plan, counts);
        (void)fflush(stdout);
        p->passed++;
    }
}

static void main_show_part(off_t from, off_t end)
{
    char buffer[4096];

    while (from < end) {
        size_t size = (size_t)(end - from) < sizeof(buffer) ? (size_t)(end - from) : sizeof(buffer);
        ssize_t n = pread(main_log, buffer, size, from);

        if (n <= 0)
            return;
        (void)fwrite(buffer, 1, (size_t)n, stdout);
        from += n;
    }
}

/* How it begins, with the verdict and the threads, and how it ends; between them may be thousands of tasks. */
static void main_show_log(off_t from)
{
    off_t end = lseek(main_log, 0, SEEK_END);

    if (end - from <= HEAD_MAX + TAIL_MAX) {
        main_show_part(from, end);
        return;
    }
    main_show_part(from, from + HEAD_MAX);
    (void)printf("\n[...]\n");
    main_show_part(end - TAIL_MAX, end);
}

/* All that the plan follows from: see soak_plan_make. The build also says how slow everything is. */
static void main_say_again(const struct options *o, uint64_t seed, unsigned round)
{
    const char *preset = o->build ? strrchr(o->build, '/') : NULL;

    (void)printf("soak: again: make soak MINUTES=1 SEED=%llu ROUND=%u", (unsigned long long)seed,
                 round);
    if (o->length)
        (void)printf(" LENGTH=%llu", (unsigned long long)(o->length / WEFT_MS(1)));
    if (preset)
        (void)printf(" WEFT_BUILD_DIR=%.*s BUILD=%s", (int)(preset - o->build), o->build,
                     preset + 1);
    (void)printf("\n");
}

static void main_say_failed(const struct options *o, uint64_t seed, const struct progress *p,
                            int status)
{
    unsigned round = (unsigned)o->first + (o->seconds && o->one_round ? 0
                                           : p->played                ? p->played - 1
                                                                      : 0);

    main_show_log(p->log_at);
    (void)printf("soak: FAILED: seed %llu round %u%s: %s %d\n", (unsigned long long)seed, round,
                 p->passed == p->played ? " (after it)" : "",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    main_say_again(o, seed, round);
    (void)fflush(stdout);
}

/* All rounds of one seed. Returns the number that failed. */
static unsigned main_seed(const struct options *o, uint64_t seed, struct progress *p)
{
    weft_instant end = weft_now() + WEFT_SECS(o->seconds);
    unsigned failed = 0;

    while (failed < FAILURES_MAX && main_goes_on(o, end, p->played)) {
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
            child_run(o, seed, end, p);
            exit(EXIT_SUCCESS);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) {
            perror("soak");
            exit(2);
        }
        if (status != 0) {
            main_say_failed(o, seed, p, status);
            failed++;
        }
    }
    return failed;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    unsigned passed = 0, failed = 0;
    struct progress *p;

    if (argc == 2 && strcmp(argv[1], "--count-descriptors") == 0)
        return main_count_descriptors();
    main_options(&o, argc, argv);
    main_log = main_open_log(o.log);
    main_raise_limit();
    p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("soak");
        return 2;
    }
    for (unsigned i = 0; i < o.seed_count; i++) {
        memset(p, 0, sizeof(*p));
        failed += main_seed(&o, o.seeds[i] ? o.seeds[i] : test_seed(), p);
        passed += p->passed;
    }
    (void)printf("soak: %u rounds passed, %u failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
