/* Objects: one automaton reads any key and says which label it is, a name or a class of names; each label has
 * the node of the value behind it. */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

enum { MAX_PATTERNS = 60, MAX_NAMES = 20000 };

struct name {
    const char *p;
    size_t n;
    uint64_t matches; /* bit by pattern */
};
struct pattern {
    const char *p;
    size_t n;
    const struct dfa *dfa;
    struct lang lang;
};
struct objects { /* one object in the making */
    struct schema *s;
    const struct conj *c;
    struct object *o;
    json_t *index; /* name to its number */
    struct name *name;
    size_t n_name, cap_name;
    struct pattern *pattern;
    size_t n_pattern, cap_pattern;
    uint64_t *class_of; /* masks of patterns that classes match */
    size_t n_class, cap_class;
};

static void add_name(struct objects *x, const char *p, size_t n)
{
    json_t *number = json_object_getn(x->index, p, n);
    if (number) return;
    if (x->n_name == MAX_NAMES) build_fail(x->s->b, ERR_LIMIT, "an object of more than %d names", MAX_NAMES);
    x->name = build_grow(x->s->b, x->name, x->n_name, &x->cap_name, sizeof *x->name);
    x->name[x->n_name] = (struct name){build_strndup(x->s->b, p, n), n, 0};
    json_object_setn_new(x->index, p, n, json_integer((json_int_t)x->n_name++));
}

static uint32_t name_number(const struct objects *x, const char *p, size_t n)
{
    return (uint32_t)json_integer_value(json_object_getn(x->index, p, n));
}

static void add_pattern(struct objects *x, const char *p, size_t n)
{
    for (size_t i = 0; i < x->n_pattern; i++)
        if (x->pattern[i].n == n && memcmp(x->pattern[i].p, p, n) == 0) return;
    if (x->n_pattern == MAX_PATTERNS)
        build_fail(x->s->b, ERR_LIMIT, "more than %d patternProperties on one object", MAX_PATTERNS);
    x->pattern = build_grow(x->s->b, x->pattern, x->n_pattern, &x->cap_pattern, sizeof *x->pattern);
    const struct dfa *d = lang_all(x->s->b, lang_pattern(x->s->b, p, n, "patternProperties", NULL));
    x->pattern[x->n_pattern++] = (struct pattern){p, n, d, {.dfa = d}};
}

static bool matches(const struct objects *x, uint64_t mask, const char *pattern)
{
    for (size_t i = 0; i < x->n_pattern; i++)
        if (strcmp(x->pattern[i].p, pattern) == 0) return mask >> i & 1;
    return false;
}

/* Names in order of definition: clauses were put one before the other, so the last of the list comes first.
 */
static void gather_names(struct objects *x, const struct object_clause *o)
{
    const char *key;
    size_t len;
    json_t *v;
    if (!o) return;
    gather_names(x, o->next);
    json_object_keylen_foreach((json_t *)o->properties, key, len, v) add_name(x, key, len);
    json_object_keylen_foreach((json_t *)o->patterns, key, len, v) add_pattern(x, key, len);
}

static void gather(struct objects *x)
{
    gather_names(x, x->c->objects);
    for (const struct name_list *r = x->c->required; r; r = r->next) add_name(x, r->name, r->n);
    for (const struct name_list *d = x->c->dependent; d; d = d->next) {
        add_name(x, d->name, d->n);
        for (size_t i = 0; i < json_array_size(d->also); i++) {
            const json_t *name = json_array_get(d->also, i);
            if (json_is_string(name)) add_name(x, json_string_value(name), json_string_length(name));
        }
    }
    for (const struct need *m = x->c->members; m; m = m->next) {
        const char *key;
        size_t len;
        json_t *v;
        json_object_keylen_foreach((json_t *)m->properties, key, len, v) add_name(x, key, len);
        json_object_keylen_foreach((json_t *)m->patterns, key, len, v) add_pattern(x, key, len);
    }
    for (size_t i = 0; i < x->n_name; i++)
        for (size_t k = 0; k < x->n_pattern; k++)
            if (lang_has(&x->pattern[k].lang, x->name[i].p, x->name[i].n)) x->name[i].matches |= 1ull << k;
}

/* What the clauses say on a member: name (NULL: one without a name of its own) whose key matches mask. */
static size_t atoms_of(const struct objects *x, const struct name *name, uint64_t mask, struct atom *a)
{
    size_t n = 0;
    for (const struct object_clause *o = x->c->objects; o; o = o->next) {
        const json_t *own = name && o->properties ? json_object_getn(o->properties, name->p, name->n) : NULL;
        const char *key;
        json_t *v;
        bool spoken = own != NULL;
        if (own) a[n++] = (struct atom){own, false};
        json_object_foreach((json_t *)o->patterns, key, v)
        {
            if (!matches(x, mask, key)) continue;
            a[n++] = (struct atom){v, false};
            spoken = true;
        }
        if (!spoken && o->additional) a[n++] = (struct atom){o->additional, false};
    }
    return n;
}

