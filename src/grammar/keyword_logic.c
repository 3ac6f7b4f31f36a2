/* Keywords that combine schemas, and references to others. */
#include <string.h>

#include "grammar/keyword.h"

enum { MAX_ONE_OF = 500 };

static void check_list(struct schema *s, const json_t *j, const json_t *v)
{
    if (!json_is_array(v)) schema_invalid(s, j, "allOf, anyOf and oneOf want an array");
}

static void all_of(struct schema *s, struct conj *c, const json_t *v, bool negative)
{
    struct branch b = {0};
    for (size_t i = json_array_size(v); i-- > 0;) branch_add(s, &b, json_array_get(v, i), negative);
    if (b.lits) require_all(s, c, b.lits);
}
static void some_of(struct schema *s, struct conj *c, const json_t *v, bool negative)
{
    struct choice *x = choice_new(s, c);
    for (size_t i = json_array_size(v); i-- > 0;)
        branch_add(s, branch_new(s, x), json_array_get(v, i), negative);
}
static void assert_all_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_list(s, j, v);
    all_of(s, c, v, false);
}
static void deny_all_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_list(s, j, v);
    some_of(s, c, v, true);
}
static void assert_any_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_list(s, j, v);
    some_of(s, c, v, false);
}
static void deny_any_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_list(s, j, v);
    all_of(s, c, v, true);
}
/* Not other, beside a. Where no object can be both, that is said of other types only. */
static void deny_other(struct schema *s, struct branch *b, const json_t *a, const json_t *other)
{
    if (!schema_disjoint_objects(s, a, other)) {
        branch_add(s, b, other, true);
        return;
    }
    json_t *either = json_pack("{s:[{s:s},{s:O}]}", "anyOf", "type", "object", "not", other);
    branch_add(s, b, schema_own(s, either), false);
}

static void assert_one_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    size_t n = json_array_size(v);
    check_list(s, j, v);
    if (n > MAX_ONE_OF) build_fail(s->b, ERR_LIMIT, "oneOf of more than %d schemas", MAX_ONE_OF);
    for (size_t i = n; i-- > 0;) {
        const json_t *a = json_array_get(v, i);
        struct branch *b = branch_new(s, x);
        for (size_t k = n; k-- > 0;)
            if (k != i && !schema_disjoint(s, a, json_array_get(v, k), 0))
                deny_other(s, b, a, json_array_get(v, k));
        branch_add(s, b, a, false);
    }
}
static void deny_one_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    struct branch *none = branch_new(s, x);
    size_t n = json_array_size(v);
    check_list(s, j, v);
    if (n > 30) schema_unsupported(s, j, "a denial of oneOf with more than 30 schemas");
    for (size_t i = 0; i < n; i++) {
        branch_add(s, none, json_array_get(v, i), true);
        for (size_t k = i + 1; k < n; k++) {
            struct branch *two = branch_new(s, x);
            branch_add(s, two, json_array_get(v, i), false);
            branch_add(s, two, json_array_get(v, k), false);
        }
    }
}
static void assert_not(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, v, true);
}
static void deny_not(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, v, false);
}

static void add_if(struct schema *s, struct conj *c, const json_t *j, const json_t *v, bool negative)
{
    const json_t *then = json_object_get(j, "then"), *otherwise = json_object_get(j, "else");
    struct choice *x;
    if (!then && !otherwise && !negative) return;
    x = choice_new(s, c);
    if (then || !negative) {
        struct branch *yes = branch_new(s, x);
        if (then) branch_add(s, yes, then, negative);
        branch_add(s, yes, v, false);
    }
    if (otherwise || !negative) {
        struct branch *no = branch_new(s, x);
        if (otherwise) branch_add(s, no, otherwise, negative);
        branch_add(s, no, v, true);
    }
}
static void assert_if(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    add_if(s, c, j, v, false);
}
static void deny_if(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    add_if(s, c, j, v, true);
}

static const json_t *target(struct schema *s, const json_t *j, const json_t *v)
{
    if (!json_is_string(v)) schema_invalid(s, j, "a $ref is not a string");
    return schema_resolve(s, j, json_string_value(v));
}
static void assert_ref(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, target(s, j, v), false);
}
static void deny_ref(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, target(s, j, v), true);
}

/* A $dynamicRef is a $ref as long as its anchor is declared once. */
static const json_t *dynamic_target(struct schema *s, const json_t *j, const json_t *v)
{
    const json_t *t = target(s, j, v);
    const char *anchor = json_string_value(json_object_get(t, "$dynamicAnchor"));
    int n = 0;
    for (const struct resource *r = s->resources; anchor && r; r = r->next) {
        const char *own = json_string_value(json_object_get(r->schema, "$dynamicAnchor"));
        n += own && strcmp(own, anchor) == 0 && strchr(r->uri, '#') != NULL;
    }
    if (n > 1) schema_unsupported(s, j, "$dynamicRef to an anchor declared more than once");
    return t;
}
static void assert_dynamic(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, dynamic_target(s, j, v), false);
}
static void deny_dynamic(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    require_one(s, c, dynamic_target(s, j, v), true);
}

static void refuse(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_true(v))
        schema_unsupported(s, j, "a denial of unevaluated members or items, or $recursiveRef,");
}

static const struct keyword rows[] = {
    {"allOf", assert_all_of, deny_all_of},
    {"anyOf", assert_any_of, deny_any_of},
    {"oneOf", assert_one_of, deny_one_of},
    {"not", assert_not, deny_not},
    {"if", assert_if, deny_if},
    {"$dynamicRef", assert_dynamic, deny_dynamic},
    {"unevaluatedProperties", schema_unevaluated_members, refuse},
    {"unevaluatedItems", schema_unevaluated_items, refuse},
    {"$recursiveRef", refuse, refuse},
};
const struct keyword_rows keywords_logic = {rows, COUNT_OF(rows)};

const struct keyword keyword_ref = {"$ref", assert_ref, deny_ref};
