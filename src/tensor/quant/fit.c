#include "tensor/quant/fit.h"

#define ONES8  1, 1, 1, 1, 1, 1, 1, 1
#define ONES64 ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8
const float fit_ones[QK_SUPER] = {ONES64, ONES64, ONES64, ONES64};

float fit_scale(struct range r, struct fan fan, const float *x, const float *w, int n)
{
    return fit_scale_with(snap_int, r, fan, x, w, n);
}

void fit_super(struct range r, struct fan fan, struct range sr, const float *x, const float *w, int n_sub,
               int len, struct super_scales *out)
{
    fit_super_with(snap_int, r, fan, sr, x, w, n_sub, len, out);
}

/* Sums over the codes q = nearest((x - m) id) that least squares for x ~ d q + m needs. */
struct code_sums {
    float q, qq, x, xq, w;
};
static struct code_sums sums_of_codes(float q_max, const float *x, const float *w, int n, float id, float m)
{
    float q[LANES] = {0}, qq[LANES] = {0}, sx[LANES] = {0}, xq[LANES] = {0}, sw[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = nearest(clampf((x[i + l] - m) * id, 0, q_max)), wv = w[i + l] * v;
            q[l] += wv;
            qq[l] += wv * v;
            xq[l] += wv * x[i + l];
            sx[l] += w[i + l] * x[i + l];
            sw[l] += w[i + l];
        }
    return (struct code_sums){lanes_sum(q), lanes_sum(qq), lanes_sum(sx), lanes_sum(xq), lanes_sum(sw)};
}

/* The best d and m for these codes, kept when better than *gain (the error is a constant less the gain). */
static bool scale_min_try(const struct code_sums *s, bool m_below_zero, float *gain, float *d, float *m)
{
    float det = s->w * s->qq - s->q * s->q, td, tm;
    if (det > 0) {
        td = (s->w * s->xq - s->x * s->q) / det;
        tm = (s->qq * s->x - s->q * s->xq) / det;
    } else { /* all codes are equal: only one unknown can be had */
        td = 0;
        tm = s->w > 0 ? s->x / s->w : 0;
    }
    if (m_below_zero && tm > 0) {
        tm = 0;
        td = s->qq > 0 ? s->xq / s->qq : 0;
    }
    float g = td * s->xq + tm * s->x;
    if (!(g > *gain) || td < 0) return false;
    *gain = g;
    *d = td;
    *m = tm;
    return true;
}

float fit_scale_min(float q_max, bool m_below_zero, const float *x, const float *w, int n, float *m)
{
    float lo, hi, gain = 0, d = 0;
    extremes(x, n, &lo, &hi);
    if (m_below_zero && lo > 0) lo = 0;
    *m = lo < 0 ? lo : 0;
    /* Fewer levels call for a wider fan: cutting the tails off pays more when a step is large. */
    int n_try = q_max < 4 ? 9 : 5;
    float from = q_max - (q_max < 4 ? 1.2f : 0.12f * q_max), to = q_max + (q_max < 4 ? 0.8f : 0.06f * q_max);
    for (int i = 0; i < n_try; i++) {
        float steps = from + (to - from) * (float)i / (float)(n_try - 1);
        struct code_sums s;
        /* keep the middle where it is, so that both tails are cut or both have room */
        float mid = 0.5f * (lo + hi), id = steps * inverse(hi - lo), start = mid - 0.5f * q_max * inverse(id);
        if (m_below_zero && start > 0) start = 0;
        s = sums_of_codes(q_max, x, w, n, id, start);
        scale_min_try(&s, m_below_zero, &gain, &d, m);
        s = sums_of_codes(q_max, x, w, n, id, lo);
        scale_min_try(&s, m_below_zero, &gain, &d, m);
    }
    for (int k = 0; k < 4 && d > 0; k++) {
        struct code_sums s = sums_of_codes(q_max, x, w, n, 1.0f / d, *m);
        if (!scale_min_try(&s, m_below_zero, &gain, &d, m)) break;
    }
    return d;
}

