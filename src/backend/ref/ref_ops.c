#include "backend/ref/ref_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct weight *weight_at(const struct model_desc *m, wref w)
{
    return w ? &m->weight[w] : NULL;
}

static void decode_row(float *y, const struct weight *w, int64_t index, int64_t n_in)
{
    size_t bytes;
    bool fits = dtype_bytes(w->dtype, n_in, &bytes);
    ASSERT(fits);
    dtype_info(w->dtype)->decode(w->data + (size_t)index * bytes, y, (size_t)n_in);
}

void ref_row(float *y, const struct weight *w, int64_t row)
{
    decode_row(y, w, row, w->dim[w->rank - 1]);
}

void ref_linear(float *y, const float *x, size_t n_tok, const struct weight *w, const struct weight *bias,
                int64_t expert, int64_t row0, int64_t n_out)
{
    const int64_t n_in = w->dim[w->rank - 1];
    const int64_t n_row = w->rank >= 2 ? w->dim[w->rank - 2] : 1;
    float *row = mem_alloc((size_t)n_in * sizeof *row);
    for (int64_t o = 0; o < n_out; o++) {
        decode_row(row, w, expert * n_row + row0 + o, n_in);
        float b = 0;
        if (bias) memcpy(&b, bias->data + (size_t)(row0 + o) * sizeof b, sizeof b);
        for (size_t t = 0; t < n_tok; t++) {
            double sum = 0;
            for (int64_t i = 0; i < n_in; i++)
                sum += (double)row[i] * (double)x[t * (size_t)n_in + (size_t)i];
            y[t * (size_t)n_out + (size_t)o] = (float)(sum + b);
        }
    }
    free(row);
}

void ref_norm(float *y, const float *x, size_t n_row, size_t n, const struct model_desc *m,
              const struct norm *norm)
{
    const struct weight *w = weight_at(m, norm->weight), *b = weight_at(m, norm->bias);
    for (size_t r = 0; r < n_row; r++, x += n, y += n) {
        double mean = 0, square = 0;
        if (norm->kind == NORM_LAYER) {
            for (size_t i = 0; i < n; i++) mean += (double)x[i];
            mean /= (double)n;
        }
        for (size_t i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean);
        double inv = 1 / sqrt(square / (double)n + (double)m->cfg.norm_eps);
        for (size_t i = 0; i < n; i++) {
            float scale, shift = 0;
            memcpy(&scale, w->data + i * sizeof scale, sizeof scale);
            if (b) memcpy(&shift, b->data + i * sizeof shift, sizeof shift);
            y[i] = (float)(((double)x[i] - mean) * inv) * scale + shift;
        }
    }
}

void ref_rope(float *x, const struct rope *r, uint32_t pos)
{
    for (uint32_t i = 0; i < r->n_pair; i++) {
        uint32_t a = r->interleaved ? 2 * i : i, b = r->interleaved ? 2 * i + 1 : i + r->n_pair;
        double angle = (double)pos * (double)r->inv_freq[i];
        double c = cos(angle) * (double)r->scale, s = sin(angle) * (double)r->scale;
        double xa = (double)x[a], xb = (double)x[b];
        x[a] = (float)(xa * c - xb * s);
        x[b] = (float)(xa * s + xb * c);
    }
}

/* GELU, tanh form, between -10 and 10 on half-precision numbers: ggml computes it by a table of halves, and
 * models are compared with llama.cpp's logits. The rounding is far below that of a half-precision KV cache.
 */
static float gelu(float x)
{
    if (x <= -10) return 0;
    if (x >= 10) return x;
    double v = (double)f16_to_f32(f32_to_f16(x));
    return f16_to_f32(f32_to_f16((float)(0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))))));
}

float ref_act(enum activation act, float x)
{
    if (act == ACT_GELU) return gelu(x);
    return (float)((double)x / (1 + exp(-(double)x)));
}

void ref_route(uint32_t *chosen, float *gate, const float *logits, uint32_t n, const struct op_moe *op)
{
    double max = -INFINITY, all = 0, sum = 0;
    for (uint32_t k = 0; k < op->n_used; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++) {
            bool taken = false;
            for (uint32_t j = 0; j < k; j++) taken = taken || chosen[j] == i;
            if (!taken && (best == UINT32_MAX || logits[i] > logits[best])) best = i;
        }
        chosen[k] = best;
    }
    for (uint32_t i = 0; i < n; i++) max = fmax(max, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++) all += exp((double)logits[i] - max);
    for (uint32_t k = 0; k < op->n_used; k++) sum += exp((double)logits[chosen[k]] - max);
    for (uint32_t k = 0; k < op->n_used; k++) {
        double p = exp((double)logits[chosen[k]] - max);
        gate[k] = (float)(p / (op->softmax_after_topk || op->renormalize ? sum : all)) * op->scale;
    }
}
