/* Products of bytes by tiles: of W_COLUMNS columns with both vectors of a panel's rows, a group of inputs
 * at a time.
 *
 * A group's bytes lie in a panel as the second factor of a tile product wants them, quads of inputs by
 * rows. Sums inside a group are exact and groups are added as elsewhere (gemm.h), so results are those of
 * the vectors, bit for bit.
 *
 * Nothing of this was ever timed. Intel's figures (optimization manual, chapter on AMX): a product every
 * 16 cycles however few inputs it has, a load in 8, a store in 16. Full tiles, 64 inputs deep, multiply
 * eight times as fast as VNNI; groups of 32 leave half of that, groups of 16 a quarter, and eight columns
 * may cost as much as sixteen. For 16 rows and 16 columns of a group of 32 that is 16 to 32 cycles where
 * VNNI takes 64, and they pass beside the scaling of sums, some 30 cycles of vector operations that
 * nothing makes faster: two to three times the speed. Tiles of 16 columns would need twice the
 * accumulators that there are registers. */
#ifndef CORRAL_CPU_TILES_H
#define CORRAL_CPU_TILES_H

#include "backend/cpu/op/gemm.h"

/* What each tile holds. */
#define SUMS_0  0
#define SUMS_1  1
#define COLUMNS 2
#define ROWS_0  3
#define ROWS_1  4

#define TILE_SHAPES(GROUP)                                                                                     \
    static const struct tile_shapes tile_shapes_##GROUP __attribute__((aligned(64))) = {                       \
        .palette = 1,                                                                                          \
        .row_bytes = {[SUMS_0] = 4 * W_LANES, [SUMS_1] = 4 * W_LANES, [COLUMNS] = GROUP,                       \
                      [ROWS_0] = 4 * W_LANES, [ROWS_1] = 4 * W_LANES},                                         \
        .n_row = {[SUMS_0] = W_COLUMNS, [SUMS_1] = W_COLUMNS, [COLUMNS] = W_COLUMNS,                           \
                  [ROWS_0] = GROUP / 4, [ROWS_1] = GROUP / 4}}
TILE_SHAPES(16);
TILE_SHAPES(32);

SIMD size_t bytes_apart(const struct act_row *x, int c)
{
    return (size_t)((uintptr_t)x[c + 1].byte.q - (uintptr_t)x[c].byte.q);
}

/* bytes_group for W_COLUMNS columns that are evenly apart. */
SIMD void tiles_group(wi i[W_ROWS][W_COLUMNS], const int8_t *w, const struct act_row *x, size_t at,
                      size_t sum_at, const int ZERO)
{
    int32_t sums[W_ROWS][W_COLUMNS][W_LANES] __attribute__((aligned(64)));
    _Static_assert(W_ROWS == 2, "a tile of sums for each vector of rows");
    tile_zero(SUMS_0);
    tile_zero(SUMS_1);
    tile_load(COLUMNS, x[0].byte.q + at, bytes_apart(x, 0));
    tile_load(ROWS_0, w, PANEL_STEP);
    tile_load(ROWS_1, w + 4 * W_LANES, PANEL_STEP);
    tile_add_products(SUMS_0, COLUMNS, ROWS_0);
    tile_add_products(SUMS_1, COLUMNS, ROWS_1);
    tile_store(SUMS_0, sums[0], sizeof sums[0][0]);
    tile_store(SUMS_1, sums[1], sizeof sums[1][0]);
    for (int c = 0; c < W_COLUMNS; c++) {
        const int32_t *minus = &x[c].byte.minus[sum_at];
        const wi start = ZERO ? wi_set_shifted(minus, __builtin_ctz(ZERO | 256)) : wi_zero();
        for (int r = 0; r < W_ROWS; r++) i[r][c] = wi_add_sums(start, wi_load(sums[r][c]));
    }
}

/* The same columns with their bytes side by side, where they are not evenly apart: those of an expert's
 * tokens. */
static void even_columns(struct act_row even[W_COLUMNS], int8_t *bytes, const struct act_row *x, size_t k)
{
    memcpy(even, x, W_COLUMNS * sizeof *even);
    for (int c = 0; c < W_COLUMNS; c++, bytes += k) {
        memcpy(bytes, x[c].byte.q, k);
        even[c].byte.q = bytes;
    }
    tile_memory();
}

/* bytes_tile, which goes by tiles if it has all its columns. */
SIMD void tiles_tile(float *const *y, const struct act_row *x, const void *panel, size_t k, bool first,
                     const int NC, const int GROUP, const bool MINIMA, const int ZERO, const int DEPTH)
{
    struct act_row even[W_COLUMNS];
    int8_t bytes[W_COLUMNS * PANEL_K_BYTES];
    bool is_even = true;
    for (int c = 1; c + 1 < NC; c++) is_even = is_even && bytes_apart(x, c) == bytes_apart(x, 0);
    if (NC == W_COLUMNS && !is_even) {
        even_columns(even, bytes, x, k);
        x = even;
    }
    bytes_tile(y, x, panel, k, first, NC, GROUP, MINIMA, ZERO, DEPTH);
}

/* A gemm_fn by the name tiles_GROUP_MINIMA_ZERO. Tiles are there while it runs: a thread that has none is
 * switched faster. */
#define TILES_GEMM(GROUP, MINIMA, ZERO)                                                                        \
    GEMM(all_tiles_##GROUP##_##MINIMA##_##ZERO, W_COLUMNS, tiles_tile, GROUP, MINIMA, ZERO, GROUP / 4)         \
    static void tiles_##GROUP##_##MINIMA##_##ZERO(float *const *y, const struct act_row *x, uint32_t n_col,    \
                                                  const void *panel, size_t k, bool first)                     \
    {                                                                                                          \
        tile_configure(&tile_shapes_##GROUP);                                                                  \
        all_tiles_##GROUP##_##MINIMA##_##ZERO(y, x, n_col, panel, k, first);                                   \
        tile_release();                                                                                        \
    }

#endif
