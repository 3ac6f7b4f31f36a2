/* The simulator by the name of CUDA: corral_cuda.so for tests of what is placed on NVIDIA's cards. As many
 * cards as CUDA_VISIBLE_DEVICES names, which is what a worker was given. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/ops.h"

__attribute__((visibility("default"))) gpu_ops_fn corral_gpu_ops;

const struct gpu_ops *corral_gpu_ops(void)
{
    static struct gpu_ops ops;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char count[16];
    unsigned n = 1;
    for (; visible && *visible; visible++) n += *visible == ',';
    snprintf(count, sizeof count, "%u", n);
    setenv("CORRAL_SIM_DEVICES", count, 1);
    void *so = dlopen(SIM_LIBRARY, RTLD_NOW | RTLD_LOCAL), *symbol = so ? dlsym(so, "corral_gpu_ops") : NULL;
    gpu_ops_fn *get;
    memcpy(&get, &symbol, sizeof get);
    if (!symbol) return NULL;
    ops = *get();
    ops.target = "cuda";
    return &ops;
}
