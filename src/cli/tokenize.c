/* corral tokenize and corral detokenize: text to token ids and back, one text or JSON lines. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/model_file.h"
#include "text/tokenizer.h"

static struct {
    const char *model, *bos;
    bool parse_special, special, jsonl;
    struct opt_list set;
} o;

// clang-format off
#define MODEL_OPTS                                                                                             \
    {.name = "model", .letter = 'm', .type = OPT_STR, .at = &o.model, .arg = "FILE",                           \
     .help = "model or vocabulary file (GGUF); without one the demo model"},                                   \
    {.name = "set", .type = OPT_LIST, .at = &o.set, .arg = "KEY=TYPE:VALUE",                                   \
     .help = "override metadata, e.g. tokenizer.ggml.pre=str:qwen2"}

static const struct opt tokenize_opts[] = {
    MODEL_OPTS,
    {.name = "bos", .type = OPT_STR, .at = &o.bos, .choices = "auto|on|off", .def = "auto", .arg = "WHEN",
     .help = "begin with the beginning-of-text token; auto: as the file says"},
    {.name = "parse-special", .type = OPT_BOOL, .at = &o.parse_special,
     .help = "control tokens written in the text, as <|im_end|>, become their ids"},
    {.name = "jsonl", .type = OPT_BOOL, .at = &o.jsonl,
     .help = "each input line a JSON string, each output line an array of ids"},
    {0}};

static const struct opt detokenize_opts[] = {
    MODEL_OPTS,
    {.name = "special", .type = OPT_BOOL, .at = &o.special, .help = "write control tokens too"},
    {.name = "jsonl", .type = OPT_BOOL, .at = &o.jsonl,
     .help = "each input line an array of ids, each output line a JSON string"},
    {0}};
// clang-format on

/* One input to one output, appended. */
typedef status converter(const struct tokenizer *t, const char *in, size_t n, struct buf *out,
                         struct error *e);

static void write_ids(const struct tok_ids *ids, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < ids->n; i++) buf_addf(out, i ? ", %d" : "%d", ids->id[i]);
    buf_adds(out, "]\n");
}

static status text_to_ids(const struct tokenizer *t, const char *in, size_t n, struct buf *out,
                          struct error *e)
{
    struct tok_ids ids = {0};
    enum tok_bos bos = o.bos[0] == 'a' ? TOK_BOS_AUTO : o.bos[1] == 'n' ? TOK_BOS_ON : TOK_BOS_OFF;
    struct tok_options options = {.bos = bos, .parse_special = o.parse_special};
    status code = tokenizer_encode(t, in, n, &options, &ids, e);
    if (code == OK) write_ids(&ids, out);
    tok_ids_deinit(&ids);
    return code;
}

static status json_to_ids(const struct tokenizer *t, const char *in, size_t n, struct buf *out,
                          struct error *e)
{
    json_error_t je;
    json_t *j = json_loadb(in, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    status code = OK;
    if (!j)
        code = fail(e, ERR_FORMAT, "not JSON: %s", je.text);
    else if (!json_is_string(j))
        code = fail(e, ERR_FORMAT, "not a JSON string");
    else
        code = text_to_ids(t, json_string_value(j), json_string_length(j), out, e);
    json_decref(j);
    return code;
}

/* The array of ids in j. */
static status read_ids(const struct tokenizer *t, const json_t *j, struct tok_ids *ids, struct error *e)
{
    if (!json_is_array(j)) return fail(e, ERR_FORMAT, "not a JSON array of token ids");
    for (size_t i = 0; i < json_array_size(j); i++) {
        const json_t *v = json_array_get(j, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v)) return fail(e, ERR_FORMAT, "element %zu of the array is not an integer", i);
        if (id < 0 || id >= tokenizer_n_vocab(t))
            return fail(e, ERR_FORMAT, "token id %lld is out of range: the vocabulary has ids 0 to %u",
                        (long long)id, tokenizer_n_vocab(t) - 1);
        tok_ids_add(ids, (int32_t)id);
    }
    return OK;
}

