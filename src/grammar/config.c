/* Threads: an automaton's state each, on a persistent stack of frames. A configuration is the set of those
 * that text may have led to; threads that stand at the same place in equal frames are one. */
#include <stdlib.h>
#include <string.h>

#include "grammar/frame.h"

enum { MAX_FRAMES = 2000 };

static void thread_unref(const struct thread *t)
{
    frame_unref(t->frame);
    keytext_unref(t->key);
}

void config_deinit(struct config *c)
{
    for (uint32_t i = 0; i < c->n; i++) thread_unref(&c->t[i]);
    if (c->t != c->inline_t) free(c->t);
    *c = (struct config){0};
}

static bool same_key(const struct thread *a, const struct thread *b)
{
    return a->key == b->key ||
           (a->key && b->key && a->n == b->n && memcmp(a->key->data, b->key->data, (size_t)a->n) == 0);
}

static bool config_has(const struct config *c, const struct thread *t)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct thread *x = &c->t[i];
        if (x->q == t->q && x->shape == t->shape && x->n == t->n && frame_equal(x->frame, t->frame) &&
            same_key(x, t))
            return true;
    }
    return false;
}

static void config_keep(struct config *c, struct thread t)
{
    if (!c->t) {
        c->t = c->inline_t;
        c->cap = CONFIG_INLINE;
    }
    if (c->n == c->cap) {
        struct thread *more = mem_alloc(2 * (size_t)c->cap * sizeof *more);
        memcpy(more, c->t, c->n * sizeof *more);
        if (c->t != c->inline_t) free(c->t);
        c->t = more;
        c->cap *= 2;
    }
    c->t[c->n++] = t;
}

static void enter(const struct grammar *g, struct config *to, const struct node *node, struct frame *f);
static void leave(const struct grammar *g, struct config *to, const struct thread *t, uint32_t q);

/* Add a thread in state q, and those that go on where q may be left. Takes over the references of t. Threads
 * that can read nothing stay until config_settle: what follows them is looked for only once. */
static void add_thread(const struct grammar *g, struct config *to, struct thread t)
{
    const struct dfa_state *s = &t.shape->dfa->state[t.q];
    if (to->overflow || config_has(to, &t)) {
        thread_unref(&t);
        return;
    }
    if (to->n >= CONFIG_THREADS || t.frame->depth > MAX_FRAMES) {
        to->overflow = true;
        thread_unref(&t);
        return;
    }
    config_keep(to, t);
    if (s->exit >= 0 && thread_exit_allowed(&t, s->exit, NULL, 0)) leave(g, to, &t, t.q);
}

static void config_settle(struct config *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->t[i].shape->dfa->state[c->t[i].q].n_edge)
            c->t[n++] = c->t[i];
        else
            thread_unref(&c->t[i]);
    }
    c->n = n;
}

static struct thread thread_at(const struct shape *shape, struct frame *f)
{
    return (struct thread){.shape = shape, .frame = f, .q = DFA_START, .n = -1};
}

/* The value or rule above f is complete; f is borrowed. */
static void resume(const struct grammar *g, struct config *to, struct frame *f)
{
    struct thread t;
    switch (f->kind) {
    case FRAME_BOTTOM: to->done = true; return;
    case FRAME_OBJECT: t = thread_at(&g->forms->next_object, frame_ref(f)); break;
    case FRAME_ARRAY: t = thread_at(&g->forms->next_array, frame_ref(f)); break;
    default:
        t = thread_at(f->rule, frame_ref(f->up));
        t.q = f->q;
        break;
    }
    if (thread_lives(&t, t.q, t.n)) {
        add_thread(g, to, t);
    } else {
        frame_unref(t.frame);
    }
}

