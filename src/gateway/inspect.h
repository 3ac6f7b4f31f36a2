/* What is in a model's file, asked of `corral inspect` and `corral plan`: processes of their own, since
 * the file may come from anywhere. */
#ifndef CORRAL_GATEWAY_INSPECT_H
#define CORRAL_GATEWAY_INSPECT_H

#include <jansson.h>

#include "base/base.h"

/* The whole document of `corral inspect PATH --json`; takes a process and its time, up to 30 s. all: long
 * arrays of the metadata and every tensor too. */
status inspect_file(const char *path, bool all, json_t **out, struct error *e);
/* What it takes in memory, of `corral plan PATH --json` with the context and so on of a name's options
 * (JSON). */
status inspect_memory(const char *path, const char *options, json_t **out, struct error *e);

#endif
