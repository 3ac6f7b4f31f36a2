/* Plans come from a process that looked at a file which may be hostile. What is read can be placed: sums do
 * not overflow, all layers are dealt out, nothing is larger than its device. */
#include "support/place_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct place_decision d;
    static struct place_ledger *l;
    struct place_plan p;
    struct error e;
    if (!l) {
        const struct toy_device gpu[] = {{80000, 500, false}, {24000, 0, false}, {16, 0, false}};
        if (place_ledger_new(&l, NULL, &e) != OK) abort();
        toy_observe(l, gpu, 3, 64000, 1000);
    }
    if (place_plan_read(&p, (const char *)data, n, &e) != OK) return 0;
    const struct place_want w = {
        .model = "m", .gpu = p.kind == PLACE_GPU ? &p : NULL, .cpu = &p, .allow_cpu = true, .extra_bytes = 1};
    place_decide(&d, l, &w, NULL, 0);
    uint32_t layer = 0;
    for (uint32_t i = 0; i < d.n_share; i++) {
        if (d.share[i].layer != layer || d.share[i].bytes > place_device_at(l, d.share[i].device)->free_bytes)
            abort();
        layer += d.share[i].n_layer;
    }
    if (d.way != PLACE_REFUSED && layer != p.n_layer) abort();
    place_plan_deinit(&p);
    return 0;
}
