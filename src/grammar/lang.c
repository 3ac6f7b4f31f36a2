#include "grammar/lang.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/regex.h"

struct cached {
    struct cached *next;
    const char *text;
    size_t n;
    bool is_format;
    const struct lang *own; /* its languages, in a list of their own */
};
struct lang_cache {
    struct cached *first;
    const struct dfa *any;
};

static struct lang_cache *cache_of(struct build *b)
{
    if (!b->langs) b->langs = build_alloc(b, 1, sizeof *b->langs);
    return b->langs;
}

static const struct dfa *dfa_of(struct build *b, const struct regex *r, bool whole)
{
    struct nfa n = {.json = true};
    uint32_t from = nfa_add_state(b, &n, -1), to = nfa_add_state(b, &n, 0);
    regex_add(b, &n, r, whole, from, to);
    return nfa_to_dfa(b, &n, &from, 1, NULL, NULL, NULL);
}

const struct dfa *lang_any(struct build *b)
{
    struct lang_cache *c = cache_of(b);
    if (!c->any) {
        struct nfa n = {.json = true};
        struct char_set any = regex_any(b, true);
        uint32_t at = nfa_add_state(b, &n, 0);
        nfa_add_chars(b, &n, at, &any, at);
        c->any = nfa_to_dfa(b, &n, &at, 1, NULL, NULL, NULL);
    }
    return c->any;
}

static const struct lang *prepend(struct build *b, const struct dfa *d, bool negative,
                                  const struct lang *rest)
{
    struct lang *l = build_alloc(b, 1, sizeof *l);
    *l = (struct lang){d, negative, rest};
    return l;
}

/* The languages of a pattern: its body, and the look-ahead at its beginning. */
static const struct lang *of_regex(struct build *b, const char *p, size_t n, bool whole, const char *where)
{
    const struct regex *r = regex_parse(b, p, n, where), *look;
    const struct lang *l = prepend(b, dfa_of(b, r, whole), false, NULL);
    bool negative;
    for (size_t i = 0; (look = regex_look(r, i, &negative)); i++)
        l = prepend(b, dfa_of(b, look, false), negative, l);
    return l;
}

static const struct lang *cached(struct build *b, const char *p, size_t n, bool is_format, const char *where,
                                 const struct lang *rest)
{
    struct lang_cache *cache = cache_of(b);
    struct cached *c = cache->first;
    while (c && !(c->is_format == is_format && c->n == n && memcmp(c->text, p, n) == 0)) c = c->next;
    if (!c) {
        c = build_alloc(b, 1, sizeof *c);
        *c = (struct cached){cache->first, build_strndup(b, p, n), n, is_format, NULL};
        const char *regex = is_format ? format_regex(p) : p;
        c->own = of_regex(b, regex, is_format ? strlen(regex) : n, is_format, where);
        cache->first = c;
    }
    for (const struct lang *l = c->own; l; l = l->next) rest = prepend(b, l->dfa, l->negative, rest);
    return rest;
}

const struct lang *lang_pattern(struct build *b, const char *p, size_t n, const char *where,
                                const struct lang *rest)
{
    return cached(b, p, n, false, where, rest);
}

const struct lang *lang_format(struct build *b, const char *name, const char *where, const struct lang *rest,
                               bool *known)
{
    const char *regex = format_regex(name);
    *known = regex != NULL;
    if (!regex) return rest;
    if (!*regex) build_fail(b, ERR_UNSUPPORTED, "%s: format \"%s\" is not supported", where, name);
    return cached(b, name, strlen(name), true, where, rest);
}

/* Up to 6 bytes for each of text. Returns their number. */
static size_t escape_into(char *to, const char *text, size_t n)
{
    static const char letter[32] = {[8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r'};
    char *p = to;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)text[i], e = c == '"' || c == '\\' ? c : c < 32 ? (uint8_t)letter[c] : 0;
        if (c < 32 && !e) {
            memcpy(p, "\\u00", 4);
            p[4] = (char)('0' + (c >> 4));
            p[5] = "0123456789abcdef"[c & 15];
            p += 6;
            continue;
        }
        if (e) *p++ = '\\';
        *p++ = (char)(e ? e : c);
    }
    return (size_t)(p - to);
}

void lang_escape(struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *to = buf_room(out, 6);
        if (to) out->n += escape_into(to, text + i, 1);
    }
    if (out->data) out->data[out->n] = 0;
}

const struct dfa *lang_texts(struct build *b, const char *const *text, const size_t *len, size_t n,
                             bool numbered)
{
    struct dfa_text *t = build_alloc(b, n + 1, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        char *p = build_alloc(b, len[i] + 1, 6); /* the longest escape of a byte */
        t[i] = (struct dfa_text){p, escape_into(p, text[i], len[i]), numbered ? (int32_t)i : 0};
    }
    return dfa_texts(b, t, n);
}

struct signs {
    const struct lang *l;
};

