/* Encoders: error bounds per format on Gaussian weights, importance, exact values, and input that no model
 * has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tensor/dtype.h"

/* After base.h, whose fail() it hides. */
#include <cmocka.h>

enum { N = 64 * 256 };

static void gaussian(float *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += 2) { /* Box and Muller */
        double r = sqrt(-2 * log(1 - rng_uniform(seed, 0, i, 0))),
               a = 6.283185307179586 * rng_uniform(seed, 0, i, 1);
        x[i] = (float)(0.02 * r * cos(a));
        x[i + 1] = (float)(0.02 * r * sin(a));
    }
}

/* Relative root mean square error, weighted; NULL: all weights 1. */
static double error_of(const float *x, const float *y, const float *w, size_t n)
{
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) {
        double u = w ? (double)w[i] : 1, d = (double)x[i] - (double)y[i];
        num += u * d * d;
        den += u * (double)x[i] * (double)x[i];
    }
    return sqrt(num / den);
}

static void round_trip(const struct dtype_info *d, const float *x, float *y, size_t n,
                       const float *importance)
{
    void *block = mem_zalloc(n / d->block_elems, d->block_bytes);
    d->encode(x, block, n, importance);
    d->decode(block, y, n);
    free(block);
}

/* The ceilings are a little over what the encoders reach. In brackets: the gguf package 0.19 on Gaussian
 * weights, or llama.cpp's own quantizer on the random model of the shared vectors. */
static void test_error_bounds(void **state)
{
    static const struct {
        enum dtype t;
        double max;
    } row[] = {
        {DT_F32, 0},
        {DT_F16, 0.00022},
        {DT_BF16, 0.0017},
        {DT_Q4_0, 0.082} /* [0.0859] */,
        {DT_Q4_1, 0.0705} /* [0.0782] */,
        {DT_Q5_0, 0.0407} /* [0.0426] */,
        {DT_Q5_1, 0.0342} /* [0.0378] */,
        {DT_Q8_0, 0.0054} /* [0.00535] */,
        {DT_Q8_1, 0.0054},
        {DT_Q2_K, 0.264} /* [0.295] */,
        {DT_Q3_K, 0.1455} /* [0.151] */,
        {DT_Q4_K, 0.0705} /* [0.0711] */,
        {DT_Q5_K, 0.0348} /* [0.0360] */,
        {DT_Q6_K, 0.0169} /* [0.0177] */,
        {DT_Q8_K, 0.0071},
        {DT_IQ4_NL, 0.0745} /* [0.0761] */,
        {DT_IQ4_XS, 0.0750} /* [0.0767] */,
        {DT_TQ1_0, 0.44} /* [0.805] */,
        {DT_TQ2_0, 0.44} /* [0.805] */,
        {DT_MXFP4, 0.113} /* [0.115] */,
    };
    float *x = mem_alloc(N * sizeof *x), *y = mem_alloc(N * sizeof *y);
    size_t n_encoders = 0;
    gaussian(x, N, 1);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        const struct dtype_info *d = dtype_info((uint32_t)row[i].t);
        round_trip(d, x, y, N, NULL);
        double err = error_of(x, y, NULL, N);
        if (!(err <= row[i].max)) fail_msg("%s: error %g, at most %g", d->name, err, row[i].max);
    }
    for (uint32_t t = 0; t < DT_COUNT; t++) n_encoders += dtype_info(t) && dtype_info(t)->encode;
    assert_int_equal(n_encoders, COUNT_OF(row));
    free(x);
    free(y);
}

/* A sub-block far from zero: formats with a minimum must use it. */
static void test_offset_weights(void **state)
{
    static const enum dtype with_min[] = {DT_Q4_1, DT_Q5_1};
    float x[256], y[256];
    gaussian(x, 256, 2);
    for (int i = 0; i < 256; i++) x[i] += 1;
    for (size_t k = 0; k < COUNT_OF(with_min); k++) {
        round_trip(dtype_info((uint32_t)with_min[k]), x, y, 256, NULL);
        assert_true(error_of(x, y, NULL, 256) < 0.002);
    }
    for (int i = 0; i < 256; i++) x[i] -= 2; /* K-quants can go below zero only */
    round_trip(dtype_info(DT_Q4_K), x, y, 256, NULL);
    assert_true(error_of(x, y, NULL, 256) < 0.012);
}

