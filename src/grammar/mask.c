/* Masks: which tokens may come next.
 *
 * Most of a token lies within one automaton, so what the vocabulary does within an automaton from a state is
 * found once and kept; only where a token leaves the automaton does the rest of it depend on the stack, and
 * is tried byte by byte. In free strings plain tokens are not even walked. */
#include <stdlib.h>
#include <string.h>

#include "grammar/frame.h"
#include "grammar/trie.h"

enum { CACHE_BYTES = 64 << 20 };

struct mask_cache *mask_cache_new(const struct grammar_trie *t)
{
    struct mask_cache *m = mem_zalloc(1, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    m->trie = t;
    return m;
}

static void entry_free(struct mask_entry *e)
{
    free(e->bits);
    free(e->token);
    free(e->exit);
    free(e->run);
    free(e);
}

void mask_cache_deinit(struct mask_cache *m)
{
    for (int i = 0; i < MASK_SLOTS; i++)
        for (struct mask_entry *e = m->slot[i], *next; e; e = next) {
            next = e->next;
            entry_free(e);
        }
    pthread_mutex_destroy(&m->lock);
}

void mask_cache_free(struct mask_cache *m)
{
    if (!m) return;
    mask_cache_deinit(m);
    free(m);
}

size_t mask_cache_bytes(struct mask_cache *m)
{
    if (!m) return 0;
    pthread_mutex_lock(&m->lock);
    size_t n = sizeof *m + m->bytes;
    pthread_mutex_unlock(&m->lock);
    return n;
}

struct walk {
    const struct grammar *g;
    const struct grammar_trie *t;
    uint32_t *bits;
};

static void set_tokens(const struct walk *w, int32_t token)
{
    for (; token >= 0; token = w->t->same[token]) w->bits[token >> 5] |= 1u << (token & 31);
}

/* Whether all tokens of the nodes [from, to) are allowed already: another thread need not try them. Mostly
 * the first is not, and that ends it. */
static bool all_set(const struct walk *w, const struct trie_nodes *t, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        int32_t token = t->token[i];
        if (token >= 0 && !(w->bits[token >> 5] >> (token & 31) & 1)) return false;
    }
    return true;
}

/* The subtrees [from, to) of siblings, read by all threads of c. */
static void walk_config(const struct walk *w, const struct trie_nodes *t, uint32_t from, uint32_t to,
                        const struct config *c)
{
    uint64_t set[4];
    config_bytes(c, set);
    for (uint32_t i = from; i < to; i = t->end[i]) {
        struct config next = {0};
        if (!(set[t->byte[i] >> 6] >> (t->byte[i] & 63) & 1)) continue;
        if (all_set(w, t, i, t->end[i])) continue;
        config_step(w->g, &next, c, t->byte[i]);
        if ((next.n || next.done) && !next.overflow) {
            set_tokens(w, t->token[i]);
            if (next.n && i + 1 < t->end[i]) walk_config(w, t, i + 1, t->end[i], &next);
        }
        config_deinit(&next);
    }
}

/* How a walk within one automaton deals with what it finds. */
struct inner {
    const struct walk *w;
    const struct trie_nodes *nodes;
    const struct thread *thread;
    struct mask_entry *entry; /* NULL: no entry is made, exits are followed at once */
    struct mask_exit *exit;   /* found so far */
    uint32_t n_exit, cap_token, cap_exit;
    struct config behind; /* the exit of state behind_q, once it was needed */
    uint32_t behind_q;
};

/* What goes on behind the exit of state q, into in->behind. */
static void look_behind(struct inner *in, uint32_t q)
{
    struct thread th = *in->thread;
    if (in->behind_q == q) return;
    config_deinit(&in->behind);
    th.key = NULL;
    config_exit(in->w->g, &in->behind, &th, q);
    in->behind_q = q;
}

/* Tokens that leave the automaton at q end there, and those that end there are known already. */
static bool leads_nowhere(struct inner *in, uint32_t q)
{
    if (in->thread->shape->kind == SHAPE_KEY) return false;
    look_behind(in, q);
    return in->behind.n == 0;
}

