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
          "Models given by name are those of corral list; they are kept in $CORRAL_HOME (default\n"
          "~/.local/share/corral), and any *.gguf file in its folder models/ is one of them.\n"
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
