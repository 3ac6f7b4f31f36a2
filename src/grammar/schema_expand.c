/* From the schemas of a node to conjunctions: keywords asserted and denied, choices multiplied out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

enum { MAX_ALTERNATIVES = 2000, MAX_ONE_OF = 500 };

struct keyword {
    const char *name;
    void (*assert_)(struct schema *s, struct conj *c, const json_t *j, const json_t *v);
    void (*deny)(struct schema *s, struct conj *c, const json_t *j, const json_t *v);
};

void schema_invalid(struct schema *s, const json_t *at, const char *what)
{
    s->b->at = at;
    build_fail(s->b, ERR_ARG, "not a valid schema: %s", what);
}

void schema_unsupported(struct schema *s, const json_t *at, const char *what)
{
    s->b->at = at;
    if (!s->b->o->lenient) build_fail(s->b, ERR_UNSUPPORTED, "%s cannot be enforced exactly", what);
    buf_addf(&s->b->dropped, "%s%s", s->b->dropped.n ? "; " : "", what);
}

json_t *schema_own(struct schema *s, json_t *j)
{
    if (!j || json_array_append_new(s->b->owned, j) != 0) build_fail(s->b, ERR_MEMORY, "out of memory");
    return j;
}

/* Lists that conjunctions share: an element before what was there. list is named twice. */
#define PREPEND(s, list, ...)                                                                                \
    do {                                                                                                     \
        const __typeof__(*(list)) x_ = {.next = (list), __VA_ARGS__};                                        \
        void *p_ = build_alloc((s)->b, 1, sizeof x_);                                                        \
        memcpy(p_, &x_, sizeof x_);                                                                          \
        (list) = p_;                                                                                         \
    } while (0)

/* Choices under construction. */
static struct branch *new_branch(struct schema *s, struct choice *c)
{
    struct branch *b = build_alloc(s->b, 1, sizeof *b);
    b->next = c->first;
    c->first = b;
    build_work(s->b, 1);
    return b;
}

static void branch_add(struct schema *s, struct branch *b, const json_t *schema, bool negative)
{
    PREPEND(s, b->lits, .lit = {.schema = schema, .negative = negative});
}

static struct choice *new_choice(struct schema *s, struct conj *c)
{
    struct choice *x = build_alloc(s->b, 1, sizeof *x);
    x->next = c->choices;
    c->choices = x;
    return x;
}

/* All of these, asserted or denied, hold. */
static void require_all(struct schema *s, struct conj *c, const struct lits *lits)
{
    struct choice *x = new_choice(s, c);
    new_branch(s, x)->lits = lits;
}

static void require_one(struct schema *s, struct conj *c, const json_t *schema, bool negative)
{
    struct branch b = {0};
    branch_add(s, &b, schema, negative);
    require_all(s, c, b.lits);
}

static int64_t count_of(struct schema *s, const json_t *j, const json_t *v, const char *name)
{
    char what[80];
    if (json_is_integer(v) && json_integer_value(v) >= 0) return json_integer_value(v);
    if (json_is_real(v) && json_real_value(v) >= 0 && floor(json_real_value(v)) == json_real_value(v))
        return json_real_value(v) > 9e15 ? INT64_MAX : (int64_t)json_real_value(v);
    snprintf(what, sizeof what, "%s is not a number of 0 or more", name);
    schema_invalid(s, j, what);
}

/* type */

static const struct {
    const char *name;
    unsigned types;
} type_names[] = {
    {"null", T_NULL},     {"boolean", T_TRUE | T_FALSE}, {"number", T_NUMBER},
    {"integer", 0},       {"string", T_STRING},          {"array", T_ARRAY},
    {"object", T_OBJECT},
};

static unsigned types_of(struct schema *s, const json_t *j, const json_t *v, bool *integer)
{
    unsigned types = 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        size_t k = 0;
        while (name && k < COUNT_OF(type_names) && strcmp(name, type_names[k].name) != 0) k++;
        if (!name || k == COUNT_OF(type_names)) schema_invalid(s, j, "type is none of the seven type names");
        types |= type_names[k].types;
        *integer |= strcmp(name, "integer") == 0;
    }
    return types;
}

