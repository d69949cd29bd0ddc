/* SPDX-License-Identifier: MIT */
/*
 * program.c - main of every program of tests.
 *
 * IDEA     Each test is explored by a process of its own, so that one that fails does not keep the others from
 *          being run. A test with `.expect` must fail, with these words in what it prints:
 *          so the explorer shows that it finds what it is there to find.
 * USE      NAME [--list | --sites | --reached] [TEST]
 *
 *          --list     the names of the tests that would be run
 *          --sites    all atomics: file:line:op:order:order of failure (-1: none), operation, operand
 *          --reached  the same, of those that the tests came by, after the tests
 *
 *          WEFT_MODEL_BOUND, WEFT_MODEL_STALE   in place of the tests' bounds
 *          WEFT_MODEL_LEAST                     preemptions, where a test has fewer
 *          WEFT_MODEL_LEAST_STALE               old values, where a test has fewer
 *          WEFT_MODEL_FULL=1                    deep tests too
 *          WEFT_MODEL_SECONDS                   stop a test after that time; it counts for itself, and what it
 *                                               must come by is not asked
 *          WEFT_MODEL_FORGET=1                  walk through states that were met before, too
 *          WEFT_MODEL_ENDS=1                    count the different ends, see pruned.sh
 *          WEFT_MODEL_MUTATE=file:line:op:from:to[:ok | :failed]
 *                     one ordering is another: that of a success, of a failure, or whichever is `from`
 *          WEFT_MODEL_REPLAY=...                one execution of TEST, printed; from a failure's last line
 * RETURNS  0 all passed or were stopped, 1 some failed, 2 called the wrong way.
 */
#include "model/explorer/explore.h"

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* All atomics of the program; the linker knows where. */
extern const struct model_site __start_model_sites[], __stop_model_sites[];

/* --- before the first test --- */

static int find_tls(struct dl_phdr_info *info, size_t size, void *data)
{
    struct model *m = data;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            m->tls_size = info->dlpi_phdr[i].p_memsz;
            m->tls_at = info->dlpi_tls_data;
        }
    return 1; /* the program itself comes first */
}

static void *state_map(size_t size, int kind)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return p;
}

static void parse_mutation(struct model *m)
{
    static char file[256];
    const char *text = getenv("WEFT_MODEL_MUTATE");
    char which[8] = "";

    if (!text)
        return;
    if (sscanf(text, "%255[^:]:%d:%d:%d:%d:%7s", file, &m->weak_line, &m->weak_op, &m->weak_from,
               &m->weak_to, which) < 5) {
        fprintf(stderr, "WEFT_MODEL_MUTATE is file:line:op:from:to[:ok|:failed], not '%s'\n", text);
        exit(2);
    }
    m->weak_file = file;
    m->weak_which = strcmp(which, "ok") == 0 ? 0 : strcmp(which, "failed") == 0 ? 1 : -1;
}

static void program_init(void)
{
    struct model *m = state_map(sizeof(*m), MAP_PRIVATE);
    size_t size = (size_t)(&_end - &__data_start);

    m->sites = __start_model_sites;
    m->site_count = (size_t)(__stop_model_sites - __start_model_sites);
    /* Shared: written by the processes of the tests. */
    m->reached = state_map(m->site_count + 1, MAP_SHARED);
    parse_mutation(m);
    (void)dl_iterate_phdr(find_tls, m);
    m->tls_first = state_map(m->tls_size + 1, MAP_PRIVATE);
    if (m->tls_size)
        memcpy(m->tls_first, m->tls_at, m->tls_size);
    m->depth_room = 1024;
    m->decisions = malloc(m->depth_room * sizeof(*m->decisions));
    m->views = state_map(VIEWS_MAX * sizeof(*m->views), MAP_PRIVATE);
    m->view_room = VIEWS_MAX;
    m->trace = state_map(TRACE_MAX * sizeof(*m->trace), MAP_PRIVATE);
    m->locations = state_map(LOCATIONS_MAX * sizeof(*m->locations), MAP_PRIVATE);
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        m->threads[i].stack = state_map(STACK_SIZE, MAP_PRIVATE);
        m->threads[i].tls = state_map(m->tls_size + 1, MAP_PRIVATE);
    }
    model_state = m;
    shadow_init();
    m->statics_first = state_map(size, MAP_PRIVATE);
    memcpy(m->statics_first, &__data_start, size);
}

/* The library's own assertions end here. */
static void report_signal(int number)
{
    model_report("%s", number == SIGABRT ? "aborted (see above)" : strsignal(number));
}

static void program_signals(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    stack_t stack = {.ss_sp = state_map(65536, MAP_PRIVATE), .ss_size = 65536};
    struct sigaction act = {.sa_handler = report_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};

    (void)sigaltstack(&stack, NULL);
    for (size_t i = 0; i < wf_array_count(numbers); i++)
        (void)sigaction(numbers[i], &act, NULL);
}

