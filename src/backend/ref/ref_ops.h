/* The operations of a step in plain C, one loop nest each, sums in double: the oracle that every other
 * backend is tested against. Nothing here is meant to be fast. */
#ifndef CORRAL_REF_OPS_H
#define CORRAL_REF_OPS_H

#include "model/model.h"

/* y (n_tok, n_out) = x (n_tok, n_in) w^T + bias;
 * rows [row0, row0 + n_out) of w, a matrix or one expert of a stack */
void ref_linear(float *y, const float *x, size_t n_tok, const struct weight *w, const struct weight *bias,
                int64_t expert, int64_t row0, int64_t n_out);
void ref_row(float *y, const struct weight *w, int64_t row); /* one decoded row of a matrix */
/* y = norm(x), n_row rows of n; y may be x */
void ref_norm(float *y, const float *x, size_t n_row, size_t n, const struct model_desc *m,
              const struct norm *norm);
void ref_rope(float *x, const struct rope *r, uint32_t pos); /* one head */
float ref_act(enum activation act, float x);
/* The n_used best of n logits, best first, ties to the lower index; gate[i] is the weight of chosen[i]. */
void ref_route(uint32_t *chosen, float *gate, const float *logits, uint32_t n, const struct op_moe *op);

#endif
