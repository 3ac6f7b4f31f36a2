#include "api/resume.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/generation_int.h"

enum { MAX_JOURNAL = 64 << 20 };

/* ---- what a request says ----------------------------------------------------------------------------- */

static bool malformed(struct fault *f, const char *what)
{
    return refuse(f, 400, "invalid_journal", NULL, "the journal in front of this request is not usable: %s",
                  what);
}

static bool read_journal(struct request *r, const char *p, size_t n, struct fault *f)
{
    r->replay = json_loadb(p, n, 0, NULL);
    const char *id = json_string_value(json_object_get(r->replay, "id"));
    size_t n_id = id ? strlen(id) : 0;
    for (size_t i = 0; i < n_id; i++)
        if (!isxdigit((unsigned char)id[i])) return malformed(f, "its id");
    if (!n_id || n_id >= sizeof((struct generation *)0)->id) return malformed(f, "its id");
    if (!json_is_integer(json_object_get(r->replay, "created"))) return malformed(f, "its time");
    const char *seed = json_string_value(json_object_get(r->replay, "seed"));
    if (!seed || !isdigit((unsigned char)*seed)) return malformed(f, "its seed");
    return true;
}

bool resume_read(struct request *r, const struct api *api, const struct http_exchange *x,
                 struct http_str *body, struct fault *f)
{
    const char *journal = http_header(x, "x-corral-journal"), *replay = http_header(x, "x-corral-replay");
    char *end;
    if (!api->o.journal) return true;
    r->journal = journal && !strcmp(journal, "1");
    if (!replay) return true;
    unsigned long long n = strtoull(replay, &end, 10);
    if (*end || end == replay || n > body->n || n > MAX_JOURNAL) return malformed(f, "its length");
    if (!read_journal(r, body->p, (size_t)n, f)) return false;
    *body = (struct http_str){body->p + n, body->n - (size_t)n};
    return true;
}

uint64_t resume_seed(const struct request *r)
{
    return strtoull(json_string_value(json_object_get(r->replay, "seed")), NULL, 10);
}

json_t *resume_memory(struct request *r, json_t *messages)
{
    json_t *given = json_object_get(r->replay, "history");
    if (json_is_array(given)) {
        json_decref(messages);
        messages = json_incref(given);
    }
    if (!messages) return NULL;
    request_keep(r, messages);
    r->remembered = messages;
    return messages;
}

void resume_identity(struct generation *g)
{
    const json_t *j = g->req.replay;
    snprintf(g->id, sizeof g->id, "%s", json_string_value(json_object_get(j, "id")));
    g->created = json_integer_value(json_object_get(j, "created"));
}

/* ---- replay ------------------------------------------------------------------------------------------ */

/* The i-th row of a member: [choice, ...]. NULL: there is none; *bad: it is not what it should be. */
static struct choice *row_of(struct generation *g, const char *member, size_t i, const json_t **row,
                             bool *bad)
{
    const json_t *list = json_object_get(g->req.replay, member);
    if (i >= json_array_size(list)) return NULL;
    *row = json_array_get(list, i);
    const json_t *v = json_array_get(*row, 0);
    json_int_t at = json_is_integer(v) ? json_integer_value(v) : -1;
    *bad = *bad || at < 0 || at >= g->n_choice;
    return *bad ? NULL : &g->choice[at];
}

static bool replay_tokens(struct choice *c, const json_t *ids, struct buf *dropped)
{
    struct generation *g = c->g;
    uint32_t n_vocab = tokenizer_n_vocab(g->api->o.tok);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *v = json_array_get(ids, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= n_vocab || c->stopped) return false;
        generation_take_token(c, (int32_t)id);
        tok_ids_add(&c->given, (int32_t)id);
        buf_reset(dropped);
        generation_render(g, dropped);
    }
    return true;
}

/* Values of the last notes, which were not written before the journal ended. */
static bool replay_notes(struct choice *c, const json_t *list)
{
    size_t n = json_array_size(list);
    if (n != c->n_note - c->n_written) return false;
    for (size_t i = 0; i < n; i++) {
        struct token_note *t = &c->note[c->n_written + i];
        const json_t *row = json_array_get(list, i), *top = json_array_get(row, 1);
        t->logprob = (float)json_number_value(json_array_get(row, 0));
        t->top_at = (uint32_t)c->n_top;
        t->n_top = (uint32_t)MIN(json_array_size(top), (size_t)REQUEST_MAX_TOP);
        for (uint32_t k = 0; k < t->n_top; k++) {
            const json_t *pair = json_array_get(top, k);
            json_int_t id = json_integer_value(json_array_get(pair, 0));
            if (id < 0 || id >= tokenizer_n_vocab(c->g->api->o.tok)) return false;
            const struct sample_logprob one = {(int32_t)id,
                                               (float)json_number_value(json_array_get(pair, 1))};
            generation_add_top(c, &one, 1);
        }
    }
    return true;
}

/* The answer may be at its end, which was not sent. */
static void end_if_full(struct choice *c)
{
    const struct generation *g = c->g;
    uint32_t n = (uint32_t)c->given.n;
    bool context = n && g->req.prompt[c->prompt].ids.n + n >= api_context(g->api);
    if (c->ended || !(c->stopped || context || (g->req.max_tokens && n >= g->req.max_tokens))) return;
    generation_take_end(c, c->stopped ? FINISH_STOP : context ? FINISH_CONTEXT : FINISH_LENGTH);
}

