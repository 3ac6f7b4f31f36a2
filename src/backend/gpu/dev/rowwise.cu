/* Operations on rows of activations: norms, activation functions, caps. */
#include "backend/gpu/dev/kernels.h"

/* Number i of row `row`, in the forms that somebody reads; i may be in the padding, which is zero. */
DEV void store_act(const struct gpu_acts *out, size_t row, uint32_t i, uint32_t n, float y)
{
    const size_t at = row * out->ld + i;
    if (i >= n) y = 0;
    if (out->f) out->f[at] = y;
    if (out->b) out->b[at] = (uint16_t)dev_f32_to_bf16(y);
}

/* What a row is normalised by. */
DEV void row_scale(const struct gpu_norm *a, const float *x, float *tmp, float *mean, float *inv)
{
    float sum = 0;
    *mean = 0;
    if (a->layer_norm) {
        for (uint32_t i = threadIdx.x; i < a->n; i += blockDim.x) sum += x[i];
        *mean = block_sum(sum, tmp) / (float)a->n;
    }
    sum = 0;
    for (uint32_t i = threadIdx.x; i < a->n; i += blockDim.x) sum += (x[i] - *mean) * (x[i] - *mean);
    *inv = rsqrtf(block_sum(sum, tmp) / (float)a->n + a->eps);
}

DEV float normalised(float x, float mean, float inv, const float *weight, const float *bias, uint32_t i)
{
    const float y = weight ? (x - mean) * inv * weight[i] : x;
    return bias ? y + bias[i] : y;
}

/* A block per row. With an addition, a thread reads afterwards what it wrote itself. */
__global__ void __launch_bounds__(256, 4) k_norm(struct gpu_norm a)
{
    dev_after();
    __shared__ float tmp[32];
    const float *x = a.x + (size_t)(a.index ? a.index[blockIdx.x] : blockIdx.x) * a.ldx, *weight = a.weight, *bias = a.bias;
    float mean = 0, inv = 1;
    if (weight) row_scale(&a, x, tmp, &mean, &inv);
    if (a.add) {
        float *to = a.add + (size_t)blockIdx.x * a.ldx;
        for (uint32_t i = threadIdx.x; i < a.n; i += blockDim.x) to[i] += normalised(x[i], mean, inv, weight, bias, i);
        if (!a.out.f && !a.out.b) return;
        x = to, weight = a.next_weight, bias = a.next_bias;
        row_scale(&a, x, tmp, &mean, &inv);
    }
    for (uint32_t i = threadIdx.x; i < a.out.ld; i += blockDim.x)
        store_act(&a.out, blockIdx.x, i, a.n, i < a.n ? normalised(x[i], mean, inv, weight, bias, i) : 0);
}

void launch_norm(cudaStream_t stream, const struct gpu_norm *a)
{
    const uint32_t threads = a->n > 1024 ? 256 : a->n > 128 ? 128 : 32;
    LAUNCH(k_norm, a->n_row, threads, 0, stream, *a);
}

/* GELU, tanh form, on half-precision numbers between -10 and 10, as all backends do (see docs/backends.md). */
DEV float gelu(float x)
{
    if (x <= -10) return 0;
    if (x >= 10) return x;
    const float v = dev_f16_to_f32(dev_f32_to_f16(x));
    const float y = 0.5f * v * (1 + tanhf(0.79788456080286536f * (v + 0.044715f * v * v * v)));
    return dev_f16_to_f32(dev_f32_to_f16(y));
}

__global__ void __launch_bounds__(256, 4) k_act(struct gpu_act a)
{
    dev_after();
    const size_t from = (size_t)blockIdx.x * a.ld;
    for (uint32_t i = threadIdx.x; i < a.out.ld; i += blockDim.x) {
        float y = 0;
        if (i < a.n) {
            const float g = a.gate ? a.gate[from + i] : a.up[from + i];
            y = a.gelu ? gelu(g) : g / (1 + __expf(-g));
            if (a.gate) y *= a.up[from + i];
        }
        store_act(&a.out, blockIdx.x, i, a.n, y);
    }
}

void launch_act(cudaStream_t stream, const struct gpu_act *a)
{
    const uint32_t threads = a->n > 512 ? 256 : 64;
    LAUNCH(k_act, a->n_row, threads, 0, stream, *a);
}

__global__ void __launch_bounds__(256, 4) k_softcap(struct gpu_softcap a)
{
    dev_after();
    const size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += stride) {
        const float v = a.x[i] * a.scale;
        a.x[i] = a.cap != 0 ? a.cap * tanhf(v / a.cap) : v;
    }
}

void launch_softcap(cudaStream_t stream, const struct gpu_softcap *a)
{
    const size_t blocks = (a->n + 1023) / 1024;
    LAUNCH(k_softcap, (unsigned)(blocks < 1024 ? blocks : 1024), 256, 0, stream, *a);
}

/* A block per token. */
__global__ void __launch_bounds__(256, 4) k_combine(struct gpu_combine a)
{
    dev_after();
    float *y = a.y + (size_t)blockIdx.x * a.n;
    const size_t slot = (size_t)blockIdx.x * a.n_used;
    for (uint32_t i = threadIdx.x; i < a.n; i += blockDim.x) {
        if (a.shared) {
            const float g = a.gate ? 1 / (1 + __expf(-a.gate[blockIdx.x])) : 1.0f;
            y[i] += g * a.down[(size_t)blockIdx.x * a.n + i];
        } else {
            float sum = 0;
            for (uint32_t k = 0; k < a.n_used; k++) sum += a.gate[slot + k] * a.down[(slot + k) * a.n + i];
            y[i] = sum;
        }
    }
}

void launch_combine(cudaStream_t stream, const struct gpu_combine *a)
{
    const uint32_t threads = a->n > 512 ? 256 : 64;
    LAUNCH(k_combine, a->n_tok, threads, 0, stream, *a);
}
