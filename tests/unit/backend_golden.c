/* Every model of ../shared/golden against its reference logits, on every backend. */
#include <dirent.h>

#include "backend/cpu/kernels.h"
#include "base/map.h"
#include "format/gguf.h"
#include "run_backend.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const int32_t tokens[] = {1,   403, 407, 261, 378, 430, 386, 265, 352, 290, 310, 44,  77,  5,
                                 9,   402, 333, 19,  500, 301, 277, 411, 90,  13,  66,  201, 480, 7,
                                 350, 129, 411, 95,  2,   17,  255, 433, 12,  67,  88,  99};
enum { N_TOK = COUNT_OF(tokens) };

/* Normalised squared error that the file's kind allows: for quantized files what golden/README.md measured of
 * llama.cpp, and near float where the cpu backend multiplies with 16-bit activations. The reference does not
 * quantize activations. */
static double limit_for(const char *path, const char *backend)
{
    static const struct {
        const char *ending;
        double limit;
    } types[] = {{"-q8_0.gguf", 1e-8},    {"-iq4_nl.gguf", 1.3e-4}, {"-iq4_xs.gguf", 2.5e-4},
                 {"-q4_0.gguf", 1.3e-4},  {"-q4_1.gguf", 1.3e-4},   {"-q5_0.gguf", 1.3e-4},
                 {"-q5_1.gguf", 1.3e-4},  {"_k.gguf", 2.5e-4},      {"-iq3_s.gguf", 3.1e-4},
                 {"-tq1_0.gguf", 3.3e-4}, {"-tq2_0.gguf", 3.3e-4}};
    if (strstr(path, "-f16")) return 1e-6;
    if (strstr(path, "-bf16") && !strcmp(backend, "cpu") && cpu_kernels()->to_bf16) return 1e-5;
    if (!strcmp(backend, "sim") || !strcmp(backend, "cuda")) /* weights of blocks meet activations in bf16 */
        return strstr(path, "/golden/quant/") ? 2e-5 : 1e-6;
    for (size_t i = 0; strcmp(backend, "ref") != 0 && i < COUNT_OF(types); i++) {
        size_t n = strlen(path), m = strlen(types[i].ending);
        if (n > m && !strcmp(path + n - m, types[i].ending)) return types[i].limit;
    }
    return 1e-9;
}

static void check_file(const char *gguf_path, const char *logits_path)
{
    struct error e = {0};
    struct gguf *g;
    struct model *m;
    struct map want;
    uint32_t block[] = {2, 0, 1};
    if (gguf_open(&g, gguf_path, NULL, &e) != OK || model_new(&m, g, NULL, &e) != OK ||
        map_open(&want, logits_path, &e) != OK)
        fail_msg("%s: %s", gguf_path, e.msg);
    size_t n = (size_t)N_TOK * model_desc(m)->cfg.n_vocab;
    assert_int_equal(want.n, n * sizeof(float));
    float *got = mem_zalloc(n, sizeof *got);
    for (size_t i = 0; i < backend_count(); i++) {
        struct rig r;
        struct error none;
        const char *only = getenv("CORRAL_GPU");
        if (only && strcmp(only, backend_at(i)->name) != 0) continue;
        if (backend_at(i)->count(&none) <= 0) continue;
#ifdef __SANITIZE_ADDRESS__ /* the formats have their own tests of kernels */
        if (!strcmp(backend_at(i)->name, "sim") && strstr(gguf_path, "/quant/")) continue;
#endif
        rig_open(&r, backend_at(i), model_desc(m), DT_F32, 2, 3);
        rig_logits(&r, tokens, N_TOK, N_TOK, block, got);
        double err = nmse(got, (const float *)(const void *)want.data, n);
        if (!(err < limit_for(gguf_path, r.api->name)))
            fail_msg("%s on %s: NMSE %g", gguf_path, r.api->name, err);
        rig_close(&r);
    }
    free(got);
    map_close(&want);
    model_free(m);
    gguf_close(g);
}

static int check_folder(const char *shared, const char *models, const char *logits)
{
    char dir_path[512], gguf_path[1024], logits_path[1024];
    struct dirent *d;
    int n = 0;
    snprintf(dir_path, sizeof dir_path, "%s/%s", shared, models);
    DIR *dir = opendir(dir_path);
    if (!dir) return 0;
    while ((d = readdir(dir))) {
        size_t len = strlen(d->d_name);
        if (len < 6 || strcmp(d->d_name + len - 5, ".gguf") != 0) continue;
        snprintf(gguf_path, sizeof gguf_path, "%s/%s", dir_path, d->d_name);
        snprintf(logits_path, sizeof logits_path, "%s/%s/%.*s.logits.f32", shared, logits, (int)(len - 5),
                 d->d_name);
        check_file(gguf_path, logits_path);
        n++;
    }
    closedir(dir);
    return n;
}

static void golden_logits(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    int n = 0;
    if (shared) {
        n += check_folder(shared, "golden/arch", "golden/arch");
        n += check_folder(shared, "golden/quant", "golden/quant");
        n += check_folder(shared, "models", "golden/arch");
    }
    if (n == 0) {
        puts("skipped: no ../shared (set CORRAL_SHARED)");
        skip();
    }
    assert_true(n >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
