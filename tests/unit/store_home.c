/* One process owns a home: who comes second is told, who is killed leaves it usable. And files that are no
 * database, or one of the future. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <sqlite3.h>

#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

/* A process that opens the home, begins a job, says so, and waits to be killed. */
static pid_t begin_other(struct temp_home *h, int *from)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store_job job;
        int64_t id;
        char good = store_open(&h->store, h->path, NULL) == OK &&
                    store_job_add(h->store, "pull", "m", "{\"n\":1}", &id, NULL) == OK &&
                    store_job_add(h->store, "pull", "n", NULL, &id, NULL) == OK &&
                    store_job_claim(h->store, "pull", "me", &job, NULL) == OK;
        if (write(fd[1], &good, 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(fd[1]);
    *from = fd[0];
    return pid;
}

static void one_process_at_a_time(void **state)
{
    struct temp_home h = {0};
    struct error e = {0};
    struct store_job job;
    struct store *second = NULL;
    char good = 0, number[32];
    int from;
    assert_true(temp_open(&h, &e));
    assert_int_equal(store_open(&second, h.path, &e), ERR_BUSY); /* not twice in one process either */
    assert_null(second);
    temp_close(&h);

    pid_t pid = begin_other(&h, &from);
    assert_true(read(from, &good, 1) == 1 && good);
    close(from);
    assert_int_equal(store_open(&second, h.path, &e), ERR_BUSY);
    snprintf(number, sizeof number, "process %d ", (int)pid);
    if (!strstr(e.msg, number)) fail_msg("'%s' does not name %s", e.msg, number);

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (!temp_open(&h, &e)) fail_msg("after a kill: %s", e.msg);
    assert_int_equal(store_job_get(h.store, 1, &job, &e), OK);
    assert_int_equal(job.status, STORE_JOB_QUEUED); /* it was running, and its owner is gone */
    assert_string_equal(job.request, "{\"n\":1}");
    assert_true(job.attempts == 1 && !*job.owner);
    store_job_deinit(&job);
    assert_int_equal(store_job_claim(h.store, "pull", "you", &job, &e), OK);
    assert_true(job.id == 1 && job.attempts == 2 && job.status == STORE_JOB_RUNNING);
    store_job_deinit(&job);
    temp_remove(&h);
}

/* A process that puts models and removes them until it is killed. */
static pid_t begin_churn(struct temp_home *h)
{
    int fd[2];
    char ready = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        close(fd[1]);
        assert_int_equal(read(fd[0], &ready, 1), 1);
        close(fd[0]);
        return pid;
    }
    if (store_open(&h->store, h->path, NULL) != OK) _exit(1);
    for (int i = 0;; i++) {
        char file[200], text[50], digest[STORE_DIGEST_MAX], name[20];
        snprintf(text, sizeof text, "content %d", i % 37);
        snprintf(name, sizeof name, "m%d", i % 5);
        snprintf(file, sizeof file, "%s/download", h->path);
        struct store_file part[] = {{"a.gguf", digest}, {"b.gguf", digest}};
        struct store_entry entry = {.name = name, .file = part, .n_file = (size_t)(1 + i % 2)};
        if (!temp_write(h, "download", text, strlen(text)) ||
            store_digest_file(file, digest, NULL, NULL, NULL) != OK ||
            store_blob_add(h->store, file, digest, false, NULL) != OK ||
            store_put(h->store, &entry, NULL, NULL) != OK)
            _exit(1);
        snprintf(name, sizeof name, "m%d", (i + 2) % 5);
        (void)store_remove(h->store, name, 0, NULL, NULL, NULL); /* it may not be there */
        if (i == 0 && write(fd[1], &ready, 1) != 1) _exit(1);
    }
}

/* Killed at any time: what has a name has all its files, unharmed. */
static void names_never_lose_their_files(void **state)
{
    struct temp_home h = {0};
    struct error e = {0};
    size_t seen = 0;
    assert_true(temp_open(&h, &e));
    for (unsigned round = 0; round < 12; round++) {
        struct store_models list;
        int how = 0;
        temp_close(&h);
        pid_t pid = begin_churn(&h);
        usleep(1000 + round * 7919 % 30000);
        kill(pid, SIGKILL);
        waitpid(pid, &how, 0);
        assert_true(WIFSIGNALED(how)); /* it did not end by itself */
        if (!temp_open(&h, &e) || store_list(h.store, &list, &e) != OK)
            fail_msg("round %u: %s", round, e.msg);
        for (size_t i = 0; i < list.n; i++) {
            struct stat st;
            if (store_verify(h.store, list.item[i].name, NULL, NULL, &e) != OK)
                fail_msg("round %u: %s: %s", round, list.item[i].name, e.msg);
            if (stat(list.item[i].path, &st) != 0) fail_msg("round %u: %s is gone", round, list.item[i].path);
        }
        seen += list.n;
        store_models_deinit(&list);
    }
    assert_true(seen > 0);
    temp_remove(&h);
}

