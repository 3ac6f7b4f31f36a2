#include "engine/best_of.h"

#include <stdlib.h>
#include <string.h>

struct candidate {
    struct sample_result *token; /* with alternatives of their own */
    uint32_t n, cap;
    double logprob; /* of all tokens */
    struct engine_event end;
    struct error error; /* what end points to */
};

struct best_of {
    struct engine *en;
    engine_on_event on_event; /* the request's */
    void *user;
    uint64_t id;
    uint32_t n, n_all, n_ended; /* choices wanted, made, ended */
    bool cancelled;
    struct candidate *c; /* n_all */
};

static void keep_token(struct candidate *c, const struct sample_result *r)
{
    if (c->n == c->cap) {
        c->cap = MAX(16u, c->cap * 2);
        c->token = mem_realloc(c->token, c->cap, sizeof *c->token);
    }
    struct sample_result *to = &c->token[c->n++];
    *to = *r;
    c->logprob += (double)r->logprob;
    if (!r->n_top) return;
    struct sample_logprob *top = mem_alloc(r->n_top * sizeof *top);
    memcpy(top, r->top, r->n_top * sizeof *top);
    to->top = top;
}

static bool whole(const struct candidate *c)
{
    return c->end.finish == FINISH_STOP || c->end.finish == FINISH_LENGTH || c->end.finish == FINISH_CONTEXT;
}

/* The higher mean first; what did not come to its own end last. */
static int compare(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    double pa = a->n ? a->logprob / a->n : 0, pb = b->n ? b->logprob / b->n : 0;
    if (whole(a) != whole(b)) return whole(a) ? -1 : 1;
    return pa > pb ? -1 : pa < pb ? 1 : (int)a->end.choice - (int)b->end.choice;
}

static void send_best(struct best_of *b)
{
    qsort(b->c, b->n_all, sizeof *b->c, compare);
    for (uint32_t i = b->n; i < b->n_all; i++) b->c[0].end.timing.n_unsent += b->c[i].n;
    for (uint32_t i = 0; i < b->n; i++) {
        struct candidate *c = &b->c[i];
        for (uint32_t t = 0; t < c->n; t++) {
            struct engine_event ev = {.kind = EV_TOKEN, .id = b->id + i, .token = &c->token[t], .choice = i};
            b->on_event(b->user, &ev);
        }
        c->end.id = b->id + i;
        c->end.choice = i;
        if (c->end.error) c->end.error = &c->error; /* sorting has moved it */
        b->on_event(b->user, &c->end);
    }
}

static void collect(void *user, const struct engine_event *ev)
{
    struct best_of *b = user;
    struct candidate *c = &b->c[ev->choice];
    if (ev->kind == EV_PROMPT) {
        struct engine_event of_all = *ev;
        of_all.id = b->id;
        b->on_event(b->user, &of_all);
        return;
    }
    if (ev->kind == EV_TOKEN) {
        keep_token(c, ev->token);
        return;
    }
    c->end = *ev;
    if (ev->error) c->error = *ev->error;
    b->n_ended++;
    if (ev->finish == FINISH_CANCELLED && !b->cancelled) { /* one stands for all */
        b->cancelled = true;
        for (uint32_t i = 0; i < b->n_all; i++) engine_cancel(b->en, b->id + i);
    }
    if (b->n_ended < b->n_all) return;
    send_best(b);
    best_of_free(b);
}

struct best_of *best_of_new(struct engine *en, struct engine_request *r)
{
    struct best_of *b = mem_zalloc(1, sizeof *b);
    *b = (struct best_of){.en = en,
                          .on_event = r->on_event,
                          .user = r->user,
                          .n = MAX(r->n, 1u),
                          .n_all = r->best_of,
                          .c = mem_zalloc(r->best_of, sizeof *b->c)};
    r->n = r->best_of;
    r->on_event = collect;
    r->user = b;
    r->params.want_logprob = true;
    return b;
}

void best_of_set_id(struct best_of *b, uint64_t id)
{
    b->id = id;
}

void best_of_free(struct best_of *b)
{
    if (!b) return;
    for (uint32_t i = 0; i < b->n_all; i++) {
        for (uint32_t t = 0; t < b->c[i].n; t++)
            if (b->c[i].token[t].n_top) free((void *)(uintptr_t)b->c[i].token[t].top);
        free(b->c[i].token);
    }
    free(b->c);
    free(b);
}
