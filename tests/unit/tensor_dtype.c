/* The dtype table and the conversions of halves, these exhaustively against arithmetic on doubles. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tensor/dtype.h"
#include "tensor/quant/fp8.h"

/* After base.h, whose fail() it hides. */
#include <cmocka.h>

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* The definition of a small float with a sign bit, n_exp exponent bits and n_man mantissa bits. */
static double plain_value(uint32_t h, int n_exp, int n_man)
{
    int bias = (1 << (n_exp - 1)) - 1, exp = (int)(h >> n_man) & ((1 << n_exp) - 1);
    uint32_t man = h & ((1u << n_man) - 1);
    double sign = h >> (n_exp + n_man) ? -1 : 1;
    if (exp == (1 << n_exp) - 1) return man ? NAN : sign * INFINITY;
    if (exp == 0) return sign * ldexp(man, 1 - bias - n_man);
    return sign * ldexp((1u << n_man) + man, exp - bias - n_man);
}

static void test_every_half_decodes(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        double want = plain_value(h, 5, 10), want_b = plain_value(h, 8, 7);
        float got = f16_to_f32((uint16_t)h), got_b = bf16_to_f32((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_int_equal(bits(got) >> 13 & 0x3ff, h & 0x3ff); /* the payload is kept */
        } else {
            assert_int_equal(bits(got), bits((float)want));
        }
        if (isnan(want_b))
            assert_true(isnan(got_b));
        else
            assert_int_equal(bits(got_b), bits((float)want_b));
    }
}

static void test_every_half_survives(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t f = f32_to_f16(f16_to_f32((uint16_t)h)), b = f32_to_bf16(bf16_to_f32((uint16_t)h));
        bool f_nan = (h & 0x7fff) > 0x7c00, b_nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(f, f_nan ? (h | 0x200) : h); /* NaN becomes quiet */
        assert_int_equal(b, b_nan ? (h | 0x40) : h);
    }
}

