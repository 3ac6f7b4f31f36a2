/* corral serve: the gateway. It owns clients' connections, the store and the workers; models run in workers.
 */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/family.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/chat_format.h"
#include "cli/cli.h"
#include "cli/model_file.h"
#include "cli/parts.h"
#include "cli/served_models.h"
#include "cli/server.h"
#include "cli/serving.h"
#include "http/client.h"

static struct {
    struct session_options model;
    struct serving_options serving;
    struct chat_format_options chat;
    struct server_options server;
    struct served_models models;
    const char *home, *placement, *balance, *remember;
    int64_t max_models, max_per_key;
    double keep_alive;
    bool local_files, private_hosts;
    int64_t pull_jobs, pull_connections;
    const char *hf_endpoint, *hf_token_file, *registry;
    int64_t gpu_reserve, host_reserve, worker_memory;
} o;

/* What workers are started with, beside what the pool knows (see defaults). */
static const struct opt worker_rows[] = {SERVING_OPTS(o.serving),
                                         ANSWER_OPTS(o.serving),
                                         CHAT_FORMAT_OPTS(o.chat),
                                         {.name = "remember", .type = OPT_STR, .at = &o.remember},
                                         NUMA_OPT(o.model.numa),
                                         {.name = "set", .type = OPT_LIST, .at = &o.model.set},
                                         {0}};

