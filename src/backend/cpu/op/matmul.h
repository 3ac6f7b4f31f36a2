/* The matmul kernels of every type: pack.h and gemm.h with the constants of CODEC_LIST. */
#include "backend/cpu/op/dot.h"
#include "backend/cpu/op/float.h"
#include "backend/cpu/op/gemm.h"

/* Kinds of products that several types share, by their group, minima, zero and depth. */
GEMM(pairs_32_0, W_COLUMNS, pairs_tile, 32, false)
GEMM(pairs_32_1, W_COLUMNS, pairs_tile, 32, true)
GEMM(pairs_16_0, W_HALF_COLUMNS, pairs_tile, 16, false)
GEMM(pairs_16_1, W_HALF_COLUMNS, pairs_tile, 16, true)
GEMM(bytes_32_0_8_8, W_COLUMNS, bytes_tile, 32, false, 8, 8)
GEMM(bytes_32_1_0_8, W_COLUMNS, bytes_tile, 32, true, 0, 8)
GEMM(bytes_32_0_16_4, W_COLUMNS, bytes_tile, 32, false, 16, 4)
GEMM(bytes_32_1_0_4, W_COLUMNS, bytes_tile, 32, true, 0, 4)
GEMM(bytes_32_0_64_1, W_COLUMNS, bytes_tile, 32, false, 64, 1)
#ifdef W_SCALED
GEMM(bytes_16_1_0_4, W_COLUMNS, scaled_tile, true, 0)
GEMM(bytes_16_0_4_4, W_COLUMNS, scaled_tile, false, 4)
GEMM(bytes_16_0_16_4, W_COLUMNS, scaled_tile, false, 16)
GEMM(bytes_16_0_32_2, W_COLUMNS, scaled_tile, false, 32)
GEMM(bytes_16_0_64_1, W_COLUMNS, scaled_tile, false, 64)
#else
GEMM(bytes_16_1_0_4, W_HALF_COLUMNS, bytes_tile, 16, true, 0, 4)
GEMM(bytes_16_0_4_4, W_HALF_COLUMNS, bytes_tile, 16, false, 4, 4)
GEMM(bytes_16_0_16_4, W_HALF_COLUMNS, bytes_tile, 16, false, 16, 4)
GEMM(bytes_16_0_32_2, W_HALF_COLUMNS, bytes_tile, 16, false, 32, 2)
GEMM(bytes_16_0_64_1, W_HALF_COLUMNS, bytes_tile, 16, false, 64, 1)
#endif
GEMM(bytes_32_0_1_8, W_COLUMNS, bytes_tile, 32, false, 1, 8)
#if W_SIGNED
GEMM(bytes_32_0_0_W_SIGNED, W_COLUMNS, bytes_tile, 32, false, 0, W_SIGNED)
#else
#define bytes_32_0_0_W_SIGNED NULL
#endif
#if W_DEPTH_8
GEMM(bytes_32_0_W_ZERO_8_W_DEPTH_8, W_COLUMNS, bytes_tile, 32, false, W_ZERO_8, W_DEPTH_8)
#else
#define bytes_32_0_W_ZERO_8_W_DEPTH_8 NULL
#endif

#define PACK_TYPE(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                        \
    PACK(name, pairs, PAIRS_BYTES, BLOCK, GROUP, MINIMA, ZERO, CHUNK)                                          \
    PACK(name, quads, QUADS_BYTES, BLOCK, GROUP, MINIMA, ZERO, CHUNK)
CODEC_LIST(PACK_TYPE)

/* Groups of 16 without minima are types that take many registers to unpack: eight columns do not fit beside that. */
#define MOST_DIRECT(GROUP, MINIMA) ((GROUP) == 16 && !(MINIMA) ? MIN(W_DIRECT, 4) : W_DIRECT)

#define DOT_TYPE(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                         \
    DOT(name##_pair, W_DIRECT_PAIRS, name, pair, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                     \
    DOT(name##_byte, MOST_DIRECT(GROUP, MINIMA), name, byte, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)
CODEC_LIST(DOT_TYPE)
FLOAT_TYPE(f32)
FLOAT_TYPE(f16)
FLOAT_TYPE(bf16)

static void matmul_fill(struct cpu_kernels *k)
{
#define ROW(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                              \
    k->fine[TYPE] = (struct matmul_kernel){.pack = pack_##name##_pairs,                                        \
                                           .gemm = pairs_##GROUP##_##MINIMA,                                   \
                                           .dot = dot_##name##_pair,                                           \
                                           .form = ACT_PAIRS,                                                  \
                                           .panel_k = PANEL_K,                                                 \
                                           .direct = W_DIRECT_PAIRS,                                           \
                                           .direct_tiles = W_DIRECT_TILES,                                     \
                                           .dot_rows = DOT_ROWS,                                               \
                                           .panel_rows = PANEL_ROWS};                                          \
    k->matmul[TYPE] = k->fine[TYPE];                                                                           \
    if (DEPTH)                                                                                                 \
        k->matmul[TYPE] = (struct matmul_kernel){.pack = pack_##name##_quads,                                  \
                                                 .gemm = bytes_##GROUP##_##MINIMA##_##ZERO##_##DEPTH,          \
                                                 .dot = dot_##name##_byte,                                     \
                                                 .form = ACT_BYTES,                                            \
                                                 .panel_k = PANEL_K_BYTES,                                     \
                                                 .direct = MOST_DIRECT(GROUP, MINIMA),                         \
                                                 .direct_tiles = W_DIRECT_TILES,                               \
                                                 .dot_rows = DOT_ROWS,                                         \
                                                 .panel_rows = PANEL_ROWS};
    CODEC_LIST(ROW)
#undef ROW
    k->fine[DT_F32] = k->matmul[DT_F32] = FLOAT_KERNEL(f32, ACT_FLOATS);
    k->fine[DT_F16] = k->matmul[DT_F16] = FLOAT_KERNEL(f16, ACT_FLOATS);
    k->fine[DT_BF16] = k->matmul[DT_BF16] = FLOAT_KERNEL(bf16, ACT_FLOATS);
}
