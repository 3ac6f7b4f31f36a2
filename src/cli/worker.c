/* corral worker: one model behind the HTTP APIs, in one process. The gateway starts these; alone they serve
 * as well. */
#include "cli/worker.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/pages.h"
#include "cli/chat_format.h"
#include "cli/report.h"
#include "cli/server.h"
#include "cli/serving.h"

static struct {
    struct session_options model;
    struct serving_options serving;
    struct server_options server;
    struct chat_format_options chat;
    const char *name;
    struct opt_list alias;
    bool any_model, journal;
    const char *remember;
} o;

const struct opt worker_opts[] = {
    SESSION_OPTS(o.model),
    SERVING_OPTS(o.serving),
    SLEEP_OPTS(o.serving),
    {.name = "", .help = "Model"},
    {.name = "name",
     .type = OPT_STR,
     .at = &o.name,
     .help = "name of the model for clients; default: the file's"},
    {.name = "alias",
     .type = OPT_LIST,
     .at = &o.alias,
     .arg = "NAME",
     .help = "another name that it answers to"},
    {.name = "any-model",
     .type = OPT_BOOL,
     .at = &o.any_model,
     .help = "answer whatever name a request has, under that name"},
    CHAT_FORMAT_OPTS(o.chat),
    {.name = "remember",
     .type = OPT_STR,
     .at = &o.remember,
     .arg = "FOLDER",
     .help = "keep responses and sessions there, so that they outlive the process; default: in memory"},
    {.name = "journal",
     .type = OPT_BOOL,
     .at = &o.journal,
     .help = "streams tell those who ask how another worker can go on with them (a gateway's workers do)"},
    ANSWER_OPTS(o.serving),
    SERVER_OPTS(o.server),
    {0}};

/* ---- the command ------------------------------------------------------------------------------------- */

static struct session draft; /* the engine uses its model: it goes after that */

/* What its requests were told goes out, then the process ends: with a new one comes a new device context. */
static struct error lost;
static void device_is_lost(void *server, const struct error *why)
{
    lost = *why;
    http_server_drain(server, 2000);
}

/* What lies where. */
static void log_parts(const struct backend_part *part, uint32_t n, uint32_t n_kv_block)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct backend_part *p = &part[i];
        char name[24];
        backend_share_name(name, &p->on);
        LOG(INFO, "worker", "part", "device=%s layers=%u..%u weights=%zu kv=%zu scratch=%zu", name, p->layer,
            p->layer + p->on.n_layer - 1, p->plan.weight_bytes + p->plan.mapped_bytes,
            n_kv_block * p->plan.kv_block_bytes, p->plan.scratch_bytes);
    }
}

static status serve(struct session *s, struct http_server *server, struct chat_format **chat,
                    struct api **api, struct error *e)
{
    struct engine_options eo;
    struct engine_stats stats;
    struct buf backend = {0};
    uint32_t n_part;
    const struct http_route *routes;
    const char *name = o.name ? o.name : s->name;
    TRY(chat_format_open(chat, &o.chat, s, e));
    s->chat = s->chat || o.chat.text;
    TRY(session_engine_options(s, &o.model, (uint32_t)o.serving.parallel, &eo, e));
    TRY(serving_apply(&eo, &o.serving, &o.model, s, &draft, e));
    if (report_wanted()) eo.progress = report_progress;
    eo.on_lost = device_is_lost;
    eo.lost_user = server;
    TRY(session_place(s, &o.model, e));
    TRY(session_start(s, &eo, e));
    const struct api_options ao = {.engine = s->engine,
                                   .tok = s->tok,
                                   .chat = *chat,
                                   .gguf = s->gguf,
                                   .eog = s->eog,
                                   .n_eog = s->n_eog,
                                   .model = name,
                                   .alias = o.alias.item,
                                   .n_alias = o.alias.n,
                                   .strict = o.serving.strict,
                                   .request_templates = o.serving.request_templates,
                                   .any_model = o.any_model,
                                   .journal = o.journal || report_wanted(),
                                   .remember = o.remember,
                                   .max_seqs = (uint32_t)o.serving.parallel,
                                   .locked = pages_locked_bytes() > 0,
                                   .keepalive_ms = server_ms(o.serving.comment)};
    TRY(api_new(api, &ao, e));
    size_t n_route = api_routes(*api, &routes);
    http_server_add_routes(server, routes, n_route);
    server_catch_signals(server, &o.server);
    TRY(http_server_listen(server, e));
    engine_stats(s->engine, &stats);
    const struct backend_part *part = engine_parts(s->engine, &n_part);
    backend_parts_text(&backend, part, n_part);
    log_parts(part, n_part, stats.n_kv_block);
    const struct server_ready ready = {.model = name,
                                       .backend = backend.data,
                                       .context = stats.max_context,
                                       .parallel = (uint32_t)o.serving.parallel,
                                       .chat = s->chat};
    server_print_ready(server, &o.server, &ready);
    buf_deinit(&backend);
    report_ready(s->engine, (uint32_t)o.serving.parallel);
    http_notify("READY=1");
    TRY(http_server_run(server, e));
    *e = lost;
    return lost.code;
}

int worker_main(int argc, char **argv)
{
    struct error e = {0};
    const char *word[1] = {NULL};
    size_t n_word;
    const struct command *command = cli_find_command(argv[0]);
    report_open();
    if (opt_parse(worker_opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(command, &e);
    if (server_options_check(&o.server, &e) != OK) return cli_usage_error(command, &e);
    server_begin(&o.server);

    struct session s = {0};
    struct http_server *server = NULL;
    struct chat_format *chat = NULL;
    struct api *api = NULL;
    struct api_keys keys = {0};
    status r = server_read_keys(&o.server, &keys, &e);
    if (r == OK)
        r = server_bind(&server, &o.server, &keys,
                        &e); /* first: a port in use should not cost the time to load a model */
    if (r == OK) r = session_open(&s, &o.model, word[0], &e);
    if (r == OK) r = serve(&s, server, &chat, &api, &e);
    api_stop(api); /* its threads use the session's tokenizer */
    session_close(
        &s); /* the engine's last events still wake the server's loop and count down what api holds */
    session_close(&draft);
    http_server_free(server);
    api_free(api);
    chat_format_free(chat);
    api_keys_deinit(&keys);
    if (r == OK) return EXIT_OK;
    report_error(&e);
    return cli_error(&e);
}

const struct command cmd_worker = {
    .name = "worker",
    .args = "[MODEL] [--socket PATH | --host 127.0.0.1 --port 8080] [--parallel 16] [options]",
    .summary = "serve one model in one process, as corral serve starts them",
    .help = "Examples:\n"
            "  corral worker model.gguf --socket /run/corral   on a Unix socket\n"
            "  corral worker model.gguf --host :: -p 32        alone in a container, on every address\n"
            "\nAll paths of GET /openapi.json for this model; see docs/api.md.\n"
            "SIGTERM and SIGINT stop accepting and let answers finish; a second one quits at once.\n"
            "SIGUSR2 starts the program anew and hands it the socket: a restart that refuses nobody.\n"
            "With $CORRAL_REPORT_FD, a descriptor, lines of JSON there say how loading goes; see "
            "docs/gateway.md.\n",
    .opts = worker_opts,
    .run = worker_main,
};
