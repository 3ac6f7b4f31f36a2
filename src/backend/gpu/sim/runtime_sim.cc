/* A device that is not there: ops.h over host memory and the simulator. Memory is filled with NaN when it is given out.
 * CORRAL_SIM_MEMORY limits it to so many bytes (else to a quarter of the machine's), for tests of what happens when it runs
 * out, CORRAL_SIM_DEVICES=N makes it N devices of so much each; with CORRAL_SIM_FAIL=N the device fails when it is waited for the N-th time, and from then on. With CORRAL_SIM_LATE
 * nothing that is queued happens before the host waits for it: what the host writes too early is then seen. */
#include "backend/gpu/dev/gemm.h"

#include <unistd.h>

/* A launch, or what the runtime does itself. */
struct call {
    dim3 grid, block;
    size_t dyn_bytes;
    void (*fn)(void *);
    void *arg;
    bool launch;
    struct call *next;
};
struct calls { struct call *first, **end; };
struct gpu_graph { struct calls calls; };

enum { MAX_PINNED = 256 };
struct gpu {
    struct gpu_device dev;
    size_t used_bytes, limit_bytes;
    unsigned long n_sync, fails_at; /* 0: never */
    struct gpu_graph *recording;
    bool late;
    struct calls queue; /* what waits, if late */
    unsigned long n_marked[2], n_passed[2];
    int last; /* the mark behind which nothing is queued, or -1 */
    struct { char *p; size_t n; } pinned[MAX_PINNED];
    int n_pinned;
};

static thread_local struct gpu *recorder; /* the device whose work this thread keeps */

bool sim_recording(void) { return recorder != NULL; }

static struct call *call_new(struct calls *to, void (*fn)(void *), const void *arg, size_t bytes)
{
    struct call *c = (struct call *)calloc(1, sizeof *c);
    void *copy = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    if (!c || !copy) sim_die("no memory to record a launch");
    memcpy(copy, arg, bytes);
    c->fn = fn, c->arg = copy;
    *to->end = c;
    to->end = &c->next;
    return c;
}

static void call_run(const struct call *c)
{
    if (c->launch)
        sim_run(c->grid, c->block, c->dyn_bytes, c->fn, c->arg);
    else
        c->fn(c->arg);
}

static struct call *call_free(struct call *c)
{
    struct call *next = c->next;
    free(c->arg);
    free(c);
    return next;
}

void sim_record(dim3 grid, dim3 block, size_t dyn_bytes, void (*fn)(void *), const void *arg, size_t bytes)
{
    struct calls *to = recorder->recording ? &recorder->recording->calls : &recorder->queue;
    struct call *c = call_new(to, fn, arg, bytes);
    c->grid = grid, c->block = block, c->dyn_bytes = dyn_bytes, c->launch = true;
}

/* What waits happens: until a mark has been passed as often as it was set, or all of it. */
static void catch_up(struct gpu *g, int mark)
{
    while (g->queue.first && (mark < 0 || g->n_passed[mark] < g->n_marked[mark])) {
        call_run(g->queue.first);
        g->queue.first = call_free(g->queue.first);
    }
    if (!g->queue.first) g->queue.end = &g->queue.first;
}

/* fn(arg), now or when its turn comes. */
static void in_turn(struct gpu *g, void (*fn)(void *), void *arg, size_t bytes)
{
    if (g->recording) sim_die("not a kernel, between graph_begin and graph_end");
    if (g->late)
        call_new(&g->queue, fn, arg, bytes);
    else
        fn(arg);
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
    g->late = getenv("CORRAL_SIM_LATE") != NULL;
    g->queue.end = &g->queue.first;
    g->last = -1;
    return g;
}

static void sim_close(struct gpu *g)
{
    catch_up(g, -1);
    if (recorder == g) recorder = NULL;
    blas_close(g->dev.blas);
    free(g);
}

static bool waited(struct gpu *g, char *why, size_t n)
{
    if (!g->fails_at || ++g->n_sync < g->fails_at) return true;
    snprintf(why, n, "running: an illegal memory access was made up (CORRAL_SIM_FAIL)");
    return false;
}

