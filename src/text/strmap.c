#include <stdlib.h>

#include "text/tok_int.h"

static uint64_t load64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static uint64_t load32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Multiply and fold, after Wang Yi's wyhash: good spread for short keys, and keyed by the seed. */
static uint32_t hash_bytes(const char *s, size_t n, uint64_t seed)
{
    const uint64_t k0 = 0xA0761D6478BD642Fu, k1 = 0xE7037ED1A0B428DBu;
    uint64_t h = seed ^ n * k0, a, b;
    while (n > 16) {
        h = tok_fold(load64(s) ^ k1, load64(s + 8) ^ h);
        s += 16;
        n -= 16;
    }
    if (n >= 8) {
        a = load64(s);
        b = load64(s + n - 8);
    } else if (n >= 4) {
        a = load32(s);
        b = load32(s + n - 4);
    } else {
        a = n ? (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[n / 2] << 8 | (uint8_t)s[n - 1] : 0;
        b = 0;
    }
    h = tok_fold(a ^ k1, b ^ h);
    return (uint32_t)(h ^ h >> 32);
}

status strmap_init(struct tok_strmap *m, size_t n, uint64_t seed, const char *blob,
                   const struct tok_span *span, struct error *e)
{
    size_t cap = 16;
    while (cap < n * 2) cap *= 2;
    *m = (struct tok_strmap){.mask = (uint32_t)(cap - 1), .seed = seed, .blob = blob, .span = span};
    m->slot = mem_try(cap, sizeof *m->slot);
    if (!m->slot) return fail(e, ERR_MEMORY, "tokenizer: no memory for %zu tokens", n);
    for (size_t i = 0; i < cap; i++) m->slot[i].id = -1;
    return OK;
}

void strmap_deinit(struct tok_strmap *m)
{
    free(m->slot);
    *m = (struct tok_strmap){0};
}

/* The slot where s is, or the empty one where it would be. */
static uint32_t slot_of(const struct tok_strmap *m, const char *s, size_t n, uint32_t hash)
{
    uint32_t i = hash & m->mask;
    for (; m->slot[i].id >= 0; i = (i + 1) & m->mask) {
        const struct tok_span *p = &m->span[m->slot[i].id];
        if (m->slot[i].hash == hash && p->n == n && memcmp(m->blob + p->off, s, n) == 0) break;
    }
    return i;
}

void strmap_put(struct tok_strmap *m, int32_t id)
{
    const char *s = m->blob + m->span[id].off;
    uint32_t n = m->span[id].n, hash = hash_bytes(s, n, m->seed);
    m->slot[slot_of(m, s, n, hash)] = (struct tok_slot){hash, id};
}

int32_t strmap_find(const struct tok_strmap *m, const char *s, size_t n)
{
    return m->slot ? m->slot[slot_of(m, s, n, hash_bytes(s, n, m->seed))].id : -1;
}
