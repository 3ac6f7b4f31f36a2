/* Alternatives of one value: literals, numbers, strings. Arrays are in schema_array.c, objects in
 * schema_object.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

enum { MAX_LENGTH = 1 << 30 };

void schema_add_alt(struct schema *s, struct schema_node *n, struct alt a)
{
    for (uint32_t i = 0; a.shape && i < n->node.n_alt; i++)
        if (n->node.alt[i].shape == a.shape) return;
    n->node.alt = build_grow(s->b, n->node.alt, n->node.n_alt, &n->cap_alt, sizeof a);
    n->node.alt[n->node.n_alt++] = a;
}

static void add_text(struct schema *s, struct schema_node *n, const char *p, size_t len)
{
    n->text = build_grow(s->b, n->text, n->n_text, &n->cap_text, sizeof *n->text);
    n->text[n->n_text++] = (struct dfa_text){build_strndup(s->b, p, len), len, 0};
}

/* A number as Python writes it: the shortest digits that read back, an exponent below 1e-4 and from 1e16. */
static void write_real(char out[64], double v)
{
    char digits[32];
    int precision = 0;
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, v);
        if (strtod(digits, NULL) == v) break;
    }
    int x = atoi(strchr(digits, 'e') + 1);
    if (x >= -4 && x < 16)
        snprintf(out, 64, "%.*f", MAX(precision - x, 1), v);
    else
        snprintf(out, 64, "%s", digits);
}

static void add_number(struct schema *s, struct schema_node *n, const json_t *v)
{
    char text[64];
    if (json_is_integer(v)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    } else {
        write_real(text, json_real_value(v));
        size_t len = strlen(text);
        if (len > 2 && strcmp(text + len - 2, ".0") == 0) add_text(s, n, text, len - 2);
    }
    add_text(s, n, text, strlen(text));
}

static void add_string(struct schema *s, struct schema_node *n, const json_t *v)
{
    struct buf text = {0};
    buf_addc(&text, '"');
    lang_escape(&text, json_string_value(v), json_string_length(v));
    buf_addc(&text, '"');
    size_t len = text.n;
    char small[256];
    if (len <= sizeof small) {
        memcpy(small, text.data, len);
        buf_deinit(&text);
        add_text(s, n, small, len);
        return;
    }
    /* A longer one goes by way of the array of owned values, which outlives a failure. */
    json_t *kept = json_stringn(text.data, len);
    buf_deinit(&text);
    schema_own(s, kept);
    add_text(s, n, json_string_value(kept), len);
}

static size_t characters(const json_t *v)
{
    const char *p = json_string_value(v);
    size_t n = 0;
    for (size_t i = 0; i < json_string_length(v); i++) n += ((uint8_t)p[i] & 0xC0) != 0x80;
    return n;
}

static bool number_forbidden(const struct conj *c, const struct decimal *d)
{
    for (const struct value_list *l = c->none_of; l; l = l->next) {
        struct decimal x;
        if (decimal_of(&x, l->value) && decimal_cmp(&x, d) == 0) return true;
    }
    return false;
}

/* Whether the scalar v meets c's other constraints. */
bool schema_has_value(struct schema *s, const struct conj *c, const json_t *v)
{
    struct decimal d;
    switch (json_typeof(v)) {
    case JSON_NULL: return c->types & T_NULL;
    case JSON_TRUE: return c->types & T_TRUE;
    case JSON_FALSE: return c->types & T_FALSE;
    case JSON_STRING:
        return c->types & T_STRING && (int64_t)characters(v) >= c->len_min &&
               (int64_t)characters(v) <= c->len_max &&
               lang_has(c->langs, json_string_value(v), json_string_length(v));
    case JSON_INTEGER:
    case JSON_REAL:
        return c->types & T_NUMBER && decimal_of(&d, v) && num_has(&c->num, &d) && !number_forbidden(c, &d);
    default: return false;
    }
}

static bool has_equal_items(const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++)
        for (size_t k = 0; k < i; k++)
            if (schema_same_value(json_array_get(v, i), json_array_get(v, k))) return true;
    return false;
}

/* An array or object among the values allowed: its schema joins the rest of c. */
static void emit_composite(struct schema *s, struct schema_node *n, const struct conj *c, const json_t *v)
{
    json_t *one = schema_own(s, json_object());
    struct conj own = *c;
    own.one_of = NULL;
    own.types &= json_is_array(v) ? T_ARRAY : T_OBJECT;
    if (!own.types || (own.unique && has_equal_items(v))) return;
    own.unique = NULL;
    if (json_is_array(v)) {
        json_t *prefix = json_array();
        for (size_t i = 0; i < json_array_size(v); i++)
            json_array_append_new(prefix, json_pack("{s:O}", "const", json_array_get(v, i)));
        json_object_set_new(one, "prefix", prefix);
        struct array_clause *a = build_alloc(s->b, 1, sizeof *a);
        *a = (struct array_clause){.prefix = prefix, .next = own.arrays};
        own.arrays = a;
        own.items_min = MAX(own.items_min, (int64_t)json_array_size(v));
        own.items_max = MIN(own.items_max, (int64_t)json_array_size(v));
    } else {
        json_t *properties = json_object(), *closed = json_false();
        const char *key;
        json_t *x;
        json_object_set_new(one, "properties", properties);
        json_object_set_new(one, "closed", closed);
        json_object_foreach((json_t *)v, key, x)
        {
            struct name_list *r = build_alloc(s->b, 1, sizeof *r);
            json_object_set_new(properties, key, json_pack("{s:O}", "const", x));
            *r = (struct name_list){
                .name = build_strndup(s->b, key, strlen(key)), .n = strlen(key), .next = own.required};
            own.required = r;
        }
        struct object_clause *o = build_alloc(s->b, 1, sizeof *o);
        *o = (struct object_clause){.properties = properties, .additional = closed, .next = own.objects};
        own.objects = o;
    }
    schema_emit(s, n, &own);
}

