/* The sampling thread. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "device/device_int.h"

/* Once crowded, a device is so until it has this much less. */
#define CROWDED_UNTIL 0.05
enum { FIRST_MS = 5000, CLOSE_MS = 2000 }; /* how long a driver that hangs is waited for */

struct counted { /* what a device_sample lies in */
    atomic_uint refs;
    struct device_sample sample;
};

struct devices {
    char sysfs[1024], proc[1024];
    int64_t period_ns;
    double crowded;
    void (*on_sample)(void *user);
    void *user;
    pthread_t thread;
    /* of the sampling thread */
    struct nvml *nvml;
    struct gpu_list now, known;
    bool host_crowded;
    char said[160]; /* the last trouble with NVML that was logged */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake, sampled;
    bool stop, stopped, asked;
    uint64_t begun; /* samples that have begun */
    struct counted *last;
    /* Under a lock of its own: writing an hour of it takes a while, and nobody who wants a sample waits for
     * that. */
    pthread_mutex_t history_lock;
    struct history *history;
};

struct device_gpu *gpu_list_add(struct gpu_list *l)
{
    if (l->n == DEVICE_MAX_GPUS) return NULL;
    l->gpu[l->n] = (struct device_gpu){0};
    return &l->gpu[l->n++];
}

const char *device_vendor_name(enum device_vendor v)
{
    return v == DEVICE_AMD ? "amd" : "nvidia";
}

const char *device_link_name(enum device_link l)
{
    static const char *const name[DEVICE_LINKS] = {"unknown",       "nvlink",      "board",     "pcie-switch",
                                                   "pcie-switches", "host-bridge", "numa-node", "system"};
    return (unsigned)l < DEVICE_LINKS ? name[l] : name[0];
}

/* --- a sample --- */

static struct counted *new_sample(uint64_t number, int64_t now_ns, const struct device_host *host,
                                  const struct gpu_list *gpus)
{
    const size_t bytes = gpus->n * sizeof *gpus->gpu;
    struct counted *c = mem_alloc(sizeof *c + bytes);
    atomic_init(&c->refs, 1);
    c->sample =
        (struct device_sample){.number = number, .sampled_ns = now_ns, .host = *host, .n_gpu = gpus->n};
    memcpy(c->sample.gpu, gpus->gpu, bytes);
    return c;
}

static bool over_line(const struct devices *d, bool before, uint64_t used, uint64_t total)
{
    const double line = before ? d->crowded - CROWDED_UNTIL : d->crowded;
    return total > 0 && (double)used >= line * (double)total;
}

static void say_crowded(bool before, bool now, const char *name, const char *uuid, uint64_t used,
                        uint64_t total)
{
    if (now && !before)
        LOG(WARN, "device", "memory", "%s (%s): %.1f of %.1f GiB in use, %.0f %%", name, uuid,
            (double)used / 0x1p30, (double)total / 0x1p30, 100 * (double)used / (double)total);
    else if (before && !now)
        LOG(INFO, "device", "memory", "%s (%s): down to %.0f %%", name, uuid,
            100 * (double)used / (double)total);
}

static struct device_gpu *find(struct gpu_list *l, const char *uuid)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!strcmp(l->gpu[i].uuid, uuid)) return &l->gpu[i];
    return NULL;
}

static bool is_divided(const struct gpu_list *now, const char *uuid)
{
    for (uint32_t i = 0; i < now->n; i++)
        if (!strcmp(now->gpu[i].parent, uuid)) return true;
    return false;
}

/* Drivers tell links between the cards of their list; in ours those have other places. */
static void merge_links(struct devices *d)
{
    uint32_t id[DEVICE_MAX_GPUS];
    for (uint32_t i = 0; i < d->now.n; i++) {
        const struct device_gpu *k = find(&d->known, d->now.gpu[i].uuid);
        id[i] = k ? k->id : DEVICE_MAX_GPUS;
        if (k) memset(d->known.gpu[id[i]].link, 0, sizeof k->link);
    }
    for (uint32_t i = 0; i < d->now.n; i++)
        for (uint32_t k = 0; k < d->now.n; k++)
            if (id[i] < DEVICE_MAX_GPUS && id[k] < DEVICE_MAX_GPUS)
                d->known.gpu[id[i]].link[id[k]] = d->now.gpu[i].link[k];
}

