/* Writing a GGUF file, version 3. The order of calls:
 *
 *   gguf_writer_open
 *   gguf_writer_value, _u32, ... any number; gguf_writer_tensor, any number
 *   gguf_writer_begin_data: says what was wrong with any of the above, then writes the header
 *   gguf_writer_data: all bytes of all tensors in the order declared; padding is added here
 *   gguf_writer_finish
 *   gguf_writer_close, always
 *
 * Bytes go to PATH.tmp-PID beside the destination, so that a reader never sees half a file under its name. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "format/gguf_int.h"

struct declared {
    const char *name;
    size_t n_bytes, offset;
    enum dtype dtype;
    uint8_t rank;
    int64_t dim[GGUF_MAX_RANK];
};

struct gguf_writer {
    char *path, *tmp; /* tmp NULL: nothing to remove */
    FILE *file;
    struct arena arena;
    struct buf values;
    const char **key;
    size_t n_key;
    struct declared *tensor;
    size_t n_tensor;
    size_t align;
    size_t at, done; /* tensor being written, and bytes of it that are */
    bool begun;
    struct error bad; /* the first mistake before begin_data; code OK: none */
};

static status os_error(const struct gguf_writer *w, const char *what, struct error *e)
{
    return fail(e, ERR_IO, "%s: cannot %s: %s", w->path, what, strerror(errno));
}

status gguf_writer_open(struct gguf_writer **out, const char *path, struct error *e)
{
    struct stat st;
    *out = NULL;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return fail(e, ERR_ARG, "%s: not a regular file", path);
    struct gguf_writer *w = mem_zalloc(1, sizeof *w);
    size_t n = strlen(path) + 32;
    w->path = mem_strdup(path);
    w->align = GGUF_DEFAULT_ALIGN;
    w->tmp = mem_alloc(n);
    snprintf(w->tmp, n, "%s.tmp-%ld", path, (long)getpid());
    int fd = open(w->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        status s = fail(e, ERR_IO, "%s: cannot create: %s", w->tmp, strerror(errno));
        free(w->tmp);
        w->tmp = NULL;
        gguf_writer_close(w);
        return s;
    }
    w->file = fdopen(fd, "wb");
    ASSERT(w->file);
    *out = w;
    return OK;
}

void gguf_writer_close(struct gguf_writer *w)
{
    if (!w) return;
    if (w->file) fclose(w->file);
    if (w->tmp) unlink(w->tmp);
    buf_deinit(&w->values);
    arena_free(&w->arena);
    free(w->key);
    free(w->tensor);
    free(w->tmp);
    free(w->path);
    free(w);
}

/* --- declarations --- */

static void add_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, &v, sizeof v);
}

static void add_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, &v, sizeof v);
}

static void add_str(struct buf *b, const char *s, size_t n)
{
    add_u64(b, n);
    buf_add(b, s, n);
}

/* Bytes of n elements that lie at p as in a file, already checked by the reader. */
static size_t elements_bytes(const uint8_t *p, enum gguf_type elem, uint64_t n)
{
    if (elem != GGUF_STR && elem != GGUF_ARR) return gguf_type_bytes(elem) * (size_t)n;
    size_t at = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (elem == GGUF_STR)
            at += 8 + (size_t)load_u64(p + at);
        else
            at += 12 + elements_bytes(p + at + 12, (enum gguf_type)load_u32(p + at), load_u64(p + at + 4));
    }
    return at;
}

static bool good_name(struct gguf_writer *w, const char *name, size_t max, const char *what)
{
    size_t n = strlen(name);
    ASSERT(!w->begun);
    if (w->bad.code != OK) return false;
    if (n == 0 || n > max)
        w->bad.code = fail(&w->bad, ERR_ARG, "%s of %zu bytes, want 1 to %zu", what, n, max);
    return w->bad.code == OK;
}

static void adopt_alignment(struct gguf_writer *w, const struct gguf_value *v)
{
    int64_t a = gguf_type_is_int(v->type) ? gguf_integer(v, 0) : 0;
    if (a < GGUF_MIN_ALIGN || a > GGUF_MAX_ALIGN || (a & (a - 1)))
        w->bad.code = fail(&w->bad, ERR_ARG, "general.alignment must be a power of two from %d to %d",
                           GGUF_MIN_ALIGN, GGUF_MAX_ALIGN);
    else
        w->align = (size_t)a;
}

