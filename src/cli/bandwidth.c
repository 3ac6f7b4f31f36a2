#include "cli/bandwidth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* One sequential stream does not fill a core's share of memory bandwidth; four far apart nearly do, if the
 * next page of each is asked for: some machines' own prefetching gives up there, and reads a third. */
enum { BUFFER_BYTES = 256 << 20, N_STREAM = 4, CHUNK = 4096, LINE = 64 };

typedef uint64_t vec __attribute__((vector_size(32)));

struct bandwidth {
    uint8_t *data;
    size_t share; /* bytes that one thread reads */
    uint32_t n_thread;
};

struct reader {
    pthread_t id;
    const uint8_t *data;
    size_t n;
    uint64_t sum;
};

static void *read_share(void *user)
{
    struct reader *r = user;
    size_t stream = r->n / N_STREAM;
    vec a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t at = 0; at + CHUNK <= stream; at += CHUNK) {
        for (size_t s = 0; s < N_STREAM; s++) {
            const vec *p = (const vec *)(r->data + s * stream + at);
            for (size_t i = 0; i < CHUNK / sizeof(vec); i += 4) {
                __builtin_prefetch((const uint8_t *)(p + i) + CHUNK);
                __builtin_prefetch((const uint8_t *)(p + i) + CHUNK + LINE);
                a ^= p[i];
                b ^= p[i + 1];
                c ^= p[i + 2];
                d ^= p[i + 3];
            }
        }
    }
    vec sum = a ^ b ^ c ^ d;
    r->sum = sum[0] ^ sum[1] ^ sum[2] ^ sum[3]; /* looked at by the caller, so that the reads stay */
    return NULL;
}

status bandwidth_new(struct bandwidth **out, uint32_t n_thread, struct error *e)
{
    struct bandwidth *b = mem_zalloc(1, sizeof *b);
    *out = b;
    b->n_thread = MAX(1u, n_thread);
    b->share = BUFFER_BYTES / b->n_thread / (N_STREAM * CHUNK) * (N_STREAM * CHUNK);
    b->data = aligned_alloc(CHUNK, BUFFER_BYTES);
    if (!b->data)
        return fail(e, ERR_MEMORY, "no %d MiB of memory to measure its bandwidth", BUFFER_BYTES >> 20);
    memset(b->data, 1, BUFFER_BYTES);
    return OK;
}

void bandwidth_free(struct bandwidth *b)
{
    if (!b) return;
    free(b->data);
    free(b);
}

double bandwidth_measure(struct bandwidth *b)
{
    struct reader *r = mem_zalloc(b->n_thread, sizeof *r);
    int64_t start = clock_ns();
    uint32_t n = 0;
    for (uint32_t i = 1; i < b->n_thread; i++) {
        r[i].data = b->data + i * b->share;
        r[i].n = b->share;
        if (pthread_create(&r[i].id, NULL, read_share, &r[i]) != 0) break;
        n = i;
    }
    r[0].data = b->data;
    r[0].n = b->share;
    read_share(&r[0]);
    uint64_t sum = r[0].sum;
    for (uint32_t i = 1; i <= n; i++) {
        pthread_join(r[i].id, NULL);
        sum ^= r[i].sum;
    }
    int64_t ns = clock_ns() - start;
    static volatile uint64_t sink;
    sink = sum;
    (void)sink;
    free(r);
    return (double)b->share * (n + 1) / ((double)ns * 1e-9);
}