static void assert_type(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    bool integer = false;
    unsigned types = types_of(s, j, v, &integer);
    if (integer && !(types & T_NUMBER)) {
        types |= T_NUMBER;
        c->num.integer = true;
    }
    c->types &= types;
}

static void deny_type(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    bool integer = false;
    c->types &= ~types_of(s, j, v, &integer);
    if (integer) c->num.fraction = true;
}

/* enum, const */

/* A value as a schema: arrays and objects member by member, so that order and spaces are free. */
static const json_t *schema_of_value(struct schema *s, const json_t *v)
{
    json_t *o = schema_own(s, json_object());
    const char *key;
    json_t *x;
    size_t i;
    if (json_is_object(v)) {
        json_t *properties = json_object(), *required = json_array();
        json_object_set_new(o, "type", json_string("object"));
        json_object_set_new(o, "properties", properties);
        json_object_set_new(o, "required", required);
        json_object_set_new(o, "additionalProperties", json_false());
        json_object_foreach((json_t *)v, key, x)
        {
            json_object_set_new(properties, key, json_pack("{s:O}", "const", x));
            json_array_append_new(required, json_string(key));
        }
    } else if (json_is_array(v)) {
        json_t *prefix = json_array();
        json_object_set_new(o, "type", json_string("array"));
        json_object_set_new(o, "prefixItems", prefix);
        json_object_set_new(o, "minItems", json_integer((json_int_t)json_array_size(v)));
        json_object_set_new(o, "maxItems", json_integer((json_int_t)json_array_size(v)));
        json_array_foreach((json_t *)v, i, x) json_array_append_new(prefix, json_pack("{s:O}", "const", x));
    } else {
        json_object_set(o, "const", (json_t *)v);
    }
    return o;
}

static void allow_values(struct schema *s, struct conj *c, const json_t *values)
{
    json_t *both;
    if (!c->one_of) {
        c->one_of = values;
        return;
    }
    both = schema_own(s, json_array());
    for (size_t i = 0; i < json_array_size(values); i++)
        for (size_t k = 0; k < json_array_size(c->one_of); k++) {
            const json_t *x = json_array_get(values, i), *y = json_array_get(c->one_of, k);
            if (json_equal(x, y) ||
                (json_is_number(x) && json_is_number(y) && json_number_value(x) == json_number_value(y))) {
                json_array_append(both, (json_t *)x);
                break;
            }
        }
    c->one_of = both;
}

static void forbid_value(struct schema *s, struct conj *c, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: c->types &= ~(unsigned)T_NULL; break;
    case JSON_TRUE: c->types &= ~(unsigned)T_TRUE; break;
    case JSON_FALSE: c->types &= ~(unsigned)T_FALSE; break;
    case JSON_STRING: break; /* see forbid_strings */
    case JSON_INTEGER:
    case JSON_REAL: PREPEND(s, c->none_of, .value = v); break;
    default: require_one(s, c, schema_of_value(s, v), true); break;
    }
}

/* The strings of a value, or of an array of values, are none of them allowed. */
static void forbid_strings(struct schema *s, struct conj *c, const json_t *v)
{
    struct denied *known = s->denied;
    while (known && known->value != v) known = known->next;
    if (!known) {
        size_t n = json_is_array(v) ? json_array_size(v) : 1, k = 0;
        const char **text = build_alloc(s->b, n + 1, sizeof *text);
        size_t *len = build_alloc(s->b, n + 1, sizeof *len);
        for (size_t i = 0; i < n; i++) {
            const json_t *x = json_is_array(v) ? json_array_get(v, i) : v;
            if (!json_is_string(x)) continue;
            text[k] = json_string_value(x);
            len[k++] = json_string_length(x);
        }
        known = build_alloc(s->b, 1, sizeof *known);
        *known = (struct denied){v, k ? lang_texts(s->b, text, len, k, false) : NULL, s->denied};
        s->denied = known;
    }
    if (known->dfa) PREPEND(s, c->langs, .dfa = known->dfa, .negative = true);
}

static void assert_enum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_array(v)) schema_invalid(s, j, "enum is not an array");
    allow_values(s, c, v);
}
static void deny_enum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_array(v)) schema_invalid(s, j, "enum is not an array");
    for (size_t i = 0; i < json_array_size(v); i++) forbid_value(s, c, json_array_get(v, i));
    if (c->types & T_STRING) forbid_strings(s, c, v);
}
static void assert_const(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    json_t *one = schema_own(s, json_array());
    json_array_append(one, (json_t *)v);
    allow_values(s, c, one);
}
static void deny_const(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    forbid_value(s, c, v);
    if (json_is_string(v) && c->types & T_STRING) forbid_strings(s, c, v);
}

