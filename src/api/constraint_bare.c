#include "api/constraint_bare.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    MAX_NODES = 4000, /* of all names, lest the grammar grow too large; what is longer counts as a call some
                         letters earlier */
    MAX_NESTED = 40   /* groups in a rule */
};

/* The beginnings of calls as a tree of characters. A node whose last character ends a beginning is a leaf. */
struct node {
    uint32_t c;
    uint32_t child, next; /* 0: none; the root is nobody's child */
    bool leaf, blanks;    /* blanks may stand before what follows */
};
struct tree {
    struct node *node;
    uint32_t n, cap;
    uint32_t *rule, n_rule, cap_rule; /* nodes that got a rule of their own */
};

static uint32_t add_node(struct tree *t, uint32_t c)
{
    if (t->n == t->cap) {
        t->cap = MAX(64u, 2 * t->cap);
        t->node = mem_realloc(t->node, t->cap, sizeof *t->node);
    }
    t->node[t->n] = (struct node){.c = c};
    return t->n++;
}

static uint32_t child_of(struct tree *t, uint32_t parent, uint32_t c)
{
    for (uint32_t i = t->node[parent].child; i; i = t->node[i].next)
        if (t->node[i].c == c) return i;
    uint32_t made = add_node(t, c);
    t->node[made].next = t->node[parent].child;
    t->node[parent].child = made;
    return made;
}

static bool is_blank(uint32_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void add_beginning(struct tree *t, const char *text, size_t n)
{
    uint32_t at = 0, c;
    bool quoted = false;
    for (size_t i = 0; i < n && !t->node[at].leaf;) {
        i += utf8_decode(text + i, n - i, &c);
        if (is_blank(c) && !quoted) continue;
        at = child_of(t, at, c);
        if (c == '"') quoted = !quoted;
        t->node[at].blanks = !quoted && strchr("{[:,\"", (int)(c < 128 ? c : 'a'));
        if (at >= MAX_NODES) break;
    }
    t->node[at].leaf = true;
}

/* ---- the grammar ------------------------------------------------------------------------------------- */

static void add_char(struct buf *out, uint32_t c)
{
    buf_addf(out, "\\U%08X", (unsigned)c);
}

static void add_follow(struct buf *out, struct tree *t, uint32_t at, int depth);

/* Blanks, then nothing, or something that leads to no leaf. */
static void add_follow_here(struct buf *out, struct tree *t, uint32_t at, int depth)
{
    bool blanks = t->node[at].blanks;
    if (blanks) buf_adds(out, "[ \\t\\r\\n]* ");
    buf_adds(out, "([^");
    if (blanks) buf_adds(out, " \\t\\r\\n");
    for (uint32_t i = t->node[at].child; i; i = t->node[i].next) add_char(out, t->node[i].c);
    buf_adds(out, "] any");
    for (uint32_t i = t->node[at].child; i; i = t->node[i].next) {
        if (t->node[i].leaf) continue;
        buf_adds(out, " | \"");
        add_char(out, t->node[i].c);
        buf_adds(out, "\" ");
        add_follow(out, t, i, depth + 1);
    }
    buf_adds(out, ")?");
}

static void add_follow(struct buf *out, struct tree *t, uint32_t at, int depth)
{
    if (depth < MAX_NESTED) {
        add_follow_here(out, t, at, depth);
        return;
    }
    if (t->n_rule == t->cap_rule) {
        t->cap_rule = MAX(16u, 2 * t->cap_rule);
        t->rule = mem_realloc(t->rule, t->cap_rule, sizeof *t->rule);
    }
    t->rule[t->n_rule++] = at;
    buf_addf(out, "n%u", at);
}

void bare_text_grammar(struct buf *out, const struct chat_wire *w, const char *const *name, size_t n_name)
{
    struct tree t = {0};
    struct buf text = {0};
    const char *at = strstr(w->head, "{name}");
    add_node(&t, 0);
    t.node[0].blanks = true;
    for (size_t i = 0; i < n_name && at; i++) {
        buf_reset(&text);
        buf_addf(&text, "%s%.*s%s%.1s", w->begin, (int)(at - w->head), w->head, name[i],
                 at + strlen("{name}"));
        add_beginning(&t, text.data, text.n);
    }
    buf_adds(out, "root ::= ");
    add_follow_here(out, &t, 0, 0);
    buf_adds(out, "\nany ::= [^]*\n");
    for (uint32_t i = 0; i < t.n_rule; i++) { /* which may add others */
        buf_addf(out, "n%u ::= ", t.rule[i]);
        add_follow_here(out, &t, t.rule[i], 0);
        buf_addc(out, '\n');
    }
    buf_deinit(&text);
    free(t.node);
    free(t.rule);
}
