/* Values of the template language: Python's, as far as a template can tell.
 *
 * A value is 16 bytes and passed by value. Strings are views of UTF-8 that somebody else keeps (the
 * template's source, the JSON context, the render's arena), so slicing, stripping and splitting copy nothing.
 * Everything else behind a pointer lives in the render's arena. */
#ifndef CORRAL_JINJA_VALUE_H
#define CORRAL_JINJA_VALUE_H

#include "text/jinja/arena.h"

struct jj; /* a render, see eval.h */

enum jj_type {
    JJ_MISSING, /* no value at all: an argument that was not given; templates never see it */
    JJ_UNDEF,
    JJ_NONE,
    JJ_BOOL,
    JJ_INT, /* 64 bits: what does not fit is an error, where Python would go on */
    JJ_FLOAT,
    JJ_STR,
    JJ_LIST,
    JJ_TUPLE,
    JJ_GENERATOR, /* what is left of a list: going over it uses it up */
    JJ_DICT,
    JJ_VIEW, /* dict.keys(), .values(), .items() */
    JJ_RANGE,
    JJ_NAMESPACE,
    JJ_LOOP,
    JJ_MACRO,
    JJ_FUNCTION, /* a global, or a method bound to its object */
    JJ_CYCLER,
    JJ_JOINER
};

enum {              /* flags of a string */
       JJ_SAFE = 1, /* marked as not to be escaped: Python's Markup */
       JJ_ASCII = 2 /* known to hold ASCII only; without it, unknown */
};

struct jj_value {
    uint8_t type, flags;
    uint32_t n; /* bytes of a string; which view (enum jj_view) */
    union {
        bool b;
        int64_t i;
        double f;
        const char *s;
        struct jj_list *list; /* LIST, TUPLE, GENERATOR, VIEW */
        struct jj_dict *dict; /* DICT, NAMESPACE */
        struct jj_range *range;
        struct jj_undef *undef; /* NULL: nothing is known about it */
        struct jj_loop *loop;
        struct jj_macro *macro;
        struct jj_function *function;
        struct jj_cycler *cycler;
    };
};

enum jj_view { JJ_KEYS, JJ_VALUES, JJ_ITEMS };

struct jj_list {
    struct jj_value *item;
    size_t n, cap;
    size_t from;   /* of a generator: what has been taken */
    bool is_group; /* a tuple of groupby: has .grouper and .list */
};

struct jj_pair {
    struct jj_value key, value; /* key JJ_MISSING: removed */
    uint64_t hash;
};
struct jj_dict {
    struct jj_pair *pair;
    size_t n, cap; /* slots of pair in use, removed ones too */
    size_t n_live;
    uint32_t *index; /* open addressing: 1 + slot; NULL while small */
    size_t n_index;
};

struct jj_range {
    int64_t start, stop, step, n;
};

struct jj_undef {
    const char *hint; /* the whole message, or NULL */
    const char *of;   /* the type of the object that lacks it, or NULL: a variable */
    struct jj_value name;
};

struct jj_cycler {
    struct jj_list items;
    size_t at;
    struct jj_value sep; /* of a joiner */
};

/* Making them. */
static inline struct jj_value jj_none(void)
{
    return (struct jj_value){.type = JJ_NONE};
}
static inline struct jj_value jj_bool(bool b)
{
    return (struct jj_value){.type = JJ_BOOL, .b = b};
}
static inline struct jj_value jj_int(int64_t i)
{
    return (struct jj_value){.type = JJ_INT, .i = i};
}
static inline struct jj_value jj_float(double f)
{
    return (struct jj_value){.type = JJ_FLOAT, .f = f};
}
static inline struct jj_value jj_missing(void)
{
    return (struct jj_value){0};
}
struct jj_value jj_str(const char *s, size_t n); /* a view */
struct jj_value jj_strz(const char *s);          /* a view of a C string that stays */
struct jj_value jj_str_copy(struct jj *r, const char *s, size_t n);
struct jj_value jj_sub(struct jj_value s, size_t from, size_t to); /* bytes from..to of a string, a view */
struct jj_value jj_plain(struct jj_value s);                       /* without JJ_SAFE */
struct jj_value jj_list_of(enum jj_type type, struct jj_list *l);
struct jj_value jj_list_new(struct jj *r, size_t cap);
struct jj_value jj_dict_new(struct jj *r);
struct jj_value jj_pair_of(struct jj *r, struct jj_value a, struct jj_value b); /* a tuple */
struct jj_value jj_undef(struct jj *r, const char *hint);                       /* hint stays */
struct jj_value jj_undef_name(struct jj *r, struct jj_value name);
struct jj_value jj_undef_attr(struct jj *r, struct jj_value of, struct jj_value name);

void jj_list_add(struct jj *r, struct jj_list *l, struct jj_value v);

/* Keys are looked up by Python's equality: 1, 1.0 and True are the same key. An unhashable key is an error.
 */
struct jj_value *jj_dict_get(struct jj *r, const struct jj_dict *d,
                             struct jj_value key); /* NULL: not there */
void jj_dict_set(struct jj *r, struct jj_dict *d, struct jj_value key, struct jj_value value);
bool jj_dict_remove(struct jj *r, struct jj_dict *d, struct jj_value key);
/* The next pair from *at on, or NULL: for (size_t i = 0; (p = jj_dict_next(d, &i));) */
struct jj_pair *jj_dict_next(const struct jj_dict *d, size_t *at);

/* Asking about them. */
static inline bool jj_is(struct jj_value v, enum jj_type t)
{
    return v.type == t;
}
static inline bool jj_is_number(struct jj_value v)
{
    return v.type >= JJ_BOOL && v.type <= JJ_FLOAT;
}
static inline bool jj_is_integer(struct jj_value v)
{
    return v.type == JJ_BOOL || v.type == JJ_INT;
}
int64_t jj_as_int(struct jj_value v);        /* of a bool or int */
double jj_as_float(struct jj_value v);       /* of a number */
const char *jj_type_name(struct jj_value v); /* "str", "dict", ... as in Python's messages */
bool jj_truth(struct jj *r, struct jj_value v);
bool jj_equal(struct jj *r, struct jj_value a, struct jj_value b);
bool jj_same(struct jj_value a, struct jj_value b); /* `is` */
int jj_order(struct jj *r, struct jj_value a, struct jj_value b,
             const char *op); /* <0, 0, >0; 2: unordered (NaN) */
uint64_t jj_hash(struct jj *r, struct jj_value v);
bool jj_str_is(struct jj_value v, const char *s);

/* Its elements, taken one after the other. A generator is used up. */
struct jj_iter {
    struct jj_value of;
    size_t at;
};
bool jj_iterable(struct jj_value v);
struct jj_iter jj_iter(struct jj *r, struct jj_value v); /* an error when it is not iterable */
bool jj_next(struct jj *r, struct jj_iter *it, struct jj_value *out);
struct jj_list *jj_to_list(struct jj *r, struct jj_value v); /* a new list of the elements */
bool jj_has_length(struct jj_value v);
int64_t jj_length(struct jj *r, struct jj_value v); /* len(); an error when there is none */
bool jj_contains(struct jj *r, struct jj_value in, struct jj_value v); /* v in `in` */
struct jj_value jj_range_at(const struct jj_range *g, int64_t i);

/* From JSON. Strings stay views of the document. */
struct jj_value jj_from_json(struct jj *r, const json_t *j);

#endif
