/* GET /models/sse: what becomes of models, as events in the words of llama.cpp's router
 * (ggml-org/llama.cpp#24828):
 *
 *   data: {"model":"a","event":"model_status","data":{"status":"loading","progress":{"stages":["text_model"],
 *          "current":"text_model","value":0.42}}}
 *   data: {"model":"a","event":"download_progress","data":{"progress":{"a.gguf":{"done":4,"total":10}}}}
 *
 * At first what is loaded, loading or on its way; then whatever changes. Progress once a second. */
#include <stdlib.h>
#include <string.h>

#include "gateway/models.h"
#include "gateway/news.h"
#include "hub/pulls.h"

enum { TICK_MS = 1000, QUIET_TICKS = 15, MAX_JOBS = 100 };

struct seen_model {
    char *name; /* in full */
    const char *state;
    int percent;
};
struct seen_job {
    int64_t id;
    uint64_t bytes;
};
struct follower {
    struct gateway *g;
    struct http_waker *waker;
    uint64_t news;
    struct seen_model *model;
    struct seen_job *job;
    size_t n_model, n_job;
    uint32_t quiet; /* ticks without a word */
    bool due, tick;
};

static void tell(struct buf *out, const char *model, const char *event, json_t *data)
{
    char name[STORE_NAME_MAX];
    store_name_short(name, model);
    json_t *v = json_pack("{s:o, s:s, s:o}", "model", text_json(name), "event", event, "data", data);
    char *text = json_dumps(v, JSON_COMPACT);
    if (text) http_sse_event(out, NULL, text, strlen(text));
    free(text);
    json_decref(v);
}

/* ---- models ------------------------------------------------------------------------------------------ */

static struct seen_model *seen_model(struct follower *f, const char *name)
{
    for (size_t i = 0; i < f->n_model; i++)
        if (!strcmp(f->model[i].name, name)) return &f->model[i];
    f->model = mem_realloc(f->model, f->n_model + 1, sizeof *f->model);
    f->model[f->n_model] =
        (struct seen_model){.name = mem_strdup(name), .state = router_state(POOL_COLD), .percent = -1};
    return &f->model[f->n_model++];
}

static void tell_model(struct follower *f, const struct pool_model_view *m, struct buf *out)
{
    struct seen_model *s = seen_model(f, m->name);
    const char *state = router_state(m->state);
    int percent = m->progress >= 0 ? (int)(100 * m->progress) : -1;
    bool moved = f->tick && m->state == POOL_LOADING && percent >= 0 && percent != s->percent;
    if (!strcmp(state, s->state) && !moved) return;
    json_t *data = json_pack("{s:s}", "status", state);
    if (m->state == POOL_LOADING)
        json_object_set_new(data, "progress",
                            json_pack("{s:[s], s:s, s:f}", "stages", "text_model", "current", "text_model",
                                      "value", MAX(m->progress, 0.0)));
    if (m->state == POOL_FAILED) {
        json_object_set_new(data, "failed", json_true());
        json_object_set_new(data, "error", text_json(m->error));
    }
    s->state = state;
    s->percent = percent;
    tell(out, m->name, "model_status", data);
}

static void tell_models(struct follower *f, struct buf *out)
{
    struct pool_view *v = pool_view_new(f->g->o.pool);
    for (size_t i = 0; i < v->n_model; i++) tell_model(f, &v->model[i], out);
    pool_view_free(v);
}

/* ---- downloads --------------------------------------------------------------------------------------- */

static void tell_job(const struct pull_view *v, struct buf *out)
{
    bool over = v->status >= STORE_JOB_COMPLETED;
    json_t *data = json_pack("{s:I}", "job_id", (json_int_t)v->id), *progress = json_object();
    for (size_t i = 0; i < v->n_file; i++) {
        const struct pull_file *file = &v->file[i];
        json_object_set_new(
            progress, file->name,
            json_pack("{s:I, s:o}", "done", (json_int_t)file->bytes, "total",
                      file->total == HUB_UNKNOWN ? json_null() : json_integer((json_int_t)file->total)));
    }
    json_object_set_new(data, "progress", progress);
    if (over && v->status != STORE_JOB_COMPLETED)
        json_object_set_new(data, "error",
                            text_json(*v->error ? v->error : store_job_status_name(v->status)));
    tell(out, v->name,
         !over                              ? "download_progress"
         : v->status == STORE_JOB_COMPLETED ? "download_finished"
                                            : "download_failed",
         data);
}

