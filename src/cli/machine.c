#include "cli/machine.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/numa.h"
#include "device/device.h"

/* The rest of the first line of a file that begins with prefix, or the first line when prefix is "". */
static bool line_of(const char *path, const char *prefix, char *out, size_t max)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;
    if (!f) return false;
    while (!found && getline(&line, &cap, f) > 0) {
        if (strncmp(line, prefix, strlen(prefix)) != 0) continue;
        const char *p = line + strlen(prefix);
        p += strspn(p, " \t:");
        snprintf(out, max, "%.*s", (int)strcspn(p, "\n"), p);
        found = true;
    }
    free(line);
    fclose(f);
    return found;
}

/* --- processor --- */

/* Names as in /proc/cpuinfo, and what people call them. */
static const struct {
    const char *flag, *name;
} known_features[] = {
    {"sse4_2", "sse4.2"},
    {"avx", "avx"},
    {"avx2", "avx2"},
    {"fma", "fma"},
    {"f16c", "f16c"},
    {"avx_vnni", "avx-vnni"},
    {"avx512f", "avx512f"},
    {"avx512bw", "avx512bw"},
    {"avx512_vnni", "avx512-vnni"},
    {"avx512_bf16", "avx512-bf16"},
    {"amx_tile", "amx"},
    {"asimd", "neon"},
    {"asimddp", "dotprod"},
    {"i8mm", "i8mm"},
    {"sve", "sve"},
    {"sve2", "sve2"},
};

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0)) return true;
    return false;
}

static void look_at_cpu(struct machine *m)
{
    char flags[8192] = "";
    size_t at = 0;
    cpu_set_t set;
    if (!line_of("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        snprintf(m->cpu, sizeof m->cpu, "%s processor", m->arch);
    if (!line_of("/proc/cpuinfo", "flags", flags, sizeof flags))
        line_of("/proc/cpuinfo", "Features", flags, sizeof flags);
    for (size_t i = 0; i < COUNT_OF(known_features); i++)
        if (has_word(flags, known_features[i].flag) && at < sizeof m->features)
            at += (size_t)snprintf(m->features + at, sizeof m->features - at, "%s%s", at ? " " : "",
                                   known_features[i].name);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    m->n_online = online > 0 ? (uint32_t)online : 1;
    m->n_affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : m->n_online;
}

uint32_t machine_cores(const struct machine *m)
{
    uint32_t n = m->n_affinity;
    if (m->quota_cores > 0 && m->quota_cores < n) n = (uint32_t)m->quota_cores;
    return MAX(1u, n);
}

/* --- control groups --- */

/* This process's group in one hierarchy: the path after "0::" (version 2) or after ":memory:" (version 1). */
static bool group_path(const char *controller, char *out, size_t max)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];
    bool found = false;
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) {
        char *name = strchr(line, ':'), *path = name ? strchr(name + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        name++;
        char *comma = strchr(name, ','); /* "cpu,cpuacct" */
        if (comma) *comma = 0;
        found = strcmp(name, controller) == 0;
        if (found) snprintf(out, max, "%.*s", (int)strcspn(path, "\n"), path);
    }
    fclose(f);
    return found;
}

/* Call look on the group's folder and on every one above it: each may set a limit. */
static void walk_groups(const char *root, const char *controller,
                        void (*look)(const char *folder, struct machine *), struct machine *m)
{
    char path[4096], folder[8192];
    if (!group_path(controller, path, sizeof path)) return;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", root, path);
        look(folder, m);
        char *slash = strrchr(path, '/');
        if (!slash || !path[1]) break;
        *(slash == path ? slash + 1 : slash) = 0;
    }
}

