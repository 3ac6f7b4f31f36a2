/* The CUDA runtime behind ops.h. The first error of a device is kept; what is queued after it does nothing useful, and
 * sync tells. */
#include "backend/gpu/dev/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

thread_local bool dev_overlap;

struct gpu {
    int          device;
    struct gpu_device dev;
    bool         overlap; /* of kernels, see dev_after */
    cudaStream_t stream;
    cudaEvent_t  event[2];
    cudaError_t  error;
    const char  *doing; /* when the error came */
};

static bool say(char *why, size_t n, const char *doing, cudaError_t r)
{
    snprintf(why, n, "%s: %s (%s)", doing, cudaGetErrorString(r), cudaGetErrorName(r));
    return false;
}

static void note(struct gpu *g, const char *doing, cudaError_t r)
{
    if (r == cudaSuccess || g->error != cudaSuccess) return;
    g->error = r;
    g->doing = doing;
}

static int cuda_count(char *why, size_t n)
{
    int count = 0, driver = 0, runtime = 0;
    const cudaError_t r = cudaGetDeviceCount(&count);
    if (r == cudaSuccess && count > 0) return count;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
        snprintf(why, n, "no NVIDIA driver is loaded");
    } else if (r == cudaErrorInsufficientDriver && cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
        snprintf(why, n, "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d: update the driver", driver / 1000,
                 driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    } else if (r != cudaSuccess) {
        say(why, n, "looking for devices", r);
    } else {
        snprintf(why, n, "there is no NVIDIA GPU");
    }
    return 0;
}

static bool cuda_info(int device, struct gpu_info *out, char *why, size_t n)
{
    struct cudaDeviceProp p;
    size_t free_bytes = 0, all_bytes = 0;
    cudaError_t r = cudaGetDeviceProperties(&p, device);
    if (r != cudaSuccess) return say(why, n, "asking for the device", r);
    *out = (struct gpu_info){};
    snprintf(out->name, sizeof out->name, "%.95s", p.name);
    out->memory_bytes = p.totalGlobalMem;
    out->n_core = (uint32_t)p.multiProcessorCount;
    out->major = p.major, out->minor = p.minor;
    if (p.major < 8) {
        snprintf(why, n, "%s has compute capability %d.%d, 8.0 is needed", p.name, p.major, p.minor);
        return false;
    }
    r = cudaSetDevice(device);
    if (r == cudaSuccess) r = cudaMemGetInfo(&free_bytes, &all_bytes);
    if (r != cudaSuccess) return say(why, n, "using the device", r);
    out->memory_free_bytes = free_bytes;
    return true;
}

static void cuda_close(struct gpu *g)
{
    if (!g) return;
    cudaSetDevice(g->device);
    blas_close(g->dev.blas);
    for (int i = 0; i < 2; i++)
        if (g->event[i]) cudaEventDestroy(g->event[i]);
    if (g->stream) cudaStreamDestroy(g->stream);
    free(g);
}

static struct gpu *cuda_open(int device, char *why, size_t n)
{
    struct gpu_info info;
    if (!cuda_info(device, &info, why, n)) return NULL;
    struct gpu *g = (struct gpu *)calloc(1, sizeof *g);
    if (!g) {
        snprintf(why, n, "no memory");
        return NULL;
    }
    g->device = device;
    cudaError_t r = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    for (int i = 0; r == cudaSuccess && i < 2; i++) r = cudaEventCreateWithFlags(&g->event[i], cudaEventDisableTiming);
    if (r == cudaSuccess && (!attn_prepare() || !gemm_prepare())) r = cudaGetLastError();
    const char *overlap = getenv("CORRAL_CUDA_OVERLAP"); /* 0: kernels one after the other, to find a mistake */
    g->overlap = info.major >= 9 && !(overlap && !strcmp(overlap, "0"));
    g->dev.n_core = info.n_core;
#ifdef CORRAL_SM90A
    g->dev.hopper = r == cudaSuccess && info.major == 9;
    if (g->dev.hopper && !(gemm90_prepare() && attn90_prepare())) r = cudaErrorNotSupported;
#endif
    if (r == cudaSuccess) return g;
    say(why, n, "opening the device", r);
    cuda_close(g);
    return NULL;
}

