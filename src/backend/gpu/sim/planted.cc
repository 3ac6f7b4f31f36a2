/* Kernels with one mistake each, to see that the simulator finds it: planted NAME ends by abort, with a report. */
#include "backend/gpu/dev/hopper.h"

struct args { float *p; };

__global__ void k_diverge(struct args a)
{
    dev_after();
    if (threadIdx.x < 40)
        __syncthreads();
    else if (threadIdx.x == 50)
        warp_sum(1.0f);
    a.p[threadIdx.x] = 1;
}
__global__ void k_exited(struct args a)
{
    dev_after();
    if (threadIdx.x == 3) return;
    a.p[threadIdx.x] = warp_sum(1.0f);
}
__global__ void k_shuffle(struct args a)
{
    dev_after();
    if (threadIdx.x < 16) a.p[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);
}
__global__ void k_race(struct args a)
{
    dev_after();
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    a.p[threadIdx.x] = s[63 - threadIdx.x]; /* of a thread that has not met this one */
}
__global__ void k_blocks(struct args a)
{
    dev_after();
    a.p[threadIdx.x] = (float)blockIdx.x;
}
__global__ void k_unset(struct args a)
{
    dev_after();
    __shared__ float s[64];
    if (threadIdx.x < 32) s[threadIdx.x] = 1;
    __syncthreads();
    a.p[threadIdx.x] = s[threadIdx.x];
}
__global__ void k_early(struct args a) /* reads before the copy was waited for */
{
    dev_after();
    __shared__ __align__(16) float s[256];
    dev_cp_async16(s + 4 * threadIdx.x, a.p + 4 * threadIdx.x);
    dev_cp_async_commit();
    __syncthreads();
    a.p[threadIdx.x] = s[4 * threadIdx.x];
}
__global__ void k_never(struct args) {} /* does not wait for what was queued before */
__global__ void k_writes(struct args a)
{
    dev_after();
    a.p[threadIdx.x] = 1;
}
__global__ void k_ahead(struct args a) /* reads what the kernel before it writes */
{
    const float v = a.p[threadIdx.x];
    dev_after();
    a.p[threadIdx.x] = v + 1;
}
__global__ void k_over(struct args a) /* writes what the kernel before it may read */
{
    a.p[threadIdx.x] = 1;
    dev_after();
}
struct box_args { dev_tensor_map m; };
__global__ void k_box(struct box_args a) /* nobody waits for the tensor copy */
{
    DYN_SHARED(char, shared);
    uint64_t *bar = (uint64_t *)(shared + 8 * 128);
    dev_after();
    if (threadIdx.x == 0) {
        dev_mbar_init(bar, 1);
        dev_mbar_expect(bar, 8 * 128);
        dev_tma_load(shared, &a.m, 0, 0, bar);
    }
}
__global__ void k_product(struct box_args) /* nor for the product */
{
    DYN_SHARED(char, shared);
    float acc[64] = {};
    dev_after();
    for (int i = (int)threadIdx.x; i < 128 * 128; i += 128) shared[i] = 0;
    __syncthreads();
    dev_wgmma<128>(acc, dev_wgmma_tile(shared), dev_wgmma_tile(shared));
    dev_wgmma_commit();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    static float memory[256] __attribute__((aligned(64)));
    const struct args a = {memory};
    if (!strcmp(what, "diverge")) LAUNCH(k_diverge, 1, 64, 0, 0, a);
    if (!strcmp(what, "exited")) LAUNCH(k_exited, 1, 32, 0, 0, a);
    if (!strcmp(what, "shuffle")) LAUNCH(k_shuffle, 1, 32, 0, 0, a);
    if (!strcmp(what, "race")) LAUNCH(k_race, 1, 64, 0, 0, a);
    if (!strcmp(what, "blocks")) LAUNCH(k_blocks, 2, 64, 0, 0, a);
    if (!strcmp(what, "unset")) LAUNCH(k_unset, 1, 64, 0, 0, a);
    if (!strcmp(what, "never")) LAUNCH(k_never, 1, 64, 0, 0, a);
    if (!strcmp(what, "ahead")) LAUNCH(k_writes, 1, 64, 0, 0, a);
    if (!strcmp(what, "ahead")) LAUNCH(k_ahead, 1, 64, 0, 0, a);
    if (!strcmp(what, "over")) LAUNCH(k_over, 1, 64, 0, 0, a);
    setenv("CORRAL_SIM_LATE", "1", 1);
    if (!strcmp(what, "early")) LAUNCH(k_early, 1, 64, 0, 0, a);
    static const uint16_t box[8 * 64] __attribute__((aligned(64))) = {0};
    struct box_args b = {};
    if (!dev_tensor_map_init(&b.m, box, 8, 64, 64, 8)) return 1;
    if (!strcmp(what, "box")) LAUNCH(k_box, 1, 32, 2048, 0, b);
    if (!strcmp(what, "product")) LAUNCH(k_product, 1, 128, 128 * 128, 0, b);
    for (int i = 0; i < 64; i++)
        if (!(memory[i] == memory[i])) sim_die("a NaN came out");
    puts("nothing was found");
    return 1;
}

bool sim_recording(void) { return false; }
void sim_record(dim3, dim3, size_t, void (*)(void *), const void *, size_t) {}
