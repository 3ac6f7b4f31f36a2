/* corral schema: JSON schemas compiled to token masks, and instances judged by whether they could be
 * generated.
 *
 * An instance is judged as the text json.dumps would write: ", " and ": " between its parts, UTF-8, numbers
 * as they stand. With a vocabulary it goes token by token under the masks, which are timed; without, byte by
 * byte. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/model_file.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

static struct {
    const char *model, *space, *kind;
    bool ordered, lenient, diagnose, times, vocabulary;
} o;

// clang-format off
static const struct opt opts[] = {
    {.name = "model", .letter = 'm', .type = OPT_STR, .at = &o.model, .arg = "FILE",
     .help = "model or vocabulary file (GGUF): judge token by token and time the masks"},
    {.name = "kind", .type = OPT_STR, .at = &o.kind, .choices = "json_schema|regex|gbnf|lark|choice|structural_tag", .def = "json_schema",
     .arg = "KIND", .help = "what \"schema\" holds; instances of the other kinds are strings, judged as plain text"},
    {.name = "space", .type = OPT_STR, .at = &o.space, .choices = "plain|none|flexible", .def = "flexible", .arg = "HOW",
     .help = "blanks between the parts: \", \" and \": \", none, or as JSON allows"},
    {.name = "ordered", .type = OPT_BOOL, .at = &o.ordered, .help = "members in the order of the schema only"},
    {.name = "lenient", .type = OPT_BOOL, .at = &o.lenient, .help = "leave out what cannot be enforced, and say so"},
    {.name = "diagnose", .type = OPT_BOOL, .at = &o.diagnose, .help = "say where a rejected instance stopped"},
    {.name = "times", .type = OPT_BOOL, .at = &o.times, .help = "add the time of each mask, in nanoseconds"},
    {.name = "vocabulary", .type = OPT_BOOL, .at = &o.vocabulary, .help = "only write the vocabulary's pieces (hexadecimal), for comparisons"},
    {0}};
// clang-format on

struct times { /* of masks, in nanoseconds */
    int64_t *ns;
    size_t n, cap;
};

struct judge {
    struct grammar *g;
    struct tokenizer *tok;
    struct grammar_trie *trie;
    uint32_t *mask;
    struct times times;
    struct buf text, why;
};

/* Time on the processor: on a busy machine the clock on the wall would measure the others. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void add_time(struct times *t, int64_t ns)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 256;
        t->ns = mem_realloc(t->ns, t->cap, sizeof *t->ns);
    }
    t->ns[t->n++] = ns;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The string literal at p, with its escapes as json.dumps(ensure_ascii=False) writes them. Returns its end.
 */
static const char *copy_string(struct buf *out, const char *p, const char *end)
{
    const char *from = p++;
    while (p < end && *p != '"') p += *p == '\\' && p + 1 < end ? 2 : 1;
    p += p < end;
    json_t *v = json_loadb(from, (size_t)(p - from), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const char *s = json_string_value(v);
    buf_addc(out, '"');
    for (size_t i = 0, n = json_string_length(v); i < n; i++) {
        static const char plain[] = "\b\t\n\f\r\"\\", letter[] = "btnfr\"\\";
        const char *at = s[i] ? strchr(plain, s[i]) : NULL;
        if (at)
            buf_addf(out, "\\%c", letter[at - plain]);
        else if ((uint8_t)s[i] < 0x20)
            buf_addf(out, "\\u%04x", (uint8_t)s[i]);
        else
            buf_addc(out, s[i]);
    }
    buf_addc(out, '"');
    json_decref(v);
    return p;
}

/* One JSON value at p, written compactly. Returns what follows; the line as a whole was parsed before. */
static const char *copy_value(struct buf *out, const char *p, const char *end)
{
    int depth = 0;
    while (p < end) {
        if (is_blank(*p)) {
            p++;
            continue;
        }
        if (*p == '"') {
            p = copy_string(out, p, end);
        } else {
            if (depth == 0 && (*p == ',' || *p == ']' || *p == '}')) break;
            depth += *p == '{' || *p == '[';
            depth -= *p == '}' || *p == ']';
            buf_addc(out, *p);
            if (*p == ',' || *p == ':') buf_addc(out, ' ');
            p++;
            if (depth || (p < end && !is_blank(*p) && *p != ',' && *p != ']' && *p != '}')) continue;
        }
        if (depth == 0) break;
    }
    return p;
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p)) p++;
    return p;
}

/* The raw text of member `name` of the object that the line is. */
static const char *find_member(const char *line, const char *end, const char *name)
{
    struct buf scratch = {0};
    const char *p = skip_blanks(line, end), *found = NULL;
    for (p++; !found && p < end && *p != '}';) {
        p = skip_blanks(p, end);
        if (p >= end || *p != '"') break;
        buf_reset(&scratch);
        p = skip_blanks(copy_string(&scratch, p, end), end);
        p = skip_blanks(p + 1, end); /* the colon */
        if (scratch.n == strlen(name) + 2 && memcmp(scratch.data + 1, name, strlen(name)) == 0) found = p;
        buf_reset(&scratch);
        p = skip_blanks(copy_value(&scratch, p, end), end);
        if (p < end && *p == ',') p++;
    }
    buf_deinit(&scratch);
    return found;
}

