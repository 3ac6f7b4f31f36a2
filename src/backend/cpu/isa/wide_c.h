/* Vector primitives of matrix products in plain C. What isa/wide_*.h must define: W_LANES rows side by side.
 *
 * A lane is a row: wf has a float of each, wi a 32-bit integer, wb four bytes, ww the same as a word, wp two 16-bit
 * integers, wt partial sums of products of bytes. wb and ww are the compilers' vectors, so codecs may calculate with
 * them; the others' operations are below. W_DEPTH(d, quads): how many wt sums may follow each other, of d that fit in 16
 * bits or all quads. W_DIRECT: 8, 4 or 1, columns of products of bytes without a panel; W_DIRECT_PAIRS: of pairs, as
 * many or fewer; W_DIRECT_TILES: 1 if only one tile of them is worth it (kernels.h). W_COLUMNS, W_FLOAT_*, W_TILE_*: how
 * much of a product the registers hold (gemm.h, float.h, attention.h). W_SIGNED: 1 if bytes of weights may be signed
 * ones, or 0. W_DEPTH_8: 1 if numbers of 8 bits are multiplied as bytes, 0 if sums of such products do not fit;
 * W_ZERO_8: what they are counted from, 128 as unsigned bytes, 0 as signed ones. W_MMLA: there are products of two rows
 * with two columns, as wide_neon.h has them. W_HALVES(MINIMA): if not 0, the products of two groups of 16 are added
 * before their activations' scale comes (gemm.h), W_HALF_COLUMNS at once. W_SCALED: wt has two sums of 16 bits for each
 * row, and groups of 16 have integer scales (scaled.h, with functions that only wide_avx2.h has). */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 8, W_COLUMNS = 2, W_FLOAT_ROWS = 2, W_FLOAT_COLUMNS = 2, W_TILE_ROWS = 2, W_TILE_VECTORS = 2 };
#define W_UNROLL(n) /* not here: it would only make compiling slow */
#define W_DEPTH(d, quads) (quads)
#define W_DIRECT 1
#define W_DIRECT_PAIRS 1
#define W_DIRECT_TILES 0
#define W_SIGNED 0
#define W_ZERO_8 128
#define W_DEPTH_8 1

typedef vf wf;
typedef vi wi;
typedef vi wt;
typedef uint8_t wb __attribute__((vector_size(4 * W_LANES)));
typedef uint32_t ww __attribute__((vector_size(4 * W_LANES)));
typedef struct { int16_t v[2 * W_LANES]; } wp;

#include "backend/cpu/isa/wide_narrow.h"

/* y[r] = (first ? 0 : y[r]) + the sum of the lanes of f[r] */
SIMD void wf_add_sums(float *y, const wf f[W_FLOAT_ROWS], bool first)
{
    for (int r = 0; r < W_FLOAT_ROWS; r++) y[r] = (first ? 0 : y[r]) + wf_sum(f[r]);
}
/* a times 2^shift in every lane */
SIMD wi wi_set_shifted(const int32_t *a, int shift) { wi r; LANES_DO(r.v[i] = *a * (1 << shift)); return r; }
/* acc[i] += w[2i] x[0] + w[2i+1] x[1] */
SIMD wi wi_madd(wi acc, wp w, const int16_t *x)
{
    LANES_DO(acc.v[i] += (int32_t)w.v[2 * i] * x[0] + (int32_t)w.v[2 * i + 1] * x[1]);
    return acc;
}
SIMD wp wp_load(const int16_t *p) { wp r; memcpy(&r, p, sizeof r); return r; }
SIMD void wp_store(int16_t *p, wp a) { memcpy(p, &a, sizeof a); }
/* Of each row's signed bytes the first and the third, the second and the fourth. */
SIMD void wp_from_bytes(wp out[2], wb q)
{
    LANES_DO(for (int j = 0; j < 4; j++) out[j % 2].v[2 * i + j / 2] = (int8_t)q[4 * i + j]);
}
SIMD wb wb_load(const void *p) { wb r; memcpy(&r, p, sizeof r); return r; }
SIMD void wb_store(void *p, wb a) { memcpy(p, &a, sizeof a); }
/* acc[i] += w[4i] x[0] + ... + w[4i+3] x[3] */
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x)
{
    LANES_DO(for (int j = 0; j < 4; j++) acc.v[i] += (int32_t)w[4 * i + j] * x[j]);
    return acc;
}
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(vi_zero(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, t); }
SIMD void wt_pin(wt *a) { (void)a; }
SIMD void wi_pin(wi *a) { (void)a; }