/* Numbers */

static struct decimal number_of(struct schema *s, const json_t *j, const json_t *v)
{
    struct decimal d;
    if (!json_is_number(v)) schema_invalid(s, j, "a bound is not a number");
    if (!decimal_of(&d, v)) schema_unsupported(s, j, "a bound of more than 38 digits");
    return d;
}

static void low(struct conj *c, struct decimal d, bool open)
{
    int order = c->num.lo.set ? decimal_cmp(&d, &c->num.lo.at) : 1;
    if (order > 0) c->num.lo = (struct num_bound){true, open, d};
    if (order == 0) c->num.lo.open |= open;
}
static void high(struct conj *c, struct decimal d, bool open)
{
    int order = c->num.hi.set ? decimal_cmp(&d, &c->num.hi.at) : -1;
    if (order < 0) c->num.hi = (struct num_bound){true, open, d};
    if (order == 0) c->num.hi.open |= open;
}

static bool is_open(const json_t *j, const char *flag) /* draft 4: exclusiveMinimum beside minimum */
{
    return json_is_true(json_object_get(j, flag));
}
static void assert_minimum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    low(c, number_of(s, j, v), is_open(j, "exclusiveMinimum"));
}
static void deny_minimum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->types &= T_NUMBER;
    high(c, number_of(s, j, v), !is_open(j, "exclusiveMinimum"));
}
static void assert_maximum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    high(c, number_of(s, j, v), is_open(j, "exclusiveMaximum"));
}
static void deny_maximum(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->types &= T_NUMBER;
    low(c, number_of(s, j, v), !is_open(j, "exclusiveMaximum"));
}
static void assert_above(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_boolean(v)) low(c, number_of(s, j, v), true);
}
static void deny_above(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->types &= json_is_boolean(v) ? 0 : T_NUMBER;
    if (!json_is_boolean(v)) high(c, number_of(s, j, v), false);
}
static void assert_below(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_boolean(v)) high(c, number_of(s, j, v), true);
}
static void deny_below(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->types &= json_is_boolean(v) ? 0 : T_NUMBER;
    if (!json_is_boolean(v)) low(c, number_of(s, j, v), false);
}

static void add_multiple(struct schema *s, struct conj *c, const json_t *j, const json_t *v, bool negative)
{
    struct decimal d = number_of(s, j, v);
    if (!d.digit[0] || d.negative) schema_invalid(s, j, "multipleOf is not above 0");
    if (c->num.n_multiple == NUM_MAX_MULTIPLES) {
        schema_unsupported(s, j, "more than four multipleOf of one number");
        return;
    }
    c->num.not_multiple[c->num.n_multiple] = negative;
    c->num.multiple[c->num.n_multiple++] = d;
}
static void assert_multiple(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    add_multiple(s, c, j, v, false);
}
static void deny_multiple(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->types &= T_NUMBER;
    add_multiple(s, c, j, v, true);
}

/* Strings */

static void assert_min_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->len_min = MAX(c->len_min, count_of(s, j, v, "minLength"));
}
static void deny_min_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "minLength");
    c->types &= n ? T_STRING : 0;
    c->len_max = MIN(c->len_max, n - 1);
}
static void assert_max_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->len_max = MIN(c->len_max, count_of(s, j, v, "maxLength"));
}
static void deny_max_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "maxLength");
    c->types &= n < INT64_MAX ? T_STRING : 0;
    c->len_min = MAX(c->len_min, n < INT64_MAX ? n + 1 : n);
}
static void assert_pattern(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_string(v)) schema_invalid(s, j, "pattern is not a string");
    s->b->at = j;
    c->langs = lang_pattern(s->b, json_string_value(v), json_string_length(v), "pattern", c->langs);
}
static void deny_pattern(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (!json_is_string(v)) schema_invalid(s, j, "pattern is not a string");
    s->b->at = j;
    c->types &= T_STRING;
    const struct lang *l = lang_pattern(s->b, json_string_value(v), json_string_length(v), "pattern", NULL);
    PREPEND(s, c->langs, .dfa = lang_all(s->b, l), .negative = true);
}
static void assert_format(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    bool known;
    s->b->at = j;
    if (json_is_string(v)) c->langs = lang_format(s->b, json_string_value(v), "format", c->langs, &known);
    if (json_is_string(v) && strcmp(json_string_value(v), "hostname") == 0) c->len_max = MIN(c->len_max, 253);
}
static void deny_format(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    bool known = false;
    const struct lang *l = NULL;
    s->b->at = j;
    if (json_is_string(v)) l = lang_format(s->b, json_string_value(v), "format", NULL, &known);
    c->types &= known ? T_STRING : 0;
    if (known) PREPEND(s, c->langs, .dfa = lang_all(s->b, l), .negative = true);
}

