#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# install.sh SOURCE_DIR BUILD_DIR CMAKE CC - what is installed can be used. The build is installed
# under a temporary prefix, which then moves; a small program finds weft there through
# pkg-config (shared and static) and find_package (both targets), and in the source
# through FetchContent.
set -euo pipefail
source=$1 build=$2 cmake=$3 cc=$4
user=$source/tests/compile/user.c

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

say() {
    printf -- '-- %s\n' "$1"
}

say "install, honouring DESTDIR and the prefix"
DESTDIR=$tmp/stage "$cmake" --install "$build" --prefix /opt/weft >/dev/null
mv "$tmp/stage/opt/weft" "$tmp/prefix"
pc=$(find "$tmp/prefix" -name weft.pc)
libdir=$(dirname "$(dirname "$pc")")
test -f "$libdir/libweft.a"
test -L "$libdir/libweft.so"
test -f "$tmp/prefix/include/weft/task.h"
test -f "$tmp/prefix/share/weft/weft-gdb.py"
find "$tmp/prefix/share/gdb/auto-load" -name 'libweft.so.*-gdb.py' | grep -q .
# The libraries hold no path of the machine that built them.
if strings -a "$libdir/libweft.so" | grep -F "$source/"; then
    echo "the shared library names the source folder"
    exit 1
fi

say "pkg-config"
export PKG_CONFIG_PATH=${pc%/*}
read -ra shared < <(pkg-config --cflags --libs weft)
"$cc" -std=c11 "$user" "${shared[@]}" -o "$tmp/shared"
LD_LIBRARY_PATH=$libdir "$tmp/shared"

say "pkg-config --static"
read -ra static < <(pkg-config --static --cflags --libs weft)
"$cc" -std=c11 "$user" -static "${static[@]}" -o "$tmp/static"
"$tmp/static"

say "find_package"
mkdir "$tmp/find"
cat >"$tmp/find/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(user C)
find_package(weft 0.1 REQUIRED)
add_executable(user_shared "$user")
target_link_libraries(user_shared PRIVATE weft::weft)
add_executable(user_static "$user")
target_link_libraries(user_static PRIVATE weft::weft-static)
END
"$cmake" -S "$tmp/find" -B "$tmp/find/build" "-DCMAKE_C_COMPILER=$cc" \
    "-DCMAKE_PREFIX_PATH=$tmp/prefix" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
"$cmake" --build "$tmp/find/build" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
"$tmp/find/build/user_shared"
"$tmp/find/build/user_static"

say "FetchContent"
mkdir "$tmp/fetch"
cat >"$tmp/fetch/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(user C)
include(FetchContent)
FetchContent_Declare(weft SOURCE_DIR "$source")
FetchContent_MakeAvailable(weft)
if(TARGET weft-load OR TARGET weft-bench OR TARGET test_support)
    message(FATAL_ERROR "more than the library is built")
endif()
add_executable(user "$user")
target_link_libraries(user PRIVATE weft::weft-static)
END
"$cmake" -S "$tmp/fetch" -B "$tmp/fetch/build" "-DCMAKE_C_COMPILER=$cc" \
    >"$tmp/log" || { cat "$tmp/log"; exit 1; }
"$cmake" --build "$tmp/fetch/build" --parallel 2 >"$tmp/log" || { cat "$tmp/log"; exit 1; }
"$tmp/fetch/build/user"

say "all work"
