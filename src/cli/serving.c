#include "cli/serving.h"

#include <string.h>

static int64_t ns(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

/* For a row where 0 means never: the engine takes 0 for its own default. */
static int64_t ns_or_never(double seconds)
{
    return seconds > 0 ? ns(seconds) : -1;
}

/* The same number must mean the same text, or every guess would be wrong. */
static status same_vocabulary(const struct session *a, const struct session *b, struct error *e)
{
    const char *key = "tokenizer.ggml.tokens";
    const struct gguf_value *x = gguf_find(a->gguf, key), *y = gguf_find(b->gguf, key);
    uint64_t n = x && y ? MIN(x->n, y->n) : 0;
    if (!x || !y || x->type != GGUF_ARR || y->type != GGUF_ARR || x->elem != GGUF_STR || y->elem != GGUF_STR)
        return fail(e, ERR_FORMAT, "%s: no vocabulary to compare with that of %s", b->path, a->path);
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_str p = x->str[i], q = y->str[i];
        if (p.n != q.n || memcmp(p.p, q.p, p.n) != 0)
            return fail(
                e, ERR_ARG,
                "--draft %s: its vocabulary is another one (token %llu is '%.*s' there and '%.*s' in %s)",
                b->path, (unsigned long long)i, (int)MIN(q.n, 40), q.p, (int)MIN(p.n, 40), p.p, a->path);
    }
    return OK;
}

static status open_draft(struct session *draft, const struct serving_options *o,
                         const struct session_options *model, const struct session *s, struct error *e)
{
    struct session_options with = *model;
    with.model = o->draft;
    with.ctx = (int64_t)s->ctx;
    with.set = (struct opt_list){0};
    TRY(session_open_model(draft, &with, NULL, e));
    return same_vocabulary(s, draft, e);
}

status serving_apply(struct engine_options *out, const struct serving_options *o,
                     const struct session_options *model, const struct session *s, struct session *draft,
                     struct error *e)
{
    out->max_queue = (uint32_t)o->queue;
    out->kv_bytes = (size_t)o->kv_bytes;
    out->step_tokens = (uint32_t)o->step_tokens;
    out->max_draft = (uint32_t)o->draft_max;
    out->no_prefix_cache = !o->prefix_cache;
    out->deterministic = o->deterministic;
    out->no_step_ahead = !o->step_ahead;
    out->target_ns = ns_or_never(o->target_itl);
    out->age_ns = ns_or_never(o->age);
    out->queue_timeout_ns = ns(o->queue_timeout);
    out->first_timeout_ns = ns(o->first_timeout);
    out->keep_alive_ns = ns(o->keep_alive);
    out->total_timeout_ns = ns(o->total_timeout);
    if (!o->draft || !o->draft_max) return OK;
    TRY(open_draft(draft, o, model, s, e));
    out->draft = model_desc(draft->model);
    return OK;
}
