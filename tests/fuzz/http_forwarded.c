/* X-Forwarded-For and Forwarded over any bytes. What must hold: whatever a client has sent in them, the
 * address that the proxy before us appended is the client's. */
#include <arpa/inet.h>
#include <string.h>

#include "http/http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* One header with these bytes as its value, and behind them what a proxy appends. */
static bool named(const struct proxies *p, const char *header, const uint8_t *data, size_t n,
                  const char *appended, unsigned char out[16])
{
    struct buf b = {0};
    buf_add(&b, data, n);
    buf_add(&b, appended, strlen(appended));
    struct http_field field = {{header, strlen(header)}, {b.data, b.n}};
    const struct h1_head h = {.field = &field, .n_field = 1};
    bool any = proxies_client(p, &h, out);
    buf_deinit(&b);
    return any;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const ours[] = {"10.0.0.0/8", "unix"};
    static const struct {
        const char *header, *appended[3];
    } kind[] = {{"X-Forwarded-For", {", 203.0.113.7", ",203.0.113.7, 10.0.0.1", ", 203.0.113.7:80"}},
                {"Forwarded",
                 {", for=203.0.113.7", ",for=\"203.0.113.7:80\";by=\"_x,y\", for=10.0.0.1",
                  ", proto=http;for=\"203.0.113.7\""}}};
    static const unsigned char client[16] = {[10] = 0xff, 0xff, 203, 0, 113, 7};
    static struct proxies *proxies[COUNT_OF(kind)];
    unsigned char address[16];
    struct error e;
    for (size_t k = 0; k < COUNT_OF(kind); k++) {
        if (!proxies[k]) ASSERT(proxies_new(&proxies[k], ours, COUNT_OF(ours), k == 1, &e) == OK);
        (void)named(proxies[k], kind[k].header, data, n, "", address);
        for (size_t i = 0; i < COUNT_OF(kind[k].appended); i++)
            ASSERT(named(proxies[k], kind[k].header, data, n, kind[k].appended[i], address) &&
                   !memcmp(address, client, 16));
    }
    return 0;
}
