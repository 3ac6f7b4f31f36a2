#include "api/show.h"

#include <stdio.h>
#include <string.h>

#include "api/fim.h"
#include "api/ollama.h"

/* A model that was made for embeddings says how it pools; it does not continue texts. */
static bool embeds(const struct model_facts *f)
{
    char key[128];
    snprintf(key, sizeof key, "%s.pooling_type", f->arch);
    return f->gguf && gguf_find(f->gguf, key);
}

void show_capabilities(const struct model_show *m, struct buf *out)
{
    static const struct chat_caps none;
    const struct chat_caps *caps = m->chat ? chat_format_caps(m->chat) : &none;
    if (embeds(m->facts)) {
        buf_adds(out, "[\"embedding\"]");
        return;
    }
    buf_adds(out, "[\"completion\"");
    if (caps->tools) buf_adds(out, ",\"tools\"");
    if (caps->thinks) buf_adds(out, ",\"thinking\"");
    if (m->tok && fim_known(m->facts->gguf, m->tok)) buf_adds(out, ",\"insert\"");
    buf_addc(out, ']');
}

static void add_text(struct buf *out, const char *key, const char *text)
{
    buf_addf(out, "\"%s\":", key);
    buf_json_str(out, text, strlen(text));
}

void show_details(const struct model_facts *f, struct buf *out)
{
    buf_adds(out, "{\"parent_model\":\"\",\"format\":\"gguf\",");
    add_text(out, "family", f->arch);
    buf_adds(out, ",\"families\":[");
    buf_json_str(out, f->arch, strlen(f->arch));
    buf_addf(out,
             "],\"parameter_size\":\"%s\",\"quantization_level\":\"%s\",\"context_length\":%u,"
             "\"embedding_length\":%u}",
             f->size, f->quantization, f->n_ctx_train, f->n_embd);
}

/* A Modelfile that would say the same. */
static void add_modelfile(struct buf *out, const struct model_facts *f, const char *name)
{
    struct buf text = {0};
    buf_addf(&text, "# %s, as corral serves it\nFROM %s\n", name, f->gguf ? gguf_path(f->gguf) : "");
    buf_adds(out, "\"modelfile\":");
    buf_json_str(out, text.data, text.n);
    buf_deinit(&text);
}

void show_body(const struct model_show *m, const char *name, bool all, struct buf *out)
{
    struct gguf_str license = {0};
    size_t n_template = 0;
    const char *template_text = m->chat ? chat_format_template(m->chat, &n_template) : NULL;
    buf_addc(out, '{');
    if (m->facts->gguf && gguf_get_str(m->facts->gguf, "general.license", false, &license, NULL) == OK &&
        license.n) {
        buf_adds(out, "\"license\":");
        buf_json_str(out, license.p, license.n);
        buf_addc(out, ',');
    }
    add_modelfile(out, m->facts, name);
    buf_adds(out, ",\"parameters\":\"\",\"template\":");
    buf_json_str(out, template_text ? template_text : "", template_text ? n_template : 0);
    buf_adds(out, ",\"details\":");
    show_details(m->facts, out);
    buf_adds(out, ",\"model_info\":");
    facts_metadata(m->facts, all, out);
    if (all) {
        buf_adds(out, ",\"tensors\":");
        facts_tensors(m->facts, out);
    }
    buf_adds(out, ",\"capabilities\":");
    show_capabilities(m, out);
    buf_adds(out, ",\"modified_at\":");
    ollama_add_time(out, m->facts->modified, 0);
    buf_addc(out, '}');
}

static void add_facts(const struct model_show *m, struct buf *out)
{
    const struct model_facts *f = m->facts;
    buf_addc(out, '{');
    add_text(out, "architecture", f->arch);
    buf_addf(
        out,
        ",\"parameters\":%llu,\"parameter_size\":\"%s\",\"quantization\":\"%s\",\"context_length\":%u,"
        "\"embedding_length\":%u,\"vocabulary\":%u,\"bytes\":%llu,\"fingerprint\":\"%s\",\"modified\":%lld,"
        "\"capabilities\":",
        (unsigned long long)f->n_param, f->size, f->quantization, f->n_ctx_train, f->n_embd, f->n_vocab,
        (unsigned long long)f->file_bytes, f->digest, (long long)f->modified);
    show_capabilities(m, out);
    buf_addc(out, '}');
}

void show_file(const struct gguf *g, bool all, struct buf *out)
{
    struct model_facts facts;
    struct tokenizer *tok = NULL;
    struct chat_format *chat = NULL;
    struct error e;
    facts_read(&facts, g);
    if (tokenizer_new(&tok, g, &e) != OK) tok = NULL;
    if (chat_format_of_model(&chat, tok, g, &e) != OK) chat = NULL;
    const struct model_show m = {&facts, chat, tok};
    buf_adds(out, "\"facts\":");
    add_facts(&m, out);
    buf_adds(out, ",\"show\":");
    show_body(&m, gguf_path(g), all, out);
    chat_format_free(chat);
    tokenizer_free(tok);
}
