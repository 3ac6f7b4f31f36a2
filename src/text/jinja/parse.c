#include "text/jinja/parse.h"

#include <stdio.h>
#include <string.h>

#include "text/jinja/builtin.h"

/* --- tokens --- */

void jj_advance(struct jj_parser *p)
{
    p->tok = p->has_ahead ? p->ahead : jj_lex(&p->lex);
    p->has_ahead = false;
}

static const struct jj_token *look(struct jj_parser *p)
{
    if (!p->has_ahead) p->ahead = jj_lex(&p->lex);
    p->has_ahead = true;
    return &p->ahead;
}

static bool token_is_name(const struct jj_token *t, const char *name)
{
    return t->type == JJ_T_NAME && jj_str_is(t->value, name);
}

bool jj_at_name(const struct jj_parser *p, const char *name)
{
    return token_is_name(&p->tok, name);
}

bool jj_skip(struct jj_parser *p, enum jj_token_type type)
{
    if (p->tok.type != type) return false;
    jj_advance(p);
    return true;
}

bool jj_skip_name(struct jj_parser *p, const char *name)
{
    if (!jj_at_name(p, name)) return false;
    jj_advance(p);
    return true;
}

static const char *token_name(enum jj_token_type type)
{
    // clang-format off
    static const char *const name[] = {
        [JJ_T_END] = "end of template", [JJ_T_TEXT] = "text", [JJ_T_PRINT_BEGIN] = "{{", [JJ_T_PRINT_END] = "}}",
        [JJ_T_BLOCK_BEGIN] = "{%", [JJ_T_BLOCK_END] = "%}", [JJ_T_NAME] = "name", [JJ_T_STRING] = "string",
        [JJ_T_INT] = "integer", [JJ_T_FLOAT] = "float", [JJ_T_ADD] = "+", [JJ_T_SUB] = "-", [JJ_T_MUL] = "*",
        [JJ_T_DIV] = "/", [JJ_T_FLOORDIV] = "//", [JJ_T_MOD] = "%", [JJ_T_POW] = "**", [JJ_T_TILDE] = "~",
        [JJ_T_EQ] = "==", [JJ_T_NE] = "!=", [JJ_T_LT] = "<", [JJ_T_LE] = "<=", [JJ_T_GT] = ">", [JJ_T_GE] = ">=",
        [JJ_T_ASSIGN] = "=", [JJ_T_DOT] = ".", [JJ_T_COLON] = ":", [JJ_T_COMMA] = ",", [JJ_T_SEMICOLON] = ";",
        [JJ_T_PIPE] = "|", [JJ_T_LPAREN] = "(", [JJ_T_RPAREN] = ")", [JJ_T_LBRACKET] = "[",
        [JJ_T_RBRACKET] = "]", [JJ_T_LBRACE] = "{", [JJ_T_RBRACE] = "}",
    };
    // clang-format on
    return name[type];
}

void jj_unexpected(struct jj_parser *p, const char *wanted)
{
    const struct jj_token *t = &p->tok;
    char got[80];
    if (t->type == JJ_T_NAME || t->type == JJ_T_STRING)
        snprintf(got, sizeof got, "'%.*s'", (int)MIN(t->value.n, 60u), t->value.s);
    else
        snprintf(got, sizeof got, t->type == JJ_T_END ? "%s" : "'%s'", token_name(t->type));
    if (!wanted) jj_syntax_error(p->arena->trap, t->at, "unexpected %s", got);
    jj_syntax_error(p->arena->trap, t->at, "expected %s, got %s", wanted, got);
}

struct jj_token jj_expect(struct jj_parser *p, enum jj_token_type type)
{
    struct jj_token t = p->tok;
    char wanted[32];
    if (t.type != type) {
        snprintf(wanted, sizeof wanted, type == JJ_T_NAME ? "a %s" : "'%s'", token_name(type));
        jj_unexpected(p, wanted);
    }
    jj_advance(p);
    return t;
}

