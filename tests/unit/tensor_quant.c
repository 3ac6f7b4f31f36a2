/* Block formats: decode bit for bit against the gguf package. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "golden/quant_vectors.h"
#include "tensor/dtype.h"
#include "tensor/quant/q4_k.h"

/* After base.h, whose fail() it hides. */
#include <cmocka.h>

static uint64_t fnv(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

/* Blocks lie at any address: decode from an odd one as well. */
static void test_decode_vectors(void **state)
{
    for (size_t i = 0; i < COUNT_OF(quant_vectors); i++) {
        const struct dtype_info *d = dtype_info(quant_vectors[i].dtype);
        size_t n = quant_vectors[i].n, bytes;
        assert_true(dtype_bytes(quant_vectors[i].dtype, (int64_t)n, &bytes));
        assert_int_equal(bytes, quant_vectors[i].n_bytes);
        for (int shift = 0; shift < 2; shift++) {
            uint8_t *x = mem_alloc(bytes + 1);
            float *y = mem_alloc(n * sizeof *y);
            memcpy(x + shift, quant_vectors[i].blocks, bytes);
            d->decode(x + shift, y, n);
            const size_t at[4] = {0, 1, n / 2, n - 1};
            for (int k = 0; k < 4; k++) {
                uint32_t got;
                memcpy(&got, &y[at[k]], 4);
                if (got != quant_vectors[i].some[k])
                    fail_msg("%s element %zu: 0x%08x, want 0x%08x", d->name, at[k], got,
                             quant_vectors[i].some[k]);
            }
            if (fnv(y, n * sizeof *y) != quant_vectors[i].hash) fail_msg("%s: some element differs", d->name);
            free(x);
            free(y);
        }
    }
}

/* Every format that can be decoded, but for the activation formats, has a vector. */
static void test_vectors_are_complete(void **state)
{
    for (uint32_t t = 0; t < DT_COUNT; t++) {
        const struct dtype_info *d = dtype_info(t);
        bool found = t == DT_F32 || t == DT_Q8_1 || t == DT_Q8_K;
        if (!d || !d->decode) continue;
        for (size_t i = 0; i < COUNT_OF(quant_vectors); i++) found |= quant_vectors[i].dtype == t;
        if (!found) fail_msg("no vector for %s", d->name);
    }
}

static void test_k_scales(void **state)
{
    uint8_t packed[12], all[16], repacked[12];
    for (int i = 0; i < 12; i++) packed[i] = (uint8_t)(37 * i * i + 91 * i + 5);
    q4_k_scales_mins(packed, all);
    for (int s = 0; s < 8; s++) {
        int scale, min;
        q4_k_scale_min(packed, s, &scale, &min);
        assert_int_equal(all[s], scale);
        assert_int_equal(all[8 + s], min);
    }
    q4_k_pack_scales_mins(repacked, all, all + 8);
    assert_memory_equal(packed, repacked, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_vectors),
        cmocka_unit_test(test_vectors_are_complete),
        cmocka_unit_test(test_k_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
