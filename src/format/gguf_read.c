/* Parsing one GGUF image. Every number is checked against the bytes that remain before anything is done with
 * it; nothing here reads outside img->data[0..n), and memory grows only with bytes that were really parsed.
 *
 * Layout (ggml-org/ggml docs/gguf.md): "GGUF", u32 version, u64 tensor count, u64 value count; values
 * (key, u32 type, value); tensor headers (name, u32 rank, u64 dims innermost first, u32 type, u64 offset);
 * padding to the alignment; tensor data, offsets counted from here. A string is u64 length and bytes. */
#include <stdlib.h>
#include <string.h>

#include "format/gguf_int.h"

enum {
    MIN_VALUE_BYTES = 8 + 1 + 4 + 1,         /* key, type, a one-byte value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 /* name, rank, one dim, type, offset */
};

struct cursor {
    const uint8_t *p;
    size_t at, n;
};

static size_t left(const struct cursor *c)
{
    return c->n - c->at;
}

static status cut_off(const struct cursor *c, const char *what, struct error *e)
{
    return fail(e, ERR_FORMAT, "the file ends inside %s (byte %zu of %zu): it is cut off or damaged", what,
                c->at, c->n);
}

static status take_u32(struct cursor *c, uint32_t *v, const char *what, struct error *e)
{
    *v = 0;
    if (left(c) < 4) return cut_off(c, what, e);
    *v = load_u32(c->p + c->at);
    c->at += 4;
    return OK;
}

static status take_u64(struct cursor *c, uint64_t *v, const char *what, struct error *e)
{
    *v = 0;
    if (left(c) < 8) return cut_off(c, what, e);
    *v = load_u64(c->p + c->at);
    c->at += 8;
    return OK;
}

static status take_str(struct cursor *c, struct gguf_str *s, size_t max, const char *what, struct error *e)
{
    uint64_t n;
    *s = (struct gguf_str){0};
    TRY(take_u64(c, &n, what, e));
    if (n > left(c))
        return fail(e, ERR_FORMAT, "%s at byte %zu claims %llu bytes, only %zu are left in the file", what,
                    c->at - 8, (unsigned long long)n, left(c));
    if (n > max)
        return fail(e, ERR_LIMIT, "%s at byte %zu is %llu bytes long, at most %zu are read", what, c->at - 8,
                    (unsigned long long)n, max);
    *s = (struct gguf_str){(const char *)c->p + c->at, (size_t)n};
    c->at += (size_t)n;
    return OK;
}

/* A key or tensor name: not empty, no NUL (it becomes a C string), copied. */
static status take_name(struct cursor *c, struct arena *a, const char **out, size_t max, const char *what,
                        struct error *e)
{
    struct gguf_str s;
    TRY(take_str(c, &s, max, what, e));
    if (s.n == 0) return fail(e, ERR_FORMAT, "%s at byte %zu is empty", what, c->at - 8);
    if (memchr(s.p, 0, s.n))
        return fail(e, ERR_FORMAT, "%s \"%s\" at byte %zu contains a NUL byte", what, gguf_show(s.p, s.n).s,
                    c->at - s.n);
    *out = arena_str(a, s.p, s.n);
    return *out ? OK : fail(e, ERR_MEMORY, "out of memory for %s", what);
}

static status take_type(struct cursor *c, enum gguf_type *out, struct error *e)
{
    uint32_t t;
    *out = GGUF_U8;
    TRY(take_u32(c, &t, "a value type", e));
    if (t >= GGUF_TYPE_COUNT)
        return fail(e, ERR_FORMAT, "unknown value type %u at byte %zu (0 to %d are defined)", t, c->at - 4,
                    GGUF_TYPE_COUNT - 1);
    *out = (enum gguf_type)t;
    return OK;
}

