#include "api/constraint_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { MAX_ENTRIES = 1024, MAX_THREADS = 16, DEFAULT_BYTES = 256 << 20 };

/* ---- the cache --------------------------------------------------------------------------------------- */

struct waiter {
    constraint_ready ready;
    void *user;
    struct waiter *next;
};

enum progress { QUEUED, COMPILING, DONE };
struct entry {
    struct entry *next;
    uint64_t hash, used; /* used: a stamp, larger is later */
    const char *kind;
    struct grammar_options options;
    char *text;
    size_t n;
    enum progress progress;
    struct constraint *c; /* DONE; NULL: it failed, */
    struct error error;   /* for this reason */
    struct waiter *waiters;
};

struct constraints {
    struct vocabulary *v;
    size_t max_bytes;
    uint32_t max_queued, n_thread;
    pthread_t thread[MAX_THREADS];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct entry *entries;
    uint64_t clock;
    bool stop;
    struct constraints_stats stats;
};

static void entry_free(struct entry *x)
{
    constraint_unref(x->c);
    free(x->text);
    free(x);
}

static uint64_t hash_of(const char *p, size_t n) /* FNV-1a */
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)p[i]) * 0x100000001B3u;
    return h;
}

static bool same_options(const struct grammar_options *a, const struct grammar_options *b)
{
    return a->space == b->space && a->ordered == b->ordered && a->lenient == b->lenient &&
           a->max_bytes == b->max_bytes && a->max_work == b->max_work;
}

static struct entry *find(const struct constraints *p, const struct constraint_spec *s, uint64_t hash)
{
    for (struct entry *x = p->entries; x; x = x->next)
        if (x->error.code != ERR_MEMORY && x->hash == hash && x->n == s->text.n &&
            strcmp(x->kind, s->kind) == 0 && same_options(&x->options, &s->options) &&
            (!x->n || memcmp(x->text, s->text.data, x->n) == 0))
            return x;
    return NULL;
}

static size_t entry_bytes(const struct entry *x)
{
    return sizeof *x + x->n + (x->c ? grammar_bytes(x->c->grammar) : 0);
}

/* Let go of what was not used for longest until the rest fits. Masks grow while they are used: so this is
 * measured anew each time. */
static void evict(struct constraints *p)
{
    for (;;) {
        struct entry **oldest = NULL;
        size_t bytes = 0;
        uint32_t n = 0;
        for (struct entry **at = &p->entries; *at; at = &(*at)->next, n++) {
            bytes += entry_bytes(*at);
            if ((*at)->progress == DONE && (!oldest || (*at)->used < (*oldest)->used)) oldest = at;
        }
        p->stats.n_kept = n;
        p->stats.bytes = bytes;
        if (!oldest || (bytes <= p->max_bytes && n <= MAX_ENTRIES)) return;
        struct entry *x = *oldest;
        *oldest = x->next;
        entry_free(x);
        p->stats.n_evicted++;
    }
}

static struct entry *add_entry(struct constraints *p, const struct constraint_spec *s, uint64_t hash)
{
    struct entry *x = mem_zalloc(1, sizeof *x);
    *x = (struct entry){.hash = hash,
                        .kind = s->kind,
                        .options = s->options,
                        .text = mem_strndup(s->text.n ? s->text.data : "", s->text.n),
                        .n = s->text.n,
                        .used = ++p->clock,
                        .next = p->entries};
    p->entries = x;
    p->stats.n_queued++;
    pthread_cond_signal(&p->work);
    return x;
}

static void add_waiter(struct entry *x, constraint_ready ready, void *user)
{
    struct waiter *w = mem_alloc(sizeof *w);
    *w = (struct waiter){ready, user, x->waiters};
    x->waiters = w;
}

/* ---- the threads ------------------------------------------------------------------------------------- */

/* The first mask of a grammar takes longest, and the engine's thread has better things to do. */
static void warm(struct grammar_trie *t, struct grammar *g)
{
    uint32_t *bits = mem_alloc(grammar_trie_words(t) * sizeof *bits);
    struct grammar_state *s = grammar_state_new(g);
    grammar_state_mask(s, t, bits);
    grammar_state_free(s);
    free(bits);
}

static struct constraint *compile(struct constraints *p, const struct entry *x, struct error *e)
{
    int64_t start = clock_ns();
    struct grammar_options o = x->options;
    struct grammar *g;
    o.vocabulary = p->v->trie;
    if (grammar_compile(&g, x->kind, x->text, x->n, &o, e) != OK) return NULL;
    if (*grammar_dropped(g)) LOG(INFO, "api", "constraint", "left out: %s", grammar_dropped(g));
    warm(p->v->trie, g);
    struct constraint *c = mem_alloc(sizeof *c);
    c->grammar = g;
    c->v = p->v;
    atomic_init(&c->refs, 1);
    atomic_fetch_add(&p->v->refs, 1);
    LOG(DEBUG, "api", "constraint", "kind=%s chars=%zu compiled=%zu ms=%.2f", x->kind, x->n, grammar_bytes(g),
        (double)(clock_ns() - start) * 1e-6);
    return c;
}

