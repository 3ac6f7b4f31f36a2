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

uint64_t dev_wgmma_tile(const void *p);
static inline void dev_wgmma_fence(void) {}
static inline void dev_wgmma_commit(void) { sim.cur->wgmma_group++; }
void sim_wgmma(float *d, uint64_t a, uint64_t b, int n, const char *where, int line);
void sim_wgmma_wait(int n, const char *where, int line);
template <int N> static inline void dev_wgmma(float *d, uint64_t a, uint64_t b) { sim_wgmma(d, a, b, N, __func__, __LINE__); }
template <int N> static inline void dev_wgmma_wait(void) { sim_wgmma_wait(N, __func__, __LINE__); }

#endif
