/* Room for workers: on a host of 1000 MiB and two GPUs of 1000 MiB each, which a fake tree of proc and a fake
 * NVML play. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "device/device.h"
#include "support/pool_play.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct play y;
static struct devices *devices;
static uint32_t turn_ms; /* 0: that of play_options */
static const char *library = FAKE_NVML_LIBRARY,
                  *cards =
                      "GPU-aaaa|Card A|1000|0|0|30|50000|8.0|-\nGPU-bbbb|Card B|1000|0|0|30|50000|8.0|-\n";

#define NEEDS_PLAYER                                                                                         \
    if (!play_program()) {                                                                                   \
        printf("skipped: CORRAL_FAKE_WORKER does not name the program that plays workers\n");                \
        skip();                                                                                              \
    }

static void begin(bool gpus, uint32_t max_models)
{
    static char proc[80], nvml[80];
    struct error e = {0};
    struct pool_options o = play_options(&y);
    snprintf(proc, sizeof proc, "%s/proc", y.home);
    snprintf(nvml, sizeof nvml, "%s/nvml", y.home);
    if (mkdir(proc, 0700) != 0) abort();
    play_file(&y, "proc/meminfo", "MemTotal: 1024000 kB\nMemAvailable: 1024000 kB\n");
    play_file(&y, "nvml", cards);
    setenv("FAKE_NVML", nvml, 1);
    const struct devices_options d = {.nvml_path = gpus ? library : "none",
                                      .sysfs_root = "/nonexistent",
                                      .proc_root = proc,
                                      .period_ms = 50};
    if (devices_open(&devices, &d, &e) != OK) abort();
    o.devices = devices;
    o.max_models = max_models;
    if (turn_ms) o.turn_ms = turn_ms;
    o.gpu_reserve_bytes = o.host_reserve_bytes = 1;
    play_start(&y, &o);
}

static void end(void)
{
    play_end(&y);
    devices_close(devices);
}

static struct pool_ticket *load(const char *name)
{
    struct pool_route r;
    struct pool_fault f = {0};
    struct pool_ticket *t = play_enter(&y, name);
    if (play_wait(t, 20000, &r, &f) != POOL_READY) fail_msg("%s: %d %s", name, f.code, f.msg);
    return t;
}

/* Where the model's (only) worker is: "GPU-a", or with the layers of each "GPU-a=3,host=1"; bytes in *mib. */
static void place_of(const char *name, char where[64], uint64_t *mib)
{
    struct pool_view *v = pool_view_new(y.pool);
    snprintf(where, 64, "nowhere");
    for (size_t i = 0; i < v->n_worker; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        if (strcmp(w->model, name) != 0 || w->state != POOL_RUNNING) continue;
        uint32_t n_layer = 0;
        *mib = 0;
        for (uint32_t k = 0, n = 0; k < w->n_share; k++) {
            const struct pool_share *s = &w->share[k];
            n += (uint32_t)snprintf(where + n, 64 - n, "%s%s", k ? "," : "", s->uuid);
            if (w->n_share > 1) n += (uint32_t)snprintf(where + n, 64 - n, "=%u", s->n_layer);
            n_layer += s->n_layer;
            *mib += s->bytes >> 20;
        }
        assert_int_equal(n_layer, 4); /* all that the player has */
    }
    pool_view_free(v);
}

static bool noted(const char *what, const char *text)
{
    struct pool_view *v = pool_view_new(y.pool);
    bool found = false;
    for (size_t i = 0; i < v->n_decision; i++)
        found |= !strcmp(v->decision[i].what, what) && strstr(v->decision[i].text, text);
    pool_view_free(v);
    return found;
}

static void the_idle_one_goes(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    play_add(&y, "a", "mb=600", NULL);
    play_add(&y, "b", "mb=600", NULL);
    play_add(&y, "c", "mb=300", NULL);
    play_leave(load("a"));
    play_leave(load("c")); /* beside it */
    assert_int_equal(play_model(&y, "a").state, POOL_RUNNING);
    play_leave(load("b"));
    assert_int_equal(play_model(&y, "a").state, POOL_COLD);
    assert_int_equal(play_model(&y, "c").state, POOL_RUNNING);
    assert_int_equal(play_counts(&y).evictions, 1);
    assert_true(noted("evict", "for b"));
    assert_true(play_counts(&y).placements >= 3 && play_counts(&y).place_max_ns > 0);
    end();
}