/* Squared error of one sub-block decoded as a q + m. */
static float error_of_codes(float q_max, const float *x, const float *w, int n, float a, float m)
{
    float err[LANES] = {0}, id = inverse(a);
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = nearest(clampf((x[i + l] - m) * id, 0, q_max)), e = x[i + l] - (a * v + m);
            err[l] += w[i + l] * e * e;
        }
    return lanes_sum(err);
}

/* d and dmin for given multiples: least squares over the whole super-block. */
static void solve_super_min(float q_max, const float *x, const float *w, int n_sub, int len,
                            const float sc[16], const float mn[16], struct super_scales_mins *out)
{
    float uu = 0, uv = 0, vv = 0, xu = 0, xv = 0, d = out->d_stored, dmin = out->dmin_stored;
    for (int s = 0; s < n_sub; s++) {
        struct code_sums c =
            sums_of_codes(q_max, x + s * len, w + s * len, len, inverse(d * sc[s]), -dmin * mn[s]);
        uu += sc[s] * sc[s] * c.qq;
        uv -= sc[s] * mn[s] * c.q;
        vv += mn[s] * mn[s] * c.w;
        xu += sc[s] * c.xq;
        xv -= mn[s] * c.x;
    }
    float det = uu * vv - uv * uv;
    if (det > 1e-6f * uu * vv) {
        d = (vv * xu - uv * xv) / det;
        dmin = (uu * xv - uv * xu) / det;
    } else if (uu > 0 && vv == 0) {
        d = xu / uu;
    }
    if (d > 0 && dmin >= 0) {
        out->d = half_store(d, &out->d_stored);
        out->dmin = half_store(dmin, &out->dmin_stored);
    }
}

/* The neighbours of a sub-block's multiples: the pair with the least error. */
static void improve_sub_min(float q_max, float s_max, const float *x, const float *w, int len, float d,
                            float dmin, float *sc, float *mn)
{
    float best = error_of_codes(q_max, x, w, len, d * *sc, -dmin * *mn), mid_sc = *sc, mid_mn = *mn;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++) {
            float a = clampf(mid_sc + (float)i, 0, s_max), b = clampf(mid_mn + (float)j, 0, s_max);
            float err = error_of_codes(q_max, x, w, len, d * a, -dmin * b);
            if (err < best) {
                best = err;
                *sc = a;
                *mn = b;
            }
        }
}

void fit_super_min(float q_max, float s_max, const float *x, const float *w, int n_sub, int len,
                   struct super_scales_mins *out)
{
    float sub[16] = {0}, min[16] = {0}, sc[16] = {0}, mn[16] = {0}, top = 0, top_min = 0;
    for (int s = 0; s < n_sub; s++) {
        sub[s] = fit_scale_min(q_max, true, x + s * len, w + s * len, len, &min[s]);
        top = sub[s] > top ? sub[s] : top;
        top_min = -min[s] > top_min ? -min[s] : top_min;
    }
    out->d = half_store(top / s_max, &out->d_stored);
    out->dmin = half_store(top_min / s_max, &out->dmin_stored);
    struct range sr = {0, s_max};
    for (int s = 0; s < n_sub; s++) {
        sc[s] = snap_int(sub[s] * inverse(out->d_stored), sr);
        mn[s] = snap_int(-min[s] * inverse(out->dmin_stored), sr);
    }
    for (int pass = 0; pass < 2; pass++) {
        solve_super_min(q_max, x, w, n_sub, len, sc, mn, out);
        for (int s = 0; s < n_sub; s++)
            improve_sub_min(q_max, s_max, x + s * len, w + s * len, len, out->d_stored, out->dmin_stored,
                            &sc[s], &mn[s]);
    }
    solve_super_min(q_max, x, w, n_sub, len, sc, mn, out);
    for (int s = 0; s < n_sub; s++) {
        out->scale[s] = (uint8_t)sc[s];
        out->min[s] = (uint8_t)mn[s];
    }
}
