/* A render: the state that all functions of the interpreter share, and their errors. */
#ifndef CORRAL_JINJA_EVAL_H
#define CORRAL_JINJA_EVAL_H

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

/* Variables of one block, on top of those around it. Names are interned by the parser: same name, same
 * pointer. */
struct jj_var {
    const struct jj_name *name;
    struct jj_value value;
};
struct jj_scope {
    struct jj_scope *outer;
    struct jj_var *var;
    uint32_t n, cap;
    bool kept; /* a macro was defined in it or further in: it outlives its block */
};

struct jj {
    struct jj_trap *trap;
    struct jj_trap own_trap; /* not on the stack: C leaves changed locals uncertain after longjmp */
    struct jj_arena arena;
    const struct jinja *tmpl;
    const struct jj_dict *context;
    struct jj_scope *root, *scope;
    struct buf *out;
    size_t out_from, out_max;    /* this render's part of out begins there */
    const struct jj_node *node;  /* being evaluated: where an error is */
    uint64_t steps, steps_later; /* left until the next look at the clock, and after it */
    int64_t deadline_ns;         /* of the thread's CPU time */
    uint32_t depth, max_depth;
    bool lenient;
    struct tm now;
    uint64_t hash_seed;
    json_t *parsed; /* documents of from_json, which strings are views of */
};

/* An error that Python would raise as an exception. */
_Noreturn void jj_fail(struct jj *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
_Noreturn void jj_fail_undef(struct jj *r, struct jj_value v);
void jj_start_clock(struct jj *r, uint64_t steps, uint32_t cpu_ms);
/* What jj_charge does once in a while: look at the clock, then allow some more steps. */
void jj_charge_more(struct jj *r, uint64_t n);
_Noreturn void jj_too_deep(struct jj *r);

/* Account for work: one step is one evaluated node, or about 32 bytes of text looked at. */
static inline void jj_charge(struct jj *r, uint64_t n)
{
    if (n > r->steps)
        jj_charge_more(r, n);
    else
        r->steps -= n;
}
static inline void jj_charge_bytes(struct jj *r, uint64_t n)
{
    jj_charge(r, n >> 5);
}
static inline void jj_enter(struct jj *r)
{
    if (++r->depth > r->max_depth) jj_too_deep(r);
}
static inline void jj_leave(struct jj *r)
{
    r->depth--;
}

/* Text under construction: written to the end of the output, then taken from there as a value. They nest. */
size_t jj_text_begin(struct jj *r);
struct jj_value jj_text_end(struct jj *r, size_t begin);
void jj_write(struct jj *r, const char *s, size_t n);
static inline void jj_writec(struct jj *r, char c)
{
    jj_write(r, &c, 1);
}
void jj_writes(struct jj *r, const char *s);

/* eval.c */
struct jj_value jj_eval(struct jj *r, const struct jj_node *x);
/* Filters of a block: as jj_eval, with text where the chain begins. */
struct jj_value jj_eval_filters(struct jj *r, const struct jj_node *x, struct jj_value text);
/* A call with one more argument by name; name NULL: without. */
struct jj_value jj_eval_call(struct jj *r, const struct jj_node *x, const struct jj_kwarg *more);
struct jj_value jj_lookup(struct jj *r, const struct jj_name *name);
void jj_assign(struct jj *r, struct jj_scope *scope, const struct jj_name *name, struct jj_value v);
struct jj_scope *jj_scope_new(struct jj *r, struct jj_scope *outer);

/* exec.c */
enum jj_flow { JJ_GO_ON, JJ_BREAK, JJ_CONTINUE };
enum jj_flow jj_exec(struct jj *r, const struct jj_body *body);
struct jj_value jj_macro_call(struct jj *r, struct jj_macro *m, const struct jj_args *args);
void jj_unpack(struct jj *r, struct jj_scope *scope, const struct jj_node *target, struct jj_value v);

/* loop.c */
enum jj_flow jj_exec_for(struct jj *r, const struct jj_node *x);
struct jj_value jj_loop_attr(struct jj *r, struct jj_loop *l, struct jj_value name);
struct jj_value jj_loop_call(struct jj *r, struct jj_loop *l, const struct jj_args *args);

/* attr.c: o.name, o[key], o[a:b:c] */
struct jj_value jj_attr(struct jj *r, struct jj_value o, struct jj_value name);
struct jj_value jj_item(struct jj *r, struct jj_value o, struct jj_value key);
struct jj_value jj_slice(struct jj *r, struct jj_value o, const struct jj_value bound[3]);

/* ops.c */
struct jj_value jj_binary(struct jj *r, enum jj_op op, struct jj_value a, struct jj_value b);
struct jj_value jj_negate(struct jj *r, struct jj_value v);
struct jj_value jj_plus(struct jj *r, struct jj_value v); /* +v */
bool jj_compare(struct jj *r, enum jj_op op, struct jj_value a, struct jj_value b);

#endif
