/* The compiled form. Private to src/grammar.
 *
 * A node is a place where one value stands: the union of its alternatives. A scalar alternative is a shape,
 * an automaton over bytes; objects and arrays are frames on a stack, between whose members shapes are read:
 * `{`, key, `:`, value, `,` and so on. A rule of a context-free grammar is a shape that calls other rules.
 * Every shape is left through the numbered exits of its automaton. All of it lies in the grammar's arena. */
#ifndef CORRAL_GRAMMAR_INT_H
#define CORRAL_GRAMMAR_INT_H

#include "grammar/lang.h"

#include <stdatomic.h>

enum shape_kind {
    SHAPE_TERM,        /* exit: the value is complete */
    SHAPE_OPEN_OBJECT, /* `{`; exits: SEP_MORE, SEP_CLOSE */
    SHAPE_NEXT_OBJECT, /* `,` or `}` behind a member */
    SHAPE_OPEN_ARRAY,
    SHAPE_NEXT_ARRAY,
    SHAPE_COLON,
    SHAPE_KEY,  /* exit: a label of the object */
    SHAPE_RULE, /* exit: a list of rules to call, or the end of this one */
};
enum { SEP_MORE, SEP_CLOSE, SEP_ANY };

struct node;
struct rule_exit { /* a call of a shape, or of a value; neither: the end of the rule */
    const struct shape *shape;
    const struct node *node;
    uint32_t back; /* where to go on after the call */
};
struct rule_exits {
    const struct rule_exit *e;
    size_t n;
};

struct shape {
    enum shape_kind kind;
    const struct dfa *dfa;
    const struct lens *lens; /* SHAPE_TERM: characters are counted */
    int64_t min, max;
    bool any;                       /* and any are allowed: only their number matters */
    const uint8_t *reach;           /* separators: by state, the exits still to be reached, 1 << SEP */
    const struct rule_exits *exits; /* SHAPE_RULE: by exit */
};

struct label { /* of a key: a name, or a class of other names */
    const struct node *node;
    bool possible, many; /* many: stands for any number of names */
    uint64_t wants;      /* bit i: a value here may meet need i of the object, as node met[i] */
    const struct node **met;
};
struct object {
    struct shape key;
    uint32_t n_name, n_label, words; /* labels 0..n_name are names in the order of definition */
    struct label *label;
    uint64_t *possible, *required; /* bits by label, `words` each */
    uint64_t **dependent;          /* by name: what it requires, closed; NULL: nothing does */
    int64_t min, max;
    bool ordered;
    bool open;             /* some possible class stands for many names */
    bool free;             /* while the one class may come, every beginning of a key can become a key */
    uint32_t n_need;       /* members that must exist with a value of their own */
    const uint64_t *reach; /* by state of key.dfa: labels still to be reached, `words` each */
    bool empty;
};
struct array_item { /* by which of the needs the item meets: 1 << n_need variants */
    const struct node **variant;
};
enum { MAX_NEEDS = 3, MAX_CHOICES = 63 };
struct array {
    struct array_item *item; /* the first n_prefix, then all others */
    uint32_t n_prefix, n_need;
    int64_t min, max;
    int64_t need_min[MAX_NEEDS], need_max[MAX_NEEDS];
    const struct node **choice; /* items differ, and these are all there can be:
                                 * at most MAX_CHOICES, without needs */
    uint32_t n_choice;
    bool empty;
};

struct alt {
    const struct shape *shape;
    struct object *object;
    struct array *array;
};
struct node {
    struct alt *alt;
    uint32_t n_alt;
    bool possible; /* some value stands for it */
};

struct forms { /* shapes that all objects and arrays share */
    struct shape open_object, next_object, open_array, next_array, colon;
};

struct grammar {
    atomic_uint refs;
    struct arena arena;
    const struct node *root; /* or */
    const struct shape *rule;
    const struct forms *forms;
    bool ordered;
    char *dropped;
    _Atomic(struct mask_cache *) masks;
};

struct grammar_kind {
    const char *name;
    void (*compile)(struct build *b, struct grammar *g, const char *text, size_t n);
};
extern const struct grammar_kind grammar_json_schema, grammar_regex, grammar_gbnf, grammar_choice,
    grammar_structural_tag, grammar_lark;

/* What all grammars share: made once, kept for the life of the process. */
struct builtin {
    struct forms forms[3]; /* by enum grammar_space */
    struct shape string;   /* any JSON string, with every escape */
    struct shape number, integer;
    uint32_t last_id; /* automata up to this id are among these */
};
const struct builtin *builtin_get(void);

/* Runtime, see config.c and state.c */
struct keytext;
struct frame;
struct thread {
    const struct shape *shape;
    struct frame *frame; /* what goes on afterwards; of separators and keys, the object or array itself */
    struct keytext *key; /* SHAPE_KEY of an open object: the text so far */
    uint32_t q;
    int32_t n; /* counted characters, or bytes of key */
};
enum { CONFIG_INLINE = 4, CONFIG_THREADS = 1024 /* at most */ };
struct config {
    struct thread *t, inline_t[CONFIG_INLINE];
    uint32_t n, cap;
    bool done, overflow;
};
struct grammar_state {
    struct grammar *g;
    struct shared_config *at;
};
struct shared_config {
    uint32_t refs;
    struct config c;
};

void config_begin(const struct grammar *g, struct config *to); /* to (zeroed): nothing has been read */
void config_deinit(struct config *c);
/* to (zeroed) becomes what c is after byte. */
void config_step(const struct grammar *g, struct config *to, const struct config *c, uint8_t byte);
/* The threads that go on when t takes the exit of state q. */
void config_exit(const struct grammar *g, struct config *to, const struct thread *t, uint32_t q);
void config_bytes(const struct config *c, uint64_t set[4]); /* bytes that some thread accepts */
/* Whether t can be in state q after n characters (or key bytes) and still complete. */
bool thread_lives(const struct thread *t, uint32_t q, int32_t n);
bool thread_exit_allowed(const struct thread *t, int32_t exit, const char *key_tail, size_t n_tail);
bool thread_is_free(const struct thread *t);  /* every state of its automaton lives: masks can be kept */
bool thread_has_keys(const struct thread *t); /* names without a label of their own have been read */
void mask_cache_free(struct mask_cache *m);
size_t mask_cache_bytes(struct mask_cache *m); /* NULL is fine */

#endif
