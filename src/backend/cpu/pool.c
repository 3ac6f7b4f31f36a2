#include "backend/cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* About 30 us on current machines: longer than the gap between the operations of a step, shorter than a sleep
 * and a wake-up cost. */
enum { SPINS = 4000 };

struct pool {
    uint32_t n_thread;
    /* Number of the job << 32 | tasks not claimed yet. Between jobs the lower half is 0, so a late thread
     * claims nothing; and a claim of an old job fails, because the number has changed. */
    _Alignas(64) _Atomic uint64_t claim;
    _Alignas(64) _Atomic uint32_t n_done;
    _Alignas(64) _Atomic uint32_t n_task;
    _Atomic(pool_task) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t n_sleeping;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct worker {
        struct pool *pool;
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

/* Claim and run tasks of the current job until none is left. Returns the job's number. */
static uint32_t work(struct pool *p, uint32_t thread)
{
    uint64_t c = atomic_load(&p->claim);
    for (;;) {
        uint32_t left = (uint32_t)c;
        if (left == 0) return (uint32_t)(c >> 32);
        if (!atomic_compare_exchange_weak(&p->claim, &c, c - 1)) continue; /* c is the new value */
        /* The job cannot end before this task is done, so its description stands still. */
        pool_task fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
        fn(ctx, atomic_load_explicit(&p->n_task, memory_order_relaxed) - left, thread);
        atomic_fetch_add(&p->n_done, 1);
        c = atomic_load(&p->claim);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    uint32_t seen = 0;
    while (!atomic_load(&p->stop)) {
        uint32_t spins = 0;
        while ((uint32_t)(atomic_load(&p->claim) >> 32) == seen && !atomic_load(&p->stop) && spins++ < SPINS)
            relax();
        if ((uint32_t)(atomic_load(&p->claim) >> 32) == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->n_sleeping, 1);
            while ((uint32_t)(atomic_load(&p->claim) >> 32) == seen && !atomic_load(&p->stop))
                pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_sub(&p->n_sleeping, 1);
            pthread_mutex_unlock(&p->lock);
        }
        seen = work(p, w->index);
    }
    return NULL;
}

status pool_new(struct pool **out, uint32_t n_thread, struct error *e)
{
    struct pool *p = mem_aligned(64, sizeof *p);
    *p = (struct pool){.n_thread = n_thread};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->worker = mem_zalloc(n_thread, sizeof *p->worker);
    *out = p;
    for (uint32_t i = 1; i < n_thread; i++) {
        struct worker *w = &p->worker[p->n_worker];
        *w = (struct worker){.pool = p, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            pool_free(p);
            *out = NULL;
            return fail(e, ERR_IO, "cannot start thread %u of %u", i + 1, n_thread);
        }
        p->n_worker++;
    }
    return OK;
}

void pool_free(struct pool *p)
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
    free(p);
}

uint32_t pool_n_thread(const struct pool *p)
{
    return p->n_thread;
}

void pool_run(struct pool *p, uint32_t n_task, pool_task fn, void *ctx)
{
    if (n_task == 0) return;
    if (p->n_thread == 1 || n_task == 1) {
        for (uint32_t i = 0; i < n_task; i++) fn(ctx, i, 0);
        return;
    }
    /* Nobody reads the description before it has claimed a task, so the number comes last. */
    atomic_store(&p->n_done, 0);
    atomic_store_explicit(&p->n_task, n_task, memory_order_relaxed);
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    uint64_t job = (atomic_load(&p->claim) >> 32) + 1;
    atomic_store(&p->claim, job << 32 | n_task);
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

uint32_t pool_usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return MAX(1u, (uint32_t)CPU_COUNT(&set));
}