/* At every boundary between two neighbours: just below, the tie and just above. */
static void test_rounding(void **state)
{
    static const struct {
        const char *name;
        uint16_t (*encode)(float);
        int n_exp, n_man;
        uint32_t infinity;
    } kind[] = {{"f16", f32_to_f16, 5, 10, 0x7c00}, {"bf16", f32_to_bf16, 8, 7, 0x7f80}};
    for (size_t k = 0; k < COUNT_OF(kind); k++) {
        for (uint32_t h = 0; h < kind[k].infinity; h++) {
            double lo = plain_value(h, kind[k].n_exp, kind[k].n_man);
            double hi = h + 1 < kind[k].infinity ? plain_value(h + 1, kind[k].n_exp, kind[k].n_man)
                                                 : 2 * lo - plain_value(h - 1, kind[k].n_exp, kind[k].n_man);
            float tie = (float)((lo + hi) / 2);
            uint32_t even = h % 2 ? h + 1 : h;
            for (int sign = 0; sign < 2; sign++) {
                uint32_t s = sign ? 0x8000 : 0, fs = sign ? 0x80000000u : 0;
                uint32_t below = kind[k].encode(from_bits((bits(tie) - 1) | fs));
                uint32_t at = kind[k].encode(from_bits(bits(tie) | fs));
                uint32_t above = kind[k].encode(from_bits((bits(tie) + 1) | fs));
                if (below != (h | s) || at != (even | s) || above != ((h + 1) | s))
                    fail_msg("%s 0x%04x: below 0x%04x tie 0x%04x above 0x%04x", kind[k].name, h | s, below,
                             at, above);
            }
        }
    }
    assert_int_equal(f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(f32_to_f16(from_bits(1)), 0);
    assert_int_equal(f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(f32_to_f16(from_bits(0x7f800001)) & 0x7e00, 0x7e00);
    assert_int_equal(f32_to_bf16(from_bits(0x7f800001)), 0x7fc0);
    assert_int_equal(f32_to_bf16(from_bits(0xffffffff)), 0xffff);
    assert_int_equal(f32_to_bf16(INFINITY), 0x7f80);
    assert_int_equal(f32_to_bf16(from_bits(0x7f7fffff)), 0x7f80);
}

static void test_sizes(void **state)
{
    static const struct {
        enum dtype t;
        const char *name;
        int elems, bytes;
    } want[] = {
        {DT_F32, "f32", 1, 4},           {DT_F16, "f16", 1, 2},
        {DT_BF16, "bf16", 1, 2},         {DT_Q4_0, "q4_0", 32, 18},
        {DT_Q4_1, "q4_1", 32, 20},       {DT_Q5_0, "q5_0", 32, 22},
        {DT_Q5_1, "q5_1", 32, 24},       {DT_Q8_0, "q8_0", 32, 34},
        {DT_Q8_1, "q8_1", 32, 36},       {DT_Q2_K, "q2_k", 256, 84},
        {DT_Q3_K, "q3_k", 256, 110},     {DT_Q4_K, "q4_k", 256, 144},
        {DT_Q5_K, "q5_k", 256, 176},     {DT_Q6_K, "q6_k", 256, 210},
        {DT_Q8_K, "q8_k", 256, 292},     {DT_IQ2_XXS, "iq2_xxs", 256, 66},
        {DT_IQ2_XS, "iq2_xs", 256, 74},  {DT_IQ3_XXS, "iq3_xxs", 256, 98},
        {DT_IQ1_S, "iq1_s", 256, 50},    {DT_IQ4_NL, "iq4_nl", 32, 18},
        {DT_IQ3_S, "iq3_s", 256, 110},   {DT_IQ2_S, "iq2_s", 256, 82},
        {DT_IQ4_XS, "iq4_xs", 256, 136}, {DT_I8, "i8", 1, 1},
        {DT_I16, "i16", 1, 2},           {DT_I32, "i32", 1, 4},
        {DT_I64, "i64", 1, 8},           {DT_F64, "f64", 1, 8},
        {DT_IQ1_M, "iq1_m", 256, 56},    {DT_TQ1_0, "tq1_0", 256, 54},
        {DT_TQ2_0, "tq2_0", 256, 66},    {DT_MXFP4, "mxfp4", 32, 17},
    };
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        const struct dtype_info *d = dtype_info((uint32_t)want[i].t);
        enum dtype t;
        size_t n;
        assert_non_null(d);
        assert_string_equal(d->name, want[i].name);
        assert_int_equal(d->block_elems, want[i].elems);
        assert_int_equal(d->block_bytes, want[i].bytes);
        assert_true(dtype_by_name(want[i].name, &t) && t == want[i].t);
        assert_true(dtype_bytes(t, 3 * d->block_elems, &n));
        assert_int_equal(n, 3 * d->block_bytes);
    }
    size_t n_known = 0;
    for (uint32_t t = 0; t < 1000; t++) n_known += dtype_info(t) != NULL;
    assert_int_equal(n_known, COUNT_OF(want) + 1); /* and one that no file may have */
    enum dtype t;
    assert_false(dtype_by_name("fp8", &t));
}

/* Every number of e4m3 comes back, what lies between two goes to the nearer one, halfway to the even one. */
static void test_fp8(void **state)
{
    for (uint32_t v = 0; v <= 0x7e; v++)
        for (uint32_t s = 0; s <= 0x80; s += 0x80) {
            const uint32_t exponent = v >> 3, mantissa = v & 7;
            const float sign = s ? -1 : 1, x = exponent ? ldexpf(1 + (float)mantissa / 8, (int)exponent - 7)
                                                        : ldexpf((float)mantissa / 8, -6);
            assert_true(e4m3_to_float((uint8_t)(v | s)) == sign * x);
            assert_int_equal(e4m3_from_float(sign * x), v | s);
            if (v == 0x7e) continue;
            const float tie = (x + e4m3_to_float((uint8_t)(v + 1))) / 2;
            assert_int_equal(e4m3_from_float(sign * tie), (v + (v & 1)) | s);
            assert_int_equal(e4m3_from_float(sign * nextafterf(tie, 0)), v | s);
            assert_int_equal(e4m3_from_float(sign * nextafterf(tie, 1000)), (v + 1) | s);
        }
    assert_int_equal(e4m3_from_float(1e30f), 0x7e);
    assert_int_equal(e4m3_from_float(-INFINITY), 0xfe);
    float x[64], y[64];
    struct block_fp8 b[2];
    for (int i = 0; i < 64; i++) x[i] = i < 32 ? (float)(i * i - 300) * 0.013f : 0;
    dtype_info(DT_FP8)->encode(x, b, 64, NULL);
    dtype_info(DT_FP8)->decode(b, y, 64);
    for (int i = 0; i < 64; i++) assert_true(fabsf(y[i] - x[i]) <= fabsf(x[i]) / 15);
}

static void test_hostile_sizes(void **state)
{
    static const struct {
        uint32_t t;
        int64_t n;
        bool ok;
        size_t bytes;
    } row[] = {
        {DT_F32, 0, true, 0},
        {DT_F32, -1, false, 0},
        {DT_F32, INT64_MIN, false, 0},
        {DT_F32, INT64_MAX, false, 0}, /* 2^65 bytes */
        {DT_F32, INT64_MAX / 4, true, INT64_MAX / 4 * 4},
        {DT_F64, INT64_MAX / 4, true, INT64_MAX / 4 * (size_t)8},
        {DT_F64, INT64_MAX / 2, false, 0},
        {DT_Q4_0, 31, false, 0},
        {DT_Q4_0, 32, true, 18},
        {DT_Q8_1, INT64_MAX - 31, true, (INT64_MAX / 32) * (size_t)36}, /* nine bits a weight: over 2^63 */
        {DT_Q6_K, 255, false, 0},
        {DT_Q6_K, 512, true, 420},
        {4, 32, false, 0},
        {DT_COUNT, 32, false, 0},
        {UINT32_MAX, 32, false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        size_t bytes = 0;
        bool ok = dtype_bytes((enum dtype)row[i].t, row[i].n, &bytes);
        if (ok != row[i].ok || (ok && bytes != row[i].bytes))
            fail_msg("dtype_bytes(%u, %lld) = %d, %zu", row[i].t, (long long)row[i].n, ok, bytes);
    }
}

static void test_names(void **state)
{
    static const char *const unknown[] = {"", "q4", "q4_k_m", "q4_00", " f32", "q4_2", "f32 "};
    enum dtype t = DT_F64;
    assert_true(dtype_by_name("Q4_K", &t) && t == DT_Q4_K);
    assert_true(dtype_by_name("bF16", &t) && t == DT_BF16);
    for (size_t i = 0; i < COUNT_OF(unknown); i++) assert_false(dtype_by_name(unknown[i], &t));
    assert_int_equal(t, DT_BF16); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half_decodes),
        cmocka_unit_test(test_every_half_survives),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
