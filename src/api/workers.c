#include "api/workers.h"

#include <pthread.h>
#include <stdlib.h>

enum { MAX_THREADS = 16 };

struct job {
    void (*fn)(void *user);
    void *user;
    struct job *next;
};
struct workers {
    pthread_t thread[MAX_THREADS];
    uint32_t n_thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct job *first, **end;
    bool stop;
};

static void *run(void *arg)
{
    struct workers *w = arg;
    pthread_mutex_lock(&w->lock);
    while (w->first || !w->stop) {
        struct job *j = w->first;
        if (!j) {
            pthread_cond_wait(&w->work, &w->lock);
            continue;
        }
        w->first = j->next;
        if (!w->first) w->end = &w->first;
        pthread_mutex_unlock(&w->lock);
        j->fn(j->user);
        free(j);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

status workers_new(struct workers **out, uint32_t n_thread, struct error *e)
{
    struct workers *w = mem_zalloc(1, sizeof *w);
    w->end = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    while (w->n_thread < MIN(n_thread, (uint32_t)MAX_THREADS) &&
           pthread_create(&w->thread[w->n_thread], NULL, run, w) == 0)
        w->n_thread++;
    *out = w;
    if (w->n_thread) return OK;
    workers_free(w);
    *out = NULL;
    return fail(e, ERR_MEMORY, "no memory for a thread for prompts");
}

void workers_free(struct workers *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < w->n_thread; i++) pthread_join(w->thread[i], NULL);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void workers_run(struct workers *w, void (*fn)(void *user), void *user)
{
    struct job *j = mem_alloc(sizeof *j);
    *j = (struct job){fn, user, NULL};
    pthread_mutex_lock(&w->lock);
    *w->end = j;
    w->end = &j->next;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
}
