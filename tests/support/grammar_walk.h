/* Shared by the fuzz targets of grammars: compile under small limits, then walk. */
#ifndef CORRAL_TESTS_GRAMMAR_WALK_H
#define CORRAL_TESTS_GRAMMAR_WALK_H

#include "grammar/grammar.h"

static inline int grammar_walk(const char *kind, const char *text, size_t n)
{
    struct grammar_options o = {.max_bytes = 8 << 20, .max_work = 200000};
    struct grammar *g;
    struct error e;
    struct buf forced = {0};
    uint32_t seed = (uint32_t)n * 2654435761u;
    if (grammar_compile(&g, kind, text, n, &o, &e) != OK) return 0;
    struct grammar_state *s = grammar_state_new(g);
    for (int step = 0; step < 60; step++) {
        bool moved = false;
        seed = seed * 1664525 + 1013904223;
        for (unsigned b = 0, from = seed >> 24; !moved && b < 256; b++) {
            char byte = (char)(from + b);
            moved = grammar_state_accept(s, &byte, 1);
        }
        if (!moved) break;
    }
    grammar_state_forced(s, &forced, 20);
    ASSERT(!forced.n || grammar_state_accept(s, forced.data, forced.n));
    buf_deinit(&forced);
    grammar_state_free(s);
    grammar_unref(g);
    return 0;
}

#endif
