#include "cli/arithmetic.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

/* One loop per kind of instruction: N_SUM sums, enough of them that none waits for its own last value, in
 * registers all the time. */
enum { N_ROUND = 20000, N_SUM = 12 };

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET(names) __attribute__((target(names)))
#define KEEP(v, reg)  __asm__ volatile("" : "+" reg(v))
/* ops operations in each of N_ROUND * N_SUM statements */
#define LOOP(name, names, type, zero, reg, ops, statement)                                                   \
    TARGET(names) static double name(void)                                                                   \
    {                                                                                                        \
        type sum[N_SUM];                                                                                     \
        _Pragma("GCC unroll 12") for (int i = 0; i < N_SUM; i++) sum[i] = zero();                            \
        for (int r = 0; r < N_ROUND; r++) {                                                                  \
            _Pragma("GCC unroll 12") for (int i = 0; i < N_SUM; i++)                                         \
            {                                                                                                \
                statement;                                                                                   \
                KEEP(sum[i], reg);                                                                           \
            }                                                                                                \
        }                                                                                                    \
        return (double)N_ROUND * N_SUM * (ops);                                                              \
    }
LOOP(bytes_vnni, "avx512f,avx512bw,avx512vnni", __m512i, _mm512_setzero_si512, "v", 128,
     sum[i] = _mm512_dpbusd_epi32(sum[i], _mm512_set1_epi8(1), _mm512_set1_epi8(1)))
LOOP(bytes_avx2, "avx2", __m256i, _mm256_setzero_si256, "x", 64, __m256i one = _mm256_set1_epi8(1);
     KEEP(one, "x"); sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(one, one)))
LOOP(floats_avx512, "avx512f", __m512, _mm512_setzero_ps, "v", 32,
     sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(1), _mm512_set1_ps(1), sum[i]))
LOOP(floats_avx2, "avx2,fma", __m256, _mm256_setzero_ps, "x", 16,
     sum[i] = _mm256_fmadd_ps(_mm256_set1_ps(1), _mm256_set1_ps(1), sum[i]))

typedef double (*loop)(void);
static loop bytes_loop(void)
{
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) return bytes_vnni;
    return __builtin_cpu_supports("avx2") ? bytes_avx2 : NULL;
}
static loop floats_loop(void)
{
    if (__builtin_cpu_supports("avx512f")) return floats_avx512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? floats_avx2 : NULL;
}
#else
typedef double (*loop)(void);
static loop bytes_loop(void)
{
    return NULL;
}
static loop floats_loop(void)
{
    return NULL;
}
#endif

struct runner {
    pthread_t id;
    loop fn;
    double ops;
};

static void *run(void *user)
{
    struct runner *r = user;
    r->ops = 0;
    for (int i = 0; i < 16; i++) r->ops += r->fn();
    return NULL;
}

static double rate(loop fn, uint32_t n_thread)
{
    if (!fn) return 0;
    struct runner *r = mem_zalloc(n_thread, sizeof *r);
    const int64_t start = clock_ns();
    uint32_t n = 1;
    for (uint32_t i = 0; i < n_thread; i++) r[i].fn = fn;
    while (n < n_thread && pthread_create(&r[n].id, NULL, run, &r[n]) == 0) n++;
    run(&r[0]);
    double ops = r[0].ops;
    for (uint32_t i = 1; i < n; i++) {
        pthread_join(r[i].id, NULL);
        ops += r[i].ops;
    }
    free(r);
    return ops / ((double)(clock_ns() - start) * 1e-9);
}

struct arithmetic arithmetic_measure(uint32_t n_thread)
{
    n_thread = MAX(1u, n_thread);
    return (struct arithmetic){rate(bytes_loop(), n_thread), rate(floats_loop(), n_thread)};
}
