#include "api/recall.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/recall_file.h"
#include "base/clock.h"

enum { TRIM_EVERY = 64 }; /* files that are written, between two looks at all of them */

struct entry {
    struct entry *next; /* most recently used first */
    uint64_t tenant;
    int64_t used_ns;
    size_t n;
    char *id, *text;
};

struct recall {
    struct recall_options o;
    pthread_mutex_t lock; /* guards what follows */
    struct entry *first;
    size_t bytes;
    uint32_t n;
    char *folder; /* NULL: in memory */
    uint32_t n_written;
};

struct recall *recall_new(const struct recall_options *o)
{
    struct recall *s = mem_zalloc(1, sizeof *s);
    if (o) s->o = *o;
    if (!s->o.max_bytes) s->o.max_bytes = 64 << 20;
    if (!s->o.max_entries) s->o.max_entries = 4096;
    if (!s->o.ttl_ns) s->o.ttl_ns = 3600 * (int64_t)1000000000;
    if (!s->o.now_ns) s->o.now_ns = clock_ns;
    if (s->o.folder) s->folder = mem_strdup(s->o.folder);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void unlink_entry(struct recall *s, struct entry **at)
{
    struct entry *x = *at;
    *at = x->next;
    s->bytes -= x->n;
    s->n--;
}

static void entry_free(struct entry *x)
{
    free(x->id);
    free(x->text);
    free(x);
}

void recall_free(struct recall *s)
{
    if (!s) return;
    while (s->first) {
        struct entry *x = s->first;
        unlink_entry(s, &s->first);
        entry_free(x);
    }
    pthread_mutex_destroy(&s->lock);
    free(s->folder);
    free(s);
}

static struct entry **find(struct recall *s, uint64_t tenant, const char *id)
{
    struct entry **at = &s->first;
    while (*at && ((*at)->tenant != tenant || strcmp((*at)->id, id) != 0)) at = &(*at)->next;
    return at;
}

/* The list is in the order of use, so what is too old or too much is at its end. */
static void trim(struct recall *s)
{
    int64_t oldest = s->o.now_ns() - s->o.ttl_ns;
    size_t bytes = 0;
    uint32_t n = 0;
    for (struct entry **at = &s->first; *at;) {
        bytes += (*at)->n;
        if (++n <= s->o.max_entries && bytes <= s->o.max_bytes && (*at)->used_ns >= oldest) {
            at = &(*at)->next;
            continue;
        }
        struct entry *x = *at;
        bytes -= x->n;
        n--;
        unlink_entry(s, at);
        entry_free(x);
    }
}

static void push_front(struct recall *s, struct entry *x)
{
    x->used_ns = s->o.now_ns();
    x->next = s->first;
    s->first = x;
    s->bytes += x->n;
    s->n++;
}

static void put_file(struct recall *s, uint64_t tenant, const char *id, const json_t *v)
{
    recall_file_put(s->folder, tenant, id, v);
    pthread_mutex_lock(&s->lock);
    bool due = s->n_written++ % TRIM_EVERY == 0;
    pthread_mutex_unlock(&s->lock);
    if (due) recall_file_trim(s->folder, s->o.max_bytes, s->o.max_entries, s->o.ttl_ns);
}

void recall_put(struct recall *s, uint64_t tenant, const char *id, const json_t *v)
{
    if (s->folder) {
        put_file(s, tenant, id, v);
        return;
    }
    char *text = json_dumps(v, JSON_COMPACT);
    if (!text) return;
    struct entry *x = mem_zalloc(1, sizeof *x);
    *x = (struct entry){.tenant = tenant, .n = strlen(text), .id = mem_strdup(id), .text = text};
    recall_drop(s, tenant, id);
    pthread_mutex_lock(&s->lock);
    push_front(s, x);
    trim(s);
    pthread_mutex_unlock(&s->lock);
}

json_t *recall_get(struct recall *s, uint64_t tenant, const char *id)
{
    json_t *v = NULL;
    if (s->folder) return recall_file_get(s->folder, tenant, id, s->o.ttl_ns);
    pthread_mutex_lock(&s->lock);
    trim(s);
    struct entry **at = find(s, tenant, id), *x = *at;
    if (x) {
        unlink_entry(s, at);
        push_front(s, x);
        v = json_loadb(x->text, x->n, 0, NULL);
    }
    pthread_mutex_unlock(&s->lock);
    return v;
}

bool recall_drop(struct recall *s, uint64_t tenant, const char *id)
{
    if (s->folder) return recall_file_drop(s->folder, tenant, id);
    pthread_mutex_lock(&s->lock);
    struct entry **at = find(s, tenant, id), *x = *at;
    if (x) unlink_entry(s, at);
    pthread_mutex_unlock(&s->lock);
    if (x) entry_free(x);
    return x != NULL;
}
