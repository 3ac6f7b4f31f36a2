/* Reading text: a set of threads, each an automaton's state and a persistent stack of frames.
 *
 * Frames never change once made; states and threads share them by counting. Threads that stand at the same
 * place in equal frames are one. */
#include "grammar/grammar_int.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FRAMES = 2000, MAX_THREADS = 1024 };

struct keytext { /* bytes of a key being read; longer threads may share a shorter one's beginning */
    uint32_t refs, used, cap;
    char data[];
};
struct keys_seen {
    uint32_t refs;
    int32_t n;
    struct keytext *text;
    struct keys_seen *up;
};

enum frame_kind { FRAME_OBJECT, FRAME_ARRAY, FRAME_RULE };
struct frame {
    uint32_t refs, depth;
    enum frame_kind kind;
    struct frame *up;
    union {
        const struct object *object;
        const struct array *array;
        const struct shape *rule;
    };
    const struct node *value; /* object: of the member at hand */
    struct keys_seen *keys;
    int64_t count, hits[MAX_NEEDS];
    uint32_t q;      /* rule: where it goes on */
    uint32_t next;   /* ordered object: the first name that may still come */
    uint32_t met;    /* object: bit by need */
    uint64_t bits[]; /* object: seen, needed, available; `words` each */
};

static uint64_t *seen_of(struct frame *f)
{
    return f->bits;
}
static uint64_t *needed_of(struct frame *f)
{
    return f->bits + f->object->words;
}
static uint64_t *available_of(struct frame *f)
{
    return f->bits + 2 * (size_t)f->object->words;
}
static bool has_bit(const uint64_t *w, uint32_t i)
{
    return w[i >> 6] >> (i & 63) & 1;
}
static void set_bit(uint64_t *w, uint32_t i)
{
    w[i >> 6] |= 1ull << (i & 63);
}
static void clear_bit(uint64_t *w, uint32_t i)
{
    w[i >> 6] &= ~(1ull << (i & 63));
}

static void keytext_unref(struct keytext *k)
{
    if (k && --k->refs == 0) free(k);
}

static void keys_unref(struct keys_seen *k)
{
    while (k && --k->refs == 0) {
        struct keys_seen *up = k->up;
        keytext_unref(k->text);
        free(k);
        k = up;
    }
}

static struct frame *frame_ref(struct frame *f)
{
    if (f) f->refs++;
    return f;
}

static void frame_unref(struct frame *f)
{
    while (f && --f->refs == 0) {
        struct frame *up = f->up;
        keys_unref(f->keys);
        free(f);
        f = up;
    }
}

static size_t frame_bytes(enum frame_kind kind, const struct object *o)
{
    return sizeof(struct frame) + (kind == FRAME_OBJECT ? 3 * (size_t)o->words * sizeof(uint64_t) : 0);
}

static struct frame *frame_new(enum frame_kind kind, struct frame *up, const struct object *o)
{
    struct frame *f = mem_alloc(frame_bytes(kind, o));
    memset(f, 0, frame_bytes(kind, o));
    f->refs = 1;
    f->kind = kind;
    f->object = o;
    f->up = frame_ref(up);
    f->depth = up ? up->depth + 1 : 1;
    return f;
}

static struct frame *frame_copy(const struct frame *f)
{
    struct frame *c = mem_alloc(frame_bytes(f->kind, f->object));
    memcpy(c, f, frame_bytes(f->kind, f->object));
    c->refs = 1;
    frame_ref(c->up);
    if (c->keys) c->keys->refs++;
    return c;
}

static bool keys_equal(const struct keys_seen *a, const struct keys_seen *b)
{
    for (; a != b; a = a->up, b = b->up)
        if (!a || !b || a->n != b->n || memcmp(a->text->data, b->text->data, (size_t)a->n) != 0) return false;
    return true;
}