static void a_busy_one_has_its_turn(void **state)
{
    NEEDS_PLAYER
    turn_ms = 2500;
    begin(false, 0);
    turn_ms = 0;
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "a", "mb=600", NULL);
    play_add(&y, "b", "mb=600", NULL);
    struct pool_ticket *a = load("a"), *b = play_enter(&y, "b"), *late;
    assert_int_equal(play_wait(b, 50, &r, &f), POOL_WAIT);
    late = play_enter(&y, "a");
    assert_int_equal(pool_poll(late, &r, &f), POOL_READY); /* it is still a's turn */
    play_leave(late);
    assert_true(play_until(&y, "a", POOL_DRAINING, 20000)); /* now it is b's */
    late = play_enter(&y, "a");
    assert_int_equal(pool_poll(late, &r, &f), POOL_WAIT);
    play_leave(a);
    assert_int_equal(play_wait(b, 20000, &r, &f), POOL_READY);
    assert_int_equal(pool_poll(late, &r, &f), POOL_WAIT);
    play_leave(b);
    assert_int_equal(play_wait(late, 20000, &r, &f), POOL_READY);
    play_leave(late);
    end();
}

static void requests_go_together(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    struct pool_route r;
    struct pool_fault f;
    enum { N = 30 };
    struct pool_ticket *t[N];
    play_add(&y, "a", "mb=600", NULL);
    play_add(&y, "b", "mb=600", NULL);
    for (int i = 0; i < N; i++) t[i] = play_enter(&y, i % 2 ? "b" : "a");
    for (int left = N, tries = 0; left && tries < 20000;
         tries++) { /* each is answered as soon as it can be */
        for (int i = 0; i < N; i++)
            if (t[i] && pool_poll(t[i], &r, &f) == POOL_READY) {
                play_leave(t[i]);
                t[i] = NULL;
                left--;
            }
        usleep(1000);
    }
    for (int i = 0; i < N; i++) assert_null(t[i]);
    assert_int_equal(play_counts(&y).loads, 2); /* not N */
    end();
}

static void what_cannot_be(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    static const struct {
        const char *name, *script;
        int code;
        const char *says;
    } row[] = {{"huge", "mb=2000", 503, "no room for 'huge'"},
               {"other", "mb=600", 503, "no room for 'other'"}, /* the pinned one stays */
               {"bad", "bad", 500, "signal 9"},
               {"unplanned", "unplanned", 500, "no plan for that"}};
    play_add(&y, "pinned", "mb=600", "{\"pinned\": true}");
    play_leave(load("pinned"));
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct pool_route r;
        struct pool_fault f = {0};
        play_add(&y, row[i].name, row[i].script, NULL);
        struct pool_ticket *t = play_enter(&y, row[i].name);
        if (play_wait(t, 20000, &r, &f) != POOL_REFUSED || f.code != row[i].code ||
            !strstr(f.msg, row[i].says))
            fail_msg("%s: %d '%s'", row[i].name, f.code, f.msg);
        assert_true(f.retry_after_s > 0);
        play_leave(t);
    }
    assert_int_equal(play_model(&y, "pinned").state, POOL_RUNNING);
    assert_true(noted("refuse", "MiB"));
    end();
}

static void gpus_first(void **state)
{
    NEEDS_PLAYER
    begin(true, 0);
    static const char *const where[] = {"GPU-bbbb", "GPU-aaaa", "GPU-bbbb"};
    char uuid[64], name[8];
    uint64_t mib = 0;
    play_add(&y, "m0", "gpu,mb=400", "{\"gpus\": [\"GPU-bbbb\"]}");
    play_add(&y, "m1", "gpu,mb=900", NULL);
    play_add(&y, "m2", "gpu,mb=500", NULL);
    play_add(&y, "m3", "mb=100", NULL); /* has no plan for a GPU */
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "m%d", i);
        play_leave(load(name));
        place_of(name, uuid, &mib);
        if (strcmp(uuid, i < 3 ? where[i] : "host") != 0) fail_msg("%s is on %s", name, uuid);
    }
    assert_int_equal(mib, 100);
    assert_int_equal(play_counts(&y).evictions, 0);
    struct pool_view *v = pool_view_new(y.pool);
    assert_int_equal(v->n_device, 3);
    for (size_t i = 0; i < v->n_device; i++)
        if (!strcmp(v->device[i].uuid, "GPU-bbbb"))
            assert_int_equal(v->device[i].state.committed_bytes >> 20, 900);
    pool_view_free(v);
    end();
}

