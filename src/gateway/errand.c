#include "gateway/errand.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { N_THREAD = 3 };

struct errand_state {
    struct errand r;
    errand_fn fn;
    struct http_waker *waker; /* of the exchange; NULL: it has gone */
    struct errands *all;
    struct errand_state *next;
    atomic_bool abandoned;
    bool done;               /* guarded by all->lock, as is whether the exchange has gone */
    struct query_text *text; /* of the query, what was asked for */
};
struct query_text {
    struct query_text *next;
    char text[];
};

struct errands {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread[N_THREAD];
    int n_thread, n_idle;
    struct errand_state *first, **last;
    bool stop;
};

/* ---- threads ----------------------------------------------------------------------------------------- */

static void state_free(struct errand_state *s)
{
    free(s->r.param);
    free(s->r.query);
    json_decref(s->r.body);
    buf_deinit(&s->r.out);
    for (struct query_text *t; (t = s->text);) {
        s->text = t->next;
        free(t);
    }
    free(s);
}

/* The lock is held. The exchange has gone or hears of it, so one of the two frees it. */
static void finish(struct errand_state *s)
{
    s->done = true;
    if (s->abandoned)
        state_free(s);
    else
        http_waker_fire(s->waker);
}

static void *errand_main(void *arg)
{
    struct errands *all = arg;
    pthread_mutex_lock(&all->lock);
    for (;;) {
        struct errand_state *s = all->first;
        if (all->stop) break;
        if (!s) {
            all->n_idle++;
            pthread_cond_wait(&all->wake, &all->lock);
            all->n_idle--;
            continue;
        }
        all->first = s->next;
        if (!all->first) all->last = &all->first;
        pthread_mutex_unlock(&all->lock);
        if (!s->abandoned || s->r.user) s->fn(&s->r);
        pthread_mutex_lock(&all->lock);
        finish(s);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

struct errands *errands_new(void)
{
    struct errands *all = mem_zalloc(1, sizeof *all);
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->wake, NULL);
    all->last = &all->first;
    return all;
}

void errands_stop(struct errands *all)
{
    pthread_mutex_lock(&all->lock);
    all->stop = true;
    pthread_cond_broadcast(&all->wake);
    int n = all->n_thread;
    all->n_thread = 0;
    pthread_mutex_unlock(&all->lock);
    for (int i = 0; i < n; i++) pthread_join(all->thread[i], NULL);
    pthread_mutex_lock(&all->lock);
    for (struct errand_state *s; (s = all->first);) {
        all->first = s->next;
        if (s->r.user) s->fn(&s->r);
        errand_fail(&s->r, 503, "the server is shutting down");
        finish(s);
    }
    all->last = &all->first;
    pthread_mutex_unlock(&all->lock);
}

void errands_free(struct errands *all)
{
    if (!all) return;
    errands_stop(all);
    pthread_mutex_destroy(&all->lock);
    pthread_cond_destroy(&all->wake);
    free(all);
}

/* False: it will not be run. */
static bool enqueue(struct errands *all, struct errand_state *s)
{
    pthread_mutex_lock(&all->lock);
    bool taken = !all->stop;
    if (taken && !all->n_idle && all->n_thread < N_THREAD &&
        pthread_create(&all->thread[all->n_thread], NULL, errand_main, all) == 0)
        all->n_thread++;
    taken = taken && all->n_thread;
    if (taken) {
        *all->last = s;
        all->last = &s->next;
        pthread_cond_signal(&all->wake);
    }
    pthread_mutex_unlock(&all->lock);
    return taken;
}

/* ---- exchanges --------------------------------------------------------------------------------------- */

static void reply(struct http_exchange *x, const struct errand *r)
{
    http_reply(x, r->code ? r->code : 200, r->type ? r->type : "application/json",
               r->out.data ? r->out.data : "", r->out.n);
}

bool errand_done(const struct errand *r)
{
    struct errand_state *s = r->state;
    pthread_mutex_lock(&s->all->lock);
    bool done = s->done;
    pthread_mutex_unlock(&s->all->lock);
    return done;
}

void errand_answer(struct errand *r, struct http_exchange *x)
{
    if (errand_done(r)) reply(x, r);
}

void errand_leave(struct errand *r)
{
    struct errand_state *s = r->state;
    struct errands *all = s->all;
    pthread_mutex_lock(&all->lock);
    http_waker_free(s->waker);
    s->waker = NULL;
    s->abandoned = true;
    if (s->done) state_free(s);
    pthread_mutex_unlock(&all->lock);
}

static void on_wake(struct http_exchange *x, void *user)
{
    errand_answer(user, x);
}
static void on_end(struct http_exchange *x, void *user, bool complete)
{
    errand_leave(user);
}
static const struct http_responder responder = {.wake = on_wake, .end = on_end};

static char *param_of(const struct http_exchange *x)
{
    static const char *const name[] = {"name", "id", "digest", "model"};
    for (size_t i = 0; i < COUNT_OF(name); i++) {
        const char *p = http_param(x, name[i]);
        if (p) return mem_strdup(p);
    }
    return mem_strdup("");
}

bool gateway_trusts(const struct gateway *g, const struct http_exchange *x)
{
    return http_exchange_server(x) == atomic_load(&g->trusted);
}

json_t *gateway_body(const struct http_exchange *x, char *why, size_t cap)
{
    struct http_str s = http_request_body(x);
    json_error_t e;
    if (!s.n) return json_object();
    json_t *v = json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES, &e);
    if (json_is_object(v)) return v;
    if (v)
        snprintf(why, cap, "the body is not a JSON object");
    else
        snprintf(why, cap, "the body is not JSON: line %d, column %d: %.120s", e.line, e.column, e.text);
    json_decref(v);
    return NULL;
}

