/* Keywords of all types and of numbers and strings: type, enum, const, bounds, lengths, pattern, format. */
#include <string.h>

#include "grammar/keyword.h"

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
    c->len_min = MAX(c->len_min, keyword_count(s, j, v, "minLength"));
}
static void deny_min_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "minLength");
    c->types &= n ? T_STRING : 0;
    c->len_max = MIN(c->len_max, n - 1);
}
static void assert_max_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->len_max = MIN(c->len_max, keyword_count(s, j, v, "maxLength"));
}
static void deny_max_length(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "maxLength");
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

static const struct keyword rows[] = {
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
};
const struct keyword_rows keywords_scalar = {rows, COUNT_OF(rows)};