static void follow_exit(struct inner *in, uint32_t node, uint32_t q, bool has_edges)
{
    const struct trie_nodes *t = in->nodes;
    struct thread th = *in->thread;
    const char *tail = NULL;
    size_t n_tail = 0;
    if (thread_has_keys(&th)) { /* bytes of this key: those of any token below the node, up to its depth */
        uint32_t below = node;
        while (t->token[below] < 0) below++;
        tail = in->w->t->blob + in->w->t->at[t->token[below]];
        n_tail = t->depth[node];
    }
    if (!thread_exit_allowed(&th, th.shape->dfa->state[q].exit, tail, n_tail)) return;
    if (!has_edges) set_tokens(in->w, t->token[node]);
    if (all_set(in->w, t, node + 1, t->end[node])) return;
    look_behind(in, q);
    if (in->behind.n) walk_config(in->w, t, node + 1, t->end[node], &in->behind);
}

static void keep_exit(struct inner *in, uint32_t node, uint32_t q)
{
    if (in->n_exit == in->cap_exit) {
        in->cap_exit = MAX(16u, in->cap_exit * 2);
        in->exit = mem_realloc(in->exit, in->cap_exit, sizeof *in->exit);
    }
    in->exit[in->n_exit++] = (struct mask_exit){q, node};
}