/* What answers now, in the places that cards were given first. */
static void merge(struct devices *d, int64_t now_ns)
{
    for (uint32_t i = 0; i < d->now.n; i++) {
        struct device_gpu *g = &d->now.gpu[i], *k = find(&d->known, g->uuid);
        const bool came_back = k && k->lost, before = k && k->crowded;
        if (!k && !(k = gpu_list_add(&d->known))) continue;
        if (came_back) LOG(INFO, "device", "found", "%s (%s) answers again", g->name, g->uuid);
        *k = *g;
        k->id = (uint32_t)(k - d->known.gpu);
        k->sampled_ns = now_ns;
        k->crowded = over_line(d, before, g->used_bytes, g->total_bytes);
        say_crowded(before, k->crowded, k->name, k->uuid, k->used_bytes, k->total_bytes);
    }
    merge_links(d);
    for (uint32_t i = 0; i < d->known.n; i++) {
        struct device_gpu *k = &d->known.gpu[i];
        const bool lost = find(&d->now, k->uuid) == NULL;
        k->divided = lost && is_divided(&d->now, k->uuid);
        if (lost && !k->lost && k->divided)
            LOG(INFO, "device", "divided", "%s (%s) is in MIG mode: its instances take its place", k->name,
                k->uuid);
        else if (lost && !k->lost)
            LOG(WARN, "device", "lost", "%s (%s) does not answer", k->name, k->uuid);
        k->lost = lost;
    }
}

static void say_trouble(struct devices *d, const char *why)
{
    if (!strcmp(why, d->said)) return;
    if (why[0] && nvml_wanted(d->nvml))
        LOG(WARN, "device", "nvml", "%s; NVIDIA GPUs are not used", why);
    else if (d->said[0])
        LOG(INFO, "device", "nvml", "works again");
    snprintf(d->said, sizeof d->said, "%s", why);
}

static struct counted *take_sample(struct devices *d, uint64_t number)
{
    char driver[48] = "", why[160] = "";
    struct device_host host;
    d->now.n = 0;
    nvml_sample(d->nvml, &d->now, driver, why);
    amd_sample(d->sysfs, &d->now);
    host_sample(d->proc, d->sysfs, &host);
    const int64_t now_ns = clock_ns();
    say_trouble(d, why);
    merge(d, now_ns);
    const uint64_t used = host.total_bytes - host.available_bytes;
    host.crowded = over_line(d, d->host_crowded, used, host.total_bytes);
    say_crowded(d->host_crowded, host.crowded, "host", "memory", used, host.total_bytes);
    d->host_crowded = host.crowded;

    struct counted *c = new_sample(number, now_ns, &host, &d->known);
    memcpy(c->sample.nvidia_driver, driver, sizeof driver);
    memcpy(c->sample.nvml_error, why, sizeof why);
    return c;
}

/* --- the thread --- */

static void *sample_on(void *user)
{
    struct devices *d = user;
    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        const uint64_t number = ++d->begun;
        const int64_t next_ns = clock_ns() + d->period_ns;
        d->asked = false;
        pthread_mutex_unlock(&d->lock);
        struct counted *c = take_sample(d, number);
        pthread_mutex_lock(&d->history_lock);
        samples_add(d->history, &c->sample);
        pthread_mutex_unlock(&d->history_lock);
        pthread_mutex_lock(&d->lock);
        const struct counted *before = d->last;
        d->last = c;
        pthread_cond_broadcast(&d->sampled);
        pthread_mutex_unlock(&d->lock);
        device_sample_release(&before->sample);
        if (d->on_sample) d->on_sample(d->user);
        pthread_mutex_lock(&d->lock);
        const struct timespec until = {next_ns / 1000000000, next_ns % 1000000000};
        while (!d->stop && !d->asked && pthread_cond_timedwait(&d->wake, &d->lock, &until) != ETIMEDOUT) {}
    }
    d->stopped = true;
    pthread_cond_broadcast(&d->sampled);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static struct timespec in_ms(int64_t ms)
{
    const int64_t at = clock_ns() + ms * 1000000;
    return (struct timespec){at / 1000000000, at % 1000000000};
}

static const char *root_of(const char *option, const char *variable, const char *otherwise)
{
    const char *v = option || !variable ? option : getenv(variable);
    return v && *v ? v : otherwise;
}

static void deinit(struct devices *d)
{
    nvml_free(d->nvml);
    samples_free(d->history);
    device_sample_release(&d->last->sample);
    pthread_cond_destroy(&d->sampled);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->history_lock);
    free(d);
}

