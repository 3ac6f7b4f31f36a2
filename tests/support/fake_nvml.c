/* An NVML that says what a file says, for the tests of src/device: $FAKE_NVML names it. The file is read
 * again whenever the devices are counted, that is once per sample, so a test unplugs a card, loses the driver
 * or changes a value by rewriting it.
 *
 * One line per card: `uuid|name|total MiB|used MiB|utilization|temperature|milliwatts|compute|processes`; a
 * field `-` is not supported; processes are pid:MiB,pid:MiB, `?` for MiB that the driver does not tell. A
 * line `fail N` makes every call answer N, `lost UUID` makes that card fall off the bus,
 * `hang MS` makes each count take so long. `mig UUID card` makes that card one in MIG mode and adds an
 * instance, written as a card; `mig UUID` alone only does the former. `link UUID UUID LEVEL` joins two cards:
 * nvlink, or a level of the PCIe topology as NVML has it (0, 10, ... 50). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/nvml.h"

enum { MOST = 40, FIELDS = 9 };

static struct nvml_device_st {
    char text[400];
    char *field[FIELDS];
    int lost, divided;
    struct nvml_device_st *of; /* the card of an instance */
} card[MOST], instance[MOST];
static unsigned n_card, n_instance;
static struct link {
    struct nvml_device_st *a, *b;
    int nvlink, level;
} joint[MOST];
static unsigned n_joint;
static int failing, up;

#define EXPORT __attribute__((visibility("default")))
/* Prototypes of what is exported, as the header has them. */
#define X(name, args) EXPORT int nvml##name args;
NVML_FUNCTIONS(X)
#undef X

static void read_card(struct nvml_device_st *c, const char *line)
{
    *c = (struct nvml_device_st){0};
    snprintf(c->text, sizeof c->text, "%s", line);
    char *at = c->text;
    for (int i = 0; i < FIELDS; i++) {
        c->field[i] = at;
        at += strcspn(at, "|");
        if (*at) *at++ = 0;
    }
}

static struct nvml_device_st *find(const char *uuid)
{
    for (unsigned i = 0; i < n_card; i++)
        if (!strcmp(card[i].field[0], uuid)) return &card[i];
    return NULL;
}

static void divide(const char *uuid, const char *line)
{
    struct nvml_device_st *c = find(uuid);
    if (!c) return;
    c->divided = 1;
    if (!*line || n_instance == MOST) return;
    read_card(&instance[n_instance], line);
    instance[n_instance++].of = c;
}

static void join(const char *a, const char *b, const char *how)
{
    if (n_joint == MOST || !find(a) || !find(b)) return;
    joint[n_joint++] = (struct link){find(a), find(b), !strcmp(how, "nvlink"), atoi(how)};
}

static const struct link *joint_of(nvml_device a, nvml_device b)
{
    for (unsigned i = 0; i < n_joint; i++)
        if ((joint[i].a == a && joint[i].b == b) || (joint[i].a == b && joint[i].b == a)) return &joint[i];
    return NULL;
}

static void read_file(void)
{
    const char *path = getenv("FAKE_NVML");
    char line[400], lost[100], other[100], how[20];
    int hang_ms = 0, n;
    FILE *f = path ? fopen(path, "re") : NULL;
    n_card = n_instance = n_joint = 0;
    failing = f ? 0 : NVML_DRIVER_NOT_LOADED;
    while (f && fgets(line, sizeof line, f) && n_card < MOST) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "fail %d", &n) == 1) {
            failing = n;
        } else if (sscanf(line, "hang %d", &n) == 1) {
            hang_ms = n;
        } else if (sscanf(line, "lost %99s", lost) == 1) {
            for (unsigned i = 0; i < n_card; i++) card[i].lost |= !strcmp(card[i].field[0], lost);
        } else if (sscanf(line, "mig %99s%n", lost, &n) == 1) {
            divide(lost, line + n + (line[n] == ' '));
        } else if (sscanf(line, "link %99s %99s %19s", lost, other, how) == 3) {
            join(lost, other, how);
        } else if (strchr(line, '|')) {
            read_card(&card[n_card++], line);
        }
    }
    if (f) fclose(f);
    nanosleep(&(struct timespec){hang_ms / 1000, hang_ms % 1000 * 1000000L}, NULL);
}

int nvmlInit_v2(void)
{
    read_file();
    up = !failing;
    return failing;
}

int nvmlShutdown(void)
{
    up = 0;
    return NVML_SUCCESS;
}

int nvmlSystemGetDriverVersion(char *s, unsigned n)
{
    snprintf(s, n, "999.99");
    return NVML_SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
    if (!up) return NVML_UNINITIALIZED;
    read_file();
    *n = n_card;
    return failing;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, nvml_device *d)
{
    if (i >= n_card) return NVML_INVALID_ARGUMENT;
    *d = &card[i];
    return NVML_SUCCESS;
}

