/* A model's chat format: made once, then only read. */
#include <stdlib.h>

#include "chat/chat_int.h"
#include "format/gguf.h"

/* Source: OpenAI, "Chat Markup Language" (2023). */
static const char chatml[] = "{% for m in messages %}"
                             "{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}"
                             "{% endfor %}"
                             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static char *token_text(const struct tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *s = t && id >= 0 ? tokenizer_text(t, id, &n) : "";
    return mem_strndup(s, n);
}

static status parse_template(struct chat_template *t, const char *text, size_t n, struct error *e)
{
    if (jinja_parse(&t->tree, text, n, NULL, e) != OK) return fail_in(e, "chat template");
    t->text = mem_strndup(text, n);
    t->n = n;
    return OK;
}

static status make(struct chat_format **out, const struct tokenizer *t, struct gguf_str plain,
                   struct gguf_str with_tools, struct error *e)
{
    struct chat_format *f = mem_zalloc(1, sizeof *f);
    status r;
    f->tok = t;
    f->bos = token_text(t, t ? tokenizer_bos(t) : -1);
    f->eos = token_text(t, t ? tokenizer_eos(t) : -1);
    if (!plain.p) plain = (struct gguf_str){chatml, sizeof chatml - 1};
    r = parse_template(&f->plain, plain.p, plain.n, e);
    if (r == OK && with_tools.p) r = parse_template(&f->with_tools, with_tools.p, with_tools.n, e);
    if (r == OK) {
        chat_find_edges(f);
        chat_probe_caps(f);
    } else {
        chat_format_free(f);
        f = NULL;
    }
    *out = f;
    return r;
}

status chat_format_new(struct chat_format **out, const struct tokenizer *t, const char *template_text,
                       size_t n, struct error *e)
{
    return make(out, t, (struct gguf_str){template_text, n}, (struct gguf_str){NULL, 0}, e);
}

status chat_format_of_model(struct chat_format **out, const struct tokenizer *t, const struct gguf *g,
                            struct error *e)
{
    struct gguf_str plain = {NULL, 0}, with_tools = {NULL, 0};
    *out = NULL;
    TRY(gguf_get_str(g, "tokenizer.chat_template", false, &plain, e));
    TRY(gguf_get_str(g, "tokenizer.chat_template.tool_use", false, &with_tools, e));
    return make(out, t, plain, with_tools, e);
}

void chat_format_free(struct chat_format *f)
{
    if (!f) return;
    jinja_free(f->plain.tree);
    jinja_free(f->with_tools.tree);
    free(f->plain.text);
    free(f->with_tools.text);
    free(f->bos);
    free(f->eos);
    free(f);
}

const struct chat_caps *chat_format_caps(const struct chat_format *f)
{
    return &f->caps;
}

const char *chat_format_template(const struct chat_format *f, size_t *n)
{
    *n = f->plain.n;
    return f->plain.text;
}

void chat_format_set_wire(struct chat_format *f, const struct chat_wire *w)
{
    f->caps.wire = w;
}

const struct chat_template *chat_template_for(const struct chat_format *f, const json_t *tools)
{
    return f->with_tools.tree && json_array_size(tools) ? &f->with_tools : &f->plain;
}
