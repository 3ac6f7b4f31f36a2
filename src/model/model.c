#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

/* To add an architecture: write arch_NAME.c and add it here. docs/add-an-architecture.md walks through one.
 */
static const struct arch *const all[] = {
    &arch_llama, &arch_qwen2,  &arch_qwen2moe, &arch_qwen3, &arch_qwen3moe,
    &arch_gpt2,  &arch_gemma2, &arch_gemma3,   &arch_phi3,
};

struct model {
    struct model_desc d;
};

const struct model_desc *model_desc(const struct model *m)
{
    return &m->d;
}

static status find_arch(const struct gguf *g, const struct arch **out, struct error *e)
{
    struct gguf_str name;
    TRY(gguf_get_str(g, "general.architecture", true, &name, e));
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (strlen(all[i]->name) == name.n && !memcmp(all[i]->name, name.p, name.n)) {
            *out = all[i];
            return OK;
        }
    }
    char known[160] = "";
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(all); i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", all[i]->name);
    return fail(e, ERR_UNSUPPORTED, "architecture %.*s is not supported (known: %s)", (int)MIN(name.n, 40),
                name.p, known);
}

status model_new(struct model **out, const struct gguf *g, const struct model_options *o, struct error *e)
{
    const struct arch *arch = NULL;
    struct decoder_style style = {0};
    *out = NULL;
    TRY(find_arch(g, &arch, e));

    struct model *m = mem_zalloc(1, sizeof *m);
    struct arch_build b = {.gguf = g, .arch = arch, .d = &m->d};
    status s = config_read(&b, e);
    b.context = o && o->max_context ? o->max_context : m->d.cfg.n_ctx_train;
    if (s == OK) s = weights_bind(&b, e);
    if (s == OK) s = arch->style(&b, &style, e);
    if (s == OK) s = decoder_build(&b, &style, e);
    free(b.slot);
    if (s != OK) {
        model_free(m);
        return s;
    }
    *out = m;
    return OK;
}

void model_free(struct model *m)
{
    if (!m) return;
    for (uint32_t i = 0; i < m->d.n_rope; i++) free(m->d.rope[i].inv_freq);
    free(m->d.rope);
    free(m->d.weight);
    free(m->d.op);
    free(m);
}
