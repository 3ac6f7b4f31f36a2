/* --devices cuda:0=20,cuda:1=12: the devices that a model runs on, by layers; see docs/several-devices.md. */
#ifndef CORRAL_CLI_DEVICES_H
#define CORRAL_CLI_DEVICES_H

#include "backend/backend.h"

/* BACKEND[:NUMBER][=LAYERS], with commas between: in the order of the layers. ERR_ARG and ERR_NOT_FOUND name
 * the entry and what would do; no device is touched. out: BACKEND_MAX_SHARES. */
status devices_parse(struct backend_share *out, uint32_t *n, const char *text, struct error *e);

/* What computes: the devices of such a list, or the backend of that name; backend NULL: nobody said.
 * on->share lies in share. */
status devices_choose(const struct backend_api **api, struct backend_options *on, struct backend_share *share,
                      const char *backend, const char *devices, struct error *e);

struct buf;
/* Rows of a table: device, layers, weights, KV, scratch, total. */
void devices_table(struct buf *b, const struct backend_part *part, uint32_t n, uint64_t n_kv_block);
uint64_t devices_part_bytes(const struct backend_part *p, uint64_t n_kv_block); /* all of them */
/* An array of objects: device, first layer, layers, bytes. */
void devices_json(struct buf *b, const struct backend_part *part, uint32_t n, uint64_t n_kv_block);

#endif