status devices_open(struct devices **out, const struct devices_options *options, struct error *e)
{
    const struct devices_options none = {0}, *o = options ? options : &none;
    struct devices *d = mem_zalloc(1, sizeof *d);
    pthread_condattr_t steady;
    *out = NULL;
    snprintf(d->sysfs, sizeof d->sysfs, "%s", root_of(o->sysfs_root, "CORRAL_SYSFS", "/sys"));
    snprintf(d->proc, sizeof d->proc, "%s", root_of(o->proc_root, NULL, "/proc"));
    d->period_ns = (o->period_ms > 0 ? o->period_ms : 1000) * 1000000;
    d->crowded = o->crowded > 0 ? o->crowded : 0.8;
    d->on_sample = o->on_sample;
    d->user = o->user;
    d->nvml = nvml_new(o->nvml_path);
    d->history = samples_new();
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->history_lock, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &steady);
    pthread_cond_init(&d->sampled, &steady);
    pthread_condattr_destroy(&steady);
    struct device_host host; /* what is known without asking a driver, which may hang */
    host_sample(d->proc, d->sysfs, &host);
    d->last = new_sample(0, clock_ns(), &host, &d->known);
    int code = pthread_create(&d->thread, NULL, sample_on, d);
    if (code != 0) {
        deinit(d);
        return fail(e, ERR_IO, "no thread to sample devices: %s", strerror(code));
    }
    *out = d;
    const struct timespec until = in_ms(o->first_ms ? MAX(o->first_ms, 0) : FIRST_MS);
    pthread_mutex_lock(&d->lock);
    while (d->last->sample.number == 0 &&
           pthread_cond_timedwait(&d->sampled, &d->lock, &until) != ETIMEDOUT) {}
    pthread_mutex_unlock(&d->lock);
    return OK;
}
void devices_close(struct devices *d)
{
    if (!d) return;
    const struct timespec until = in_ms(CLOSE_MS);
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    while (!d->stopped && pthread_cond_timedwait(&d->sampled, &d->lock, &until) != ETIMEDOUT) {}
    const bool stopped = d->stopped;
    pthread_mutex_unlock(&d->lock);
    if (!stopped) { /* it hangs in a driver: nothing of what it holds may be touched */
        LOG(WARN, "device", "close", "a GPU driver does not answer; its thread is left behind");
        pthread_detach(d->thread);
        return;
    }
    pthread_join(d->thread, NULL);
    deinit(d);
}

const struct device_sample *devices_sample(struct devices *d)
{
    pthread_mutex_lock(&d->lock);
    struct counted *c = d->last;
    atomic_fetch_add(&c->refs, 1);
    pthread_mutex_unlock(&d->lock);
    return &c->sample;
}

void device_sample_release(const struct device_sample *s)
{
    if (!s) return;
    struct counted *c = (struct counted *)((uintptr_t)s - offsetof(struct counted, sample));
    if (atomic_fetch_sub(&c->refs, 1) == 1) free(c);
}

bool devices_refresh(struct devices *d, int64_t timeout_ms)
{
    const struct timespec until = in_ms(timeout_ms);
    int code = 0;
    pthread_mutex_lock(&d->lock);
    const uint64_t want = d->begun + 1;
    d->asked = true;
    pthread_cond_signal(&d->wake);
    while (d->last->sample.number < want && !d->stopped && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&d->sampled, &d->lock, &until);
    const bool ok = d->last->sample.number >= want;
    pthread_mutex_unlock(&d->lock);
    return ok;
}

void devices_history_json(struct devices *d, struct buf *b, uint32_t span_s, uint32_t step_s)
{
    pthread_mutex_lock(&d->history_lock);
    samples_json(d->history, b, clock_ns(), span_s, step_s);
    pthread_mutex_unlock(&d->history_lock);
}

/* --- whose memory it is --- */

uint64_t device_own_bytes(const struct device_gpu *g, const int32_t *pid, size_t n, bool *known)
{
    uint64_t sum = 0;
    size_t found = 0;
    *known = g->has & DEVICE_HAS_PROCESSES;
    for (uint32_t i = 0; i < g->n_process; i++)
        for (size_t k = 0; k < n; k++) {
            if (g->process[i].pid != pid[k]) continue;
            sum += g->process[i].used_bytes;
            found++;
            *known &= g->process[i].known;
        }
    if (found < n) *known = false;
    return sum;
}

uint64_t devices_process_bytes(const struct devices *d, int32_t pid)
{
    return host_process_bytes(d->proc, pid);
}
