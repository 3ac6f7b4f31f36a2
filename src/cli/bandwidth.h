/* How fast this machine reads memory: the ceiling that decoding is measured against. */
#ifndef CORRAL_CLI_BANDWIDTH_H
#define CORRAL_CLI_BANDWIDTH_H

#include "base/base.h"

struct bandwidth; /* a buffer far larger than the caches, and how many threads read it */

status bandwidth_new(struct bandwidth **out, uint32_t n_thread, struct error *e);
void   bandwidth_free(struct bandwidth *b); /* NULL is fine */
/* Bytes per second, the best of several passes over the buffer in several ways. */
double bandwidth_measure(struct bandwidth *b);

#endif