static status ids_to_text(const struct tokenizer *t, const char *in, size_t n, struct buf *out,
                          struct error *e)
{
    struct tok_ids ids = {0};
    json_error_t je;
    json_t *j = json_loadb(in, n, 0, &je);
    status code = j ? read_ids(t, j, &ids, e) : fail(e, ERR_FORMAT, "not JSON: %s", je.text);
    if (code == OK) tokenizer_decode(t, ids.id, ids.n, o.special, out);
    tok_ids_deinit(&ids);
    json_decref(j);
    return code;
}

static status ids_to_json(const struct tokenizer *t, const char *in, size_t n, struct buf *out,
                          struct error *e)
{
    struct buf text = {0};
    status code = ids_to_text(t, in, n, &text, e);
    if (code == OK) {
        buf_json_str(out, text.data ? text.data : "", text.n);
        buf_addc(out, '\n');
    }
    buf_deinit(&text);
    return code;
}

static status convert_lines(const struct tokenizer *t, converter *convert, struct buf *out, struct error *e)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    status code = OK;
    for (unsigned long long number = 1; code == OK && (n = getline(&line, &cap, stdin)) >= 0; number++) {
        buf_reset(out);
        code = convert(t, line, (size_t)n, out, e);
        if (code == OK && out->failed) code = fail(e, ERR_MEMORY, "out of memory");
        if (code == OK) fwrite(out->data, 1, out->n, stdout);
        fflush(stdout); /* whoever sends lines one by one gets each answer at once */
        if (code != OK) code = fail_in(e, "line %llu", number);
    }
    free(line);
    return code;
}

static status convert_all(const struct tokenizer *t, converter *convert, struct buf *out, struct error *e)
{
    struct buf in = {0};
    status code = buf_read_fd(&in, STDIN_FILENO, e);
    if (code == OK) code = convert(t, in.data ? in.data : "", in.n, out, e);
    if (code == OK && out->failed) code = fail(e, ERR_MEMORY, "out of memory");
    if (code == OK && out->n) fwrite(out->data, 1, out->n, stdout);
    buf_deinit(&in);
    return code;
}

static status convert_input(converter *whole, converter *line, struct error *e)
{
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct buf out = {0};
    char path[MODEL_PATH_MAX];
    struct gguf_options open = {.set = o.set.item, .n_set = o.set.n, .meta_only = true};
    status code = model_file_open(&g, path, o.model, &open, e);
    if (code == OK && tokenizer_new(&t, g, e) != OK) code = fail_in(e, "%s", path);
    if (code == OK) code = o.jsonl ? convert_lines(t, line, &out, e) : convert_all(t, whole, &out, e);
    tokenizer_free(t);
    gguf_close(g);
    buf_deinit(&out);
    return code;
}

static int run(const struct command *c, int argc, char **argv, converter *whole, converter *line)
{
    struct error e;
    const char *word[1];
    size_t n_word = 0;
    if (opt_parse(c->opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(c, &e);
    if (n_word && !o.model) o.model = word[0];
    return convert_input(whole, line, &e) == OK ? EXIT_OK : cli_error(&e);
}

static int run_tokenize(int argc, char **argv)
{
    return run(&cmd_tokenize, argc, argv, text_to_ids, json_to_ids);
}
static int run_detokenize(int argc, char **argv)
{
    return run(&cmd_detokenize, argc, argv, ids_to_text, ids_to_json);
}

const struct command cmd_tokenize = {
    .name = "tokenize",
    .args = "[MODEL] [--bos auto|on|off] [--parse-special] [--jsonl]",
    .summary = "text on standard input to token ids",
    .help = "Examples:\n"
            "  echo -n 'Hello, world!' | corral tokenize -m model.gguf\n"
            "  corral tokenize -m model.gguf --jsonl --bos off <texts.jsonl\n",
    .opts = tokenize_opts,
    .run = run_tokenize,
};

const struct command cmd_detokenize = {
    .name = "detokenize",
    .args = "[MODEL] [--special] [--jsonl]",
    .summary = "token ids on standard input to text",
    .help = "Examples:\n"
            "  echo '[9906, 11, 1917, 0]' | corral detokenize -m model.gguf\n"
            "  corral tokenize -m model.gguf <a.txt | corral detokenize -m model.gguf\n",
    .opts = detokenize_opts,
    .run = run_detokenize,
};
