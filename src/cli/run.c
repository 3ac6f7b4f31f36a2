/* corral run: one answer to a prompt, or a conversation at the terminal. */
#include "cli/run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/answer.h"
#include "text/chatml.h"

enum { MAX_PROMPT_BYTES = 256 << 20 };

static struct run_options o;

static const struct opt opts[] = {
    {.name = "prompt",
     .letter = 'p',
     .type = OPT_STR,
     .at = &o.prompt,
     .arg = "TEXT",
     .help =
         "answer or continue this and exit; without it standard input is the prompt, or a terminal chats"},
    {.name = "file",
     .letter = 'f',
     .type = OPT_STR,
     .at = &o.file,
     .arg = "FILE",
     .help = "read the prompt from a file"},
    {.name = "system", .type = OPT_STR, .at = &o.system, .arg = "TEXT", .help = "system message of a chat"},
    {.name = "max-tokens",
     .letter = 'n',
     .type = OPT_INT,
     .at = &o.max_tokens,
     .min = 0,
     .max = SESSION_MAX_CTX,
     .def = "0",
     .arg = "N",
     .help = "tokens to generate at most; 0: until the model ends or the context is full"},
    {.name = "stop", .type = OPT_LIST, .at = &o.stop, .arg = "TEXT", .help = "end before this text"},
    {.name = "chat",
     .type = OPT_BOOL,
     .at = &o.chat,
     .help = "the prompt is a chat message (usual where the model knows chat)"},
    {.name = "raw", .type = OPT_BOOL, .at = &o.raw, .help = "the prompt is a text to continue"},
    {.name = "special", .type = OPT_BOOL, .at = &o.special, .help = "print control tokens too"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "one JSON object at the end instead of text"},
    {.name = "stats", .type = OPT_BOOL, .at = &o.stats, .help = "speed on standard error at the end"},
    SESSION_OPTS(o.model),
    SAMPLING_OPTS(o.sampling),
    {0}};

/* What /set may change in a conversation. */
static const struct opt settings[] = {
    {.name = "max-tokens", .type = OPT_INT, .at = &o.max_tokens, .min = 0, .max = SESSION_MAX_CTX},
    {.name = "stop", .type = OPT_LIST, .at = &o.stop},
    SAMPLING_OPTS(o.sampling),
    {0}};

static double rate(uint32_t n, int64_t ns)
{
    return ns > 0 ? n / ((double)ns * 1e-9) : 0;
}

void run_print_stats(const struct engine_timing *t, enum finish_reason finish)
{
    fprintf(stderr, "[prompt %u tokens, %.1f tok/s; answer %u tokens, %.1f tok/s; %s]\n", t->n_prompt,
            rate(t->n_prompt, t->prefill_ns), t->n_decode, rate(t->n_decode, t->decode_ns),
            finish_reason_name(finish));
}

