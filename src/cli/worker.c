/* corral worker: one model behind the HTTP APIs, in one process. The gateway starts these; alone they serve
 * as well. */
#include "cli/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "api/keys.h"
#include "base/log.h"
#include "cli/report.h"
#include "cli/serving.h"
#include "http/http.h"

static struct {
    struct session_options model;
    struct serving_options serving;
    const char *host, *socket, *name, *tls_cert, *tls_key, *tls_client_ca;
    struct opt_list alias, api_key, cors;
    const char *api_key_file;
    int64_t port, max_body, max_head, max_connections, max_per_address, max_streams, http_threads, hsts;
    double handshake_timeout, head_timeout, body_timeout, write_timeout, idle_timeout, drain_timeout,
        keepalive;
    bool log_json, quiet, half_close, strict, any_model, journal;
} o;

#define SECONDS(flag, field, d, text)                                                                        \
    {                                                                                                        \
        .name = flag, .type = OPT_FLOAT, .at = &o.field, .min = 0.05, .max = 86400, .def = d, .unit = "s",   \
        .help = text                                                                                         \
    }

const struct opt worker_opts[] = {
    SESSION_OPTS(o.model),
    SERVING_OPTS(o.serving),
    {.name = "", .help = "Where"},
    {.name = "host",
     .type = OPT_STR,
     .at = &o.host,
     .def = "127.0.0.1",
     .arg = "ADDRESS",
     .help = "address to listen on; 0.0.0.0 or :: for all"},
    {.name = "port",
     .type = OPT_INT,
     .at = &o.port,
     .min = 0,
     .max = 65535,
     .def = "8080",
     .help = "port to listen on; 0: any free one, which is printed"},
    {.name = "socket",
     .type = OPT_STR,
     .at = &o.socket,
     .arg = "PATH",
     .help = "listen on this Unix socket instead"},
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
    {.name = "", .help = "Who"},
    {.name = "api-key",
     .type = OPT_LIST,
     .at = &o.api_key,
     .arg = "KEY",
     .help = "clients must send this key (better in the environment: others can see flags)"},
    {.name = "api-key-file",
     .type = OPT_STR,
     .at = &o.api_key_file,
     .arg = "FILE",
     .help = "keys, one per line; # begins a comment"},
    {.name = "tls-cert",
     .type = OPT_STR,
     .at = &o.tls_cert,
     .arg = "FILE",
     .help = "serve https with this certificate and chain (PEM); read again on SIGHUP and on change"},
    {.name = "tls-key",
     .type = OPT_STR,
     .at = &o.tls_key,
     .arg = "FILE",
     .help = "its private key; default: in the certificate's file"},
    {.name = "tls-client-ca",
     .type = OPT_STR,
     .at = &o.tls_client_ca,
     .arg = "FILE",
     .help = "clients must show a certificate of one of these authorities"},
    {.name = "hsts",
     .type = OPT_INT,
     .at = &o.hsts,
     .min = 0,
     .max = 1000000000,
     .def = "0",
     .unit = "s",
     .help =
         "with TLS: browsers shall use nothing else for so long (Strict-Transport-Security); 0: not said"},
    {.name = "cors-origin",
     .type = OPT_LIST,
     .at = &o.cors,
     .arg = "ORIGIN",
     .help = "web pages from here may use the server, e.g. https://chat.example; * for all"},
    {.name = "", .help = "Connections"},
    {.name = "max-connections",
     .type = OPT_INT,
     .at = &o.max_connections,
     .min = 1,
     .max = 1000000,
     .def = "1024",
     .help = "open at once; more are answered 503"},
    {.name = "max-per-address",
     .type = OPT_INT,
     .at = &o.max_per_address,
     .min = 0,
     .max = 1000000,
     .def = "0",
     .unit = "connections",
     .help = "of one address (an IPv6 /64); more are answered 503; 0: no limit"},
    {.name = "max-streams",
     .type = OPT_INT,
     .at = &o.max_streams,
     .min = 1,
     .max = 100000,
     .def = "128",
     .unit = "requests",
     .help = "of one HTTP/2 connection at once; more wait at the client or are refused"},
    {.name = "http-threads",
     .type = OPT_INT,
     .at = &o.http_threads,
     .min = 1,
     .max = 64,
     .def = "1",
     .help = "that serve connections; one is enough for thousands of streams"},
    {.name = "max-body",
     .type = OPT_INT,
     .at = &o.max_body,
     .min = 1,
     .max = 1 << 30,
     .def = "16M",
     .unit = "bytes",
     .help = "of a request's body; larger ones are answered 413"},
    {.name = "max-head",
     .type = OPT_INT,
     .at = &o.max_head,
     .min = 1024,
     .max = 1 << 20,
     .def = "32k",
     .unit = "bytes",
     .help = "of a request's header; larger ones are answered 431"},
    {.name = "journal",
     .type = OPT_BOOL,
     .at = &o.journal,
     .help = "streams tell those who ask how another worker can go on with them (a gateway's workers do)"},
    {.name = "strict",
     .type = OPT_BOOL,
     .at = &o.strict,
     .help = "refuse fields of requests that would have no effect (default: name them in X-Corral-Ignored)"},
    {.name = "", .help = "How long"},
    SECONDS("handshake-timeout", handshake_timeout, "10", "for a TLS handshake"),
    SECONDS("head-timeout", head_timeout, "10", "for a request's header to arrive"),
    SECONDS("body-timeout", body_timeout, "60", "for its body"),
    SECONDS("write-timeout", write_timeout, "30", "for a client to take what waits for it"),
    SECONDS("idle-timeout", idle_timeout, "75", "between two requests on a connection"),
    SECONDS("keepalive", keepalive, "15", "between comments on a stream that has nothing to say"),
    SECONDS("drain-timeout", drain_timeout, "30", "for answers to be finished after SIGTERM or SIGINT"),
    {.name = "half-close-answers",
     .type = OPT_BOOL,
     .at = &o.half_close,
     .help = "answer a client that has shut its sending side (default: it has gone)"},
    {.name = "", .help = "Log (stderr)"},
    {.name = "log-json", .type = OPT_BOOL, .at = &o.log_json, .help = "one JSON object per line"},
    {.name = "quiet", .letter = 'q', .type = OPT_BOOL, .at = &o.quiet, .help = "warnings and errors only"},
    {0}};

