/* SPDX-License-Identifier: MIT */
/*
 * fuzz_addr.c - any text: weft_addr_parse refuses it, or gives an address whose own text is read as
 * the same address again, and is the same text when written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void round_trip(const weft_addr *a)
{
    char text[WEFT_ADDR_TEXT_MAX], again_text[WEFT_ADDR_TEXT_MAX];
    weft_addr again;
    int length = weft_addr_format(a, text, sizeof(text));

    require(length > 0 && (size_t)length == strlen(text));
    require(weft_addr_parse(&again, text) == 0);
    require(a->size == again.size);
    require(memcmp(&a->u, &again.u, sizeof(again.u)) == 0);
    require(weft_addr_port(a) == weft_addr_port(&again));
    require(weft_addr_format(&again, again_text, sizeof(again_text)) == length);
    require(strcmp(text, again_text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of exact size, so that a sanitizer sees each step too far */
    weft_addr a;

    require(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (weft_addr_parse(&a, text) == 0)
        round_trip(&a);
    if (weft_addr_ip(&a, text, (uint16_t)size) == 0)
        round_trip(&a);
    free(text);
    return 0;
}
