/* /props, /slots, /lora-adapters and llama.cpp's own /health. */
#include <stdlib.h>
#include <string.h>

#include "api/llamacpp.h"
#include "api/health.h"
#include "api/render.h"

static void add_token_text(struct buf *b, const char *name, const struct api *a, int32_t id)
{
    size_t n = 0;
    const char *text = id >= 0 ? tokenizer_text(a->o.tok, id, &n) : "";
    buf_addf(b, "\"%s\":", name);
    buf_json_str(b, text, n);
    buf_addc(b, ',');
}

static void add_caps(struct buf *b, const struct chat_caps *c)
{
    const struct {
        const char *name;
        bool on;
    } rows[] = {
        {"supports_system_role", c->system_role},     {"supports_tools", c->tools},
        {"supports_tool_calls", c->tool_calls},       {"supports_parallel_tool_calls", c->parallel_calls},
        {"requires_typed_content", c->typed_content}, {"requires_object_arguments", c->object_args},
        {"supports_preserve_reasoning", c->thinks},   {"supports_enable_thinking", c->think_switch}};
    buf_adds(b, "\"chat_template_caps\":{");
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        buf_addf(b, "%s\"%s\":%s", i ? "," : "", rows[i].name, rows[i].on ? "true" : "false");
    buf_adds(b, "},");
}

void llamacpp_props(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_stats st;
    struct request defaults;
    struct buf b = {0};
    size_t n_template;
    uint32_t n_part;
    const char *template_text = chat_format_template(a->o.chat, &n_template);
    engine_stats(a->o.engine, &st);
    llamacpp_defaults(&defaults);
    defaults.params.seed = (uint64_t)-1; /* any */
    buf_adds(&b, "{\"default_generation_settings\":{\"params\":");
    llamacpp_settings(&defaults, &b);
    buf_addf(&b, ",\"n_ctx\":%u},\"total_slots\":%u,\"model_alias\":", st.max_context, a->o.max_seqs);
    render_str(&b, a->o.model);
    buf_adds(&b, ",\"model_ftype\":");
    render_str(&b, a->facts.quantization);
    buf_adds(&b, ",\"model_path\":");
    render_str(&b, a->o.gguf ? gguf_path(a->o.gguf) : "");
    buf_adds(&b, ",\"devices\":\"");
    const struct backend_part *part = engine_parts(a->o.engine, &n_part);
    backend_parts_text(&b, part, n_part);
    buf_adds(&b,
             "\",\"modalities\":{\"vision\":false,\"video\":false,\"audio\":false},\"endpoint_slots\":true,"
             "\"endpoint_props\":false,\"endpoint_metrics\":true,\"ui\":false,\"chat_template\":");
    buf_json_str(&b, template_text ? template_text : "", template_text ? n_template : 0);
    buf_addc(&b, ',');
    add_caps(&b, chat_format_caps(a->o.chat));
    add_token_text(&b, "bos_token", a, tokenizer_bos(a->o.tok));
    add_token_text(&b, "eos_token", a, tokenizer_eos(a->o.tok));
    buf_adds(&b, "\"build_info\":\"corral " CORRAL_VERSION "\",\"is_sleeping\":");
    buf_adds(&b, st.asleep ? "true}" : "false}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    request_deinit(&defaults);
}

/* Sequences are not tied to slots here: those that run are shown as slots, then free ones up to --parallel.
 */
static void add_slot(struct buf *b, uint32_t id, uint32_t n_ctx, const struct engine_seq_view *s)
{
    buf_addf(b, "%s{\"id\":%u,\"n_ctx\":%u,\"speculative\":%s,\"is_processing\":%s", id ? "," : "", id, n_ctx,
             s && s->n_draft ? "true" : "false", s ? "true" : "false");
    if (s) {
        uint32_t n_decoded = s->n_known - MIN(s->n_known, s->n_prompt);
        buf_addf(b,
                 ",\"id_task\":%llu,\"n_prompt_tokens\":%u,\"n_prompt_tokens_processed\":%u,"
                 "\"n_prompt_tokens_cache\":%u,\"next_token\":[{\"has_next_token\":true,\"n_remain\":%u,"
                 "\"n_decoded\":%u}]",
                 (unsigned long long)s->id, s->n_prompt, MIN(s->n_computed, s->n_prompt), s->n_cached,
                 s->max_known - MIN(s->max_known, s->n_known), n_decoded);
    }
    buf_addc(b, '}');
}

void llamacpp_slots(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_seq_view *view = mem_zalloc(ENGINE_MAX_VIEW, sizeof *view);
    size_t n = engine_view(a->o.engine, view, ENGINE_MAX_VIEW);
    uint32_t n_slot = 0;
    struct engine_stats st;
    struct buf b = {0};
    engine_stats(a->o.engine, &st);
    buf_addc(&b, '[');
    for (size_t i = 0; i < n; i++)
        if (view[i].running) add_slot(&b, n_slot++, st.max_context, &view[i]);
    bool full = n_slot >= a->o.max_seqs;
    while (n_slot < a->o.max_seqs) add_slot(&b, n_slot++, st.max_context, NULL);
    buf_addc(&b, ']');
    if (full && strstr(http_query(x), "fail_on_no_slot=1")) {
        struct fault f;
        refuse(&f, 503, "unavailable", NULL, "no slot available");
        reply_fault(x, &llamacpp_renderer, &f);
    } else {
        http_reply(x, 200, "application/json", b.data, b.n);
    }
    buf_deinit(&b);
    free(view);
}

void llamacpp_adapters(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "application/json", "[]", 2);
}

void llamacpp_not_here(struct http_exchange *x, void *user)
{
    struct fault f;
    refuse(
        &f, 501, "not_supported", NULL,
        "this server has no slots to save, no adapters to set, and takes its settings from the command line");
    reply_fault(x, &llamacpp_renderer, &f);
}

void llamacpp_health(struct http_exchange *x, void *user)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    struct fault f;
    if (!health_trouble(user, x)) {
        http_reply(x, 200, "application/json", ok, sizeof ok - 1);
        return;
    }
    refuse(&f, 503, "unavailable", NULL, "the server is shutting down, or its model does not answer");
    reply_fault(x, &llamacpp_renderer, &f);
}