/* Arrays */

static void assert_min_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->items_min = MAX(c->items_min, count_of(s, j, v, "minItems"));
}
static void deny_min_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "minItems");
    c->types &= n ? T_ARRAY : 0;
    c->items_max = MIN(c->items_max, n - 1);
}
static void assert_max_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->items_max = MIN(c->items_max, count_of(s, j, v, "maxItems"));
}
static void deny_max_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "maxItems");
    c->types &= n < INT64_MAX ? T_ARRAY : 0;
    c->items_min = MAX(c->items_min, n < INT64_MAX ? n + 1 : n);
}

/* prefixItems and items of 2020-12, or items and additionalItems of the drafts before. */
static const json_t *prefix_of(const json_t *j)
{
    const json_t *prefix = json_object_get(j, "prefixItems"), *items = json_object_get(j, "items");
    return json_is_array(prefix) ? prefix : json_is_array(items) ? items : NULL;
}
static const json_t *rest_of(const json_t *j)
{
    const json_t *items = json_object_get(j, "items");
    return json_is_array(items) ? json_object_get(j, "additionalItems") : items;
}

static void assert_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *rest = rest_of(j);
    if (rest && !json_is_object(rest) && !json_is_boolean(rest))
        schema_invalid(s, j, "items is not a schema");
    PREPEND(s, c->arrays, .prefix = prefix_of(j), .rest = rest);
}

static void deny_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = new_choice(s, c);
    const json_t *prefix = prefix_of(j), *rest = rest_of(j);
    size_t n = json_array_size(prefix);
    c->types &= T_ARRAY;
    for (size_t i = 0; i < n; i++) { /* item i exists and is not as it should be */
        json_t *items = json_array();
        for (size_t k = 0; k < i; k++) json_array_append_new(items, json_true());
        json_array_append_new(items, json_pack("{s:O}", "not", json_array_get(prefix, i)));
        branch_add(s, new_branch(s, x),
                   schema_own(s, json_pack("{s:o,s:I}", "prefixItems", items, "minItems", (json_int_t)i + 1)),
                   false);
    }
    if (rest) { /* or some later item is not */
        json_t *later = json_pack("{s:{s:O},s:I}", "contains", "not", rest, "\001from", (json_int_t)n);
        branch_add(s, new_branch(s, x), schema_own(s, later), false);
    }
}

static void assert_contains(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *min = json_object_get(j, "minContains"), *max = json_object_get(j, "maxContains");
    int64_t lo = min ? count_of(s, j, min, "minContains") : 1,
            hi = max ? count_of(s, j, max, "maxContains") : INT64_MAX;
    if (lo == 0 && hi == INT64_MAX) return;
    if (lo > hi) c->types &= ~(unsigned)T_ARRAY;
    PREPEND(s, c->items, .schema = v, .min = lo, .max = hi,
            .from = (size_t)json_integer_value(json_object_get(j, "\001from")));
}

static void deny_contains(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *min = json_object_get(j, "minContains"), *max = json_object_get(j, "maxContains");
    int64_t lo = min ? count_of(s, j, min, "minContains") : 1,
            hi = max ? count_of(s, j, max, "maxContains") : INT64_MAX;
    struct choice *x = new_choice(s, c);
    c->types &= T_ARRAY;
    if (json_object_get(j, "\001from")) schema_unsupported(s, j, "a denial of this depth");
    if (lo > 0) {
        json_t *few = lo == 1 ? json_pack("{s:{s:O}}", "items", "not", v)
                              : json_pack("{s:O,s:i,s:I}", "contains", v, "minContains", 0, "maxContains",
                                          (json_int_t)lo - 1);
        branch_add(s, new_branch(s, x), schema_own(s, few), false);
    }
    if (hi < INT64_MAX)
        branch_add(s, new_branch(s, x),
                   schema_own(s, json_pack("{s:O,s:I}", "contains", v, "minContains", (json_int_t)hi + 1)),
                   false);
}

