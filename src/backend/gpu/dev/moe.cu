/* Routing of tokens to experts, and the list of work that comes of it. */
#include "backend/gpu/dev/kernels.h"

/* A warp per token: the best n_used logits, best first, ties to the lower index; their gates. */
__global__ void __launch_bounds__(WARP, 16) k_route(struct gpu_route a)
{
    dev_after();
    const float *logits = a.logits + (size_t)blockIdx.x * a.n_expert;
    const size_t slot = (size_t)blockIdx.x * a.n_used;
    const uint32_t lane = threadIdx.x;
    uint32_t taken = 0; /* bit i: this lane's expert lane + 32 i */
    float top = 0, all = 0, sum = 0;

    if (a.kv_slot && a.kv_slot[blockIdx.x] == UINT32_MAX) { /* the whole block */
        for (uint32_t k = lane; k < a.n_used; k += WARP) a.chosen[slot + k] = UINT32_MAX, a.gate[slot + k] = 0;
        return;
    }
    for (uint32_t k = 0; k < a.n_used; k++) {
        float best = -INFINITY;
        uint32_t at = a.n_expert;
        for (uint32_t i = 0; lane + WARP * i < a.n_expert; i++) {
            const float v = logits[lane + WARP * i];
            if (!(taken >> i & 1) && (at == a.n_expert || v > best)) best = v, at = lane + WARP * i;
        }
        for (int m = 16; m; m >>= 1) {
            const float other = __shfl_xor_sync(FULL_MASK, best, m);
            const uint32_t other_at = __shfl_xor_sync(FULL_MASK, at, m);
            if (other_at < a.n_expert && (at == a.n_expert || other > best || (other == best && other_at < at)))
                best = other, at = other_at;
        }
        if (at % WARP == lane) taken |= 1u << at / WARP;
        if (k == 0) top = best;
        sum += __expf(best - top);
        if (lane == 0) {
            a.chosen[slot + k] = at;
            a.gate[slot + k] = __expf(best - top);
        }
    }
    for (uint32_t i = lane; i < a.n_expert; i += WARP) all += __expf(logits[i] - top);
    all = warp_sum(all);
    __syncwarp(); /* lane 0's gates */
    for (uint32_t k = lane; k < a.n_used; k += WARP)
        a.gate[slot + k] *= a.scale / (a.softmax_after_topk || a.renormalize ? sum : all);
}

/* One block: slots sorted by expert, a slot's place within its expert in the order of slots; pieces of up to work_rows
 * slots. A warp looks through all slots for one expert after the other. The order of work is that of experts, whatever the
 * order of threads. */
enum { GROUP_THREADS = 1024 };

DEV uint32_t slots_of(const struct gpu_route *a, uint32_t expert, uint32_t slot, uint32_t n_slot) /* a bit per lane */
{
    return __ballot_sync(FULL_MASK, slot < n_slot && a->chosen[slot] == expert);
}

__global__ void __launch_bounds__(GROUP_THREADS, 1) k_group(struct gpu_route a)
{
    __shared__ uint32_t count[GPU_MAX_EXPERTS], first[GPU_MAX_EXPERTS], work_at[GPU_MAX_EXPERTS];
    const uint32_t w = threadIdx.x / WARP, l = threadIdx.x % WARP, n_warp = blockDim.x / WARP, n_slot = a.n_tok * a.n_used;
    dev_after();
    for (uint32_t e = w; e < a.n_expert; e += n_warp) {
        uint32_t n = 0;
        for (uint32_t s = 0; s < n_slot; s += WARP) n += (uint32_t)__popc(slots_of(&a, e, s + l, n_slot));
        if (l == 0) count[e] = n;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t at = 0, n_work = 0;
        for (uint32_t i = 0; i < a.n_expert; i++) {
            first[i] = at, work_at[i] = n_work;
            at += count[i];
            n_work += (count[i] + a.work_rows - 1) / a.work_rows;
        }
        *a.n_work = n_work;
    }
    __syncthreads();
    for (uint32_t e = w; e < a.n_expert; e += n_warp) {
        uint32_t at = first[e];
        for (uint32_t s = 0; s < n_slot; s += WARP) {
            const uint32_t mine = slots_of(&a, e, s + l, n_slot);
            if (mine >> l & 1) a.order[at + (uint32_t)__popc(mine & ((1u << l) - 1))] = s + l;
            at += (uint32_t)__popc(mine);
        }
        for (uint32_t i = l * a.work_rows; i < count[e]; i += WARP * a.work_rows) {
            const struct gpu_work piece = {e, first[e] + i, (uint32_t)min((int)(count[e] - i), (int)a.work_rows)};
            a.work[work_at[e] + i / a.work_rows] = piece;
        }
    }
}

void launch_route(cudaStream_t stream, const struct gpu_route *a)
{
    const uint32_t threads = a->n_expert * WARP < GROUP_THREADS ? a->n_expert * WARP : (uint32_t)GROUP_THREADS;
    LAUNCH(k_route, a->n_tok, WARP, 0, stream, *a);
    LAUNCH(k_group, 1, threads, 0, stream, *a);
}