static void damaged_files_are_told(void **state)
{
    enum { NOISE, CUT, MIDDLE, EMPTY_TABLES, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct temp_home h = {0};
        struct error e = {0};
        char path[200], noise[5000];
        assert_true(temp_open(&h, &e));
        for (int i = 0; i < 200; i++) {
            int64_t id;
            char model[300];
            snprintf(model, sizeof model, "model-%0200d", i);
            assert_int_equal(store_job_add(h.store, "pull", model, NULL, &id, &e), OK);
        }
        temp_close(&h);
        snprintf(path, sizeof path, "%s/corral.db", h.path);
        for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)(i * 31 + 7);
        if (way == NOISE) {
            assert_true(temp_write(&h, "corral.db", noise, sizeof noise));
        } else if (way == CUT) {
            assert_int_equal(truncate(path, 3 * 4096 + 100), 0);
        } else if (way == MIDDLE) {
            FILE *f = fopen(path, "r+");
            assert_true(f && fseek(f, 4096, SEEK_SET) == 0);
            for (int i = 0; i < 8; i++) assert_int_equal(fwrite(noise, 1, sizeof noise, f), sizeof noise);
            assert_int_equal(fclose(f), 0);
        } else { /* well formed, but the tables are not ours */
            sqlite3 *db;
            assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
            assert_int_equal(sqlite3_exec(db, "DROP TABLE job", NULL, NULL, NULL), SQLITE_OK);
            sqlite3_close(db);
        }
        bool opened = temp_open(&h, &e);
        if (opened || e.code != ERR_FORMAT) fail_msg("way %d: opened %d: %s", way, opened, e.msg);
        if (!strstr(e.msg, "rename this file") || !strstr(e.msg, path)) fail_msg("way %d: '%s'", way, e.msg);
        unlink(path); /* what it says to do helps */
        assert_true(temp_open(&h, &e));
        temp_remove(&h);
    }
}

static void sql(const char *home, const char *text)
{
    char path[200];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/corral.db", home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void a_newer_one_is_left_alone(void **state)
{
    struct temp_home h = {0};
    struct error e = {0};
    assert_true(temp_open(&h, &e));
    temp_close(&h);
    sql(h.path, "PRAGMA user_version = 999");
    assert_false(temp_open(&h, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "newer Corral"));
    sql(h.path, "PRAGMA user_version = 1");
    assert_true(temp_open(&h, &e));
    temp_remove(&h);
}

static void homes_that_cannot_be(void **state)
{
    static const struct {
        const char *home;
        status code;
    } cases[] = {{NULL, ERR_ARG}, {"", ERR_ARG}, {"/dev/null/home", ERR_IO}, {"/proc/corral", ERR_IO}};
    char longest[5000];
    struct store *s;
    struct error e;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        status code = store_open(&s, cases[i].home, &e);
        if (code != cases[i].code)
            fail_msg("%s: %s", cases[i].home ? cases[i].home : "NULL", status_name(code));
        assert_null(s);
    }
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(store_open(&s, longest, &e), ERR_LIMIT);
    store_close(NULL);

    struct temp_home h = {0}, below = {0}; /* folders that are not there are made */
    struct stat st;
    char path[200];
    assert_true(temp_open(&h, &e));
    snprintf(below.path, sizeof below.path, "%.40s/a/b", h.path);
    assert_true(temp_open(&below, &e));
    snprintf(path, sizeof path, "%s/corral.db", below.path);
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    temp_close(&below);
    temp_remove(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_at_a_time),  cmocka_unit_test(names_never_lose_their_files),
        cmocka_unit_test(damaged_files_are_told), cmocka_unit_test(a_newer_one_is_left_alone),
        cmocka_unit_test(homes_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
