#include "backend/cpu/kernels.h"

#include "backend/cpu/isa/simd_avx2.h"
#include "backend/cpu/isa/wide_avx512.h"
#include "backend/cpu/op/fill.h"

void cpu_kernels_avx512(struct cpu_kernels *k)
{
    fill_kernels(k, "avx512");
}
