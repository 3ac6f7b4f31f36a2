/* Pulls and their jobs: POST /pull, GET /jobs, GET /jobs/{id} (a picture, or all that follow as server-sent
 * events or lines of JSON), DELETE /jobs/{id}; and POST /api/pull, the same in Ollama's words. */
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "gateway/errand.h"
#include "gateway/permit.h"
#include "hub/pulls.h"

/* ---- watching a job ---------------------------------------------------------------------------------- */

enum form { AS_EVENTS, AS_LINES, AS_OLLAMA, AS_ONE /* its end, at once */, AS_OLLAMA_ONE };
enum { EVERY_MS = 1000 };

struct watch {
    struct http_exchange *x;
    struct pulls *pulls;
    struct http_waker *waker;
    int64_t id;
    enum form form;
    bool due, ended; /* something is to be said; it was the last */
    bool manifest;   /* Ollama's first line was said */
    char *last;      /* what was said last */
};

static bool over(const struct pull_view *v)
{
    return v->status >= STORE_JOB_COMPLETED;
}

/* One line of Ollama's: of the first file that is not whole, or of the job. */
static void add_ollama(struct watch *w, const struct pull_view *v, struct buf *out)
{
    const struct pull_file *at = NULL;
    json_t *line;
    if (!w->manifest) {
        http_ndjson(out, "{\"status\":\"pulling manifest\"}", strlen("{\"status\":\"pulling manifest\"}"));
        w->manifest = true;
    }
    for (size_t i = 0; i < v->n_file && !at; i++)
        if (!v->file[i].done) at = &v->file[i];
    if (over(v)) {
        if (v->status == STORE_JOB_COMPLETED)
            line = json_pack("{s:s}", "status", "success");
        else
            line = json_pack("{s:o}", "error",
                             text_json(*v->error ? v->error : store_job_status_name(v->status)));
    } else if (at && !strcmp(v->phase, "downloading")) {
        const char *hex = strchr(at->digest, ':') ? strchr(at->digest, ':') + 1 : at->name;
        char doing[96];
        snprintf(doing, sizeof doing, "pulling %.12s", hex);
        line = json_pack("{s:s, s:s, s:I}", "status", doing, "digest", *at->digest ? at->digest : at->name,
                         "completed", (json_int_t)at->bytes);
        if (at->total != HUB_UNKNOWN) json_object_set_new(line, "total", json_integer((json_int_t)at->total));
    } else {
        line = json_pack("{s:s}", "status",
                         strcmp(v->phase, "verifying") ? v->phase : "verifying sha256 digest");
    }
    char *text = json_dumps(line, JSON_COMPACT);
    if (text && (!w->last || strcmp(text, w->last) != 0)) {
        http_ndjson(out, text, strlen(text));
        free(w->last);
        w->last = text;
    } else {
        free(text);
    }
    json_decref(line);
}

static void add_picture(struct watch *w, const struct pull_view *v, struct buf *out)
{
    char *text = pull_view_json(v);
    if (w->form == AS_EVENTS)
        http_sse_event(out, over(v) ? "end" : "progress", text, strlen(text));
    else
        http_ndjson(out, text, strlen(text));
    free(text);
}

static enum http_pull watch_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct watch *w = user;
    struct pull_view *v;
    struct error e;
    if (w->ended) return HTTP_DONE;
    if (!w->due) return HTTP_WAIT;
    w->due = false;
    if (pulls_snapshot(w->pulls, w->id, &v, &e) != OK) return HTTP_DONE;
    if (w->form == AS_OLLAMA)
        add_ollama(w, v, out);
    else
        add_picture(w, v, out);
    w->ended = over(v);
    pull_view_free(v);
    if (w->ended) return HTTP_DONE;
    http_set_timer(x, EVERY_MS);
    return HTTP_MORE;
}

/* The end alone is wanted. */
static void reply_when_over(struct watch *w)
{
    struct pull_view *v;
    struct error e;
    if (w->ended) return;
    if (pulls_snapshot(w->pulls, w->id, &v, &e) != OK) {
        w->ended = true;
        http_reply_error(w->x, 404, e.msg);
        return;
    }
    w->ended = over(v);
    if (w->ended) {
        bool good = v->status == STORE_JOB_COMPLETED;
        char *text = pull_view_json(v);
        struct buf b = {0};
        if (w->form == AS_ONE) {
            buf_adds(&b, text);
        } else if (good) {
            buf_adds(&b, "{\"status\":\"success\"}");
        } else {
            buf_adds(&b, "{\"error\":");
            buf_json_str(&b, v->error, strlen(v->error));
            buf_addc(&b, '}');
        }
        http_reply(w->x, good || w->form == AS_ONE ? 200 : 500, "application/json", b.data, b.n);
        buf_deinit(&b);
        free(text);
    }
    pull_view_free(v);
}

static void watch_wake(struct http_exchange *x, void *user)
{
    struct watch *w = user;
    w->due = true;
    if (w->form == AS_ONE || w->form == AS_OLLAMA_ONE) reply_when_over(w);
}

