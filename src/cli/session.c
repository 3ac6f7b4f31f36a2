#include "cli/session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/numa.h"
#include "cli/devices.h"

/* The context length that the file was trained with; 0 when it does not say. */
static uint32_t trained_context(const struct gguf *g)
{
    struct gguf_str arch = {0};
    char key[128];
    uint32_t n = 0;
    if (gguf_get_str(g, "general.architecture", true, &arch, NULL) != OK || arch.n > 64) return 0;
    snprintf(key, sizeof key, "%.*s.context_length", (int)arch.n, arch.p);
    return gguf_get_u32(g, key, false, &n, NULL) == OK ? n : 0;
}

static void collect_eog(struct session *s)
{
    uint32_t n = tokenizer_n_vocab(s->tok);
    for (uint32_t id = 0; id < n; id++) {
        if (!tokenizer_is_eog(s->tok, (int32_t)id)) continue;
        s->eog = mem_realloc(s->eog, s->n_eog + 1, sizeof *s->eog);
        s->eog[s->n_eog++] = (int32_t)id;
    }
}

/* The file's name without folder and ending. */
static void set_name(struct session *s)
{
    const char *slash = strrchr(s->path, '/'), *base = slash ? slash + 1 : s->path;
    size_t n = strlen(base);
    if (n > 5 && !strcmp(base + n - 5, ".gguf")) n -= 5;
    n = MIN(n, sizeof s->name - 1);
    memcpy(s->name, base, n);
    s->name[n] = 0;
}

status session_open_model(struct session *s, const struct session_options *o, const char *word,
                          struct error *e)
{
    if (word && o->model && strcmp(word, o->model) != 0)
        return fail(e, ERR_ARG, "two models: '%s' and --model %s", word, o->model);
    TRY(devices_choose(&s->api, &s->on, s->share, strcmp(o->backend, "auto") ? o->backend : NULL, o->devices,
                       e));
    struct gguf_options file = {.set = o->set.item, .n_set = o->set.n};
    TRY(model_file_open(&s->gguf, s->path, word ? word : o->model, &file, e));
    set_name(s);
    uint32_t trained = trained_context(s->gguf);
    s->ctx = o->ctx ? (uint32_t)o->ctx : trained ? MIN(trained, SESSION_DEFAULT_CTX) : SESSION_DEFAULT_CTX;
    struct model_options options = {.max_context = s->ctx};
    return model_new(&s->model, s->gguf, &options, e);
}

status session_open(struct session *s, const struct session_options *o, const char *word, struct error *e)
{
    TRY(session_open_model(s, o, word, e));
    TRY(tokenizer_new(&s->tok, s->gguf, e));
    uint32_t n_tok = tokenizer_n_vocab(s->tok), n_vocab = model_desc(s->model)->cfg.n_vocab;
    if (n_tok > n_vocab)
        return fail(e, ERR_FORMAT, "%s: the tokenizer has %u tokens, the model only %u", s->path, n_tok,
                    n_vocab);
    uint32_t trained = trained_context(s->gguf);
    if (trained && s->ctx > trained)
        LOG(WARN, "cli", "context", "%u tokens, but the model was trained with %u", s->ctx, trained);
    collect_eog(s);
    s->chat =
        gguf_find(s->gguf, "tokenizer.chat_template") || tokenizer_find(s->tok, "<|im_start|>", 12) >= 0;
    return OK;
}

bool session_progress(void *user, size_t done, size_t total)
{
    enum { WORTH_SHOWING = 64 << 20 };
    if (total < WORTH_SHOWING || !isatty(STDERR_FILENO)) return true;
    if (done < total)
        fprintf(stderr, "\rloading %3.0f %%", 100.0 * (double)done / (double)total);
    else
        fputs("\r              \r", stderr);
    return true;
}

struct backend_host session_host(const struct session_options *o)
{
    return (struct backend_host){.copy = !o->mmap, .lock = o->mlock};
}

static bool any_on_cpu(const struct session *s)
{
    for (uint32_t i = 0; i < s->on.n_share; i++)
        if (s->on.share[i].api == &backend_cpu) return true;
    return s->api == &backend_cpu;
}

status session_place(const struct session *s, const struct session_options *o, struct error *e)
{
    enum numa_mode mode;
    if (!numa_mode_by_name(o->numa, &mode)) return fail(e, ERR_ARG, "unknown NUMA mode '%s'", o->numa);
    if (o->mlock && !any_on_cpu(s))
        LOG(WARN, "cli", "mlock", "not locked: the %s backend has no weights in the host's memory to lock",
            s->api->name);
    return numa_begin(mode, e);
}

status session_engine_options(const struct session *s, const struct session_options *o, uint32_t max_seqs,
                              struct engine_options *out, struct error *e)
{
    *out = (struct engine_options){
        .api = s->api,
        .device = s->on.device,
        .share = s->on.share,
        .n_share = s->on.n_share,
        .n_thread = (uint32_t)o->threads,
        .max_context = s->ctx,
        .max_seqs = max_seqs,
        .host = session_host(o),
        .progress = session_progress,
    };
    if (!kv_type_by_name(o->kv_type, &out->kv_type))
        return fail(e, ERR_ARG, "unknown KV type '%s'", o->kv_type);
    return OK;
}

status session_start(struct session *s, const struct engine_options *options, struct error *e)
{
    return engine_new(&s->engine, model_desc(s->model), options, e);
}

void session_close(struct session *s)
{
    if (s->engine) engine_free(s->engine);
    if (s->model) model_free(s->model);
    tokenizer_free(s->tok);
    gguf_close(s->gguf);
    free(s->eog);
    memset(s, 0, sizeof *s);
}

status session_encode(const struct session *s, const char *text, size_t n, struct tok_ids *out,
                      struct error *e)
{
    TRY(tokenizer_encode(s->tok, text, n, &(struct tok_options){0}, out, e));
    return out->n ? OK : fail(e, ERR_ARG, "the prompt is empty");
}
