#include "cli/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/family.h"
#include "base/log.h"

uint32_t server_ms(double seconds)
{
    return (uint32_t)(seconds * 1000);
}

status server_options_check(const struct server_options *o, struct error *e)
{
    if ((o->tls_key || o->tls_client_ca) && !o->tls_cert)
        return fail(e, ERR_ARG, "--tls-key and --tls-client-ca need --tls-cert");
    if (o->hsts && !o->tls_cert) return fail(e, ERR_ARG, "--hsts is about https: it needs --tls-cert");
    if (strcmp(o->proxy_header, "forwarded") == 0 && !o->trusted_proxy.n)
        return fail(e, ERR_ARG, "--proxy-header: nobody's is believed without --trusted-proxy");
    return OK;
}

/* ---- log --------------------------------------------------------------------------------------------- */

static bool log_is_json;

static void log_access(void *user, const struct http_access *a)
{
    if (!log_on(LOG_INFO)) return;
    if (!log_is_json) {
        LOG(INFO, "http", "access", "%s%s%s %s %s %s %d in=%llu out=%llu first_ms=%.1f ms=%.1f%s id=%s%s%s",
            a->peer, *a->via ? " via " : "", a->via, a->protocol, a->method, a->path, a->status,
            (unsigned long long)a->bytes_in, (unsigned long long)a->bytes_out, (double)a->first_byte_us / 1e3,
            (double)a->total_us / 1e3, a->complete ? "" : " cut", a->id, *a->trace ? " trace=" : "",
            a->trace);
        return;
    }
    const struct {
        const char *key, *value;
    } text[] = {{"id", a->id},         {"peer", a->peer}, {"via", a->via},    {"protocol", a->protocol},
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

/* As many descriptors as the limit on connections asks for, where that is allowed. */
static void raise_descriptors(int64_t connections)
{
    struct rlimit l;
    rlim_t want = (rlim_t)connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want) return;
    l.rlim_cur = MIN(want, l.rlim_max);
    setrlimit(RLIMIT_NOFILE, &l);
    if (l.rlim_cur < want)
        LOG(WARN, "serve", "descriptors", "limit=%llu wanted=%llu", (unsigned long long)l.rlim_cur,
            (unsigned long long)want);
}

void server_begin(const struct server_options *o)
{
    log_is_json = o->log_json;
    if (!o->quiet) log_set_level(LOG_INFO);
    log_set_json(o->log_json);
    raise_descriptors(2 * o->max_connections); /* a gateway needs a second one for each */
}

/* ---- signals ----------------------------------------------------------------------------------------- */

static struct http_server *volatile draining;
static uint32_t drain_ms;

static void on_signal(int number)
{
    static volatile sig_atomic_t count;
    if (!draining) _exit(128 + number);
    if (count++ == 0)
        http_server_drain(draining, drain_ms);
    else
        http_server_quit(draining);
}

static void on_hangup(int number)
{
    if (draining) http_server_reload(draining);
}

static volatile sig_atomic_t restart_wanted;
static bool restart_later;

static void on_restart(int number)
{
    if (restart_later)
        restart_wanted = 1;
    else if (draining)
        http_server_hand_over(draining, drain_ms);
}

void server_defer_hand_over(void)
{
    restart_later = true;
}

bool server_hand_over_wanted(void)
{
    bool wanted = restart_wanted;
    restart_wanted = 0;
    return wanted;
}

void server_catch_signals(struct http_server *s, const struct server_options *o)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    drain_ms = server_ms(o->drain_timeout);
    draining = s;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    a.sa_handler = on_hangup;
    sigaction(SIGHUP, &a, NULL);
    a.sa_handler = on_restart;
    sigaction(SIGUSR2, &a, NULL);
}

/* ---- the server -------------------------------------------------------------------------------------- */

status server_read_keys(const struct server_options *o, struct api_keys *keys, struct error *e)
{
    for (size_t i = 0; i < o->api_key.n; i++) TRY(api_keys_add(keys, o->api_key.item[i], e));
    return o->api_key_file ? api_keys_read(keys, o->api_key_file, e) : OK;
}

