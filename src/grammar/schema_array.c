/* Arrays: the schemas of each position, and counts of items that meet `contains`. */
#include <stdlib.h>
#include <string.h>

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

/* All values that can be valid under j, added to list. false: there is no telling. */
static bool finite_values(struct schema *s, const json_t *j, json_t *list, int depth)
{
    const char *ref = json_string_value(json_object_get(j, "$ref")),
               *type = json_string_value(json_object_get(j, "type"));
    const json_t *one = json_object_get(j, "const"), *many = json_object_get(j, "enum"), *v;
    size_t i;
    if (depth > 16) return false;
    if (one) return json_array_append(list, (json_t *)one) == 0;
    if (json_is_array(many)) return json_array_extend(list, (json_t *)many) == 0;
    if (ref) return finite_values(s, schema_resolve(s, j, ref), list, depth + 1);
    if (type && strcmp(type, "null") == 0) return json_array_append_new(list, json_null()) == 0;
    if (type && strcmp(type, "boolean") == 0)
        return json_array_append_new(list, json_true()) == 0 &&
               json_array_append_new(list, json_false()) == 0;
    many = json_object_get(j, "anyOf") ? json_object_get(j, "anyOf") : json_object_get(j, "oneOf");
    json_array_foreach((json_t *)many, i, v) if (!finite_values(s, v, list, depth + 1)) return false;
    return json_array_size(many) > 0;
}

/* Items that differ, where there are few values: one node for each. */
static void emit_unique(struct schema *s, struct array *a, const struct conj *c, struct atom *atoms)
{
    json_t *list = NULL;
    for (const struct array_clause *x = c->arrays; x && !json_array_size(list); x = x->next) {
        list = schema_own(s, json_array());
        if (!x->rest || x->negative || !finite_values(s, x->rest, list, 0)) json_array_clear(list);
    }
    size_t n = json_array_size(list), n_atom = atoms_at(c, 0, atoms);
    if (!n || n > MAX_CHOICES || a->n_prefix || a->n_need) {
        schema_unsupported(s, c->unique,
                           n > MAX_CHOICES ? "uniqueItems of more than 63 values" : "uniqueItems");
        return;
    }
    a->choice = build_alloc(s->b, n, sizeof *a->choice);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        bool again = false;
        for (size_t k = 0; k < i; k++) again |= schema_same_value(v, json_array_get(list, k));
        if (again) continue;
        atoms[n_atom] = (struct atom){.schema = schema_own(s, json_pack("{s:O}", "const", v))};
        a->choice[a->n_choice++] = schema_node_of(s, atoms, n_atom + 1);
    }
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
    struct atom *atoms = build_alloc(s->b, clauses + 2, sizeof *atoms);
    for (size_t i = 0; i <= prefix; i++) {
        a->item[i].variant = build_alloc(s->b, (size_t)1 << a->n_need, sizeof *a->item[i].variant);
        for (uint32_t v = 0; v < 1u << a->n_need; v++) a->item[i].variant[v] = variant(s, c, i, v, atoms);
    }
    if (c->unique && c->items_max > 1) emit_unique(s, a, c, atoms);
    schema_add_alt(s, n, (struct alt){.array = a});
}