/* The scenarios of the requirement: what fits one card, what needs several, what fits nowhere, machines
 * without cards and without a driver's library; and cards that are full, lost or divided. */
static void scenarios(void **state)
{
    NEEDS_PLAYER
#define CARD(uuid, used) uuid "|Card|1000|" used "|0|30|50000|8.0|-\n"
    static const struct {
        const char *name, *cards, *script, *options;
        const char *where, *says; /* where NULL: refused; says: in what was written down of the decision */
    } row[] = {
        // clang-format off
        {"fits one", CARD("GPU-a", "0") CARD("GPU-b", "0"), "gpu,mb=900", NULL, "GPU-a", "one device"},
        {"needs several", CARD("GPU-a", "200") CARD("GPU-b", "200"), "gpu,split,mb=900", NULL, "GPU-a=2,GPU-b=2", "2 devices are the fewest"},
        {"needs the larger two", CARD("GPU-a", "200") CARD("GPU-b", "0") CARD("GPU-c", "100"), "gpu,split,mb=1600", NULL, "GPU-b=2,GPU-c=2", "2 devices are the fewest"},
        {"needs several, as its backend cannot", CARD("GPU-a", "200") CARD("GPU-b", "200"), "gpu,mb=900", NULL, "host", "runs a model on one device"},
        {"needs several, as it may not", CARD("GPU-a", "200") CARD("GPU-b", "200"), "gpu,split,mb=900", "{\"max_devices\": 1}", "GPU-a=3,host=1", "its options say: on one device"},
        {"nor with the CPU", CARD("GPU-a", "200") CARD("GPU-b", "200"), "gpu,split,mb=900", "{\"max_devices\": 1, \"allow_cpu\": false}", NULL, "it may not run on the CPU"},
        {"partly on the CPU", CARD("GPU-a", "0"), "gpu,split,mb=1700", NULL, "GPU-a=2,host=2", "2 of 4 layers on GPUs"},
        {"not on the CPU", "", "mb=100", "{\"allow_cpu\": false}", NULL, "it may not run on the CPU"},
        {"nor where the server says so", CARD("GPU-a", "0"), "gpu,mb=100", "{\"allow_cpu\": false, \"backend\": \"cpu\"}", NULL, "it may not run on the CPU"},
        {"fits nowhere", CARD("GPU-a", "0") CARD("GPU-b", "0"), "gpu,split,mb=4100", NULL, NULL, "cannot hold it together"},
        {"others have one", CARD("GPU-a", "500") CARD("GPU-b", "0"), "gpu,mb=900", NULL, "GPU-b", "GPU-b"},
        {"one is lost", CARD("GPU-a", "0") CARD("GPU-b", "0") "lost GPU-a\n", "gpu,mb=900", NULL, "GPU-b", ""},
        {"that one is wanted", CARD("GPU-a", "0") CARD("GPU-b", "0"), "gpu,mb=100", "{\"gpus\": [\"GPU-b\"]}", "GPU-b", "GPU-a"},
        {"an instance", CARD("GPU-a", "0") "mig GPU-a MIG-1|Card MIG|500|0|-|-|-|-|-\n", "gpu,mb=400", NULL, "MIG-1", ""},
        {"an instance is small", CARD("GPU-a", "0") "mig GPU-a MIG-1|Card MIG|500|0|-|-|-|-|-\n", "gpu,mb=900", NULL, "host", "MIG-1"},
        {"an instance cannot be joined", CARD("GPU-b", "400") CARD("GPU-a", "0") "mig GPU-a MIG-1|Card MIG|500|0|-|-|-|-|-\n", "gpu,split,mb=900", NULL, "GPU-b=2,host=2", "2 of 4 layers"},
        {"no cards", "", "gpu,mb=900", NULL, "host", "no GPU"},
        {"no library", NULL, "gpu,mb=900", NULL, "host", "no GPU"},
        {"no plan for cards", CARD("GPU-a", "0"), "mb=900", NULL, "host", ""},
        // clang-format on
    };
    const char *own_library = library, *own_cards = cards;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct pool_route r;
        struct pool_fault f = {0};
        char uuid[64];
        uint64_t mib;
        library = row[i].cards ? own_library : "/nonexistent/libnvidia-ml.so.1";
        cards = row[i].cards ? row[i].cards : "";
        begin(true, 0);
        play_add(&y, "m", row[i].script, row[i].options);
        struct pool_ticket *t = play_enter(&y, "m");
        enum pool_answer got = play_wait(t, 20000, &r, &f);
        place_of("m", uuid, &mib);
        if ((got == POOL_READY) != !!row[i].where || (row[i].where && strcmp(uuid, row[i].where) != 0))
            fail_msg("%s: %s, %d %s", row[i].name, uuid, f.code, f.msg);
        if (!row[i].where && (f.code != 503 || !strstr(f.msg, "no room")))
            fail_msg("%s: %d %s", row[i].name, f.code, f.msg);
        if (!noted(row[i].where ? "place" : "refuse", row[i].says))
            fail_msg("%s: not said: %s", row[i].name, row[i].says);
        play_leave(t);
        end();
    }
    library = own_library;
    cards = own_cards;
}

