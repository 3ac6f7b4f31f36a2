/* What computes here and how full it is: GPUs by their drivers' management interfaces, and the host's
 * memory.
 *
 * One thread samples once a second, whether anybody asks or not; who asks gets the last sample, counted and
 * immutable, and its age. So no request ever waits for a driver, not even for one that hangs. NVIDIA's cards
 * come from NVML, opened at run time, AMD's from sysfs; a machine with neither is a machine whose list of
 * GPUs is empty. What a driver does not tell is not known (the `has` bits), never 0. A card that stops
 * answering stays in the list as lost until it answers again. */
#ifndef CORRAL_DEVICE_H
#define CORRAL_DEVICE_H

#include "base/buf.h"

/* With the host as many as a ledger of placement has: eight cards in seven instances each, and room. */
enum { DEVICE_MAX_GPUS = 63, DEVICE_MAX_PROCESSES = 64, DEVICE_HISTORY_S = 3600 };

enum device_vendor { DEVICE_NVIDIA, DEVICE_AMD };
const char *device_vendor_name(enum device_vendor v); /* "nvidia", "amd" */

enum device_has { /* which fields the driver told */
    DEVICE_HAS_MEMORY = 1, DEVICE_HAS_UTILIZATION = 2, DEVICE_HAS_MEMORY_UTILIZATION = 4,
    DEVICE_HAS_TEMPERATURE = 8, DEVICE_HAS_POWER = 16, DEVICE_HAS_POWER_LIMIT = 32, DEVICE_HAS_COMPUTE = 64,
    DEVICE_HAS_PROCESSES = 128,
};

enum device_link { /* how two GPUs reach each other's memory, best first */
    DEVICE_LINK_UNKNOWN, /* the driver does not tell, or not at all */
    DEVICE_LINK_NVLINK, DEVICE_LINK_BOARD,
    DEVICE_LINK_SWITCH, DEVICE_LINK_SWITCHES, /* of PCIe: one, several in a row */
    DEVICE_LINK_BRIDGE, /* the processor's own PCIe */
    DEVICE_LINK_NODE,   /* of one NUMA node */
    DEVICE_LINK_SYSTEM,
    DEVICE_LINKS
};
const char *device_link_name(enum device_link l); /* "nvlink", "pcie-switch", ... */

struct device_process { int32_t pid; bool known; uint64_t used_bytes; }; /* known: the driver says how much */

struct device_gpu {
    uint32_t id;         /* its place in this list; drivers' own numbers change, the UUID does not */
    enum device_vendor vendor;
    uint32_t has;        /* enum device_has */
    bool     lost;       /* it was there and does not answer; the figures are its last ones */
    bool     divided;    /* lost because it is in MIG mode by now: its instances are in the list */
    bool     crowded;    /* its memory is over the warning line */
    char     uuid[96];   /* as CUDA_VISIBLE_DEVICES and ROCR_VISIBLE_DEVICES take it */
    char     name[96], pci[32];
    char     parent[96]; /* UUID of the card that this is an instance of (NVIDIA's MIG); "": a card */
    char     compute[16]; /* "8.9"; AMD: "gfx90a" */
    uint64_t total_bytes, used_bytes, free_bytes;
    float    utilization, memory_utilization; /* percent */
    float    temperature_c, power_w, power_limit_w;
    int64_t  sampled_ns;  /* clock_ns() of these figures */
    uint32_t n_process;
    struct device_process process[DEVICE_MAX_PROCESSES];
    uint8_t  link[DEVICE_MAX_GPUS]; /* enum device_link to the GPU of that id */
};

struct device_host { /* total and available are the least of the machine's and its control groups' */
    uint64_t total_bytes, available_bytes, limit_bytes; /* limit 0: no control group has one */
    uint64_t own_bytes; /* resident memory of this process */
    bool     crowded;
};

void device_host_look(struct device_host *out); /* now, without a sampling thread */