static void assert_unique(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *max = json_object_get(j, "maxItems");
    if (json_is_true(v) && !(json_is_integer(max) && json_integer_value(max) <= 1)) c->unique = j;
}
static void deny_unique(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (json_is_true(v)) schema_unsupported(s, j, "a denial of uniqueItems");
    c->types = 0;
}

/* Objects */

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
    struct choice *x = new_choice(s, c);
    const char *key;
    json_t *p;
    check_members(s, j);
    c->types &= T_OBJECT;
    json_object_foreach((json_t *)v, key, p) if (!schema_is_true(p)) branch_add(
        s, new_branch(s, x),
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
    struct choice *x = new_choice(s, c);
    c->types &= T_OBJECT;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (name)
            branch_add(s, new_branch(s, x), schema_own(s, json_pack("{s:{s:b}}", "properties", name, 0)),
                       false);
    }
}

static void assert_names(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    /* The schema of names, as a conjunction on strings. */
    if (json_is_boolean(v)) {
        if (json_is_false(v)) c->members_max = 0;
        return;
    }
    struct conj names = {.types = T_ALL, .len_max = INT64_MAX};
    const char *key;
    json_t *x;
    for (int hops = 0; json_object_get(v, "$ref") && hops < 8; hops++)
        v = schema_resolve(s, v, json_string_value(json_object_get(v, "$ref")));
    json_object_foreach((json_t *)v, key, x)
    {
        if (strcmp(key, "type") == 0) assert_type(s, &names, v, x);
        if (strcmp(key, "pattern") == 0) assert_pattern(s, &names, v, x);
        if (strcmp(key, "format") == 0) assert_format(s, &names, v, x);
        if (strcmp(key, "enum") == 0) assert_enum(s, &names, v, x);
        if (strcmp(key, "const") == 0) assert_const(s, &names, v, x);
        if (strcmp(key, "minLength") == 0) assert_min_length(s, &names, v, x);
        if (strcmp(key, "maxLength") == 0) assert_max_length(s, &names, v, x);
        static const char *const refused[] = {"anyOf", "allOf", "oneOf", "not", "if", "$dynamicRef"};
        for (size_t i = 0; i < COUNT_OF(refused); i++)
            if (strcmp(key, refused[i]) == 0) schema_unsupported(s, j, "propertyNames with this keyword");
    }
    if (!(names.types & T_STRING)) {
        c->members_max = 0;
        return;
    }
    if (names.one_of) {
        size_t n = json_array_size(names.one_of), k = 0;
        const char **text = build_alloc(s->b, n + 1, sizeof *text);
        size_t *len = build_alloc(s->b, n + 1, sizeof *len);
        for (size_t i = 0; i < n; i++) {
            const json_t *name = json_array_get(names.one_of, i);
            if (!json_is_string(name)) continue;
            text[k] = json_string_value(name);
            len[k++] = json_string_length(name);
        }
        PREPEND(s, names.langs, .dfa = lang_texts(s->b, text, len, k, false));
    }
    if (names.len_min || names.len_max != INT64_MAX) {
        char regex[64];
        if (names.len_min > 2000 || (names.len_max != INT64_MAX && names.len_max > 2000))
            schema_unsupported(s, j, "propertyNames with lengths over 2000");
        if (names.len_max == INT64_MAX)
            snprintf(regex, sizeof regex, "^[^]{%lld,}$", (long long)names.len_min);
        else
            snprintf(regex, sizeof regex, "^[^]{%lld,%lld}$", (long long)names.len_min,
                     (long long)names.len_max);
        names.langs = lang_pattern(s->b, regex, strlen(regex), "propertyNames", names.langs);
    }
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
    c->members_min = MAX(c->members_min, count_of(s, j, v, "minProperties"));
}
static void deny_min_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "minProperties");
    c->types &= n ? T_OBJECT : 0;
    c->members_max = MIN(c->members_max, n - 1);
}
static void assert_max_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->members_max = MIN(c->members_max, count_of(s, j, v, "maxProperties"));
}
static void deny_max_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = count_of(s, j, v, "maxProperties");
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
        struct choice *x = new_choice(s, c);
        branch_add(s, new_branch(s, x), schema_own(s, json_pack("{s:{s:b}}", "properties", key, 0)), false);
        struct branch *present = new_branch(s, x);
        branch_add(s, present, schema_own(s, json_pack("{s:[s],s:s}", "required", key, "type", "object")),
                   false);
        branch_add(s, present, d, false);
    }
}
static void deny_dependent(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = new_choice(s, c);
    const char *key;
    json_t *d;
    c->types &= T_OBJECT;
    json_object_foreach((json_t *)v, key, d)
    {
        struct branch *b = new_branch(s, x);
        branch_add(s, b, schema_own(s, json_pack("{s:[s]}", "required", key)), false);
        branch_add(s, b, json_is_array(d) ? schema_own(s, json_pack("{s:O}", "required", d)) : d, true);
    }
}

