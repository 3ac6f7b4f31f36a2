/* Pulls in one process with the server they pull from, which also tells watchers, as a gateway does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/client.h"
#include "http/static.h"
#include "hub/pulls_int.h"

#include <cmocka.h> /* last: it defines a macro fail() */

enum { SIZE = 3 * 1000 * 1000, WAIT_S = 60 };

static char folder[64], home[96], url[64], *bytes;
static struct http_server *server;
static pthread_t thread;
static struct store *store;
static struct pulls *pulls;
static atomic_bool gate_is_shut;

/* ---- the server
 * -------------------------------------------------------------------------------------------- */

static enum http_pull nothing(struct http_exchange *x, void *user, struct buf *out)
{
    return HTTP_WAIT;
}
static void over(struct http_exchange *x, void *user, bool complete) {}

/* A file, unless the gate is shut: then the answer begins and does not go on. */
static void gate(struct http_exchange *x, void *user)
{
    static const struct http_responder waiting = {.pull = nothing, .end = over};
    char path[160];
    if (!atomic_load(&gate_is_shut)) {
        snprintf(path, sizeof path, "%s/%s", folder, http_param(x, "name"));
        http_reply_file(x, path, NULL);
        return;
    }
    http_attach(x, &waiting, NULL);
    http_stream_sized(x, 200, NULL, SIZE);
}

struct watch {
    struct http_exchange *x;
    struct http_waker *waker;
    int64_t id;
    bool ended;
};

static enum http_pull watch_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct watch *w = user;
    struct pull_view *v;
    if (w->ended || pulls_snapshot(pulls, w->id, &v, NULL) != OK) return HTTP_DONE;
    char *json = pull_view_json(v);
    http_ndjson(out, json, strlen(json));
    w->ended = v->status >= STORE_JOB_COMPLETED;
    free(json);
    pull_view_free(v);
    return w->ended ? HTTP_DONE : HTTP_WAIT;
}
static void watch_end(struct http_exchange *x, void *user, bool complete)
{
    struct watch *w = user;
    pulls_unwatch(pulls, w->waker);
    http_waker_free(w->waker);
    free(w);
}
static void watch(struct http_exchange *x, void *user)
{
    static const struct http_responder watching = {.pull = watch_pull, .end = watch_end};
    struct watch *w = mem_zalloc(1, sizeof *w);
    http_attach(x, &watching, w);
    *w = (struct watch){.x = x, .waker = http_waker_new(x), .id = atoll(http_param(x, "id"))};
    pulls_watch(pulls, w->id, w->waker);
    http_stream(x, 200, "application/x-ndjson");
}

