/* Arena, name table and small helpers of the GGUF reader and writer. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "format/gguf_int.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    _Alignas(8) uint8_t data[];
};

void *arena_take(struct arena *a, size_t n, size_t bytes)
{
    size_t total;
    if (!checked_mul(n, bytes, &total) || !checked_add(total, (size_t)7, &total)) return NULL;
    total &= ~(size_t)7;
    struct arena_chunk *c = a->chunk;
    if (!c || c->cap - c->used < total) {
        size_t cap = MAX(total, (size_t)16384);
        c = mem_try(1, sizeof *c + cap);
        if (!c) return NULL;
        c->cap = cap;
        c->next = a->chunk;
        a->chunk = c;
    }
    void *p = c->data + c->used;
    c->used += total;
    return p;
}

char *arena_str(struct arena *a, const void *p, size_t n)
{
    char *s = arena_take(a, n + 1, 1);
    if (!s) return NULL;
    if (n) memcpy(s, p, n);
    s[n] = 0;
    return s;
}

void arena_free(struct arena *a)
{
    while (a->chunk) {
        struct arena_chunk *c = a->chunk;
        a->chunk = c->next;
        free(c);
    }
}

/* FNV-1a over the bytes from a random start, then the 64-bit finalizer of MurmurHash3, because a table uses
 * the low bits and FNV mixes them poorly. */
static uint64_t hash_name(uint64_t seed, const char *s)
{
    uint64_t h = seed;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static const char *name_at(const void *first, size_t stride, size_t i)
{
    const char *name;
    memcpy(&name, (const char *)first + i * stride, sizeof name);
    return name;
}

/* The slot that holds the name, or the empty one where it belongs. */
static size_t slot_of(const struct names *t, const void *first, size_t stride, const char *name)
{
    size_t at = hash_name(t->seed, name) & t->mask;
    while (t->slot[at] && strcmp(name_at(first, stride, t->slot[at] - 1), name) != 0) at = (at + 1) & t->mask;
    return at;
}

status names_build(struct names *t, const void *first, size_t stride, size_t n, size_t *dup)
{
    size_t cap = 16;
    *dup = SIZE_MAX;
    ASSERT(n < UINT32_MAX);
    while (cap < 2 * n) cap *= 2;
    *t = (struct names){.slot = mem_try(cap, sizeof *t->slot), .mask = cap - 1, .seed = rng_seed_from_os()};
    if (!t->slot) return ERR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        size_t at = slot_of(t, first, stride, name_at(first, stride, i));
        if (t->slot[at]) {
            *dup = i;
            return ERR_FORMAT;
        }
        t->slot[at] = (uint32_t)(i + 1);
    }
    return OK;
}

size_t names_find(const struct names *t, const void *first, size_t stride, const char *name)
{
    if (!t->slot) return SIZE_MAX;
    size_t at = slot_of(t, first, stride, name);
    return t->slot[at] ? t->slot[at] - 1 : SIZE_MAX;
}

void names_free(struct names *t)
{
    free(t->slot);
    *t = (struct names){0};
}

static const struct {
    const char *name;
    uint8_t bytes;
    bool is_int;
} type_row[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1, true},    [GGUF_I8] = {"i8", 1, true},      [GGUF_U16] = {"u16", 2, true},
    [GGUF_I16] = {"i16", 2, true},  [GGUF_U32] = {"u32", 4, true},    [GGUF_I32] = {"i32", 4, true},
    [GGUF_F32] = {"f32", 4, false}, [GGUF_BOOL] = {"bool", 1, false}, [GGUF_STR] = {"str", 0, false},
    [GGUF_ARR] = {"arr", 0, false}, [GGUF_U64] = {"u64", 8, true},    [GGUF_I64] = {"i64", 8, true},
    [GGUF_F64] = {"f64", 8, false},
};

size_t gguf_type_bytes(enum gguf_type t)
{
    return type_row[t].bytes;
}
const char *gguf_type_name(enum gguf_type t)
{
    return (size_t)t < GGUF_TYPE_COUNT ? type_row[t].name : "?";
}
bool gguf_type_is_int(enum gguf_type t)
{
    return type_row[t].is_int;
}

struct shown gguf_show(const void *p, size_t n)
{
    struct shown out = {{0}};
    const uint8_t *b = p;
    size_t max = sizeof out.s - 4;
    size_t k = MIN(n, max);
    for (size_t i = 0; i < k; i++) out.s[i] = b[i] >= 0x20 && b[i] < 0x7f ? (char)b[i] : '?';
    if (n > max) memcpy(out.s + max, "...", 3);
    return out;
}

uint16_t load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}