static const struct opt opts[] = {
    {.name = "", .help = "Models"},
    {.name = "name",
     .type = OPT_STR,
     .at = &o.models.name,
     .help = "name of the first model for clients; default: the file's"},
    {.name = "alias",
     .type = OPT_LIST,
     .at = &o.models.alias,
     .arg = "NAME[=MODEL]",
     .help = "another name, of the first model or of the one that is named"},
    {.name = "preload",
     .type = OPT_LIST,
     .at = &o.models.preload,
     .arg = "NAME",
     .help = "load this model of the store at the start; several: with commas or again"},
    {.name = "upstream",
     .type = OPT_LIST,
     .at = &o.models.upstream,
     .arg = "NAME=URL",
     .help = "a model on another server with OpenAI's API; again: another server for it; "
             "$CORRAL_UPSTREAM_KEY is its key"},
    {.name = "split",
     .type = OPT_LIST,
     .at = &o.models.split,
     .arg = "NAME=MODEL:WEIGHT,...",
     .help = "a name whose clients are divided among models by weight, each always to the same"},
    {.name = "replicas",
     .type = OPT_INT,
     .at = &o.models.replicas,
     .min = 1,
     .max = 64,
     .def = "1",
     .unit = "workers",
     .help = "how many of each model given here"},
    {.name = "max-models",
     .type = OPT_INT,
     .at = &o.max_models,
     .min = 0,
     .max = 10000,
     .def = "0",
     .help = "how many may be loaded at once; 0: as many as have room"},
    {.name = "keep-alive",
     .type = OPT_FLOAT,
     .at = &o.keep_alive,
     .min = 0,
     .max = 1e8,
     .def = "300",
     .unit = "s",
     .help = "unload models of the store that nobody used for so long; 0: never"},
    {.name = "placement",
     .type = OPT_STR,
     .at = &o.placement,
     .def = "single-gpu-preferred",
     .choices = "single-gpu-preferred|spread|pack|manual",
     .help = "how models are put on devices"},
    {.name = "gpu-reserve",
     .type = OPT_INT,
     .at = &o.gpu_reserve,
     .min = 0,
     .max = 1LL << 40,
     .def = "512M",
     .unit = "bytes",
     .help = "memory of each GPU that models never get; at most an eighth of it"},
    {.name = "host-reserve",
     .type = OPT_INT,
     .at = &o.host_reserve,
     .min = 0,
     .max = 1LL << 50,
     .def = "1G",
     .unit = "bytes",
     .help = "memory of the host that models never get"},
    {.name = "worker-memory",
     .type = OPT_INT,
     .at = &o.worker_memory,
     .min = 0,
     .max = 1LL << 50,
     .def = "0",
     .unit = "bytes",
     .help = "what a worker may allocate, mapped files not counted; it ends when it needs more; 0: no limit"},
    {.name = "balance",
     .type = OPT_STR,
     .at = &o.balance,
     .def = "prefix",
     .choices = "adaptive|round-robin|least-loaded|prefix",
     .help = "which of several workers of a model answers"},
    {.name = "remember",
     .type = OPT_STR,
     .at = &o.remember,
     .arg = "FOLDER",
     .help = "where workers keep responses and sessions, so that they outlive them; default: in memory"},
    {.name = "max-per-key",
     .type = OPT_INT,
     .at = &o.max_per_key,
     .min = 0,
     .max = 1000000,
     .def = "0",
     .unit = "requests",
     .help = "at once with one API key; more are answered 429; 0: no limit"},
    {.name = "home",
     .type = OPT_STR,
     .at = &o.home,
     .arg = "FOLDER",
     .help = "models, jobs, logs; default: $CORRAL_HOME, or ~/.local/share/corral"},
    {.name = "", .help = "Pulls (docs/pulling.md)"},
    {.name = "pull-jobs",
     .type = OPT_INT,
     .at = &o.pull_jobs,
     .min = 1,
     .max = 64,
     .def = "2",
     .unit = "pulls",
     .help = "how many at once; others wait"},
    {.name = "pull-connections",
     .type = OPT_INT,
     .at = &o.pull_connections,
     .min = 1,
     .max = 64,
     .def = "4",
     .unit = "connections",
     .help = "how many for each pull"},
    {.name = "hf-endpoint",
     .type = OPT_STR,
     .at = &o.hf_endpoint,
     .arg = "URL",
     .help = "a mirror of Hugging Face; default: $HF_ENDPOINT"},
    {.name = "hf-token-file",
     .type = OPT_STR,
     .at = &o.hf_token_file,
     .arg = "FILE",
     .help = "holds the token for it; default: $HF_TOKEN, or what hf auth login left"},
    {.name = "registry",
     .type = OPT_STR,
     .at = &o.registry,
     .arg = "URL",
     .help = "where names without a host are pulled from; default: https://registry.ollama.ai"},
    {.name = "", .help = "What clients of the network may name (the commands of corral here may always)"},
    {.name = "allow-local-files",
     .type = OPT_BOOL,
     .at = &o.local_files,
     .help = "files of this machine, to pull or to draft with"},
    {.name = "allow-private-hosts",
     .type = OPT_BOOL,
     .at = &o.private_hosts,
     .help = "hosts of this machine's networks, to pull from, and \"upstreams\""},
    {.name = "", .help = "How models are run, unless they have options of their own (corral options)"},
    MODEL_OPT(o.model.model),
    BACKEND_OPT(o.model.backend, "auto"),
    {.name = "devices",
     .type = OPT_STR,
     .at = &o.model.devices,
     .arg = "LIST",
     .help = "refused here: the server chooses, by the options gpus, max_devices and allow_cpu of a model"},
    THREADS_OPT(o.model.threads),
    CTX_OPT(o.model.ctx),
    KV_TYPE_OPT(o.model.kv_type, "f16"),
    MMAP_OPT(o.model.mmap),
    MLOCK_OPT(o.model.mlock),
    NUMA_OPT(o.model.numa),
    SET_OPT(o.model.set),
    SERVING_OPTS(o.serving),
    ANSWER_OPTS(o.serving),
    CHAT_FORMAT_OPTS(o.chat),
    SERVER_OPTS(o.server),
    {0}};

/* ---- options for workers ----------------------------------------------------------------------------- */

/* What placement must know too, and what a model may say for itself; the rest are flags of workers. The
 * caller frees it. */
static char *make_defaults(void)
{
    json_t *d = json_object();
    if (o.model.ctx) json_object_set_new(d, "context", json_integer(o.model.ctx));
    if (o.model.threads) json_object_set_new(d, "threads", json_integer(o.model.threads));
    /* What nobody has run on a card yet is chosen by name only (docs/gpu.md), by workers and so by plans. */
    json_object_set_new(d, "backend", json_string(strcmp(o.model.backend, "auto") ? o.model.backend : "cpu"));
    json_object_set_new(d, "kv_type", json_string(o.model.kv_type));
    if (o.serving.kv_bytes) json_object_set_new(d, "kv_bytes", json_integer(o.serving.kv_bytes));
    json_object_set_new(d, "mmap", json_boolean(o.model.mmap));
    json_object_set_new(d, "mlock", json_boolean(o.model.mlock));
    json_object_set_new(d, "parallel", json_integer(o.serving.parallel));
    char *text = json_dumps(d, JSON_COMPACT);
    json_decref(d);
    return text;
}