/* With importance given, the error that it weighs must fall against the encoder that did not know it. */
static void test_importance(void **state)
{
    static const enum dtype t[] = {DT_Q4_0, DT_Q4_1, DT_Q5_0,   DT_Q5_1,   DT_Q2_K,  DT_Q3_K,  DT_Q4_K,
                                   DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS, DT_TQ1_0, DT_TQ2_0, DT_MXFP4};
    float *x = mem_alloc(N * sizeof *x), *y = mem_alloc(N * sizeof *y), *w = mem_alloc(N * sizeof *w);
    gaussian(x, N, 3);
    for (size_t i = 0; i < N; i++) w[i] = (float)pow(rng_uniform(4, 0, i, 0), 4);
    for (size_t k = 0; k < COUNT_OF(t); k++) {
        const struct dtype_info *d = dtype_info((uint32_t)t[k]);
        round_trip(d, x, y, N, NULL);
        double without = error_of(x, y, w, N);
        round_trip(d, x, y, N, w);
        double with = error_of(x, y, w, N);
        if (!(with < without))
            fail_msg("%s: weighted error %g with importance, %g without", d->name, with, without);
    }
    free(x);
    free(y);
    free(w);
}

/* Ternary weights come back as they were. */
static void test_ternary(void **state)
{
    static const enum dtype t[] = {DT_TQ1_0, DT_TQ2_0, DT_Q2_K, DT_Q8_0};
    float x[512], y[512];
    for (size_t k = 0; k < COUNT_OF(t); k++) {
        for (int i = 0; i < 512; i++)
            x[i] = 0.75f * (float)((int)(3 * rng_uniform(5, 0, (uint64_t)i, 0)) - 1);
        round_trip(dtype_info((uint32_t)t[k]), x, y, 512, NULL);
        assert_true(error_of(x, y, NULL, 512) < (k < 2 ? 1e-9 : 0.005));
    }
}

/* Whatever goes in: no undefined behaviour (the sanitizer build looks), zeros stay zeros, and blocks do not
 * depend on their neighbours. */
static void test_strange_input(void **state)
{
    static const struct {
        const char *name;
        float a, b; /* the block alternates between them */
        float every_17th;
    } row[] = {
        {"zero", 0, 0, 0},
        {"minus zero", -0.0f, 0, 0},
        {"constant", 3, 3, 3},
        {"one outlier", 0, 0, 1e4f},
        {"large", 1e30f, -1e30f, 2e30f},
        {"largest", 3.4e38f, -3.4e38f, 0},
        {"tiny", 1e-30f, -1e-30f, 0},
        {"denormal", 1e-40f, 1e-42f, 0},
        {"infinite", 1, -1, INFINITY},
        {"-infinite", 1, -1, -INFINITY},
        {"nan", 1, -1, NAN},
        {"all nan", NAN, NAN, NAN},
    };
    for (size_t k = 0; k < COUNT_OF(row); k++) {
        float x[512], y[512];
        for (int i = 0; i < 256; i++) x[i] = i % 17 == 3 ? row[k].every_17th : i % 2 ? row[k].b : row[k].a;
        gaussian(x + 256, 256, 6);
        for (uint32_t t = 0; t < DT_COUNT; t++) {
            const struct dtype_info *d = dtype_info(t);
            float alone[256];
            if (!d || !d->encode) continue;
            round_trip(d, x, y, 512, NULL);
            round_trip(d, x + 256, alone, 256, NULL);
            if (memcmp(alone, y + 256, sizeof alone) != 0)
                fail_msg("%s after %s differs", d->name, row[k].name);
            for (int i = 0; i < 256; i++) {
                bool plain = t == DT_F32 || t == DT_F16 || t == DT_BF16;
                if (k < 2 && y[i] != 0) fail_msg("%s: %s became %g", d->name, row[k].name, (double)y[i]);
                if (!plain && !isfinite(y[i]))
                    fail_msg("%s: %s became %g", d->name, row[k].name, (double)y[i]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_bounds),  cmocka_unit_test(test_offset_weights),
        cmocka_unit_test(test_importance),    cmocka_unit_test(test_ternary),
        cmocka_unit_test(test_strange_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