/* n fixed-size elements. */
static status take_plain(struct cursor *c, enum gguf_type t, uint64_t n, struct error *e)
{
    size_t width = gguf_type_bytes(t);
    if (n > left(c) / width)
        return fail(e, ERR_FORMAT,
                    "%llu values of type %s at byte %zu do not fit into the %zu bytes that are left",
                    (unsigned long long)n, gguf_type_name(t), c->at, left(c));
    if (t == GGUF_BOOL)
        for (uint64_t i = 0; i < n; i++)
            if (c->p[c->at + i] > 1)
                return fail(e, ERR_FORMAT, "byte %llu is %u, a bool must be 0 or 1",
                            (unsigned long long)(c->at + i), c->p[c->at + i]);
    c->at += (size_t)n * width;
    return OK;
}

static status check_array(const struct cursor *c, uint64_t n, size_t min_bytes, const char *what,
                          struct error *e)
{
    if (n > left(c) / min_bytes)
        return fail(e, ERR_FORMAT,
                    "an array of %llu %s at byte %zu does not fit into the %zu bytes that are left",
                    (unsigned long long)n, what, c->at, left(c));
    return OK;
}

/* Walk over the elements of an array inside an array; nothing is kept of them. */
static status skip_elements(struct cursor *c, enum gguf_type t, uint64_t n, int depth, struct error *e)
{
    if (t != GGUF_STR && t != GGUF_ARR) return take_plain(c, t, n, e);
    if (t == GGUF_STR) {
        TRY(check_array(c, n, 8, "strings", e));
        for (uint64_t i = 0; i < n; i++) {
            struct gguf_str s;
            TRY(take_str(c, &s, GGUF_MAX_STRING, "a string", e));
        }
        return OK;
    }
    if (depth >= GGUF_MAX_DEPTH)
        return fail(e, ERR_LIMIT, "arrays are nested more than %d deep at byte %zu", GGUF_MAX_DEPTH, c->at);
    TRY(check_array(c, n, 12, "arrays", e));
    for (uint64_t i = 0; i < n; i++) {
        enum gguf_type elem;
        uint64_t m;
        TRY(take_type(c, &elem, e));
        TRY(take_u64(c, &m, "an array length", e));
        TRY(skip_elements(c, elem, m, depth + 1, e));
    }
    return OK;
}

static status take_strings(struct cursor *c, struct arena *a, struct gguf_value *v, size_t *budget,
                           struct error *e)
{
    TRY(check_array(c, v->n, 8, "strings", e));
    if (v->n > *budget)
        return fail(e, ERR_LIMIT, "more than %d strings in the arrays of one file", GGUF_MAX_STRINGS);
    *budget -= (size_t)v->n;
    struct gguf_str *s = arena_take(a, (size_t)v->n, sizeof *s);
    if (!s) return fail(e, ERR_MEMORY, "out of memory for %llu strings", (unsigned long long)v->n);
    for (uint64_t i = 0; i < v->n; i++) TRY(take_str(c, &s[i], GGUF_MAX_STRING, "a string", e));
    v->str = s;
    return OK;
}

static status take_value(struct cursor *c, struct arena *a, struct gguf_value *v, size_t *budget,
                         struct error *e)
{
    size_t one = 1;
    TRY(take_type(c, &v->type, e));
    v->elem = v->type;
    v->n = 1;
    if (v->type == GGUF_ARR) {
        TRY(take_type(c, &v->elem, e));
        TRY(take_u64(c, &v->n, "an array length", e));
        if (v->n > INT64_MAX)
            return fail(e, ERR_FORMAT, "an array of %llu elements", (unsigned long long)v->n);
    }
    v->data = c->p + c->at;
    if (v->elem == GGUF_STR) return take_strings(c, a, v, v->type == GGUF_ARR ? budget : &one, e);
    return skip_elements(c, v->elem, v->n, 1, e);
}

/* Room for one more row: doubling, so memory follows what was parsed and not what the header claims. */
static bool grow(void **rows, size_t n, size_t bytes)
{
    if (n & (n - 1)) return true;
    size_t total;
    if (!checked_mul(n ? 2 * n : 1, bytes, &total)) return false;
    void *p = realloc(*rows, total);
    if (p) *rows = p;
    return p != NULL;
}

