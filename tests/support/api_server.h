/* The APIs over sockets with a scripted engine: whoever includes this has a server whose answers are written in
 * `script`, and sees what reached the engine. The tokenizer is real, with one token for every byte.
 *
 * It defines engine_submit and its like, so the engine itself is not linked. */
#ifndef TESTS_SUPPORT_API_SERVER_H
#define TESTS_SUPPORT_API_SERVER_H

#pragma GCC diagnostic ignored "-Wunused-function"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "api/api.h"
#include "base/clock.h"
#include "engine/metrics.h"
#include "kv/kv.h"
#include "support/gguf_build.h"

#include <cmocka.h> /* last: it defines a macro fail() */

#ifndef CONTEXT_TOKENS
#define CONTEXT_TOKENS 200
#endif
enum { IM_START = 256, IM_END = 257, CONTEXT = CONTEXT_TOKENS };

/* ---- the scripted engine ----------------------------------------------------------------------------- */

static struct {
    const char *reply;        /* one token per byte */
    int prefill_ms, token_ms; /* how long it takes */
    int fail_at;              /* fail before this token; -1: never */
    bool busy;
    /* what it saw */
    struct sample_params params;
    int32_t prompt[4096];
    uint32_t n_prompt, max_tokens, n_choice, best_of;
    uint8_t cache_class;
    int64_t keep_alive_ns;
    struct sample_bias bias[8];
} script;

struct job {
    struct engine_request r;
    uint64_t id;
    uint32_t choice;
    char *reply;
    int32_t *prompt;
};
static atomic_int n_jobs, n_sent; /* running; tokens sent in all */
static _Atomic uint64_t next_id = 1, cancelled[4096];

static bool is_cancelled(uint64_t id)
{
    return atomic_load(&cancelled[id % 4096]) == id;
}

static bool pause_ms(uint64_t id, int ms)
{
    for (int i = 0; i < ms && !is_cancelled(id); i++) usleep(1000);
    return !is_cancelled(id);
}

static void *run_job(void *arg)
{
    struct job *j = arg;
    struct engine_event ev = {.kind = EV_TOKEN, .id = j->id, .choice = j->choice};
    struct error e = {.code = ERR_DEVICE, .msg = "the device fell off"};
    enum finish_reason why = FINISH_STOP;
    uint32_t n = 0;
    pause_ms(j->id, script.prefill_ms);
    for (uint32_t i = 1; j->r.score_prompt && j->choice == 0 && i < j->r.n_prompt; i++) {
        struct sample_logprob top[1] = {{j->prompt[i], -0.25f}};
        struct sample_result r = {
            .token = j->prompt[i], .logprob = -0.25f, .top = top, .n_top = MIN(j->r.params.n_logprobs, 1u)};
        j->r.on_event(j->r.user, &(struct engine_event){.kind = EV_PROMPT, .id = j->id, .token = &r});
    }
    for (; j->reply[n]; n++) {
        struct sample_logprob top[2] = {{(uint8_t)j->reply[n], -0.5f}, {'x', -INFINITY}};
        struct sample_result r = {.token = (uint8_t)j->reply[n],
                                  .logprob = -0.5f,
                                  .top = top,
                                  .n_top = MIN(j->r.params.n_logprobs, 2u)};
        if (is_cancelled(j->id))
            why = FINISH_CANCELLED;
        else if (script.fail_at == (int)n)
            why = FINISH_ERROR;
        else if (j->r.max_tokens && n == j->r.max_tokens)
            why = FINISH_LENGTH;
        if (why != FINISH_STOP) break;
        ev.token = &r;
        j->r.on_event(j->r.user, &ev);
        atomic_fetch_add(&n_sent, 1);
        if (script.token_ms) pause_ms(j->id, script.token_ms);
    }
    if (is_cancelled(j->id)) why = FINISH_CANCELLED;
    struct engine_event end = {.kind = EV_END,
                               .id = j->id,
                               .finish = why,
                               .error = why == FINISH_ERROR ? &e : NULL,
                               .timing.n_decode = n,
                               .choice = j->choice};
    j->r.on_event(j->r.user, &end);
    free(j->reply);
    free(j->prompt);
    free(j);
    atomic_fetch_sub(&n_jobs, 1);
    return NULL;
}

