/* GGUF files for tests, written as text, and a walk over everything a reader hands out.
 *
 * A script is words separated by blanks:
 *   'abc'  these bytes         1:N 2:N 4:N 8:N  N, little endian, that wide (0x and negative numbers too)
 *   s:abc  length and bytes    S:N  the same for N letters a
 *   z:N    N zero bytes        pad:N  zero bytes up to a multiple of N */
#ifndef TESTS_GGUF_BUILD_H
#define TESTS_GGUF_BUILD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/gguf.h"

static inline void build_number(struct buf *b, unsigned long long v, unsigned width)
{
    for (unsigned i = 0; i < width; i++) buf_addc(b, (char)(v >> 8 * i));
}

static inline void build_fill(struct buf *b, char c, size_t n)
{
    for (size_t i = 0; i < n; i++) buf_addc(b, c);
}

static inline void build_word(struct buf *b, const char *w, size_t n)
{
    unsigned long long v = strtoull(w + (strncmp(w, "pad:", 4) == 0 ? 4 : 2), NULL, 0);
    if (w[0] == '\'')
        buf_add(b, w + 1, n - 2);
    else if (w[0] == 's') {
        build_number(b, n - 2, 8);
        buf_add(b, w + 2, n - 2);
    } else if (w[0] == 'S') {
        build_number(b, v, 8);
        build_fill(b, 'a', (size_t)v);
    } else if (w[0] == 'z')
        build_fill(b, 0, (size_t)v);
    else if (w[0] == 'p')
        build_fill(b, 0, round_up(b->n, (size_t)v) - b->n);
    else
        build_number(b, v, (unsigned)(w[0] - '0'));
}

static inline void build_script(struct buf *b, const char *script)
{
    while (*script) {
        size_t n = strcspn(script, " ");
        if (n) build_word(b, script, n);
        script += n + (script[n] == ' ');
    }
}

/* Touch everything that an opened file offers; the sum keeps the reads from being optimised away. */
static inline uint64_t build_walk(const struct gguf *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_values(g); i++) {
        const struct gguf_value *v = gguf_value_at(g, i);
        sum += strlen(v->key) + (gguf_find(g, v->key) == v);
        for (uint64_t k = 0; k < v->n; k++) {
            if (v->elem == GGUF_STR)
                for (size_t c = 0; c < v->str[k].n; c++) sum += (uint8_t)v->str[k].p[c];
            else if (v->elem != GGUF_ARR) {
                sum += (uint64_t)gguf_integer(v, k);
                sum += gguf_number(v, k) > 0;
            }
        }
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        sum += strlen(t->name) + (gguf_find_tensor(g, t->name) == t);
        if (t->data) sum += t->data[0] + t->data[t->n_bytes - 1] + t->data[t->n_bytes / 2];
    }
    return sum;
}

#endif
