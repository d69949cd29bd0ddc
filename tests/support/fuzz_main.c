/* SPDX-License-Identifier: MIT */
/*
 * fuzz_main.c - runs a libFuzzer target without libFuzzer: on the files named, or for a moment on
 * random bytes, as a test. The real thing is clang -fsanitize=fuzzer on the same target.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

#define FUZZ_RUNS  100000
#define FUZZ_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fuzz_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t size;

    if (!f) {
        perror(path);
        return EXIT_FAILURE;
    }
    size = fread(data, 1, sizeof(data), f);
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, size);
    return EXIT_SUCCESS;
}

/* Half of the inputs are text of few letters, which gets further into a parser than noise does. */
static void fuzz_random(uint64_t *state)
{
    static const char letters[] = "0123456789abcdef.:[]%*/tcp-lo";
    uint8_t data[FUZZ_BYTES];
    size_t size = test_rand(state) % (sizeof(data) + 1);
    bool text = test_rand(state) >> 63;

    if (text)
        size %= 48;
    for (size_t i = 0; i < size; i++) {
        uint64_t r = test_rand(state) >> 8;

        data[i] = text ? (uint8_t)letters[r % (sizeof(letters) - 1)] : (uint8_t)r;
    }
    (void)LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
    uint64_t state, runs = test_scaled(FUZZ_RUNS);

    for (int i = 1; i < argc; i++)
        if (fuzz_file(argv[i]) != EXIT_SUCCESS)
            return EXIT_FAILURE;
    if (argc > 1)
        return EXIT_SUCCESS;

    state = test_seed();
    for (uint64_t i = 0; i < runs; i++)
        fuzz_random(&state);
    return EXIT_SUCCESS;
}