static int32_t all_accept(void *ctx, const uint32_t *q)
{
    const struct signs *s = ctx;
    size_t i = 1;
    for (const struct lang *l = s->l; l; l = l->next, i++) {
        bool in = q[i] && l->dfa->state[q[i]].exit >= 0;
        if (in == l->negative) return -1;
    }
    return 0;
}

const struct dfa *lang_all(struct build *b, const struct lang *l)
{
    const struct dfa **c;
    size_t n = 1;
    if (!l) return lang_any(b);
    if (!l->next && !l->negative) return l->dfa;
    for (const struct lang *i = l; i; i = i->next) n++;
    c = build_alloc(b, n, sizeof *c);
    c[0] = lang_any(b);
    n = 1;
    for (const struct lang *i = l; i; i = i->next) c[n++] = i->dfa;
    return dfa_product(b, c, n, all_accept, &(struct signs){l});
}

bool lang_has(const struct lang *l, const char *text, size_t n)
{
    struct buf raw = {0};
    bool has = true;
    lang_escape(&raw, text, n);
    for (; has && l; l = l->next) has = (dfa_match(l->dfa, raw.n ? raw.data : "", raw.n) >= 0) != l->negative;
    buf_deinit(&raw);
    return has;
}

/* Where characters begin, found by reading along: a state inside an escape or a UTF-8 sequence knows only
 * what may follow there, so every way to it is at the same point of a character. */
static void mark_boundaries(struct build *b, struct dfa *d)
{
    enum { UNSEEN, BETWEEN, ESCAPE, LEFT_1, LEFT_2, LEFT_3, HEX_1, HEX_2, HEX_3, HEX_4, OUTSIDE };
    uint8_t *phase = build_alloc(b, d->n_state, 1);
    uint32_t *queue = build_alloc(b, d->n_state, sizeof *queue), n = 0;
    phase[DFA_START] = OUTSIDE;
    queue[n++] = DFA_START;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t q = queue[i];
        for (unsigned k = 0; k < d->state[q].n_edge; k++) {
            const struct dfa_edge *e = &d->edge[d->state[q].edge + k];
            uint8_t c = e->lo, to = BETWEEN;
            switch (phase[q]) {
            case OUTSIDE: break;
            case BETWEEN:
                to = c == '"'    ? OUTSIDE
                     : c == '\\' ? ESCAPE
                     : c < 0x80  ? BETWEEN
                     : c < 0xE0  ? LEFT_1
                     : c < 0xF0  ? LEFT_2
                                 : LEFT_3;
                break;
            case ESCAPE: to = c == 'u' ? HEX_4 : BETWEEN; break;
            case LEFT_2: to = LEFT_1; break;
            case LEFT_3: to = LEFT_2; break;
            case HEX_4: to = HEX_3; break;
            case HEX_3: to = HEX_2; break;
            case HEX_2: to = HEX_1; break;
            default: break;
            }
            if (phase[e->to]) continue;
            phase[e->to] = to;
            queue[n++] = e->to;
        }
    }
    for (uint32_t q = 0; q < d->n_state; q++) d->state[q].boundary = phase[q] == BETWEEN;
}

enum { LENS_MAX_BITS = 1 << 26 };

const struct lens *lens_new(struct build *b, struct dfa *d, int64_t min, int64_t max)
{
    struct lens *l = build_alloc(b, 1, sizeof *l);
    int64_t last = (max == INT64_MAX ? min + d->n_state : max) + 1;
    size_t words = (d->n_state + 63) / 64, cap = 0;
    uint64_t *live = NULL;
    mark_boundaries(b, d);
    l->words = words;
    for (int64_t k = 0; k <= last; k++) {
        if ((l->n_level + 1) * words > LENS_MAX_BITS / 64)
            build_fail(b, ERR_LIMIT, "too complex: a pattern together with a length");
        while ((l->n_level + 1) * words > cap) live = build_grow(b, live, cap, &cap, sizeof *live);
        uint64_t *now = live + l->n_level * words, *before = k ? now - words : NULL;
        build_work(b, d->n_edge / 8 + 1);
        memset(now, 0, words * sizeof *now);
        for (bool more = true; more;) {
            more = false;
            for (uint32_t q = d->n_state; q-- > 1;) {
                const struct dfa_state *s = &d->state[q];
                bool lives = k == 0 && s->exit >= 0;
                for (unsigned i = 0; !lives && i < s->n_edge; i++) {
                    uint32_t t = d->edge[s->edge + i].to;
                    const uint64_t *row = d->state[t].boundary ? before : now;
                    lives = row && row[t >> 6] >> (t & 63) & 1;
                }
                if (lives && !(now[q >> 6] >> (q & 63) & 1)) {
                    now[q >> 6] |= 1ull << (q & 63);
                    more = true;
                }
            }
        }
        l->n_level++;
        if (k > 1 && memcmp(now, before, words * sizeof *now) == 0) break; /* and so it stays */
    }
    l->live = live;
    return l;
}
