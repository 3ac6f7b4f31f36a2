/* The scheduler behind sim.h, and its warp operations. One launch at a time in a process: the state is global, as shared
 * memory is, so a lock is held for the length of a launch. */
#include "sim.h"

#include <pthread.h>
#include <sys/mman.h>

struct sim sim;

/* Set by the linker to the ends of the section that holds the kernels' shared variables. */
extern "C" __attribute__((visibility("hidden"), weak)) char __start_cushared[], __stop_cushared[];

/* --- switching stacks --- */

extern "C" __attribute__((visibility("hidden"))) void sim_switch(void **save, void *to);
#if defined(__x86_64__)
asm(".pushsection .text\n.globl sim_switch\n.hidden sim_switch\n.type sim_switch, @function\nsim_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.popsection\n");
static void *first_frame(char *top, void (*entry)(void))
{
    void **sp = (void **)top;
    *--sp = NULL; /* keeps the stack aligned as after a call */
    *--sp = (void *)entry;
    for (int i = 0; i < 6; i++) *--sp = NULL;
    return sp;
}
#elif defined(__aarch64__)
asm(".pushsection .text\n.globl sim_switch\n.hidden sim_switch\n.type sim_switch, %function\nsim_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n"
    "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\nmov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\n"
    "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\nadd sp, sp, #160\nret\n.popsection\n");
static void *first_frame(char *top, void (*entry)(void))
{
    void **sp = (void **)top - 20;
    memset(sp, 0, 160);
    sp[11] = (void *)entry;
    return sp;
}
#else
#error "the simulator switches stacks by hand: add this processor's registers here"
#endif

/* --- reports --- */

void sim_die(const char *what)
{
    static const char *const state[] = {"exited", "runnable", "at __syncthreads", "in a warp operation", "at an mbarrier"};
    const struct sim_block *b = sim.block;
    fprintf(stderr, "sim: %s\n", what);
    if (b)
        fprintf(stderr, "  block (%u,%u,%u) of (%u,%u,%u), %d threads\n", b->id.x, b->id.y, b->id.z, sim.grid_dim.x,
                sim.grid_dim.y, sim.grid_dim.z, b->n_thread);
    for (int i = 0, shown = 0; b && i < b->n_thread && shown < 8; i++) {
        const struct sim_fiber *f = &b->fiber[i];
        if (i && f->state == f[-1].state && f->line == f[-1].line && f->mask == f[-1].mask) continue;
        shown++;
        fprintf(stderr, "  from thread %d on: %s, mask %08x, %s:%d\n", i, state[f->state], f->mask,
                f->where ? f->where : "-", f->line);
    }
    abort();
}

/* --- fibers --- */

static void set_runnable(struct sim_fiber *f)
{
    f->state = SIM_RUN;
    sim.block->runnable[f->warp] |= 1u << f->lane;
}

static void set_waiting(struct sim_fiber *f, enum sim_state state)
{
    f->state = state;
    sim.block->runnable[f->warp] &= ~(1u << f->lane);
}

static uint64_t next_random(void)
{
    sim.rng ^= sim.rng << 13;
    sim.rng ^= sim.rng >> 7;
    sim.rng ^= sim.rng << 17;
    return sim.rng;
}

static struct sim_fiber *pick(const struct sim_block *b)
{
    const int n_warp = (b->n_thread + 31) / 32;
    int first = sim.cur ? sim.cur->warp : sim.order == SIM_REVERSE ? n_warp - 1 : 0;
    if (sim.order == SIM_RANDOM) first = (int)(next_random() % (unsigned)n_warp);
    for (int i = 0; i < n_warp; i++) {
        int w = sim.order == SIM_REVERSE ? (first - i + n_warp) % n_warp : (first + i) % n_warp;
        unsigned m = b->runnable[w];
        if (!m) continue;
        if (sim.order == SIM_RANDOM)
            for (unsigned skip = (unsigned)(next_random() % (unsigned)__builtin_popcount(m)); skip > 0; skip--) m &= m - 1;
        return &b->fiber[w * 32 + (sim.order == SIM_REVERSE ? 31 - __builtin_clz(m) : __builtin_ctz(m))];
    }
    return NULL;
}

/* On to another fiber that can run; with none, back to sim_run. */
static void yield(void)
{
    struct sim_fiber *from = sim.cur, *to = pick(sim.block);
    while (!to && sim.block->n_live && sim_box_lands()) to = pick(sim.block);
    if (to == from) return;
    sim.cur = to;
    sim_switch(from ? &from->sp : &sim.main_sp, to ? to->sp : sim.main_sp);
}

