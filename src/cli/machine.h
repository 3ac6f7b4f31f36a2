/* What this machine offers a program that runs models: read from /proc, /sys and the C library; nothing is
 * changed, and what cannot be read stays 0 or empty. */
#ifndef CORRAL_CLI_MACHINE_H
#define CORRAL_CLI_MACHINE_H

#include "base/base.h"

struct machine_gpus { uint32_t n_nvidia, n_amd, n_intel; };

struct machine {
    char     system[96], kernel[96], arch[32];
    char     cpu[96];
    char     features[160];         /* instruction sets that matter here, separated by blanks */
    uint32_t n_online, n_affinity;  /* cores there are, cores this process may run on */
    double   quota_cores;           /* CPU time that the control group allows; 0: no limit */
    uint64_t memory_bytes, available_bytes, group_bytes; /* group_bytes 0: no limit */
    char     huge_pages[16];        /* transparent huge pages: always, madvise, never */
    uint64_t swap_bytes;
    uint32_t n_node;                /* of memory, with processors this process may run on; 0: not known */
    uint64_t open_files, locked_bytes; /* limits; UINT64_MAX: none */
    struct machine_gpus gpus;
    char     nvidia_driver[32]; /* "" without one */
};

void machine_look(struct machine *m);
/* Free and total bytes where path is or, if it does not exist, where it would be made. */
status machine_disk(const char *path, uint64_t *free_bytes, uint64_t *total_bytes, struct error *e);
/* Cores to compute with: affinity and quota together, at least 1. */
uint32_t machine_cores(const struct machine *m);

#endif