static status check_placement(struct error *e)
{
    if (!o.model.devices) return OK;
    return fail(e, ERR_ARG,
                "--devices: the server places models by itself, on several devices where they need it: see "
                "the options gpus, max_devices and allow_cpu of a model (docs/models.md), or corral worker");
}

static void fill_pool_options(struct pool_options *out, const char *defaults, const struct opt_list *flags)
{
    *out = (struct pool_options){.defaults = defaults,
                                 .worker_arg = flags->item,
                                 .n_worker_arg = flags->n,
                                 .placement = o.placement,
                                 .gpu_reserve_bytes = (uint64_t)MAX(o.gpu_reserve, 1), /* 0: the default */
                                 .host_reserve_bytes = (uint64_t)MAX(o.host_reserve, 1),
                                 .worker_memory_bytes = (uint64_t)o.worker_memory,
                                 .max_models = (uint32_t)o.max_models,
                                 .max_per_key = (uint32_t)o.max_per_key,
                                 .keep_alive_ms = o.keep_alive > 0 ? (int64_t)(o.keep_alive * 1000) : -1,
                                 .drain_ms = server_ms(o.server.drain_timeout)};
    (void)route_strategy_find(&out->balance, o.balance);
}

static void fill_pulls_options(struct pulls_options *out)
{
    *out = (struct pulls_options){
        .max_jobs = (uint32_t)o.pull_jobs,
        .connections = (uint32_t)o.pull_connections,
        .hub = {.hf_endpoint = o.hf_endpoint, .hf_token_file = o.hf_token_file, .registry = o.registry}};
}

/* ---- commands of this machine's user, through the home's socket -----------------------------------------
 */

struct commands {
    struct gateway *gateway;
    struct http_server *server;
    pthread_t thread;
};

static void *serve_commands(void *server)
{
    struct error e = {0};
    if (http_server_run(server, &e) != OK) LOG(ERROR, "serve", "commands", "%s", e.msg);
    return NULL;
}

static status commands_open(struct commands *c, struct parts *parts, struct error *e)
{
    char path[PATH_MAX];
    const struct http_route *routes;
    TRY(parts_socket(path, sizeof path, store_home(parts->store), e));
    TRY(http_server_new(&c->server,
                        &(struct http_options){.unix_path = path, .render_error = api_render_error}, e));
    size_t n = gateway_routes(parts->gateway, &routes);
    http_server_add_routes(c->server, routes, n);
    c->gateway = parts->gateway;
    gateway_trust(c->gateway, c->server); /* only the owner can open its socket */
    status s = http_server_listen(c->server, e);
    if (s == OK && pthread_create(&c->thread, NULL, serve_commands, c->server) == 0) return OK;
    http_server_free(c->server);
    c->server = NULL;
    gateway_trust(c->gateway, NULL);
    return s != OK ? s : fail(e, ERR_IO, "cannot start a thread");
}

static void commands_close(struct commands *c)
{
    if (!c->server) return;
    gateway_trust(c->gateway, NULL);
    http_server_quit(c->server);
    pthread_join(c->thread, NULL);
    http_server_free(c->server);
    c->server = NULL;
}

/* ---- ready ------------------------------------------------------------------------------------------- */

struct ready {
    struct parts *parts;
    struct http_server *server;
    struct commands *commands;
    atomic_bool stop;
    struct error error; /* the first model cannot be loaded */
};

/* Does the model hold conversations? Its worker knows. */
static bool made_for_chat(const struct pool_worker_view *w)
{
    struct http_client *c;
    struct http_answer a = {0};
    const struct http_call_options call = {.url = "http://worker/props", .unix_path = w->unix_path};
    bool chat = true;
    if (!*w->unix_path || http_client_new(&c, NULL) != OK) return true;
    if (http_fetch(c, &call, &a, NULL) == OK && a.code == 200)
        chat =
            !strstr(a.body.data, "\"chat_template\":\"\"") && !strstr(a.body.data, "\"chat_template\":null");
    http_answer_deinit(&a);
    http_client_free(c);
    return chat;
}

