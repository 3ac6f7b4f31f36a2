/* Prometheus texts of several workers as one: each quantity once, its samples told apart by labels. */
#ifndef CORRAL_GATEWAY_MERGE_H
#define CORRAL_GATEWAY_MERGE_H

#include "base/buf.h"

struct merge;
struct merge *merge_new(void);
/* labels: what every sample gets besides its own, `model="a",worker="3"`; one that the sample has already
 * stays as it is. What is no such text is left out. */
void merge_add(struct merge *m, const char *text, size_t n, const char *labels);
void merge_write(const struct merge *m, struct buf *out);
void merge_free(struct merge *m);

#endif
