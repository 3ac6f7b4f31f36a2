/* Weights from the order of a file to that of matrix fragments, and back to plain rows. */
#include "backend/gpu/dev/codec.cuh"
#include "backend/gpu/dev/kernels.h"

enum { PACK_THREADS = 64 };

/* A block per unit: strip row0 / 16 + blockIdx.y, columns of block blockIdx.x. Rows and columns that the source does
 * not have become zeros. FROM: type of the source; TO: type whose layout is made. */
template <int FROM, int TO> __global__ void __launch_bounds__(PACK_THREADS, 8) k_pack(struct gpu_pack a)
{
    dev_after();
    using S = codec<FROM>;
    using P = packed<TO>;
    const uint32_t n_block = (a.n_in + P::BLOCK - 1) / P::BLOCK, strip = a.row0 / GPU_STRIP + blockIdx.y;
    uint8_t *unit = (uint8_t *)a.to + ((size_t)strip * n_block + blockIdx.x) * P::UNIT;
    const uint8_t *from = (const uint8_t *)a.from;
    const uint32_t first = blockIdx.y * GPU_STRIP;

    if constexpr (TO == DT_BF16) {
        for (int w = (int)threadIdx.x; w < 2 * WARP * 4; w += PACK_THREADS) {
            uint32_t word = 0;
            const int i = w % 4, lane = w / 4 % WARP, half16 = w / (4 * WARP);
            const uint32_t row = first + (uint32_t)(lane / 4 + 8 * (i % 2));
            for (int h = 0; h < 2; h++) {
                uint32_t col = blockIdx.x * P::BLOCK + (uint32_t)(16 * half16 + 4 * (lane % 4) + 2 * (i / 2) + h);
                if (row < a.n_row && col < a.n_in)
                    word |= (uint32_t)((const uint16_t *)from)[(size_t)row * a.n_in + col] << 16 * h;
            }
            ((uint32_t *)unit)[w] = word;
        }
    } else if constexpr (TO == GPU_F8_E4M3) {
        for (int w = (int)threadIdx.x; w < GPU_STRIP * P::BLOCK; w += PACK_THREADS) {
            const int byte = w % 16, lane = w / 16 % WARP, g = w / (16 * WARP), i = byte % 8 / 4 * 2 + byte % 2;
            const uint32_t row = first + (uint32_t)(lane / 4 + 8 * (i % 2));
            const uint32_t col = blockIdx.x * P::BLOCK +
                                 (uint32_t)(32 * g + byte / 8 * 16 + 4 * (lane % 4) + 2 * (i / 2) + byte % 4 / 2);
            unit[w] = row < a.n_row ? from[(size_t)row * a.n_in + col] : 0;
        }
        for (uint32_t r = threadIdx.x; r < GPU_STRIP; r += PACK_THREADS) {
            const uint32_t at = (a.row0 + first + r) / a.scale_rows * a.scale_ld + blockIdx.x * P::BLOCK / a.scale_cols;
            ((float *)(unit + P::A_PLACE))[r] = first + r < a.n_row ? a.scale[at] : 0;
        }
    } else {
        const size_t row_bytes = (size_t)n_block * S::BYTES;
        for (int w = (int)threadIdx.x; w < P::BLOCK / 32 * WARP; w += PACK_THREADS) {
            const int lane = w % WARP, g = w / WARP;
            uint64_t low = 0, high = 0; /* of both 16-column halves */
            for (int k = 0; k < 16; k++) {
                const int half16 = k / 8, i = k / 2 % 4, h = k % 2;
                const uint32_t row = first + (uint32_t)(lane / 4 + 8 * (i % 2));
                const int col = 32 * g + 16 * half16 + 4 * (lane % 4) + 2 * (i / 2) + h;
                uint64_t q = 0, l, r;
                if (row < a.n_row) q = S::code(from + row * row_bytes + blockIdx.x * S::BYTES, col);
                l = q & ((1 << P::LOW) - 1), r = q >> P::LOW;
                if (P::LUT)
                    low |= l << (32 * half16 + 8 * i + 4 * h);
                else if (P::LOW == 4)
                    low |= l << (32 * half16 + 4 * i + 16 * h);
                else
                    low |= l << (2 * i + 8 * half16 + 16 * h);
                if (P::HIGH == 1) high |= r << (i + 4 * half16 + 8 * h);
                if (P::HIGH == 2) high |= r << (2 * i + 8 * half16 + 16 * h);
                if (P::HIGH == 4) high |= r << (32 * half16 + 4 * i + 16 * h);
            }
            uint8_t *to = unit + g * P::LOW_BYTES + lane * (P::LOW * 2);
            for (int i = 0; i < P::LOW * 2; i++) to[i] = (uint8_t)(low >> 8 * i);
            to = unit + P::HIGH_AT + g * P::HIGH_BYTES + lane * (P::HIGH * 2);
            for (int i = 0; i < P::HIGH * 2; i++) to[i] = (uint8_t)(high >> 8 * i);
        }
        for (int w = (int)threadIdx.x; w < GPU_STRIP * (P::A + P::B); w += PACK_THREADS) {
            const int row = w / (P::A + P::B), i = w % (P::A + P::B);
            const uint8_t *b = from + (size_t)(first + row) * row_bytes + blockIdx.x * S::BYTES;
            uint8_t v = 0;
            if (first + row < a.n_row) v = b[i < P::A ? S::A_AT + i : S::B_AT + i - P::A];
            unit[i < P::A ? P::A_PLACE + row * P::A + i : P::B_PLACE + row * P::B + i - P::A] = v;
        }
    }
}

