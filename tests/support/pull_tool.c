/* Pulls from a test written in Python: a home, references, and a line of JSON each time something changed.
 *
 *   pull_tool HOME [OPTION=VALUE ...] [REFERENCE ...]
 *
 * Without a reference the jobs that a former process left are run. Options: name, copy, part, connections,
 * jobs, stall, retry, tries, cancel (as soon as so many bytes are there), public (only addresses of the
 * internet), local=0. The last lines are the models of the store. The exit status says how many jobs did not
 * complete. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "http/client.h"
#include "hub/pulls.h"

static struct pulls_options o = {.part_bytes = 1 << 20, .hub = {.stall_ms = 20000, .retry_ms = 20}};
static const char *name;
static bool copy;
static unsigned long long cancel_at;

static bool take_option(const char *arg)
{
    const char *value = strchr(arg, '=');
    size_t n = value ? (size_t)(value++ - arg) : 0;
    struct {
        const char *name;
        uint32_t *to;
    } const number[] = {{"connections", &o.connections}, {"jobs", &o.max_jobs},
                        {"stall", &o.hub.stall_ms},      {"slow", &o.hub.slow_ms},
                        {"retry", &o.hub.retry_ms},      {"tries", &o.hub.max_tries}};
    if (!n || memchr(arg, ':', n) || memchr(arg, '/', n)) return false;
    for (size_t i = 0; i < COUNT_OF(number); i++)
        if (!strncmp(arg, number[i].name, n)) *number[i].to = (uint32_t)atoi(value);
    if (!strncmp(arg, "part", n)) o.part_bytes = strtoull(value, NULL, 10);
    if (!strncmp(arg, "cancel", n)) cancel_at = strtoull(value, NULL, 10);
    if (!strncmp(arg, "public", n)) o.hub.may_connect = http_address_is_public;
    if (!strncmp(arg, "local", n)) o.hub.no_local = atoi(value) == 0;
    if (!strncmp(arg, "copy", n)) copy = atoi(value) != 0;
    if (!strncmp(arg, "name", n)) name = value;
    return true;
}

/* One look at a job; true: it has ended. */
static bool look(struct pulls *p, int64_t id, char **last, int *n_failed)
{
    struct pull_view *v;
    struct error e;
    if (pulls_snapshot(p, id, &v, &e) != OK) {
        fprintf(stderr, "job %lld: %s\n", (long long)id, e.msg);
        exit(99);
    }
    bool over = v->status >= STORE_JOB_COMPLETED;
    char *json = pull_view_json(v);
    if (!*last || strcmp(json, *last) != 0) puts(json);
    fflush(stdout);
    free(*last);
    *last = json;
    if (over && v->status != STORE_JOB_COMPLETED) ++*n_failed;
    if (!over && cancel_at && v->bytes >= cancel_at && pulls_cancel(p, id, &e) == OK) cancel_at = 0;
    pull_view_free(v);
    return over;
}

static void print_models(struct store *store)
{
    struct store_models list = {0};
    if (store_list(store, &list, NULL) != OK) return;
    for (size_t i = 0; i < list.n; i++) {
        const struct store_model *m = &list.item[i];
        printf("{\"store\":\"%s\",\"version\":%u,\"path\":\"%s\",\"digest\":\"%s\",\"source\":\"%s\","
               "\"owned\":%s,\"options\":%s}\n",
               m->name, m->version, m->path, m->digest, m->source, m->owned ? "true" : "false", m->options);
    }
    store_models_deinit(&list);
}

enum { MAX_JOBS = 64 };

int main(int argc, char **argv)
{
    struct store *store;
    struct pulls *p;
    struct error e;
    int64_t id[MAX_JOBS];
    char *last[MAX_JOBS] = {0};
    bool over[MAX_JOBS] = {0};
    int n = 0, left, n_failed = 0, first = 2;
    if (argc < 2) return 2;
    log_set_level(LOG_DEBUG);
    while (first < argc && take_option(argv[first])) first++;
    if (store_open(&store, argv[1], &e) != OK) {
        fprintf(stderr, "%s\n", e.msg);
        return 98;
    }
    struct store_jobs queued = {0};
    const struct store_job_filter filter = {.status = "queued", .kind = "pull", .limit = MAX_JOBS};
    if (first == argc && store_job_list(store, &filter, &queued, &e) == OK)
        for (size_t i = 0; i < queued.n; i++) id[n++] = queued.item[i].id;
    store_jobs_deinit(&queued);
    if (pulls_open(&p, store, &o, &e) != OK) {
        fprintf(stderr, "%s\n", e.msg);
        return 97;
    }
    for (int i = first; i < argc && n < MAX_JOBS; i++) {
        const struct pull_want want = {.reference = argv[i], .name = name, .copy = copy};
        if (pulls_start(p, &want, &id[n], &e) == OK) {
            n++;
        } else {
            printf("{\"refused\":\"%s\"}\n", e.msg);
            n_failed++;
        }
    }
    do {
        left = 0;
        for (int i = 0; i < n; i++) {
            if (!over[i]) over[i] = look(p, id[i], &last[i], &n_failed);
            left += !over[i];
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    } while (left);
    pulls_close(p);
    print_models(store);
    store_close(store);
    for (int i = 0; i < n; i++) free(last[i]);
    return n_failed;
}
