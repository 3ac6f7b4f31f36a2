#include "base/numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

typedef void (*on_number)(uint32_t number, void *user);

/* Lists as the kernel writes them: "0-3,8,10-11"; false: it is none. */
static bool each_of_list(const char *text, on_number fn, void *user)
{
    for (const char *p = text; *p && *p != '\n';) {
        char *end;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (end == p || from > NUMA_MAX_ID) return false;
        if (*end == '-') {
            p = end + 1;
            to = strtoul(p, &end, 10);
            if (end == p || to < from || to > NUMA_MAX_ID) return false;
        }
        for (unsigned long i = from; i <= to; i++) fn((uint32_t)i, user);
        if (*end && *end != ',' && *end != '\n') return false;
        p = *end == ',' ? end + 1 : end;
    }
    return true;
}

static bool read_list(const char *sysfs, const char *name, on_number fn, void *user)
{
    char path[4096], text[4096];
    snprintf(path, sizeof path, "%.3000s/devices/system/node/%s", sysfs, name);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool good = fgets(text, sizeof text, f) && each_of_list(text, fn, user);
    fclose(f);
    return good;
}

static void add_cpu(uint32_t number, void *user)
{
    if (number < CPU_SETSIZE) CPU_SET(number, (cpu_set_t *)user);
}

struct nodes {
    bool online[NUMA_MAX_ID + 1], memory[NUMA_MAX_ID + 1];
};
static void set_flag(uint32_t number, void *user)
{
    ((bool *)user)[number] = true;
}

void numa_look(struct numa_map *out, const char *sysfs, const cpu_set_t *allowed)
{
    struct nodes *nodes = mem_zalloc(1, sizeof *nodes);
    *out = (struct numa_map){0};
    if (!read_list(sysfs, "online", set_flag, nodes->online)) goto out;
    const bool known = read_list(sysfs, "has_memory", set_flag, nodes->memory);
    for (uint32_t id = 0; id <= NUMA_MAX_ID && out->n < NUMA_MAX_NODES; id++) {
        struct numa_node x = {.id = id, .memory = !known || nodes->memory[id]};
        char name[32];
        if (!nodes->online[id]) continue;
        snprintf(name, sizeof name, "node%u/cpulist", id);
        if (!read_list(sysfs, name, add_cpu, &x.cpus)) continue;
        CPU_AND(&x.cpus, &x.cpus, allowed);
        if (CPU_COUNT(&x.cpus)) out->node[out->n++] = x;
    }
out:
    free(nodes);
}

const struct numa_node *numa_node_for(const struct numa_map *map, uint32_t thread, uint32_t n_thread)
{
    return &map->node[(uint64_t)thread * map->n / n_thread];
}

bool numa_mode_by_name(const char *name, enum numa_mode *out)
{
    static const char *const names[] = {
        [NUMA_OFF] = "off", [NUMA_DISTRIBUTE] = "distribute", [NUMA_ISOLATE] = "isolate"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!strcmp(name, names[i])) {
            *out = (enum numa_mode)i;
            return true;
        }
    return false;
}

/* ---- this process ------------------------------------------------------------------------------------ */

static struct numa_map spread; /* n is 0 unless threads are to be placed */

/* Pages that this thread and those it will start touch first, of files too if nobody has read them yet. */
static status set_policy(int policy, const struct numa_map *map, struct error *e)
{
    enum { BITS = 8 * sizeof(unsigned long) };
    unsigned long mask[(NUMA_MAX_ID + 1) / BITS] = {0};
    for (uint32_t i = 0; i < map->n; i++)
        if (map->node[i].memory) mask[map->node[i].id / BITS] |= 1ul << map->node[i].id % BITS;
    if (syscall(SYS_set_mempolicy, policy, mask, sizeof mask * 8 + 1) == 0) return OK;
    return fail(e, ERR_IO, "--numa: set_mempolicy: %s%s", strerror(errno),
                errno == EPERM ? " (containers forbid it unless they are given the capability SYS_NICE)"
                               : "");
}

static status isolate(const struct numa_map *map, struct error *e)
{
    unsigned cpu = 0, id = 0;
    struct numa_map own = {0};
    if (syscall(SYS_getcpu, &cpu, &id, NULL) != 0)
        return fail(e, ERR_IO, "--numa: getcpu: %s", strerror(errno));
    for (uint32_t i = 0; i < map->n; i++)
        if (map->node[i].id == id) own.node[own.n++] = map->node[i];
    if (!own.n) return fail(e, ERR_IO, "--numa: the processor in use is on no node that is known");
    if (sched_setaffinity(0, sizeof own.node[0].cpus, &own.node[0].cpus) != 0)
        return fail(e, ERR_IO, "--numa: sched_setaffinity: %s", strerror(errno));
    LOG(INFO, "numa", "isolate", "node=%u cores=%d", id, CPU_COUNT(&own.node[0].cpus));
    return own.node[0].memory ? set_policy(MPOL_PREFERRED, &own, e) : OK;
}

status numa_begin(enum numa_mode mode, struct error *e)
{
    struct numa_map map;
    cpu_set_t allowed;
    if (mode == NUMA_OFF) return OK;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return fail(e, ERR_IO, "--numa: sched_getaffinity: %s", strerror(errno));
    numa_look(&map, "/sys", &allowed);
    if (map.n < 2) {
        LOG(WARN, "numa", "one-node", "all memory is on one node: --numa does nothing here");
        return OK;
    }
    if (mode == NUMA_ISOLATE) return isolate(&map, e);
    LOG(INFO, "numa", "distribute", "nodes=%u", map.n);
    TRY(set_policy(MPOL_INTERLEAVE, &map, e));
    spread = map;
    return OK;
}

void numa_place_thread(uint32_t thread, uint32_t n_thread)
{
    if (!spread.n) return;
    const struct numa_node *on = numa_node_for(&spread, thread, n_thread);
    (void)sched_setaffinity(0, sizeof on->cpus,
                            &on->cpus); /* a hint: wherever it runs, it computes the same */
}