static void emit_values(struct schema *s, struct schema_node *n, const struct conj *c)
{
    for (size_t i = 0; i < json_array_size(c->one_of); i++) {
        const json_t *v = json_array_get(c->one_of, i);
        if (json_is_array(v) || json_is_object(v)) {
            emit_composite(s, n, c, v);
            continue;
        }
        if (!schema_has_value(s, c, v)) continue;
        switch (json_typeof(v)) {
        case JSON_NULL: add_text(s, n, "null", 4); break;
        case JSON_TRUE: add_text(s, n, "true", 4); break;
        case JSON_FALSE: add_text(s, n, "false", 5); break;
        case JSON_STRING: add_string(s, n, v); break;
        default: add_number(s, n, v); break;
        }
    }
}

static const struct shape *number_shape(struct schema *s, const struct num_spec *spec)
{
    static const struct num_spec plain = {0}, integer = {.integer = true};
    if (memcmp(spec, &plain, sizeof plain) == 0) return &builtin_get()->number;
    if (memcmp(spec, &integer, sizeof integer) == 0) return &builtin_get()->integer;
    for (struct num_shape *x = s->numbers; x; x = x->next)
        if (memcmp(&x->spec, spec, sizeof *spec) == 0) return &x->shape;
    struct num_shape *x = build_alloc(s->b, 1, sizeof *x);
    x->spec = *spec;
    x->shape = (struct shape){.kind = SHAPE_TERM, .dfa = num_dfa(s->b, spec, "number")};
    x->next = s->numbers;
    s->numbers = x;
    return &x->shape;
}

static int by_value(const void *x, const void *y)
{
    return decimal_cmp(x, y);
}

static void emit_interval(struct schema *s, struct schema_node *n, const struct num_spec *spec)
{
    if (spec->integer && spec->fraction) return;
    if (spec->lo.set && spec->hi.set) {
        int order = decimal_cmp(&spec->lo.at, &spec->hi.at);
        if (order > 0 || (order == 0 && (spec->lo.open || spec->hi.open))) return;
    }
    const struct shape *shape = number_shape(s, spec);
    if (!dfa_is_empty(shape->dfa)) schema_add_alt(s, n, (struct alt){.shape = shape});
}

/* Values that are forbidden cut the numbers into intervals. */
static void emit_numbers(struct schema *s, struct schema_node *n, const struct conj *c)
{
    struct num_spec spec = c->num;
    struct decimal *cut;
    size_t k = 0;
    for (const struct value_list *l = c->none_of; l; l = l->next) k++;
    cut = build_alloc(s->b, k + 1, sizeof *cut);
    k = 0;
    for (const struct value_list *l = c->none_of; l; l = l->next)
        if (decimal_of(&cut[k], l->value)) k++;
    qsort(cut, k, sizeof *cut, by_value);
    for (size_t i = 0; i < k; i++) {
        if (spec.lo.set && decimal_cmp(&cut[i], &spec.lo.at) < 0) continue;
        if (c->num.hi.set && decimal_cmp(&cut[i], &c->num.hi.at) > 0) break;
        spec.hi = (struct num_bound){true, true, cut[i]};
        emit_interval(s, n, &spec);
        spec.hi = c->num.hi;
        spec.lo = (struct num_bound){true, true, cut[i]};
    }
    emit_interval(s, n, &spec);
}

static void emit_strings(struct schema *s, struct schema_node *n, const struct conj *c)
{
    bool counted = c->len_min > 0 || c->len_max != INT64_MAX;
    if (c->len_min > c->len_max) return;
    if (!c->langs && !counted) {
        schema_add_alt(s, n, (struct alt){.shape = &builtin_get()->string});
        return;
    }
    if (c->len_min > MAX_LENGTH) build_fail(s->b, ERR_LIMIT, "minLength over %d", MAX_LENGTH);
    struct dfa *d = dfa_quoted(s->b, lang_all(s->b, c->langs));
    if (dfa_is_empty(d)) return;
    struct shape *shape = build_alloc(s->b, 1, sizeof *shape);
    *shape = (struct shape){.kind = SHAPE_TERM, .dfa = d, .min = c->len_min, .any = !c->langs};
    shape->max = c->len_max > MAX_LENGTH ? INT64_MAX : c->len_max;
    if (counted) {
        shape->lens = lens_new(s->b, d, shape->min, shape->max);
        if (!lens_live(shape->lens, DFA_START, shape->min + 1,
                       shape->max == INT64_MAX ? INT64_MAX : shape->max + 1))
            return;
    }
    dfa_mark_universal(s->b, d);
    schema_add_alt(s, n, (struct alt){.shape = shape});
}

void schema_emit(struct schema *s, struct schema_node *n, const struct conj *c)
{
    if (c->one_of) {
        emit_values(s, n, c);
        return;
    }
    if (c->types & T_NULL) add_text(s, n, "null", 4);
    if (c->types & T_TRUE) add_text(s, n, "true", 4);
    if (c->types & T_FALSE) add_text(s, n, "false", 5);
    if (c->types & T_NUMBER) emit_numbers(s, n, c);
    if (c->types & T_STRING) emit_strings(s, n, c);
    if (c->types & T_ARRAY) schema_emit_array(s, n, c);
    if (c->types & T_OBJECT) schema_emit_object(s, n, c);
}
