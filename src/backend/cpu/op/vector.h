/* Row operations: norms, activation quantization, activation functions, RoPE, on the vectors of panels. Tails run the
 * same arithmetic on a padded copy of the last vector, so every element has one result. */

/* exp(x): 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial of degree 6 (relative error about 1e-7). */
SIMD wf wf_exp(wf x)
{
    x = wf_min(wf_max(x, wf_set(-87.0f)), wf_set(88.0f));
    wi n = wi_round(wf_mul(x, wf_set(1.44269504f)));
    wf nf = wf_from_i(n);
    wf r = wf_fma(nf, wf_set(-0.693359375f), x); /* ln 2 in two parts */
    r = wf_fma(nf, wf_set(2.12194440e-4f), r);
    wf p = wf_set(1.0f / 720);
    p = wf_fma(p, r, wf_set(1.0f / 120));
    p = wf_fma(p, r, wf_set(1.0f / 24));
    p = wf_fma(p, r, wf_set(1.0f / 6));
    p = wf_fma(p, r, wf_set(0.5f));
    p = wf_fma(p, r, wf_set(1.0f));
    p = wf_fma(p, r, wf_set(1.0f));
    return wf_mul(p, wf_exp2_i(n));
}

SIMD wf wf_sigmoid(wf x)
{
    return wf_div(wf_set(1), wf_add(wf_set(1), wf_exp(wf_sub(wf_set(0), x))));
}

/* GELU, tanh form: 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3); on half-precision numbers
 * between -10 and 10, as the reference backend says why. */
SIMD wf wf_gelu(wf x)
{
    wf h = wf_round_half(wf_min(wf_max(x, wf_set(-10)), wf_set(10)));
    wf cube = wf_mul(wf_mul(h, h), h);
    wf u2 = wf_mul(wf_set(1.5957691216f), wf_fma(cube, wf_set(0.044715f), h));
    wf y = wf_round_half(wf_mul(h, wf_sigmoid(u2)));
    return wf_select_ge(x, wf_set(10), x, y);
}

SIMD wf wf_act(wf x, enum activation act)
{
    return act == ACT_SILU ? wf_mul(x, wf_sigmoid(x)) : wf_gelu(x);
}

/* Do `body` on vectors at p + i, the last one through a padded copy. */
#define FOR_VECTORS(i, n) for (size_t i = 0; i < (n); i += W_LANES)
SIMD wf load_part(const float *p, size_t i, size_t n)
{
    if (i + W_LANES <= n) return wf_load(p + i);
    float pad[W_LANES] = {0};
    memcpy(pad, p + i, (n - i) * sizeof *p);
    return wf_load(pad);
}
SIMD void store_part(float *p, size_t i, size_t n, wf v)
{
    if (i + W_LANES <= n) {
        wf_store(p + i, v);
        return;
    }
    float pad[W_LANES];
    wf_store(pad, v);
    memcpy(p + i, pad, (n - i) * sizeof *p);
}

/* ACT_GROUP floats as integers of up to `most`, rounded to nearest even, and their scale. */
SIMD float quantize_group(vi i[4], const float *x, size_t at, size_t n, float most)
{
    vf v[4], top = vf_set(0);
    float pad[ACT_GROUP];
    x += at;
    if (at + ACT_GROUP > n) {
        memset(pad, 0, sizeof pad);
        x = memcpy(pad, x, (n - at) * sizeof *x);
    }
    for (size_t j = 0; j < 4; j++) {
        v[j] = vf_load(x + 8 * j);
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
#ifdef W_SCALED
        for (size_t j = 0; j < 2; j++) minus[3 * g + j] = vi_minus_lanes(vi_add(i[2 * j], i[2 * j + 1]));
#endif
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
    wf acc = wf_set(0);
    float mean = 0;
    if (kind == NORM_LAYER) {
        FOR_VECTORS(i, n) acc = wf_add(acc, load_part(x, i, n));
        mean = wf_sum(acc) / (float)n;
        acc = wf_set(0);
    }
    FOR_VECTORS(i, n)
    {
        wf v = wf_sub(load_part(x, i, n), wf_set(mean));
        if (i + W_LANES > n) { /* the padding must not count */
            float pad[W_LANES] = {0};
            store_part(pad, 0, n - i, v);
            v = wf_load(pad);
        }
        acc = wf_fma(v, v, acc);
    }
    float inv = 1.0f / sqrtf(wf_sum(acc) / (float)n + eps);
    FOR_VECTORS(i, n)
    {
        wf v = wf_mul(wf_mul(wf_sub(load_part(x, i, n), wf_set(mean)), wf_set(inv)), load_part(w, i, n));
        store_part(y, i, n, b ? wf_add(v, load_part(b, i, n)) : v);
    }
}

static void op_add(float *x, const float *y, size_t n)
{
    FOR_VECTORS(i, n) store_part(x, i, n, wf_add(load_part(x, i, n), load_part(y, i, n)));
}

static void op_scale_add(float *x, const float *y, float s, size_t n)
{
    FOR_VECTORS(i, n) store_part(x, i, n, wf_fma(load_part(y, i, n), wf_set(s), load_part(x, i, n)));
}

static void op_act_mul(float *u, const float *gate, size_t n, enum activation act)
{
    FOR_VECTORS(i, n) store_part(u, i, n, wf_mul(load_part(u, i, n), wf_act(load_part(gate, i, n), act)));
}

static void op_act(float *u, size_t n, enum activation act)
{
    FOR_VECTORS(i, n) store_part(u, i, n, wf_act(load_part(u, i, n), act));
}

static void op_rope(float *x, const float *cos_sin, uint32_t n_pair, bool interleaved)
{
    const float *cosine = cos_sin, *sine = cos_sin + n_pair;
    for (uint32_t i = 0; interleaved && i < n_pair; i++) {
        const float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
    for (size_t i = 0; !interleaved && i < n_pair; i += W_LANES) {
        const wf a = load_part(x, i, n_pair), b = load_part(x + n_pair, i, n_pair);
        const wf c = load_part(cosine, i, n_pair), s = load_part(sine, i, n_pair);
        store_part(x, i, n_pair, wf_sub(wf_mul(a, c), wf_mul(b, s)));
        store_part(x + n_pair, i, n_pair, wf_add(wf_mul(a, s), wf_mul(b, c)));
    }
}

static void op_to_halves(uint16_t *to, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) vf_store_halves(to + i, vf_load(x + i));
    for (; i < n; i++) to[i] = f32_to_f16(x[i]);
}

SIMD wf wf_softcap(wf x, wf scale, wf cap)
{
    /* cap tanh(x / cap) = cap - 2 cap / (exp(2 x / cap) + 1) */
    wf e = wf_exp(wf_div(wf_mul(wf_mul(x, scale), wf_set(2)), cap));
    return wf_sub(cap, wf_div(wf_mul(cap, wf_set(2)), wf_add(e, wf_set(1))));
}

static void op_softcap(float *x, size_t n, float scale, float cap)
{
    FOR_VECTORS(i, n) store_part(x, i, n, wf_softcap(load_part(x, i, n), wf_set(scale), wf_set(cap)));
}