/* --- one test --- */

/* Explores in a process of its own; its output goes to the descriptor, or, -1, where ours goes. */
static enum model_outcome test_in_process(const struct model_test *test, int output)
{
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        enum model_outcome outcome;

        if (output >= 0 && (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0))
            _exit(2);
        outcome = model_explore(test);
        fflush(NULL);
        _exit((int)outcome);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) {
            perror("waitpid");
            exit(2);
        }
    if (WIFEXITED(status) && WEXITSTATUS(status) <= MODEL_STOPPED)
        return (enum model_outcome)WEXITSTATUS(status);
    printf("%-58s FAILED: ended with status %#x\n", test->name, (unsigned)status);
    return MODEL_FAILED;
}

/* One that must fail. said: print what it says, too. */
static enum model_outcome test_expect(const struct model_test *test, bool said)
{
    static char text[1 << 16];
    int output = memfd_create("output", MFD_CLOEXEC);
    enum model_outcome outcome;
    ssize_t n;

    if (output < 0) {
        perror("memfd_create");
        exit(2);
    }
    outcome = test_in_process(test, output);
    n = pread(output, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(output);
    if (outcome == MODEL_FAILED && strstr(text, test->expect)) {
        if (said)
            fprintf(stderr, "%s", text);
        printf("%-58s reported: %s\n", test->name, test->expect);
        return MODEL_PASSED;
    }
    fprintf(stderr, "%s", text);
    printf("%-58s FAILED: not reported: %s\n", test->name, test->expect);
    return MODEL_FAILED;
}

/* --- main --- */

static void print_sites(bool reached)
{
    const struct model *m = model_state;

    for (size_t i = 0; i < m->site_count; i++)
        if (!reached || m->reached[i])
            printf("SITE %s:%d:%d:%d:%d %s %s\n", m->sites[i].file, m->sites[i].line,
                   m->sites[i].op, m->sites[i].order,
                   m->sites[i].op >= MODEL_CAS && m->sites[i].op <= MODEL_CAS_WEAK
                       ? m->sites[i].failed
                       : -1,
                   model_op_names[m->sites[i].op], m->sites[i].what);
}

static const struct model_test *test_named(const char *name)
{
    const struct model_test *t = model_tests;

    while (t->name && strcmp(t->name, name) != 0)
        t++;
    if (t->name)
        return t;
    fprintf(stderr, "%s: no test '%s'\n", program_invocation_short_name, name);
    exit(2);
}

/* A test that is chosen by its name runs in this process, for a debugger. */
static enum model_outcome program_one(const struct model_test *test, char *replay)
{
    if (replay) {
        model_replay(test, replay);
        return MODEL_PASSED;
    }
    return test->expect ? test_expect(test, true) : model_explore(test);
}

static bool program_has(const struct model_test *test)
{
    return !test->deep || model_setting("WEFT_MODEL_FULL", 0);
}

static void program_all(unsigned count[MODEL_STOPPED + 1])
{
    for (const struct model_test *t = model_tests; t->name; t++)
        if (program_has(t))
            count[t->expect ? test_expect(t, false) : test_in_process(t, -1)]++;
}

int main(int argc, char **argv)
{
    const char *option = argc > 1 && argv[1][0] == '-' ? argv[1] : "";
    const char *chosen = argc > 1 && argv[argc - 1][0] != '-' ? argv[argc - 1] : NULL;
    char *replay = getenv("WEFT_MODEL_REPLAY");
    unsigned count[MODEL_STOPPED + 1] = {0};

    program_init();
    program_signals();
    if (strcmp(option, "--sites") == 0) {
        print_sites(false);
        return 0;
    }
    if (strcmp(option, "--list") == 0) {
        for (const struct model_test *t = model_tests; t->name; t++)
            if (program_has(t))
                printf("%s\n", t->name);
        return 0;
    }
    if (replay && !chosen) {
        fprintf(stderr, "WEFT_MODEL_REPLAY needs the name of the test\n");
        return 2;
    }
    if (chosen)
        count[program_one(test_named(chosen), replay)]++;
    else
        program_all(count);
    if (strcmp(option, "--reached") == 0)
        print_sites(true);
    if (count[MODEL_STOPPED])
        printf("%u passed, %u stopped at their time, %u failed\n", count[MODEL_PASSED],
               count[MODEL_STOPPED], count[MODEL_FAILED]);
    else if (!replay)
        printf("%u passed, %u failed\n", count[MODEL_PASSED], count[MODEL_FAILED]);
    return count[MODEL_FAILED] ? 1 : 0;
}