static bool is_meant(const struct objects *x, const struct need *m, const struct name *name, uint64_t mask)
{
    const char *key;
    json_t *v;
    if (m->pattern) return matches(x, mask, m->pattern);
    if (name && json_object_getn(m->properties, name->p, name->n)) return false;
    json_object_foreach((json_t *)m->patterns, key, v) if (matches(x, mask, key)) return false;
    return true;
}

static void set_label(struct objects *x, uint32_t label, const struct name *name, uint64_t mask,
                      struct atom *a)
{
    struct label *l = &x->o->label[label];
    size_t n = atoms_of(x, name, mask, a);
    uint32_t k = 0;
    l->node = schema_node_of(x->s, a, n);
    l->many = !name;
    l->met = build_alloc(x->s->b, x->o->n_need + 1, sizeof *l->met);
    for (const struct need *m = x->c->members; m; m = m->next, k++) {
        if (!is_meant(x, m, name, mask)) continue;
        if (l->wants)
            build_fail(x->s->b, ERR_UNSUPPORTED,
                       "denials that several members could meet at once cannot be enforced exactly");
        n = atoms_of(x, name, mask, a);
        a[n++] = (struct atom){m->schema, m->negative};
        l->wants |= 1ull << k;
        l->met[k] = schema_node_of(x->s, a, n);
    }
}

static void set_bit(uint64_t *w, uint32_t i)
{
    w[i >> 6] |= 1ull << (i & 63);
}

static void set_dependents(struct objects *x)
{
    struct object *o = x->o;
    if (!x->c->dependent) return;
    if (o->max != INT64_MAX)
        build_fail(x->s->b, ERR_UNSUPPORTED,
                   "dependencies together with maxProperties cannot be enforced exactly");
    o->dependent = build_alloc(x->s->b, o->n_name, sizeof *o->dependent);
    for (const struct name_list *d = x->c->dependent; d; d = d->next) {
        uint64_t **bits = &o->dependent[name_number(x, d->name, d->n)];
        if (!*bits) *bits = build_alloc(x->s->b, o->words, sizeof **bits);
        for (size_t i = 0; i < json_array_size(d->also); i++) {
            const json_t *name = json_array_get(d->also, i);
            if (json_is_string(name))
                set_bit(*bits, name_number(x, json_string_value(name), json_string_length(name)));
        }
    }
    for (bool more = true; more;) { /* what a dependent requires is required too */
        more = false;
        for (uint32_t i = 0; i < o->n_name; i++)
            for (uint32_t k = 0; o->dependent[i] && k < o->n_name; k++) {
                if (!(o->dependent[i][k >> 6] >> (k & 63) & 1) || !o->dependent[k]) continue;
                build_work(x->s->b, o->words);
                for (uint32_t w = 0; w < o->words; w++) {
                    uint64_t now = o->dependent[i][w] | o->dependent[k][w];
                    more |= now != o->dependent[i][w];
                    o->dependent[i][w] = now;
                }
            }
    }
    for (uint32_t i = 0; i < o->n_name; i++) /* and so is what a required name requires */
        if (o->dependent[i] && o->required[i >> 6] >> (i & 63) & 1)
            for (uint32_t w = 0; w < o->words; w++) o->required[w] |= o->dependent[i][w];
}

static bool additional_is_closed(const struct conj *c)
{
    for (const struct object_clause *o = c->objects; o; o = o->next)
        if (json_is_false(o->additional)) return true;
    return false;
}

/* Automata side by side: any string, the names, the patterns, the languages of propertyNames. */
static int32_t key_label(void *ctx, const uint32_t *q)
{
    struct objects *x = ctx;
    const struct dfa *names = x->o->key.dfa;
    size_t at = 2 + x->n_pattern;
    uint64_t mask = 0;
    for (const struct lang *l = x->c->names; l; l = l->next, at++) {
        bool in = q[at] && l->dfa->state[q[at]].exit >= 0;
        if (in == l->negative) return -1;
    }
    if (q[1] && names->state[q[1]].exit >= 0) return names->state[q[1]].exit;
    for (size_t i = 0; i < x->n_pattern; i++)
        if (q[2 + i] && x->pattern[i].dfa->state[q[2 + i]].exit >= 0) mask |= 1ull << i;
    if (!mask && additional_is_closed(x->c)) return -1;
    for (size_t i = 0; i < x->n_class; i++)
        if (x->class_of[i] == mask) return (int32_t)(x->n_name + i);
    x->class_of = build_grow(x->s->b, x->class_of, x->n_class, &x->cap_class, sizeof *x->class_of);
    x->class_of[x->n_class] = mask;
    return (int32_t)(x->n_name + x->n_class++);
}

