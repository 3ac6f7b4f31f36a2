/* Where the weights of a loaded model lie: in the mapped file, brought in ahead of the first request, or
 * copied to memory of their own; locked there if that is asked for. */
#ifndef CORRAL_CPU_WEIGHTS_H
#define CORRAL_CPU_WEIGHTS_H

#include "backend/backend.h"
#include "base/pages.h"

struct weights {
    const struct weight *at;   /* as model_desc.weight, with data as it lies */
    struct weight *copied;     /* at, if they were copied */
    struct pages   pages;      /* what they were copied to */
    struct span   *locked;
    size_t         n_locked;
};
status weights_load(struct weights *w, const struct model_desc *m, const struct backend_host *how,
                    backend_progress progress, void *user, struct error *e);
void   weights_unload(struct weights *w); /* a zeroed one is fine */
size_t weights_copy_bytes(const struct model_desc *m);

#endif