/* True: it has become something. */
static bool look(struct ready *r, const struct pool_view *v)
{
    const struct pool_model_view *m = NULL;
    for (size_t i = 0; i < v->n_model; i++)
        if (!strcmp(v->model[i].name, v->default_model)) m = &v->model[i];
    if (m && m->state == POOL_FAILED) {
        (void)!fail(&r->error, ERR_IO, "%s", m->error);
        http_server_quit(r->server);
        return true;
    }
    for (size_t i = 0; m && i < v->n_worker; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        if (strcmp(w->model, m->name) != 0 || w->state != POOL_RUNNING) continue;
        const struct server_ready ready = {.model = m->name,
                                           .backend = *w->backend ? w->backend : "elsewhere",
                                           .context = m->context,
                                           .parallel = m->parallel,
                                           .chat = made_for_chat(w)};
        server_print_ready(r->server, &o.server, &ready);
        http_notify("READY=1");
        return true;
    }
    return false;
}

/* The home goes to the new process at once, which loads its models before it says that it is there; what this
 * one has loaded it serves until then. When the other ends before that, the home is taken back. */
static void hand_over(struct ready *r, int64_t *lent_us)
{
    struct error e;
    if (server_hand_over_wanted()) {
        commands_close(r->commands);
        store_lend(r->parts->store);
        *lent_us = clock_us();
        http_server_hand_over(r->server, server_ms(o.server.drain_timeout));
    }
    bool try_again = *lent_us && clock_us() - *lent_us > 3000000 && !http_server_draining(r->server);
    if (!try_again) return;
    *lent_us = clock_us();
    if (store_take_back(r->parts->store, &e) != OK) return;
    *lent_us = 0;
    if (commands_open(r->commands, r->parts, &e) != OK) LOG(ERROR, "serve", "commands", "%s", e.msg);
}

/* Before the time for answers is over, those that are left are told; afterwards they would only be cut. */
static void end_in_time(struct ready *r, int64_t *since_us)
{
    const int64_t patience_us = (int64_t)server_ms(o.server.drain_timeout) * 1000, to_say_so_us = 500000;
    if (!http_server_draining(r->server)) return;
    if (!*since_us) *since_us = clock_us();
    if (clock_us() - *since_us >= patience_us - MIN(to_say_so_us, patience_us / 2))
        gateway_end(r->parts->gateway);
}

/* Beside the server. Clients may come while the first model is being loaded; who started this is told when it
 * is there. */
static void *attend(void *user)
{
    struct ready *r = user;
    bool done = false;
    int64_t lent_us = 0, draining_us = 0;
    for (; !atomic_load(&r->stop); usleep(done ? 50000 : 10000)) {
        struct pool_view *v = done ? NULL : pool_view_new(r->parts->pool);
        done = done || look(r, v);
        pool_view_free(v);
        hand_over(r, &lent_us);
        end_in_time(r, &draining_us);
    }
    return NULL;
}

/* ---- the command ------------------------------------------------------------------------------------- */

/* Who takes another's place does so when it can answer: until then that one goes on. */
static status wait_for_model(struct parts *parts, struct error *e)
{
    for (;;) {
        struct pool_view *v = pool_view_new(parts->pool);
        const struct pool_model_view *m = NULL;
        for (size_t i = 0; i < v->n_model; i++)
            if (!strcmp(v->model[i].name, v->default_model)) m = &v->model[i];
        bool there = !m || m->n_ready > 0;
        status s = m && m->state == POOL_FAILED ? fail(e, ERR_IO, "%s", m->error) : OK;
        pool_view_free(v);
        if (there || s != OK) return s;
        usleep(10000);
    }
}