void jj_nest(struct jj_parser *p)
{
    if (++p->nesting > JJ_MAX_NESTING) {
        p->arena->trap->at = p->tok.at;
        jj_throw(p->arena->trap, ERR_LIMIT, JINJA_LIMIT, "the template nests more than %d levels deep",
                 JJ_MAX_NESTING);
    }
}

/* --- nodes --- */

struct jj_node *jj_node_new(struct jj_parser *p, enum jj_kind kind, uint32_t at, uint32_t n)
{
    struct jj_node *x = jj_alloc(p->arena, 1, sizeof *x);
    x->kind = (uint8_t)kind;
    x->at = at;
    x->n = n;
    if (n) x->kid = jj_alloc(p->arena, n, sizeof *x->kid);
    return x;
}

static struct jj_node *node_of(struct jj_parser *p, enum jj_kind kind, uint32_t at, const struct jj_node *a)
{
    struct jj_node *x = jj_node_new(p, kind, at, 1);
    x->kid[0] = a;
    return x;
}

static struct jj_node *node_of2(struct jj_parser *p, enum jj_kind kind, uint32_t at, const struct jj_node *a,
                                const struct jj_node *b)
{
    struct jj_node *x = jj_node_new(p, kind, at, 2);
    x->kid[0] = a;
    x->kid[1] = b;
    return x;
}

void jj_nodes_add(struct jj_parser *p, struct jj_nodes *l, const struct jj_node *x)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 4;
        l->at = jj_grow(p->arena, l->at, l->n, l->cap, sizeof *l->at);
    }
    l->at[l->n++] = x;
}

static struct jj_node *node_of_list(struct jj_parser *p, enum jj_kind kind, uint32_t at,
                                    const struct jj_nodes *l)
{
    struct jj_node *x = jj_node_new(p, kind, at, 0);
    x->kid = l->at;
    x->n = l->n;
    return x;
}

static struct jj_node *constant(struct jj_parser *p, uint32_t at, struct jj_value v)
{
    struct jj_node *x = jj_node_new(p, JJ_X_CONST, at, 0);
    x->value = v;
    return x;
}

const struct jj_name *jj_intern(struct jj_parser *p, struct jj_value name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.n; i++) h = (h ^ (uint8_t)name.s[i]) * 16777619u;
    struct jj_name **b = &p->bucket[h % JJ_NAME_BUCKETS];
    for (struct jj_name *n = *b; n; n = n->next)
        if (n->str.n == name.n && memcmp(n->str.s, name.s, name.n) == 0) return n;
    struct jj_name *n = jj_alloc(p->arena, 1, sizeof *n);
    n->str = name;
    n->next = *b;
    return *b = n;
}

/* A variable that is read. A macro takes extra arguments only when its body mentions them. */
static struct jj_node *name_node(struct jj_parser *p, const struct jj_token *t)
{
    struct jj_node *x = jj_node_new(p, JJ_X_NAME, t->at, 0);
    x->name = jj_intern(p, t->value);
    for (struct jj_enclosing *m = p->enclosing; m; m = m->outer) {
        m->params->uses_caller |= x->name == p->tmpl->n_caller;
        m->params->uses_varargs |= x->name == p->tmpl->n_varargs;
        m->params->uses_kwargs |= x->name == p->tmpl->n_kwargs;
    }
    return x;
}

/* --- primary expressions --- */

static const struct jj_node *parse_unary(struct jj_parser *p, bool with_filter);

static struct jj_node *parse_string(struct jj_parser *p)
{
    struct jj_token t = p->tok;
    jj_advance(p);
    while (p->tok.type == JJ_T_STRING) { /* 'a' 'b' is one string */
        size_t n = (size_t)t.value.n + p->tok.value.n;
        char *text = jj_alloc_text(p->arena, n);
        if (t.value.n) memcpy(text, t.value.s, t.value.n);
        if (p->tok.value.n) memcpy(text + t.value.n, p->tok.value.s, p->tok.value.n);
        t.value = jj_str(text, n);
        jj_advance(p);
    }
    return constant(p, t.at, t.value);
}

