/* Answers in the shape of llama.cpp's /completion: the same object at the end of a stream as at once, but
 * that the text was sent before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/llamacpp.h"
#include "api/render.h"
#include "engine/metrics.h"

/* ---- settings ---------------------------------------------------------------------------------------- */

static void add_real(struct buf *out, const char *name, float v)
{
    buf_addf(out, "\"%s\":%.7g,", name, (double)v);
}

static void add_strings(struct buf *out, const char *name, char *const *s, size_t n)
{
    buf_addf(out, "\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        if (i) buf_addc(out, ',');
        render_str(out, s[i]);
    }
    buf_adds(out, "],");
}

static void add_biases(struct buf *out, const struct sample_params *p)
{
    buf_adds(out, "\"logit_bias\":[");
    for (uint32_t i = 0; i < p->n_bias; i++) {
        buf_addf(out, "%s{\"bias\":", i ? "," : "");
        buf_json_double(out, (double)p->bias[i].bias); /* null forbids the token */
        buf_addf(out, ",\"token\":%d}", p->bias[i].token);
    }
    buf_adds(out, "],");
}

void llamacpp_settings(const struct request *r, struct buf *out)
{
    const struct sample_params *p = &r->params;
    int64_t n_predict = r->max_tokens ? (int64_t)r->max_tokens : -1;
    buf_addf(out, "{\"seed\":%lld,", (long long)p->seed); /* as set_seed reads it */
    add_real(out, "temperature", p->temperature);
    add_real(out, "dynatemp_range", p->dynatemp_range);
    add_real(out, "dynatemp_exponent", p->dynatemp_exponent);
    buf_addf(out, "\"top_k\":%d,", p->top_k);
    add_real(out, "top_p", p->top_p);
    add_real(out, "min_p", p->min_p);
    add_real(out, "top_n_sigma", p->top_n_sigma);
    add_real(out, "xtc_probability", p->xtc_probability);
    add_real(out, "xtc_threshold", p->xtc_threshold);
    add_real(out, "typical_p", p->typical_p);
    buf_addf(out, "\"repeat_last_n\":%d,", p->repeat_last_n);
    add_real(out, "repeat_penalty", p->repeat_penalty);
    add_real(out, "presence_penalty", p->presence_penalty);
    add_real(out, "frequency_penalty", p->frequency_penalty);
    add_real(out, "dry_multiplier", p->dry_multiplier);
    add_real(out, "dry_base", p->dry_base);
    buf_addf(out, "\"dry_allowed_length\":%d,\"dry_penalty_last_n\":%d,\"mirostat\":%d,",
             p->dry_allowed_length, p->dry_penalty_last_n, p->mirostat);
    add_real(out, "mirostat_tau", p->mirostat_tau);
    add_real(out, "mirostat_eta", p->mirostat_eta);
    add_real(out, "adaptive_target", p->adaptive_target);
    add_real(out, "adaptive_decay", p->adaptive_decay);
    add_strings(out, "stop", r->stop, r->n_stop);
    add_biases(out, p);
    buf_addf(
        out,
        "\"max_tokens\":%lld,\"n_predict\":%lld,\"n_keep\":0,\"n_discard\":0,\"ignore_eos\":%s,\"stream\":%s,"
        "\"n_probs\":%u,\"min_keep\":%u,\"timings_per_token\":%s,\"post_sampling_probs\":%s,\"lora\":[]}",
        (long long)n_predict, (long long)n_predict, p->ignore_eos ? "true" : "false",
        r->stream ? "true" : "false", p->n_logprobs, p->min_keep, r->timings_per_token ? "true" : "false",
        p->post_sampling_probs ? "true" : "false");
}

/* ---- an answer --------------------------------------------------------------------------------------- */

/* n_predict 0: only the prompt was wanted. The one token that was made (set_n_predict) is not shown. */
static bool prompt_only(const struct generation *g)
{
    const json_t *n = json_object_get(g->req.body, "n_predict");
    return json_is_integer(n) && json_integer_value(n) == 0;
}

static void add_head(struct buf *out, const struct choice *c, const char *text, size_t n)
{
    buf_addf(out, "{\"index\":%u,\"content\":", c->index);
    buf_json_str(out, text ? text : "", n);
}

/* Token ids from `from` on. llama.cpp sends them while streaming, and at the end only when asked. */
static void add_tokens(struct buf *out, const struct choice *c, size_t from)
{
    buf_adds(out, ",\"tokens\":[");
    for (size_t i = from; i < c->ids.n; i++) buf_addf(out, i > from ? ",%d" : "%d", c->ids.id[i]);
    buf_addc(out, ']');
}

static void add_token(struct buf *out, const struct generation *g, int32_t token, float logprob, bool probs)
{
    const struct tokenizer *tok = g->api->o.tok;
    size_t n, n_text;
    const char *piece = tokenizer_piece(tok, token, &n), *text = piece;
    n_text = n;
    if (n == 0) text = tokenizer_text(tok, token, &n_text); /* a control token has no text of its own */
    buf_addf(out, "{\"id\":%d,\"token\":", token);
    buf_json_str(out, text, n_text);
    buf_adds(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) buf_addf(out, i ? ",%u" : "%u", (unsigned char)piece[i]);
    if (probs)
        buf_addf(out, "],\"prob\":%.7g", exp((double)logprob));
    else /* -infinity is no number in JSON; OpenAI writes -9999 for "very unlikely" */
        buf_addf(out, "],\"logprob\":%.7g", logprob >= -9999.0f ? (double)logprob : -9999.0);
}

