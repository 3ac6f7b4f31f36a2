/* corral list: the models that are here. */
#include "cli/human.h"
#include "cli/remote.h"
#include "cli/table.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

static status list(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    struct table t = {.heading = "NAME|>SIZE|ARCHITECTURE|>PARAMETERS|QUANTIZATION|>CONTEXT|STATE|USED"};
    json_t *all, *m;
    size_t i;
    TRY(remote_ask(r, "GET", "/models", NULL, &all, e));
    if (o.json) {
        json_print(json_incref(json_object_get(all, "models")));
        json_decref(all);
        return OK;
    }
    json_array_foreach(json_object_get(all, "models"), i, m)
    {
        const json_t *facts = json_object_get(m, "facts");
        const char *alias = json_text(m, "alias_of");
        table_add(&t, "%s%s%s", json_text(m, "name"), *alias ? " -> " : "", alias);
        table_add(&t, "%s", human_bytes((uint64_t)json_num(m, "bytes")).s);
        table_add(&t, "%s", json_text(facts, "architecture"));
        table_add(&t, "%s", json_text(facts, "parameter_size"));
        table_add(&t, "%s", json_text(facts, "quantization"));
        table_add(&t, "%.0f", json_num(facts, "context_length"));
        table_add(&t, "%s", json_text(m, "state"));
        table_add(&t, "%s", human_ago((int64_t)json_num(m, "used_ms")).s);
    }
    if (!t.n)
        puts("There are no models here yet: corral pull brings one, and so does a file in "
             "$CORRAL_HOME/models.");
    table_print(&t);
    json_decref(all);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_list, &o, 0, 0, list}, argc, argv);
}

const struct command cmd_list = {
    .name = "list",
    .args = "[--json]",
    .summary = "the models that are here",
    .help = "Examples:\n"
            "  corral list\n"
            "  corral list --json | jq -r '.[].name'\n\n"
            "Models come by corral pull, by POST /api/create, or as *.gguf files in $CORRAL_HOME/models. "
            "STATE says what a\n"
            "server has of each: cold (not in memory), loading, ready, ...\n",
    .opts = opts,
    .run = run,
};
