/* Fill in the middle: a prompt that asks for what stands between two texts, by the tokens that code models
 * have for it. Sources: the papers and model cards of the families named in fim.c; the layout of several
 * files is that of Qwen2.5-Coder's technical report (arXiv 2409.12186). */
#ifndef CORRAL_API_FIM_H
#define CORRAL_API_FIM_H

#include "api/request.h"

struct fim_text {
    const char *prefix, *suffix;
    size_t n_prefix, n_suffix;
    const json_t *extra; /* NULL, or [{"filename":..,"text":..},..]: other files, checked */
};
/* Does the model have such tokens? g may be NULL. */
bool fim_known(const struct gguf *g, const struct tokenizer *tok);
bool fim_supported(const struct api *api, struct fault *f); /* 501 where the model has no such tokens */
/* Append the prompt. Text never becomes control tokens. */
bool fim_encode(const struct api *api, const struct fim_text *t, struct tok_ids *ids, struct fault *f);

#endif
