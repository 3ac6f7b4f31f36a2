/* What all sources share: asking them, and what stands in URLs and headers. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/rng.h"
#include "hub/hub_int.h"

enum { TICK_MS = 100, CONNECT_MS = 15000, BUFFER_BYTES = 256 * 1024 };

const struct hub_source *hub_source_of(enum hub_kind kind)
{
    static const struct hub_source *const by_kind[] = {[HUB_HF] = &hub_hf,
                                                       [HUB_OLLAMA] = &hub_ollama,
                                                       [HUB_S3] = &hub_s3,
                                                       [HUB_HTTP] = &hub_http,
                                                       [HUB_LOCAL] = &hub_local};
    return by_kind[kind];
}

status hub_plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    *out = (struct hub_plan){0};
    status r = hub_source_of(ref->kind)->plan(s, ref, out, e);
    if (r == OK && out->n_file > HUB_MAX_FILES)
        r = fail(e, ERR_LIMIT, "a model of %zu files: at most %d can be pulled", out->n_file, HUB_MAX_FILES);
    if (r == OK && !out->revision) out->revision = mem_strdup("");
    if (r != OK) hub_plan_deinit(out);
    return r == OK ? OK : fail_in(e, "%.80s", ref->text);
}

void hub_session_deinit(struct hub_session *s)
{
    free(s->bearer);
    s->bearer = NULL;
}

bool hub_cancelled(const struct hub_session *s)
{
    return s->cancel && atomic_load(s->cancel);
}

/* ---- header fields ----------------------------------------------------------------------------------- */

void hub_fields_add(struct hub_fields *f, const char *name, const char *value)
{
    ASSERT(f->n < HUB_MAX_FIELDS);
    f->at[f->n++] = (struct http_header){mem_strdup(name), mem_strdup(value)};
}

void hub_fields_deinit(struct hub_fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free((char *)f->at[i].name);
        free((char *)f->at[i].value);
    }
    f->n = 0;
}

/* ---- a whole answer ---------------------------------------------------------------------------------- */

void hub_call_options(const struct hub_config *c, struct http_call_options *o)
{
    o->connect_timeout_ms = CONNECT_MS;
    o->first_byte_timeout_ms = 2 * c->stall_ms;
    o->stall_timeout_ms = c->stall_ms;
    o->ca_file = c->ca_file;
    o->may_connect = c->may_connect;
    o->may_connect_user = c->may_connect_user;
    o->buffer_bytes = BUFFER_BYTES;
}

struct get {
    struct http_answer *out;
    bool ended, redirected;
    const char *url;
    enum http_cause cause;
    status s;
    struct error error;
};

void hub_keep_head(struct buf *head, const struct http_call *c)
{
    struct http_header h;
    for (size_t i = 0; http_call_field(c, i, &h); i++) {
        buf_add(head, h.name, strlen(h.name) + 1);
        buf_add(head, h.value, strlen(h.value) + 1);
    }
}

static void get_head(struct http_call *c, void *user, int code)
{
    struct get *g = user;
    g->redirected = strcmp(http_call_url(c), g->url) != 0;
    hub_keep_head(&g->out->head, c);
}

static void get_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct get *g = user;
    buf_add(&g->out->body, p, n);
}

static void get_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct get *g = user;
    g->ended = true;
    g->cause = r->cause;
    g->out->code = r->code;
    g->s = http_result_error(r, g->url, &g->error);
}

/* False: somebody wants the job to end. */
static bool wait_for(struct hub_session *s, uint32_t ms)
{
    int64_t end = clock_us() + (int64_t)ms * 1000;
    for (int64_t now; (now = clock_us()) < end;) {
        if (hub_cancelled(s)) return false;
        http_client_wait(s->client, (uint32_t)MIN((end - now) / 1000 + 1, TICK_MS));
    }
    return true;
}

static bool ask(struct hub_session *s, struct get *g, const struct http_call_options *o)
{
    static const struct http_call_ops ops = {.head = get_head, .body = get_body, .end = get_end};
    *g->out = (struct http_answer){0};
    struct http_call *c = http_call_start(s->client, o, &ops, g);
    while (!g->ended && !hub_cancelled(s)) http_client_wait(s->client, TICK_MS);
    if (g->ended) return true;
    http_call_cancel(c);
    return false;
}

