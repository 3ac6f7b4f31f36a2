#include "backend/cpu/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/log.h"

static struct cpu_kernels table[MAX_CPU_KERNELS];
static size_t n_table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef CORRAL_ISA_AVX2
/* Not all compilers' __builtin_cpu_supports know these. */
static bool has_f16c(void) /* leaf 1, ECX bit 29 */
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#if defined(CORRAL_ISA_AVXVNNI) || defined(CORRAL_ISA_AVX512BF16)
static bool has_leaf_7_1(int bit) /* of EAX */
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> bit & 1);
}
#endif
#ifdef CORRAL_ISA_AMX
/* The processor has tiles and products of their bytes (leaf 7, EDX bits 24 and 25), and Linux lets this
 * process use them: since 5.16 it must ask first, once, because each thread's state grows by 8 KiB
 * (Documentation/arch/x86/xstate.rst). */
static bool has_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3) return false;
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0) return true;
    LOG(WARN, "cpu", "isa",
        "this processor has AMX, but Linux does not let it be used (%s): going on without", strerror(errno));
    return false;
}
#endif
#elif defined(CORRAL_ISA_NEON)
enum { ARM_DOTPROD = 1, ARM_I8MM = 2 };
#if defined(__APPLE__) /* untested */
static bool has(const char *feature)
{
    int yes = 0;
    size_t n = sizeof yes;
    return sysctlbyname(feature, &yes, &n, NULL, 0) == 0 && yes;
}
static unsigned arm_features(void)
{
    return (has("hw.optional.arm.FEAT_DotProd") ? ARM_DOTPROD : 0) |
           (has("hw.optional.arm.FEAT_I8MM") ? ARM_I8MM : 0);
}
#else
static unsigned arm_features(void) /* bits by their numbers: not all headers name them */
{
    return (getauxval(AT_HWCAP) >> 20 & 1 ? ARM_DOTPROD : 0) |
           (getauxval(AT_HWCAP2) >> 13 & 1 ? ARM_I8MM : 0);
}
#endif
#endif

static void fill(void)
{
    cpu_kernels_portable(&table[n_table++]);
#ifdef CORRAL_ISA_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return;
    cpu_kernels_avx2(&table[n_table++]);
#ifdef CORRAL_ISA_AVXVNNI
    if (has_leaf_7_1(4)) cpu_kernels_avxvnni(&table[n_table++]);
#endif
#ifdef CORRAL_ISA_AVX512
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        cpu_kernels_avx512(&table[n_table++]);
#ifdef CORRAL_ISA_AVX512BF16
    if (!strcmp(table[n_table - 1].name, "avx512") && has_leaf_7_1(5)) {
        table[n_table] = table[n_table - 1];
        cpu_kernels_avx512bf16(&table[n_table++]);
    }
#endif
#ifdef CORRAL_ISA_AMX
    if (!strncmp(table[n_table - 1].name, "avx512", 6) && has_amx()) {
        table[n_table] = table[n_table - 1];
        cpu_kernels_amx(&table[n_table++]);
    }
#endif
#endif
#elif defined(CORRAL_ISA_NEON)
    cpu_kernels_neon(&table[n_table++]);
    const unsigned features = arm_features();
    (void)features;
#ifdef CORRAL_ISA_DOTPROD
    if (features & ARM_DOTPROD) cpu_kernels_dotprod(&table[n_table++]);
#endif
#ifdef CORRAL_ISA_I8MM
    if (features & ARM_DOTPROD && features & ARM_I8MM) cpu_kernels_i8mm(&table[n_table++]);
#endif
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
    const char *wanted = getenv("CORRAL_CPU_ISA");
    pthread_once(&once, fill);
    for (size_t i = 0; wanted && i < n_table; i++)
        if (!strcmp(table[i].name, wanted)) return &table[i];
    if (wanted && *wanted)
        LOG(WARN, "cpu", "isa", "CORRAL_CPU_ISA=%s: not an instruction set of this machine; using %s", wanted,
            table[n_table - 1].name);
    return &table[n_table - 1];
}
