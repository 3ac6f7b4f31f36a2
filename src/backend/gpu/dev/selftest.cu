/* The wrappers of dev.h on given numbers, so that a device can be compared with the simulator: what the two read
 * differently of a manual would else show only as a wrong model. */
#include "backend/gpu/dev/kernels.h"

/* One warp. in: GPU_SELFTEST_IN words; out: GPU_SELFTEST_OUT words per lane. */
__global__ void __launch_bounds__(WARP, 1) k_selftest(struct gpu_selftest a)
{
    dev_after();
    __shared__ __align__(16) uint32_t tile[256]; /* sixteen rows of sixteen halves, twice */
    const int l = (int)threadIdx.x;
    for (int i = l; i < 64; i += WARP) dev_cp_async16(tile + 4 * i, a.in + 4 * i);
    dev_cp_async_commit();
    dev_cp_async_wait<0>();
    __syncthreads();
    uint32_t fa[4], fb[4], *out = a.out + l * GPU_SELFTEST_OUT;
    const uint16_t *rows = (const uint16_t *)tile;
    dev_ldmatrix_x4(fa, rows + l % 16 * 16 + l / 16 * 8);
    dev_ldmatrix_x4_t(fb, rows + 256 + l % 16 * 16 + l / 16 * 8);
    float c[4] = {1, 2, 3, 4}, d[4] = {-1, 0, 1, 0}, e[4] = {1, 2, 3, 4}, f[4] = {-1, 0, 1, 0};
    dev_mma_bf16(c, fa, fb);
    dev_mma_f16(d, fa, fb);
    mma_by_shuffles<number_of_bf16>(e, fa, fb);
    mma_by_shuffles<number_of_f16>(f, fa, fb);
    for (int i = 0; i < 4; i++) {
        out[i] = fa[i], out[4 + i] = fb[i];
        out[8 + i] = __float_as_uint(c[i]), out[12 + i] = __float_as_uint(d[i]);
        out[24 + i] = __float_as_uint(e[i]), out[28 + i] = __float_as_uint(f[i]);
    }
    const float number = __uint_as_float(a.in[l] * 2654435761u);
    out[16] = dev_f32_to_f16(number);
    out[17] = dev_f32_to_bf16(number);
    out[18] = __float_as_uint(dev_f16_to_f32((uint16_t)a.in[l]));
    out[19] = __shfl_xor_sync(FULL_MASK, a.in[l], 5);
    out[20] = (uint32_t)(frag_row(l, 3) * 8 + frag_col(l, 3));
    out[21] = __float_as_uint(warp_sum((float)(a.in[l] % 1000)));
    out[22] = __float_as_uint(warp_max((float)(a.in[l] % 1000)));
    out[23] = pack_f16(1e6f, -0.1f);
    out[32] = dev_mul_bf16x2(a.in[l], 0x40403f00u);
}

void launch_selftest(cudaStream_t stream, const struct gpu_selftest *a) { LAUNCH(k_selftest, 1, WARP, 0, stream, *a); }
