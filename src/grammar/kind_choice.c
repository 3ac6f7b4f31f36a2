/* Constraint kind "choice": one of the strings of a JSON array, as plain text. */
#include "grammar/grammar_int.h"

#include <string.h>

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    json_error_t je;
    json_t *j = json_loadb(text, n, JSON_ALLOW_NUL, &je);
    if (!j) build_fail(b, ERR_ARG, "choice: not a JSON array: %s", je.text);
    b->owned = j;
    size_t count = json_is_array(j) ? json_array_size(j) : 0;
    if (!count) build_fail(b, ERR_ARG, "choice: want an array of at least one string");
    struct dfa_text *t = build_alloc(b, count, sizeof *t);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(j, i);
        if (!json_is_string(v)) build_fail(b, ERR_ARG, "choice: element %zu is not a string", i);
        size_t len = json_string_length(v);
        t[i] = (struct dfa_text){build_strndup(b, json_string_value(v), len), len, 0};
    }
    struct shape *s = build_alloc(b, 1, sizeof *s);
    *s = (struct shape){.kind = SHAPE_TERM, .dfa = dfa_texts(b, t, count)};
    g->rule = s;
}

const struct grammar_kind grammar_choice = {"choice", compile};
