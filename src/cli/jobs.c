/* corral jobs: pulls under way and those that were. */
#include <stdlib.h>
#include <string.h>

#include "cli/human.h"
#include "cli/remote.h"
#include "cli/table.h"

static struct remote_options o;
static struct {
    const char *status, *reference;
    int64_t limit;
} filter;
static const struct opt opts[] = {{.name = "status",
                                   .type = OPT_STR,
                                   .at = &filter.status,
                                   .arg = "LIST",
                                   .help = "only these: queued,running,completed,failed,cancelled"},
                                  {.name = "reference",
                                   .type = OPT_STR,
                                   .at = &filter.reference,
                                   .arg = "REFERENCE",
                                   .help = "only pulls of this one"},
                                  {.name = "limit",
                                   .letter = 'n',
                                   .type = OPT_INT,
                                   .at = &filter.limit,
                                   .min = 1,
                                   .max = 10000,
                                   .def = "20",
                                   .help = "how many, newest first"},
                                  REMOTE_OPTS(o),
                                  {0}};

static void add_row(struct table *t, const json_t *j)
{
    double total = json_num(j, "total_bytes");
    const char *name = json_text(j, "name");
    table_add(t, "%.0f", json_num(j, "id"));
    table_add(t, "%s", json_text(j, "status"));
    table_add(t, "%s", json_text(j, "model"));
    table_add(t, "%s", name);
    if (total > 0)
        table_add(t, "%.0f %% of %s", 100 * json_num(j, "progress"), human_bytes((uint64_t)total).s);
    else
        table_add(t, "%s", "");
    table_add(t, "%s", human_ago((int64_t)json_num(j, "created_ms")).s);
    table_add(t, "%s", json_text(j, "error"));
}

static status list(struct remote *r, struct error *e)
{
    struct table t = {.heading = ">ID|STATUS|REFERENCE|NAME|PROGRESS|BEGUN|ERROR"};
    json_t *all, *j;
    size_t i;
    char path[3000];
    int n = snprintf(path, sizeof path, "/jobs?limit=%lld", (long long)filter.limit);
    if (filter.status)
        n += snprintf(path + n, sizeof path - (size_t)n, "%s", remote_path("&status=", filter.status, ""));
    if (filter.reference && n < 1000)
        snprintf(path + n, sizeof path - (size_t)n, "%s", remote_path("&model=", filter.reference, ""));
    TRY(remote_ask(r, "GET", path, NULL, &all, e));
    if (o.json) {
        json_print(json_incref(json_object_get(all, "jobs")));
    } else {
        json_array_foreach(json_object_get(all, "jobs"), i, j) add_row(&t, j);
        if (!t.n) puts("There are no such jobs.");
        table_print(&t);
    }
    json_decref(all);
    return OK;
}

static void print_one(const json_t *j)
{
    struct table t = {.heading = "FILE|>BYTES|>OF|DIGEST"};
    static const char *const shown[] = {"status", "phase", "model", "name", "error"};
    const json_t *f;
    size_t i;
    for (i = 0; i < COUNT_OF(shown); i++)
        if (*json_text(j, shown[i])) printf("  %-10s %s\n", shown[i], json_text(j, shown[i]));
    printf("  %-10s %.1f %%\n", "progress", 100 * json_num(j, "progress"));
    if (json_num(j, "bytes_per_s") > 0)
        printf("  %-10s %s/s\n", "rate", human_bytes((uint64_t)json_num(j, "bytes_per_s")).s);
    if (json_array_size(json_object_get(j, "files"))) puts("");
    json_array_foreach(json_object_get(j, "files"), i, f)
    {
        table_add(&t, "%s", json_text(f, "name"));
        table_add(&t, "%s", human_bytes((uint64_t)json_num(f, "bytes")).s);
        table_add(&t, "%s", human_bytes((uint64_t)json_num(f, "total")).s);
        table_add(&t, "%.19s", json_text(f, "digest"));
    }
    table_print(&t);
}

static status one(struct remote *r, const char *id, const char *method, struct error *e)
{
    json_t *said;
    TRY(remote_ask(r, method, remote_path("/jobs/", id, ""), NULL, &said, e));
    if (o.json) {
        json_print(said);
        return OK;
    }
    if (!strcmp(method, "DELETE"))
        printf("cancelled job %s\n", id);
    else
        print_one(said);
    json_decref(said);
    return OK;
}

static status jobs(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    if (n_word == 2 && !strcmp(word[0], "cancel")) return one(r, word[1], "DELETE", e);
    if (n_word == 1) return one(r, word[0], "GET", e);
    return n_word ? fail(e, ERR_ARG, "usage: corral jobs [ID | cancel ID]") : list(r, e);
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_jobs, &o, 0, 2, jobs}, argc, argv);
}

const struct command cmd_jobs = {
    .name = "jobs",
    .args = "[ID | cancel ID] [--status LIST]",
    .summary = "pulls under way and those that were; cancel one",
    .help = "Examples:\n"
            "  corral jobs --status queued,running\n"
            "  corral jobs 12                 one, with its files\n"
            "  corral jobs cancel 12          what it fetched stays for two weeks, for another try\n",
    .opts = opts,
    .run = run,
};
