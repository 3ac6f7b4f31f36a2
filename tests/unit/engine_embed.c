/* Texts to vectors through the engine, against the reference backend and a plain mean over its hidden states;
 * alone and in company of answers, in pieces, after cache hits and preemption: the same bits. */
#include "engine/engine.h"
#include "engine/metrics.h"
#include "run_backend.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_VOCAB = 90, N_EMBD = 32, MAX_TOKENS = 120, N_TEXT = 8 };
static const struct tiny_shape shape = {.arch = "qwen2",
                                        .type = DT_F32,
                                        .n_vocab = N_VOCAB,
                                        .n_embd = N_EMBD,
                                        .n_layer = 2,
                                        .n_head = 4,
                                        .n_head_kv = 2,
                                        .head_dim = 8,
                                        .n_ff = 48,
                                        .n_rank = 2};
static struct tiny_model model;
static int32_t text[N_TEXT][MAX_TOKENS];
static uint32_t n_text[N_TEXT];
static float hidden[N_TEXT][MAX_TOKENS * N_EMBD]; /* of the reference backend */

static void make_texts(void)
{
    for (uint32_t i = 0; i < N_TEXT; i++) {
        n_text[i] = 1 + 17 * i;
        for (uint32_t j = 0; j < n_text[i]; j++) /* pairs begin alike */
            text[i][j] = (int32_t)((7 * j + (j < 20 ? 0 : 5 * i)) % N_VOCAB);
    }
}

static int setup(void **state)
{
    struct rig r;
    uint32_t block[8] = {3, 1, 4, 0, 2, 6, 5, 7};
    tiny_open(&model, &shape, 77);
    make_texts();
    rig_open(&r, &backend_ref, model_desc(model.model), DT_F32, 1, 8);
    for (uint32_t i = 0; i < N_TEXT; i++) {
        struct batch_seq seq = {.token = text[i],
                                .n_token = n_text[i],
                                .block = block,
                                .n_block = 8,
                                .n_logits = n_text[i],
                                .n_hidden = n_text[i]};
        struct batch b = {&seq, 1};
        struct step_result res;
        struct error e;
        uint64_t ticket;
        rig_check(r.api->step(r.m, r.kv, &b, &ticket, &e), &e);
        rig_check(r.api->wait(r.m, ticket, &res, &e), &e);
        assert_int_equal(res.n_hidden, n_text[i]);
        memcpy(hidden[i], res.hidden, (size_t)n_text[i] * N_EMBD * sizeof(float));
        /* They are what the output matrix is multiplied with. */
        const struct weight *out = NULL;
        const struct model_desc *m = model_desc(model.model);
        for (uint32_t k = 0; k < m->n_op; k++)
            if (m->op[k].kind == OP_LOGITS) out = &m->weight[m->op[k].logits.out.weight];
        const float *w = (const float *)(const void *)out->data;
        for (uint32_t t = 0; t < n_text[i]; t++)
            for (uint32_t v = 0; v < N_VOCAB; v += 13) {
                double dot = 0;
                for (uint32_t k = 0; k < N_EMBD; k++)
                    dot += (double)w[v * N_EMBD + k] * (double)hidden[i][t * N_EMBD + k];
                assert_true(fabs(dot - (double)res.logits[(size_t)t * N_VOCAB + v]) < 1e-4);
            }
    }
    rig_close(&r);
    return 0;
}

static int teardown(void **state)
{
    tiny_close(&model);
    return 0;
}

/* What comes back for one text. */
struct vector {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    float x[MAX_TOKENS * N_EMBD];
    uint32_t n_vector, n_row, n_end;
    bool in_order;
    enum finish_reason why;
    struct engine_timing timing;
};

