/* What a job looks like from outside: measured, as a view, as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "hub/pulls_int.h"

static const double MEMORY_S = 4; /* the rate forgets what was before */

void pull_files_free(struct pull_file *file, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(file[i].name);
        free(file[i].digest);
    }
    free(file);
}

/* ---- measuring ----------------------------------------------------------------------------------------- */

static void look_at_files(struct job *j, uint64_t *fetched, bool *all_there)
{
    *fetched = 0;
    *all_there = true;
    for (size_t i = 0; i < j->n_file; i++) {
        struct pull_file *f = &j->file[i];
        struct download_state now;
        if (!j->download || j->item[i] == SIZE_MAX) continue;
        download_file_state(j->download, j->item[i], &now);
        f->bytes = now.bytes;
        f->total = now.total;
        f->done = now.phase == DOWNLOAD_DONE;
        *fetched += now.fetched;
        if (now.phase < DOWNLOAD_CHECKING) *all_there = false;
    }
}

void pull_measure(struct job *j)
{
    int64_t now = clock_us();
    double s = (double)(now - j->measured_us) * 1e-6;
    uint64_t fetched = 0;
    bool all_there;
    look_at_files(j, &fetched, &all_there);
    j->bytes = j->total = 0;
    for (size_t i = 0; i < j->n_file; i++) {
        j->bytes += j->file[i].bytes;
        if (j->file[i].total != HUB_UNKNOWN) j->total += j->file[i].total;
    }
    if (s < 0.01) return;
    if (j->download) {
        double lately = (double)(fetched > j->fetched ? fetched - j->fetched : 0) / s;
        j->rate = j->rate > 0 ? j->rate + (1 - exp(-s / MEMORY_S)) * (lately - j->rate) : lately;
        j->fetched = fetched;
        j->phase = all_there ? "verifying" : "downloading";
    }
    j->measured_us = now;
}

/* ---- views --------------------------------------------------------------------------------------------- */

static void guess_end(struct pull_view *v)
{
    bool known = v->total > 0;
    for (size_t i = 0; i < v->n_file; i++) known = known && v->file[i].total != HUB_UNKNOWN;
    v->progress = v->status == STORE_JOB_COMPLETED ? 1
                  : known                          ? MIN((double)v->bytes / (double)v->total, 0.999)
                                                   : 0;
    v->eta_s = -1;
    if (v->status == STORE_JOB_COMPLETED) v->eta_s = 0;
    if (v->status == STORE_JOB_RUNNING && known && v->bytes_per_s > 0)
        v->eta_s = (double)(v->total - MIN(v->bytes, v->total)) / v->bytes_per_s;
}

static struct pull_view *view_of(const struct job *j)
{
    struct pull_view *v = mem_zalloc(1, sizeof *v);
    *v = (struct pull_view){.id = j->id,
                            .status = j->running ? STORE_JOB_RUNNING : STORE_JOB_QUEUED,
                            .phase = mem_strdup(j->phase),
                            .reference = mem_strdup(j->reference),
                            .name = mem_strdup(j->name),
                            .error = mem_strdup(""),
                            .bytes = j->bytes,
                            .total = j->total,
                            .bytes_per_s = j->rate,
                            .created_ms = j->created_ms,
                            .started_ms = j->started_ms,
                            .n_file = j->n_file};
    v->file = mem_zalloc(MAX(v->n_file, 1), sizeof *v->file);
    for (size_t i = 0; i < v->n_file; i++) {
        v->file[i] = j->file[i];
        v->file[i].name = mem_strdup(j->file[i].name);
        v->file[i].digest = mem_strdup(j->file[i].digest);
    }
    guess_end(v);
    return v;
}

/* JSON is written as text here, because that makes of bytes that are no UTF-8 (a server's words, a message
 * cut in the middle of a letter) what can be read. */
static void add_text(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, "%s\"%s\":", b->data[b->n - 1] == '{' ? "" : ",", name);
    buf_json_str(b, value, strlen(value));
}

static void add_number(struct buf *b, const char *name, bool known, double value)
{
    buf_addf(b, ",\"%s\":", name);
    if (known)
        buf_addf(b, value == floor(value) ? "%.0f" : "%.6f", value);
    else
        buf_adds(b, "null");
}

static void add_files(struct buf *b, const struct pull_file *file, size_t n)
{
    buf_adds(b, ",\"files\":[");
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, i ? ",{" : "{");
        add_text(b, "name", file[i].name);
        add_text(b, "digest", file[i].digest);
        buf_addf(b, ",\"bytes\":%llu,\"total\":", (unsigned long long)file[i].bytes);
        if (file[i].total == HUB_UNKNOWN)
            buf_adds(b, "null");
        else
            buf_addf(b, "%llu", (unsigned long long)file[i].total);
        buf_addf(b, ",\"done\":%s}", file[i].done ? "true" : "false");
    }
    buf_addc(b, ']');
}