template <int FROM, int TO> static void pack(cudaStream_t stream, const struct gpu_pack *a)
{
    const uint32_t block = packed<TO>::BLOCK;
    const dim3 grid((a->n_in + block - 1) / block, (a->n_row + GPU_STRIP - 1) / GPU_STRIP);
    LAUNCH((k_pack<FROM, TO>), grid, PACK_THREADS, 0, stream, *a);
}

void launch_pack(cudaStream_t stream, const struct gpu_pack *a)
{
    switch (a->type) {
#define CASE(T) case T: pack<T, T>(stream, a); break;
        PACKED_TYPES(CASE)
#undef CASE
    case DT_TQ1_0: pack<DT_TQ1_0, DT_TQ2_0>(stream, a); break;
    default: break;
    }
}

bool matrix_layout(uint32_t type, uint32_t n_out, uint32_t n_in, struct gpu_layout *out)
{
    const size_t strips = (n_out + GPU_STRIP - 1) / GPU_STRIP;
    *out = {};
    out->n_in = n_in;
    if (n_out > 500000) return false; /* of the 2^16 blocks that a launch may have in its second direction */
    if (type == GPU_F8_E4M3 && n_in % packed<GPU_F8_E4M3>::BLOCK) return false; /* activations end where columns do */
    switch (type) {
#define CASE(T)                                                                                                        \
    case T:                                                                                                            \
        out->n_in = (n_in + packed<T>::BLOCK - 1) / packed<T>::BLOCK * packed<T>::BLOCK;                               \
        out->bytes = strips * (out->n_in / packed<T>::BLOCK) * packed<T>::UNIT;                                        \
        out->packed = out->reads_b = true;                                                                             \
        return true;
        PACKED_TYPES(CASE)
#undef CASE
    case DT_TQ1_0: return matrix_layout(DT_TQ2_0, n_out, n_in, out);
#define CASE(T)                                                                                                        \
    case T:                                                                                                            \
        out->bytes = (size_t)n_out * (n_in / codec<T>::BLOCK) * codec<T>::BYTES;                                       \
        out->reads_f = true, out->reads_b = T != DT_F32;                                                               \
        return true;
        RAW_TYPES(CASE)
#undef CASE
    default: return false;
    }
}

/* ---- rows of a matrix as numbers ---- */

template <int T> DEV void decode_eight(const struct gpu_matrix *m, uint32_t row, uint32_t at, float *v)
{
    using C = codec<T>;
    if constexpr (C::RAW) {
        const size_t row_bytes = (size_t)(m->n_in / C::BLOCK) * C::BYTES;
        C::eight((const uint8_t *)m->data + row * row_bytes, (int)at, (int)m->n_in, v);
    } else {
        const uint8_t *unit = (const uint8_t *)m->data +
                              ((size_t)(row / GPU_STRIP) * (m->n_in / C::BLOCK) + at / C::BLOCK) * packed<T>::UNIT;
        for (int i = 0; i < 8; i++) v[i] = packed_element<T>(unit, (int)(row % GPU_STRIP), (int)(at % C::BLOCK) + i);
    }
}

/* A block per row. */
template <int T> __global__ void __launch_bounds__(128, 4) k_rows(struct gpu_rows a)
{
    dev_after();
    uint32_t row = a.index[blockIdx.x];
    const size_t to = (size_t)blockIdx.x * a.out.ld;
    if (a.drawn && row & GPU_INDEX_DRAWN) {
        const int32_t token = a.drawn[row & ~(uint32_t)GPU_INDEX_DRAWN].token;
        row = token < 0 ? 0 : (uint32_t)token;
    }
    for (uint32_t at = threadIdx.x * 8; at < a.out.ld; at += blockDim.x * 8) {
        float v[8];
        if (at < a.table.n_in) decode_eight<T>(&a.table, row, at, v);
        for (uint32_t i = 0; i < 8 && at + i < a.out.ld; i++) {
            float y = at + i < a.n ? v[i] * a.scale : 0.0f;
            if (a.out.f) a.out.f[to + at + i] = a.add ? a.out.f[to + at + i] + y : y;
            if (a.out.b) a.out.b[to + at + i] = (uint16_t)dev_f32_to_bf16(y);
        }
    }
}

template <int T> static void rows(cudaStream_t stream, const struct gpu_rows *a)
{
    const uint32_t threads = a->n > 256 ? 128 : 32;
    LAUNCH(k_rows<T>, a->n_row, threads, 0, stream, *a);
}

void launch_rows(cudaStream_t stream, const struct gpu_rows *a)
{
    switch (a->table.type) {
#define CASE(T) case T: rows<T>(stream, a); break;
        PACKED_TYPES(CASE)
        RAW_TYPES(CASE)
#undef CASE
    case DT_TQ1_0: rows<DT_TQ2_0>(stream, a); break;
    default: break;
    }
}
