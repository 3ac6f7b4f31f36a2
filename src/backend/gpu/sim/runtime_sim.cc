/* A device that is not there: ops.h over host memory and the simulator. Memory is filled with NaN when it is given out.
 * CORRAL_SIM_MEMORY limits it to so many bytes (else to a quarter of the machine's), for tests of what happens when it runs
 * out, CORRAL_SIM_DEVICES=N makes it N devices of so much each; with CORRAL_SIM_FAIL=N the device fails when it is waited for the N-th time, and from then on. */
#include "backend/gpu/dev/gemm.h"

#include <unistd.h>

struct gpu_graph {
    struct call {
        dim3 grid, block;
        size_t dyn_bytes;
        void (*fn)(void *);
        void *arg;
        struct call *next;
    } *first, **end;
};

struct gpu {
    struct gpu_device dev;
    size_t used_bytes, limit_bytes;
    unsigned long n_sync, fails_at; /* 0: never */
    struct gpu_graph *recording;
};

static thread_local struct gpu *recorder; /* the device whose work this thread keeps */

bool sim_recording(void) { return recorder != NULL; }

void sim_record(dim3 grid, dim3 block, size_t dyn_bytes, void (*fn)(void *), const void *arg, size_t bytes)
{
    struct gpu_graph::call *c = (struct gpu_graph::call *)calloc(1, sizeof *c);
    void *copy = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!c || !copy) sim_die("no memory to record a launch");
    memcpy(copy, arg, bytes);
    c->grid = grid, c->block = block, c->dyn_bytes = dyn_bytes, c->fn = fn, c->arg = copy;
    *recorder->recording->end = c;
    recorder->recording->end = &c->next;
}

static int sim_count(char *why, size_t n)
{
    const char *s = getenv("CORRAL_SIM_DEVICES");
    const long count = s ? strtol(s, NULL, 10) : 1;
    if (count >= 1 && count <= 64) return (int)count;
    snprintf(why, n, "CORRAL_SIM_DEVICES is no number from 1 to 64");
    return 0;
}

static size_t memory_limit(void)
{
    const char *s = getenv("CORRAL_SIM_MEMORY");
    if (s) return strtoull(s, NULL, 10);
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 4;
}

static bool sim_info(int device, struct gpu_info *out, char *why, size_t n)
{
    const int count = sim_count(why, n);
    if (count == 0) return false;
    if (device < 0 || device >= count) {
        snprintf(why, n, "there is no simulated device %d, the last is %d (CORRAL_SIM_DEVICES)", device, count - 1);
        return false;
    }
    *out = (struct gpu_info){};
    snprintf(out->name, sizeof out->name, "GPU kernels on the CPU");
    out->memory_bytes = out->memory_free_bytes = memory_limit();
    out->n_core = 1;
    return true;
}

static struct gpu *sim_open(int device, char *why, size_t n)
{
    struct gpu_info info;
    if (!sim_info(device, &info, why, n)) return NULL;
    struct gpu *g = (struct gpu *)calloc(1, sizeof *g);
    if (!g) return NULL;
    g->limit_bytes = info.memory_bytes;
    g->dev.n_core = 8; /* so that both sizes of tiles are used */
    g->dev.hopper = gemm90_prepare() && attn90_prepare();
    const char *fail = getenv("CORRAL_SIM_FAIL");
    g->fails_at = fail ? strtoul(fail, NULL, 10) : 0;
    return g;
}

static void sim_close(struct gpu *g)
{
    blas_close(g->dev.blas);
    free(g);
}

static bool sim_sync(struct gpu *g, char *why, size_t n)
{
    sim_race_synced();
    if (!g->fails_at || ++g->n_sync < g->fails_at) return true;
    snprintf(why, n, "running: an illegal memory access was made up (CORRAL_SIM_FAIL)");
    return false;
}

/* The size is kept in front, so that memory can be counted. */
enum { FRONT = 256 };
static void *sim_alloc(struct gpu *g, size_t bytes)
{
    if (bytes > g->limit_bytes - g->used_bytes) return NULL;
    char *p = (char *)aligned_alloc(FRONT, (bytes + FRONT + FRONT - 1) & ~(size_t)(FRONT - 1));
    if (!p) return NULL;
    *(size_t *)p = bytes;
    g->used_bytes += bytes;
    return memset(p + FRONT, 0xff, bytes);
}
static void sim_release(struct gpu *g, void *p)
{
    if (!p) return;
    g->used_bytes -= *(size_t *)((char *)p - FRONT);
    free((char *)p - FRONT);
}
static void *sim_host_alloc(struct gpu *g, size_t bytes)
{
    (void)g;
    return malloc(bytes);
}
static void sim_host_release(struct gpu *g, void *p)
{
    (void)g;
    free(p);
}
static void sim_copy(struct gpu *g, void *to, const void *from, size_t bytes)
{
    if (g->recording) sim_die("a copy between graph_begin and graph_end");
    memmove(to, from, bytes);
}
#define sim_copy_in  sim_copy
#define sim_copy_out sim_copy
static void sim_zero(struct gpu *g, void *to, size_t bytes)
{
    if (g->recording) sim_die("a copy between graph_begin and graph_end");
    memset(to, 0, bytes);
}

static void sim_mark(struct gpu *g, int which) { (void)g, (void)which; }
#define sim_wait_mark sim_mark

static bool sim_graph_begin(struct gpu *g)
{
    g->recording = (struct gpu_graph *)calloc(1, sizeof *g->recording);
    if (!g->recording) return false;
    g->recording->end = &g->recording->first;
    recorder = g;
    return true;
}
static struct gpu_graph *sim_graph_end(struct gpu *g)
{
    struct gpu_graph *x = g->recording;
    g->recording = NULL;
    recorder = NULL;
    return x;
}
static void sim_graph_run(struct gpu *g, struct gpu_graph *x)
{
    (void)g;
    for (struct gpu_graph::call *c = x->first; c; c = c->next) sim_run(c->grid, c->block, c->dyn_bytes, c->fn, c->arg);
}
static void sim_graph_free(struct gpu *g, struct gpu_graph *x)
{
    (void)g;
    for (struct gpu_graph::call *c = x ? x->first : NULL, *next; c; c = next) {
        next = c->next;
        free(c->arg);
        free(c);
    }
    free(x);
}

#define TARGET(name) sim_##name
#define STREAM(g)    ((void)(g), (cudaStream_t)NULL)
static const char target_name[] = "sim";
static const char target_built[] = "simulator";
static const char *const library_names[] = {NULL}; /* only what a test names */
enum { library_bytes = 4096 };
#include "backend/gpu/dev/table.inc"
