/* Primitives of products of tiles: AMX, with bytes. A tile is a register of up to 16 rows of 64 bytes,
 * its number a literal from 0 to 7. What they mean in plain C is in tests/support/tile_emulator.h, which
 * plays the instructions for machines that do not have them. (Intel SDM vol. 1 chapter 18, vol. 2 at each
 * instruction.) */
#ifndef CORRAL_TILE_H
#define CORRAL_TILE_H

#define W_TILES

/* The shapes of all tiles, as the processor reads them: bytes of a row, and rows. */
struct tile_shapes {
    uint8_t  palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t  n_row[16];
};
/* From here to tile_release there are tiles. shapes: static data, of which the compiler need not see that
 * it is read. */
SIMD void tile_configure(const struct tile_shapes *shapes) { _tile_loadconfig(shapes); }
SIMD void tile_release(void) { _tile_release(); }
#define tile_zero(t) _tile_zero(t)
/* Rows are apart bytes from each other. */
#define tile_load(t, from, apart) _tile_loadd(t, from, apart)
#define tile_store(t, to, apart) _tile_stored(t, to, apart)
/* sums[i][j] += over k: signed bytes a[i][k] times unsigned bytes b[k / 4][4 j + k % 4], in 32 bits */
#define tile_add_products(sums, a, b) _tile_dpbsud(sums, a, b)
/* A tile's row from memory. */
SIMD wi wi_load(const int32_t *p) { return _mm512_load_si512(p); }
/* What was stored before is in memory: the compiler does not know that tiles are loaded from there. */
SIMD void tile_memory(void) { __asm__ volatile("" ::: "memory"); }

#endif