/* A value begins; f, borrowed, goes on after it. */
static void enter(const struct grammar *g, struct config *to, const struct node *node, struct frame *f)
{
    for (uint32_t i = 0; i < node->n_alt; i++) {
        const struct alt *a = &node->alt[i];
        if (a->object && a->object->empty) continue;
        if (a->array && a->array->empty) continue;
        if (a->object) {
            add_thread(g, to, thread_at(&g->forms->open_object, frame_begin_object(a->object, f)));
        } else if (a->array) {
            struct frame *x = frame_new(FRAME_ARRAY, f, NULL);
            x->array = a->array;
            add_thread(g, to, thread_at(&g->forms->open_array, x));
        } else {
            add_thread(g, to, thread_at(a->shape, frame_ref(f)));
        }
    }
}

/* Each of the values that has not been yet; which have is noted in hits[0]. */
static void enter_choices(const struct grammar *g, struct config *to, struct frame *f)
{
    for (uint32_t i = 0; i < f->array->n_choice; i++) {
        if (f->hits[0] >> i & 1 || !f->array->choice[i]->possible) continue;
        struct frame *next = frame_copy(f);
        next->count++;
        next->hits[0] |= (int64_t)1 << i;
        enter(g, to, f->array->choice[i], next);
        frame_unref(next);
    }
}

static void enter_items(const struct grammar *g, struct config *to, struct frame *f)
{
    const struct array *a = f->array;
    if (a->n_choice) {
        enter_choices(g, to, f);
        return;
    }
    const struct array_item *item = &a->item[MIN(f->count, (int64_t)a->n_prefix)];
    for (uint32_t v = 0; v < 1u << a->n_need; v++) {
        if (!item->variant[v] || !item->variant[v]->possible) continue;
        struct frame *next = frame_copy(f);
        bool sensible = true;
        next->count++;
        for (uint32_t i = 0; i < a->n_need; i++) {
            if (!(v >> i & 1)) continue;
            /* Without an upper bound, a need that is met is not counted any more. */
            sensible &=
                a->need_max[i] == INT64_MAX ? f->hits[i] < a->need_min[i] : f->hits[i] < a->need_max[i];
            next->hits[i]++;
        }
        if (sensible && frame_array_can_complete(next)) enter(g, to, item->variant[v], next);
        frame_unref(next);
    }
}

void config_begin(const struct grammar *g, struct config *to)
{
    struct frame *bottom = frame_new(FRAME_BOTTOM, NULL, NULL);
    if (g->rule)
        add_thread(g, to, thread_at(g->rule, frame_ref(bottom)));
    else
        enter(g, to, g->root, bottom);
    frame_unref(bottom);
    config_settle(to);
}

static void remember_key(struct frame *f, const struct thread *t)
{
    struct keys_seen *k = mem_alloc(sizeof *k);
    *k = (struct keys_seen){.refs = 1, .n = t->n, .text = t->key, .up = f->keys};
    t->key->refs++;
    f->keys = k;
}

/* The key of t is label: one thread reads the value as it is, others so that it meets a need. */
static void take_label(const struct grammar *g, struct config *to, const struct thread *t, uint32_t label)
{
    const struct object *o = t->frame->object;
    const struct label *l = &o->label[label];
    for (uint32_t need = 0; need <= o->n_need; need++) {
        bool plain = need == o->n_need;
        const struct node *value = l->node;
        if (!plain) {
            if (!(l->wants >> need & 1) || t->frame->met >> need & 1) continue;
            value = l->met[need];
        }
        if (!value->possible) continue;
        struct frame *f = frame_copy(t->frame);
        f->value = value;
        f->count++;
        if (!plain) f->met |= 1u << need;
        if (label < o->n_name) {
            set_bit(frame_seen(f), label);
            if (o->dependent && o->dependent[label])
                for (uint32_t w = 0; w < o->words; w++) frame_needed(f)[w] |= o->dependent[label][w];
            f->next = MAX(f->next, label + 1);
        } else {
            f->next = MAX(f->next, o->n_name);
            if (t->key) remember_key(f, t);
        }
        frame_set_available(f);
        if (frame_needs_can_be_met(f))
            add_thread(g, to, thread_at(&g->forms->colon, f));
        else
            frame_unref(f);
    }
}

