#include "grammar/dfa.h"

#include <stdatomic.h>
#include <string.h>

static atomic_uint next_id = 1;

struct dfa *dfa_new(struct build *b)
{
    struct dfa *d = build_alloc(b, 1, sizeof *d);
    dfa_add_state(b, d, -1);
    d->id = atomic_fetch_add(&next_id, 1);
    return d;
}

uint32_t dfa_add_state(struct build *b, struct dfa *d, int32_t exit)
{
    if (d->n_state >= DFA_MAX_STATES)
        build_fail(b, ERR_LIMIT, "too complex: an automaton needs more than %d states", DFA_MAX_STATES);
    build_work(b, 4);
    d->state = build_grow(b, d->state, d->n_state, &d->cap_state, sizeof *d->state);
    d->state[d->n_state] = (struct dfa_state){.exit = exit};
    return d->n_state++;
}

void dfa_add_edge(struct build *b, struct dfa *d, uint32_t from, unsigned lo, unsigned hi, uint32_t to)
{
    struct dfa_state *s = &d->state[from];
    if (to == DFA_DEAD) return;
    if (!s->n_edge) s->edge = (uint32_t)d->n_edge;
    ASSERT(s->edge + s->n_edge == d->n_edge);
    struct dfa_edge *last = s->n_edge ? &d->edge[d->n_edge - 1] : NULL;
    ASSERT(!last || last->hi < lo);
    if (last && last->to == to && last->hi + 1u == lo) {
        last->hi = (uint8_t)hi;
        return;
    }
    build_work(b, 1);
    d->edge = build_grow(b, d->edge, d->n_edge, &d->cap_edge, sizeof *d->edge);
    d->edge[d->n_edge++] = (struct dfa_edge){to, (uint8_t)lo, (uint8_t)hi};
    s->n_edge++;
}

/* States from which an exit can be reached. Passes go backwards, since most edges lead forward. */
static uint8_t *live_states(struct build *b, const struct dfa *d)
{
    uint8_t *live = build_alloc(b, d->n_state, 1);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t q = d->n_state; q-- > 1;) {
            const struct dfa_state *s = &d->state[q];
            bool l = s->exit >= 0;
            for (unsigned i = 0; !l && i < s->n_edge; i++) l = live[d->edge[s->edge + i].to];
            if (l && !live[q]) live[q] = more = true;
        }
    }
    return live;
}

static const uint8_t *make_row(struct build *b, const struct dfa *d, const struct dfa_state *s)
{
    uint8_t *row = build_alloc(b, 256, 1);
    for (unsigned i = 0; i < s->n_edge; i++) {
        const struct dfa_edge *e = &d->edge[s->edge + i];
        memset(row + e->lo, (int)i + 1, e->hi - e->lo + 1u);
    }
    return row;
}

void dfa_finish(struct build *b, struct dfa *d)
{
    if (d->n_state == 1) dfa_add_state(b, d, -1);
    const uint8_t *live = live_states(b, d);
    for (uint32_t q = 1; q < d->n_state; q++) {
        struct dfa_state *s = &d->state[q];
        unsigned n = 0;
        for (unsigned i = 0; i < s->n_edge; i++)
            if (live[d->edge[s->edge + i].to]) d->edge[s->edge + n++] = d->edge[s->edge + i];
        s->n_edge = (uint16_t)n;
        s->row = n > 4 && n < 255 ? make_row(b, d, s) : NULL;
    }
}

bool dfa_is_empty(const struct dfa *d)
{
    return d->state[DFA_START].exit < 0 && d->state[DFA_START].n_edge == 0;
}

int32_t dfa_match(const struct dfa *d, const char *p, size_t n)
{
    uint32_t q = DFA_START;
    for (size_t i = 0; i < n && q; i++) q = dfa_step(d, q, (uint8_t)p[i]);
    return q ? d->state[q].exit : -1;
}

/* Byte strings of one size to numbers 1, 2, ... in order of arrival. */
struct intern {
    uint32_t *slot; /* number, 0: empty */
    size_t n_slot, n, bytes, cap;
    char *data;
};

static uint32_t *intern_slot(const struct intern *t, const void *key)
{
    size_t i = hash_bytes(key, t->bytes) & (t->n_slot - 1);
    while (t->slot[i] && memcmp(t->data + (t->slot[i] - 1) * t->bytes, key, t->bytes) != 0)
        i = (i + 1) & (t->n_slot - 1);
    return &t->slot[i];
}

/* The number of key; *is_new when it came for the first time. */
static uint32_t intern_key(struct build *b, struct intern *t, const void *key, bool *is_new)
{
    if ((t->n + 1) * 2 > t->n_slot) {
        t->n_slot = MAX((size_t)64, t->n_slot * 4);
        t->slot = build_alloc(b, t->n_slot, sizeof *t->slot);
        for (size_t i = 0; i < t->n; i++) *intern_slot(t, t->data + i * t->bytes) = (uint32_t)i + 1;
    }
    uint32_t *slot = intern_slot(t, key);
    *is_new = !*slot;
    if (*slot) return *slot;
    t->data = build_grow(b, t->data, t->n, &t->cap, t->bytes);
    memcpy(t->data + t->n * t->bytes, key, t->bytes);
    return *slot = (uint32_t)++t->n;
}

