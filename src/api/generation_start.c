/* From a request to the engine: rendering, tokenizing and compiling, on a worker where that takes long, then
 * one submission for each prompt. */
#include "api/generation_int.h"

#include <math.h>
#include <string.h>

#include "api/budget.h"
#include "api/constraint_chat.h"
#include "api/resume.h"
#include "api/workers.h"

/* ---- preparing --------------------------------------------------------------------------------------- */

static void prepared(struct generation *g)
{
    pthread_mutex_lock(&g->lock);
    g->phase = GENERATION_PREPARED;
    pthread_mutex_unlock(&g->lock);
}

static void refuse_constraint(struct generation *g, const struct error *e)
{
    const char *field = g->req.constraint.field;
    switch (e->code) {
    case ERR_BUSY: refuse(&g->fault, 503, "overloaded", field, "%s", e->msg); break;
    case ERR_CANCELLED: refuse(&g->fault, 503, "shutting_down", NULL, "the server is shutting down"); break;
    case ERR_UNSUPPORTED: refuse(&g->fault, 400, "unsupported_value", field, "%s", e->msg); break;
    default: refuse(&g->fault, 400, "invalid_value", field, "%s", e->msg); break;
    }
    g->refused = true;
}

static void on_constraint(void *user, struct constraint *c, const struct error *e)
{
    struct generation *g = user;
    g->req.compiled = c;
    if (!c) refuse_constraint(g, e);
    prepared(g);
    http_waker_fire(g->waker);
    generation_unref(g);
}

static bool any_strict(const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_is_true(json_object_get(json_object_get(json_array_get(tools, i), "function"), "strict")))
            return true;
    return false;
}

/* What the template is told by name counts like the fields for it. */
static enum chat_think thinking(const struct request *r)
{
    const json_t *told = json_object_get(r->chat.kwargs, "enable_thinking");
    if (r->chat.think != CHAT_THINK_DEFAULT || !json_is_boolean(told)) return r->chat.think;
    return json_is_true(told) ? CHAT_THINK_ON : CHAT_THINK_OFF;
}

/* In a conversation the constraint is on what follows the reasoning, and calls have one of their own: they
 * cannot come out malformed. Where a model's way of calling cannot be constrained, it is not, unless the
 * client insists. */
static status constrain_answer(struct request *r, const struct api *api, struct error *e)
{
    const struct answer_shape shape = {.caps = chat_format_caps(request_format(r, api)),
                                       .tools = r->chat.tools,
                                       .calls = !r->chat.tools || r->tool_choice == TOOLS_NONE
                                                    ? ANSWER_NO_CALLS
                                                : r->tool_choice == TOOLS_AUTO ? ANSWER_MAY_CALL
                                                                               : ANSWER_MUST_CALL,
                                       .only = r->tool_choice == TOOLS_NAMED ? r->tool : NULL,
                                       .parallel = !r->one_call,
                                       .think_open = r->think_open,
                                       .think = thinking(r)};
    if (!r->parse_answer || r->chat.continue_last) return OK;
    status s = constraint_for_answer(&r->constraint, &shape, e);
    bool free = s == ERR_UNSUPPORTED && shape.calls == ANSWER_MAY_CALL && !r->constraint.kind &&
                !any_strict(r->chat.tools);
    if (s != OK && !r->constraint.field) r->constraint.field = "tools";
    return free ? OK : s;
}

/* True: done, for better or worse. False: on_constraint will be called. */
static bool prepare(struct generation *g)
{
    struct error e;
    if (!request_encode(&g->req, g->api, &g->fault)) {
        g->refused = true;
    } else if (constrain_answer(&g->req, g->api, &e) != OK) {
        refuse_constraint(g, &e);
    } else if (g->req.replay && !resume_replay(g, &g->fault)) {
        g->refused = true;
    } else if (g->req.constraint.kind) {
        struct constraint *c;
        atomic_fetch_add(&g->refs, 1); /* on_constraint's */
        status code = constraints_get(g->api->constraints, &g->req.constraint, &c, on_constraint, g, &e);
        if (code == OK && !c) return false;
        g->req.compiled = c;
        if (code != OK) refuse_constraint(g, &e);
        generation_unref(g);
    }
    prepared(g);
    return true;
}

