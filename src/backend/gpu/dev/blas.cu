/* cuBLASLt for products with many rows. It is opened when a model with such steps is loaded and never linked: the file
 * has half a gigabyte, and gemm.cu does what is needed without it. */
#include "backend/gpu/dev/cublaslt.h"
#include "backend/gpu/dev/gemm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct blas {
    lt_handle handle;
#define X(result, name, args) result(*name) args;
    CUBLASLT_FUNCTIONS(X)
#undef X
};

static bool load(struct blas *b, const char *name, char *what, size_t n)
{
    void *so = dlopen(name, RTLD_NOW | RTLD_LOCAL), *f; /* never closed: it may have threads */
    if (!so) {
        snprintf(what, n, "%s", dlerror());
        return false;
    }
#define X(result, call, args)                                                                                          \
    f = dlsym(so, "cublasLt" #call);                                                                                   \
    memcpy(&b->call, &f, sizeof f);                                                                                    \
    if (!f) {                                                                                                          \
        snprintf(what, n, "%s has no cublasLt" #call, name);                                                           \
        return false;                                                                                                  \
    }
    CUBLASLT_FUNCTIONS(X)
#undef X
    const int status = b->Create(&b->handle);
    if (status == LT_SUCCESS) {
        const size_t v = b->GetVersion();
        snprintf(what, n, "%s, version %zu.%zu.%zu", name, v / 10000, v / 100 % 100, v % 100);
        return true;
    }
    snprintf(what, n, "%s does not start: status %d", name, status);
    return false;
}

struct blas *blas_open(const char *const *names, char *what, size_t n)
{
    struct blas *b = (struct blas *)calloc(1, sizeof *b);
    if (!b) snprintf(what, n, "no memory");
    for (; b && *names; names++)
        if (load(b, *names, what, n)) return b;
    free(b);
    return NULL;
}

void blas_close(struct blas *b)
{
    if (b) b->Destroy(b->handle);
    free(b);
}

/* The largest power of two up to 256 that divides an address. */
static uint32_t alignment(const void *p)
{
    const uint32_t low = (uint32_t)(uintptr_t)p | 256;
    return low & (~low + 1);
}

struct request {
    lt_desc   desc;
    lt_layout w, x, y;
    lt_pref   pref;
};

/* To the library, matrices are columns: a row of ours is a column of its. So w is (n_in, n_out) and is transposed, x is
 * (n_in, n_row), y is (n_out, n_row). */
static bool describe(const struct blas *b, struct request *r, const struct gemm *g, size_t room_bytes)
{
    const int32_t transposed = LT_TRANSPOSED;
    const uint32_t aligned[] = {alignment(g->w), alignment(g->x), alignment(g->y), alignment(g->y)};
    if (b->MatmulDescCreate(&r->desc, LT_COMPUTE_32F, LT_R_32F) != LT_SUCCESS ||
        b->MatmulDescSetAttribute(r->desc, LT_DESC_TRANSA, &transposed, sizeof transposed) != LT_SUCCESS ||
        b->MatrixLayoutCreate(&r->w, LT_R_16BF, g->n_in, g->n_out, g->n_in) != LT_SUCCESS ||
        b->MatrixLayoutCreate(&r->x, LT_R_16BF, g->n_in, g->n_row, g->ldx) != LT_SUCCESS ||
        b->MatrixLayoutCreate(&r->y, LT_R_32F, g->n_out, g->n_row, g->ldy) != LT_SUCCESS ||
        b->MatmulPreferenceCreate(&r->pref) != LT_SUCCESS ||
        b->MatmulPreferenceSetAttribute(r->pref, LT_PREF_WORKSPACE_BYTES, &room_bytes, sizeof room_bytes) != LT_SUCCESS)
        return false;
    for (int i = 0; i < 4; i++)
        if (b->MatmulPreferenceSetAttribute(r->pref, LT_PREF_ALIGNMENT_A + i, &aligned[i], sizeof aligned[i]) != LT_SUCCESS)
            return false;
    return true;
}

/* The library keeps what its heuristics found for a shape, so they are asked every time. */
bool blas_product(const struct blas *b, cudaStream_t stream, const struct gemm *g, void *room, size_t room_bytes)
{
    const float alpha = 1, beta = g->add ? 1 : 0;
    struct request r = {};
    struct lt_found best = {};
    int n_found = 0;
    bool done = describe(b, &r, g, room_bytes) &&
                b->MatmulAlgoGetHeuristic(b->handle, r.desc, r.w, r.x, r.y, r.y, r.pref, 1, &best, &n_found) == LT_SUCCESS &&
                n_found > 0 && best.state == LT_SUCCESS && best.workspace_bytes <= room_bytes &&
                b->Matmul(b->handle, r.desc, &alpha, g->w, r.w, g->x, r.x, &beta, g->y, r.y, g->y, r.y, &best.algo, room,
                          room_bytes, (void *)stream) == LT_SUCCESS;
    if (r.pref) b->MatmulPreferenceDestroy(r.pref);
    if (r.y) b->MatrixLayoutDestroy(r.y);
    if (r.x) b->MatrixLayoutDestroy(r.x);
    if (r.w) b->MatrixLayoutDestroy(r.w);
    if (r.desc) b->MatmulDescDestroy(r.desc);
    return done;
}
