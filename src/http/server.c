/* The server as a whole: options, routes, its loops and their threads. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rng.h"
#include "http/http_int.h"
#include "http/tls.h"

enum { BACKLOG = 4096 };

static void signal_all(struct http_server *s)
{
    for (uint32_t i = 0; i < s->n_loop; i++) loop_signal(&s->loop[i]);
}

void http_server_drain(struct http_server *s, uint32_t deadline_ms)
{
    atomic_store(&s->drain_ms, deadline_ms);
    atomic_store(&s->draining, true);
    signal_all(s);
}

void http_server_quit(struct http_server *s)
{
    atomic_store(&s->draining, true);
    atomic_store(&s->quit, true);
    signal_all(s);
}

void http_server_reload(struct http_server *s)
{
    atomic_store(&s->reload, true);
    signal_all(s);
}

bool http_server_draining(const struct http_server *s)
{
    return atomic_load(&s->draining);
}
uint32_t http_server_connections(const struct http_server *s)
{
    return atomic_load(&s->n_conn);
}
uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

static void log_libevent(int severity, const char *text)
{
    if (severity >= EVENT_LOG_WARN) LOG(WARN, "http", "libevent", "%s", text);
}

static void fill_defaults(struct http_options *o)
{
    if (!o->n_thread) o->n_thread = 1;
    if (!o->max_head_bytes) o->max_head_bytes = 32 * 1024;
    if (!o->max_target_bytes) o->max_target_bytes = 8 * 1024;
    if (!o->max_body_bytes) o->max_body_bytes = 16u << 20;
    if (!o->max_upload_bytes) o->max_upload_bytes = 4ull << 30;
    if (!o->max_pipelined_bytes) o->max_pipelined_bytes = 64 * 1024;
    if (!o->max_message_bytes) o->max_message_bytes = 1 << 20;
    if (!o->ws_ping_ms) o->ws_ping_ms = 30 * 1000;
    if (!o->max_connections) o->max_connections = 1024;
    if (!o->max_streams) o->max_streams = 128;
    if (!o->handshake_timeout_ms) o->handshake_timeout_ms = 10 * 1000;
    if (!o->head_timeout_ms) o->head_timeout_ms = 10 * 1000;
    if (!o->body_timeout_ms) o->body_timeout_ms = 60 * 1000;
    if (!o->write_timeout_ms) o->write_timeout_ms = 30 * 1000;
    if (!o->idle_timeout_ms) o->idle_timeout_ms = 75 * 1000;
}

/* One socket for each loop. Those that cannot be bound several times are shared: every loop is woken by a
 * connection, and one of them gets it. */
static status bind_all(struct http_server *s, struct error *e)
{
    int fd[HTTP_MAX_LOOPS];
    size_t n = 1;
    status st;
    memset(fd, -1, sizeof fd);
    if (s->o.passed.n) {
        n = s->o.passed.n;
        st = OK;
        for (size_t i = n; st == OK && i-- > 0;)
            st = listen_passed(&fd[i], s->o.passed.fd + (int)i, &s->port, e);
        s->bound = st == OK && s->o.unix_path && s->o.passed.ready_fd;
    } else if (s->o.unix_path) {
        st = listen_unix(fd, s->o.unix_path, e);
        s->bound = st == OK;
    } else {
        n = s->n_loop;
        st = listen_tcp(fd, n, &s->port, s->o.host, s->o.port, e);
    }
    for (size_t i = n; st == OK && i < s->n_loop; i++) {
        fd[i] = fcntl(fd[i % n], F_DUPFD_CLOEXEC, 3);
        if (fd[i] < 0) st = fail(e, ERR_IO, "cannot share a socket: %s", strerror(errno));
    }
    for (size_t i = 0; i < s->n_loop; i++) s->loop[i].listen_fd = fd[i];
    s->n_socket = (uint32_t)n;
    return st;
}

