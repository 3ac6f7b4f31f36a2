/* Which addresses belong to the internet at large (IANA's special-purpose registries: RFC 6890 and later). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "http/client.h"
#include "http/http_int.h"

bool address_inside(const unsigned char *a, const struct address_net *n)
{
    uint32_t whole = n->bits / 8, rest = n->bits % 8;
    if (memcmp(a, n->prefix, whole) != 0) return false;
    return !rest || (a[whole] ^ n->prefix[whole]) >> (8 - rest) == 0;
}

static bool public_v4(const unsigned char *a)
{
    static const struct address_net special[] = {
        {{0}, 8},             /* this network */
        {{10}, 8},            /* private */
        {{100, 64}, 10},      /* behind a carrier's NAT */
        {{127}, 8},           /* this machine */
        {{169, 254}, 16},     /* link: clouds answer questions about credentials here */
        {{172, 16}, 12},      /* private */
        {{192, 0, 0}, 24},    /* protocols */
        {{192, 0, 2}, 24},    /* documentation */
        {{192, 88, 99}, 24},  /* 6to4 relays */
        {{192, 168}, 16},     /* private */
        {{198, 18}, 15},      /* benchmarks */
        {{198, 51, 100}, 24}, /* documentation */
        {{203, 0, 113}, 24},  /* documentation */
        {{224}, 3},           /* multicast, reserved, broadcast */
    };
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if (address_inside(a, &special[i])) return false;
    return true;
}

static bool public_v6(const unsigned char *a)
{
    static const struct address_net mapped = {{[10] = 0xff, [11] = 0xff}, 96},
                                    nat64 = {{0, 0x64, 0xff, 0x9b}, 96}, six_to_four = {{0x20, 0x02}, 16},
                                    global = {{0x20}, 3};
    static const struct address_net special[] = {
        {{0x20, 0x01}, 23},             /* protocols, Teredo among them */
        {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
        {{0x3f, 0xff}, 20},             /* documentation */
    };
    if (address_inside(a, &mapped) || address_inside(a, &nat64)) return public_v4(a + 12);
    if (address_inside(a, &six_to_four)) return public_v4(a + 2);
    if (!address_inside(a, &global))
        return false; /* loopback, link, private, multicast, and what is not given out yet */
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if (address_inside(a, &special[i])) return false;
    return true;
}

bool http_address_is_public(void *unused, const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return public_v4((const unsigned char *)&((const struct sockaddr_in *)a)->sin_addr);
    if (a->sa_family == AF_INET6) return public_v6(((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr);
    return false;
}
