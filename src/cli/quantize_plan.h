/* What `corral quantize` will make of a model: the types people ask for, and from them the type of every
 * tensor. */
#ifndef CORRAL_CLI_QUANTIZE_PLAN_H
#define CORRAL_CLI_QUANTIZE_PLAN_H

#include "cli/opt.h"
#include "format/gguf.h"

struct quantize_rule;
struct quantize_recipe {
    const char *name;
    uint32_t file_type; /* general.file_type: the number that other programs know the mixture by */
    enum dtype base;
    const struct quantize_rule
        *rules; /* tensors that get more bits than base; ends with a zeroed row, or NULL */
};
/* By name in any case; ERR_ARG names the nearest. */
status quantize_recipe_find(const struct quantize_recipe **out, const char *name, struct error *e);

struct quantize_tensor {
    const struct gguf_tensor *from;
    enum dtype to;
    enum dtype wanted;     /* not to: rows of this tensor are not whole blocks of it */
    uint64_t n;            /* weights */
    size_t n_bytes;        /* as written */
    double sum_xx, sum_dd; /* filled by quantize_write: squares of the weights, and of what they changed by */
};

struct quantize_plan {
    const struct quantize_recipe *recipe;
    struct quantize_tensor *tensor; /* in the order of the file */
    size_t n_tensor;
    size_t n_fallback; /* tensors whose type is not the wanted one */
    size_t n_again;    /* tensors that are quantized already and will be once more, which adds error */
    uint64_t weights, bytes_in, bytes_out;
};

struct quantize_choice {
    const struct quantize_recipe *recipe;
    bool pure;                   /* no mixture: the base type wherever it fits */
    const struct opt_list *keep; /* "PATTERN" or "PATTERN=TYPE", the first that fits wins; may be NULL */
};
/* p is zeroed by the caller; deinit it also after a failure. g outlives it. */
status quantize_plan_init(struct quantize_plan *p, const struct gguf *g, const struct quantize_choice *c,
                          struct error *e);
void quantize_plan_deinit(struct quantize_plan *p);

#endif