static void to_stdout(void *user, const char *text, size_t n)
{
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static void print_json(const struct session *s, const struct answer *g, const struct sample_params *p)
{
    struct buf out = {0};
    buf_adds(&out, "{\"model\": ");
    buf_json_str(&out, s->name, strlen(s->name));
    buf_adds(&out, ", \"text\": ");
    buf_json_str(&out, g->text.n ? g->text.data : "", g->text.n);
    buf_addf(
        &out, ", \"finish_reason\": \"%s\", \"prompt_tokens\": %u, \"completion_tokens\": %u, \"seed\": %llu",
        finish_reason_name(g->finish), g->timing.n_prompt, g->timing.n_decode, (unsigned long long)p->seed);
    buf_addf(&out, ", \"prefill_tok_s\": %.1f, \"decode_tok_s\": %.1f}",
             rate(g->timing.n_prompt, g->timing.prefill_ns), rate(g->timing.n_decode, g->timing.decode_ns));
    puts(out.data);
    buf_deinit(&out);
}

/* The prompt from -p, a file or standard input, in that order. */
static status read_prompt(struct buf *out, struct error *e)
{
    buf_init(out, MAX_PROMPT_BYTES);
    buf_adds(out, ""); /* so that data is not NULL */
    if (o.prompt) {
        buf_adds(out, o.prompt);
        return OK;
    }
    return o.file ? buf_read_file(out, o.file, e) : buf_read_fd(out, STDIN_FILENO, e);
}

static status encode_chat(const struct session *s, const struct buf *text, struct tok_ids *ids,
                          struct error *e)
{
    struct chat_message m[2];
    size_t n = 0;
    if (o.system) m[n++] = (struct chat_message){"system", o.system, 6, strlen(o.system)};
    m[n++] = (struct chat_message){"user", text->data, 4, text->n};
    return chatml_encode(s->tok, m, n, true, ids, e);
}

static status answer_once(struct session *s, bool chat, const struct buf *text, struct error *e)
{
    struct sampling sampling = {0};
    struct tok_ids ids = {0};
    struct answer g = {0};
    status r = sampling_init(&sampling, &o.sampling, s, e);
    if (r != OK) goto out;
    r = chat ? encode_chat(s, text, &ids, e) : session_encode(s, text->data, text->n, &ids, e);
    if (r != OK) goto out;
    if (!chat && !o.json) to_stdout(NULL, text->data, text->n);
    g = (struct answer){
        .prompt = ids.id,
        .n_prompt = (uint32_t)ids.n,
        .max_tokens = (uint32_t)o.max_tokens,
        .params = &sampling.params,
        .stop = o.stop.item,
        .n_stop = o.stop.n,
        .special = o.special,
        .on_text = o.json ? NULL : to_stdout,
    };
    r = answer_generate(s, &g, e);
    if (r != OK) goto out;
    if (o.json)
        print_json(s, &g, &sampling.params);
    else if (!g.text.n || g.text.data[g.text.n - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    if (o.stats) run_print_stats(&g.timing, g.finish);
out:
    buf_deinit(&g.text);
    tok_ids_deinit(&ids);
    sampling_deinit(&sampling);
    return r;
}

static status check_options(struct error *e)
{
    if (o.chat && o.raw) return fail(e, ERR_ARG, "--chat and --raw exclude each other");
    if (o.raw && o.system) return fail(e, ERR_ARG, "--system needs a chat, but --raw is given");
    if (o.prompt && o.file) return fail(e, ERR_ARG, "--prompt and --file exclude each other");
    return OK;
}

static int run_main(int argc, char **argv)
{
    struct error e = {0};
    const char *word[1] = {NULL};
    size_t n_word;
    status r = opt_parse(opts, argc, argv, word, &n_word, 1, &e);
    if (r == OK) r = check_options(&e);
    if (r != OK) return cli_usage_error(&cmd_run, &e);

    struct session s = {0};
    struct engine_options engine;
    struct buf prompt = {0};
    bool interactive = !o.prompt && !o.file && isatty(STDIN_FILENO);
    if (interactive && o.json) {
        (void)fail(&e, ERR_ARG, "--json needs a prompt: -p TEXT, -f FILE or standard input");
        return cli_usage_error(&cmd_run, &e);
    }
    if (!interactive) r = read_prompt(&prompt, &e);
    if (r == OK) r = session_open(&s, &o.model, word[0], &e);
    if (r == OK) r = session_engine_options(&s, &o.model, 1, &engine, &e);
    if (r == OK) r = session_start(&s, &engine, &e);
    if (r == OK) {
        bool chat = o.chat || (s.chat && !o.raw);
        r = interactive ? run_interactive(&s, &o, settings, chat, &e) : answer_once(&s, chat, &prompt, &e);
    }
    session_close(&s);
    buf_deinit(&prompt);
    return r == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_run = {
    .name = "run",
    .args = "[MODEL] [-p PROMPT] [--temp 0] [-n N] [--seed S]",
    .summary = "answer a prompt, or chat at the terminal",
    .help = "Without a model the demo model is used; without a prompt, a terminal starts a conversation "
            "(type /help\n"
            "there) and a pipe is read as the prompt. For a model that knows chat the prompt is a message "
            "and only\n"
            "the answer is printed; for others, or with --raw, the prompt is printed and continued.\n"
            "\nExamples:\n"
            "  corral run                                          chat with the demo model\n"
            "  corral run model.gguf -p \"Once upon a time\" --temp 0 -n 60\n"
            "  corral run model.gguf --system \"Answer in one word.\" -p \"Capital of Portugal?\"\n"
            "  git diff | corral run model.gguf --json > answer.json\n",
    .opts = opts,
    .run = run_main,
};
