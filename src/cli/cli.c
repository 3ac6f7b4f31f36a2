#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_error(const struct error *e)
{
    fprintf(stderr, "corral: %s\n", e->msg);
    return e->code == ERR_ARG || e->code == ERR_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED;
}

int cli_usage_error(const struct command *c, const struct error *e)
{
    fprintf(stderr, "corral %s: %s\nSee: corral %s --help\n", c->name, e->msg, c->name);
    return EXIT_USAGE;
}

const struct command *cli_find_command(const char *name)
{
    for (const struct command_row *r = command_table; r->command; r++)
        if (!strcmp(r->command->name, name)) return r->command;
    return NULL;
}

static const char *command_name_at(const void *table, size_t i)
{
    const struct command *c = ((const struct command_row *)table)[i].command;
    return c ? c->name : NULL;
}

const char *cli_nearest_command(const char *name)
{
    return opt_nearest(name, command_name_at, command_table);
}

void cli_help(FILE *to)
{
    fputs("Corral runs language models on your own machine.\n\n"
          "Usage: corral COMMAND [options]\n"
          "       corral COMMAND --help    what a command takes, with examples\n",
          to);
    const char *group = "";
    for (const struct command_row *r = command_table; r->command; r++) {
        if (strcmp(r->group, group) != 0) fprintf(to, "\n%s:\n", group = r->group);
        fprintf(to, "  %-12s %s\n", r->command->name, r->command->summary);
    }
    fputs("\nFirst steps:\n"
          "  corral run -p \"What is Corral?\"     an answer from the built-in demo model\n"
          "  corral run model.gguf               talk to a model file\n"
          "  corral serve model.gguf             an OpenAI-compatible server on http://127.0.0.1:8080/v1\n"
          "\nEvery option --some-name can also be set in the environment as CORRAL_SOME_NAME; a flag wins.\n"
          "Models given by name are looked for in $CORRAL_HOME/models (default ~/.local/share/corral).\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage or not supported.\n",
          to);
}

void cli_command_help(const struct command *c, FILE *to)
{
    fprintf(to, "%s\n\nUsage: corral %s %s\n", c->summary, c->name, c->args ? c->args : "[options]");
    if (c->opts && c->opts->name) {
        if (c->opts->name[0]) fputs("\nOptions:\n", to); /* else the table begins with a heading of its own */
        opt_help(c->opts, to);
    }
    if (c->help) fprintf(to, "\n%s", c->help);
}

static int unknown_command(const char *name)
{
    const char *near = cli_nearest_command(name);
    if (near)
        fprintf(stderr, "corral: unknown command '%s'; did you mean '%s'?\n", name, near);
    else
        fprintf(stderr, "corral: unknown command '%s'; 'corral --help' lists them\n", name);
    return EXIT_USAGE;
}

/* A full disk or a closed pipe must not look like success. */
static int flush_output(int exit_status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return exit_status;
    fprintf(stderr, "corral: cannot write the output: %s\n", strerror(errno));
    return exit_status == EXIT_OK ? EXIT_FAILED : exit_status;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        cli_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    bool help = !strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help");
    if (help && argc == 2) {
        cli_help(stdout);
        return flush_output(EXIT_OK);
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts("corral " CORRAL_VERSION);
        return flush_output(EXIT_OK);
    }
    if (help) name = argv[2]; /* corral help run */
    const struct command *c = cli_find_command(name);
    if (!c && name[0] == '-') {
        fprintf(stderr,
                "corral: unknown option %s; options come after a command, 'corral --help' lists them\n",
                name);
        return EXIT_USAGE;
    }
    if (!c) return unknown_command(name);
    static const struct opt none[] = {{0}};
    if (help || opt_wants_help(c->opts ? c->opts : none, argc - 1, argv + 1)) {
        cli_command_help(c, stdout);
        return flush_output(EXIT_OK);
    }
    return flush_output(c->run(argc - 1, argv + 1));
}

status cli_home(char path[4096], struct error *e)
{
    const char *own = getenv("CORRAL_HOME"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (own && *own)
        n = snprintf(path, 4096, "%s", own);
    else if (data && *data)
        n = snprintf(path, 4096, "%s/corral", data);
    else if (home && *home)
        n = snprintf(path, 4096, "%s/.local/share/corral", home);
    else
        return fail(e, ERR_NOT_FOUND, "neither CORRAL_HOME, XDG_DATA_HOME nor HOME is set");
    return n < 4096 ? OK : fail(e, ERR_LIMIT, "the path of CORRAL_HOME is too long");
}

/* path = folder/relative; true when such a file can be read. */
static bool readable(char path[4096], const char *folder, const char *relative)
{
    return snprintf(path, 4096, "%s/%s", folder, relative) < 4096 && access(path, R_OK) == 0;
}

static bool program_folder(char path[4096])
{
    ssize_t n = readlink("/proc/self/exe", path, 4095);
    if (n <= 0) return false;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
    return slash != NULL;
}

static status default_model_path(char path[4096], struct error *e)
{
    char folder[4096];
    if (cli_home(folder, NULL) == OK && readable(path, folder, "models/demo.gguf")) return OK;
    if (program_folder(folder)) { /* in a build folder of the source tree, or installed */
        if (readable(path, folder, "../models/demo.gguf")) return OK;
        if (readable(path, folder, "../share/corral/models/demo.gguf")) return OK;
    }
    return fail(
        e, ERR_NOT_FOUND,
        "the demo model is not installed (looked for $CORRAL_HOME/models/demo.gguf and models/demo.gguf "
        "beside the program); give the path of a model file");
}

status cli_model_path(char path[4096], const char *name, struct error *e)
{
    if (!name || !strcmp(name, "demo")) return default_model_path(path, e);
    if (!*name) return fail(e, ERR_ARG, "the name of the model is empty");
    if (snprintf(path, 4096, "%s", name) >= 4096)
        return fail(e, ERR_LIMIT, "the path of the model is too long");
    if (access(path, F_OK) == 0) return OK; /* whether it can be read, opening it will tell */
    if (!strchr(name, '/')) {
        char folder[4096], file[512];
        if (cli_home(folder, NULL) == OK &&
            snprintf(file, sizeof file, "models/%s", name) < (int)sizeof file) {
            if (readable(path, folder, file)) return OK;
            if (snprintf(file, sizeof file, "models/%s.gguf", name) < (int)sizeof file &&
                readable(path, folder, file))
                return OK;
        }
        return fail(e, ERR_NOT_FOUND, "no model file '%s' here and none of that name in $CORRAL_HOME/models",
                    name);
    }
    return fail(e, ERR_NOT_FOUND, "no model file %s", name);
}
