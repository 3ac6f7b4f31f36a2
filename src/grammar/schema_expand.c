/* From the schemas of a node to conjunctions: keywords asserted and denied, choices multiplied out. */
#include <string.h>

#include "grammar/keyword.h"

enum { MAX_ALTERNATIVES = 2000 };

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

bool schema_is_own(const struct schema *s, const json_t *j)
{
    for (size_t i = json_array_size(s->b->owned); i-- > 0;)
        if (json_array_get(s->b->owned, i) == j) return true;
    return false;
}

/* In the order of the tables, so types come first and cut most choices short. Where several belong together,
 * the first row present speaks for them (see spoken_for). */
static const struct keyword_rows *const tables[] = {&keywords_scalar, &keywords_object, &keywords_array,
                                                    &keywords_logic};

static bool has_rows(const json_t *j)
{
    if (json_object_get(j, keyword_ref.name)) return true;
    for (size_t t = 0; t < COUNT_OF(tables); t++)
        for (size_t i = 0; i < tables[t]->n; i++)
            if (json_object_get(j, tables[t]->row[i].name)) return true;
    return false;
}

bool schema_is_true(const json_t *j)
{
    return json_is_true(j) || (json_is_object(j) && !has_rows(j));
}

/* The row for asserting members or items is run once, for whichever of its keywords comes first. */
static bool spoken_for(const json_t *j, const struct keyword *row, bool negative)
{
    static const char *const groups[][3] = {{"properties", "patternProperties", "additionalProperties"},
                                            {"prefixItems", "items", NULL}};
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        if (negative && g == 0) continue; /* denied one by one */
        for (size_t k = 1; k < 3 && groups[g][k]; k++)
            if (strcmp(row->name, groups[g][k]) == 0)
                for (size_t before = 0; before < k; before++)
                    if (json_object_get(j, groups[g][before])) return true;
    }
    return false;
}

static void apply_row(struct schema *s, struct conj *c, const json_t *j, const struct keyword *k,
                      struct choice *denied)
{
    const json_t *v = json_object_get(j, k->name);
    if (!v || spoken_for(j, k, denied != NULL)) return;
    if (denied) {
        struct branch *b = branch_new(s, denied);
        PREPEND(s, b->lits, .lit = {.schema = j, .keyword = k, .negative = true});
    } else {
        k->assert_(s, c, j, v);
    }
}

static void apply_whole(struct schema *s, struct conj *c, const json_t *j, bool negative)
{
    bool only_ref = s->ref_alone && json_object_get(j, keyword_ref.name);
    struct choice *denied = negative ? choice_new(s, c) : NULL;
    build_work(s->b, 20);
    for (size_t t = 0; !only_ref && t < COUNT_OF(tables); t++)
        for (size_t i = 0; i < tables[t]->n; i++) apply_row(s, c, j, &tables[t]->row[i], denied);
    apply_row(s, c, j, &keyword_ref, denied);
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