static void call(const struct grammar *g, struct config *to, const struct rule_exit *e, struct frame *f)
{
    if (e->node)
        enter(g, to, e->node, f);
    else
        add_thread(g, to, thread_at(e->shape, frame_ref(f)));
}

static bool is_end(const struct rule_exit *e)
{
    return !e->shape && !e->node;
}

static void call_rules(const struct grammar *g, struct config *to, const struct thread *t,
                       const struct rule_exits *x)
{
    for (size_t i = 0; i < x->n; i++) {
        const struct rule_exit *e = &x->e[i];
        if (is_end(e)) {
            resume(g, to, t->frame);
            continue;
        }
        const struct dfa_state *back = &t->shape->dfa->state[e->back];
        const struct rule_exits *after = back->exit >= 0 ? &t->shape->exits[back->exit] : NULL;
        if (!back->n_edge && after && after->n == 1 && is_end(&after->e[0])) {
            call(g, to, e, t->frame); /* at the end: needs no frame */
            continue;
        }
        struct frame *f = frame_call(t->frame, t->shape, e->back);
        call(g, to, e, f);
        frame_unref(f);
    }
}

/* The threads that go on when t takes the exit of state q. */
static void leave(const struct grammar *g, struct config *to, const struct thread *t, uint32_t q)
{
    int32_t exit = t->shape->dfa->state[q].exit;
    switch (t->shape->kind) {
    case SHAPE_TERM: resume(g, to, t->frame); break;
    case SHAPE_OPEN_OBJECT:
    case SHAPE_NEXT_OBJECT:
        if (exit == SEP_MORE)
            add_thread(g, to, thread_at(&t->frame->object->key, frame_ref(t->frame)));
        else
            resume(g, to, t->frame->up);
        break;
    case SHAPE_OPEN_ARRAY:
    case SHAPE_NEXT_ARRAY:
        if (exit == SEP_MORE)
            enter_items(g, to, t->frame);
        else
            resume(g, to, t->frame->up);
        break;
    case SHAPE_COLON: enter(g, to, t->frame->value, t->frame); break;
    case SHAPE_KEY: take_label(g, to, t, (uint32_t)exit); break;
    case SHAPE_RULE: call_rules(g, to, t, &t->shape->exits[exit]); break;
    }
}

void config_exit(const struct grammar *g, struct config *to, const struct thread *t, uint32_t q)
{
    leave(g, to, t, q);
    config_settle(to);
}

bool thread_is_free(const struct thread *t)
{
    switch (t->shape->kind) {
    case SHAPE_TERM: return !t->shape->lens;
    case SHAPE_RULE:
    case SHAPE_COLON: return true;
    case SHAPE_KEY: {
        const struct object *o = t->frame->object;
        for (uint32_t i = o->n_name; i < o->n_label; i++)
            if (has_bit(o->possible, i) && !has_bit(frame_available(t->frame), i)) return false;
        return o->free;
    }
    default: return false;
    }
}

bool thread_lives(const struct thread *t, uint32_t q, int32_t n)
{
    const struct shape *s = t->shape;
    unsigned reach;
    switch (s->kind) {
    case SHAPE_TERM:
        return !s->lens || lens_live(s->lens, q, s->min - n, s->max == INT64_MAX ? INT64_MAX : s->max - n);
    case SHAPE_OPEN_OBJECT:
    case SHAPE_NEXT_OBJECT:
        reach = s->reach[q];
        return (reach >> SEP_MORE & 1 && frame_has_more_members(t->frame)) ||
               (reach >> SEP_CLOSE & 1 && frame_object_may_close(t->frame));
    case SHAPE_OPEN_ARRAY:
    case SHAPE_NEXT_ARRAY:
        reach = s->reach[q];
        return (reach >> SEP_MORE & 1 && frame_has_more_items(t->frame)) ||
               (reach >> SEP_CLOSE & 1 && frame_array_may_close(t->frame));
    case SHAPE_KEY: {
        const struct object *o = t->frame->object;
        const uint64_t *available = frame_available(t->frame);
        for (uint32_t w = 0; w < o->words; w++)
            if (o->reach[(size_t)q * o->words + w] & available[w]) return true;
        return false;
    }
    default: return true;
    }
}

