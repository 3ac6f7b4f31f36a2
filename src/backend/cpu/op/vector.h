/* Row operations: norms, activation quantization, activation functions, RoPE. Tails run the same arithmetic
 * on a padded copy of the last vector, so every element has one result. */

/* exp(x): 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial of degree 6 (relative error about 1e-7). */
SIMD vf vf_exp(vf x)
{
    x = vf_min(vf_max(x, vf_set(-87.0f)), vf_set(88.0f));
    vi n = vi_round(vf_mul(x, vf_set(1.44269504f)));
    vf nf = vf_from_i(n);
    vf r = vf_fma(nf, vf_set(-0.693359375f), x); /* ln 2 in two parts */
    r = vf_fma(nf, vf_set(2.12194440e-4f), r);
    vf p = vf_set(1.0f / 720);
    p = vf_fma(p, r, vf_set(1.0f / 120));
    p = vf_fma(p, r, vf_set(1.0f / 24));
    p = vf_fma(p, r, vf_set(1.0f / 6));
    p = vf_fma(p, r, vf_set(0.5f));
    p = vf_fma(p, r, vf_set(1.0f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_mul(p, vf_exp2_i(n));
}

SIMD vf vf_sigmoid(vf x)
{
    return vf_div(vf_set(1), vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), x))));
}

/* GELU, tanh form: 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3); on half-precision numbers
 * between -10 and 10, as the reference backend says why. */
SIMD vf vf_gelu(vf x)
{
    vf h = vf_round_half(vf_min(vf_max(x, vf_set(-10)), vf_set(10)));
    vf cube = vf_mul(vf_mul(h, h), h);
    vf u2 = vf_mul(vf_set(1.5957691216f), vf_fma(cube, vf_set(0.044715f), h));
    vf y = vf_round_half(vf_mul(h, vf_sigmoid(u2)));
    return vf_select_ge(x, vf_set(10), x, y);
}

SIMD vf vf_act(vf x, enum activation act)
{
    return act == ACT_SILU ? vf_mul(x, vf_sigmoid(x)) : vf_gelu(x);
}

/* Do `body` on vectors at p + i, the last one through a padded copy. */
#define FOR_VECTORS(i, n) for (size_t i = 0; i < (n); i += 8)
SIMD vf load_part(const float *p, size_t i, size_t n)
{
    if (i + 8 <= n) return vf_load(p + i);
    float pad[8] = {0};
    memcpy(pad, p + i, (n - i) * sizeof *p);
    return vf_load(pad);
}
SIMD void store_part(float *p, size_t i, size_t n, vf v)
{
    if (i + 8 <= n) {
        vf_store(p + i, v);
        return;
    }
    float pad[8];
    vf_store(pad, v);
    memcpy(p + i, pad, (n - i) * sizeof *p);
}

/* ACT_GROUP floats as integers of up to `most`, rounded to nearest even, and their scale. */
SIMD float quantize_group(vi i[4], const float *x, size_t at, size_t n, float most)
{
    vf v[4], top = vf_set(0);
    for (size_t j = 0; j < 4; j++) {
        v[j] = at + 8 * j < n ? load_part(x, at + 8 * j, n) : vf_set(0);
        top = vf_max(top, vf_abs(v[j]));
    }
    float max = vf_hmax(top), inv = max > 0 ? most / max : 0;
    for (size_t j = 0; j < 4; j++) i[j] = vi_round(vf_mul(v[j], vf_set(inv)));
    return max / most;
}

static void op_quantize_bytes(const float *x, size_t n, int8_t *q, float *scale, float *sum, int32_t *minus)
{
    for (size_t g = 0; g < (n + ACT_GROUP - 1) / ACT_GROUP; g++) {
        vi i[4];
        float d = scale[g] = quantize_group(i, x, g * ACT_GROUP, n, 127);
        vi_store_i8(q + g * ACT_GROUP, i[0], i[1], i[2], i[3]);
        int32_t first = vi_sum(vi_add(i[0], i[1])), second = vi_sum(vi_add(i[2], i[3]));
        int32_t all[3] = {first, second, first + second};
        for (size_t j = 0; j < 3; j++) {
            sum[3 * g + j] = d * (float)all[j];
            minus[3 * g + j] = -all[j];
        }
    }
}