static status serve_clients(struct parts *parts, struct http_server *server, struct commands *commands,
                            struct error *e)
{
    struct ready r = {.parts = parts, .server = server, .commands = commands};
    pthread_t attendant;
    if (server_replaces()) TRY(wait_for_model(parts, e));
    server_defer_hand_over();
    server_catch_signals(server, &o.server);
    TRY(http_server_listen(server, e));
    if (pthread_create(&attendant, NULL, attend, &r) != 0) return fail(e, ERR_IO, "cannot start a thread");
    status s = http_server_run(server, e);
    atomic_store(&r.stop, true);
    pthread_join(attendant, NULL);
    if (s != OK || r.error.code == OK) return s;
    *e = r.error;
    return e->code;
}

static status run(struct parts *parts, struct http_server *server, struct error *e)
{
    const struct http_route *routes;
    struct commands commands = {0};
    size_t n = gateway_routes(parts->gateway, &routes);
    http_server_add_routes(server, routes, n);
    TRY(pool_start(parts->pool, e));
    TRY(served_models_load(&o.models, parts->pool, e));
    status s = commands_open(&commands, parts, e);
    if (s == OK) s = serve_clients(parts, server, &commands, e);
    commands_close(&commands);
    return s;
}

static int serve_main(int argc, char **argv)
{
    struct error e = {0};
    struct parts parts = {0};
    struct http_server *server = NULL;
    struct api_keys keys = {0};
    struct opt_list flags = {0};
    struct pool_options po;
    o.models.word = mem_zalloc(SERVED_MAX_WORDS, sizeof *o.models.word);
    if (opt_parse(opts, argc, argv, o.models.word, &o.models.n_word, SERVED_MAX_WORDS, &e) != OK ||
        server_options_check(&o.server, &e) != OK || check_placement(&e) != OK)
        return cli_usage_error(&cmd_serve, &e);
    if (o.model.model && !o.models.n_word) o.models.word[o.models.n_word++] = o.model.model;
    server_begin(&o.server);
    char *defaults = make_defaults();
    opt_flags(worker_rows, &flags);
    fill_pool_options(&po, defaults, &flags);
    status s = server_read_keys(&o.server, &keys, &e);
    if (s == OK)
        s = server_bind(&server, &o.server, &keys, &e); /* first: a port in use should cost no time */
    parts.local_files = o.local_files;
    parts.remember = o.remember;
    parts.private_hosts = o.private_hosts;
    fill_pulls_options(&parts.pull);
    if (s == OK) s = parts_open(&parts, o.home, &po, server_replaces() ? 30000 : 0, &e);
    if (s == OK) s = served_models_add(&o.models, parts.pool, parts.store, &e);
    if (s == OK) s = run(&parts, server, &e);
    parts_stop(&parts, 0); /* the server has drained: whoever is left has had its time */
    http_server_free(server);
    parts_close(&parts);
    api_keys_deinit(&keys);
    free(defaults);
    return s == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_serve = {
    .name = "serve",
    .args = "[MODEL ...] [--host 127.0.0.1] [--port 8080] [--parallel 16] [options]",
    .summary = "serve models over HTTP: the APIs of OpenAI, Ollama, Anthropic and llama.cpp",
    .help =
        "Examples:\n"
        "  corral serve                                   the demo model on http://127.0.0.1:8080, and all "
        "of the store\n"
        "  corral serve model.gguf --port 0               any free port; it is printed\n"
        "  corral serve model.gguf --host :: -p 32        on every address, 32 sequences at once\n"
        "  corral serve a.gguf b.gguf --split ab=a:9,b:1  two models, and a name for nine clients of ten and "
        "the tenth\n"
        "  corral serve --upstream far=http://host:8000   a model on another server\n"
        "\nThe APIs of OpenAI (/v1/chat/completions, ...), Ollama (/api/...), Anthropic (/v1/messages) and\n"
        "llama.cpp's server (/completion, ...), POST /chat, /v1/ws, /health, /metrics: GET /openapi.json has "
        "all\n"
        "paths and fields, docs/api.md and docs/gateway.md the words. Models of the store are loaded when "
        "they are asked\n"
        "for; each runs in a process of its own (corral worker).\n"
        "SIGTERM and SIGINT stop accepting and let answers finish; a second one quits at once.\n"
        "SIGUSR2 starts the program anew and hands it the socket: a restart that refuses nobody.\n",
    .opts = opts,
    .run = serve_main,
};
