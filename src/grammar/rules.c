#include "grammar/rules.h"

#include <string.h>

enum { MAX_RULES = 8192, MAX_INLINE = 2000 };

struct call { /* exit number - 1: the rule called, and where its caller goes on */
    uint32_t rule, back;
};
struct rule {
    const char *name;
    size_t n;
    bool nullable, possible, recursive, inlined;
    const struct node *node; /* a value: it has no automaton of its own */
    struct nfa nfa;
    struct call *call;
    size_t n_call, cap_call;
    struct shape *shape;
    uint32_t *back; /* by call: the state of the automaton */
    struct rule_exits *exits;
    size_t n_exits, cap_exits;
    uint8_t visit; /* 1: on the way, 2: done */
};

static int name_length(const struct rule *x)
{
    return (int)MIN(x->n, (size_t)60);
}

static struct rule *new_rule(struct rules *r)
{
    if (r->n_rule == MAX_RULES) build_fail(r->b, ERR_LIMIT, "%s: more than %d rules", r->kind, MAX_RULES);
    r->rule = build_grow(r->b, r->rule, r->n_rule, &r->cap_rule, sizeof *r->rule);
    return r->rule[r->n_rule++] = build_alloc(r->b, 1, sizeof **r->rule);
}

uint32_t rules_add(struct rules *r, const char *name, size_t n)
{
    struct rule *x = new_rule(r);
    x->name = name;
    x->n = n;
    nfa_add_state(r->b, &x->nfa, -1); /* RULE_FROM */
    nfa_add_state(r->b, &x->nfa, 0);  /* RULE_TO */
    return (uint32_t)r->n_rule - 1;
}

uint32_t rules_add_node(struct rules *r, const struct node *node)
{
    struct rule *x = new_rule(r);
    x->node = node;
    x->possible = node->possible;
    x->recursive = true; /* nothing to inline */
    return (uint32_t)r->n_rule - 1;
}

struct nfa *rules_nfa(struct rules *r, uint32_t rule)
{
    return &r->rule[rule]->nfa;
}

static uint32_t add_call(struct build *b, struct rule *x, struct call c)
{
    x->call = build_grow(b, x->call, x->n_call, &x->cap_call, sizeof *x->call);
    x->call[x->n_call++] = c;
    return (uint32_t)x->n_call;
}

void rules_call(struct rules *r, uint32_t rule, uint32_t from, uint32_t callee, uint32_t to)
{
    struct rule *x = r->rule[rule];
    uint32_t exit = add_call(r->b, x, (struct call){callee, to});
    nfa_add_eps(r->b, &x->nfa, from, nfa_add_state(r->b, &x->nfa, (int32_t)exit), NFA_ALWAYS);
}

/* ---- rules to automata ------------------------------------------------------------------------------- */

struct merge {
    struct rules *r;
    struct rule *x;
};

/* Several exits of one state become a list; calls stand in it by number until all rules are there. */
static int32_t merge_exits(void *ctx, const int32_t *exit, size_t n)
{
    struct merge *m = ctx;
    struct rule *x = m->x;
    x->exits = build_grow(m->r->b, x->exits, x->n_exits, &x->cap_exits, sizeof *x->exits);
    struct rule_exit *list = build_alloc(m->r->b, n, sizeof *list);
    x->exits[x->n_exits] = (struct rule_exits){.e = list, .n = n};
    for (size_t i = 0; i < n; i++) list[i].back = (uint32_t)exit[i];
    return (int32_t)x->n_exits++;
}

/* Whether rule `to` can be reached from rule `from` by calls. */
static bool calls(struct rules *r, uint32_t from, uint32_t to, uint8_t *seen)
{
    const struct rule *x = r->rule[from];
    build_work(r->b, x->n_call + 1);
    seen[from] = 1;
    for (size_t i = 0; i < x->n_call; i++) {
        uint32_t next = x->call[i].rule;
        if (next == to || (!seen[next] && calls(r, next, to, seen))) return true;
    }
    return false;
}

