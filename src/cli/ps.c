/* corral ps: what is loaded, where, and how busy it is. */
#include <string.h>
#include <time.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/table.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

/* "host", "GPU-1a2b3c4d", with numbers of layers "GPU-1a2b3c4d=20 host=12", "GPU-1a2b3c4d=8 GPU-5e6f7a8b=8
 * +2" */
static void add_devices(struct table *t, const json_t *share)
{
    enum { MOST = 3 };
    struct buf b = {0};
    size_t n = json_array_size(share), shown = n > MOST ? MOST - 1 : n;
    for (size_t i = 0; i < shown; i++) {
        const json_t *s = json_array_get(share, i);
        buf_addf(&b, "%s%.12s", i ? " " : "", json_text(s, "uuid"));
        if (n > 1) buf_addf(&b, "=%.0f", json_num(s, "layers"));
    }
    if (shown < n) buf_addf(&b, " +%zu", n - shown);
    table_add(t, "%s", b.n ? b.data : "");
    buf_deinit(&b);
}

static void add_worker(struct table *t, const json_t *w, const json_t *m)
{
    double bytes = json_num(w, "actual_bytes");
    const json_t *pid = json_object_get(w, "process");
    table_add(t, "%s", json_text(w, "model_id"));
    if (!strcmp(json_text(w, "state"), "loading") && json_num(m, "progress") >= 0)
        table_add(t, "loading %.0f %%", 100 * json_num(m, "progress"));
    else
        table_add(t, "%s", json_text(w, "state"));
    if (json_is_integer(pid))
        table_add(t, "%lld", (long long)json_integer_value(pid));
    else
        table_add(t, "%s", "remote");
    add_devices(t, json_object_get(w, "devices"));
    table_add(t, "%s%s", human_bytes((uint64_t)(bytes > 0 ? bytes : json_num(w, "predicted_bytes"))).s,
              json_num(w, "locked_bytes") > 0 ? " locked" : "");
    table_add(t, "%.0f", json_num(m, "context"));
    table_add(t, "%.0f", json_num(w, "running"));
    table_add(t, "%.0f", json_num(w, "queued"));
    double left = json_num(m, "expires_ms") / 1000 - (double)time(NULL);
    if (json_num(m, "expires_ms") > 0)
        table_add(t, "in %s", human_seconds(MAX(left, 0)).s);
    else
        table_add(t, "%s", *json_text(w, "host") ? "" : "for ever");
}

static const json_t *model_of(const json_t *models, const char *name)
{
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i);
        const char *own = json_text(m, "name");
        size_t n = strlen(own);
        if (!strncmp(own, name, n) && (!name[n] || !strcmp(name + n, ":latest"))) return m;
    }
    return NULL;
}

static status ps(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    struct table t = {.heading = "NAME|STATE|PID|DEVICES|>MEMORY|>CONTEXT|>RUNNING|>QUEUED|UNLOADED"};
    json_t *health = NULL, *list = NULL, *w;
    size_t i;
    status s = remote_ask(r, "GET", "/models", NULL, &list, e);
    if (s == OK) s = remote_ask(r, "GET", "/servers", NULL, &health, e);
    if (s != OK) {
        json_decref(list);
        return s;
    }
    if (o.json) {
        json_print(json_incref(json_object_get(health, "servers")));
    } else {
        json_array_foreach(json_object_get(health, "servers"), i, w)
            add_worker(&t, w, model_of(json_object_get(list, "models"), json_text(w, "model_id")));
        if (!t.n)
            puts(remote_is_own(r) ? "No server is running: corral serve starts one." : "No model is loaded.");
        table_print(&t);
    }
    json_decref(health);
    json_decref(list);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_ps, &o, 0, 0, ps}, argc, argv);
}

const struct command cmd_ps = {
    .name = "ps",
    .args = "[--json]",
    .summary = "the workers of the server: what is loaded, where, and how busy it is",
    .help = "Examples:\n"
            "  corral ps\n"
            "  corral ps --server http://gpu-box:8080      of another machine\n\n"
            "MEMORY is what a worker has, or what it was planned to take while it loads; locked: its weights "
            "are locked in\n"
            "memory (--mlock, or the model's option mlock). UNLOADED is when the model is unloaded if nobody "
            "asks for it.\n",
    .opts = opts,
    .run = run,
};
