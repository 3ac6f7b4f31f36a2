/* corral worker: what serves one model; its rows and main, for the commands that are it. */
#ifndef CORRAL_CLI_WORKER_H
#define CORRAL_CLI_WORKER_H

#include "cli/cli.h"

extern const struct opt worker_opts[];
int worker_main(int argc, char **argv);

#endif
