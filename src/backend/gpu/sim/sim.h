/* Runs CUDA-style kernels on the CPU, so that they can be tested where there is no GPU.
 *
 * A thread is a fiber; the blocks of a launch run one after the other. Shared memory is filled with NaN bytes before
 * each block. A warp operation completes when every lane of its mask waits in the same one; the last to arrive
 * computes the results of all. What a GPU would answer with nonsense or a hang ends the program with a report: barriers
 * that not all threads reach, shuffles from lanes outside the mask, operations that name an exited lane.
 *
 * CORRAL_SIM_ORDER=fwd|rev|rand:N chooses the order in which runnable threads go on; CORRAL_SIM_LATE=1 lets
 * asynchronous copies land only when they are waited for. No performance can be read off it, and it orders memory more
 * strictly than a GPU does. Only what the kernels of this project use is here. */
#ifndef CORRAL_SIM_H
#define CORRAL_SIM_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __global__ static
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define DEV_CALLED static __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("cushared")))
#define __align__(n) __attribute__((aligned(n)))
#define DYN_SHARED(T, name) T *name = (T *)sim.block->dyn

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct __attribute__((aligned(8))) uint2 { uint32_t x, y; };
struct __attribute__((aligned(16))) uint4 { uint32_t x, y, z, w; };
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };

enum { SIM_STACK = 64 << 10, SIM_MAX_THREADS = 1024, SIM_MAX_WARPS = SIM_MAX_THREADS / 32, SIM_MAX_COPIES = 128 };
enum sim_order { SIM_FORWARD, SIM_REVERSE, SIM_RANDOM };
enum sim_state { SIM_DONE, SIM_RUN, SIM_BARRIER, SIM_WARP, SIM_EVENT };
enum sim_kind { SIM_SYNCWARP, SIM_SHUFFLE, SIM_BALLOT, SIM_MMA_BF16, SIM_MMA_F16, SIM_LDMATRIX, SIM_LDMATRIX_T, SIM_GROUP };

struct sim_fiber {
    void *sp;
    dim3 tid;
    int lane, warp;
    enum sim_state state;
    unsigned mask; /* of the warp operation it waits in */
    enum sim_kind kind;
    uint64_t in, out; /* operands of shuffles and votes */
    int src;
    const void *a, *b; /* operands of matrix instructions */
    void *c;
    const char *where; /* for reports */
    int line;
    struct { void *dst; const void *src; int group; } copy[SIM_MAX_COPIES]; /* asynchronous copies that have not landed */
    int n_copy, group;
    int wgmma_group;
    bool after; /* has called dev_after */
};

struct sim_block {
    dim3 id;
    int n_thread, n_live, n_at_barrier;
    unsigned runnable[SIM_MAX_WARPS]; /* a bit per lane */
    struct sim_fiber *fiber;
    char *stacks, *dyn;
};

struct sim {
    struct sim_block *block;
    struct sim_fiber *cur;
    void *main_sp;
    dim3 block_dim, grid_dim;
    size_t dyn_bytes;
    void (*call)(void *);
    void *arg;
    enum sim_order order;
    uint64_t rng;
    bool late;
    unsigned block_epoch, warp_epoch[SIM_MAX_WARPS]; /* count barriers and warp operations, for the race checker */
};
extern struct sim sim;

#define threadIdx (sim.cur->tid)
#define blockIdx  (sim.block->id)
#define blockDim  (sim.block_dim)
#define gridDim   (sim.grid_dim)

[[noreturn]] void sim_die(const char *what);
void sim_barrier(const char *where, int line);
void sim_warp(unsigned mask, enum sim_kind kind, void (*fn)(struct sim_fiber *warp, unsigned mask), const char *where, int line);
/* Of all 128 threads of a warpgroup. */
void sim_group(void (*fn)(struct sim_fiber *first), const char *where, int line);
void sim_wait_event(const char *where, int line); /* sleeps until sim_event */
void sim_event(void);
bool sim_box_lands(void);   /* hopper.cc: the oldest copy under way; false: there is none */
void sim_block_ends(void);  /* hopper.cc */
void sim_run(dim3 grid, dim3 block, size_t dyn_bytes, void (*call)(void *), void *arg);
/* While work is recorded: remember this call, `bytes` at arg, for sim_replay. */
bool sim_recording(void);
void sim_record(dim3 grid, dim3 block, size_t dyn_bytes, void (*call)(void *), const void *arg, size_t bytes);

