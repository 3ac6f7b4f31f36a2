#include "base/rng.h"

#include <sys/random.h>

#include "base/base.h"
#include "base/clock.h"

void rng_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double rng_uniform(uint64_t seed, uint32_t choice, uint64_t position, uint32_t lane)
{
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), choice, lane};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    rng_philox(r, counter, key);
    uint64_t bits = (uint64_t)(r[0] >> 5) << 26 | r[1] >> 6;
    return (double)bits * 0x1p-53;
}

uint64_t rng_seed_from_os(void)
{
    uint64_t s;
    if (getrandom(&s, sizeof s, 0) != (ssize_t)sizeof s) s = (uint64_t)clock_ns() * 0x9E3779B97F4A7C15u;
    return s;
}
