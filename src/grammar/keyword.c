/* See keyword.h. */
#include "grammar/keyword.h"

#include <math.h>
#include <stdio.h>

struct branch *branch_new(struct schema *s, struct choice *c)
{
    struct branch *b = build_alloc(s->b, 1, sizeof *b);
    b->next = c->first;
    c->first = b;
    build_work(s->b, 1);
    return b;
}

void branch_add(struct schema *s, struct branch *b, const json_t *schema, bool negative)
{
    PREPEND(s, b->lits, .lit = {.schema = schema, .negative = negative});
}

struct choice *choice_new(struct schema *s, struct conj *c)
{
    struct choice *x = build_alloc(s->b, 1, sizeof *x);
    x->next = c->choices;
    c->choices = x;
    return x;
}

void require_all(struct schema *s, struct conj *c, const struct lits *lits)
{
    struct choice *x = choice_new(s, c);
    branch_new(s, x)->lits = lits;
}

void require_one(struct schema *s, struct conj *c, const json_t *schema, bool negative)
{
    struct branch b = {0};
    branch_add(s, &b, schema, negative);
    require_all(s, c, b.lits);
}

int64_t keyword_count(struct schema *s, const json_t *j, const json_t *v, const char *name)
{
    char what[80];
    if (json_is_integer(v) && json_integer_value(v) >= 0) return json_integer_value(v);
    if (json_is_real(v) && json_real_value(v) >= 0 && floor(json_real_value(v)) == json_real_value(v))
        return json_real_value(v) > 9e15 ? INT64_MAX : (int64_t)json_real_value(v);
    snprintf(what, sizeof what, "%s is not a number of 0 or more", name);
    schema_invalid(s, j, what);
}