static void release_barrier(struct sim_block *b)
{
    if (!b->n_at_barrier || b->n_at_barrier < b->n_live) return;
    b->n_at_barrier = 0;
    sim.block_epoch++;
    for (int i = 0; i < b->n_thread; i++)
        if (b->fiber[i].state == SIM_BARRIER) set_runnable(&b->fiber[i]);
}

void sim_barrier(const char *where, int line)
{
    struct sim_fiber *f = sim.cur;
    f->where = where, f->line = line;
    set_waiting(f, SIM_BARRIER);
    sim.block->n_at_barrier++;
    release_barrier(sim.block);
    if (f->state != SIM_RUN || sim.order == SIM_RANDOM) yield();
}

void sim_warp(unsigned mask, enum sim_kind kind, void (*fn)(struct sim_fiber *, unsigned), const char *where, int line)
{
    struct sim_fiber *f = sim.cur, *w = f - f->lane;
    const struct sim_block *b = sim.block;
    const int n = b->n_thread - f->warp * 32; /* lanes that exist */
    if (n < 32 && mask == ~0u) mask = (1u << n) - 1;
    f->mask = mask, f->kind = kind, f->where = where, f->line = line;
    if (!(mask >> f->lane & 1)) sim_die("a lane is not in its own mask");
    set_waiting(f, SIM_WARP);
    bool all = !(b->runnable[f->warp] & mask);
    for (unsigned k = mask; k && all; k &= k - 1) {
        const struct sim_fiber *o = &w[__builtin_ctz(k)];
        if (o->state == SIM_DONE) sim_die("a warp operation names an exited lane");
        if (o->state != SIM_WARP || o->mask != mask)
            all = false;
        else if (o->kind != kind)
            sim_die("lanes of one mask are in different warp operations");
    }
    if (all) {
        if (fn) fn(w, mask);
        sim.warp_epoch[f->warp]++;
        for (unsigned k = mask; k; k &= k - 1) set_runnable(&w[__builtin_ctz(k)]);
        if (sim.order != SIM_RANDOM) return;
    }
    yield();
}

/* A group's operation is one of its warps, too, as far as reports and the race checker are concerned. */
void sim_group(void (*fn)(struct sim_fiber *), const char *where, int line)
{
    struct sim_fiber *f = sim.cur, *first = f - (f->warp % 4 * 32 + f->lane);
    if ((f->warp / 4 + 1) * 128 > sim.block->n_thread) sim_die("a warpgroup operation of fewer than 128 threads");
    f->mask = 0xffffffffu, f->kind = SIM_GROUP, f->where = where, f->line = line;
    set_waiting(f, SIM_WARP);
    bool all = true;
    for (int i = 0; i < 128 && all; i++) {
        if (first[i].state == SIM_DONE) sim_die("a warpgroup operation names an exited thread");
        all = first[i].state == SIM_WARP && first[i].kind == SIM_GROUP;
        if (all && first[i].line != line) sim_die("threads of a warpgroup are in different operations");
    }
    if (all) {
        fn(first);
        for (int i = 0; i < 128; i++) set_runnable(&first[i]);
        for (int w = first->warp; w < first->warp + 4; w++) sim.warp_epoch[w]++;
        if (sim.order != SIM_RANDOM) return;
    }
    yield();
}

void sim_wait_event(const char *where, int line)
{
    sim.cur->where = where, sim.cur->line = line;
    set_waiting(sim.cur, SIM_EVENT);
    yield();
}

void sim_event(void)
{
    sim.block_epoch++;
    for (int i = 0; i < sim.block->n_thread; i++)
        if (sim.block->fiber[i].state == SIM_EVENT) set_runnable(&sim.block->fiber[i]);
}

static void fiber_main(void)
{
    sim.call(sim.arg);
    struct sim_fiber *f = sim.cur;
    if (!f->after) sim_die("a thread ends without dev_after()");
    sim_copies_land(f, f->group);
    set_waiting(f, SIM_DONE);
    sim.block->n_live--;
    release_barrier(sim.block);
    yield();
    sim_die("an exited thread runs on");
}

/* --- launches --- */