status hub_get(struct hub_session *s, const char *url, const struct hub_fields *fields, size_t max_bytes,
               uint32_t max_redirects, struct http_answer *out, struct error *e)
{
    struct http_call_options o = {
        .url = url, .max_bytes = max_bytes, .max_redirects = max_redirects, .unpack = true};
    hub_call_options(s->config, &o);
    if (fields) {
        o.header = fields->at;
        o.n_header = fields->n;
    }
    for (uint32_t tries = 1;; tries++) {
        struct get g = {.out = out, .url = url};
        uint32_t wait_ms = 0;
        bool asked = ask(s, &g, &o), again = asked && hub_retry_is_worth(g.cause, out->code, g.redirected);
        if (asked && !again && g.s == OK) return OK;
        if (again)
            wait_ms = hub_retry_wait_ms(s->config, tries, http_answer_header(out, "retry-after"),
                                        rng_uniform(rng_seed_from_os(), 0, 0, 0));
        int code = out->code;
        http_answer_deinit(out);
        *out = (struct http_answer){0};
        if (again && tries < s->config->max_tries && wait_for(s, wait_ms)) continue;
        if (hub_cancelled(s)) return fail(e, ERR_CANCELLED, "cancelled");
        return g.s != OK ? fail(e, g.s, "%s", g.error.msg)
                         : fail(e, ERR_IO, "%.120s: the server answers %d, %u times", url, code, tries);
    }
}

status hub_refused(struct hub_session *s, const struct hub_source *source, const struct hub_ref *ref,
                   const struct http_answer *a, const char *url, struct error *e)
{
    static const struct {
        int code;
        status is;
        const char *why;
    } known[] = {
        {401, ERR_ARG, "the server wants a login"},
        {403, ERR_ARG, "the server does not let us read this"},
        {404, ERR_NOT_FOUND, "this is not there"},
        {410, ERR_NOT_FOUND, "this is not there any more"},
        {429, ERR_BUSY, "the server says that these are too many requests"},
    };
    if (source->explain) TRY(source->explain(s, ref, a, e));
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (a->code == known[i].code)
            return fail(e, known[i].is, "%.120s: %s (%d)", url, known[i].why, a->code);
    return fail(e, ERR_IO, "%.120s: the server answers %d", url, a->code);
}

/* ---- URLs -------------------------------------------------------------------------------------------- */

static void add_encoded(struct buf *b, const char *s, const char *plain)
{
    for (; *s; s++) {
        if (isalnum((unsigned char)*s) || strchr("-._~", *s) || strchr(plain, *s))
            buf_addc(b, *s);
        else
            buf_addf(b, "%%%02X", (unsigned char)*s);
    }
}

void hub_add_path(struct buf *b, const char *s)
{
    add_encoded(b, s, "/");
}

void hub_add_query(struct buf *b, const char *s)
{
    add_encoded(b, s, "");
}

static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

bool hub_same_origin(const char *a, const char *b)
{
    size_t n = origin_length(a);
    return n && n == origin_length(b) && !strncasecmp(a, b, n);
}

/* ---- texts, digests
 * ----------------------------------------------------------------------------------------- */

const char *hub_size(char out[24], uint64_t bytes)
{
    static const char *const unit[] = {"bytes", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t i = 0;
    for (; v >= 999.95 && i + 1 < COUNT_OF(unit); i++) v /= 1000;
    snprintf(out, 24, i ? "%.1f %s" : "%.0f %s", v, unit[i]);
    return out;
}

void hub_hex(char *out, const void *p, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    const unsigned char *byte = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digit[byte[i] >> 4];
        out[2 * i + 1] = digit[byte[i] & 15];
    }
    out[2 * n] = 0;
}

void hub_sha256_hex(char out[65], const void *p, size_t n)
{
    unsigned char md[32];
    ASSERT(EVP_Digest(p, n, md, NULL, EVP_sha256(), NULL) == 1);
    hub_hex(out, md, sizeof md);
}
