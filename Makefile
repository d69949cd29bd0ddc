# SPDX-License-Identifier: MIT
#
# The short way in. CMake does the work: CMakeLists.txt, CMakePresets.json, scripts/.

SHELL = /bin/bash
WEFT_BUILD_DIR := $(or $(WEFT_BUILD_DIR),build)
PREFIX ?= /usr/local
export WEFT_BUILD_DIR

.PHONY: all check demo install bench debug asan tsan valgrind lto-check ucontext-check clang-check \
	cross-check soak migrate fault model mutate promela lint format format-check clean help

all: ## build the library and all that stands on it
	@scripts/setup.sh build check
	@scripts/build.sh release

check: ## install what is missing, build, run all tests
	@scripts/setup.sh build check promela gdb
	@scripts/test.sh release $(TESTS)

demo: ## an echo server under load: 1,000 connections for 5 seconds
	@scripts/setup.sh build check
	@scripts/build.sh release example_echo weft-load
	@scripts/demo.sh $(WEFT_BUILD_DIR)/release

install: ## install to PREFIX (/usr/local), under DESTDIR if set
	@scripts/setup.sh build
	@scripts/build.sh install -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	@cmake --install $(WEFT_BUILD_DIR)/install

bench: ## build and run the benchmarks
	@scripts/setup.sh build
	@scripts/build.sh bench
	@$(WEFT_BUILD_DIR)/bench/weft-bench $(or $(BENCH),all)

debug: ## the tests with expensive checks on
	@scripts/setup.sh build check
	@scripts/test.sh debug $(TESTS)

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup.sh build check
	@scripts/test.sh asan $(TESTS)

tsan: ## the tests under ThreadSanitizer
	@scripts/setup.sh build check
	@scripts/test.sh tsan $(TESTS)

valgrind: ## the tests under memcheck
	@scripts/setup.sh build check valgrind
	@scripts/test.sh valgrind $(TESTS)

lto-check: ## the tests on a build with link-time optimisation
	@scripts/setup.sh build check
	@scripts/test.sh lto $(TESTS)

ucontext-check: ## the tests with the portable context switch
	@scripts/setup.sh build check
	@scripts/test.sh ucontext $(TESTS)

clang-check: ## the tests on a build by clang
	@scripts/setup.sh build check clang
	@scripts/test.sh release-clang $(TESTS)

cross-check: ## the tests on aarch64 and riscv64, under qemu; CROSS='aarch64 pages' chooses
	@scripts/setup.sh build cross
	@scripts/cross.sh $(CROSS)

soak: ## random mixes of everything; MINUTES=30, BUILD=asan; SEED=123, ROUND=7, LENGTH=500 to repeat
	@scripts/setup.sh build check $(filter valgrind,$(BUILD))
	@MINUTES=$(MINUTES) SEED=$(SEED) ROUND=$(ROUND) LENGTH=$(LENGTH) \
	    scripts/soak.sh $(or $(BUILD),release)

migrate: ## the tests where each await changes the thread, 8 builds; MIGRATE='gcc-O2 tsan' chooses
	@scripts/setup.sh build check clang
	@scripts/migrate.sh $(MIGRATE)

model: ## the model tests in full, minutes to hours; MODEL='deque idle' chooses
	@scripts/setup.sh build check
	@scripts/model.sh $(MODEL)

mutate: ## weaken each ordering, drop each check: does a model test notice? MUTATE='--only deque'
	@scripts/setup.sh build check
	@tests/model/mutate.py $(MUTATE)

promela: ## the park protocol in spin: all scenarios, and without each step; PROMELA='mutants NO_P2_d'
	@scripts/setup.sh build promela
	@tests/promela/steps.sh .
	@if [[ -n "$(PROMELA)" ]]; then tests/promela/run.sh $(PROMELA); \
	else tests/promela/run.sh full && tests/promela/run.sh mutants; fi

fault: ## each system call and allocation made to fail, at each use; plain, asan, tsan; FAULT='asan' chooses
	@scripts/setup.sh build check
	@for preset in $(or $(FAULT),release asan tsan); do \
	    WEFT_FAULT_FULL=1 WEFT_STRESS_SECONDS=300 scripts/test.sh $$preset -L fault || exit 1; done

lint: ## clang-tidy, cppcheck, codespell, shellcheck
	@scripts/setup.sh build check lint
	@scripts/lint.sh

format: ## lay out every C file
	@scripts/setup.sh lint
	@scripts/format.sh

format-check: ## say which C files are not laid out
	@scripts/setup.sh lint
	@scripts/format.sh --check

# Only what a build made: WEFT_BUILD_DIR may hold other things.
clean: ## remove all builds
	@for cache in "$(WEFT_BUILD_DIR)"/*/CMakeCache.txt; do \
	    [[ ! -f $$cache ]] || rm -rf "$${cache%/*}"; done

help: ## this list; TESTS='-R name' chooses tests, BENCH=name a benchmark
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24