/* Every call may come from another thread than the last. */
static void enter(struct gpu *g)
{
    note(g, "using the device", cudaSetDevice(g->device));
    dev_overlap = g->overlap;
}

static bool cuda_sync(struct gpu *g, char *why, size_t n)
{
    enter(g);
    note(g, "starting a kernel", cudaGetLastError());
    note(g, "running", cudaStreamSynchronize(g->stream));
    return g->error == cudaSuccess || say(why, n, g->doing, g->error);
}

static void *cuda_alloc(struct gpu *g, size_t bytes)
{
    void *p = NULL;
    enter(g);
    if (cudaMalloc(&p, bytes) == cudaSuccess) return p;
    (void)cudaGetLastError(); /* not an error of the device */
    return NULL;
}
static void cuda_release(struct gpu *g, void *p)
{
    enter(g);
    note(g, "releasing memory", cudaFree(p));
}
static void *cuda_host_alloc(struct gpu *g, size_t bytes)
{
    void *p = NULL;
    enter(g);
    if (cudaHostAlloc(&p, bytes, cudaHostAllocDefault) == cudaSuccess) return p;
    (void)cudaGetLastError();
    return NULL;
}
static void cuda_host_release(struct gpu *g, void *p)
{
    enter(g);
    note(g, "releasing host memory", cudaFreeHost(p));
}
static void cuda_copy_in(struct gpu *g, void *to, const void *from, size_t bytes)
{
    enter(g);
    note(g, "copying to the device", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, g->stream));
}
static void cuda_copy_out(struct gpu *g, void *to, const void *from, size_t bytes)
{
    enter(g);
    note(g, "copying from the device", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, g->stream));
}
static void cuda_copy(struct gpu *g, void *to, const void *from, size_t bytes)
{
    enter(g);
    note(g, "copying on the device", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, g->stream));
}
static void cuda_zero(struct gpu *g, void *to, size_t bytes)
{
    enter(g);
    note(g, "clearing memory", cudaMemsetAsync(to, 0, bytes, g->stream));
}

static void cuda_mark(struct gpu *g, int which)
{
    enter(g);
    note(g, "marking", cudaEventRecord(g->event[which], g->stream));
}
static bool cuda_wait_mark(struct gpu *g, int which, char *why, size_t n)
{
    enter(g);
    note(g, "starting a kernel", cudaGetLastError());
    note(g, "running", cudaEventSynchronize(g->event[which]));
    return g->error == cudaSuccess || (why && say(why, n, g->doing, g->error));
}

static bool cuda_graph_begin(struct gpu *g)
{
    enter(g);
    return cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
}
static struct gpu_graph *cuda_graph_end(struct gpu *g)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    enter(g);
    if (cudaStreamEndCapture(g->stream, &graph) == cudaSuccess && graph &&
        cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess)
        exec = NULL;
    if (graph) cudaGraphDestroy(graph);
    if (!exec) (void)cudaGetLastError(); /* the work is queued as usual instead */
    return (struct gpu_graph *)exec;
}
static void cuda_graph_run(struct gpu *g, struct gpu_graph *x)
{
    enter(g);
    note(g, "starting a graph", cudaGraphLaunch((cudaGraphExec_t)x, g->stream));
}
static void cuda_graph_free(struct gpu *g, struct gpu_graph *x)
{
    enter(g);
    if (x) note(g, "releasing a graph", cudaGraphExecDestroy((cudaGraphExec_t)x));
}

#define TARGET(name) cuda_##name
#define STREAM(g)    (enter(g), (g)->stream)
#define TEXT_(x)     #x
#define TEXT(x)      TEXT_(x)
static const char target_name[] = "cuda";
static const char target_built[] = "CUDA " TEXT(__CUDACC_VER_MAJOR__) "." TEXT(__CUDACC_VER_MINOR__) ", for sm_" TEXT(CORRAL_CUDA_ARCHS);
static const char *const library_names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
enum { library_bytes = 32 << 20 }; /* as NVIDIA advises for Hopper */
#include "backend/gpu/dev/table.inc"
