/* A quick look whether two schemas exclude each other, so that oneOf need not deny one in the other. false
 * means only that it was not seen. */
#include <string.h>

#include "grammar/schema.h"

enum { MAX_DEPTH = 4 };

static unsigned type_of_value(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: return T_NULL;
    case JSON_TRUE: return T_TRUE;
    case JSON_FALSE: return T_FALSE;
    case JSON_STRING: return T_STRING;
    case JSON_ARRAY: return T_ARRAY;
    case JSON_OBJECT: return T_OBJECT;
    default: return T_NUMBER;
    }
}

static unsigned type_of_name(const char *name)
{
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {{"null", T_NULL},      {"boolean", T_TRUE | T_FALSE}, {"number", T_NUMBER},
                 {"integer", T_NUMBER}, {"string", T_STRING},          {"array", T_ARRAY},
                 {"object", T_OBJECT}};
    for (size_t i = 0; name && i < COUNT_OF(names); i++)
        if (strcmp(name, names[i].name) == 0) return names[i].types;
    return T_ALL;
}

static unsigned types_of(const json_t *j)
{
    const json_t *type = json_object_get(j, "type"), *values = json_object_get(j, "enum"),
                 *value = json_object_get(j, "const");
    unsigned types = T_ALL, some = 0;
    if (json_is_string(type)) types = type_of_name(json_string_value(type));
    if (json_is_array(type)) {
        for (size_t i = 0; i < json_array_size(type); i++)
            some |= type_of_name(json_string_value(json_array_get(type, i)));
        types = some;
    }
    some = 0;
    for (size_t i = 0; i < json_array_size(values); i++) some |= type_of_value(json_array_get(values, i));
    if (json_is_array(values)) types &= some;
    if (value) types &= type_of_value(value);
    return types;
}

bool schema_same_value(const json_t *a, const json_t *b)
{
    return json_equal(a, b) ||
           (json_is_number(a) && json_is_number(b) && json_number_value(a) == json_number_value(b));
}

/* Value i of enum, or const as value 0. */
static const json_t *value_at(const json_t *j, size_t i)
{
    const json_t *value = json_object_get(j, "const"), *values = json_object_get(j, "enum");
    return value ? (i ? NULL : value) : json_array_get(values, i);
}

static bool values_differ(const json_t *a, const json_t *b)
{
    const json_t *x, *y;
    if (!value_at(a, 0) || !value_at(b, 0)) return false;
    for (size_t i = 0; (x = value_at(a, i)); i++)
        for (size_t k = 0; (y = value_at(b, k)); k++)
            if (schema_same_value(x, y)) return false;
    return true;
}

static bool requires(const json_t *j, const char *name)
{
    const json_t *required = json_object_get(j, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *r = json_string_value(json_array_get(required, i));
        if (r && strcmp(r, name) == 0) return true;
    }
    return false;
}

static bool forbids(const json_t *j, const char *name)
{
    const json_t *p = json_object_get(json_object_get(j, "properties"), name);
    if (p) return json_is_false(p);
    return json_is_false(json_object_get(j, "additionalProperties")) &&
           !json_object_get(j, "patternProperties");
}

static bool members_differ(struct schema *s, const json_t *a, const json_t *b, int depth)
{
    const json_t *required = json_object_get(a, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name) continue;
        if (forbids(b, name)) return true;
        const json_t *x = json_object_get(json_object_get(a, "properties"), name);
        const json_t *y = json_object_get(json_object_get(b, "properties"), name);
        if (x && y && requires(b, name) && schema_disjoint(s, x, y, depth + 1)) return true;
    }
    return false;
}

bool schema_disjoint(struct schema *s, const json_t *a, const json_t *b, int depth)
{
    const json_t *ref;
    if (depth > MAX_DEPTH) return false;
    build_work(s->b, 2);
    if (json_is_false(a) || json_is_false(b)) return true;
    if (!json_is_object(a) || !json_is_object(b)) return false;
    if (json_is_string(ref = json_object_get(a, "$ref")))
        if (schema_disjoint(s, schema_resolve(s, a, json_string_value(ref)), b, depth + 1)) return true;
    if (json_is_string(ref = json_object_get(b, "$ref")))
        if (schema_disjoint(s, a, schema_resolve(s, b, json_string_value(ref)), depth + 1)) return true;
    if (s->ref_alone && (json_object_get(a, "$ref") || json_object_get(b, "$ref"))) return false;
    unsigned ta = types_of(a), tb = types_of(b);
    if (!(ta & tb) || values_differ(a, b)) return true;
    if ((ta & tb) == T_OBJECT && (members_differ(s, a, b, depth) || members_differ(s, b, a, depth)))
        return true;
    const json_t *all = json_object_get(a, "allOf");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (schema_disjoint(s, json_array_get(all, i), b, depth + 1)) return true;
    all = json_object_get(b, "allOf");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (schema_disjoint(s, a, json_array_get(all, i), depth + 1)) return true;
    return false;
}

static const json_t *behind_ref(struct schema *s, const json_t *j)
{
    const json_t *ref;
    for (int hops = 0; hops < MAX_DEPTH && json_is_string(ref = json_object_get(j, "$ref")); hops++)
        j = schema_resolve(s, j, json_string_value(ref));
    return j;
}

bool schema_disjoint_objects(struct schema *s, const json_t *a, const json_t *b)
{
    a = behind_ref(s, a);
    b = behind_ref(s, b);
    return members_differ(s, a, b, 0) || members_differ(s, b, a, 0);
}
