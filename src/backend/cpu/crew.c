#include "backend/cpu/crew.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/numa.h"

/* About 30 us on current machines: longer than the gap between the operations of a step, shorter than a sleep
 * and a wake-up cost. */
enum { SPINS = 4000 };

/* Tasks [begin, end) of the current job, begin in the lower half: a thread takes its own from the front, and
 * when it has none, those of others from the back. So each thread reads one contiguous stretch of the
 * weights, which is what prefetchers guess, and a thread whose core is busy elsewhere is relieved.
 *
 * Between jobs all ranges are empty, so a late thread takes nothing. One that finds the same range as jobs
 * ago takes a task that is there to be taken: what to do is looked up afterwards. */
typedef _Atomic uint64_t task_range;

static uint64_t range_of(uint32_t begin, uint32_t end)
{
    return (uint64_t)end << 32 | begin;
}

struct crew {
    uint32_t n_thread;
    _Alignas(64) _Atomic uint32_t job; /* counts up when one begins */
    _Alignas(64) _Atomic uint32_t n_done;
    _Alignas(64) _Atomic(crew_task) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t n_sleeping;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct share {
        _Alignas(64) task_range range;
    } * share; /* n_thread */
    struct worker {
        struct crew *crew;
        pthread_t thread;
        uint32_t index;
    } * worker; /* n_thread - 1 */
    uint32_t n_worker;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool take(task_range *range, bool front, uint32_t *task)
{
    uint64_t r = atomic_load(range);
    for (;;) {
        uint32_t begin = (uint32_t)r, end = (uint32_t)(r >> 32);
        if (begin >= end) return false;
        *task = front ? begin : end - 1;
        uint64_t rest = front ? range_of(begin + 1, end) : range_of(begin, end - 1);
        if (atomic_compare_exchange_weak(range, &r, rest)) return true;
    }
}

/* Take and run tasks of the current job until none is left. They are reported together: a count that all
 * threads add to after each task of a microsecond would cost them a good part of it. */
static void work(struct crew *p, uint32_t thread)
{
    uint32_t n_done = 0;
    for (uint32_t i = 0, task; i < p->n_thread; i++) {
        task_range *range = &p->share[(thread + i) % p->n_thread].range;
        while (take(range, i == 0, &task)) {
            /* The job cannot end before this task is reported, so its description stands still. */
            crew_task fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
            void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
            fn(ctx, task, thread);
            n_done++;
        }
    }
    if (n_done) atomic_fetch_add(&p->n_done, n_done);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct crew *p = w->crew;
    uint32_t seen = 0;
    numa_place_thread(w->index, p->n_thread);
    while (!atomic_load(&p->stop)) {
        uint32_t spins = 0;
        while (atomic_load(&p->job) == seen && !atomic_load(&p->stop) && spins++ < SPINS) relax();
        if (atomic_load(&p->job) == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->n_sleeping, 1);
            while (atomic_load(&p->job) == seen && !atomic_load(&p->stop))
                pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_sub(&p->n_sleeping, 1);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load(&p->job);
        work(p, w->index);
    }
    return NULL;
}

status crew_new(struct crew **out, uint32_t n_thread, struct error *e)
{
    struct crew *p = mem_aligned(64, sizeof *p);
    *p = (struct crew){.n_thread = n_thread};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->worker = mem_zalloc(n_thread, sizeof *p->worker);
    p->share = mem_aligned(64, n_thread * sizeof *p->share);
    for (uint32_t i = 0; i < n_thread; i++) atomic_init(&p->share[i].range, 0);
    *out = p;
    for (uint32_t i = 1; i < n_thread; i++) {
        struct worker *w = &p->worker[p->n_worker];
        *w = (struct worker){.crew = p, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            crew_free(p);
            *out = NULL;
            return fail(e, ERR_IO, "cannot start thread %u of %u", i + 1, n_thread);
        }
        p->n_worker++;
    }
    return OK;
}

void crew_free(struct crew *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_worker; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p->worker);
    free(p->share);
    free(p);
}

uint32_t crew_n_thread(const struct crew *p)
{
    return p->n_thread;
}

void crew_run(struct crew *p, uint32_t n_task, crew_task fn, void *ctx)
{
    if (n_task == 0) return;
    if (p->n_thread == 1 || n_task == 1) {
        for (uint32_t i = 0; i < n_task; i++) fn(ctx, i, 0);
        return;
    }
    /* Nobody reads the description before it has taken a task, so the ranges come after it. */
    atomic_store(&p->n_done, 0);
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    for (uint32_t i = 0; i < p->n_thread; i++) {
        uint32_t begin = (uint32_t)((uint64_t)n_task * i / p->n_thread);
        uint32_t end = (uint32_t)((uint64_t)n_task * (i + 1) / p->n_thread);
        atomic_store(&p->share[i].range, range_of(begin, end));
    }
    atomic_fetch_add(&p->job, 1);
    if (atomic_load(&p->n_sleeping)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, 0);
    for (uint32_t spins = 0; atomic_load(&p->n_done) < n_task;) {
        if (spins < SPINS) {
            spins++;
            relax();
        } else {
            sched_yield(); /* a thread that holds a task has lost its core */
        }
    }
}

uint32_t crew_usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return MAX(1u, (uint32_t)CPU_COUNT(&set));
}