/* callee's automaton between state q of x, which called it, and the state after the call. */
static void inline_one(struct build *b, struct rule *x, uint32_t q, const struct rule *callee, uint32_t back)
{
    uint32_t shift = (uint32_t)x->nfa.n_state;
    for (size_t i = 0; i < callee->nfa.n_state; i++) {
        const struct nfa_state *s = &callee->nfa.state[i];
        uint32_t at = nfa_add_state(b, &x->nfa, -1);
        if (s->exit == 0) nfa_add_eps(b, &x->nfa, at, back, NFA_ALWAYS);
        if (s->exit <= 0) continue;
        struct call inner = callee->call[s->exit - 1];
        inner.back += shift;
        x->nfa.state[at].exit = (int32_t)add_call(b, x, inner);
    }
    for (size_t i = 0; i < callee->nfa.n_state; i++) {
        const struct nfa_state *s = &callee->nfa.state[i];
        for (uint32_t k = s->edge; k; k = callee->nfa.edge[k - 1].next) {
            struct nfa_edge e = callee->nfa.edge[k - 1];
            nfa_add_edge(b, &x->nfa, shift + (uint32_t)i, e.lo, e.hi, shift + e.to);
        }
        for (uint32_t k = s->eps; k; k = callee->nfa.eps[k - 1].next)
            nfa_add_eps(b, &x->nfa, shift + (uint32_t)i, shift + callee->nfa.eps[k - 1].to, NFA_ALWAYS);
    }
    x->nfa.state[q].exit = -1;
    nfa_add_eps(b, &x->nfa, q, shift + RULE_FROM, NFA_ALWAYS);
}

/* Put the automata of rules that are not recursive in place of their calls: most of what a grammar says is
 * then read without a stack. Callees first. */
static void inline_calls(struct rules *r, struct rule *x)
{
    if (x->inlined) return;
    x->inlined = true;
    for (size_t i = 0, n = x->n_call; i < n; i++) inline_calls(r, r->rule[x->call[i].rule]);
    for (uint32_t q = 0, n = (uint32_t)x->nfa.n_state; q < n; q++) {
        int32_t exit = x->nfa.state[q].exit;
        if (exit <= 0) continue;
        struct call call = x->call[exit - 1];
        const struct rule *callee = r->rule[call.rule];
        if (callee->recursive || callee->nfa.n_state > MAX_INLINE || x->nfa.n_state > 10 * MAX_INLINE)
            continue;
        inline_one(r->b, x, q, callee, call.back);
    }
}

/* exits 0 to n_call are the end and single calls; lists of several come after them */
static void make_shape(struct rules *r, struct rule *x)
{
    struct merge ctx = {r, x};
    uint32_t *root = build_alloc(r->b, x->n_call + 1, sizeof *root);
    for (size_t i = 0; i <= x->n_call; i++) merge_exits(&ctx, (int32_t[]){(int32_t)i}, 1);
    for (size_t i = 0; i < x->n_call; i++) root[i + 1] = x->call[i].back;
    x->back = build_alloc(r->b, x->n_call + 1, sizeof *x->back);
    struct dfa *d = nfa_to_dfa(r->b, &x->nfa, root, x->n_call + 1, x->back, merge_exits, &ctx);
    dfa_mark_universal(r->b, d);
    x->shape = build_alloc(r->b, 1, sizeof *x->shape);
    *x->shape = (struct shape){.kind = SHAPE_RULE, .dfa = d};
}

static void link_exits(struct rules *r, struct rule *x)
{
    for (size_t i = 0; i < x->n_exits; i++)
        for (size_t k = 0; k < x->exits[i].n; k++) {
            struct rule_exit *e = (struct rule_exit *)&x->exits[i].e[k];
            uint32_t call = e->back;
            *e = (struct rule_exit){0};
            if (!call) continue;
            const struct rule *callee = r->rule[x->call[call - 1].rule];
            e->node = callee->node;
            e->shape = callee->shape;
            e->back = x->back[call];
        }
    x->shape->exits = x->exits;
}

/* ---- what may go wrong ------------------------------------------------------------------------------- */

/* From the start of x: what can be read to its end, with rules known to be possible (or nullable, if
 * only_empty). */
static bool reaches_end(struct rules *r, const struct rule *x, bool only_empty)
{
    const struct dfa *d = x->shape->dfa;
    uint8_t *seen = build_alloc(r->b, d->n_state, 1);
    uint32_t *queue = build_alloc(r->b, d->n_state, sizeof *queue), n = 0;
    seen[DFA_START] = 1;
    queue[n++] = DFA_START;
    build_work(r->b, d->n_state);
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *e = s->exit >= 0 ? &x->exits[s->exit] : NULL;
        for (unsigned k = 0; !only_empty && k < s->n_edge; k++) {
            uint32_t to = d->edge[s->edge + k].to;
            if (!seen[to]) seen[queue[n++] = to] = 1;
        }
        for (size_t k = 0; e && k < e->n; k++) {
            uint32_t call = e->e[k].back; /* before link_exits */
            if (!call) return true;
            const struct rule *callee = r->rule[x->call[call - 1].rule];
            uint32_t to = x->back[call];
            if ((only_empty ? callee->nullable : callee->possible) && to && !seen[to])
                seen[queue[n++] = to] = 1;
        }
    }
    return false;
}

