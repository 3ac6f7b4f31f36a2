/* Doing what a plan says: every tensor through its decoder and encoder, into a new file. */
#ifndef CORRAL_CLI_QUANTIZE_WRITE_H
#define CORRAL_CLI_QUANTIZE_WRITE_H

#include "cli/quantize_plan.h"

struct quantize_job {
    uint32_t n_thread; /* at least 1 */
    /* Called from the calling thread after each piece: weights done. False: stop, ERR_CANCELLED. May be NULL.
     */
    bool (*progress)(void *ctx, uint64_t done);
    void *ctx;
};
/* The file at path appears whole or not at all, and is the same for any number of threads. Memory: some 20
 * MiB, and the mapped input. The error sums of p's tensors are filled. A tensor that is not finite is
 * ERR_FORMAT. */
status quantize_write(struct quantize_plan *p, const struct gguf *g, const char *path,
                      const struct quantize_job *job, struct error *e);

#endif
