#include "backend/cpu/kernels.h"

#include "backend/cpu/isa/simd_avx2.h"
#include "backend/cpu/isa/wide_avx512.h"
#include "backend/cpu/isa/tile_amx.h"
#include "backend/cpu/op/tiles.h"

TILES_GEMM(16, 0, 4)
TILES_GEMM(16, 0, 16)
TILES_GEMM(16, 0, 32)
TILES_GEMM(16, 0, 64)
TILES_GEMM(16, 1, 0)
TILES_GEMM(32, 0, 1)
TILES_GEMM(32, 0, 8)
TILES_GEMM(32, 0, 16)
TILES_GEMM(32, 0, 64)
TILES_GEMM(32, 0, W_ZERO_8)
TILES_GEMM(32, 1, 0)
#define tiles_32_0_0 NULL /* Q8_0 is multiplied in pairs */

void cpu_kernels_amx(struct cpu_kernels *k)
{
    k->name = "amx";
    k->emulated = true;
#define ROW(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                            \
    if (k->matmul[TYPE].form == ACT_BYTES) k->matmul[TYPE].gemm = tiles_##GROUP##_##MINIMA##_##ZERO;
    CODEC_LIST(ROW)
#undef ROW
}
