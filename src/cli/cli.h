/* The command line: one file per command,
 * one row per command in commands.c's table, options as typed rows. */
#ifndef CORRAL_CLI_H
#define CORRAL_CLI_H

#include "base/base.h"
#include "cli/opt.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;
    const char *args;    /* "MODEL [-p PROMPT] ..." for the usage line */
    const char *summary; /* one line, in `corral --help` */
    const char *help;    /* examples and details, in `corral NAME --help` */
    const struct opt *opts; /* terminated by a zeroed row */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

extern const struct command cmd_run, cmd_serve, cmd_worker,
    cmd_pull, cmd_list, cmd_show, cmd_rm, cmd_cp, cmd_alias, cmd_options,
    cmd_ps, cmd_stop, cmd_logs, cmd_jobs, cmd_gpus,
    cmd_inspect, cmd_plan, cmd_tokenize, cmd_detokenize, cmd_logits, cmd_template, cmd_schema,
    cmd_bench, cmd_eval, cmd_quantize, cmd_doctor, cmd_completion;

/* The commands under their headings in `corral --help`, in order; a row without a command ends the list.
 * In commands.c: that is where a new command adds its row. */
struct command_row {
    const char           *group; /* NULL: as the row before */
    const struct command *command;
};
extern const struct command_row command_table[];
const struct command *cli_find_command(const char *name); /* NULL: unknown */
const char *cli_nearest_command(const char *name);        /* NULL: none is like it */
void cli_help(FILE *to);                                  /* corral --help */
void cli_command_help(const struct command *c, FILE *to); /* corral NAME --help */
int  cli_main(int argc, char **argv);                     /* main() */

/* Print "corral: message" to stderr and return the exit status that fits the code (2 for usage and for what
 * is not supported, else 1). */
int cli_error(const struct error *e);
int cli_usage_error(const struct command *c, const struct error *e);

#endif
