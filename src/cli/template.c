/* corral template: chat templates on JSON lines of variables. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/chat.h"
#include "cli/cli.h"
#include "cli/model_file.h"
#include "text/jinja/jinja.h"
#include "text/tokenizer.h"

enum { MAX_TEMPLATE = 8 << 20 };

static struct {
    const char *model, *template, *name, *now, *bos, *eos;
    bool json, lenient, show, caps;
} o;

// clang-format off
static const struct opt opts[] = {
    {.name = "template", .type = OPT_STR, .at = &o.template, .arg = "FILE", .help = "template in a file of its own"},
    {.name = "model", .letter = 'm', .type = OPT_STR, .at = &o.model, .arg = "FILE",
     .help = "the template of this model (GGUF); with --template, only its bos_token and eos_token"},
    {.name = "name", .type = OPT_STR, .at = &o.name, .arg = "NAME",
     .help = "one of the model's named templates, e.g. tool_use"},
    {.name = "now", .type = OPT_STR, .at = &o.now, .arg = "ISO8601",
     .help = "what strftime_now() says, e.g. 2026-11-21T01:02:03; without it, the local time"},
    {.name = "bos-token", .type = OPT_STR, .at = &o.bos, .arg = "TEXT",
     .help = "bos_token of lines that give none; default: the model's, or <s>"},
    {.name = "eos-token", .type = OPT_STR, .at = &o.eos, .arg = "TEXT",
     .help = "eos_token of lines that give none; default: the model's, or </s>"},
    {.name = "lenient", .type = OPT_BOOL, .at = &o.lenient,
     .help = "allow methods that change lists and dicts, and from_json, which Hugging Face refuses"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .def = "1",
     .help = "one JSON object per line; --no-json: the text itself"},
    {.name = "show", .type = OPT_BOOL, .at = &o.show, .help = "print the template and render nothing"},
    {.name = "caps", .type = OPT_BOOL, .at = &o.caps,
     .help = "print, as JSON, what the template can do and which format its model's tool calls have"},
    {0}};
// clang-format on

struct source {
    struct buf text; /* of the template */
    char *bos, *eos;
};

/* --- where the template comes from --- */

static char *token_text(const struct tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *s = id >= 0 ? tokenizer_text(t, id, &n) : "";
    return mem_strndup(s, n);
}

static status read_template(struct source *s, const struct gguf *g, struct error *e)
{
    char key[256] = "tokenizer.chat_template";
    struct gguf_str text;
    if (o.name && snprintf(key, sizeof key, "tokenizer.chat_template.%s", o.name) >= (int)sizeof key)
        return fail(e, ERR_ARG, "--name is too long");
    if (!gguf_find(g, key)) return fail(e, ERR_NOT_FOUND, "the model has no chat template (%s)", key);
    TRY(gguf_get_str(g, key, true, &text, e));
    buf_add(&s->text, text.p, text.n);
    return s->text.failed ? fail(e, ERR_LIMIT, "the chat template is larger than %d bytes", MAX_TEMPLATE)
                          : OK;
}

static status read_model(struct source *s, struct error *e)
{
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    char path[MODEL_PATH_MAX];
    status code = model_file_open(&g, path, o.model, &(struct gguf_options){.meta_only = true}, e);
    if (code == OK && !o.template && (code = read_template(s, g, e)) != OK) code = fail_in(e, "%s", path);
    if (code == OK && !o.show && (code = tokenizer_new(&t, g, e)) != OK) code = fail_in(e, "%s", path);
    if (t) {
        s->bos = token_text(t, tokenizer_bos(t));
        s->eos = token_text(t, tokenizer_eos(t));
    }
    tokenizer_free(t);
    gguf_close(g);
    return code;
}

static status read_source(struct source *s, struct error *e)
{
    s->text.max = MAX_TEMPLATE;
    if (o.template) TRY(buf_read_file(&s->text, o.template, e));
    if (o.model || !o.template) TRY(read_model(s, e));
    if (!s->bos || o.bos) {
        free(s->bos);
        s->bos = mem_strdup(o.bos ? o.bos : "<s>");
    }
    if (!s->eos || o.eos) {
        free(s->eos);
        s->eos = mem_strdup(o.eos ? o.eos : "</s>");
    }
    return OK;
}

