/* unevaluatedProperties and unevaluatedItems, where what is evaluated does not depend on the value: by the
 * schema itself, and by allOf and $ref within it. Behind anyOf, oneOf, if, dependentSchemas and contains it
 * would. */
#include "grammar/schema.h"

struct evaluated {
    struct schema *s;
    json_t *properties, *patterns; /* names and patterns, each with the schema true */
    bool all_members, all_items;
    size_t n_prefix;
};

static void add_names(struct evaluated *e, json_t *to, const json_t *from)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)from, key, v) if (json_object_set_new(to, key, json_true()) != 0)
        build_fail(e->s->b, ERR_MEMORY, "out of memory");
}

/* false: it depends on the value. inner: not the schema that asks, but one that is applied beside it. */
static bool collect(struct evaluated *e, const json_t *j, bool inner, int depth)
{
    static const char *const depends[] = {
        "anyOf",       "oneOf",         "if",      "dependentSchemas", "dependencies",
        "$dynamicRef", "$recursiveRef", "contains"};
    const json_t *all = json_object_get(j, "allOf"), *items = json_object_get(j, "items"),
                 *prefix = json_object_get(j, "prefixItems"), *v;
    const char *ref = json_string_value(json_object_get(j, "$ref"));
    size_t i;
    if (depth > 32) return false;
    for (i = 0; i < COUNT_OF(depends); i++)
        if (json_object_get(j, depends[i])) return false;
    add_names(e, e->properties, json_object_get(j, "properties"));
    add_names(e, e->patterns, json_object_get(j, "patternProperties"));
    e->all_members |= json_object_get(j, "additionalProperties") != NULL;
    e->all_members |= inner && json_object_get(j, "unevaluatedProperties");
    e->n_prefix = MAX(e->n_prefix, MAX(json_array_size(prefix), json_array_size(items)));
    e->all_items |= (items && !json_is_array(items)) || json_object_get(j, "additionalItems");
    e->all_items |= inner && json_object_get(j, "unevaluatedItems");
    json_array_foreach((json_t *)all, i, v) if (!collect(e, v, true, depth + 1)) return false;
    return !ref || collect(e, schema_resolve(e->s, j, ref), true, depth + 1);
}

static bool evaluated_by(struct evaluated *e, struct schema *s, const json_t *j)
{
    *e = (struct evaluated){.s = s};
    e->properties = schema_own(s, json_object());
    e->patterns = schema_own(s, json_object());
    return collect(e, j, false, 0);
}

void schema_unevaluated_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct evaluated e;
    if (json_is_true(v)) return;
    if (!evaluated_by(&e, s, j)) {
        schema_unsupported(s, j, "unevaluatedProperties beside anyOf, oneOf, if or the like");
        return;
    }
    if (e.all_members) return;
    struct object_clause *o = build_alloc(s->b, 1, sizeof *o);
    *o = (struct object_clause){
        .properties = e.properties, .patterns = e.patterns, .additional = v, .next = c->objects};
    c->objects = o;
}

void schema_unevaluated_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct evaluated e;
    if (json_is_true(v)) return;
    if (!evaluated_by(&e, s, j)) {
        schema_unsupported(s, j, "unevaluatedItems beside contains, anyOf, oneOf, if or the like");
        return;
    }
    if (e.all_items) return;
    json_t *prefix = schema_own(s, json_array());
    for (size_t i = 0; i < e.n_prefix; i++) json_array_append_new(prefix, json_true());
    struct array_clause *a = build_alloc(s->b, 1, sizeof *a);
    *a = (struct array_clause){.prefix = prefix, .rest = v, .next = c->arrays};
    c->arrays = a;
}