static void op_quantize_pairs(const float *x, size_t n, int16_t *q, float *scale, float *sum)
{
    for (size_t g = 0; g < (n + ACT_GROUP - 1) / ACT_GROUP; g++) {
        vi i[4];
        float d = scale[g] = quantize_group(i, x, g * ACT_GROUP, n, 32767);
        vi_store_i16(q + g * ACT_GROUP, i[0], i[1]);
        vi_store_i16(q + g * ACT_GROUP + 16, i[2], i[3]);
        float first = d * (float)vi_sum(vi_add(i[0], i[1])), second = d * (float)vi_sum(vi_add(i[2], i[3]));
        sum[3 * g] = first;
        sum[3 * g + 1] = second;
        sum[3 * g + 2] = first + second;
    }
}

static void op_norm(float *y, const float *x, size_t n, const float *w, const float *b, float eps,
                    enum norm_kind kind)
{
    vf acc = vf_set(0);
    float mean = 0;
    if (kind == NORM_LAYER) {
        FOR_VECTORS(i, n) acc = vf_add(acc, load_part(x, i, n));
        mean = vf_sum(acc) / (float)n;
        acc = vf_set(0);
    }
    FOR_VECTORS(i, n)
    {
        vf v = vf_sub(load_part(x, i, n), vf_set(mean));
        if (i + 8 > n) { /* the padding must not count */
            float pad[8] = {0};
            store_part(pad, 0, n - i, v);
            v = vf_load(pad);
        }
        acc = vf_fma(v, v, acc);
    }
    float inv = 1.0f / sqrtf(vf_sum(acc) / (float)n + eps);
    FOR_VECTORS(i, n)
    {
        vf v = vf_mul(vf_mul(vf_sub(load_part(x, i, n), vf_set(mean)), vf_set(inv)), load_part(w, i, n));
        store_part(y, i, n, b ? vf_add(v, load_part(b, i, n)) : v);
    }
}

static void op_add(float *x, const float *y, size_t n)
{
    FOR_VECTORS(i, n) store_part(x, i, n, vf_add(load_part(x, i, n), load_part(y, i, n)));
}

static void op_scale_add(float *x, const float *y, float s, size_t n)
{
    FOR_VECTORS(i, n) store_part(x, i, n, vf_fma(load_part(y, i, n), vf_set(s), load_part(x, i, n)));
}

static void op_act_mul(float *u, const float *gate, size_t n, enum activation act)
{
    FOR_VECTORS(i, n) store_part(u, i, n, vf_mul(load_part(u, i, n), vf_act(load_part(gate, i, n), act)));
}

static void op_act(float *u, size_t n, enum activation act)
{
    FOR_VECTORS(i, n) store_part(u, i, n, vf_act(load_part(u, i, n), act));
}

static void op_rope(float *x, const float *cos_sin, uint32_t n_pair, bool interleaved)
{
    for (uint32_t i = 0; i < n_pair; i++) {
        uint32_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + n_pair;
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1], xa = x[a], xb = x[b];
        x[a] = xa * c - xb * s;
        x[b] = xa * s + xb * c;
    }
}

SIMD vf vf_softcap(vf x, vf scale, vf cap)
{
    /* cap tanh(x / cap) = cap - 2 cap / (exp(2 x / cap) + 1) */
    vf e = vf_exp(vf_div(vf_mul(vf_mul(x, scale), vf_set(2)), cap));
    return vf_sub(cap, vf_div(vf_mul(cap, vf_set(2)), vf_add(e, vf_set(1))));
}

static void op_softcap(float *x, size_t n, float scale, float cap)
{
    FOR_VECTORS(i, n) store_part(x, i, n, vf_softcap(load_part(x, i, n), vf_set(scale), vf_set(cap)));
}