status http_server_new(struct http_server **out, const struct http_options *o, struct error *e)
{
    if (o->n_thread > HTTP_MAX_LOOPS || o->passed.n > HTTP_MAX_LOOPS)
        return fail(e, ERR_ARG, "at most %d threads for connections", HTTP_MAX_LOOPS);
    struct http_server *s = mem_zalloc(1, sizeof *s);
    signal(SIGPIPE, SIG_IGN); /* a write to a client that has gone is an error value */
    event_set_log_callback(log_libevent);
    s->o = *o;
    fill_defaults(&s->o);
    s->o.host = mem_strdup(o->host ? o->host : "127.0.0.1");
    s->o.unix_path = o->unix_path ? mem_strdup(o->unix_path) : NULL;
    s->id_key = rng_seed_from_os();
    s->n_loop = MAX(s->o.n_thread, o->passed.n); /* every socket is somebody's */
    s->loop = mem_zalloc(s->n_loop, sizeof *s->loop);
    if (s->o.max_per_address) s->peers = peers_new(s->o.max_per_address);
    for (uint32_t i = 0; i < s->n_loop; i++) s->loop[i].listen_fd = s->loop[i].wake_fd = -1;

    status st = o->tls_cert ? tls_new(&s->tls, o->tls_cert, o->tls_key, o->tls_client_ca, true, e) : OK;
    for (uint32_t i = 0; st == OK && i < s->n_loop; i++) st = loop_init(&s->loop[i], s, e);
    if (st == OK && o->n_trusted_proxy)
        st = proxies_new(&s->proxies, o->trusted_proxy, o->n_trusted_proxy, o->proxy_forwarded, e);
    if (st == OK) st = bind_all(s, e);
    if (st != OK) {
        http_server_free(s);
        return st;
    }
    *out = s;
    return OK;
}

void http_server_add_routes(struct http_server *s, const struct http_route *routes, size_t n)
{
    s->route = mem_realloc(s->route, s->n_route + n, sizeof *routes);
    memcpy(s->route + s->n_route, routes, n * sizeof *routes);
    s->n_route += n;
}

status http_server_listen(struct http_server *s, struct error *e)
{
    for (uint32_t i = 0; i < s->n_loop && !s->listening; i++)
        if (listen(s->loop[i].listen_fd, BACKLOG) != 0)
            return fail(e, ERR_IO, "cannot listen on port %u: %s", s->port,
                        errno == EADDRINUSE ? "another process has taken it meanwhile" : strerror(errno));
    s->listening = true;
    handover_say_ready(s);
    return OK;
}

static void *loop_main(void *arg)
{
    struct http_loop *l = arg;
    struct error e = {0};
    l->result = loop_run(l, &e);
    if (l->result != OK) {
        LOG(ERROR, "http", "loop", "%s", e.msg);
        http_server_quit(l->server);
    }
    return NULL;
}

status http_server_run(struct http_server *s, struct error *e)
{
    TRY(http_server_listen(s, e));
    uint32_t n = 1;
    status st = OK;
    for (; st == OK && n < s->n_loop; n++) {
        int r = pthread_create(&s->loop[n].thread, NULL, loop_main, &s->loop[n]);
        if (r != 0) {
            st = fail(e, ERR_IO, "cannot start a thread: %s", strerror(r));
            break;
        }
    }
    if (st != OK) http_server_quit(s);
    status own = loop_run(&s->loop[0], st == OK ? e : NULL);
    if (own != OK) http_server_quit(s);
    for (uint32_t i = 1; i < n; i++) {
        pthread_join(s->loop[i].thread, NULL);
        if (own == OK && s->loop[i].result != OK) own = fail(e, s->loop[i].result, "an event loop failed");
    }
    return st != OK ? st : own;
}

void http_server_free(struct http_server *s)
{
    if (!s) return;
    handover_abandon(s);
    for (uint32_t i = 0; i < s->n_loop; i++) loop_deinit(&s->loop[i]);
    if (s->o.unix_path && s->bound) unlink(s->o.unix_path);
    peers_free(s->peers);
    free(s->proxies);
    tls_free(s->tls);
    free(s->loop);
    free((char *)s->o.host);
    free((char *)s->o.unix_path);
    free(s->route);
    free(s);
}