/* Equal, or equal but for being made twice. */
static bool frames_equal(const struct frame *a, const struct frame *b)
{
    if (a == b) return true;
    if (!a || !b || a->kind != b->kind || a->up != b->up || a->object != b->object) return false;
    if (a->value != b->value || a->count != b->count || a->q != b->q || a->next != b->next ||
        a->met != b->met)
        return false;
    if (memcmp(a->hits, b->hits, sizeof a->hits) != 0) return false;
    if (a->kind == FRAME_OBJECT &&
        memcmp(a->bits, b->bits, 3 * (size_t)a->object->words * sizeof(uint64_t)) != 0)
        return false;
    return keys_equal(a->keys, b->keys);
}

/* Objects */

static int64_t pending(struct frame *f)
{
    int64_t n = 0;
    for (uint32_t w = 0; w < f->object->words; w++)
        n += __builtin_popcountll(needed_of(f)[w] & ~seen_of(f)[w]);
    return n;
}

/* In order: names before `next` are gone, and nothing may pass a required one. */
static void keep_order(struct frame *f)
{
    const struct object *o = f->object;
    uint64_t *available = available_of(f), *needed = needed_of(f), *seen = seen_of(f);
    bool stop = false;
    int64_t later = 0;
    for (uint32_t i = 0; i < o->n_label; i++) {
        if (stop || (i < f->next && i < o->n_name)) clear_bit(available, i);
        if (i >= f->next && i < o->n_name && has_bit(needed, i) && !has_bit(seen, i)) stop = true;
    }
    for (uint32_t i = o->n_name; i-- > 0;) {
        bool may = has_bit(available, i), enough = o->open || f->count + 1 + later >= o->min;
        if (has_bit(o->possible, i) && i >= f->next) later++;
        if (may && !enough) clear_bit(available, i);
        if (!may || !o->dependent || !o->dependent[i]) continue;
        for (uint32_t k = 0; k < i; k++)
            if (has_bit(o->dependent[i], k) && !has_bit(seen, k)) clear_bit(available, i);
    }
}

/* Which labels may come next, from what has been seen. */
static void set_available(struct frame *f)
{
    const struct object *o = f->object;
    uint64_t *available = available_of(f), *seen = seen_of(f), *needed = needed_of(f);
    bool full = f->count >= o->max, only_needed = o->max != INT64_MAX && pending(f) >= o->max - f->count;
    for (uint32_t w = 0; w < o->words; w++) {
        available[w] = full ? 0 : o->possible[w] & ~seen[w];
        if (only_needed) available[w] &= needed[w];
    }
    if (o->ordered) keep_order(f);
}

static struct frame *object_begin(const struct object *o, struct frame *up)
{
    struct frame *f = frame_new(FRAME_OBJECT, up, o);
    memcpy(needed_of(f), o->required, o->words * sizeof(uint64_t));
    set_available(f);
    return f;
}

static bool object_more(struct frame *f)
{
    for (uint32_t w = 0; w < f->object->words; w++)
        if (available_of(f)[w]) return true;
    return false;
}

static bool object_may_close(struct frame *f)
{
    return f->count >= f->object->min && f->met == (1u << f->object->n_need) - 1 && pending(f) == 0;
}

/* Each need that is not met can still be: by a name to come, or by a class of names. */
static bool needs_can_be_met(struct frame *f)
{
    const struct object *o = f->object;
    for (uint32_t need = 0; need < o->n_need; need++) {
        bool can = f->met >> need & 1;
        for (uint32_t i = 0; !can && i < o->n_label; i++) {
            bool gone = i < o->n_name && (has_bit(seen_of(f), i) || (o->ordered && i < f->next));
            can = !gone && o->label[i].wants >> need & 1 && o->label[i].met[need]->possible;
        }
        if (!can) return false;
    }
    return true;
}

static bool array_more(const struct frame *f)
{
    const struct array *a = f->array;
    if (f->count >= a->max) return false;
    const struct array_item *item = &a->item[MIN(f->count, (int64_t)a->n_prefix)];
    for (uint32_t v = 0; v < 1u << a->n_need; v++)
        if (item->variant[v] && item->variant[v]->possible) return true;
    return false;
}

static bool array_may_close(const struct frame *f)
{
    for (uint32_t i = 0; i < f->array->n_need; i++)
        if (f->hits[i] < f->array->need_min[i]) return false;
    return f->count >= f->array->min;
}

