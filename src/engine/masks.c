#include "engine/masks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct masks {
    size_t n_word; /* of one mask */
    struct mask_source *src;
    uint32_t *bits, *now; /* cap masks; one */
    uint32_t cap;

    pthread_t thread;
    bool started, failed; /* failed: there is no thread, so the engine's does it all */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, done;
    uint32_t n, n_taken, n_done;
    bool stop;
};

static void compute(const struct masks *m, const struct mask_source *src, uint32_t *bits)
{
    memset(bits, 0, m->n_word * sizeof *bits);
    src->mask(src->state, bits);
}

/* Compute the next one that nobody has begun; the lock is held, but not meanwhile. False: there is none. */
static bool compute_next(struct masks *m)
{
    if (m->n_taken == m->n) return false;
    uint32_t i = m->n_taken++;
    pthread_mutex_unlock(&m->lock);
    compute(m, &m->src[i], m->bits + i * m->n_word);
    pthread_mutex_lock(&m->lock);
    if (++m->n_done == m->n) pthread_cond_signal(&m->done);
    return true;
}

static void *mask_main(void *arg)
{
    struct masks *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->stop)
        if (!compute_next(m)) pthread_cond_wait(&m->wake, &m->lock);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

struct masks *masks_new(uint32_t n_vocab)
{
    struct masks *m = mem_zalloc(1, sizeof *m);
    m->n_word = (n_vocab + 31) / 32;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->wake, NULL);
    pthread_cond_init(&m->done, NULL);
    return m;
}

void masks_free(struct masks *m)
{
    if (!m) return;
    if (m->started) {
        pthread_mutex_lock(&m->lock);
        m->stop = true;
        pthread_cond_signal(&m->wake);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->wake);
    pthread_cond_destroy(&m->done);
    free(m->src);
    free(m->bits);
    free(m->now);
    free(m);
}

static void make_room(struct masks *m, uint32_t n)
{
    if (n <= m->cap) return;
    m->cap = MAX(n, 2 * m->cap);
    free(m->bits);
    m->bits = mem_zalloc(m->cap, m->n_word * sizeof *m->bits);
    m->src = mem_realloc(m->src, m->cap, sizeof *m->src);
}

void masks_begin(struct masks *m, const struct mask_source *src, uint32_t n)
{
    if (!n) return;
    if (!m->started && !m->failed) {
        m->started = pthread_create(&m->thread, NULL, mask_main, m) == 0;
        m->failed = !m->started;
    }
    pthread_mutex_lock(&m->lock); /* the thread has nothing to do: masks_end has waited for it */
    make_room(m, n);
    memcpy(m->src, src, n * sizeof *src);
    m->n = n;
    m->n_taken = m->n_done = 0;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
}

void masks_end(struct masks *m)
{
    pthread_mutex_lock(&m->lock);
    while (compute_next(m)) {}
    while (m->n_done < m->n) pthread_cond_wait(&m->done, &m->lock);
    m->n = m->n_taken = m->n_done = 0;
    pthread_mutex_unlock(&m->lock);
}

const uint32_t *masks_at(const struct masks *m, uint32_t i)
{
    return m->bits + i * m->n_word;
}

const uint32_t *masks_now(struct masks *m, const struct mask_source *src)
{
    if (!m->now) m->now = mem_alloc(m->n_word * sizeof *m->now);
    compute(m, src, m->now);
    return m->now;
}
