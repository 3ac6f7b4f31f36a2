/* How large the KV cache becomes when nobody says: by what a GPU has left, not by the host's memory. The cpu
 * backend plays a GPU here, whose memory is as large as the case says. */
#include "engine/engine.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static const struct tiny_shape shape = TINY_LLAMA(90);
static struct backend_api card;
static struct backend_plan plan;
static uint64_t free_blocks; /* of the KV cache, beside the model */
static bool broken;

static status card_plan(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                        struct backend_plan *out, struct error *e)
{
    TRY(backend_cpu.plan(b, m, l, out, e));
    plan = *out;
    return OK;
}

static status card_info(int device, struct backend_device *out, struct error *e)
{
    *out = (struct backend_device){.memory_bytes = (uint64_t)1 << 40};
    out->memory_free_bytes = plan.weight_bytes + plan.scratch_bytes + free_blocks * plan.kv_block_bytes;
    return broken ? (fail)(e, ERR_DEVICE, "it does not answer") : OK;
}

static void the_cache_fits_the_card(void **state)
{
    static const struct {
        uint64_t free_blocks;
        uint32_t max_context; /* 0: the model's, 512 tokens of 16 in a block */
        size_t kv_blocks;     /* asked for; 0: nothing was said */
        bool broken;
        status want;
        uint32_t n_block, context;
    } cases[] = {
        {1000, 0, 0, false, OK, 128, 512},    /* four sequences */
        {100, 0, 0, false, OK, 90, 512},      /* nine tenths of what there is */
        {20, 0, 0, false, OK, 18, 288},       /* less than one sequence: a shorter one */
        {20, 512, 0, false, ERR_LIMIT, 0, 0}, /* unless that was asked for */
        {0, 0, 0, false, ERR_LIMIT, 0, 0},    {20, 0, 40, false, OK, 40, 512}, /* who says so is believed */
        {20, 0, 0, true, OK, 128, 512},                                        /* a quarter of the host's */
    };
    struct tiny_model m;
    tiny_open(&m, &shape, 5);
    card = backend_cpu;
    card.plan = card_plan;
    card.info = card_info;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct engine *en;
        struct engine_stats st;
        struct error e = {0};
        struct engine_options o = {.api = &card,
                                   .n_thread = 1,
                                   .max_context = cases[i].max_context,
                                   .max_seqs = 4,
                                   .kv_type = DT_F32,
                                   .kv_bytes = cases[i].kv_blocks * plan.kv_block_bytes};
        free_blocks = cases[i].free_blocks;
        broken = cases[i].broken;
        status s = engine_new(&en, model_desc(m.model), &o, &e);
        if (s != cases[i].want) fail_msg("case %zu: %s %s", i, status_name(s), e.msg);
        if (s != OK) continue;
        engine_stats(en, &st);
        if (st.n_kv_block != cases[i].n_block || st.max_context != cases[i].context)
            fail_msg("case %zu: %u blocks, context %u", i, st.n_kv_block, st.max_context);
        engine_free(en);
    }
    tiny_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_cache_fits_the_card)};
    return cmocka_run_group_tests_name("engine: room for the KV cache", tests, NULL, NULL);
}
