/* Literals, and free text up to one of them.
 *
 * Many strings are looked for at once by the automaton of Aho and Corasick ("Efficient string matching", CACM
 * 1975), run beside one that keeps the text UTF-8. */
#include <string.h>

#include "grammar/regex.h"
#include "grammar/rules.h"
#include "grammar/trie.h"

/* text with each control token that it spells replaced by the token's bytes in the trie. Returns its length;
 * *any: there was one. */
static size_t mark_controls(struct build *b, const char *text, size_t n, char **out, bool *any)
{
    const struct grammar_trie *t = b->o->vocabulary;
    size_t len = 0;
    *out = build_alloc(b, 2 * n + 1, 1);
    *any = false;
    for (size_t i = 0; i < n;) {
        const struct control *c = t ? trie_control_at(t, text + i, n - i) : NULL;
        size_t step = c ? c->n : 1;
        if (c && c->eog && i + step == n) break;
        if (c && c->eog) c = NULL;
        if (c) (*out)[len++] = (char)CONTROL_MARK;
        memcpy(*out + len, text + i, step);
        len += step;
        i += step;
        *any |= c != NULL;
    }
    build_work(b, n);
    return len;
}

void literal_add(struct build *b, struct nfa *n, uint32_t from, const char *text, size_t len, uint32_t to)
{
    char *p;
    bool any;
    size_t n_byte = mark_controls(b, text, len, &p, &any);
    for (size_t i = 0; i < n_byte; i++) {
        uint32_t next = nfa_add_state(b, n, -1);
        nfa_add_edge(b, n, from, (uint8_t)p[i], (uint8_t)p[i], next);
        from = next;
    }
    nfa_add_eps(b, n, from, to, NFA_ALWAYS);
}

/* A tree of the strings; node 0 is its root, node 1 the root of those that begin with a control token, which
 * admit nothing else once they have begun. */
enum { PLAIN_ROOT, CONTROL_ROOT };
struct finder {
    struct finder_node {
        uint32_t child, sibling, fail;
        int32_t stop; /* the string that ends here, or in a suffix; -1: none */
        uint8_t byte;
    } * node;
    size_t n, cap;
    const struct dfa *utf8;
    bool control;
};

static uint32_t child_of(const struct finder *f, uint32_t at, uint8_t byte)
{
    uint32_t c = f->node[at].child;
    while (c && f->node[c].byte != byte) c = f->node[c].sibling;
    return c;
}

static uint32_t add_node(struct build *b, struct finder *f, uint8_t byte)
{
    build_work(b, 1);
    f->node = build_grow(b, f->node, f->n, &f->cap, sizeof *f->node);
    f->node[f->n] = (struct finder_node){.stop = -1, .byte = byte};
    return (uint32_t)f->n++;
}

static void add_string(struct build *b, struct finder *f, uint32_t at, const char *p, size_t n, int32_t stop)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = child_of(f, at, (uint8_t)p[i]);
        if (!c) {
            c = add_node(b, f, (uint8_t)p[i]);
            f->node[c].sibling = f->node[at].child;
            f->node[at].child = c;
        }
        at = c;
    }
    if (f->node[at].stop < 0) f->node[at].stop = stop;
}

/* Where a string breaks off, the longest suffix that begins another goes on. */
static void add_fails(struct build *b, struct finder *f)
{
    uint32_t *queue = build_alloc(b, f->n, sizeof *queue), n = 0;
    for (uint32_t c = f->node[PLAIN_ROOT].child; c; c = f->node[c].sibling) queue[n++] = c;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = queue[i];
        for (uint32_t c = f->node[at].child; c; c = f->node[c].sibling) {
            uint32_t back = f->node[at].fail;
            while (back && !child_of(f, back, f->node[c].byte)) back = f->node[back].fail;
            f->node[c].fail = child_of(f, back, f->node[c].byte);
            if (f->node[c].stop < 0) f->node[c].stop = f->node[f->node[c].fail].stop;
            queue[n++] = c;
        }
    }
}

struct place {
    uint32_t utf8, node;
    bool control; /* within a string of the second tree */
};

static bool find_step(void *ctx, void *to, const void *from, uint8_t byte)
{
    const struct finder *f = ctx;
    struct place x, *out = to;
    memcpy(&x, from, sizeof x);
    memset(out, 0, sizeof *out); /* the padding too: places are compared as bytes */
    if (f->node[x.node].stop >= 0) return false;
    if (byte == CONTROL_MARK && f->control) { /* the token's text is then read like any other */
        if (f->utf8->state[x.utf8].exit < 0) return false;
        memcpy(out, &x, sizeof x);
        return true;
    }
    if (x.control || byte == CONTROL_MARK) {
        if (!x.control && f->utf8->state[x.utf8].exit < 0) return false; /* within a character */
        out->utf8 = x.utf8;
        out->node = child_of(f, x.control ? x.node : CONTROL_ROOT, byte);
        out->control = true;
        return out->node != 0;
    }
    out->utf8 = dfa_step(f->utf8, x.utf8, byte);
    if (!out->utf8) return false;
    uint32_t at = x.node;
    while (at && !child_of(f, at, byte)) at = f->node[at].fail;
    out->node = child_of(f, at, byte);
    return true;
}

static int32_t find_exit(void *ctx, const void *state)
{
    const struct finder *f = ctx;
    struct place x;
    memcpy(&x, state, sizeof x);
    if (f->node[x.node].stop >= 0) return 1 + f->node[x.node].stop;
    return !x.control && f->utf8->state[x.utf8].exit >= 0 ? 0 : -1;
}

static const struct dfa *any_utf8(struct build *b)
{
    struct nfa n = {0};
    struct char_set any = regex_any(b, true);
    uint32_t at = nfa_add_state(b, &n, 0);
    nfa_add_chars(b, &n, at, &any, at);
    return nfa_to_dfa(b, &n, &at, 1, NULL, NULL, NULL);
}

void free_text_add(struct build *b, struct nfa *n, uint32_t from, const struct stop *stop, size_t n_stop,
                   bool control, uint32_t end)
{
    struct finder f = {.utf8 = any_utf8(b), .control = control};
    struct place start;
    uint32_t *to = build_alloc(b, n_stop + 1, sizeof *to);
    memset(&start, 0, sizeof start);
    start.utf8 = DFA_START;
    add_node(b, &f, 0);
    add_node(b, &f, 0);
    for (size_t i = 0; i < n_stop; i++) {
        char *marked;
        bool any;
        size_t len = mark_controls(b, stop[i].text, stop[i].n, &marked, &any);
        if (!stop[i].n) build_fail(b, ERR_ARG, "free text cannot end at an empty string");
        add_string(b, &f, PLAIN_ROOT, stop[i].text, stop[i].n, (int32_t)i);
        if (any && !control && (uint8_t)marked[0] == CONTROL_MARK)
            add_string(b, &f, CONTROL_ROOT, marked, len, (int32_t)i);
        to[1 + i] = stop[i].to;
    }
    to[0] = end;
    add_fails(b, &f);
    nfa_add_dfa(b, n, from, dfa_explore(b, &start, sizeof start, find_step, find_exit, &f, 256), to,
                n_stop + 1);
}
