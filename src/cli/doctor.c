/* corral doctor: what this machine is, what can compute on it, what stands in the way and how to mend it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/machine.h"
#include "cli/model_file.h"
#include "device/device.h"
#include "pool/aws.h"

static struct {
    bool json;
} o;

static const struct opt opts[] = {
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable output"}, {0}};

/* --- findings --- */

enum { MAX_BACKENDS = 8, MAX_WARNINGS = 16, MANY_FILES = 1024 };
static const uint64_t GIB = (uint64_t)1 << 30;

struct backend_state {
    const char *name;
    bool usable;
    struct error why_not;
    struct backend_device device; /* the first of them */
    int n_device;
};

struct warning {
    char problem[200], fix[200];
};

struct doctor {
    struct machine machine;
    struct backend_state backend[MAX_BACKENDS];
    size_t n_backend;
    char models[4200]; /* the folder of models; "" when there is no place for it */
    uint64_t disk_free, disk_total;
    const struct device_sample *gpus; /* NULL: not looked for */
    struct aws_facts aws;
    struct warning warning[MAX_WARNINGS];
    size_t n_warning;
};

static void warn(struct doctor *d, const char *fix, const char *problem, ...) PRINTF_LIKE(3, 4);
static void warn(struct doctor *d, const char *fix, const char *problem, ...)
{
    va_list ap;
    ASSERT(d->n_warning < MAX_WARNINGS);
    struct warning *w = &d->warning[d->n_warning++];
    va_start(ap, problem);
    vsnprintf(w->problem, sizeof w->problem, problem, ap);
    va_end(ap);
    snprintf(w->fix, sizeof w->fix, "%s", fix);
}

static void look_at_backends(struct doctor *d)
{
    for (size_t i = 0; i < backend_count() && d->n_backend < MAX_BACKENDS - 1; i++) {
        const struct backend_api *api = backend_at(i);
        struct backend_state *b = &d->backend[d->n_backend++];
        b->name = api->name;
        b->n_device = api->count(&b->why_not);
        b->usable = b->n_device > 0 && api->info(0, &b->device, &b->why_not) == OK;
        if (!b->usable && strcmp(b->name, "sim") == 0) d->n_backend--; /* for tests; nobody misses it */
    }
}

/* What the drivers say of the GPUs that the bus has. */
static void look_at_gpus(struct doctor *d)
{
    struct devices *devices;
    struct error e;
    const bool nvidia = d->machine.gpus.n_nvidia || getenv("CORRAL_NVML");
    const struct devices_options options = {.nvml_path = nvidia ? NULL : "none"};
    if (devices_open(&devices, &options, &e) != OK) return;
    d->gpus = devices_sample(devices);
    devices_close(devices);
}

/* Off AWS this takes no time; there the answer comes in milliseconds. */
static void look_at_aws(struct doctor *d)
{
    struct aws *aws;
    struct error e;
    if (aws_open(&aws, NULL, &e) != OK) return;
    const int64_t until = clock_ns() + 3000000000;
    for (aws_facts(aws, &d->aws); !d->aws.known && clock_ns() < until; aws_facts(aws, &d->aws))
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    aws_close(aws);
}

static void look_at_models(struct doctor *d)
{
    char home[4096];
    if (cli_home(home, NULL) == OK) {
        snprintf(d->models, sizeof d->models, "%s/models", home);
        (void)machine_disk(d->models, &d->disk_free, &d->disk_total, NULL);
    }
}