static status take_values(struct cursor *c, struct arena *a, struct image *img, uint64_t n, struct error *e)
{
    size_t budget = GGUF_MAX_STRINGS;
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_value v = {0};
        TRY(take_name(c, a, &v.key, GGUF_MAX_KEY, "a metadata key", e));
        if (take_value(c, a, &v, &budget, e) != OK)
            return fail_in(e, "metadata %s", gguf_show(v.key, strlen(v.key)).s);
        if (!grow((void **)&img->value, img->n_value, sizeof v))
            return fail(e, ERR_MEMORY, "out of memory for %llu metadata values", (unsigned long long)n);
        img->value[img->n_value++] = v;
    }
    return OK;
}

/* Types that GGUF once defined: files with them need converting again, which is worth saying. */
static const char *dead_dtype(uint32_t t)
{
    static const struct {
        uint8_t id;
        const char *name;
    } dead[] = {{4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
                {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}};
    for (size_t i = 0; i < COUNT_OF(dead); i++)
        if (dead[i].id == t) return dead[i].name;
    return NULL;
}

static status check_dtype(uint32_t t, struct error *e)
{
    const char *dead = dead_dtype(t);
    if (dead)
        return fail(e, ERR_UNSUPPORTED, "type %u (%s) was removed from GGUF: convert the model again", t,
                    dead);
    if (t >= DT_COUNT || !dtype_info(t))
        return fail(e, ERR_UNSUPPORTED,
                    "unknown tensor type %u: the file is newer than this build, or damaged", t);
    return OK;
}

static status take_shape(struct cursor *c, struct gguf_tensor *t, struct error *e)
{
    uint32_t rank;
    TRY(take_u32(c, &rank, "a tensor rank", e));
    if (rank < 1 || rank > GGUF_MAX_RANK)
        return fail(e, ERR_FORMAT, "%u dimensions, want 1 to %d", rank, GGUF_MAX_RANK);
    t->rank = (uint8_t)rank;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t d;
        TRY(take_u64(c, &d, "a tensor shape", e));
        if (d < 1 || d > INT64_MAX)
            return fail(e, ERR_FORMAT, "dimension %u is %lld, want at least 1", i, (long long)d);
        t->dim[rank - 1 - i] = (int64_t)d;
    }
    return OK;
}

static status tensor_size(struct gguf_tensor *t, struct error *e)
{
    const struct dtype_info *info = dtype_info(t->dtype);
    int64_t row = t->dim[t->rank - 1], rows = 1;
    size_t row_bytes;
    bool fits = true;
    if (row % info->block_elems)
        return fail(e, ERR_FORMAT, "rows of %lld are not whole blocks of %u (%s)", (long long)row,
                    info->block_elems, info->name);
    for (uint8_t i = 0; i + 1 < t->rank; i++) fits = fits && checked_mul(rows, t->dim[i], &rows);
    int64_t elements;
    if (!fits || !checked_mul(rows, row, &elements) || !dtype_bytes(t->dtype, row, &row_bytes) ||
        !checked_mul(row_bytes, (size_t)rows, &t->n_bytes))
        return fail(e, ERR_FORMAT, "the shape's product is too large");
    return OK;
}

static status take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset, struct error *e)
{
    uint32_t dtype;
    TRY(take_shape(c, t, e));
    TRY(take_u32(c, &dtype, "a tensor type", e));
    TRY(check_dtype(dtype, e));
    t->dtype = (enum dtype)dtype;
    TRY(take_u64(c, offset, "a tensor offset", e));
    return tensor_size(t, e);
}

struct place {
    uint64_t offset;
    size_t tensor;
};