/* ---- signals ----------------------------------------------------------------------------------------- */

static struct http_server *volatile draining;

static void on_signal(int number)
{
    static volatile sig_atomic_t count;
    if (!draining) _exit(128 + number);
    if (count++ == 0)
        http_server_drain(draining, (uint32_t)(o.drain_timeout * 1000));
    else
        http_server_quit(draining);
}

static void on_hangup(int number)
{
    if (draining) http_server_reload(draining);
}

static void on_restart(int number)
{
    if (draining) http_server_hand_over(draining, (uint32_t)(o.drain_timeout * 1000));
}

static void catch_signals(struct http_server *s)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    draining = s;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    a.sa_handler = on_hangup;
    sigaction(SIGHUP, &a, NULL);
    a.sa_handler = on_restart;
    sigaction(SIGUSR2, &a, NULL);
}

/* ---- log --------------------------------------------------------------------------------------------- */

static void log_access(void *user, const struct http_access *a)
{
    if (!log_on(LOG_INFO)) return;
    if (!o.log_json) {
        LOG(INFO, "http", "access", "%s %s %s %s %d in=%llu out=%llu first_ms=%.1f ms=%.1f%s id=%s%s%s",
            a->peer, a->protocol, a->method, a->path, a->status, (unsigned long long)a->bytes_in,
            (unsigned long long)a->bytes_out, (double)a->first_byte_us / 1e3, (double)a->total_us / 1e3,
            a->complete ? "" : " cut", a->id, *a->trace ? " trace=" : "", a->trace);
        return;
    }
    const struct {
        const char *key, *value;
    } text[] = {{"id", a->id},         {"peer", a->peer}, {"protocol", a->protocol},
                {"method", a->method}, {"path", a->path}, {"trace", a->trace}};
    struct buf fields = {0};
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        if (!*text[i].value) continue;
        buf_addf(&fields, ",\"%s\":", text[i].key);
        buf_json_str(&fields, text[i].value, strlen(text[i].value));
    }
    buf_addf(&fields,
             ",\"status\":%d,\"complete\":%s,\"bytes_in\":%llu,\"bytes_out\":%llu,\"first_byte_ms\":%.3f,"
             "\"total_ms\":%.3f",
             a->status, a->complete ? "true" : "false", (unsigned long long)a->bytes_in,
             (unsigned long long)a->bytes_out, (double)a->first_byte_us / 1e3, (double)a->total_us / 1e3);
    log_fields(LOG_INFO, "http", "access", fields.data);
    buf_deinit(&fields);
}

static void print_ready(const struct session *s, const struct http_server *server, const char *name,
                        const struct engine *en)
{
    struct engine_stats st;
    char url[512], at[600] = "";
    const char *key = o.api_key.n || o.api_key_file ? " -H 'Authorization: Bearer KEY'" : "";
    const char *scheme = o.tls_cert ? "https" : "http";
    engine_stats(en, &st);
    bool v6 = strchr(o.host, ':');
    bool any = !strcmp(o.host, "0.0.0.0") || !strcmp(o.host, "::");
    if (o.socket) {
        snprintf(url, sizeof url, "%s://localhost", scheme);
        snprintf(at, sizeof at, " --unix-socket %s", o.socket);
    } else {
        snprintf(url, sizeof url, v6 && !any ? "%s://[%s]:%u" : "%s://%s:%u", scheme,
                 any ? "127.0.0.1" : o.host, http_server_port(server));
    }
    printf("corral: ready: %s serves %s (%s, context %u, %lld at once)%s%s\n", o.socket ? o.socket : url,
           name, s->api->name, st.max_context, (long long)o.serving.parallel,
           any ? ", on every address of this machine" : "",
           s->chat ? "" : "; this model completes text and was not made for chat");
    if (s->chat)
        printf("try: curl%s %s/v1/chat/completions%s -H 'Content-Type: application/json' -d "
               "'{\"messages\":[{\"role\":\"user\",\"content\":\"What is Corral?\"}]}'\n",
               at, url, key);
    else
        printf("try: curl%s %s/v1/completions%s -H 'Content-Type: application/json' -d '{\"prompt\":\"Once "
               "upon a time\",\"max_tokens\":40}'\n",
               at, url, key);
    fflush(stdout);
}

