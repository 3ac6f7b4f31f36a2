/* for, and the `loop` variable: elements are fetched as late as Python fetches them, because a condition
 * (for x in y if c) may depend on what the body did before. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/eval.h"

struct jj_loop {
    const struct jj_node *node;
    struct jj_scope *outer; /* around the statement */
    struct jj_iter source;
    struct jj_scope *test;                  /* of the condition */
    struct jj_value before, current, after; /* JJ_MISSING: none */
    struct jj_list *rest;                   /* what was fetched to learn the length */
    size_t at_rest;
    int64_t index0, length; /* length -1: not known yet */
    uint32_t depth0;
    struct jj_value last_changed;
};

/* The next element that meets the condition, straight from the source. */
static bool fetch(struct jj *r, struct jj_loop *l, struct jj_value *v)
{
    const struct jj_node *x = l->node;
    while (jj_next(r, &l->source, v)) {
        if (!x->kid[2]) return true;
        struct jj_scope *saved = r->scope;
        if (!l->test || l->test->kept) l->test = jj_scope_new(r, l->outer);
        l->test->n = 0;
        r->scope = l->test;
        jj_unpack(r, l->test, x->kid[0], *v);
        bool take = jj_truth(r, jj_eval(r, x->kid[2]));
        r->scope = saved;
        if (take) return true;
    }
    return false;
}

static bool take_next(struct jj *r, struct jj_loop *l, struct jj_value *v)
{
    if (!l->rest) return fetch(r, l, v);
    if (l->at_rest == l->rest->n) return false;
    *v = l->rest->item[l->at_rest++];
    return true;
}

static bool peek(struct jj *r, struct jj_loop *l)
{
    if (l->after.type == JJ_MISSING && !take_next(r, l, &l->after)) l->after = jj_missing();
    return l->after.type != JJ_MISSING;
}

/* Go to the next element; false: there is none. */
static bool advance(struct jj *r, struct jj_loop *l)
{
    struct jj_value v = l->after;
    if (v.type == JJ_MISSING && !take_next(r, l, &v)) return false;
    l->after = jj_missing();
    l->before = l->current;
    l->current = v;
    l->index0++;
    return true;
}

static int64_t length(struct jj *r, struct jj_loop *l)
{
    struct jj_value rest, v;
    if (l->length >= 0) return l->length;
    rest = jj_list_new(r, 0);
    while (fetch(r, l, &v)) jj_list_add(r, rest.list, v);
    l->rest = rest.list;
    l->length = l->index0 + 1 + (l->after.type != JJ_MISSING) + (int64_t)rest.list->n;
    return l->length;
}

static enum jj_flow run(struct jj *r, struct jj_loop *l)
{
    const struct jj_node *x = l->node;
    struct jj_scope *saved = r->scope, *scope = jj_scope_new(r, l->outer);
    enum jj_flow flow = JJ_GO_ON;
    struct jj_value loop = {.type = JJ_LOOP, .loop = l};
    while (flow != JJ_BREAK && advance(r, l)) {
        if (scope->kept) scope = jj_scope_new(r, l->outer);
        scope->n = 0;
        jj_assign(r, scope, r->tmpl->n_loop, loop);
        jj_unpack(r, scope, x->kid[0], l->current);
        r->scope = scope;
        flow = jj_exec(r, &x->body[0]);
        r->scope = saved;
    }
    if (l->index0 >= 0) return JJ_GO_ON;
    r->scope = jj_scope_new(r, l->outer);
    flow = jj_exec(r, &x->body[1]); /* a break in here belongs to the loop around */
    r->scope = saved;
    return flow;
}

static struct jj_loop *loop_new(struct jj *r, const struct jj_node *x, struct jj_scope *outer,
                                struct jj_value over, uint32_t depth0)
{
    struct jj_loop *l = jj_alloc(&r->arena, 1, sizeof *l);
    l->node = x;
    l->outer = outer;
    l->source = jj_iter(r, over);
    l->index0 = -1;
    l->length = -1;
    l->depth0 = depth0;
    return l;
}

enum jj_flow jj_exec_for(struct jj *r, const struct jj_node *x)
{
    struct jj_value over = jj_eval(r, x->kid[1]);
    r->node = x->kid[1];
    return run(r, loop_new(r, x, r->scope, over, 0));
}

/* loop(more): the same loop, one level deeper, as text. */
struct jj_value jj_loop_call(struct jj *r, struct jj_loop *l, const struct jj_args *args)
{
    if (!l->node->recursive)
        jj_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    if (args->n_pos != 1 || args->n_kw) jj_fail(r, "loop() takes one argument: what to go over");
    size_t begin = jj_text_begin(r);
    jj_enter(r);
    run(r, loop_new(r, l->node, l->outer, args->pos[0], l->depth0 + 1));
    jj_leave(r);
    return jj_text_end(r, begin);
}

struct jj_value jj_loop_attr(struct jj *r, struct jj_loop *l, struct jj_value name)
{
    if (jj_str_is(name, "index")) return jj_int(l->index0 + 1);
    if (jj_str_is(name, "index0")) return jj_int(l->index0);
    if (jj_str_is(name, "first")) return jj_bool(l->index0 == 0);
    if (jj_str_is(name, "last")) return jj_bool(!peek(r, l));
    if (jj_str_is(name, "length")) return jj_int(length(r, l));
    if (jj_str_is(name, "revindex")) return jj_int(length(r, l) - l->index0);
    if (jj_str_is(name, "revindex0")) return jj_int(length(r, l) - l->index0 - 1);
    if (jj_str_is(name, "depth")) return jj_int(l->depth0 + 1);
    if (jj_str_is(name, "depth0")) return jj_int(l->depth0);
    if (jj_str_is(name, "previtem"))
        return l->before.type != JJ_MISSING ? l->before : jj_undef(r, "there is no previous item");
    if (jj_str_is(name, "nextitem")) return peek(r, l) ? l->after : jj_undef(r, "there is no next item");
    return jj_missing();
}

/* --- methods --- */

static struct jj_value loop_cycle(struct jj *r, const struct jj_call *c)
{
    if (c->args->n_pos == 0) jj_fail(r, "no items for cycling given");
    return c->args->pos[(uint64_t)c->self.loop->index0 % c->args->n_pos];
}

/* Whether the arguments differ from those of the call before. */
static struct jj_value loop_changed(struct jj *r, const struct jj_call *c)
{
    struct jj_value now = jj_list_new(r, c->args->n_pos);
    struct jj_loop *l = c->self.loop;
    for (uint32_t i = 0; i < c->args->n_pos; i++) jj_list_add(r, now.list, c->args->pos[i]);
    bool changed = l->last_changed.type == JJ_MISSING || !jj_equal(r, l->last_changed, now);
    if (changed) l->last_changed = now;
    return jj_bool(changed);
}

const struct jj_builtin jj_methods_loop[] = {
    {.name = "cycle", .fn = loop_cycle}, {.name = "changed", .fn = loop_changed}, {0}};