static status take_tensors(struct cursor *c, struct arena *a, struct image *img, uint64_t n,
                           struct place **place, struct error *e)
{
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor t = {0};
        struct place at = {.tensor = img->n_tensor};
        TRY(take_name(c, a, &t.name, GGUF_MAX_NAME, "a tensor name", e));
        if (take_tensor(c, &t, &at.offset, e) != OK)
            return fail_in(e, "tensor %s", gguf_show(t.name, strlen(t.name)).s);
        if (!grow((void **)&img->tensor, img->n_tensor, sizeof t) ||
            !grow((void **)place, img->n_tensor, sizeof at))
            return fail(e, ERR_MEMORY, "out of memory for %llu tensor headers", (unsigned long long)n);
        (*place)[img->n_tensor] = at;
        img->tensor[img->n_tensor++] = t;
    }
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Point the tensors into the data section: aligned, inside the file, no two over the same bytes. */
static status place_tensors(struct image *img, struct place *place, size_t header_end, struct error *e)
{
    if (img->n_tensor == 0) return OK;
    size_t start = round_up(header_end, (size_t)img->align);
    qsort(place, img->n_tensor, sizeof *place, by_offset);
    for (size_t i = 0; i < img->n_tensor; i++) {
        struct gguf_tensor *t = &img->tensor[place[i].tensor];
        struct shown name = gguf_show(t->name, strlen(t->name));
        uint64_t offset = place[i].offset;
        size_t begin, end;
        if (offset % img->align)
            return fail(e, ERR_FORMAT, "tensor %s: offset %llu is not a multiple of the alignment %llu",
                        name.s, (unsigned long long)offset, (unsigned long long)img->align);
        if (!checked_add(start, (size_t)offset, &begin) || !checked_add(begin, t->n_bytes, &end) ||
            end > img->n)
            return fail(e, ERR_FORMAT,
                        "tensor %s: its %zu bytes at offset %llu end after the file (%zu bytes): it is cut "
                        "off or damaged",
                        name.s, t->n_bytes, (unsigned long long)offset, img->n);
        if (i > 0) {
            const struct gguf_tensor *before = &img->tensor[place[i - 1].tensor];
            if (before->n_bytes > offset - place[i - 1].offset)
                return fail(e, ERR_FORMAT, "tensors %s and %s overlap",
                            gguf_show(before->name, strlen(before->name)).s, name.s);
        }
        t->data = img->data + begin;
    }
    return OK;
}

/* What people try to open that is not GGUF. */
static status not_gguf(const struct image *img, struct error *e)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"lmgg", "a GGML file from before GGUF: convert the model again"},
        {"fmgg", "a GGML file from before GGUF: convert the model again"},
        {"tjgg", "a GGML file from before GGUF: convert the model again"},
        {"algg", "a LoRA adapter in GGML format: convert it to GGUF"},
        {"FUGG", "a big-endian GGUF file: only little-endian ones are read"},
        {"PK\x03\x04", "a zip archive (a PyTorch checkpoint?): convert it to GGUF"},
        {"version https://git-lfs", "a Git LFS pointer, not the model itself: run `git lfs pull`"},
        {"<!DOCTYPE", "a web page, not a model: the download went wrong"},
        {"<html", "a web page, not a model: the download went wrong"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        size_t k = strlen(known[i].magic);
        if (img->n >= k && memcmp(img->data, known[i].magic, k) == 0)
            return fail(e, ERR_FORMAT, "this is %s", known[i].what);
    }
    if (img->n > 9 && img->data[8] == '{' && load_u64(img->data) < img->n)
        return fail(e, ERR_FORMAT, "this looks like a safetensors file: convert it to GGUF");
    if (img->n == 0) return fail(e, ERR_FORMAT, "the file is empty");
    return fail(e, ERR_FORMAT, "not a GGUF file: it begins with \"%s\", want \"GGUF\"",
                gguf_show(img->data, MIN(img->n, (size_t)4)).s);
}

static status check_version(uint32_t version, struct error *e)
{
    if (version == 1)
        return fail(e, ERR_UNSUPPORTED,
                    "GGUF version 1 (2023) is not read, only 2 and 3: convert the model again");
    if (version == 2 || version == 3) return OK;
    if (version && (version & 0xffff) == 0)
        return fail(e, ERR_UNSUPPORTED, "this is a big-endian GGUF file: only little-endian ones are read");
    return fail(e, ERR_UNSUPPORTED, "GGUF version %u is not read, only 2 and 3", version);
}