/* The elements up to `end`, a comma between them and perhaps after the last; pairs: key: value. */
static struct jj_node *parse_elements(struct jj_parser *p, enum jj_kind kind, enum jj_token_type end)
{
    struct jj_nodes l = {0};
    uint32_t at = p->tok.at;
    jj_advance(p);
    while (p->tok.type != end) {
        if (l.n) jj_expect(p, JJ_T_COMMA);
        if (p->tok.type == end) break;
        jj_nodes_add(p, &l, jj_parse_expr(p, true));
        if (kind != JJ_X_DICT) continue;
        jj_expect(p, JJ_T_COLON);
        jj_nodes_add(p, &l, jj_parse_expr(p, true));
    }
    jj_advance(p);
    return node_of_list(p, kind, at, &l);
}

static const struct jj_node *parse_parentheses(struct jj_parser *p)
{
    uint32_t at = p->tok.at;
    const struct jj_node *x;
    jj_advance(p);
    if (p->tok.type == JJ_T_RPAREN)
        x = jj_node_new(p, JJ_X_TUPLE, at, 0);
    else
        x = jj_parse_tuple(p, true, NULL);
    jj_expect(p, JJ_T_RPAREN);
    return x;
}

static bool constant_name(struct jj_value name, struct jj_value *out)
{
    if (jj_str_is(name, "true") || jj_str_is(name, "True"))
        *out = jj_bool(true);
    else if (jj_str_is(name, "false") || jj_str_is(name, "False"))
        *out = jj_bool(false);
    else if (jj_str_is(name, "none") || jj_str_is(name, "None"))
        *out = jj_none();
    else
        return false;
    return true;
}

static const struct jj_node *parse_primary(struct jj_parser *p)
{
    struct jj_token t = p->tok;
    struct jj_value v;
    switch (t.type) {
    case JJ_T_NAME:
        jj_advance(p);
        return constant_name(t.value, &v) ? constant(p, t.at, v) : name_node(p, &t);
    case JJ_T_STRING: return parse_string(p);
    case JJ_T_INT:
    case JJ_T_FLOAT: jj_advance(p); return constant(p, t.at, t.value);
    case JJ_T_LPAREN: return parse_parentheses(p);
    case JJ_T_LBRACKET: return parse_elements(p, JJ_X_LIST, JJ_T_RBRACKET);
    case JJ_T_LBRACE: return parse_elements(p, JJ_X_DICT, JJ_T_RBRACE);
    default: jj_unexpected(p, NULL);
    }
}

/* --- postfix: attributes, subscripts, calls, filters, tests --- */

/* The place before `:` or after it in a slice: an expression, or nothing. */
static const struct jj_node *slice_bound(struct jj_parser *p)
{
    if (p->tok.type == JJ_T_COLON || p->tok.type == JJ_T_RBRACKET || p->tok.type == JJ_T_COMMA) return NULL;
    return jj_parse_expr(p, true);
}

static struct jj_node *parse_subscript(struct jj_parser *p, const struct jj_node *of)
{
    uint32_t at = p->tok.at;
    struct jj_nodes l = {0};
    jj_advance(p);
    const struct jj_node *first = slice_bound(p);
    if (jj_skip(p, JJ_T_COLON)) {
        struct jj_node *x = jj_node_new(p, JJ_X_SLICE, at, 4);
        x->kid[0] = of;
        x->kid[1] = first;
        x->kid[2] = slice_bound(p);
        if (jj_skip(p, JJ_T_COLON)) x->kid[3] = slice_bound(p);
        jj_expect(p, JJ_T_RBRACKET);
        return x;
    }
    if (!first && p->tok.type != JJ_T_RBRACKET) jj_unexpected(p, NULL);
    if (!first || p->tok.type == JJ_T_COMMA) { /* o[a, b] or o[]: the key is a tuple */
        if (first) jj_nodes_add(p, &l, first);
        while (jj_skip(p, JJ_T_COMMA)) jj_nodes_add(p, &l, jj_parse_expr(p, true));
        first = node_of_list(p, JJ_X_TUPLE, at, &l);
    }
    jj_expect(p, JJ_T_RBRACKET);
    return node_of2(p, JJ_X_ITEM, at, of, first);
}

