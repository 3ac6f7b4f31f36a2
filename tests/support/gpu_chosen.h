/* The device that $CORRAL_GPU names, the simulator without it, opened for tests of its operations. Header only. */
#ifndef CORRAL_TESTS_GPU_CHOSEN_H
#define CORRAL_TESTS_GPU_CHOSEN_H

#include <stdio.h>
#include <stdlib.h>

#include "backend/gpu/gpu_int.h"

/* NULL: there is none, which was said; *rc is what main returns then: 0 for a simulator that was not built, 2 for a device
 * that was asked for. */
static struct gpu *gpu_chosen(const struct gpu_ops **ops, int *rc)
{
    const char *name = getenv("CORRAL_GPU") ? getenv("CORRAL_GPU") : "sim";
    struct error e = {0};
    char why[200] = "";
    *ops = gpu_target(name, &e);
    if (!*ops || (*ops)->count(why, sizeof why) <= 0) {
        printf("skipped: %s: %s\n", name, *ops ? why : e.msg);
        *rc = getenv("CORRAL_GPU") ? 2 : 0;
        return NULL;
    }
    struct gpu *gpu = (*ops)->open(0, why, sizeof why);
    *rc = 1;
    if (!gpu) fprintf(stderr, "%s: %s\n", name, why);
    return gpu;
}

#endif