/* 0, or why field i of the card cannot be told. */
static int check(nvml_device d, int field)
{
    if (!up) return NVML_UNINITIALIZED;
    if (d->lost) return NVML_GPU_IS_LOST;
    return strcmp(d->field[field], "-") == 0 ? NVML_NOT_SUPPORTED : NVML_SUCCESS;
}

static int number(nvml_device d, int field, unsigned *out)
{
    const int code = check(d, field);
    if (code == NVML_SUCCESS) *out = (unsigned)strtoul(d->field[field], NULL, 10);
    return code;
}

int nvmlDeviceGetUUID(nvml_device d, char *s, unsigned n)
{
    snprintf(s, n, "%s", d->field[0]);
    return NVML_SUCCESS;
}

int nvmlDeviceGetName(nvml_device d, char *s, unsigned n)
{
    snprintf(s, n, "%s", d->field[1]);
    return check(d, 1);
}

int nvmlDeviceGetPciInfo_v3(nvml_device d, struct nvml_pci *p)
{
    if (d->of) return NVML_INVALID_ARGUMENT;
    snprintf(p->bus_id, sizeof p->bus_id, "00000000:%02X:00.0", (unsigned)(d - card) + 1);
    return check(d, 0);
}

int nvmlDeviceGetMigMode(nvml_device d, unsigned *now, unsigned *pending)
{
    *now = *pending = (unsigned)d->divided;
    return check(d, 0);
}

int nvmlDeviceGetMaxMigDeviceCount(nvml_device d, unsigned *n)
{
    *n = 7;
    return check(d, 0);
}

/* Instances keep their numbers: here the odd ones are there. */
int nvmlDeviceGetMigDeviceHandleByIndex(nvml_device d, unsigned i, nvml_device *out)
{
    unsigned at = 1;
    for (unsigned k = 0; k < n_instance; k++) {
        if (instance[k].of != d) continue;
        *out = &instance[k];
        if (at == i) return NVML_SUCCESS;
        at += 2;
    }
    return NVML_NOT_FOUND;
}

int nvmlDeviceGetP2PStatus(nvml_device a, nvml_device b, int what, int *is)
{
    const struct link *l = joint_of(a, b);
    *is = what == NVML_P2P_NVLINK && l && l->nvlink ? NVML_P2P_OK : 5;
    return NVML_SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(nvml_device a, nvml_device b, int *level)
{
    const struct link *l = joint_of(a, b);
    if (!l || l->nvlink) return NVML_NOT_SUPPORTED;
    *level = l->level;
    return NVML_SUCCESS;
}

int nvmlDeviceGetMemoryInfo(nvml_device d, struct nvml_memory *m)
{
    const int code = check(d, 2);
    if (code != NVML_SUCCESS) return code;
    m->total = strtoull(d->field[2], NULL, 10) << 20;
    m->used = strtoull(d->field[3], NULL, 10) << 20;
    m->free = m->total - m->used;
    return NVML_SUCCESS;
}

int nvmlDeviceGetUtilizationRates(nvml_device d, struct nvml_utilization *u)
{
    const int code = number(d, 4, &u->gpu);
    u->memory = u->gpu / 2;
    return code;
}

int nvmlDeviceGetTemperature(nvml_device d, int sensor, unsigned *t)
{
    return sensor == NVML_TEMPERATURE_GPU ? number(d, 5, t) : NVML_INVALID_ARGUMENT;
}

int nvmlDeviceGetPowerUsage(nvml_device d, unsigned *mw)
{
    return number(d, 6, mw);
}

int nvmlDeviceGetEnforcedPowerLimit(nvml_device d, unsigned *mw)
{
    *mw = 300000;
    return check(d, 6);
}

int nvmlDeviceGetCudaComputeCapability(nvml_device d, int *major, int *minor)
{
    const int code = check(d, 7);
    if (code == NVML_SUCCESS && sscanf(d->field[7], "%d.%d", major, minor) != 2) return NVML_NOT_SUPPORTED;
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device d, unsigned *count, struct nvml_process *p)
{
    const int code = check(d, 8);
    unsigned n = 0;
    if (code != NVML_SUCCESS) return code;
    for (const char *at = d->field[8]; *at; at += strcspn(at, ","), at += *at == ',') {
        const char *colon = strchr(at, ':');
        if (!colon) break;
        if (n == *count) return NVML_INSUFFICIENT_SIZE;
        p[n++] = (struct nvml_process){.pid = (unsigned)strtoul(at, NULL, 10),
                                       .used = colon[1] == '?' ? NVML_BYTES_UNKNOWN
                                                               : strtoull(colon + 1, NULL, 10) << 20};
    }
    *count = n;
    return NVML_SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(nvml_device d, unsigned *count, struct nvml_process *p)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(d, count, p);
}
