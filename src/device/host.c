/* The host's memory: the machine's, or less when a control group says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device_int.h"

/* A number of a file of lines "key number [unit]"; 0 when it is not there. */
static uint64_t number_of(const char *path, const char *key)
{
    char line[256];
    uint64_t v = 0;
    const size_t n = strlen(key);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, n) && (line[n] == ' ' || line[n] == ':')) {
            v = strtoull(line + n + 1, NULL, 10);
            break;
        }
    if (f) fclose(f);
    return v;
}

/* The path of this process's group: after "0::" (version 2) or after ":memory:" (version 1). */
static bool group_path(const char *proc, const char *controller, char *out, size_t size)
{
    char path[1100], line[2048];
    bool found = false;
    snprintf(path, sizeof path, "%.1000s/self/cgroup", proc);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        found = strcmp(names + 1, controller) == 0;
        if (found) snprintf(out, size, "%.*s", (int)strcspn(group, "\n"), group);
    }
    if (f) fclose(f);
    return found;
}

/* One version's files. Cached pages of files are given back when memory is wanted, so they are no use of it.
 */
struct group_files {
    const char *root, *controller, *limit, *usage, *cache[2];
};
static const struct group_files versions[] = {
    {"fs/cgroup", "", "memory.max", "memory.current", {"inactive_file", "active_file"}},
    {"fs/cgroup/memory",
     "memory",
     "memory.limit_in_bytes",
     "memory.usage_in_bytes",
     {"total_inactive_file", "total_active_file"}},
};

static void apply_group(const struct group_files *v, const char *folder, struct device_host *h)
{
    char stat[4200];
    uint64_t limit, usage, cache = 0;
    if (!read_u64(&limit, "%s/%s", folder, v->limit)) return; /* "max" */
    if (limit == 0 || limit >= h->total_bytes) return;        /* version 1's way to say that there is none */
    snprintf(stat, sizeof stat, "%.4000s/memory.stat", folder);
    for (size_t i = 0; i < COUNT_OF(v->cache); i++) cache += number_of(stat, v->cache[i]);
    if (!read_u64(&usage, "%s/%s", folder, v->usage)) usage = 0;
    usage -= MIN(usage, cache);
    h->limit_bytes = h->total_bytes = limit;
    h->available_bytes = MIN(h->available_bytes, limit - MIN(limit, usage));
}

/* The group's folder and every one above it: each may set a limit. In a container the group's own path is not
 * there, and what is mounted at the root is the container's. */
static void apply_groups(const struct group_files *v, const char *proc, const char *sysfs,
                         struct device_host *h)
{
    char group[2048], folder[4096];
    if (!group_path(proc, v->controller, group, sizeof group)) return;
    for (;;) {
        snprintf(folder, sizeof folder, "%.1000s/%s%s", sysfs, v->root, group);
        apply_group(v, folder, h);
        char *slash = strrchr(group, '/');
        if (!slash) break;
        *slash = 0;
    }
}

void host_sample(const char *proc, const char *sysfs, struct device_host *out)
{
    char path[1100];
    uint64_t pages = 0;
    *out = (struct device_host){0};
    snprintf(path, sizeof path, "%.1000s/meminfo", proc);
    out->total_bytes = number_of(path, "MemTotal") * 1024;
    out->available_bytes = number_of(path, "MemAvailable") * 1024;
    snprintf(path, sizeof path, "%.1000s/self/statm", proc);
    FILE *f = fopen(path, "re");
    unsigned long long size, resident;
    if (f && fscanf(f, "%llu %llu", &size, &resident) == 2) pages = resident;
    if (f) fclose(f);
    out->own_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < COUNT_OF(versions); i++) apply_groups(&versions[i], proc, sysfs, out);
    out->available_bytes = MIN(out->available_bytes, out->total_bytes);
}

void device_host_look(struct device_host *out)
{
    host_sample("/proc", "/sys", out);
}

uint64_t host_process_bytes(const char *proc, int32_t pid)
{
    char path[1100];
    snprintf(path, sizeof path, "%.1000s/%d/status", proc, pid);
    return (number_of(path, "RssAnon") + number_of(path, "RssShmem")) * 1024;
}