/* ---- the command ------------------------------------------------------------------------------------- */

static uint32_t ms(double seconds)
{
    return (uint32_t)(seconds * 1000);
}

/* As many descriptors as the limit on connections asks for, where that is allowed. */
static void raise_descriptors(void)
{
    struct rlimit l;
    rlim_t want = (rlim_t)o.max_connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want) return;
    l.rlim_cur = MIN(want, l.rlim_max);
    setrlimit(RLIMIT_NOFILE, &l);
    if (l.rlim_cur < want)
        LOG(WARN, "serve", "descriptors", "limit=%llu wanted=%llu", (unsigned long long)l.rlim_cur,
            (unsigned long long)want);
}

static status read_keys(struct api_keys *keys, struct error *e)
{
    for (size_t i = 0; i < o.api_key.n; i++) TRY(api_keys_add(keys, o.api_key.item[i], e));
    return o.api_key_file ? api_keys_read(keys, o.api_key_file, e) : OK;
}

static status bind_server(struct http_server **out, struct api_keys *keys, struct error *e)
{
    struct http_passed passed;
    TRY(http_passed_sockets(&passed, e));
    const struct http_options ho = {
        .passed = passed,
        .host = o.host,
        .port = (uint16_t)o.port,
        .unix_path = o.socket,
        .tls_cert = o.tls_cert,
        .tls_key = o.tls_key,
        .tls_client_ca = o.tls_client_ca,
        .handshake_timeout_ms = ms(o.handshake_timeout),
        .max_body_bytes = (size_t)o.max_body,
        .max_head_bytes = (size_t)o.max_head,
        .max_connections = (uint32_t)o.max_connections,
        .max_per_address = (uint32_t)o.max_per_address,
        .max_streams = (uint32_t)o.max_streams,
        .n_thread = (uint32_t)o.http_threads,
        .cors_origin = o.cors.item,
        .n_cors_origin = o.cors.n,
        .head_timeout_ms = ms(o.head_timeout),
        .body_timeout_ms = ms(o.body_timeout),
        .write_timeout_ms = ms(o.write_timeout),
        .idle_timeout_ms = ms(o.idle_timeout),
        .hsts_s = (uint32_t)o.hsts,
        .half_close_answers = o.half_close,
        .authorize = api_authorize,
        .user = keys,
        .render_error = api_render_error,
        .on_access = log_access,
    };
    return http_server_new(out, &ho, e);
}

static struct session draft; /* the engine uses its model: it goes after that */

static status serve(struct session *s, struct http_server *server, struct chat_format **chat,
                    struct api **api, struct error *e)
{
    struct engine_options eo;
    const struct http_route *routes;
    const char *name = o.name ? o.name : s->name;
    TRY(chat_format_of_model(chat, s->tok, s->gguf, e));
    TRY(session_engine_options(s, &o.model, (uint32_t)o.serving.parallel, &eo, e));
    TRY(serving_apply(&eo, &o.serving, &o.model, s, &draft, e));
    if (report_wanted()) eo.progress = report_progress;
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
                                   .strict = o.strict,
                                   .any_model = o.any_model,
                                   .journal = o.journal || report_wanted(),
                                   .max_seqs = (uint32_t)o.serving.parallel,
                                   .keepalive_ms = ms(o.keepalive)};
    TRY(api_new(api, &ao, e));
    size_t n_route = api_routes(*api, &routes);
    http_server_add_routes(server, routes, n_route);
    catch_signals(server);
    TRY(http_server_listen(server, e));
    print_ready(s, server, name, s->engine);
    report_ready(s->engine, s->api->name, (uint32_t)o.serving.parallel);
    http_notify("READY=1");
    return http_server_run(server, e);
}

int worker_main(int argc, char **argv)
{
    struct error e = {0};
    const char *word[1] = {NULL};
    size_t n_word;
    const struct command *command = cli_find_command(argv[0]);
    report_open();
    if (opt_parse(worker_opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(command, &e);
    if ((o.tls_key || o.tls_client_ca) && !o.tls_cert) {
        (void)!fail(&e, ERR_ARG, "--tls-key and --tls-client-ca need --tls-cert");
        return cli_usage_error(command, &e);
    }
    if (!o.quiet) log_set_level(LOG_INFO);
    log_set_json(o.log_json);
    raise_descriptors();

    struct session s = {0};
    struct http_server *server = NULL;
    struct chat_format *chat = NULL;
    struct api *api = NULL;
    struct api_keys keys = {0};
    status r = read_keys(&keys, &e);
    if (r == OK)
        r = bind_server(&server, &keys,
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
