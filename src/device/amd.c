/* AMD's cards by sysfs alone: the folders cardN/device of /sys/class/drm (amdgpu), hwmon in there, and the
 * compute driver's /sys/class/kfd. Source: Linux, Documentation/gpu/amdgpu (driver-misc, thermal); ROCm's
 * documentation of the kfd topology. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_int.h"

enum { AMD_VENDOR = 0x1002, MAX_ENTRIES = 256 };

/* Numbers that end the names of a folder's entries of the form prefixN, sorted. */
static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t list(const char *folder, const char *prefix, uint32_t out[MAX_ENTRIES])
{
    DIR *d = opendir(folder);
    uint32_t n = 0;
    for (struct dirent *f; d && n < MAX_ENTRIES && (f = readdir(d));) {
        char *end;
        if (strncmp(f->d_name, prefix, strlen(prefix)) != 0) continue;
        const char *number = f->d_name + strlen(prefix);
        const unsigned long v = strtoul(number, &end, 10);
        if (end != number && *end == 0 && v < UINT32_MAX) out[n++] = (uint32_t)v; /* not card0-HDMI-A-1 */
    }
    if (d) closedir(d);
    qsort(out, n, sizeof *out, by_number);
    return n;
}

static bool percent(float *out, const char *folder, const char *file)
{
    uint64_t v;
    if (!read_u64(&v, "%s/%s", folder, file)) return false;
    *out = (float)MIN(v, 100u);
    return true;
}

static void get_sensors(const char *folder, struct device_gpu *g)
{
    char hwmon[1200];
    uint32_t id[MAX_ENTRIES];
    uint64_t v;
    snprintf(hwmon, sizeof hwmon, "%s/hwmon", folder);
    if (list(hwmon, "hwmon", id) == 0) return;
    snprintf(hwmon, sizeof hwmon, "%s/hwmon/hwmon%u", folder, id[0]);
    if (read_u64(&v, "%s/temp1_input", hwmon)) { /* thousandths of a degree */
        g->temperature_c = (float)v / 1000;
        g->has |= DEVICE_HAS_TEMPERATURE;
    }
    if (read_u64(&v, "%s/power1_average", hwmon) || read_u64(&v, "%s/power1_input", hwmon)) { /* microwatts */
        g->power_w = (float)v / 1e6F;
        g->has |= DEVICE_HAS_POWER;
    }
    if (read_u64(&v, "%s/power1_cap", hwmon)) {
        g->power_limit_w = (float)v / 1e6F;
        g->has |= DEVICE_HAS_POWER_LIMIT;
    }
}

/* --- the compute driver's view --- */

struct node {
    uint64_t gpu_id, unique_id, domain, location, target;
};

static bool read_node(const char *root, uint32_t i, struct node *out)
{
    char path[1200], key[64];
    unsigned long long v;
    *out = (struct node){0};
    if (!read_u64(&out->gpu_id, "%s/class/kfd/kfd/topology/nodes/%u/gpu_id", root, i) || !out->gpu_id)
        return false; /* the processor is a node too */
    snprintf(path, sizeof path, "%s/class/kfd/kfd/topology/nodes/%u/properties", root, i);
    FILE *f = fopen(path, "re");
    while (f && fscanf(f, "%63s %llu", key, &v) == 2) {
        if (!strcmp(key, "unique_id")) out->unique_id = v;
        if (!strcmp(key, "location_id")) out->location = v;
        if (!strcmp(key, "domain")) out->domain = v;
        if (!strcmp(key, "gfx_target_version")) out->target = v;
    }
    if (f) fclose(f);
    return true;
}

/* 90010 is version 9, 0, 10: gfx90a */
static void name_target(uint64_t target, struct device_gpu *g)
{
    if (!target) return;
    snprintf(g->compute, sizeof g->compute, "gfx%u%x%x", (unsigned)(target / 10000 % 100),
             (unsigned)(target / 100 % 100), (unsigned)(target % 100));
    g->has |= DEVICE_HAS_COMPUTE;
}