/* Tell everyone who waits. The lock is not held; x cannot go, for it is not DONE or its waiters are taken. */
static void tell(struct waiter *w, struct constraint *c, const struct error *e)
{
    for (struct waiter *next; w; w = next) {
        next = w->next;
        w->ready(w->user, c ? constraint_ref(c) : NULL, c ? NULL : e);
        free(w);
    }
}

/* The lock is held, and is given back for the time of compiling. */
static void compile_entry(struct constraints *p, struct entry *x)
{
    struct error error = {0};
    x->progress = COMPILING;
    p->stats.n_queued--;
    pthread_mutex_unlock(&p->lock);
    struct constraint *c = compile(p, x, &error);
    pthread_mutex_lock(&p->lock);
    struct waiter *w = x->waiters;
    x->waiters = NULL;
    x->c = c;
    x->error = error;
    x->progress = DONE;
    x->used = ++p->clock;
    p->stats.n_compiled += c != NULL;
    p->stats.n_failed += c == NULL;
    if (c) constraint_ref(c);
    evict(p);
    pthread_mutex_unlock(&p->lock);
    tell(w, c, &error);
    constraint_unref(c);
    pthread_mutex_lock(&p->lock);
}

static struct entry *next_queued(const struct constraints *p)
{
    struct entry *oldest = NULL; /* the list is newest first */
    for (struct entry *x = p->entries; x; x = x->next)
        if (x->progress == QUEUED) oldest = x;
    return oldest;
}

static void *work(void *arg)
{
    struct constraints *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        struct entry *x = next_queued(p);
        if (x)
            compile_entry(p, x);
        else
            pthread_cond_wait(&p->work, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- the pool ---------------------------------------------------------------------------------------- */

status constraints_new(struct constraints **out, const struct tokenizer *tok,
                       const struct constraints_options *o, struct error *e)
{
    static const struct constraints_options defaults = {0};
    struct grammar_trie *trie;
    *out = NULL;
    if (!o) o = &defaults;
    TRY(grammar_trie_new(&trie, tok, e));
    struct constraints *p = mem_zalloc(1, sizeof *p);
    p->v = vocabulary_new(trie, tok);
    p->max_bytes = o->max_bytes ? o->max_bytes : DEFAULT_BYTES;
    p->max_queued = o->max_queued ? o->max_queued : 256;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    uint32_t want = o->n_thread ? MIN(o->n_thread, (uint32_t)MAX_THREADS) : 2;
    while (p->n_thread < want && pthread_create(&p->thread[p->n_thread], NULL, work, p) == 0) p->n_thread++;
    if (!p->n_thread) {
        constraints_free(p);
        return fail(e, ERR_MEMORY, "no memory for a thread that compiles constraints");
    }
    *out = p;
    return OK;
}

void constraints_free(struct constraints *p)
{
    struct error e;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_thread; i++) pthread_join(p->thread[i], NULL);
    (void)fail(&e, ERR_CANCELLED, "the server is stopping");
    for (struct entry *x = p->entries, *next; x; x = next) {
        next = x->next;
        tell(x->waiters, NULL, &e);
        entry_free(x);
    }
    vocabulary_unref(p->v);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

struct wait { /* of a caller who stays */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
    struct constraint *c;
    struct error e;
};

static void end_wait(void *user, struct constraint *c, const struct error *e)
{
    struct wait *w = user;
    pthread_mutex_lock(&w->lock);
    w->c = c;
    if (e) w->e = *e;
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static status get_and_wait(struct constraints *p, const struct constraint_spec *s, struct constraint **out,
                           struct error *e)
{
    struct wait w = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    status code = constraints_get(p, s, out, end_wait, &w, e);
    if (code == OK && !*out) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done) pthread_cond_wait(&w.done, &w.lock);
        pthread_mutex_unlock(&w.lock);
        *out = w.c;
        if (!w.c) code = fail(e, w.e.code, "%s", w.e.msg);
    }
    pthread_cond_destroy(&w.done);
    pthread_mutex_destroy(&w.lock);
    return code;
}

status constraints_get(struct constraints *p, const struct constraint_spec *s, struct constraint **out,
                       constraint_ready ready, void *user, struct error *e)
{
    *out = NULL;
    if (!ready) return get_and_wait(p, s, out, e);
    uint64_t hash = hash_of(s->text.n ? s->text.data : "", s->text.n);
    status code = OK;
    pthread_mutex_lock(&p->lock);
    struct entry *x = find(p, s, hash);
    if (x) x->used = ++p->clock;
    if (x && x->progress == DONE) {
        p->stats.n_hit++;
        if (x->c)
            *out = constraint_ref(x->c);
        else
            code = fail(e, x->error.code, "%s", x->error.msg);
    } else if (!x && p->stats.n_queued >= p->max_queued) {
        code = fail(e, ERR_BUSY, "%u constraints are waiting to be compiled", p->stats.n_queued);
    } else {
        if (!x) x = add_entry(p, s, hash);
        add_waiter(x, ready, user);
    }
    pthread_mutex_unlock(&p->lock);
    return code;
}

void constraints_stats(struct constraints *p, struct constraints_stats *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->stats;
    pthread_mutex_unlock(&p->lock);
}