static status check_count(const struct cursor *c, uint64_t n, size_t min_bytes, size_t max, const char *what,
                          struct error *e)
{
    if (n > left(c) / min_bytes)
        return fail(e, ERR_FORMAT, "the header claims %llu %s, too many for the %zu bytes that follow",
                    (unsigned long long)n, what, left(c));
    if (n > max) return fail(e, ERR_LIMIT, "%llu %s, at most %zu are read", (unsigned long long)n, what, max);
    return OK;
}

/* An integer among the file's own keys, before there is a hash table. Last one wins; duplicates fail later.
 */
static status own_integer(const struct image *img, const char *key, uint64_t max, uint64_t *out,
                          struct error *e)
{
    for (size_t i = 0; i < img->n_value; i++) {
        const struct gguf_value *v = &img->value[i];
        if (strcmp(v->key, key) != 0) continue;
        if (!gguf_type_is_int(v->type))
            return fail(e, ERR_FORMAT, "metadata %s is of type %s, want an integer", key,
                        gguf_type_name(v->type));
        int64_t x = gguf_integer(v, 0);
        if (x < 0 || (uint64_t)x > max)
            return fail(e, ERR_FORMAT, "metadata %s is %lld, want 0 to %llu", key, (long long)x,
                        (unsigned long long)max);
        *out = (uint64_t)x;
    }
    return OK;
}

static status read_layout(struct image *img, struct error *e)
{
    uint64_t no = 0, count = 0, tensors = UINT64_MAX;
    img->align = GGUF_DEFAULT_ALIGN;
    TRY(own_integer(img, "general.alignment", INT64_MAX, &img->align, e));
    if (img->align < GGUF_MIN_ALIGN || img->align > GGUF_MAX_ALIGN || (img->align & (img->align - 1)))
        return fail(e, ERR_FORMAT, "general.alignment is %llu, want a power of two from %d to %d",
                    (unsigned long long)img->align, GGUF_MIN_ALIGN, GGUF_MAX_ALIGN);
    TRY(own_integer(img, "split.no", GGUF_MAX_PARTS, &no, e));
    TRY(own_integer(img, "split.count", GGUF_MAX_PARTS, &count, e));
    TRY(own_integer(img, "split.tensors.count", INT32_MAX, &tensors, e));
    if (count && no >= count)
        return fail(e, ERR_FORMAT, "split.no is %llu, want 0 to %llu (split.count is %llu)",
                    (unsigned long long)no, (unsigned long long)count - 1, (unsigned long long)count);
    img->split_no = (uint32_t)no;
    img->split_count = (uint32_t)count;
    img->split_tensors = tensors == UINT64_MAX ? -1 : (int64_t)tensors;
    return OK;
}

status image_parse(struct image *img, struct arena *a, bool meta_only, struct error *e)
{
    struct cursor c = {img->data, 0, img->n};
    struct place *place = NULL;
    uint32_t version = 0;
    uint64_t n_tensor = 0, n_value = 0;
    status s;
    if (img->n < 4 || memcmp(img->data, "GGUF", 4) != 0) return not_gguf(img, e);
    c.at = 4;
    TRY(take_u32(&c, &version, "the header", e));
    TRY(check_version(version, e));
    TRY(take_u64(&c, &n_tensor, "the header", e));
    TRY(take_u64(&c, &n_value, "the header", e));
    TRY(check_count(&c, n_value, MIN_VALUE_BYTES, GGUF_MAX_VALUES, "metadata values", e));
    TRY(check_count(&c, n_tensor, MIN_TENSOR_BYTES, GGUF_MAX_TENSORS, "tensors", e));
    TRY(take_values(&c, a, img, n_value, e));
    TRY(read_layout(img, e));
    s = take_tensors(&c, a, img, n_tensor, &place, e);
    if (s == OK && !meta_only) s = place_tensors(img, place, c.at, e);
    free(place);
    return s;
}

void image_free(struct image *img)
{
    free(img->value);
    free(img->tensor);
    map_close(&img->map);
    *img = (struct image){0};
}