static struct seen_job *seen_job(struct follower *f, int64_t id)
{
    for (size_t i = 0; i < f->n_job; i++)
        if (f->job[i].id == id) return &f->job[i];
    f->job = mem_realloc(f->job, f->n_job + 1, sizeof *f->job);
    f->job[f->n_job] = (struct seen_job){.id = id, .bytes = UINT64_MAX};
    return &f->job[f->n_job++];
}

/* Of one that runs, if it got on; of one that has ended, once. True: it has ended. */
static bool look_at_job(struct follower *f, struct seen_job *s, struct buf *out)
{
    struct pull_view *v;
    struct error e;
    if (pulls_snapshot(f->g->o.pulls, s->id, &v, &e) != OK) return true;
    bool over = v->status >= STORE_JOB_COMPLETED;
    if (over || (f->tick && v->bytes != s->bytes) || s->bytes == UINT64_MAX) tell_job(v, out);
    s->bytes = v->bytes;
    pull_view_free(v);
    return over;
}

static void tell_jobs(struct follower *f, struct buf *out)
{
    const struct store_job_filter filter = {.status = "queued,running", .kind = "pull", .limit = MAX_JOBS};
    struct store_jobs all = {0};
    struct error e;
    if (!f->g->o.pulls || !f->g->o.store) return;
    if (store_job_list(f->g->o.store, &filter, &all, &e) == OK)
        for (size_t i = 0; i < all.n; i++) (void)seen_job(f, all.item[i].id);
    store_jobs_deinit(&all);
    for (size_t i = 0; i < f->n_job;)
        if (look_at_job(f, &f->job[i], out))
            f->job[i] = f->job[--f->n_job];
        else
            i++;
}

/* ---- the stream -------------------------------------------------------------------------------------- */

static enum http_pull on_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct follower *f = user;
    struct news_item item;
    size_t before = out->n;
    if (!f->due) return HTTP_WAIT;
    f->due = false;
    tell_models(f, out);
    tell_jobs(f, out);
    while (news_next(f->g->news, &f->news, &item)) tell(out, item.model, item.event, json_object());
    if (f->tick) f->quiet++;
    if (out->n > before) f->quiet = 0;
    if (f->quiet >= QUIET_TICKS) {
        http_sse_comment(out, "nothing new");
        f->quiet = 0;
    }
    f->tick = false;
    return out->n > before ? HTTP_MORE : HTTP_WAIT;
}

static void on_wake(struct http_exchange *x, void *user)
{
    struct follower *f = user;
    f->due = true;
}

static void on_timer(struct http_exchange *x, void *user)
{
    struct follower *f = user;
    f->due = f->tick = true;
    http_set_timer(x, TICK_MS);
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct follower *f = user;
    pool_unwatch(f->g->o.pool, f->waker);
    if (f->g->o.pulls) pulls_unwatch(f->g->o.pulls, f->waker);
    news_unwatch(f->g->news, f->waker);
    http_waker_free(f->waker);
    for (size_t i = 0; i < f->n_model; i++) free(f->model[i].name);
    free(f->model);
    free(f->job);
    free(f);
}

static const struct http_responder responder = {
    .wake = on_wake, .timer = on_timer, .pull = on_pull, .end = on_end};

static void follow(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct follower *f = mem_zalloc(1, sizeof *f);
    *f = (struct follower){.g = g, .news = news_now(g->news), .due = true};
    http_attach(x, &responder, f);
    f->waker = http_waker_new(x);
    pool_watch(g->o.pool, f->waker);
    if (g->o.pulls) pulls_watch(g->o.pulls, 0, f->waker);
    news_watch(g->news, f->waker);
    http_set_header(x, "Cache-Control", "no-cache");
    http_set_header(x, "X-Accel-Buffering", "no");
    http_stream(x, 200, "text/event-stream");
    http_set_timer(x, TICK_MS);
}

static const struct http_route rows[] = {
    {"GET", "/models/sse", follow, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};
const struct gateway_routes events_routes = {rows, COUNT_OF(rows)};