void gguf_writer_value(struct gguf_writer *w, const struct gguf_value *v)
{
    if (!good_name(w, v->key, GGUF_MAX_KEY, "a metadata key")) return;
    w->key = mem_realloc(w->key, w->n_key + 1, sizeof *w->key);
    w->key[w->n_key++] = arena_str(&w->arena, v->key, strlen(v->key));
    add_str(&w->values, v->key, strlen(v->key));
    add_u32(&w->values, v->type);
    if (v->type == GGUF_ARR) {
        add_u32(&w->values, v->elem);
        add_u64(&w->values, v->n);
    }
    if (v->elem == GGUF_STR)
        for (uint64_t i = 0; i < v->n; i++) add_str(&w->values, v->str[i].p, v->str[i].n);
    else
        buf_add(&w->values, v->data, elements_bytes(v->data, v->elem, v->n));
    if (strcmp(v->key, "general.alignment") == 0) adopt_alignment(w, v);
}

static void scalar(struct gguf_writer *w, const char *key, enum gguf_type t, const void *data)
{
    gguf_writer_value(w, &(struct gguf_value){.key = key, .type = t, .elem = t, .n = 1, .data = data});
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    v = htole32(v);
    scalar(w, key, GGUF_U32, &v);
}

void gguf_writer_f32(struct gguf_writer *w, const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = htole32(bits);
    scalar(w, key, GGUF_F32, &bits);
}

void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v)
{
    scalar(w, key, GGUF_BOOL, &(uint8_t){v});
}

void gguf_writer_str(struct gguf_writer *w, const char *key, const char *s)
{
    struct gguf_str str = {s, strlen(s)};
    gguf_writer_value(
        w, &(struct gguf_value){.key = key, .type = GGUF_STR, .elem = GGUF_STR, .n = 1, .str = &str});
}

void gguf_writer_strs(struct gguf_writer *w, const char *key, const char *const *s, size_t n)
{
    struct gguf_str *str = mem_zalloc(n, sizeof *str);
    for (size_t i = 0; i < n; i++) str[i] = (struct gguf_str){s[i], strlen(s[i])};
    gguf_writer_value(
        w, &(struct gguf_value){.key = key, .type = GGUF_ARR, .elem = GGUF_STR, .n = n, .str = str});
    free(str);
}

static void words(struct gguf_writer *w, const char *key, enum gguf_type t, const void *p, size_t n)
{
    uint32_t *le = mem_zalloc(n, sizeof *le);
    for (size_t i = 0; i < n; i++) {
        memcpy(&le[i], (const char *)p + 4 * i, 4);
        le[i] = htole32(le[i]);
    }
    gguf_writer_value(w, &(struct gguf_value){
                             .key = key, .type = GGUF_ARR, .elem = t, .n = n, .data = (const uint8_t *)le});
    free(le);
}

void gguf_writer_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n)
{
    words(w, key, GGUF_F32, v, n);
}

void gguf_writer_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    words(w, key, GGUF_I32, v, n);
}

static bool shape_bytes(struct declared *t)
{
    int64_t rows = 1;
    size_t row_bytes;
    for (uint8_t i = 0; i < t->rank; i++) {
        if (t->dim[i] < 1) return false;
        if (i + 1 < t->rank && !checked_mul(rows, t->dim[i], &rows)) return false;
    }
    return dtype_bytes(t->dtype, t->dim[t->rank - 1], &row_bytes) &&
           checked_mul(row_bytes, (size_t)rows, &t->n_bytes);
}

void gguf_writer_tensor(struct gguf_writer *w, const char *name, enum dtype t, uint8_t rank,
                        const int64_t *dim)
{
    struct declared d = {.dtype = t, .rank = rank};
    if (!good_name(w, name, GGUF_MAX_NAME, "a tensor name")) return;
    if (rank < 1 || rank > GGUF_MAX_RANK || t >= DT_COUNT || !dtype_info(t)) {
        w->bad.code = fail(&w->bad, ERR_ARG, "tensor %s: rank %u, type %d", name, rank, (int)t);
        return;
    }
    memcpy(d.dim, dim, rank * sizeof *dim);
    d.name = arena_str(&w->arena, name, strlen(name));
    if (!shape_bytes(&d)) {
        w->bad.code =
            fail(&w->bad, ERR_ARG, "tensor %s: rows of %lld are not whole blocks of %s, or too large", name,
                 (long long)dim[rank - 1], dtype_info(t)->name);
        return;
    }
    w->tensor = mem_realloc(w->tensor, w->n_tensor + 1, sizeof *w->tensor);
    w->tensor[w->n_tensor++] = d;
}

/* --- header --- */

