/* SPDX-License-Identifier: MIT */
/*
 * addr.c - network addresses and their text, numbers only: nothing here asks a name server.
 *
 * The text is "host:port", where host is an IPv4 address, an IPv6 address in brackets, or "*" or
 * nothing for all IPv4 interfaces. An IPv6 address may end in a scope, "%2" or "%eth0"; it is
 * written as a number again, because an interface's name may change and asking for it is a
 * system call. What weft_addr_format writes, weft_addr_parse reads as the same address.
 *
 * The socket address structs are copied in and out of weft_addr: C does not allow its bytes to be
 * looked at as another struct in place.
 */
#include "base/assert.h"
#include "base/log.h"
#include "base/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <weft/net.h>

#define ADDR_IP_MAX     (INET6_ADDRSTRLEN + IF_NAMESIZE) /* with a scope and the final NUL */
#define ADDR_PORT_MAX   65535u
#define ADDR_DIGITS_MAX 10

_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((weft_addr *)0)->u), "room for IPv6");
_Static_assert(sizeof("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535") <=
                   WEFT_ADDR_TEXT_MAX,
               "the longest text");

/* All of text as a decimal number of at most max. False: it is not one. */
static bool addr_number(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;
    size_t digits = 0;

    for (; text[digits]; digits++) {
        if (text[digits] < '0' || text[digits] > '9' || digits == ADDR_DIGITS_MAX)
            return false;
        n = n * 10 + (uint64_t)(text[digits] - '0');
    }
    if (digits == 0 || n > max)
        return false;
    *out = (uint32_t)n;
    return true;
}

/* The scope behind the %: a number, or an interface's name. */
static bool addr_scope(const char *text, uint32_t *out)
{
    int index;

    if (addr_number(text, UINT32_MAX, out))
        return true;
    if (!*text || strlen(text) >= IF_NAMESIZE)
        return false;
    index = wf_sys_if_index(text);
    if (index <= 0)
        return false;
    *out = (uint32_t)index;
    return true;
}

static int addr_set_v4(weft_addr *a, const char *ip, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool any = strcmp(ip, "*") == 0; /* INADDR_ANY is 0 */

    if (!any && inet_pton(AF_INET, ip, &in.sin_addr) != 1)
        return -EINVAL;
    *a = (weft_addr){.size = sizeof(in)};
    memcpy(&a->u, &in, sizeof(in));
    return 0;
}

/* ip is the caller's buffer and is cut at its scope. */
static int addr_set_v6(weft_addr *a, char *ip, uint16_t port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char *percent = strchr(ip, '%');

    if (percent) {
        *percent = '\0';
        if (!addr_scope(percent + 1, &in.sin6_scope_id))
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, ip, &in.sin6_addr) != 1)
        return -EINVAL;
    *a = (weft_addr){.size = sizeof(in)};
    memcpy(&a->u, &in, sizeof(in));
    return 0;
}

/* Copy a part of a text, to be ended by a NUL. False: it does not fit. */
static bool addr_part(char part[ADDR_IP_MAX], const char *text, size_t size)
{
    if (size >= ADDR_IP_MAX)
        return false;
    memcpy(part, text, size);
    part[size] = '\0';
    return true;
}

int weft_addr_ip(weft_addr *a, const char *ip, uint16_t port)
{
    char part[ADDR_IP_MAX];

    if (!a || !ip)
        return wf_misuse(-EINVAL, "weft_addr_ip: an argument is NULL");
    if (!addr_part(part, ip, strlen(ip)))
        return -EINVAL;
    return strchr(part, ':') ? addr_set_v6(a, part, port) : addr_set_v4(a, part, port);
}

int weft_addr_parse(weft_addr *a, const char *text)
{
    char part[ADDR_IP_MAX];
    const char *colon;
    size_t size;
    uint32_t port;

    if (!a || !text)
        return wf_misuse(-EINVAL, "weft_addr_parse: an argument is NULL");
    colon = strrchr(text, ':');
    if (!colon || !addr_number(colon + 1, ADDR_PORT_MAX, &port))
        return -EINVAL;
    size = (size_t)(colon - text);
    if (size == 0)
        return addr_set_v4(a, "*", (uint16_t)port);
    if (text[0] != '[') /* without brackets an IPv6 address is no better than a guess */
        return addr_part(part, text, size) ? addr_set_v4(a, part, (uint16_t)port) : -EINVAL;
    if (text[size - 1] != ']' || !addr_part(part, text + 1, size - 2))
        return -EINVAL;
    return addr_set_v6(a, part, (uint16_t)port);
}

/* Copy the address out as the struct of its family. False: it is not one of that family. */
static bool addr_get_v4(const weft_addr *a, struct sockaddr_in *in)
{
    if (a->size < sizeof(*in) || a->u.any.sa_family != AF_INET)
        return false;
    memcpy(in, &a->u, sizeof(*in));
    return true;
}

static bool addr_get_v6(const weft_addr *a, struct sockaddr_in6 *in)
{
    if (a->size < sizeof(*in) || a->u.any.sa_family != AF_INET6)
        return false;
    memcpy(in, &a->u, sizeof(*in));
    return true;
}

uint16_t weft_addr_port(const weft_addr *a)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (!a)
        return (uint16_t)wf_misuse(0, "weft_addr_port: the address is NULL");
    if (addr_get_v4(a, &in))
        return ntohs(in.sin_port);
    return addr_get_v6(a, &in6) ? ntohs(in6.sin6_port) : 0;
}

int weft_addr_format(const weft_addr *a, char *text, size_t size)
{
    char line[WEFT_ADDR_TEXT_MAX], ip[INET6_ADDRSTRLEN];
    struct wf_text t = {line, line + sizeof(line) - 1};
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    size_t length;

    if (!a || !text)
        return wf_misuse(-EINVAL, "weft_addr_format: an argument is NULL");
    if (addr_get_v4(a, &in)) {
        wf_text_str(&t, inet_ntop(AF_INET, &in.sin_addr, ip, sizeof(ip)));
    } else if (addr_get_v6(a, &in6)) {
        wf_text_str(&t, "[");
        wf_text_str(&t, inet_ntop(AF_INET6, &in6.sin6_addr, ip, sizeof(ip)));
        if (in6.sin6_scope_id) {
            wf_text_str(&t, "%");
            wf_text_u64(&t, in6.sin6_scope_id);
        }
        wf_text_str(&t, "]");
    } else {
        return wf_misuse(-EINVAL, "weft_addr_format: not an address");
    }
    wf_text_str(&t, ":");
    wf_text_u64(&t, weft_addr_port(a));
    wf_debug_assert(t.at < t.end);
    length = (size_t)(t.at - line);
    if (length >= size)
        return -ENOSPC;
    memcpy(text, line, length);
    text[length] = '\0';
    return (int)length;
}
