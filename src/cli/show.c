/* corral show: all that is known of one model. */
#include <stdlib.h>
#include <string.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/table.h"
#include "place/place.h"

static struct remote_options o;
static bool no_plan;
static const struct opt opts[] = {{.name = "no-memory",
                                   .type = OPT_BOOL,
                                   .at = &no_plan,
                                   .help = "do not work out what it takes in memory"},
                                  REMOTE_OPTS(o),
                                  {0}};

static void line(const char *what, const char *value)
{
    if (*value) printf("  %-16s %s\n", what, value);
}

static void print_facts(const json_t *m)
{
    static const char *const shown[][2] = {{"architecture", "architecture"},
                                           {"parameters", "parameter_size"},
                                           {"quantization", "quantization"},
                                           {"fingerprint", "fingerprint"},
                                           {"license", "license"}};
    static const char *const number[][2] = {
        {"context", "context_length"}, {"embedding", "embedding_length"}, {"vocabulary", "vocabulary"}};
    const json_t *facts = json_object_get(m, "facts");
    struct buf b = {0};
    json_t *v;
    size_t i;
    line("state", json_text(m, "state"));
    line("alias of", json_text(m, "alias_of"));
    for (i = 0; i < COUNT_OF(shown); i++) line(shown[i][0], json_text(facts, shown[i][1]));
    for (i = 0; i < COUNT_OF(number); i++)
        if (json_num(facts, number[i][1]) > 0)
            printf("  %-16s %.0f\n", number[i][0], json_num(facts, number[i][1]));
    json_array_foreach(json_object_get(facts, "capabilities"), i, v)
        buf_addf(&b, "%s%s", i ? ", " : "", json_is_string(v) ? json_string_value(v) : "");
    line("capabilities", b.n ? b.data : "");
    line("size", human_bytes((uint64_t)json_num(m, "bytes")).s);
    line("file", json_text(m, "path"));
    line("digest", json_text(m, "digest"));
    line("source", json_text(m, "source"));
    line("error", json_text(m, "error"));
    buf_deinit(&b);
}

static void print_options(const json_t *m)
{
    json_t *all = json_object_get(m, "options"), *v;
    const char *key;
    if (json_object_size(all)) puts("\nOptions");
    json_object_foreach(all, key, v)
    {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        printf("  %-16s %s\n", key, text);
        free(text);
    }
}

static void print_versions(const json_t *m)
{
    struct table t = {.heading = "|>VERSION|>SIZE|CREATED|DIGEST"};
    json_t *v;
    size_t i;
    if (json_array_size(json_object_get(m, "versions")) < 2) return;
    puts("");
    json_array_foreach(json_object_get(m, "versions"), i, v)
    {
        table_add(&t, "%s", json_yes(v, "current") ? "*" : " ");
        table_add(&t, "%.0f", json_num(v, "version"));
        table_add(&t, "%s", human_bytes((uint64_t)json_num(v, "bytes")).s);
        table_add(&t, "%.19s", json_text(v, "created_at"));
        table_add(&t, "%.19s", json_text(v, "digest"));
    }
    table_print(&t);
}

static void print_plan(const json_t *answer)
{
    struct table t = {.heading = ">SEQUENCES|>CONTEXT|KV TYPE|>KV|>IN ALL"};
    struct place_plan p;
    struct error e;
    char *text = json_dumps(answer, JSON_COMPACT);
    if (text && place_plan_read(&p, text, strlen(text), &e) == OK) {
        printf("\nMemory on %s, %u layers\n", p.backend, p.n_layer);
        for (uint32_t i = 0; i < p.n_rung; i++) {
            table_add(&t, "%u", p.rung[i].kv_sequences);
            table_add(&t, "%u", p.rung[i].context);
            table_add(&t, "%s", p.rung[i].kv_type);
            table_add(&t, "%s", human_bytes(place_plan_kv_bytes(&p, i)).s);
            table_add(&t, "%s", human_bytes(place_plan_total_bytes(&p, i)).s);
        }
        table_print(&t);
        place_plan_deinit(&p);
    }
    free(text);
}

static status show(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    json_t *m, *plan = NULL;
    struct error ignored;
    TRY(remote_ask(r, "GET", remote_path("/models/", word[0], ""), NULL, &m, e));
    bool planned = !no_plan && remote_ask(r, "GET", remote_path("/models/", word[0], "/plan"), NULL, &plan,
                                          &ignored) == OK;
    if (o.json) {
        if (planned) json_object_set_new(m, "plan", plan);
        json_print(m);
        return OK;
    }
    puts(json_text(m, "name"));
    print_facts(m);
    print_options(m);
    print_versions(m);
    if (planned) print_plan(plan);
    json_decref(plan);
    json_decref(m);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_show, &o, 1, 1, show}, argc, argv);
}

const struct command cmd_show = {
    .name = "show",
    .args = "NAME [--json]",
    .summary = "what is known of a model: facts, options, versions, memory",
    .help = "Examples:\n"
            "  corral show qwen3\n"
            "  corral show qwen3 --json | jq .facts\n\n"
            "The table of memory is what corral plan says for the options that the model has here: its first "
            "line is what it\n"
            "takes as configured, the others are ways to run it in less.\n",
    .opts = opts,
    .run = run,
};
