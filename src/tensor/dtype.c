#include "tensor/dtype.h"

#include <strings.h>

#include "tensor/quant/fp8.h"
#include "tensor/quant/grids.h"
#include "tensor/quant/iq1_m.h"
#include "tensor/quant/iq1_s.h"
#include "tensor/quant/iq2_s.h"
#include "tensor/quant/iq2_xs.h"
#include "tensor/quant/iq2_xxs.h"
#include "tensor/quant/iq3_s.h"
#include "tensor/quant/iq3_xxs.h"
#include "tensor/quant/iq4_nl.h"
#include "tensor/quant/iq4_xs.h"
#include "tensor/quant/mxfp4.h"
#include "tensor/quant/plain.h"
#include "tensor/quant/q2_k.h"
#include "tensor/quant/q3_k.h"
#include "tensor/quant/q4_0.h"
#include "tensor/quant/q4_1.h"
#include "tensor/quant/q4_k.h"
#include "tensor/quant/q5_0.h"
#include "tensor/quant/q5_1.h"
#include "tensor/quant/q5_k.h"
#include "tensor/quant/q6_k.h"
#include "tensor/quant/q8_0.h"
#include "tensor/quant/q8_1.h"
#include "tensor/quant/q8_k.h"
#include "tensor/quant/tq1_0.h"
#include "tensor/quant/tq2_0.h"

/* Ids that are missing here (4, 5, 31 to 33, 36 to 38) belonged to formats that ggml has removed. */
// clang-format off
static const struct dtype_info table[DT_COUNT] = {
    /*               name     elems  bytes                        decode          encode */
    [DT_F32]     = {"f32",     1,   4,                            f32_decode,     f32_encode},
    [DT_F16]     = {"f16",     1,   2,                            f16_decode,     f16_encode},
    [DT_BF16]    = {"bf16",    1,   2,                            bf16_decode,    bf16_encode},
    [DT_Q4_0]    = {"q4_0",    32,  sizeof(struct block_q4_0),    q4_0_decode,    q4_0_encode},
    [DT_Q4_1]    = {"q4_1",    32,  sizeof(struct block_q4_1),    q4_1_decode,    q4_1_encode},
    [DT_Q5_0]    = {"q5_0",    32,  sizeof(struct block_q5_0),    q5_0_decode,    q5_0_encode},
    [DT_Q5_1]    = {"q5_1",    32,  sizeof(struct block_q5_1),    q5_1_decode,    q5_1_encode},
    [DT_Q8_0]    = {"q8_0",    32,  sizeof(struct block_q8_0),    q8_0_decode,    q8_0_encode},
    [DT_Q8_1]    = {"q8_1",    32,  sizeof(struct block_q8_1),    q8_1_decode,    q8_1_encode},
    [DT_Q2_K]    = {"q2_k",    256, sizeof(struct block_q2_k),    q2_k_decode,    q2_k_encode},
    [DT_Q3_K]    = {"q3_k",    256, sizeof(struct block_q3_k),    q3_k_decode,    q3_k_encode},
    [DT_Q4_K]    = {"q4_k",    256, sizeof(struct block_q4_k),    q4_k_decode,    q4_k_encode},
    [DT_Q5_K]    = {"q5_k",    256, sizeof(struct block_q5_k),    q5_k_decode,    q5_k_encode},
    [DT_Q6_K]    = {"q6_k",    256, sizeof(struct block_q6_k),    q6_k_decode,    q6_k_encode},
    [DT_Q8_K]    = {"q8_k",    256, sizeof(struct block_q8_k),    q8_k_decode,    q8_k_encode},
    [DT_IQ2_XXS] = {"iq2_xxs", 256, sizeof(struct block_iq2_xxs), iq2_xxs_decode, NULL},
    [DT_IQ2_XS]  = {"iq2_xs",  256, sizeof(struct block_iq2_xs),  iq2_xs_decode,  NULL},
    [DT_IQ2_S]   = {"iq2_s",   256, sizeof(struct block_iq2_s),   iq2_s_decode,   NULL},
    [DT_IQ3_XXS] = {"iq3_xxs", 256, sizeof(struct block_iq3_xxs), iq3_xxs_decode, NULL},
    [DT_IQ3_S]   = {"iq3_s",   256, sizeof(struct block_iq3_s),   iq3_s_decode,   NULL},
    [DT_IQ1_S]   = {"iq1_s",   256, sizeof(struct block_iq1_s),   iq1_s_decode,   NULL},
    [DT_IQ1_M]   = {"iq1_m",   256, sizeof(struct block_iq1_m),   iq1_m_decode,   NULL},
    [DT_IQ4_NL]  = {"iq4_nl",  32,  sizeof(struct block_iq4_nl),  iq4_nl_decode,  iq4_nl_encode},
    [DT_IQ4_XS]  = {"iq4_xs",  256, sizeof(struct block_iq4_xs),  iq4_xs_decode,  iq4_xs_encode},
    [DT_TQ1_0]   = {"tq1_0",   256, sizeof(struct block_tq1_0),   tq1_0_decode,   tq1_0_encode},
    [DT_TQ2_0]   = {"tq2_0",   256, sizeof(struct block_tq2_0),   tq2_0_decode,   tq2_0_encode},
    [DT_MXFP4]   = {"mxfp4",   32,  sizeof(struct block_mxfp4),   mxfp4_decode,   mxfp4_encode},
    [DT_I8]      = {"i8",      1,   1,                            NULL,           NULL},
    [DT_I16]     = {"i16",     1,   2,                            NULL,           NULL},
    [DT_I32]     = {"i32",     1,   4,                            NULL,           NULL},
    [DT_I64]     = {"i64",     1,   8,                            NULL,           NULL},
    [DT_F64]     = {"f64",     1,   8,                            NULL,           NULL},
};
// clang-format on
static const struct dtype_info fp8 = {"fp8", 32, sizeof(struct block_fp8), fp8_decode, fp8_encode};

const struct dtype_info *dtype_info(uint32_t t)
{
    if (t == DT_FP8) return &fp8;
    return t < DT_COUNT && table[t].name ? &table[t] : NULL;
}

bool dtype_by_name(const char *name, enum dtype *out)
{
    for (uint32_t t = 0; t < DT_COUNT; t++) {
        if (table[t].name && strcasecmp(table[t].name, name) == 0) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return false;
}

bool dtype_bytes(enum dtype t, int64_t n, size_t *out)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    if (!info || n < 0 || n % info->block_elems != 0) return false;
    return checked_mul((size_t)(n / info->block_elems), (size_t)info->block_bytes, out);
}

float f16_to_f32(uint16_t h)
{
    return half_to_float(h);
}
uint16_t f32_to_f16(float f)
{
    return half_from_float(f);
}
float bf16_to_f32(uint16_t b)
{
    return bf16_to_float(b);
}
uint16_t f32_to_bf16(float f)
{
    return bf16_from_float(f);
}