static const struct http_route routes[] = {
    {"GET", "/gate/{name}", gate, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/watch/{id}", watch, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};

static void *serve(void *arg)
{
    struct error e;
    if (http_server_run(server, &e) != OK) fprintf(stderr, "%s\n", e.msg);
    return NULL;
}

static int begin(void **state)
{
    struct error e;
    char path[128];
    snprintf(folder, sizeof folder, "/tmp/corral-pulls-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(home, sizeof home, "%s/home", folder);
    bytes = mem_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) bytes[i] = i < 4 ? "GGUF"[i] : (char)(i * 2654435761u >> 13);
    for (char c = 'a'; c <= 'd'; c++) {
        snprintf(path, sizeof path, "%s/%c.gguf", folder, c);
        FILE *f = fopen(path, "w");
        assert_int_equal(fwrite(bytes, 1, SIZE, f), SIZE);
        fclose(f);
    }
    if (http_server_new(&server, &(struct http_options){.n_thread = 2}, &e) != OK) fail_msg("%s", e.msg);
    http_server_add_routes(server, routes, COUNT_OF(routes));
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(server));
    if (http_server_listen(server, &e) != OK) fail_msg("%s", e.msg);
    return pthread_create(&thread, NULL, serve, NULL);
}

static int end(void **state)
{
    char command[128];
    http_server_quit(server);
    pthread_join(thread, NULL);
    http_server_free(server);
    free(bytes);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- pulls
 * --------------------------------------------------------------------------------------------------- */

static void open_pulls(uint32_t max_jobs)
{
    const struct pulls_options o = {
        .max_jobs = max_jobs, .part_bytes = 200000, .hub = {.retry_ms = 10, .stall_ms = 20000}};
    struct error e;
    if (store_open(&store, home, &e) != OK) fail_msg("%s", e.msg);
    if (pulls_open(&pulls, store, &o, &e) != OK) fail_msg("%s", e.msg);
}

static void close_pulls(void)
{
    pulls_close(pulls);
    store_close(store);
}

static int64_t begin_pull(const char *file, const char *name)
{
    char reference[128];
    struct error e;
    int64_t id;
    snprintf(reference, sizeof reference, "%s/gate/%s", url, file);
    if (pulls_start(pulls, &(struct pull_want){.reference = reference, .name = name}, &id, &e) != OK)
        fail_msg("%s", e.msg);
    return id;
}

static enum store_job_status status_of(int64_t id)
{
    struct pull_view *v;
    struct error e;
    if (pulls_snapshot(pulls, id, &v, &e) != OK) fail_msg("%s", e.msg);
    enum store_job_status s = v->status;
    pull_view_free(v);
    return s;
}

static void wait_until(int64_t id, enum store_job_status wanted)
{
    int64_t last = clock_us() + (int64_t)WAIT_S * 1000000;
    while (status_of(id) != wanted) {
        if (clock_us() > last || (status_of(id) > wanted && wanted == STORE_JOB_RUNNING))
            fail_msg("job %d is %s, not %s", (int)id, store_job_status_name(status_of(id)),
                     store_job_status_name(wanted));
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void check_model(const char *name)
{
    struct store_model m = {0};
    struct error e;
    if (store_get(store, name, &m, &e) != OK) fail_msg("%s", e.msg);
    FILE *f = fopen(m.path, "r");
    char *got = mem_alloc(SIZE + 1);
    assert_non_null(f);
    assert_int_equal(fread(got, 1, SIZE + 1, f), SIZE);
    assert_memory_equal(got, bytes, SIZE);
    fclose(f);
    free(got);
    store_model_deinit(&m);
}

/* ---- tests
 * ----------------------------------------------------------------------------------------------------- */

static void watched(void **state)
{
    struct http_client *client;
    struct http_answer a;
    struct error e;
    char to[96];
    open_pulls(1);
    int64_t id = begin_pull("a.gguf", NULL);
    snprintf(to, sizeof to, "%s/watch/%lld", url, (long long)id);
    if (http_client_new(&client, &e) != OK) fail_msg("%s", e.msg);
    if (http_fetch(client, &(struct http_call_options){.url = to}, &a, &e) != OK) fail_msg("%s", e.msg);
    double before = 0;
    json_t *line = NULL;
    for (char *rest = a.body.data, *p; (p = strsep(&rest, "\n")) && *p;) {
        json_decref(line);
        assert_non_null(line = json_loads(p, 0, NULL));
        double progress = json_number_value(json_object_get(line, "progress"));
        assert_true(progress >= before);
        before = progress;
    }
    assert_string_equal(json_string_value(json_object_get(line, "status")), "completed");
    assert_int_equal(json_integer_value(json_object_get(line, "downloaded_bytes")), SIZE);
    assert_int_equal(json_array_size(json_object_get(line, "files")), 1);
    assert_true(before == 1);
    json_decref(line);
    http_answer_deinit(&a);
    http_client_free(client);
    check_model("a");
    close_pulls();
}

static void *look(void *arg)
{
    int64_t id = *(int64_t *)arg;
    while (status_of(id) < STORE_JOB_COMPLETED) {
        struct pull_view *v;
        assert_int_equal(pulls_snapshot(pulls, id, &v, NULL), OK);
        free(pull_view_json(v));
        pull_view_free(v);
        sched_yield();
    }
    return NULL;
}

static void several_at_once(void **state)
{
    pthread_t other[3];
    int64_t id[3];
    open_pulls(3);
    id[0] = begin_pull("b.gguf", "one");
    id[1] = begin_pull("b.gguf", "two"); /* the same file: one waits for the other */
    id[2] = begin_pull("c.gguf", "three");
    assert_int_equal(begin_pull("b.gguf", "one:latest"), id[0]);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&other[i], NULL, look, &id[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(other[i], NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(status_of(id[i]), STORE_JOB_COMPLETED);
    check_model("one");
    check_model("two");
    check_model("three");
    close_pulls();
}

/* The same file of this machine copied twice at once: neither reads what the other is still writing. */
static void copied_at_once(void **state)
{
    static const char *const name[] = {"copy-1", "copy-2", "copy-3", "copy-4"};
    char path[128];
    struct error e;
    open_pulls(4);
    snprintf(path, sizeof path, "%s/d.gguf", folder);
    for (int turn = 0; turn < 5; turn++) {
        int64_t id[COUNT_OF(name)];
        for (size_t i = 0; i < COUNT_OF(name); i++) {
            const struct pull_want want = {.reference = path, .name = name[i], .copy = true};
            if (pulls_start(pulls, &want, &id[i], &e) != OK) fail_msg("%s", e.msg);
        }
        for (size_t i = 0; i < COUNT_OF(name); i++) wait_until(id[i], STORE_JOB_COMPLETED);
        for (size_t i = 0; i < COUNT_OF(name); i++) check_model(name[i]);
        for (size_t i = 0; i < COUNT_OF(name); i++)
            if (store_remove(store, name[i], 0, NULL, NULL, &e) != OK) fail_msg("%s", e.msg);
    }
    close_pulls();
}

/* What the store keeps of a job has a limit; names of files do not make it fail. */
static void long_names(void **state)
{
    struct job j = {.phase = "downloading",
                    .reference = mem_strdup("r"),
                    .name = mem_strdup("n"),
                    .n_file = HUB_MAX_FILES};
    char long_name[1025];
    memset(long_name, 1, sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    j.file = mem_zalloc(j.n_file, sizeof *j.file);
    for (size_t i = 0; i < j.n_file; i++)
        j.file[i] = (struct pull_file){.name = mem_strdup(long_name), .digest = mem_strdup("")};
    char *detail = pull_detail(&j);
    json_t *o = json_loads(detail, 0, NULL);
    assert_true(strlen(detail) < STORE_JSON_MAX);
    assert_in_range(json_array_size(json_object_get(o, "files")), 100, HUB_MAX_FILES / 2);
    json_decref(o);
    free(detail);
    pull_files_free(j.file, j.n_file);
    free(j.reference);
    free(j.name);
}

static void cancelled(void **state)
{
    struct error e;
    open_pulls(1);
    atomic_store(&gate_is_shut, true);
    int64_t running = begin_pull("d.gguf", NULL), queued = begin_pull("c.gguf", "other");
    wait_until(running, STORE_JOB_RUNNING);
    assert_int_equal(status_of(queued), STORE_JOB_QUEUED);
    assert_int_equal(pulls_cancel(pulls, queued, &e), OK);
    assert_int_equal(status_of(queued), STORE_JOB_CANCELLED);
    int64_t start = clock_us();
    assert_int_equal(pulls_cancel(pulls, running, &e), OK);
    wait_until(running, STORE_JOB_CANCELLED);
    assert_true(clock_us() - start < 5000000); /* not when the connection stalls */
    assert_int_equal(pulls_cancel(pulls, running, &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "cancelled"));
    assert_int_equal(pulls_cancel(pulls, 1000, &e), ERR_NOT_FOUND);
    atomic_store(&gate_is_shut, false);
    int64_t again = begin_pull("d.gguf", NULL);
    assert_true(again > queued);
    wait_until(again, STORE_JOB_COMPLETED);
    check_model("d");
    close_pulls();
}

static void closed_and_opened(void **state)
{
    open_pulls(1);
    atomic_store(&gate_is_shut, true);
    int64_t first = begin_pull("a.gguf", "x"), second = begin_pull("b.gguf", "y");
    wait_until(first, STORE_JOB_RUNNING);
    close_pulls();
    atomic_store(&gate_is_shut, false);
    open_pulls(1);
    assert_int_equal(begin_pull("b.gguf", "y"), second); /* it is still queued, or runs */
    wait_until(first, STORE_JOB_COMPLETED);
    wait_until(second, STORE_JOB_COMPLETED);
    check_model("x");
    check_model("y");
    close_pulls();
}

static void refused(void **state)
{
    static const char *const bad[] = {"", "hf:", "s3://x", "qwen3:"};
    struct error e;
    int64_t id;
    open_pulls(1);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(pulls_start(pulls, &(struct pull_want){.reference = bad[i]}, &id, &e), ERR_ARG);
    assert_int_equal(pulls_start(pulls, &(struct pull_want){.reference = "a/b", .name = "no name"}, &id, &e),
                     ERR_ARG);
    close_pulls();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watched),    cmocka_unit_test(several_at_once),
        cmocka_unit_test(cancelled),  cmocka_unit_test(closed_and_opened),
        cmocka_unit_test(refused),    cmocka_unit_test(copied_at_once),
        cmocka_unit_test(long_names),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