/* key_tail: bytes of the key behind those that t has read, the closing mark included. */
bool thread_exit_allowed(const struct thread *t, int32_t exit, const char *key_tail, size_t n_tail)
{
    switch (t->shape->kind) {
    case SHAPE_OPEN_OBJECT:
    case SHAPE_NEXT_OBJECT:
        return exit == SEP_MORE ? frame_has_more_members(t->frame) : frame_object_may_close(t->frame);
    case SHAPE_OPEN_ARRAY:
    case SHAPE_NEXT_ARRAY:
        return exit == SEP_MORE ? frame_has_more_items(t->frame) : frame_array_may_close(t->frame);
    case SHAPE_KEY:
        if (!has_bit(frame_available(t->frame), (uint32_t)exit)) return false;
        if ((uint32_t)exit < t->frame->object->n_name) return true;
        for (const struct keys_seen *k = t->frame->keys; k; k = k->up) {
            int32_t n = t->n < 0 ? 0 : t->n, skip = t->n < 0; /* the opening mark is in the tail */
            size_t tail = n_tail ? n_tail - 1 - (size_t)skip : 0;
            if ((size_t)k->n != (size_t)n + tail ||
                (n && memcmp(k->text->data, t->key->data, (size_t)n) != 0))
                continue;
            if (!tail || memcmp(k->text->data + n, key_tail + skip, tail) == 0) return false;
        }
        return true;
    default: return true;
    }
}

bool thread_has_keys(const struct thread *t)
{
    return t->shape->kind == SHAPE_KEY && t->frame->keys;
}

/* The text of t with one byte more. A thread that is alone at its end writes in place. */
static struct keytext *key_append(struct keytext *k, int32_t n, uint8_t byte)
{
    if (k && k->used == (uint32_t)n && k->used < k->cap) {
        k->data[k->used++] = (char)byte;
        k->refs++;
        return k;
    }
    uint32_t cap = (uint32_t)MAX(24, 2 * n);
    struct keytext *fresh = mem_alloc(sizeof *fresh + cap);
    *fresh = (struct keytext){.refs = 1, .used = (uint32_t)n + 1, .cap = cap};
    if (n) memcpy(fresh->data, k->data, (size_t)n);
    fresh->data[n] = (char)byte;
    return fresh;
}

enum { MAX_KEY = 1 << 20 };

void config_step(const struct grammar *g, struct config *to, const struct config *c, uint8_t byte)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct thread *t = &c->t[i];
        struct thread next = *t;
        next.q = dfa_step(t->shape->dfa, t->q, byte);
        if (!next.q) continue;
        bool key = t->shape->kind == SHAPE_KEY && t->frame->object->n_label > t->frame->object->n_name;
        bool inside = key && t->n >= 0 && t->shape->dfa->state[next.q].exit < 0;
        if (t->shape->lens) next.n += t->shape->dfa->state[next.q].boundary;
        if (key && t->n < 0) next.n = 0;
        if (!thread_lives(t, next.q, next.n)) continue;
        if (inside && t->n >= MAX_KEY) continue;
        if (inside) {
            next.key = key_append(t->key, t->n, byte);
            next.n++;
        } else if (key && !t->key) {
            next.key = key_append(NULL, 0, 0);
            next.key->used = 0;
        } else if (next.key) {
            next.key->refs++;
        }
        frame_ref(next.frame);
        add_thread(g, to, next);
    }
    config_settle(to);
}

void config_bytes(const struct config *c, uint64_t set[4])
{
    memset(set, 0, 4 * sizeof *set);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct dfa *d = c->t[i].shape->dfa;
        const struct dfa_state *s = &d->state[c->t[i].q];
        for (unsigned k = 0; k < s->n_edge; k++)
            for (unsigned b = d->edge[s->edge + k].lo; b <= d->edge[s->edge + k].hi; b++)
                set[b >> 6] |= 1ull << (b & 63);
    }
}