/* Boolean combinations */

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
    struct choice *x = new_choice(s, c);
    for (size_t i = json_array_size(v); i-- > 0;)
        branch_add(s, new_branch(s, x), json_array_get(v, i), negative);
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
    struct choice *x = new_choice(s, c);
    size_t n = json_array_size(v);
    check_list(s, j, v);
    if (n > MAX_ONE_OF) build_fail(s->b, ERR_LIMIT, "oneOf of more than %d schemas", MAX_ONE_OF);
    for (size_t i = n; i-- > 0;) {
        const json_t *a = json_array_get(v, i);
        struct branch *b = new_branch(s, x);
        for (size_t k = n; k-- > 0;)
            if (k != i && !schema_disjoint(s, a, json_array_get(v, k), 0))
                deny_other(s, b, a, json_array_get(v, k));
        branch_add(s, b, a, false);
    }
}
static void deny_one_of(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = new_choice(s, c);
    struct branch *none = new_branch(s, x);
    size_t n = json_array_size(v);
    check_list(s, j, v);
    if (n > 30) schema_unsupported(s, j, "a denial of oneOf with more than 30 schemas");
    for (size_t i = 0; i < n; i++) {
        branch_add(s, none, json_array_get(v, i), true);
        for (size_t k = i + 1; k < n; k++) {
            struct branch *two = new_branch(s, x);
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
    x = new_choice(s, c);
    if (then || !negative) {
        struct branch *yes = new_branch(s, x);
        if (then) branch_add(s, yes, then, negative);
        branch_add(s, yes, v, false);
    }
    if (otherwise || !negative) {
        struct branch *no = new_branch(s, x);
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

static const struct keyword ref_keyword = {"$ref", assert_ref, deny_ref};

/* One row for each keyword that asserts something. All others are annotations and ignored, as the standard
 * says. Where several belong together, the first row present speaks for them (see first_of_group). */
static const struct keyword keywords[] = {
    {"type", assert_type, deny_type},
    {"enum", assert_enum, deny_enum},
    {"const", assert_const, deny_const},
    {"minimum", assert_minimum, deny_minimum},
    {"maximum", assert_maximum, deny_maximum},
    {"exclusiveMinimum", assert_above, deny_above},
    {"exclusiveMaximum", assert_below, deny_below},
    {"multipleOf", assert_multiple, deny_multiple},
    {"minLength", assert_min_length, deny_min_length},
    {"maxLength", assert_max_length, deny_max_length},
    {"pattern", assert_pattern, deny_pattern},
    {"format", assert_format, deny_format},
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
    {"prefixItems", assert_items, deny_items},
    {"items", assert_items, deny_items},
    {"minItems", assert_min_items, deny_min_items},
    {"maxItems", assert_max_items, deny_max_items},
    {"contains", assert_contains, deny_contains},
    {"uniqueItems", assert_unique, deny_unique},
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

/* Rows are tried in order of the table, so types come first and cut most choices short. */
static bool has_rows(const json_t *j)
{
    if (json_object_get(j, "$ref")) return true;
    for (size_t i = 0; i < COUNT_OF(keywords); i++)
        if (json_object_get(j, keywords[i].name)) return true;
    return false;
}

bool schema_is_true(const json_t *j)
{
    return json_is_true(j) || (json_is_object(j) && !has_rows(j));
}

/* The row for asserting members or items is run once, for whichever of its keywords comes first. */
static bool spoken_for(const json_t *j, size_t i, bool negative)
{
    static const char *const groups[][3] = {{"properties", "patternProperties", "additionalProperties"},
                                            {"prefixItems", "items", NULL}};
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        if (negative && g == 0) continue; /* denied one by one */
        for (size_t k = 1; k < 3 && groups[g][k]; k++)
            if (strcmp(keywords[i].name, groups[g][k]) == 0)
                for (size_t before = 0; before < k; before++)
                    if (json_object_get(j, groups[g][before])) return true;
    }
    return false;
}

static void apply_whole(struct schema *s, struct conj *c, const json_t *j, bool negative)
{
    const json_t *ref = json_object_get(j, "$ref");
    bool only_ref = ref && s->ref_alone;
    struct choice *x = negative ? new_choice(s, c) : NULL;
    build_work(s->b, 20);
    for (size_t i = 0; i <= COUNT_OF(keywords); i++) {
        const struct keyword *k = i < COUNT_OF(keywords) ? &keywords[i] : &ref_keyword;
        const json_t *v = json_object_get(j, k->name);
        if (!v || (only_ref && k != &ref_keyword)) continue;
        if (k != &ref_keyword && spoken_for(j, i, negative)) continue;
        if (negative) {
            struct branch *b = new_branch(s, x);
            PREPEND(s, b->lits, .lit = {.schema = j, .keyword = k, .negative = true});
        } else {
            k->assert_(s, c, j, v);
        }
    }
}

/* Whether lit was applied before in this conjunction; remembers it. */
static bool applied(struct schema *s, struct conj *c, const struct lit *lit)
{
    for (const struct lits *l = c->applied; l; l = l->next)
        if (l->lit.schema == lit->schema && l->lit.negative == lit->negative &&
            l->lit.keyword == lit->keyword)
            return true;
    PREPEND(s, c->applied, .lit = *lit);
    return false;
}

static void apply(struct schema *s, struct conj *c, const struct lit *lit)
{
    const json_t *j = lit->schema;
    if (applied(s, c, lit)) return;
    if (lit->keyword) {
        lit->keyword->deny(s, c, j, json_object_get(j, lit->keyword->name));
    } else if (json_is_boolean(j)) {
        if (json_is_true(j) == lit->negative) c->types = 0;
    } else if (json_is_object(j)) {
        apply_whole(s, c, j, lit->negative);
    } else {
        schema_invalid(s, j, "a schema is neither an object nor a boolean");
    }
}

static void apply_all(struct schema *s, struct conj *c, const struct lits *lits)
{
    build_work(s->b, 10);
    for (; c->types && lits; lits = lits->next) apply(s, c, &lits->lit);
}

/* Whether b says no more of values of its one type than a does. */
static bool adds_nothing(const struct conj *a, const struct conj *b)
{
    if (a->one_of != b->one_of || a->choices != b->choices || a->types != b->types) return false;
    switch (b->types) {
    case T_NUMBER: return memcmp(&a->num, &b->num, sizeof a->num) == 0 && a->none_of == b->none_of;
    case T_STRING: return a->langs == b->langs && a->len_min == b->len_min && a->len_max == b->len_max;
    case T_ARRAY:
        return a->arrays == b->arrays && a->items == b->items && a->items_min == b->items_min &&
               a->items_max == b->items_max && a->unique == b->unique;
    case T_OBJECT:
        return a->objects == b->objects && a->required == b->required && a->dependent == b->dependent &&
               a->names == b->names && a->members == b->members && a->members_min == b->members_min &&
               a->members_max == b->members_max;
    default: return true;
    }
}

enum outcome { OPEN, SETTLED, IMPOSSIBLE };

/* Drop the branches of a choice that c rules out; a choice of which one branch holds anyway is settled. */
static enum outcome simplify(struct schema *s, const struct conj *c, struct choice *choice)
{
    const struct branch *kept = NULL;
    for (const struct branch *b = choice->first; b; b = b->next) {
        struct conj own = *c;
        own.choices = NULL;
        apply_all(s, &own, b->lits);
        if (!own.types) continue;
        own.choices = own.choices ? own.choices : c->choices;
        if (adds_nothing(c, &own)) return SETTLED;
        struct branch *copy = build_alloc(s->b, 1, sizeof *copy);
        *copy = (struct branch){b->lits, kept};
        kept = copy;
    }
    choice->first = NULL; /* back in order */
    for (; kept; kept = kept->next) {
        struct branch *copy = build_alloc(s->b, 1, sizeof *copy);
        *copy = (struct branch){kept->lits, choice->first};
        choice->first = copy;
    }
    return choice->first ? OPEN : IMPOSSIBLE;
}

/* Apply what is no choice, drop what is settled, until nothing changes. false: no value is left. */
static bool propagate(struct schema *s, struct conj *c, bool one_type)
{
    for (bool more = true; more;) {
        const struct choice *all = c->choices, *open = NULL;
        more = false;
        c->choices = NULL;
        for (; all; all = all->next) {
            struct choice *x = build_alloc(s->b, 1, sizeof *x);
            enum outcome o = all->first ? OPEN : IMPOSSIBLE;
            x->first = all->first;
            if (one_type && x->first && x->first->next) o = simplify(s, c, x);
            if (o == IMPOSSIBLE) return false;
            if (o == SETTLED) continue;
            if (!x->first->next) {
                more = true;
                apply_all(s, c, x->first->lits);
                if (!c->types) return false;
                continue;
            }
            x->next = open;
            open = x;
        }
        for (; open; open = open->next) {
            struct choice *x = build_alloc(s->b, 1, sizeof *x);
            *x = (struct choice){open->first, c->choices};
            c->choices = x;
        }
    }
    return true;
}

/* The choice of the fewest branches, taken out of c. */
static const struct branch *take_smallest(struct schema *s, struct conj *c)
{
    const struct choice *best = NULL, *rest = NULL;
    size_t best_n = SIZE_MAX;
    for (const struct choice *x = c->choices; x; x = x->next) {
        size_t n = 0;
        for (const struct branch *b = x->first; b; b = b->next) n++;
        if (n < best_n) {
            best_n = n;
            best = x;
        }
    }
    for (const struct choice *x = c->choices; x; x = x->next) {
        if (x == best) continue;
        struct choice *copy = build_alloc(s->b, 1, sizeof *copy);
        *copy = (struct choice){x->first, rest};
        rest = copy;
    }
    c->choices = rest;
    return best->first;
}

/* Multiply the choices of c out, one type at a time: most of what is denied of other types then falls away.
 */
static void settle(struct schema *s, struct schema_node *n, struct conj c)
{
    bool one_type = (c.types & (c.types - 1)) == 0;
    if (!c.types || !propagate(s, &c, one_type)) return;
    if (!c.choices) {
        if (n->node.n_alt > MAX_ALTERNATIVES)
            build_fail(s->b, ERR_LIMIT, "too complex: more than %d alternatives in one place",
                       MAX_ALTERNATIVES);
        schema_emit(s, n, &c);
        return;
    }
    if (c.types & (c.types - 1)) {
        for (unsigned type = 1; type < T_ALL; type <<= 1) {
            struct conj own = c;
            own.types &= type;
            settle(s, n, own);
        }
        return;
    }
    for (const struct branch *b = take_smallest(s, &c); b; b = b->next) {
        struct conj own = c;
        apply_all(s, &own, b->lits);
        settle(s, n, own);
    }
}

void schema_expand(struct schema *s, struct schema_node *n)
{
    struct conj c = {.types = T_ALL, .len_max = INT64_MAX, .items_max = INT64_MAX, .members_max = INT64_MAX};
    for (size_t i = 0; i < n->n_atom && c.types; i++)
        apply(s, &c, &(struct lit){.schema = n->atom[i].schema, .negative = n->atom[i].negative});
    settle(s, n, c);
    if (n->n_text) {
        struct shape *shape = build_alloc(s->b, 1, sizeof *shape);
        *shape = (struct shape){.kind = SHAPE_TERM, .dfa = dfa_texts(s->b, n->text, n->n_text)};
        schema_add_alt(s, n, (struct alt){.shape = shape});
    }
}
