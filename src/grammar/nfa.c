#include "grammar/nfa.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void char_set_add(struct build *b, struct char_set *s, uint32_t lo, uint32_t hi)
{
    if (lo > hi) return;
    s->r = build_grow(b, s->r, s->n, &s->cap, sizeof *s->r);
    s->r[s->n++] = (struct char_range){lo, hi};
}

static int by_lo(const void *x, const void *y)
{
    const struct char_range *a = x, *b = y;
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

void char_set_normal(struct char_set *s)
{
    size_t n = 0;
    if (s->n) qsort(s->r, s->n, sizeof *s->r, by_lo);
    for (size_t i = 0; i < s->n; i++) {
        if (n && s->r[i].lo <= s->r[n - 1].hi + 1)
            s->r[n - 1].hi = MAX(s->r[n - 1].hi, s->r[i].hi);
        else
            s->r[n++] = s->r[i];
    }
    s->n = n;
}

struct char_set char_set_not(struct build *b, const struct char_set *s)
{
    struct char_set out = {0};
    uint32_t from = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->r[i].lo > from) char_set_add(b, &out, from, s->r[i].lo - 1);
        from = s->r[i].hi + 1;
    }
    if (from <= 0x10FFFF) char_set_add(b, &out, from, 0x10FFFF);
    return out;
}

uint32_t nfa_add_state(struct build *b, struct nfa *n, int32_t exit)
{
    build_work(b, 2);
    n->state = build_grow(b, n->state, n->n_state, &n->cap_state, sizeof *n->state);
    n->state[n->n_state] = (struct nfa_state){.exit = exit};
    return (uint32_t)n->n_state++;
}

void nfa_add_edge(struct build *b, struct nfa *n, uint32_t from, unsigned lo, unsigned hi, uint32_t to)
{
    build_work(b, 1);
    n->edge = build_grow(b, n->edge, n->n_edge, &n->cap_edge, sizeof *n->edge);
    n->edge[n->n_edge] = (struct nfa_edge){to, n->state[from].edge, (uint8_t)lo, (uint8_t)hi};
    n->state[from].edge = (uint32_t)++n->n_edge;
}

void nfa_add_eps(struct build *b, struct nfa *n, uint32_t from, uint32_t to, enum nfa_when when)
{
    n->eps = build_grow(b, n->eps, n->n_eps, &n->cap_eps, sizeof *n->eps);
    n->eps[n->n_eps] = (struct nfa_eps){to, n->state[from].eps, when};
    n->state[from].eps = (uint32_t)++n->n_eps;
}

/* Every character of more than one byte: the shape that negated classes have, with shared tails. */
static void add_all_multibyte(struct build *b, struct nfa *n, uint32_t from, uint32_t to)
{
    uint32_t one = nfa_add_state(b, n, -1), two = nfa_add_state(b, n, -1), three = nfa_add_state(b, n, -1);
    uint32_t e0 = nfa_add_state(b, n, -1), ed = nfa_add_state(b, n, -1);
    uint32_t f0 = nfa_add_state(b, n, -1), f4 = nfa_add_state(b, n, -1);
    nfa_add_edge(b, n, from, 0xC2, 0xDF, one);
    nfa_add_edge(b, n, from, 0xE0, 0xE0, e0);
    nfa_add_edge(b, n, from, 0xE1, 0xEC, two);
    nfa_add_edge(b, n, from, 0xED, 0xED, ed);
    nfa_add_edge(b, n, from, 0xEE, 0xEF, two);
    nfa_add_edge(b, n, from, 0xF0, 0xF0, f0);
    nfa_add_edge(b, n, from, 0xF1, 0xF3, three);
    nfa_add_edge(b, n, from, 0xF4, 0xF4, f4);
    nfa_add_edge(b, n, one, 0x80, 0xBF, to);
    nfa_add_edge(b, n, two, 0x80, 0xBF, one);
    nfa_add_edge(b, n, three, 0x80, 0xBF, two);
    nfa_add_edge(b, n, e0, 0xA0, 0xBF, one);
    nfa_add_edge(b, n, ed, 0x80, 0x9F, one);
    nfa_add_edge(b, n, f0, 0x90, 0xBF, two);
    nfa_add_edge(b, n, f4, 0x80, 0x8F, two);
}

