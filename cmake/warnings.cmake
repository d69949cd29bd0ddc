# SPDX-License-Identifier: MIT
#
# WEFT_WARNINGS: what the compiler is asked to complain about, each known to gcc 12 or clang 14.
# WEFT_LIBRARY_WARNINGS: in the library also about frames that are large for a fiber's stack and more
# (with a sanitizer all are).

set(WEFT_LIBRARY_WARNINGS "")
set(WEFT_WARNINGS
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wundef -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings -Wconversion
    -Wsign-conversion -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough -fno-common)

if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND WEFT_WARNINGS
        -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init -Wcast-align=strict
        -Walloca)
    if(CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
        list(APPEND WEFT_WARNINGS -Wuse-after-free=3 -Wdangling-pointer=2)
    endif()
    if(NOT WEFT_SANITIZE)
        # The first is about paths that only optimisation sees: not for tests, where a failed check
        # does not return. The largest frame holds 256 events of epoll, of 16 bytes but on x86-64.
        list(APPEND WEFT_LIBRARY_WARNINGS -Wnull-dereference -Wstack-usage=4224)
    endif()
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
    list(APPEND WEFT_WARNINGS
        -Wthread-safety -Watomic-implicit-seq-cst -Wcomma -Wconditional-uninitialized
        -Wunreachable-code-aggressive -Wshorten-64-to-32 -Wmissing-variable-declarations)
endif()
