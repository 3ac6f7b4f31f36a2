/* What is in a model's file, asked of `corral inspect`: a process of its own, since the file may come from anywhere. */
#ifndef CORRAL_GATEWAY_INSPECT_H
#define CORRAL_GATEWAY_INSPECT_H

#include <jansson.h>

#include "base/base.h"

/* The whole document of `corral inspect PATH --json`; takes a process and its time, up to 30 s. all: long arrays of the
 * metadata and every tensor too. */
status inspect_file(const char *path, bool all, json_t **out, struct error *e);

#endif
