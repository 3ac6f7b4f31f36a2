/* The stack of a thread: which objects, arrays and rules it stands in, and what their schemas still
 * allow. Frames never change once others share them; they are shared by counting, by states of one
 * thread of the program. A rule frame is there once for all threads that have it: where an ambiguous grammar
 * comes to the same stack in several ways, the threads are one (Tomita's graph-structured stack, "An
 * Efficient Augmented-Context-Free Parsing Algorithm", 1987). Private to src/grammar. */
#ifndef CORRAL_GRAMMAR_FRAME_H
#define CORRAL_GRAMMAR_FRAME_H

#include "grammar/grammar_int.h"

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

enum frame_kind { FRAME_BOTTOM /* where the text may end */, FRAME_OBJECT, FRAME_ARRAY, FRAME_RULE };
struct frame {
    uint32_t refs, depth;
    enum frame_kind kind;
    struct frame *up;          /* of the bottom NULL */
    struct frame *called;      /* the rule frames on this one; not counted: who is freed leaves the list */
    struct frame *next_called; /* rule: in that list of up */
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

static inline uint64_t *frame_seen(struct frame *f)
{
    return f->bits;
}
static inline uint64_t *frame_needed(struct frame *f)
{
    return f->bits + f->object->words;
}
static inline uint64_t *frame_available(struct frame *f)
{
    return f->bits + 2 * (size_t)f->object->words;
}
static inline bool has_bit(const uint64_t *w, uint32_t i)
{
    return w[i >> 6] >> (i & 63) & 1;
}
static inline void set_bit(uint64_t *w, uint32_t i)
{
    w[i >> 6] |= 1ull << (i & 63);
}
static inline void clear_bit(uint64_t *w, uint32_t i)
{
    w[i >> 6] &= ~(1ull << (i & 63));
}

static inline struct frame *frame_ref(struct frame *f)
{
    f->refs++;
    return f;
}
void frame_unref(struct frame *f); /* NULL is fine */
void keytext_unref(struct keytext *k);
/* o: of an object; else NULL, and what the frame is of is the caller's to set. */
struct frame *frame_new(enum frame_kind kind, struct frame *up, const struct object *o);
struct frame *frame_copy(const struct frame *f);
/* A call on up that goes on in state q of rule: the one that is there already, or a new one. */
struct frame *frame_call(struct frame *up, const struct shape *rule, uint32_t q);
bool frame_equal(const struct frame *a, const struct frame *b); /* or equal but for being made twice */

struct frame *frame_begin_object(const struct object *o, struct frame *up);
void frame_set_available(struct frame *f); /* which labels may come next, from what has been seen */
bool frame_has_more_members(struct frame *f);
bool frame_object_may_close(struct frame *f);
/* Each need that is not met can still be: by a name to come, or by a class of names. */
bool frame_needs_can_be_met(struct frame *f);

bool frame_has_more_items(const struct frame *f);
bool frame_array_may_close(const struct frame *f);
bool frame_array_can_complete(const struct frame *f); /* what is still needed fits into what may still come */

#endif
