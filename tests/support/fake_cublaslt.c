/* A cuBLASLt that does its products in plain loops on host memory, so that the simulator's tests execute the
 * code that speaks to the real one. It answers as the documentation says: matrices are columns, C and D are
 * the same here. What it is not asked in the one form that Corral uses, it refuses. $FAKE_CUBLASLT makes it
 * fail: `create`, `search`, `nothing` (a search without results) or `run`. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/dev/cublaslt.h"

struct lt_handle_st {
    int unused;
};
struct lt_desc_st {
    int32_t transposed_a;
};
struct lt_layout_st {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
struct lt_pref_st {
    size_t workspace_bytes;
    uint32_t aligned[4];
};

enum { INVALID = 7, WORKSPACE = 1000 };

#define EXPORT                __attribute__((visibility("default")))
#define X(result, name, args) EXPORT result cublasLt##name args;
CUBLASLT_FUNCTIONS(X)
#undef X
EXPORT unsigned fake_cublaslt_products(void);

static unsigned n_product;
static struct lt_handle_st the_handle;

static bool told_to_fail(const char *at)
{
    const char *s = getenv("FAKE_CUBLASLT");
    return s && !strcmp(s, at);
}

static float number(uint16_t bf16)
{
    uint32_t u = (uint32_t)bf16 << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* How many products were done, for the tests. */
unsigned fake_cublaslt_products(void)
{
    return n_product;
}

size_t cublasLtGetVersion(void)
{
    return 120400;
}

int cublasLtCreate(lt_handle *out)
{
    *out = &the_handle;
    return told_to_fail("create") ? LT_NOT_INITIALIZED : LT_SUCCESS;
}

int cublasLtDestroy(lt_handle h)
{
    return h == &the_handle ? LT_SUCCESS : INVALID;
}

int cublasLtMatmulDescCreate(lt_desc *out, int compute, int scale_type)
{
    if (compute != LT_COMPUTE_32F || scale_type != LT_R_32F) return LT_NOT_SUPPORTED;
    *out = calloc(1, sizeof **out);
    return LT_SUCCESS;
}

int cublasLtMatmulDescDestroy(lt_desc d)
{
    free(d);
    return LT_SUCCESS;
}

int cublasLtMatmulDescSetAttribute(lt_desc d, int which, const void *value, size_t bytes)
{
    if (which != LT_DESC_TRANSA || bytes != sizeof d->transposed_a) return INVALID;
    memcpy(&d->transposed_a, value, bytes);
    return LT_SUCCESS;
}

int cublasLtMatrixLayoutCreate(lt_layout *out, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    if (ld < (int64_t)rows) return INVALID;
    *out = malloc(sizeof **out);
    **out = (struct lt_layout_st){type, rows, cols, ld};
    return LT_SUCCESS;
}

int cublasLtMatrixLayoutDestroy(lt_layout l)
{
    free(l);
    return LT_SUCCESS;
}

int cublasLtMatmulPreferenceCreate(lt_pref *out)
{
    *out = malloc(sizeof **out);
    **out = (struct lt_pref_st){0, {256, 256, 256, 256}};
    return LT_SUCCESS;
}

int cublasLtMatmulPreferenceDestroy(lt_pref p)
{
    free(p);
    return LT_SUCCESS;
}

int cublasLtMatmulPreferenceSetAttribute(lt_pref p, int which, const void *value, size_t bytes)
{
    if (which == LT_PREF_WORKSPACE_BYTES && bytes == sizeof p->workspace_bytes) {
        memcpy(&p->workspace_bytes, value, bytes);
        return LT_SUCCESS;
    }
    if (which < LT_PREF_ALIGNMENT_A || which > LT_PREF_ALIGNMENT_D || bytes != sizeof *p->aligned)
        return INVALID;
    memcpy(&p->aligned[which - LT_PREF_ALIGNMENT_A], value, bytes);
    return LT_SUCCESS;
}

/* What the search promised; Matmul holds the caller to it. */
static struct {
    uint32_t aligned[4];
    uint64_t m, n, k;
} chosen;

int cublasLtMatmulAlgoGetHeuristic(lt_handle h, lt_desc desc, lt_layout a, lt_layout b, lt_layout c,
                                   lt_layout d, lt_pref pref, int wanted, struct lt_found *out, int *found)
{
    *found = 0;
    if (h != &the_handle || wanted < 1 || told_to_fail("search")) return LT_NOT_SUPPORTED;
    if (told_to_fail("nothing")) return LT_SUCCESS;
    if (desc->transposed_a != LT_TRANSPOSED || a->type != LT_R_16BF || b->type != LT_R_16BF ||
        c->type != LT_R_32F || d->type != LT_R_32F || a->rows != b->rows || d->rows != a->cols ||
        d->cols != b->cols || c->ld != d->ld || pref->workspace_bytes < WORKSPACE)
        return LT_NOT_SUPPORTED;
    memcpy(chosen.aligned, pref->aligned, sizeof chosen.aligned);
    chosen.m = d->rows, chosen.n = d->cols, chosen.k = a->rows;
    *out = (struct lt_found){.algo = {{a->cols, 42}}, .workspace_bytes = WORKSPACE, .state = LT_SUCCESS};
    *found = 1;
    return LT_SUCCESS;
}

int cublasLtMatmul(lt_handle h, lt_desc desc, const void *alpha, const void *a, lt_layout la, const void *b,
                   lt_layout lb, const void *beta, const void *c, lt_layout lc, void *d, lt_layout ld,
                   const struct lt_algo *algo, void *work, size_t work_bytes, void *stream)
{
    const void *const at[] = {a, b, c, d};
    float by, keep;
    memcpy(&by, alpha, sizeof by);
    memcpy(&keep, beta, sizeof keep);
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)at[i] % chosen.aligned[i]) return INVALID;
    if (h != &the_handle || c != d || lc->ld != ld->ld || algo->data[0] != la->cols || algo->data[1] != 42 ||
        work_bytes < WORKSPACE || ld->rows != chosen.m || ld->cols != chosen.n || la->rows != chosen.k ||
        told_to_fail("run"))
        return INVALID;
    memset(work, 0x7f, WORKSPACE); /* it is ours */
    for (uint64_t j = 0; j < ld->cols; j++)
        for (uint64_t i = 0; i < ld->rows; i++) {
            const uint16_t *x = (const uint16_t *)a + i * (uint64_t)la->ld,
                           *y = (const uint16_t *)b + j * (uint64_t)lb->ld;
            float *to = (float *)d + j * (uint64_t)ld->ld + i, sum = 0;
            for (uint64_t k = 0; k < la->rows; k++) sum += number(x[k]) * number(y[k]);
            *to = keep != 0 ? by * sum + keep * *to : by * sum;
        }
    n_product++;
    return LT_SUCCESS;
}
