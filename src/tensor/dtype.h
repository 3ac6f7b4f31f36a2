/* Data types of tensors: one row per type, with its block geometry and scalar codec.
 *
 * The numbers are GGUF's tensor type ids. A row of n weights is n / block_elems blocks of block_bytes,
 * packed; n must be a multiple of block_elems. Each block format is specified by its own file,
 * tensor/quant/NAME.h or .c (struct, decode, encode); every kernel is tested against those. */
#ifndef CORRAL_DTYPE_H
#define CORRAL_DTYPE_H

#include "base/base.h"

enum dtype {
    DT_F32 = 0, DT_F16 = 1, DT_Q4_0 = 2, DT_Q4_1 = 3, DT_Q5_0 = 6, DT_Q5_1 = 7, DT_Q8_0 = 8, DT_Q8_1 = 9,
    DT_Q2_K = 10, DT_Q3_K = 11, DT_Q4_K = 12, DT_Q5_K = 13, DT_Q6_K = 14, DT_Q8_K = 15,
    DT_IQ2_XXS = 16, DT_IQ2_XS = 17, DT_IQ3_XXS = 18, DT_IQ1_S = 19, DT_IQ4_NL = 20, DT_IQ3_S = 21,
    DT_IQ2_S = 22, DT_IQ4_XS = 23, DT_I8 = 24, DT_I16 = 25, DT_I32 = 26, DT_I64 = 27, DT_F64 = 28,
    DT_IQ1_M = 29, DT_BF16 = 30, DT_TQ1_0 = 34, DT_TQ2_0 = 35, DT_MXFP4 = 39,
    DT_COUNT = 43, /* one more than the largest id that GGUF defines */
    DT_FP8 = 257   /* of KV caches only: no file may have it */
};

struct dtype_info {
    const char *name;        /* "q4_k"; NULL: no such type */
    uint16_t    block_elems; /* 1 for plain numbers */
    uint16_t    block_bytes;
    /* y[0..n) = the n weights at x; n is a multiple of block_elems. NULL: no weights of this type. */
    void (*decode)(const void *x, float *y, size_t n);
    /* The n weights x into blocks y. importance: NULL, or n weights of the squared error. NULL: not
     * defined. */
    void (*encode)(const float *x, void *y, size_t n, const float *importance);
};

/* NULL when t is no known type (t may come from a file). */
const struct dtype_info *dtype_info(uint32_t t);
/* Case-insensitive; false when the name is unknown. */
bool dtype_by_name(const char *name, enum dtype *out);
/* Bytes of n elements; false when n is negative, not whole blocks, or the product overflows. */
bool dtype_bytes(enum dtype t, int64_t n, size_t *out);

float    f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* round to nearest even */
float    bf16_to_f32(uint16_t b);
uint16_t f32_to_bf16(float f); /* round to nearest even, quiet NaN */

#endif