/* Which rules may read nothing, and which can be read to their end: the least solution, from below. */
static void find_possible(struct rules *r)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = r->n_rule; i-- > 0;) {
            struct rule *x = r->rule[i];
            if (x->node) continue;
            bool nullable = x->nullable || reaches_end(r, x, true),
                 possible = x->possible || reaches_end(r, x, false);
            more |= nullable != x->nullable || possible != x->possible;
            x->nullable = nullable;
            x->possible = possible;
        }
    }
    for (size_t i = 0; i < r->n_rule; i++)
        if (!r->rule[i]->possible)
            build_fail(r->b, ERR_ARG, "%s: rule \"%.*s\" never ends", r->kind, name_length(r->rule[i]),
                       r->rule[i]->name ? r->rule[i]->name : "");
}

/* Rules that x may call before it has read a byte. */
static void check_left(struct rules *r, struct rule *x, int depth)
{
    if (x->node || x->visit == 2) return;
    if (x->visit == 1 || depth > 500)
        build_fail(r->b, ERR_UNSUPPORTED, "%s: rule \"%.*s\" is left-recursive: it begins with itself",
                   r->kind, name_length(x), x->name);
    const struct dfa *d = x->shape->dfa;
    uint8_t *seen = build_alloc(r->b, d->n_state, 1);
    uint32_t *queue = build_alloc(r->b, d->n_state, sizeof *queue), n = 0;
    x->visit = 1;
    seen[DFA_START] = 1;
    queue[n++] = DFA_START;
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *e = s->exit >= 0 ? &x->exits[s->exit] : NULL;
        for (size_t k = 0; e && k < e->n; k++) {
            uint32_t call = e->e[k].back;
            if (!call) continue;
            struct rule *callee = r->rule[x->call[call - 1].rule];
            check_left(r, callee, depth + 1);
            if (callee->nullable && x->back[call] && !seen[x->back[call]])
                seen[queue[n++] = x->back[call]] = 1;
        }
    }
    x->visit = 2;
}

/* Where x comes to when the k-th call at exit e reads nothing; 0: nowhere. */
static uint32_t after_empty_call(const struct rules *r, const struct rule *x, const struct rule_exits *e,
                                 size_t k)
{
    uint32_t call = e->e[k].back;
    return call && r->rule[x->call[call - 1].rule]->nullable ? x->back[call] : 0;
}

/* Whether empty calls can lead x round a loop: take away states that no empty call leads to until none is
 * left. */
static void check_loops(struct rules *r, const struct rule *x)
{
    if (x->node) return;
    const struct dfa *d = x->shape->dfa;
    uint32_t *n_in = build_alloc(r->b, d->n_state, sizeof *n_in), n = 0;
    uint32_t *queue = build_alloc(r->b, d->n_state, sizeof *queue);
    for (uint32_t q = 0; q < d->n_state; q++) {
        const struct rule_exits *e = d->state[q].exit >= 0 ? &x->exits[d->state[q].exit] : NULL;
        for (size_t k = 0; e && k < e->n; k++) n_in[after_empty_call(r, x, e, k)]++;
    }
    n_in[0] = 0; /* nowhere */
    for (uint32_t q = 0; q < d->n_state; q++)
        if (!n_in[q]) queue[n++] = q;
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *e = s->exit >= 0 ? &x->exits[s->exit] : NULL;
        for (size_t k = 0; e && k < e->n; k++) {
            uint32_t to = after_empty_call(r, x, e, k);
            if (to && --n_in[to] == 0) queue[n++] = to;
        }
    }
    if (n < d->n_state)
        build_fail(
            r->b, ERR_UNSUPPORTED,
            "%s: rule \"%.*s\" repeats a recursive rule that may be empty; let that rule read something",
            r->kind, name_length(x), x->name);
}

const struct shape *rules_finish(struct rules *r, uint32_t root)
{
    uint8_t *seen = build_alloc(r->b, r->n_rule, 1);
    for (uint32_t i = 0; i < r->n_rule; i++) {
        memset(seen, 0, r->n_rule);
        if (!r->rule[i]->node) r->rule[i]->recursive = calls(r, i, i, seen);
    }
    for (size_t i = 0; i < r->n_rule; i++) inline_calls(r, r->rule[i]);
    for (size_t i = 0; i < r->n_rule; i++)
        if (!r->rule[i]->node) make_shape(r, r->rule[i]);
    find_possible(r);
    for (size_t i = 0; i < r->n_rule; i++) check_left(r, r->rule[i], 0);
    for (size_t i = 0; i < r->n_rule; i++) check_loops(r, r->rule[i]);
    for (size_t i = 0; i < r->n_rule; i++)
        if (!r->rule[i]->node) link_exits(r, r->rule[i]);
    return r->rule[root]->shape;
}
