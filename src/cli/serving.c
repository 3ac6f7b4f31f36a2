#include "cli/serving.h"

static int64_t ns(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

/* For a row where 0 means never: the engine takes 0 for its own default. */
static int64_t ns_or_never(double seconds)
{
    return seconds > 0 ? ns(seconds) : -1;
}

void serving_apply(struct engine_options *out, const struct serving_options *o)
{
    out->max_queue = (uint32_t)o->queue;
    out->kv_bytes = (size_t)o->kv_bytes;
    out->step_tokens = (uint32_t)o->step_tokens;
    out->max_draft = (uint32_t)o->draft_max;
    out->no_prefix_cache = !o->prefix_cache;
    out->target_ns = ns_or_never(o->target_itl);
    out->age_ns = ns_or_never(o->age);
    out->queue_timeout_ns = ns(o->queue_timeout);
    out->first_timeout_ns = ns(o->first_timeout);
    out->keep_alive_ns = ns(o->keep_alive);
    out->total_timeout_ns = ns(o->total_timeout);
}