void gateway_refuse(struct http_exchange *x, int code, const char *param, const char *fmt, ...)
{
    struct fault f;
    struct buf b = {0};
    char msg[sizeof f.msg];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    refuse(&f, code, NULL, param, "%s", msg);
    fault_write(&f, family_of_path(http_path(x)), &b);
    http_reply(x, code, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static struct errand_state *state_new(struct http_exchange *x, struct gateway *g, errand_fn fn)
{
    struct errand_state *s = mem_zalloc(1, sizeof *s);
    s->r = (struct errand){.g = g,
                           .family = family_of_path(http_path(x)),
                           .param = param_of(x),
                           .query = mem_strdup(http_query(x)),
                           .trusted = gateway_trusts(g, x),
                           .state = s};
    s->fn = fn;
    s->all = g->errands;
    return s;
}

/* x has a responder. */
static void begin(struct errand_state *s, struct http_exchange *x)
{
    s->waker = http_waker_new(x);
    if (enqueue(s->all, s)) return;
    if (s->r.user) s->fn(&s->r);
    errand_fail(&s->r, 503, "the server is shutting down");
    s->done = true;
    reply(x, &s->r);
}

struct errand *errand_start(struct http_exchange *x, struct gateway *g, errand_fn fn, void *user)
{
    struct errand_state *s = state_new(x, g, fn);
    s->r.user = user;
    begin(s, x);
    return &s->r;
}

/* Decoded it is UTF-8, and nothing is hidden behind a NUL: what it names can be said in JSON. */
static bool is_text(const char *raw)
{
    char *text = mem_strdup(raw);
    size_t n = query_decode(raw, "", text, strlen(raw) + 1);
    bool good = !memchr(text, 0, n) && utf8_valid(text, n);
    free(text);
    return good;
}

void errand_run(struct http_exchange *x, struct gateway *g, errand_fn fn)
{
    char why[200], *param = param_of(x);
    bool text = utf8_valid(param, strlen(param)) && is_text(http_query(x));
    json_t *body = text ? gateway_body(x, why, sizeof why) : NULL;
    free(param);
    if (!body) {
        gateway_refuse(x, 400, NULL, "%s", text ? why : "the path or the query is not UTF-8 text");
        return;
    }
    struct errand_state *s = state_new(x, g, fn);
    s->r.body = body;
    http_attach(x, &responder, &s->r);
    begin(s, x);
}

bool errand_cancelled(const struct errand *r)
{
    return r->state && r->state->abandoned;
}

/* ---- for the functions ------------------------------------------------------------------------------- */

void errand_json(struct errand *r, int code, json_t *v)
{
    char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;
    json_decref(v);
    buf_reset(&r->out);
    r->code = code;
    if (text)
        buf_adds(&r->out, text);
    else
        errand_fail(r, 500, "the answer has a text that is not UTF-8, maybe the name of a file");
    free(text);
}

json_t *text_json(const char *s)
{
    json_t *v = json_string(s);
    if (v) return v;
    struct buf b = {0};
    buf_json_str(&b, s, strlen(s));
    v = json_loadb(b.data, b.n, JSON_DECODE_ANY, NULL);
    buf_deinit(&b);
    return v;
}

void errand_fail(struct errand *r, int code, const char *fmt, ...)
{
    struct fault f;
    char msg[384];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    refuse(&f, code, code == 404 ? "model_not_found" : NULL, NULL, "%s", msg);
    buf_reset(&r->out);
    r->code = code;
    fault_write(&f, r->family, &r->out);
}

int errand_code(status s)
{
    switch (s) {
    case OK: return 200;
    case ERR_ARG:
    case ERR_FORMAT:
    case ERR_LIMIT: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_BUSY: return 409;
    case ERR_UNSUPPORTED: return 501;
    case ERR_CANCELLED: return 499;
    default: return 500;
    }
}

void errand_error(struct errand *r, const struct error *e)
{
    errand_fail(r, errand_code(e->code), "%s", e->msg);
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

size_t query_decode(const char *p, const char *stop, char *out, size_t cap)
{
    size_t n = 0;
    while (*p && !strchr(stop, *p) && n + 1 < cap) {
        int hi = *p == '%' ? hex(p[1]) : -1, lo = hi >= 0 ? hex(p[2]) : -1;
        out[n++] = lo >= 0 ? (char)(hi * 16 + lo) : *p == '+' ? ' ' : *p;
        p += lo >= 0 ? 3 : 1;
    }
    out[n] = 0;
    return n;
}

bool query_value(const char *query, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    for (const char *p = query; *p; p += strcspn(p, "&"), p += *p == '&') {
        if (strncmp(p, name, n) != 0 || p[n] != '=') continue;
        query_decode(p + n + 1, "&", out, cap);
        return true;
    }
    return false;
}

uint32_t query_number(const char *query, const char *name, uint32_t def, uint32_t most)
{
    char text[24];
    if (!query_value(query, name, text, sizeof text)) return def;
    unsigned long v = strtoul(text, NULL, 10);
    return (uint32_t)MIN(MAX(v, 1ul), (unsigned long)most);
}

const char *errand_text(struct errand *r, const char *name)
{
    const char *v = json_string_value(json_object_get(r->body, name));
    size_t cap = strlen(r->query) + 1;
    if (v) return v;
    struct query_text *t = mem_alloc(sizeof *t + cap);
    t->next = r->state->text;
    r->state->text = t;
    return query_value(r->query, name, t->text, cap) ? t->text : NULL;
}

bool errand_need(struct errand *r, const char *name, const char **out)
{
    *out = errand_text(r, name);
    if (*out && **out) return true;
    errand_fail(r, 400, "\"%s\" is missing: a text is wanted", name);
    return false;
}