static struct jj_node *parse_dot(struct jj_parser *p, const struct jj_node *of)
{
    uint32_t at = p->tok.at;
    jj_advance(p);
    struct jj_token t = p->tok;
    if (t.type == JJ_T_INT) {
        jj_advance(p);
        return node_of2(p, JJ_X_ITEM, at, of, constant(p, t.at, t.value));
    }
    if (t.type != JJ_T_NAME) jj_unexpected(p, "name or number");
    jj_advance(p);
    struct jj_node *x = node_of(p, JJ_X_ATTR, at, of);
    x->name = jj_intern(p, t.value);
    return x;
}

static struct jj_arglist parse_args(struct jj_parser *p)
{
    struct jj_arglist l = {0};
    uint32_t cap = 0;
    int last = JJ_ARG_POSITION; /* the kinds come in this order */
    jj_expect(p, JJ_T_LPAREN);
    while (p->tok.type != JJ_T_RPAREN) {
        struct jj_arg a = {.kind = JJ_ARG_POSITION};
        if (l.n) jj_expect(p, JJ_T_COMMA);
        if (p->tok.type == JJ_T_RPAREN) break;
        uint32_t at = p->tok.at;
        if (jj_skip(p, JJ_T_MUL)) {
            a.kind = JJ_ARG_STAR;
        } else if (jj_skip(p, JJ_T_POW)) {
            a.kind = JJ_ARG_STAR2;
        } else if (p->tok.type == JJ_T_NAME && look(p)->type == JJ_T_ASSIGN) {
            a.kind = JJ_ARG_NAMED;
            a.name = jj_intern(p, p->tok.value);
            jj_advance(p);
            jj_advance(p);
        }
        bool once = a.kind == JJ_ARG_STAR || a.kind == JJ_ARG_STAR2;
        bool named_after_star = a.kind == JJ_ARG_NAMED && last == JJ_ARG_STAR;
        if (((int)a.kind < last && !named_after_star) || (once && (int)a.kind == last))
            jj_syntax_error(p->arena->trap, at, "invalid syntax for function call expression");
        if (!named_after_star) last = (int)a.kind;
        a.value = jj_parse_expr(p, true);
        if (l.n == cap) {
            cap = cap ? cap * 2 : 4;
            l.arg = jj_grow(p->arena, l.arg, l.n, cap, sizeof *l.arg);
        }
        l.arg[l.n++] = a;
    }
    jj_advance(p);
    return l;
}

static struct jj_node *parse_call(struct jj_parser *p, const struct jj_node *of)
{
    struct jj_node *x = node_of(p, JJ_X_CALL, p->tok.at, of);
    x->args = parse_args(p);
    return x;
}

static const struct jj_node *parse_postfix(struct jj_parser *p, const struct jj_node *x)
{
    for (;;) {
        switch (p->tok.type) {
        case JJ_T_DOT: x = parse_dot(p, x); break;
        case JJ_T_LBRACKET: x = parse_subscript(p, x); break;
        case JJ_T_LPAREN: x = parse_call(p, x); break;
        default: return x;
        }
    }
}

static void note_unknown(struct jj_parser *p, const char *what, uint32_t at, struct jj_value name)
{
    if (p->n_unknown == p->cap_unknown) {
        p->cap_unknown = p->cap_unknown ? p->cap_unknown * 2 : 4;
        p->unknown = jj_grow(p->arena, p->unknown, p->n_unknown, p->cap_unknown, sizeof *p->unknown);
    }
    p->unknown[p->n_unknown++] = (struct jj_unknown){.at = at, .what = what, .name = name};
}

void jj_refuse_unknown(struct jj_parser *p, size_t from)
{
    if (p->n_unknown <= from) return;
    const struct jj_unknown *u = &p->unknown[from];
    jj_syntax_error(p->arena->trap, u->at, "No %s named '%.*s'.", u->what, (int)MIN(u->name.n, 60u),
                    u->name.s);
}

