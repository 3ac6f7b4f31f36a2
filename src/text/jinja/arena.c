#include "text/jinja/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jj_chunk {
    struct jj_chunk *next;
    _Alignas(16) char data[];
};

enum { CHUNK_BYTES = 64 << 10, ALIGN = 16 };

void jj_throw(struct jj_trap *t, status code, enum jinja_cause cause, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->msg, sizeof t->msg, fmt, ap);
    va_end(ap);
    t->code = code;
    t->cause = cause;
    longjmp(t->jump, 1);
}

static char *new_chunk(struct jj_arena *a, size_t bytes)
{
    if (bytes > a->max || a->used > a->max - bytes)
        jj_throw(a->trap, ERR_LIMIT, JINJA_LIMIT, "the template needs more than %zu bytes of memory", a->max);
    struct jj_chunk *c = malloc(sizeof *c + bytes);
    if (!c) jj_throw(a->trap, ERR_MEMORY, JINJA_LIMIT, "out of memory");
    c->next = a->head;
    a->head = c;
    a->used += bytes;
    return c->data;
}

/* The next n bytes of the current chunk or of a new one; what is large gets a chunk of its own. */
static char *take(struct jj_arena *a, size_t n, size_t align)
{
    size_t pad = (align - (uintptr_t)a->at % align) % align;
    if (n > CHUNK_BYTES / 4) return new_chunk(a, n);
    if (pad + n > (size_t)(a->end - a->at)) {
        a->at = new_chunk(a, CHUNK_BYTES);
        a->end = a->at + CHUNK_BYTES;
        pad = 0;
    }
    char *p = a->at + pad;
    a->at = p + n;
    return p;
}

char *jj_alloc_text(struct jj_arena *a, size_t n)
{
    return take(a, n, 1);
}

void *jj_alloc(struct jj_arena *a, size_t n, size_t bytes)
{
    size_t total;
    if (!checked_mul(n, bytes, &total)) total = SIZE_MAX; /* refused as too large */
    char *p = take(a, total, ALIGN);
    memset(p, 0, total);
    return p;
}

void *jj_grow(struct jj_arena *a, const void *old, size_t n, size_t cap, size_t bytes)
{
    void *p = jj_alloc(a, cap, bytes);
    if (n) memcpy(p, old, n * bytes);
    return p;
}

void jj_arena_deinit(struct jj_arena *a)
{
    for (struct jj_chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct jj_arena){0};
}
