/* A product of warpgroups whose sums are read while it runs: ptxas makes it one instruction after the other, and says so
 * as an information only. The build must take that for an error. */
#include "backend/gpu/dev/hopper.h"

__global__ void __launch_bounds__(128, 1) k_serialized(float *out, uint64_t tile, int n)
{
    float acc[64] = {};
    for (int i = 0; i < n; i++) {
        dev_wgmma_fence();
        dev_wgmma<128>(acc, tile, tile);
        dev_wgmma_commit();
        acc[i % 2] += 1; /* before the wait */
        dev_wgmma_wait<0>();
    }
    for (int i = 0; i < 64; i++) out[threadIdx.x * 64 + i] = acc[i];
}