/* name or name.name, as one view of the source. */
static struct jj_token dotted_name(struct jj_parser *p)
{
    struct jj_token t = jj_expect(p, JJ_T_NAME);
    while (p->tok.type == JJ_T_DOT) {
        jj_advance(p);
        struct jj_token more = jj_expect(p, JJ_T_NAME);
        t.value = jj_str(t.value.s, (size_t)(more.value.s + more.value.n - t.value.s));
    }
    return t;
}

struct jj_node *jj_parse_filter(struct jj_parser *p, const struct jj_node *of)
{
    struct jj_token t = dotted_name(p);
    struct jj_node *x = node_of(p, JJ_X_FILTER, t.at, of);
    x->name2 = jj_intern(p, t.value);
    x->builtin = jj_find_filter(t.value);
    if (!x->builtin) note_unknown(p, "filter", t.at, t.value);
    if (p->tok.type == JJ_T_LPAREN) x->args = parse_args(p);
    return x;
}

/* Whether what follows a test without parentheses is its argument: `is divisibleby 3`. */
static bool at_test_argument(const struct jj_parser *p)
{
    switch (p->tok.type) {
    case JJ_T_NAME: return !jj_at_name(p, "else") && !jj_at_name(p, "or") && !jj_at_name(p, "and");
    case JJ_T_STRING:
    case JJ_T_INT:
    case JJ_T_FLOAT:
    case JJ_T_LBRACKET:
    case JJ_T_LBRACE: return true;
    default: return false;
    }
}

static struct jj_node *parse_test(struct jj_parser *p, const struct jj_node *of)
{
    uint32_t at = p->tok.at;
    jj_advance(p);
    bool negated = jj_skip_name(p, "not");
    struct jj_token t = dotted_name(p);
    struct jj_node *x = node_of(p, JJ_X_TEST, at, of);
    x->negated = negated;
    x->name2 = jj_intern(p, t.value);
    x->builtin = jj_find_test(t.value);
    if (!x->builtin) note_unknown(p, "test", t.at, t.value);
    if (p->tok.type == JJ_T_LPAREN) {
        x->args = parse_args(p);
    } else if (at_test_argument(p)) {
        if (jj_at_name(p, "is"))
            jj_syntax_error(p->arena->trap, p->tok.at, "You cannot chain multiple tests with is");
        x->args.arg = jj_alloc(p->arena, 1, sizeof *x->args.arg);
        x->args.arg[0].value = parse_postfix(p, parse_primary(p));
        x->args.n = 1;
    }
    return x;
}

static const struct jj_node *parse_filters(struct jj_parser *p, const struct jj_node *x)
{
    for (;;) {
        if (jj_skip(p, JJ_T_PIPE))
            x = jj_parse_filter(p, x);
        else if (jj_at_name(p, "is"))
            x = parse_test(p, x);
        else if (p->tok.type == JJ_T_LPAREN)
            x = parse_call(p, x);
        else
            return x;
    }
}

/* --- operators, from the tightest --- */

static const struct jj_node *parse_unary(struct jj_parser *p, bool with_filter)
{
    uint32_t at = p->tok.at;
    const struct jj_node *x;
    jj_nest(p);
    if (jj_skip(p, JJ_T_SUB))
        x = node_of(p, JJ_X_NEG, at, parse_unary(p, false));
    else if (jj_skip(p, JJ_T_ADD))
        x = node_of(p, JJ_X_POS, at, parse_unary(p, false));
    else
        x = parse_primary(p);
    x = parse_postfix(p, x);
    if (with_filter) x = parse_filters(p, x);
    p->nesting--;
    return x;
}

static const struct jj_node *parse_binary(struct jj_parser *p, unsigned level);

/* Binary operators that group from the left; a row per level, the loosest first. ~ stands between the levels.
 */