static void add_probabilities(struct buf *out, const struct generation *g, struct choice *c)
{
    bool probs = g->req.params.post_sampling_probs;
    size_t end = notes_ready(c);
    if (!g->req.logprobs || prompt_only(g)) return;
    buf_adds(out, ",\"completion_probabilities\":[");
    for (size_t i = c->n_written; i < end; i++) {
        const struct token_note *t = &c->note[i];
        if (i > c->n_written) buf_addc(out, ',');
        add_token(out, g, t->token, t->logprob, probs);
        buf_addf(out, ",\"%s\":[", probs ? "top_probs" : "top_logprobs");
        for (uint32_t k = 0; k < t->n_top; k++) {
            const struct sample_logprob *top = &c->top[t->top_at + k];
            if (k) buf_addc(out, ',');
            add_token(out, g, top->token, top->logprob, probs);
            buf_addc(out, '}');
        }
        buf_adds(out, "]}");
    }
    buf_addc(out, ']');
    c->n_written = end;
}

static const char *stop_type(const struct choice *c)
{
    if (choice_stop(c)) return "word";
    return c->finish == FINISH_STOP ? "eos" : "limit";
}

static void add_end(struct buf *out, const struct generation *g, const struct choice *c)
{
    const struct prompt *p = &g->req.prompt[c->prompt];
    const char *stop = choice_stop(c);
    struct buf text = {0};
    bool new_line = c->content.n && memchr(c->content.data, '\n', c->content.n);
    tokenizer_decode(g->api->o.tok, p->ids.id, p->ids.n, true, &text);
    buf_adds(out, ",\"id_slot\":0,\"stop\":true,\"model\":");
    render_str(out, request_model(&g->req, g->api));
    buf_addf(out, ",\"tokens_predicted\":%u,\"tokens_evaluated\":%zu,\"generation_settings\":",
             prompt_only(g) ? 0 : c->n_tokens, p->ids.n);
    llamacpp_settings(&g->req, out);
    buf_adds(out, ",\"prompt\":");
    buf_json_str(out, text.data ? text.data : "", text.n);
    buf_addf(out, ",\"has_new_line\":%s,\"truncated\":false,\"stop_type\":\"%s\",\"stopping_word\":",
             new_line ? "true" : "false", stop_type(c));
    render_str(out, stop ? stop : "");
    buf_addf(out, ",\"tokens_cached\":%zu,\"timings\":", p->ids.n + c->n_tokens);
    engine_timing_json(out, &c->timing);
    buf_deinit(&text);
}

/* response_fields: only these, and a/b brings b of a up. */
static void pick_fields(struct buf *out, size_t from, const json_t *fields)
{
    json_t *all = json_loadb(out->data + from, out->n - from, 0, NULL), *some = json_object();
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *name = json_string_value(json_array_get(fields, i)),
                   *slash = name ? strchr(name, '/') : NULL;
        json_t *v = name ? json_object_get(all, name) : NULL;
        if (slash) {
            char *head = mem_strndup(name, (size_t)(slash - name));
            v = json_object_get(json_object_get(all, head), slash + 1);
            free(head);
        }
        if (v) json_object_set(some, name, v);
    }
    char *text = json_dumps(some, JSON_COMPACT);
    out->n = from;
    buf_adds(out, text ? text : "{}");
    free(text);
    json_decref(some);
    json_decref(all);
}

static void add_final(struct buf *out, struct generation *g, struct choice *c, bool whole)
{
    const json_t *fields = json_object_get(g->req.body, "response_fields");
    whole = whole && !prompt_only(g);
    bool tokens = whole && json_is_true(json_object_get(g->req.body, "return_tokens"));
    size_t from = out->n;
    add_head(out, c, whole ? c->content.data : "", whole ? c->content.n : 0);
    add_tokens(out, c, tokens ? 0 : c->ids.n);
    add_probabilities(out, g, c);
    add_end(out, g, c);
    buf_addc(out, '}');
    if (json_array_size(fields) && !out->failed) pick_fields(out, from, fields);
}

/* ---- renderer ---------------------------------------------------------------------------------------- */

static void begin(struct generation *g, struct buf *out)
{
    g->state = mem_zalloc(g->n_choice, sizeof(size_t)); /* token ids that were sent, of each choice */
}

static void delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    size_t *sent = (size_t *)g->state + c->index;
    if (prompt_only(g)) return;
    struct http_str text = piece_text(c, p);
    buf_adds(out, "data: ");
    add_head(out, c, text.p, text.n);
    add_tokens(out, c, *sent);
    *sent = c->ids.n;
    buf_addf(out, ",\"stop\":false,\"id_slot\":0,\"tokens_predicted\":%u,\"tokens_evaluated\":%zu",
             c->n_tokens, g->req.prompt[c->prompt].ids.n);
    add_probabilities(out, g, c);
    buf_adds(out, "}\n\n");
}

static void last(struct generation *g, struct choice *c, struct buf *out)
{
    buf_adds(out, "data: ");
    add_final(out, g, c, false);
    buf_adds(out, "\n\n");
}

static void end(struct generation *g, struct buf *out) {}

static void whole(struct generation *g, struct buf *out)
{
    if (g->n_choice > 1) buf_addc(out, '[');
    for (uint32_t i = 0; i < g->n_choice; i++) {
        if (i) buf_addc(out, ',');
        add_final(out, g, &g->choice[i], true);
    }
    if (g->n_choice > 1) buf_addc(out, ']');
}

const struct renderer llamacpp_renderer = {.family = FAMILY_LLAMACPP,
                                           .begin = begin,
                                           .delta = delta,
                                           .last = last,
                                           .end = end,
                                           .whole = whole,
                                           .free_state = free};
