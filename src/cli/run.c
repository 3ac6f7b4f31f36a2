/* corral run: one answer to a prompt, or a conversation at the terminal. */
#include "cli/run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/answer.h"

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
    {.name = "thinking",
     .type = OPT_STR,
     .at = &o.thinking,
     .choices = "auto|on|off",
     .def = "auto",
     .arg = "WHEN",
     .help = "whether a model that can reason before it answers does so"},
    {.name = "raw", .type = OPT_BOOL, .at = &o.raw, .help = "the prompt is a text to continue"},
    {.name = "special", .type = OPT_BOOL, .at = &o.special, .help = "print control tokens too"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "one JSON object at the end instead of text"},
    {.name = "stats", .type = OPT_BOOL, .at = &o.stats, .help = "speed on standard error at the end"},
    SESSION_OPTS(o.model),
    SAMPLING_OPTS(o.sampling),
    {0}};

/* What /set may change in a conversation. */
static const struct opt settings[] = {
    {.name = "thinking", .type = OPT_STR, .at = &o.thinking, .choices = "auto|on|off"},
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

/* text: the answer; reasoning may be empty. */
static void print_json(const struct session *s, const struct answer *g, const struct buf *text,
                       const struct buf *reasoning, const struct sample_params *p)
{
    struct buf out = {0};
    buf_adds(&out, "{\"model\": ");
    buf_json_str(&out, s->name, strlen(s->name));
    buf_adds(&out, ", \"text\": ");
    buf_json_str(&out, text->n ? text->data : "", text->n);
    if (reasoning->n) {
        buf_adds(&out, ", \"reasoning\": ");
        buf_json_str(&out, reasoning->data, reasoning->n);
    }
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

/* --- a chat --- */

static enum chat_think thinking(void)
{
    return !strcmp(o.thinking, "on")    ? CHAT_THINK_ON
           : !strcmp(o.thinking, "off") ? CHAT_THINK_OFF
                                        : CHAT_THINK_DEFAULT;
}

static void on_chat_event(void *user, const struct chat_event *ev)
{
    struct run_chat *c = user;
    bool reasoning = ev->kind == CHAT_REASONING;
    if (!reasoning && ev->kind != CHAT_CONTENT) return;
    buf_add(reasoning ? &c->reasoning : &c->content, ev->text, ev->n);
    if (c->show) c->show(ev->text, ev->n, reasoning);
}

static void on_answer_text(void *user, const char *text, size_t n)
{
    struct run_chat *c = user;
    chat_parser_push(c->parser, text, n, on_chat_event, c);
}

status run_chat_begin(struct run_chat *c, const struct session *s, const json_t *messages,
                      struct tok_ids *ids, struct error *e)
{
    struct chat_input in = {.messages = messages, .think = thinking(), .answer = true};
    struct chat_parse_options options = {.reasoning = true};
    TRY(chat_encode(c->format, &in, ids, NULL, &options.think_open, e));
    return chat_parser_new(&c->parser, c->format, &options, e);
}

status run_chat_answer(struct run_chat *c, struct session *s, struct answer *g, struct error *e)
{
    g->special |= chat_format_caps(c->format)->control_tokens;
    g->on_text = on_answer_text;
    g->user = c;
    status r = answer_generate(s, g, e);
    chat_parser_finish(c->parser, on_chat_event, c);
    return r;
}

void run_chat_reset(struct run_chat *c)
{
    chat_parser_free(c->parser);
    c->parser = NULL;
    buf_reset(&c->content);
    buf_reset(&c->reasoning);
}

void run_chat_deinit(struct run_chat *c)
{
    run_chat_reset(c);
    buf_deinit(&c->content);
    buf_deinit(&c->reasoning);
    chat_format_free(c->format);
}

/* The answer to standard output, which may be a pipe; thoughts only to somebody who watches. */
static void show_answer(const char *text, size_t n, bool reasoning)
{
    if (!reasoning)
        to_stdout(NULL, text, n);
    else if (isatty(STDERR_FILENO))
        fwrite(text, 1, n, stderr);
}

json_t *run_message(const char *role, const char *text, size_t n)
{
    json_t *content = json_stringn(text, n);
    return content ? json_pack("{s:s,s:o}", "role", role, "content", content) : NULL;
}

static status begin_chat(struct run_chat *c, const struct session *s, const struct buf *text,
                         struct tok_ids *ids, struct error *e)
{
    json_t *messages = json_array();
    status r = chat_format_of_model(&c->format, s->tok, s->gguf, e);
    if (o.system) json_array_append_new(messages, run_message("system", o.system, strlen(o.system)));
    if (json_array_append_new(messages, run_message("user", text->data, text->n)) != 0 && r == OK)
        r = fail(e, ERR_ARG, "the prompt is not UTF-8 text; --raw takes any bytes");
    if (r == OK) r = run_chat_begin(c, s, messages, ids, e);
    json_decref(messages);
    return r;
}

static status answer_once(struct session *s, bool chat, const struct buf *text, struct error *e)
{
    struct sampling sampling = {0};
    struct tok_ids ids = {0};
    struct answer g = {0};
    struct run_chat c = {.show = o.json ? NULL : show_answer};
    status r = sampling_init(&sampling, &o.sampling, s, e);
    if (r != OK) goto out;
    r = chat ? begin_chat(&c, s, text, &ids, e) : session_encode(s, text->data, text->n, &ids, e);
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
    r = chat ? run_chat_answer(&c, s, &g, e) : answer_generate(s, &g, e);
    if (r != OK) goto out;
    const struct buf *said = chat ? &c.content : &g.text;
    if (o.json)
        print_json(s, &g, said, &c.reasoning, &sampling.params);
    else if (!said->n || said->data[said->n - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    if (o.stats) run_print_stats(&g.timing, g.finish);
out:
    run_chat_deinit(&c);
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
    if (r == OK) r = session_place(&s, &o.model, &e);
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
