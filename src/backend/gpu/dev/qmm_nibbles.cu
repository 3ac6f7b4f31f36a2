#include "backend/gpu/dev/qmm.cuh"

bool qmm_nibbles(cudaStream_t stream, const struct gpu_matmul *a)
{
    switch (a->w.type) {
        QMM_CASE(DT_Q4_0)
        QMM_CASE(DT_Q4_1)
        QMM_CASE(DT_Q5_0)
        QMM_CASE(DT_Q5_1)
        QMM_CASE(DT_Q8_0)
        QMM_CASE(DT_TQ2_0)
    case DT_TQ1_0: qmm<DT_TQ2_0>(stream, a); return true;
    default: return false;
    }
}