/* "2026-11-21" or "2026-11-21T01:02:03", perhaps with a zone, which is not looked at. */
static status parse_now(struct tm *now, struct error *e)
{
    char rest[2] = "";
    struct tm t = {.tm_isdst = -1};
    int n = sscanf(o.now, "%4d-%2d-%2d%1[T ]%2d:%2d:%2d", &t.tm_year, &t.tm_mon, &t.tm_mday, rest, &t.tm_hour,
                   &t.tm_min, &t.tm_sec);
    bool range = t.tm_mon >= 1 && t.tm_mon <= 12 && t.tm_mday >= 1 && t.tm_mday <= 31 && t.tm_hour >= 0 &&
                 t.tm_hour < 24 && t.tm_min >= 0 && t.tm_min < 60 && t.tm_sec >= 0 && t.tm_sec <= 60;
    if ((n != 3 && n < 6) || !range || t.tm_year < 1900)
        return fail(e, ERR_ARG, "--now is '%s', want a time as 2026-11-21T01:02:03", o.now);
    t.tm_year -= 1900;
    t.tm_mon--;
    struct tm local = t;
    if (mktime(&local) == (time_t)-1) return fail(e, ERR_ARG, "--now is '%s', which is no time", o.now);
    t.tm_wday = local.tm_wday; /* mktime may move the hour across a change of the clocks: take the day only */
    t.tm_yday = local.tm_yday;
    t.tm_isdst = local.tm_isdst;
    *now = t;
    return OK;
}

/* --- rendering --- */

static void add_default(json_t *vars, const char *name, json_t *value)
{
    if (json_object_get(vars, name))
        json_decref(value);
    else
        json_object_set_new(vars, name, value);
}

static void write_error(struct buf *out, const struct jinja_fault *f, const struct error *e)
{
    static const char *const cause[] = {"syntax", "runtime", "raised", "limit"};
    buf_adds(out, "{\"error\": ");
    buf_json_str(out, e->msg, strlen(e->msg));
    if (f) buf_addf(out, ", \"cause\": \"%s\"", cause[f->cause]);
    if (f && f->line) buf_addf(out, ", \"line\": %u, \"column\": %u", f->line, f->column);
    buf_adds(out, "}\n");
}

/* One line of variables to what is printed for it. */
static status render_line(const struct jinja *t, const struct source *s, const struct jinja_options *options,
                          const char *line, size_t n, struct buf *out, struct error *e)
{
    struct buf text = {0};
    struct jinja_fault fault = {0};
    json_error_t je;
    json_t *vars = json_loadb(line, n, JSON_ALLOW_NUL, &je);
    if (!json_is_object(vars)) {
        json_decref(vars);
        status code = fail(e, ERR_FORMAT, "not a JSON object: %s", vars ? "another type" : je.text);
        if (o.json) write_error(out, NULL, e);
        return code;
    }
    add_default(vars, "add_generation_prompt", json_true());
    add_default(vars, "bos_token", json_string(s->bos));
    add_default(vars, "eos_token", json_string(s->eos));
    status code = jinja_render(t, vars, options, &text, &fault, e);
    if (code == OK && o.json) {
        buf_adds(out, "{\"text\": ");
        buf_json_str(out, text.data ? text.data : "", text.n);
        buf_adds(out, "}\n");
    } else if (code == OK && text.n) {
        buf_add(out, text.data, text.n);
    } else if (code != OK && o.json) {
        write_error(out, &fault, e);
        code = OK; /* an answer like any other */
    }
    if (code == OK && out->failed) code = fail(e, ERR_MEMORY, "out of memory");
    buf_deinit(&text);
    json_decref(vars);
    return code;
}