status engine_submit(struct engine *en, const struct engine_request *r, uint64_t *id, struct error *e)
{
    e->code = ERR_BUSY;
    strcpy(e->msg, "scripted");
    if (script.busy) return ERR_BUSY;
    if (r->n_prompt >= CONTEXT) return ERR_LIMIT;
    uint32_t n = MAX(r->n, 1u);
    *id = atomic_fetch_add(&next_id, n);
    script.params = r->params;
    script.n_prompt = r->n_prompt;
    script.max_tokens = r->max_tokens;
    script.n_choice = r->n;
    script.best_of = r->best_of;
    script.cache_class = r->cache_class;
    memcpy(script.prompt, r->prompt, r->n_prompt * sizeof *r->prompt);
    if (r->params.n_bias)
        memcpy(script.bias, r->params.bias, MIN(r->params.n_bias, 8u) * sizeof *script.bias);
    for (uint32_t i = 0; i < n; i++) {
        pthread_t t;
        struct job *j = mem_zalloc(1, sizeof *j);
        *j = (struct job){*r, *id + i, i, mem_strdup(script.reply), mem_alloc(r->n_prompt * sizeof *j->prompt)};
        memcpy(j->prompt, r->prompt, r->n_prompt * sizeof *r->prompt);
        atomic_fetch_add(&n_jobs, 1);
        pthread_create(&t, NULL, run_job, j);
        pthread_detach(t);
    }
    return OK;
}

void engine_cancel(struct engine *en, uint64_t id)
{
    atomic_store(&cancelled[id % 4096], id);
}
void engine_stats(const struct engine *en, struct engine_stats *out)
{
    *out = (struct engine_stats){.n_running = (uint32_t)atomic_load(&n_jobs),
                                 .max_context = CONTEXT,
                                 .n_kv_block = 13,
                                 .n_kv_free = 12};
}
void engine_keep_alive(struct engine *en, int64_t ns)
{
    script.keep_alive_ns = ns;
}
size_t engine_view(const struct engine *en, struct engine_seq_view *out, size_t max)
{
    return 0;
}
void engine_view_json(const struct engine *en, struct buf *out)
{
    buf_adds(out, "[]");
}
void engine_metrics(const struct engine *en, struct engine_metrics *out)
{
    engine_metrics_init(out);
}
const struct backend_part *engine_parts(const struct engine *en, uint32_t *n)
{
    static const struct backend_api api = {.name = "script"};
    static const struct backend_part part = {.on = {.api = &api}};
    *n = 1;
    return &part;
}
const char *finish_reason_name(enum finish_reason r)
{
    static const char *const name[] = {"stop", "length", "length", "cancelled", "error", "timeout"};
    return name[r];
}

/* ---- a vocabulary of bytes --------------------------------------------------------------------------- */

static void add_str(struct buf *b, const char *s, size_t n)
{
    build_number(b, n, 8);
    buf_add(b, s, n);
}

static void add_key(struct buf *b, const char *key, enum gguf_type t)
{
    add_str(b, key, strlen(key));
    build_number(b, (unsigned)t, 4);
}

static void add_text(struct buf *b, const char *key, const char *value)
{
    add_key(b, key, GGUF_STR);
    add_str(b, value, strlen(value));
}

static void add_array(struct buf *b, const char *key, enum gguf_type elem, size_t n)
{
    add_key(b, key, GGUF_ARR);
    build_number(b, (unsigned)elem, 4);
    build_number(b, n, 8);
}

/* Control tokens behind those of the bytes; an includer may define more. */
#ifndef MORE_TOKENS
#define MORE_TOKENS
#endif
static const char *const control_token[] = {"<|im_start|>", "<|im_end|>", MORE_TOKENS};

