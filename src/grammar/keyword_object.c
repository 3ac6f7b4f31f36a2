/* Keywords of objects. */
#include <stdio.h>
#include <string.h>

#include "grammar/keyword.h"

static void check_members(struct schema *s, const json_t *j)
{
    const json_t *p = json_object_get(j, "properties"), *q = json_object_get(j, "patternProperties");
    if (p && !json_is_object(p)) schema_invalid(s, j, "properties is not an object");
    if (q && !json_is_object(q)) schema_invalid(s, j, "patternProperties is not an object");
}

static void assert_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_members(s, j);
    PREPEND(s, c->objects, .properties = json_object_get(j, "properties"),
            .patterns = json_object_get(j, "patternProperties"),
            .additional = json_object_get(j, "additionalProperties"));
}

static void deny_properties(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    const char *key;
    json_t *p;
    check_members(s, j);
    c->types &= T_OBJECT;
    json_object_foreach((json_t *)v, key, p) if (!schema_is_true(p)) branch_add(
        s, branch_new(s, x),
        schema_own(s, json_pack("{s:{s:{s:O}},s:[s]}", "properties", key, "not", p, "required", key)), false);
}

/* Some member whose key matches (or, for additionalProperties, is not named) has a value that is not so. */
static void deny_some(struct schema *s, struct conj *c, const json_t *j, const char *pattern,
                      const json_t *value)
{
    PREPEND(s, c->members, .schema = value, .negative = true, .pattern = pattern,
            .properties = json_object_get(j, "properties"),
            .patterns = json_object_get(j, "patternProperties"));
}

static void deny_pattern_properties(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const char *key;
    json_t *p;
    check_members(s, j);
    c->types &= T_OBJECT;
    if (json_object_size(v) > 1) schema_unsupported(s, j, "a denial of several patternProperties");
    if (!json_object_size(v)) c->types = 0;
    json_object_foreach((json_t *)v, key, p)
    {
        deny_some(s, c, j, key, p);
        break;
    }
}

static void deny_additional(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    check_members(s, j);
    c->types &= schema_is_true(v) ? 0 : T_OBJECT;
    deny_some(s, c, j, NULL, v);
}

static void assert_required(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (json_is_boolean(v))
        return; /* draft 3 wrote it beside the property's type; later drafts know nothing of it */
    if (!json_is_array(v)) schema_invalid(s, j, "required is not an array");
    for (size_t i = json_array_size(v); i-- > 0;) {
        const json_t *name = json_array_get(v, i);
        if (!json_is_string(name)) schema_invalid(s, j, "required names something that is not a string");
        PREPEND(s, c->required, .name = json_string_value(name), .n = json_string_length(name));
    }
}
static void deny_required(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    c->types &= T_OBJECT;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (name)
            branch_add(s, branch_new(s, x), schema_own(s, json_pack("{s:{s:b}}", "properties", name, 0)),
                       false);
    }
}

/* The schema v of names, as a conjunction on strings. */
static struct conj conj_of_names(struct schema *s, const json_t *j, const json_t *v)
{
    static const char *const refused[] = {"anyOf", "allOf", "oneOf", "not", "if", "$dynamicRef"};
    struct conj names = {.types = T_ALL, .len_max = INT64_MAX};
    for (int hops = 0; json_object_get(v, "$ref") && hops < 8; hops++)
        v = schema_resolve(s, v, json_string_value(json_object_get(v, "$ref")));
    for (size_t i = 0; i < keywords_scalar.n; i++) {
        const struct keyword *k = &keywords_scalar.row[i];
        const json_t *x = json_object_get(v, k->name);
        if (x) k->assert_(s, &names, v, x);
    }
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (json_object_get(v, refused[i])) schema_unsupported(s, j, "propertyNames with this keyword");
    return names;
}

static void names_among(struct schema *s, struct conj *names)
{
    size_t n = json_array_size(names->one_of), k = 0;
    const char **text = build_alloc(s->b, n + 1, sizeof *text);
    size_t *len = build_alloc(s->b, n + 1, sizeof *len);
    for (size_t i = 0; i < n; i++) {
        const json_t *name = json_array_get(names->one_of, i);
        if (!json_is_string(name)) continue;
        text[k] = json_string_value(name);
        len[k++] = json_string_length(name);
    }
    PREPEND(s, names->langs, .dfa = lang_texts(s->b, text, len, k, false));
}

