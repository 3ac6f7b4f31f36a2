/* Products of BF16 weights by pairs: activations are rounded to bfloat16, as the weights are, and vdpbf16ps
 * adds two products to a float at once. The rest of the table is that of avx512; the output matrix, too,
 * keeps activations as floats: of the error of the golden model, 9.7e-6 otherwise, it is a third. */
#include "backend/cpu/kernels.h"

#include "backend/cpu/isa/simd_avx2.h"
#include "backend/cpu/isa/wide_avx512.h"
#include "backend/cpu/op/float.h"

enum { bf16_pairs_SIZE = 2, bf16_pairs_STEP = 2 * W_LANES };
SIMD wf bf16_pairs_load(const uint8_t *p)
{
    return wf_load((const float *)(const void *)p); /* as bits */
}
SIMD const void *bf16_pairs_at(const struct act_row *x, size_t at)
{
    return x->bf16 + at;
}
SIMD wf bf16_pairs_multiply(wf w, wf a, wf f)
{
    return _mm512_dpbf16_ps(f, (__m512bh)w, (__m512bh)a);
}
FLOAT_TYPE(bf16_pairs)

static void to_bf16(uint16_t *to, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += W_LANES) {
        const __mmask16 these = (__mmask16)(n - i < W_LANES ? (1u << (n - i)) - 1 : 0xFFFF);
        const __m256bh v = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(these, x + i));
        _mm256_mask_storeu_epi16(to + i, these, (__m256i)v);
    }
}

void cpu_kernels_avx512bf16(struct cpu_kernels *k)
{
    k->name = "avx512bf16";
    k->to_bf16 = to_bf16;
    k->matmul[DT_BF16] = FLOAT_KERNEL(bf16_pairs, ACT_BF16);
}
