#include "device/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_int.h"

enum { RETRY_MOST = 16 }; /* samples between attempts, doubling up to there */

struct backoff { /* samples to let pass before the next attempt */
    uint32_t wait, last;
};

struct links { /* between cards, asked for when other cards are there than before */
    uint32_t n;
    char uuid[DEVICE_MAX_GPUS][96];
    uint8_t to[DEVICE_MAX_GPUS][DEVICE_MAX_GPUS];
};

struct nvml {
    char path[1024]; /* "": there is to be none */
    void *lib;
    bool up;
    struct backoff init, restart;
    char why[160], driver[48];
    struct links links;
#define X(name, args) int(*name) args;
    NVML_FUNCTIONS(X)
#undef X
};

static const char *error_text(int code)
{
    switch (code) {
    case NVML_UNINITIALIZED: return "not initialised";
    case NVML_NO_PERMISSION: return "no permission";
    case NVML_DRIVER_NOT_LOADED: return "the NVIDIA driver is not loaded";
    case NVML_GPU_IS_LOST: return "a GPU has fallen off the bus";
    case NVML_RESET_REQUIRED: return "a GPU must be reset";
    case NVML_LIB_RM_VERSION_MISMATCH:
        return "library and kernel driver differ in version (reboot after an update)";
    default: return "unexpected answer";
    }
}

/* Whether it is time for an attempt; if so the next one comes later than this one did. */
static bool due(struct backoff *b)
{
    if (b->wait > 0) {
        b->wait--;
        return false;
    }
    b->wait = b->last = MIN(MAX(2 * b->last, 1u), (uint32_t)RETRY_MOST);
    return true;
}

struct nvml *nvml_new(const char *path)
{
    struct nvml *n = mem_zalloc(1, sizeof *n);
    if (!path) path = getenv("CORRAL_NVML");
    if (!path) path = "libnvidia-ml.so.1";
    if (strcmp(path, "none") != 0) snprintf(n->path, sizeof n->path, "%s", path);
    return n;
}

bool nvml_wanted(const struct nvml *n)
{
    return n->path[0] != 0;
}

static void down(struct nvml *n)
{
    if (n->up && n->Shutdown) (void)n->Shutdown();
    n->up = false;
}

void nvml_free(struct nvml *n)
{
    if (!n) return;
    down(n);
    if (n->lib) dlclose(n->lib);
    free(n);
}