static void watch_end(struct http_exchange *x, void *user, bool complete)
{
    struct watch *w = user;
    pulls_unwatch(w->pulls, w->waker);
    http_waker_free(w->waker);
    free(w->last);
    free(w);
}

static const struct http_responder watcher = {
    .wake = watch_wake, .timer = watch_wake, .pull = watch_pull, .end = watch_end};

static void watch(struct http_exchange *x, struct gateway *g, int64_t id, enum form form)
{
    struct watch *w = mem_zalloc(1, sizeof *w);
    *w = (struct watch){.x = x, .pulls = g->o.pulls, .id = id, .form = form, .due = true};
    http_attach(x, &watcher, w);
    w->waker = http_waker_new(x);
    pulls_watch(w->pulls, id, w->waker);
    if (form == AS_ONE || form == AS_OLLAMA_ONE) {
        reply_when_over(w);
        return;
    }
    http_set_header(x, "Cache-Control", "no-cache");
    http_set_header(x, "X-Accel-Buffering", "no");
    http_stream(x, 200, form == AS_EVENTS ? "text/event-stream" : "application/x-ndjson");
}

/* ---- starting one ------------------------------------------------------------------------------------ */

static bool wants(const struct http_exchange *x, const char *type)
{
    const char *accept = http_header(x, "accept");
    return accept && strstr(accept, type);
}

/* Members that mean nothing here, misspelt ones for instance, are named as in answers of models. */
static void name_ignored(struct http_exchange *x, const json_t *body)
{
    static const char *const known[] = {"model", "name", "as", "copy", "stream", "wait"};
    struct buf list = {0};
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)body, name, v)
    {
        size_t i = 0;
        while (i < COUNT_OF(known) && strcmp(name, known[i]) != 0) i++;
        if (i == COUNT_OF(known) && !json_is_null(v)) ignored_add(&list, name);
    }
    if (list.n) http_set_header(x, "X-Corral-Ignored", list.data);
    buf_deinit(&list);
}

/* False: it was answered. */
static bool start(struct http_exchange *x, struct gateway *g, const json_t *body, int64_t *id)
{
    name_ignored(x, body);
    const char *model = json_string_value(json_object_get(body, "model"));
    bool trusted = gateway_trusts(g, x);
    char why[300];
    struct error e;
    if (!model) model = json_string_value(json_object_get(body, "name"));
    if (!g->o.pulls) {
        gateway_refuse(x, 501, NULL, "this server pulls no models");
        return false;
    }
    if (!model || !*model) {
        gateway_refuse(x, 400, "model",
                       "\"model\" is missing: say which, for example \"hf:org/repo:Q4_K_M\" or \"llama3.2\"");
        return false;
    }
    if (!permit_pull(g, trusted, model, why, sizeof why)) {
        gateway_refuse(x, 403, "model", "%s", why);
        return false;
    }
    const struct pull_want want = {.reference = model,
                                   .name = json_string_value(json_object_get(body, "as")),
                                   .copy = json_is_true(json_object_get(body, "copy")),
                                   .no_local = !trusted && !g->o.local_files,
                                   .public_only = !trusted && !g->o.private_hosts};
    if (pulls_start(g->o.pulls, &want, id, &e) == OK) return true;
    gateway_refuse(x, errand_code(e.code), "model", "%s", e.msg);
    return false;
}

/* 202 and where the job is. */
static void reply_begun(struct http_exchange *x, struct gateway *g, int64_t id)
{
    struct pull_view *v;
    struct error e;
    char place[48];
    if (pulls_snapshot(g->o.pulls, id, &v, &e) != OK) {
        gateway_refuse(x, 500, NULL, "%s", e.msg);
        return;
    }
    char *text = pull_view_json(v);
    json_t *job = json_loads(text, 0, NULL);
    json_object_set_new(job, "job_id", json_integer(id));
    free(text);
    text = json_dumps(job, JSON_COMPACT);
    snprintf(place, sizeof place, "/jobs/%lld", (long long)id);
    http_set_header(x, "Location", place);
    http_reply(x, 202, "application/json", text, strlen(text));
    free(text);
    json_decref(job);
    pull_view_free(v);
}

/* POST /pull {"model", "as", "copy", "stream", "wait"}: 202 and the job; with stream its progress, with wait
 * its end. */
static void pull(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    char why[200];
    json_t *body = gateway_body(x, why, sizeof why);
    int64_t id;
    if (!body) {
        gateway_refuse(x, 400, NULL, "%s", why);
    } else if (start(x, g, body, &id)) {
        if (json_is_true(json_object_get(body, "stream")))
            watch(x, g, id, wants(x, "text/event-stream") ? AS_EVENTS : AS_LINES);
        else if (json_is_true(json_object_get(body, "wait")))
            watch(x, g, id, AS_ONE);
        else
            reply_begun(x, g, id);
    }
    json_decref(body);
}