/* What is still needed fits into what may still come. Several needs: only without an end (see array_check).
 */
static bool array_can_complete(const struct frame *f)
{
    const struct array *a = f->array;
    for (uint32_t i = 0; i < a->n_need; i++) {
        int64_t missing = a->need_min[i] - f->hits[i], at = f->count;
        for (; missing > 0 && at < a->n_prefix && at < a->max; at++) {
            const struct node *v = a->item[at].variant[1u << i];
            missing -= v && v->possible;
        }
        const struct node *rest = a->item[a->n_prefix].variant[1u << i];
        if (missing > 0 && (at >= a->max || !rest || !rest->possible || missing > a->max - at)) return false;
    }
    return true;
}

/* Threads */

void config_deinit(struct config *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        frame_unref(c->t[i].frame);
        keytext_unref(c->t[i].key);
    }
    if (c->t != c->inline_t) free(c->t);
    *c = (struct config){0};
}

static bool same_key(const struct thread *a, const struct thread *b)
{
    return a->key == b->key ||
           (a->key && b->key && a->n == b->n && memcmp(a->key->data, b->key->data, (size_t)a->n) == 0);
}

/* Takes over the references of t. */
static void config_keep(struct config *c, struct thread t)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct thread *x = &c->t[i];
        if (x->q == t.q && x->shape == t.shape && x->n == t.n && frames_equal(x->frame, t.frame) &&
            same_key(x, &t)) {
            frame_unref(t.frame);
            keytext_unref(t.key);
            return;
        }
    }
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

/* Add a thread in state q, and those that go on where q may be left. Takes over the references of t. */
static void add_thread(const struct grammar *g, struct config *to, struct thread t)
{
    const struct dfa_state *s = &t.shape->dfa->state[t.q];
    if (to->n >= MAX_THREADS || (t.frame && t.frame->depth > MAX_FRAMES)) to->overflow = true;
    if (to->overflow) {
        frame_unref(t.frame);
        keytext_unref(t.key);
        return;
    }
    if (s->exit >= 0 && thread_exit_allowed(&t, s->exit, NULL, 0)) config_exit(g, to, &t, t.q);
    if (s->n_edge) {
        config_keep(to, t);
    } else {
        frame_unref(t.frame);
        keytext_unref(t.key);
    }
}

static struct thread thread_at(const struct shape *shape, struct frame *f)
{
    return (struct thread){.shape = shape, .frame = f, .q = DFA_START, .n = -1};
}

/* The value or rule above f is complete; f is borrowed. */
static void resume(const struct grammar *g, struct config *to, struct frame *f)
{
    struct thread t;
    if (!f) {
        to->done = true;
        return;
    }
    switch (f->kind) {
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
            add_thread(g, to, thread_at(&g->forms->open_object, object_begin(a->object, f)));
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
        if (sensible && array_can_complete(next)) enter(g, to, item->variant[v], next);
        frame_unref(next);
    }
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
            set_bit(seen_of(f), label);
            if (o->dependent && o->dependent[label])
                for (uint32_t w = 0; w < o->words; w++) needed_of(f)[w] |= o->dependent[label][w];
            f->next = MAX(f->next, label + 1);
        } else {
            f->next = MAX(f->next, o->n_name);
            if (t->key) remember_key(f, t);
        }
        set_available(f);
        if (needs_can_be_met(f))
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
        struct frame *f = frame_new(FRAME_RULE, t->frame, NULL);
        f->rule = t->shape;
        f->q = e->back;
        call(g, to, e, f);
        frame_unref(f);
    }
}

void config_exit(const struct grammar *g, struct config *to, const struct thread *t, uint32_t q)
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

