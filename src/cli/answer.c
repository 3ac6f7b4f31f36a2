#include "cli/answer.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "text/stream.h"

/* From the engine's thread to ours, guarded by inbox_lock. */
struct inbox {
    int32_t *token;
    size_t n, cap, n_taken;
    bool ended;
    enum finish_reason finish;
    struct engine_timing timing;
    struct error error;
};

/* The semaphore counts "something happened", from the engine or from a signal handler, for which a condition
 * variable would not be safe. Both outlive the generation: the engine may still be leaving on_event when we
 * have seen its END and returned. */
static pthread_mutex_t inbox_lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t happened;
static volatile sig_atomic_t interrupted;

void answer_interrupt(void)
{
    int saved = errno;
    interrupted = 1;
    sem_post(&happened);
    errno = saved;
}

void answer_forget_interrupt(void)
{
    interrupted = 0;
    while (sem_trywait(&happened) == 0) { /* zeroed static storage is a semaphore at 0 on Linux */
    }
}

static void on_event(void *user, const struct engine_event *ev)
{
    struct inbox *in = user;
    pthread_mutex_lock(&inbox_lock);
    if (ev->kind == EV_TOKEN) {
        if (in->n == in->cap) {
            in->cap = MAX(64, in->cap * 2);
            in->token = mem_realloc(in->token, in->cap, sizeof *in->token);
        }
        in->token[in->n++] = ev->token->token;
    } else {
        in->ended = true;
        in->finish = ev->finish;
        in->timing = ev->timing;
        if (ev->error) in->error = *ev->error;
    }
    pthread_mutex_unlock(&inbox_lock);
    sem_post(&happened);
}

/* The next token; false when there is none yet. */
static bool take_token(struct inbox *in, int32_t *id, bool *ended)
{
    pthread_mutex_lock(&inbox_lock);
    bool some = in->n_taken < in->n;
    if (some) *id = in->token[in->n_taken++];
    *ended = in->ended && in->n_taken == in->n;
    pthread_mutex_unlock(&inbox_lock);
    return some;
}

static void hand_over(struct answer *g, size_t from)
{
    if (g->on_text && g->text.n > from) g->on_text(g->user, g->text.data + from, g->text.n - from);
}

status answer_generate(struct session *s, struct answer *g, struct error *e)
{
    struct inbox in = {0};
    struct text_stream *stream = NULL;
    uint64_t id = 0;
    bool ended = false, stopped = false, cancelled = false;
    TRY(text_stream_new(&stream, s->tok, g->stop, g->n_stop, g->special, e));
    struct engine_request request = {
        .prompt = g->prompt,
        .n_prompt = g->n_prompt,
        .max_tokens = g->max_tokens,
        .params = *g->params,
        .on_event = on_event,
        .user = &in,
    };
    status r = engine_submit(s->engine, &request, &id, e);
    if (r != OK) goto out;
    while (!ended) {
        int32_t token;
        size_t from = g->text.n;
        while (sem_wait(&happened) != 0) {} /* EINTR */
        if (interrupted && !cancelled) {
            cancelled = true;
            engine_cancel(s->engine, id);
        }
        while (take_token(&in, &token, &ended)) {
            if (stopped || cancelled) continue; /* came before the engine heard of it */
            stopped = text_stream_push(stream, token, &g->text);
            if (stopped) engine_cancel(s->engine, id);
        }
        hand_over(g, from);
    }
    if (!stopped) {
        size_t from = g->text.n;
        text_stream_finish(stream, &g->text);
        hand_over(g, from);
    }
    g->finish = stopped ? FINISH_STOP : in.finish;
    g->timing = in.timing;
    if (in.finish == FINISH_ERROR) {
        *e = in.error;
        r = in.error.code;
    }
out:
    free(in.token);
    text_stream_free(stream);
    return r;
}
