/* How much a model takes for its KV cache when nobody said how much: not what the next one needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include "device/device.h"
#include "support/pool_play.h"

#include <jansson.h>

#include <cmocka.h> /* last: it defines a macro fail() */

/* A host of 1000 MiB. kv: MiB of a sequence of full length (128 tokens). */
// clang-format off
static const struct {
    const char *name, *script, *options;
    unsigned sequences, context; /* 0: refused */
    unsigned kv_mib;             /* in the ledger; 0: not looked at */
} row[] = {
    {"what was asked for", "kv=10", NULL, 16, 128, 0},
    {"a quarter of the memory", "kv=100", NULL, 2, 128, 0},
    {"not more for a context that was asked for", "kv=100", "{\"context\": 128}", 2, 128, 0},
    {"less context than the file's", "kv=400", NULL, 1, 64, 0},
    {"but not than was asked for", "kv=400", "{\"context\": 128}", 1, 128, 0},
    {"the least there is", "kv=1200", NULL, 1, 32, 0},
    {"refused rather than cut", "kv=1200", "{\"context\": 128}", 0, 0, 0},
    {"what was asked for is more than the file has", "kv=400", "{\"context\": 4096}", 1, 128, 0},
    {"a size that was said", "kv=100", "{\"kv_bytes\": 524288000}", 16, 128, 500},
    {"and that is more than there is", "kv=10", "{\"kv_bytes\": 2097152000}", 0, 0, 0},
    {"less than a sequence of full length", "kv=400", "{\"kv_bytes\": 209715200}", 1, 64, 200},
};
// clang-format on

static struct play y;

static void look(unsigned *sequences, unsigned *context, unsigned *kv_mib)
{
    struct pool_view *v = pool_view_new(y.pool);
    for (size_t k = v->n_decision; k-- > 0;) {
        const struct pool_decision_view *d = &v->decision[k];
        if (strcmp(d->what, "place") != 0) continue;
        json_t *j = json_loads(d->json, 0, NULL);
        *sequences = (unsigned)json_integer_value(json_object_get(j, "kv_sequences"));
        *context = (unsigned)json_integer_value(json_object_get(j, "context"));
        const json_t *share = json_array_get(json_object_get(j, "devices"), 0);
        *kv_mib = (unsigned)(json_integer_value(json_object_get(share, "kv_bytes")) >> 20);
        json_decref(j);
    }
    pool_view_free(v);
}

static void takes(void **state)
{
    if (!play_program()) {
        printf("skipped: CORRAL_FAKE_WORKER does not name the program that plays workers\n");
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char proc[80];
        struct error e = {0};
        struct devices *devices;
        struct pool_route r;
        struct pool_fault f = {0};
        unsigned sequences = 0, context = 0, kv_mib = 0;
        struct pool_options o = play_options(&y);
        snprintf(proc, sizeof proc, "%s/proc", y.home);
        if (mkdir(proc, 0700) != 0) abort();
        play_file(&y, "proc/meminfo", "MemTotal: 1024000 kB\nMemAvailable: 1024000 kB\n");
        const struct devices_options d = {
            .nvml_path = "none", .sysfs_root = "/nonexistent", .proc_root = proc, .period_ms = 50};
        assert_int_equal(devices_open(&devices, &d, &e), OK);
        o.devices = devices;
        o.host_reserve_bytes = 1;
        play_start(&y, &o);
        play_add(&y, "m", row[i].script, row[i].options);
        struct pool_ticket *t = play_enter(&y, "m");
        enum pool_answer a = play_wait(t, 20000, &r, &f);
        look(&sequences, &context, &kv_mib);
        if ((a == POOL_READY) != !!row[i].sequences || sequences != row[i].sequences ||
            context != row[i].context || (row[i].kv_mib && kv_mib != row[i].kv_mib))
            fail_msg("%s: %u sequences of %u, %u MiB (answer %d: %d %s)", row[i].name, sequences, context,
                     kv_mib, a, f.code, f.msg);
        play_leave(t);
        play_end(&y);
        devices_close(devices);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(takes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