static const struct dfa *key_dfa(struct objects *x)
{
    struct build *b = x->s->b;
    const char **text = build_alloc(b, x->n_name + 1, sizeof *text);
    size_t *len = build_alloc(b, x->n_name + 1, sizeof *len), n = 2;
    for (size_t i = 0; i < x->n_name; i++) {
        text[i] = x->name[i].p;
        len[i] = x->name[i].n;
    }
    const struct dfa *names = lang_texts(b, text, len, x->n_name, true);
    if (!x->n_pattern && !x->c->names && additional_is_closed(x->c)) return names;
    const struct dfa **c;
    size_t count = 2 + x->n_pattern;
    for (const struct lang *l = x->c->names; l; l = l->next) count++;
    c = build_alloc(b, count, sizeof *c);
    c[0] = lang_any(b);
    c[1] = x->o->key.dfa = names;
    for (size_t i = 0; i < x->n_pattern; i++) c[n++] = x->pattern[i].dfa;
    for (const struct lang *l = x->c->names; l; l = l->next) c[n++] = l->dfa;
    return dfa_product(b, c, n, key_label, x);
}

/* By state: the labels that can still be reached. */
static void set_reach(struct objects *x)
{
    struct object *o = x->o;
    const struct dfa *d = o->key.dfa;
    uint64_t *reach = build_alloc(x->s->b, (size_t)d->n_state * o->words, sizeof *reach);
    for (uint32_t q = 1; q < d->n_state; q++)
        if (d->state[q].exit >= 0) {
            set_bit(reach + (size_t)q * o->words, (uint32_t)d->state[q].exit);
            o->label[d->state[q].exit].possible = true;
        }
    for (bool more = true; more;) {
        more = false;
        build_work(x->s->b, (uint64_t)d->n_edge * o->words / 4);
        for (uint32_t q = d->n_state; q-- > 1;) {
            uint64_t *to = reach + (size_t)q * o->words;
            for (unsigned i = 0; i < d->state[q].n_edge; i++) {
                const uint64_t *from = reach + (size_t)d->edge[d->state[q].edge + i].to * o->words;
                for (uint32_t w = 0; w < o->words; w++) {
                    more |= (from[w] & ~to[w]) != 0;
                    to[w] |= from[w];
                }
            }
        }
    }
    o->reach = reach;
}

void schema_emit_object(struct schema *s, struct schema_node *n, const struct conj *c)
{
    struct object *o = build_alloc(s->b, 1, sizeof *o);
    struct objects x = {.s = s, .c = c, .o = o, .index = schema_own(s, json_object())};
    struct atom *atoms;
    size_t clauses = 2;
    bool plain = !c->objects && !c->required && !c->dependent && !c->names && !c->members &&
                 c->members_min <= 0 && c->members_max == INT64_MAX;
    if (c->members_min > c->members_max) return;
    if (plain && s->any_object) {
        schema_add_alt(s, n, (struct alt){.object = s->any_object});
        return;
    }
    o->min = c->members_min;
    o->max = c->members_max;
    o->ordered = s->b->o->ordered;
    for (const struct need *m = c->members; m; m = m->next) o->n_need++;
    if (o->n_need > 30 || (o->n_need && o->max != INT64_MAX))
        build_fail(s->b, ERR_UNSUPPORTED, "a denial together with maxProperties cannot be enforced exactly");
    gather(&x);
    o->key = (struct shape){.kind = SHAPE_KEY};
    struct dfa *key = dfa_quoted(s->b, key_dfa(&x));
    dfa_mark_universal(s->b, key);
    o->key.dfa = key;
    o->n_name = (uint32_t)x.n_name;
    o->n_label = (uint32_t)(x.n_name + x.n_class);
    o->words = o->n_label / 64 + 1;
    o->label = build_alloc(s->b, o->n_label + 1, sizeof *o->label);
    o->possible = build_alloc(s->b, o->words, sizeof *o->possible);
    o->required = build_alloc(s->b, o->words, sizeof *o->required);
    for (const struct object_clause *k = c->objects; k; k = k->next)
        clauses += 2 + json_object_size(k->patterns);
    atoms = build_alloc(s->b, clauses, sizeof *atoms);
    for (uint32_t i = 0; i < o->n_name; i++) set_label(&x, i, &x.name[i], x.name[i].matches, atoms);
    for (uint32_t i = o->n_name; i < o->n_label; i++)
        set_label(&x, i, NULL, x.class_of[i - o->n_name], atoms);
    for (const struct name_list *r = c->required; r; r = r->next)
        set_bit(o->required, name_number(&x, r->name, r->n));
    set_dependents(&x);
    set_reach(&x);
    if (plain) s->any_object = o;
    schema_add_alt(s, n, (struct alt){.object = o});
}