/* W_LANES rows, the first at `at`. */
struct rows { const uint8_t *at; size_t stride; };

/* Sixteen bytes at an offset of each row, four to a vector. */
SIMD void wb_rows(wb out[4], struct rows b, size_t offset)
{
    for (size_t r = 0; r < W_LANES; r++)
        for (size_t i = 0; i < 4; i++) memcpy((char *)&out[i] + 4 * r, b.at + r * b.stride + offset + 4 * i, 4);
}
/* Sixty-four bytes of each row. Rows are often as far apart as the cache's sets repeat, so that a row's line is gone when
 * all others have been read: it is read once. */
SIMD void wb_lines(wb out[16], struct rows b)
{
    W_UNROLL(4)
    for (size_t q = 0; q < 4; q++) wb_rows(out + 4 * q, b, 16 * q);
}
/* W_LANES numbers of bfloat16 at p; of half precision; those in the words of a, the first or the second of each; byte i, signed. */
SIMD wf wf_load_bf16(const uint16_t *p) { wf r; LANES_DO(r.v[i] = bf16_to_f32(p[i])); return r; }
SIMD wf wf_load_halves(const uint16_t *p) { wf r; LANES_DO(r.v[i] = f16_to_f32(p[i])); return r; }
SIMD wf wf_halves(ww a, int second) { wf r; LANES_DO(r.v[i] = f16_to_f32((uint16_t)(a[i] >> 16 * second))); return r; }
SIMD wf wf_bytes(wb a, int byte) { wf r; LANES_DO(r.v[i] = (float)(int8_t)a[4 * i + byte]); return r; }
/* Words as they are: floats. */
SIMD wf wf_words(ww a) { wf r; memcpy(&r, &a, sizeof r); return r; }
/* Bits n .. n + 3 of each row's word to bytes, 0 or value. n: a multiple of 4. */
SIMD wb wb_bits(ww a, int n, int value)
{
    wb r;
    for (int i = 0; i < 4 * W_LANES; i++) r[i] = (uint8_t)(a[i / 4] >> (n + i % 4) & 1 ? value : 0);
    return r;
}
/* values[index[i]] + zero for indices below 16 */
SIMD wb wb_lookup(const int8_t values[16], int zero, wb index)
{
    for (int i = 0; i < 4 * W_LANES; i++) index[i] = (uint8_t)(values[index[i]] + zero);
    return index;
}
/* Entries n[row] of a table of eight bytes each: their first four, and their last. */
SIMD void wb_eights(wb out[2], const void *table, const uint32_t n[W_LANES])
{
    for (size_t r = 0; r < W_LANES; r++)
        for (size_t i = 0; i < 2; i++) memcpy((char *)&out[i] + 4 * r, (const char *)table + 8 * n[r] + 4 * i, 4);
}
/* Entries n[row] of a table of four bytes each. */
SIMD wb wb_fours(const void *table, const uint32_t n[W_LANES])
{
    wb out;
    for (size_t r = 0; r < W_LANES; r++) memcpy((char *)&out + 4 * r, (const char *)table + 4 * n[r], 4);
    return out;
}
/* What tripling each byte carries out of eight bits, once it has been multiplied within them by a power of three. */
SIMD wb wb_digits(wb a, int power)
{
    for (int i = 0; i < 4 * W_LANES; i++) a[i] = (uint8_t)((uint8_t)(a[i] * power) * 3 >> 8);
    return a;
}

#endif
