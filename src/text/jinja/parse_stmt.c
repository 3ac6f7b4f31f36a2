#include <stdarg.h>
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/parse.h"

/* Statements up to one of the tags in `ends` ("endif else", NULL: the end of the template), whose name is
 * then the current token. */
static struct jj_body parse_body(struct jj_parser *p, const char *ends, uint32_t opened_at);

/* Whether word is one of those in list, which stand apart by blanks. */
static bool in_list(const char *list, struct jj_value word)
{
    for (const char *w = list; w && *w;) {
        size_t n = strcspn(w, " ");
        if (n == word.n && memcmp(w, word.s, n) == 0) return true;
        w += n + strspn(w + n, " ");
    }
    return false;
}

/* The rest of the tag that ends a block: its name is the current token. */
static void end_tag(struct jj_parser *p)
{
    jj_advance(p);
    jj_expect(p, JJ_T_BLOCK_END);
}

static void open_bodies(struct jj_parser *p, struct jj_node *x, uint32_t n)
{
    x->body = jj_alloc(p->arena, n, sizeof *x->body);
    x->n_body = n;
}

/* A block whose only body has its own scope: {% ... %} body {% end %}; after the head has been parsed. */
static void parse_only_body(struct jj_parser *p, struct jj_node *x, const char *end)
{
    size_t unknown = p->n_unknown;
    open_bodies(p, x, 1);
    jj_expect(p, JJ_T_BLOCK_END);
    x->body[0] = parse_body(p, end, x->at);
    end_tag(p);
    jj_refuse_unknown(p, unknown);
}

static struct jj_node *parse_if(struct jj_parser *p, uint32_t at)
{
    struct jj_nodes tests = {0};
    struct jj_body body[2] = {0}, *all = NULL;
    uint32_t n = 0, cap = 0;
    size_t unknown = p->n_unknown;
    bool more = true;
    while (more) {
        bool is_else = n > 0 && jj_at_name(p, "else");
        if (n > 0) jj_advance(p); /* elif, else */
        if (!is_else) jj_nodes_add(p, &tests, jj_parse_tuple(p, false, NULL));
        jj_expect(p, JJ_T_BLOCK_END);
        body[0] = parse_body(p, is_else ? "endif" : "elif else endif", at);
        if (n == cap) {
            cap = cap ? cap * 2 : 2;
            all = jj_grow(p->arena, all, n, cap, sizeof *all);
        }
        all[n++] = body[0];
        more = !jj_at_name(p, "endif");
    }
    end_tag(p);
    p->n_unknown = unknown; /* perhaps never reached */
    struct jj_node *x = jj_node_new(p, JJ_S_IF, at, 0);
    x->kid = tests.at;
    x->n = tests.n;
    x->body = all;
    x->n_body = n;
    return x;
}

static struct jj_node *parse_for(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_FOR, at, 3);
    p->loops++;
    x->kid[0] = jj_parse_target(p, "in", false);
    if (!jj_skip_name(p, "in")) jj_unexpected(p, "'in'");
    x->kid[1] = jj_parse_tuple(p, false, "recursive");
    if (jj_skip_name(p, "if")) x->kid[2] = jj_parse_expr(p, true);
    x->recursive = jj_skip_name(p, "recursive");
    jj_expect(p, JJ_T_BLOCK_END);
    size_t unknown = p->n_unknown;
    open_bodies(p, x, 2);
    x->body[0] = parse_body(p, "endfor else", at);
    p->loops--;
    if (jj_at_name(p, "else")) {
        end_tag(p);
        x->body[1] = parse_body(p, "endfor", at);
    }
    end_tag(p);
    jj_refuse_unknown(p, unknown);
    return x;
}

static struct jj_node *parse_set(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_SET, at, 2);
    x->kid[0] = jj_parse_target(p, NULL, true);
    if (jj_skip(p, JJ_T_ASSIGN)) {
        x->kid[1] = jj_parse_tuple(p, true, NULL);
        return x;
    }
    x->kind = JJ_S_SET_BLOCK;
    while (jj_skip(p, JJ_T_PIPE)) x->kid[1] = jj_parse_filter(p, x->kid[1]);
    parse_only_body(p, x, "endset");
    return x;
}

static struct jj_node *parse_with(struct jj_parser *p, uint32_t at)
{
    struct jj_nodes l = {0};
    while (p->tok.type != JJ_T_BLOCK_END) {
        if (l.n) jj_expect(p, JJ_T_COMMA);
        jj_nodes_add(p, &l, jj_parse_target(p, NULL, false));
        jj_expect(p, JJ_T_ASSIGN);
        jj_nodes_add(p, &l, jj_parse_expr(p, true));
    }
    struct jj_node *x = jj_node_new(p, JJ_S_WITH, at, 0);
    x->kid = l.at;
    x->n = l.n;
    parse_only_body(p, x, "endwith");
    return x;
}

