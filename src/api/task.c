#include "api/task.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "api/workers.h"

struct task { /* held by the exchange and, while it works, by the worker */
    const struct api *api;
    const struct renderer *render;
    task_fn *fn;
    struct http_waker *waker;
    atomic_uint refs;
    atomic_bool done; /* what follows is written, and the loop's again */
    bool ok;
    struct request req;
    struct buf out;
    struct fault fault;
};

static void unref(struct task *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1) return;
    http_waker_free(t->waker);
    request_deinit(&t->req);
    buf_deinit(&t->out);
    free(t);
}

static void compute(struct task *t)
{
    t->ok = t->fn(t->api, &t->req, &t->out, &t->fault);
    if (t->ok && t->out.failed) t->ok = refuse(&t->fault, 500, NULL, NULL, "out of memory");
    atomic_store(&t->done, true);
}

static void on_worker(void *user)
{
    struct task *t = user;
    compute(t);
    http_waker_fire(t->waker);
    unref(t);
}

static void reply(struct http_exchange *x, struct task *t)
{
    if (t->ok)
        http_reply(x, 200, "application/json", t->out.data, t->out.n);
    else
        reply_fault(x, t->render, &t->fault);
}

static void on_wake(struct http_exchange *x, void *user)
{
    struct task *t = user;
    if (atomic_load(&t->done)) reply(x, t);
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    unref(user);
}

static const struct http_responder responder = {.wake = on_wake, .end = on_end};

void task_run(struct http_exchange *x, const struct api *api, const struct renderer *render,
              struct request *r, task_fn *fn)
{
    struct task *t = mem_zalloc(1, sizeof *t);
    t->api = api;
    t->render = render;
    t->fn = fn;
    t->req = *r;
    *r = (struct request){0};
    atomic_init(&t->refs, 1);
    if (t->req.ignored.n) http_set_header(x, "X-Corral-Ignored", t->req.ignored.data);
    if (request_is_short(&t->req)) {
        compute(t);
        reply(x, t);
        unref(t);
        return;
    }
    http_attach(x, &responder, t);
    t->waker = http_waker_new(x);
    atomic_fetch_add(&t->refs, 1);
    workers_run(api->workers, on_worker, t);
}