static int by_state(const void *x, const void *y)
{
    const struct mask_exit *a = x, *b = y;
    if (a->q != b->q) return a->q < b->q ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* By state, then by node, as they were found. */
static void sort_exits(struct inner *in)
{
    uint32_t n_state = in->thread->shape->dfa->n_state;
    if (in->n_exit < n_state) {
        if (in->n_exit) qsort(in->exit, in->n_exit, sizeof *in->exit, by_state);
        return;
    }
    struct mask_exit *sorted = mem_alloc(in->n_exit * sizeof *sorted);
    uint32_t *at = mem_zalloc(n_state + 1, sizeof *at);
    for (uint32_t i = 0; i < in->n_exit; i++) at[in->exit[i].q + 1]++;
    for (uint32_t q = 0; q < n_state; q++) at[q + 1] += at[q];
    for (uint32_t i = 0; i < in->n_exit; i++) sorted[at[in->exit[i].q]++] = in->exit[i];
    free(in->exit);
    free(at);
    in->exit = sorted;
}

static void pack_exits(struct inner *in)
{
    struct mask_entry *e = in->entry;
    sort_exits(in);
    for (uint32_t i = 0; i < in->n_exit; i++) e->n_run += i == 0 || in->exit[i].q != in->exit[i - 1].q;
    e->n_exit = in->n_exit;
    e->exit = mem_alloc((e->n_exit + 1) * sizeof *e->exit);
    e->run = mem_alloc((e->n_run + 1) * sizeof *e->run);
    for (uint32_t i = 0, k = 0; i < e->n_exit; i++) {
        e->exit[i] = in->exit[i].node;
        if (i && in->exit[i].q != in->exit[i - 1].q) k++;
        e->run[k] = (struct mask_run){in->exit[i].q, i + 1};
    }
    free(in->exit);
}

static void keep_tokens(struct inner *in, int32_t token)
{
    struct mask_entry *e = in->entry;
    for (; token >= 0; token = in->w->t->same[token]) {
        if (e->n_token == in->cap_token) {
            in->cap_token = MAX(64u, in->cap_token * 2);
            e->token = mem_realloc(e->token, in->cap_token, sizeof *e->token);
        }
        e->token[e->n_token++] = token;
    }
}

struct level {
    uint32_t end, q;
    int32_t n;
};

/* All nodes that the thread's automaton can reach from its state. */
static void walk_inner(struct inner *in)
{
    const struct trie_nodes *t = in->nodes;
    const struct thread *th = in->thread;
    const struct dfa *d = th->shape->dfa;
    struct level stack[4097], *top = stack; /* a token has at most 4096 bytes */
    bool watch = !in->entry || th->shape->lens, key = th->shape->kind == SHAPE_KEY;
    *top = (struct level){t->n, th->q, th->n};
    for (uint32_t i = 1; i < t->n;) {
        while (i >= top->end) top--;
        uint32_t q = dfa_step(d, top->q, t->byte[i]);
        int32_t n = top->n;
        if (!q) {
            i = t->end[i];
            continue;
        }
        const struct dfa_state *s = &d->state[q];
        if (th->shape->lens) n += s->boundary;
        if (watch && !thread_lives(th, q, n)) {
            i = t->end[i];
            continue;
        }
        if (s->exit >= 0) {
            if (!in->entry)
                follow_exit(in, i, q, s->n_edge > 0);
            else if (key || i + 1 < t->end[i])
                keep_exit(in, i, q);
        }
        if (t->token[i] >= 0 && (s->n_edge || (in->entry && !key))) {
            if (in->entry)
                keep_tokens(in, t->token[i]);
            else
                set_tokens(in->w, t->token[i]);
        }
        if (s->n_edge && i + 1 < t->end[i]) {
            *++top = (struct level){t->end[i], q, n};
            i++;
        } else {
            i = t->end[i];
        }
    }
}

static void pack_entry(struct mask_entry *e, uint32_t words)
{
    if (e->n_token <= words / 2) return;
    e->bits = mem_zalloc(words, sizeof *e->bits);
    for (uint32_t i = 0; i < e->n_token; i++) e->bits[e->token[i] >> 5] |= 1u << (e->token[i] & 31);
    free(e->token);
    e->token = NULL;
    e->n_token = 0;
}

static struct mask_entry *make_entry(const struct walk *w, const struct thread *th, int32_t room)
{
    const struct grammar_trie *t = w->t;
    struct mask_entry *e = mem_zalloc(1, sizeof *e);
    const struct dfa *d = th->shape->dfa;
    bool plain = d->universal && d->universal[th->q] && (!th->shape->lens || th->shape->any);
    struct inner in = {.w = w, .nodes = plain ? &t->rest : &t->all, .thread = th, .entry = e};
    e->rest = plain;
    e->room = th->shape->lens && room < t->max_chars ? room : -1;
    walk_inner(&in);
    pack_exits(&in);
    pack_entry(e, t->words);
    return e;
}

static size_t entry_bytes(const struct mask_entry *e, uint32_t words)
{
    return sizeof *e + (e->bits ? words * sizeof(uint32_t) : 0) + e->n_token * sizeof(int32_t) +
           e->n_exit * sizeof *e->exit + e->n_run * sizeof *e->run;
}

static struct mask_cache *cache_of(struct grammar *g, struct grammar_trie *t, const struct dfa *d)
{
    if (d->id <= builtin_get()->last_id) return &t->shared;
    struct mask_cache *m = atomic_load(&g->masks);
    if (!m) {
        struct mask_cache *fresh = mask_cache_new(t);
        if (atomic_compare_exchange_strong(&g->masks, &m, fresh))
            m = fresh;
        else
            mask_cache_free(fresh);
    }
    return m->trie == t ? m : NULL;
}

static void use_entry(const struct walk *w, const struct mask_entry *e, const struct thread *th)
{
    const struct grammar_trie *t = w->t;
    struct inner in = {.w = w, .nodes = e->rest ? &t->rest : &t->all, .thread = th};
    const uint32_t *plain = e->room < 0 ? t->plain : t->plain_upto[MIN(e->room, PLAIN_LEVELS - 1)];
    if (e->rest)
        for (uint32_t i = 0; i < t->words; i++) w->bits[i] |= plain[i];
    if (e->rest && e->room >= PLAIN_LEVELS)
        for (uint32_t i = 0; i < t->n_plain_long; i++)
            if (t->plain_long_chars[i] <= e->room)
                w->bits[t->plain_long[i] >> 5] |= 1u << (t->plain_long[i] & 31);
    if (e->bits)
        for (uint32_t i = 0; i < t->words; i++) w->bits[i] |= e->bits[i];
    for (uint32_t i = 0; i < e->n_token; i++) w->bits[e->token[i] >> 5] |= 1u << (e->token[i] & 31);
    for (uint32_t r = 0, i = 0; r < e->n_run; i = e->run[r++].end) {
        if (leads_nowhere(&in, e->run[r].q)) continue;
        for (; i < e->run[r].end; i++)
            follow_exit(&in, e->exit[i], e->run[r].q, th->shape->kind != SHAPE_KEY);
    }
    config_deinit(&in.behind);
}

/* With lengths, masks differ by how many characters are needed and left, as far as a token can tell. */
static void mask_kept(const struct walk *w, struct grammar *g, struct grammar_trie *t,
                      const struct thread *th)
{
    const struct shape *s = th->shape;
    int64_t need = 0, room = 0;
    if (s->lens) { /* after a whole token the lengths still to come must not matter either */
        int64_t enough = t->max_chars + (int64_t)s->lens->n_level;
        need = MIN(MAX(s->min - th->n, 0), enough);
        room = s->max == INT64_MAX ? enough : MIN(s->max - th->n, enough);
    }
    uint64_t key[2] = {(uint64_t)s->dfa->id << 32 | th->q, (uint64_t)need << 32 | (uint64_t)room};
    struct mask_cache *m = cache_of(g, t, s->dfa);
    struct mask_entry *e = NULL, **slot = NULL;
    if (m) {
        pthread_mutex_lock(&m->lock);
        slot = &m->slot[hash_bytes(key, sizeof key) % MASK_SLOTS];
        for (e = *slot; e && (e->key[0] != key[0] || e->key[1] != key[1]);) e = e->next;
        pthread_mutex_unlock(&m->lock);
    }
    if (e) {
        use_entry(w, e, th);
        return;
    }
    e = make_entry(w, th, (int32_t)room);
    memcpy(e->key, key, sizeof key);
    use_entry(w, e, th);
    bool kept = false;
    if (m) {
        pthread_mutex_lock(&m->lock);
        struct mask_entry *other = *slot; /* another thread may have made it meanwhile */
        while (other && (other->key[0] != key[0] || other->key[1] != key[1])) other = other->next;
        if (!other && m->bytes + entry_bytes(e, t->words) <= CACHE_BYTES) {
            m->bytes += entry_bytes(e, t->words);
            e->next = *slot;
            *slot = e;
            kept = true;
        }
        pthread_mutex_unlock(&m->lock);
    }
    if (!kept) entry_free(e);
}

static void mask_now(const struct walk *w, const struct grammar_trie *t, const struct thread *th)
{
    struct inner in = {.w = w, .nodes = &t->all, .thread = th};
    walk_inner(&in);
    config_deinit(&in.behind);
}

/* The short stacks first: what they allow need not be tried on the deeper ones, where it takes longer. */
static int by_stack(const void *x, const void *y)
{
    const struct thread *a = *(const struct thread *const *)x, *b = *(const struct thread *const *)y;
    return a->frame->depth < b->frame->depth ? -1 : a->frame->depth > b->frame->depth;
}

void grammar_state_mask(struct grammar_state *s, struct grammar_trie *t, uint32_t *bits)
{
    const struct config *c = &s->at->c;
    struct walk w = {s->g, t, bits};
    const struct thread *by_depth[CONFIG_THREADS];
    memset(bits, 0, t->words * sizeof *bits);
    for (uint32_t i = 0; i < c->n; i++) by_depth[i] = &c->t[i];
    qsort(by_depth, c->n, sizeof *by_depth, by_stack);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct thread *th = by_depth[i];
        if (th->shape->lens || thread_is_free(th))
            mask_kept(&w, s->g, t, th);
        else
            mask_now(&w, t, th);
    }
    if (c->done)
        for (uint32_t i = 0; i < t->n_eog; i++) bits[t->eog[i] >> 5] |= 1u << (t->eog[i] & 31);
}