static const struct {
    struct {
        enum jj_token_type token;
        enum jj_op op;
    } row[4];
    unsigned n;
} levels[] = {
    {{{JJ_T_ADD, JJ_OP_ADD}, {JJ_T_SUB, JJ_OP_SUB}}, 2},
    {{{JJ_T_TILDE, JJ_OP_ADD}}, 1},
    {{{JJ_T_MUL, JJ_OP_MUL}, {JJ_T_DIV, JJ_OP_DIV}, {JJ_T_FLOORDIV, JJ_OP_FLOORDIV}, {JJ_T_MOD, JJ_OP_MOD}},
     4},
    {{{JJ_T_POW, JJ_OP_POW}}, 1},
};

static const struct jj_node *parse_concat(struct jj_parser *p, unsigned level)
{
    struct jj_nodes l = {0};
    uint32_t at = p->tok.at;
    const struct jj_node *x = parse_binary(p, level + 1);
    if (p->tok.type != JJ_T_TILDE) return x;
    jj_nodes_add(p, &l, x);
    while (jj_skip(p, JJ_T_TILDE)) jj_nodes_add(p, &l, parse_binary(p, level + 1));
    return node_of_list(p, JJ_X_CONCAT, at, &l);
}

static const struct jj_node *parse_binary(struct jj_parser *p, unsigned level)
{
    if (level == COUNT_OF(levels)) return parse_unary(p, true);
    if (levels[level].row[0].token == JJ_T_TILDE) return parse_concat(p, level);
    const struct jj_node *x = parse_binary(p, level + 1);
    for (;;) {
        unsigned i = 0;
        while (i < levels[level].n && levels[level].row[i].token != p->tok.type) i++;
        if (i == levels[level].n) return x;
        uint32_t at = p->tok.at;
        jj_advance(p);
        struct jj_node *op = node_of2(p, JJ_X_BINARY, at, x, parse_binary(p, level + 1));
        op->op = (uint8_t)levels[level].row[i].op;
        x = op;
    }
}

/* A comparison at the current token, read; false: there is none. */
static bool skip_comparison(struct jj_parser *p, enum jj_op *op)
{
    switch (p->tok.type) {
    case JJ_T_EQ: *op = JJ_OP_EQ; break;
    case JJ_T_NE: *op = JJ_OP_NE; break;
    case JJ_T_LT: *op = JJ_OP_LT; break;
    case JJ_T_LE: *op = JJ_OP_LE; break;
    case JJ_T_GT: *op = JJ_OP_GT; break;
    case JJ_T_GE: *op = JJ_OP_GE; break;
    case JJ_T_NAME:
        if (jj_at_name(p, "in")) {
            *op = JJ_OP_IN;
            break;
        }
        if (!jj_at_name(p, "not") || !token_is_name(look(p), "in")) return false;
        jj_advance(p);
        *op = JJ_OP_NOT_IN;
        break;
    default: return false;
    }
    jj_advance(p);
    return true;
}

static const struct jj_node *parse_compare(struct jj_parser *p)
{
    uint32_t at = p->tok.at, n = 0, cap = 0;
    struct jj_nodes l = {0};
    uint8_t *ops = NULL;
    enum jj_op op;
    const struct jj_node *x = parse_binary(p, 0);
    jj_nodes_add(p, &l, x);
    while (skip_comparison(p, &op)) {
        if (n == cap) {
            cap = cap ? cap * 2 : 4;
            ops = jj_grow(p->arena, ops, n, cap, 1);
        }
        ops[n++] = (uint8_t)op;
        jj_nodes_add(p, &l, parse_binary(p, 0));
    }
    if (!n) return x;
    struct jj_node *c = node_of_list(p, JJ_X_COMPARE, at, &l);
    c->ops = ops;
    return c;
}

static const struct jj_node *parse_not(struct jj_parser *p)
{
    uint32_t at = p->tok.at;
    if (!jj_skip_name(p, "not")) return parse_compare(p);
    jj_nest(p);
    const struct jj_node *x = node_of(p, JJ_X_NOT, at, parse_not(p));
    p->nesting--;
    return x;
}

static const struct jj_node *parse_and(struct jj_parser *p)
{
    const struct jj_node *x = parse_not(p);
    for (uint32_t at = p->tok.at; jj_skip_name(p, "and"); at = p->tok.at)
        x = node_of2(p, JJ_X_AND, at, x, parse_not(p));
    return x;
}