/* (a, b=1) */
static void parse_signature(struct jj_parser *p, struct jj_params *m)
{
    uint32_t cap = 0;
    jj_expect(p, JJ_T_LPAREN);
    while (p->tok.type != JJ_T_RPAREN) {
        if (m->n) jj_expect(p, JJ_T_COMMA);
        if (m->n == cap) {
            cap = cap ? cap * 2 : 4;
            m->name = jj_grow(p->arena, m->name, m->n, cap, sizeof *m->name);
            m->def = jj_grow(p->arena, m->def, m->n, cap, sizeof *m->def);
        }
        struct jj_token t = jj_expect(p, JJ_T_NAME);
        m->name[m->n] = jj_intern(p, t.value);
        if (jj_skip(p, JJ_T_ASSIGN))
            m->def[m->n] = jj_parse_expr(p, true);
        else if (m->n && m->def[m->n - 1])
            jj_syntax_error(p->arena->trap, t.at, "non-default argument follows default argument");
        m->n++;
    }
    jj_advance(p);
}

/* The body of a macro or a call block, which is one. */
static void parse_macro_body(struct jj_parser *p, struct jj_node *x, const char *end)
{
    struct jj_enclosing here = {.params = x->params, .outer = p->enclosing};
    uint32_t loops = p->loops;
    p->enclosing = &here;
    p->loops = 0;
    parse_only_body(p, x, end);
    p->enclosing = here.outer;
    p->loops = loops;
}

static struct jj_node *parse_macro(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_MACRO, at, 0);
    x->name2 = jj_intern(p, jj_expect(p, JJ_T_NAME).value);
    x->params = jj_alloc(p->arena, 1, sizeof *x->params);
    parse_signature(p, x->params);
    parse_macro_body(p, x, "endmacro");
    return x;
}

static struct jj_node *parse_call_block(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_CALL, at, 1);
    x->params = jj_alloc(p->arena, 1, sizeof *x->params);
    if (p->tok.type == JJ_T_LPAREN) parse_signature(p, x->params);
    uint32_t call_at = p->tok.at;
    x->kid[0] = jj_parse_expr(p, true);
    if (x->kid[0]->kind != JJ_X_CALL) jj_syntax_error(p->arena->trap, call_at, "expected call");
    parse_macro_body(p, x, "endcall");
    return x;
}

static struct jj_node *parse_filter_block(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_FILTER, at, 1), *f = jj_parse_filter(p, NULL);
    while (jj_skip(p, JJ_T_PIPE)) f = jj_parse_filter(p, f);
    x->kid[0] = f;
    parse_only_body(p, x, "endfilter");
    return x;
}

static struct jj_node *parse_block(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_BLOCK, at, 0);
    struct jj_token name = jj_expect(p, JJ_T_NAME);
    x->recursive = jj_skip_name(p, "scoped");
    if (jj_at_name(p, "required"))
        jj_syntax_error(p->arena->trap, p->tok.at,
                        "required blocks are not supported: templates cannot be extended");
    uint32_t loops = p->loops;
    open_bodies(p, x, 1);
    jj_expect(p, JJ_T_BLOCK_END);
    p->loops = 0; /* a function of its own in Jinja2, which no break can leave */
    x->body[0] = parse_body(p, "endblock", at);
    p->loops = loops;
    jj_advance(p);
    if (p->tok.type == JJ_T_NAME && p->tok.value.n == name.value.n &&
        memcmp(p->tok.value.s, name.value.s, name.value.n) == 0)
        jj_advance(p);
    jj_expect(p, JJ_T_BLOCK_END);
    return x;
}

static struct jj_node *parse_generation(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_SCOPE, at, 0);
    uint32_t loops = p->loops;
    p->loops = 0; /* as a call block */
    parse_only_body(p, x, "endgeneration");
    p->loops = loops;
    return x;
}

/* {% print a, b %}: one after the other. */
static struct jj_node *parse_print(struct jj_parser *p, uint32_t at)
{
    struct jj_nodes l = {0};
    while (p->tok.type != JJ_T_BLOCK_END) {
        if (l.n) jj_expect(p, JJ_T_COMMA);
        jj_nodes_add(p, &l, jj_parse_expr(p, true));
    }
    struct jj_node *x = jj_node_new(p, JJ_S_PRINT, at, 0);
    x->kid = l.at;
    x->n = l.n;
    return x;
}