static bool judge_bytes(struct judge *j, struct grammar_state *s, size_t *at)
{
    for (*at = 0; *at < j->text.n; ++*at)
        if (!grammar_state_accept(s, j->text.data + *at, 1)) return false;
    return true;
}

static bool judge_tokens(struct judge *j, struct grammar_state *s, size_t *at)
{
    struct tok_ids ids = {0};
    struct error e;
    bool ok = tokenizer_encode(j->tok, j->text.data, j->text.n,
                               &(struct tok_options){.bos = TOK_BOS_OFF, .no_prefix = true}, &ids, &e) == OK;
    *at = 0;
    for (size_t i = 0; ok && i < ids.n; i++) {
        int32_t id = ids.id[i];
        size_t n;
        int64_t start = cpu_ns();
        grammar_state_mask(s, j->trie, j->mask);
        add_time(&j->times, cpu_ns() - start);
        ok = j->mask[id >> 5] >> (id & 31) & 1;
        if (ok && !grammar_state_accept_token(s, j->trie, id)) {
            fprintf(stderr, "corral: schema: a mask allowed token %d, which is not allowed\n", id);
            ok = false;
        }
        tokenizer_piece(j->tok, id, &n);
        *at += ok ? n : 0;
    }
    tok_ids_deinit(&ids);
    return ok;
}

static bool judge_instance(struct judge *j)
{
    struct grammar_state *s = grammar_state_new(j->g);
    size_t at = 0;
    bool ok = j->trie ? judge_tokens(j, s, &at) : judge_bytes(j, s, &at);
    ok = ok && grammar_state_can_end(s);
    if (o.diagnose && !ok) {
        size_t from = at > 60 ? at - 60 : 0;
        buf_addf(&j->why, "%s\"stops after\", ", j->why.n ? ", " : "");
        buf_json_str(&j->why, j->text.data + from, at - from);
        buf_adds(&j->why, ", \"before\", ");
        buf_json_str(&j->why, j->text.data + at, MIN(j->text.n - at, (size_t)30));
    }
    grammar_state_free(s);
    return ok;
}

