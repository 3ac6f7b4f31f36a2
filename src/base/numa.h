/* Machines whose memory lies on several nodes, each near some of the processors: where this process's threads
 * run and its pages lie.
 *
 * Decided once for the process, before it has other threads: they inherit it. Raw system calls, no libnuma. */
#ifndef CORRAL_NUMA_H
#define CORRAL_NUMA_H

#include <sched.h>

#include "base/base.h"

enum numa_mode {
    NUMA_OFF,
    NUMA_DISTRIBUTE, /* pages on all nodes in turns, threads on all of them */
    NUMA_ISOLATE     /* threads and pages on the node that the process runs on */
};
enum { NUMA_MAX_NODES = 64, NUMA_MAX_ID = 1023 };

struct numa_map { /* nodes with processors that may be used; those of memory alone are left out */
    uint32_t n;
    struct numa_node { uint32_t id; bool memory; cpu_set_t cpus; } node[NUMA_MAX_NODES];
};
/* As the tree at sysfs ("/sys") has it; n is 0 where it does not say. allowed: processors to use. */
void   numa_look(struct numa_map *out, const char *sysfs, const cpu_set_t *allowed);
/* The node for thread i of n: neighbours together, as many on each. */
const struct numa_node *numa_node_for(const struct numa_map *m, uint32_t thread, uint32_t n_thread);

/* "off", "distribute", "isolate" */
bool   numa_mode_by_name(const char *name, enum numa_mode *out);
/* For this process from now on. On one node it says that there is nothing to do, and does nothing. */
status numa_begin(enum numa_mode mode, struct error *e);
/* To be called by thread i of n that compute: with NUMA_DISTRIBUTE it stays on its node. */
void   numa_place_thread(uint32_t thread, uint32_t n_thread);

#endif
