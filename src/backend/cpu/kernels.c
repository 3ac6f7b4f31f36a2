#include "backend/cpu/kernels.h"

#include <pthread.h>

static struct cpu_kernels table[2];
static size_t n_table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
    cpu_kernels_portable(&table[n_table++]);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
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