static int by_size(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static void write_times(struct times *t, struct buf *out)
{
    double sum = 0;
    if (!t->n) return;
    qsort(t->ns, t->n, sizeof *t->ns, by_size);
    for (size_t i = 0; i < t->n; i++) sum += (double)t->ns[i];
    buf_addf(out, ", \"mask_us\": [%.2f, %.2f, %.2f, %.2f], \"masks\": %zu", sum / (double)t->n / 1e3,
             (double)t->ns[t->n / 2] / 1e3, (double)t->ns[t->n * 99 / 100] / 1e3,
             (double)t->ns[t->n - 1] / 1e3, t->n);
}

static void write_each(const struct times *t, struct buf *out)
{
    buf_adds(out, ", \"times_ns\": [");
    for (size_t i = 0; i < t->n; i++) buf_addf(out, "%s%lld", i ? ", " : "", (long long)t->ns[i]);
    buf_addc(out, ']');
}

static void write_vocabulary(const struct tokenizer *t)
{
    const char *separator = "";
    printf("{\"pieces\": [");
    for (uint32_t i = 0; i < tokenizer_n_vocab(t); i++) {
        size_t n;
        const char *p = tokenizer_piece(t, (int32_t)i, &n);
        printf("%s\"", i ? ", " : "");
        for (size_t k = 0; k < n; k++) printf("%02x", (uint8_t)p[k]);
        printf("\"");
    }
    printf("], \"eog\": [");
    for (uint32_t i = 0; i < tokenizer_n_vocab(t); i++)
        if (tokenizer_is_eog(t, (int32_t)i)) {
            printf("%s%u", separator, i);
            separator = ", ";
        }
    printf("]}\n");
}

static void judge_instances(struct judge *j, const char *p, const char *end, struct buf *out)
{
    bool first = true;
    buf_adds(out, ", \"accept\": [");
    for (p = skip_blanks(p + 1, end); p < end && *p != ']'; first = false) {
        buf_reset(&j->text);
        p = skip_blanks(copy_value(&j->text, p, end), end);
        if (p < end && *p == ',') p = skip_blanks(p + 1, end);
        if (o.kind[0] != 'j') { /* the string itself */
            json_t *v = json_loadb(j->text.data, j->text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            buf_reset(&j->text);
            buf_add(&j->text, json_string_value(v), json_string_length(v));
            json_decref(v);
        }
        buf_addf(out, "%s%s", first ? "" : ", ", judge_instance(j) ? "true" : "false");
    }
    buf_addc(out, ']');
}

static status compile_line(struct judge *j, const json_t *schema, const char *p, const char *end, double *us,
                           struct error *e)
{
    struct grammar_options options = {.ordered = o.ordered, .lenient = o.lenient};
    struct buf text = {0};
    options.space = o.space[0] == 'p'   ? GRAMMAR_SPACE_PLAIN
                    : o.space[0] == 'n' ? GRAMMAR_SPACE_NONE
                                        : GRAMMAR_SPACE_FLEXIBLE;
    if (o.kind[0] == 'j' || o.kind[0] == 'c' || o.kind[0] == 's')
        copy_value(&text, p, end);
    else
        buf_add(&text, json_string_value(schema), json_string_length(schema));
    int64_t start = cpu_ns();
    status code = grammar_compile(&j->g, o.kind, text.n ? text.data : "", text.n, &options, e);
    *us = (double)(cpu_ns() - start) / 1e3;
    buf_deinit(&text);
    return code;
}

static status judge_line(struct judge *j, const char *line, size_t n, struct buf *out, struct error *e)
{
    json_error_t je;
    struct error own;
    double us;
    json_t *v = json_loadb(line, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    const char *schema = v ? find_member(line, line + n, "schema") : NULL, *id, *instances;
    if (!schema) {
        json_decref(v);
        return fail(e, ERR_FORMAT, "not a JSON object with a \"schema\": %s", v ? "it has none" : je.text);
    }
    j->times.n = 0;
    buf_reset(&j->why);
    buf_adds(out, "{\"id\": ");
    id = find_member(line, line + n, "id");
    if (id)
        copy_value(out, id, line + n);
    else
        buf_adds(out, "null");
    status code = compile_line(j, json_object_get(v, "schema"), schema, line + n, &us, &own);
    buf_addf(out, ", \"compile\": \"%s\"", code == OK ? "ok" : code == ERR_ARG ? "invalid" : "unsupported");
    if (code != OK || *grammar_dropped(j->g)) {
        const char *reason = code != OK ? own.msg : grammar_dropped(j->g);
        buf_adds(out, ", \"reason\": ");
        buf_json_str(out, reason, strlen(reason));
    }
    instances = code == OK ? find_member(line, line + n, "instances") : NULL;
    if (instances && *instances == '[')
        judge_instances(j, instances, line + n, out);
    else
        buf_adds(out, ", \"accept\": []");
    buf_addf(out, ", \"compile_us\": %.1f", us);
    write_times(&j->times, out);
    if (o.times) write_each(&j->times, out);
    if (j->why.n) buf_addf(out, ", \"why\": [%s]", j->why.data);
    buf_adds(out, "}\n");
    grammar_unref(j->g);
    j->g = NULL;
    json_decref(v);
    return out->failed ? fail(e, ERR_MEMORY, "out of memory") : OK;
}

static status open_vocabulary(struct judge *j, struct gguf **g, struct error *e)
{
    char path[MODEL_PATH_MAX];
    TRY(model_file_open(g, path, o.model, &(struct gguf_options){.meta_only = true}, e));
    status code = tokenizer_new(&j->tok, *g, e);
    if (code != OK) return fail_in(e, "%s", path);
    TRY(grammar_trie_new(&j->trie, j->tok, e));
    j->mask = mem_zalloc(grammar_trie_words(j->trie), sizeof *j->mask);
    return OK;
}

static status judge_input(struct error *e)
{
    struct judge j = {0};
    struct gguf *g = NULL;
    struct buf out = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    status code = o.model ? open_vocabulary(&j, &g, e) : OK;
    if (code == OK && o.vocabulary && j.tok) write_vocabulary(j.tok);
    for (unsigned long long number = 1; code == OK && !o.vocabulary && (n = getline(&line, &cap, stdin)) >= 0;
         number++) {
        if (skip_blanks(line, line + n) == line + n) continue;
        buf_reset(&out);
        code = judge_line(&j, line, (size_t)n, &out, e);
        if (code == OK) fwrite(out.data, 1, out.n, stdout);
        if (code != OK) code = fail_in(e, "line %llu", number);
    }
    free(line);
    free(j.mask);
    free(j.times.ns);
    buf_deinit(&j.text);
    buf_deinit(&j.why);
    buf_deinit(&out);
    grammar_trie_free(j.trie);
    tokenizer_free(j.tok);
    gguf_close(g);
    return code;
}

static int run_schema(int argc, char **argv)
{
    struct error e;
    const char *word[1];
    size_t n_word = 0;
    if (opt_parse(opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_schema, &e);
    if (n_word && !o.model) o.model = word[0];
    return judge_input(&e) == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_schema = {
    .name = "schema",
    .args = "[-m MODEL] [--kind KIND] <LINES",
    .summary = "compile JSON schemas to token masks and judge instances",
    .help =
        "Each input line is {\"id\": .., \"schema\": .., \"instances\": [..]}; each output line says whether "
        "the\n"
        "schema compiles (ok, unsupported or invalid, with the reason), which instances could be generated\n"
        "under it, and how long compiling and the masks took.\n\n"
        "Examples:\n"
        "  echo '{\"schema\": {\"type\": \"integer\", \"minimum\": 3}, \"instances\": [2, 3]}' | corral "
        "schema\n"
        "  corral schema -m model.gguf <schemas.jsonl >verdicts.jsonl\n",
    .opts = opts,
    .run = run_schema,
};
