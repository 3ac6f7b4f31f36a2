/* What a model's file says of itself, as clients ask for it: name of the architecture, size, quantization,
 * digest, metadata as JSON. Read once at start; immutable. */
#ifndef CORRAL_API_FACTS_H
#define CORRAL_API_FACTS_H

#include "base/buf.h"
#include "format/gguf.h"

struct model_facts {
    const struct gguf *gguf; /* borrowed; NULL: nothing is known */
    char     arch[64];       /* "llama"; "unknown" */
    char     size[16];       /* parameters: "1.2B", "4.7M" */
    char     quantization[16]; /* "Q4_K_M" */
    char     digest[65];     /* hexadecimal, of metadata, tensors' names and shapes and the beginning of
                              * each: tells models apart, is no checksum of the file */
    uint64_t n_param, file_bytes;
    uint32_t n_ctx_train, n_embd, n_vocab;
    int64_t  modified; /* seconds since 1970; of a file in memory: now */
};
void facts_read(struct model_facts *f, const struct gguf *g);
/* {"general.architecture":"llama",...}; arrays are null unless all of it is wanted. */
void facts_metadata(const struct model_facts *f, bool all, struct buf *out);
/* [{"name":..,"type":..,"shape":[..]},..] */
void facts_tensors(const struct model_facts *f, struct buf *out);

#endif
