/* For tests of the pool: one with fake workers (tests/support/fake_worker.c) and short times, and words to
 * look at it. */
#ifndef CORRAL_TESTS_POOL_PLAY_H
#define CORRAL_TESTS_POOL_PLAY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/pool.h"

struct play { struct pool *pool; char home[64]; };

/* NULL when the program that plays is not there. */
static inline const char *play_program(void)
{
    const char *p = getenv("CORRAL_FAKE_WORKER");
    return p && access(p, X_OK) == 0 ? p : NULL;
}

static inline struct pool_options play_options(struct play *y)
{
    snprintf(y->home, sizeof y->home, "/tmp/corral-pool-XXXXXX");
    if (!mkdtemp(y->home)) abort();
    return (struct pool_options){.home = y->home,
                                 .program = play_program(),
                                 .check_ms = 30,
                                 .hang_ms = 20000,
                                 .stall_ms = 20000,
                                 .backoff_ms = 20,
                                 .backoff_max_ms = 400,
                                 .drain_ms = 300,
                                 .term_ms = 200,
                                 .turn_ms = 200,
                                 .keep_alive_ms = -1};
}

/* A file in the home. */
static inline void play_file(struct play *y, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", y->home, name);
    FILE *f = fopen(path, "w");
    if (!f) abort();
    fputs(text, f);
    fclose(f);
}

static inline void play_start(struct play *y, const struct pool_options *o)
{
    struct error e = {0};
    if (pool_new(&y->pool, o, &e) != OK || pool_start(y->pool, &e) != OK) {
        fprintf(stderr, "pool: %s\n", e.msg);
        abort();
    }
}

static inline void play_add(struct play *y, const char *name, const char *script, const char *options)
{
    struct error e = {0};
    if (pool_add(y->pool, name, script, options, &e) != OK) {
        fprintf(stderr, "pool_add: %s\n", e.msg);
        abort();
    }
}

static inline void play_end(struct play *y)
{
    char command[128];
    pool_stop(y->pool, 500);
    pool_free(y->pool);
    snprintf(command, sizeof command, "rm -rf '%s'", y->home);
    if (system(command) != 0) abort();
}

static inline struct pool_ticket *play_enter(struct play *y, const char *model)
{
    return pool_enter(y->pool, &(struct pool_want){.model = model, .keep_alive_s = POOL_KEEP_UNSET}, NULL);
}

/* Until there is an answer; POOL_WAIT: there was none within ms. */
static inline enum pool_answer play_wait(struct pool_ticket *t, int ms, struct pool_route *r,
                                         struct pool_fault *f)
{
    int64_t end = clock_ns() + ms * 1000000LL;
    for (;;) {
        enum pool_answer a = pool_poll(t, r, f);
        if (a != POOL_WAIT || clock_ns() > end) return a;
        usleep(2000);
    }
}

static inline void play_leave(struct pool_ticket *t)
{
    pool_leave(t, &(struct pool_outcome){.status = 200, .first_us = 1000});
}

/* The model as the pool's view has it now; zeros when it has none of that name. */
static inline struct pool_model_view play_model(struct play *y, const char *name)
{
    struct pool_view *v = pool_view_new(y->pool);
    struct pool_model_view m = {0};
    static char error[400];
    for (size_t i = 0; i < v->n_model; i++)
        if (!strcmp(v->model[i].name, name)) m = v->model[i];
    snprintf(error, sizeof error, "%s", m.error ? m.error : "");
    m.error = error;
    m.name = m.path = m.options = NULL;
    pool_view_free(v);
    return m;
}

static inline bool play_until(struct play *y, const char *name, enum pool_state state, int ms)
{
    for (int64_t end = clock_ns() + ms * 1000000LL; clock_ns() < end; usleep(2000))
        if (play_model(y, name).state == state) return true;
    return false;
}

static inline struct pool_counts play_counts(struct play *y)
{
    struct pool_view *v = pool_view_new(y->pool);
    struct pool_counts c = v->counts;
    pool_view_free(v);
    return c;
}

#endif
