#include "backend/cpu/kernels.h"

#include <pthread.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static struct cpu_kernels table[2];
static size_t n_table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* clang's __builtin_cpu_supports does not know F16C: leaf 1, ECX bit 29. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

static void fill(void)
{
    cpu_kernels_portable(&table[n_table++]);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        cpu_kernels_avx2(&table[n_table++]);
#endif
}

size_t cpu_kernels_all(const struct cpu_kernels **out, size_t max)
{
    pthread_once(&once, fill);
    for (size_t i = 0; i < n_table && i < max; i++) out[i] = &table[i];
    return MIN(n_table, max);
}

const struct cpu_kernels *cpu_kernels(void)
{
    pthread_once(&once, fill);
    return &table[n_table - 1];
}