static void judge_machine(struct doctor *d)
{
    const struct machine *m = &d->machine;
    uint32_t n = machine_cores(m);
    char fix[100];
    if (strcmp(m->arch, "x86_64") == 0 &&
        !(strstr(m->features, "avx2") && strstr(m->features, "fma") && strstr(m->features, "f16c")))
        warn(d,
             "use a processor from 2013 or later, or let the virtual machine pass AVX2, FMA and F16C through",
             "no AVX2: the portable kernels are several times slower");
    if (n < m->n_affinity) {
        snprintf(fix, sizeof fix, "give --threads %u, or raise the group's CPU quota", n);
        warn(d, fix,
             "the control group allows %.1f cores of time on %u cores: more threads than that wait for each "
             "other",
             m->quota_cores, m->n_affinity);
    }
    if (m->group_bytes && m->group_bytes < m->memory_bytes && m->group_bytes < 4 * GIB)
        warn(d, "raise the group's memory limit, or choose small models",
             "the control group allows only %s of memory", human_bytes(m->group_bytes).s);
    if (m->available_bytes < 2 * GIB)
        warn(d, "end other programs, or choose small models", "only %s of memory are available",
             human_bytes(m->available_bytes).s);
    if (strcmp(m->huge_pages, "never") == 0)
        warn(d, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
             "transparent huge pages are off: the KV cache and the memory of steps lie in small pages");
    if (m->n_node > 1)
        warn(d, "try --numa distribute, or isolate for a model that one node holds (docs/memory.md)",
             "memory lies on %u nodes: half and more of it is far from each processor; --numa is there for "
             "it, but "
             "has not run on such a machine yet",
             m->n_node);
    if (m->open_files < MANY_FILES)
        warn(d, "ulimit -n 4096, or LimitNOFILE= in the service file",
             "only %" PRIu64 " files may be open: a server with many clients needs more", m->open_files);
    if (m->gpus.n_amd)
        warn(d, "models run on the CPU for now", "this machine has an AMD GPU that Corral cannot use yet");
    for (size_t i = 0; i < d->n_backend; i++) {
        const struct backend_state *b = &d->backend[i];
        if (m->gpus.n_nvidia == 0 || strcmp(b->name, "cuda") != 0) continue;
        if (b->usable)
            warn(d, "try --backend cuda, and make test-gpu in the sources",
                 "this machine has an NVIDIA GPU; it is used only when asked for, as cuda is new");
        else
            warn(d, "see docs/gpu.md", "this machine has an NVIDIA GPU that is not used: %.120s",
                 b->why_not.msg);
    }
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    warn(d, "build with CMAKE_BUILD_TYPE=Release", "this is a debug or sanitizer build: it is slow");
#endif
}

static void judge_models(struct doctor *d)
{
    if (!d->models[0])
        warn(d, "set CORRAL_HOME to a folder of yours",
             "no place for models: neither CORRAL_HOME, XDG_DATA_HOME nor HOME is set");
    else if (d->disk_total && d->disk_free < 5 * GIB)
        warn(d, "free some space, or set CORRAL_HOME to a larger disk", "only %s are free for models in %s",
             human_bytes(d->disk_free).s, d->models);
}

static bool any_usable(const struct doctor *d)
{
    for (size_t i = 0; i < d->n_backend; i++)
        if (d->backend[i].usable) return true;
    return false;
}

/* --- text --- */

