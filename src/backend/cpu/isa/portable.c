#include "backend/cpu/kernels.h"

#include "backend/cpu/isa/simd_c.h"
#include "backend/cpu/isa/wide_c.h"
#include "backend/cpu/op/fill.h"

void cpu_kernels_portable(struct cpu_kernels *k)
{
    fill_kernels(k, "portable");
}
