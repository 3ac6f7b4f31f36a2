/* Rows of random blocks of every weight type, for tests of kernels. */
#ifndef CORRAL_TESTS_RANDOM_BLOCKS_H
#define CORRAL_TESTS_RANDOM_BLOCKS_H

#include <string.h>

#include "base/rng.h"
#include "tensor/dtype.h"

/* Where a block's half-precision scales lie, so that random bytes make sensible weights. */
static const struct {
    enum dtype type;
    int at[2];
} random_kinds[] = {
    {DT_Q4_0, {0, -1}},    {DT_Q4_1, {0, 2}},     {DT_Q5_0, {0, -1}},   {DT_Q5_1, {0, 2}},
    {DT_Q8_0, {0, -1}},    {DT_Q2_K, {80, 82}},   {DT_Q3_K, {108, -1}}, {DT_Q4_K, {0, 2}},
    {DT_Q5_K, {0, 2}},     {DT_Q6_K, {208, -1}},  {DT_IQ4_NL, {0, -1}}, {DT_IQ4_XS, {0, -1}},
    {DT_MXFP4, {-1, -1}},  {DT_IQ2_XXS, {0, -1}}, {DT_IQ2_XS, {0, -1}}, {DT_IQ2_S, {0, -1}},
    {DT_IQ3_XXS, {0, -1}}, {DT_IQ3_S, {0, -1}},   {DT_IQ1_S, {0, -1}},  {DT_IQ1_M, {-1, -1}},
    {DT_TQ1_0, {52, -1}},  {DT_TQ2_0, {64, -1}},  {DT_F32, {-1, -1}},   {DT_F16, {-1, -1}},
    {DT_BF16, {-1, -1}},
};

enum { N_RANDOM_KINDS = COUNT_OF(random_kinds) };

static void random_blocks(uint8_t *w, size_t bytes, size_t i, uint64_t seed)
{
    const struct dtype_info *t = dtype_info(random_kinds[i].type);
    for (size_t j = 0; j < bytes; j++) w[j] = (uint8_t)(256 * rng_uniform(seed, 2, j, 0));
    for (size_t b = 0; b + t->block_bytes <= bytes; b += t->block_bytes) {
        float v = (float)(rng_uniform(seed, 3, b, 0) - 0.5);
        uint16_t h;
        for (int k = 0; k < 2; k++) {
            h = f32_to_f16(k ? 0.3f * v : v);
            if (random_kinds[i].at[k] >= 0) memcpy(w + b + random_kinds[i].at[k], &h, sizeof h);
        }
        switch (random_kinds[i].type) {
        case DT_F32: memcpy(w + b, &v, sizeof v); break;
        case DT_F16:
            h = f32_to_f16(v);
            memcpy(w + b, &h, sizeof h);
            break;
        case DT_BF16:
            h = f32_to_bf16(v);
            memcpy(w + b, &h, sizeof h);
            break;
        case DT_MXFP4: w[b] = (uint8_t)(124 + w[b] % 8); break;
        case DT_IQ1_M: /* the scale's nibbles are on top of four words: 0x2Dxx is about 0.08 */
            w[b + 49] = (uint8_t)((w[b + 49] & 15) | 0x10);
            w[b + 51] = (uint8_t)((w[b + 51] & 15) | 0x40);
            w[b + 53] = (uint8_t)((w[b + 53] & 15) | 0xD0);
            w[b + 55] = (uint8_t)((w[b + 55] & 15) | 0x20);
            break;
        default: break;
        }
    }
}

#endif