static bool lost(const char *uuid)
{
    struct pool_view *v = pool_view_new(y.pool);
    bool is = false;
    for (size_t i = 0; i < v->n_device; i++)
        is |= !strcmp(v->device[i].uuid, uuid) && v->device[i].state.lost;
    pool_view_free(v);
    return is;
}

/* Nothing is placed on a card that fell off the bus, and again when it is back. */
static void a_card_comes_and_goes(void **state)
{
    NEEDS_PLAYER
    begin(true, 0);
    char text[300], uuid[64];
    uint64_t mib;
    play_add(&y, "m0", "gpu,mb=100", "{\"gpus\": [\"GPU-bbbb\"]}");
    play_add(&y, "m1", "gpu,mb=100", NULL);
    play_add(&y, "m2", "gpu,mb=100", NULL);
    play_leave(load("m0"));
    snprintf(text, sizeof text, "%slost GPU-aaaa\n", cards);
    play_file(&y, "nvml", text);
    for (int i = 0; i < 5000 && !lost("GPU-aaaa"); i++) usleep(2000);
    play_leave(load("m1"));
    place_of("m1", uuid, &mib);
    assert_string_equal(uuid, "GPU-bbbb");
    play_file(&y, "nvml", cards);
    for (int i = 0; i < 5000 && lost("GPU-aaaa"); i++) usleep(2000);
    play_leave(load("m2"));
    place_of("m2", uuid, &mib);
    assert_string_equal(uuid, "GPU-aaaa"); /* the emptier one */
    end();
}

static uint64_t committed_mib(const char *uuid)
{
    struct pool_view *v = pool_view_new(y.pool);
    uint64_t bytes = 0;
    for (size_t i = 0; i < v->n_device; i++)
        if (!strcmp(v->device[i].uuid, uuid)) bytes = v->device[i].state.committed_bytes;
    pool_view_free(v);
    return bytes >> 20;
}

/* What the worker of a model was started with, as it says itself. */
static bool started_with(const char *model, const char *words)
{
    char path[128];
    struct buf b = {0};
    snprintf(path, sizeof path, "%s/logs/%s.log", y.home, model);
    bool found = false;
    for (int i = 0; i < 1000 && !found; i++) { /* the pool's thread writes it */
        struct error e;
        buf_reset(&b);
        found = buf_read_file(&b, path, &e) == OK && b.n && memmem(b.data, b.n, words, strlen(words));
        if (!found) usleep(2000);
    }
    buf_deinit(&b);
    return found;
}

