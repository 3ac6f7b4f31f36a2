#include "backend/cpu/kernels.h"

#include "backend/cpu/isa/simd_neon.h"
#include "backend/cpu/isa/wide_neon.h"
#include "backend/cpu/op/fill.h"

void cpu_kernels_i8mm(struct cpu_kernels *k)
{
    fill_kernels(k, "i8mm");
    k->emulated = true;
}
