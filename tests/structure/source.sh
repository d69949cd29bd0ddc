#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# source.sh SOURCE_DIR - the rules of the source tree that a compiler does not check:
#
#   layers    a file includes its own folder and lower ones:
#             base < fiber, time < task < io < sched < sync < net
#   homes     errno, thread-locals, raw atomics, and calls to the system and for memory each live in one place
#             (comments do not count)
#   pages     every file names its licence, is at most 900 lines long, and leaves nothing undone; no line of C is
#             longer than 120 columns (clang-format keeps code within 100, and leaves comments as they are)
#   safety    what can be awaited is also given up: each weft_..._future has its row in tests/api/test_safety_*.c
#
# Prints each breach as file:line and exits 1 if there is any.
set -euo pipefail
cd "$1"

breaches=0
breach() {
    printf '%s\n' "$1"
    breaches=$((breaches + 1))
}

mapfile -t sources < <(find src include -name '*.[ch]' | sort)
folders=()
for folder in src include tests bench examples tools scripts .ci cmake; do
    [[ ! -d $folder ]] || folders+=("$folder")
done
mapfile -t every < <(find "${folders[@]}" -type f ! -name '*.md' ! -path '*/__pycache__/*' | sort)

# A file without its comments and string literals, one "file:line:text" per line.
code() {
    awk '
    BEGIN { quote = "\"" }
    FNR == 1 { inside = 0 }
    {
        out = ""; n = length($0); i = 1
        while (i <= n) {
            two = substr($0, i, 2); one = substr(two, 1, 1)
            if (inside) {
                if (two == "*/") { inside = 0; i++ }
            } else if (two == "/*") {
                inside = 1; i++
            } else if (one == quote) {
                for (i++; i <= n && substr($0, i, 1) != quote; i++)
                    if (substr($0, i, 1) == "\\") i++
                out = out "\"\""
            } else {
                out = out one
            }
            i++
        }
        if (out ~ /[^ \t]/) print FILENAME ":" FNR ":" out
    }' "$@"
}

rank() {
    case $1 in
    base) echo 0 ;;
    fiber | time) echo 1 ;;
    task) echo 2 ;;
    io) echo 3 ;;
    sched) echo 4 ;;
    sync) echo 5 ;;
    net) echo 6 ;;
    *) echo none ;;
    esac
}

check_layers() {
    local line file where target own folder

    while IFS= read -r line; do
        file=${line%%:*}
        where=${line%:*}
        target=${line#*\"}
        target=${target%\"}
        own=$(cut -d/ -f2 <<<"$file")
        folder=${target%%/*}
        if [[ $target != */* ]]; then
            breach "$where: name the folder: \"$own/$target\""
        elif [[ $(rank "$own") == none || $(rank "$folder") == none ]]; then
            [[ $target == model/atomic.h ]] ||
                breach "$where: \"$target\" belongs to no layer"
        elif [[ $folder != "$own" && $(rank "$folder") -ge $(rank "$own") ]]; then
            breach "$where: $own may not include $target"
        fi
    done < <(grep -nE '^[ 	]*#[ 	]*include[ 	]*"' "${sources[@]}" | grep '^src/' |
        sed -E 's/^([^:]*:[^:]*):.*"(.*)".*/\1:"\2"/')
}

# check_home WHAT PATTERN FILE...: the pattern occurs in these files only.
check_home() {
    local what=$1 pattern=$2 line
    shift 2

    while IFS= read -r line; do
        [[ " $* " == *" ${line%%:*} "* ]] || breach "${line%%:*}:$(cut -d: -f2 <<<"$line"): $what"
    done < <(grep -E "^[^:]*:[^:]*:.*$pattern" <<<"$all_code" || true)
}

check_pages() {
    local file lines

    for file in "${every[@]}"; do
        lines=$(wc -l <"$file")
        [[ $lines -le 900 ]] || breach "$file:$lines: more than 900 lines"
        case $file in
        *.json | *.in | *.txt | *.corpus) ;;
        *) head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' ||
            breach "$file:1: no licence line" ;;
        esac
        while IFS= read -r line; do
            breach "$file:${line%%:*}: left undone"
        done < <(grep -nE '\b([T]ODO|[F]IXME|[X]XX)\b' "$file" || true)
        [[ $file == *.[ch] ]] || continue
        while IFS= read -r line; do
            breach "$file:${line%%:*}: more than 120 columns"
        done < <(grep -nE '^.{121}' "$file" || true)
    done
}

