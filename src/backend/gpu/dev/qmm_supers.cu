#include "backend/gpu/dev/qmm.cuh"

bool qmm_supers(cudaStream_t stream, const struct gpu_matmul *a)
{
    switch (a->w.type) {
        QMM_CASE(DT_Q2_K)
        QMM_CASE(DT_Q3_K)
        QMM_CASE(DT_Q4_K)
        QMM_CASE(DT_Q5_K)
        QMM_CASE(DT_Q6_K)
    default: return false;
    }
}
