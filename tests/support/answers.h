/* Answers of an engine, collected: tokens, a fingerprint of the log-probabilities of the whole vocabulary at
 * each, how it ended. For the engine's tests. */
#ifndef CORRAL_TESTS_ANSWERS_H
#define CORRAL_TESTS_ANSWERS_H

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/metrics.h"

enum { MAX_OUT = 256 };
struct answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t token[MAX_OUT];
    uint64_t print[MAX_OUT]; /* 0 without log-probabilities */
    double learned[MAX_OUT];
    uint32_t n, n_end;
    int32_t scored[MAX_OUT]; /* tokens of the prompt */
    uint64_t score[MAX_OUT];
    uint32_t n_scored;
    enum finish_reason why;
    struct engine_timing timing;
    char error[248];
};

static inline void answer_init(struct answer *a)
{
    memset(a, 0, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
}

static inline uint64_t fingerprint(const struct sample_result *r)
{
    uint64_t h = 0xcbf29ce484222325;
    for (uint32_t i = 0; i < r->n_top; i++) {
        uint32_t bits;
        memcpy(&bits, &r->top[i].logprob, sizeof bits);
        h = (h ^ bits) * 0x100000001b3;
        h = (h ^ (uint32_t)r->top[i].token) * 0x100000001b3;
    }
    return r->n_top ? h : 0;
}

static inline void answer_on_event(void *user, const struct engine_event *ev)
{
    struct answer *a = (struct answer *)user;
    pthread_mutex_lock(&a->lock);
    if (ev->kind == EV_PROMPT) {
        if (a->n_scored < MAX_OUT) {
            a->scored[a->n_scored] = ev->token->token;
            a->score[a->n_scored++] = fingerprint(ev->token);
        }
    } else if (ev->kind == EV_TOKEN) {
        if (a->n < MAX_OUT) {
            a->token[a->n] = ev->token->token;
            a->print[a->n] = fingerprint(ev->token);
            a->learned[a->n] = ev->token->learned;
        }
        a->n++;
    } else {
        a->n_end++;
        a->why = ev->finish;
        a->timing = ev->timing;
        if (ev->error) memcpy(a->error, ev->error->msg, sizeof a->error);
    }
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

/* For a request of several choices: user is an array of answers. */
static inline void answers_on_event(void *user, const struct engine_event *ev)
{
    answer_on_event((struct answer *)user + ev->choice, ev);
}

static inline void wait_end(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->n_end) pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static inline void wait_tokens(struct answer *a, uint32_t n)
{
    pthread_mutex_lock(&a->lock);
    while (a->n < n && !a->n_end) pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

/* An END is sent before it shows in the metrics. */
static inline void settled_metrics(const struct engine *en, struct engine_metrics *mt)
{
    uint64_t n_ended;
    do {
        n_ended = 0;
        usleep(200);
        engine_metrics(en, mt);
        for (int i = 0; i < N_FINISH_REASON; i++) n_ended += mt->n_ended[i];
    } while (n_ended < mt->n_submitted);
}

#endif