static void vector_on_event(void *user, const struct engine_event *ev)
{
    struct vector *v = user;
    pthread_mutex_lock(&v->lock);
    if (ev->kind == EV_VECTOR) {
        v->in_order &= ev->row_at == v->n_row && !v->n_end;
        if ((v->n_row + ev->n_row) * ev->n_vector <= COUNT_OF(v->x))
            memcpy(v->x + (size_t)v->n_row * ev->n_vector, ev->vector,
                   (size_t)ev->n_row * ev->n_vector * sizeof *v->x);
        v->n_vector = ev->n_vector;
        v->n_row += ev->n_row;
    } else if (ev->kind == EV_END) {
        v->n_end++;
        v->why = ev->finish;
        v->timing = ev->timing;
    }
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

static void vector_init(struct vector *v)
{
    memset(v, 0, sizeof *v);
    v->in_order = true;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
}

static void wait_vector(struct vector *v)
{
    pthread_mutex_lock(&v->lock);
    while (!v->n_end) pthread_cond_wait(&v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

static struct engine *start(const struct backend_api *api, uint32_t max_seqs, uint32_t step_tokens,
                            uint32_t kv_blocks)
{
    enum {
        KV_BLOCK_BYTES = 2 * 2 * 2 * 8 * KV_BLOCK_TOKENS * 4
    }; /* layers, k and v, heads, their size, f32 */
    struct error e = {0};
    struct engine *en;
    struct engine_options o = {.api = api,
                               .n_thread = 2,
                               .max_context = MAX_TOKENS,
                               .max_seqs = max_seqs,
                               .step_tokens = step_tokens,
                               .kv_bytes = (size_t)kv_blocks * KV_BLOCK_BYTES,
                               .kv_type = DT_F32};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static void submit(struct engine *en, struct vector *v, uint32_t i, enum engine_task task,
                   enum pooling pooling, bool normalize)
{
    struct error e = {0};
    uint64_t id;
    vector_init(v);
    struct engine_request r = {.prompt = text[i],
                               .n_prompt = n_text[i],
                               .task = task,
                               .pooling = pooling,
                               .normalize = normalize,
                               .on_event = vector_on_event,
                               .user = v};
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
}

/* What pooling makes of the reference's hidden states. Returns the number of rows. */
static uint32_t expected(uint32_t i, enum pooling p, bool normalize, float *out)
{
    const float *h = hidden[i];
    uint32_t n_row = p == POOLING_NONE ? n_text[i] : 1;
    if (p == POOLING_MEAN) {
        for (uint32_t k = 0; k < N_EMBD; k++) {
            double sum = 0;
            for (uint32_t t = 0; t < n_text[i]; t++) sum += (double)h[t * N_EMBD + k];
            out[k] = (float)(sum / n_text[i]);
        }
    } else {
        if (p == POOLING_LAST || p == POOLING_UNSET) h += (size_t)(n_text[i] - 1) * N_EMBD;
        memcpy(out, h, (size_t)n_row * N_EMBD * sizeof *out);
    }
    for (uint32_t t = 0; normalize && t < n_row; t++) {
        double length = 0;
        for (uint32_t k = 0; k < N_EMBD; k++) length += pow((double)out[t * N_EMBD + k], 2);
        for (uint32_t k = 0; k < N_EMBD; k++) out[t * N_EMBD + k] /= (float)sqrt(length);
    }
    return n_row;
}

static const enum pooling kinds[] = {POOLING_UNSET, POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST};

static void every_pooling_matches_the_reference(void **state)
{
    static const struct backend_api *const api[] = {&backend_ref, &backend_cpu};
    static float want[MAX_TOKENS * N_EMBD];
    static struct vector v;
    for (size_t a = 0; a < COUNT_OF(api); a++) {
        struct engine *en = start(api[a], 4, 24, 0);
        for (size_t k = 0; k < COUNT_OF(kinds); k++)
            for (uint32_t i = 0; i < 2 * N_TEXT; i++) {
                bool normalize = i >= N_TEXT;
                submit(en, &v, i % N_TEXT, ENGINE_EMBED, kinds[k], normalize);
                wait_vector(&v);
                uint32_t rows = expected(i % N_TEXT, kinds[k], normalize, want);
                assert_int_equal(v.why, FINISH_STOP);
                assert_int_equal(v.timing.n_prompt, n_text[i % N_TEXT]);
                assert_int_equal(v.n_row, rows);
                assert_int_equal(v.n_vector, N_EMBD);
                assert_true(v.in_order);
                double off = nmse(v.x, want, (size_t)rows * N_EMBD);
                if (off > (a ? 1e-9 : 1e-12))
                    fail_msg("%s, pooling %d, text %u: %g", api[a]->name, (int)kinds[k], i, off);
            }
        struct engine_metrics m;
        for (int tries = 0; tries < 1000; tries++) { /* counted by the end of the step */
            engine_metrics(en, &m);
            if (m.n_embedded == COUNT_OF(kinds) * 2 * N_TEXT) break;
            usleep(1000);
        }
        assert_int_equal(m.n_embedded, COUNT_OF(kinds) * 2 * N_TEXT);
        assert_int_equal(m.n_decode_tokens, 0);
        engine_free(en);
    }
}

static void scores_of_a_head(void **state)
{
    const struct model_desc *m = model_desc(model.model);
    const float *w = (const float *)(const void *)m->weight[m->rank.weight].data;
    struct engine *en = start(&backend_cpu, 4, 24, 0);
    static struct vector v;
    for (uint32_t i = 0; i < N_TEXT; i++) {
        double dot[2] = {0};
        for (uint32_t o = 0; o < 2; o++)
            for (uint32_t k = 0; k < N_EMBD; k++)
                dot[o] += (double)w[o * N_EMBD + k] * (double)hidden[i][(n_text[i] - 1) * N_EMBD + k];
        submit(en, &v, i, ENGINE_RANK, POOLING_UNSET, false);
        wait_vector(&v);
        assert_int_equal(v.n_vector, 2);
        double want = 1 / (1 + exp(dot[1] - dot[0]));
        assert_true(fabs((double)v.x[0] - want) < 1e-4);
        assert_true(fabs((double)v.x[0] + (double)v.x[1] - 1) < 1e-5);
    }
    engine_free(en);
}

/* Many texts at once beside answers that are written, in small steps and a small pool, twice. */
static void the_same_bits_in_any_company(void **state)
{
    enum { N = N_TEXT * COUNT_OF(kinds) };
    static struct vector alone[N], v[N];
    struct engine *en = start(&backend_cpu, 1, 256, 0);
    for (uint32_t i = 0; i < N; i++) {
        submit(en, &alone[i], i % N_TEXT, ENGINE_EMBED, kinds[i / N_TEXT], false);
        wait_vector(&alone[i]);
    }
    engine_free(en);
    static const uint32_t blocks[] = {0, 9};
    for (size_t b = 0; b < COUNT_OF(blocks); b++) {
        struct answer a[6];
        struct error e = {0};
        uint64_t id;
        en = start(&backend_cpu, 12, 20, blocks[b]);
        for (uint32_t i = 0; i < COUNT_OF(a); i++) {
            answer_init(&a[i]);
            struct engine_request r = {.prompt = text[i],
                                       .n_prompt = n_text[i],
                                       .max_tokens = 30,
                                       .on_event = answer_on_event,
                                       .user = &a[i]};
            sample_params_default(&r.params);
            if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
        }
        for (uint32_t i = 0; i < N; i++)
            submit(en, &v[i], i % N_TEXT, ENGINE_EMBED, kinds[i / N_TEXT], false);
        for (uint32_t i = 0; i < N; i++) {
            wait_vector(&v[i]);
            assert_int_equal(v[i].n_row, alone[i].n_row);
            assert_true(v[i].in_order);
            if (memcmp(v[i].x, alone[i].x, sizeof v[i].x) != 0)
                fail_msg("text %u, pooling %d, %u blocks: other bits than alone", i % N_TEXT,
                         (int)kinds[i / N_TEXT], blocks[b]);
        }
        for (uint32_t i = 0; i < COUNT_OF(a); i++) wait_end(&a[i]);
        engine_free(en);
    }
}

static void what_is_refused(void **state)
{
    struct error e;
    uint64_t id;
    static struct vector v;
    struct tiny_model plain;
    struct tiny_shape s = shape;
    s.n_rank = 0;
    tiny_open(&plain, &s, 5);
    struct engine *en;
    struct engine_options o = {.api = &backend_cpu, .n_thread = 1, .max_context = 64, .kv_type = DT_F32};
    assert_int_equal(engine_new(&en, model_desc(plain.model), &o, &e), OK);
    struct engine_request r = {.prompt = text[7], .n_prompt = 64, .on_event = vector_on_event, .user = &v};
    static const struct {
        enum engine_task task;
        enum pooling pooling;
        uint32_t n_prompt, n;
        status want;
        const char *says;
    } row[] = {
        {ENGINE_RANK, POOLING_UNSET, 10, 1, ERR_UNSUPPORTED, "cls.output.weight"},
        {ENGINE_EMBED, POOLING_LAST, 65, 1, ERR_LIMIT, "65"},
        {ENGINE_EMBED, POOLING_LAST, 0, 1, ERR_ARG, "empty"},
        {ENGINE_EMBED, POOLING_LAST, 10, 2, ERR_ARG, "one vector"},
        {ENGINE_EMBED, POOLING_RANK, 10, 1, ERR_ARG, "pooling"},
        {(enum engine_task)7, POOLING_LAST, 10, 1, ERR_ARG, "task"},
        {ENGINE_EMBED, POOLING_LAST, 64, 1, OK, ""},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        vector_init(&v);
        r.task = row[i].task;
        r.pooling = row[i].pooling;
        r.n_prompt = row[i].n_prompt;
        r.n = row[i].n;
        status got = engine_submit(en, &r, &id, &e);
        assert_int_equal(got, row[i].want);
        if (got == OK)
            wait_vector(&v);
        else if (!strstr(e.msg, row[i].says))
            fail_msg("row %zu: %s", i, e.msg);
    }
    engine_free(en);
    tiny_close(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pooling_matches_the_reference),
        cmocka_unit_test(scores_of_a_head),
        cmocka_unit_test(the_same_bits_in_any_company),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
