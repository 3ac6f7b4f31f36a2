/* corral gpus: devices, what is on them, and what the server counts on. */
#include <time.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/table.h"

static struct remote_options o;
static const struct opt opts[] = {REMOTE_OPTS(o), {0}};

static struct human size_of(const json_t *v, const char *name)
{
    return human_bytes((uint64_t)json_num(v, name));
}

static void add_known(struct table *t, const json_t *v, const char *name, const char *unit)
{
    if (json_is_number(json_object_get(v, name)))
        table_add(t, "%.0f %s", json_num(v, name), unit);
    else
        table_add(t, "%s", "");
}

static void add_gpu(struct table *t, const json_t *g)
{
    struct buf models = {0};
    json_t *m;
    size_t i;
    json_array_foreach(json_object_get(g, "assigned_models"), i, m)
        buf_addf(&models, "%s%s", i ? ", " : "", json_is_string(m) ? json_string_value(m) : "");
    table_add(t, "%.0f", json_num(g, "id"));
    table_add(t, "%s", json_text(g, "name"));
    table_add(t, "%.12s", json_text(g, "uuid"));
    table_add(t, "%s", size_of(g, "used_bytes").s);
    table_add(t, "%s", size_of(g, "total_bytes").s);
    table_add(t, "%s", size_of(g, "committed_bytes").s);
    if (json_yes(g, "utilization_known"))
        table_add(t, "%.0f %%", json_num(g, "utilization"));
    else
        table_add(t, "%s", "");
    add_known(t, g, "temperature", "C");
    add_known(t, g, "power_usage", "W");
    table_add(t, "%s", json_text(g, "state"));
    table_add(t, "%s", models.n ? models.data : "");
    buf_deinit(&models);
}

/* "Links: 0-1 nvlink, 0-2 host-bridge" */
static void print_links(const json_t *list)
{
    struct buf b = {0};
    json_t *g, *l;
    size_t i, k;
    json_array_foreach(list, i, g) json_array_foreach(json_object_get(g, "links"), k, l)
    {
        double from = json_num(g, "id"), to = json_num(l, "id");
        if (from < to) buf_addf(&b, "%s%.0f-%.0f %s", b.n ? ", " : "", from, to, json_text(l, "type"));
    }
    if (b.n) printf("Links: %s\n", b.data);
    buf_deinit(&b);
}

/* Where nobody serves, devices have just been opened, and starting a driver takes its time. */
static status ask(struct remote *r, json_t **all, struct error *e)
{
    enum { WAIT_MS = 10000, AGAIN_MS = 20 };
    for (int waited = 0;; waited += AGAIN_MS) {
        TRY(remote_ask(r, "GET", "/gpus", NULL, all, e));
        if (json_num(json_object_get(*all, "gpu_pool_status"), "sample_number") > 0 || waited >= WAIT_MS)
            return OK;
        json_decref(*all);
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000}, NULL);
    }
}

static status gpus(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    struct table t = {.heading = ">ID|NAME|UUID|>USED|>OF|>MODELS'|>LOAD|>TEMP|>POWER|STATE|MODELS"};
    json_t *all, *g;
    size_t i;
    TRY(ask(r, &all, e));
    if (o.json) {
        json_print(all);
        return OK;
    }
    const json_t *pool = json_object_get(all, "gpu_pool_status"), *host = json_object_get(all, "host");
    json_array_foreach(json_object_get(pool, "gpu_list"), i, g) add_gpu(&t, g);
    if (!t.n)
        printf("No GPU: models run on the CPU.%s%s\n", *json_text(all, "nvml_error") ? " " : "",
               json_text(all, "nvml_error"));
    table_print(&t);
    print_links(json_object_get(pool, "gpu_list"));
    printf("%sHost memory: %s available of %s%s\n", i ? "\n" : "", size_of(host, "available_bytes").s,
           size_of(host, "total_bytes").s, json_yes(host, "memory_warning") ? " (nearly full)" : "");
    json_decref(all);
    return OK;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_gpus, &o, 0, 0, gpus}, argc, argv);
}

const struct command cmd_gpus = {
    .name = "gpus",
    .args = "[--json]",
    .summary = "the GPUs and the memory that models can have",
    .help = "Examples:\n"
            "  corral gpus\n"
            "  corral gpus --json | jq '.gpu_pool_status.gpu_list[].uuid'\n\n"
            "USED is what the driver says, by anybody; MODELS' is what the server has given to models. "
            "docs/devices.md\n",
    .opts = opts,
    .run = run,
};