static bool replaces;

bool server_replaces(void)
{
    return replaces;
}

status server_bind(struct http_server **out, const struct server_options *o, struct api_keys *keys,
                   struct error *e)
{
    struct http_passed passed;
    TRY(http_passed_sockets(&passed, e));
    replaces = passed.n && passed.ready_fd > 0;
    const struct http_options ho = {
        .passed = passed,
        .host = o->host,
        .port = (uint16_t)o->port,
        .unix_path = o->socket,
        .tls_cert = o->tls_cert,
        .tls_key = o->tls_key,
        .tls_client_ca = o->tls_client_ca,
        .handshake_timeout_ms = server_ms(o->handshake_timeout),
        .max_body_bytes = (size_t)o->max_body,
        .max_upload_bytes = (uint64_t)o->max_upload,
        .max_head_bytes = (size_t)o->max_head,
        .max_connections = (uint32_t)o->max_connections,
        .max_per_address = (uint32_t)o->max_per_address,
        .max_streams = (uint32_t)o->max_streams,
        .trusted_proxy = o->trusted_proxy.item,
        .n_trusted_proxy = o->trusted_proxy.n,
        .proxy_forwarded = !strcmp(o->proxy_header, "forwarded"),
        .n_thread = (uint32_t)o->http_threads,
        .cors_origin = o->cors.item,
        .n_cors_origin = o->cors.n,
        .head_timeout_ms = server_ms(o->head_timeout),
        .body_timeout_ms = server_ms(o->body_timeout),
        .write_timeout_ms = server_ms(o->write_timeout),
        .idle_timeout_ms = server_ms(o->idle_timeout),
        .hsts_s = (uint32_t)o->hsts,
        .half_close_answers = o->half_close,
        .authorize = api_authorize,
        .user = keys,
        .render_error = api_render_error,
        .on_access = log_access,
    };
    return http_server_new(out, &ho, e);
}

/* url: where it is; at: what curl needs besides; key: a header for it where keys are wanted. */
struct place {
    char url[512], at[600];
    const char *key;
    bool any; /* every address */
};

static void find_place(struct place *out, const struct http_server *s, const struct server_options *o)
{
    const char *scheme = o->tls_cert ? "https" : "http";
    bool v6 = strchr(o->host, ':');
    *out = (struct place){.any = !strcmp(o->host, "0.0.0.0") || !strcmp(o->host, "::")};
    out->key = o->api_key.n || o->api_key_file ? " -H 'Authorization: Bearer KEY'" : "";
    if (o->socket) {
        snprintf(out->url, sizeof out->url, "%s://localhost", scheme);
        snprintf(out->at, sizeof out->at, " --unix-socket %s", o->socket);
        return;
    }
    snprintf(out->url, sizeof out->url, v6 && !out->any ? "%s://[%s]:%u" : "%s://%s:%u", scheme,
             out->any ? "127.0.0.1" : o->host, http_server_port(s));
}

void server_print_ready(const struct http_server *s, const struct server_options *o,
                        const struct server_ready *r)
{
    struct place p;
    find_place(&p, s, o);
    printf("corral: ready: %s serves %s (%s, context %u, %u at once)%s%s\n", o->socket ? o->socket : p.url,
           r->model, r->backend, r->context, r->parallel, p.any ? ", on every address of this machine" : "",
           r->chat ? "" : "; this model completes text and was not made for chat");
    if (r->chat)
        printf("try: curl%s %s/v1/chat/completions%s -H 'Content-Type: application/json' -d "
               "'{\"messages\":[{\"role\":\"user\",\"content\":\"What is Corral?\"}]}'\n",
               p.at, p.url, p.key);
    else
        printf("try: curl%s %s/v1/completions%s -H 'Content-Type: application/json' -d '{\"prompt\":\"Once "
               "upon a time\",\"max_tokens\":40}'\n",
               p.at, p.url, p.key);
    fflush(stdout);
}
