/* The HTTP/1.1 parser and the chunk decoder over any bytes. What must hold: no access out of bounds (run it
 * under the address sanitizer), and the same answer however the bytes are cut. */
#include <string.h>

#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_FIELD = 16 };

static void parse_head(const char *p, size_t n)
{
    struct h1_limits limits = {4096, 1024};
    struct http_field field[N_FIELD];
    struct h1_head h = {.field = field, .max_field = N_FIELD};
    struct h1_fault f;
    size_t used = 0;
    enum h1_result whole = h1_parse_head(&h, p, n, &limits, &used, &f);
    if (whole == H1_OK) {
        ASSERT(used <= n);
        for (size_t i = 0; i < h.n_field; i++)
            ASSERT(field[i].value.p >= p && field[i].value.p + field[i].value.n <= p + used);
        /* Every shorter prefix is incomplete. */
        size_t again;
        for (size_t cut = 0; cut < used; cut += 1 + used / 16)
            ASSERT(h1_parse_head(&h, p, cut, &limits, &again, &f) == H1_INCOMPLETE);
    } else if (whole == H1_BAD) {
        ASSERT(f.status >= 400 && f.status < 600 && f.why);
    }
}

static uint64_t hash(uint64_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h;
}

static enum h1_result read_chunks(const char *p, size_t n, size_t piece, uint64_t *sum, size_t *end)
{
    struct h1_chunks d = {0};
    size_t at = 0;
    *sum = 0xcbf29ce484222325u;
    while (at < n) {
        size_t give = MIN(piece, n - at), used;
        struct http_str out;
        struct h1_fault f;
        enum h1_result r = h1_read_chunks(&d, p + at, give, &used, &out, &f);
        ASSERT(used <= give && (used > 0 || r != H1_INCOMPLETE));
        *sum = hash(*sum, out.p, r == H1_BAD ? 0 : out.n);
        at += used;
        *end = at;
        if (r != H1_INCOMPLETE) return r;
    }
    return H1_INCOMPLETE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    const char *p = (const char *)data + 1;
    size_t piece = 1 + data[0] % 16, end1 = 0, end2 = 0;
    uint64_t sum1, sum2;
    n--;
    parse_head(p, n);
    enum h1_result a = read_chunks(p, n, n ? n : 1, &sum1, &end1), b = read_chunks(p, n, piece, &sum2, &end2);
    ASSERT(a == b && sum1 == sum2 && end1 == end2);
    return 0;
}
