#include "grammar/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 << 10 };

void arena_deinit(struct arena *a)
{
    for (struct arena_chunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){0};
}

/* The JSON pointer (RFC 6901) of what within from; path holds it when found. */
static bool find_path(const json_t *from, const json_t *what, struct buf *path, int depth)
{
    const char *key;
    json_t *v;
    size_t i, n = path->n;
    if (from == what) return true;
    if (depth > 100) return false;
    if (json_is_object(from)) json_object_foreach((json_t *)from, key, v)
        {
            buf_addf(path, "/%s", key);
            if (find_path(v, what, path, depth + 1)) return true;
            if (path->data) path->data[path->n = n] = 0;
        }
    if (json_is_array(from)) json_array_foreach((json_t *)from, i, v)
        {
            buf_addf(path, "/%zu", i);
            if (find_path(v, what, path, depth + 1)) return true;
            if (path->data) path->data[path->n = n] = 0;
        }
    return false;
}

static void add_place(const struct build *b)
{
    struct buf path = {.max = 4096};
    if (b->at && find_path(b->root, b->at, &path, 0) && !path.failed) {
        buf_adds(&path, "");
        status named = fail_in(b->e, "at #%s", path.data ? path.data : "");
        (void)named;
    }
    buf_deinit(&path);
}

void build_fail(struct build *b, status code, const char *fmt, ...)
{
    char msg[sizeof b->e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    status reported = fail(b->e, code, "%s", msg);
    if (b->root) add_place(b);
    longjmp(b->failed, (int)reported);
}

static void add_chunk(struct build *b, size_t bytes)
{
    struct arena *a = b->arena;
    size_t cap = MAX((size_t)CHUNK_BYTES, MAX(bytes, a->used / 4));
    if (cap > a->max - a->used) cap = bytes;
    if (cap > a->max - a->used)
        build_fail(b, ERR_LIMIT, "the compiled grammar would need more than %zu MiB", a->max >> 20);
    struct arena_chunk *c = malloc(sizeof *c + cap);
    if (!c) build_fail(b, ERR_MEMORY, "out of memory");
    *c = (struct arena_chunk){.next = a->chunk, .cap = cap};
    a->chunk = c;
    a->used += cap;
}

void *build_alloc(struct build *b, size_t n, size_t bytes)
{
    size_t want;
    if (!checked_mul(n, bytes, &want) || want > b->arena->max)
        build_fail(b, ERR_LIMIT, "the compiled grammar would need more than %zu MiB", b->arena->max >> 20);
    want = round_up(want, sizeof(max_align_t));
    struct arena_chunk *c = b->arena->chunk;
    if (!c || c->cap - c->n < want) {
        add_chunk(b, want);
        c = b->arena->chunk;
    }
    void *p = (char *)c->data + c->n;
    c->n += want;
    return memset(p, 0, want);
}

void *build_grow(struct build *b, void *p, size_t n, size_t *cap, size_t bytes)
{
    if (n < *cap) return p;
    size_t more = MAX((size_t)8, *cap * 2);
    void *q = build_alloc(b, more, bytes);
    if (n) memcpy(q, p, n * bytes);
    *cap = more;
    return q;
}

char *build_strndup(struct build *b, const char *s, size_t n)
{
    char *p = build_alloc(b, n + 1, 1);
    if (n) memcpy(p, s, n);
    return p;
}

void build_work(struct build *b, uint64_t steps)
{
    b->work += steps;
    if (b->work > b->max_work)
        build_fail(b, ERR_LIMIT, "too complex: compiling it takes more than %llu steps",
                   (unsigned long long)b->max_work);
}

json_t *build_json(struct build *b, const char *text, size_t n)
{
    json_error_t je;
    json_t *root = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!root && json_error_code(&je) == json_error_numeric_overflow)
        root = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    if (!root) build_fail(b, ERR_ARG, "not JSON: %s", je.text);
    b->owned = json_array();
    if (!b->owned || json_array_append_new(b->owned, root) != 0) build_fail(b, ERR_MEMORY, "out of memory");
    b->root = root;
    return root;
}

uint64_t hash_bytes(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t h = 0x9E3779B97F4A7C15u ^ n;
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    for (; n; n--) h = (h ^ *s++) * 0x100000001B3u;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 29;
}