static void prepare_on_worker(void *user)
{
    struct generation *g = user;
    if (prepare(g)) http_waker_fire(g->waker);
    generation_unref(g);
}

void generation_start(struct generation *g)
{
    g->phase = GENERATION_PREPARING;
    if (request_is_short(&g->req)) {
        if (prepare(g)) http_waker_fire(g->waker);
        return;
    }
    atomic_fetch_add(&g->refs, 1);
    workers_run(g->api->workers, prepare_on_worker, g);
}

/* ---- submitting -------------------------------------------------------------------------------------- */

/* Of its calls: they are the same when the answer is resumed. */
static uint64_t id_seed(const struct choice *c)
{
    uint64_t h = 0xCBF29CE484222325u + c->index;
    for (const char *p = c->g->id; *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001B3u;
    return h ? h : 1;
}

bool generation_start_choice(struct choice *c, struct fault *f)
{
    struct generation *g = c->g;
    const struct request *r = &g->req;
    struct error e;
    if (c->detok) return true;
    if (r->parse_answer) {
        struct chat_parse_options po = {.tools = r->chat.tools && r->tool_choice != TOOLS_NONE,
                                        .reasoning = !r->inline_reasoning,
                                        .think_open = r->think_open,
                                        .tool_list = r->chat.tools,
                                        .id_seed = id_seed(c)};
        const struct chat_format *format = request_format(r, g->api);
        if (chat_parser_new(&c->parser, format, &po, &e) != OK)
            return refuse(f, 500, NULL, NULL, "%s", e.msg);
        c->control_text = chat_format_caps(format)->control_tokens;
    }
    if (text_stream_new(&c->detok, g->api->o.tok, (const char *const *)r->stop, r->n_stop, c->control_text,
                        &e) != OK)
        return refuse(f, 400, "invalid_value", "stop", "'stop': %s", e.msg);
    text_stream_pause_stops(c->detok, r->params.min_tokens > 0);
    return true;
}

/* The model's end tokens and the request's. With ignore_eos only the former are forbidden. */
static void merge_eog(struct generation *g)
{
    struct request *r = &g->req;
    const struct api_options *o = &g->api->o;
    size_t n = 0;
    g->eog = mem_zalloc(o->n_eog + r->stop_ids.n + 1, sizeof *g->eog);
    if (r->params.ignore_eos && r->stop_ids.n) {
        r->bias = mem_realloc(r->bias, r->params.n_bias + o->n_eog, sizeof *r->bias);
        for (uint32_t i = 0; i < o->n_eog; i++)
            r->bias[r->params.n_bias++] = (struct sample_bias){o->eog[i], -INFINITY};
        r->params.bias = r->bias;
        r->params.ignore_eos = false;
    } else {
        for (; n < o->n_eog; n++) g->eog[n] = o->eog[n];
    }
    for (size_t i = 0; i < r->stop_ids.n; i++) g->eog[n++] = r->stop_ids.id[i];
    r->params.eog = g->eog;
    r->params.n_eog = (uint32_t)n;
}

static uint64_t salt_of(const char *text) /* FNV-1a; none is 0 */
{
    uint64_t h = 0xCBF29CE484222325u;
    if (!text || !*text) return 0;
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return h;
}

static bool submit_refused(struct generation *g, uint32_t prompt, status s, const struct error *e,
                           struct fault *f)
{
    switch (s) {
    case ERR_BUSY: return refuse(f, 429, "queue_full", NULL, "too many requests: %s", e->msg);
    case ERR_LIMIT: {
        struct engine_stats stats;
        size_t n = g->req.prompt[prompt].ids.n;
        engine_stats(g->api->o.engine, &stats);
        refuse(f, 400, "context_length_exceeded", g->req.chat.messages ? "messages" : "prompt",
               "the prompt has %zu tokens, but this server's context holds %u: shorten it, or serve with a "
               "larger --ctx",
               n, stats.max_context);
        f->n_prompt = (uint32_t)n;
        f->n_ctx = stats.max_context;
        return false;
    }
    case ERR_CANCELLED: return refuse(f, 503, "shutting_down", NULL, "the server is shutting down");
    case ERR_ARG: return refuse(f, 400, "invalid_value", NULL, "%s", e->msg);
    default: return refuse(f, 500, NULL, NULL, "%s", e->msg);
    }
}

/* With a budget for reasoning a constraint around the one that is there. */
static bool limit_thought(const struct generation *g, struct engine_request *er, struct budget **out,
                          struct engine_constraint *limited, struct fault *f)
{
    const struct chat_caps *caps = chat_format_caps(request_format(&g->req, g->api));
    struct error e;
    if (g->req.think_budget < 0 || !g->req.parse_answer || !caps->thinks || !*caps->think_end) return true;
    const struct budget_options o = {.tok = g->api->o.tok,
                                     .caps = caps,
                                     .n_token = (uint32_t)g->req.think_budget,
                                     .think_open = g->req.think_open,
                                     .inner = er->constraint};
    if (budget_new(out, &o, &e) != OK) return refuse(f, 400, "unsupported_value", NULL, "%s", e.msg);
    *limited = budget_engine(*out);
    er->constraint = limited;
    return true;
}

/* n choices of one prompt; one, if its answer goes on. */
static bool submit(struct generation *g, uint32_t first, uint32_t n, struct fault *f)
{
    const struct request *r = &g->req;
    struct choice *c = &g->choice[first];
    const struct tok_ids *ids = &r->prompt[c->prompt].ids;
    struct submission *s = &g->submission[first];
    struct engine_constraint constraint, limited;
    struct budget *budget = NULL;
    struct engine_request er = {.prompt = ids->id,
                                .n_prompt = (uint32_t)ids->n,
                                .max_tokens = r->max_tokens,
                                .params = r->params,
                                .on_event = generation_on_event,
                                .user = s,
                                .n = n,
                                .score_prompt = r->score_prompt,
                                .best_of = r->best_of,
                                .given = c->given.id,
                                .n_given = (uint32_t)c->given.n,
                                .learned = c->learned,
                                .priority = r->priority,
                                .tenant = r->tenant,
                                .cache_salt = salt_of(r->cache_salt),
                                .no_cache = r->no_cache,
                                .cache_class = r->cache_class,
                                .prediction = r->prediction_ids.id,
                                .n_prediction = (uint32_t)r->prediction_ids.n,
                                .queue_timeout_ns = r->queue_timeout_ns,
                                .first_timeout_ns = r->first_timeout_ns,
                                .total_timeout_ns = r->total_timeout_ns};
    struct error e;
    uint64_t id;
    if (r->compiled) {
        constraint = constraint_engine(r->compiled);
        er.constraint = &constraint;
    }
    er.params.choice = first % r->n;
    for (uint32_t i = 0; i < n; i++)
        if (!generation_start_choice(&c[i], f)) return false;
    if (!limit_thought(g, &er, &budget, &limited, f)) return false;
    s->g = g;
    s->first = first;
    atomic_init(&s->n_running, n);
    atomic_fetch_add(&g->refs, 1); /* until the last END */
    status code = engine_submit(g->api->o.engine, &er, &id, &e);
    budget_unref(budget); /* the engine has clones */
    if (code != OK) {
        generation_unref(g); /* not the last: the owner holds one */
        return submit_refused(g, c->prompt, code, &e, f);
    }
    for (uint32_t i = 0; i < n; i++) {
        c[i].engine_id = id + i;
        c[i].submitted = true;
    }
    return true;
}

bool generation_submit(struct generation *g, struct fault *f)
{
    uint32_t each = g->req.replay ? 1 : g->req.n;
    merge_eog(g);
    if (!g->req.replay) generation_take_echo(g);
    if (g->req.journal) generation_render(g, &g->frames);
    for (uint32_t i = 0; i < g->n_choice; i += each)
        if (!g->choice[i].ended && !submit(g, i, each, f)) return false;
    g->phase = GENERATION_RUNNING;
    g->submitted = true;
    return true;
}
