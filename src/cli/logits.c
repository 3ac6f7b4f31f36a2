/* corral logits: the model's logits after every token of a prompt, as raw float32. The KV cache is float32
 * unless told otherwise: this command is for comparing engines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/forward.h"
#include "cli/session.h"

static struct {
    const char *model, *tokens, *out, *backend, *devices, *kv_type;
    int64_t threads, chunk;
    struct opt_list set;
} o;

static const struct opt opts[] = {MODEL_OPT(o.model),
                                  {.name = "tokens",
                                   .type = OPT_STR,
                                   .at = &o.tokens,
                                   .arg = "ID,ID,...",
                                   .help = "the prompt as token ids (corral tokenize makes them)"},
                                  {.name = "out",
                                   .letter = 'o',
                                   .type = OPT_STR,
                                   .at = &o.out,
                                   .arg = "FILE",
                                   .help = "where to write; - for standard output"},
                                  BACKEND_OPT(o.backend, "auto"),
                                  DEVICES_OPT(o.devices),
                                  THREADS_OPT(o.threads),
                                  {.name = "chunk",
                                   .type = OPT_INT,
                                   .at = &o.chunk,
                                   .min = 1,
                                   .max = 4096,
                                   .def = "512",
                                   .unit = "tokens",
                                   .help = "tokens of one step; the result does not depend on it"},
                                  KV_TYPE_OPT(o.kv_type, "f32"),
                                  SET_OPT(o.set),
                                  {0}};

static status parse_tokens(const char *text, int32_t **out, uint32_t *n_out, struct error *e)
{
    int32_t *id = NULL;
    uint32_t n = 0;
    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX || (*end && *end != ',')) {
            free(id);
            return fail(e, ERR_ARG, "--tokens: '%.40s' does not begin with a token id and a comma", p);
        }
        if ((n & (n - 1)) == 0) id = mem_realloc(id, n ? 2 * (size_t)n : 1, sizeof *id);
        id[n++] = (int32_t)v;
        p = end;
        if (!*p) break;
    }
    *out = id;
    *n_out = n;
    return OK;
}

static status write_logits(struct forward *f, const int32_t *id, uint32_t n, FILE *to, struct error *e)
{
    for (uint32_t at = 0; at < n; at += (uint32_t)o.chunk) {
        uint32_t part = MIN((uint32_t)o.chunk, n - at);
        const float *logits;
        TRY(forward_step(f, id + at, part, at, part, &logits, e));
        size_t want = (size_t)part * f->n_vocab;
        if (fwrite(logits, sizeof *logits, want, to) != want)
            return fail(e, ERR_IO, "%s: %s", o.out, strerror(errno));
    }
    return OK;
}

static status run_logits(const int32_t *id, uint32_t n, struct error *e)
{
    struct session s = {0};
    struct forward f = {0};
    struct session_options so = {.model = o.model,
                                 .backend = o.backend,
                                 .devices = o.devices,
                                 .kv_type = o.kv_type,
                                 .ctx = n,
                                 .set = o.set};
    struct forward_options fo = {.step_tokens = (uint32_t)MIN(o.chunk, (int64_t)n), .context = n};
    FILE *to = NULL;
    status st = session_open_model(&s, &so, NULL, e);
    if (st != OK) goto out;
    fo.api = s.api;
    fo.on = s.on;
    fo.on.n_thread = (uint32_t)o.threads;
    if (!kv_type_by_name(o.kv_type, &fo.kv_type)) {
        st = fail(e, ERR_ARG, "unknown KV type '%s'", o.kv_type);
        goto out;
    }
    st = forward_open(&f, model_desc(s.model), &fo, e);
    if (st != OK) goto out;
    to = strcmp(o.out, "-") ? fopen(o.out, "wbe") : stdout;
    if (!to) {
        st = fail(e, ERR_IO, "%s: %s", o.out, strerror(errno));
        goto out;
    }
    st = write_logits(&f, id, n, to, e);
    if (st == OK && fflush(to) != 0) st = fail(e, ERR_IO, "%s: %s", o.out, strerror(errno));
out:
    if (to && to != stdout && fclose(to) != 0 && st == OK)
        st = fail(e, ERR_IO, "%s: %s", o.out, strerror(errno));
    forward_close(&f);
    session_close(&s);
    return st;
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    int32_t *id = NULL;
    const char *word[1];
    size_t n_word = 0;
    uint32_t n = 0;
    if (opt_parse(opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_logits, &e);
    if (n_word && !o.model) o.model = word[0];
    if (!o.tokens || !o.out) {
        (void)fail(&e, ERR_ARG, "%s is missing", o.tokens ? "--out" : "--tokens");
        return cli_usage_error(&cmd_logits, &e);
    }
    if (parse_tokens(o.tokens, &id, &n, &e) != OK) return cli_usage_error(&cmd_logits, &e);
    status st = run_logits(id, n, &e);
    free(id);
    return st == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_logits = {
    .name = "logits",
    .args = "[MODEL] --tokens ID,ID,... -o OUT.f32",
    .summary = "write the logits after every token of a prompt",
    .help = "The output is float32, little endian, [tokens][vocabulary].\n\n"
            "Examples:\n"
            "  corral logits -m model.gguf --tokens \"1,403,407\" -o out.f32\n"
            "  corral logits -m model.gguf --tokens \"1,403,407\" -o ref.f32 --backend ref\n",
    .opts = opts,
    .run = run,
};
