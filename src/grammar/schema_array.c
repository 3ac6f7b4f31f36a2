/* Arrays: the schemas of each position, and counts of items that meet `contains`. */
#include <stdlib.h>

#include "grammar/schema.h"

enum { MAX_PREFIX = 4096 };

/* The atoms of position i; at most one for each clause. */
static size_t atoms_at(const struct conj *c, size_t i, struct atom *a)
{
    size_t n = 0;
    for (const struct array_clause *x = c->arrays; x; x = x->next) {
        size_t prefix = json_array_size(x->prefix);
        const json_t *schema = i < prefix ? json_array_get(x->prefix, i) : x->rest;
        if (schema) a[n++] = (struct atom){schema, i >= prefix && x->negative};
    }
    return n;
}

/* The node of position i when exactly the needs in `meets` are counted. An item that is not counted towards a
 * need with an upper bound must not meet it. NULL: makes no sense there. */
static const struct node *variant(struct schema *s, const struct conj *c, size_t i, uint32_t meets,
                                  struct atom *a)
{
    size_t n = atoms_at(c, i, a), k = 0;
    for (const struct need *need = c->items; need; need = need->next, k++) {
        bool counted = meets >> k & 1;
        if (counted && i < need->from) return NULL;
        if (counted)
            a[n++] = (struct atom){need->schema, need->negative};
        else if (need->max != INT64_MAX && i >= need->from)
            a[n++] = (struct atom){need->schema, !need->negative};
    }
    return schema_node_of(s, a, n);
}

void schema_emit_array(struct schema *s, struct schema_node *n, const struct conj *c)
{
    struct array *a = build_alloc(s->b, 1, sizeof *a);
    size_t clauses = 0, prefix = 0;
    if (c->items_min > c->items_max) return;
    for (const struct array_clause *x = c->arrays; x; x = x->next, clauses++)
        prefix = MAX(prefix, json_array_size(x->prefix));
    for (const struct need *need = c->items; need; need = need->next, clauses++) {
        if (a->n_need == MAX_NEEDS)
            build_fail(s->b, ERR_UNSUPPORTED, "more than %d contains on one array", MAX_NEEDS);
        prefix = MAX(prefix, need->from);
        a->need_min[a->n_need] = need->min;
        a->need_max[a->n_need++] = need->max;
    }
    if (a->n_need > 1 && (prefix || c->items_max != INT64_MAX))
        build_fail(s->b, ERR_UNSUPPORTED,
                   "several contains with prefixItems or maxItems cannot be enforced exactly");
    if ((int64_t)prefix > c->items_max) prefix = (size_t)c->items_max;
    if (prefix > MAX_PREFIX) build_fail(s->b, ERR_LIMIT, "prefixItems of more than %d", MAX_PREFIX);
    a->min = c->items_min;
    a->max = c->items_max;
    a->n_prefix = (uint32_t)prefix;
    a->item = build_alloc(s->b, prefix + 1, sizeof *a->item);
    struct atom *atoms = build_alloc(s->b, clauses + 1, sizeof *atoms);
    for (size_t i = 0; i <= prefix; i++) {
        a->item[i].variant = build_alloc(s->b, (size_t)1 << a->n_need, sizeof *a->item[i].variant);
        for (uint32_t v = 0; v < 1u << a->n_need; v++) a->item[i].variant[v] = variant(s, c, i, v, atoms);
    }
    schema_add_alt(s, n, (struct alt){.array = a});
}
