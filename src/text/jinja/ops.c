/* Operators, with Python's rules for what they take. */
#include <math.h>
#include <string.h>

#include "text/jinja/eval.h"
#include "text/jinja/format.h"

static const char *const symbol[] = {
    [JJ_OP_ADD] = "+",       [JJ_OP_SUB] = "-", [JJ_OP_MUL] = "*",           [JJ_OP_DIV] = "/",
    [JJ_OP_FLOORDIV] = "//", [JJ_OP_MOD] = "%", [JJ_OP_POW] = "** or pow()", [JJ_OP_LT] = "<",
    [JJ_OP_LE] = "<=",       [JJ_OP_GT] = ">",  [JJ_OP_GE] = ">=",
};

static _Noreturn void unsupported(struct jj *r, enum jj_op op, struct jj_value a, struct jj_value b)
{
    if (a.type == JJ_UNDEF) jj_fail_undef(r, a);
    if (b.type == JJ_UNDEF) jj_fail_undef(r, b);
    if (op == JJ_OP_ADD && (a.type == JJ_STR || a.type == JJ_LIST || a.type == JJ_TUPLE))
        jj_fail(r, "can only concatenate %s (not \"%s\") to %s", jj_type_name(a), jj_type_name(b),
                jj_type_name(a));
    jj_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", symbol[op], jj_type_name(a),
            jj_type_name(b));
}

static _Noreturn void too_large(struct jj *r, enum jj_op op)
{
    jj_fail(r, "the result of %s does not fit 64 bits", symbol[op]);
}

/* --- integers --- */

static struct jj_value int_pow(struct jj *r, int64_t base, int64_t exp)
{
    int64_t v = 1;
    if (exp < 0 && base == 0) jj_fail(r, "0.0 cannot be raised to a negative power");
    if (exp < 0) return jj_float(pow((double)base, (double)exp));
    if (base == 1 || exp == 0) return jj_int(1);
    if (base == -1) return jj_int(exp % 2 ? -1 : 1);
    if (base == 0) return jj_int(0);
    for (; exp > 0; exp--)
        if (__builtin_mul_overflow(v, base, &v)) too_large(r, JJ_OP_POW);
    return jj_int(v);
}

/* Rounding toward minus infinity, and a remainder with the divisor's sign. */
static struct jj_value int_divide(struct jj *r, enum jj_op op, int64_t a, int64_t b)
{
    if (b == 0) jj_fail(r, op == JJ_OP_MOD ? "integer modulo by zero" : "integer division or modulo by zero");
    if (b == -1) {
        if (op == JJ_OP_MOD) return jj_int(0);
        if (a == INT64_MIN) too_large(r, op);
        return jj_int(-a);
    }
    int64_t q = a / b, m = a % b;
    if (m && (m < 0) != (b < 0)) {
        q--;
        m += b;
    }
    return jj_int(op == JJ_OP_MOD ? m : q);
}

static struct jj_value int_op(struct jj *r, enum jj_op op, int64_t a, int64_t b)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case JJ_OP_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case JJ_OP_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case JJ_OP_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case JJ_OP_DIV:
        if (b == 0) jj_fail(r, "division by zero");
        return jj_float((double)a / (double)b);
    case JJ_OP_POW: return int_pow(r, a, b);
    default: return int_divide(r, op, a, b);
    }
    if (over) too_large(r, op);
    return jj_int(v);
}

/* --- floats --- */

static struct jj_value float_divide(struct jj *r, enum jj_op op, double a, double b)
{
    if (b == 0) jj_fail(r, op == JJ_OP_MOD ? "float modulo" : "float floor division by zero");
    double m = fmod(a, b), q = (a - m) / b;
    if (m != 0 && (m < 0) != (b < 0)) {
        m += b;
        q -= 1;
    }
    if (m == 0) m = copysign(0.0, b);
    if (op == JJ_OP_MOD) return jj_float(m);
    if (q == 0) return jj_float(copysign(0.0, a / b));
    double whole = floor(q);
    return jj_float(q - whole > 0.5 ? whole + 1 : whole);
}

