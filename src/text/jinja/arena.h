/* Memory that is freed all at once, and the way out of a deep call when something is wrong.
 *
 * Parser and renderer are deeply recursive and may fail anywhere; all they make lives in one arena, so a
 * failure jumps to where the work began (as in Lua's core) and the owner frees the arena: nothing can leak,
 * no result needs a check. */
#ifndef CORRAL_JINJA_ARENA_H
#define CORRAL_JINJA_ARENA_H

#include <setjmp.h>

#include "text/jinja/jinja.h"

struct jj_trap {
    jmp_buf jump;
    status code;
    enum jinja_cause cause;
    uint32_t at; /* byte of the source */
    char msg[sizeof(((struct error *)0)->msg)];
};

_Noreturn void jj_throw(struct jj_trap *t, status code, enum jinja_cause cause, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

struct jj_chunk;
struct jj_arena {
    struct jj_chunk *head;
    char *at, *end;
    size_t used, max;
    struct jj_trap *trap;
};

/* Never NULL: over the ceiling or out of memory throws. Zeroed; aligned for any value. */
void *jj_alloc(struct jj_arena *a, size_t n, size_t bytes);
char *jj_alloc_text(struct jj_arena *a, size_t n); /* n bytes, neither zeroed nor aligned */
/* A larger copy of an array, of which n of cap elements are in use. */
void *jj_grow(struct jj_arena *a, const void *old, size_t n, size_t cap, size_t bytes);
void jj_arena_deinit(struct jj_arena *a);

#endif
