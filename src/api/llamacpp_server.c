/* /props, /slots, /lora-adapters and llama.cpp's own /health. */
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
    buf_adds(&b, ",\"modalities\":{\"vision\":false,\"video\":false,\"audio\":false},\"endpoint_slots\":true,"
                 "\"endpoint_props\":false,\"endpoint_metrics\":true,\"ui\":false,\"chat_template\":");
    buf_json_str(&b, template_text ? template_text : "", template_text ? n_template : 0);
    buf_addc(&b, ',');
    add_caps(&b, chat_format_caps(a->o.chat));
    add_token_text(&b, "bos_token", a, tokenizer_bos(a->o.tok));
    add_token_text(&b, "eos_token", a, tokenizer_eos(a->o.tok));
    buf_adds(&b, "\"build_info\":\"corral " CORRAL_VERSION "\",\"is_sleeping\":false}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    request_deinit(&defaults);
}

/* Sequences are not tied to slots here: as many as run are shown as busy. */
void llamacpp_slots(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_stats st;
    struct buf b = {0};
    engine_stats(a->o.engine, &st);
    if (strstr(http_query(x), "fail_on_no_slot=1") && st.n_running >= a->o.max_seqs) {
        struct fault f;
        refuse(&f, 503, "unavailable", NULL, "no slot available");
        reply_fault(x, &llamacpp_renderer, &f);
        return;
    }
    buf_addc(&b, '[');
    for (uint32_t i = 0; i < a->o.max_seqs; i++)
        buf_addf(&b, "%s{\"id\":%u,\"n_ctx\":%u,\"speculative\":false,\"is_processing\":%s}", i ? "," : "", i,
                 st.max_context, i < st.n_running ? "true" : "false");
    buf_addc(&b, ']');
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

void llamacpp_adapters(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "application/json", "[]", 2);
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