/* With --json a line that is not JSON is answered, and the next one read; the exit status tells. */
static status render_lines(const struct jinja *t, const struct source *s, const struct jinja_options *options,
                           struct error *e)
{
    struct buf out = {0};
    struct error first = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    for (unsigned long long number = 1; (n = getline(&line, &cap, stdin)) >= 0; number++) {
        if (strspn(line, " \t\r\n") == (size_t)n) continue;
        buf_reset(&out);
        if (render_line(t, s, options, line, (size_t)n, &out, e) != OK && first.code == OK) {
            first = *e;
            first.code = fail_in(&first, "input line %llu", number);
        }
        if (out.n) fwrite(out.data, 1, out.n, stdout);
        fflush(stdout);
        if (first.code != OK && (!o.json || first.code == ERR_MEMORY)) break;
    }
    free(line);
    buf_deinit(&out);
    *e = first;
    return first.code;
}

/* What the server would make of the template (docs/tool-calling.md). */
static status print_caps(const struct source *s, struct error *e)
{
    struct chat_format *f;
    TRY(chat_format_new(&f, NULL, s->text.data ? s->text.data : "", s->text.n, e));
    const struct chat_caps *c = chat_format_caps(f);
    json_t *v =
        json_pack("{s:b,s:b,s:b,s:b,s:b,s:b,s:b,s:b,s:s,s:s,s:s}", "system_role", c->system_role, "tools",
                  c->tools, "tool_calls", c->tool_calls, "parallel_tool_calls", c->parallel_calls,
                  "typed_content", c->typed_content, "object_arguments", c->object_args, "reasoning",
                  c->thinks, "reasoning_switch", c->think_switch, "reasoning_begin", c->think_begin,
                  "reasoning_end", c->think_end, "tool_call_format", c->wire->name);
    char *text = json_dumps(v, 0);
    puts(text);
    free(text);
    json_decref(v);
    chat_format_free(f);
    return OK;
}

static status run_template(struct error *e)
{
    struct source s = {0};
    struct jinja *t = NULL;
    struct tm now;
    struct jinja_options options = {.lenient = o.lenient};
    status code = OK;
    if (o.now) {
        TRY(parse_now(&now, e));
        options.now = &now;
    }
    if ((code = read_source(&s, e)) != OK) goto out;
    if (o.show) {
        if (s.text.n) fwrite(s.text.data, 1, s.text.n, stdout);
        goto out;
    }
    if (o.caps) {
        code = print_caps(&s, e);
        goto out;
    }
    if ((code = jinja_parse(&t, s.text.data ? s.text.data : "", s.text.n, NULL, e)) != OK) {
        if (o.template) code = fail_in(e, "%s", o.template);
        goto out;
    }
    code = render_lines(t, &s, &options, e);
out:
    jinja_free(t);
    buf_deinit(&s.text);
    free(s.bos);
    free(s.eos);
    return code;
}

static int run(int argc, char **argv)
{
    struct error e;
    const char *word[1];
    size_t n_word = 0;
    if (opt_parse(opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_template, &e);
    if (n_word && !o.model) o.model = word[0];
    if (run_template(&e) == OK) return EXIT_OK;
    int code = cli_error(&e);
    return e.code == ERR_ARG && !o.now ? EXIT_FAILED : code;
}

const struct command cmd_template = {
    .name = "template",
    .args = "--template FILE.jinja | -m MODEL [--now ISO8601]",
    .summary = "render a chat template",
    .help = "Each line of standard input is a JSON object of variables: messages, tools, "
            "add_generation_prompt (default\n"
            "true), bos_token, eos_token, and whatever else the template reads. Each line of output is "
            "{\"text\": ...} or\n"
            "{\"error\": ..., \"cause\": \"syntax|runtime|raised|limit\", \"line\", \"column\"}.\n\n"
            "Examples:\n"
            "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | corral template -m "
            "model.gguf\n"
            "  corral template --template chat.jinja --now 2026-11-21T01:02:03 <requests.jsonl\n"
            "  corral template -m model.gguf --show\n"
            "  corral template -m model.gguf --caps\n",
    .opts = opts,
    .run = run,
};
