/* Options as typed rows: each row is a flag, an environment variable CORRAL_NAME and a line of --help.
 *
 *   static struct { const char *model; int64_t n; bool json; } o;
 *   static const struct opt opts[] = {
 *       {.name = "model", .letter = 'm', .type = OPT_STR, .at = &o.model, .arg = "FILE",
 *        .help = "model file"},
 *       {.name = "tokens", .letter = 'n', .type = OPT_INT, .at = &o.n, .min = 0, .max = 1 << 20,
 *        .def = "128", .help = "tokens to generate"},
 *       {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable output"},
 *       {0}};
 *
 * An unknown flag is an error that names the nearest one; a value out of range names the range. Integers may
 * end in k, M or G (1024, 1024^2, 1024^3). A row whose name is "" is a heading in --help. Shared groups of
 * rows are macros, see session.h. */
#ifndef CORRAL_OPT_H
#define CORRAL_OPT_H

#include <stdio.h>

#include "base/base.h"

enum opt_type { OPT_BOOL, OPT_INT, OPT_FLOAT, OPT_STR, OPT_LIST /* repeatable string */ };

struct opt_list { const char **item; size_t n; };
struct opt {
    const char   *name;
    char          letter; /* 0: none */
    enum opt_type type;
    void         *at;       /* bool, int64_t, double, const char *, struct opt_list */
    double        min, max; /* OPT_INT and OPT_FLOAT; both 0: no range */
    const char   *def;      /* default as text; NULL: leave *at as it is (zero) */
    const char   *choices;  /* OPT_STR: "a|b|c" */
    const char   *arg;      /* name of the value in help */
    const char   *unit;     /* "tokens", "bytes", ... or NULL */
    const char   *help;
    bool         *seen;     /* set when given by flag or environment; may be NULL */
};

/* Fill the targets: defaults, then environment, then flags. `--` ends the flags; other words go to
 * word[0..*n_word), at most max_word (ERR_ARG over it). --name=value and --name value, -n value, --no-name
 * for booleans. */
status opt_parse(const struct opt *opts, int argc, char **argv, const char **word, size_t *n_word,
                 size_t max_word, struct error *e);
void opt_help(const struct opt *opts, FILE *to);
/* Change one option by name later on (value stays the caller's and is kept for text), and list all values. */
status opt_set(const struct opt *opts, const char *name, const char *value, struct error *e);
void opt_show(const struct opt *opts, FILE *to);
/* Flags for another command with these rows, where values are not the defaults: "--ctx=4096".
 * For the program's life. */
void opt_flags(const struct opt *opts, struct opt_list *out);
/* Whether --help or -h stands among the flags (not as the value of one, not after `--`). */
bool opt_wants_help(const struct opt *opts, int argc, char **argv);
/* The environment variable of an option: "CORRAL_MAX_TOKENS". */
void opt_env_name(char out[64], const char *name);

/* The name most like word, or NULL when none is near. name(ctx, i) lists the names; NULL ends the list. */
const char *opt_nearest(const char *word, const char *(*name)(const void *ctx, size_t i), const void *ctx);

#endif
