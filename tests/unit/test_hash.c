/* SPDX-License-Identifier: MIT */
/* test_hash.c - the keyed hash: values that others compute, and that the key counts. */
#include "base/hash.h"

#include "support.h"

/* As Python hashes bytes with PYTHONHASHSEED=0, which is SipHash-1-3 with a key of zeros. */
TEST(it_is_siphash_1_3)
{
    const struct wf_hash_key zero = {0, 0};
    unsigned char bytes[64];

    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    CHECK(wf_hash(&zero, "a", 1) == 0x407448d2b89b1813u);
    CHECK(wf_hash(&zero, "abc", 3) == 0xc03bc3a0042630f2u);
    CHECK(wf_hash(&zero, "abcdefg", 7) == 0x6db12aae9070f506u);
    CHECK(wf_hash(&zero, "abcdefgh", 8) == 0x3f7b849c0b8e35eau);
    CHECK(wf_hash(&zero, bytes, 15) == 0xf30eb725bb91c9eau);
    CHECK(wf_hash(&zero, bytes, 64) == 0x75e05fd5bbc870c6u);
}

END_TEST

TEST(the_key_and_each_byte_count)
{
    const struct wf_hash_key one = {1, 0}, two = {0, 1};
    char text[24] = {0};
    uint64_t all[25];

    CHECK(wf_hash(&one, "x", 1) != wf_hash(&two, "x", 1));
    all[24] = wf_hash(&one, text, sizeof(text));
    for (unsigned i = 0; i < sizeof(text); i++) {
        text[i] = 1;
        all[i] = wf_hash(&one, text, sizeof(text));
        text[i] = 0;
    }
    for (unsigned i = 0; i < 25; i++)
        for (unsigned k = 0; k < i; k++)
            CHECK(all[i] != all[k]);
    /* Also how many zeros. */
    CHECK(wf_hash(&one, text, 3) != wf_hash(&one, text, 4));
}

END_TEST

TEST_MAIN("hash", it_is_siphash_1_3, the_key_and_each_byte_count)
