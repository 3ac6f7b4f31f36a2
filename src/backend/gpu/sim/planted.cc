/* Kernels with one mistake each, to see that the simulator finds it: planted NAME ends by abort, with a report. */
#include "backend/gpu/dev/dev.h"

struct args { float *p; };

__global__ void k_diverge(struct args a)
{
    if (threadIdx.x < 40)
        __syncthreads();
    else if (threadIdx.x == 50)
        warp_sum(1.0f);
    a.p[threadIdx.x] = 1;
}
__global__ void k_exited(struct args a)
{
    if (threadIdx.x == 3) return;
    a.p[threadIdx.x] = warp_sum(1.0f);
}
__global__ void k_shuffle(struct args a)
{
    if (threadIdx.x < 16) a.p[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);
}
__global__ void k_race(struct args a)
{
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    a.p[threadIdx.x] = s[63 - threadIdx.x]; /* of a thread that has not met this one */
}
__global__ void k_blocks(struct args a) { a.p[threadIdx.x] = (float)blockIdx.x; }
__global__ void k_unset(struct args a)
{
    __shared__ float s[64];
    if (threadIdx.x < 32) s[threadIdx.x] = 1;
    __syncthreads();
    a.p[threadIdx.x] = s[threadIdx.x];
}
__global__ void k_early(struct args a) /* reads before the copy was waited for */
{
    __shared__ __align__(16) float s[256];
    dev_cp_async16(s + 4 * threadIdx.x, a.p + 4 * threadIdx.x);
    dev_cp_async_commit();
    __syncthreads();
    a.p[threadIdx.x] = s[4 * threadIdx.x];
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
    setenv("CORRAL_SIM_LATE", "1", 1);
    if (!strcmp(what, "early")) LAUNCH(k_early, 1, 64, 0, 0, a);
    for (int i = 0; i < 64; i++)
        if (!(memory[i] == memory[i])) sim_die("a NaN came out");
    puts("nothing was found");
    return 1;
}

bool sim_recording(void) { return false; }
void sim_record(dim3, dim3, size_t, void (*)(void *), const void *, size_t) {}
