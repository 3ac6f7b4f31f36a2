/* What only Hopper (sm_90a) has, in the manner of dev.h: barriers in shared memory that count bytes, copies of boxes of a
 * matrix by the tensor memory accelerator, and products of a warpgroup (128 threads) from shared memory.
 *
 * Matrices are bf16 or f16, rows of 64 numbers (128 bytes) in shared memory, swizzled: the 16 bytes number c of row r lie at
 * place c ^ r % 8. A tile begins at a multiple of 1024 bytes. */
#ifndef CORRAL_GPU_HOPPER_H
#define CORRAL_GPU_HOPPER_H

#include "backend/gpu/dev/dev.h"

/* Kernels with these are compiled to nothing for other cards, which never start them. */
#if defined(SIM) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DEV_HOPPER 1
#endif

enum { HOPPER_ROW = 64 /* columns of a tile */, HOPPER_ALIGN = 1024 };

#ifdef SIM
#include "backend/gpu/sim/hopper.h"
#else
#include <cuda.h>

typedef CUtensorMap dev_tensor_map;

DEV char *dev_aligned(char *p) { return p + (HOPPER_ALIGN - (dev_shared_address(p) & (HOPPER_ALIGN - 1))) % HOPPER_ALIGN; }

/* A barrier's phase ends when `n` threads have arrived and all bytes that were announced have come. */
DEV void dev_mbar_init(uint64_t *p, int n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(dev_shared_address(p)), "r"(n) : "memory");
}
DEV void dev_mbar_init_done(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* What this thread wrote to shared memory, for copies and products after the next barrier. */
DEV void dev_shared_written(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEV void dev_mbar_arrive(uint64_t *p)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(dev_shared_address(p)) : "memory");
}
DEV void dev_mbar_expect(uint64_t *p, int bytes) /* and arrive */
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(dev_shared_address(p)), "r"(bytes) : "memory");
}
DEV void dev_mbar_wait(uint64_t *p, int parity) /* until the phase of this parity has ended */
{
    asm volatile("{\n.reg .pred p;\nWAIT_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra WAIT_%=;\n}" ::"r"(
                     dev_shared_address(p)), "r"(parity) : "memory");
}

/* The box of the map whose corner is column x of row y; zeros outside of the matrix. */
DEV void dev_tma_load(void *to, const dev_tensor_map *m, int x, int y, uint64_t *bar)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
                     dev_shared_address(to)), "l"(m), "r"(dev_shared_address(bar)), "r"(x), "r"(y) : "memory");
}

/* Where a tile lies, as wgmma wants to be told: groups of eight rows are 1024 bytes apart, 128-byte swizzle. */
DEV uint64_t dev_wgmma_tile(const void *p)
{
    return ((uint64_t)dev_shared_address(p) & 0x3ffff) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
/* The same for a second factor that lies in rows of the sum's index (values by key): its first 64 columns, the next 64
 * `apart` bytes further, and so on; eight rows are 1024 bytes. */
DEV uint64_t dev_wgmma_rows(const void *p, int apart)
{
    return ((uint64_t)dev_shared_address(p) & 0x3ffff) >> 4 | (uint64_t)(apart >> 4) << 16 | 64ull << 32 | 1ull << 62;
}
DEV void dev_wgmma_fence(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void dev_wgmma_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEV void dev_wgmma_wait(void) { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

/* d (64 rows, N columns) += a (64, 16) b^T (N, 16): of warp w of the four, d[4 j + e] is row 16 w + frag_row(lane, e),
 * column 8 j + frag_col(lane, e). */
template <int N> __device__ __forceinline__ void dev_wgmma(float *d, uint64_t a, uint64_t b);
#define WGMMA_8(i)                                                                                                     \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
template <> __device__ __forceinline__ void dev_wgmma<128>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                 "}, %64, %65, p, 1, 1, 0, 0;\n}"
                 : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24), WGMMA_8(32), WGMMA_8(40), WGMMA_8(48), WGMMA_8(56)
                 : "l"(a), "l"(b));
}
template <> __device__ __forceinline__ void dev_wgmma<256>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                 "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
                 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
                 "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
                 "}, %128, %129, p, 1, 1, 0, 0;\n}"
                 : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24), WGMMA_8(32), WGMMA_8(40), WGMMA_8(48), WGMMA_8(56),
                   WGMMA_8(64), WGMMA_8(72), WGMMA_8(80), WGMMA_8(88), WGMMA_8(96), WGMMA_8(104), WGMMA_8(112), WGMMA_8(120)
                 : "l"(a), "l"(b));
}

/* The same of f16, once more: with add false, d = a b^T. */
template <int N> __device__ __forceinline__ void dev_wgmma_f16(float *d, uint64_t a, uint64_t b, bool add);
template <> __device__ __forceinline__ void dev_wgmma_f16<64>(float *d, uint64_t a, uint64_t b, bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24)
                 : "l"(a), "l"(b), "r"((int)add));
}

/* d (64 rows, N columns) += a (64, 16) b (16, N), f16: a from registers, of warp w four as dev_mma_f16 takes them for rows
 * 16 w and on; b by dev_wgmma_rows. */
template <int N> __device__ __forceinline__ void dev_wgmma_f16_rows(float *d, const uint32_t *a, uint64_t b);
template <> __device__ __forceinline__ void dev_wgmma_f16_rows<64>(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n}"
                 : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <> __device__ __forceinline__ void dev_wgmma_f16_rows<128>(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;\n}"
                 : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24),
                   WGMMA_8(32), WGMMA_8(40), WGMMA_8(48), WGMMA_8(56)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#endif

/* The map of bf16 rows ld apart, for boxes of 64 columns of box_rows rows. False: the device will not. */
bool dev_tensor_map_init(dev_tensor_map *m, const uint16_t *p, uint32_t rows, uint32_t cols, uint32_t ld, uint32_t box_rows);

#endif
