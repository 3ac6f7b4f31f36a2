/* What the files of src/format share: one parsed image (a whole file, or one part of a split one), the arena
 * that holds its copied names, and the hash table over names. */
#ifndef CORRAL_GGUF_INT_H
#define CORRAL_GGUF_INT_H

#include "base/base.h"
#include "base/map.h"
#include "format/gguf.h"

enum {
    GGUF_DEFAULT_ALIGN = 32, /* when general.alignment is absent */
    GGUF_MIN_ALIGN = 8,
    GGUF_MAX_ALIGN = 1 << 20,
    GGUF_MAX_RANK = 4,
    GGUF_MAX_PARTS = 65535, /* split.count is a u16 */
    GGUF_MAX_DEPTH = 4,     /* arrays in arrays */
    GGUF_MAX_VALUES = 1 << 16,
    GGUF_MAX_TENSORS = 1 << 20,
    GGUF_MAX_KEY = 65535,        /* bytes, as in the specification */
    GGUF_MAX_NAME = 255,         /* bytes; the specification says 64, some models have a few more */
    GGUF_MAX_STRING = 16 << 20,  /* bytes of one string */
    GGUF_MAX_STRINGS = 16 << 20, /* in all arrays of one file */
};

/* Bump allocation freed all at once. A zeroed arena is ready. */
struct arena {
    struct arena_chunk *chunk;
};
void *arena_take(struct arena *a, size_t n, size_t bytes); /* 8-aligned; NULL: overflow or no memory */
char *arena_str(struct arena *a, const void *p, size_t n); /* copied and terminated; NULL: no memory */
void arena_free(struct arena *a);

/* Name -> index. The hash is seeded per table: names come from files and must not be able to pick their slot.
 */
struct names {
    uint32_t *slot; /* index + 1; 0: empty */
    size_t mask;
    uint64_t seed;
};
/* The i-th name is *(const char **)(first + i * stride). Duplicate: false, *dup is the later index. */
status names_build(struct names *t, const void *first, size_t stride, size_t n, size_t *dup);
size_t names_find(const struct names *t, const void *first, size_t stride,
                  const char *name); /* SIZE_MAX: none */
void names_free(struct names *t);

struct image {
    struct map map; /* empty when the bytes are the caller's */
    const uint8_t *data;
    size_t n;

    struct gguf_value *value;
    size_t n_value;
    struct gguf_tensor *tensor;
    size_t n_tensor;

    uint32_t split_no, split_count; /* split_count 0: not part of a split file */
    int64_t split_tensors;          /* of all parts; -1: not said */
    uint64_t align;
};

/* Parse img->data (e is not NULL). Names and string tables go to a. On failure the arrays of img are still to
 * be freed. */
status image_parse(struct image *img, struct arena *a, bool meta_only, struct error *e);
void image_free(struct image *img);

/* Bytes of one element of a fixed-size type; 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type t);
const char *gguf_type_name(enum gguf_type t); /* "u8", ... */
bool gguf_type_is_int(enum gguf_type t);

/* One KEY=TYPE:VALUE; the parsed value's memory is a's. */
status gguf_parse_set(struct gguf_value *out, const char *text, struct arena *a, struct error *e);

/* p[0..n) made printable and short enough for a message. */
struct shown {
    char s[72];
};
struct shown gguf_show(const void *p, size_t n);

/* Little-endian loads from anywhere. */
uint16_t load_u16(const uint8_t *p);
uint32_t load_u32(const uint8_t *p);
uint64_t load_u64(const uint8_t *p);

#endif
