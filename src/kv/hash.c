/* A chained 128-bit hash: two lanes, each folding a 64 x 64 bit product as wyhash does (Wang Yi, 2019). It
 * spreads well and is cheap; it is not meant to resist someone who constructs collisions, because every hit
 * is verified. */
#include "kv/kv_int.h"

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static struct kv_hash mix(struct kv_hash h, uint64_t word)
{
    h.lo = fold(h.lo ^ word, 0x9e3779b97f4a7c15) + h.hi;
    h.hi = fold(h.hi + word, 0xd1342543de82ef95) ^ h.lo;
    return h;
}

struct kv_hash kv_hash_root(uint64_t salt)
{
    return mix((struct kv_hash){0x243f6a8885a308d3, 0x13198a2e03707344}, salt);
}

struct kv_hash kv_hash_next(struct kv_hash h, const int32_t *token, uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i += 2)
        h = mix(h, (uint64_t)(uint32_t)token[i] << 32 | (uint32_t)token[i + 1]);
    if (n % 2) h = mix(h, (uint32_t)token[n - 1]);
    return mix(h, 0xa0761d6478bd642f ^ n);
}
