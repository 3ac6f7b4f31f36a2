/* corral options: how a model is run and what its requests begin with. */
#include <stdlib.h>
#include <string.h>

#include "cli/remote.h"
#include "cli/table.h"
#include "store/store.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

static void put(json_t *to, const char *name, const char *text)
{
    json_t *v = *text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();
    json_object_set_new(to, name, v ? v : json_string(text));
}

/* context=8192 parallel=4 defaults.temperature=0.2 keep_alive=  (empty: as the server has it). now: as they
 * are; a change of one member keeps the others. */
static status parse(json_t *to, const json_t *now, const char *word, struct error *e)
{
    const char *eq = strchr(word, '=');
    if (!eq || eq == word) return fail(e, ERR_ARG, "%s: name=value is wanted", word);
    char *name = mem_strndup(word, (size_t)(eq - word)), *dot = strchr(name, '.');
    if (!dot) {
        put(to, name, eq + 1);
    } else {
        *dot = 0;
        if (!json_object_get(to, name)) {
            json_t *old = json_object_get(now, name);
            json_object_set_new(to, name, json_is_object(old) ? json_deep_copy(old) : json_object());
        }
        if (eq[1])
            put(json_object_get(to, name), dot + 1, eq + 1);
        else
            json_object_del(json_object_get(to, name), dot + 1);
    }
    free(name);
    return OK;
}

static status change(struct remote *r, const char *model, const char *const *word, size_t n_word,
                     json_t **now, struct error *e)
{
    const char *path = remote_path("/models/", model, "");
    json_t *to = json_object();
    status s = OK;
    for (size_t i = 0; i < n_word && s == OK; i++)
        s = parse(to, json_object_get(*now, "options"), word[i], e);
    if (s == OK)
        s = remote_ask(r, "PATCH", remote_path("/models/", model, "/options"), json_incref(to), NULL, e);
    json_decref(to);
    if (s != OK) return s;
    json_decref(*now);
    *now = NULL;
    return remote_ask(r, "GET", path, NULL, now, e);
}

static status list(void)
{
    struct table t = {.heading = "OPTION|"};
    json_t *all = json_object();
    const struct store_option *row;
    for (size_t i = 0; (row = store_option_at(i)); i++) {
        json_object_set_new(all, row->name, json_string(row->help));
        if (o.json) continue;
        table_add(&t, "%s", row->name);
        table_add(&t, "%s", row->help);
    }
    if (o.json) json_print(json_incref(all));
    table_print(&t);
    json_decref(all);
    return OK;
}

static status options(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    json_t *m = NULL, *v;
    const char *key;
    if (!n_word) return list();
    TRY(remote_ask(r, "GET", remote_path("/models/", word[0], ""), NULL, &m, e));
    status s = n_word > 1 ? change(r, word[0], word + 1, n_word - 1, &m, e) : OK;
    if (s == OK && o.json) {
        json_print(json_incref(json_object_get(m, "options")));
    } else if (s == OK) {
        json_object_foreach(json_object_get(m, "options"), key, v)
        {
            char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
            printf("%s=%s\n", key, text);
            free(text);
        }
    }
    json_decref(m);
    return s;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_options, &o, 0, 64, options}, argc, argv);
}

const struct command cmd_options = {
    .name = "options",
    .args = "[NAME [OPTION=VALUE ...]]",
    .summary = "how a model is run here: context, parallel, keep_alive, defaults, ...",
    .help = "Examples:\n"
            "  corral options                                      all that there are\n"
            "  corral options qwen3                                those that are set\n"
            "  corral options qwen3 context=8192 parallel=4        a loaded model is reloaded with them\n"
            "  corral options qwen3 defaults.temperature=0.2       a default of requests\n"
            "  corral options qwen3 context=                       as the server has it again\n\n"
            "Values are JSON, or text. docs/models.md has more on each.\n",
    .opts = opts,
    .run = run,
};