static struct jj_node *parse_do(struct jj_parser *p, uint32_t at)
{
    struct jj_node *x = jj_node_new(p, JJ_S_DO, at, 1);
    x->kid[0] = jj_parse_tuple(p, true, NULL);
    return x;
}

static struct jj_node *parse_loop_control(struct jj_parser *p, uint32_t at, enum jj_kind kind)
{
    if (!p->loops)
        jj_syntax_error(p->arena->trap, at, "'%s' outside loop", kind == JJ_S_BREAK ? "break" : "continue");
    return jj_node_new(p, kind, at, 0);
}
static struct jj_node *parse_break(struct jj_parser *p, uint32_t at)
{
    return parse_loop_control(p, at, JJ_S_BREAK);
}
static struct jj_node *parse_continue(struct jj_parser *p, uint32_t at)
{
    return parse_loop_control(p, at, JJ_S_CONTINUE);
}

static struct jj_node *refuse_other_files(struct jj_parser *p, uint32_t at)
{
    jj_syntax_error(p->arena->trap, at,
                    "a chat template stands alone: include, import and extends are not supported");
}
static struct jj_node *refuse_autoescape(struct jj_parser *p, uint32_t at)
{
    jj_syntax_error(p->arena->trap, at, "autoescape is not supported: chat templates are not HTML");
}

/* whole: the function reads the tag's end itself. */
static const struct statement {
    const char *name;
    struct jj_node *(*parse)(struct jj_parser *p, uint32_t at);
    bool whole;
} statements[] = {
    {"if", parse_if, true},
    {"for", parse_for, true},
    {"set", parse_set, false}, /* the block form differs: see parse_statement */
    {"with", parse_with, true},
    {"macro", parse_macro, true},
    {"call", parse_call_block, true},
    {"filter", parse_filter_block, true},
    {"block", parse_block, true},
    {"generation", parse_generation, true},
    {"print", parse_print, false},
    {"do", parse_do, false},
    {"break", parse_break, false},
    {"continue", parse_continue, false},
    {"include", refuse_other_files, true},
    {"import", refuse_other_files, true},
    {"from", refuse_other_files, true},
    {"extends", refuse_other_files, true},
    {"autoescape", refuse_autoescape, true},
};

static struct jj_node *parse_statement(struct jj_parser *p)
{
    struct jj_token t = p->tok;
    if (t.type != JJ_T_NAME) jj_unexpected(p, "a tag name");
    for (size_t i = 0; i < COUNT_OF(statements); i++) {
        if (!jj_str_is(t.value, statements[i].name)) continue;
        jj_advance(p);
        struct jj_node *x = statements[i].parse(p, t.at);
        if (!statements[i].whole && x->kind != JJ_S_SET_BLOCK) jj_expect(p, JJ_T_BLOCK_END);
        return x;
    }
    jj_syntax_error(p->arena->trap, t.at, "Encountered unknown tag '%.*s'.", (int)MIN(t.value.n, 60u),
                    t.value.s);
}

static struct jj_body parse_body(struct jj_parser *p, const char *ends, uint32_t opened_at)
{
    struct jj_nodes l = {0};
    jj_nest(p);
    for (;;) {
        struct jj_token t = p->tok;
        if (t.type == JJ_T_END) {
            if (ends)
                jj_syntax_error(p->arena->trap, opened_at, "unexpected end of template: this block wants %s",
                                strrchr(ends, ' ') ? strrchr(ends, ' ') + 1 : ends);
            break;
        }
        jj_advance(p);
        if (t.type == JJ_T_TEXT) {
            struct jj_node *x = jj_node_new(p, JJ_S_TEXT, t.at, 0);
            x->value = t.value;
            jj_nodes_add(p, &l, x);
        } else if (t.type == JJ_T_PRINT_BEGIN) {
            struct jj_node *x = jj_node_new(p, JJ_S_PRINT, t.at, 1);
            x->kid[0] = jj_parse_tuple(p, true, NULL);
            jj_expect(p, JJ_T_PRINT_END);
            jj_nodes_add(p, &l, x);
        } else {
            if (p->tok.type == JJ_T_NAME && in_list(ends, p->tok.value)) break;
            jj_nodes_add(p, &l, parse_statement(p));
        }
    }
    p->nesting--;
    return (struct jj_body){.stmt = l.at, .n = l.n};
}

struct jj_body jj_parse_template(struct jj_parser *p)
{
    jj_advance(p);
    struct jj_body body = parse_body(p, NULL, 0);
    jj_refuse_unknown(p, 0);
    return body;
}
