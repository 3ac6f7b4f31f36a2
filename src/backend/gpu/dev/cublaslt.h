/* The part of cuBLASLt that products of matrices need, declared here so that building wants no header of it. The calls
 * and numbers are those of NVIDIA's documentation, the same since version 11. A library to test with is
 * tests/support/fake_cublaslt.c. C and C++. */
#ifndef CORRAL_GPU_CUBLASLT_H
#define CORRAL_GPU_CUBLASLT_H

#include <stddef.h>
#include <stdint.h>

enum {
    LT_SUCCESS = 0, LT_NOT_INITIALIZED = 1, LT_NOT_SUPPORTED = 15,
    LT_COMPUTE_32F = 68, LT_R_32F = 0, LT_R_16BF = 14,
    LT_DESC_TRANSA = 3, LT_TRANSPOSED = 1,
    LT_PREF_WORKSPACE_BYTES = 1,
    LT_PREF_ALIGNMENT_A = 5, LT_PREF_ALIGNMENT_B = 6, LT_PREF_ALIGNMENT_C = 7, LT_PREF_ALIGNMENT_D = 8,
};

typedef struct lt_handle_st *lt_handle;
typedef struct lt_desc_st *lt_desc;     /* what to compute */
typedef struct lt_layout_st *lt_layout; /* columns one after the other, ld apart */
typedef struct lt_pref_st *lt_pref;

struct lt_algo { uint64_t data[8]; };
struct lt_found {
    struct lt_algo algo;
    size_t         workspace_bytes;
    int            state;
    float          waves;
    int            reserved[4];
};

/* X(result, name, arguments): cublasLt##name */
#define CUBLASLT_FUNCTIONS(X)                                                                                          \
    X(size_t, GetVersion, (void))                                                                                      \
    X(int, Create, (lt_handle *))                                                                                      \
    X(int, Destroy, (lt_handle))                                                                                       \
    X(int, MatmulDescCreate, (lt_desc *, int compute, int scale_type))                                                 \
    X(int, MatmulDescDestroy, (lt_desc))                                                                               \
    X(int, MatmulDescSetAttribute, (lt_desc, int which, const void *, size_t))                                         \
    X(int, MatrixLayoutCreate, (lt_layout *, int type, uint64_t rows, uint64_t cols, int64_t ld))                      \
    X(int, MatrixLayoutDestroy, (lt_layout))                                                                           \
    X(int, MatmulPreferenceCreate, (lt_pref *))                                                                        \
    X(int, MatmulPreferenceDestroy, (lt_pref))                                                                         \
    X(int, MatmulPreferenceSetAttribute, (lt_pref, int which, const void *, size_t))                                   \
    X(int, MatmulAlgoGetHeuristic, (lt_handle, lt_desc, lt_layout a, lt_layout b, lt_layout c, lt_layout d, lt_pref,   \
                                    int wanted, struct lt_found *, int *found))                                        \
    X(int, Matmul, (lt_handle, lt_desc, const void *alpha, const void *a, lt_layout, const void *b, lt_layout,         \
                    const void *beta, const void *c, lt_layout, void *d, lt_layout, const struct lt_algo *,            \
                    void *work, size_t work_bytes, void *stream))

#endif
