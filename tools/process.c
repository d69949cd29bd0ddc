/* SPDX-License-Identifier: MIT */
/* process.c - reading /proc: thread by thread, since only there CPU time is in nanoseconds. */
#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 320

/* The number that the first line starting with prefix has behind it; 0 if there is none. */
static uint64_t process_number(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);
    uint64_t found = 0;
    char line[256];
    FILE *f = fopen(path, "re");

    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, prefix, length) == 0) {
            found = strtoull(line + length, NULL, 10);
            break;
        }
    }
    (void)fclose(f);
    return found;
}

uint64_t process_cpu_ns(pid_t pid)
{
    char path[PATH_SIZE];
    struct dirent *entry;
    uint64_t sum = 0;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        return 0;
    while ((entry = readdir(tasks))) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        sum += process_number(path, "");
    }
    (void)closedir(tasks);
    return sum;
}

uint64_t process_memory(pid_t pid)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    return process_number(path, "VmRSS:") * 1024;
}
