/* The simulator's side of dev/hopper.h. With CORRAL_SIM_LATE, boxes land when nobody can run any more and products are
 * done when they are waited for. */
#ifndef CORRAL_SIM_HOPPER_H
#define CORRAL_SIM_HOPPER_H

#include "sim.h"

struct dev_tensor_map { const uint16_t *p; uint32_t rows, cols, ld, box_rows; };

static inline char *dev_aligned(char *p) { return p; } /* dynamic memory is */

void dev_mbar_init(uint64_t *p, int n);
static inline void dev_mbar_init_done(void) {}
void dev_mbar_arrive(uint64_t *p);
void dev_mbar_expect(uint64_t *p, int bytes);
void sim_mbar_wait(uint64_t *p, int parity, const char *where, int line);
#define dev_mbar_wait(p, parity) sim_mbar_wait(p, parity, __func__, __LINE__)
void dev_tma_load(void *to, const dev_tensor_map *m, int x, int y, uint64_t *bar);

static inline void dev_shared_written(void) {}
uint64_t dev_wgmma_tile(const void *p);
uint64_t dev_wgmma_rows(const void *p, int apart);
static inline void dev_wgmma_fence(void) {}
static inline void dev_wgmma_commit(void) { sim.cur->wgmma_group++; }
/* of the second factor's columns, or-ed with what else there is to say */
enum { SIM_WGMMA_N = 0x1ff, SIM_WGMMA_F16 = 0x200, SIM_WGMMA_ROWS = 0x400, SIM_WGMMA_NEW = 0x800 };
void sim_wgmma(float *d, uint64_t a, const uint32_t *regs, uint64_t b, int kind, const char *where, int line);
void sim_wgmma_wait(int n, const char *where, int line);
template <int N> static inline void dev_wgmma(float *d, uint64_t a, uint64_t b) { sim_wgmma(d, a, NULL, b, N, __func__, __LINE__); }
template <int N> static inline void dev_wgmma_f16(float *d, uint64_t a, uint64_t b, bool add)
{
    sim_wgmma(d, a, NULL, b, N | SIM_WGMMA_F16 | (add ? 0 : SIM_WGMMA_NEW), __func__, __LINE__);
}
template <int N> static inline void dev_wgmma_f16_rows(float *d, const uint32_t *a, uint64_t b)
{
    sim_wgmma(d, 0, a, b, N | SIM_WGMMA_F16 | SIM_WGMMA_ROWS, __func__, __LINE__);
}
template <int N> static inline void dev_wgmma_wait(void) { sim_wgmma_wait(N, __func__, __LINE__); }

#endif