/* With as many files as the store takes the text of. */
char *pull_detail(const struct job *j)
{
    struct buf b = {0};
    for (size_t n = j->n_file;; n /= 2) {
        buf_reset(&b);
        buf_addc(&b, '{');
        add_text(&b, "phase", j->phase);
        add_text(&b, "reference", j->reference);
        add_text(&b, "name", j->name);
        add_files(&b, j->file, n);
        buf_addc(&b, '}');
        if (b.n < STORE_JSON_MAX || !n) return b.data;
    }
}

char *pull_request(const struct job *j)
{
    struct buf b = {0};
    buf_addc(&b, '{');
    add_text(&b, "reference", j->reference);
    add_text(&b, "name", j->name);
    buf_addf(&b, ",\"copy\":%s,\"public_only\":%s}", j->copy ? "true" : "false",
             j->public_only ? "true" : "false");
    return b.data;
}

static char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return mem_strdup(s ? s : "");
}

static uint64_t number_of(const json_t *v)
{
    json_int_t n = json_integer_value(v);
    return !json_is_integer(v) || n < 0 ? HUB_UNKNOWN : (uint64_t)n;
}

static struct pull_view *view_of_stored(const struct store_job *s)
{
    struct pull_view *v = mem_zalloc(1, sizeof *v);
    json_t *o = json_loads(s->detail, 0, NULL);
    const json_t *files = json_object_get(o, "files");
    *v = (struct pull_view){.id = s->id,
                            .status = s->status,
                            .phase = mem_strdup(store_job_status_name(s->status)),
                            .reference = text_of(o, "reference"),
                            .name = text_of(o, "name"),
                            .error = mem_strdup(s->error),
                            .bytes = s->bytes,
                            .total = s->total,
                            .created_ms = s->created_ms,
                            .started_ms = s->started_ms,
                            .finished_ms = s->finished_ms,
                            .n_file = json_array_size(files)};
    v->file = mem_zalloc(MAX(v->n_file, 1), sizeof *v->file);
    for (size_t i = 0; i < v->n_file; i++) {
        const json_t *f = json_array_get(files, i);
        v->file[i] = (struct pull_file){.name = text_of(f, "name"),
                                        .digest = text_of(f, "digest"),
                                        .bytes = number_of(json_object_get(f, "bytes")),
                                        .total = number_of(json_object_get(f, "total")),
                                        .done = json_is_true(json_object_get(f, "done"))};
    }
    if (!*v->reference) {
        free(v->reference);
        v->reference = mem_strdup(s->model);
    }
    json_decref(o);
    guess_end(v);
    return v;
}

status pulls_snapshot(struct pulls *p, int64_t id, struct pull_view **out, struct error *e)
{
    struct store_job stored = {0};
    *out = NULL;
    pthread_mutex_lock(&p->lock);
    for (struct job *j = p->jobs; j && !*out; j = j->next)
        if (j->id == id) {
            if (j->running) pull_measure(j);
            *out = view_of(j);
        }
    pthread_mutex_unlock(&p->lock);
    if (*out) return OK;
    TRY(store_job_get(p->store, id, &stored, e));
    *out = view_of_stored(&stored);
    store_job_deinit(&stored);
    return OK;
}

void pull_view_free(struct pull_view *v)
{
    if (!v) return;
    pull_files_free(v->file, v->n_file);
    free(v->phase);
    free(v->reference);
    free(v->name);
    free(v->error);
    free(v);
}

char *pull_view_json(const struct pull_view *v)
{
    struct buf b = {0};
    buf_addf(&b, "{\"id\":%lld", (long long)v->id);
    add_text(&b, "status", store_job_status_name(v->status));
    add_text(&b, "phase", v->phase);
    add_text(&b, "model", v->reference);
    add_text(&b, "name", v->name);
    add_number(&b, "progress", true, v->progress);
    add_number(&b, "downloaded_bytes", true, (double)v->bytes);
    add_number(&b, "total_bytes", v->total > 0, (double)v->total);
    add_number(&b, "bytes_per_s", true, round(v->bytes_per_s));
    add_number(&b, "eta_s", v->eta_s >= 0, round(v->eta_s * 10) / 10);
    add_number(&b, "created_ms", true, (double)v->created_ms);
    add_number(&b, "started_ms", v->started_ms > 0, (double)v->started_ms);
    add_number(&b, "finished_ms", v->finished_ms > 0, (double)v->finished_ms);
    if (*v->error)
        add_text(&b, "error", v->error);
    else
        buf_adds(&b, ",\"error\":null");
    add_files(&b, v->file, v->n_file);
    buf_addc(&b, '}');
    return b.data;
}
