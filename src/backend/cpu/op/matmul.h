/* The matmul kernels of every type: pack.h and gemm.h with the constants of CODEC_LIST. */
#include "backend/cpu/op/gemm.h"
#include "backend/cpu/op/pack.h"
#include "backend/cpu/op/dot.h"

/* Kinds of products that several types share, by their group, minima, zero and depth. */
GEMM(pairs_32_0, W_COLUMNS, pairs_tile, 32, false)
GEMM(pairs_32_1, W_COLUMNS, pairs_tile, 32, true)
GEMM(pairs_16_0, W_COLUMNS, pairs_tile, 16, false)
GEMM(pairs_16_1, W_COLUMNS, pairs_tile, 16, true)
GEMM(bytes_32_0_8_8, W_COLUMNS, bytes_tile, 32, false, 8, 8)
GEMM(bytes_32_1_0_8, W_COLUMNS, bytes_tile, 32, true, 0, 8)
GEMM(bytes_32_0_16_4, W_COLUMNS, bytes_tile, 32, false, 16, 4)
GEMM(bytes_32_1_0_4, W_COLUMNS, bytes_tile, 32, true, 0, 4)
GEMM(bytes_16_1_0_4, W_COLUMNS, bytes_tile, 16, true, 0, 4)
GEMM(bytes_16_0_4_4, W_COLUMNS, bytes_tile, 16, false, 4, 4)
GEMM(bytes_16_0_32_2, W_COLUMNS, bytes_tile, 16, false, 32, 2)
GEMM(bytes_32_0_64_1, W_COLUMNS, bytes_tile, 32, false, 64, 1)
GEMM(bytes_16_0_64_1, W_COLUMNS, bytes_tile, 16, false, 64, 1)
GEMM(bytes_16_0_16_4, W_COLUMNS, bytes_tile, 16, false, 16, 4)
GEMM(bytes_32_0_1_8, W_COLUMNS, bytes_tile, 32, false, 1, 8)
GEMM(float_gemm, W_COLUMNS_FLOAT, float_tile, PANEL_ROWS)
#define bytes_32_0_0_0 NULL /* signed bytes are multiplied in pairs */

#define PACK_TYPE(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH)                                               \
    PACK(name, pairs, BLOCK, GROUP, MINIMA, ZERO)                                                              \
    PACK(name, quads, BLOCK, GROUP, MINIMA, ZERO)
CODEC_LIST(PACK_TYPE)

#define DOT_TYPE(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH)                                                \
    DOT(name, pair, BLOCK, GROUP, MINIMA, ZERO, DEPTH)                                                         \
    DOT(name, byte, BLOCK, GROUP, MINIMA, ZERO, DEPTH)
CODEC_LIST(DOT_TYPE)

#define PACK_FLOAT(name, elem)                                                                                 \
    static void pack_##name(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0,     \
                            size_t k)                                                                          \
    {                                                                                                          \
        pack_float(panel, rows, row_bytes, n_row, k0, k, widen_##name, elem);                                  \
    }
PACK_FLOAT(f32, 4)
PACK_FLOAT(f16, 2)
PACK_FLOAT(bf16, 2)

static void matmul_fill(struct cpu_kernels *k)
{
#define ROW(TYPE, name, BLOCK, GROUP, MINIMA, ZERO, DEPTH)                                                     \
    k->fine[TYPE] =                                                                                            \
        (struct matmul_kernel){pack_##name##_pairs, pairs_##GROUP##_##MINIMA,                                  \
                               dot_##name##_pair, ACT_PAIRS, PANEL_K};                                         \
    k->matmul[TYPE] = DEPTH ? (struct matmul_kernel){pack_##name##_quads,                                      \
                                                     bytes_##GROUP##_##MINIMA##_##ZERO##_##DEPTH,              \
                                                     dot_##name##_byte, ACT_BYTES, PANEL_K_BYTES}                                            \
                            : k->fine[TYPE];
    CODEC_LIST(ROW)
#undef ROW
    k->matmul[DT_F32] = (struct matmul_kernel){pack_f32, float_gemm, NULL, ACT_FLOATS, PANEL_K_FLOAT};
    k->matmul[DT_F16] = (struct matmul_kernel){pack_f16, float_gemm, NULL, ACT_FLOATS, PANEL_K_FLOAT};
    k->matmul[DT_BF16] = (struct matmul_kernel){pack_bf16, float_gemm, NULL, ACT_FLOATS, PANEL_K_FLOAT};
    k->fine[DT_F32] = k->matmul[DT_F32];
    k->fine[DT_F16] = k->matmul[DT_F16];
    k->fine[DT_BF16] = k->matmul[DT_BF16];
}