static void names_of_length(struct schema *s, struct conj *names, const json_t *j)
{
    char regex[64], most[24] = "";
    bool open = names->len_max == INT64_MAX;
    if (names->len_min > 2000 || (!open && names->len_max > 2000))
        schema_unsupported(s, j, "propertyNames with lengths over 2000");
    if (!open) snprintf(most, sizeof most, "%lld", (long long)names->len_max);
    snprintf(regex, sizeof regex, "^[^]{%lld,%s}$", (long long)names->len_min, most);
    names->langs = lang_pattern(s->b, regex, strlen(regex), "propertyNames", names->langs);
}

static void assert_names(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (json_is_boolean(v)) {
        if (json_is_false(v)) c->members_max = 0;
        return;
    }
    struct conj names = conj_of_names(s, j, v);
    if (!(names.types & T_STRING)) {
        c->members_max = 0;
        return;
    }
    if (names.one_of) names_among(s, &names);
    if (names.len_min || names.len_max != INT64_MAX) names_of_length(s, &names, j);
    for (const struct lang *l = names.langs; l; l = l->next)
        PREPEND(s, c->names, .dfa = l->dfa, .negative = l->negative);
}
static void deny_names(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    schema_unsupported(s, j, "a denial of propertyNames");
    c->types &= T_OBJECT;
}

static void assert_min_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->members_min = MAX(c->members_min, keyword_count(s, j, v, "minProperties"));
}
static void deny_min_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "minProperties");
    c->types &= n ? T_OBJECT : 0;
    c->members_max = MIN(c->members_max, n - 1);
}
static void assert_max_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->members_max = MIN(c->members_max, keyword_count(s, j, v, "maxProperties"));
}
static void deny_max_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "maxProperties");
    c->types &= n < INT64_MAX ? T_OBJECT : 0;
    c->members_min = MAX(c->members_min, n < INT64_MAX ? n + 1 : n);
}

/* dependentRequired, dependentSchemas, and dependencies, which is either by value. */
static void assert_dependent(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const char *key;
    json_t *d;
    if (!json_is_object(v)) schema_invalid(s, j, "dependencies are not an object");
    json_object_foreach((json_t *)v, key, d)
    {
        if (json_is_array(d) || json_is_string(d)) {
            const json_t *names = json_is_array(d) ? d : schema_own(s, json_pack("[O]", d));
            PREPEND(s, c->dependent, .name = key, .n = strlen(key), .also = names);
            continue;
        }
        if (schema_is_true(d)) continue;
        struct choice *x = choice_new(s, c);
        branch_add(s, branch_new(s, x), schema_own(s, json_pack("{s:{s:b}}", "properties", key, 0)), false);
        struct branch *present = branch_new(s, x);
        branch_add(s, present, schema_own(s, json_pack("{s:[s],s:s}", "required", key, "type", "object")),
                   false);
        branch_add(s, present, d, false);
    }
}
static void deny_dependent(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    const char *key;
    json_t *d;
    c->types &= T_OBJECT;
    json_object_foreach((json_t *)v, key, d)
    {
        struct branch *b = branch_new(s, x);
        branch_add(s, b, schema_own(s, json_pack("{s:[s]}", "required", key)), false);
        branch_add(s, b, json_is_array(d) ? schema_own(s, json_pack("{s:O}", "required", d)) : d, true);
    }
}

static const struct keyword rows[] = {
    {"properties", assert_members, deny_properties},
    {"patternProperties", assert_members, deny_pattern_properties},
    {"additionalProperties", assert_members, deny_additional},
    {"required", assert_required, deny_required},
    {"propertyNames", assert_names, deny_names},
    {"minProperties", assert_min_members, deny_min_members},
    {"maxProperties", assert_max_members, deny_max_members},
    {"dependencies", assert_dependent, deny_dependent},
    {"dependentRequired", assert_dependent, deny_dependent},
    {"dependentSchemas", assert_dependent, deny_dependent},
};
const struct keyword_rows keywords_object = {rows, COUNT_OF(rows)};