static void get_processes(const char *root, uint64_t gpu_id, struct device_gpu *g)
{
    char folder[1200];
    uint32_t pid[MAX_ENTRIES];
    snprintf(folder, sizeof folder, "%s/class/kfd/kfd/proc", root);
    DIR *d = opendir(folder);
    if (!d) return;
    closedir(d);
    const uint32_t n = list(folder, "", pid);
    for (uint32_t i = 0; i < n && g->n_process < DEVICE_MAX_PROCESSES; i++) {
        uint64_t v;
        if (read_u64(&v, "%s/%u/vram_%llu", folder, pid[i], (unsigned long long)gpu_id) && v)
            g->process[g->n_process++] = (struct device_process){(int32_t)pid[i], true, v};
    }
    if (n < MAX_ENTRIES && g->n_process < DEVICE_MAX_PROCESSES) g->has |= DEVICE_HAS_PROCESSES;
}

static void get_compute(const char *root, uint64_t unique_id, struct device_gpu *g)
{
    char folder[1200];
    uint32_t id[MAX_ENTRIES];
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    (void)sscanf(g->pci, "%x:%x:%x.%x", &domain, &bus, &slot, &function);
    snprintf(folder, sizeof folder, "%s/class/kfd/kfd/topology/nodes", root);
    const uint32_t n = list(folder, "", id);
    for (uint32_t i = 0; i < n; i++) {
        struct node node;
        if (!read_node(root, id[i], &node)) continue;
        const bool same = unique_id
                              ? node.unique_id == unique_id
                              : node.domain == domain && node.location == (bus << 8 | slot << 3 | function);
        if (!same) continue;
        name_target(node.target, g);
        get_processes(root, node.gpu_id, g);
        return;
    }
}

/* --- one card --- */

static void get_pci(const char *folder, struct device_gpu *g)
{
    char path[1200], line[128];
    snprintf(path, sizeof path, "%s/uevent", folder);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "PCI_SLOT_NAME=", 14))
            snprintf(g->pci, sizeof g->pci, "%.*s", (int)MIN(strcspn(line + 14, "\n"), 31u), line + 14);
    if (f) fclose(f);
}

static void look(const char *root, const char *folder, struct gpu_list *out)
{
    uint64_t vendor, total, used, device = 0;
    char unique[64] = "";
    if (!read_u64(&vendor, "%s/vendor", folder) || vendor != AMD_VENDOR) return;
    if (!read_u64(&total, "%s/mem_info_vram_total", folder)) return; /* a driver that computes nothing */
    struct device_gpu *g = gpu_list_add(out);
    if (!g) return;
    g->vendor = DEVICE_AMD;
    get_pci(folder, g);
    (void)read_u64(&device, "%s/device", folder);
    if (!read_line(g->name, sizeof g->name, "%s/product_name", folder) || !g->name[0])
        snprintf(g->name, sizeof g->name, "AMD GPU %04llx", (unsigned long long)device);
    if (read_line(unique, sizeof unique, "%s/unique_id", folder) && unique[0])
        snprintf(g->uuid, sizeof g->uuid, "GPU-%s", unique);
    else
        snprintf(g->uuid, sizeof g->uuid, "PCI-%s", g->pci);
    if (read_u64(&used, "%s/mem_info_vram_used", folder)) {
        g->total_bytes = total;
        g->used_bytes = MIN(used, total);
        g->free_bytes = total - g->used_bytes;
        g->has |= DEVICE_HAS_MEMORY;
    }
    if (percent(&g->utilization, folder, "gpu_busy_percent")) g->has |= DEVICE_HAS_UTILIZATION;
    if (percent(&g->memory_utilization, folder, "mem_busy_percent")) g->has |= DEVICE_HAS_MEMORY_UTILIZATION;
    get_sensors(folder, g);
    get_compute(root, strtoull(unique, NULL, 16), g);
}

void amd_sample(const char *root, struct gpu_list *out)
{
    char folder[1100];
    uint32_t card[MAX_ENTRIES];
    snprintf(folder, sizeof folder, "%.1000s/class/drm", root);
    const uint32_t n = list(folder, "card", card);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "%.1000s/class/drm/card%u/device", root, card[i]);
        look(root, folder, out);
    }
}
