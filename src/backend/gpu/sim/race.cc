/* Finds accesses of two threads to the same byte with no barrier between them, whatever the order they happened to run
 * in. The kernels are compiled with -fsanitize=thread and this file takes the place of its run-time library: every
 * access of a kernel comes here. A byte remembers its last write and last read: thread, block, and how many barriers and
 * warp operations had passed. Accesses of different blocks of one launch are never ordered. */
#include "sim.h"

#include <unordered_map>
#include <unordered_set>

struct access { int thread = -1, block = 0; unsigned block_epoch = 0, warp_epoch = 0; };
struct cell { struct access write, read; };
static std::unordered_map<uintptr_t, struct cell> *shadow;
static std::unordered_set<uintptr_t> *written; /* by kernels that the host has not waited for; sixteen bytes each */
extern "C" __attribute__((visibility("hidden"), weak)) char __start_cushared[], __stop_cushared[];

void sim_race_forget(void); /* at each launch; sim.cc has a weak one that does nothing */
void sim_race_forget(void)
{
    if (shadow) shadow->clear();
}

void sim_race_synced(void)
{
    if (written) written->clear();
}

static bool ordered(const struct access *then, int thread, int block)
{
    if (then->thread < 0) return true;
    if (then->block != block) return false;
    if (then->thread == thread || then->block_epoch != sim.block_epoch) return true;
    return then->thread / 32 == thread / 32 && then->warp_epoch != sim.warp_epoch[thread / 32];
}

[[noreturn]] static void report(const char *what, const void *p, bool shared, int first, int second, void *pc)
{
    static char text[200];
    snprintf(text, sizeof text, "race: %s at %p (%s memory) by threads %d and %d, block %u, code at %p", what, p,
             shared ? "shared" : "global", first, second, sim.block->id.x, pc);
    sim_die(text);
}

static void seen(const void *p, size_t n, bool write, void *pc)
{
    if (!sim.cur || !sim.block) return;
    const uintptr_t a = (uintptr_t)p;
    if (a - (uintptr_t)sim.block->stacks < (size_t)SIM_STACK * SIM_MAX_THREADS) return; /* a thread's own */
    if (a - (uintptr_t)sim.block->fiber < SIM_MAX_THREADS * sizeof(struct sim_fiber)) return; /* the simulator's */
    if (a - (uintptr_t)&sim < sizeof sim) return;
    if (!shadow) shadow = new std::unordered_map<uintptr_t, struct cell>;
    const int thread = (int)(sim.cur - sim.block->fiber);
    const bool shared = (a >= (uintptr_t)__start_cushared && a < (uintptr_t)__stop_cushared) ||
                        a - (uintptr_t)sim.block->dyn < sim.dyn_bytes;
    if (!written) written = new std::unordered_set<uintptr_t>;
    for (uintptr_t x = a / 16; !shared && x <= (a + n - 1) / 16; x++) {
        if (!sim.cur->after && (write || written->count(x)))
            report(write ? "write before dev_after" : "read before dev_after", p, false, thread, thread, pc);
        if (write) written->insert(x);
    }
    const dim3 id = sim.block->id;
    /* shared memory is used by one block after the other, which are then different memories */
    const int block = (int)(id.x + sim.grid_dim.x * (id.y + sim.grid_dim.y * id.z));
    for (uintptr_t x = a; x < a + n; x++) {
        struct cell &c = (*shadow)[x];
        if (shared && c.write.block != block) c.write = {};
        if (shared && c.read.block != block) c.read = {};
        if (!ordered(&c.write, thread, block))
            report(write ? "write after write" : "read after write", p, shared, c.write.thread, thread, pc);
        if (write && !ordered(&c.read, thread, block)) report("write after read", p, shared, c.read.thread, thread, pc);
        struct access now;
        now.thread = thread, now.block = block;
        now.block_epoch = sim.block_epoch, now.warp_epoch = sim.warp_epoch[thread / 32];
        if (write)
            c.write = now;
        else if (c.read.thread < 0 || ordered(&c.read, thread, block)) /* else keep the one that a write may meet */
            c.read = now;
    }
}

#define CALLER __builtin_return_address(0)
#define SIZE(n)                                                                                                        \
    extern "C" void __tsan_read##n(void *p) { seen(p, n, false, CALLER); }                                             \
    extern "C" void __tsan_write##n(void *p) { seen(p, n, true, CALLER); }                                             \
    extern "C" void __tsan_unaligned_read##n(void *p) { seen(p, n, false, CALLER); }                                   \
    extern "C" void __tsan_unaligned_write##n(void *p) { seen(p, n, true, CALLER); }
SIZE(1) SIZE(2) SIZE(4) SIZE(8) SIZE(16)
extern "C" void __tsan_read_range(void *p, long n) { seen(p, (size_t)n, false, CALLER); }
extern "C" void __tsan_write_range(void *p, long n) { seen(p, (size_t)n, true, CALLER); }
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit(void) {}
extern "C" void __tsan_init(void) {}
