/* Tests: x is NAME. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/text.h"

static struct jj_value test_defined(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type != JJ_UNDEF);
}
static struct jj_value test_undefined(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_UNDEF);
}
static struct jj_value test_none(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_NONE);
}
static struct jj_value test_boolean(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_BOOL);
}
static struct jj_value test_true(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_BOOL && c->self.b);
}
static struct jj_value test_false(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_BOOL && !c->self.b);
}
static struct jj_value test_integer(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_INT);
}
static struct jj_value test_float(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_FLOAT);
}
static struct jj_value test_number(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_is_number(c->self));
}
static struct jj_value test_string(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_STR);
}
static struct jj_value test_mapping(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_DICT);
}
static struct jj_value test_iterable(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_iterable(c->self));
}
/* What has a length and elements by index: Python's answer includes mappings and Undefined. */
static struct jj_value test_sequence(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_has_length(c->self) && c->self.type != JJ_VIEW && c->self.type != JJ_LOOP);
}
static struct jj_value test_callable(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_callable(c->self));
}
static struct jj_value test_escaped(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_STR && c->self.flags & JJ_SAFE);
}
static struct jj_value test_sameas(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_same(c->self, c->a[0]));
}
static struct jj_value test_filter(struct jj *r, const struct jj_call *c)
{
    const struct jj_builtin *b = c->self.type == JJ_STR ? jj_find_filter(c->self) : NULL;
    return jj_bool(b && (!b->lenient || r->lenient));
}
static struct jj_value test_test(struct jj *r, const struct jj_call *c)
{
    return jj_bool(c->self.type == JJ_STR && jj_find_test(c->self));
}

/* --- numbers --- */

static struct jj_value remainder_is(struct jj *r, struct jj_value v, struct jj_value by, int64_t want)
{
    return jj_bool(jj_equal(r, jj_binary(r, JJ_OP_MOD, v, by), jj_int(want)));
}
static struct jj_value test_odd(struct jj *r, const struct jj_call *c)
{
    return remainder_is(r, c->self, jj_int(2), 1);
}
static struct jj_value test_even(struct jj *r, const struct jj_call *c)
{
    return remainder_is(r, c->self, jj_int(2), 0);
}
static struct jj_value test_divisibleby(struct jj *r, const struct jj_call *c)
{
    return remainder_is(r, c->self, c->a[0], 0);
}

/* --- text --- */

static struct jj_value call_method(struct jj *r, struct jj_value v, const char *name)
{
    struct jj_args none = {0};
    v = jj_to_str(r, v);
    return jj_call_builtin(r, jj_find_method(v, jj_strz(name)), v, &none);
}
static struct jj_value test_lower(struct jj *r, const struct jj_call *c)
{
    return call_method(r, c->self, "islower");
}
static struct jj_value test_upper(struct jj *r, const struct jj_call *c)
{
    return call_method(r, c->self, "isupper");
}

/* --- comparisons --- */

static struct jj_value test_eq(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_equal(r, c->self, c->a[0]));
}
static struct jj_value test_ne(struct jj *r, const struct jj_call *c)
{
    return jj_bool(!jj_equal(r, c->self, c->a[0]));
}
static struct jj_value test_lt(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_compare(r, JJ_OP_LT, c->self, c->a[0]));
}
static struct jj_value test_le(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_compare(r, JJ_OP_LE, c->self, c->a[0]));
}
static struct jj_value test_gt(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_compare(r, JJ_OP_GT, c->self, c->a[0]));
}
static struct jj_value test_ge(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_compare(r, JJ_OP_GE, c->self, c->a[0]));
}
static struct jj_value test_in(struct jj *r, const struct jj_call *c)
{
    return jj_bool(jj_contains(r, c->a[0], c->self));
}

// clang-format off
const struct jj_builtin jj_tests[] = {
    {.name = "defined", .params = "", .fn = test_defined},
    {.name = "undefined", .params = "", .fn = test_undefined},
    {.name = "none", .params = "", .fn = test_none},
    {.name = "string", .params = "", .fn = test_string},
    {.name = "mapping", .params = "", .fn = test_mapping},
    {.name = "iterable", .params = "", .fn = test_iterable},
    {.name = "sequence", .params = "", .fn = test_sequence},
    {.name = "boolean", .params = "", .fn = test_boolean},
    {.name = "true", .params = "", .fn = test_true},
    {.name = "false", .params = "", .fn = test_false},
    {.name = "integer", .params = "", .fn = test_integer},
    {.name = "float", .params = "", .fn = test_float},
    {.name = "number", .params = "", .fn = test_number},
    {.name = "callable", .params = "", .fn = test_callable},
    {.name = "escaped", .params = "", .fn = test_escaped},
    {.name = "odd", .params = "", .fn = test_odd},
    {.name = "even", .params = "", .fn = test_even},
    {.name = "divisibleby", .params = "num", .n_need = 1, .fn = test_divisibleby},
    {.name = "lower", .params = "", .fn = test_lower},
    {.name = "upper", .params = "", .fn = test_upper},
    {.name = "sameas", .params = "other", .n_need = 1, .fn = test_sameas},
    {.name = "in", .params = "seq", .n_need = 1, .fn = test_in},
    {.name = "filter", .params = "", .fn = test_filter},
    {.name = "test", .params = "", .fn = test_test},
    {.name = "eq", .params = "other", .n_need = 1, .fn = test_eq}, {.name = "equalto", .params = "other", .n_need = 1, .fn = test_eq}, {.name = "==", .params = "other", .n_need = 1, .fn = test_eq},
    {.name = "ne", .params = "other", .n_need = 1, .fn = test_ne}, {.name = "!=", .params = "other", .n_need = 1, .fn = test_ne},
    {.name = "lt", .params = "other", .n_need = 1, .fn = test_lt}, {.name = "lessthan", .params = "other", .n_need = 1, .fn = test_lt}, {.name = "<", .params = "other", .n_need = 1, .fn = test_lt},
    {.name = "le", .params = "other", .n_need = 1, .fn = test_le}, {.name = "<=", .params = "other", .n_need = 1, .fn = test_le},
    {.name = "gt", .params = "other", .n_need = 1, .fn = test_gt}, {.name = "greaterthan", .params = "other", .n_need = 1, .fn = test_gt}, {.name = ">", .params = "other", .n_need = 1, .fn = test_gt},
    {.name = "ge", .params = "other", .n_need = 1, .fn = test_ge}, {.name = ">=", .params = "other", .n_need = 1, .fn = test_ge},
    {0}};
// clang-format on