static void block_prepare(struct sim_block *b, dim3 id)
{
    if (!b->fiber) {
        b->fiber = (struct sim_fiber *)calloc(SIM_MAX_THREADS, sizeof *b->fiber);
        b->stacks = (char *)mmap(NULL, (size_t)SIM_STACK * SIM_MAX_THREADS, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (!b->fiber || b->stacks == MAP_FAILED) sim_die("no memory for stacks");
    }
    b->id = id;
    b->n_thread = b->n_live = (int)(sim.block_dim.x * sim.block_dim.y * sim.block_dim.z);
    b->n_at_barrier = 0;
    memset(b->runnable, 0, sizeof b->runnable);
    for (int i = 0; i < b->n_thread; i++) {
        struct sim_fiber *f = &b->fiber[i];
        f->lane = i % 32, f->warp = i / 32, f->n_copy = f->group = f->wgmma_group = 0, f->after = false, f->where = NULL, f->line = 0, f->mask = 0;
        f->tid = dim3((unsigned)i % sim.block_dim.x, (unsigned)i / sim.block_dim.x % sim.block_dim.y,
                      (unsigned)i / (sim.block_dim.x * sim.block_dim.y));
        f->sp = first_frame(b->stacks + (size_t)SIM_STACK * (size_t)(i + 1), fiber_main);
        set_runnable(f);
    }
}

/* NaN as f16, bf16 and f32. A plain loop, out of the address sanitizer's sight: the section of shared variables holds
 * its red zones too. */
__attribute__((optimize("no-tree-loop-distribute-patterns"), no_sanitize("address", "thread"))) static void
poison(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (char)0xff;
}

static void configure(void)
{
    const char *order = getenv("CORRAL_SIM_ORDER");
    unsigned long long seed = order && !strncmp(order, "rand:", 5) ? strtoull(order + 5, NULL, 10) : 0;
    if (order) sim.order = !strcmp(order, "rev") ? SIM_REVERSE : !strncmp(order, "rand", 4) ? SIM_RANDOM : SIM_FORWARD;
    sim.rng = seed * 2654435761u + 88172645463325252ull;
    sim.late = getenv("CORRAL_SIM_LATE") != NULL;
}

__attribute__((weak)) void sim_race_forget(void) {}
__attribute__((weak)) void sim_race_synced(void) {}

void sim_run(dim3 grid, dim3 bdim, size_t dyn_bytes, void (*call)(void *), void *arg)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static struct sim_block block;
    const unsigned n_block = grid.x * grid.y * grid.z, n_thread = bdim.x * bdim.y * bdim.z;
    const size_t shared = __start_cushared ? (size_t)(__stop_cushared - __start_cushared) : 0;

    pthread_mutex_lock(&lock);
    pthread_once(&once, configure);
    if (n_thread < 1 || n_thread > SIM_MAX_THREADS || n_block < 1 || grid.y > 65535 || grid.z > 65535)
        sim_die("a launch of an impossible size");
    if (dyn_bytes > 227 << 10) sim_die("more dynamic shared memory than a block can have");
    sim.grid_dim = grid, sim.block_dim = bdim, sim.dyn_bytes = dyn_bytes, sim.call = call, sim.arg = arg;
    block.dyn = (char *)aligned_alloc(1024, (dyn_bytes + 1024) & ~(size_t)1023);
    if (!block.dyn) sim_die("no memory for shared memory");
    sim_race_forget();
    for (unsigned k = 0; k < n_block; k++) {
        unsigned id = sim.order == SIM_REVERSE ? n_block - 1 - k : k;
        sim.block = &block, sim.cur = NULL;
        poison(block.dyn, dyn_bytes);
        poison(__start_cushared, shared);
        sim.block_epoch++;
        block_prepare(&block, dim3(id % grid.x, id / grid.x % grid.y, id / (grid.x * grid.y)));
        yield();
        if (block.n_live) sim_die("deadlock: threads wait for others that never come");
        sim_block_ends();
    }
    free(block.dyn);
    sim.block = NULL, sim.cur = NULL;
    pthread_mutex_unlock(&lock);
}

/* --- warp operations --- */

void sim_do_shuffle(struct sim_fiber *w, unsigned mask)
{
    for (unsigned k = mask; k; k &= k - 1) {
        int l = __builtin_ctz(k), s = w[l].src;
        if (!(mask >> s & 1)) sim_die("a shuffle reads a lane outside the mask");
        w[l].out = w[s].in;
    }
}

void sim_do_ballot(struct sim_fiber *w, unsigned mask)
{
    uint64_t r = 0;
    for (unsigned k = mask; k; k &= k - 1) r |= (w[__builtin_ctz(k)].in & 1) << __builtin_ctz(k);
    for (unsigned k = mask; k; k &= k - 1) w[__builtin_ctz(k)].out = r;
}

