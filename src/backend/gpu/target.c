/* Finding and loading a target's shared object, once. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/gpu/gpu_int.h"

#ifndef CORRAL_LIBDIR
#define CORRAL_LIBDIR "/usr/local/lib/corral"
#endif

static struct target {
    const char *name;
    pthread_once_t once;
    const struct gpu_ops *ops;
    struct error why;
} targets[] = {{.name = "cuda", .once = PTHREAD_ONCE_INIT}, {.name = "sim", .once = PTHREAD_ONCE_INIT}};

/* Beside the program (a build folder), where `make install` puts it, or where CORRAL_PLUGINS says; the i-th
 * place to look, or false. */
static bool place(char *out, size_t n, unsigned i)
{
    char self[512];
    const char *set = getenv("CORRAL_PLUGINS");
    if (set && *set) {
        snprintf(out, n, "%s", set);
        return i == 0;
    }
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[MAX(len, 0)] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    switch (i) {
    case 0: snprintf(out, n, "%s", self); return true;
    case 1: snprintf(out, n, "%s/../lib/corral", self); return true;
    case 2: snprintf(out, n, "%s", CORRAL_LIBDIR); return true;
    default: return false;
    }
}

static void load(struct target *t)
{
    char folder[1024], path[1200];
    for (unsigned i = 0; place(folder, sizeof folder, i); i++) {
        snprintf(path, sizeof path, "%s/corral_%s.so", folder, t->name);
        if (access(path, F_OK) != 0) continue;
        /* Never unloaded: its kernels' memory may be in use to the end. */
        void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!so) {
            (void)fail(&t->why, ERR_UNSUPPORTED, "%s", dlerror());
            return;
        }
        gpu_ops_fn *get;
        void *symbol = dlsym(so, "corral_gpu_ops");
        memcpy(&get, &symbol, sizeof get);
        const struct gpu_ops *ops = symbol ? get() : NULL;
        if (!ops || ops->abi != GPU_OPS_ABI || strcmp(ops->target, t->name) != 0)
            (void)fail(&t->why, ERR_UNSUPPORTED, "%s is of another version of Corral", path);
        else
            t->ops = ops;
        return;
    }
    (void)fail(&t->why, ERR_UNSUPPORTED, "corral_%s.so is not beside the program: %s", t->name,
               strcmp(t->name, "cuda") != 0 ? "it is built for tests only"
                                            : "this build found no CUDA toolkit (docs/gpu.md)");
}

static void load_cuda(void)
{
    load(&targets[0]);
}
static void load_sim(void)
{
    load(&targets[1]);
}

const struct gpu_ops *gpu_target(const char *name, struct error *why)
{
    bool sim = !strcmp(name, targets[1].name);
    struct target *t = &targets[sim];
    pthread_once(&t->once, sim ? load_sim : load_cuda);
    if (!t->ops && why) *why = t->why;
    return t->ops;
}
