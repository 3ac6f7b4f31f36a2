/* corral rm: remove models. */
#include "cli/human.h"
#include "cli/remote.h"

static struct remote_options o;
static int64_t version;
static const struct opt opts[] = {{.name = "version",
                                   .type = OPT_INT,
                                   .at = &version,
                                   .min = 0,
                                   .max = INT32_MAX,
                                   .def = "0",
                                   .help = "remove this one only; 0: all of them"},
                                  REMOTE_OPTS(o),
                                  {0}};

static status rm(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    for (size_t i = 0; i < n_word; i++) {
        json_t *said;
        char query[32] = "";
        if (version) snprintf(query, sizeof query, "?version=%lld", (long long)version);
        TRY(remote_ask(r, "DELETE", remote_path("/models/", word[i], query), NULL, &said, e));
        if (o.json)
            json_print(said);
        else {
            printf("removed %s (%s freed)\n", word[i],
                   human_bytes((uint64_t)json_num(said, "freed_bytes")).s);
            json_decref(said);
        }
    }
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_rm, &o, 1, 256, rm}, argc, argv);
}

const struct command cmd_rm = {
    .name = "rm",
    .args = "NAME... [--version N]",
    .summary = "remove models, and their files if nothing else needs them",
    .help = "Examples:\n"
            "  corral rm qwen3 llama3:8b\n"
            "  corral rm qwen3 --version 1      one version; corral show lists them\n\n"
            "Files that were named by path and never copied stay where they are.\n",
    .opts = opts,
    .run = run,
};