static void ollama_pull(struct http_exchange *x, void *gateway)
{
    char why[200];
    json_t *body = gateway_body(x, why, sizeof why);
    int64_t id;
    if (!body)
        gateway_refuse(x, 400, NULL, "%s", why);
    else if (start(x, gateway, body, &id))
        watch(x, gateway, id, json_is_false(json_object_get(body, "stream")) ? AS_OLLAMA_ONE : AS_OLLAMA);
    json_decref(body);
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

static bool job_id(struct http_exchange *x, int64_t *out)
{
    char *end;
    const char *text = http_param(x, "id");
    *out = strtoll(text, &end, 10);
    if (*text && !*end && *out > 0) return true;
    gateway_refuse(x, 404, NULL, "a job's id is a number: GET /jobs lists them");
    return false;
}

static void job(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pull_view *v;
    struct error e;
    int64_t id;
    char stream[8] = "";
    if (!job_id(x, &id)) return;
    if (!g->o.pulls || pulls_snapshot(g->o.pulls, id, &v, &e) != OK) {
        gateway_refuse(x, 404, NULL, "there is no such job: GET /jobs lists them");
        return;
    }
    bool follow = query_value(http_query(x), "stream", stream, sizeof stream) && strcmp(stream, "0") != 0;
    if (wants(x, "text/event-stream")) {
        watch(x, g, id, AS_EVENTS);
    } else if (follow || wants(x, "application/x-ndjson")) {
        watch(x, g, id, AS_LINES);
    } else {
        char *text = pull_view_json(v);
        http_reply(x, 200, "application/json", text, strlen(text));
        free(text);
    }
    pull_view_free(v);
}

static void cancel_job(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct error e;
    int64_t id;
    char body[80];
    if (!job_id(x, &id)) return;
    if (!g->o.pulls) {
        gateway_refuse(x, 404, NULL, "there is no such job");
        return;
    }
    status s = pulls_cancel(g->o.pulls, id, &e);
    if (s != OK) {
        gateway_refuse(x, s == ERR_ARG ? 409 : errand_code(s), NULL, "%s", e.msg);
        return;
    }
    int n =
        snprintf(body, sizeof body, "{\"success\":true,\"id\":%lld,\"status\":\"cancelled\"}", (long long)id);
    http_reply(x, 200, "application/json", body, (size_t)n);
}

static int64_t number_in(const char *query, const char *name)
{
    char text[32];
    return query_value(query, name, text, sizeof text) ? strtoll(text, NULL, 10) : 0;
}

static json_t *job_json(const struct store_job *j)
{
    json_t *detail = json_loads(j->detail, 0, NULL);
    const json_t *name = json_object_get(detail, "name");
    json_t *v = json_pack("{s:I, s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:i}", "id",
                          (json_int_t)j->id, "kind", j->kind, "model", j->model, "name",
                          json_is_string(name) ? json_string_value(name) : "", "status",
                          store_job_status_name(j->status), "progress",
                          j->status == STORE_JOB_COMPLETED ? 1.0
                          : j->total                       ? (double)j->bytes / (double)j->total
                                                           : 0.0,
                          "downloaded_bytes", (json_int_t)j->bytes, "total_bytes", (json_int_t)j->total,
                          "created_ms", (json_int_t)j->created_ms, "started_ms", (json_int_t)j->started_ms,
                          "finished_ms", (json_int_t)j->finished_ms, "attempts", (int)j->attempts);
    json_object_set_new(v, "error", *j->error ? text_json(j->error) : json_null());
    json_decref(detail);
    return v;
}

/* GET /jobs?status=queued,running&kind=pull&model=..&since=ms&before=id&limit=n: newest first. */
static void list_jobs(struct errand *r)
{
    char state[64], kind[32], model[512];
    struct store_jobs all = {0};
    struct error e;
    const struct store_job_filter f = {
        .status = query_value(r->query, "status", state, sizeof state) ? state : NULL,
        .kind = query_value(r->query, "kind", kind, sizeof kind) ? kind : NULL,
        .model = query_value(r->query, "model", model, sizeof model) ? model : NULL,
        .since_ms = number_in(r->query, "since"),
        .before_id = number_in(r->query, "before"),
        .limit = (uint32_t)MIN(MAX(number_in(r->query, "limit"), 0), 10000),
    };
    if (!r->g->o.store) {
        errand_json(r, 200, json_pack("{s:[]}", "jobs"));
        return;
    }
    if (store_job_list(r->g->o.store, &f, &all, &e) != OK) {
        errand_error(r, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < all.n; i++) json_array_append_new(list, job_json(&all.item[i]));
    store_jobs_deinit(&all);
    errand_json(r, 200, json_pack("{s:o}", "jobs", list));
}
static void x_list_jobs(struct http_exchange *x, void *gateway)
{
    errand_run(x, gateway, list_jobs);
}

static const struct http_route rows[] = {
    {"POST", "/pull", pull, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"POST", "/api/pull", ollama_pull, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"GET", "/jobs", x_list_jobs, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/jobs/{id}", job, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"DELETE", "/jobs/{id}", cancel_job, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
};
const struct gateway_routes jobs_routes = {rows, COUNT_OF(rows)};