template <class F> static void sim_launch(dim3 grid, dim3 block, size_t dyn_bytes, F f)
{
    void (*call)(void *) = [](void *p) { (*(F *)p)(); };
    if (sim_recording())
        sim_record(grid, block, dyn_bytes, call, &f, sizeof f);
    else
        sim_run(grid, block, dyn_bytes, call, &f);
}
template <class K> static bool dev_allow_shared(K *, int bytes) { return bytes <= 227 << 10; }
/* The argument is copied now: the launch may be recorded and run later. */
#define LAUNCH(k, grid, block, dyn_bytes, stream, arg) \
    ((void)(stream), sim_launch(grid, block, dyn_bytes, [arg_ = (arg)] { k(arg_); }))

#define __syncthreads() sim_barrier(__func__, __LINE__)
#define __syncwarp()    sim_warp(0xffffffffu, SIM_SYNCWARP, NULL, __func__, __LINE__)

static inline void dev_after(void) { sim.cur->after = true; }
static inline void dev_prefetch(const uint8_t *p, size_t bytes) /* a sanitizer sees whether there are so many */
{
    if (bytes) (void)(*(const volatile uint8_t *)p + ((const volatile uint8_t *)p)[bytes - 1]);
}
void sim_race_synced(void); /* race.cc: the host has waited for all kernels */

/* --- shuffles and votes --- */

void sim_do_shuffle(struct sim_fiber *w, unsigned mask);
void sim_do_ballot(struct sim_fiber *w, unsigned mask);

template <class T> static inline T sim_shuffle(unsigned mask, T v, int src, const char *where, int line)
{
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 64 bits");
    sim.cur->in = 0;
    memcpy(&sim.cur->in, &v, sizeof v);
    sim.cur->src = src;
    sim_warp(mask, SIM_SHUFFLE, sim_do_shuffle, where, line);
    memcpy(&v, &sim.cur->out, sizeof v);
    return v;
}
static inline unsigned sim_ballot(unsigned mask, bool p, const char *where, int line)
{
    sim.cur->in = p;
    sim_warp(mask, SIM_BALLOT, sim_do_ballot, where, line);
    return (unsigned)sim.cur->out;
}
#define __shfl_sync(m, v, s)     sim_shuffle(m, v, (s) & 31, __func__, __LINE__)
#define __shfl_xor_sync(m, v, x) sim_shuffle(m, v, sim.cur->lane ^ (x), __func__, __LINE__)
#define __ballot_sync(m, p)      sim_ballot(m, p, __func__, __LINE__)

/* --- arithmetic --- */

#define __expf expf
#define __fadd_rn(a, b) ((float)(a) + (float)(b)) /* never contracted: see the compiler's flags */
#define __fmul_rn(a, b) ((float)(a) * (float)(b))
#define __dmul_rn(a, b) ((double)(a) * (double)(b))
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline uint32_t __float_as_uint(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float __uint_as_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline int __popc(uint32_t u) { return __builtin_popcount(u); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
float    dev_f16_to_f32(uint16_t h);
uint16_t dev_f32_to_f16(float f);
#define SIM_ATOMIC __attribute__((no_sanitize("thread")))
template <class T> SIM_ATOMIC static inline T atomicAdd(T *p, T v) { T o = *p; *p = o + v; return o; }

/* --- asynchronous copies, matrix instructions --- */

void dev_cp_async16(void *dst, const void *src);
static inline void dev_cp_async_commit(void) { sim.cur->group++; }
void sim_copies_land(struct sim_fiber *f, int up_to);
template <int N> static inline void dev_cp_async_wait(void) { sim_copies_land(sim.cur, sim.cur->group - 1 - N); }

void sim_do_mma_bf16(struct sim_fiber *w, unsigned mask);
void sim_do_mma_f16(struct sim_fiber *w, unsigned mask);
void sim_do_ldmatrix(struct sim_fiber *w, unsigned mask);
void sim_do_ldmatrix_t(struct sim_fiber *w, unsigned mask);
static inline void sim_operands(const void *a, const void *b, void *c) { sim.cur->a = a, sim.cur->b = b, sim.cur->c = c; }
#define dev_mma_bf16(d, a, b) (sim_operands(a, b, d), sim_warp(~0u, SIM_MMA_BF16, sim_do_mma_bf16, __func__, __LINE__))
#define dev_mma_f16(d, a, b)  (sim_operands(a, b, d), sim_warp(~0u, SIM_MMA_F16, sim_do_mma_f16, __func__, __LINE__))
#define dev_ldmatrix_x4(r, row) (sim_operands(row, NULL, r), sim_warp(~0u, SIM_LDMATRIX, sim_do_ldmatrix, __func__, __LINE__))
#define dev_ldmatrix_x4_t(r, row) \
    (sim_operands(row, NULL, r), sim_warp(~0u, SIM_LDMATRIX_T, sim_do_ldmatrix_t, __func__, __LINE__))

#endif
