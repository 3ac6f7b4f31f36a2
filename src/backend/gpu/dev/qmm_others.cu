#include "backend/gpu/dev/qmm.cuh"

bool qmm_others(cudaStream_t stream, const struct gpu_matmul *a)
{
    switch (a->w.type) {
        QMM_CASE(DT_IQ4_NL)
        QMM_CASE(DT_IQ4_XS)
        QMM_CASE(DT_MXFP4)
        QMM_CASE(DT_BF16)
        QMM_CASE(GPU_F8_E4M3)
    default: return false;
    }
}
