/* corral alias: other names for models, also for those that are not here yet. */
#include <string.h>

#include "cli/remote.h"
#include "cli/table.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

static status list(struct remote *r, struct error *e)
{
    struct table t = {.heading = "NAME|MEANS|FROM"};
    json_t *all, *a;
    size_t i;
    TRY(remote_ask(r, "GET", "/aliases", NULL, &all, e));
    if (o.json) {
        json_print(json_incref(json_object_get(all, "aliases")));
    } else {
        json_array_foreach(json_object_get(all, "aliases"), i, a)
        {
            table_add(&t, "%s", json_text(a, "name"));
            table_add(&t, "%s", json_text(a, "target"));
            table_add(&t, "%s", json_text(a, "layer"));
        }
        table_print(&t);
    }
    json_decref(all);
    return OK;
}

static status alias(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    json_t *said;
    if (!n_word) return list(r, e);
    if (n_word != 2) return fail(e, ERR_ARG, "usage: corral alias [NAME TARGET | rm NAME]");
    bool drop = !strcmp(word[0], "rm");
    TRY(remote_ask(r, drop ? "DELETE" : "PUT", remote_path("/aliases/", word[drop], ""),
                   drop ? NULL : json_pack("{s:s}", "target", word[1]), &said, e));
    if (o.json)
        json_print(said);
    else
        json_decref(said);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_alias, &o, 0, 2, alias}, argc, argv);
}

const struct command cmd_alias = {
    .name = "alias",
    .args = "[NAME TARGET | rm NAME]",
    .summary = "other names for models",
    .help =
        "Examples:\n"
        "  corral alias                                        all there are\n"
        "  corral alias gpt-4o-mini qwen3                      clients that ask for the one get the other\n"
        "  corral alias coder hf:Qwen/Qwen3-8B-GGUF:Q4_K_M     what corral pull coder brings\n"
        "  corral alias rm coder\n\n"
        "$CORRAL_HOME/aliases.json, {\"name\": \"target\"}, holds others; a server reads it again when it "
        "changes.\n",
    .opts = opts,
    .run = run,
};
