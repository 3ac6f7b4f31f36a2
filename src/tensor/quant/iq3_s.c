#include "tensor/quant/iq3_s.h"

#include "tensor/quant/grids.h"

void iq3_s_decode(const void *x, float *y, size_t n)
{
    const struct block_iq3_s *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int t = 0; t < 64; t++, y += 4) { /* row of four weights */
            int ib = t / 8;
            float scale = d * (float)(1 + 2 * (b->scales[ib / 2] >> 4 * (ib % 2) & 15));
            int row = b->qs[t] | (b->qh[ib] >> t % 8 & 1) << 8;
            iq_signed_row(y, iq3_s_grid[row], 4, b->signs[t / 2] >> 4 * (t % 2), scale);
        }
    }
}