void sim_copies_land(struct sim_fiber *f, int up_to)
{
    int left = 0;
    for (int i = 0; i < f->n_copy; i++)
        if (f->copy[i].group <= up_to)
            memcpy(f->copy[i].dst, f->copy[i].src, 16);
        else
            f->copy[left++] = f->copy[i];
    f->n_copy = left;
}

void dev_cp_async16(void *dst, const void *src)
{
    struct sim_fiber *f = sim.cur;
    if (((uintptr_t)dst | (uintptr_t)src) & 15) sim_die("cp.async: not aligned to 16 bytes");
    if (!sim.late) {
        memcpy(dst, src, 16);
        return;
    }
    if (f->n_copy == SIM_MAX_COPIES) sim_die("cp.async: too many copies under way");
    memset(dst, 0xff, 16);
    f->copy[f->n_copy].dst = dst, f->copy[f->n_copy].src = src, f->copy[f->n_copy++].group = f->group;
}

static float bf16_half(uint32_t r, int h) { return __uint_as_float(h ? r & 0xffff0000u : r << 16); }
static float f16_half(uint32_t r, int h) { return dev_f16_to_f32((uint16_t)(h ? r >> 16 : r)); }

/* mma.m16n8k16: fragments as in the PTX manual. The sum over k is done in order, which hardware does not promise. */
template <float (*HALF)(uint32_t, int)> static void do_mma(struct sim_fiber *w)
{
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < 32; l++) {
        const uint32_t *fa = (const uint32_t *)w[l].a, *fb = (const uint32_t *)w[l].b;
        const float *fc = (const float *)w[l].c;
        const int g = l >> 2, t = l & 3;
        for (int r = 0; r < 4; r++)
            for (int h = 0; h < 2; h++) a[g + 8 * (r & 1)][t * 2 + h + 8 * (r >> 1)] = HALF(fa[r], h);
        for (int r = 0; r < 2; r++)
            for (int h = 0; h < 2; h++) b[t * 2 + h + 8 * r][g] = HALF(fb[r], h);
        for (int r = 0; r < 4; r++) c[g + 8 * (r >> 1)][t * 2 + (r & 1)] = fc[r];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < 32; l++)
        for (int r = 0; r < 4; r++) ((float *)w[l].c)[r] = c[(l >> 2) + 8 * (r >> 1)][(l & 3) * 2 + (r & 1)];
}
void sim_do_mma_bf16(struct sim_fiber *w, unsigned mask) { (void)mask, do_mma<bf16_half>(w); }
void sim_do_mma_f16(struct sim_fiber *w, unsigned mask) { (void)mask, do_mma<f16_half>(w); }

/* ldmatrix.x4: lane 8r + i holds the address of row i of matrix r; transposed, a lane gets a column's two elements. */
static void do_ldmatrix(struct sim_fiber *w, bool transposed)
{
    for (int l = 0; l < 32; l++)
        if ((uintptr_t)w[l].a & 15) sim_die("ldmatrix: a row is not aligned to 16 bytes");
    for (int l = 0; l < 32; l++)
        for (int r = 0; r < 4; r++) {
            uint32_t *out = (uint32_t *)w[l].c + r;
            if (transposed) {
                const uint16_t *up = (const uint16_t *)w[r * 8 + (l & 3) * 2].a, *low = (const uint16_t *)w[r * 8 + (l & 3) * 2 + 1].a;
                *out = up[l >> 2] | (uint32_t)low[l >> 2] << 16;
            } else {
                memcpy(out, (const char *)w[r * 8 + (l >> 2)].a + (l & 3) * 4, 4);
            }
        }
}
void sim_do_ldmatrix(struct sim_fiber *w, unsigned mask) { (void)mask, do_ldmatrix(w, false); }
void sim_do_ldmatrix_t(struct sim_fiber *w, unsigned mask) { (void)mask, do_ldmatrix(w, true); }

float dev_f16_to_f32(uint16_t h)
{
    uint32_t rest = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    if (rest >= 31u << 23) return __uint_as_float(sign | (rest + (224u << 23)));
    if (rest >= 1u << 23) return __uint_as_float(sign | (rest + (112u << 23)));
    float tiny = (float)(h & 0x3ff) * 0x1p-24f;
    return sign ? -tiny : tiny;
}

uint16_t dev_f32_to_f16(float f)
{
    uint32_t u = __float_as_uint(f), sign = u >> 31 << 15;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (u >= 0x47800000u) return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) return (uint16_t)(sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | ((u - (112u << 23) + 0xfffu + (u >> 13 & 1)) >> 13));
}
