/* The last hour of every card, a point per sample as long as samples are a second apart. */
#include <stdlib.h>
#include <string.h>

#include "device/device_int.h"

struct point {
    int64_t at_ns;
    uint32_t used_mib;
    uint16_t power_w;
    uint8_t utilization, temperature_c; /* UNKNOWN: not told */
};
enum { UNKNOWN = 0xff, UNKNOWN_POWER = 0xffff, MAX_TRACKS = 2 * DEVICE_MAX_GPUS + 1 };

struct track { /* one card, found again by its UUID */
    char uuid[96], name[96];
    uint64_t total_bytes;
    uint32_t n, next; /* of the ring */
    struct point *ring;
};
struct history {
    struct track track[MAX_TRACKS];
    uint32_t n;
};

void samples_free(struct history *h)
{
    for (uint32_t i = 0; h && i < h->n; i++) free(h->track[i].ring);
    free(h);
}

static struct track *track_of(struct history *h, const char *uuid)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (!strcmp(h->track[i].uuid, uuid)) return &h->track[i];
    if (h->n == MAX_TRACKS) return NULL;
    struct track *t = &h->track[h->n++];
    memcpy(t->uuid, uuid, strlen(uuid) + 1);
    t->ring = mem_zalloc(DEVICE_HISTORY_S, sizeof *t->ring);
    return t;
}

struct history *samples_new(void)
{
    struct history *h = mem_zalloc(1, sizeof *h);
    (void)track_of(h, "host"); /* the first one */
    memcpy(h->track[0].name, "host", 5);
    return h;
}

static void add_point(struct track *t, struct point p)
{
    t->ring[t->next] = p;
    t->next = (t->next + 1) % DEVICE_HISTORY_S;
    t->n = MIN(t->n + 1, (uint32_t)DEVICE_HISTORY_S);
}

static uint8_t byte_of(bool has, float v)
{
    return has ? (uint8_t)MAX(0.0F, MIN(v, 254.0F)) : UNKNOWN;
}

void samples_add(struct history *h, const struct device_sample *s)
{
    struct track *t = &h->track[0];
    t->total_bytes = s->host.total_bytes;
    const uint64_t used = s->host.total_bytes - s->host.available_bytes;
    add_point(t, (struct point){s->sampled_ns, (uint32_t)(used >> 20), UNKNOWN_POWER, UNKNOWN, UNKNOWN});
    for (uint32_t i = 0; i < s->n_gpu; i++) {
        const struct device_gpu *g = &s->gpu[i];
        if (g->lost || !(t = track_of(h, g->uuid))) continue;
        memcpy(t->name, g->name, sizeof t->name);
        t->total_bytes = g->total_bytes;
        add_point(
            t, (struct point){.at_ns = s->sampled_ns,
                              .used_mib = (uint32_t)(g->used_bytes >> 20),
                              .power_w = g->has & DEVICE_HAS_POWER
                                             ? (uint16_t)MAX(0.0F, MIN(g->power_w + 0.5F, 65534.0F))
                                             : UNKNOWN_POWER,
                              .utilization = byte_of(g->has & DEVICE_HAS_UTILIZATION, g->utilization),
                              .temperature_c = byte_of(g->has & DEVICE_HAS_TEMPERATURE, g->temperature_c)});
    }
}

/* --- reading --- */

struct mean {
    double sum;
    uint32_t n;
};
struct step { /* the points of one step of time */
    struct mean used, utilization, temperature, power;
    uint32_t most_mib;
};

static void add_to(struct mean *m, double v, bool known)
{
    if (!known) return;
    m->sum += v;
    m->n++;
}

static void mean_json(struct buf *b, const char *key, const struct mean *m)
{
    if (m->n)
        buf_addf(b, ",\"%s\":%.1f", key, m->sum / m->n);
    else
        buf_addf(b, ",\"%s\":null", key);
}

static void step_json(struct buf *b, const struct step *s, uint32_t age_s, bool first)
{
    buf_addf(b, "%s{\"age_s\":%u", first ? "" : ",", age_s);
    mean_json(b, "memory_used_mb", &s->used);
    buf_addf(b, ",\"memory_used_mb_most\":%u", s->most_mib);
    mean_json(b, "utilization_percent", &s->utilization);
    mean_json(b, "temperature_c", &s->temperature);
    mean_json(b, "power_w", &s->power);
    buf_addc(b, '}');
}

static void track_json(const struct track *t, struct buf *b, int64_t now_ns, uint32_t span_s, uint32_t step_s)
{
    struct step s = {0};
    uint32_t now = UINT32_MAX; /* the step being added up, counted back from now */
    bool first = true;
    buf_adds(b, "{\"uuid\":");
    buf_json_str(b, t->uuid, strlen(t->uuid));
    buf_adds(b, ",\"name\":");
    buf_json_str(b, t->name, strlen(t->name));
    buf_addf(b, ",\"memory_total_mb\":%llu,\"points\":[", (unsigned long long)(t->total_bytes >> 20));
    for (uint32_t i = 0; i < t->n; i++) {
        const struct point *p = &t->ring[(t->next + DEVICE_HISTORY_S - t->n + i) % DEVICE_HISTORY_S];
        const int64_t age_ns = MAX(now_ns - p->at_ns, 0);
        if (age_ns >= (int64_t)span_s * 1000000000) continue;
        const uint32_t step = (uint32_t)(age_ns / ((int64_t)step_s * 1000000000));
        if (step != now && s.used.n) {
            step_json(b, &s, now * step_s, first);
            first = false;
            s = (struct step){0};
        }
        now = step;
        add_to(&s.used, p->used_mib, true);
        add_to(&s.utilization, p->utilization, p->utilization != UNKNOWN);
        add_to(&s.temperature, p->temperature_c, p->temperature_c != UNKNOWN);
        add_to(&s.power, p->power_w, p->power_w != UNKNOWN_POWER);
        s.most_mib = MAX(s.most_mib, p->used_mib);
    }
    if (s.used.n) step_json(b, &s, now * step_s, first);
    buf_adds(b, "]}");
}

void samples_json(const struct history *h, struct buf *b, int64_t now_ns, uint32_t span_s, uint32_t step_s)
{
    span_s = MIN(MAX(span_s, 1u), (uint32_t)DEVICE_HISTORY_S);
    step_s = MIN(MAX(step_s, 1u), span_s);
    buf_addc(b, '[');
    for (uint32_t i = 0; i < h->n; i++) {
        if (i) buf_addc(b, ',');
        track_json(&h->track[i], b, now_ns, span_s, step_s);
    }
    buf_addc(b, ']');
}
