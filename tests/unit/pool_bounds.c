/* What a worker process may not: outlive its gateway, gain rights, see secrets, fill the disk with its log.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "support/pool_play.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct play y;

#define NEEDS_PLAYER                                                                                         \
    if (!play_program()) {                                                                                   \
        printf("skipped: CORRAL_FAKE_WORKER does not name the program that plays workers\n");                \
        skip();                                                                                              \
    }

static int load(const char *name)
{
    struct pool_route r;
    struct pool_fault f = {0};
    struct pool_ticket *t = play_enter(&y, name);
    if (play_wait(t, 20000, &r, &f) != POOL_READY) fail_msg("%s: %s", name, f.msg);
    struct pool_view *v = pool_view_new(y.pool);
    int pid = 0;
    for (size_t i = 0; i < v->n_worker; i++)
        if (!strcmp(v->worker[i].model, name)) pid = v->worker[i].pid;
    pool_view_free(v);
    play_leave(t);
    return pid;
}

static void read_proc(int pid, const char *name, struct buf *out)
{
    char path[64];
    struct error e;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    buf_reset(out);
    if (buf_read_file(out, path, &e) != OK) fail_msg("%s", e.msg);
}

static bool has(const struct buf *b, const char *text)
{
    return b->n && memmem(b->data, b->n, text, strlen(text));
}

static void has_no_more_than_it_needs(void **state)
{
    NEEDS_PLAYER
    struct pool_options o = play_options(&y);
    struct buf b = {0};
    setenv("CORRAL_PORT", "4711", 1);
    setenv("CORRAL_API_KEY", "sesame", 1);
    setenv("HF_TOKEN", "hf_secret", 1);
    setenv("CORRAL_PLUGINS", "/plugins", 1);
    play_start(&y, &o);
    play_add(&y, "m", "ready=0", NULL);
    int pid = load("m");
    assert_true(pid > 0);
    assert_int_equal(getpgid(pid), pid);
    read_proc(pid, "status", &b);
    assert_true(has(&b, "NoNewPrivs:\t1"));
    read_proc(pid, "limits", &b);
    assert_true(has(&b, "Max core file size        0"));
    read_proc(pid, "environ", &b);
    assert_false(has(&b, "CORRAL_PORT"));
    assert_false(has(&b, "sesame"));
    assert_false(has(&b, "hf_secret"));
    assert_true(has(&b, "CORRAL_PLUGINS=/plugins"));
    assert_true(has(&b, "CORRAL_REPORT_FD=3"));
    assert_true(has(&b, "PATH="));
    struct pool_view *v = pool_view_new(y.pool);
    char folder[128];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", v->worker[0].unix_path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    pool_view_free(v);
    buf_deinit(&b);
    play_end(&y);
    assert_int_not_equal(stat(folder, &st), 0);
}

static void its_log_is_bounded(void **state)
{
    NEEDS_PLAYER
    struct pool_options o = play_options(&y);
    char path[256], old[264];
    struct stat st;
    play_start(&y, &o);
    play_add(&y, "Org/Model:Q4", "chatty", NULL);
    load("Org/Model:Q4");
    pool_log_path(y.pool, "Org/Model:Q4", path, sizeof path);
    snprintf(old, sizeof old, "%s.1", path);
    assert_non_null(strstr(path, "/logs/Org_Model_Q4.log"));
    for (int i = 0; i < 2000 && stat(old, &st) != 0; i++) usleep(2000);
    assert_int_equal(stat(old, &st), 0);
    assert_in_range(st.st_size, 3 << 20, 4 << 20);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 1, 2 << 20);
    assert_int_equal(st.st_mode & 0777, 0600);
    play_end(&y);
}

/* As a process of its own: a gateway that loads a model, says its worker's pid, and waits to be killed. */
static _Noreturn void be_a_gateway(void)
{
    struct pool_options o = play_options(&y);
    play_start(&y, &o);
    play_add(&y, "m", "stubborn", NULL);
    printf("%d %s\n", load("m"), y.home);
    fflush(stdout);
    for (;;) pause();
}

static void dies_with_its_gateway(void **state)
{
    NEEDS_PLAYER
    char home[80], command[128];
    int worker, gateway;
    FILE *f = popen("echo $$; exec /proc/$PPID/exe gateway", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d %d %79s", &gateway, &worker, home), 3);
    assert_int_equal(kill(worker, 0), 0);
    kill(gateway, SIGKILL);
    pclose(f);
    snprintf(command, sizeof command, "/proc/%d/stat", worker);
    bool gone = false;
    for (int i = 0; i < 2500 && !gone; i++) { /* gone, or dead and nobody's child who would reap it */
        FILE *s = fopen(command, "r");
        char how = 'Z';
        if (s && fscanf(s, "%*d (%*[^)]) %c", &how) != 1) how = '?';
        if (s) fclose(s);
        gone = how == 'Z' || how == 'X';
        usleep(2000);
    }
    assert_true(gone);
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    assert_int_equal(system(command), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_no_more_than_it_needs),
        cmocka_unit_test(its_log_is_bounded),
        cmocka_unit_test(dies_with_its_gateway),
    };
    if (argc > 1) be_a_gateway();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