/* GPT-2's alphabet: printable bytes are themselves, the others letters from U+0100 on. */
static void build_vocabulary(struct buf *b)
{
    enum { N_TOKEN = 256 + COUNT_OF(control_token) };
    unsigned next = 256;
    buf_add(b, "GGUF", 4);
    build_number(b, 3, 4);
    build_number(b, 0, 8);
    build_number(b, 7, 8);
    add_text(b, "general.architecture", "llama");
    add_text(b, "tokenizer.ggml.model", "gpt2");
    add_text(b, "tokenizer.ggml.pre", "gpt-2");
    add_array(b, "tokenizer.ggml.tokens", GGUF_STR, N_TOKEN);
    for (unsigned c = 0; c < 256; c++) {
        bool plain = (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174;
        unsigned cp = plain ? c : next++;
        char text[2] = {(char)(0xC0 | cp >> 6), (char)(0x80 | (cp & 63))};
        if (cp < 0x80)
            add_str(b, &(char){(char)cp}, 1);
        else
            add_str(b, text, 2);
    }
    for (size_t i = 0; i < COUNT_OF(control_token); i++)
        add_str(b, control_token[i], strlen(control_token[i]));
    add_array(b, "tokenizer.ggml.token_type", GGUF_I32, N_TOKEN);
    for (int i = 0; i < N_TOKEN; i++) build_number(b, i < 256 ? TOK_NORMAL : TOK_CONTROL, 4);
    add_array(b, "tokenizer.ggml.merges", GGUF_STR, 0);
    add_key(b, "tokenizer.ggml.eos_token_id", GGUF_U32);
    build_number(b, IM_END, 4);
    build_fill(b, 0, round_up(b->n, 32) - b->n);
}

/* ---- server and client ------------------------------------------------------------------------------- */

static struct buf vocabulary;
static struct gguf *gguf;
static struct tokenizer *tok;
static struct chat_format *chat;
static struct api *api;
static struct http_server *server;
static pthread_t thread;

static void *serve(void *arg)
{
    struct error e = {0};
    if (http_server_run(server, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static status open_format(const char *model, struct error *e)
{
    char path[1024];
    const char *source = getenv("CORRAL_SOURCE");
    struct gguf *g;
    struct gguf_str text;
    if (!model) return chat_format_of_model(&chat, tok, gguf, e);
    snprintf(path, sizeof path, "%s/%s", source ? source : ".", model);
    TRY(gguf_open(&g, path, NULL, e));
    status s = gguf_get_str(g, "tokenizer.chat_template", true, &text, e);
    if (s == OK) s = chat_format_new(&chat, tok, text.p, text.n, e);
    gguf_close(g);
    return s;
}

/* The chat template of this model file under the source tree; NULL: ChatML. */
static int setup_with(const char *model)
{
    struct error e = {0};
    build_vocabulary(&vocabulary);
    if (gguf_open_memory(&gguf, vocabulary.data, vocabulary.n, &(struct gguf_options){.meta_only = true},
                         &e) != OK ||
        tokenizer_new(&tok, gguf, &e) != OK || open_format(model, &e) != OK) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    static const int32_t eog[] = {IM_END};
    static const char *const alias[] = {"gpt-x", "org/other"};
    const struct api_options o = {.engine = (struct engine *)1,
                                  .tok = tok,
                                  .chat = chat,
                                  .gguf = gguf,
                                  .max_seqs = 4,
                                  .eog = eog,
                                  .n_eog = 1,
                                  .model = "tiny",
                                  .alias = alias,
                                  .n_alias = 2,
                                  .keepalive_ms = 60,
                                  .max_buffered = 500};
    const struct http_route *routes;
    if (api_new(&api, &o, &e) != OK) return -1;
    size_t n = api_routes(api, &routes);
    const struct http_options ho = {
        .render_error = api_render_error, .max_body_bytes = 1 << 20, .write_timeout_ms = 3000};
    if (http_server_new(&server, &ho, &e) != OK) return -1;
    http_server_add_routes(server, routes, n);
    return pthread_create(&thread, NULL, serve, NULL);
}

static int teardown(void **state)
{
    http_server_drain(server, 2000);
    pthread_join(thread, NULL);
    while (atomic_load(&n_jobs)) usleep(1000);
    api_stop(api);
    http_server_free(server);
    api_free(api);
    chat_format_free(chat);
    tokenizer_free(tok);
    gguf_close(gguf);
    buf_deinit(&vocabulary);
    return 0;
}

static int before(void **state)
{
    memset(&script, 0, sizeof script);
    script.reply = "Hello";
    script.fail_at = -1;
    return 0;
}

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(http_server_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 200; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
        close(fd);
        usleep(10000);
    }
    fail_msg("connect: %s", strerror(errno));
    return -1;
}

static int ask(const char *path, const char *body)
{
    struct buf b = {0};
    int fd = dial();
    if (body)
        buf_addf(&b, "POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 path, strlen(body), body);
    else
        buf_addf(&b, "GET %s HTTP/1.0\r\n\r\n", path);
    assert_int_equal(send(fd, b.data, b.n, MSG_NOSIGNAL), b.n);
    buf_deinit(&b);
    return fd;
}

/* HTTP/1.0: the body ends with the connection. Returns the body; *code and the head are there too. */
static char answer[1 << 20];
static const char *hear(int fd, int *code)
{
    size_t n = 0;
    struct timeval limit = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (ssize_t r; n < sizeof answer - 1 && (r = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0;)
        n += (size_t)r;
    answer[n] = 0;
    close(fd);
    *code = n > 12 ? atoi(answer + 9) : 0;
    const char *body = strstr(answer, "\r\n\r\n");
    return body ? body + 4 : "";
}

static const char *post(const char *path, const char *body, int *code)
{
    return hear(ask(path, body), code);
}

static json_t *post_json(const char *path, const char *body)
{
    int code;
    json_error_t je;
    const char *text = post(path, body, &code);
    json_t *v = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    if (code != 200 || !v) fail_msg("%s: %d %s", body, code, text);
    return v;
}

#endif