struct device_sample {
    uint64_t number;      /* 1, 2, ... */
    int64_t  sampled_ns;
    struct device_host host;
    char     nvidia_driver[48];
    char     nvml_error[160]; /* "" while NVML works */
    uint32_t n_gpu;
    struct device_gpu gpu[]; /* n_gpu */
};

struct devices;
struct devices_options {
    const char *nvml_path;  /* NULL: $CORRAL_NVML, else libnvidia-ml.so.1; "" or "none": no NVML */
    const char *sysfs_root; /* NULL: $CORRAL_SYSFS, else /sys */
    const char *proc_root;  /* NULL: /proc */
    int64_t     period_ms;  /* 0: 1000 */
    int64_t     first_ms;   /* the first sample is waited for at most so long; 0: 5000; < 0: not at all */
    double      crowded;    /* fraction of memory from which on a device is said to be crowded; 0: 0.8 */
    void      (*on_sample)(void *user); /* on the sampling thread after each sample; may be NULL */
    void       *user;
};

/* The first sample is taken before this returns. Where that takes longer than first_ms (starting a GPU's
 * driver can take seconds), the last sample is number 0 until then and has the host alone. options may be
 * NULL. */
status devices_open(struct devices **out, const struct devices_options *options, struct error *e);
void   devices_close(struct devices *d); /* NULL is fine; a driver that hangs is waited for two seconds */
/* The last sample, held until released. Any thread; never waits for a driver. */
const struct device_sample *devices_sample(struct devices *d);
void device_sample_release(const struct device_sample *s);
/* A sample that begins after this call, within timeout_ms; false: the driver did not answer in time. */
bool devices_refresh(struct devices *d, int64_t timeout_ms);

/* What the given processes have of a card, and whether that is all known: in a container drivers tell the
 * host's process ids, then ours are not found. Give only those processes that are meant to be on this card.
 */
uint64_t device_own_bytes(const struct device_gpu *g, const int32_t *pid, size_t n, bool *known);
/* Memory of a process that nobody can take from it (not the pages of mapped files); 0 when it is gone. */
uint64_t devices_process_bytes(const struct devices *d, int32_t pid);

/* --- reports --- */

/* What a caller knows of a card beyond its driver: the models on it and the ledger's figures. */
struct device_use {
    const char *const *model;
    size_t   n_model;
    bool     has_ledger;
    uint64_t committed_bytes, reserved_bytes, external_bytes;
};
/* The GPU entity of /health and /gpus: id, name, total_memory, free_memory, used_memory (GiB), utilization,
 * temperature, power_usage, compute_capability, assigned_models; and uuid, bytes, processes, state, ages,
 * links to others, the ledger. use may be NULL. */
void device_gpu_json(struct buf *b, const struct device_gpu *g, const struct device_use *use, int64_t now_ns);
/* gpu_pool_status: totals, the list and the strategy; sample_number 0: no driver was asked yet. use: one
 * for each GPU, or NULL. */
void device_pool_json(struct buf *b, const struct device_sample *s, const struct device_use *use,
                      const char *strategy, int64_t now_ns);
/* One card of /metrics/gpu: gpu_index, name, memory_allocated_mb, memory_reserved_mb, memory_total_mb,
 * utilization_percent, temperature_c, ... */
void device_metrics_json(struct buf *b, const struct device_gpu *g, const struct device_use *use);
void device_host_json(struct buf *b, const struct device_host *h);
/* The same in Prometheus's format: corral_gpu_memory_used_bytes{gpu="0",uuid="..",name=".."} ... */
void device_metrics_text(struct buf *b, const struct device_sample *s);

/* What was, up to an hour back: an array of cards (uuid "host" first), each with one point per step_s
 * seconds of the last span_s: age_s, means of memory, utilization, temperature and power, and the most
 * memory in that time. */
void devices_history_json(struct devices *d, struct buf *b, uint32_t span_s, uint32_t step_s);

#endif
