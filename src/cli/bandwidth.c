#include "cli/bandwidth.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/numa.h"
#include "base/pages.h"

/* Far beyond any core's part of the caches. */
enum { LEAST_BYTES = 256 << 20, THREAD_BYTES = 64 << 20 };
enum { LINE = 64, N_LINE = 4, MAX_STREAM = 4, REPEAT = 3, SPINS = 4000 };

/* One stream does not fill a core's share of the memory everywhere, many make it turn pages too often, and
 * how far ahead lines must be asked for is the machine's secret, so what a core gets is the most of these.
 * Asked into the first-level cache, as the kernels do. */
static const struct way {
    uint32_t n_stream, ahead;
} ways[] = {{1, 4096}, {2, 2048}, {2, 4096}, {4, 1024}};
enum { N_PASS = COUNT_OF(ways) * REPEAT };

typedef uint64_t line __attribute__((vector_size(LINE)));
typedef uint64_t (*read_fn)(const uint8_t *data, size_t n, struct way way);

struct bandwidth {
    struct pages buffer;
    size_t share; /* bytes that one thread reads */
    uint32_t n_thread;
    read_fn read;
    /* Passes begin together: how many threads have come to one, over all passes, and how many have begun. */
    _Atomic uint32_t n_arrived, n_begun;
    _Atomic uint64_t sum; /* of what was read, so that it is */
};

static inline __attribute__((always_inline)) uint64_t read_lines(const uint8_t *data, size_t n,
                                                                 struct way way)
{
    const size_t stream = n / way.n_stream;
    line sum[N_LINE] = {{0}};
    for (size_t at = 0; at < stream; at += N_LINE * LINE)
        for (size_t s = 0; s < way.n_stream; s++) {
            const uint8_t *p = data + s * stream + at;
            for (size_t i = 0; i < N_LINE; i++) {
                __builtin_prefetch(p + way.ahead + i * LINE, 0, 3);
                sum[i] ^= *(const line *)(const void *)(p + i * LINE);
            }
        }
    const line all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
    return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}

static uint64_t read_plain(const uint8_t *data, size_t n, struct way way)
{
    return read_lines(data, n, way);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t read_avx2(const uint8_t *data, size_t n, struct way way)
{
    return read_lines(data, n, way);
}
__attribute__((target("avx512f"))) static uint64_t read_avx512(const uint8_t *data, size_t n, struct way way)
{
    return read_lines(data, n, way);
}
static read_fn choose_read(void)
{
    return __builtin_cpu_supports("avx512f") ? read_avx512
           : __builtin_cpu_supports("avx2")  ? read_avx2
                                             : read_plain;
}
#else
static read_fn choose_read(void)
{
    return read_plain;
}
#endif

status bandwidth_new(struct bandwidth **out, uint32_t n_thread, struct error *e)
{
    struct bandwidth *b = mem_zalloc(1, sizeof *b);
    *out = b;
    b->n_thread = MAX(1u, n_thread);
    b->read = choose_read();
    b->share = round_up(MAX(LEAST_BYTES / b->n_thread, (uint32_t)THREAD_BYTES), MAX_STREAM * N_LINE * LINE);
    const size_t bytes = b->share * b->n_thread;
    if (pages_open(&b->buffer, bytes, e) != OK)
        return fail(e, ERR_MEMORY, "no %zu MiB of memory to measure its bandwidth", bytes >> 20);
    memset(b->buffer.data, 1, bytes);
    return OK;
}

void bandwidth_free(struct bandwidth *b)
{
    if (!b) return;
    pages_close(&b->buffer);
    free(b);
}

struct reader {
    pthread_t id;
    struct bandwidth *b;
    uint32_t thread;
};

static void wait_until(const _Atomic uint32_t *n, uint32_t at_least)
{
    for (uint32_t spins = 0; atomic_load(n) < at_least; spins++)
        if (spins > SPINS) sched_yield();
}

static void read_share(struct bandwidth *b, uint32_t thread, uint32_t pass)
{
    const struct way way = ways[pass % COUNT_OF(ways)];
    atomic_fetch_xor(&b->sum, b->read(b->buffer.data + thread * b->share, b->share, way));
}

static void *reader_main(void *user)
{
    const struct reader *r = user;
    numa_place_thread(r->thread, r->b->n_thread);
    for (uint32_t pass = 0; pass < N_PASS; pass++) {
        atomic_fetch_add(&r->b->n_arrived, 1);
        wait_until(&r->b->n_begun, pass + 1);
        read_share(r->b, r->thread, pass);
    }
    atomic_fetch_add(&r->b->n_arrived, 1);
    return NULL;
}

double bandwidth_measure(struct bandwidth *b)
{
    struct reader *r = mem_zalloc(b->n_thread, sizeof *r);
    uint32_t n = 0; /* beside this thread */
    double best = 0;
    atomic_store(&b->n_arrived, 0);
    atomic_store(&b->n_begun, 0);
    for (uint32_t i = 1; i < b->n_thread; i++) {
        r[n] = (struct reader){.b = b, .thread = i};
        if (pthread_create(&r[n].id, NULL, reader_main, &r[n]) != 0) break;
        n++;
    }
    for (uint32_t pass = 0; pass < N_PASS; pass++) {
        wait_until(&b->n_arrived, (pass + 1) * n);
        const int64_t start = clock_ns();
        atomic_store(&b->n_begun, pass + 1);
        read_share(b, 0, pass);
        wait_until(&b->n_arrived, (pass + 2) * n);
        best = MAX(best, (double)b->share * (n + 1) / ((double)(clock_ns() - start) * 1e-9));
    }
    for (uint32_t i = 0; i < n; i++) pthread_join(r[i].id, NULL);
    free(r);
    return best;
}
