/* Constraint kind "json_schema": any draft from 4 to 2020-12. The schema language as a whole is in schema.h.
 */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

/* Sets of schemas */

static int by_address(const void *x, const void *y)
{
    const struct atom *a = x, *b = y;
    if (a->schema != b->schema) return (uintptr_t)a->schema < (uintptr_t)b->schema ? -1 : 1;
    return a->negative - b->negative;
}

struct node *schema_node_of(struct schema *s, const struct atom *atom, size_t n)
{
    struct atom *a = build_alloc(s->b, n + 1, sizeof *a);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (atom[i].negative || !schema_is_true(atom[i].schema)) {
            a[k].schema = atom[i].schema;
            a[k++].negative = atom[i].negative;
        }
    qsort(a, k, sizeof *a, by_address);
    n = 0;
    for (size_t i = 0; i < k; i++)
        if (!n || by_address(&a[i], &a[n - 1]) != 0) a[n++] = a[i];
    struct schema_node **slot = &s->slot[hash_bytes(a, n * sizeof *a) % NODE_SLOTS];
    for (struct schema_node *x = *slot; x; x = x->same_hash)
        if (x->n_atom == n && memcmp(x->atom, a, n * sizeof *a) == 0) return &x->node;
    build_work(s->b, 50);
    struct schema_node *x = build_alloc(s->b, 1, sizeof *x);
    x->atom = a;
    x->n_atom = n;
    x->same_hash = *slot;
    *slot = x;
    s->node = build_grow(s->b, s->node, s->n_node, &s->cap_node, sizeof *s->node);
    s->node[s->n_node++] = x;
    return &x->node;
}

/* Which nodes some value stands for: the least solution, from below. */

static bool bit(const uint64_t *w, uint32_t i)
{
    return w[i >> 6] >> (i & 63) & 1;
}

static bool object_possible(struct object *o)
{
    int64_t names = 0;
    uint32_t met = 0;
    o->open = false;
    for (uint32_t i = 0; i < o->n_label; i++) {
        struct label *l = &o->label[i];
        bool can = l->possible && l->node->possible;
        if (can && i < o->n_name && o->dependent && o->dependent[i])
            for (uint32_t k = 0; can && k < o->n_name; k++)
                can = !bit(o->dependent[i], k) || (o->label[k].possible && o->label[k].node->possible);
        if (can) {
            o->possible[i >> 6] |= 1ull << (i & 63);
            names += i < o->n_name;
            o->open |= l->many;
        }
        for (uint32_t k = 0; can && k < o->n_need; k++)
            if (l->wants >> k & 1 && l->met[k]->possible) met |= 1u << k;
    }
    int64_t required = 0;
    for (uint32_t w = 0; w < o->words; w++) {
        if (o->required[w] & ~o->possible[w]) return false;
        required += __builtin_popcountll(o->required[w]);
    }
    return required <= o->max && o->min <= o->max && (o->open || names >= o->min) &&
           met == (1u << o->n_need) - 1;
}

/* How many items there can be that all differ. */
static int64_t choices_possible(const struct array *a)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < a->n_choice; i++) n += a->choice[i]->possible;
    return a->n_choice ? n : INT64_MAX;
}

static bool array_possible(struct array *a)
{
    int64_t could[MAX_NEEDS] = {0}, max = a->max;
    for (int64_t i = 0; i <= a->n_prefix && i < max; i++) {
        const struct array_item *item = &a->item[i];
        bool some = false;
        for (uint32_t v = 0; v < 1u << a->n_need; v++) some |= item->variant[v] && item->variant[v]->possible;
        if (!some) max = i;
        for (uint32_t k = 0; some && k < a->n_need; k++)
            if (item->variant[1u << k] && item->variant[1u << k]->possible)
                could[k] = i == a->n_prefix ? INT64_MAX : could[k] + 1;
    }
    max = MIN(max, choices_possible(a));
    for (uint32_t k = 0; k < a->n_need; k++)
        if (could[k] < a->need_min[k] || (could[k] == INT64_MAX && max < a->need_min[k])) return false;
    return a->min <= max;
}

/* Whether from every state some class of names can be reached that has values. */
static bool always_open(const struct object *o)
{
    const struct dfa *d = o->key.dfa;
    for (uint32_t q = 1; q < d->n_state; q++) {
        bool some = !d->state[q].n_edge;
        for (uint32_t i = o->n_name; !some && i < o->n_label; i++)
            some = bit(o->possible, i) && bit(o->reach + (size_t)q * o->words, i);
        if (!some) return false;
    }
    return true;
}

static void find_possible(struct schema *s)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = s->n_node; i-- > 0;) {
            struct node *n = &s->node[i]->node;
            build_work(s->b, 1);
            for (uint32_t k = 0; !n->possible && k < n->n_alt; k++) {
                const struct alt *a = &n->alt[k];
                n->possible = a->shape || (a->object && object_possible(a->object)) ||
                              (a->array && array_possible(a->array));
                more |= n->possible;
            }
        }
    }
    for (size_t i = 0; i < s->n_node; i++)
        for (uint32_t k = 0; k < s->node[i]->node.n_alt; k++) {
            struct alt *a = &s->node[i]->node.alt[k];
            if (a->object) a->object->empty = !object_possible(a->object);
            if (a->object) a->object->free = always_open(a->object);
            if (!a->array) continue;
            a->array->empty = !array_possible(a->array);
            a->array->max = MIN(a->array->max, choices_possible(a->array));
            for (int64_t p = 0; p <= a->array->n_prefix && p < a->array->max; p++) {
                bool some = false;
                for (uint32_t v = 0; v < 1u << a->array->n_need; v++) {
                    const struct node *x = a->array->item[p].variant[v];
                    some |= x && x->possible;
                }
                if (!some) a->array->max = p;
            }
        }
}

struct schema *schema_new(struct build *b, struct grammar *g, json_t *root)
{
    struct schema *s = build_alloc(b, 1, sizeof *s);
    s->b = b;
    s->g = g;
    s->root = root;
    schema_index(s);
    return s;
}

const struct node *schema_compile(struct schema *s, const json_t *at)
{
    struct build *b = s->b;
    struct node *first = schema_node_of(s, &(struct atom){.schema = at}, 1);
    for (size_t i = 0; i < s->n_node; i++) schema_expand(s, s->node[i]);
    find_possible(s);
    b->at = at;
    if (!first->possible) build_fail(b, ERR_ARG, "no value is valid under this schema");
    return first;
}

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    json_t *root = build_json(b, text, n);
    g->root = schema_compile(schema_new(b, g, root), root);
}

const struct grammar_kind grammar_json_schema = {"json_schema", compile};