bool thread_is_free(const struct thread *t)
{
    switch (t->shape->kind) {
    case SHAPE_TERM: return !t->shape->lens;
    case SHAPE_RULE:
    case SHAPE_COLON: return true;
    case SHAPE_KEY: {
        const struct object *o = t->frame->object;
        for (uint32_t i = o->n_name; i < o->n_label; i++)
            if (has_bit(o->possible, i) && !has_bit(available_of(t->frame), i)) return false;
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
        return (reach >> SEP_MORE & 1 && object_more(t->frame)) ||
               (reach >> SEP_CLOSE & 1 && object_may_close(t->frame));
    case SHAPE_OPEN_ARRAY:
    case SHAPE_NEXT_ARRAY:
        reach = s->reach[q];
        return (reach >> SEP_MORE & 1 && array_more(t->frame)) ||
               (reach >> SEP_CLOSE & 1 && array_may_close(t->frame));
    case SHAPE_KEY: {
        const struct object *o = t->frame->object;
        const uint64_t *available = available_of(t->frame);
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
    case SHAPE_NEXT_OBJECT: return exit == SEP_MORE ? object_more(t->frame) : object_may_close(t->frame);
    case SHAPE_OPEN_ARRAY:
    case SHAPE_NEXT_ARRAY: return exit == SEP_MORE ? array_more(t->frame) : array_may_close(t->frame);
    case SHAPE_KEY:
        if (!has_bit(available_of(t->frame), (uint32_t)exit)) return false;
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

/* States */

static struct shared_config *shared_new(void)
{
    struct shared_config *s = mem_zalloc(1, sizeof *s);
    s->refs = 1;
    return s;
}

static void shared_unref(struct shared_config *s)
{
    if (--s->refs) return;
    config_deinit(&s->c);
    free(s);
}

struct grammar_state *grammar_state_new(struct grammar *g)
{
    struct grammar_state *s = mem_zalloc(1, sizeof *s);
    s->g = grammar_ref(g);
    s->at = shared_new();
    if (g->rule)
        add_thread(g, &s->at->c, thread_at(g->rule, NULL));
    else
        enter(g, &s->at->c, g->root, NULL);
    return s;
}

struct grammar_state *grammar_state_clone(const struct grammar_state *s)
{
    struct grammar_state *c = mem_zalloc(1, sizeof *c);
    c->g = grammar_ref(s->g);
    c->at = s->at;
    c->at->refs++;
    return c;
}

void grammar_state_free(struct grammar_state *s)
{
    if (!s) return;
    shared_unref(s->at);
    grammar_unref(s->g);
    free(s);
}

bool grammar_state_accept(struct grammar_state *s, const char *p, size_t n)
{
    struct shared_config *at = s->at;
    bool ok = true;
    at->refs++;
    for (size_t i = 0; ok && i < n; i++) {
        struct shared_config *next = shared_new();
        config_step(s->g, &next->c, &at->c, (uint8_t)p[i]);
        ok = !next->c.overflow && (next->c.n || next->c.done);
        shared_unref(at);
        at = next;
    }
    if (ok) {
        shared_unref(s->at);
        s->at = at;
    } else {
        shared_unref(at);
    }
    return ok;
}

bool grammar_state_can_end(const struct grammar_state *s)
{
    return s->at->c.done;
}

/* The bytes that c accepts; edges are tried, since some wait for what the frame does not allow. */
static int only_byte(const struct grammar *g, const struct config *c)
{
    uint64_t set[4];
    int only = -1;
    config_bytes(c, set);
    for (int b = 0; b < 256; b++) {
        if (!(set[b >> 6] >> (b & 63) & 1)) continue;
        struct config next = {0};
        config_step(g, &next, c, (uint8_t)b);
        bool lives = !next.overflow && (next.n || next.done); /* as grammar_state_accept takes it */
        config_deinit(&next);
        if (lives && only >= 0) return -1;
        if (lives) only = b;
    }
    return only;
}

void grammar_state_forced(const struct grammar_state *s, struct buf *out, size_t max)
{
    struct shared_config *at = s->at;
    at->refs++;
    for (size_t i = 0; i < max && !at->c.done; i++) {
        int byte = only_byte(s->g, &at->c);
        if (byte < 0) break;
        struct shared_config *next = shared_new();
        config_step(s->g, &next->c, &at->c, (uint8_t)byte);
        shared_unref(at);
        at = next;
        buf_addc(out, (char)byte);
    }
    shared_unref(at);
}