static bool sim_sync(struct gpu *g, char *why, size_t n)
{
    catch_up(g, -1);
    sim_race_synced();
    return waited(g, why, n);
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
    catch_up(g, -1);
    g->used_bytes -= *(size_t *)((char *)p - FRONT);
    free((char *)p - FRONT);
}
static void *sim_host_alloc(struct gpu *g, size_t bytes)
{
    if (g->n_pinned == MAX_PINNED) return NULL;
    char *p = (char *)malloc(bytes);
    if (p) g->pinned[g->n_pinned].p = p, g->pinned[g->n_pinned++].n = bytes;
    return p;
}
static void sim_host_release(struct gpu *g, void *p)
{
    catch_up(g, -1);
    for (int i = 0; i < g->n_pinned; i++)
        if (g->pinned[i].p == p) {
            g->pinned[i] = g->pinned[--g->n_pinned];
            break;
        }
    free(p);
}
static bool is_pinned(const struct gpu *g, const void *p)
{
    for (int i = 0; i < g->n_pinned; i++)
        if ((const char *)p >= g->pinned[i].p && (const char *)p < g->pinned[i].p + g->pinned[i].n) return true;
    return false;
}

struct copy { void *to; const void *from; size_t bytes; };
static void do_copy(void *arg)
{
    const struct copy *c = (const struct copy *)arg;
    memmove(c->to, c->from, c->bytes);
}
static void do_zero(void *arg)
{
    const struct copy *c = (const struct copy *)arg;
    memset(c->to, 0, c->bytes);
}
static void sim_copy(struct gpu *g, void *to, const void *from, size_t bytes)
{
    struct copy c = {to, from, bytes};
    in_turn(g, do_copy, &c, sizeof c);
}
/* CUDA is done with other memory of the host's than host_alloc's when it returns. */
static void sim_copy_in(struct gpu *g, void *to, const void *from, size_t bytes)
{
    sim_copy(g, to, from, bytes);
    if (g->late && !is_pinned(g, from)) catch_up(g, -1);
}
static void sim_copy_out(struct gpu *g, void *to, const void *from, size_t bytes)
{
    sim_copy(g, to, from, bytes);
    if (g->late && !is_pinned(g, to)) catch_up(g, -1);
}
static void sim_zero(struct gpu *g, void *to, size_t bytes)
{
    struct copy c = {to, NULL, bytes};
    in_turn(g, do_zero, &c, sizeof c);
}

static void do_mark(void *arg) { ++**(unsigned long **)arg; }
static void sim_mark(struct gpu *g, int which)
{
    unsigned long *passed = &g->n_passed[which];
    g->n_marked[which]++;
    g->last = which;
    in_turn(g, do_mark, &passed, sizeof passed);
}
static bool sim_wait_mark(struct gpu *g, int which, char *why, size_t n)
{
    catch_up(g, which);
    if (g->last == which) sim_race_synced();
    return !why || waited(g, why, n);
}

static bool sim_graph_begin(struct gpu *g)
{
    g->recording = (struct gpu_graph *)calloc(1, sizeof *g->recording);
    if (!g->recording) return false;
    g->recording->calls.end = &g->recording->calls.first;
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
static void do_graph(void *arg)
{
    for (const struct call *c = (*(struct gpu_graph **)arg)->calls.first; c; c = c->next) call_run(c);
}
static void sim_graph_run(struct gpu *g, struct gpu_graph *x)
{
    g->last = -1;
    in_turn(g, do_graph, &x, sizeof x);
}
static void sim_graph_free(struct gpu *g, struct gpu_graph *x)
{
    catch_up(g, -1);
    for (struct call *c = x ? x->calls.first : NULL; c;) c = call_free(c);
    free(x);
}

/* Launches follow. With a library nothing waits: it computes at once. */
static cudaStream_t enter(struct gpu *g)
{
    g->last = -1;
    if (g->late && g->dev.blas && !g->recording) catch_up(g, -1);
    recorder = g->recording || (g->late && !g->dev.blas) ? g : NULL;
    return NULL;
}

#define TARGET(name) sim_##name
#define STREAM(g)    enter(g)
static const char target_name[] = "sim";
static const char target_built[] = "simulator";
static const char *const library_names[] = {NULL}; /* only what a test names */
enum { library_bytes = 4096 };
#include "backend/gpu/dev/table.inc"
