#include "grammar/frame.h"

#include <stdlib.h>
#include <string.h>

void keytext_unref(struct keytext *k)
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

static void leave_list(struct frame *f)
{
    struct frame **at = &f->up->called;
    while (*at != f) at = &(*at)->next_called;
    *at = f->next_called;
}

void frame_unref(struct frame *f)
{
    while (f && --f->refs == 0) {
        struct frame *up = f->up;
        if (f->kind == FRAME_RULE) leave_list(f);
        keys_unref(f->keys);
        free(f);
        f = up;
    }
}

static size_t frame_bytes(enum frame_kind kind, const struct object *o)
{
    return sizeof(struct frame) + (kind == FRAME_OBJECT ? 3 * (size_t)o->words * sizeof(uint64_t) : 0);
}

struct frame *frame_new(enum frame_kind kind, struct frame *up, const struct object *o)
{
    struct frame *f = mem_alloc(frame_bytes(kind, o));
    memset(f, 0, frame_bytes(kind, o));
    f->refs = 1;
    f->kind = kind;
    f->object = o;
    f->up = up ? frame_ref(up) : NULL;
    f->depth = up ? up->depth + 1 : 0;
    return f;
}

struct frame *frame_copy(const struct frame *f)
{
    struct frame *c = mem_alloc(frame_bytes(f->kind, f->object));
    memcpy(c, f, frame_bytes(f->kind, f->object));
    c->refs = 1;
    c->called = NULL;
    frame_ref(c->up);
    if (c->keys) c->keys->refs++;
    return c;
}

struct frame *frame_call(struct frame *up, const struct shape *rule, uint32_t q)
{
    for (struct frame *f = up->called; f; f = f->next_called)
        if (f->rule == rule && f->q == q) return frame_ref(f);
    struct frame *f = frame_new(FRAME_RULE, up, NULL);
    f->rule = rule;
    f->q = q;
    f->next_called = up->called;
    up->called = f;
    return f;
}

static bool keys_equal(const struct keys_seen *a, const struct keys_seen *b)
{
    for (; a != b; a = a->up, b = b->up)
        if (!a || !b || a->n != b->n || memcmp(a->text->data, b->text->data, (size_t)a->n) != 0) return false;
    return true;
}

bool frame_equal(const struct frame *a, const struct frame *b)
{
    if (a == b) return true;
    if (a->kind == FRAME_RULE || a->kind != b->kind || a->up != b->up || a->object != b->object) return false;
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

static int64_t frame_pending(struct frame *f)
{
    int64_t n = 0;
    for (uint32_t w = 0; w < f->object->words; w++)
        n += __builtin_popcountll(frame_needed(f)[w] & ~frame_seen(f)[w]);
    return n;
}

/* In order: names before `next` are gone, and nothing may pass a required one. */
static void keep_order(struct frame *f)
{
    const struct object *o = f->object;
    uint64_t *available = frame_available(f), *needed = frame_needed(f), *seen = frame_seen(f);
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

void frame_set_available(struct frame *f)
{
    const struct object *o = f->object;
    uint64_t *available = frame_available(f), *seen = frame_seen(f), *needed = frame_needed(f);
    bool full = f->count >= o->max,
         only_needed = o->max != INT64_MAX && frame_pending(f) >= o->max - f->count;
    for (uint32_t w = 0; w < o->words; w++) {
        available[w] = full ? 0 : o->possible[w] & ~seen[w];
        if (only_needed) available[w] &= needed[w];
    }
    if (o->ordered) keep_order(f);
}

struct frame *frame_begin_object(const struct object *o, struct frame *up)
{
    struct frame *f = frame_new(FRAME_OBJECT, up, o);
    memcpy(frame_needed(f), o->required, o->words * sizeof(uint64_t));
    frame_set_available(f);
    return f;
}

bool frame_has_more_members(struct frame *f)
{
    for (uint32_t w = 0; w < f->object->words; w++)
        if (frame_available(f)[w]) return true;
    return false;
}

bool frame_object_may_close(struct frame *f)
{
    return f->count >= f->object->min && f->met == (1u << f->object->n_need) - 1 && frame_pending(f) == 0;
}

bool frame_needs_can_be_met(struct frame *f)
{
    const struct object *o = f->object;
    for (uint32_t need = 0; need < o->n_need; need++) {
        bool can = f->met >> need & 1;
        for (uint32_t i = 0; !can && i < o->n_label; i++) {
            bool gone = i < o->n_name && (has_bit(frame_seen(f), i) || (o->ordered && i < f->next));
            can = !gone && o->label[i].wants >> need & 1 && o->label[i].met[need]->possible;
        }
        if (!can) return false;
    }
    return true;
}

bool frame_has_more_items(const struct frame *f)
{
    const struct array *a = f->array;
    if (f->count >= a->max) return false;
    const struct array_item *item = &a->item[MIN(f->count, (int64_t)a->n_prefix)];
    for (uint32_t v = 0; v < 1u << a->n_need; v++)
        if (item->variant[v] && item->variant[v]->possible) return true;
    return false;
}

bool frame_array_may_close(const struct frame *f)
{
    for (uint32_t i = 0; i < f->array->n_need; i++)
        if (f->hits[i] < f->array->need_min[i]) return false;
    return f->count >= f->array->min;
}

/* Several needs: only without an end (see array_check). */
bool frame_array_can_complete(const struct frame *f)
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