static void mark_cuts(uint64_t cut[5], const struct dfa *d, uint32_t q)
{
    const struct dfa_state *s = &d->state[q];
    for (unsigned i = 0; i < s->n_edge; i++) {
        unsigned lo = d->edge[s->edge + i].lo, past = d->edge[s->edge + i].hi + 1u;
        cut[lo >> 6] |= 1ull << (lo & 63);
        cut[past >> 6] |= 1ull << (past & 63);
    }
}

static unsigned next_cut(const uint64_t cut[5], unsigned from)
{
    for (unsigned w = from >> 6; w < 5; w++) {
        uint64_t x = cut[w] & (w == from >> 6 ? ~0ull << (from & 63) : ~0ull);
        if (x) return w * 64 + (unsigned)__builtin_ctzll(x);
    }
    return 256;
}

struct dfa *dfa_product(struct build *b, const struct dfa *const *c, size_t n,
                        int32_t (*exit_of)(void *ctx, const uint32_t *q), void *ctx)
{
    struct intern t = {.bytes = n * sizeof(uint32_t)};
    struct dfa *d = dfa_new(b);
    uint32_t *to = build_alloc(b, n, sizeof *to), *from = build_alloc(b, n, sizeof *from);
    bool is_new;
    for (size_t i = 0; i < n; i++) to[i] = DFA_START;
    intern_key(b, &t, to, &is_new);
    for (uint32_t q = 1; q <= t.n; q++) {
        uint64_t cut[5] = {0};
        memcpy(from, t.data + (q - 1) * t.bytes, t.bytes);
        dfa_add_state(b, d, c[0]->state[from[0]].exit >= 0 ? exit_of(ctx, from) : -1);
        d->state[q].boundary = c[0]->state[from[0]].boundary;
        for (size_t i = 0; i < n; i++) mark_cuts(cut, c[i], from[i]);
        for (unsigned lo = next_cut(cut, 0), past; lo < 256; lo = past) {
            past = next_cut(cut, lo + 1);
            for (size_t i = 0; i < n; i++) to[i] = dfa_step(c[i], from[i], (uint8_t)lo);
            if (!to[0]) continue;
            dfa_add_edge(b, d, q, lo, past - 1, intern_key(b, &t, to, &is_new));
        }
    }
    dfa_finish(b, d);
    return d;
}

struct dfa *dfa_explore(struct build *b, const void *start, size_t bytes,
                        bool (*step)(void *ctx, void *to, const void *from, uint8_t c),
                        int32_t (*exit_of)(void *ctx, const void *state), void *ctx, unsigned n_byte)
{
    struct intern t = {.bytes = bytes};
    struct dfa *d = dfa_new(b);
    char *from = build_alloc(b, 1, bytes), *to = build_alloc(b, 1, bytes);
    bool is_new;
    intern_key(b, &t, start, &is_new);
    for (uint32_t q = 1; q <= t.n; q++) {
        memcpy(from, t.data + (q - 1) * bytes, bytes);
        dfa_add_state(b, d, exit_of(ctx, from));
        for (unsigned c = 0; c < n_byte; c++) {
            memset(to, 0, bytes);
            if (step(ctx, to, from, (uint8_t)c)) dfa_add_edge(b, d, q, c, c, intern_key(b, &t, to, &is_new));
        }
    }
    dfa_finish(b, d);
    return d;
}

/* A trie of texts before it is written as an automaton. */
struct text_node {
    uint32_t child, sibling; /* ascending bytes; 0: none */
    int32_t exit;
    uint8_t c;
};

struct text_trie {
    struct text_node *node;
    size_t n, cap;
};

static uint32_t text_node_new(struct build *b, struct text_trie *t, uint8_t c)
{
    t->node = build_grow(b, t->node, t->n, &t->cap, sizeof *t->node);
    t->node[t->n] = (struct text_node){.exit = -1, .c = c};
    return (uint32_t)t->n++;
}

static uint32_t text_child(struct build *b, struct text_trie *t, uint32_t at, uint8_t c)
{
    uint32_t before = 0, child = t->node[at].child;
    while (child && t->node[child].c < c) {
        before = child;
        child = t->node[child].sibling;
    }
    if (child && t->node[child].c == c) return child;
    uint32_t fresh = text_node_new(b, t, c);
    t->node[fresh].sibling = child;
    if (before)
        t->node[before].sibling = fresh;
    else
        t->node[at].child = fresh;
    return fresh;
}

