/* corral stop: unload models. */
#include "cli/remote.h"

static struct remote_options o;
static bool all;
static const struct opt opts[] = {
    {.name = "all", .letter = 'a', .type = OPT_BOOL, .at = &all, .help = "every model"}, REMOTE_OPTS(o), {0}};

static status stop(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    if (!n_word && !all)
        return fail(e, ERR_ARG, "which model? corral ps lists those that are loaded, --all means all");
    if (all) {
        TRY(remote_ask(r, "POST", "/unload", json_object(), NULL, e));
        if (!o.json)
            puts(remote_is_own(r) ? "No server is running: nothing is loaded." : "stopped all models");
    }
    for (size_t i = 0; i < n_word && !all; i++) {
        TRY(remote_ask(r, "POST", remote_path("/models/", word[i], "/unload"), json_object(), NULL, e));
        if (!o.json) printf("stopped %s\n", word[i]);
    }
    if (o.json) puts("{\"success\": true}");
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_stop, &o, 0, 256, stop}, argc, argv);
}

const struct command cmd_stop = {
    .name = "stop",
    .args = "NAME... | --all",
    .summary = "unload models of the server, which gives their memory back",
    .help = "Examples:\n"
            "  corral stop qwen3\n"
            "  corral stop --all\n\n"
            "Answers under way are finished first. The next request for a model loads it again.\n",
    .opts = opts,
    .run = run,
};