static bool group_file(const char *folder, const char *name, char *out, size_t max)
{
    char path[8300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return line_of(path, "", out, max);
}

static void limit_cpu(struct machine *m, double quota, double period)
{
    if (quota <= 0 || period <= 0) return;
    if (m->quota_cores == 0 || quota / period < m->quota_cores) m->quota_cores = quota / period;
}

static void look_v2(const char *folder, struct machine *m)
{
    char text[128];
    double quota, period;
    if (group_file(folder, "cpu.max", text, sizeof text) && sscanf(text, "%lf %lf", &quota, &period) == 2)
        limit_cpu(m, quota, period);
}

static void look_v1_cpu(const char *folder, struct machine *m)
{
    char quota[64], period[64];
    if (group_file(folder, "cpu.cfs_quota_us", quota, sizeof quota) &&
        group_file(folder, "cpu.cfs_period_us", period, sizeof period))
        limit_cpu(m, strtod(quota, NULL), strtod(period, NULL));
}

/* --- memory, limits --- */

static uint64_t meminfo(const char *key)
{
    char text[64] = "";
    line_of("/proc/meminfo", key, text, sizeof text);
    return strtoull(text, NULL, 10) * 1024;
}

static void look_at_nodes(struct machine *m)
{
    struct numa_map map;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    numa_look(&map, "/sys", &set);
    m->n_node = map.n;
}

static void look_at_memory(struct machine *m)
{
    struct device_host host;
    char text[128] = "";
    m->memory_bytes = meminfo("MemTotal:");
    device_host_look(&host);
    m->available_bytes = host.available_bytes;
    m->group_bytes = host.limit_bytes;
    m->swap_bytes = meminfo("SwapTotal:");
    look_at_nodes(m);
    line_of("/sys/kernel/mm/transparent_hugepage/enabled", "", text, sizeof text);
    char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
    if (close) snprintf(m->huge_pages, sizeof m->huge_pages, "%.*s", (int)(close - open - 1), open + 1);
}

static uint64_t limit_of(int what)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) != 0) return 0;
    return r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)r.rlim_cur;
}

status machine_disk(const char *path, uint64_t *free_bytes, uint64_t *total_bytes, struct error *e)
{
    char at[4096];
    struct statvfs fs;
    snprintf(at, sizeof at, "%s", path);
    while (statvfs(at, &fs) != 0) {
        char *slash = strrchr(at, '/');
        if (errno != ENOENT || !slash || at[1] == 0) return fail(e, ERR_IO, "%s: %s", at, strerror(errno));
        *(slash == at ? slash + 1 : slash) = 0;
    }
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    *total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    return OK;
}

/* --- graphics processors --- */

static unsigned long pci_number(const char *device, const char *name)
{
    char path[512], text[32] = "";
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%.200s/%s", device, name);
    line_of(path, "", text, sizeof text);
    return strtoul(text, NULL, 16);
}

static void look_at_gpus(struct machine *m)
{
    DIR *d = opendir("/sys/bus/pci/devices");
    for (struct dirent *f; d && (f = readdir(d));) {
        unsigned long class = pci_number(f->d_name, "class") >> 8;
        if (class != 0x0300 && class != 0x0302 && class != 0x0380 && class != 0x1200) continue;
        switch (pci_number(f->d_name, "vendor")) {
        case 0x10de: m->gpus.n_nvidia++; break;
        case 0x1002: m->gpus.n_amd++; break;
        case 0x8086: m->gpus.n_intel++; break;
        default: break;
        }
    }
    if (d) closedir(d);
    char text[256] = "";
    if (!line_of("/proc/driver/nvidia/version", "NVRM version", text, sizeof text)) return;
    snprintf(m->nvidia_driver, sizeof m->nvidia_driver, "unknown version");
    for (char *p = strpbrk(text, "0123456789"); p; p = strpbrk(p + strcspn(p, " "), "0123456789")) {
        size_t n = strspn(p, "0123456789.");
        if ((p > text && p[-1] != ' ') || !memchr(p, '.', n)) continue; /* "x86_64" has digits too */
        snprintf(m->nvidia_driver, sizeof m->nvidia_driver, "%.*s", (int)MIN(n, (size_t)30), p);
        break;
    }
}

void machine_look(struct machine *m)
{
    struct utsname u;
    *m = (struct machine){0};
    if (uname(&u) == 0) {
        snprintf(m->kernel, sizeof m->kernel, "%.30s %.60s", u.sysname, u.release);
        snprintf(m->arch, sizeof m->arch, "%.31s", u.machine);
    }
    if (line_of("/etc/os-release", "PRETTY_NAME=\"", m->system, sizeof m->system))
        m->system[strcspn(m->system, "\"")] = 0;
    look_at_cpu(m);
    look_at_memory(m);
    walk_groups("/sys/fs/cgroup", "", look_v2, m);
    walk_groups("/sys/fs/cgroup/cpu", "cpu", look_v1_cpu, m);
    m->open_files = limit_of(RLIMIT_NOFILE);
    m->locked_bytes = limit_of(RLIMIT_MEMLOCK);
    look_at_gpus(m);
}