static bool load(struct nvml *n)
{
    n->lib = dlopen(n->path, RTLD_NOW | RTLD_LOCAL);
    if (!n->lib) {
        snprintf(n->why, sizeof n->why, "no NVML: %.140s", dlerror());
        return false;
    }
#define X(name, args)                                                                                        \
    {                                                                                                        \
        void *f = dlsym(n->lib, "nvml" #name);                                                               \
        memcpy(&n->name, &f, sizeof f);                                                                      \
    }
    NVML_FUNCTIONS(X)
#undef X
    if (n->Init_v2 && n->DeviceGetCount_v2 && n->DeviceGetHandleByIndex_v2 && n->DeviceGetMemoryInfo &&
        n->DeviceGetUUID)
        return true;
    snprintf(n->why, sizeof n->why, "%.100s is no NVML that can be used: functions are missing", n->path);
    dlclose(n->lib);
    n->lib = NULL;
    return false;
}

static void failed(struct nvml *n, const char *call, int code)
{
    snprintf(n->why, sizeof n->why, "%s: error %d: %s", call, code, error_text(code));
    down(n);
}

static void init(struct nvml *n)
{
    if (!n->lib && !load(n)) return;
    int code = n->Init_v2();
    if (code != NVML_SUCCESS) {
        failed(n, "nvmlInit", code);
        return;
    }
    n->up = true;
    n->links.n = 0;
    n->why[0] = n->driver[0] = 0;
    if (n->SystemGetDriverVersion) (void)n->SystemGetDriverVersion(n->driver, sizeof n->driver);
    n->driver[sizeof n->driver - 1] = 0;
}

/* --- one card --- */

static void get_memory(const struct nvml *n, nvml_device dev, struct device_gpu *g, int *code)
{
    struct nvml_memory m = {0};
    *code = n->DeviceGetMemoryInfo(dev, &m);
    if (*code != NVML_SUCCESS) return;
    g->total_bytes = m.total;
    g->used_bytes = MIN(m.used, m.total);
    g->free_bytes = MIN(m.free, m.total);
    g->has |= DEVICE_HAS_MEMORY;
}

static void get_processes(const struct nvml *n, nvml_device dev, struct device_gpu *g)
{
    struct nvml_process p[DEVICE_MAX_PROCESSES] = {{0}};
    unsigned count = COUNT_OF(p);
    int code = NVML_NOT_SUPPORTED;
    if (n->DeviceGetComputeRunningProcesses_v3)
        code = n->DeviceGetComputeRunningProcesses_v3(dev, &count, p);
    else if (n->DeviceGetComputeRunningProcesses_v2)
        code = n->DeviceGetComputeRunningProcesses_v2(dev, &count, p);
    if (code != NVML_SUCCESS)
        return; /* also when there are more than we have room for: then the sum is not known */
    g->n_process = (uint32_t)MIN(count, (unsigned)COUNT_OF(p));
    for (uint32_t i = 0; i < g->n_process; i++) {
        const bool known = p[i].used != NVML_BYTES_UNKNOWN;
        g->process[i] = (struct device_process){(int32_t)p[i].pid, known, known ? p[i].used : 0};
    }
    g->has |= DEVICE_HAS_PROCESSES;
}

static void get_figures(const struct nvml *n, nvml_device dev, struct device_gpu *g)
{
    struct nvml_utilization u = {0};
    unsigned v = 0;
    int major = 0, minor = 0;
    if (n->DeviceGetUtilizationRates && n->DeviceGetUtilizationRates(dev, &u) == NVML_SUCCESS) {
        g->utilization = (float)MIN(u.gpu, 100u);
        g->memory_utilization = (float)MIN(u.memory, 100u);
        g->has |= DEVICE_HAS_UTILIZATION | DEVICE_HAS_MEMORY_UTILIZATION;
    }
    if (n->DeviceGetTemperature && n->DeviceGetTemperature(dev, NVML_TEMPERATURE_GPU, &v) == NVML_SUCCESS) {
        g->temperature_c = (float)v;
        g->has |= DEVICE_HAS_TEMPERATURE;
    }
    if (n->DeviceGetPowerUsage && n->DeviceGetPowerUsage(dev, &v) == NVML_SUCCESS) {
        g->power_w = (float)v / 1000;
        g->has |= DEVICE_HAS_POWER;
    }
    if (n->DeviceGetEnforcedPowerLimit && n->DeviceGetEnforcedPowerLimit(dev, &v) == NVML_SUCCESS) {
        g->power_limit_w = (float)v / 1000;
        g->has |= DEVICE_HAS_POWER_LIMIT;
    }
    if (n->DeviceGetCudaComputeCapability &&
        n->DeviceGetCudaComputeCapability(dev, &major, &minor) == NVML_SUCCESS) {
        snprintf(g->compute, sizeof g->compute, "%d.%d", major, minor);
        g->has |= DEVICE_HAS_COMPUTE;
    }
}

/* False when the card does not answer; code says why. */
static bool look(const struct nvml *n, nvml_device dev, struct device_gpu *g, int *code)
{
    struct nvml_pci pci = {0};
    g->vendor = DEVICE_NVIDIA;
    *code = n->DeviceGetUUID(dev, g->uuid, sizeof g->uuid);
    if (*code != NVML_SUCCESS) return false;
    get_memory(n, dev, g, code);
    if (*code == NVML_GPU_IS_LOST || *code == NVML_RESET_REQUIRED || *code == NVML_UNINITIALIZED)
        return false;
    if (!n->DeviceGetName || n->DeviceGetName(dev, g->name, sizeof g->name) != NVML_SUCCESS)
        snprintf(g->name, sizeof g->name, "NVIDIA GPU");
    if (n->DeviceGetPciInfo_v3 && n->DeviceGetPciInfo_v3(dev, &pci) == NVML_SUCCESS)
        snprintf(g->pci, sizeof g->pci, "%.31s", pci.bus_id);
    get_figures(n, dev, g);
    get_processes(n, dev, g);
    return true;
}

/* --- a card's instances (MIG) --- */

static bool is_divided(const struct nvml *n, nvml_device dev)
{
    unsigned now = 0, pending = 0;
    return n->DeviceGetMigMode && n->DeviceGetMaxMigDeviceCount && n->DeviceGetMigDeviceHandleByIndex &&
           n->DeviceGetMigMode(dev, &now, &pending) == NVML_SUCCESS && now == NVML_MIG_ENABLED;
}

/* An instance has memory and processes of its own; its load and power nobody tells, the rest is the card's.
 */
static bool look_at_instance(const struct nvml *n, nvml_device dev, const struct device_gpu *card,
                             struct device_gpu *g)
{
    const uint32_t shared = DEVICE_HAS_TEMPERATURE | DEVICE_HAS_COMPUTE;
    int code;
    *g = (struct device_gpu){
        .vendor = DEVICE_NVIDIA, .has = card->has & shared, .temperature_c = card->temperature_c};
    memcpy(g->parent, card->uuid, sizeof g->parent);
    memcpy(g->pci, card->pci, sizeof g->pci);
    memcpy(g->compute, card->compute, sizeof g->compute);
    if (n->DeviceGetUUID(dev, g->uuid, sizeof g->uuid) != NVML_SUCCESS) return false;
    if (!n->DeviceGetName || n->DeviceGetName(dev, g->name, sizeof g->name) != NVML_SUCCESS)
        snprintf(g->name, sizeof g->name, "%.80s MIG", card->name);
    get_memory(n, dev, g, &code);
    get_processes(n, dev, g);
    return true;
}

/* They take the place of the card, the last one of the list: it computes nothing itself. */
static void divide(const struct nvml *n, nvml_device dev, struct gpu_list *out)
{
    const struct device_gpu card = out->gpu[--out->n];
    unsigned count = 0;
    if (n->DeviceGetMaxMigDeviceCount(dev, &count) != NVML_SUCCESS) return;
    for (unsigned i = 0; i < count; i++) {
        nvml_device instance = NULL;
        if (n->DeviceGetMigDeviceHandleByIndex(dev, i, &instance) != NVML_SUCCESS) continue; /* none there */
        struct device_gpu *g = gpu_list_add(out);
        if (!g) return;
        if (!look_at_instance(n, instance, &card, g)) out->n--;
    }
}

/* --- links --- */

static enum device_link link_of(const struct nvml *n, nvml_device a, nvml_device b)
{
    static const struct {
        int level;
        enum device_link link;
    } levels[] = {
        {NVML_TOPOLOGY_INTERNAL, DEVICE_LINK_BOARD},    {NVML_TOPOLOGY_SINGLE, DEVICE_LINK_SWITCH},
        {NVML_TOPOLOGY_MULTIPLE, DEVICE_LINK_SWITCHES}, {NVML_TOPOLOGY_HOSTBRIDGE, DEVICE_LINK_BRIDGE},
        {NVML_TOPOLOGY_NODE, DEVICE_LINK_NODE},         {NVML_TOPOLOGY_SYSTEM, DEVICE_LINK_SYSTEM}};
    int is = -1;
    if (n->DeviceGetP2PStatus && n->DeviceGetP2PStatus(a, b, NVML_P2P_NVLINK, &is) == NVML_SUCCESS &&
        is == NVML_P2P_OK)
        return DEVICE_LINK_NVLINK;
    if (!n->DeviceGetTopologyCommonAncestor || n->DeviceGetTopologyCommonAncestor(a, b, &is) != NVML_SUCCESS)
        return DEVICE_LINK_UNKNOWN;
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (levels[i].level == is) return levels[i].link;
    return DEVICE_LINK_UNKNOWN;
}

static bool is_about(const struct links *l, const struct gpu_list *cards)
{
    for (uint32_t i = 0; i < cards->n && i < l->n; i++)
        if (strcmp(l->uuid[i], cards->gpu[i].uuid) != 0) return false;
    return l->n == cards->n;
}

/* dev: the handle of each, NULL for instances, which reach nobody. */
static void get_links(struct nvml *n, const nvml_device *dev, struct gpu_list *cards)
{
    struct links *l = &n->links;
    if (!is_about(l, cards)) {
        memset(l, 0, sizeof *l);
        l->n = cards->n;
        for (uint32_t i = 0; i < l->n; i++) {
            memcpy(l->uuid[i], cards->gpu[i].uuid, sizeof l->uuid[i]);
            for (uint32_t k = 0; k < l->n; k++)
                if (i != k && dev[i] && dev[k]) l->to[i][k] = (uint8_t)link_of(n, dev[i], dev[k]);
        }
    }
    for (uint32_t i = 0; i < l->n; i++) memcpy(cards->gpu[i].link, l->to[i], sizeof l->to[i]);
}

/* --- all of them --- */

static void look_at_all(struct nvml *n, struct gpu_list *out)
{
    nvml_device dev[DEVICE_MAX_GPUS] = {NULL};
    unsigned count = 0;
    bool all = true;
    int code = n->DeviceGetCount_v2(&count);
    if (code != NVML_SUCCESS) {
        failed(n, "nvmlDeviceGetCount", code);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        nvml_device card = NULL;
        struct device_gpu *g = gpu_list_add(out);
        if (!g) break;
        code = n->DeviceGetHandleByIndex_v2(i, &card);
        if (code != NVML_SUCCESS || !look(n, card, g, &code)) {
            out->n--;
            all = false;
        } else if (is_divided(n, card)) {
            divide(n, card, out);
        } else {
            dev[out->n - 1] = card;
        }
    }
    get_links(n, dev, out);
    /* The library keeps the cards that it found when it was started: start it again to see whether one is
     * back. */
    if (all)
        n->restart = (struct backoff){0};
    else if (due(&n->restart))
        down(n);
}

void nvml_sample(struct nvml *n, struct gpu_list *out, char driver[48], char why[160])
{
    if (!n->path[0])
        snprintf(n->why, sizeof n->why, "NVML is switched off");
    else if (!n->up && due(&n->init))
        init(n);
    if (n->up) {
        n->init = (struct backoff){0};
        look_at_all(n, out);
    }
    snprintf(driver, 48, "%s", n->driver);
    snprintf(why, 160, "%s", n->why);
}
