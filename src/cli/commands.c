/* The table of commands. To add one: write src/cli/NAME.c with `const struct command cmd_NAME = {...}`,
 * declare it in cli.h, and add its row here under the heading that it belongs to. */
#include "cli/cli.h"

#define TALK    "Talk to a model"
#define MODELS  "Models"
#define SERVER  "What the server does"
#define LOOK    "Look inside"
#define MEASURE "Measure and convert"
#define AROUND  "Around"

/* clang-format off */
const struct command_row command_table[] = {
    {TALK, &cmd_run},
    {TALK, &cmd_serve},
    {TALK, &cmd_worker},
    {MODELS, &cmd_pull},
    {MODELS, &cmd_list},
    {MODELS, &cmd_show},
    {MODELS, &cmd_rm},
    {MODELS, &cmd_cp},
    {MODELS, &cmd_alias},
    {MODELS, &cmd_options},
    {SERVER, &cmd_ps},
    {SERVER, &cmd_stop},
    {SERVER, &cmd_logs},
    {SERVER, &cmd_jobs},
    {SERVER, &cmd_gpus},
    {LOOK, &cmd_inspect},
    {LOOK, &cmd_plan},
    {LOOK, &cmd_tokenize},
    {LOOK, &cmd_detokenize},
    {LOOK, &cmd_logits},
    {LOOK, &cmd_template},
    {LOOK, &cmd_schema},
    {MEASURE, &cmd_bench},
    {MEASURE, &cmd_eval},
    {MEASURE, &cmd_quantize},
    {AROUND, &cmd_doctor},
    {AROUND, &cmd_completion},
    {NULL, NULL},
};
/* clang-format on */
