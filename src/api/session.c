#include "api/session.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/recall.h"
#include "base/clock.h"

struct session {
    uint64_t tenant;
    char *name;
    json_t *messages;
    size_t bytes; /* of the messages as JSON */
    int64_t used_ns;
};

struct sessions {
    struct sessions_options o;
    pthread_mutex_t lock;
    struct session *item; /* a list is enough: there are few, and an access is nothing beside an answer */
    uint32_t n;
};

struct sessions *sessions_new(const struct sessions_options *o)
{
    struct sessions *s = mem_zalloc(1, sizeof *s);
    if (o) s->o = *o;
    if (!s->o.max_sessions) s->o.max_sessions = 1024;
    if (!s->o.max_session_bytes) s->o.max_session_bytes = 256 << 10;
    if (!s->o.ttl_ns) s->o.ttl_ns = (int64_t)3600 * 1000000000;
    if (!s->o.now_ns) s->o.now_ns = clock_ns;
    s->item = mem_zalloc(s->o.max_sessions, sizeof *s->item);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void remove_at(struct sessions *s, uint32_t i)
{
    free(s->item[i].name);
    json_decref(s->item[i].messages);
    s->item[i] = s->item[--s->n];
}

void sessions_free(struct sessions *s)
{
    if (!s) return;
    while (s->n) remove_at(s, s->n - 1);
    pthread_mutex_destroy(&s->lock);
    free(s->item);
    free(s);
}

static void expire(struct sessions *s)
{
    int64_t now = s->o.now_ns();
    for (uint32_t i = 0; i < s->n;)
        if (now - s->item[i].used_ns > s->o.ttl_ns)
            remove_at(s, i);
        else
            i++;
}

static struct session *find(struct sessions *s, uint64_t tenant, const char *name)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->item[i].tenant == tenant && !strcmp(s->item[i].name, name)) return &s->item[i];
    return NULL;
}

static struct session *find_or_make(struct sessions *s, uint64_t tenant, const char *name)
{
    struct session *one = find(s, tenant, name);
    if (one) return one;
    if (s->n == s->o.max_sessions) {
        uint32_t oldest = 0;
        for (uint32_t i = 1; i < s->n; i++)
            if (s->item[i].used_ns < s->item[oldest].used_ns) oldest = i;
        remove_at(s, oldest);
    }
    one = &s->item[s->n++];
    *one = (struct session){.tenant = tenant, .name = mem_strdup(name), .messages = json_array()};
    return one;
}

static size_t json_bytes(const json_t *v)
{
    return json_dumpb(v, NULL, 0, JSON_COMPACT);
}

static bool has_role(const json_t *m, const char *role)
{
    const char *is = json_string_value(json_object_get(m, "role"));
    return is && !strcmp(is, role);
}

static bool is_system(const json_t *m)
{
    return has_role(m, "system") || has_role(m, "developer");
}

/* Instructions stay as long as there is anything else to drop. */
static void drop_oldest(struct session *one, size_t max_bytes)
{
    while (one->bytes > max_bytes && json_array_size(one->messages)) {
        size_t i = 0, n = json_array_size(one->messages);
        while (i < n - 1 && is_system(json_array_get(one->messages, i))) i++;
        one->bytes -= json_bytes(json_array_get(one->messages, i));
        json_array_remove(one->messages, i);
    }
}

/* ---- those that are kept elsewhere --------------------------------------------------------------------- */

enum { KEPT_NAME = 160 };

/* No response is called so. */
static const char *kept_name(char out[KEPT_NAME], const char *name)
{
    snprintf(out, KEPT_NAME, "session %s", name);
    return out;
}

static json_t *kept_get(struct sessions *s, uint64_t tenant, const char *name)
{
    char id[KEPT_NAME];
    json_t *messages = recall_get(s->o.kept, tenant, kept_name(id, name));
    if (json_is_array(messages)) return messages;
    json_decref(messages);
    return json_array();
}

static void kept_add(struct sessions *s, uint64_t tenant, const char *name, const json_t *messages)
{
    char id[KEPT_NAME];
    struct session one = {.messages = kept_get(s, tenant, name)};
    json_array_extend(one.messages, (json_t *)(uintptr_t)messages);
    for (size_t i = 0; i < json_array_size(one.messages); i++)
        one.bytes += json_bytes(json_array_get(one.messages, i));
    drop_oldest(&one, s->o.max_session_bytes);
    recall_put(s->o.kept, tenant, kept_name(id, name), one.messages);
    json_decref(one.messages);
}

/* ------------------------------------------------------------------------------------------------------- */

json_t *sessions_get(struct sessions *s, uint64_t tenant, const char *name)
{
    if (s->o.kept) return kept_get(s, tenant, name);
    pthread_mutex_lock(&s->lock);
    expire(s);
    struct session *one = find(s, tenant, name);
    if (one) one->used_ns = s->o.now_ns();
    json_t *copy = one ? json_deep_copy(one->messages) : json_array();
    pthread_mutex_unlock(&s->lock);
    return copy;
}

void sessions_add(struct sessions *s, uint64_t tenant, const char *name, const json_t *messages)
{
    if (s->o.kept) {
        kept_add(s, tenant, name, messages);
        return;
    }
    pthread_mutex_lock(&s->lock);
    expire(s);
    struct session *one = find_or_make(s, tenant, name);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        one->bytes += json_bytes(m);
        json_array_append_new(one->messages, json_deep_copy(m));
    }
    drop_oldest(one, s->o.max_session_bytes);
    one->used_ns = s->o.now_ns();
    pthread_mutex_unlock(&s->lock);
}

bool sessions_drop(struct sessions *s, uint64_t tenant, const char *name)
{
    char id[KEPT_NAME];
    if (s->o.kept) return recall_drop(s->o.kept, tenant, kept_name(id, name));
    pthread_mutex_lock(&s->lock);
    expire(s);
    struct session *one = find(s, tenant, name);
    if (one) remove_at(s, (uint32_t)(one - s->item));
    pthread_mutex_unlock(&s->lock);
    return one != NULL;
}

uint32_t sessions_count(struct sessions *s)
{
    pthread_mutex_lock(&s->lock);
    expire(s);
    uint32_t n = s->n;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- joining ----------------------------------------------------------------------------------------- */

/* Of `from`, those that are (or are not) the system's. */
static size_t append(json_t *to, const json_t *from, bool system)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(from); i++) {
        json_t *m = json_array_get(from, i);
        if (is_system(m) != system) continue;
        json_array_append(to, m);
        n++;
    }
    return n;
}

json_t *sessions_join(const json_t *remembered, const json_t *new_messages, size_t max)
{
    json_t *out = json_array(), *talk = json_array();
    if (!append(out, new_messages, true)) append(out, remembered, true);
    append(talk, remembered, false);
    size_t n_old = json_array_size(talk), n_new = append(talk, new_messages, false);
    size_t from = n_old + n_new > max ? n_old + n_new - max : 0;
    from = MIN(from, n_old); /* what is new is never dropped */
    while (from < n_old && !has_role(json_array_get(talk, from), "user")) from++;
    for (; from < json_array_size(talk); from++) json_array_append(out, json_array_get(talk, from));
    json_decref(talk);
    return out;
}
