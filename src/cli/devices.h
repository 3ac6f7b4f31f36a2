/* --devices cuda:0=20,cuda:1=12: the devices that a model runs on, by layers; see docs/split.md. */
#ifndef CORRAL_CLI_DEVICES_H
#define CORRAL_CLI_DEVICES_H

#include "backend/backend.h"

/* BACKEND[:NUMBER][=LAYERS], with commas between: in the order of the layers. ERR_ARG and ERR_NOT_FOUND name the entry and
 * what would do; no device is touched. out: BACKEND_MAX_SHARES. */
status devices_parse(struct backend_share *out, uint32_t *n, const char *text, struct error *e);

#endif