static status check_declared(const struct gguf_writer *w, struct error *e)
{
    struct names names;
    size_t dup;
    if (w->bad.code != OK) return fail(e, w->bad.code, "%s: %s", w->path, w->bad.msg);
    if (w->values.failed) return fail(e, ERR_MEMORY, "%s: out of memory for metadata", w->path);
    status s = names_build(&names, w->key, sizeof *w->key, w->n_key, &dup);
    names_free(&names);
    if (s == ERR_MEMORY) return fail(e, s, "%s: out of memory for %zu keys", w->path, w->n_key);
    if (s != OK) return fail(e, ERR_ARG, "%s: metadata %s is given twice", w->path, w->key[dup]);
    s = names_build(&names, w->tensor, sizeof *w->tensor, w->n_tensor, &dup);
    names_free(&names);
    if (s == ERR_MEMORY) return fail(e, s, "%s: out of memory for %zu names", w->path, w->n_tensor);
    if (s != OK) return fail(e, ERR_ARG, "%s: tensor %s is given twice", w->path, w->tensor[dup].name);
    return OK;
}

static status add_tensor_headers(struct gguf_writer *w, struct buf *b, struct error *e)
{
    size_t offset = 0;
    for (size_t i = 0; i < w->n_tensor; i++) {
        struct declared *t = &w->tensor[i];
        t->offset = offset;
        add_str(b, t->name, strlen(t->name));
        add_u32(b, t->rank);
        for (uint8_t k = 0; k < t->rank; k++) add_u64(b, (uint64_t)t->dim[t->rank - 1 - k]);
        add_u32(b, t->dtype);
        add_u64(b, offset);
        if (!checked_add(offset, t->n_bytes, &offset) || offset > INT64_MAX)
            return fail(e, ERR_LIMIT, "%s: the tensors are too large", w->path);
        offset = round_up(offset, w->align);
    }
    return OK;
}

status gguf_writer_begin_data(struct gguf_writer *w, struct error *e)
{
    struct buf b = {0};
    size_t zeros;
    status s;
    ASSERT(!w->begun);
    TRY(check_declared(w, e));
    buf_add(&b, "GGUF", 4);
    add_u32(&b, 3);
    add_u64(&b, w->n_tensor);
    add_u64(&b, w->n_key);
    buf_add(&b, w->values.data, w->values.n);
    s = add_tensor_headers(w, &b, e);
    if (s != OK) goto out;
    zeros = round_up(b.n, w->align) - b.n;
    if (w->n_tensor && buf_room(&b, zeros)) {
        memset(b.data + b.n, 0, zeros);
        b.n += zeros;
    }
    if (b.failed)
        s = fail(e, ERR_MEMORY, "%s: out of memory for the header", w->path);
    else if (fwrite(b.data, 1, b.n, w->file) != b.n)
        s = os_error(w, "write", e);
    w->begun = s == OK;
out:
    buf_deinit(&b);
    return s;
}

/* --- data --- */

static status pad(struct gguf_writer *w, size_t n, struct error *e)
{
    static const char zero[4096];
    while (n) {
        size_t k = MIN(n, sizeof zero);
        if (fwrite(zero, 1, k, w->file) != k) return os_error(w, "write", e);
        n -= k;
    }
    return OK;
}

status gguf_writer_data(struct gguf_writer *w, const void *p, size_t n, struct error *e)
{
    ASSERT(w->begun);
    while (n) {
        if (w->at == w->n_tensor)
            return fail(e, ERR_ARG, "%s: %zu bytes more than the declared tensors hold", w->path, n);
        size_t total = w->tensor[w->at].n_bytes, k = MIN(n, total - w->done);
        if (fwrite(p, 1, k, w->file) != k) return os_error(w, "write", e);
        p = (const char *)p + k;
        n -= k;
        w->done += k;
        if (w->done < total) continue;
        TRY(pad(w, round_up(total, w->align) - total, e));
        w->at++;
        w->done = 0;
    }
    return OK;
}

/* Make the new name itself durable. A directory that cannot be opened or synced is not worth a failure. */
static void sync_folder(const char *path)
{
    char *copy = mem_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(copy);
}

status gguf_writer_finish(struct gguf_writer *w, struct error *e)
{
    ASSERT(w->begun);
    if (w->at < w->n_tensor)
        return fail(e, ERR_ARG, "%s: the data of tensor %s is not complete (%zu of %zu bytes)", w->path,
                    w->tensor[w->at].name, w->done, w->tensor[w->at].n_bytes);
    if (fflush(w->file) != 0) return os_error(w, "write", e);
    if (fsync(fileno(w->file)) != 0) return os_error(w, "sync", e);
    if (rename(w->tmp, w->path) != 0) return os_error(w, "rename the finished file", e);
    free(w->tmp);
    w->tmp = NULL;
    sync_folder(w->path);
    return OK;
}