check_safety() {
    local call

    while IFS= read -r call; do
        case $call in
        # They wait for nobody, or for a clock that stands still.
        weft_ready_future | weft_pending_future | weft_yield_future) continue ;;
        weft_consume_budget_future | weft_clock_advance_future) continue ;;
        esac
        grep -qE "\\b$call\(" tests/api/test_safety_*.c ||
            breach "tests/api/test_safety_*.c: no row for $call"
    done < <(grep -ohE '^WEFT_API weft_future weft_[a-z_]+_future\(' include/weft/*.h |
        sed -E 's/.* (.*)\(/\1/' | sort -u)
}

all_code=$(code "${sources[@]}")

check_layers
check_home "errno is read in src/base/sys.c only" '(^|[^_A-Za-z0-9])errno([^_A-Za-z0-9.]|$)' \
    src/base/sys.c src/base/errno.c include/weft/errno.h
check_home "a thread-local outside its homes" \
    '(__thread|_Thread_local|thread_local)([^_A-Za-z0-9]|$)' \
    src/base/lock.c src/task/current.c src/fiber/overflow.c
check_home "a raw atomic outside src/base/atomic.h" \
    '(__atomic_|__sync_|_Atomic|stdatomic\.h|atomic_(load|store|fetch|exchange|compare))' \
    src/base/atomic.h

# What can fail is called where tests/fault can make it fail. Not here: what cannot in a sound program (signal
# masks, joining and detaching threads, pthread_once, abort), and the clock, which is read in base/clock.c.
memory='malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|memalign|free|strn?dup|v?asprintf|getline'
memory+='|m(un|re)?map|madvise|mprotect|mlock|s?brk'
files='p?read(v2?)?|p?write(v2?)?|open(at)?|close|close_range|fcntl|ioctl|lseek|dup[23]?|pipe2?|unlink|fsync'
files+='|f(open|dopen|close|read|write|puts|gets|flush)|opendir|v?d?printf|vfprintf|fprintf|puts|perror'
sockets='socket(pair)?|bind|listen|connect|accept4?|shutdown|recv(from|m?msg)?|send(to|m?msg|file)?'
sockets+='|[gs]etsockopt|get(sock|peer)name|getaddrinfo|if_nametoindex|if_indextoname'
waiting='epoll_(create1?|ctl|p?wait2?)|p?poll|p?select|eventfd(_read|_write)?|timerfd_(create|[gs]ettime)|signalfd'
waiting+='|(clock_)?nanosleep|u?sleep|sched_yield|io_uring_[a-z_]+'
threads='pthread_create|pthread_(mutex|cond|rwlock|spin|barrier|key|setspecific)[a-z_]*|sem_[a-z]+|clone3?|v?fork'
threads+='|sigaction|sigaltstack|signal|prctl|getrandom|sched_[gs]etaffinity|waitpid|exec[vlpe]+|kill|tgkill'
check_home "a call to the system or for memory outside src/base/sys.c" \
    "[^_A-Za-z0-9.>](syscall|$memory|$files|$sockets|$waiting|$threads)[ ]*\(" \
    src/base/sys.c
check_home "the clock is read in src/base/clock.c only" \
    '(clock_gettime|gettimeofday|timespec_get|[^_A-Za-z0-9.>]time) *\(' src/base/clock.c
check_pages
check_safety

if [[ $breaches -gt 0 ]]; then
    printf '%d breaches\n' "$breaches"
    exit 1
fi
printf '%d files of the library, %d in all: sound\n' "${#sources[@]}" "${#every[@]}"
