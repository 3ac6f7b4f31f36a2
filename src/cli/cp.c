/* corral cp: another name for the same model, with options of its own. */
#include "cli/remote.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

static status cp(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    json_t *said;
    TRY(remote_ask(r, "POST", "/models/copy",
                   json_pack("{s:s, s:s}", "source", word[0], "destination", word[1]), &said, e));
    if (o.json) {
        json_print(said);
        return OK;
    }
    printf("copied %s to %s\n", word[0], word[1]);
    json_decref(said);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_cp, &o, 2, 2, cp}, argc, argv);
}

const struct command cmd_cp = {
    .name = "cp",
    .args = "FROM TO",
    .summary = "give a model a second name, with options of its own",
    .help = "Examples:\n"
            "  corral cp qwen3 support-bot\n"
            "  corral options support-bot system='You are brief.'\n\n"
            "Takes no space: both names mean the same files until one of them is pulled anew.\n",
    .opts = opts,
    .run = run,
};