static struct jj_value float_op(struct jj *r, enum jj_op op, double a, double b)
{
    switch (op) {
    case JJ_OP_ADD: return jj_float(a + b);
    case JJ_OP_SUB: return jj_float(a - b);
    case JJ_OP_MUL: return jj_float(a * b);
    case JJ_OP_DIV:
        if (b == 0) jj_fail(r, "float division by zero");
        return jj_float(a / b);
    case JJ_OP_POW:
        if (a == 0 && b < 0) jj_fail(r, "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
            jj_fail(r, "complex numbers are not supported");
        double v = pow(a, b);
        if (isinf(v) && isfinite(a) && isfinite(b)) jj_fail(r, "(34, 'Numerical result out of range')");
        return jj_float(v);
    default: return float_divide(r, op, a, b);
    }
}

/* --- sequences --- */

static struct jj_value add_text(struct jj *r, struct jj_value a, struct jj_value b)
{
    uint8_t safe = (a.flags | b.flags) & JJ_SAFE;
    if (!safe) { /* the usual case, without a detour over the output */
        if (b.n == 0) return a;
        if (a.n == 0) return b;
        size_t n = (size_t)a.n + b.n;
        char *to = jj_alloc_text(&r->arena, n);
        memcpy(to, a.s, a.n);
        memcpy(to + a.n, b.s, b.n);
        jj_charge_bytes(r, n);
        return jj_str(to, n);
    }
    size_t begin = jj_text_begin(r);
    jj_write_escaped(r, a);
    jj_write_escaped(r, b);
    struct jj_value v = jj_text_end(r, begin);
    v.flags |= safe;
    return v;
}

static struct jj_value add_lists(struct jj *r, struct jj_value a, struct jj_value b)
{
    struct jj_value v = jj_list_new(r, a.list->n + b.list->n);
    jj_charge(r, (a.list->n + b.list->n) / 8);
    for (size_t i = 0; i < a.list->n; i++) jj_list_add(r, v.list, a.list->item[i]);
    for (size_t i = 0; i < b.list->n; i++) jj_list_add(r, v.list, b.list->item[i]);
    v.type = a.type;
    return v;
}

static struct jj_value repeat_text(struct jj *r, struct jj_value a, size_t n)
{
    size_t total, have = a.n;
    if (a.n == 0 || n == 0) return jj_sub(a, 0, 0);
    if (!checked_mul((size_t)a.n, n, &total)) total = SIZE_MAX; /* refused as too large */
    char *to = jj_alloc_text(&r->arena, total);
    jj_charge_bytes(r, total);
    memcpy(to, a.s, a.n);
    for (; have < total; have += MIN(have, total - have)) memcpy(to + have, to, MIN(have, total - have));
    struct jj_value v = jj_str(to, total);
    v.flags |= a.flags & JJ_SAFE;
    return v;
}

static struct jj_value repeat(struct jj *r, struct jj_value a, int64_t times)
{
    size_t n = times < 0 ? 0 : (size_t)times, total;
    if (a.type == JJ_STR) return repeat_text(r, a, n);
    if (!checked_mul(a.list->n, n, &total)) total = SIZE_MAX;
    struct jj_value v = jj_list_new(r, total);
    jj_charge(r, total / 8);
    for (size_t i = 0; i < total; i++) v.list->item[i] = a.list->item[i % a.list->n];
    v.list->n = total;
    v.type = a.type;
    return v;
}

static bool is_sequence(struct jj_value v)
{
    return v.type == JJ_STR || v.type == JJ_LIST || v.type == JJ_TUPLE;
}

struct jj_value jj_binary(struct jj *r, enum jj_op op, struct jj_value a, struct jj_value b)
{
    if (jj_is_integer(a) && jj_is_integer(b)) return int_op(r, op, jj_as_int(a), jj_as_int(b));
    if (jj_is_number(a) && jj_is_number(b)) return float_op(r, op, jj_as_float(a), jj_as_float(b));
    if (op == JJ_OP_ADD && a.type == JJ_STR && b.type == JJ_STR) return add_text(r, a, b);
    if (op == JJ_OP_ADD && a.type == b.type && is_sequence(a)) return add_lists(r, a, b);
    if (op == JJ_OP_MUL && is_sequence(a) && jj_is_integer(b)) return repeat(r, a, jj_as_int(b));
    if (op == JJ_OP_MUL && jj_is_integer(a) && is_sequence(b)) return repeat(r, b, jj_as_int(a));
    if (op == JJ_OP_MOD && a.type == JJ_STR) return jj_percent(r, a, b);
    unsupported(r, op, a, b);
}

struct jj_value jj_negate(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_FLOAT) return jj_float(-v.f);
    if (!jj_is_integer(v)) {
        if (v.type == JJ_UNDEF) jj_fail_undef(r, v);
        jj_fail(r, "bad operand type for unary -: '%s'", jj_type_name(v));
    }
    return int_op(r, JJ_OP_SUB, 0, jj_as_int(v));
}

struct jj_value jj_plus(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_FLOAT) return v;
    if (!jj_is_integer(v)) {
        if (v.type == JJ_UNDEF) jj_fail_undef(r, v);
        jj_fail(r, "bad operand type for unary +: '%s'", jj_type_name(v));
    }
    return jj_int(jj_as_int(v));
}

bool jj_compare(struct jj *r, enum jj_op op, struct jj_value a, struct jj_value b)
{
    int o;
    switch (op) {
    case JJ_OP_EQ: return jj_equal(r, a, b);
    case JJ_OP_NE: return !jj_equal(r, a, b);
    case JJ_OP_IN: return jj_contains(r, b, a);
    case JJ_OP_NOT_IN: return !jj_contains(r, b, a);
    default: break;
    }
    o = jj_order(r, a, b, symbol[op]);
    if (o == 2) return false;
    switch (op) {
    case JJ_OP_LT: return o < 0;
    case JJ_OP_LE: return o <= 0;
    case JJ_OP_GT: return o > 0;
    default: return o >= 0;
    }
}
