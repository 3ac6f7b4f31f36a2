/* The command line: one file per command, one row per command in main.c's table, options as typed rows. */
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

extern const struct command cmd_run, cmd_serve, cmd_logits, cmd_tokenize, cmd_detokenize, cmd_bench, cmd_inspect,
    cmd_quantize, cmd_eval, cmd_doctor, cmd_template, cmd_schema, cmd_completion;

/* Print "corral: message" to stderr and return the exit status that fits the code (2 for usage and for what
 * is not supported, else 1). */
int cli_error(const struct error *e);
int cli_usage_error(const struct command *c, const struct error *e);

/* The file that a model argument means: a path as it is, or the default model when name is NULL or "demo".
 * Writes to path; ERR_NOT_FOUND says where it was looked for. */
status cli_model_path(char path[4096], const char *name, struct error *e);

#endif
