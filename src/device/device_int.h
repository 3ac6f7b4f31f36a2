/* The sources of a sample among themselves. */
#ifndef CORRAL_DEVICE_INT_H
#define CORRAL_DEVICE_INT_H

#include "device/device.h"

/* What a source adds to: the cards that answer now. */
struct gpu_list {
    struct device_gpu gpu[DEVICE_MAX_GPUS];
    uint32_t n;
};
struct device_gpu *gpu_list_add(struct gpu_list *l); /* zeroed; NULL when full */

/* NVML (nvml.c). Looks for the library or the driver again after a failure, less and less often. */
struct nvml;
struct nvml *nvml_new(const char *path);
void nvml_free(struct nvml *n);
bool nvml_wanted(const struct nvml *n); /* it was not switched off */
/* Adds the cards; why is "" when NVML works, else what is the matter. */
void nvml_sample(struct nvml *n, struct gpu_list *out, char driver[48], char why[160]);

/* AMD's cards, from a tree like /sys (amd.c). */
void amd_sample(const char *sysfs_root, struct gpu_list *out);

/* The host's memory, from trees like /proc and /sys (host.c). */
void host_sample(const char *proc_root, const char *sysfs_root, struct device_host *out);
uint64_t host_process_bytes(const char *proc_root, int32_t pid);

/* Files of one line (read.c). fmt and what follows make the path. */
bool read_line(char *out, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool read_u64(uint64_t *out, const char *fmt, ...) PRINTF_LIKE(2, 3); /* decimal, or hexadecimal after 0x */

/* An hour of every card (history.c). Guarded by struct devices' history_lock. libedit has names that begin
 * with history_. */
struct history;
struct history *samples_new(void);
void samples_free(struct history *h);
void samples_add(struct history *h, const struct device_sample *s);
void samples_json(const struct history *h, struct buf *b, int64_t now_ns, uint32_t span_s, uint32_t step_s);

#endif
