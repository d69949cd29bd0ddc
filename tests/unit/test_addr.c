/* SPDX-License-Identifier: MIT */
/* test_addr.c - addresses read from text and written as text. */
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static void expect(const char *text, const char *written)
{
    char line[WEFT_ADDR_TEXT_MAX];
    weft_addr a;

    CHECK_EQ(0, weft_addr_parse(&a, text));
    CHECK_EQ(strlen(written), weft_addr_format(&a, line, sizeof(line)));
    CHECK_STR(written, line);
}

TEST(text_is_read_and_written)
{
    expect("127.0.0.1:80", "127.0.0.1:80");
    expect("255.255.255.255:65535", "255.255.255.255:65535");
    expect("0.0.0.0:0", "0.0.0.0:0");
    expect("*:8080", "0.0.0.0:8080");
    expect(":8080", "0.0.0.0:8080");
    expect("10.0.0.1:0080", "10.0.0.1:80");
    expect("[::1]:80", "[::1]:80");
    expect("[::]:0", "[::]:0");
    expect("[0:0:0:0:0:0:0:1]:1", "[::1]:1");
    expect("[FE80::A]:1", "[fe80::a]:1");
    expect("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1");
    expect("[fe80::1%7]:1", "[fe80::1%7]:1");
    expect("[fe80::1%0]:1", "[fe80::1]:1");
    expect("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
           "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

TEST(what_is_not_an_address_is_refused)
{
    static const char *const bad[] = {
        "",
        ":",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1:+80",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:4294967376",
        "127.0.0.1:18446744073709551696",
        "127.0.0.1:00000000080",
        "127.0.0.1:0x50",
        "127.0.0.1 :80",
        "127.0.0:80",
        "127.0.0.1.1:80",
        "127.0.0.256:80",
        "127.0.0.01:80",
        "127.1:80",
        "0x7f000001:80",
        "localhost:80",
        "tcp://127.0.0.1:80",
        "**:80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[:80",
        "]:80",
        "[]:80",
        "[*]:80",
        "[127.0.0.1]:80",
        "[[::1]]:80",
        "[::1]]:80",
        "[::1 ]:80",
        "[:::]:80",
        "[1:2:3:4:5:6:7:8:9]:80",
        "[12345::]:80",
        "[fe80::1%]:80",
        "[fe80::1%4294967296]:80",
        "[fe80::1%no such device]:80",
        "[fe80::1%a-name-that-is-too-long-for-a-device]:80",
        "127.0.0.1%1:80",
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1",
        "1111111111111111111111111111111111111111111111111111111111111111111111111:1",
    };
    weft_addr untouched, a;

    memset(&untouched, 0x5a, sizeof(untouched));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        a = untouched;
        if (weft_addr_parse(&a, bad[i]) != -EINVAL)
            test_failed(__FILE__, __LINE__, "\"%s\" is taken for an address", bad[i]);
        CHECK_EQ(untouched.size, a.size);
        CHECK_EQ(0, memcmp(&a.u, &untouched.u, sizeof(a.u)));
    }
}

TEST(an_address_and_a_port_apart)
{
    char line[WEFT_ADDR_TEXT_MAX];
    weft_addr a;

    CHECK_EQ(0, weft_addr_ip(&a, "192.168.1.2", 443));
    CHECK_EQ(443, weft_addr_port(&a));
    CHECK_EQ(AF_INET, a.u.any.sa_family);
    CHECK_EQ(sizeof(struct sockaddr_in), a.size);
    CHECK_EQ(0, weft_addr_ip(&a, "2001:db8::1", 65535));
    CHECK_EQ(65535, weft_addr_port(&a));
    CHECK_EQ(AF_INET6, a.u.any.sa_family);
    CHECK_EQ(sizeof(struct sockaddr_in6), a.size);
    CHECK(weft_addr_format(&a, line, sizeof(line)) > 0);
    CHECK_STR("[2001:db8::1]:65535", line);
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, "", 1));
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, "[::1]", 1));
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, "127.0.0.1:1", 1));
}

TEST(the_bytes_are_those_of_the_system)
{
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    weft_addr a;

    CHECK_EQ(0, weft_addr_parse(&a, "1.2.3.4:258"));
    memcpy(&in, &a.u, sizeof(in));
    CHECK_EQ(0x01020304, ntohl(in.sin_addr.s_addr));
    CHECK_EQ(258, ntohs(in.sin_port));
    CHECK_EQ(0, weft_addr_parse(&a, "[1::2%3]:258"));
    memcpy(&in6, &a.u, sizeof(in6));
    CHECK_EQ(3, in6.sin6_scope_id);
    CHECK_EQ(1, in6.sin6_addr.s6_addr[1]);
    CHECK_EQ(2, in6.sin6_addr.s6_addr[15]);
    CHECK_EQ(258, ntohs(in6.sin6_port));
}

TEST(a_scope_may_be_a_name)
{
    unsigned index = if_nametoindex("lo");
    struct sockaddr_in6 in6;
    weft_addr a;

    if (!index)
        TEST_SKIP("no interface named lo");
    CHECK_EQ(0, weft_addr_parse(&a, "[fe80::1%lo]:1"));
    memcpy(&in6, &a.u, sizeof(in6));
    CHECK_EQ(index, in6.sin6_scope_id);
}

TEST(a_text_that_has_no_room_is_not_written)
{
    char line[WEFT_ADDR_TEXT_MAX] = "untouched";
    weft_addr a;

    CHECK_EQ(0, weft_addr_parse(&a, "127.0.0.1:80"));
    CHECK_EQ(-ENOSPC, weft_addr_format(&a, line, 0));
    CHECK_EQ(-ENOSPC, weft_addr_format(&a, line, 12));
    CHECK_STR("untouched", line);
    CHECK_EQ(12, weft_addr_format(&a, line, 13));
    CHECK_STR("127.0.0.1:80", line);
}

TEST(misuse_is_answered)
{
    char line[WEFT_ADDR_TEXT_MAX];
    weft_addr a = {0};

    CHECK_EQ(-EINVAL, weft_addr_parse(NULL, "127.0.0.1:80"));
    CHECK_EQ(-EINVAL, weft_addr_parse(&a, NULL));
    CHECK_EQ(-EINVAL, weft_addr_ip(NULL, "127.0.0.1", 80));
    CHECK_EQ(-EINVAL, weft_addr_ip(&a, NULL, 80));
    CHECK_EQ(-EINVAL, weft_addr_format(NULL, line, sizeof(line)));
    CHECK_EQ(-EINVAL, weft_addr_format(&a, line, sizeof(line))); /* no address in it */
    CHECK_EQ(0, weft_addr_port(&a));
    CHECK_EQ(0, weft_addr_port(NULL));
    CHECK_EQ(0, weft_addr_parse(&a, "[::1]:80"));
    CHECK_EQ(-EINVAL, weft_addr_format(&a, NULL, 10));
    a.size = sizeof(struct sockaddr_in); /* cut short */
    CHECK_EQ(-EINVAL, weft_addr_format(&a, line, sizeof(line)));
}

TEST_MAIN("addr", text_is_read_and_written, what_is_not_an_address_is_refused,
          an_address_and_a_port_apart, the_bytes_are_those_of_the_system, a_scope_may_be_a_name,
          a_text_that_has_no_room_is_not_written, misuse_is_answered)
