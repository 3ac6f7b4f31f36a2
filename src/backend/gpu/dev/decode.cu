/* Rows of a matrix as plain bf16, for products with many rows. Of a packed one, a warp makes fragments of 32 columns of a
 * strip, as qmm.cuh does, and writes them where they belong. */
#include "backend/gpu/dev/gemm.h"
#include "backend/gpu/dev/qmm.cuh"

enum { DECODE_WARPS = 4, DECODE_GROUPS = 4 /* of 32 columns, for each warp */ };

struct decode {
    const uint8_t *from; /* the first strip */
    uint16_t *to;        /* (n_row, n_in) */
    uint32_t n_row, n_in;
};

/* Registers i = 2 c + r of a fragment: columns 2 c and 2 c + 1 of four neighbours, row r of two. */
template <int T>
DEV void decode_half(const struct qmm_words<T> *words, const uint8_t *unit, int group, int half16, const uint32_t *pairs,
                     int lane, uint2 *row)
{
    using P = packed<T>;
    uint32_t v[4], high[4];
    words->fragment(v, half16, pairs);
    if constexpr (P::HIGH == 4) words->fragment_high(high, half16);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if constexpr (T != DT_BF16) {
            float s, m;
            P::row_scale(unit, lane / 4 + 8 * r, group, &s, &m);
#pragma unroll
            for (int i = r; i < 4; i += 2) {
                float x = dev_bf16_to_f32(v[i] & 0xffffu), y = dev_bf16_to_f32(v[i] >> 16);
                if constexpr (!P::DIRECT) x -= 128, y -= 128;
                if constexpr (P::HIGH == 4)
                    x += 16 * (dev_bf16_to_f32(high[i] & 0xffffu) - 128), y += 16 * (dev_bf16_to_f32(high[i] >> 16) - 128);
                v[i] = pack_bf16(s * x + m, s * y + m);
            }
        }
        row[r] = {v[r], v[r + 2]};
    }
}

template <int T> __global__ void __launch_bounds__(DECODE_WARPS * WARP, 8) k_decode(struct decode a)
{
    using P = packed<T>;
    DYN_SHARED(uint32_t, pairs); /* of code books: 256 pairs of values */
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, n_group = (int)a.n_in / 32;
    const uint8_t *strip = a.from + (size_t)blockIdx.y * (a.n_in / P::BLOCK) * P::UNIT;
    if constexpr (P::LUT) {
        qmm_pairs<T>(pairs);
        __syncthreads();
    }
    dev_after();
    for (int i = 0; i < DECODE_GROUPS; i++) {
        const int g = ((int)blockIdx.x * DECODE_GROUPS + i) * DECODE_WARPS + w, in_unit = g % (P::BLOCK / 32);
        if (g >= n_group) return;
        struct qmm_words<T> words;
        words.load(strip, g, l);
        const uint8_t *unit = strip + (size_t)(g / (P::BLOCK / 32)) * P::UNIT;
#pragma unroll
        for (int s = 0; s < 2; s++) {
            uint2 row[2];
            decode_half<T>(&words, unit, P::GROUP == 16 ? 2 * in_unit + s : in_unit, s, pairs, l, row);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const uint32_t at = blockIdx.y * GPU_STRIP + (uint32_t)(l / 4 + 8 * r);
                if (at < a.n_row) *(uint2 *)(a.to + (size_t)at * a.n_in + g * 32 + s * 16 + l % 4 * 4) = row[r];
            }
        }
    }
}

template <int T> static void decode(cudaStream_t stream, const struct gpu_matrix *m, uint32_t row0, uint32_t n_row, uint16_t *to)
{
    const size_t strip_bytes = (size_t)(m->n_in / packed<T>::BLOCK) * packed<T>::UNIT;
    const struct decode a = {(const uint8_t *)m->data + row0 / GPU_STRIP * strip_bytes, to, n_row, m->n_in};
    const uint32_t columns = 32 * DECODE_WARPS * DECODE_GROUPS;
    const dim3 grid((m->n_in + columns - 1) / columns, (n_row + GPU_STRIP - 1) / GPU_STRIP);
    LAUNCH(k_decode<T>, grid, DECODE_WARPS * WARP, (size_t)(codec<T>::LUT ? 1024 : 0), stream, a);
}

struct decode_raw {
    struct gpu_matrix from;
    uint32_t row0, ld;
    uint16_t *to;
};

/* A block per row. */
template <int T> __global__ void __launch_bounds__(128, 8) k_decode_raw(struct decode_raw a)
{
    using C = codec<T>;
    dev_after();
    const uint8_t *row = (const uint8_t *)a.from.data + (size_t)(a.row0 + blockIdx.x) * (a.from.n_in / C::BLOCK) * C::BYTES;
    for (uint32_t at = threadIdx.x * 8; at < a.ld; at += blockDim.x * 8) {
        float v[8] = {};
        if (at < a.from.n_in) C::eight(row, (int)at, (int)a.from.n_in, v);
        const uint4 four = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
        *(uint4 *)(a.to + (size_t)blockIdx.x * a.ld + at) = four;
    }
}

template <int T>
static void decode_raw(cudaStream_t stream, const struct gpu_matrix *m, uint32_t row0, uint32_t n_row, uint16_t *to)
{
    const struct decode_raw a = {*m, row0, (m->n_in + GPU_PAD - 1) / GPU_PAD * GPU_PAD, to};
    LAUNCH(k_decode_raw<T>, n_row, a.ld > 256 ? 128 : 32, 0, stream, a);
}

void launch_decode(cudaStream_t stream, const struct gpu_matrix *m, uint32_t row0, uint32_t n_row, uint16_t *to)
{
    switch (m->type) {
#define CASE(T) case T: decode<T>(stream, m, row0, n_row, to); break;
        PACKED_TYPES(CASE)
#undef CASE
#define CASE(T) case T: decode_raw<T>(stream, m, row0, n_row, to); break;
        RAW_TYPES(CASE)
#undef CASE
    case DT_TQ1_0: decode<DT_TQ2_0>(stream, m, row0, n_row, to); break;
    default: break;
    }
}