/* Several devices hold what a model takes, its worker is told which, and all have it back afterwards. */
static void divided(void **state)
{
    NEEDS_PLAYER
    begin(true, 0);
    char where[64];
    uint64_t mib = 0;
    struct error e;
    play_add(&y, "m", "gpu,split,mb=1200", "{\"gpus\": [\"GPU-bbbb\", \"GPU-aaaa\"]}");
    play_add(&y, "one", "gpu,split,mb=300", "{\"gpus\": [\"GPU-bbbb\"]}");
    play_leave(load("m"));
    place_of("m", where, &mib);
    assert_string_equal(where, "GPU-aaaa=2,GPU-bbbb=2");
    assert_int_equal(mib, 1200);
    assert_true(started_with("m", " --devices cuda:0=2,cuda:1=2 "));
    assert_true(started_with("m", "CUDA_VISIBLE_DEVICES=GPU-aaaa,GPU-bbbb\n"));
    play_leave(load("one"));
    assert_true(started_with("one", " --backend cuda "));
    assert_true(started_with("one", "CUDA_VISIBLE_DEVICES=GPU-bbbb\n"));
    assert_true(committed_mib("GPU-aaaa") == 600 && committed_mib("GPU-bbbb") == 900);
    assert_int_equal(pool_unload(y.pool, "m", &e), OK);
    assert_true(play_until(&y, "m", POOL_COLD, 20000));
    assert_true(committed_mib("GPU-aaaa") == 0 && committed_mib("GPU-bbbb") == 300);
    end();
}

static void a_lack_is_planned_again(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    char script[128];
    snprintf(script, sizeof script, "mb=100,lack=%s/lack", y.home);
    play_add(&y, "m", script, NULL);
    play_leave(load("m"));
    char uuid[64];
    uint64_t mib = 0;
    place_of("m", uuid, &mib);
    assert_int_equal(mib, 164); /* 64 more than was planned */
    assert_true(noted("lack", "no memory"));
    end();
}

static void others_need_the_memory(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    play_add(&y, "old", "mb=200", NULL);
    play_add(&y, "used", "mb=200", NULL);
    play_add(&y, "pinned", "mb=200", "{\"pinned\": true}");
    play_leave(load("pinned"));
    play_leave(load("old"));
    struct pool_ticket *t = load("used");
    play_file(&y, "proc/meminfo", "MemTotal: 1024000 kB\nMemAvailable: 512000 kB\n");
    assert_true(play_until(&y, "old", POOL_COLD, 20000));
    assert_true(noted("evict", "others need the memory"));
    assert_int_equal(play_model(&y, "used").state, POOL_RUNNING);
    assert_int_equal(play_model(&y, "pinned").state, POOL_RUNNING);
    play_leave(t);
    end();
}

static void so_many_at_once(void **state)
{
    NEEDS_PLAYER
    begin(false, 2);
    play_add(&y, "a", "mb=1", NULL);
    play_add(&y, "b", "mb=1", NULL);
    play_add(&y, "c", "mb=1", NULL);
    play_leave(load("a"));
    play_leave(load("b"));
    play_leave(load("a")); /* b is the older one now */
    play_leave(load("c"));
    assert_true(play_until(&y, "b", POOL_COLD, 20000));
    assert_int_equal(play_model(&y, "a").state, POOL_RUNNING);
    assert_int_equal(play_model(&y, "c").state, POOL_RUNNING);
    end();
}

static void reloads_in_place(void **state)
{
    NEEDS_PLAYER
    begin(false, 0);
    struct error e;
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "m", "mb=600", NULL);
    play_leave(load("m"));
    assert_int_equal(pool_reload(y.pool, "m", &e), OK);
    for (int i = 0; i < 7000 && play_model(&y, "m").loads < 2; i++) usleep(3000);
    struct pool_ticket *t = play_enter(&y, "m");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    assert_int_equal(r.generation, 2);
    play_leave(t);
    assert_int_equal(play_model(&y, "m").loads, 2);
    assert_int_equal(play_counts(&y).evictions, 0); /* it made room for itself */
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_idle_one_goes),
        cmocka_unit_test(a_busy_one_has_its_turn),
        cmocka_unit_test(requests_go_together),
        cmocka_unit_test(what_cannot_be),
        cmocka_unit_test(gpus_first),
        cmocka_unit_test(scenarios),
        cmocka_unit_test(divided),
        cmocka_unit_test(a_card_comes_and_goes),
        cmocka_unit_test(a_lack_is_planned_again),
        cmocka_unit_test(others_need_the_memory),
        cmocka_unit_test(so_many_at_once),
        cmocka_unit_test(reloads_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