/* lo and hi have the same number of bytes and differ so that each byte ranges by itself. */
static void add_sequence(struct build *b, struct nfa *n, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    char a[4], z[4];
    size_t len = utf8_encode(a, lo);
    utf8_encode(z, hi);
    for (size_t i = 0; i < len; i++) {
        uint32_t next = i + 1 < len ? nfa_add_state(b, n, -1) : to;
        nfa_add_edge(b, n, from, (uint8_t)a[i], (uint8_t)z[i], next);
        from = next;
    }
}

static void add_utf8(struct build *b, struct nfa *n, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    static const uint32_t last_of_size[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    if (lo > hi) return;
    if (lo < 0xE000 && hi > 0xD7FF) { /* around the surrogates */
        if (lo < 0xD800) add_utf8(b, n, from, lo, 0xD7FF, to);
        if (hi > 0xDFFF) add_utf8(b, n, from, 0xE000, hi, to);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        if (lo <= last_of_size[i] && hi > last_of_size[i]) {
            add_utf8(b, n, from, lo, last_of_size[i], to);
            add_utf8(b, n, from, last_of_size[i] + 1, hi, to);
            return;
        }
    for (unsigned i = 1; hi > 0x7F && i < 4; i++) {
        uint32_t m = (1u << (6 * i)) - 1;
        if ((lo & ~m) == (hi & ~m)) break;
        if (lo & m) {
            add_utf8(b, n, from, lo, lo | m, to);
            add_utf8(b, n, from, (lo | m) + 1, hi, to);
            return;
        }
        if ((hi & m) != m) {
            add_utf8(b, n, from, lo, (hi & ~m) - 1, to);
            add_utf8(b, n, from, hi & ~m, hi, to);
            return;
        }
    }
    add_sequence(b, n, from, lo, hi, to);
}

/* The characters that a JSON string escapes, as json.dumps writes them. */
static void add_escapes(struct build *b, struct nfa *n, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    static const char letter[] = {[8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r', [0x1F] = 0};
    uint32_t slash = 0, zeros = 0, high[2] = {0};
    for (uint32_t c = lo; c <= hi && c <= '\\'; c++) {
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        if (!slash) nfa_add_edge(b, n, from, '\\', '\\', slash = nfa_add_state(b, n, -1));
        unsigned e = c >= 0x20 ? c : (uint8_t)letter[c];
        if (e) {
            nfa_add_edge(b, n, slash, e, e, to);
            continue;
        }
        if (!zeros) {
            uint32_t u = nfa_add_state(b, n, -1), z = nfa_add_state(b, n, -1);
            zeros = nfa_add_state(b, n, -1);
            nfa_add_edge(b, n, slash, 'u', 'u', u);
            nfa_add_edge(b, n, u, '0', '0', z);
            nfa_add_edge(b, n, z, '0', '0', zeros);
        }
        if (!high[c >> 4]) {
            high[c >> 4] = nfa_add_state(b, n, -1);
            nfa_add_edge(b, n, zeros, '0' + (c >> 4), '0' + (c >> 4), high[c >> 4]);
        }
        unsigned digit = (uint8_t) "0123456789abcdef"[c & 15];
        nfa_add_edge(b, n, high[c >> 4], digit, digit, to);
    }
}

void nfa_add_chars(struct build *b, struct nfa *n, uint32_t from, const struct char_set *s, uint32_t to)
{
    for (size_t i = 0; i < s->n; i++) {
        uint32_t lo = s->r[i].lo, hi = s->r[i].hi;
        if (n->json && lo <= '\\') {
            add_escapes(b, n, from, lo, hi, to);
            add_utf8(b, n, from, MAX(lo, 0x20u), MIN(hi, 0x21u), to);
            add_utf8(b, n, from, MAX(lo, 0x23u), MIN(hi, 0x5Bu), to);
            add_utf8(b, n, from, MAX(lo, 0x5Du), MIN(hi, 0x7Fu), to);
        } else {
            add_utf8(b, n, from, lo, MIN(hi, 0x7Fu), to);
        }
        if (lo <= 0x80 && hi >= 0x10FFFF)
            add_all_multibyte(b, n, from, to);
        else
            add_utf8(b, n, from, MAX(lo, 0x80u), hi, to);
    }
}

void nfa_add_dfa(struct build *b, struct nfa *n, uint32_t from, const struct dfa *d, const uint32_t *to,
                 size_t n_to)
{
    uint32_t shift = (uint32_t)n->n_state;
    for (uint32_t q = 0; q < d->n_state; q++) nfa_add_state(b, n, -1);
    nfa_add_eps(b, n, from, shift + DFA_START, NFA_ALWAYS);
    for (uint32_t q = 1; q < d->n_state; q++) {
        const struct dfa_state *s = &d->state[q];
        for (unsigned k = 0; k < s->n_edge; k++) {
            const struct dfa_edge *e = &d->edge[s->edge + k];
            nfa_add_edge(b, n, shift + q, e->lo, e->hi, shift + e->to);
        }
        if (s->exit >= 0 && (size_t)s->exit < n_to && to[s->exit] != NFA_NOWHERE)
            nfa_add_eps(b, n, shift + q, to[s->exit], NFA_ALWAYS);
    }
}

/* Sets of states: sorted runs in one pool, found by hash. */
struct subsets {
    const struct nfa *n;
    uint32_t *pool;
    size_t n_pool, cap_pool;
    struct subset {
        uint32_t at, n;
    } * set; /* set i is the state i + 1 of the automaton */
    size_t n_set, cap_set;
    uint32_t *slot;
    size_t n_slot;
    uint32_t *mark, now;        /* by state: in the closure at hand */
    uint32_t *member, n_member; /* the closure at hand */
    uint32_t *stack;
};

/* Follow what needs no byte. Only states that have edges, an exit, or a condition on the end matter. */
static void closure_add(struct subsets *t, uint32_t first, bool at_start, bool at_end)
{
    const struct nfa *n = t->n;
    uint32_t depth = 0;
    if (t->mark[first] == t->now) return;
    t->mark[first] = t->now;
    t->stack[depth++] = first;
    while (depth) {
        uint32_t q = t->stack[--depth];
        const struct nfa_state *s = &n->state[q];
        bool waits = false;
        for (uint32_t i = s->eps; i; i = n->eps[i - 1].next) {
            const struct nfa_eps *p = &n->eps[i - 1];
            waits |= p->when == NFA_AT_END;
            if (p->when == NFA_AT_START && !at_start) continue;
            if (p->when == NFA_AT_END && !at_end) continue;
            if (t->mark[p->to] == t->now) continue;
            t->mark[p->to] = t->now;
            t->stack[depth++] = p->to;
        }
        if (s->edge || s->exit >= 0 || waits) t->member[t->n_member++] = q;
    }
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static void sort_members(struct subsets *t)
{
    if (t->n_member > 24) {
        qsort(t->member, t->n_member, sizeof *t->member, by_number);
        return;
    }
    for (uint32_t i = 1; i < t->n_member; i++)
        for (uint32_t j = i; j && t->member[j - 1] > t->member[j]; j--) {
            uint32_t x = t->member[j];
            t->member[j] = t->member[j - 1];
            t->member[j - 1] = x;
        }
}

static size_t subset_find(const struct subsets *t, const uint32_t *m, uint32_t n)
{
    size_t i = hash_bytes(m, n * sizeof *m) & (t->n_slot - 1);
    for (; t->slot[i]; i = (i + 1) & (t->n_slot - 1)) {
        const struct subset *s = &t->set[t->slot[i] - 1];
        if (s->n == n && memcmp(t->pool + s->at, m, n * sizeof *m) == 0) break;
    }
    return i;
}

/* The automaton's state for the closure at hand; 0 when it is empty. */
static uint32_t subset_intern(struct build *b, struct subsets *t)
{
    if (!t->n_member) return DFA_DEAD;
    sort_members(t);
    if ((t->n_set + 1) * 2 > t->n_slot) {
        t->n_slot = MAX((size_t)64, t->n_slot * 4);
        t->slot = build_alloc(b, t->n_slot, sizeof *t->slot);
        for (size_t i = 0; i < t->n_set; i++)
            t->slot[subset_find(t, t->pool + t->set[i].at, t->set[i].n)] = (uint32_t)i + 1;
    }
    size_t i = subset_find(t, t->member, t->n_member);
    if (t->slot[i]) return t->slot[i];
    build_work(b, t->n_member);
    while (t->n_pool + t->n_member > t->cap_pool)
        t->pool = build_grow(b, t->pool, t->cap_pool, &t->cap_pool, sizeof *t->pool);
    memcpy(t->pool + t->n_pool, t->member, t->n_member * sizeof *t->member);
    t->set = build_grow(b, t->set, t->n_set, &t->cap_set, sizeof *t->set);
    t->set[t->n_set] = (struct subset){(uint32_t)t->n_pool, t->n_member};
    t->n_pool += t->n_member;
    return t->slot[i] = (uint32_t)++t->n_set;
}

static void closure_begin(struct subsets *t)
{
    t->now++;
    t->n_member = 0;
}

enum { MAX_EXITS = 4096 };

/* The exit of a set: of its members, and of what is reached where the text ends. */
static int32_t subset_exit(struct build *b, struct subsets *t, const uint32_t *m, uint32_t n_m, bool at_start,
                           int32_t (*merge)(void *ctx, const int32_t *exit, size_t n), void *ctx)
{
    int32_t *exit = NULL, least = -1;
    size_t n = 0, cap = 0;
    closure_begin(t);
    for (uint32_t i = 0; i < n_m; i++) closure_add(t, m[i], at_start, true);
    for (uint32_t i = 0; i < t->n_member; i++) {
        int32_t x = t->n->state[t->member[i]].exit;
        if (x < 0) continue;
        least = least < 0 ? x : MIN(least, x);
        if (!merge) continue;
        exit = build_grow(b, exit, n, &cap, sizeof *exit);
        exit[n++] = x;
    }
    return n > 1 ? merge(ctx, exit, n) : least;
}

struct dfa *nfa_to_dfa(struct build *b, const struct nfa *n, const uint32_t *root, size_t n_root,
                       uint32_t *at, int32_t (*merge)(void *ctx, const int32_t *exit, size_t n), void *ctx)
{
    struct subsets t = {.n = n};
    struct dfa *d = dfa_new(b);
    struct nfa_edge *edge = NULL;
    size_t cap_edge = 0;
    t.mark = build_alloc(b, n->n_state, sizeof *t.mark);
    t.member = build_alloc(b, n->n_state + 1, sizeof *t.member);
    t.stack = build_alloc(b, n->n_state, sizeof *t.stack);
    closure_begin(&t);
    closure_add(&t, root[0], true, false);
    /* The start is a state of its own even where later text can reach the same set. */
    t.member[t.n_member++] = UINT32_MAX;
    subset_intern(b, &t);
    for (size_t i = 0; i < n_root; i++) {
        closure_begin(&t);
        closure_add(&t, root[i], false, false);
        uint32_t q = subset_intern(b, &t);
        if (at) at[i] = q;
    }
    for (uint32_t q = 1; q <= t.n_set; q++) {
        struct subset set = t.set[q - 1];
        uint64_t cut[5] = {0};
        size_t n_edge = 0;
        set.n -= q == DFA_START; /* without the mark */
        dfa_add_state(b, d, subset_exit(b, &t, t.pool + set.at, set.n, q == DFA_START, merge, ctx));
        for (uint32_t i = 0; i < set.n; i++) {
            const struct nfa_state *s = &n->state[t.pool[set.at + i]];
            for (uint32_t k = s->edge; k; k = n->edge[k - 1].next) {
                struct nfa_edge x = n->edge[k - 1];
                edge = build_grow(b, edge, n_edge, &cap_edge, sizeof *edge);
                edge[n_edge++] = x;
                cut[x.lo >> 6] |= 1ull << (x.lo & 63);
                cut[(x.hi + 1u) >> 6] |= 1ull << ((x.hi + 1u) & 63);
            }
        }
        build_work(b, n_edge);
        for (unsigned lo = 0; lo < 256; lo++) {
            if (!(cut[lo >> 6] >> (lo & 63) & 1)) continue;
            unsigned past = lo + 1;
            while (past < 256 && !(cut[past >> 6] >> (past & 63) & 1)) past++;
            closure_begin(&t);
            for (size_t i = 0; i < n_edge; i++)
                if (edge[i].lo <= lo && lo <= edge[i].hi) closure_add(&t, edge[i].to, false, false);
            dfa_add_edge(b, d, q, lo, past - 1, subset_intern(b, &t));
        }
    }
    dfa_finish(b, d);
    return d;
}