static const struct jj_node *parse_or(struct jj_parser *p)
{
    const struct jj_node *x = parse_and(p);
    for (uint32_t at = p->tok.at; jj_skip_name(p, "or"); at = p->tok.at)
        x = node_of2(p, JJ_X_OR, at, x, parse_and(p));
    return x;
}

const struct jj_node *jj_parse_expr(struct jj_parser *p, bool with_if)
{
    size_t unknown = p->n_unknown;
    jj_nest(p);
    const struct jj_node *x = parse_or(p);
    for (uint32_t at = p->tok.at; with_if && jj_skip_name(p, "if"); at = p->tok.at) {
        struct jj_node *c = jj_node_new(p, JJ_X_IF, at, 3);
        c->kid[0] = x;
        c->kid[1] = parse_or(p);
        if (jj_skip_name(p, "else")) c->kid[2] = jj_parse_expr(p, true);
        p->n_unknown = unknown; /* perhaps never reached */
        x = c;
    }
    p->nesting--;
    return x;
}

/* --- tuples and targets --- */

static bool at_tuple_end(const struct jj_parser *p, const char *end_name)
{
    return p->tok.type == JJ_T_PRINT_END || p->tok.type == JJ_T_BLOCK_END || p->tok.type == JJ_T_RPAREN ||
           (end_name && jj_at_name(p, end_name));
}

const struct jj_node *jj_parse_tuple(struct jj_parser *p, bool with_if, const char *end_name)
{
    struct jj_nodes l = {0};
    uint32_t at = p->tok.at;
    if (at_tuple_end(p, end_name)) jj_unexpected(p, "an expression");
    const struct jj_node *x = jj_parse_expr(p, with_if);
    if (p->tok.type != JJ_T_COMMA) return x;
    jj_nodes_add(p, &l, x);
    while (jj_skip(p, JJ_T_COMMA) && !at_tuple_end(p, end_name))
        jj_nodes_add(p, &l, jj_parse_expr(p, with_if));
    return node_of_list(p, JJ_X_TUPLE, at, &l);
}

static const struct jj_node *parse_one_target(struct jj_parser *p, bool namespaces)
{
    struct jj_value v;
    if (jj_skip(p, JJ_T_LPAREN)) {
        jj_nest(p);
        const struct jj_node *x = jj_parse_target(p, NULL, namespaces);
        jj_expect(p, JJ_T_RPAREN);
        p->nesting--;
        return x;
    }
    struct jj_token t = jj_expect(p, JJ_T_NAME);
    struct jj_node *x = jj_node_new(p, JJ_X_NAME, t.at, 0);
    x->name = jj_intern(p, t.value);
    if (namespaces && jj_skip(p, JJ_T_DOT)) {
        x->kind = JJ_X_NSREF;
        x->name2 = jj_intern(p, jj_expect(p, JJ_T_NAME).value);
    } else if (constant_name(t.value, &v)) {
        jj_syntax_error(p->arena->trap, t.at, "can't assign to '%.*s'", (int)t.value.n, t.value.s);
    } else if (p->loops && x->name == p->tmpl->n_loop) {
        jj_syntax_error(p->arena->trap, t.at, "Can't assign to special loop variable in for-loop");
    }
    return x;
}

const struct jj_node *jj_parse_target(struct jj_parser *p, const char *end_name, bool namespaces)
{
    struct jj_nodes l = {0};
    uint32_t at = p->tok.at;
    const struct jj_node *x = parse_one_target(p, namespaces);
    if (p->tok.type != JJ_T_COMMA) return x;
    jj_nodes_add(p, &l, x);
    while (jj_skip(p, JJ_T_COMMA) && !at_tuple_end(p, end_name) && p->tok.type != JJ_T_ASSIGN)
        jj_nodes_add(p, &l, parse_one_target(p, namespaces));
    return node_of_list(p, JJ_X_TUPLE, at, &l);
}