bool resume_replay(struct generation *g, struct fault *f)
{
    struct buf dropped = {0};
    struct choice *c;
    const json_t *row;
    bool bad = false, begun = json_is_true(json_object_get(g->req.replay, "b"));
    for (uint32_t i = 0; i < g->n_choice; i++)
        if (!generation_start_choice(&g->choice[i], f)) return false;
    generation_take_echo(g);
    if (begun) generation_render(g, &dropped);
    for (size_t i = 0; (c = row_of(g, "t", i, &row, &bad)); i++)
        bad = bad || !replay_tokens(c, json_array_get(row, 1), &dropped);
    for (size_t i = 0; (c = row_of(g, "p", i, &row, &bad)); i++)
        bad = bad || !replay_notes(c, json_array_get(row, 1));
    for (size_t i = 0; (c = row_of(g, "s", i, &row, &bad)); i++)
        c->learned = json_number_value(json_array_get(row, 1));
    for (size_t i = 0; (c = row_of(g, "e", i, &row, &bad)) && !bad; i++) {
        json_int_t why = json_integer_value(json_array_get(row, 1));
        bad = c->ended ||
              (why != FINISH_STOP && why != FINISH_LENGTH && why != FINISH_CONTEXT && why != FINISH_TIMEOUT);
        if (bad) break;
        c->timing.n_cached = (uint32_t)json_integer_value(json_array_get(row, 2));
        generation_take_end(c, (enum finish_reason)why);
        generation_render(g, &dropped);
    }
    buf_deinit(&dropped);
    if (bad) return malformed(f, "its tokens");
    for (uint32_t i = 0; i < g->n_choice; i++) {
        end_if_full(&g->choice[i]);
        g->choice[i].fresh.n = 0;
    }
    g->journaled.head = true;
    return true;
}

/* ---- the journal ------------------------------------------------------------------------------------- */

static void open_line(struct buf *out)
{
    buf_adds(out, ": corral {");
}

static void close_line(struct generation *g, struct buf *out)
{
    buf_adds(out, g->render->family == FAMILY_OLLAMA ? "}\n" : "}\n\n");
}

void resume_begin(struct generation *g, struct buf *out)
{
    open_line(out);
    buf_addf(out, "\"id\":\"%s\",\"created\":%lld,\"seed\":\"%llu\"", g->id, (long long)g->created,
             (unsigned long long)g->req.params.seed);
    char *text = g->req.remembered ? json_dumps(g->req.remembered, JSON_COMPACT) : NULL;
    if (text) {
        buf_adds(out, ",\"history\":");
        buf_adds(out, text);
        free(text);
    }
    close_line(g, out);
    g->journaled.head = true;
}

static void add_finite(struct buf *out, float v) /* -infinity is no JSON number */
{
    buf_json_double(out, isfinite(v) ? (double)v : -3.0e38);
}

static void add_notes(struct buf *out, struct choice *c)
{
    buf_addc(out, '[');
    for (size_t i = c->n_written; i < c->n_note; i++) {
        const struct token_note *t = &c->note[i];
        buf_adds(out, i > c->n_written ? ",[" : "[");
        add_finite(out, t->logprob);
        buf_adds(out, ",[");
        for (uint32_t k = 0; k < t->n_top; k++) {
            buf_addf(out, "%s[%d,", k ? "," : "", c->top[t->top_at + k].token);
            add_finite(out, c->top[t->top_at + k].logprob);
            buf_addc(out, ']');
        }
        buf_adds(out, "]]");
    }
    buf_addc(out, ']');
}

static void add_tokens(struct buf *out, struct choice *c)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < c->fresh.n; i++) buf_addf(out, i ? ",%d" : "%d", c->fresh.id[i]);
    buf_addc(out, ']');
    c->fresh.n = 0;
}

static void add_learned(struct buf *out, struct choice *c)
{
    buf_json_double(out, c->learned);
}

static void add_end(struct buf *out, struct choice *c)
{
    buf_addf(out, "%d,%u", (int)c->finish, c->timing.n_cached);
}

static bool has_tokens(const struct choice *c)
{
    return c->fresh.n > 0;
}

static bool has_notes(const struct choice *c)
{
    return !c->closed && c->n_note > c->n_written;
}

static bool is_open(const struct choice *c)
{
    return !c->closed;
}

static bool is_closed(const struct choice *c)
{
    return c->closed;
}

/* "member":[[choice,...],...] of the choices that have it. */
static void add_rows(struct generation *g, const char *member, bool (*has)(const struct choice *),
                     void (*add)(struct buf *, struct choice *), struct buf *out)
{
    bool first = true;
    buf_addf(out, "%s\"%s\":[", out->data[out->n - 1] == '{' ? "" : ",", member);
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        if (!has(c)) continue;
        buf_addf(out, first ? "[%u," : ",[%u,", i);
        add(out, c);
        buf_addc(out, ']');
        first = false;
    }
    buf_addc(out, ']');
}

static uint32_t count(const struct generation *g, bool (*has)(const struct choice *))
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_choice; i++) n += has(&g->choice[i]);
    return n;
}

void resume_write(struct generation *g, struct buf *out)
{
    bool fresh = g->submitted && count(g, has_tokens);
    if ((!out->n && !fresh) || out->failed) return;
    open_line(out);
    if (g->submitted) {
        uint32_t n_closed = count(g, is_closed);
        if (fresh) add_rows(g, "t", has_tokens, add_tokens, out);
        if (fresh && sampler_learns(&g->req.params)) add_rows(g, "s", is_open, add_learned, out);
        if (g->req.logprobs) add_rows(g, "p", has_notes, add_notes, out);
        if (n_closed > g->journaled.n_closed) add_rows(g, "e", is_closed, add_end, out);
        if (g->begun && !g->journaled.begun)
            buf_adds(out, out->data[out->n - 1] == '{' ? "\"b\":true" : ",\"b\":true");
        if (n_closed == g->n_choice) buf_adds(out, ",\"end\":true");
        g->journaled.begun = g->begun;
        g->journaled.n_closed = n_closed;
    }
    close_line(g, out);
}
