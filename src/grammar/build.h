/* A compilation in progress. Private to src/grammar.
 *
 * All memory of a compilation is its arena's, under a ceiling, so a failure at any depth abandons the arena
 * and returns to grammar_compile by longjmp: nothing in between holds anything else. */
#ifndef CORRAL_GRAMMAR_BUILD_H
#define CORRAL_GRAMMAR_BUILD_H

#include <jansson.h>
#include <setjmp.h>

#include "grammar/grammar.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t n, cap;
    max_align_t data[];
};
struct arena {
    struct arena_chunk *chunk;
    size_t used, max;
};
void arena_deinit(struct arena *a);

struct build {
    struct arena *arena;
    const struct grammar_options *o;
    uint64_t work, max_work;
    jmp_buf failed;
    struct error *e;
    struct buf dropped;   /* lenient: what was left out */
    struct json_t *owned; /* an array that keeps synthetic schemas alive */
    struct lang_cache *langs;
    const json_t *at;   /* the schema at hand, */
    const json_t *root; /* within this one: messages begin with its JSON pointer */
};

_Noreturn void build_fail(struct build *b, status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void *build_alloc(struct build *b, size_t n, size_t bytes); /* zeroed */
/* An array of cap elements grows to hold n + 1; *cap is updated. The old one stays in the arena. */
void *build_grow(struct build *b, void *p, size_t n, size_t *cap, size_t bytes);
char *build_strndup(struct build *b, const char *s, size_t n);
void build_work(struct build *b, uint64_t steps); /* ERR_LIMIT over the ceiling */

/* The document that is compiled, kept as long as the compilation; messages name places in it. */
json_t *build_json(struct build *b, const char *text, size_t n);

uint64_t hash_bytes(const void *p, size_t n);

#endif