static void row(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void row(const char *name, const char *fmt, ...)
{
    va_list ap;
    printf("  %-14s ", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static void print_machine(const struct machine *m)
{
    char quota[48] = "";
    if (m->quota_cores > 0) snprintf(quota, sizeof quota, ", control group allows %.1f", m->quota_cores);
    printf("Machine\n");
    row("system", "%s, %s, %s", m->system[0] ? m->system : "unknown", m->kernel, m->arch);
    row("processor", "%s", m->cpu);
    row("cores", "%u to use (%u online, %u allowed to this process%s)", machine_cores(m), m->n_online,
        m->n_affinity, quota);
    row("instructions", "%s", m->features[0] ? m->features : "none that matter here");
    row("memory", "%s, %s available", human_bytes(m->memory_bytes).s, human_bytes(m->available_bytes).s);
    row("memory limit", "%s",
        m->group_bytes && m->group_bytes < m->memory_bytes ? human_bytes(m->group_bytes).s : "none");
    if (m->n_node) row("memory nodes", "%u", m->n_node);
    row("swap", "%s", m->swap_bytes ? human_bytes(m->swap_bytes).s : "none");
    row("huge pages", "%s", m->huge_pages[0] ? m->huge_pages : "not offered by this kernel");
    if (m->open_files == UINT64_MAX)
        row("open files", "no limit");
    else
        row("open files", "at most %" PRIu64, m->open_files);
    row("locked memory", "%s", m->locked_bytes == UINT64_MAX ? "no limit" : human_bytes(m->locked_bytes).s);
    row("GPUs", "%u NVIDIA, %u AMD, %u Intel", m->gpus.n_nvidia, m->gpus.n_amd, m->gpus.n_intel);
}

static void print_gpus(const struct device_sample *s)
{
    for (uint32_t i = 0; s && i < s->n_gpu; i++) {
        const struct device_gpu *g = &s->gpu[i];
        char name[16];
        snprintf(name, sizeof name, "GPU %u", g->id);
        row(name, "%s (%s), %s of %s free, %s", g->name, g->compute[0] ? g->compute : "unknown capability",
            human_bytes(g->free_bytes).s, human_bytes(g->total_bytes).s, g->uuid);
    }
}

static void print_aws(const struct aws_facts *a)
{
    if (!a->on_aws) return;
    row("AWS", "%s%s%s, %s", a->type[0] ? a->type : "instance of unknown type", a->zone[0] ? " in " : "",
        a->zone, a->accelerator ? a->accelerator : "no accelerator");
    if (a->advice[0]) row("", "%s", a->advice);
}

/* With the names that --devices takes where there are several. */
static void print_devices(const struct backend_state *b)
{
    row(b->name, "usable: %s (%s)", b->device.name, b->device.detail);
    for (int i = 1; i < b->n_device; i++) {
        struct backend_device device;
        const struct backend_api *api;
        struct error e;
        char name[32];
        snprintf(name, sizeof name, "%s:%d", b->name, i);
        if (backend_find(&api, b->name, &e) != OK || api->info(i, &device, &e) != OK)
            row(name, "not usable: %s", e.msg);
        else
            row(name, "usable: %s (%s)", device.name, device.detail);
    }
}

static void print_text(const struct doctor *d)
{
    print_machine(&d->machine);
    print_gpus(d->gpus);
    print_aws(&d->aws);
    printf("\nBackends\n");
    for (size_t i = 0; i < d->n_backend; i++) {
        const struct backend_state *b = &d->backend[i];
        if (b->usable)
            print_devices(b);
        else
            row(b->name, "not usable: %s", b->why_not.msg);
    }
    printf("\nModels\n");
    size_t demo_bytes;
    demo_model_bytes(&demo_bytes);
    row("demo", "in the program (%s)", human_bytes(demo_bytes).s);
    if (d->models[0]) row("folder", "%s", d->models);
    if (d->disk_total)
        row("disk", "%s free of %s", human_bytes(d->disk_free).s, human_bytes(d->disk_total).s);
    printf(d->n_warning ? "\nWarnings\n" : "\nNothing to mend.\n");
    for (size_t i = 0; i < d->n_warning; i++)
        printf("  - %s\n    fix: %s\n", d->warning[i].problem, d->warning[i].fix);
}

/* --- JSON --- */

static void member(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "\"%s\":", key);
    if (value[0])
        buf_json_str(b, value, strlen(value));
    else
        buf_adds(b, "null");
    buf_addc(b, ',');
}

/* 0 and no limit are null. */
static void number(struct buf *b, const char *key, uint64_t v)
{
    if (v == 0 || v == UINT64_MAX)
        buf_addf(b, "\"%s\":null,", key);
    else
        buf_addf(b, "\"%s\":%" PRIu64 ",", key, v);
}

static void json_machine(struct buf *b, const struct machine *m)
{
    buf_adds(b, "{");
    member(b, "system", m->system);
    member(b, "kernel", m->kernel);
    member(b, "arch", m->arch);
    member(b, "cpu", m->cpu);
    member(b, "instructions", m->features);
    number(b, "cores_online", m->n_online);
    number(b, "cores_allowed", m->n_affinity);
    buf_adds(b, "\"cores_quota\":");
    if (m->quota_cores > 0)
        buf_json_double(b, m->quota_cores);
    else
        buf_adds(b, "null");
    buf_adds(b, ",");
    number(b, "cores", machine_cores(m));
    number(b, "memory_bytes", m->memory_bytes);
    number(b, "memory_available_bytes", m->available_bytes);
    number(b, "memory_limit_bytes", m->group_bytes);
    buf_addf(b, "\"swap_bytes\":%" PRIu64 ",", m->swap_bytes);
    number(b, "memory_nodes", m->n_node);
    member(b, "huge_pages", m->huge_pages);
    number(b, "open_files", m->open_files);
    number(b, "locked_bytes", m->locked_bytes);
    member(b, "nvidia_driver", m->nvidia_driver);
    buf_addf(b, "\"gpus\":{\"nvidia\":%u,\"amd\":%u,\"intel\":%u}}", m->gpus.n_nvidia, m->gpus.n_amd,
             m->gpus.n_intel);
}

static void json_backends(struct buf *b, const struct doctor *d)
{
    buf_adds(b, "[");
    for (size_t i = 0; i < d->n_backend; i++) {
        const struct backend_state *s = &d->backend[i];
        buf_adds(b, i ? ",{" : "{");
        member(b, "name", s->name);
        member(b, "device", s->usable ? s->device.name : "");
        member(b, "detail", s->usable ? s->device.detail : "");
        member(b, "why_not", s->usable ? "" : s->why_not.msg);
        buf_addf(b, "\"devices\":%d,\"usable\":%s}", MAX(s->n_device, 0), s->usable ? "true" : "false");
    }
    buf_adds(b, "]");
}

static void json_gpus(struct buf *b, const struct device_sample *s)
{
    buf_adds(b, "[");
    for (uint32_t i = 0; s && i < s->n_gpu; i++) {
        if (i) buf_adds(b, ",");
        device_gpu_json(b, &s->gpu[i], NULL, clock_ns());
    }
    buf_adds(b, "]");
}

static void json_aws(struct buf *b, const struct aws_facts *a)
{
    if (!a->on_aws) {
        buf_adds(b, "null");
        return;
    }
    buf_adds(b, "{");
    member(b, "type", a->type);
    member(b, "zone", a->zone);
    member(b, "accelerator", a->accelerator ? a->accelerator : "");
    member(b, "advice", a->advice);
    buf_addf(b, "\"backend\":\"%s\"}", a->backend);
}

static void print_json(const struct doctor *d)
{
    struct buf b = {0};
    buf_addf(&b, "{\"version\":\"%s\",\"machine\":", CORRAL_VERSION);
    json_machine(&b, &d->machine);
    buf_adds(&b, ",\"backends\":");
    json_backends(&b, d);
    buf_adds(&b, ",\"gpus\":");
    json_gpus(&b, d->gpus);
    buf_adds(&b, ",\"aws\":");
    json_aws(&b, &d->aws);
    buf_adds(&b, ",\"models\":{");
    member(&b, "folder", d->models);
    number(&b, "disk_free_bytes", d->disk_free);
    buf_addf(&b, "\"disk_bytes\":%" PRIu64 "},\"warnings\":[", d->disk_total);
    for (size_t i = 0; i < d->n_warning; i++) {
        buf_adds(&b, i ? ",{" : "{");
        member(&b, "problem", d->warning[i].problem);
        buf_adds(&b, "\"fix\":");
        buf_json_str(&b, d->warning[i].fix, strlen(d->warning[i].fix));
        buf_adds(&b, "}");
    }
    buf_adds(&b, "]}\n");
    fwrite(b.data, 1, b.n, stdout); /* main looks at stdout's state */
    buf_deinit(&b);
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    size_t n_word;
    static struct doctor d;
    if (opt_parse(opts, argc, argv, NULL, &n_word, 0, &e) != OK) return cli_usage_error(&cmd_doctor, &e);
    d = (struct doctor){0};
    machine_look(&d.machine);
    look_at_gpus(&d);
    look_at_aws(&d);
    look_at_backends(&d);
    look_at_models(&d);
    judge_machine(&d);
    judge_models(&d);
    if (o.json)
        print_json(&d);
    else
        print_text(&d);
    device_sample_release(d.gpus);
    return any_usable(&d) ? EXIT_OK : EXIT_FAILED;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .args = "[--json]",
    .summary = "what this machine is, what can compute on it, what to mend",
    .help = "Examples:\n"
            "  corral doctor\n"
            "  corral doctor --json\n\n"
            "Exit status 1 when no backend is usable; warnings alone are no failure.\n",
    .opts = opts,
    .run = run,
};
