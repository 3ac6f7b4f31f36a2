#include "grammar/names.h"

#include <string.h>

enum { MAX_NAMES = 4096 };

struct name *names_get(struct names *x, const char *text, size_t n)
{
    struct build *b = x->rules->b;
    for (size_t i = 0; i < x->n_name; i++)
        if (x->name[i].n == n && memcmp(x->name[i].text, text, n) == 0) return &x->name[i];
    build_work(b, x->n_name + 10);
    if (x->n_name == MAX_NAMES) build_fail(b, ERR_LIMIT, "%s: more than %d rules", x->kind, MAX_NAMES);
    x->name = build_grow(b, x->name, x->n_name, &x->cap_name, sizeof *x->name);
    x->name[x->n_name] = (struct name){text, n, rules_add(x->rules, text, n), false};
    return &x->name[x->n_name++];
}

void names_check(const struct names *x)
{
    for (size_t i = 0; i < x->n_name; i++)
        if (!x->name[i].defined)
            build_fail(x->rules->b, ERR_ARG, "%s: \"%.*s\" is not defined", x->kind,
                       (int)MIN(x->name[i].n, (size_t)60), x->name[i].text);
}
