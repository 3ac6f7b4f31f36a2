/* Counter-based random numbers: Philox-4x32 with 10 rounds.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
 *
 * A number is a pure function of (seed, choice, position, lane), so a sequence draws the same values
 * whether it runs alone, batched, preempted or speculated. There is no state to save. */
#ifndef CORRAL_RNG_H
#define CORRAL_RNG_H

#include <stdint.h>

void rng_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);
/* Uniform in [0, 1) with 53 random bits. lane: which draw at this position (0 = the token itself). */
double rng_uniform(uint64_t seed, uint32_t choice, uint64_t position, uint32_t lane);
uint64_t rng_seed_from_os(void);

#endif