struct dfa *dfa_texts(struct build *b, const struct dfa_text *text, size_t n)
{
    struct text_trie t = {0};
    struct dfa *d = dfa_new(b);
    text_node_new(b, &t, 0);
    for (size_t i = 0; i < n; i++) {
        uint32_t at = 0;
        for (size_t j = 0; j < text[i].n; j++) at = text_child(b, &t, at, (uint8_t)text[i].p[j]);
        if (t.node[at].exit < 0) t.node[at].exit = text[i].exit;
    }
    for (size_t i = 0; i < t.n; i++) dfa_add_state(b, d, t.node[i].exit); /* node i is state i + 1 */
    for (uint32_t i = 0; i < t.n; i++)
        for (uint32_t c = t.node[i].child; c; c = t.node[c].sibling)
            dfa_add_edge(b, d, i + 1, t.node[c].c, t.node[c].c, c + 1);
    dfa_finish(b, d);
    return d;
}

struct dfa *dfa_quoted(struct build *b, const struct dfa *in)
{
    struct dfa *d = dfa_new(b);
    uint32_t start = dfa_add_state(b, d, -1), shift = start;
    uint32_t *end = NULL; /* by exit: the state behind the closing mark */
    size_t n_end = 0;
    for (uint32_t q = 1; q < in->n_state; q++) { /* state q becomes q + shift */
        dfa_add_state(b, d, -1);
        n_end = MAX(n_end, (size_t)(in->state[q].exit + 1));
        d->state[q + shift].boundary = in->state[q].boundary;
    }
    end = build_alloc(b, n_end + 1, sizeof *end);
    for (uint32_t q = 1; q < in->n_state; q++) {
        int32_t exit = in->state[q].exit;
        if (exit >= 0 && !end[exit]) end[exit] = dfa_add_state(b, d, exit);
    }
    dfa_add_edge(b, d, start, '"', '"', DFA_START + shift);
    for (uint32_t q = 1; q < in->n_state; q++) {
        const struct dfa_state *s = &in->state[q];
        bool closed = s->exit < 0;
        for (unsigned i = 0; i < s->n_edge; i++) {
            const struct dfa_edge *e = &in->edge[s->edge + i];
            if (!closed && e->lo > '"') {
                dfa_add_edge(b, d, q + shift, '"', '"', end[s->exit]);
                closed = true;
            }
            dfa_add_edge(b, d, q + shift, e->lo, e->hi, e->to + shift);
        }
        if (!closed) dfa_add_edge(b, d, q + shift, '"', '"', end[s->exit]);
    }
    dfa_finish(b, d);
    return d;
}

/* States of reading UTF-8 text of plain characters (no control, no quote, no backslash), and where each byte
 * leads; row 0 is between characters. */
// clang-format off
static const struct { uint8_t lo, hi, to; } plain_step[8][12] = {
    {{0x20, 0x21, 0}, {0x23, 0x5B, 0}, {0x5D, 0x7F, 0}, {0xC2, 0xDF, 1}, {0xE0, 0xE0, 4}, {0xE1, 0xEC, 2},
     {0xED, 0xED, 5}, {0xEE, 0xEF, 2}, {0xF0, 0xF0, 6}, {0xF1, 0xF3, 3}, {0xF4, 0xF4, 7}},
    {{0x80, 0xBF, 0}}, /* one byte to come */
    {{0x80, 0xBF, 1}},
    {{0x80, 0xBF, 2}},
    {{0xA0, 0xBF, 1}}, /* after E0: no overlong form */
    {{0x80, 0x9F, 1}}, /* after ED: no surrogate */
    {{0x90, 0xBF, 2}}, /* after F0 */
    {{0x80, 0x8F, 2}}, /* after F4: nothing above U+10FFFF */
};
// clang-format on

/* Whether from state q of d every plain byte of row s keeps it alive and where it leads is marked. */
static bool plain_lives(const struct dfa *d, const uint8_t *good, uint32_t q, unsigned s)
{
    for (size_t i = 0; plain_step[s][i].hi; i++)
        for (unsigned c = plain_step[s][i].lo; c <= plain_step[s][i].hi;) {
            uint32_t to = dfa_step(d, q, (uint8_t)c);
            if (!to) return false;
            if (!(good[to] >> plain_step[s][i].to & 1)) return false;
            /* the rest of this edge's range is the same */
            const struct dfa_state *st = &d->state[q];
            for (unsigned k = 0; k < st->n_edge; k++)
                if (d->edge[st->edge + k].lo <= c && c <= d->edge[st->edge + k].hi) {
                    c = d->edge[st->edge + k].hi + 1u;
                    break;
                }
        }
    return true;
}

void dfa_mark_universal(struct build *b, struct dfa *d)
{
    uint8_t *good = build_alloc(b, d->n_state, 1);
    memset(good, 0xFF, d->n_state);
    good[DFA_DEAD] = 0;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t q = d->n_state; q-- > 1;)
            for (unsigned s = 0; s < 8; s++)
                if (good[q] >> s & 1 && !plain_lives(d, good, q, s)) {
                    good[q] &= (uint8_t) ~(1u << s);
                    more = true;
                }
    }
    for (uint32_t q = 0; q < d->n_state; q++) good[q] &= 1;
    d->universal = good;
}
